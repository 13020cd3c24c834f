//! TCP and vsock: the request goes out on a connection of our own, the answer comes back on it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use deadline::Deadline;
use fence_agent::{Exit, Failure, Session, Stop};
use fence_wire::{Answer, Operation, Request};
use rustix::event::PollFlags;
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::config::{Config, Peer};
use super::exchange::{Broken, Exchange, Progress};
use super::random;

/// How long a connection may take to come about. Two lost SYNs fit in; a host that is down is
/// reported early enough for Pacemaker to try again.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Asks the daemon at `peer`.
pub(crate) fn ask(config: &Config, peer: &Peer, session: &mut Session) -> Result<Answer, Failure> {
    let stream = connect(*peer, session)?;
    let request = Request {
        operation: config.operation,
        by_uuid: config.by_uuid,
        plug: config.plug.clone(),
        reply_to: None,
        random: if config.hash == fence_wire::HashType::None {
            [0; 6]
        } else {
            random()?
        },
        seqno: u32::from_ne_bytes(random()?),
    };
    let packet = request.encode(config.hash, &config.key);
    let mut exchange = Exchange::new(stream, &packet, config.auth, &config.key, random()?, false);
    loop {
        let progress = match exchange.drive() {
            Ok(Progress::Answered(answer)) => return Ok(answer),
            Ok(progress) => progress,
            Err(broken) => return Err(explain(&broken, &peer.to_string(), config)),
        };
        let until = session.deadline();
        if let Err(stop) = session.wait_for(&exchange, exchange.interest(), until) {
            return Err(too_late(stop, &progress, &peer.to_string(), config));
        }
    }
}

/// Connects without blocking longer than [`CONNECT_LIMIT`] and the run's deadline.
pub(crate) fn connect(peer: Peer, session: &Session) -> Result<OwnedFd, Failure> {
    let fail = |error: io::Error| {
        Failure::unreachable(format!(
            "cannot connect to {peer}: {error}; check the address and the port, that fence_virtd \
             listens there, and that no firewall is in between"
        ))
    };
    let (domain, address) = match peer {
        Peer::Tcp(address) => (Domain::for_address(address), SockAddr::from(address)),
        Peer::Vsock { cid, port } => (Domain::VSOCK, SockAddr::vsock(cid, port)),
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None).map_err(fail)?;
    if matches!(peer, Peer::Tcp(_)) {
        socket.set_tcp_nodelay(true).map_err(fail)?;
    }
    match socket.connect(&address) {
        Ok(()) => return Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(fail(error)),
    }
    let doing = || format!("connecting to {peer}");
    match session.wait_for(&socket, PollFlags::OUT, Deadline::after(CONNECT_LIMIT)) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Failure::unreachable(format!(
                "timed out {}: no answer",
                doing()
            )));
        }
        Err(stop) => return Err(Failure::stopped(stop, doing())),
    }
    match socket.take_error() {
        Ok(None) => Ok(socket.into()),
        Ok(Some(error)) | Err(error) => Err(fail(error)),
    }
}

/// A connection that ended without an answer, in words.
pub(crate) fn explain(broken: &Broken, peer: &str, config: &Config) -> Failure {
    let question = config.question();
    match broken {
        Broken::Handshake(error) => Failure::refused(format!(
            "{peer} failed authentication with {}: {error}; check key_file and auth on both ends",
            config.auth
        )),
        Broken::ClosedEarly => Failure::refused(format!(
            "operation failed: {peer} closed the connection before it proved that it knows the key; \
             it refuses requests signed with another key or a weaker hash than it demands ({} was used)",
            config.hash
        )),
        Broken::Reply(error) => {
            Failure::cannot_know(format!("operation failed: {question} by {peer}: {error}"))
        }
        Broken::Io(_) => {
            Failure::cannot_know(format!("operation failed: {question} by {peer}: {broken}"))
        }
    }
}

/// The run's end, reached before the answer.
pub(crate) fn too_late(stop: Stop, progress: &Progress, peer: &str, config: &Config) -> Failure {
    let question = config.question();
    match progress {
        Progress::Asked => {
            let doing = format!(
                "waiting for {peer} to answer {question}: whether it was done is not known"
            );
            Failure::stopped(stop, doing).with_exit(no_answer(stop, config.operation))
        }
        _ => Failure::stopped(
            stop,
            format!("before {peer} proved that it knows the key; {question} was not done"),
        ),
    }
}

/// The C programs' status for "no reply in time". A signal, and a list that does not come, end with
/// the status of any failure.
pub(crate) fn no_answer(stop: Stop, operation: Operation) -> Exit {
    match stop {
        Stop::DeadlinePassed if operation != Operation::HOST_LIST => Exit::NO_ANSWER,
        _ => Exit::FAILED,
    }
}
