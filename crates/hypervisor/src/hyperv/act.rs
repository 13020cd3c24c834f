//! Switching: one order, then looking until the state proves it.
//!
//! ```text
//! locate ─ off ──────────────────────────────────────────────────▶ off already
//!    │ on, or unknown
//!    ▼
//! order ─ taken, a job does it ─▶ look every half second ─ off ───▶ proven
//!    ▲        │ job failed, vanished: the state decides      │
//!    │        │ host gone, guest moved: locate anew          │ stuck: end the worker process, if allowed
//!    └─ again ┴ not now (32775): when the state has changed ─┘
//! ```
//!
//! What a method or a job says never counts as done; only what is seen afterwards does. An order whose answer was lost is
//! not repeated blindly: looking comes first. Nothing is ordered once the deadline has passed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadline::Deadline;
use wsman::Resource;

use super::cluster::Role;
use super::fleet::{Fleet, Sight};
use super::host::Host;
use super::starts::{Order, Starts};
use super::states::{self, Answer, Job, Wanted};
use super::trouble::Trouble;
use super::worker;
use crate::state::STARTING;
use crate::{Error, ErrorKind, Evidence, GuestRef, Means, Power, PoweredOff};

/// Between two looks, once the first ones have not sufficed.
const POLL: Duration = Duration::from_millis(500);
/// Before the first look after an order; from then on twice as long each time.
const FIRST_POLL: Duration = Duration::from_millis(100);
/// An order that was taken is given again after this time only.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two orders that were not taken.
const BETWEEN: Duration = Duration::from_secs(1);

/// What a host does because of an order.
#[derive(Debug)]
struct Task {
    host: Arc<Host>,
    job: Resource,
    /// The order, if it was one to start.
    start: Option<Order>,
}

/// What became of an order.
#[derive(Debug)]
enum Given {
    /// The host has taken it. None where it has done it at once, or does not say which job does.
    Taken(Option<Resource>),
    /// It may have taken it: the next looks tell.
    Perhaps,
    /// It has certainly not taken it.
    NotTaken,
    /// It no longer knows the guest.
    Gone,
}

/// A guest being switched.
pub(super) struct Attempt<'a> {
    fleet: &'a Fleet,
    starts: &'a Starts,
    asked: &'a GuestRef,
    wanted: Wanted,
    deadline: Deadline,
    begun: Instant,
    task: Option<Task>,
    /// Who has taken the last order.
    taker: Option<Arc<Host>>,
    /// The next order is not given before.
    next: Instant,
    ordered: bool,
    killed: bool,
    /// What went wrong last.
    last: Option<String>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        fleet: &'a Fleet,
        starts: &'a Starts,
        asked: &'a GuestRef,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Self {
        let now = Instant::now();
        Self {
            fleet,
            starts,
            asked,
            wanted,
            deadline,
            begun: now,
            task: None,
            taker: None,
            next: now,
            ordered: false,
            killed: false,
            last: None,
        }
    }

    /// Cuts the power.
    pub(super) fn power_off(mut self) -> Result<PoweredOff, Error> {
        let first = self.first_sight()?;
        let before = first.seen.clone();
        let was_active = before.active;
        let sight = self.drive(first, is_off)?;
        let means = match (self.killed, self.ordered) {
            (true, _) => Means::Killed,
            (false, false) if before.power() == Power::Off => Means::AlreadyOff,
            (false, false) => Means::WentOff,
            (false, true) if before.resumable => Means::ImageDiscarded,
            (false, true) => Means::Destroyed,
        };
        let evidence = Evidence {
            means,
            observation: sight.seen,
            took: self.begun.elapsed(),
        };
        Ok(PoweredOff {
            evidence,
            revival: None,
            was_active,
        })
    }

    /// Starts the guest, which is off.
    pub(super) fn power_on(mut self) -> Result<Evidence, Error> {
        let mut first = self.first_sight()?;
        if first.seen.resumable {
            // A start would resume the old memory.
            self.wanted = Wanted::Off;
            first = self.drive(first, is_off)?;
            (self.wanted, self.ordered, self.task, self.next) =
                (Wanted::On, false, None, Instant::now());
        }
        let sight = self.drive(first, is_on)?;
        let means = if self.ordered {
            Means::Started
        } else {
            Means::AlreadyOn
        };
        Ok(Evidence {
            means,
            observation: sight.seen,
            took: self.begun.elapsed(),
        })
    }

    /// Finds the guest. In a cluster its host may have died just now: then the cluster needs its time to say where it is.
    fn first_sight(&mut self) -> Result<Sight, Error> {
        loop {
            match self.look(self.asked) {
                Err(error) if self.may_settle(&error) => {
                    self.last = Some(error.to_string());
                    self.fleet.pause(POLL, self.deadline);
                    if self.deadline.has_passed() {
                        return Err(error);
                    }
                }
                // A replica: switching it would do nothing to the guest it is a copy of.
                Ok(sight) if sight.seen.has_left() => {
                    return Err(self.not_done(&sight.by_guid(), Some(&sight)));
                }
                outcome => return outcome,
            }
        }
    }

    fn look(&self, guest: &GuestRef) -> Result<Sight, Error> {
        let since = Instant::now();
        let located = self.fleet.locate(guest, self.deadline);
        let mut sight = located.map_err(|unseen| unseen.error)?;
        self.starts.judge(&mut sight.seen, since);
        let has_failed = sight.role.as_ref().is_some_and(Role::has_failed);
        if self.killed && has_failed && is_off(&sight) {
            // By our own doing: the cluster is about to start it again.
            STARTING.clone_into(&mut sight.seen.reason);
        }
        Ok(sight)
    }

    /// Whether the same look can end better a little later.
    fn may_settle(&self, error: &Error) -> bool {
        let passes = matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::CannotKnow);
        let goes_on = !self.fleet.is_interrupted() && !self.deadline.has_passed();
        self.fleet.is_cluster() && passes && goes_on
    }

    /// Orders and looks until `done`.
    fn drive(&mut self, first: Sight, done: impl Fn(&Sight) -> bool) -> Result<Sight, Error> {
        let guest = first.by_guid();
        let (mut sight, mut rest) = (first, FIRST_POLL);
        loop {
            if done(&sight) {
                return Ok(sight);
            }
            if self.deadline.has_passed() {
                return Err(self.not_done(&guest, Some(&sight)));
            }
            self.act(&sight)?;
            self.fleet.pause(rest, self.deadline);
            rest = rest.saturating_mul(2).min(POLL);
            sight = self.look_again(sight)?;
        }
    }

    /// Looks until there is an answer. At the deadline, what was seen last stands.
    fn look_again(&mut self, before: Sight) -> Result<Sight, Error> {
        let guest = before.by_guid();
        loop {
            if self.deadline.has_passed() {
                return Ok(before);
            }
            match self.look(&guest) {
                Ok(sight) => return Ok(sight),
                Err(_) if self.deadline.has_passed() => return Ok(before),
                Err(error) if !self.ordered && !self.may_settle(&error) => return Err(error),
                Err(error) => {
                    // It was here a moment ago: whoever deleted it has not proven that it is off.
                    let is_final =
                        matches!(error.kind(), ErrorKind::NoSuchGuest | ErrorKind::Refused);
                    self.last = Some(error.to_string());
                    if is_final || self.fleet.is_interrupted() {
                        return Err(self.not_done(&guest, None));
                    }
                    self.fleet.pause(POLL, self.deadline);
                }
            }
        }
    }

    /// Gives the order, if it is time to, and sees after the job.
    fn act(&mut self, sight: &Sight) -> Result<(), Error> {
        self.follow_job();
        if self.wanted == Wanted::Off && self.is_stuck() {
            self.end_worker(sight);
        }
        let taker = self.taker.as_ref();
        if taker.is_some_and(|taker| !Arc::ptr_eq(taker, &sight.host)) {
            // The order went to where the guest no longer is.
            (self.task, self.taker, self.next) = (None, None, Instant::now());
        }
        if Instant::now() < self.next || self.deadline.has_passed() {
            return Ok(());
        }
        self.order(sight)
    }

    fn order(&mut self, sight: &Sight) -> Result<(), Error> {
        let starts = self.starts;
        let start = (self.wanted == Wanted::On).then(|| starts.ordered(sight.machine.guest.uuid));
        let given = self.give(sight);
        if let (Some(start), Ok(Given::NotTaken | Given::Gone) | Err(_)) = (&start, &given) {
            starts.ended(start);
        }
        match given? {
            Given::Taken(job) => {
                let host = Arc::clone(&sight.host);
                self.task = job.map(|job| Task { host, job, start });
                self.taker = Some(Arc::clone(&sight.host));
                self.ordered = true;
                self.next = Instant::now() + PATIENCE;
            }
            Given::Perhaps => {
                self.ordered = true;
                self.next = Instant::now() + BETWEEN;
            }
            Given::NotTaken => self.next = Instant::now() + BETWEEN,
            Given::Gone => {}
        }
        Ok(())
    }

    fn give(&mut self, sight: &Sight) -> Result<Given, Error> {
        let host = &sight.host;
        match host.order(&sight.machine.key(), self.wanted, self.deadline) {
            Ok((Answer::Done | Answer::Started, job)) => return Ok(Given::Taken(job)),
            // It is in transition, or somebody else has ordered the same: the next look tells.
            Ok((Answer::NotNow(value), _)) => {
                self.last = Some(format!(
                    "the host answered {value}: {}",
                    states::word(value)
                ));
            }
            Ok((Answer::Denied, _)) => {
                let detail = format!("RequestStateChange returned 32769: {}", states::word(32769));
                let denied = Trouble::Denied(detail);
                return Err(for_guest(host.error(denied), &sight.machine.guest.name));
            }
            Ok((answer @ (Answer::Failed(value) | Answer::Unclear(value)), _)) => {
                self.last = Some(format!(
                    "RequestStateChange returned {value}: {}",
                    states::word(value)
                ));
                if matches!(answer, Answer::Unclear(_)) {
                    return Ok(Given::Perhaps);
                }
            }
            // It was here a moment ago: it has moved, or was deleted. The next look tells.
            Err(Trouble::Fault(fault)) if fault.is_not_found() => {
                self.last = Some(format!("{} no longer knows it: {fault}", host.by()));
                return Ok(Given::Gone);
            }
            Err(trouble) => {
                let unsure = trouble.may_have_been_carried_out();
                let error = for_guest(host.error(trouble), &sight.machine.guest.name);
                if !unsure && error.kind() == ErrorKind::Refused {
                    return Err(error);
                }
                self.last = Some(error.to_string());
                if unsure {
                    return Ok(Given::Perhaps);
                }
            }
        }
        Ok(Given::NotTaken)
    }

    /// A job that has failed says why; a job that has ended or vanished says nothing, the state does.
    fn follow_job(&mut self) {
        let Some(task) = &self.task else { return };
        let status = match task.host.job(&task.job, self.deadline) {
            Ok(Some(status)) if status.job == Job::Running => return,
            Ok(Some(status)) => status,
            Ok(None) => {
                self.task = None;
                return;
            }
            Err(_) => return,
        };
        if status.job == Job::Failed {
            let by = task.host.by();
            self.last = Some(format!("its job on {by} has failed: {}", status.words));
            self.next = Instant::now() + BETWEEN;
        } else {
            self.next = self.next.min(Instant::now() + BETWEEN);
        }
        if let Some(start) = &task.start {
            self.starts.ended(start);
        }
        self.task = None;
    }

    /// Whether the order has had its time.
    fn is_stuck(&self) -> bool {
        let limit = self.fleet.settings().kill_worker;
        self.ordered && !self.killed && limit.is_some_and(|limit| self.begun.elapsed() >= limit)
    }

    fn end_worker(&mut self, sight: &Sight) {
        if sight.machine.is_migrating() || !sight.seen.active {
            return;
        }
        match worker::end(&sight.host, &sight.machine, self.deadline) {
            Ok(()) => {
                tracing::warn!(guest = %sight.machine.guest, by = sight.host.by(), "worker process ended");
                self.killed = true;
                // If a cluster starts it again, that takes an order of its own.
                (self.task, self.next) = (None, Instant::now() + BETWEEN);
            }
            Err(trouble) => {
                let error = sight.host.error(trouble);
                self.last = Some(format!("its worker process cannot be ended: {error}"));
            }
        }
    }

    /// What to say when the deadline has passed.
    fn not_done(&self, guest: &GuestRef, sight: Option<&Sight>) -> Error {
        let seen = match (sight, &self.last) {
            (Some(sight), Some(last)) => format!("{}; {last}", sight.seen),
            (Some(sight), None) => sight.seen.to_string(),
            (None, Some(last)) => format!("after the order, {last}"),
            (None, None) => "nothing".to_owned(),
        };
        let by = sight.map_or_else(|| self.fleet.by(), |sight| sight.host.by());
        if !self.ordered && sight.is_none() {
            return Error::Unreachable { by, detail: seen };
        }
        Error::NotConfirmed {
            guest: guest.clone(),
            by,
            saw: seen,
        }
    }
}

fn is_off(sight: &Sight) -> bool {
    sight.seen.power() == Power::Off
}

/// A start that is under way can still fail.
fn is_on(sight: &Sight) -> bool {
    sight.seen.active && sight.seen.power() == Power::On && !sight.machine.is_starting()
}

/// Says for which guest it was refused.
fn for_guest(error: Error, name: &str) -> Error {
    match error {
        Error::Refused { by, detail, .. } => Error::Refused {
            by,
            guest: name.to_owned(),
            detail,
        },
        other => other,
    }
}
