//! Guests that are shut off here and may run on another host, or here in a moment.
//!
//! libvirt says "shut off (migrated)" of a guest that left, until its daemon is restarted. It says "shut
//! off (destroyed)" of one that was ended during the last phase of a live migration, although the other
//! host may have it by then, and of one whose arrival was cut short, although it goes on running where
//! it came from. This process remembers such guests as long as it lives, and lets them count as
//! migrated: whether they are off is unknown, until they have run here again.
//!
//! An order to start a guest can outlive its caller: it waits in libvirt's queue behind slower ones
//! while questions, which have a queue of their own, are answered "shut off". Nobody may conclude from
//! such an answer that the guest is off, so orders to start are remembered until they have ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::states;
use crate::state::{MIGRATED, STARTING};
use crate::{GuestState, Observation};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    left: Mutex<HashMap<Uuid, Instant>>,
    starts: Mutex<HashMap<Uuid, Starts>>,
}

/// The orders to start one guest.
#[derive(Debug, Default)]
struct Starts {
    /// Orders that have not ended.
    running: usize,
    /// Until when the last one that ended may still take effect, or be missing in what was seen.
    until: Option<Instant>,
}

/// An order to start a guest that has not ended.
#[derive(Debug)]
pub(super) struct Starting<'a> {
    doubts: &'a Doubts,
    guest: Uuid,
    lost: bool,
}

impl Starting<'_> {
    /// The connection broke under the order: libvirt may have read it all the same.
    pub(super) fn is_lost(&mut self) {
        self.lost = true;
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut starts = self.doubts.starts();
        let order = starts.entry(self.guest).or_default();
        order.running = order.running.saturating_sub(1);
        let until = if self.lost { now + Doubts::LOST } else { now };
        order.until = order.until.max(Some(until));
        if starts.len() > Doubts::MOST {
            starts.retain(|_, order| {
                order.running > 0 || order.until.is_some_and(|until| until + Doubts::KEPT > now)
            });
        }
    }
}

impl Doubts {
    /// What this process knows of the guests behind `uri`: one memory for all that ask there, so that
    /// it outlives a change of the configuration, and an order of one is known to the other.
    pub(super) fn about(uri: &str) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<String, Weak<Doubts>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, doubts| doubts.strong_count() > 0);
        if let Some(known) = all.get(uri).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Self::default());
        all.insert(uri.to_owned(), Arc::downgrade(&new));
        new
    }

    /// A look that was under way when a doubt arose does not lift it.
    const FRESH: Duration = Duration::from_secs(1);
    /// Guests remembered at most; beyond it the oldest doubt is forgotten.
    const MOST: usize = 16_384;
    /// An order to start that was on its way when the connection broke is carried out, if at all,
    /// within this time after libvirt is back to read it.
    const LOST: Duration = Duration::from_secs(10);
    /// No look lasts longer: older orders are not worth their memory.
    const KEPT: Duration = Duration::from_secs(600);

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

    /// To be called before libvirt is told to start `guest`, and kept until it has answered.
    pub(super) fn starting(&self, guest: Uuid) -> Starting<'_> {
        self.starts().entry(guest).or_default().running += 1;
        Starting {
            doubts: self,
            guest,
            lost: false,
        }
    }

    /// Makes of what libvirt says what it is worth. The look began at `since`.
    pub(super) fn judge(&self, seen: &mut Observation, since: Instant) {
        self.judge_departure(seen, since);
        let mut starts = self.starts();
        let Some(order) = starts.get_mut(&seen.guest.uuid) else {
            return;
        };
        if seen.active {
            // Whatever was lost has taken effect, or never will while it runs.
            order.until = order.until.min(Some(Instant::now()));
        } else if seen.state == GuestState::ShutOff
            && seen.reason != MIGRATED
            && (order.running > 0 || order.until > Some(since))
        {
            STARTING.clone_into(&mut seen.reason);
        }
    }

    fn judge_departure(&self, seen: &mut Observation, since: Instant) {
        let mut doubts = self.doubts();
        let Some(raised) = doubts.get(&seen.guest.uuid) else {
            return;
        };
        if !seen.active && seen.state == GuestState::ShutOff {
            MIGRATED.clone_into(&mut seen.reason);
        } else if seen.active
            && !states::is_in_flight(seen)
            && since.saturating_duration_since(*raised) > Self::FRESH
        {
            doubts.remove(&seen.guest.uuid);
        }
    }

    fn doubts(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn starts(&self) -> MutexGuard<'_, HashMap<Uuid, Starts>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
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
        doubts.judge(&mut seen, Instant::now());
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
    fn two_that_ask_the_same_share_what_is_known() {
        let uuid = Uuid::from_u128(1);
        let old = Doubts::about("test:///shared");
        old.raise(uuid);
        let new = Doubts::about("test:///shared");
        drop(old);
        assert_eq!(
            power(&new, GuestState::ShutOff, "destroyed"),
            Power::Unknown
        );
        let other = Doubts::about("test:///other");
        assert_eq!(power(&other, GuestState::ShutOff, "destroyed"), Power::Off);
    }

    #[test]
    fn a_guest_that_is_being_started_is_not_off() {
        let doubts = Doubts::default();
        let uuid = Uuid::from_u128(1);
        let off = |since| {
            let mut seen = seen(GuestState::ShutOff, "destroyed");
            doubts.judge(&mut seen, since);
            seen.power() == Power::Off
        };
        let before = Instant::now();
        let (first, second) = (doubts.starting(uuid), doubts.starting(uuid));
        assert!(!off(Instant::now()));
        drop(first);
        assert!(!off(Instant::now()));
        drop(second);
        assert!(!off(before), "that look may have missed it");
        let mut lost = {
            assert!(off(Instant::now() + Duration::from_nanos(1)));
            doubts.starting(uuid)
        };
        lost.is_lost();
        drop(lost);
        assert!(!off(Instant::now()));
        assert!(off(Instant::now() + Doubts::LOST));
        assert_eq!(power(&doubts, GuestState::Running, "booted"), Power::On);
        assert!(off(Instant::now()), "it has taken effect");
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
