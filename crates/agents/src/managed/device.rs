//! Guests as the plugs of a device.

use std::time::Duration;

use deadline::Deadline;
use fence_agent::{Device, Failure, FailureKind, Listed, Power, Switch};
use hypervisor::{Error, ErrorKind, GuestRef, Managed, Observation};

/// The guests of a platform.
pub struct Guests<'a> {
    platform: &'a dyn Managed,
    /// The plugs of this run, and whom they mean.
    plugs: &'a [(String, GuestRef)],
    deadline: Deadline,
    power_timeout: Option<Duration>,
    /// Whether the action is to have guests run: one that was suspended does not, and is booted afresh.
    boots: bool,
    evidence: Vec<String>,
}

impl<'a> Guests<'a> {
    /// These plugs, until `deadline`; each switch at most for `power_timeout`.
    pub const fn new(
        platform: &'a dyn Managed,
        plugs: &'a [(String, GuestRef)],
        deadline: Deadline,
        power_timeout: Option<Duration>,
    ) -> Self {
        Self {
            platform,
            plugs,
            deadline,
            power_timeout,
            boots: false,
            evidence: Vec::new(),
        }
    }

    /// For an action of this name.
    #[must_use]
    pub fn doing(mut self, action: &str) -> Self {
        self.boots = action == "on";
        self
    }

    /// What was seen after each switch, by whom.
    pub fn into_evidence(self) -> Vec<String> {
        self.evidence
    }

    fn guest(&self, plug: &str) -> GuestRef {
        let known = self.plugs.iter().find(|(name, _)| name == plug);
        known.map_or_else(|| GuestRef::parse(plug), |(_, guest)| guest.clone())
    }

    /// A switch has the caller's limit, and never more than the run.
    fn by(&self) -> Deadline {
        match self.power_timeout {
            Some(limit) => self.deadline.within(limit),
            None => self.deadline,
        }
    }
}

impl Device for Guests<'_> {
    fn power(&mut self, plug: &str) -> Result<Power, Failure> {
        let seen = self.platform.observe(&self.guest(plug), self.deadline);
        let seen = seen.map_err(failure)?;
        if self.boots && !seen.active && seen.resumable {
            return Ok(Power::Off);
        }
        Ok(power(&seen))
    }

    /// More than the order: the platform confirms it, or this fails.
    fn switch(&mut self, plug: &str, to: Switch) -> Result<(), Failure> {
        let (guest, by) = (self.guest(plug), self.by());
        let evidence = match to {
            Switch::Off => {
                let off = self.platform.power_off(&guest, by);
                off.map_err(failure)?.evidence
            }
            Switch::On => {
                let on = self.platform.power_on(&guest, None, by);
                on.map_err(failure)?
            }
        };
        self.evidence.push(evidence.to_string());
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        let guests = self.platform.list(self.deadline).map_err(failure)?;
        let listed = |seen: &Observation| Listed {
            plug: seen.guest.name.clone(),
            // Some interfaces do not tell it, and Pacemaker takes an alias for a plug.
            alias: match seen.guest.uuid.is_nil() {
                true => String::new(),
                false => seen.guest.uuid.to_string(),
            },
            power: Some(power(seen)),
        };
        Ok(guests.iter().map(listed).collect())
    }

    /// Proves that the login may do what it is there for; no list is needed for that.
    fn monitor(&mut self) -> Result<(), Failure> {
        if self.plugs.is_empty() {
            return self
                .platform
                .may_switch(None, self.deadline)
                .map_err(failure);
        }
        for (_, guest) in self.plugs {
            let allowed = self.platform.may_switch(Some(guest), self.deadline);
            allowed.map_err(failure)?;
        }
        Ok(())
    }
}

fn power(seen: &Observation) -> Power {
    match seen.power() {
        hypervisor::Power::On => Power::On,
        hypervisor::Power::Off => Power::Off,
        hypervisor::Power::Unknown => Power::Unknown(seen.to_string()),
    }
}

/// The same outcome in the agent's terms. "timed out" is what Pacemaker looks for.
pub(crate) fn failure(error: Error) -> Failure {
    let late = matches!(error, Error::DeadlinePassed { .. });
    let text = if late {
        format!("timed out: {error}")
    } else {
        error.to_string()
    };
    match error.kind() {
        ErrorKind::Unreachable if late => Failure::new(FailureKind::TimedOut, text),
        ErrorKind::Unreachable => Failure::unreachable(text),
        ErrorKind::NoSuchGuest | ErrorKind::Refused => Failure::refused(text),
        ErrorKind::CannotKnow => Failure::cannot_know(text),
    }
}
