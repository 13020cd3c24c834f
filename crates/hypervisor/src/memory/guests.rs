//! A guest of the in-memory hypervisor.

use jiff::Timestamp;
use uuid::Uuid;

use crate::state::MIGRATED;
use crate::{Change, Guest, GuestState, Observation, Revival};

/// A guest of the in-memory hypervisor: what it is, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryGuest {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its state.
    pub state: GuestState,
    /// Why it is in that state.
    pub reason: String,
    /// Whether it is active.
    pub active: bool,
    /// Whether it has a definition that outlives it.
    pub persistent: bool,
    /// Whether there is a saved memory image.
    pub resumable: bool,
    /// Fault: switching it is refused with this text.
    pub refuse: Option<String>,
    /// Fault: switching it is answered with success and has no effect.
    pub ignore: bool,
}

impl MemoryGuest {
    /// A persistent guest that runs. Its UUID is made from its name: the same name, the same UUID.
    #[must_use]
    pub fn running(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid_of(name),
            state: GuestState::Running,
            reason: "booted".to_owned(),
            active: true,
            persistent: true,
            resumable: false,
            refuse: None,
            ignore: false,
        }
    }

    /// A persistent guest that is shut off.
    #[must_use]
    pub fn shut_off(name: &str) -> Self {
        let mut guest = Self::running(name);
        guest.settle(GuestState::ShutOff, "shut down");
        guest
    }

    /// Both its names.
    #[must_use]
    pub fn identity(&self) -> Guest {
        Guest {
            name: self.name.clone(),
            uuid: self.uuid,
        }
    }

    pub(super) fn observation(&self, by: &str) -> Observation {
        Observation {
            guest: self.identity(),
            state: self.state,
            reason: self.reason.clone(),
            active: self.active,
            persistent: self.persistent,
            resumable: self.resumable,
            by: by.to_owned(),
            at: Timestamp::now(),
        }
    }

    pub(super) fn end(&mut self) -> Change {
        self.settle(GuestState::ShutOff, "destroyed");
        self.resumable = false;
        Change::Stopped
    }

    pub(super) fn start(&mut self) -> Change {
        self.settle(GuestState::Running, "booted");
        self.resumable = false;
        Change::Started
    }

    /// Leaves for another host; what is left behind is returned.
    pub(super) fn leave(&mut self) -> Self {
        self.settle(GuestState::ShutOff, MIGRATED);
        self.clone()
    }

    /// The transient guest `revival` was made of, not yet started.
    pub(super) fn revived(revival: &Revival) -> Option<Self> {
        let (uuid, name) = revival.definition().split_once('\n')?;
        let uuid = Uuid::try_parse(uuid).ok()?;
        Some(Self {
            uuid,
            persistent: false,
            ..Self::shut_off(name)
        })
    }

    fn settle(&mut self, state: GuestState, reason: &str) {
        self.state = state;
        reason.clone_into(&mut self.reason);
        self.active = state != GuestState::ShutOff;
    }
}

/// The same name gives the same UUID; different names differ unless 64-bit FNV-1a makes them meet.
fn uuid_of(name: &str) -> Uuid {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Uuid::from_u64_pair(
        0x6d65_6d6f_0000_4000 | (hash >> 52),
        0x8000_0000_0000_0000 | (hash >> 2),
    )
}
