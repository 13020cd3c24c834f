//! What a guest was seen doing, and whether that counts as off.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::Guest;

/// The state of a guest in libvirt's terms (`virDomainState`), which every implementation maps to.
///
/// A number that is not known here survives as [`GuestState::Other`] and is never off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuestState {
    /// 0: the hypervisor has no word for it (Xen says so of guests that run).
    NoState,
    /// 1: running.
    Running,
    /// 2: waiting for a resource.
    Blocked,
    /// 3: stopped by an administrator or an I/O error, memory in place.
    Paused,
    /// 4: told to shut down, still running.
    ShuttingDown,
    /// 5: not running.
    ShutOff,
    /// 6: crashed; with `on_crash` set to preserve, its process and its disks are still open.
    Crashed,
    /// 7: suspended by its own operating system, memory in place.
    PmSuspended,
    /// A number this version does not know.
    Other(i32),
}

impl GuestState {
    /// Every state that has a name here.
    pub const NAMED: [Self; 8] = [
        Self::NoState,
        Self::Running,
        Self::Blocked,
        Self::Paused,
        Self::ShuttingDown,
        Self::ShutOff,
        Self::Crashed,
        Self::PmSuspended,
    ];

    /// The state with libvirt's number `code`.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match code {
            0 => Self::NoState,
            1 => Self::Running,
            2 => Self::Blocked,
            3 => Self::Paused,
            4 => Self::ShuttingDown,
            5 => Self::ShutOff,
            6 => Self::Crashed,
            7 => Self::PmSuspended,
            other => Self::Other(other),
        }
    }

    /// libvirt's number.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::NoState => 0,
            Self::Running => 1,
            Self::Blocked => 2,
            Self::Paused => 3,
            Self::ShuttingDown => 4,
            Self::ShutOff => 5,
            Self::Crashed => 6,
            Self::PmSuspended => 7,
            Self::Other(code) => code,
        }
    }

    /// The number as the host list carries it: one byte, 0 ("no state") for what does not fit.
    #[must_use]
    pub fn wire_code(self) -> u8 {
        u8::try_from(self.code()).unwrap_or(0)
    }
}

impl fmt::Display for GuestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoState => "no state",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::ShuttingDown => "in shutdown",
            Self::ShutOff => "shut off",
            Self::Crashed => "crashed",
            Self::PmSuspended => "suspended",
            Self::Other(code) => return write!(f, "state {code}"),
        })
    }
}

impl Serialize for GuestState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What fencing wants to know of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs, or what it was doing is kept and can go on.
    On,
    /// It does not run here, and nothing of what ran can go on.
    Off,
    /// The answer allows neither conclusion. Never to be treated as off.
    Unknown,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unknown => "unknown",
        })
    }
}

/// One look at one guest: who looked, when, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// The guest that was looked at.
    pub guest: Guest,
    /// Its state.
    pub state: GuestState,
    /// Why it is in that state, in the hypervisor's words ("booted", "destroyed", "migrated", …).
    pub reason: String,
    /// Whether the hypervisor counts it as active: it has a process or a live domain.
    pub active: bool,
    /// Whether its definition outlives it. A transient guest vanishes when it stops.
    pub persistent: bool,
    /// Whether there is a saved memory image it would be resumed from (libvirt: managed save).
    pub resumable: bool,
    /// Who looked: the hypervisor and the host it runs on.
    pub by: String,
    /// When the answer came.
    pub at: Timestamp,
}

/// The reason text of a guest that was shut off here because it moved to another host.
pub(crate) const MIGRATED: &str = "migrated";
/// The reason text of a guest that is shut off while an order to start it has not ended.
pub(crate) const STARTING: &str = "an order to start it is under way";

impl Observation {
    /// What the observation means for fencing.
    ///
    /// | state | active | | power | why |
    /// |---|---|---|---|---|
    /// | shut off | no | | **off** | the one way to be off |
    /// | shut off | no | a saved memory image exists | on | a start resumes the old memory, which goes on writing |
    /// | shut off | no | reason "migrated" | unknown | it runs on another host |
    /// | shut off | no | an order to start it is under way | unknown | it may run in a moment |
    /// | running, blocked, in shutdown, no state | yes | | on | it executes |
    /// | paused, suspended | yes | | on | it can be resumed and go on writing |
    /// | crashed | yes | | on | its disks are still open, a write may still be under way |
    /// | any other combination, any number not known here | | | unknown | an answer that contradicts itself proves nothing |
    #[must_use]
    pub fn power(&self) -> Power {
        use GuestState as S;
        match (self.state, self.active) {
            (S::ShutOff, false) if [MIGRATED, STARTING].contains(&self.reason.as_str()) => {
                Power::Unknown
            }
            (S::ShutOff, false) if self.resumable => Power::On,
            (S::ShutOff, false) => Power::Off,
            (
                S::NoState
                | S::Running
                | S::Blocked
                | S::Paused
                | S::ShuttingDown
                | S::Crashed
                | S::PmSuspended,
                true,
            ) => Power::On,
            _ => Power::Unknown,
        }
    }
}

impl Observation {
    /// Whether the guest is not active here because it left for another host.
    #[must_use]
    pub fn has_left(&self) -> bool {
        !self.active && self.state == GuestState::ShutOff && self.reason == MIGRATED
    }

    /// What is left to say of a transient guest that `by` has ended and no longer knows.
    pub(crate) fn vanished(&self, by: String) -> Self {
        Self {
            guest: self.guest.clone(),
            state: GuestState::ShutOff,
            reason: "destroyed, no longer known".to_owned(),
            active: false,
            persistent: false,
            resumable: false,
            by,
            at: Timestamp::now(),
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.guest.name, self.state)?;
        match self.reason.as_str() {
            "" => {}
            MIGRATED => f.write_str(" (migrated: another host may run it)")?,
            reason => write!(f, " ({reason})")?,
        }
        if self.resumable {
            f.write_str(" with a saved memory image")?;
        }
        if self.active == (self.state == GuestState::ShutOff) {
            f.write_str(if self.active {
                " yet active"
            } else {
                " yet not active"
            })?;
        }
        write!(f, ", seen by {} at {}", self.by, self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn seen(
        code: i32,
        reason: &str,
        active: bool,
        persistent: bool,
        resumable: bool,
    ) -> Observation {
        Observation {
            guest: Guest {
                name: "vm".to_owned(),
                uuid: Uuid::nil(),
            },
            state: GuestState::from_code(code),
            reason: reason.to_owned(),
            active,
            persistent,
            resumable,
            by: "test".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(code: i32) {
            prop_assert_eq!(GuestState::from_code(code).code(), code);
        }

        /// The only observation that counts as off: shut off, inactive, not migrated, not being
        /// started, not resumable.
        #[test]
        fn off_has_one_shape(
            code in prop_oneof![0..9_i32, any::<i32>()],
            reason in prop_oneof![Just(MIGRATED), Just(STARTING), Just("destroyed"), Just("")],
            active: bool, persistent: bool, resumable: bool,
        ) {
            let off = seen(code, reason, active, persistent, resumable).power() == Power::Off;
            let doubtful = [MIGRATED, STARTING].contains(&reason);
            prop_assert_eq!(off, code == 5 && !active && !doubtful && !resumable);
        }

        #[test]
        fn an_unknown_number_is_neither_on_nor_off(code in 8..i32::MAX, active: bool) {
            prop_assert_eq!(seen(code, "", active, true, false).power(), Power::Unknown);
        }
    }

    #[test]
    fn every_named_state_has_its_number_and_its_power() {
        for (code, state) in (0..).zip(GuestState::NAMED) {
            assert_eq!(GuestState::from_code(code), state);
            assert_eq!(i32::from(state.wire_code()), code);
            let on = if code == 5 { Power::Unknown } else { Power::On };
            assert_eq!(
                seen(code, "", true, true, false).power(),
                on,
                "{state} and active"
            );
        }
        assert_eq!(GuestState::Other(300).wire_code(), 0);
        assert_eq!(GuestState::Other(-1).wire_code(), 0);
    }

    #[test]
    fn a_saved_memory_is_not_off_and_a_migrated_guest_is_anywhere() {
        assert_eq!(seen(5, "saved", false, true, true).power(), Power::On);
        assert_eq!(
            seen(5, "migrated", false, true, false).power(),
            Power::Unknown
        );
        assert_eq!(
            seen(5, "migrated", false, true, true).power(),
            Power::Unknown
        );
        assert_eq!(seen(5, "destroyed", false, true, false).power(), Power::Off);
        assert!(seen(5, "migrated", false, true, false).has_left());
        assert!(!seen(5, STARTING, false, true, false).has_left());
    }

    #[test]
    fn texts_say_what_was_seen() {
        let text = seen(5, "saved", false, true, true).to_string();
        assert!(
            text.starts_with("vm is shut off (saved) with a saved memory image, seen by test at")
        );
        assert!(
            seen(5, "", true, true, false)
                .to_string()
                .contains("yet active")
        );
        assert!(
            seen(1, "", false, true, false)
                .to_string()
                .contains("yet not active")
        );
        assert!(!seen(1, "", true, true, false).to_string().contains("yet"));
    }
}
