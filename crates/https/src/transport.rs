//! Bytes over one socket, plain or encrypted, without ever blocking in a system call.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use deadline::Deadline;
use rustix::event::PollFlags;
use rustls::ClientConnection;

use crate::Interrupt;
use crate::wait::{Stop, check, wait_for};

/// Bytes read from the socket at one time.
const CHUNK: usize = 16 << 10;
/// Bytes that may come unasked: session tickets are some hundred. Whoever sends them without end is not listened to.
const UNASKED: u64 = 16 << 10;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, put behind those that were there.
    Bytes,
    /// Nothing for now.
    Nothing,
    /// The other side will send no more, and said so.
    End,
}

/// Why bytes cannot be moved.
#[derive(Debug)]
pub(crate) enum Trouble {
    Stop(Stop),
    /// The connection is gone: reset, or ended without TLS's own word of it.
    Gone(io::Error),
    /// TLS cannot go on.
    Tls(rustls::Error),
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// One socket.
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    interrupt: Option<Interrupt>,
    /// Bytes that the socket took.
    out: u64,
    /// The first bytes that came, before TLS looked at them.
    first: Vec<u8>,
    /// Bytes that TLS took from the socket.
    came: u64,
}

impl Transport {
    /// `socket` must not block.
    pub(crate) fn new(
        socket: TcpStream,
        tls: Option<ClientConnection>,
        interrupt: Option<Interrupt>,
    ) -> Self {
        Self {
            socket,
            tls: tls.map(Box::new),
            interrupt,
            out: 0,
            first: Vec::new(),
            came: 0,
        }
    }

    pub(crate) fn ignore_interrupt(&mut self) {
        self.interrupt = None;
    }

    /// How many bytes have left in all, TLS's own included.
    pub(crate) const fn out(&self) -> u64 {
        self.out
    }

    /// What the other side said first.
    pub(crate) fn first(&self) -> &[u8] {
        &self.first
    }

    pub(crate) const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = self.tls.as_ref()?.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }

    /// Whether work may begin or go on.
    pub(crate) fn check(&self, deadline: Deadline) -> Result<(), Stop> {
        check(self.interrupt.as_ref(), deadline)
    }

    /// Waits until something can be read; with `write`, also until something can be written.
    pub(crate) fn wait(&self, write: bool, deadline: Deadline) -> Result<(), Stop> {
        let mut flags = PollFlags::IN;
        if write {
            flags |= PollFlags::OUT;
        }
        let fd = Some((self.socket.as_fd(), flags));
        wait_for(fd, self.interrupt.as_ref(), deadline).map(drop)
    }

    /// Completes the TLS handshake.
    pub(crate) fn handshake(&mut self, deadline: Deadline) -> Result<(), Trouble> {
        loop {
            if let Err(trouble) = self.flush() {
                return Err(self.last_word().unwrap_or(trouble));
            }
            let Some(tls) = &self.tls else { return Ok(()) };
            if !tls.is_handshaking() && !tls.wants_write() {
                return Ok(());
            }
            self.wait(self.holds_back(), deadline)?;
            if self.feed()? == Received::End {
                return Err(Trouble::Gone(ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The alert of somebody who closed, which tells why, if it has come.
    fn last_word(&mut self) -> Option<Trouble> {
        let most = self.came + UNASKED;
        while self.came < most {
            match self.feed() {
                Ok(Received::Bytes) => {}
                Ok(Received::Nothing | Received::End) => return None,
                Err(said @ Trouble::Tls(_)) => return Some(said),
                Err(_) => return None,
            }
        }
        None
    }

    /// Hands over as much of `bytes` as goes without waiting; says how much. With TLS, what was taken may still be held back: then
    /// it goes out when this is called again, with nothing more if there is nothing more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Trouble> {
        let taken = match &mut self.tls {
            Some(tls) => tls.writer().write(bytes)?,
            None => match (&self.socket).write(bytes) {
                Ok(count) => {
                    self.out += u64::try_from(count).unwrap_or(u64::MAX);
                    count
                }
                Err(error) if is_for_later(&error) => 0,
                Err(error) => return Err(error.into()),
            },
        };
        self.flush()?;
        Ok(taken)
    }

    /// Whether TLS holds back bytes that the socket has not taken.
    pub(crate) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Gives the socket what TLS holds back, as far as it takes it.
    fn flush(&mut self) -> Result<(), Trouble> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut &self.socket) {
                Ok(0) => return Err(Trouble::Gone(ErrorKind::WriteZero.into())),
                Ok(count) => self.out += u64::try_from(count).unwrap_or(u64::MAX),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there, at most one chunk, without waiting.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>) -> Result<Received, Trouble> {
        let mut chunk = [0; CHUNK];
        if self.tls.is_none() {
            return match (&self.socket).read(&mut chunk) {
                Ok(0) => Ok(Received::End),
                Ok(count) => {
                    into.extend_from_slice(&chunk[..count]);
                    Ok(Received::Bytes)
                }
                Err(error) if is_for_later(&error) => Ok(Received::Nothing),
                Err(error) => Err(error.into()),
            };
        }
        // What was decrypted before goes first: TLS takes no more while it keeps too much.
        if let Some(received) = self.decrypted(into, &mut chunk)? {
            return Ok(received);
        }
        let fed = self.feed()?;
        if let Some(received) = self.decrypted(into, &mut chunk)? {
            return Ok(received);
        }
        match fed {
            // The socket ended, and TLS did not say that it would: an answer cut off by somebody in between looks like this.
            Received::End => Err(Trouble::Gone(ErrorKind::UnexpectedEof.into())),
            // A record without content for us: there may be more behind it.
            Received::Bytes | Received::Nothing => Ok(fed),
        }
    }

    /// What TLS has ready.
    fn decrypted(
        &mut self,
        into: &mut Vec<u8>,
        chunk: &mut [u8],
    ) -> Result<Option<Received>, Trouble> {
        let Some(tls) = &mut self.tls else {
            return Ok(None);
        };
        match tls.reader().read(chunk) {
            Ok(0) => Ok(Some(Received::End)),
            Ok(count) => {
                into.extend_from_slice(&chunk[..count]);
                Ok(Some(Received::Bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // TLS says so once the socket has ended without notice; the caller is told by `feed`.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets TLS read from the socket once.
    fn feed(&mut self) -> Result<Received, Trouble> {
        let Some(tls) = &mut self.tls else {
            return Ok(Received::Nothing);
        };
        let mut tap = Tap {
            socket: &self.socket,
            first: &mut self.first,
        };
        match tls.read_tls(&mut tap) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => self.came += u64::try_from(count).unwrap_or(u64::MAX),
            Err(error) if is_for_later(&error) => return Ok(Received::Nothing),
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = tls.process_new_packets() {
            // Its alert tells the other side why; that it arrives is not certain, and changes nothing here.
            let _ = self.flush();
            return Err(Trouble::Tls(error));
        }
        self.flush()?;
        Ok(Received::Bytes)
    }

    /// Makes sure that nothing has come that nobody asked for, and that the other side has not closed.
    ///
    /// # Errors
    /// `Some` if it said by TLS why it does not go on.
    pub(crate) fn be_quiet(&mut self) -> Result<(), Option<rustls::Error>> {
        let mut unasked = Vec::new();
        let most = self.came + UNASKED;
        while self.came < most {
            match self.read(&mut unasked) {
                Ok(Received::Nothing) => return Ok(()),
                // TLS 1.3 sends session tickets after the handshake.
                Ok(Received::Bytes) if unasked.is_empty() => {}
                Err(Trouble::Tls(error)) => return Err(Some(error)),
                Ok(Received::Bytes | Received::End) | Err(_) => return Err(None),
            }
        }
        Err(None)
    }
}

/// Says goodbye, as far as that goes without waiting.
impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        let _ = self.flush();
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("socket", &self.socket)
            .field("encrypted", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Reads from the socket, and keeps what came first.
struct Tap<'a> {
    socket: &'a TcpStream,
    first: &'a mut Vec<u8>,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const KEPT: usize = 64;
        let count = self.socket.read(buffer)?;
        let more = KEPT.saturating_sub(self.first.len()).min(count);
        self.first.extend_from_slice(&buffer[..more]);
        Ok(count)
    }
}
