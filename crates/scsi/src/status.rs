//! How a command ended: the status byte (SAM-5, "Status codes").

use std::fmt;

/// A status byte. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u8);

impl Status {
    /// The command completed without error.
    pub const GOOD: Self = Self(0x00);
    /// Sense data says what is wrong.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// PRE-FETCH: everything fits into the cache.
    pub const CONDITION_MET: Self = Self(0x04);
    /// Cannot take the command now.
    pub const BUSY: Self = Self(0x08);
    /// The command conflicts with a reservation of another nexus. No sense data, no data.
    pub const RESERVATION_CONFLICT: Self = Self(0x18);
    /// No room for another command.
    pub const TASK_SET_FULL: Self = Self(0x28);
    /// An auto contingent allegiance is in force.
    pub const ACA_ACTIVE: Self = Self(0x30);
    /// Aborted by another nexus, with TAS set in the control mode page.
    pub const TASK_ABORTED: Self = Self(0x40);

    /// Whether the command did what it was asked for.
    #[must_use]
    pub fn is_good(self) -> bool {
        self == Self::GOOD || self == Self::CONDITION_MET
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::GOOD => "GOOD",
            Self::CHECK_CONDITION => "CHECK CONDITION",
            Self::CONDITION_MET => "CONDITION MET",
            Self::BUSY => "BUSY",
            Self::RESERVATION_CONFLICT => "RESERVATION CONFLICT",
            Self::TASK_SET_FULL => "TASK SET FULL",
            Self::ACA_ACTIVE => "ACA ACTIVE",
            Self::TASK_ABORTED => "TASK ABORTED",
            Self(other) => return write!(f, "status {other:02x}h"),
        })
    }
}
