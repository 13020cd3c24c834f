//! A socket that carries PDUs: bytes in both directions at once, never longer than until a deadline.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;

use deadline::Deadline;
use iscsi::{Framing, FramingError, HEADER_LEN, Header};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A PDU that has come.
pub(super) struct Pdu {
    pub(super) header: Header,
    pub(super) data: Vec<u8>,
    /// The data's digest was wrong.
    pub(super) damaged: bool,
}

/// What a step on the socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes were moved.
    Moved,
    /// The deadline passed.
    Expired,
    /// The peer has closed its end.
    Closed,
}

pub(super) struct Wire {
    stream: TcpStream,
    incoming: Vec<u8>,
    /// How many bytes of `incoming` have been used.
    used: usize,
    outgoing: Vec<u8>,
    /// How many bytes of `outgoing` have been sent.
    sent: usize,
}

impl Wire {
    /// Connects to the first address of `host` that takes the connection.
    pub(super) fn connect(host: &str, port: u16, deadline: Deadline) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in resolve(host, port, deadline)? {
            if deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, deadline.remaining()) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    return Ok(Self {
                        stream,
                        incoming: Vec::new(),
                        used: 0,
                        outgoing: Vec::new(),
                        sent: 0,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Closes the connection. That it may be closed already does not matter.
    pub(super) fn shut(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// How many bytes wait to be sent.
    pub(super) const fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Puts a PDU after those that wait to be sent.
    pub(super) fn queue(&mut self, framing: &Framing, header: &Header, data: &[u8]) {
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        let prologue = framing.prologue(header, &[], data.len());
        self.outgoing.extend_from_slice(&prologue);
        self.outgoing.extend_from_slice(data);
        self.outgoing.extend_from_slice(&framing.epilogue(data));
    }

    /// The next PDU, if it has come as a whole.
    pub(super) fn take(&mut self, framing: &Framing) -> Result<Option<Pdu>, FramingError> {
        let bytes = &self.incoming[self.used..];
        let Some((start, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::from(*start);
        let lengths = framing.lengths(&header)?;
        let Some(rest) = rest.get(..lengths.total()) else {
            return Ok(None);
        };
        let (additional, rest) = rest.split_at(lengths.additional);
        let (digest, rest) = rest.split_at(lengths.header_digest);
        let (padded, data_digest) = rest.split_at(lengths.data + lengths.padding);
        framing.check_header(&header, additional, digest)?;
        let damaged = framing.check_data(padded, data_digest).is_err();
        let data = padded[..lengths.data].to_vec();
        self.used += HEADER_LEN + lengths.total();
        if self.used == self.incoming.len() {
            self.incoming.clear();
            self.used = 0;
        }
        Ok(Some(Pdu {
            header,
            data,
            damaged,
        }))
    }

    /// Waits for bytes without reading them. `false`: the deadline passed.
    pub(super) fn hear(&self, deadline: Deadline) -> io::Result<bool> {
        loop {
            let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
            let limit = Timespec::try_from(deadline.remaining()).ok();
            match poll(&mut polled, limit.as_ref()) {
                Ok(0) if deadline.has_passed() => return Ok(false),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what waits and receives what has come, once; waits for either until `deadline`.
    pub(super) fn step(&mut self, deadline: Deadline) -> io::Result<Step> {
        let mut wanted = PollFlags::IN;
        if self.waiting() > 0 {
            wanted |= PollFlags::OUT;
        }
        let mut polled = [PollFd::new(&self.stream, wanted)];
        let limit = Timespec::try_from(deadline.remaining()).ok();
        match poll(&mut polled, limit.as_ref()) {
            Ok(0) if deadline.has_passed() => return Ok(Step::Expired),
            Ok(_) => {}
            // A signal: whoever catches it decides, the deadline stands.
            Err(rustix::io::Errno::INTR) => return Ok(Step::Moved),
            Err(error) => return Err(error.into()),
        }
        let ready = polled[0].revents();
        if ready.contains(PollFlags::OUT) {
            self.send()?;
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return self.receive();
        }
        Ok(Step::Moved)
    }

    fn send(&mut self) -> io::Result<()> {
        match self.stream.write(&self.outgoing[self.sent..]) {
            Ok(count) => {
                self.sent += count;
                Ok(())
            }
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self) -> io::Result<Step> {
        if self.used > 0 {
            self.incoming.drain(..self.used);
            self.used = 0;
        }
        let length = self.incoming.len();
        self.incoming.resize(length + CHUNK, 0);
        let result = self.stream.read(&mut self.incoming[length..]);
        let count = *result.as_ref().unwrap_or(&0);
        self.incoming.truncate(length + count);
        match result {
            Ok(0) => Ok(Step::Closed),
            Ok(_) => Ok(Step::Moved),
            Err(error) if is_passing(&error) => Ok(Step::Moved),
            Err(error) => Err(error),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The addresses of `host`. Asking for a name may take longer than anybody wants to wait: it is left behind then.
fn resolve(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (outbox, inbox) = mpsc::channel();
    let host = host.to_owned();
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // Nobody may be waiting any more.
            let _ = outbox.send(found.map(Iterator::collect));
        })?;
    inbox
        .recv_timeout(deadline.remaining())
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
