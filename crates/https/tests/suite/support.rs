//! Servers that do as they are told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Endpoint, Interrupt, Method, Request, Scheme, Trust};

/// Far more than anything here takes.
pub(crate) fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

pub(crate) fn after(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

pub(crate) fn get(target: &str) -> Request<'_> {
    Request {
        method: Method::Get,
        target,
        headers: &[],
        body: b"",
    }
}

pub(crate) fn post<'a>(target: &'a str, body: &'a [u8]) -> Request<'a> {
    Request {
        method: Method::Post,
        body,
        ..get(target)
    }
}

pub(crate) fn endpoint(scheme: Scheme, port: u16, trust: Trust) -> Endpoint {
    Endpoint {
        scheme,
        host: "127.0.0.1".to_owned(),
        port,
        trust,
    }
}

pub(crate) fn plain(port: u16) -> Endpoint {
    endpoint(Scheme::Http, port, Trust::System)
}

/// A server that plays a script on each connection, counted from 1.
pub(crate) struct Scripted {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counter) = (Arc::new(script), Arc::clone(&connections));
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                let script = Arc::clone(&script);
                thread::spawn(move || script(number, stream));
            }
        });
        Self { port, connections }
    }

    /// One that gives this answer to every request, on connections that stay open.
    pub(crate) fn answering(answer: &'static [u8]) -> Self {
        Self::new(move |_, mut stream| {
            while read_request(&mut stream).is_some() {
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request: head and as much body as it announces.
pub(crate) fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        seen.extend(byte);
        if seen.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(seen).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// Keeps the connection open and says nothing until the client goes.
pub(crate) fn silence(mut stream: impl Read) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

/// Ends the connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

pub(crate) const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// An interrupt, and what makes it happen when it is dropped.
pub(crate) fn interrupt() -> (Interrupt, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Interrupt::new(ours.into()), theirs)
}

/// Interrupts after a while.
pub(crate) fn interrupt_after(milliseconds: u64) -> Interrupt {
    let (interrupt, trigger) = interrupt();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(milliseconds));
        drop(trigger);
    });
    interrupt
}

/// Runs `what`, which has to end between these times.
pub(crate) fn timed<T>(least: u64, most: u64, what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let outcome = what();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(least), "{took:?}");
    assert!(took < Duration::from_millis(most), "{took:?}");
    outcome
}
