//! What switches guests.
//!
//! ```text
//! power_off  look ─ off ───────────────────────────────────────────────────▶ off already
//!              └ else ─ stop ─ taken ──────────────▶ look until down ───────▶ destroyed │ image discarded
//!                          ├ no answer, perhaps taken ▶ look until down ────▶ went off  │ not confirmed
//!                          ├ refused: element `force` ▶ stop without it
//!                          └ refused ─▶ look ─ off ─────────────────────────▶ went off
//!                                         ├ busy, for a while ─▶ stop again
//!                                         └ else ───────────────────────────▶ refused, with the engine's words
//! ```
//!
//! A `complete` in the answer to an action means that it was accepted, no more (facts, section 3.6): only the state of the guest
//! afterwards is evidence.

use std::time::{Duration, Instant};

use deadline::Deadline;
use https::Method;
use uuid::Uuid;

use super::reply::{self, Vm};
use super::settings::Version;
use super::talk::{Order, Talk};
use super::trouble::{Answer, Lost};
use crate::{Error, ErrorKind, Evidence, GuestRef, Means, Observation, Power, PoweredOff};

/// The first pause between two looks; each is twice the last, up to what is configured.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// An element that old engines may not know, refused with 400: the same action is then tried without.
const FORCED_STOP: &str =
    "<action><force>true</force><reason>fenced: its cluster cuts its power</reason></action>";
const PLAIN: &str = "<action/>";

/// The status code that says that something else is going on with the guest, or that its state does not allow it.
const BUSY: u16 = 409;
/// How long an order is repeated while the engine says so of a guest that runs: another order holds it for a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// States that pass, in which the engine refuses to stop a guest.
const IN_BETWEEN: [&str; 3] = ["saving_state", "restoring_state", "image_locked"];

/// How the engine took an order.
enum Taken {
    Yes,
    /// No: why, and the status code that says so.
    No(Error, u16),
    /// Perhaps: what happened instead of an answer.
    Perhaps(Error),
}

impl Talk {
    pub(super) fn power_off(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<PoweredOff, Error> {
        let begun = Instant::now();
        let filter = self.settings.filter;
        let vm = self.find(guest, filter, deadline)?;
        let before = self.observation(&vm);
        let was_active = before.active;
        let done = |means, observation| PoweredOff {
            evidence: Evidence {
                means,
                observation,
                took: begun.elapsed(),
            },
            revival: None,
            was_active,
        };
        if is_off(&before) {
            return Ok(done(Means::AlreadyOff, before));
        }
        let discards = !before.active && before.resumable;
        let means = if discards {
            Means::ImageDiscarded
        } else {
            Means::Destroyed
        };
        let patience = deadline.within(PATIENCE);
        let mut refused = None;
        loop {
            // Why it was refused before says more than that there was no time to try again.
            let taken = self.stop(&vm, guest, deadline);
            match taken.map_err(|error| refused.take().unwrap_or(error))? {
                Taken::Yes => {
                    let seen = self.until(&vm, guest, "told to stop it", is_off, deadline)?;
                    return Ok(done(means, seen));
                }
                Taken::Perhaps(error) => {
                    let told = format!("told to stop it, and then {error}");
                    let seen = self.until(&vm, guest, &told, is_off, deadline)?;
                    return Ok(done(Means::WentOff, seen));
                }
                Taken::No(error, status) => {
                    let seen = self
                        .vm(vm.id, guest, filter, deadline)
                        .map(|vm| self.observation(&vm));
                    if let Some(seen) = seen.as_ref().ok().filter(|seen| is_off(seen)) {
                        return Ok(done(Means::WentOff, seen.clone()));
                    }
                    let until = match &seen {
                        Err(gone @ Error::NoSuchGuest { .. }) => return Err(gone.clone()),
                        Ok(seen) if IN_BETWEEN.contains(&seen.reason.as_str()) => deadline,
                        Ok(seen) if seen.power() == Power::On => patience,
                        _ => return Err(error),
                    };
                    let again = status == BUSY && until.remaining() > self.settings.poll;
                    if !again || !self.pause(self.settings.poll) {
                        return Err(error);
                    }
                    refused = Some(error);
                }
            }
        }
    }

    fn stop(&self, vm: &Vm, guest: &GuestRef, deadline: Deadline) -> Result<Taken, Error> {
        let session = self.session(deadline)?;
        if session.version == Version::V3 {
            return self.order(vm.id, "stop", PLAIN, guest, deadline);
        }
        match self.order(vm.id, "stop", FORCED_STOP, guest, deadline)? {
            Taken::No(_, 400) => self.order(vm.id, "stop", PLAIN, guest, deadline),
            taken => Ok(taken),
        }
    }

    /// Gives an order about a guest. An error means that it was not even sent.
    fn order(
        &self,
        id: Uuid,
        action: &str,
        body: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Taken, Error> {
        let begun = Instant::now();
        let doing = format!("giving the order to {action} {guest}");
        if deadline.has_passed() {
            return Err(self.late(&doing, begun));
        }
        let name = guest.to_string();
        let path = format!("vms/{id}/{action}");
        let order = Order {
            method: Method::Post,
            path: &path,
            body,
            filter: self.settings.filter,
            doing: &doing,
            guest: &name,
        };
        match self.ask(&order, deadline) {
            Ok(answer) => Ok(self.taken(&name, &answer)),
            Err(Lost { error, sent: true }) => Ok(Taken::Perhaps(error)),
            Err(Lost { error, sent: false }) => Err(error),
        }
    }

    fn taken(&self, guest: &str, answer: &Answer) -> Taken {
        let about = self.about(guest);
        if !answer.is_success() {
            let error = about.no_success(answer);
            // A failure inside the engine, or of the proxy before it, may have come after the order was carried out.
            return if answer.status >= 500 {
                Taken::Perhaps(error)
            } else {
                Taken::No(error, answer.status)
            };
        }
        match reply::action(&answer.body) {
            Ok(Some(word)) if word == "failed" => {
                Taken::No(about.no_success(answer), answer.status)
            }
            Ok(_) => Taken::Yes,
            Err(why) => Taken::Perhaps(about.unusable(&why)),
        }
    }

    pub(super) fn power_on(&self, guest: &GuestRef, deadline: Deadline) -> Result<Evidence, Error> {
        let begun = Instant::now();
        let filter = self.settings.filter;
        let vm = self.find(guest, filter, deadline)?;
        let mut before = self.observation(&vm);
        let evidence = |means, observation| Evidence {
            means,
            observation,
            took: begun.elapsed(),
        };
        if before.active {
            return Ok(evidence(Means::AlreadyOn, before));
        }
        if before.resumable {
            // Started as it is, it would go on where it was: a boot afresh needs its memory gone.
            // By its identifier: the name may be another's by now.
            let same = GuestRef::Uuid(vm.id);
            before = self.power_off(&same, deadline)?.evidence.observation;
        }
        if before.power() == Power::Unknown {
            return Err(Error::not_confirmed(guest, &before));
        }
        match self.order(vm.id, "start", PLAIN, guest, deadline)? {
            Taken::Yes => {
                let seen = self.until_launched(&vm, guest, "told to start it", deadline)?;
                Ok(evidence(Means::Started, seen))
            }
            Taken::Perhaps(error) => {
                let told = format!("told to start it, and then {error}");
                Ok(evidence(
                    Means::Started,
                    self.until_launched(&vm, guest, &told, deadline)?,
                ))
            }
            Taken::No(error, _) => match self
                .vm(vm.id, guest, filter, deadline)
                .map(|vm| self.observation(&vm))
            {
                // Somebody else was faster.
                Ok(seen) if seen.active => Ok(evidence(Means::AlreadyOn, seen)),
                Err(gone @ Error::NoSuchGuest { .. }) => Err(gone),
                _ => Err(error),
            },
        }
    }

    fn until_launched(
        &self,
        vm: &Vm,
        guest: &GuestRef,
        told: &str,
        deadline: Deadline,
    ) -> Result<Observation, Error> {
        self.until(
            vm,
            guest,
            told,
            |seen| seen.active && seen.reason != "wait_for_launch",
            deadline,
        )
    }

    /// Pauses, but not so long that there is no time to look again; false when there is none, or the caller is asked to end.
    pub(super) fn pause_before_last_look(&self, pause: Duration, deadline: Deadline) -> bool {
        let left = deadline.remaining().saturating_sub(FIRST_PAUSE);
        !left.is_zero() && self.pause(pause.min(left))
    }

    /// Looks at a guest again and again until it is as wanted. `told` is what was done before, for the message.
    pub(super) fn until(
        &self,
        vm: &Vm,
        guest: &GuestRef,
        told: &str,
        is_there: impl Fn(&Observation) -> bool,
        deadline: Deadline,
    ) -> Result<Observation, Error> {
        let unconfirmed = |saw| Error::NotConfirmed {
            guest: guest.clone(),
            by: self.by.clone(),
            saw,
        };
        let mut pause = FIRST_PAUSE.min(self.settings.poll);
        let mut last = "nothing was seen of it since".to_owned();
        loop {
            match self
                .vm(vm.id, guest, self.settings.filter, deadline)
                .map(|vm| self.observation(&vm))
            {
                Ok(seen) if is_there(&seen) => return Ok(seen),
                Ok(seen) => last = seen.to_string(),
                Err(Error::NoSuchGuest { .. }) => {
                    let saw = format!(
                        "{told}; then the engine does not know it any more, or does not show it to this user"
                    );
                    return Err(unconfirmed(saw));
                }
                // What is refused now will be refused again.
                Err(error) if error.kind() == ErrorKind::Refused => {
                    return Err(unconfirmed(format!("{told}; then {error}")));
                }
                // The last look counts for more than that there was none after it.
                Err(Error::DeadlinePassed { .. }) => {}
                Err(error) => last = error.to_string(),
            }
            if !self.pause_before_last_look(pause, deadline) {
                return Err(unconfirmed(format!("{told}; last: {last}")));
            }
            pause = (pause * 2).min(self.settings.poll);
        }
    }
}

fn is_off(seen: &Observation) -> bool {
    seen.power() == Power::Off
}
