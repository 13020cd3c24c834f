//! One connection to a daemon: handshake, then the answer. Never blocks.
//!
//! ```text
//!   Proving --handshake done, held--> Proven --release()--> Asked --answer--> (answer)
//!      |                                 |                    |
//!      +------------ wrong answer, closed, reset: Broken -----+
//! ```
//!
//! A daemon acts when it has our last handshake message. An exchange that is *held* keeps that
//! message back, so that of several hosts that called back only one is let to act.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fence_wire::{AgentHandshake, Answer, HandshakeError, HashType, Key, ReplyError, ReplyReader};
use rustix::event::PollFlags;
use rustix::io::Errno;
use thiserror::Error;

/// A connection and how far it has come.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: OwnedFd,
    handshake: AgentHandshake,
    reply: ReplyReader,
    outgoing: Vec<u8>,
    held: bool,
}

/// How far an exchange has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The daemon has not proven itself yet.
    Proving,
    /// The daemon has proven itself; it acts once the exchange is released.
    Proven,
    /// The daemon has all it needs; its answer is awaited.
    Asked,
    /// The answer.
    Answered(Answer),
}

/// Why an exchange is over without an answer.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("the connection was closed before the other side proved that it knows the key")]
    ClosedEarly,
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("connection lost: {0}")]
    Io(std::io::Error),
}

impl Exchange {
    /// An exchange on a non-blocking stream. `first` is sent before anything else.
    pub(crate) fn new(
        stream: OwnedFd,
        first: &[u8],
        auth: HashType,
        key: &Key,
        challenge: [u8; 64],
        held: bool,
    ) -> Self {
        Self {
            stream,
            handshake: AgentHandshake::new(auth, key, challenge),
            reply: ReplyReader::new(),
            outgoing: first.to_vec(),
            held,
        }
    }

    /// Lets the daemon act.
    pub(crate) const fn release(&mut self) {
        self.held = false;
    }

    /// What to wait for before the next [`Exchange::drive`].
    pub(crate) fn interest(&self) -> PollFlags {
        if self.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    /// Goes as far as it can without blocking.
    pub(crate) fn drive(&mut self) -> Result<Progress, Broken> {
        let mut buffer = [0; 2048];
        loop {
            self.send()?;
            if self.handshake.is_done() && self.held {
                return Ok(Progress::Proven);
            }
            let want = if self.handshake.is_done() {
                buffer.len()
            } else {
                self.handshake.need()
            };
            let count = match rustix::io::read(&self.stream, &mut buffer[..want.min(2048)]) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(self.progress()),
                Err(error) => return Err(self.lost(error)),
            };
            if let Some(answer) = self.receive(&buffer[..count])? {
                return Ok(Progress::Answered(answer));
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Broken> {
        let used = self.handshake.receive(bytes)?;
        let rest = bytes.get(used..).unwrap_or_default();
        Ok(if rest.is_empty() {
            None
        } else {
            self.reply.receive(rest)?
        })
    }

    fn send(&mut self) -> Result<(), Broken> {
        if !(self.held && self.handshake.is_done()) {
            while let Some(bytes) = self.handshake.transmit() {
                self.outgoing.extend(bytes);
            }
        }
        while !self.outgoing.is_empty() {
            match rustix::io::write(&self.stream, &self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// A daemon that refuses a request closes with our bytes unread, which arrives as a reset.
    fn lost(&self, error: Errno) -> Broken {
        match error {
            Errno::CONNRESET | Errno::PIPE => self.closed(),
            error => Broken::Io(error.into()),
        }
    }

    fn progress(&self) -> Progress {
        if self.handshake.is_done() {
            Progress::Asked
        } else {
            Progress::Proving
        }
    }

    fn closed(&self) -> Broken {
        if self.handshake.is_done() {
            Broken::Reply(self.reply.closed())
        } else {
            Broken::ClosedEarly
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
