//! What QEMU is to a serial port: something between the guest's end of the line and the UNIX socket
//! that the daemon connects to.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use crate::{
    net::Namespace,
    process::{PATIENCE, wait_for},
};

/// A socket that a guest's device would be served on.
#[derive(Debug)]
pub struct DeviceSocket {
    listener: UnixListener,
}

impl DeviceSocket {
    /// Listens on `path`, as QEMU does for `mode='bind'`, creating its directory.
    ///
    /// # Panics
    /// When that cannot be done.
    #[must_use]
    pub fn bind(path: &Path) -> Self {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the test's directory takes directories");
        }
        let listener = UnixListener::bind(path).expect("a new socket");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        Self { listener }
    }

    /// Waits for the daemon to connect.
    #[must_use]
    pub fn accept(&self) -> UnixStream {
        let stream = wait_for(
            "the daemon to connect to the guest's device",
            PATIENCE,
            || self.listener.accept().ok(),
        );
        stream
            .0
            .set_nonblocking(false)
            .expect("a socket can be made blocking");
        stream.0
    }
}

/// A running relay, ended when dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Relay {
    fn spawn(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self {
            stop,
            worker: Some(thread::spawn(move || work(&seen))),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // A relay that panicked has shown that already, as a line that went dead.
            let _ = worker.join();
        }
    }
}

/// A serial line: a pseudo terminal whose other end is `stream`. Returns the relay and the
/// device's path.
///
/// # Panics
/// When the machine gives no terminal.
#[must_use]
pub fn serial(stream: UnixStream) -> (Relay, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&master).expect("one's own terminal");
    unlockpt(&master).expect("one's own terminal");
    let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
    let path = PathBuf::from(name.to_str().expect("terminal names are ASCII"));
    // Held open for as long as the relay lives: else the master sees a hang-up between two agents.
    let slave = open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its own end");
    let mut settings = tcgetattr(&slave).expect("a terminal has settings");
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).expect("a terminal takes settings");
    let relay = Relay::spawn(move |stop| {
        let _held: OwnedFd = slave;
        shuttle(&File::from(master), &stream, stop);
    });
    (relay, path)
}

/// A channel: a TCP port on the loopback of `guest`, whose other end is `stream`. Returns the relay
/// and the port.
///
/// # Panics
/// When the guest takes no listener.
#[must_use]
pub fn channel(guest: &Namespace, stream: UnixStream) -> (Relay, u16) {
    let listener = guest
        .enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .expect("a free port on the loopback");
    let port = listener
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    listener
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    let relay = Relay::spawn(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            if readable(&[listener.as_fd()])[0]
                && let Ok((client, _)) = listener.accept()
            {
                // Some systems let the accepted socket inherit the listener's mode.
                let _ = client.set_nonblocking(false);
                serve(&client, &stream, stop);
            }
        }
    });
    (relay, port)
}

fn serve(client: &TcpStream, stream: &UnixStream, stop: &AtomicBool) {
    shuttle(client, stream, stop);
}

/// Carries bytes both ways until one side closes or the relay is told to stop.
fn shuttle<L, R>(left: &L, right: &R, stop: &AtomicBool)
where
    L: AsFd,
    R: AsFd,
    for<'a> &'a L: Read + Write,
    for<'a> &'a R: Read + Write,
{
    while !stop.load(Ordering::Relaxed) {
        let ready = readable(&[left.as_fd(), right.as_fd()]);
        if ready[0] && carry(left, right).is_err() || ready[1] && carry(right, left).is_err() {
            return;
        }
    }
}

fn carry(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let count = from.read(&mut buffer)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    to.write_all(&buffer[..count])
}

/// Which of `ends` have something to read, after a moment at most: the relay must see its stop flag.
fn readable(ends: &[rustix::fd::BorrowedFd<'_>]) -> Vec<bool> {
    let mut polled: Vec<_> = ends
        .iter()
        .map(|end| PollFd::new(end, PollFlags::IN))
        .collect();
    let moment = Timespec::try_from(Duration::from_millis(50)).expect("a short time");
    // An interrupted wait is only another look.
    let _ = poll(&mut polled, Some(&moment));
    polled.iter().map(|end| !end.revents().is_empty()).collect()
}
