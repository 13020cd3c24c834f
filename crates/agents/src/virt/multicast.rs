//! Multicast: a signed packet to a group, repeated until a host connects back.
//!
//! ```text
//!            every `retrans`, until somebody has proven itself
//!              +----------+
//!              v          |            connection           proven, none released yet
//!   listen → send ------> wait ------------------> Proving ---------------> released → answer
//!              ^                                      |
//!              +---------- wrong key, closed ---------+
//! ```
//!
//! Whoever reaches the listener first is not trusted: a stranger that connects and says nothing, or
//! the wrong thing, is dropped and the agent goes on waiting for the host. Several hosts may connect
//! back; only one is let to act, and its answer is final. A host that failed to power its guest off
//! answers as one that does not know the guest does, and another one that only has the guest's
//! definition would say "off already": asked after a failure, it would turn "cannot know" into "off".

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use deadline::Deadline;
use fence_agent::{Failure, Session, Stop};
use fence_wire::{Answer, HashType, MULTICAST_TTL, Operation, Request};
use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use super::addresses::{self, ListError};
use super::config::{Config, Group, unspecified};
use super::exchange::{Exchange, Progress};
use super::random;
use super::stream::{explain, no_answer};

/// Connections served at once. More would only serve whoever wants to keep the host out; when it is
/// full the one that has been proving itself longest gives way.
const MAX_CONNECTIONS: usize = 16;
const BACKLOG: i32 = 10;

/// Asks whichever host answers the group.
pub(crate) fn ask(
    config: &Config,
    group: &Group,
    session: &mut Session,
) -> Result<Answer, Failure> {
    let (listener, port) = listen(group).map_err(|error| {
        Failure::refused(format!("cannot listen for the host's connection: {error}"))
    })?;
    let seqno = u32::from_ne_bytes(random()?);
    let mut run = Run {
        config,
        group,
        listener,
        port,
        seqno,
        callers: Vec::new(),
        last_problem: None,
    };
    run.go(session)
}

/// A listening socket on the preferred port, or on any when that one is busy: the packet tells the
/// host which. Two runs in one guest then do not disturb each other.
fn listen(group: &Group) -> io::Result<(Socket, u16)> {
    let open = |port| -> io::Result<Socket> {
        let address = SocketAddr::new(unspecified(group.address), port);
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            None,
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    let socket = match open(group.port) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => open(0)?,
        other => other?,
    };
    let port = socket
        .local_addr()?
        .as_socket()
        .map_or(group.port, |address| address.port());
    Ok((socket, port))
}

struct Run<'a> {
    config: &'a Config,
    group: &'a Group,
    listener: Socket,
    port: u16,
    seqno: u32,
    callers: Vec<Caller>,
    /// Why the last caller was dropped, or why nothing could be sent: for the message at the end.
    last_problem: Option<String>,
}

/// Somebody who connected.
struct Caller {
    from: String,
    exchange: Exchange,
    progress: Progress,
}

impl Run<'_> {
    fn go(&mut self, session: &mut Session) -> Result<Answer, Failure> {
        let mut next_send = Deadline::after(std::time::Duration::ZERO);
        loop {
            // Somebody who has proven nothing yet must not keep the host from hearing us again.
            let found = self
                .callers
                .iter()
                .any(|caller| caller.progress != Progress::Proving);
            if !found && next_send.has_passed() {
                self.send(session)?;
                next_send = Deadline::after(self.group.retrans);
            }
            let until = if found { session.deadline() } else { next_send };
            self.wait(session, until)
                .map_err(|stop| self.give_up(stop))?;
            self.accept()?;
            if let Some(answer) = self.drive(session)? {
                return Ok(answer);
            }
        }
    }

    fn wait(&self, session: &Session, until: Deadline) -> Result<(), Stop> {
        let mut fds = Vec::with_capacity(self.callers.len() + 1);
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        for caller in self
            .callers
            .iter()
            .filter(|caller| caller.progress != Progress::Proven)
        {
            fds.push(PollFd::new(&caller.exchange, caller.exchange.interest()));
        }
        session.wait(&mut fds, until).map(|_| ())
    }

    fn accept(&mut self) -> Result<(), Failure> {
        // At most a backlog at a time, so that a flood of strangers does not keep the host waiting.
        for _ in 0..BACKLOG {
            let Ok((socket, address)) = self.listener.accept_raw() else {
                return Ok(());
            };
            if socket.set_nonblocking(true).is_err() || socket.set_cloexec(true).is_err() {
                continue;
            }
            if self.callers.len() >= MAX_CONNECTIONS && !self.make_room() {
                continue;
            }
            self.callers.push(self.caller(socket, &address)?);
        }
        Ok(())
    }

    /// Drops the caller that has been proving itself longest; false if all have proven themselves.
    /// Those came before the newcomer, and one of them may be acting.
    fn make_room(&mut self) -> bool {
        let oldest = self
            .callers
            .iter()
            .position(|caller| caller.progress == Progress::Proving);
        oldest.map(|oldest| self.callers.remove(oldest)).is_some()
    }

    fn caller(&self, socket: Socket, address: &SockAddr) -> Result<Caller, Failure> {
        let from = address
            .as_socket()
            .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        // Without authentication every host that connects has acted or will: there is nothing to hold.
        let held = self.config.auth != HashType::None;
        let stream = OwnedFd::from(socket);
        let exchange = Exchange::new(
            stream,
            &[],
            self.config.auth,
            &self.config.key,
            random()?,
            held,
        );
        Ok(Caller {
            from,
            exchange,
            progress: Progress::Proving,
        })
    }

    /// Moves every connection on; lets the first proven one act when none is acting.
    fn drive(&mut self, session: &mut Session) -> Result<Option<Answer>, Failure> {
        let mut index = 0;
        while index < self.callers.len() {
            let caller = &mut self.callers[index];
            match caller.exchange.drive() {
                Ok(Progress::Answered(answer)) => return Ok(Some(answer)),
                Ok(progress) => {
                    caller.progress = progress;
                    index += 1;
                }
                Err(broken) => {
                    let caller = self.callers.remove(index);
                    let failure = explain(&broken, &caller.from, self.config);
                    if caller.progress == Progress::Asked && self.config.auth != HashType::None {
                        // It had all it needed: it may have acted.
                        return Err(failure);
                    }
                    self.dropped(&failure, session);
                }
            }
        }
        if !self
            .callers
            .iter()
            .any(|caller| caller.progress == Progress::Asked)
        {
            return self.release_next(session);
        }
        Ok(None)
    }

    /// Lets the first proven host act.
    fn release_next(&mut self, session: &mut Session) -> Result<Option<Answer>, Failure> {
        while let Some(index) = self
            .callers
            .iter()
            .position(|caller| caller.progress == Progress::Proven)
        {
            let caller = &mut self.callers[index];
            caller.exchange.release();
            match caller.exchange.drive() {
                Ok(Progress::Answered(answer)) => return Ok(Some(answer)),
                Ok(progress) => {
                    caller.progress = progress;
                    return Ok(None);
                }
                Err(broken) => {
                    let caller = self.callers.remove(index);
                    self.dropped(&explain(&broken, &caller.from, self.config), session);
                    if self.config.operation == Operation::ON {
                        return Err(explain(&broken, &caller.from, self.config));
                    }
                }
            }
        }
        Ok(None)
    }

    fn dropped(&mut self, failure: &Failure, session: &mut Session) {
        session
            .log()
            .warning(&format!("{failure}; still waiting for the host"));
        self.last_problem = Some(failure.message.clone());
    }

    /// Sends one packet per local address.
    fn send(&mut self, session: &mut Session) -> Result<(), Failure> {
        let v6 = self.group.address.is_ipv6();
        let locals = match addresses::local(v6, session, session.deadline()) {
            Ok(locals) => locals,
            Err(ListError::Stopped(stop)) => return Err(self.give_up(stop)),
            Err(ListError::Io(error)) => {
                return Err(Failure::refused(format!(
                    "cannot list this machine's addresses: {error}"
                )));
            }
        };
        let mut sent = 0;
        for local in &locals {
            match self.send_from(local.address, local.interface) {
                Ok(()) => sent += 1,
                Err(error) => {
                    let problem = format!(
                        "cannot send to {} from {}: {error}",
                        self.group.address, local.address
                    );
                    session.log().debug(&problem);
                    self.last_problem = Some(problem);
                }
            }
        }
        if sent > 0 {
            self.last_problem = None;
        } else if locals.is_empty() {
            let family = if v6 { "global IPv6" } else { "IPv4" };
            self.last_problem = Some(format!("this machine has no {family} address"));
        }
        session.log().debug(&format!(
            "asked {} port {} for {} from {sent} of {} addresses, answers to port {}",
            self.group.address,
            self.group.port,
            self.config.question(),
            locals.len(),
            self.port
        ));
        Ok(())
    }

    fn send_from(&self, local: IpAddr, interface: u32) -> io::Result<()> {
        let target = SocketAddr::new(self.group.address, self.group.port);
        let socket = Socket::new(Domain::for_address(target), Type::DGRAM.nonblocking(), None)?;
        match local {
            IpAddr::V4(address) => {
                socket.set_multicast_if_v4(&address)?;
                socket.set_multicast_ttl_v4(MULTICAST_TTL)?;
            }
            IpAddr::V6(_) => {
                socket.set_multicast_if_v6(interface)?;
                socket.set_multicast_hops_v6(MULTICAST_TTL)?;
            }
        }
        let packet = self.packet(local)?;
        let sent = socket.send_to(&packet, &target.into())?;
        if sent == packet.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The request as it asks to be called back at `local`: the same sequence number in every
    /// repetition, fresh random bytes in each packet.
    fn packet(&self, local: IpAddr) -> io::Result<[u8; fence_wire::REQUEST_LEN]> {
        let signed = self.config.hash != HashType::None;
        let request = Request {
            operation: self.config.operation,
            by_uuid: self.config.by_uuid,
            plug: self.config.plug.clone(),
            reply_to: Some(SocketAddr::new(local, self.port)),
            random: if signed {
                random().map_err(io::Error::other)?
            } else {
                [0; 6]
            },
            seqno: self.seqno,
        };
        Ok(request.encode(self.config.hash, &self.config.key))
    }

    fn give_up(&self, stop: Stop) -> Failure {
        let question = self.config.question();
        if let Some(caller) = self
            .callers
            .iter()
            .find(|caller| caller.progress == Progress::Asked)
        {
            let from = &caller.from;
            let doing = format!(
                "waiting for {from} to answer {question}: whether it was done is not known"
            );
            return Failure::stopped(stop, doing).with_exit(no_answer(stop, self.config.operation));
        }
        let because = self.last_problem.as_deref().map_or_else(
            || "; check that fence_virtd runs there, that it has the same key, and that the firewalls let \
                multicast out and its connection in".to_owned(),
            |problem| format!("; last problem: {problem}"),
        );
        let group = self.group.address;
        Failure::stopped(
            stop,
            format!("waiting for a host of {group} to connect back for {question}{because}"),
        )
    }
}
