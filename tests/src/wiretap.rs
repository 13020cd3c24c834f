//! Between a client and a server: what was sent is written down, and the line can be cut.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::net::Namespace;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    /// They work.
    #[default]
    Whole,
    /// They are closed, new ones at once.
    Cut,
    /// They stay open, and nothing passes.
    Dead,
}

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections that clients made.
    pub connections: usize,
    /// Every byte that clients sent, connection after connection in the order of arrival.
    pub sent: Vec<u8>,
    /// How many bytes the server sent.
    pub received: usize,
}

impl Seen {
    /// How often `text` was sent.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.sent).matches(text).count()
    }

    /// How many HTTP requests were sent.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.count(" HTTP/1.1\r\n")
    }
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    line: Mutex<(Line, Vec<TcpStream>)>,
    stop: AtomicBool,
    open: AtomicUsize,
}

/// A tap on the way to a server, in its network namespace. Ended when dropped.
#[derive(Debug)]
pub struct Wiretap {
    port: u16,
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

const PACE: Duration = Duration::from_millis(5);

impl Wiretap {
    /// Listens on the loopback of `namespace` and forwards to `server`, a port there.
    ///
    /// # Panics
    /// When the namespace takes no socket.
    #[must_use]
    pub fn lay(namespace: &Namespace, server: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a port of the loopback");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let worker = namespace.enter(|| {
            let shared = Arc::clone(&shared);
            // Stays in the namespace that its parent is in.
            thread::spawn(move || {
                serve(
                    &listener,
                    SocketAddr::from((Ipv4Addr::LOCALHOST, server)),
                    &shared,
                );
            })
        });
        Self {
            port,
            shared,
            worker: Some(worker),
        }
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// How many connections of clients are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        *lock(&self.shared.seen) = Seen::default();
    }

    /// Changes what becomes of connections, those that there are included.
    pub fn set(&self, line: Line) {
        let mut state = lock(&self.shared.line);
        state.0 = line;
        if line == Line::Cut {
            for stream in state.1.drain(..) {
                // Closed already is what is wanted.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.set(Line::Cut);
        if let Some(worker) = self.worker.take() {
            // Had it panicked, the connections would have told.
            let _ = worker.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                lock(&shared.seen).connections += 1;
                // A server that is gone is seen by the client as what it is: a closed connection.
                let _ = join(client, server, shared);
            }
            Err(_) => thread::sleep(PACE),
        }
    }
}

fn join(client: TcpStream, server: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let mut line = lock(&shared.line);
    if line.0 == Line::Cut {
        return Ok(());
    }
    let server = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    line.1.extend([client.try_clone()?, server.try_clone()?]);
    drop(line);
    for (from, to, is_client) in [
        (client.try_clone()?, server.try_clone()?, true),
        (server, client, false),
    ] {
        let shared = Arc::clone(shared);
        if is_client {
            shared.open.fetch_add(1, Ordering::Relaxed);
        }
        thread::spawn(move || {
            forward(from, &to, is_client, &shared);
            let _ = to.shutdown(Shutdown::Both);
            if is_client {
                shared.open.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

fn forward(mut from: TcpStream, mut to: &TcpStream, is_client: bool, shared: &Shared) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        while lock(&shared.line).0 == Line::Dead {
            thread::sleep(PACE);
        }
        let mut seen = lock(&shared.seen);
        if is_client {
            seen.sent.extend_from_slice(&bytes[..length]);
        } else {
            seen.received += length;
        }
        drop(seen);
        if to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}
