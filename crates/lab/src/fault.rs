//! Breaking a guest on purpose.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use deadline::Deadline;
use jiff::Timestamp;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::command::{Cancel, wait_for};
use crate::error::Error;
use crate::guest::Guest;
use crate::libvirt::Libvirt;
use crate::process::Stat;

/// How long the effect may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(30);
/// What a kernel says when it panics.
const PANIC: &str = "Kernel panic - not syncing";

/// What to do to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Its kernel panics (`c` to sysrq) and stays that way: no reboot, nothing tells libvirt.
    Panic,
    /// Its QEMU process is stopped by SIGSTOP: the guest hangs, and QEMU ignores SIGTERM too.
    Hang,
}

/// A fault that was seen to take effect.
#[derive(Debug, Clone, Serialize)]
pub struct Injected {
    /// Which node.
    pub node: String,
    /// What was done.
    pub fault: Fault,
    /// When, on this machine's wall clock: just before it was done.
    pub at: Timestamp,
    /// The same moment on the monotonic clock.
    #[serde(skip)]
    pub instant: Instant,
    /// What shows that it took effect: a console line, a process state.
    pub evidence: String,
}

/// Panics the kernel of `node`, and waits until its console shows it.
pub(crate) fn panic(
    node: &str,
    guest: &Guest<'_>,
    console: &Path,
    deadline: Deadline,
) -> Result<Injected, Error> {
    let deadline = deadline.within(SEEN_LIMIT);
    let before = std::fs::metadata(console).map_or(0, |metadata| metadata.len());
    // The connection is kept until the end: closing it would only make the guest do something.
    let (at, instant, _connection) = guest.panic(deadline)?;
    let seen = || said_since(console, before).map_err(Error::io("read", console));
    let evidence = wait_for(
        "waiting for the panic",
        deadline,
        &Cancel::never(),
        || {
            Ok(seen()?
                .lines()
                .find(|line| line.contains(PANIC))
                .map(str::to_owned))
        },
        String::new,
    )
    .map_err(|error| not_seen(node, &error))?;
    Ok(Injected {
        node: node.to_owned(),
        fault: Fault::Panic,
        at,
        instant,
        evidence: format!("console: {}", evidence.trim()),
    })
}

/// Stops the QEMU process of `node`, and waits until the kernel says that it is stopped.
pub(crate) fn hang(node: &str, libvirt: &Libvirt, deadline: Deadline) -> Result<Injected, Error> {
    let qemu = libvirt.qemu(node)?;
    let handle = qemu.open().ok_or_else(|| Error::FaultNotSeen {
        node: node.to_owned(),
        saw: "its QEMU has just ended".to_owned(),
    })?;
    let (at, instant) = (Timestamp::now(), Instant::now());
    handle
        .signal(Signal::STOP)
        .map_err(Error::io("stop", format!("process {}", qemu.pid)))?;
    wait_for(
        "waiting for QEMU to stop",
        deadline.within(SEEN_LIMIT),
        &Cancel::never(),
        || {
            Ok(Stat::read(qemu.pid)
                .filter(|stat| stat.state == 'T')
                .map(drop))
        },
        String::new,
    )
    .map_err(|error| not_seen(node, &error))?;
    Ok(Injected {
        node: node.to_owned(),
        fault: Fault::Hang,
        at,
        instant,
        evidence: format!("QEMU process {} is stopped", qemu.pid),
    })
}

fn not_seen(node: &str, error: &Error) -> Error {
    Error::FaultNotSeen {
        node: node.to_owned(),
        saw: error.to_string(),
    }
}

/// What was written to `console` after its first `from` bytes, at most 64 KiB of it.
fn said_since(console: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(console)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(64 << 10).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
