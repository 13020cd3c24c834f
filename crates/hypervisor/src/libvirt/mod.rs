//! Guests behind libvirt: KVM, Xen, and the test driver.
//!
//! libvirt's calls block, and some block for as long as a daemon is stopped. So no caller ever makes
//! one: a [`Libvirt`] owns worker threads that do (`workers`), a connection that is opened and
//! re-opened by others again (`link`), and a protocol between the caller, who has a deadline, and the
//! worker, who has not (`call`).
//!
//! | layer | knows | must not know |
//! |---|---|---|
//! | this file | deadlines, retries, what proves an outcome | libvirt's functions |
//! | `act`, `look`, `migrate` | which questions and orders, in which order | threads |
//! | `hosts` | several URIs as the hosts of one platform: who runs a guest, moving one | libvirt's functions |
//! | `states`, `trouble`, `doubts` | libvirt's numbers and what they are worth | connections |
//! | `call`, `workers`, `link` | threads and waiting | guests' states |
//! | `qemu` | processes of this machine | libvirt |
//! | `ffi` | pointers | everything else |
//!
//! # Powering off
//!
//! 1. One job: look up, read the state, for a transient guest also its definition; then, if the
//!    caller still waits and its deadline has not passed, destroy. (A daemon that was stopped thus
//!    answers a harmless question first; what was asked too long ago ends there: W6.)
//! 2. If destroy has not returned after 0.3 s and the guest is a QEMU process of this machine, that
//!    process is looked for, and killed at once if it is stopped, else one second after destroy
//!    began (see `qemu`). For every other guest libvirt's own SIGKILL after ten seconds remains.
//! 3. Another job: look the guest up by UUID, and answer with what was seen.
//!
//! Only "shut off, not active, no saved memory, not migrated, no order of ours to start it under way"
//! is off ([`Observation::power`]), or "no such domain" after libvirt had confirmed the end of the guest or its process was seen dead. A
//! guest that left for another host, or may have because it was ended in the last phase of a live
//! migration, is not confirmed (see `doubts`). One that left before this process began is not
//! remembered once libvirtd was restarted, so whoever tracks guests over hosts must not rely on this
//! alone.
//!
//! # Use
//!
//! The library keeps one event thread per process, started with the first connection, so a daemon
//! must have forked before. Transports that ask for a password at the terminal should be told not to
//! (`?no_tty=1` for SSH).

mod act;
mod call;
mod doubts;
mod ffi;
mod hosts;
mod link;
mod look;
mod migrate;
mod qemu;
mod states;
mod trouble;
mod workers;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::act::{Cut, Start};
use self::call::{Call, GaveUp, Progress};
pub use self::hosts::Hosts;
use self::link::{Link, Links, Session};
use self::workers::{Job, Workers};
use crate::state::STARTING;
use crate::{
    Deadline, Error, ErrorKind, Event, Evidence, Guest, GuestRef, Hypervisor, Means, Observation,
    Power, PoweredOff, Revival,
};

/// How long a call waits for a worker before another one is hired.
const PATIENCE: Duration = Duration::from_millis(10);
/// How often a question is asked again because the connection broke under it.
const TRIES: usize = 3;
/// How long a guest whose process was killed may take to be noticed dead by libvirt.
const SETTLING: Duration = Duration::from_secs(3);
/// Without an event, a guest that settles is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The guests of one libvirt URI.
///
/// All calls share one connection, opened when first needed. It is safe to use from any number of
/// threads; a call that is stuck delays others by some milliseconds at most, until
/// 32 are stuck at the same time.
#[derive(Debug)]
pub struct Libvirt {
    links: Arc<Links>,
    workers: Workers,
    kills_locally: bool,
}

impl Libvirt {
    /// A hypervisor at `uri`, in libvirt's syntax. Nothing is connected yet.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self {
            links: Links::new(uri),
            workers: Workers::default(),
            kills_locally: qemu::is_local(uri),
        }
    }

    /// Lets a worker carry out `operation` and waits for it, at most until the deadline. If the
    /// connection breaks before anything was switched, it is asked again on a new one.
    fn ask<T: Outcome>(
        &self,
        doing: &str,
        deadline: Deadline,
        operation: impl Operation<T>,
        mut on_slow_action: impl FnMut(&Arc<Call<T>>, Guest, Instant),
    ) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            let link = self.links.get(deadline)?;
            let call = Arc::new(Call::new(deadline));
            self.queue(&link, &call, doing, operation.clone())?;
            let result = self.attend(&link, &call, doing, &mut on_slow_action);
            if link.is_lost() {
                self.links.lose(&link, "a call failed on it");
            }
            match result {
                Err(error)
                    if error.kind() == ErrorKind::Unreachable
                        && link.is_lost()
                        && tries < TRIES
                        && !deadline.has_passed() =>
                {
                    tracing::debug!(%error, doing, "asking again on a new connection");
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// As [`Libvirt::ask`], for questions: there is no action that could be slow.
    fn question<T: Outcome>(
        &self,
        doing: &str,
        deadline: Deadline,
        question: impl Fn(&Session<'_>) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let operation = move |session: &Session<'_>, _: &Call<T>| question(session);
        self.ask(doing, deadline, operation, |_, _, _| {})
    }

    fn queue<T: Outcome>(
        &self,
        link: &Arc<Link>,
        call: &Arc<Call<T>>,
        doing: &str,
        operation: impl Operation<T>,
    ) -> Result<(), Error> {
        let job = Errand {
            call: Arc::clone(call),
            link: Arc::clone(link),
            links: Arc::clone(&self.links),
            doing: doing.to_owned(),
            operation,
        };
        let queued = self.workers.push(Box::new(job));
        queued.map_err(|full| Error::Busy {
            by: link.by().to_owned(),
            waiting: full.0,
        })
    }

    /// Waits for the result of `call` and sees to it that there can be one.
    fn attend<T>(
        &self,
        link: &Link,
        call: &Arc<Call<T>>,
        doing: &str,
        on_slow_action: &mut impl FnMut(&Arc<Call<T>>, Guest, Instant),
    ) -> Result<T, Error> {
        let deadline = call.deadline().instant();
        let mut seen = Progress::Queued;
        let mut slow = false;
        loop {
            let until = match &seen {
                Progress::Queued => Instant::now() + PATIENCE,
                Progress::Acting { since, .. } if !slow => *since + qemu::LOOK_AFTER,
                _ => deadline,
            };
            let before = seen;
            seen = call.wait(&before, until.min(deadline));
            if seen == Progress::Done || call.deadline().has_passed() {
                return match call.give_up() {
                    GaveUp::NotNeeded(result) => result,
                    GaveUp::Yes { acting } => Err(Error::DeadlinePassed {
                        by: link.by().to_owned(),
                        doing: doing.to_owned(),
                        waited: call.age(),
                        acted: acting,
                    }),
                };
            }
            match &seen {
                _ if seen != before => {}
                Progress::Queued => self.workers.grow(),
                Progress::Acting { since, guest } if !slow => {
                    slow = true;
                    on_slow_action(call, guest.clone(), *since);
                }
                _ => {}
            }
        }
    }

    fn look(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        let wanted = guest.clone();
        let look = move |session: &Session<'_>| look::look(session, &wanted).map(|(_, seen)| seen);
        self.question("looking at a guest", deadline, look)
    }

    /// Looks after a power-off was tried, until the guest is off or cannot be expected to become so.
    fn confirm(
        &self,
        attempt: &Attempt<'_>,
        deadline: Deadline,
    ) -> Result<(Means, Observation), Error> {
        let before = &attempt.before;
        let uuid = look::by_uuid(&before.guest);
        let settled = deadline.within(SETTLING);
        loop {
            let (changes, looked) = (self.links.changes(), Instant::now());
            let seen = match self.look(&uuid, deadline) {
                Ok(seen) => seen,
                Err(Error::NoSuchGuest { by, .. }) if attempt.is_sure() => {
                    let mut seen = before.vanished(by);
                    self.links.doubts().judge(&mut seen, looked);
                    if seen.power() != Power::Off {
                        return Err(attempt.contradicted(&seen));
                    }
                    return Ok((attempt.means(true), seen));
                }
                Err(error) => return Err(attempt.unconfirmed(error.to_string())),
            };
            if seen.power() == Power::Off {
                return Ok((attempt.means(false), seen));
            }
            // After a kill libvirt needs a moment to notice, and an order to start it ends soon now
            // that the guest has been let go; otherwise libvirt's answer stands.
            let may_settle = attempt.killed || seen.reason == STARTING;
            if !may_settle || settled.has_passed() {
                return Err(attempt.contradicted(&seen));
            }
            self.links
                .wait_for_change(changes, settled.within(LOOK_AGAIN));
        }
    }

    /// As [`Libvirt::cut`], once no order to start the guest is under way any more: what is shut off
    /// until that takes effect is not off. At the deadline it may still be [`Cut::Starting`].
    fn cut_when_settled(&self, guest: &GuestRef, deadline: Deadline) -> Result<(Cut, bool), Error> {
        loop {
            let changes = self.links.changes();
            let (cut, killed) = self.cut(guest, deadline)?;
            if matches!(cut, Cut::Starting(_)) {
                self.links
                    .wait_for_change(changes, deadline.within(LOOK_AGAIN));
                if !deadline.has_passed() {
                    continue;
                }
            }
            return Ok((cut, killed));
        }
    }

    /// One attempt to end the guest, with the help of [`qemu::kill`] if it does not end.
    fn cut(&self, guest: &GuestRef, deadline: Deadline) -> Result<(Cut, bool), Error> {
        let doing = format!("powering off {guest}");
        let wanted = guest.clone();
        let killed = Arc::new(AtomicBool::new(false));
        let operation =
            move |session: &Session<'_>, call: &Call<Cut>| act::cut(session, &wanted, call);
        let help = |call: &Arc<Call<Cut>>, guest: Guest, since| {
            if self.kills_locally {
                kill(Arc::clone(call), guest, since, Arc::clone(&killed));
            }
        };
        let cut = self.ask(&doing, deadline, operation, help)?;
        Ok((cut, killed.load(Ordering::Acquire)))
    }
}

impl Hypervisor for Libvirt {
    fn name(&self) -> &str {
        self.links.uri()
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        self.question("listing guests", deadline, look::list)
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        self.look(guest, deadline)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        let begun = Instant::now();
        let (before, revival, answer, killed) = match self.cut_when_settled(guest, deadline)? {
            (Cut::Starting(seen), _) => return Err(Error::not_confirmed(guest, &seen)),
            (Cut::AlreadyOff(observation), _) => {
                let evidence = Evidence {
                    means: Means::AlreadyOff,
                    observation,
                    took: begun.elapsed(),
                };
                return Ok(PoweredOff {
                    evidence,
                    revival: None,
                    was_active: false,
                });
            }
            (
                Cut::Tried {
                    before,
                    revival,
                    answer,
                },
                killed,
            ) => (before, revival, answer, killed),
        };
        let was_active = before.active;
        let attempt = Attempt {
            guest,
            before,
            answer,
            killed,
        };
        let (means, observation) = self.confirm(&attempt, deadline)?;
        let evidence = Evidence {
            means,
            observation,
            took: begun.elapsed(),
        };
        Ok(PoweredOff {
            evidence,
            revival,
            was_active,
        })
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        let begun = Instant::now();
        let doing = format!("powering on {guest}");
        let (wanted, revival) = (guest.clone(), revival.cloned());
        let operation = move |session: &Session<'_>, call: &Call<Start>| {
            act::start(session, &wanted, revival.as_ref(), call)
        };
        let evidence = |means, observation| Evidence {
            means,
            observation,
            took: begun.elapsed(),
        };
        let (started, answer) = match self.ask(&doing, deadline, operation, |_, _, _| {})? {
            Start::AlreadyOn(seen) => return Ok(evidence(Means::AlreadyOn, seen)),
            Start::Tried { guest, answer } => (guest, answer),
        };
        let looked = self.look(&look::by_uuid(&started), deadline);
        match (looked, answer) {
            (Ok(seen), Ok(())) if seen.active => Ok(evidence(Means::Started, seen)),
            // Somebody else was faster.
            (Ok(seen), Err(_)) if seen.active => Ok(evidence(Means::AlreadyOn, seen)),
            // It was told to start the guest, and then the way there broke: it may start it yet.
            (_, Err(error)) if error.kind() == ErrorKind::Unreachable => Err(Error::NotConfirmed {
                guest: guest.clone(),
                by: self.name().to_owned(),
                saw: format!("told to start it, and then {error}"),
            }),
            (Err(_) | Ok(_), Err(error)) => Err(error),
            (Ok(seen), Ok(())) => Err(Error::not_confirmed(guest, &seen)),
            (Err(error), Ok(())) => Err(Error::NotConfirmed {
                guest: guest.clone(),
                by: self.name().to_owned(),
                saw: error.to_string(),
            }),
        }
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.question("asking for health", deadline, look::health)
    }

    fn watch(&self) -> Receiver<Event> {
        self.links.watchers.add()
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        self.links.close();
    }
}

/// A power-off that was tried, for the judgement of what is seen after it.
struct Attempt<'a> {
    guest: &'a GuestRef,
    before: Observation,
    answer: Result<(), String>,
    killed: bool,
}

impl Attempt<'_> {
    /// Whether the guest's end was confirmed, so that its absence afterwards proves what it seems to.
    fn is_sure(&self) -> bool {
        self.answer.is_ok() || self.killed
    }

    fn means(&self, vanished: bool) -> Means {
        match (&self.answer, self.killed) {
            (_, true) => Means::Killed,
            (Ok(()), _) if vanished => Means::Vanished,
            (Ok(()), _) if self.before.active => Means::Destroyed,
            (Ok(()), _) => Means::ImageDiscarded,
            (Err(_), _) => Means::WentOff,
        }
    }

    fn unconfirmed(&self, saw: String) -> Error {
        Error::NotConfirmed {
            guest: self.guest.clone(),
            by: self.before.by.clone(),
            saw,
        }
    }

    fn contradicted(&self, seen: &Observation) -> Error {
        match &self.answer {
            Err(detail) if seen.power() == Power::On => Error::Refused {
                by: seen.by.clone(),
                guest: self.guest.to_string(),
                detail: detail.clone(),
            },
            Err(detail) => self.unconfirmed(format!("{detail}; then {seen}")),
            Ok(()) => self.unconfirmed(format!("after it was ended, {seen}")),
        }
    }
}

/// Starts a thread that kills the guest's process if destroying it stays stuck.
fn kill(call: Arc<Call<Cut>>, guest: Guest, since: Instant, killed: Arc<AtomicBool>) {
    let body = move || match qemu::kill(&guest, since, call.deadline(), || call.is_acting()) {
        Ok(qemu::Killed::Yes) => killed.store(true, Ordering::Release),
        Ok(qemu::Killed::NotNeeded) => {}
        Ok(qemu::Killed::NotDead) => {
            tracing::warn!(%guest, "QEMU was killed and does not die: it is stuck in the kernel");
        }
        Err(detail) => tracing::warn!(%guest, detail, "QEMU is left to libvirt"),
    };
    if let Err(error) = thread::Builder::new()
        .name("qemu-kill".to_owned())
        .spawn(body)
    {
        tracing::warn!(%error, "no thread to kill a hung QEMU: it is left to libvirt");
    }
}

/// What a worker does on a connection for a caller.
trait Operation<T>: Fn(&Session<'_>, &Call<T>) -> Result<T, Error> + Clone + Send + 'static {}
impl<T, F: Fn(&Session<'_>, &Call<T>) -> Result<T, Error> + Clone + Send + 'static> Operation<T>
    for F
{
}

/// A result that can say in words how it ended, for callers that have gone.
trait Outcome: Send + 'static {
    fn outcome(&self) -> String {
        "done".to_owned()
    }
}

impl Outcome for () {}
impl Outcome for Observation {}
impl Outcome for Vec<Observation> {}
impl Outcome for (Observation, migrate::Job) {}
impl Outcome for migrate::Tried {
    fn outcome(&self) -> String {
        match &self.answer {
            Ok(()) => "moved".to_owned(),
            Err(error) => format!("not moved: {error}"),
        }
    }
}
impl Outcome for Cut {
    fn outcome(&self) -> String {
        match self {
            Self::Tried {
                answer: Err(detail),
                ..
            } => format!("refused: {detail}"),
            Self::Starting(seen) => seen.to_string(),
            Self::Tried { .. } | Self::AlreadyOff(_) => "powered off".to_owned(),
        }
    }
}
impl Outcome for Start {
    fn outcome(&self) -> String {
        match self {
            Self::Tried {
                answer: Err(error), ..
            } => format!("failed: {error}"),
            Self::Tried { .. } | Self::AlreadyOn(_) => "powered on".to_owned(),
        }
    }
}

/// One call in the queue.
struct Errand<T, O> {
    call: Arc<Call<T>>,
    link: Arc<Link>,
    links: Arc<Links>,
    doing: String,
    operation: O,
}

impl<T: Outcome, O: Operation<T>> Job for Errand<T, O> {
    fn run(self: Box<Self>) {
        if !self.call.begin() {
            return;
        }
        let work = AssertUnwindSafe(|| {
            let session = self.link.session()?;
            (self.operation)(&session, &self.call)
        });
        let result = panic::catch_unwind(work).unwrap_or_else(|_| {
            let by = self.link.by().to_owned();
            Err(Error::Unreachable {
                by,
                detail: "a bug here stopped the call".to_owned(),
            })
        });
        if let Some((guest, late)) = self.call.finish(result) {
            self.report_late(guest, &late);
        }
    }

    fn is_wanted(&self) -> bool {
        self.call.is_wanted()
    }
}

impl<T: Outcome, O> Errand<T, O> {
    /// The caller was told that the action may still take effect. It has, or it has not.
    fn report_late(&self, guest: Guest, result: &Result<T, Error>) {
        let outcome = match result {
            Ok(result) => result.outcome(),
            Err(error) => format!("failed: {error}"),
        };
        let late_by = self.call.deadline().instant().elapsed();
        let (doing, by) = (self.doing.clone(), self.link.by().to_owned());
        tracing::warn!(%guest, doing, outcome, ?late_by, by, "completed after its deadline");
        let guest = GuestRef::Name(guest.name);
        let at = Timestamp::now();
        let event = Event::LateCompletion {
            guest,
            doing,
            outcome,
            late_by,
            by,
            at,
        };
        self.links.watchers.tell(&event);
    }
}

#[cfg(test)]
mod tests;
