//! Requests and responses without faults.

use std::io::Write;
use std::sync::{Arc, Mutex};

use https::{Connection, Error, Method, Request};

use crate::support::{HELLO, Scripted, ample, get, plain, post, read_request};

#[test]
fn many_requests_go_over_one_connection() {
    let server = Scripted::answering(HELLO);
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    for _ in 0..20 {
        let response = connection.send(get("/"), ample()).unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
        assert!(connection.is_usable());
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(connection.peer_certificate(), None);
}

#[test]
fn what_is_sent_is_what_was_asked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::new({
        let seen = Arc::clone(&seen);
        move |_, mut stream| {
            while let Some(request) = read_request(&mut stream) {
                seen.lock().unwrap().push(request);
                stream.write_all(HELLO).unwrap();
            }
        }
    });
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    let methods = [
        (Method::Get, "GET"),
        (Method::Post, "POST"),
        (Method::Put, "PUT"),
        (Method::Patch, "PATCH"),
        (Method::Delete, "DELETE"),
    ];
    for (method, name) in methods {
        let request = Request {
            method,
            target: "/a?b=c",
            headers: &[("X", "y")],
            body: b"body",
        };
        connection.send(request, ample()).unwrap();
        let seen = seen.lock().unwrap().pop().unwrap();
        let host = format!("host: 127.0.0.1:{}\r\n", server.port);
        assert!(
            seen.starts_with(&format!("{name} /a?b=c HTTP/1.1\r\n{host}")),
            "{seen}"
        );
        assert!(seen.ends_with("X: y\r\n\r\nbody"), "{seen}");
    }
}

#[test]
fn a_redirect_is_an_answer_like_any_other() {
    let server = Scripted::answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    );
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    let response = connection.send(get("/"), ample()).unwrap();
    assert_eq!(
        (response.status, response.header("Location")),
        (302, Some("http://127.0.0.1:1/"))
    );
    assert!(connection.is_usable());
}

/// More than any socket buffer, both ways.
#[test]
fn large_bodies_go_both_ways() {
    let server = Scripted::new(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    });
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    let body = b"0123456789abcdef".repeat(1 << 19);
    let response = connection.send(post("/", &body), ample()).unwrap();
    assert!(response.body == body);
    assert!(connection.is_usable());
}

/// A server may answer before it has read the request, and close: the answer counts unless it claims to have done something.
#[test]
fn an_answer_before_the_end_of_the_request() {
    for (status, believed) in [("401 Unauthorized", true), ("200 OK", false)] {
        let server = Scripted::new(move |_, mut stream| {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
            stream.write_all(answer.as_bytes()).unwrap();
            // Enough time for the client to have it before the reset that unread bytes bring about.
            std::thread::sleep(std::time::Duration::from_millis(300));
        });
        let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
        let body = vec![b'x'; 32 << 20];
        let outcome = connection.send(post("/", &body), ample());
        if believed {
            assert_eq!(outcome.unwrap().status, 401);
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
            assert!(error.may_have_been_carried_out());
        }
        assert!(!connection.is_usable());
    }
}

#[test]
fn a_request_that_cannot_be_sent_leaves_the_connection_alone() {
    let server = Scripted::answering(HELLO);
    let mut connection = Connection::open(&plain(server.port), None, ample()).unwrap();
    let error = connection.send(get("no slash"), ample()).unwrap_err();
    assert!(matches!(error, Error::Unsendable { .. }) && !error.may_have_been_carried_out());
    assert_eq!(connection.send(get("/"), ample()).unwrap().status, 200);
}

#[test]
fn names_are_looked_up_and_every_address_is_tried() {
    // `localhost` is ::1 first where both are known; the server listens on the other.
    let server = Scripted::answering(HELLO);
    let mut endpoint = plain(server.port);
    endpoint.host = "localhost".to_owned();
    let mut connection = Connection::open(&endpoint, None, ample()).unwrap();
    assert_eq!(connection.send(get("/"), ample()).unwrap().status, 200);
}
