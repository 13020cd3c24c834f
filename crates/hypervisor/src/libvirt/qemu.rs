//! Ends a QEMU process that does not end when libvirt asks.
//!
//! `virDomainDestroy` sends SIGTERM and looks every 0.2 s whether the process is gone; only after
//! about ten seconds does it send SIGKILL. A hung QEMU (stopped, or stuck in its main loop) would
//! make a fencing call last that long. So when destroy has not returned after [`PATIENCE`], and the
//! guest's process runs on this machine, it gets SIGKILL from here, and libvirt, which is still
//! looking, sees it go and returns.
//!
//! What is killed is certain: the process is found by its command line (`-uuid UUID` and `-name
//! guest=NAME`, as libvirt writes them), a pidfd is opened, and the command line is read again through
//! the same pid afterwards. A pid that was reused meanwhile shows another command line or none; if the
//! process ended after that, the signal through the pidfd reaches nobody. Two processes that match (two
//! libvirt daemons on one machine) are both left alone.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Deadline, Guest};

/// How long destroy may take before the process is looked for. One that obeys SIGTERM is usually
/// gone after the first of libvirt's looks, 0.2 s.
pub(super) const LOOK_AFTER: Duration = Duration::from_millis(300);
/// How long a process that could still obey SIGTERM is given. One that is stopped cannot, and is
/// given nothing.
pub(super) const PATIENCE: Duration = Duration::from_millis(1000);
/// More of a command line than any QEMU has.
const LONGEST: u64 = 1 << 20;

/// Whether guests behind `uri` are processes of this machine: libvirt's QEMU driver, reached without
/// a network.
pub(super) fn is_local(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return false;
    };
    matches!(scheme, "qemu" | "qemu+unix") && rest.starts_with('/')
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killed {
    /// The process was killed and is dead.
    Yes,
    /// It ended by itself, or it is not wanted dead any more.
    NotNeeded,
    /// It was killed and is not dead at the deadline: it is stuck inside the kernel.
    NotDead,
}

/// Kills the process of `guest`, whose destruction began at `since`, if `wanted` still says so and
/// the deadline has not passed.
pub(super) fn kill(
    guest: &Guest,
    since: Instant,
    deadline: Deadline,
    wanted: impl Fn() -> bool,
) -> Result<Killed, String> {
    let process = Process::find(guest)?;
    if !process.is_stopped() {
        let patience = deadline.min(Deadline::at(since + PATIENCE));
        if process.wait(patience)? {
            return Ok(Killed::NotNeeded);
        }
    }
    if deadline.has_passed() || !wanted() {
        return Ok(Killed::NotNeeded);
    }
    match pidfd_send_signal(&process.fd, Signal::KILL) {
        Ok(()) => tracing::warn!(%guest, pid = process.pid, "QEMU did not end when asked: killed"),
        Err(rustix::io::Errno::SRCH) => return Ok(Killed::NotNeeded),
        Err(error) => return Err(format!("process {} cannot be killed: {error}", process.pid)),
    }
    Ok(if process.wait(deadline)? {
        Killed::Yes
    } else {
        Killed::NotDead
    })
}

#[derive(Debug)]
struct Process {
    pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The one process that is `guest`.
    fn find(guest: &Guest) -> Result<Self, String> {
        let entries = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut found = pids.filter_map(|pid| Self::open(pid, guest));
        match (found.next(), found.next()) {
            (Some(process), None) => Ok(process),
            (None, _) => Err("no process here has its UUID and name".to_owned()),
            (Some(one), Some(two)) => Err(format!(
                "processes {} and {} both have its UUID and name",
                one.pid, two.pid
            )),
        }
    }

    /// Process `pid`, if it is `guest` before and after the pidfd is opened.
    fn open(pid: i32, guest: &Guest) -> Option<Self> {
        let is_guest = || command_line(pid).is_some_and(|line| matches(&line, guest));
        if !is_guest() {
            return None;
        }
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        is_guest().then_some(Self { pid, fd })
    }

    /// Whether it is stopped (by a signal or a debugger) and so cannot handle any other signal.
    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The second field, the name in parentheses, may hold anything; the state follows the last.
        let state = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest.trim_start());
        state.starts_with(['T', 't'])
    }

    /// Waits for its death; whether it is dead.
    fn wait(&self, until: Deadline) -> Result<bool, String> {
        loop {
            let left = until.remaining();
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if until.has_passed() => return Ok(false),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => {
                    return Err(format!("process {} cannot be watched: {error}", self.pid));
                }
            }
        }
    }
}

fn command_line(pid: i32) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(LONGEST).read_to_end(&mut line).ok()?;
    Some(line)
}

/// Whether the NUL-separated arguments are those of `guest`'s QEMU.
fn matches(line: &[u8], guest: &Guest) -> bool {
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let value = |option: &str| {
        let pair = arguments
            .windows(2)
            .find(|pair| pair[0] == option.as_bytes())?;
        Some(pair[1])
    };
    // A comma in a value is written twice.
    let name = format!("guest={}", guest.name.replace(',', ",,"));
    let named = value("-name").and_then(|value| value.strip_prefix(name.as_bytes()));
    let is_named = match named {
        Some([]) => true,
        Some([b',', next, ..]) => *next != b',',
        _ => false,
    };
    is_named && value("-uuid") == Some(guest.uuid.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use uuid::Uuid;

    use super::*;

    fn guest(name: &str) -> Guest {
        Guest {
            name: name.to_owned(),
            uuid: Uuid::from_u128(0x1234_5678),
        }
    }

    fn line(name: &str, uuid: &str) -> Vec<u8> {
        format!("/usr/bin/qemu-system-x86_64\0-name\0{name}\0-S\0-uuid\0{uuid}\0-m\x001\0").into()
    }

    #[test]
    fn only_the_guests_own_command_line_matches() {
        let vm = guest("vm1");
        let uuid = vm.uuid.to_string();
        assert!(matches(&line("guest=vm1,debug-threads=on", &uuid), &vm));
        assert!(matches(&line("guest=vm1", &uuid), &vm));
        assert!(!matches(&line("guest=vm12,debug-threads=on", &uuid), &vm));
        assert!(!matches(&line("guest=vm1,,x", &uuid), &vm));
        assert!(matches(
            &line("guest=vm1,,x,debug-threads=on", &uuid),
            &guest("vm1,x")
        ));
        assert!(!matches(
            &line("guest=vm1", &Uuid::from_u128(1).to_string()),
            &vm
        ));
        assert!(!matches(
            format!("grep\0guest=vm1\0{uuid}\0").as_bytes(),
            &vm
        ));
        assert!(!matches(b"", &vm));
    }

    #[test]
    fn only_qemu_on_this_machine_is_local() {
        for uri in [
            "qemu:///system",
            "qemu:///session",
            "qemu+unix:///system?socket=/run/x",
        ] {
            assert!(is_local(uri), "{uri}");
        }
        for uri in [
            "",
            "qemu",
            "qemu:/system",
            "qemu://host/system",
            "qemu+ssh:///system",
            "qemu+tcp://127.0.0.1/system",
            "test:///default",
            "xen:///system",
        ] {
            assert!(!is_local(uri), "{uri}");
        }
    }

    /// A process with the command line of a guest, ended with the test.
    struct Fake(Child);

    impl Fake {
        fn start(guest: &Guest, script: &str) -> Self {
            let name = format!("guest={},debug-threads=on", guest.name);
            let mut command = Command::new("/bin/sh");
            command.args([
                "-c",
                script,
                "qemu",
                "-name",
                &name,
                "-uuid",
                &guest.uuid.to_string(),
            ]);
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut ready = [0];
            child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
            Self(child)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    const STUBBORN: &str = "trap '' TERM; echo; while :; do read x < /dev/zero; done";

    fn unique(name: &str) -> Guest {
        let id = u128::from(std::process::id()) << 64;
        Guest {
            name: name.to_owned(),
            uuid: Uuid::from_u128(id | name.len() as u128),
        }
    }

    fn ample() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn a_stopped_process_is_killed_at_once_and_a_stubborn_one_after_a_while() {
        let guest = unique("stopped");
        let mut fake = Fake::start(&guest, STUBBORN);
        let pid = Pid::from_child(&fake.0);
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        let begun = Instant::now();
        let process = Process::find(&guest).unwrap();
        while !process.is_stopped() {
            assert!(!ample().has_passed() && begun.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(
            kill(&guest, Instant::now(), ample(), || true),
            Ok(Killed::Yes)
        );
        assert!(!fake.0.wait().unwrap().success());

        let guest = unique("stubborn");
        let _fake = Fake::start(&guest, STUBBORN);
        let begun = Instant::now();
        assert_eq!(kill(&guest, begun, ample(), || true), Ok(Killed::Yes));
        assert!(begun.elapsed() >= PATIENCE);
    }

    #[test]
    fn nobody_is_killed_unwanted_late_unknown_or_in_doubt() {
        let guest = unique("spared");
        let mut fake = Fake::start(&guest, STUBBORN);
        let long_ago = Instant::now().checked_sub(PATIENCE).unwrap();
        assert_eq!(
            kill(&guest, long_ago, ample(), || false),
            Ok(Killed::NotNeeded)
        );
        let passed = Deadline::after(Duration::ZERO);
        assert_eq!(
            kill(&guest, long_ago, passed, || true),
            Ok(Killed::NotNeeded)
        );
        assert!(kill(&unique("nobody at all"), long_ago, ample(), || true).is_err());
        let _twin = Fake::start(&guest, STUBBORN);
        assert!(
            kill(&guest, long_ago, ample(), || true)
                .unwrap_err()
                .contains("both")
        );
        assert!(fake.0.try_wait().unwrap().is_none());
    }
}
