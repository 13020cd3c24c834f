//! Two initiators do it: what they share, in which order it is done, and how everything is put back.

use scsi::pr::{Key, ReservationType};

use crate::pr::PrError;
use crate::probe::link::Link;
use crate::probe::report::{self, Outcome, Report, Requirement};
use crate::probe::scratch::Scratch;
use crate::probe::signature::{LOOK, signatures};
use crate::probe::writes::{Slot, UNTRIED};
use crate::probe::{Event, ProbeOptions, Probed, Trouble, Watcher, chain, infer, said};

/// What `fence_scsi` uses.
pub(super) const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// Everything that the steps share.
pub(super) struct Exercise<'w> {
    /// The survivor: it reserves and fences.
    pub(super) survivor: Link,
    /// Whom it fences.
    pub(super) victim: Link,
    pub(super) survivor_key: Key,
    pub(super) victim_key: Key,
    pub(super) report: Report,
    pub(super) scratch: Scratch,
    pub(super) watcher: &'w mut dyn Watcher,
    pub(super) options: &'w ProbeOptions,
    /// PREEMPT AND ABORT works.
    pub(super) aborts: bool,
    /// Something was written, or registered.
    touched: bool,
}

/// A step: what it is called, what it looks at, and how.
type Step = (
    &'static str,
    &'static [Requirement],
    fn(&mut Exercise<'_>) -> Result<(), Trouble>,
);

impl<'w> Exercise<'w> {
    pub(super) fn new(
        survivor: Link,
        victim: Link,
        mut report: Report,
        options: &'w ProbeOptions,
        watcher: &'w mut dyn Watcher,
    ) -> Result<Self, Trouble> {
        report.untried = UNTRIED.iter().map(|name| (*name).to_owned()).collect();
        let scratch = Scratch::choose(&report.identity)?;
        let [survivor_key, victim_key] = keys()?;
        let exercise = Self {
            survivor,
            victim,
            survivor_key,
            victim_key,
            report,
            scratch,
            watcher,
            options,
            aborts: false,
            touched: false,
        };
        Ok(exercise)
    }

    /// All of it.
    pub(super) fn run(mut self) -> Result<Probed, Trouble> {
        self.look()?;
        let place = self.scratch.place();
        if !self.watcher.consent(&self.report.identity, &place) {
            return Err(Trouble::Declined);
        }
        self.go_on()?;
        // That may have taken long: a target ends sessions that say nothing, and somebody may use the disk now.
        self.survivor.reinstate()?;
        self.victim.reinstate()?;
        self.look()?;
        self.displace()?;
        self.scratch.save(&mut self.survivor)?;
        let ended = self.steps().err();
        self.watcher.event(Event::CleaningUp);
        self.clean_up();
        self.report.judge();
        if let Err(error) = self.survivor.close() {
            // The session is gone all the same, and nothing of it stays but what was looked for.
            self.report
                .remarks
                .push(format!("logout: {}", chain(&error)));
        }
        let _ = self.victim.close();
        Ok(Probed {
            report: self.report,
            ended,
        })
    }

    fn steps(&mut self) -> Result<(), Trouble> {
        const STEPS: [Step; 8] = [
            (
                "registering and reserving",
                &[
                    report::READ_KEYS,
                    report::REGISTER,
                    report::RESERVE,
                    report::REGISTRANT_WRITES,
                ],
                |all| all.register_and_reserve(),
            ),
            ("writing as a registrant", &[], |all| all.write_registered()),
            (
                "fencing",
                &[
                    report::PREEMPT_AND_ABORT,
                    report::FENCED_WRITES,
                    report::FENCED_READS,
                    report::SYNCHRONIZE,
                ],
                |all| all.fence_and_write(),
            ),
            (
                "fencing back",
                &[report::FENCE_BACK, report::OLD_RESERVE],
                |all| all.fence_back(),
            ),
            ("resetting", &[report::RESET], |all| all.reset()),
            (
                "fencing with writes in flight",
                &[report::IN_FLIGHT],
                |all| all.in_flight(),
            ),
            (
                "fencing a victim that has fallen silent",
                &[report::LATE_DATA, report::SILENT_VICTIM],
                |all| all.late_data(),
            ),
            (
                "logging out and in",
                &[report::LOGOUT, report::APTPL, report::APTPL_KEPT],
                |all| all.lasting(),
            ),
        ];
        for (name, requirements, step) in STEPS {
            if self.watcher.cancelled() {
                return Err(Trouble::Cancelled);
            }
            self.watcher.event(Event::Trying(name));
            let result = self.revive().and_then(|()| step(self));
            match result {
                Err(error @ (Trouble::Cancelled | Trouble::InUse(_))) => return Err(error),
                Err(error) => {
                    let why = chain(&error);
                    for requirement in requirements {
                        self.leave_open(*requirement, &why);
                    }
                }
                Ok(()) => {}
            }
            for requirement in requirements {
                if let Some(check) = self.report.check(*requirement) {
                    self.watcher.event(Event::Checked(check.clone()));
                }
            }
        }
        Ok(())
    }

    /// What was not decided before the step failed is not known.
    fn leave_open(&mut self, requirement: Requirement, why: &str) {
        let open = self
            .report
            .check(requirement)
            .is_some_and(|check| check.outcome == Outcome::NotTried);
        if open {
            self.report.note(requirement, Outcome::Unknown, why);
        }
    }

    pub(super) fn note(&mut self, requirement: Requirement, met: bool, seen: impl Into<String>) {
        let outcome = if met { Outcome::Met } else { Outcome::Broken };
        self.report.note(requirement, outcome, seen);
    }

    /// Ends the step if the probe is to end.
    pub(super) fn go_on(&self) -> Result<(), Trouble> {
        if self.watcher.cancelled() {
            Err(Trouble::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Whether anybody uses the disk.
    fn look(&mut self) -> Result<(), Trouble> {
        let deadline = self.survivor.deadline();
        let mut pr = self.survivor.pr()?;
        let (_, keys) = pr.read_keys(deadline).map_err(unable)?;
        let (_, held) = pr.read_reservation(deadline).map_err(unable)?;
        let foreign = !keys.is_empty() || held.is_some();
        if foreign && !self.options.despite_registrations {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let list = if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            };
            let held = if held.is_some() { "a" } else { "no" };
            return Err(Trouble::InUse(format!(
                "somebody is registered (keys: {list}; {held} reservation): a cluster may be using the disk"
            )));
        }
        if self.options.despite_data {
            return Ok(());
        }
        let found = self.signatures()?;
        if found.is_empty() {
            return Ok(());
        }
        Err(Trouble::InUse(format!(
            "the disk holds {}",
            found.join(", ")
        )))
    }

    /// Whoever else is registered loses that: it was allowed.
    fn displace(&mut self) -> Result<(), Trouble> {
        if self.options.despite_registrations {
            self.clear()?;
        }
        Ok(())
    }

    fn signatures(&mut self) -> Result<Vec<&'static str>, Trouble> {
        let identity = &self.report.identity;
        let length = u64::from(identity.block_length).max(1);
        let count = (LOOK / length).min(identity.blocks);
        let end = identity.blocks - count;
        let mut ends = Vec::new();
        for first in [0, end] {
            let mut bytes = Vec::new();
            // No more at once than any disk takes.
            let step = (64 << 10) / length;
            for at in (0..count).step_by(usize::try_from(step).unwrap_or(1)) {
                let blocks = u32::try_from(step.min(count - at)).unwrap_or(1);
                let slot = Slot {
                    lba: first + at,
                    blocks,
                };
                bytes.extend(self.scratch.read(&mut self.survivor, slot)?);
            }
            ends.push(bytes);
        }
        Ok(signatures(&ends[0], &ends[1]))
    }

    /// Sessions that have ended are opened again.
    pub(super) fn revive(&mut self) -> Result<(), Trouble> {
        self.survivor.revive()?;
        self.victim.revive()?;
        Ok(())
    }

    /// No registration and no reservation is left.
    fn clear(&mut self) -> Result<(), Trouble> {
        let (key, deadline) = (self.survivor_key, self.survivor.deadline());
        let mine = [self.survivor_key, self.victim_key];
        let mut pr = self.survivor.pr()?;
        let (_, keys) = pr.read_keys(deadline)?;
        // CLEAR takes everybody's away.
        if let Some(other) = keys.iter().find(|key| !mine.contains(key))
            && !self.options.despite_registrations
        {
            return Err(Trouble::InUse(format!(
                "somebody has registered meanwhile (key {other}): a cluster may be using the disk"
            )));
        }
        pr.register_ignoring(Some(key), false, deadline)?;
        pr.clear(key, deadline)?;
        let (_, left) = pr.read_keys(deadline)?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(Trouble::Failed(
                "CLEAR left registrations behind".to_owned(),
            ))
        }
    }

    /// The state that most steps begin with: both are registered, the survivor holds the reservation.
    pub(super) fn begin(&mut self, aptpl: bool) -> Result<(), Trouble> {
        self.go_on()?;
        self.revive()?;
        self.touched = true;
        self.clear()?;
        let deadline = self.survivor.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        self.survivor
            .pr()?
            .register_ignoring(Some(ours), aptpl, deadline)?;
        self.victim
            .pr()?
            .register_ignoring(Some(theirs), aptpl, deadline)?;
        let (_, keys) = self.victim.pr()?.read_keys(deadline)?;
        if !keys.contains(&ours) || !keys.contains(&theirs) {
            // It may be another disk with another owner: the victim must not write to it.
            return Err(Trouble::Failed(
                "the second initiator does not see both registrations".to_owned(),
            ));
        }
        self.survivor.pr()?.reserve(ours, WERO, deadline)?;
        // What they were told of the past is out of the way.
        self.survivor.pr()?.test_unit_ready(deadline)?;
        self.victim.pr()?.test_unit_ready(deadline)?;
        Ok(())
    }

    /// Takes the victim's registration away: by PREEMPT AND ABORT, or where that does not work by PREEMPT, or at last
    /// by the victim itself.
    pub(super) fn fence(&mut self) -> Result<(), Trouble> {
        let deadline = self.survivor.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        let aborts = self.aborts;
        let preempted = self
            .survivor
            .pr()?
            .preempt(ours, theirs, WERO, aborts, deadline);
        if preempted.is_err() {
            self.victim
                .pr()?
                .register(Some(theirs), None, false, deadline)?;
        }
        self.expect_fenced()
    }

    /// The keys and the reservation are as they must be after a fencing.
    pub(super) fn expect_fenced(&mut self) -> Result<(), Trouble> {
        match self.fenced()? {
            None => Ok(()),
            Some(wrong) => Err(Trouble::Failed(wrong)),
        }
    }

    /// What is not as it must be after a fencing.
    pub(super) fn fenced(&mut self) -> Result<Option<String>, Trouble> {
        let deadline = self.survivor.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        let mut pr = self.survivor.pr()?;
        let (_, keys) = pr.read_keys(deadline)?;
        let (_, held) = pr.read_reservation(deadline)?;
        let held = held.is_some_and(|held| held.kind() == Some(WERO) && held.key == Some(ours));
        Ok(if keys.contains(&theirs) {
            Some("the victim's key is still there".to_owned())
        } else if !keys.contains(&ours) {
            Some("the survivor's key is gone".to_owned())
        } else if !held {
            Some("the survivor does not hold the reservation".to_owned())
        } else {
            None
        })
    }

    /// Puts back everything, with new sessions if need be. What cannot be put back is said.
    fn clean_up(&mut self) {
        let mut left = Vec::new();
        if let Err(error) = self.revive() {
            left.push(format!(
                "a session could not be opened again: {}",
                chain(&error)
            ));
        }
        if self.touched {
            self.put_back(&mut left);
        }
        self.report.left_behind = left;
    }

    fn put_back(&mut self, left: &mut Vec<String>) {
        let cleared = self.clear();
        // While somebody else is registered, only who is registered may write.
        if let Err(error) = self.scratch.restore(&mut self.survivor) {
            let place = self.scratch.place();
            left.push(format!(
                "what {place} held could not be written back: {}",
                chain(&error)
            ));
        }
        let cleared = match cleared {
            Err(Trouble::InUse(_)) => self.withdraw(),
            other => other.and_then(|()| self.withdraw_stray()),
        };
        if let Err(error) = cleared {
            let (ours, theirs) = (self.survivor_key, self.victim_key);
            left.push(format!(
                "registrations (keys {ours} and {theirs}) could not be cleared: {}",
                chain(&error)
            ));
        }
    }

    /// Where the victim turned out to see another disk than the survivor, its registration is there.
    fn withdraw_stray(&mut self) -> Result<(), Trouble> {
        let deadline = self.victim.deadline();
        let mut pr = self.victim.pr()?;
        let (_, keys) = pr.read_keys(deadline)?;
        if keys.contains(&self.victim_key) {
            pr.register_ignoring(None, false, deadline)?;
        }
        Ok(())
    }

    /// Both give up their own registrations, and nobody else's.
    fn withdraw(&mut self) -> Result<(), Trouble> {
        let mine = [self.survivor_key, self.victim_key];
        for link in [&mut self.victim, &mut self.survivor] {
            let deadline = link.deadline();
            link.pr()?.register_ignoring(None, false, deadline)?;
        }
        let deadline = self.survivor.deadline();
        let (_, left) = self.survivor.pr()?.read_keys(deadline)?;
        if left.iter().any(|key| mine.contains(key)) {
            return Err(Trouble::Failed("they are still listed".to_owned()));
        }
        Ok(())
    }

    /// What the disk says it can, noted together with what was seen.
    pub(super) fn capabilities(&mut self) -> Result<(), Trouble> {
        infer::capabilities(&mut self.survivor, &mut self.report)
    }
}

/// Reservations that cannot be read: nothing can be exercised, and nothing was touched.
fn unable(error: PrError) -> Trouble {
    Trouble::Unfit(format!("its reservations cannot be read: {}", said(&error)))
}

/// Two keys that nobody else has.
fn keys() -> Result<[Key; 2], Trouble> {
    let random = || getrandom::u64().map_err(|error| Trouble::Failed(error.to_string()));
    let base = random()? | 1 << 63;
    let two = [Key::new(base & !1), Key::new(base | 1)];
    match two {
        [Some(one), Some(other)] => Ok([one, other]),
        _ => Err(Trouble::Failed("no keys".to_owned())),
    }
}
