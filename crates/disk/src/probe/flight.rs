//! Fencing while the victim's writes are in flight: none may reach the medium once PREEMPT AND ABORT has returned.
//!
//! The survivor fills the region with its own data as soon as it has the answer. Whatever else is there afterwards has
//! been written later, over what the survivor wrote.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use iscsi::pdu::Lun;

use crate::initiator::{Payload, Session};
use crate::probe::Trouble;
use crate::probe::exercise::{Exercise, WERO};
use crate::probe::report::{self, Outcome};
use crate::probe::scratch::write_command;

/// How often it is tried.
const ROUNDS: u64 = 5;
/// The tags of what the victim and the survivor write.
const VICTIM: u64 = 0xBAD;
const SURVIVOR: u64 = 0x600D;
/// How long the victim must have been silent before nothing more is expected of it.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a step of the victim waits, so that it sees soon that it was fenced.
const BREATH: Duration = Duration::from_millis(20);
/// How long the victim may take until its writes flow.
const START: Duration = Duration::from_secs(10);
/// How much the victim that falls silent begins to write: more than any target takes unasked.
const LARGE: u64 = 2 << 20;

/// What the victim does while it is fenced.
struct Storm<'s> {
    session: &'s mut Session,
    lun: Lun,
    /// The commands it sends in turn.
    writes: Vec<(Vec<u8>, Vec<u8>)>,
    fenced: &'s AtomicBool,
    /// How many of its writes were in flight when it was.
    in_flight: &'s AtomicUsize,
    flowing: SyncSender<()>,
}

impl Storm<'_> {
    /// Keeps as many writes in flight as there are, until it was fenced and all have ended or nothing more comes. The
    /// connection may end: that is for the target to decide.
    fn rage(self) {
        let (mut next, mut ended, mut last) = (0, 0_usize, Instant::now());
        let mut seen_fenced = false;
        loop {
            let fenced = self.fenced.load(Ordering::SeqCst);
            if fenced && !seen_fenced {
                seen_fenced = true;
                let count = self.session.in_flight();
                self.in_flight.fetch_add(count, Ordering::SeqCst);
            }
            while !fenced && self.session.in_flight() < self.writes.len() {
                let (cdb, data) = &self.writes[next % self.writes.len()];
                next += 1;
                let breath = Deadline::after(BREATH);
                let payload = Payload::Out(data.clone());
                if self.session.submit(self.lun, cdb, payload, breath).is_err() {
                    break;
                }
            }
            match self.session.wait_any(Deadline::after(BREATH)) {
                Ok(Some(_)) => {
                    (ended, last) = (ended + 1, Instant::now());
                    if ended == self.writes.len() {
                        // Nobody may be waiting any more.
                        let _ = self.flowing.try_send(());
                    }
                }
                Ok(None) => {}
                Err(_) => break,
            }
            let done = fenced && self.session.in_flight() == 0;
            if done || fenced && last.elapsed() > QUIET || last.elapsed() > START {
                break;
            }
        }
    }
}

impl Exercise<'_> {
    /// Several times: a victim that writes as fast as it can is fenced.
    pub(super) fn in_flight(&mut self) -> Result<(), Trouble> {
        if !self.may_abort(&[report::IN_FLIGHT]) {
            return Ok(());
        }
        let (mut in_flight, mut slowest) = (0, Duration::ZERO);
        for round in 0..ROUNDS {
            self.begin(false)?;
            let (count, took) = self.storm()?;
            in_flight += count;
            slowest = slowest.max(took);
            let strangers = self.scratch.strangers(&mut self.survivor, SURVIVOR)?;
            if strangers > 0 {
                let seen = format!(
                    "{strangers} blocks were overwritten afterwards (attempt {})",
                    round + 1
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
            "{in_flight} writes in flight in {ROUNDS} attempts, none landed; it took {millis} ms at most"
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

    /// One storm: how many writes were in flight, and how long the fencing took.
    fn storm(&mut self) -> Result<(usize, Duration), Trouble> {
        let writes: Vec<_> = self
            .scratch
            .chunks()
            .into_iter()
            .map(|slot| (write_command(slot), self.scratch.pattern(slot, VICTIM)))
            .collect();
        let (fenced, in_flight) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (flowing, flows) = sync_channel(1);
        let Some((session, lun)) = self.victim.session() else {
            return Err(Trouble::Failed("there is no session".to_owned()));
        };
        let storm = Storm {
            session,
            lun,
            writes,
            fenced: &fenced,
            in_flight: &in_flight,
            flowing,
        };
        let (survivor, scratch) = (&mut self.survivor, &self.scratch);
        let (ours, theirs) = (self.survivor_key, self.victim_key);
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
                scratch.fill(survivor, SURVIVOR)?;
                Ok::<_, Trouble>(took)
            })();
            // Whatever happened, the victim must come to its end.
            fenced.store(true, Ordering::SeqCst);
            fencing
        });
        Ok((in_flight.load(Ordering::SeqCst), result?))
    }

    /// The victim begins a write and falls silent; it is fenced; then it sends the data.
    pub(super) fn late_data(&mut self) -> Result<(), Trouble> {
        if !self.may_abort(&[report::LATE_DATA, report::SILENT_VICTIM]) {
            return Ok(());
        }
        self.begin(false)?;
        let slot = self.scratch.start(LARGE);
        let (cdb, data) = (write_command(slot), self.scratch.pattern(slot, VICTIM));
        let deadline = self.victim.deadline();
        let Some((session, lun)) = self.victim.session() else {
            return Ok(());
        };
        let unasked = session.parameters().first_burst;
        if usize::try_from(unasked).is_ok_and(|unasked| unasked >= data.len()) {
            let seen = "the target takes everything unasked";
            self.report.note(report::LATE_DATA, Outcome::Unknown, seen);
            return Ok(());
        }
        let task = session.submit(lun, &cdb, Payload::Out(data), deadline)?;
        session.flush(deadline)?;
        if !session.hear(deadline)? {
            return Err(Trouble::Failed(
                "the target did not ask for the data".to_owned(),
            ));
        }
        let answered = self.fence_silent()?;
        self.scratch.fill(&mut self.survivor, SURVIVOR)?;
        if let Some((session, _)) = self.victim.session() {
            // What it comes to is for the target to decide: an answer, silence, or the end of the connection.
            let _ = session.wait(task, Deadline::after(QUIET));
        }
        let strangers = self.scratch.strangers(&mut self.survivor, SURVIVOR)?;
        if strangers > 0 {
            let seen = format!("{strangers} blocks were overwritten afterwards");
            self.note(report::LATE_DATA, false, seen);
        } else if answered {
            self.note(report::LATE_DATA, true, "they were thrown away");
        } else {
            let seen = "the fencing was not answered before the data came";
            self.report.note(report::LATE_DATA, Outcome::Unknown, seen);
        }
        // The victim's connection may still have half a command in it.
        if let Some((session, _)) = self.victim.session() {
            session.end("a write was broken off");
        }
        self.revive()
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
