//! The surroundings of one run: its deadline, the signals that end it, its log and its output.
//!
//! Every wait of an agent goes through [`Session::wait`], so that every wait ends at the deadline
//! and at SIGTERM. Agents whose client library blocks on its own call [`Session::guard`] first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGTERM;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::Log;
use crate::stdout;

/// The limit of a whole run when nothing sets another: below Pacemaker's default of 60 s, so that
/// the agent reports what it knows before it is killed.
pub const RUN_LIMIT: Duration = Duration::from_secs(50);

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The deadline passed.
    DeadlinePassed,
    /// The process was asked to end, by the signal of this name.
    Signal(&'static str),
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// At least one descriptor is ready; `PollFd::revents` says which.
    Ready,
    /// The step's own limit passed, the run may go on.
    Elapsed,
}

/// The surroundings of one run.
#[derive(Debug)]
pub struct Session {
    deadline: Deadline,
    signals: Signals,
    log: Log,
}

impl Session {
    pub(crate) fn new(deadline: Deadline, signals: Signals, log: Log) -> Self {
        Self {
            deadline,
            signals,
            log,
        }
    }

    /// When the run ends, whatever happens.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Sets the end of the run: an agent with a time-out option of its own calls this first.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    pub(crate) const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// A descriptor that becomes readable, and stays so, when a signal asks the agent to end: for client libraries that wait by
    /// themselves and end their waits when somebody says so.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn interrupt(&self) -> io::Result<OwnedFd> {
        self.signals.pipe.try_clone().map(OwnedFd::from)
    }

    /// The log.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Waits until a descriptor is ready or `until` passes.
    ///
    /// # Errors
    /// [`Stop`] when the run's deadline passes first or a signal asks the agent to end.
    pub fn wait<'a>(&'a self, fds: &mut [PollFd<'a>], until: Deadline) -> Result<Wake, Stop> {
        let limit = until.min(self.deadline);
        match self.signals.wait(fds, limit)? {
            Wake::Ready => Ok(Wake::Ready),
            Wake::Elapsed if self.deadline.has_passed() => Err(Stop::DeadlinePassed),
            Wake::Elapsed => Ok(Wake::Elapsed),
        }
    }

    /// Waits until `fd` is ready for `flags` or `until` passes; true if it is ready.
    ///
    /// # Errors
    /// As [`Session::wait`].
    pub fn wait_for(&self, fd: impl AsFd, flags: PollFlags, until: Deadline) -> Result<bool, Stop> {
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
        Ok(self.wait(&mut fds, until)? == Wake::Ready)
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// As [`Session::wait`].
    pub fn pause(&self, time: Duration) -> Result<(), Stop> {
        self.wait(&mut [], Deadline::after(time)).map(|_| ())
    }

    /// Whether the run must end now.
    ///
    /// # Errors
    /// [`Stop`] when it must.
    pub fn check(&self) -> Result<(), Stop> {
        self.signals.check()?;
        if self.deadline.has_passed() {
            Err(Stop::DeadlinePassed)
        } else {
            Ok(())
        }
    }

    /// Writes to standard output, all of it or an error.
    ///
    /// # Errors
    /// When standard output is closed, full, or not read in time.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        stdout::write(text.as_bytes(), self.deadline)
            .map_err(|error| Failure::refused(format!("cannot write to standard output: {error}")))
    }

    /// Ends the process by itself when the deadline passes or a signal arrives, even while a call
    /// blocks in a library. For agents that cannot wait through this type.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn guard(&self, doing: &'static str) -> io::Result<()> {
        let signals = self.signals.duplicate()?;
        let mut log = self.log.duplicate();
        let deadline = self.deadline;
        let watch = move || {
            let stop = match signals.wait(&mut [], deadline) {
                Ok(_) => Stop::DeadlinePassed,
                Err(stop) => stop,
            };
            log.error(&Failure::stopped(stop, doing).message);
            end_process();
        };
        std::thread::Builder::new()
            .name("guard".to_owned())
            .spawn(watch)
            .map(|_| ())
    }
}

#[expect(
    clippy::exit,
    reason = "the one place that may end a process whose main thread is stuck in a library"
)]
fn end_process() -> ! {
    std::process::exit(i32::from(Exit::FAILED.code()))
}

/// SIGTERM as something that can be waited for. Other signals keep their default: Ctrl-C ends an
/// agent at once, as it does the Python ones.
#[derive(Debug)]
pub(crate) struct Signals {
    received: Arc<AtomicBool>,
    pipe: UnixStream,
}

impl Signals {
    /// Takes over SIGTERM.
    pub(crate) fn install() -> io::Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        let received = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGTERM, Arc::clone(&received))?;
        signal_hook::low_level::pipe::register(SIGTERM, writer)?;
        Ok(Self { received, pipe })
    }

    fn duplicate(&self) -> io::Result<Self> {
        Ok(Self {
            received: Arc::clone(&self.received),
            pipe: self.pipe.try_clone()?,
        })
    }

    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.received.load(Ordering::SeqCst) {
            Err(Stop::Signal("SIGTERM"))
        } else {
            Ok(())
        }
    }

    /// Waits for descriptors, the deadline or a signal, whichever comes first.
    pub(crate) fn wait<'a>(
        &'a self,
        fds: &mut [PollFd<'a>],
        until: Deadline,
    ) -> Result<Wake, Stop> {
        let mut all: Vec<PollFd<'a>> = Vec::with_capacity(fds.len() + 1);
        all.push(PollFd::new(&self.pipe, PollFlags::IN));
        for fd in fds.iter() {
            all.push(fd.clone());
        }
        loop {
            self.check()?;
            match poll(&mut all, Some(&timespec(until.remaining()))) {
                Ok(0) if until.has_passed() => return Ok(Wake::Elapsed),
                Ok(0) | Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(_) => {
                    self.check()?;
                    for (fd, polled) in fds.iter_mut().zip(all.iter().skip(1)) {
                        *fd = polled.clone();
                    }
                    if fds.iter().any(|fd| !fd.revents().is_empty()) {
                        return Ok(Wake::Ready);
                    }
                }
                // poll() fails otherwise only when the kernel is out of memory or a descriptor
                // table is wrong: nothing can be waited for any more.
                Err(_) => return Err(Stop::DeadlinePassed),
            }
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Reads a descriptor to its end, at most `limit` bytes.
pub(crate) fn read_to_end(
    fd: BorrowedFd<'_>,
    limit: usize,
    signals: &Signals,
    until: Deadline,
) -> Result<Vec<u8>, ReadError> {
    let mut text = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match signals.wait(&mut fds, until).map_err(ReadError::Stopped)? {
            Wake::Ready => {}
            Wake::Elapsed => return Err(ReadError::Stopped(Stop::DeadlinePassed)),
        }
        match rustix::io::read(fd, &mut chunk) {
            Ok(0) => return Ok(text),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(ReadError::Io(error.into())),
        }
        if text.len() > limit {
            return Err(ReadError::TooLong(limit));
        }
    }
}

/// Why standard input could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Stopped(Stop),
    TooLong(usize),
    Io(io::Error),
}

impl ReadError {
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Stopped(stop) => Failure::stopped(stop, "reading options from standard input"),
            Self::TooLong(limit) => {
                Failure::usage(format!("standard input is longer than {limit} bytes"))
            }
            Self::Io(error) => Failure::usage(format!("cannot read standard input: {error}")),
        }
    }
}
