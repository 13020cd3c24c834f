//! Talking to a guest: a small line protocol over TCP, inside the lab's network; its other end is
//! `guest/serve`. Only the lab's own network reaches it, and whoever is in there is root already.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use deadline::Deadline;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::error::Error;
use crate::net::NetNs;
use crate::spec::Node;

/// Where a guest listens.
const PORT: u16 = 2323;
/// The longest script: what Linux passes to a program as one argument.
const LONGEST_SCRIPT: usize = 120 * 1024;
/// The most output that is kept of each stream.
const MOST_OUTPUT: u64 = 16 << 20;
/// How often the clocks are compared; the best of these counts.
const CLOCK_TRIES: usize = 8;

/// What a command in a guest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128 + n if signal n ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last line end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Whether the status is 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.status == 0
    }
}

/// A log inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestLog {
    /// Corosync's, time stamps with milliseconds.
    Corosync,
    /// Pacemaker's.
    Pacemaker,
    /// What the guest's start script and the programs it started printed.
    Start,
}

impl GuestLog {
    /// Its path in the guest.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Corosync => cluster::COROSYNC_LOG,
            Self::Pacemaker => cluster::PACEMAKER_LOG,
            Self::Start => "/run/start.log",
        }
    }
}

/// A guest's wall clock beside this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockOffset {
    /// Guest's time minus ours. Subtract it from a guest's time stamp to get our time.
    pub offset: SignedDuration,
    /// The true offset differs by at most this: half the time the question took.
    pub uncertainty: Duration,
    /// When it was measured, on our clock.
    pub at: Timestamp,
}

impl ClockOffset {
    /// A guest's time stamp on our clock.
    #[must_use]
    pub fn to_host(&self, guest: Timestamp) -> Timestamp {
        guest.checked_sub(self.offset).unwrap_or(guest)
    }
}

/// A guest that may be asked things.
pub(crate) struct Guest<'a> {
    netns: &'a NetNs,
    node: &'a Node,
}

impl<'a> Guest<'a> {
    pub(crate) const fn new(netns: &'a NetNs, node: &'a Node) -> Self {
        Self { netns, node }
    }

    /// Runs a script of bash, to its end or to the deadline.
    pub(crate) fn run(&self, script: &str, deadline: Deadline) -> Result<Output, Error> {
        let mut line = self.send(script, deadline)?;
        let answer = line.line()?;
        let garbled = || Error::Garbled {
            node: self.node.name.clone(),
            detail: format!("`{answer}` where a status was expected"),
        };
        let mut numbers = answer.split_whitespace();
        let mut number = || numbers.next()?.parse::<u32>().ok();
        let (Some(status), Some(out), Some(err)) = (number(), number(), number()) else {
            return Err(garbled());
        };
        // timeout(1) exits with 124, or is killed along with the script, when its limit passes.
        if deadline.has_passed() {
            return Err(line.too_late());
        }
        Ok(Output {
            status: i32::try_from(status).map_err(|_| garbled())?,
            stdout: line.bytes(out.into())?,
            stderr: line.bytes(err.into())?,
        })
    }

    /// Panics its kernel: the moment just before that was asked for, and the connection it left open.
    pub(crate) fn panic(
        &self,
        deadline: Deadline,
    ) -> Result<(Timestamp, Instant, TcpStream), Error> {
        let mut line = self.connect(deadline)?;
        // Once this is answered, nothing but one line stands between the guest and its panic.
        line.clock("clock\n")?;
        let (at, instant) = (Timestamp::now(), Instant::now());
        line.write(b"panic\n")?;
        Ok((at, instant, line.stream))
    }

    fn send(&self, script: &str, deadline: Deadline) -> Result<Line<'a>, Error> {
        if script.len() > LONGEST_SCRIPT || script.contains('\0') {
            return Err(Error::BadSpec {
                reason: format!(
                    "a command for a guest has at most {LONGEST_SCRIPT} bytes and no zero byte"
                ),
            });
        }
        let mut line = self.connect(deadline)?;
        // Whole seconds, rounded up: our own deadline is the one that counts.
        let limit = deadline.remaining().as_secs().saturating_add(1).min(86_400);
        line.write(format!("run {limit} {}\n{script}", script.len()).as_bytes())?;
        Ok(line)
    }

    fn connect(&self, deadline: Deadline) -> Result<Line<'a>, Error> {
        let address = SocketAddr::from((self.node.address, PORT));
        let stream = self
            .netns
            .connect(address, deadline)
            .map_err(|error| Error::NoAnswer {
                node: self.node.name.clone(),
                detail: error.to_string(),
            })?;
        let _ = stream.set_nodelay(true);
        Ok(Line {
            stream,
            node: &self.node.name,
            began: Instant::now(),
            deadline,
        })
    }

    /// How far the guest's clock is from ours; `set` it to ours first, if asked to.
    pub(crate) fn clock(&self, set: bool, deadline: Deadline) -> Result<ClockOffset, Error> {
        let mut line = self.connect(deadline)?;
        // The first answer also waits for the guest to start its end of this.
        line.clock("clock\n")?;
        if set {
            let now = Timestamp::now();
            line.clock(&format!(
                "set {}.{:06}\n",
                now.as_second(),
                now.subsec_microsecond()
            ))?;
        }
        let mut best: Option<ClockOffset> = None;
        for _ in 0..CLOCK_TRIES {
            let one = line.clock("clock\n")?;
            if best.is_none_or(|best| one.uncertainty < best.uncertainty) {
                best = Some(one);
            }
        }
        best.ok_or_else(|| line.too_late())
    }
}

/// One connection to a guest.
struct Line<'a> {
    stream: TcpStream,
    node: &'a str,
    began: Instant,
    deadline: Deadline,
}

impl Line<'_> {
    fn too_late(&self) -> Error {
        Error::DeadlinePassed {
            doing: format!("waiting for node `{}`", self.node),
            after: self.began.elapsed(),
            detail: String::new(),
        }
    }

    fn failed(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.too_late(),
            _ => Error::NoAnswer {
                node: self.node.to_owned(),
                detail: error.to_string(),
            },
        }
    }

    /// The time left for one call of the socket's.
    fn patience(&self) -> Result<Duration, Error> {
        Some(self.deadline.remaining())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| self.too_late())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let left = self.patience()?;
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|error| self.failed(&error))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = self.patience()?;
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut buffer[filled..]));
            match read {
                Ok(0) => return Err(self.failed(&io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    /// A short line, without its end.
    fn line(&mut self) -> Result<String, Error> {
        const LONGEST: usize = 80;
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read(&mut byte)?;
            if byte == *b"\n" {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            line.push(byte[0]);
            if line.len() > LONGEST {
                return Err(Error::Garbled {
                    node: self.node.to_owned(),
                    detail: "an endless line".to_owned(),
                });
            }
        }
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        if length > MOST_OUTPUT {
            return Err(Error::Garbled {
                node: self.node.to_owned(),
                detail: format!("{length} bytes of output; at most {MOST_OUTPUT} are taken"),
            });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends a request whose answer is the guest's time.
    fn clock(&mut self, request: &str) -> Result<ClockOffset, Error> {
        let (asked, began) = (Timestamp::now(), Instant::now());
        self.write(request.as_bytes())?;
        let answer = self.line()?;
        let took = began.elapsed();
        let guest = parse_clock(&answer).ok_or_else(|| Error::Garbled {
            node: self.node.to_owned(),
            detail: format!("`{answer}` where a time was expected"),
        })?;
        let half = took / 2;
        // In the middle between question and answer the guest is supposed to have looked.
        let ours = asked.checked_add(half).unwrap_or(asked);
        Ok(ClockOffset {
            offset: guest.duration_since(ours),
            uncertainty: half,
            at: asked,
        })
    }
}

/// `SECONDS.MICROSECONDS`, as bash writes it.
fn parse_clock(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.trim().split_once('.')?;
    if fraction.len() != 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: i32 = fraction.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, micros * 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_read_to_the_microsecond() {
        assert_eq!(
            parse_clock("12.000034"),
            Timestamp::from_microsecond(12_000_034).ok()
        );
        for bad in ["", "12", "12.34", "x.000000", "1.-00001"] {
            assert!(parse_clock(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_guests_time_becomes_ours() {
        let offset = ClockOffset {
            offset: SignedDuration::from_secs(-5),
            uncertainty: Duration::ZERO,
            at: Timestamp::UNIX_EPOCH,
        };
        let guest = Timestamp::from_second(100).unwrap();
        assert_eq!(offset.to_host(guest), Timestamp::from_second(105).unwrap());
    }
}
