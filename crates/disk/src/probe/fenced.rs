//! Registering, reserving, fencing, and what a fenced initiator can still do.

use scsi::pr::{OutAction, OutParameters};
use scsi::{AdditionalSense, Opcode};

use crate::pr::{self, PrError};
use crate::probe::exercise::{Exercise, WERO};
use crate::probe::link::answer;
use crate::probe::report::{self, Answer, Outcome, WriteTried};
use crate::probe::writes::{Effect, KINDS};
use crate::probe::{Trouble, chain, said};
use crate::{Completion, Data, DeviceError};

/// What the region's first blocks hold before a write is tried: a number of its own for each.
const HELD: u64 = 0x1000;

impl Exercise<'_> {
    /// Both register, one reserves, both write.
    pub(super) fn register_and_reserve(&mut self) -> Result<(), Trouble> {
        self.report
            .note(report::READ_KEYS, Outcome::Met, "both were answered");
        match self.begin(false) {
            Ok(()) => {}
            Err(error @ (Trouble::Cancelled | Trouble::InUse(_))) => return Err(error),
            Err(error) => {
                self.note(report::REGISTER, false, chain(&error));
                return Err(error);
            }
        }
        let deadline = self.survivor.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        let (_, keys) = self.victim.pr()?.read_keys(deadline)?;
        let both = keys.contains(&ours) && keys.contains(&theirs);
        self.note(
            report::REGISTER,
            both,
            format!("{} keys are registered", keys.len()),
        );
        let (_, held) = self.victim.pr()?.read_reservation(deadline)?;
        let holds = held.is_some_and(|held| held.kind() == Some(WERO) && held.key == Some(ours));
        let seen = if holds {
            "the first initiator holds it"
        } else {
            "it is not what was asked for"
        };
        self.note(report::RESERVE, holds, seen);
        self.full_status()?;
        self.registrants_write()?;
        self.register_again()
    }

    /// Whether the disk tells which initiator has which key.
    fn full_status(&mut self) -> Result<(), Trouble> {
        let deadline = self.survivor.deadline();
        let (key, port) = (self.survivor_key, self.survivor.port());
        match self.survivor.pr()?.read_full_status(deadline) {
            Ok((_, registrations)) => {
                let ours = registrations.iter().find(|one| one.key == Some(key));
                let named = match (ours, &port) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(one), Some(port)) => one
                        .initiator
                        .as_ref()
                        .is_ok_and(|id| id.iscsi().is_some_and(|id| id.names(port))),
                };
                let seen = if named {
                    "it names the initiators"
                } else {
                    "it does not name this initiator"
                };
                self.note(report::FULL_STATUS, named, seen);
            }
            Err(error) if error.is_refusal() => self.note(report::FULL_STATUS, false, said(&error)),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn registrants_write(&mut self) -> Result<(), Trouble> {
        let slot = self.scratch.slot();
        let mut seen = Vec::new();
        for (tag, writer) in [&mut self.survivor, &mut self.victim]
            .into_iter()
            .enumerate()
        {
            let data = self
                .scratch
                .pattern(slot, u64::try_from(tag).unwrap_or_default());
            match self.scratch.write(writer, slot, &data) {
                Err(error) => seen.push(format!("{}: {}", writer.name(), chain(&error))),
                Ok(()) if self.scratch.read(writer, slot)? != data => {
                    seen.push(format!(
                        "{} reads something else than it wrote",
                        writer.name()
                    ));
                }
                Ok(()) => {}
            }
        }
        let seen_text = if seen.is_empty() {
            "both wrote, and read it back".to_owned()
        } else {
            seen.join("; ")
        };
        self.note(report::REGISTRANT_WRITES, seen.is_empty(), seen_text);
        Ok(())
    }

    /// The same key again, as every unfencing does.
    pub(super) fn register_again(&mut self) -> Result<(), Trouble> {
        let (key, deadline) = (self.survivor_key, self.survivor.deadline());
        let mut pr = self.survivor.pr()?;
        pr.register_ignoring(Some(key), false, deadline)?;
        let (_, keys) = pr.read_keys(deadline)?;
        let count = keys.iter().filter(|one| **one == key).count();
        self.note(
            report::NO_DUPLICATES,
            count == 1,
            format!("the key is registered {count} times"),
        );
        Ok(())
    }

    /// Every kind of write by a registered initiator: what the disk supports at all, and that a change is seen.
    pub(super) fn write_registered(&mut self) -> Result<(), Trouble> {
        self.begin(false)?;
        for (index, kind) in KINDS.iter().enumerate() {
            self.go_on()?;
            let (answer, changed) = self.try_write(index)?;
            self.report.writes.push(WriteTried {
                command: kind.name.to_owned(),
                registered: answer,
                registered_changed: changed.unwrap_or(false),
                fenced: Answer::None("not tried".to_owned()),
                fenced_changed: None,
            });
        }
        Ok(())
    }

    /// The victim tries a kind of write; the survivor reads whether the medium has changed.
    fn try_write(&mut self, index: usize) -> Result<(Answer, Option<bool>), Trouble> {
        let kind = &KINDS[index];
        let slot = self.scratch.slot();
        let held = self
            .scratch
            .pattern(slot, HELD + u64::try_from(index).unwrap_or_default());
        self.scratch.write(&mut self.survivor, slot, &held)?;
        let new: Vec<u8> = held.iter().map(|byte| !byte).collect();
        let (cdb, data) = kind.command(slot, &held, &new);
        self.victim.revive()?;
        let body = if data.is_empty() {
            Data::None
        } else {
            Data::Out(&data)
        };
        let done = self.victim.command(&cdb, body);
        let after = self.scratch.read(&mut self.survivor, slot);
        Ok((answer(&done), after.ok().map(|after| after != held)))
    }

    /// Fences the victim, which then tries to write all the same.
    pub(super) fn fence_and_write(&mut self) -> Result<(), Trouble> {
        self.begin(false)?;
        self.preempt_and_abort()?;
        self.attention()?;
        self.read_fenced()?;
        let (mut broken, mut accepted) = (Vec::new(), Vec::new());
        let (mut refused, mut synchronized) = (0, Vec::new());
        for (index, kind) in KINDS.iter().enumerate() {
            self.go_on()?;
            let (answer, changed) = self.try_write(index)?;
            let registered = self.report.writes.get(index).map(|one| &one.registered);
            // A command that this disk refuses to everybody.
            let unknown = matches!(
                registered,
                Some(Answer::Unsupported(_) | Answer::Refused(_))
            );
            match (kind.effect, &answer, changed) {
                (_, _, Some(true)) => broken.push(kind.name),
                (Effect::Writes, Answer::Unsupported(why) | Answer::Refused(why), Some(false))
                    if !unknown =>
                {
                    // For a while, or for another reason: nobody knows what becomes of the next one.
                    let why = format!("it is no reservation conflict that keeps it out, but {why}");
                    self.leave_write_open(kind.name, &why);
                }
                (Effect::Writes, Answer::Good, _) => accepted.push(kind.name),
                (Effect::Nothing, Answer::Good, _) => synchronized.push(kind.name),
                (Effect::Writes, Answer::None(why), _) => {
                    self.leave_write_open(kind.name, why);
                }
                (Effect::Writes, _, None) => {
                    self.leave_write_open(kind.name, "it could not be read back");
                }
                _ => refused += 1,
            }
            if let Some(tried) = self.report.writes.get_mut(index) {
                tried.fenced = answer;
                tried.fenced_changed = changed;
            }
        }
        let met = broken.is_empty() && accepted.is_empty();
        let mut seen = Vec::new();
        if met {
            seen.push(format!(
                "{refused} kinds of write were refused, and the medium is unchanged"
            ));
        }
        if !broken.is_empty() {
            seen.push(format!("carried out: {}", broken.join(", ")));
        }
        if !accepted.is_empty() {
            seen.push(format!("answered with GOOD: {}", accepted.join(", ")));
        }
        self.note(report::FENCED_WRITES, met, seen.join("; "));
        let none = synchronized.is_empty();
        let seen = if none {
            "it is refused".to_owned()
        } else {
            format!("{} was carried out", synchronized.join(", "))
        };
        self.note(report::SYNCHRONIZE, none, seen);
        Ok(())
    }

    fn leave_write_open(&mut self, name: &str, why: &str) {
        let seen = format!("{name}: {why}");
        self.report
            .note(report::FENCED_WRITES, Outcome::Unknown, seen);
    }

    fn preempt_and_abort(&mut self) -> Result<(), Trouble> {
        let deadline = self.survivor.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        match self
            .survivor
            .pr()?
            .preempt(ours, theirs, WERO, true, deadline)
        {
            Ok(()) => match self.fenced()? {
                None => {
                    self.aborts = true;
                    self.note(
                        report::PREEMPT_AND_ABORT,
                        true,
                        "the victim's key is gone, the reservation stays",
                    );
                    Ok(())
                }
                Some(wrong) => {
                    self.note(
                        report::PREEMPT_AND_ABORT,
                        false,
                        format!("it says GOOD, but {wrong}"),
                    );
                    self.fence()
                }
            },
            Err(error) if error.is_refusal() => {
                self.note(
                    report::PREEMPT_AND_ABORT,
                    false,
                    format!("it is refused: {}", said(&error)),
                );
                self.fence()
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the victim is told.
    fn attention(&mut self) -> Result<(), Trouble> {
        let _ = self.victim.attentions();
        self.victim.command(&[0; 6], Data::None)?;
        let told = self.victim.attentions();
        let wanted = AdditionalSense::REGISTRATIONS_PREEMPTED;
        let met = told.iter().any(|sense| sense.additional == wanted);
        let told: Vec<String> = told
            .iter()
            .map(|sense| sense.additional.to_string())
            .collect();
        let seen = if told.is_empty() {
            "it is told nothing".to_owned()
        } else {
            format!("it is told {}", told.join(", "))
        };
        self.note(report::ATTENTION, met, seen);
        Ok(())
    }

    /// Reading is allowed, by the type of the reservation.
    fn read_fenced(&mut self) -> Result<(), Trouble> {
        let deadline = self.victim.deadline();
        let slot = self.scratch.slot();
        let keys = self.victim.pr()?.read_keys(deadline).map(|_| ());
        let data = self.scratch.read(&mut self.victim, slot).map(|_| ());
        let seen = match (&keys, &data) {
            (Ok(()), Ok(())) => "it may".to_owned(),
            (Err(error), _) => said(error),
            (_, Err(error)) => chain(error),
        };
        self.note(report::FENCED_READS, keys.is_ok() && data.is_ok(), seen);
        Ok(())
    }

    /// The fenced initiator tries everything that could give it back what it lost.
    pub(super) fn fence_back(&mut self) -> Result<(), Trouble> {
        self.begin(false)?;
        self.fence()?;
        let deadline = self.victim.deadline();
        let (ours, theirs) = (self.survivor_key, self.victim_key);
        // With its own old key, and with the survivor's, which it can read.
        let attempts = [
            (OutAction::Preempt, theirs, Some(ours)),
            (OutAction::Preempt, ours, Some(ours)),
            (OutAction::PreemptAndAbort, theirs, Some(ours)),
            (OutAction::PreemptAndAbort, ours, Some(ours)),
            (OutAction::Clear, theirs, None),
            (OutAction::Clear, ours, None),
            (OutAction::Release, theirs, None),
            (OutAction::Release, ours, None),
            (OutAction::Reserve, theirs, None),
            (OutAction::Register, theirs, Some(theirs)),
            (OutAction::Register, ours, None),
        ];
        let mut broken = Vec::new();
        for (action, key, other) in attempts {
            let kind = action.uses_type().then_some(WERO);
            let parameters = OutParameters::keys(Some(key), other);
            match self.victim.pr()?.out(action, kind, &parameters, deadline) {
                Ok(()) => broken.push(format!("{} was carried out", pr::name(action))),
                Err(error) if error.is_refusal() => {}
                Err(PrError::Device(error)) => return Err(error.into()),
                Err(error) => return Err(error.into()),
            }
            if let Some(wrong) = self.fenced()? {
                broken.push(format!("after {} {wrong}", pr::name(action)));
                break;
            }
        }
        let met = broken.is_empty();
        let seen = if met {
            format!("{} attempts were refused", attempts.len())
        } else {
            broken.join(", ")
        };
        self.note(report::FENCE_BACK, met, seen);
        self.old_reserve()
    }

    /// RESERVE(6) of SPC-2.
    fn old_reserve(&mut self) -> Result<(), Trouble> {
        let reserve = [Opcode::RESERVE_6.0, 0, 0, 0, 0, 0];
        let release = [Opcode::RELEASE_6.0, 0, 0, 0, 0, 0];
        let done: Result<Completion, DeviceError> = self.victim.command(&reserve, Data::None);
        let answer = answer(&done);
        if answer == Answer::Good {
            self.victim.command(&release, Data::None)?;
        }
        self.note(
            report::OLD_RESERVE,
            answer != Answer::Good,
            format!("it answers: {answer}"),
        );
        Ok(())
    }
}
