//! Switching a guest: the order of looks and orders, the same over both interfaces.
//!
//! ```text
//! look ─ as wanted ───────────────────────────────────────────────▶ evidence
//!   │ a start is under way ─▶ pause ─▶ look again, until the deadline
//!   │ not known ──────────────────────────────────────────────────▶ not confirmed; nothing was ordered
//!   ▼
//! order ─┬ busy ─▶ pause ─▶ look again, until the deadline
//!   │    ├ the state was another one, or nobody knows whether it arrived ─▶ look again
//!   │    └ no ─────────────────────────────────────────────────────▶ refused
//!   │ done
//!   ▼
//! look, for a while ─ as wanted ──────────────────────────────────▶ evidence
//!                   └ not ────────────────────────────────────────▶ not confirmed
//! ```
//!
//! A guest that is to boot and was suspended meanwhile is powered off first: it would go on where it was. Whoever bears the name
//! after an order, and is not the one the first look saw, proves nothing.
//!
//! Nothing is ordered once the deadline has passed. Whatever fails after an order that may have arrived is "cannot know".

use std::time::{Duration, Instant};

use deadline::Deadline;

use crate::state::STARTING;
use crate::{Error, Evidence, GuestRef, Means, Observation, Power, PoweredOff};

/// Between two looks at a guest.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts at a guest that another task holds.
const RETRY: Duration = Duration::from_millis(500);
/// How long after an order was carried out the state may still be the old one.
const SETTLES: Duration = Duration::from_secs(5);

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// Power off; a suspended guest too.
    Off,
    /// Boot.
    On,
}

impl Switch {
    /// What is being done, for messages.
    pub(super) fn doing(self, guest: &GuestRef) -> String {
        match self {
            Self::Off => format!("powering off {guest}"),
            Self::On => format!("powering on {guest}"),
        }
    }

    fn is_reached(self, seen: &Observation) -> bool {
        match self {
            Self::Off => seen.power() == Power::Off,
            Self::On => seen.active && seen.power() == Power::On,
        }
    }
}

/// How an order ended.
#[derive(Debug)]
pub(super) enum Ordered {
    /// It was carried out.
    Done,
    /// The state was not what it was thought to be: a look tells.
    Look,
    /// Nobody knows whether it arrived: a look tells, and until then it may have.
    Lost,
    /// Somebody else holds the guest; in whose words.
    Busy(String),
    /// No, and nothing was switched.
    No(Error),
    /// It was given, and what became of it is not known.
    Unknown(Error),
}

/// Something that looks and orders.
pub(super) trait Orders {
    /// What a look sees.
    type Seen;

    /// Who it is, for messages.
    fn by(&self) -> &str;

    /// Pauses between two looks.
    fn pause(&self, time: Duration, deadline: Deadline);

    /// Looks at a guest.
    fn look(&self, guest: &GuestRef, deadline: Deadline) -> Result<Self::Seen, Error>;

    /// Which object it is: names pass to others.
    fn id<'a>(&self, seen: &'a Self::Seen) -> &'a str;

    /// What was seen.
    fn observation(&self, seen: &Self::Seen) -> Observation;

    /// Gives an order and follows it to its end.
    fn order(&self, seen: &Self::Seen, guest: &GuestRef, to: Switch, deadline: Deadline)
    -> Ordered;

    /// Cuts a guest's power. What is suspended is powered off too, which discards its memory.
    fn cut(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        let run = switch(self, guest, Switch::Off, deadline)?;
        let means = match (
            run.before.power() == Power::Off,
            run.done,
            run.before.resumable,
        ) {
            (true, ..) => Means::AlreadyOff,
            (false, false, _) => Means::WentOff,
            (false, true, true) => Means::ImageDiscarded,
            (false, true, false) => Means::Destroyed,
        };
        let evidence = Evidence {
            means,
            observation: run.after,
            took: run.begun.elapsed(),
        };
        Ok(PoweredOff {
            evidence,
            revival: None,
            was_active: run.before.active,
        })
    }

    /// Boots a guest afresh.
    fn boot(&self, guest: &GuestRef, deadline: Deadline) -> Result<Evidence, Error> {
        let run = switch(self, guest, Switch::On, deadline)?;
        let means = if run.before.active {
            Means::AlreadyOn
        } else {
            Means::Started
        };
        Ok(Evidence {
            means,
            observation: run.after,
            took: run.begun.elapsed(),
        })
    }
}

/// What came of a run of orders.
struct Run {
    begun: Instant,
    before: Observation,
    after: Observation,
    /// Whether an order of ours was carried out.
    done: bool,
}

/// Orders until the goal is seen.
fn switch<O: Orders + ?Sized>(
    orders: &O,
    guest: &GuestRef,
    to: Switch,
    deadline: Deadline,
) -> Result<Run, Error> {
    let begun = Instant::now();
    // Whether an order may have arrived whose end nobody saw.
    let mut open = false;
    let mut done: Option<Instant> = None;
    let mut before: Option<Observation> = None;
    let mut id: Option<String> = None;
    loop {
        let acted = open || done.is_some();
        let seen = orders
            .look(guest, deadline)
            .map_err(|error| unsure(orders, guest, error, acted))?;
        let now = orders.observation(&seen);
        let id = id.get_or_insert_with(|| orders.id(&seen).to_owned());
        if id.as_str() != orders.id(&seen) {
            return Err(Error::NotConfirmed {
                guest: guest.clone(),
                by: orders.by().to_owned(),
                saw: format!("another guest bears the name now: {now}"),
            });
        }
        let first = before.get_or_insert_with(|| now.clone());
        if to.is_reached(&now) {
            return Ok(Run {
                begun,
                before: first.clone(),
                after: now,
                done: done.is_some(),
            });
        }
        if let Some(at) = done {
            if at.elapsed() > SETTLES || deadline.has_passed() {
                return Err(Error::not_confirmed(guest, &now));
            }
            orders.pause(LOOK, deadline);
            continue;
        }
        if now.reason == STARTING && !deadline.has_passed() {
            orders.pause(RETRY, deadline);
            continue;
        }
        if now.power() == Power::Unknown {
            return Err(Error::not_confirmed(guest, &now));
        }
        if deadline.has_passed() {
            return Err(Error::DeadlinePassed {
                by: orders.by().to_owned(),
                doing: to.doing(guest),
                waited: begun.elapsed(),
                acted,
            });
        }
        if to == Switch::On && now.resumable {
            let cut = orders.cut(guest, deadline);
            cut.map_err(|error| unsure(orders, guest, error, acted))?;
            continue;
        }
        match orders.order(&seen, guest, to, deadline) {
            Ordered::Done => done = Some(Instant::now()),
            Ordered::Look => orders.pause(LOOK, deadline),
            Ordered::Lost => {
                open = true;
                orders.pause(LOOK, deadline);
            }
            Ordered::Busy(_) if deadline.remaining() > RETRY => orders.pause(RETRY, deadline),
            Ordered::Busy(why) => {
                let error = Error::Refused {
                    by: orders.by().to_owned(),
                    guest: guest.to_string(),
                    detail: format!("it was busy for all of the time allowed: {why}"),
                };
                return Err(unsure(orders, guest, error, open));
            }
            Ordered::No(error) => return Err(unsure(orders, guest, error, open)),
            Ordered::Unknown(error) => return Err(unsure(orders, guest, error, true)),
        }
    }
}

/// An error after an order that may have arrived says so.
fn unsure<O: Orders + ?Sized>(orders: &O, guest: &GuestRef, error: Error, acted: bool) -> Error {
    match error {
        error if !acted => error,
        Error::DeadlinePassed {
            by, doing, waited, ..
        } => Error::DeadlinePassed {
            by,
            doing,
            waited,
            acted: true,
        },
        Error::NotConfirmed { .. } => error,
        other => Error::NotConfirmed {
            guest: guest.clone(),
            by: orders.by().to_owned(),
            saw: format!("the order was given, then: {other}"),
        },
    }
}

#[cfg(test)]
mod tests;
