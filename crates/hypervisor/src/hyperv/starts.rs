//! Orders to start a guest that may still take effect.
//!
//! A host answers an order with a job and carries it out later. Until then it says "off", from which nobody may conclude that
//! the guest stays off. So orders are remembered until the guest was seen on, their job has ended, or no order can be that old.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::state::STARTING;
use crate::{GuestState, Observation, Power};

/// An order is carried out within this time, or never.
const LONGEST: Duration = Duration::from_secs(120);
/// Guests remembered at most.
const MOST: usize = 4096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<HashMap<Uuid, Instant>>);

/// An order that was given, or is being given.
#[derive(Debug)]
pub(super) struct Order {
    guest: Uuid,
    now: Instant,
    /// The order before it.
    before: Option<Instant>,
}

impl Starts {
    /// To be called before a host is told to start a guest.
    pub(super) fn ordered(&self, guest: Uuid) -> Order {
        let now = Instant::now();
        let mut orders = self.orders();
        let before = orders.insert(guest, now);
        if orders.len() > MOST {
            orders.retain(|_, since| since.elapsed() < LONGEST);
        }
        Order { guest, now, before }
    }

    /// The order is over: the host has certainly not taken it, or its job has ended, well or not. One given before it may
    /// still be under way, and so may one given after it, by whomever.
    pub(super) fn ended(&self, order: &Order) {
        let mut orders = self.orders();
        if orders.get(&order.guest) != Some(&order.now) {
            return;
        }
        match order.before {
            Some(before) => orders.insert(order.guest, before),
            None => orders.remove(&order.guest),
        };
    }

    /// Makes of what was seen what it is worth. The look began at `since`.
    pub(super) fn judge(&self, seen: &mut Observation, since: Instant) {
        let mut orders = self.orders();
        let Some(ordered) = orders.get(&seen.guest.uuid).copied() else {
            return;
        };
        // Active alone is no start: it also says that something contradicts "off".
        let is_on = seen.active && seen.power() == Power::On;
        if is_on && since > ordered || ordered.elapsed() >= LONGEST {
            orders.remove(&seen.guest.uuid);
        } else if !seen.active && seen.state == GuestState::ShutOff && !seen.resumable {
            STARTING.clone_into(&mut seen.reason);
        }
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Guest;

    fn observation(state: GuestState) -> Observation {
        Observation {
            guest: Guest {
                name: "vm".to_owned(),
                uuid: Uuid::nil(),
            },
            state,
            reason: String::new(),
            active: state != GuestState::ShutOff,
            persistent: true,
            resumable: false,
            by: "test".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn look(starts: &Starts, state: GuestState, since: Instant) -> Power {
        let mut seen = observation(state);
        starts.judge(&mut seen, since);
        seen.power()
    }

    #[test]
    fn a_guest_that_was_told_to_start_is_not_off_until_it_was_seen_on() {
        let starts = Starts::default();
        let before = Instant::now();
        assert_eq!(look(&starts, GuestState::ShutOff, before), Power::Off);
        starts.ordered(Uuid::nil());
        assert_eq!(
            look(&starts, GuestState::ShutOff, Instant::now()),
            Power::Unknown
        );
        assert_eq!(
            look(&starts, GuestState::Running, before),
            Power::On,
            "an old look lifts nothing"
        );
        assert_eq!(
            look(&starts, GuestState::ShutOff, Instant::now()),
            Power::Unknown
        );
        assert_eq!(
            look(&starts, GuestState::Running, Instant::now()),
            Power::On
        );
        assert_eq!(
            look(&starts, GuestState::ShutOff, Instant::now()),
            Power::Off
        );
        let order = starts.ordered(Uuid::nil());
        starts.ended(&order);
        assert_eq!(
            look(&starts, GuestState::ShutOff, Instant::now()),
            Power::Off
        );
    }

    /// A guest that is shut off and yet has a process, or moves.
    #[test]
    fn what_contradicts_itself_is_not_seen_on() {
        let starts = Starts::default();
        starts.ordered(Uuid::nil());
        let mut seen = observation(GuestState::ShutOff);
        seen.active = true;
        starts.judge(&mut seen, Instant::now());
        assert_eq!(
            look(&starts, GuestState::ShutOff, Instant::now()),
            Power::Unknown
        );
    }

    #[test]
    fn an_order_that_is_over_is_forgotten_and_no_other_one() {
        let starts = Starts::default();
        let off = || look(&starts, GuestState::ShutOff, Instant::now());
        let over = starts.ordered(Uuid::nil());
        assert_eq!(off(), Power::Unknown);
        starts.ended(&over);
        assert_eq!(off(), Power::Off);

        let earlier = starts.ordered(Uuid::nil());
        starts.ended(&starts.ordered(Uuid::nil()));
        assert_eq!(off(), Power::Unknown, "an earlier one is under way");
        starts.ended(&earlier);
        assert_eq!(off(), Power::Off);

        let over = starts.ordered(Uuid::nil());
        starts.ordered(Uuid::nil());
        starts.ended(&over);
        assert_eq!(off(), Power::Unknown, "a later one is under way");
    }
}
