//! A request as bytes.

use ureq_proto::client::state::RecvResponse;
use ureq_proto::client::{Call, SendRequestResult};
use ureq_proto::http;
use zeroize::Zeroizing;

use crate::{Error, Method, Request};

/// Header lines that decide where a message ends and what becomes of the connection: nobody but the connection sets them.
const OURS: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "expect",
    "upgrade",
    "te",
    "trailer",
];

/// A request as bytes, and the state machine that takes its response.
pub(crate) struct Outgoing {
    /// Head and body. May hold passwords.
    pub bytes: Zeroizing<Vec<u8>>,
    pub call: Call<RecvResponse>,
}

/// Writes `request` for the server that `Host` calls `authority`.
///
/// The state machine gets only what is no secret; the caller's header lines are put behind its own, so that no copy of a
/// password stays in memory that nobody wipes.
pub(crate) fn compose(request: &Request<'_>, authority: &str) -> Result<Outgoing, Error> {
    check_target(request.target)?;
    for (name, value) in request.headers {
        check_header(name, value)?;
    }
    let mut head = http::Request::builder()
        .method(method(request.method))
        .uri(request.target)
        .header(http::header::HOST, authority);
    let sized = matches!(request.method, Method::Post | Method::Put | Method::Patch);
    if sized || !request.body.is_empty() {
        head = head.header(http::header::CONTENT_LENGTH, request.body.len());
    }
    let head = head.body(()).map_err(unsendable)?;
    let mut call = Call::new(head).map_err(unsendable)?.proceed();
    // The longest line must fit, and all of them do.
    let mut prelude = vec![0; request.target.len() + authority.len() + 256];
    let mut used = 0;
    while !call.can_proceed() {
        used += call.write(&mut prelude[used..]).map_err(unsendable)?;
    }
    let call = match call.proceed().map_err(unsendable)? {
        Some(SendRequestResult::RecvResponse(call)) => Some(call),
        Some(SendRequestResult::SendBody(mut call)) => {
            call.consume_direct_write(request.body.len())
                .map_err(unsendable)?;
            call.proceed()
        }
        Some(SendRequestResult::Await100(_)) | None => None,
    };
    let call = call.ok_or_else(|| unsendable("its body has no end"))?;
    let head = prelude[..used]
        .strip_suffix(b"\r\n")
        .ok_or_else(|| unsendable("its head has no end"))?;
    let lines = request.headers.iter();
    let lines: usize = lines
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        head.len() + lines + 2 + request.body.len(),
    ));
    bytes.extend_from_slice(head);
    for (name, value) in request.headers {
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(request.body);
    Ok(Outgoing { bytes, call })
}

const fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    }
}

/// Path and query only, of what may stand there as it is (RFC 3986 section 3.3 and 3.4; brackets, which many servers use in
/// queries, are let through).
fn check_target(target: &str) -> Result<(), Error> {
    if !target.starts_with('/') {
        return Err(unsendable("its target does not begin with `/`"));
    }
    let wrong = |byte: &u8| !byte.is_ascii_graphic() || b"\"#<>\\^`{|}".contains(byte);
    match target.bytes().find(wrong) {
        Some(byte) => Err(unsendable(format!(
            "its target holds `{}`, which has to be percent-encoded",
            byte.escape_ascii()
        ))),
        None => Ok(()),
    }
}

fn check_header(name: &str, value: &str) -> Result<(), Error> {
    // A token (RFC 9110 section 5.6.2).
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(unsendable(format!(
            "`{}` is no name of a header line",
            name.escape_debug()
        )));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(unsendable(format!(
            "header line `{name}` is set by the connection only"
        )));
    }
    // The value may be a secret: it is not shown.
    if value
        .chars()
        .any(|character| character.is_control() && character != '\t')
    {
        return Err(unsendable(format!(
            "the value of header line `{name}` has control characters"
        )));
    }
    Ok(())
}

fn unsendable(detail: impl ToString) -> Error {
    Error::Unsendable {
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(request: &Request<'_>) -> String {
        let outgoing = compose(request, "host:8443").unwrap();
        String::from_utf8(outgoing.bytes.to_vec()).unwrap()
    }

    fn get<'a>(target: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request {
            method: Method::Get,
            target,
            headers,
            body: b"",
        }
    }

    #[test]
    fn requests_as_bytes() {
        let headers = [
            ("Accept", "application/xml"),
            ("authorization", "Basic eA=="),
        ];
        assert_eq!(
            text(&get("/api/vms?search=name%3Da", &headers)),
            "GET /api/vms?search=name%3Da HTTP/1.1\r\nhost: host:8443\r\n\
             Accept: application/xml\r\nauthorization: Basic eA==\r\n\r\n"
        );
        assert!(text(&get("//a/?b", &[])).starts_with("GET //a/?b HTTP/1.1\r\n"));
        let mut post = get("/stop", &[]);
        post.method = Method::Post;
        assert_eq!(
            text(&post),
            "POST /stop HTTP/1.1\r\nhost: host:8443\r\ncontent-length: 0\r\n\r\n"
        );
        post.body = b"<action/>";
        assert!(text(&post).ends_with("content-length: 9\r\n\r\n<action/>"));
        for method in [Method::Get, Method::Put, Method::Patch, Method::Delete] {
            post.method = method;
            assert!(text(&post).ends_with("content-length: 9\r\n\r\n<action/>"));
        }
    }

    #[test]
    fn what_would_change_the_message_is_refused() {
        for target in [
            "",
            "vms",
            "http://other/",
            "/a b",
            "/a\r\nx: y",
            "/ä",
            "/a#b",
            "*",
        ] {
            assert!(compose(&get(target, &[]), "h").is_err(), "{target}");
        }
        for header in [
            ("Host", "other"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
            ("x", "a\r\ny: b"),
            ("x", "\0"),
            ("x y", "z"),
            ("", "z"),
            ("x:", "z"),
        ] {
            let error = compose(&get("/", &[header]), "h").err();
            assert!(
                matches!(error, Some(Error::Unsendable { .. })),
                "{header:?}"
            );
        }
    }

    #[test]
    fn a_secret_is_not_in_the_error() {
        let error = compose(&get("/", &[("authorization", "hunter2\n")]), "h").err();
        assert!(!error.unwrap().to_string().contains("hunter2"));
    }

    proptest! {
        /// Whatever the values are, there is one request line, and one line for each header.
        #[test]
        fn one_request_stays_one(target in "/.{0,40}", name in ".{0,8}", value in ".{0,20}", body: Vec<u8>) {
            let headers = [(name.as_str(), value.as_str())];
            let request = Request { method: Method::Post, target: &target, headers: &headers, body: &body };
            if let Ok(outgoing) = compose(&request, "h") {
                let bytes = &outgoing.bytes[..];
                let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
                prop_assert_eq!(&bytes[end + 4..], &body[..]);
                let lines = bytes[..end].split(|byte| *byte == b'\n').count();
                prop_assert_eq!(lines, 4);
            }
        }
    }
}
