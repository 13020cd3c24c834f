//! Everything that can go wrong in every phase: the error says in which, and whether the request may have been carried out.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use https::{Client, Connection, Endpoint, Error, Scheme, Trust};
use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::support::{
    HELLO, Scripted, after, ample, endpoint, get, interrupt, interrupt_after, plain, post,
    read_request, reset, silence, timed,
};

/// A port that neither takes nor refuses connections: its queue is full.
struct Swallowing {
    port: u16,
    _held: Vec<Box<dyn std::any::Any>>,
}

impl Swallowing {
    fn new() -> Self {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&socket, &any).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut held: Vec<Box<dyn std::any::Any>> = vec![Box::new(listener)];
        let short = Duration::from_millis(200);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, short) {
            held.push(Box::new(stream));
            assert!(held.len() < 10, "the queue has no end");
        }
        Self {
            port: address.port(),
            _held: held,
        }
    }
}

fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn tls(port: u16) -> Endpoint {
    endpoint(Scheme::Https, port, Trust::Anybody)
}

fn request(endpoint: Endpoint, deadline: Deadline) -> Error {
    Client::new(endpoint, None)
        .send(post("/", b"stop"), deadline)
        .unwrap_err()
}

#[test]
fn nobody_there() {
    let error = request(plain(unused_port()), ample());
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
    assert!(error.to_string().contains("nobody listens"), "{error}");
    assert!(!error.may_have_been_carried_out());
}

#[test]
fn a_name_that_does_not_exist() {
    let mut endpoint = plain(80);
    endpoint.host = "no-such-host.invalid".to_owned();
    // Without a resolver that answers, the look-up itself takes too long.
    let error = timed(0, 3500, || request(endpoint, after(3000)));
    match &error {
        Error::NoAddress { host, .. } => assert_eq!(host, "no-such-host.invalid"),
        Error::DeadlinePassed { doing, .. } => assert_eq!(*doing, "looking the name up"),
        other => panic!("{other}"),
    }
    assert!(!error.may_have_been_carried_out());
}

/// A silent server in every phase: the deadline holds, and the error names the phase.
#[test]
fn deadlines_hold_in_every_phase() {
    let swallowing = Swallowing::new();
    let silent = Scripted::new(|_, stream| silence(stream));
    let deaf = Scripted::new(|_, stream| {
        thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let slow = Scripted::new(|_, mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").unwrap();
        silence(stream);
    });
    let large = vec![0; 6 << 20];
    let cases = [
        (plain(swallowing.port), &b""[..], "connecting", false),
        (tls(silent.port), b"", "agreeing on TLS", false),
        (plain(deaf.port), &large, "sending the request", true),
        (plain(silent.port), b"", "waiting for the answer", true),
        (plain(slow.port), b"", "receiving the answer", true),
    ];
    for (endpoint, body, phase, may) in cases {
        let send = || Client::new(endpoint, None).send(post("/", body), after(300));
        let error = timed(300, 3000, send).unwrap_err();
        let Error::DeadlinePassed { doing, waited, .. } = &error else {
            panic!("{phase}: {error}")
        };
        assert_eq!(*doing, phase);
        assert!(*waited > Duration::from_millis(100) && *waited < Duration::from_millis(3000));
        assert_eq!(error.may_have_been_carried_out(), may, "{phase}");
    }
}

#[test]
fn interrupts_end_every_phase() {
    let swallowing = Swallowing::new();
    let silent = Scripted::new(|_, stream| silence(stream));
    let deaf = Scripted::new(|_, stream| {
        thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let slow = Scripted::new(|_, mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").unwrap();
        silence(stream);
    });
    let large = vec![0; 6 << 20];
    let cases = [
        (plain(swallowing.port), &b""[..], "connecting", false),
        (tls(silent.port), b"", "agreeing on TLS", false),
        (plain(deaf.port), &large, "sending the request", true),
        (plain(silent.port), b"", "waiting for the answer", true),
        (plain(slow.port), b"", "receiving the answer", true),
    ];
    for (endpoint, body, phase, may) in cases {
        let mut client = Client::new(endpoint, Some(interrupt_after(200)));
        let error = timed(200, 3000, || client.send(post("/", body), ample())).unwrap_err();
        let Error::Interrupted { doing, .. } = &error else {
            panic!("{phase}: {error}")
        };
        assert_eq!(*doing, phase);
        assert_eq!(error.may_have_been_carried_out(), may, "{phase}");
    }
}

/// Who was interrupted sends nothing more, and can still say goodbye.
#[test]
fn after_an_interrupt_only_the_last_words_are_sent() {
    let server = Scripted::answering(HELLO);
    let (interrupt, trigger) = interrupt();
    let mut client = Client::new(plain(server.port), Some(interrupt));
    client.send(get("/"), ample()).unwrap();
    drop(trigger);
    for _ in 0..2 {
        let error = client.send(post("/", b"stop"), ample()).unwrap_err();
        assert!(
            matches!(error, Error::Interrupted { sent: false, .. }),
            "{error}"
        );
    }
    client.ignore_interrupt();
    assert_eq!(
        client.send(post("/logout", b""), ample()).unwrap().status,
        200
    );
}

#[test]
fn nothing_is_sent_after_the_deadline() {
    let server = Scripted::answering(HELLO);
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    let error = connection.send(post("/", b"stop"), after(0)).unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { sent: false, .. }),
        "{error}"
    );
    assert!(!error.may_have_been_carried_out());
}

#[test]
fn a_server_that_trickles_is_taken_as_long_as_there_is_time() {
    let server = Scripted::new(|_, mut stream| {
        read_request(&mut stream);
        for byte in HELLO {
            thread::sleep(Duration::from_millis(10));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
        silence(stream);
    });
    let mut client = Client::new(plain(server.port), None);
    assert_eq!(client.send(get("/"), ample()).unwrap().body, b"hello");
    client.close();
    let error = timed(200, 2000, || client.send(get("/"), after(200))).unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { sent: true, .. }),
        "{error}"
    );
}

/// Ends and resets, before and in the middle of an answer.
#[test]
fn a_connection_that_ends_is_no_answer() {
    for by_reset in [false, true] {
        for (said, when) in [
            (&b""[..], "without an answer"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Le",
                "in the middle of its answer",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
                "in the middle of its answer",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "in the middle of its answer",
            ),
        ] {
            let server = Scripted::new(move |_, mut stream| {
                read_request(&mut stream);
                stream.write_all(said).unwrap();
                thread::sleep(Duration::from_millis(100));
                if by_reset {
                    reset(stream);
                }
            });
            let error = request(plain(server.port), ample());
            let Error::Closed {
                when: told, sent, ..
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!((*told, *sent), (when, true), "{by_reset}");
        }
    }
    // Before the request, and while it is sent.
    for by_reset in [false, true] {
        let server = Scripted::new(move |_, stream| {
            if by_reset {
                reset(stream);
            }
        });
        let body = vec![0; 6 << 20];
        let error = Client::new(plain(server.port), None)
            .send(post("/", &body), ample())
            .unwrap_err();
        let gone = matches!(error, Error::Closed { .. } | Error::NotConnected { .. });
        assert!(gone, "{error}");
    }
}

/// An endless body ended by a reset is not a body that ended.
#[test]
fn a_reset_is_no_end_of_a_body_without_a_length() {
    let server = Scripted::new(|_, mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n<vms>").unwrap();
        thread::sleep(Duration::from_millis(100));
        reset(stream);
    });
    let error = request(plain(server.port), ample());
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error}");
}

#[test]
fn floods_are_refused() {
    for (start, more, words) in [
        (
            &b"HTTP/1.1 200 OK\r\nX: "[..],
            &b"aaaaaaaaaaaaaaaa"[..],
            "head is longer",
        ),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "head is longer"),
        (
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"aaaaaaaaaaaaaaaa",
            "body is larger",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\na\r\n",
            "body is larger",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"aaaaaaaaaaaaaaaa",
            "line between",
        ),
        (
            b"220 mail.example ESMTP\r\n",
            b"",
            "no HTTP: `220 mail.example ESMTP`",
        ),
    ] {
        let server = Scripted::new(move |_, mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(start);
            let more = more.repeat(1000);
            while !more.is_empty() && stream.write_all(&more).is_ok() {}
            silence(stream);
        });
        let mut client = Client::new(plain(server.port), None);
        client.set_limit(1 << 20);
        let error = client.send(get("/"), ample()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.may_have_been_carried_out());
    }
}

/// Trailers without end keep nobody busy longer than the deadline.
#[test]
fn an_endless_answer_ends_at_the_deadline() {
    let server = Scripted::new(|_, mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        while stream.write_all(b"A: b\r\n").is_ok() {}
    });
    let error = timed(300, 2000, || request(plain(server.port), after(300)));
    assert!(matches!(error, Error::DeadlinePassed { .. }), "{error}");
    let mut client = Client::new(plain(server.port), Some(interrupt_after(200)));
    let error = timed(200, 3000, || client.send(get("/"), ample())).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever a server sends instead of an answer: an error in time, never a panic, never a hang.
    #[test]
    fn noise_instead_of_an_answer(noise in prop::collection::vec(any::<u8>(), 0..200), encrypted: bool) {
        let server = Scripted::new(move |_, mut stream| {
            let mut some = [0; 64];
            let _ = std::io::Read::read(&mut stream, &mut some);
            let _ = stream.write_all(&noise);
            thread::sleep(Duration::from_millis(20));
        });
        let endpoint = if encrypted { tls(server.port) } else { plain(server.port) };
        let outcome = Client::new(endpoint, None).send(get("/"), ample());
        prop_assert!(outcome.is_err());
    }
}
