//! What lasts: over a reset, a logout, a new session in the place of the old one, a restart.

use iscsi::pdu::{TaskManagement, TaskManagementResponse};

use crate::probe::exercise::Exercise;
use crate::probe::link::answer;
use crate::probe::report::{self, Answer, Outcome};
use crate::probe::scratch::write_command;
use crate::probe::{Trouble, chain, said};
use crate::{Completion, Data, DeviceError};

impl Exercise<'_> {
    /// The fenced initiator resets the logical unit.
    pub(super) fn reset(&mut self) -> Result<(), Trouble> {
        self.begin(false)?;
        self.fence()?;
        let deadline = self.victim.deadline();
        let Some((session, lun)) = self.victim.session() else {
            self.report.note(
                report::RESET,
                Outcome::Unknown,
                "cannot be sent through a device node",
            );
            return Ok(());
        };
        let response = session.manage(TaskManagement::LOGICAL_UNIT_RESET, lun, deadline)?;
        self.revive()?;
        if let Some(wrong) = self.fenced()? {
            self.note(report::RESET, false, wrong);
            return Ok(());
        }
        let said = match response {
            TaskManagementResponse::COMPLETE => {
                "the reset was carried out, everything is as before"
            }
            _ => "a fenced initiator's reset is refused",
        };
        match self.victim_writes()? {
            Answer::Conflict => self.note(report::RESET, true, said),
            other => self.note(
                report::RESET,
                false,
                format!("a write after it is answered with {other}"),
            ),
        }
        Ok(())
    }

    /// How a plain write of the victim is answered.
    fn victim_writes(&mut self) -> Result<Answer, Trouble> {
        let slot = self.scratch.slot();
        let data = self.scratch.pattern(slot, 0xFE);
        self.victim.revive()?;
        let done: Result<Completion, DeviceError> =
            self.victim.command(&write_command(slot), Data::Out(&data));
        Ok(answer(&done))
    }

    /// Logout, reinstatement, and restart.
    pub(super) fn lasting(&mut self) -> Result<(), Trouble> {
        self.begin(false)?;
        self.survivor.log_in_again()?;
        let logged_out = self.still_registered()?;
        self.register_again()?;
        let mut seen = vec![("after a logout", logged_out)];
        if self.survivor.session().is_some() {
            self.begin(false)?;
            self.survivor.reinstate()?;
            seen.push(("after a session was replaced", self.still_registered()?));
        }
        let wrong: Vec<String> = seen
            .iter()
            .filter_map(|(when, wrong)| wrong.as_ref().map(|wrong| format!("{when} {wrong}")))
            .collect();
        if wrong.is_empty() {
            self.note(report::LOGOUT, true, "it writes without registering again");
        } else {
            self.note(report::LOGOUT, false, wrong.join("; "));
        }
        self.aptpl()
    }

    /// What is wrong with the survivor's registration after it logged in again.
    fn still_registered(&mut self) -> Result<Option<String>, Trouble> {
        let (key, deadline) = (self.survivor_key, self.survivor.deadline());
        let (_, keys) = self.survivor.pr()?.read_keys(deadline)?;
        if !keys.contains(&key) {
            return Ok(Some("its key is gone".to_owned()));
        }
        let slot = self.scratch.slot();
        let data = self.scratch.pattern(slot, 0xFD);
        if let Err(error) = self.scratch.write(&mut self.survivor, slot, &data) {
            return Ok(Some(format!("its key is listed, but {}", chain(&error))));
        }
        let registered = self
            .survivor
            .pr()?
            .register(Some(key), Some(key), false, deadline);
        Ok(registered
            .err()
            .map(|error| format!("its key is listed, but {}", chain(&error))))
    }

    /// Registrations that last over a loss of power.
    fn aptpl(&mut self) -> Result<(), Trouble> {
        self.capabilities()?;
        match self.begin(true) {
            Ok(()) => {}
            Err(error @ (Trouble::Cancelled | Trouble::InUse(_))) => return Err(error),
            Err(error) => {
                self.note(report::APTPL, false, chain(&error));
                return Ok(());
            }
        }
        let deadline = self.survivor.deadline();
        let active = self.survivor.pr()?.report_capabilities(deadline);
        match active.map(|capabilities| capabilities.persist_active) {
            Ok(true) => self.note(
                report::APTPL,
                true,
                "a registration with it is taken, and it is in force",
            ),
            Ok(false) => self.note(
                report::APTPL,
                false,
                "a registration with it is taken, but it is not in force (PTPL_A is 0)",
            ),
            Err(error) => self
                .report
                .note(report::APTPL, Outcome::Unknown, said(&error)),
        }
        self.restart()
    }

    /// Fences, has the target restarted, and looks whether the victim is still out.
    fn restart(&mut self) -> Result<(), Trouble> {
        self.fence()?;
        match self.watcher.restart_target() {
            None => {
                self.report.note(report::APTPL_KEPT, Outcome::NotTried, "");
                return Ok(());
            }
            Some(Err(why)) => {
                self.report.note(
                    report::APTPL_KEPT,
                    Outcome::Unknown,
                    format!("the target was not restarted: {why}"),
                );
                return Ok(());
            }
            Some(Ok(())) => {}
        }
        self.come_back()?;
        if let Some(wrong) = self.fenced()? {
            let seen = format!("after the restart {wrong}");
            self.note(report::APTPL, false, seen.clone());
            self.note(report::APTPL_KEPT, false, seen);
            return Ok(());
        }
        let ours = self.still_registered()?;
        let theirs = self.victim_writes()?;
        let met = ours.is_none() && theirs == Answer::Conflict;
        let seen = match (ours, theirs) {
            (None, Answer::Conflict) => "the victim is still out, the survivor writes".to_owned(),
            (Some(wrong), _) => format!("after the restart {wrong}"),
            (None, other) => {
                format!("after the restart the victim's write is answered with {other}")
            }
        };
        if !met {
            self.note(report::APTPL, false, seen.clone());
        }
        self.note(report::APTPL_KEPT, met, seen);
        Ok(())
    }

    /// Logs both in again as soon as the target takes it.
    fn come_back(&mut self) -> Result<(), Trouble> {
        use std::time::Duration;
        const PAUSE: Duration = Duration::from_millis(250);
        let deadline = deadline::Deadline::after(self.options.restart_timeout);
        loop {
            self.go_on()?;
            let both = self
                .survivor
                .reinstate()
                .and_then(|()| self.victim.reinstate());
            match both {
                Ok(()) => return Ok(()),
                Err(error) if deadline.has_passed() => return Err(error.into()),
                // A target that is not there yet answers at once: asking again at once would only load the machine.
                Err(_) => std::thread::sleep(PAUSE.min(deadline.remaining())),
            }
        }
    }
}
