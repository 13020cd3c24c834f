//! The sockets of administrators and of whoever collects metrics.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use crate::control::wire::{Reply, Request};
use crate::server::{Admin, Mailbox};

/// The longest request, in bytes.
const MAX_REQUEST: usize = 64 << 10;
/// How long a peer may take to ask, and to take the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long is waited after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// How many are served at a time.
const MOST: usize = 16;

/// A listening socket with a thread.
struct Service {
    stop: Arc<Mailbox<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    /// Calls `serve` on a thread of its own for each that `accept` gives.
    fn start<L: AsFd + Send + 'static, S: Send + 'static>(
        name: &'static str,
        listener: L,
        accept: impl Fn(&L) -> io::Result<S> + Send + 'static,
        serve: impl Fn(S) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Mailbox::new()?);
        let bell = Arc::clone(&stop);
        let serve = Arc::new(serve);
        let busy = Arc::new(AtomicUsize::new(0));
        let run = move || {
            loop {
                let bell = bell.bell();
                let mut places = [
                    PollFd::new(&listener, PollFlags::IN),
                    PollFd::new(&bell, PollFlags::IN),
                ];
                if poll(&mut places, None).is_err() {
                    continue;
                }
                if !places[1].revents().is_empty() {
                    return;
                }
                let peer = match accept(&listener) {
                    Ok(peer) => peer,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => {
                        // No descriptors, most likely: whoever waits would be there again at once.
                        tracing::warn!("cannot accept connections: {error}");
                        let pause = Timespec::try_from(PAUSE).ok();
                        let mut places = [PollFd::new(&bell, PollFlags::IN)];
                        let _ = poll(&mut places, pause.as_ref());
                        continue;
                    }
                };
                if busy.fetch_add(1, Ordering::AcqRel) >= MOST {
                    busy.fetch_sub(1, Ordering::AcqRel);
                    continue;
                }
                let (serve, count) = (Arc::clone(&serve), Arc::clone(&busy));
                let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
                    serve(peer);
                    count.fetch_sub(1, Ordering::AcqRel);
                });
                if started.is_err() {
                    busy.fetch_sub(1, Ordering::AcqRel);
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.post(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The socket through which a server is administered. It is removed when this is dropped.
pub struct ControlSocket {
    path: PathBuf,
    _service: Service,
}

impl std::fmt::Debug for ControlSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ControlSocket").field(&self.path).finish()
    }
}

impl ControlSocket {
    /// Listens at `path`, in a directory that is made if need be.
    ///
    /// # Errors
    /// If another server listens there, or the path cannot be used.
    pub fn open(path: &Path, admin: Admin) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let stale = fs::symlink_metadata(path)
            .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
        if stale {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let service = Service::start(
            "control",
            listener,
            |listener: &UnixListener| Ok(listener.accept()?.0),
            move |peer| {
                if let Err(error) = serve(peer, &admin) {
                    tracing::debug!("an administrator hung up: {error}");
                }
            },
        )?;
        Ok(Self {
            path: path.to_owned(),
            _service: service,
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers one administrator's lines.
fn serve(mut peer: UnixStream, admin: &Admin) -> io::Result<()> {
    peer.set_nonblocking(false)?;
    // The socket's mode says the same; but between its making and its mode there is a moment.
    let who = socket_peercred(&peer)?.uid;
    if !who.is_root() && who != geteuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut rest = Vec::new();
    while let Some(line) = read_line(&mut peer, &mut rest, Deadline::after(LIMIT))? {
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                if !matches!(
                    request,
                    Request::Targets {} | Request::Sessions {} | Request::Metrics {}
                ) {
                    tracing::info!(?request, "an administrator's change");
                }
                request.carry_out(admin)
            }
            Err(error) => Reply::Refused {
                reason: format!("not a request: {error}"),
            },
        };
        let mut answer = serde_json::to_vec(&reply)?;
        answer.push(b'\n');
        peer.set_write_timeout(Some(LIMIT))?;
        peer.write_all(&answer)?;
    }
    Ok(())
}

/// The next line; `None` at the end.
fn read_line(
    peer: &mut UnixStream,
    rest: &mut Vec<u8>,
    deadline: Deadline,
) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let after = rest.split_off(end + 1);
            return Ok(Some(std::mem::replace(rest, after)));
        }
        let left = deadline.remaining();
        if rest.len() > MAX_REQUEST || left.is_zero() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        peer.set_read_timeout(Some(left))?;
        let mut bytes = [0; 4096];
        match peer.read(&mut bytes)? {
            0 => return Ok(None),
            count => rest.extend_from_slice(&bytes[..count]),
        }
    }
}

/// Serves metrics over HTTP at a loopback address.
pub struct MetricsListener {
    address: SocketAddr,
    _service: Service,
}

impl std::fmt::Debug for MetricsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MetricsListener")
            .field(&self.address)
            .finish()
    }
}

impl MetricsListener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub fn open(address: SocketAddr, admin: Admin) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let service = Service::start(
            "metrics",
            listener,
            |listener: &TcpListener| Ok(listener.accept()?.0),
            move |peer| {
                if let Err(error) = answer_http(peer, &admin) {
                    tracing::debug!("whoever collects metrics hung up: {error}");
                }
            },
        )?;
        Ok(Self {
            address,
            _service: service,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers one request, whatever it asks for, and closes.
fn answer_http(mut peer: TcpStream, admin: &Admin) -> io::Result<()> {
    peer.set_nonblocking(false)?;
    let deadline = Deadline::after(LIMIT);
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.remaining();
        if request.len() > MAX_REQUEST || left.is_zero() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        peer.set_read_timeout(Some(left))?;
        let mut bytes = [0; 1024];
        match peer.read(&mut bytes)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", admin.metrics())
    } else {
        ("404 Not Found", "only GET /metrics\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    peer.set_write_timeout(Some(LIMIT))?;
    peer.write_all(head.as_bytes())?;
    peer.write_all(body.as_bytes())
}
