//! HTTP/1.1 from the server side: threads, keep-alive, TLS, state per connection, faults.
//!
//! A server is a [`Service`]; each connection has a [`Session`] of its own, which lives as long as the connection does. Requests
//! under `/-/` that [`crate::faults`] knows are answered there, everything else by the session.

mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::faults::{Entry, Faults, What};
use crate::identity::Identity;
use crate::text;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(120);
/// The most connections at one time.
const MAX_CONNECTIONS: usize = 4096;

/// What is served: the state that all connections share.
pub trait Service: Send + Sync {
    /// A client has connected.
    fn connect(&self) -> Box<dyn Session + '_>;

    /// What fault tables and the log call this request: for a protocol where the path does not tell.
    fn operation(&self, request: &Request) -> String {
        let _ = request;
        String::new()
    }
}

/// One connection.
pub trait Session {
    /// Answers a request.
    fn answer(&mut self, request: &Request) -> Reply;
}

/// A request, read to its end.
#[derive(Debug, Clone)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// The path, percent-decoded.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
    /// The name of the fault that the service itself has to play ([`What::Is`]).
    pub fault: Option<String>,
}

impl Request {
    /// A request for this target.
    #[must_use]
    pub fn new(method: &str, target: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            path: text::decoded(path, false),
            query: text::pairs(query),
            headers,
            body,
            fault: None,
        }
    }

    /// The first header line of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.iter();
        let line = lines.find(|(line, _)| line.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// The first value of this name in the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        let pair = pairs.find(|(pair, _)| pair == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its header lines. `Content-Length` is added.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long it takes.
    pub delay: Duration,
    /// Whether the body goes out in chunks.
    pub chunked: bool,
    /// Whether the connection is closed after it.
    pub close: bool,
}

impl Response {
    /// A response with this body.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self {
            headers,
            body: body.into(),
            ..Self::empty(status)
        }
    }

    /// A response without one.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delay: Duration::ZERO,
            chunked: false,
            close: false,
        }
    }

    /// The same with a further header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same, later.
    #[must_use]
    pub const fn delay(mut self, time: Duration) -> Self {
        self.delay = time;
        self
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is answered.
    Response(Response),
    /// The answer is cut off after that many bytes of its body, and the connection closed.
    Truncated(Response, usize),
    /// The answer comes byte by byte.
    Trickling(Response, Duration),
    /// It is never answered; the connection stays open.
    Hang,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// These bytes go out, and the connection is closed.
    Raw(Vec<u8>),
}

/// A server that is running; it ends when the value is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    service: Arc<dyn Service>,
    tls: Option<Arc<ServerConfig>>,
    faults: Faults,
    ending: AtomicBool,
    counter: AtomicU64,
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on `listen` (port 0: any) and serves on threads of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(
        listen: &str,
        identity: Option<&Identity>,
        faults: Faults,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            tls: identity.map(Identity::config).transpose()?,
            faults,
            ending: AtomicBool::new(false),
            counter: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = thread::Builder::new().name("accept".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its faults and its log.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.counter.load(Ordering::SeqCst)
    }

    /// Closes every connection; new ones are taken.
    pub fn disconnect(&self) {
        let open = self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for stream in open.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.disconnect();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.counter.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= MAX_CONNECTIONS {
                continue;
            }
            if let Ok(handle) = stream.try_clone() {
                open.insert(number, handle);
            }
        }
        let serving = thread::Builder::new()
            .name(format!("connection {number}"))
            .spawn({
                let shared = Arc::clone(shared);
                move || {
                    // A client that is gone, or talks nonsense, is no trouble of the server's.
                    let _ = connection(stream, number, &shared);
                    let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.remove(&number);
                }
            });
        if serving.is_err() {
            let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(&number);
        }
    }
}

/// Both kinds of stream.
trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for StreamOwned<ServerConnection, TcpStream> {}

fn connection(socket: TcpStream, number: u64, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(IDLE))?;
    socket.set_write_timeout(Some(IDLE))?;
    let handle = socket.try_clone()?;
    let mut stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(socket),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(tls, socket))
        }
    };
    let mut session = shared.service.connect();
    let mut buffer = Vec::new();
    while let Some((request, received)) = wire::read(&mut stream, &mut buffer)? {
        let known = shared.faults.answer(&request);
        if let Some((status, body)) = known {
            let response = Response::new(status, "text/plain", body);
            wire::write(&mut stream, &response, &request.method)?;
            continue;
        }
        let operation = shared.service.operation(&request);
        let reply = reply(
            session.as_mut(),
            request.clone(),
            &operation,
            &shared.faults,
        );
        let status = match &reply {
            Reply::Response(response)
            | Reply::Truncated(response, _)
            | Reply::Trickling(response, _) => response.status,
            Reply::Hang | Reply::Close | Reply::Reset | Reply::Raw(_) => 0,
        };
        let mut entry = Entry {
            connection: number,
            method: request.method.clone(),
            target: request.target.clone(),
            operation,
            status,
            received,
            sent: 0,
            headers: harmless(&request.headers),
        };
        // Whoever got the answer finds its request in the log: it is written before.
        let outcome = match reply {
            Reply::Response(response) => {
                thread::sleep(response.delay);
                let bytes = wire::encode(&response, &request.method);
                entry.sent = bytes.len();
                shared.faults.record(entry);
                stream.write_all(&bytes)?;
                stream.flush()?;
                !response.close && !wire::wants_close(&request)
            }
            Reply::Truncated(response, at) => {
                thread::sleep(response.delay);
                let bytes = wire::encode(&response, &request.method);
                let body = wire::body_at(&bytes);
                let bytes = &bytes[..bytes.len().min(body + at)];
                entry.sent = bytes.len();
                shared.faults.record(entry);
                stream.write_all(bytes)?;
                stream.flush()?;
                false
            }
            Reply::Trickling(response, each) => {
                let bytes = wire::encode(&response, &request.method);
                entry.sent = bytes.len();
                shared.faults.record(entry);
                for byte in bytes {
                    thread::sleep(each);
                    stream.write_all(&[byte])?;
                    stream.flush()?;
                }
                !response.close
            }
            Reply::Raw(bytes) => {
                entry.sent = bytes.len();
                shared.faults.record(entry);
                stream.write_all(&bytes)?;
                stream.flush()?;
                false
            }
            Reply::Close => {
                shared.faults.record(entry);
                false
            }
            Reply::Reset => {
                shared.faults.record(entry);
                let soon = Some(Duration::ZERO);
                rustix::net::sockopt::set_socket_linger(&handle, soon)?;
                return Ok(());
            }
            Reply::Hang => {
                shared.faults.record(entry);
                wire::drain(&mut stream);
                false
            }
        };
        if !outcome {
            break;
        }
    }
    // The end of TLS is not announced: a server that dies does not do so either, and clients must tell the difference.
    let _ = handle.shutdown(Shutdown::Both);
    Ok(())
}

/// The session's answer, or what the fault table makes of it.
fn reply(
    session: &mut dyn Session,
    mut request: Request,
    operation: &str,
    faults: &Faults,
) -> Reply {
    let Some((what, after)) = faults.hit(&request, operation) else {
        return session.answer(&request);
    };
    let whole = |reply| match reply {
        Reply::Response(response) => response,
        _ => Response::empty(500),
    };
    match what {
        What::Is(name) => {
            request.fault = Some(name);
            session.answer(&request)
        }
        What::Delay(time) if after => Reply::Response(whole(session.answer(&request)).delay(time)),
        What::Delay(time) => {
            thread::sleep(time);
            session.answer(&request)
        }
        What::Truncate(at) => Reply::Truncated(whole(session.answer(&request)), at),
        What::Trickle(each) => Reply::Trickling(whole(session.answer(&request)), each),
        What::Status(_) | What::Body(_) | What::Raw(_) | What::Hang | What::Close | What::Reset => {
            if after {
                session.answer(&request);
            }
            match what {
                What::Status(status) => Reply::Response(Response::empty(status)),
                What::Body(body) => Reply::Response(Response::new(200, "text/plain", body)),
                What::Raw(bytes) => Reply::Raw(bytes.into_bytes()),
                What::Close => Reply::Close,
                What::Reset => Reply::Reset,
                _ => Reply::Hang,
            }
        }
    }
}

/// Header lines for the log: of those that hold passwords and tokens, only what kind they are.
fn harmless(headers: &[(String, String)]) -> Vec<(String, String)> {
    let line = |(name, value): &(String, String)| {
        let value = match name.as_str() {
            "authorization" => value.split(' ').next().unwrap_or_default().to_owned(),
            "cookie" => {
                let cookies = value
                    .split(';')
                    .filter_map(|cookie| cookie.split('=').next());
                cookies.map(str::trim).collect::<Vec<_>>().join(";")
            }
            name if name.contains("session") => "given".to_owned(),
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    headers.iter().map(line).collect()
}
