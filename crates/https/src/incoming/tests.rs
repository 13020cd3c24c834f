use proptest::prelude::*;

use super::*;
use crate::outgoing::compose;
use crate::{Connection, Method, Request};

fn incoming(limit: usize) -> Incoming {
    let request = Request {
        method: Method::Get,
        target: "/",
        headers: &[],
        body: b"",
    };
    Incoming::new(compose(&request, "h").unwrap().call, limit)
}

/// What becomes of `bytes` in pieces of this size, and of the end of the connection after them.
fn outcome(bytes: &[u8], piece: usize) -> Result<(Response, bool), String> {
    let mut incoming = incoming(Connection::LIMIT);
    let mut complete = false;
    for piece in bytes.chunks(piece) {
        complete = incoming.take(piece)?;
    }
    if !complete && !incoming.end() {
        return Err("cut short".to_owned());
    }
    let reusable = incoming.is_reusable();
    incoming
        .response()
        .map(|response| (response, reusable))
        .ok_or_else(|| "no response".to_owned())
}

const SIZED: &[u8] =
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n";
const UNTIL_CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello";
const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n";
const INTERIM: &[u8] =
    b"HTTP/1.1 100 Continue\r\nServer: old\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nhello";
const REDIRECT: &[u8] =
    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 5\r\n\r\nhello";
const CLOSING: &[u8] =
    b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

/// Status, body, whether the connection can be used again.
const WHOLE: [(&[u8], u16, &[u8], bool); 7] = [
    (SIZED, 200, b"hello", true),
    (CHUNKED, 200, b"hello", true),
    (UNTIL_CLOSE, 200, b"hello", false),
    (EMPTY, 204, b"", true),
    (INTERIM, 500, b"hello", true),
    (REDIRECT, 302, b"hello", true),
    (CLOSING, 401, b"hello", false),
];

#[test]
fn whole_responses_in_pieces_of_every_size() {
    for (bytes, status, body, reusable) in WHOLE {
        for piece in 1..=bytes.len() {
            let (response, again) = outcome(bytes, piece).unwrap();
            assert_eq!((response.status, &*response.body), (status, body));
            assert_eq!(again, reusable, "{}", bytes.escape_ascii());
        }
    }
    let (response, _) = outcome(SIZED, 7).unwrap();
    assert_eq!(
        response.headers("SET-COOKIE").collect::<Vec<_>>(),
        ["a=1", "b=2"]
    );
    assert_eq!(response.header("content-length"), Some("5"));
    assert_eq!(response.header("missing"), None);
}

/// Never a short body: a response that ends anywhere before its end is none. One without a length is an exception that HTTP/1.0
/// leaves no way around, once its head is there.
#[test]
fn a_response_cut_anywhere_is_none() {
    for (bytes, ..) in WHOLE {
        for end in 0..bytes.len() {
            for piece in [1, 3, bytes.len()] {
                let cut = outcome(&bytes[..end], piece);
                let head = UNTIL_CLOSE.len() - b"hello".len();
                if bytes == UNTIL_CLOSE && end >= head {
                    assert_eq!(cut.unwrap().0.body, bytes[head..end]);
                } else {
                    assert!(cut.is_err(), "{}", bytes[..end].escape_ascii());
                }
            }
        }
    }
}

#[test]
fn what_follows_a_response_ends_the_connection_for_others() {
    for (bytes, status, body, _) in WHOLE {
        if bytes == UNTIL_CLOSE {
            continue;
        }
        let more = [bytes, b"HTTP/1.1 200 OK\r\n"].concat();
        let (response, again) = outcome(&more, more.len()).unwrap();
        assert_eq!((response.status, &*response.body), (status, body));
        assert!(!again);
    }
}

#[test]
fn what_cannot_be_decoded_or_believed_is_refused() {
    for (bytes, why) in [
        (
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            "no HTTP: `SSH-2.0-OpenSSH_9.2`",
        ),
        (b"HTTP/1.1 099 x\r\n\r\n", "status"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "version"),
        (
            b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n",
            "changes the protocol",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "coding `gzip`",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "coding `gzip`",
        ),
        (
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "content-length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
            "content-length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "content-length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "larger than",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "number",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "crlf",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "number",
        ),
    ] {
        assert!(outcome(bytes, 1).is_err());
        let said = outcome(bytes, bytes.len()).unwrap_err();
        assert!(said.contains(why), "{}: {said}", bytes.escape_ascii());
    }
}

/// Memory is bounded by the limits, whatever is announced or sent.
#[test]
fn sizes_are_bounded() {
    let fill = |start: &[u8], more: &[u8], limit: usize| {
        let mut incoming = incoming(limit);
        let mut sent = start.len();
        let mut taken = incoming.take(start);
        while let Ok(false) = taken {
            assert!(sent < 64 << 20, "{} is never refused", start.escape_ascii());
            taken = incoming.take(more);
            sent += more.len();
        }
        taken.unwrap_err()
    };
    let long = vec![b'a'; 8192];
    assert!(fill(b"HTTP/1.1 200 OK\r\nX: ", &long, 100).contains("head is longer"));
    assert!(fill(b"HTTP/1.1 ", b"200 OK\r\n", 100).contains("http parse"));
    assert!(fill(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 100).contains("head is longer"));
    assert!(fill(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 100).contains("too many headers"));
    assert!(fill(b"HTTP/1.0 200 OK\r\n\r\n", &long, 100_000).contains("body is larger"));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(fill(chunked, b"1\r\na\r\n", 100).contains("body is larger"));
    assert!(fill(chunked, &long, 100).contains("line between its chunks"));
    let trailer = [chunked, &b"0\r\n"[..]].concat();
    assert!(fill(&trailer, &long, 100).contains("line between its chunks"));
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let mut exact = incoming(5);
    assert!(exact.take(SIZED).unwrap());
    assert_eq!(exact.response().unwrap().body, b"hello");
    assert!(incoming(4).take(SIZED).is_err());
    assert!(incoming(4).take(CHUNKED).is_err());
}

#[test]
fn a_port_for_tls_is_recognised() {
    let mut alert = incoming(100);
    assert!(alert.take(&[0x15, 3, 1, 0, 2, 2, 70]).is_err());
    assert!(alert.is_tls());
    // Go's answer, as `net/http` words it.
    let mut go = incoming(1000);
    let said = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    assert!(!go.take(said).unwrap());
    assert!(go.end() && go.demands_tls());
}

proptest! {
    /// Bytes from outside never panic, however they are cut; after a refusal nothing is taken.
    #[test]
    fn noise_never_panics(bytes: Vec<u8>, piece in 1_usize..64) {
        let _ = outcome(&bytes, piece);
    }

    #[test]
    fn damaged_responses_never_panic(
        which in 0..WHOLE.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1_usize..80,
    ) {
        let mut bytes = WHOLE[which].0.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let pieces = outcome(&bytes, piece).map(|(response, again)| (response.status, response.body, again));
        let whole = outcome(&bytes, bytes.len()).map(|(response, again)| (response.status, response.body, again));
        // How it was cut on its way decides nothing.
        if let (Ok(pieces), Ok(whole)) = (&pieces, &whole) {
            prop_assert_eq!(pieces, whole);
        }
        prop_assert_eq!(pieces.is_ok(), whole.is_ok());
    }

    #[test]
    fn any_body_survives_chunks(body: Vec<u8>, sizes in prop::collection::vec(1_usize..40, 1..8), piece in 1_usize..64) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (mut rest, mut sizes) = (&body[..], sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            bytes.extend(format!("{:X}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = left;
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (response, again) = outcome(&bytes, piece).unwrap();
        prop_assert_eq!(response.body, body);
        prop_assert!(again);
    }
}
