//! What several hypervisors say about one guest, and what follows from it. No calls, no locks, no
//! clock: only the rules by which "cannot know" never becomes "off".

use hypervisor::{ErrorKind, GuestRef, Observation, Power};
use uuid::Uuid;

use crate::fleet::{FleetError, Presence, Status};

/// The answers of all hypervisors about one guest.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Who knows it (by number) and what was seen.
    pub(super) found: Vec<(usize, Observation)>,
    /// Who said that there is no such guest.
    pub(super) absent: Vec<String>,
    /// Who gave no answer, and why.
    pub(super) silent: Vec<String>,
    /// How many of the silent ones could be asked and refused to say: a login that is not good, for example.
    pub(super) refused: usize,
}

impl Survey {
    /// Adds one hypervisor's answer.
    pub(super) fn add(
        &mut self,
        host: usize,
        name: &str,
        answer: Result<Observation, hypervisor::Error>,
    ) {
        match answer {
            Ok(seen) => self.found.push((host, seen)),
            Err(error) if error.kind() == ErrorKind::NoSuchGuest => {
                self.absent.push(name.to_owned());
            }
            Err(error) => {
                self.refused += usize::from(error.kind() == ErrorKind::Refused);
                self.silent.push(error.to_string());
            }
        }
    }

    pub(super) fn presence(&self) -> Presence {
        match (self.found.is_empty(), self.silent.is_empty()) {
            (false, _) => Presence::Known,
            (true, true) => Presence::Unknown,
            (true, false) => Presence::CannotTell,
        }
    }

    /// The one guest that is meant.
    ///
    /// # Errors
    /// When nobody knows it, when somebody who may know it is silent and nobody else knows it, and
    /// when a name means different guests on different hypervisors.
    pub(super) fn identity(&self, wanted: &GuestRef) -> Result<Uuid, FleetError> {
        let Some((_, first)) = self.found.first() else {
            return Err(if self.silent.is_empty() {
                FleetError::NoSuchGuest(format!(
                    "`{wanted}` is known to none of {}; `list` shows the guests there are",
                    self.absent.join(", ")
                ))
            } else {
                let text = format!(
                    "whether there is a guest `{wanted}` cannot be known: {}",
                    self.silent.join("; ")
                );
                if self.refused == self.silent.len() {
                    FleetError::Refused(text)
                } else {
                    FleetError::Unreachable(text)
                }
            });
        };
        let uuid = first.guest.uuid;
        match self
            .found
            .iter()
            .find(|(_, other)| other.guest.uuid != uuid)
        {
            None => Ok(uuid),
            Some((_, other)) => Err(FleetError::Refused(format!(
                "`{wanted}` names two different guests: {uuid} ({}) and {} ({}); ask by UUID",
                first.by, other.guest.uuid, other.by
            ))),
        }
    }

    /// Who has the guest active.
    pub(super) fn running_at(&self) -> Option<usize> {
        self.found
            .iter()
            .find(|(_, seen)| seen.active && seen.power() == Power::On)
            .map(|(host, _)| *host)
    }

    /// On if it may still write anywhere; off only if everybody was asked and it is off with all.
    ///
    /// # Errors
    /// [`FleetError::CannotKnow`] in every other case.
    pub(super) fn status(&self, left: Option<&str>) -> Result<Status, FleetError> {
        if self.found.iter().any(|(_, seen)| seen.power() == Power::On) {
            return Ok(Status::On);
        }
        self.nowhere_else(left)?;
        Ok(Status::Off)
    }

    /// Whether a guest that is active nowhere here can be said to be active nowhere at all.
    ///
    /// # Errors
    /// [`FleetError::CannotKnow`] when a hypervisor is silent, when the guest left by migration
    /// (`left` tells where from), or when what was seen proves nothing.
    pub(super) fn nowhere_else(&self, left: Option<&str>) -> Result<(), FleetError> {
        if !self.silent.is_empty() {
            return Err(FleetError::CannotKnow(format!(
                "not active where it was looked for, but it may be elsewhere: {}",
                self.silent.join("; ")
            )));
        }
        if let Some(by) = left {
            return Err(FleetError::CannotKnow(format!(
                "it left {by} by live migration, which needs hosts that form a cluster; {REMEDY}"
            )));
        }
        match self
            .found
            .iter()
            .find(|(_, seen)| seen.power() == Power::Unknown)
        {
            None => Ok(()),
            Some((_, seen)) => Err(FleetError::CannotKnow(format!(
                "what was seen does not prove that it is off: {seen}; {REMEDY}"
            ))),
        }
    }
}

const REMEDY: &str = "if it runs on another host, remove the definition left behind here (virsh undefine), else start it here once";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hypervisor::memory::{MemoryGuest, MemoryHypervisor};
    use hypervisor::{Deadline, GuestState, Hypervisor as _};

    use super::*;

    /// What a hypervisor with (or without) the guest answers.
    fn answer(guest: Option<MemoryGuest>) -> Result<Observation, hypervisor::Error> {
        let host = MemoryHypervisor::new("memory");
        if let Some(guest) = guest {
            host.add(guest);
        }
        host.observe(
            &GuestRef::parse("vm1"),
            Deadline::after(Duration::from_secs(5)),
        )
    }

    fn unreachable() -> Result<Observation, hypervisor::Error> {
        Err(hypervisor::Error::Unreachable {
            by: "dead".to_owned(),
            detail: "on purpose".to_owned(),
        })
    }

    fn survey(answers: Vec<Result<Observation, hypervisor::Error>>) -> Survey {
        let mut survey = Survey::default();
        for (host, answer) in answers.into_iter().enumerate() {
            survey.add(host, &format!("h{host}"), answer);
        }
        survey
    }

    fn on() -> Result<Observation, hypervisor::Error> {
        answer(Some(MemoryGuest::running("vm1")))
    }

    fn off() -> Result<Observation, hypervisor::Error> {
        answer(Some(MemoryGuest::shut_off("vm1")))
    }

    fn in_state(state: GuestState, active: bool) -> Result<Observation, hypervisor::Error> {
        let mut guest = MemoryGuest::running("vm1");
        guest.state = state;
        guest.active = active;
        answer(Some(guest))
    }

    fn vm1() -> GuestRef {
        GuestRef::parse("vm1")
    }

    #[test]
    fn an_unknown_guest_is_one_that_everybody_denied() {
        let nobody = survey(vec![answer(None), answer(None)]);
        assert_eq!(nobody.presence(), Presence::Unknown);
        let error = nobody.identity(&vm1()).unwrap_err();
        assert!(matches!(error, FleetError::NoSuchGuest(_)), "{error}");
        let unsure = survey(vec![answer(None), unreachable()]);
        assert_eq!(unsure.presence(), Presence::CannotTell);
        let error = unsure.identity(&vm1()).unwrap_err();
        assert!(matches!(error, FleetError::Unreachable(_)), "{error}");
        let refused = || {
            Err(hypervisor::Error::Refused {
                by: "strict".to_owned(),
                guest: String::new(),
                detail: "on purpose".to_owned(),
            })
        };
        let error = survey(vec![answer(None), refused()])
            .identity(&vm1())
            .unwrap_err();
        assert!(matches!(error, FleetError::Refused(_)), "{error}");
        let error = survey(vec![unreachable(), refused()])
            .identity(&vm1())
            .unwrap_err();
        assert!(matches!(error, FleetError::Unreachable(_)), "{error}");
    }

    #[test]
    fn off_needs_everybodys_word_and_on_only_one() {
        assert_eq!(survey(vec![off()]).status(None).unwrap(), Status::Off);
        assert_eq!(
            survey(vec![off(), answer(None)]).status(None).unwrap(),
            Status::Off
        );
        assert_eq!(survey(vec![off(), on()]).status(None).unwrap(), Status::On);
        assert_eq!(
            survey(vec![unreachable(), on()]).status(None).unwrap(),
            Status::On
        );
        for unsure in [
            survey(vec![off(), unreachable()]).status(None),
            survey(vec![off()]).status(Some("memory")),
            survey(vec![in_state(GuestState::Other(9), true)]).status(None),
        ] {
            assert!(
                matches!(unsure, Err(FleetError::CannotKnow(_))),
                "{unsure:?}"
            );
        }
        for writes_again in [
            GuestState::Paused,
            GuestState::PmSuspended,
            GuestState::Crashed,
        ] {
            let status = survey(vec![in_state(writes_again, true)]).status(None);
            assert_eq!(status.unwrap(), Status::On, "{writes_again}");
        }
    }

    #[test]
    fn a_name_that_means_two_guests_is_refused() {
        let mut other = MemoryGuest::running("vm1");
        other.uuid = Uuid::from_u128(7);
        let error = survey(vec![on(), answer(Some(other))])
            .identity(&vm1())
            .unwrap_err();
        assert!(matches!(error, FleetError::Refused(_)), "{error}");
        assert!(survey(vec![on(), on()]).identity(&vm1()).is_ok());
    }
}
