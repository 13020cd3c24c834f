//! The words of persistent reservations.

use std::fmt;
use std::num::NonZeroU64;

use crate::pr::InitiatorPort;
use crate::{AdditionalSense, Sense, Status};

/// A reservation key: eight bytes that an initiator chose, never zero. Zero means "no key" in commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(NonZeroU64);

impl Key {
    /// A key; `None` for zero.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Its value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// Relative target port identifier: which port of the target device. Counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePort(pub u16);

/// An I_T nexus: an initiator port talking to a target port (SAM-5, "I_T nexus"). Connections come and go, the
/// nexus stays the same while both names do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nexus {
    /// The initiator port.
    pub initiator: InitiatorPort,
    /// The target port.
    pub port: RelativePort,
}

/// What a reservation forbids, and to whom (SPC-4, "Persistent reservations type").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationType {
    /// Only the holder writes.
    WriteExclusive,
    /// Only the holder reads and writes.
    ExclusiveAccess,
    /// Only registrants write. What `fence_scsi` uses.
    WriteExclusiveRegistrantsOnly,
    /// Only registrants read and write.
    ExclusiveAccessRegistrantsOnly,
    /// Only registrants write, and every one of them is a holder.
    WriteExclusiveAllRegistrants,
    /// Only registrants read and write, and every one of them is a holder.
    ExclusiveAccessAllRegistrants,
}

impl ReservationType {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The TYPE field.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::WriteExclusive => 1,
            Self::ExclusiveAccess => 3,
            Self::WriteExclusiveRegistrantsOnly => 5,
            Self::ExclusiveAccessRegistrantsOnly => 6,
            Self::WriteExclusiveAllRegistrants => 7,
            Self::ExclusiveAccessAllRegistrants => 8,
        }
    }

    /// From the TYPE field; `None` for a reserved or obsolete code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether every registrant is a holder.
    #[must_use]
    pub const fn all_registrants(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether registrants who do not hold the reservation have access as the holder has.
    #[must_use]
    pub const fn serves_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether it forbids reading as well.
    #[must_use]
    pub const fn exclusive_access(self) -> bool {
        matches!(
            self,
            Self::ExclusiveAccess
                | Self::ExclusiveAccessRegistrantsOnly
                | Self::ExclusiveAccessAllRegistrants
        )
    }
}

impl fmt::Display for ReservationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteExclusive => "Write Exclusive",
            Self::ExclusiveAccess => "Exclusive Access",
            Self::WriteExclusiveRegistrantsOnly => "Write Exclusive, registrants only",
            Self::ExclusiveAccessRegistrantsOnly => "Exclusive Access, registrants only",
            Self::WriteExclusiveAllRegistrants => "Write Exclusive, all registrants",
            Self::ExclusiveAccessAllRegistrants => "Exclusive Access, all registrants",
        })
    }
}

/// Why a command is not carried out. The state has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION with this sense data.
    Check(Sense),
}

impl Refusal {
    /// ILLEGAL REQUEST with `additional`.
    #[must_use]
    pub const fn illegal(additional: AdditionalSense) -> Self {
        Self::Check(Sense::illegal(additional))
    }

    /// The status that is returned.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Conflict => Status::RESERVATION_CONFLICT,
            Self::Check(_) => Status::CHECK_CONDITION,
        }
    }
}
