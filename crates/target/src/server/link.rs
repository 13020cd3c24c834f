//! A socket with what is received from it and sent to it, and one place to wait for everything that may happen.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi::{Digests, Framing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::server::letter::Letter;
use crate::server::mailbox::Mailbox;
use crate::server::receiver::{Received, Receiver};
use crate::server::sender::Sender;
use crate::server::slots::Slots;
use crate::server::tasks::Owner;

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ready {
    /// The socket.
    pub(crate) readable: bool,
    /// The other descriptor.
    pub(crate) other: bool,
}

/// A connection's socket.
#[derive(Debug)]
pub(crate) struct Link {
    socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    pub(crate) owner: Owner,
    /// When something was received.
    pub(crate) heard: Instant,
    /// When something could be sent, or there was nothing to send.
    pub(crate) sent: Instant,
}

impl Link {
    /// # Errors
    /// If the socket has failed already, or there are no descriptors left.
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let framing = Framing {
            digests: Digests::default(),
            max_data: usize::try_from(iscsi::login::LOGIN_SEGMENT).unwrap_or(usize::MAX),
        };
        let now = Instant::now();
        Ok(Self {
            peer: socket.peer_addr()?,
            local: socket.local_addr()?,
            socket,
            receiver: Receiver::new(framing),
            sender: Sender::new(framing),
            owner: Arc::new(Mailbox::<Letter>::new()?),
            heard: now,
            sent: now,
        })
    }

    /// Receives what there is.
    pub(crate) fn receive<S>(&mut self, slots: &mut Slots<S>) -> io::Result<Received> {
        let received = self.receiver.fill(&mut self.socket, slots)?;
        if matches!(received, Received::Some(_)) {
            self.heard = Instant::now();
        }
        Ok(received)
    }

    /// Sends what can be sent. Whether that was everything.
    pub(crate) fn flush<S>(&mut self, slots: &mut Slots<S>) -> io::Result<bool> {
        let before = self.sender.total();
        let all = self.sender.flush(&mut self.socket, slots)?;
        if all || self.sender.total() != before {
            self.sent = Instant::now();
        }
        Ok(all)
    }

    /// Waits until the socket, the mailbox or `other` has something, but not longer than until `until`.
    pub(crate) fn wait(
        &self,
        (read, write): (bool, bool),
        other: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> io::Result<Ready> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, read);
        wanted.set(PollFlags::OUT, write);
        let bell = self.owner.bell();
        let mut places = [
            PollFd::new(&self.socket, wanted),
            PollFd::new(&bell, PollFlags::IN),
            PollFd::from_borrowed_fd(other.unwrap_or(bell), PollFlags::IN),
        ];
        wait_for(&mut places, until)?;
        let state = places[0].revents();
        let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if state.intersects(broken) && !read {
            // Nobody would read the error, and the wait would end at once for ever.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Ready {
            readable: state.intersects(PollFlags::IN | broken),
            other: other.is_some() && !places[2].revents().is_empty(),
        })
    }

    /// The same without the socket, which is shut.
    pub(crate) fn wait_for_letters(&self, other: BorrowedFd<'_>, until: Instant) -> io::Result<()> {
        let bell = self.owner.bell();
        let mut places = [
            PollFd::new(&bell, PollFlags::IN),
            PollFd::from_borrowed_fd(other, PollFlags::IN),
        ];
        wait_for(&mut places, until)
    }

    /// Closes the socket for both sides: the peer hears of it at once.
    pub(crate) fn shut(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn wait_for(places: &mut [PollFd<'_>], until: Instant) -> io::Result<()> {
    // A little late rather than a little early: early means once more around.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(500);
    let left = Timespec::try_from(left.min(Duration::from_secs(3600)));
    let left = left.unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    match poll(places, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
