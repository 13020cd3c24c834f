//! Breaking a guest on purpose.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
