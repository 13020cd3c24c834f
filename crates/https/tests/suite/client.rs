//! When a connection is opened anew, and what is never sent twice.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use https::{Client, Error};

use crate::support::{HELLO, Scripted, ample, get, plain, post, read_request};

#[test]
fn a_connection_is_opened_at_first_use_and_again_when_it_was_closed() {
    let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    for answer in [&closing[..], b"HTTP/1.0 200 OK\r\n\r\nhello", HELLO] {
        let server = Scripted::new(move |_, mut stream| {
            if read_request(&mut stream).is_some() {
                stream.write_all(answer).unwrap();
            }
        });
        let mut client = Client::new(plain(server.port), None);
        assert_eq!(server.connections(), 0);
        for count in 1..4 {
            assert_eq!(
                client.send(post("/", b"x"), ample()).unwrap().body,
                b"hello"
            );
            assert_eq!(server.connections(), count);
            // Until the server's end of the connection is there.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A server that answers once on its first connection and then reads a request and closes without an answer.
fn forgetful() -> (Scripted, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let server = Scripted::new({
        let requests = Arc::clone(&requests);
        move |number, mut stream| {
            while read_request(&mut stream).is_some() {
                let count = requests.fetch_add(1, Ordering::SeqCst);
                if number == 1 && count > 0 {
                    return;
                }
                stream.write_all(HELLO).unwrap();
            }
        }
    });
    (server, requests)
}

#[test]
fn a_get_is_repeated_once_when_a_used_connection_ends_without_an_answer() {
    let (server, requests) = forgetful();
    let mut client = Client::new(plain(server.port), None);
    client.send(get("/"), ample()).unwrap();
    client.send(get("/"), ample()).unwrap();
    assert_eq!(
        (server.connections(), requests.load(Ordering::SeqCst)),
        (2, 3)
    );
}

#[test]
fn nothing_else_is_ever_repeated() {
    let (server, requests) = forgetful();
    let mut client = Client::new(plain(server.port), None);
    client.send(get("/"), ample()).unwrap();
    let error = client.send(post("/", b"stop"), ample()).unwrap_err();
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error}");
    assert_eq!(
        (server.connections(), requests.load(Ordering::SeqCst)),
        (1, 2)
    );
    // The next request is another matter.
    assert_eq!(
        client.send(post("/", b"stop"), ample()).unwrap().status,
        200
    );
}

#[test]
fn a_get_over_a_fresh_connection_is_not_repeated() {
    let server = Scripted::new(|_, mut stream| drop(read_request(&mut stream)));
    let mut client = Client::new(plain(server.port), None);
    let error = client.send(get("/"), ample()).unwrap_err();
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_get_whose_answer_had_begun_is_not_repeated() {
    let requests = Arc::new(AtomicUsize::new(0));
    let server = Scripted::new({
        let requests = Arc::clone(&requests);
        move |_, mut stream| {
            while read_request(&mut stream).is_some() {
                if requests.fetch_add(1, Ordering::SeqCst) == 1 {
                    stream.write_all(b"HTTP/1.1 2").unwrap();
                    return;
                }
                stream.write_all(HELLO).unwrap();
            }
        }
    });
    let mut client = Client::new(plain(server.port), None);
    client.send(get("/"), ample()).unwrap();
    let error = client.send(get("/"), ample()).unwrap_err();
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

/// An answer that comes late, or twice, is never taken for the answer to the next question.
#[test]
fn answers_to_nothing_are_not_answers() {
    const OFF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noff";
    const ON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\non";
    // Twice.
    let server = Scripted::new(|number, mut stream| {
        while read_request(&mut stream).is_some() {
            stream
                .write_all(if number == 1 { OFF } else { ON })
                .unwrap();
            stream.write_all(OFF).unwrap();
        }
    });
    let mut client = Client::new(plain(server.port), None);
    assert_eq!(client.send(get("/"), ample()).unwrap().body, b"off");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(client.send(get("/"), ample()).unwrap().body, b"on");
    assert_eq!(server.connections(), 2);
    // Late: the question before had been given up.
    let server = Scripted::new(|number, mut stream| {
        while read_request(&mut stream).is_some() {
            if number == 1 {
                thread::sleep(Duration::from_millis(300));
                let _ = stream.write_all(OFF);
            } else {
                stream.write_all(ON).unwrap();
            }
        }
    });
    let mut client = Client::new(plain(server.port), None);
    assert!(client.send(get("/"), crate::support::after(100)).is_err());
    thread::sleep(Duration::from_millis(400));
    assert_eq!(client.send(get("/"), ample()).unwrap().body, b"on");
}

#[test]
fn a_limit_set_before_the_connection_holds() {
    let server = Scripted::answering(HELLO);
    let mut client = Client::new(plain(server.port), None);
    client.set_limit(4);
    assert!(client.send(get("/"), ample()).is_err());
    client.set_limit(5);
    assert!(client.send(get("/"), ample()).is_ok());
}
