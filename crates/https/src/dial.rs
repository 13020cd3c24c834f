//! From a name to a connected socket.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use deadline::Deadline;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::wait::{Stop, wait_for};
use crate::{Endpoint, Error, Interrupt};

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;
/// The most look-ups that may be stuck in the C library at one time. Each costs a thread until the library gives up.
const MAX_LOOKUPS: usize = 16;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Connects to the first address of the endpoint that takes the connection.
pub(crate) fn dial(
    endpoint: &Endpoint,
    interrupt: Option<&Interrupt>,
    deadline: Deadline,
) -> Result<TcpStream, Error> {
    let begun = Instant::now();
    let addresses = resolve(endpoint, interrupt, deadline)?;
    let (mut troubles, mut late) = (Vec::new(), 0);
    for (at, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for those after it.
        let left = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let limit = deadline.within(deadline.remaining() / left);
        match connect(*address, interrupt, limit) {
            Ok(stream) => return Ok(stream),
            Err(Trouble::Stop(Stop::Interrupted)) => {
                return Err(Error::Interrupted {
                    doing: CONNECTING,
                    sent: false,
                });
            }
            Err(Trouble::Stop(Stop::Deadline)) => {
                late += 1;
                troubles.push((address, "no answer".to_owned()));
            }
            Err(Trouble::Errno(error)) => troubles.push((address, explain(error))),
        }
    }
    let peer = endpoint.peer();
    if late == troubles.len() {
        return Err(Error::DeadlinePassed {
            peer,
            doing: CONNECTING,
            waited: begun.elapsed(),
            sent: false,
        });
    }
    Err(Error::NotConnected {
        peer,
        detail: told(&troubles),
    })
}

const CONNECTING: &str = "connecting";
const RESOLVING: &str = "looking the name up";

/// One reason stands alone; several are told address by address.
fn told(troubles: &[(&SocketAddr, String)]) -> String {
    if let [(_, only)] = troubles {
        return only.clone();
    }
    let each = troubles
        .iter()
        .map(|(address, why)| format!("{}: {why}", address.ip()));
    each.collect::<Vec<_>>().join("; ")
}

fn explain(error: Errno) -> String {
    let text = io::Error::from(error).to_string();
    match error {
        Errno::CONNREFUSED => format!("{text}: nobody listens on this port, or a firewall refuses"),
        Errno::HOSTUNREACH | Errno::NETUNREACH => format!("{text}: no route, or the host is down"),
        _ => text,
    }
}

enum Trouble {
    Stop(Stop),
    Errno(Errno),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::Errno(error)
    }
}

fn connect(
    address: SocketAddr,
    interrupt: Option<&Interrupt>,
    deadline: Deadline,
) -> Result<TcpStream, Trouble> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // A server that vanished is noticed between requests.
    sockopt::set_socket_keepalive(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => return Ok(TcpStream::from(socket)),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let fd = Some((socket.as_fd(), PollFlags::OUT));
    wait_for(fd, interrupt, deadline).map_err(Trouble::Stop)?;
    sockopt::socket_error(&socket)??;
    Ok(TcpStream::from(socket))
}

/// The addresses of the endpoint: what is one already is not looked up.
fn resolve(
    endpoint: &Endpoint,
    interrupt: Option<&Interrupt>,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    let begun = Instant::now();
    let none = |detail: String| Error::NoAddress {
        host: endpoint.host.clone(),
        detail,
    };
    let (finished, answer) = look_up(&endpoint.host, endpoint.port).map_err(none)?;
    // The thread drops its end when it has put the answer in.
    let fd = Some((finished.as_fd(), PollFlags::IN));
    match wait_for(fd, interrupt, deadline) {
        Ok(_) => {}
        Err(Stop::Interrupted) => {
            return Err(Error::Interrupted {
                doing: RESOLVING,
                sent: false,
            });
        }
        Err(Stop::Deadline) => {
            return Err(Error::DeadlinePassed {
                peer: endpoint.peer(),
                doing: RESOLVING,
                waited: begun.elapsed(),
                sent: false,
            });
        }
    }
    let found = answer.try_recv();
    let found = found.map_err(|_| none("the look-up ended without an answer".to_owned()))?;
    let found = found.map_err(|error| none(format!("{error}; check the name and the resolver")))?;
    if found.is_empty() {
        return Err(none("the resolver found none".to_owned()));
    }
    Ok(found)
}

type Addresses = io::Result<Vec<SocketAddr>>;

/// Starts a look-up on a thread of its own: the C library's call takes no deadline. The descriptor becomes readable when the
/// answer is there.
fn look_up(host: &str, port: u16) -> Result<(OwnedFd, mpsc::Receiver<Addresses>), String> {
    let slot = Slot::take().ok_or("too many look-ups have not come back; check the resolver")?;
    let failed = |error: io::Error| format!("the look-up cannot be started: {error}");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let (sender, receiver) = mpsc::channel();
    let host = host.to_owned();
    let run = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // Whoever waited may have gone.
        let _ = sender.send(found.map(|found| found.take(MAX_ADDRESSES).collect()));
        drop((theirs, slot));
    };
    let thread = std::thread::Builder::new().name("resolver".to_owned());
    thread.spawn(run).map_err(failed)?;
    Ok((ours.into(), receiver))
}

/// One of the look-ups that may be under way.
struct Slot;

impl Slot {
    fn take() -> Option<Self> {
        let more = |count| (count < MAX_LOOKUPS).then_some(count + 1);
        let taken = LOOKUPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}
