//! Guests that are shut off here and may run on another host.
//!
//! libvirt says "shut off (migrated)" of a guest that left, until its daemon is restarted. It says "shut
//! off (destroyed)" of one that was ended during the last phase of a live migration, although the other
//! host may have it by then, and of one whose arrival was cut short, although it goes on running where
//! it came from. This process remembers such guests as long as it lives, and lets them count as
//! migrated: whether they are off is unknown, until they have run here again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::states;
use crate::state::MIGRATED;
use crate::{GuestState, Observation};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<HashMap<Uuid, Instant>>);

impl Doubts {
    /// A look that was under way when a doubt arose does not lift it.
    const FRESH: Duration = Duration::from_secs(1);
    /// Guests remembered at most; beyond it the oldest doubt is forgotten.
    const MOST: usize = 16_384;

    /// `guest` left for another host, or may have.
    pub(super) fn raise(&self, guest: Uuid) {
        let mut doubts = self.doubts();
        if doubts.len() >= Self::MOST && !doubts.contains_key(&guest) {
            let oldest = doubts.iter().min_by_key(|(_, raised)| **raised);
            if let Some(oldest) = oldest.map(|(guest, _)| *guest) {
                doubts.remove(&oldest);
                tracing::warn!(guest = %oldest, "forgotten that it migrated: too many others have");
            }
        }
        doubts.insert(guest, Instant::now());
    }

    /// `guest` was heard to run here.
    pub(super) fn lift(&self, guest: Uuid) {
        self.doubts().remove(&guest);
    }

    /// Makes of what libvirt says what it is worth.
    pub(super) fn judge(&self, seen: &mut Observation) {
        let mut doubts = self.doubts();
        let Some(raised) = doubts.get(&seen.guest.uuid) else {
            return;
        };
        if !seen.active && seen.state == GuestState::ShutOff {
            MIGRATED.clone_into(&mut seen.reason);
        } else if seen.active && !states::is_in_flight(seen) && raised.elapsed() > Self::FRESH {
            doubts.remove(&seen.guest.uuid);
        }
    }

    fn doubts(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Guest, Power};

    fn seen(state: GuestState, reason: &str) -> Observation {
        Observation {
            guest: Guest {
                name: "vm".to_owned(),
                uuid: Uuid::from_u128(1),
            },
            state,
            reason: reason.to_owned(),
            active: state != GuestState::ShutOff,
            persistent: true,
            resumable: false,
            by: "test".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn power(doubts: &Doubts, state: GuestState, reason: &str) -> Power {
        let mut seen = seen(state, reason);
        doubts.judge(&mut seen);
        seen.power()
    }

    #[test]
    fn a_doubtful_guest_is_not_off_until_it_was_heard_here() {
        let doubts = Doubts::default();
        let uuid = Uuid::from_u128(1);
        assert_eq!(power(&doubts, GuestState::ShutOff, "destroyed"), Power::Off);
        doubts.raise(uuid);
        doubts.raise(Uuid::from_u128(2));
        assert_eq!(
            power(&doubts, GuestState::ShutOff, "destroyed"),
            Power::Unknown
        );
        // A look that began before the doubt arose.
        assert_eq!(power(&doubts, GuestState::Running, "booted"), Power::On);
        assert_eq!(power(&doubts, GuestState::ShutOff, ""), Power::Unknown);
        doubts.lift(uuid);
        assert_eq!(power(&doubts, GuestState::ShutOff, "destroyed"), Power::Off);
    }

    #[test]
    fn a_later_look_lifts_a_doubt_and_a_migration_under_way_does_not() {
        let doubts = Doubts::default();
        let long_ago = Instant::now().checked_sub(Doubts::FRESH * 2).unwrap();
        let raise = || doubts.doubts().insert(Uuid::from_u128(1), long_ago);
        raise();
        assert_eq!(power(&doubts, GuestState::Paused, "migrating"), Power::On);
        assert_eq!(
            power(&doubts, GuestState::ShutOff, "destroyed"),
            Power::Unknown
        );
        assert_eq!(power(&doubts, GuestState::Running, "booted"), Power::On);
        assert_eq!(power(&doubts, GuestState::ShutOff, "destroyed"), Power::Off);
    }
}
