//! Talking to a guest.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

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
