//! Where connections are accepted, and how many.
//!
//! Connections and logins that have not ended are counted: all of them, and those from each address. Whoever floods the
//! server takes up its own share: half of the connections, a quarter of the logins. No session that exists is disturbed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Limits, PortalAddress};
use crate::server::Shared;
use crate::server::connection::{Connection, Ended};
use crate::server::link::Link;
use crate::server::login::{LoginFailure, log_in};
use crate::server::mailbox::Mailbox;
use crate::server::slots::Slots;
use crate::server::tasks::Owner;

/// How long is waited when the process has no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The stack of a connection's thread. Nothing recursive runs there.
const STACK: usize = 512 << 10;
/// So many refusals are logged in one second.
const LOGGED: u32 = 8;

/// Who is there.
#[derive(Debug, Default)]
struct Count {
    connections: usize,
    logins: usize,
    /// Of each address: its connections, and how many of them log in.
    of: HashMap<IpAddr, (usize, usize)>,
    /// Of those that log in or have: so that they can be told to end.
    owners: Vec<(u64, Owner)>,
    next: u64,
    /// Refusals logged in this second.
    logged: Option<(Instant, u32)>,
}

/// Admission to connections.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Count>);

/// A connection that counts; it logs in until [`Guest::logged_in`].
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    address: IpAddr,
    number: u64,
    logs_in: bool,
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if there is room for it.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Guest> {
        let mut count = self.lock();
        let (connections, logins) = count.of.get(&address).copied().unwrap_or_default();
        let full = count.connections >= limits.connections || count.logins >= limits.logins;
        let greedy =
            connections >= limits.connections.div_ceil(2) || logins >= limits.logins.div_ceil(4);
        if full || greedy {
            return None;
        }
        count.connections += 1;
        count.logins += 1;
        count.of.insert(address, (connections + 1, logins + 1));
        count.next += 1;
        Some(Guest {
            guests: Arc::clone(self),
            address,
            number: count.next,
            logs_in: true,
        })
    }

    /// How many connections there are, and how many of them log in.
    pub(crate) fn count(&self) -> (usize, usize) {
        let count = self.lock();
        (count.connections, count.logins)
    }

    /// Everybody's mailbox.
    pub(crate) fn owners(&self) -> Vec<Owner> {
        let count = self.lock();
        count
            .owners
            .iter()
            .map(|(_, owner)| Arc::clone(owner))
            .collect()
    }

    /// Whether another refusal is logged: a flood does not fill the log.
    pub(crate) fn may_log(&self) -> bool {
        let mut count = self.lock();
        let now = Instant::now();
        let (since, logged) = match count.logged {
            Some((since, logged)) if now < since + Duration::from_secs(1) => (since, logged),
            _ => (now, 0),
        };
        count.logged = Some((since, logged.saturating_add(1)));
        logged < LOGGED
    }
}

impl Guest {
    fn is_reached_by(&self, owner: &Owner) {
        let mut count = self.guests.lock();
        count.owners.push((self.number, Arc::clone(owner)));
    }

    fn logged_in(&mut self) {
        if std::mem::take(&mut self.logs_in) {
            let mut count = self.guests.lock();
            count.logins -= 1;
            if let Some((_, logins)) = count.of.get_mut(&self.address) {
                *logins -= 1;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.logged_in();
        let mut count = self.guests.lock();
        count.connections -= 1;
        if let Some((connections, _)) = count.of.get_mut(&self.address) {
            *connections -= 1;
            if *connections == 0 {
                count.of.remove(&self.address);
            }
        }
        count.owners.retain(|(number, _)| *number != self.number);
    }
}

/// What the thread of a portal is told.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// Connections are accepted from now on.
    Begin,
    /// No more.
    End,
}

/// A listening socket and its thread.
#[derive(Debug)]
pub(crate) struct Portal {
    /// As the configuration has it: perhaps without a port.
    pub(crate) configured: PortalAddress,
    /// Where it really listens.
    address: SocketAddr,
    calls: Arc<Mailbox<Call>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Portal {
    /// Listens. Nothing is accepted before [`Self::begin`].
    pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // Beside an IPv4 listener of the same port.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// With a thread that is to accept connections, and waits for [`Self::begin`].
    pub(crate) fn prepare(
        shared: &Arc<Shared>,
        listener: TcpListener,
        configured: PortalAddress,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let calls = Arc::new(Mailbox::new()?);
        let bell = Arc::clone(&calls);
        let shared = Arc::clone(shared);
        let group = configured.group;
        let thread = thread::Builder::new()
            .name(format!("portal {group}"))
            .spawn(move || {
                if begins(&bell) {
                    accept(&shared, &listener, group, &bell);
                }
            })?;
        Ok(Self {
            configured,
            address,
            calls,
            thread: Some(thread),
        })
    }

    /// Accepts connections from now on.
    pub(crate) fn begin(&self) {
        self.calls.post(Call::Begin);
    }

    /// Where it really listens.
    pub(crate) const fn listens(&self) -> PortalAddress {
        PortalAddress {
            address: self.address,
            group: self.configured.group,
        }
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.calls.post(Call::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for the first call. Whether connections are to be accepted.
fn begins(calls: &Mailbox<Call>) -> bool {
    const A_WHILE: Duration = Duration::from_secs(3600);
    let mut told = Vec::new();
    while told.is_empty() {
        calls.wait(A_WHILE);
        calls.take(&mut told);
    }
    !told.contains(&Call::End)
}

/// Accepts connections until the next call, which is to end.
fn accept(shared: &Arc<Shared>, listener: &TcpListener, group: u16, calls: &Mailbox<Call>) {
    loop {
        let bell = calls.bell();
        let mut places = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(&bell, PollFlags::IN),
        ];
        if poll(&mut places, None).is_err() {
            continue;
        }
        if !places[1].revents().is_empty() {
            return;
        }
        match listener.accept() {
            Ok((socket, peer)) => welcome(shared, socket, peer, group),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!("cannot accept connections: {error}");
                let pause = Timespec::try_from(PAUSE).ok();
                let mut places = [PollFd::new(&bell, PollFlags::IN)];
                let _ = poll(&mut places, pause.as_ref());
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr, group: u16) {
    shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    let Some(guest) = shared.guests.admit(peer.ip(), &shared.config.limits) else {
        shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
        if shared.guests.may_log() {
            tracing::warn!(%peer, "turned away: too many connections or logins");
        }
        return;
    };
    let mine = Arc::clone(shared);
    let thread = thread::Builder::new()
        .name("connection".to_owned())
        .stack_size(STACK)
        .spawn(move || attend(&mine, socket, peer, group, guest));
    if let Err(error) = thread {
        tracing::warn!(%peer, "turned away: no thread: {error}");
    }
}

/// The life of one connection.
fn attend(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr, group: u16, mut guest: Guest) {
    let mut link = match Link::new(socket) {
        Ok(link) => link,
        Err(error) => return tracing::debug!(%peer, "gone before its login: {error}"),
    };
    guest.is_reached_by(&link.owner);
    if shared.stopping.load(Ordering::Acquire) {
        return;
    }
    let mut slots = Slots::default();
    let logged_in = match log_in(shared, &mut link, &mut slots, group) {
        Ok(logged_in) => logged_in,
        Err(failure) => {
            shared
                .counters
                .logins_failed
                .fetch_add(1, Ordering::Relaxed);
            if shared.guests.may_log() {
                match &failure {
                    LoginFailure::Refused { .. } => tracing::warn!(%peer, "login: {failure}"),
                    _ => tracing::info!(%peer, "login: {failure}"),
                }
            }
            return;
        }
    };
    // A discovery session counts as a login: whoever asks which targets there are need not have proved anything.
    if logged_in.normal.is_some() {
        guest.logged_in();
    }
    shared.counters.logins.fetch_add(1, Ordering::Relaxed);
    let initiator = logged_in.established.initiator.clone();
    let target = logged_in
        .established
        .target
        .clone()
        .unwrap_or_else(|| "discovery".to_owned());
    let session = logged_in
        .normal
        .as_ref()
        .map(|normal| normal.presence.session.id);
    tracing::info!(%peer, initiator, target, session, "logged in");
    match Connection::new(shared, link, slots, logged_in) {
        Ok(mut connection) => match connection.serve() {
            ended @ (Ended::Protocol(_)
            | Ended::Bug
            | Ended::Silent
            | Ended::Stuck
            | Ended::Io(_)) => {
                tracing::warn!(%peer, initiator, target, "session ended: {ended}");
            }
            ended => tracing::info!(%peer, initiator, target, "session ended: {ended}"),
        },
        Err(error) => tracing::error!(%peer, "cannot serve a session: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_a_quarter_of_the_logins() {
        let guests = Arc::new(Guests::default());
        let limits = Limits {
            connections: 100,
            logins: 8,
            ..Limits::default()
        };
        let (flood, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut flooding = Vec::new();
        while let Some(guest) = guests.admit(flood, &limits) {
            flooding.push(guest);
            assert!(flooding.len() <= 2);
        }
        assert_eq!(flooding.len(), 2);
        let mut guest = guests.admit(other, &limits).unwrap();
        guest.logged_in();
        assert_eq!(guests.count(), (3, 2));
        flooding.pop();
        assert!(guests.admit(flood, &limits).is_some());
        drop((guest, flooding));
        assert_eq!(guests.count(), (0, 0));
    }

    #[test]
    fn connections_are_bounded_too() {
        let guests = Arc::new(Guests::default());
        let limits = Limits {
            connections: 5,
            logins: 8,
            ..Limits::default()
        };
        let mut there = Vec::new();
        let mut come = |last| {
            let guest = guests.admit([10, 0, 0, last].into(), &limits);
            let came = guest.is_some();
            there.extend(guest.map(|mut guest| {
                guest.logged_in();
                guest
            }));
            came
        };
        // Half of them is for one address, and no more than all for all.
        let came = [1, 1, 1, 1, 2, 2, 3].map(&mut come);
        assert_eq!(came, [true, true, true, false, true, true, false]);
        there.clear();
        assert_eq!(guests.count(), (0, 0));
        assert!(guests.lock().of.is_empty());
        assert!(guests.admit([10, 0, 0, 1].into(), &limits).is_some());
    }
}
