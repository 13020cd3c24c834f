//! Fencing while the victim's writes are in flight: none may reach the medium once PREEMPT AND ABORT has returned.
//!
//! The survivor reads what the victim writes to as soon as it has the answer, and again when the victim has come to its
//! end. A block that has changed in between was written after the answer: it could have been one that the survivor had
//! written meanwhile. Each write has data of its own, so that none is taken for an earlier one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use iscsi::pdu::{Lun, TaskManagement, TaskManagementResponse};
use iscsi::session::TaskId;

use scsi::{AdditionalSense, SenseKey, Status};

use crate::Completion;
use crate::initiator::{Payload, Session, TaskEnd};
use crate::probe::Trouble;
use crate::probe::exercise::{Exercise, WERO};
use crate::probe::report::{self, Outcome};
use crate::probe::scratch::{Scratch, write_command};
use crate::probe::writes::{FUA_BIT, Slot, WITH_FUA};

/// How often it is tried: at least, and at most if too few writes were in flight.
const ROUNDS: std::ops::RangeInclusive<u32> = 5..=20;
/// So many writes in flight are enough.
const ENOUGH: usize = 16;
/// The tags of what the victim, counted up from here, and the survivor write.
const VICTIM: u64 = 0xBAD_0000;
const SURVIVOR: u64 = 0x600D;
/// What the victim writes to, and how much at once: as many writes as are kept in flight, so that the target has some
/// to do when it is told to abort them.
const STORMED: u64 = 4 << 20;
const WRITE: u64 = 64 << 10;
/// How long the victim must have been silent before nothing more is expected of it.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a step of the victim waits, so that it sees soon that it was fenced.
const BREATH: Duration = Duration::from_millis(20);
/// How long it waits for room in the target's window.
const MOMENT: Duration = Duration::from_millis(1);
/// So many of its writes must have ended before it is fenced.
const FLOWING: usize = 16;
/// How long the target may take to say that aborted commands are gone.
const FORGET: Duration = Duration::from_secs(5);
/// How long the victim may take until its writes flow.
const START: Duration = Duration::from_secs(10);
/// How much the victim that falls silent begins to write: so much more than the target takes unasked, and at most so much.
const ASKED: u64 = 256 << 10;
const LARGE: u64 = 2 << 20;

/// What the victim does while it is fenced.
struct Storm<'s> {
    session: &'s mut Session,
    lun: Lun,
    /// Where it writes, in turn.
    slots: Vec<Slot>,
    scratch: &'s Scratch,
    /// Its writes must be durable before they are answered, which takes long: FUA.
    durable: bool,
    fenced: &'s AtomicBool,
    /// How many of its writes the target had taken, and not yet answered, when it was.
    in_flight: &'s AtomicUsize,
    flowing: SyncSender<()>,
}

impl Storm<'_> {
    /// Keeps as many writes in flight as there are, until it was fenced and all have ended or nothing more comes. The
    /// connection may end: that is for the target to decide.
    fn rage(self) {
        let (mut next, mut ended, mut last) = (0, 0_usize, Instant::now());
        let (mut seen_fenced, mut in_flight, mut most) = (false, 0_usize, self.slots.len());
        loop {
            let fenced = self.fenced.load(Ordering::SeqCst);
            if fenced && !seen_fenced {
                seen_fenced = true;
                in_flight = self.session.in_flight();
            }
            while !fenced && self.session.in_flight() < most {
                let slot = self.slots[next % self.slots.len()];
                let tag = VICTIM + u64::try_from(next).unwrap_or_default();
                let (cdb, payload) = (
                    self.command(slot),
                    Payload::Out(self.scratch.pattern(slot, tag)),
                );
                let moment = Deadline::after(MOMENT);
                if self
                    .session
                    .submit(self.lun, &cdb, payload, moment)
                    .is_err()
                {
                    // The target has no room for more at a time.
                    most = self.session.in_flight().max(1);
                    break;
                }
                next += 1;
            }
            let mut wait = BREATH;
            loop {
                match self.session.wait_any(Deadline::after(wait)) {
                    Ok(Some((_, end))) => {
                        (ended, last) = (ended + 1, Instant::now());
                        // It had not been taken: it was still on its way to the target.
                        let refused =
                            matches!(&end, TaskEnd::Completed(done, _) if !done.status.is_good());
                        in_flight -= usize::from(seen_fenced && refused).min(in_flight);
                    }
                    Ok(None) => break,
                    Err(_) => return self.in_flight.store(in_flight, Ordering::SeqCst),
                }
                wait = Duration::ZERO;
            }
            if ended >= FLOWING {
                // Nobody may be waiting any more.
                let _ = self.flowing.try_send(());
            }
            let done = fenced && self.session.in_flight() == 0;
            if done || fenced && last.elapsed() > QUIET || last.elapsed() > START {
                break;
            }
        }
        self.in_flight.store(in_flight, Ordering::SeqCst);
        self.forget();
    }

    fn command(&self, slot: Slot) -> Vec<u8> {
        let mut cdb = write_command(slot);
        if self.durable {
            cdb[1] |= FUA_BIT;
        }
        cdb
    }

    /// What was aborted is never answered; both sides agree now that it is gone, or the session ends.
    fn forget(self) {
        if self.session.in_flight() > 0 {
            let (function, deadline) = (TaskManagement::ABORT_TASK_SET, Deadline::after(FORGET));
            let done = self.session.manage(function, self.lun, deadline);
            if !matches!(done, Ok(TaskManagementResponse::COMPLETE)) {
                self.session
                    .end("commands that were aborted cannot be forgotten");
            }
        }
    }
}

/// What came of a storm.
struct Seen {
    /// How many writes were in flight.
    in_flight: usize,
    /// How long the fencing took.
    took: Duration,
    /// How many writes landed after its answer.
    changed: usize,
}

impl Exercise<'_> {
    /// Several times: a victim that writes as fast as it can is fenced.
    pub(super) fn in_flight(&mut self) -> Result<(), Trouble> {
        if !self.may_abort(&[report::IN_FLIGHT]) {
            return Ok(());
        }
        let (mut in_flight, mut slowest) = (0, Duration::ZERO);
        let mut round = 0;
        while round < *ROUNDS.start() || in_flight < ENOUGH && round < *ROUNDS.end() {
            round += 1;
            self.begin(false)?;
            let seen = self.storm()?;
            in_flight += seen.in_flight;
            slowest = slowest.max(seen.took);
            if seen.changed > 0 {
                let seen = format!(
                    "{} writes landed afterwards (attempt {round})",
                    seen.changed
                );
                self.note(report::IN_FLIGHT, false, seen);
                return Ok(());
            }
        }
        if in_flight == 0 {
            let seen = "the target answers so fast that nothing was in flight";
            self.report.note(report::IN_FLIGHT, Outcome::Unknown, seen);
            return Ok(());
        }
        let millis = slowest.as_millis();
        let seen = format!(
            "{in_flight} writes had been taken and not answered in {round} attempts, none landed; it took {millis} ms at most"
        );
        self.note(report::IN_FLIGHT, true, seen);
        Ok(())
    }

    /// Without PREEMPT AND ABORT, or without sessions of our own, there is nothing to be seen.
    fn may_abort(&mut self, requirements: &[report::Requirement]) -> bool {
        let why = if !self.aborts {
            "it cannot be seen without PREEMPT AND ABORT"
        } else if self.victim.session().is_none() {
            "it cannot be seen through a device node"
        } else {
            return true;
        };
        for requirement in requirements {
            self.report.note(*requirement, Outcome::Unknown, why);
        }
        false
    }

    /// One storm.
    fn storm(&mut self) -> Result<Seen, Trouble> {
        let (fenced, in_flight) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (flowing, flows) = sync_channel(1);
        let Some((session, lun)) = self.victim.session() else {
            return Err(Trouble::Failed("there is no session".to_owned()));
        };
        let durable = self
            .report
            .writes
            .iter()
            .any(|tried| tried.command == WITH_FUA && tried.registered == report::Answer::Good);
        let (survivor, scratch) = (&mut self.survivor, &self.scratch);
        let slots = scratch.pieces(STORMED, WRITE);
        let storm = Storm {
            session,
            lun,
            slots: slots.clone(),
            scratch,
            durable,
            fenced: &fenced,
            in_flight: &in_flight,
            flowing,
        };
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        let places = &slots;
        let result = thread::scope(|scope| {
            scope.spawn(move || storm.rage());
            let fencing = (|| {
                let flows = flows.recv_timeout(START);
                flows.map_err(|_| Trouble::Failed("the victim's writes do not flow".to_owned()))?;
                let deadline = survivor.deadline();
                let begun = Instant::now();
                survivor.pr()?.preempt(ours, theirs, WERO, true, deadline)?;
                let took = begun.elapsed();
                fenced.store(true, Ordering::SeqCst);
                let held = scratch.glance(survivor, places)?;
                Ok::<_, Trouble>((took, held))
            })();
            // Whatever happened, the victim must come to its end.
            fenced.store(true, Ordering::SeqCst);
            fencing
        });
        let (took, held) = result?;
        let later = self.scratch.glance(&mut self.survivor, &slots)?;
        Ok(Seen {
            in_flight: in_flight.load(Ordering::SeqCst),
            took,
            changed: self.scratch.difference(&held, &later),
        })
    }

    /// The victim begins writes and falls silent; it is fenced; then it sends the data. There are two of them because a
    /// target may answer the first with the unit attention of the fencing, which says nothing of the others.
    pub(super) fn late_data(&mut self) -> Result<(), Trouble> {
        if !self.may_abort(&[report::LATE_DATA, report::SILENT_VICTIM]) {
            return Ok(());
        }
        self.begin(false)?;
        let deadline = self.victim.deadline();
        let Some((session, lun)) = self.victim.session() else {
            return Ok(());
        };
        let unasked = session.parameters().first_burst;
        let size = (u64::from(unasked) + ASKED).min(LARGE);
        if u64::from(unasked) >= size {
            let seen = "the target takes everything unasked";
            self.report.note(report::LATE_DATA, Outcome::Unknown, seen);
            return Ok(());
        }
        let mut tasks = Vec::new();
        for (slot, tag) in self
            .scratch
            .pieces(2 * size, size)
            .into_iter()
            .zip(VICTIM..)
        {
            let (cdb, data) = (write_command(slot), self.scratch.pattern(slot, tag));
            let moment = if tasks.is_empty() {
                deadline
            } else {
                Deadline::after(MOMENT)
            };
            match session.submit(lun, &cdb, Payload::Out(data), moment) {
                Ok(task) => tasks.push(task),
                // The target has no room for more than one at a time.
                Err(_) if !tasks.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        session.flush(deadline)?;
        if !session.hear(deadline)? {
            return Err(Trouble::Failed(
                "the target did not ask for the data".to_owned(),
            ));
        }
        let answered = self.fence_silent()?;
        let mut ends = Vec::new();
        if !answered {
            // It was not promised yet that nothing is written: the victim comes to its end before it is fenced.
            ends = self.hear_out(&tasks);
            self.revive()?;
            if self.fenced()?.is_some() {
                self.fence()?;
            }
        }
        self.scratch.fill(&mut self.survivor, SURVIVOR)?;
        if answered {
            ends = self.hear_out(&tasks);
        }
        let strangers = self.scratch.strangers(&mut self.survivor, SURVIVOR)?;
        if strangers > 0 {
            let seen = format!("{strangers} blocks were overwritten afterwards");
            self.note(report::LATE_DATA, false, seen);
        } else if let Some(why) = never_late(&ends) {
            self.report.note(report::LATE_DATA, Outcome::Unknown, why);
        } else if answered {
            self.note(report::LATE_DATA, true, "they were thrown away");
        } else {
            let seen = "the fencing waits for them, and nothing is written after it";
            self.note(report::LATE_DATA, true, seen);
        }
        // The victim's connection may still have half a command in it.
        if let Some((session, _)) = self.victim.session() {
            session.end("a write was broken off");
        }
        self.revive()
    }

    /// Lets the victim send what it still has to send. What that comes to is for the target to decide: an answer, silence,
    /// or the end of the connection.
    fn hear_out(&mut self, tasks: &[TaskId]) -> Vec<Late> {
        let Some((session, _)) = self.victim.session() else {
            return Vec::new();
        };
        let wait = |task: &TaskId| match session.wait(*task, Deadline::after(QUIET)) {
            Ok(Some(TaskEnd::Completed(done, _))) => Late::of(&done),
            _ => Late::KeptOut,
        };
        tasks.iter().map(wait).collect()
    }

    /// Fences a victim that owes the target data. Whether that was answered while it was silent.
    fn fence_silent(&mut self) -> Result<bool, Trouble> {
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        let deadline = self.survivor.deadline();
        let begun = Instant::now();
        match self
            .survivor
            .pr()?
            .preempt(ours, theirs, WERO, true, deadline)
        {
            Ok(()) => {
                let millis = begun.elapsed().as_millis();
                self.note(report::SILENT_VICTIM, true, format!("it took {millis} ms"));
                Ok(true)
            }
            Err(error) if error.is_unknown() => {
                let limit = self.options.timeout.as_secs();
                let seen = format!("no answer within {limit} s");
                self.note(report::SILENT_VICTIM, false, seen);
                self.survivor.revive()?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What became of a write whose data came late.
#[derive(Debug, PartialEq, Eq)]
enum Late {
    /// It was answered as if carried out, or kept out, or aborted, or not answered any more: what is on the medium decides.
    KeptOut,
    /// It was told that the victim has been fenced, and not carried out.
    Told,
    /// It was refused for another reason.
    Refused(String),
}

impl Late {
    fn of(done: &Completion) -> Self {
        const FENCED: [AdditionalSense; 4] = [
            AdditionalSense::RESERVATIONS_PREEMPTED,
            AdditionalSense::RESERVATIONS_RELEASED,
            AdditionalSense::REGISTRATIONS_PREEMPTED,
            AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
        ];
        match (done.status, done.sense) {
            (Status::GOOD | Status::RESERVATION_CONFLICT | Status::TASK_ABORTED, _) => {
                Self::KeptOut
            }
            (_, Some(sense)) if sense.key == SenseKey::ABORTED_COMMAND => Self::KeptOut,
            (_, Some(sense))
                if sense.key == SenseKey::UNIT_ATTENTION && FENCED.contains(&sense.additional) =>
            {
                Self::Told
            }
            (_, Some(sense)) => Self::Refused(sense.to_string()),
            (status, None) => Self::Refused(status.to_string()),
        }
    }
}

/// Why nothing was learnt of late data, if no write was decided by its data.
fn never_late(ends: &[Late]) -> Option<String> {
    if ends.contains(&Late::KeptOut) {
        return None;
    }
    let refused = ends.iter().find_map(|end| match end {
        Late::Refused(why) => Some(format!("the write was refused for another reason: {why}")),
        Late::KeptOut | Late::Told => None,
    });
    Some(refused.unwrap_or_else(|| "the write was only told of the fencing".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attention_of_the_fencing_says_nothing_of_other_writes() {
        let refused = || Late::Refused("MEDIUM ERROR".to_owned());
        for (ends, learnt) in [
            (vec![Late::KeptOut], true),
            (vec![Late::Told, Late::KeptOut], true),
            (vec![refused(), Late::KeptOut], true),
            (vec![Late::Told], false),
            (vec![Late::Told, refused()], false),
            (vec![], false),
        ] {
            assert_eq!(never_late(&ends).is_none(), learnt, "{ends:?}");
        }
    }
}
