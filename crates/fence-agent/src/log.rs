//! Where an agent's messages go: stderr, syslog, and a debug file (FenceAgentAPI, facts section 4).
//!
//! Lines on stderr and in the debug file read `YYYY-MM-DD HH:MM:SS,mmm LEVEL: text`; syslog gets the
//! text alone. A message never stops or delays a run: stderr that nobody reads and a full syslog
//! socket lose it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::LocalTime;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Steps, for finding faults.
    Debug,
    /// Outcomes worth keeping.
    Info,
    /// Something is odd, the run goes on.
    Warning,
    /// The run fails.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    /// syslog severity (RFC 5424 table 2).
    const fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// syslog facility (RFC 5424 table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// `user`: what fence-agents' Python agents use.
    User,
    /// `daemon`: what the C `fence_xvm` and `fence_virt` use.
    Daemon,
}

impl Facility {
    const fn code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
        }
    }
}

/// The agent's log.
#[derive(Debug)]
pub struct Log {
    ident: String,
    facility: Facility,
    level: Level,
    stderr: bool,
    file: Option<File>,
    syslog: Syslog,
}

#[derive(Debug)]
enum Syslog {
    /// Connected on first use: most runs log nothing.
    NotYet,
    Connected(UnixDatagram),
    Off,
}

impl Log {
    /// A log to stderr and syslog for warnings and errors.
    #[must_use]
    pub fn new(ident: &str, facility: Facility) -> Self {
        Self {
            ident: ident.to_owned(),
            facility,
            level: Level::Warning,
            stderr: true,
            file: None,
            syslog: Syslog::NotYet,
        }
    }

    /// A log that goes nowhere, for tests.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            stderr: false,
            syslog: Syslog::Off,
            ..Self::new("test", Facility::User)
        }
    }

    /// Sets the least level that stderr and syslog show.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Stops writing to stderr.
    pub fn quiet(&mut self) {
        self.stderr = false;
    }

    /// Also writes everything to this file.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open_file(&mut self, path: &str) -> io::Result<()> {
        let no_wait = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        self.file = Some(
            options
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(no_wait)
                .open(path)?,
        );
        Ok(())
    }

    /// A message of debug level.
    pub fn debug(&mut self, text: &str) {
        self.write(Level::Debug, text);
    }

    /// A message of info level.
    pub fn info(&mut self, text: &str) {
        self.write(Level::Info, text);
    }

    /// A warning.
    pub fn warning(&mut self, text: &str) {
        self.write(Level::Warning, text);
    }

    /// An error.
    pub fn error(&mut self, text: &str) {
        self.write(Level::Error, text);
    }

    /// An outcome for the record: syslog and debug file keep it at any level, stderr shows it from
    /// info level on.
    pub fn record(&mut self, text: &str) {
        let now = LocalTime::now();
        if self.stderr && self.level <= Level::Info {
            print_stderr(&line(now, Level::Info, text));
        }
        self.append_file(now, Level::Info, text);
        self.send_syslog(now, Level::Info, text);
    }

    /// Whether a debug message would be seen by anyone: for messages that are costly to build.
    #[must_use]
    pub const fn wants_debug(&self) -> bool {
        self.file.is_some() || matches!(self.level, Level::Debug)
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            ident: self.ident.clone(),
            facility: self.facility,
            level: self.level,
            stderr: self.stderr,
            file: self.file.as_ref().and_then(|file| file.try_clone().ok()),
            syslog: if matches!(self.syslog, Syslog::Off) {
                Syslog::Off
            } else {
                Syslog::NotYet
            },
        }
    }

    pub(crate) fn write(&mut self, level: Level, text: &str) {
        let shown = level >= self.level;
        if !shown && self.file.is_none() {
            return;
        }
        let now = LocalTime::now();
        if shown && self.stderr {
            print_stderr(&line(now, level, text));
        }
        self.append_file(now, level, text);
        if shown {
            self.send_syslog(now, level, text);
        }
    }

    fn append_file(&mut self, now: LocalTime, level: Level, text: &str) {
        if let Some(file) = &mut self.file {
            // Losing a debug line must not change the outcome of a fencing action.
            let _ = file.write_all(line(now, level, text).as_bytes());
        }
    }

    fn send_syslog(&mut self, now: LocalTime, level: Level, text: &str) {
        if matches!(self.syslog, Syslog::NotYet) {
            self.syslog = connect().map_or(Syslog::Off, Syslog::Connected);
        }
        if let Syslog::Connected(socket) = &self.syslog {
            let datagram = datagram(self.facility, &self.ident, now, level, text);
            let _ = socket.send(datagram.as_bytes());
        }
    }
}

/// One line as stderr and the debug file get it: control characters cannot forge another line.
fn line(now: LocalTime, level: Level, text: &str) -> String {
    format!("{now} {}: {}\n", level.name(), one_line(text))
}

fn datagram(facility: Facility, ident: &str, now: LocalTime, level: Level, text: &str) -> String {
    let priority = facility.code() * 8 + level.severity();
    let stamp = now.syslog();
    format!("<{priority}>{stamp} {ident}: {}", one_line(text))
}

fn one_line(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect("/dev/log")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Writes to stderr if it takes the line within a second.
fn print_stderr(text: &str) {
    let stderr = rustix::stdio::stderr();
    let mut fds = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    if matches!(poll(&mut fds, Some(&second)), Ok(1)) {
        let _ = rustix::io::write(stderr, &text.as_bytes()[..text.len().min(4096)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_of_the_agent_api() {
        assert_eq!(
            line(LocalTime::EXAMPLE, Level::Error, "no\nsuch plug\n"),
            "2026-11-02 14:10:49,007 ERROR: no such plug\n"
        );
    }

    #[test]
    fn datagrams_have_the_form_of_syslog() {
        assert_eq!(
            datagram(
                Facility::User,
                "fence_t",
                LocalTime::EXAMPLE,
                Level::Error,
                "no"
            ),
            "<11>Nov  2 14:10:49 fence_t: no"
        );
        assert_eq!(
            datagram(
                Facility::Daemon,
                "fence_xvm",
                LocalTime::EXAMPLE,
                Level::Info,
                "off"
            ),
            "<30>Nov  2 14:10:49 fence_xvm: off"
        );
    }
}
