//! `Msvm_ComputerSystem`: guests, and the host itself.

use jiff::Timestamp;
use uuid::Uuid;
use wsman::Instance;

use super::states::meaning;
use crate::state::{MIGRATED, STARTING};
use crate::{Guest, GuestRef, GuestState, Observation};

/// The class.
pub(super) const CLASS: &str = "Msvm_ComputerSystem";

/// `OperationalStatus[1]`: it will be started when its start delay is over.
const WAITING_TO_START: u32 = 32771;
/// `OperationalStatus[1]`: it is migrated live.
const MIGRATING: u32 = 32774;
/// `OperationalStatus[1]` of a guest that may run in a moment, here or elsewhere, whatever its state is: it is migrated, a
/// checkpoint is being applied (which starts it, if it was taken of a running guest), or what was prepared for it here is
/// being moved.
const MOVING: [u32; 3] = [MIGRATING, 32769, 32780];
/// `EnabledState`: starting, in v2, in v1, and without its storage.
const STARTING_STATES: [u32; 3] = [10, 32770, 32786];
/// `ReplicationMode`: a replica, and a replica's replica. Another host has the guest itself.
const REPLICAS: [u32; 2] = [2, 4];

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum System {
    /// The host, by its NetBIOS name.
    Host(String),
    /// A guest.
    Guest(Machine),
}

/// A guest as its host tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) guest: Guest,
    pub(super) enabled: u32,
    /// The worker process; none when there is no such.
    pub(super) process: Option<u32>,
    activity: Option<u32>,
    /// A replica that nobody has failed over to.
    replica: bool,
}

impl System {
    /// Reads an instance. A guest's name is its GUID, the host's is its own; what people read is in the host's language, and
    /// not looked at.
    pub(super) fn read(instance: &Instance) -> Result<Self, wsman::Error> {
        let name = instance.required("Name")?;
        let Some(uuid) = guid(name) else {
            return Ok(Self::Host(name.to_owned()));
        };
        let statuses = instance.texts("OperationalStatus");
        let mode = instance.number("ReplicationMode")?.unwrap_or_default();
        let failed_over = instance
            .number("FailedOverReplicationType")?
            .unwrap_or_default();
        Ok(Self::Guest(Machine {
            guest: Guest {
                name: instance.required("ElementName")?.to_owned(),
                uuid,
            },
            enabled: instance.required_number("EnabledState")?,
            process: instance.number("ProcessID")?.filter(|id| *id != 0),
            activity: statuses
                .get(1)
                .and_then(|status| status.trim().parse().ok()),
            replica: REPLICAS.contains(&mode) && failed_over == 0,
        }))
    }
}

impl Machine {
    /// Whether it is the guest `wanted`; a name as it is written, with its case.
    pub(super) fn is(&self, wanted: &GuestRef) -> bool {
        self.guest.is(wanted)
    }

    /// The key of its instance.
    pub(super) fn key(&self) -> String {
        key(self.guest.uuid)
    }

    /// What is seen, by `by`, now.
    ///
    /// Off needs more than a state that says so: a worker process contradicts it, and so does a migration (of its two ends one
    /// is off); a start that is only delayed makes it worthless, and a replica says nothing of the guest it is a copy of.
    pub(super) fn observation(&self, by: &str) -> Observation {
        let meaning = meaning(self.enabled);
        let mut seen = Observation {
            guest: self.guest.clone(),
            state: meaning.state,
            reason: meaning.word.to_owned(),
            active: meaning.active,
            persistent: true,
            resumable: meaning.saved,
            by: by.to_owned(),
            at: Timestamp::now(),
        };
        if self.is_migrating() {
            "migrating".clone_into(&mut seen.reason);
        }
        if seen.state == GuestState::ShutOff && !seen.active {
            if self.replica {
                // Unknown, as a guest that left.
                MIGRATED.clone_into(&mut seen.reason);
            } else if self.activity == Some(WAITING_TO_START) {
                STARTING.clone_into(&mut seen.reason);
            }
            let moves = self
                .activity
                .is_some_and(|activity| MOVING.contains(&activity));
            if self.process.is_some() || moves {
                // Unknown, as the state contradicts it. Not "migrated": this one is still to be waited for.
                seen.active = true;
            }
        }
        seen
    }

    /// Whether a start of it has not ended.
    pub(super) fn is_starting(&self) -> bool {
        STARTING_STATES.contains(&self.enabled)
    }

    /// Whether it is being moved to another host.
    pub(super) fn is_migrating(&self) -> bool {
        self.activity == Some(MIGRATING)
    }
}

/// A GUID as WMI writes it, with or without braces.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    const LENGTH: usize = 36;
    let inside = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let bare = inside.unwrap_or(text);
    (bare.len() == LENGTH)
        .then(|| Uuid::try_parse(bare).ok())
        .flatten()
}

/// A GUID as a key.
pub(super) fn key(uuid: Uuid) -> String {
    uuid.hyphenated().to_string().to_uppercase()
}

/// A guest as an administrator writes it: a GUID also in braces.
pub(super) fn wanted(guest: &GuestRef) -> GuestRef {
    match guest {
        GuestRef::Name(name) => guid(name).map_or_else(|| guest.clone(), GuestRef::Uuid),
        GuestRef::Uuid(_) => guest.clone(),
    }
}

#[cfg(test)]
mod tests;
