//! Processes by a handle that cannot come to mean another one.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use deadline::Deadline;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process and when it started: together unique until the machine restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started (field 22 of `/proc/PID/stat`).
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has number `pid` now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        Some(Self {
            pid,
            started: stat.started,
        })
    }

    /// Whether it still runs.
    pub(crate) fn lives(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// A handle on it, if it still runs.
    pub(crate) fn open(self) -> Option<Handle> {
        let handle = Handle::open(self.pid)?;
        // Opened first, compared afterwards: what the handle means cannot change in between.
        (Self::of(self.pid)? == self).then_some(handle)
    }
}

/// What `/proc/PID/stat` says.
pub(crate) struct Stat {
    /// `R`, `S`, `T` (stopped), `Z` (ended, not waited for), …
    pub(crate) state: char,
    /// Start time in clock ticks.
    pub(crate) started: u64,
}

impl Stat {
    pub(crate) fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc(5): the second field is the name in parentheses and may itself contain parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // Field 3 has just been taken; 22 is the 19th after it.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { state, started })
    }
}

/// A process, held so that its number cannot be given to another meanwhile.
pub(crate) struct Handle {
    fd: OwnedFd,
}

impl Handle {
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { fd })
    }

    pub(crate) fn signal(&self, signal: Signal) -> std::io::Result<()> {
        pidfd_send_signal(&self.fd, signal).map_err(Into::into)
    }

    /// Whether it has ended by `deadline`.
    pub(crate) fn wait_gone(&self, deadline: Deadline) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        loop {
            let left = deadline.remaining().min(Duration::from_secs(3600));
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(3600),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                Err(_) => return false,
            }
            if deadline.has_passed() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_do_not_confuse() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.started), ('S', 4711));
        assert!(Stat::parse("").is_none());
        assert!(Stat::parse("7 (a) S 1").is_none());
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.lives());
        let other = Identity {
            started: identity.started + 1,
            ..identity
        };
        assert!(!other.lives() && other.open().is_none());
        let handle = identity.open().unwrap();
        handle.signal(Signal::KILL).unwrap();
        assert!(handle.wait_gone(Deadline::after(Duration::from_secs(10))));
        child.wait().unwrap();
        assert!(!identity.lives());
    }
}
