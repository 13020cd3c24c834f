//! Carries out one step of a plan and reads back what came of it.

use deadline::Deadline;
use hypervisor::placement::{Changed, Placement};
use hypervisor::{Error, GuestRef};
use serde::Serialize;

use crate::plan::{Action, Step};
use crate::seen::Trouble;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It is so now, and was seen to be so.
    Done,
    /// It was so already.
    Already,
    /// It is stored, and takes effect when the guest starts next.
    AtNextStart,
    /// It is as ordered, and does nothing at present.
    NotInForce {
        /// Why.
        why: String,
    },
    /// It is left to people.
    Held {
        /// Why.
        why: String,
    },
    /// It failed, or what was seen afterwards is not what was wanted.
    Failed(Trouble),
}

impl Outcome {
    /// Whether what the step is for is the case now.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Already)
    }
}

/// Carries out a step, unless it is held.
#[must_use]
pub fn enact(platform: &dyn Placement, step: &Step, deadline: Deadline) -> Outcome {
    if let Some(why) = &step.held {
        return Outcome::Held { why: why.clone() };
    }
    let changed = match &step.action {
        Action::KeepApart {
            rule,
            guests,
            mandatory,
        } => {
            return keep_apart(platform, rule, guests, *mandatory, deadline)
                .unwrap_or_else(|error| Outcome::Failed(error.into()));
        }
        Action::Pin { guest, host_id, .. } => pin(platform, guest, host_id, deadline),
        Action::Move {
            guest,
            to,
            to_id,
            others,
            ..
        } => stay_clear(platform, guest, to, to_id, others, deadline)
            .and_then(|()| shift(platform, guest, to_id, deadline)),
    };
    match changed {
        Ok(changed) => changed.into(),
        Err(error) => Outcome::Failed(error.into()),
    }
}

impl From<Changed> for Outcome {
    fn from(changed: Changed) -> Self {
        match changed {
            Changed::Now => Self::Done,
            Changed::Already => Self::Already,
            Changed::AtNextStart => Self::AtNextStart,
        }
    }
}

fn not_so(about: GuestRef, saw: impl Into<String>) -> Error {
    Error::NotConfirmed {
        guest: about,
        by: "the platform".to_owned(),
        saw: saw.into(),
    }
}

fn keep_apart(
    platform: &dyn Placement,
    rule: &str,
    guests: &[GuestRef],
    mandatory: bool,
    deadline: Deadline,
) -> Result<Outcome, Error> {
    let changed = platform.keep_apart(rule, guests, mandatory, deadline)?;
    let about = || GuestRef::Name(rule.to_owned());
    let rules = platform.rules(guests, deadline)?;
    let Some(found) = rules.iter().find(|known| known.name == rule) else {
        return Err(not_so(about(), "there is no such rule"));
    };
    let named = |guest: &GuestRef| found.guests.iter().any(|known| known.is(guest));
    if found.guests.len() != guests.len() || !guests.iter().all(named) {
        return Err(not_so(about(), "the rule names other guests"));
    }
    if mandatory && !found.mandatory {
        return Err(not_so(
            about(),
            "the rule holds only as far as hosts suffice",
        ));
    }
    Ok(match &found.ineffective {
        Some(why) => Outcome::NotInForce { why: why.clone() },
        None => changed.into(),
    })
}

fn pin(
    platform: &dyn Placement,
    guest: &GuestRef,
    host_id: &str,
    deadline: Deadline,
) -> Result<Changed, Error> {
    let changed = platform.pin(guest, &[host_id.to_owned()], deadline)?;
    if changed == Changed::AtNextStart {
        return Ok(changed);
    }
    let found = platform.whereabouts(guest, deadline)?;
    match found.pinned_to.as_slice() {
        [only] if only.id == host_id => Ok(changed),
        [] => Err(not_so(guest.clone(), "it is not pinned")),
        _ => Err(not_so(guest.clone(), "it is pinned to other hosts")),
    }
}

/// The plan counts on the steps before this one, which may have failed, and on what was seen before somebody agreed to it.
fn stay_clear(
    platform: &dyn Placement,
    guest: &GuestRef,
    to: &str,
    to_id: &str,
    others: &[GuestRef],
    deadline: Deadline,
) -> Result<(), Error> {
    for other in others {
        let found = match platform.whereabouts(other, deadline) {
            // Who does not exist is in nobody's way.
            Err(Error::NoSuchGuest { .. }) => continue,
            found => found?,
        };
        if found.host.is_some_and(|host| host.id == to_id) {
            return Err(Error::Refused {
                by: "the plan".to_owned(),
                guest: guest.to_string(),
                detail: format!("another member, {}, runs on {to} now", found.guest.name),
            });
        }
    }
    Ok(())
}

fn shift(
    platform: &dyn Placement,
    guest: &GuestRef,
    to_id: &str,
    deadline: Deadline,
) -> Result<Changed, Error> {
    platform.migrate(guest, to_id, deadline)?;
    let found = platform.whereabouts(guest, deadline)?;
    match found.host {
        Some(host) if host.id == to_id => Ok(Changed::Now),
        Some(host) => Err(not_so(guest.clone(), format!("it runs on {}", host.name))),
        None => Err(not_so(guest.clone(), "it runs nowhere")),
    }
}
