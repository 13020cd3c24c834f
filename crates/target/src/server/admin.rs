//! What an administrator sees and changes while the server runs.

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use deadline::Deadline;
use scsi::lu::MediumFailure;
use serde::{Deserialize, Serialize};

use crate::config::{InitiatorName, InitiatorOptions, LunOptions, Name, TargetOptions};
use crate::journal::{Identity, Journal, JournalError};
use crate::server::letter::{Ending, Letter};
use crate::server::sessions::Session;
use crate::server::targets::Target;
use crate::server::unit::{Closed, Unit, UnitError};
use crate::server::{Server, Shared, StartError};
use crate::store::Health;

/// How long sessions have to end that are dropped.
pub(crate) const DROP_LIMIT: Duration = Duration::from_secs(30);

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such target.
    #[error("there is no target {0}")]
    NoTarget(String),
    /// There is no such logical unit.
    #[error("target {target} has no LUN {lun}")]
    NoUnit {
        /// The target.
        target: String,
        /// The number.
        lun: u16,
    },
    /// There is no such session.
    #[error("there is no session {0}")]
    NoSession(u64),
    /// There is no such rule.
    #[error("nothing is said of {initiator} at target {target}")]
    NoInitiator {
        /// The target.
        target: String,
        /// Who.
        initiator: String,
    },
    /// There is one already.
    #[error("{0} exists already")]
    Exists(String),
    /// Sessions, or commands at a disk, did not end in time. The change is made, but what was removed may still be in use.
    #[error("what was removed is still in use: commands at the disk do not end")]
    InUse,
    /// What was removed is in use no more, and what initiators had written to it may be lost.
    #[error("removed, but what was written cannot be made durable: {0}")]
    Unwritten(MediumFailure),
    /// The target cannot be served.
    #[error(transparent)]
    Target(#[from] StartError),
    /// The logical unit cannot be served.
    #[error("cannot serve this disk: {}", chain(.0))]
    Unit(#[source] UnitError),
    /// The journal cannot be moved aside.
    #[error("the journal stays as it is: {}", chain(.0))]
    Journal(#[source] JournalError),
    /// Without what is said of it by name it would be let in as anybody, and perhaps without a proof.
    #[error("{0} would be let in by `*`, as everybody is: deny `*` first")]
    Covered(String),
    /// A bug in the server.
    #[error("the server is broken: a change before this one failed half-way")]
    Broken,
}

const fn result(closed: Closed) -> Result<(), AdminError> {
    match closed {
        Closed::Clean => Ok(()),
        Closed::InUse => Err(AdminError::InUse),
        Closed::Unwritten(failure) => Err(AdminError::Unwritten(failure)),
    }
}

/// An error with all that it comes from.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its number, for [`Server::drop_session`].
    pub id: u64,
    /// The initiator's name.
    pub initiator: String,
    /// The initiator session id in hexadecimal digits.
    pub isid: String,
    /// The target.
    pub target: String,
    /// The portal group.
    pub group: u16,
    /// Where the initiator is.
    pub peer: String,
    /// The name it authenticated itself with.
    pub user: Option<String>,
    /// For how many seconds.
    pub seconds: u64,
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationInfo {
    /// The initiator's name.
    pub initiator: String,
    /// The initiator session id in hexadecimal digits.
    pub isid: String,
    /// The portal group.
    pub group: u16,
    /// The key.
    pub key: String,
    /// Whether it holds the reservation.
    pub holds: bool,
}

/// The reservations of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationInfo {
    /// PRGENERATION
    pub generation: u32,
    /// Whether they outlive a loss of power.
    pub persistent: bool,
    /// The type of the reservation, if there is one.
    pub held: Option<String>,
    /// All registrations.
    pub registrations: Vec<RegistrationInfo>,
}

/// A logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInfo {
    /// Its number.
    pub lun: u16,
    /// The disk.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its serial number.
    pub serial: String,
    /// What is wrong with it, if anything is.
    pub trouble: Option<String>,
    /// Commands that have not ended.
    pub tasks: usize,
    /// Its reservations; `None` if they cannot be told.
    pub reservations: Option<ReservationInfo>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// Its name.
    pub name: Name,
    /// Who may log in; with a user, if it must prove itself.
    pub initiators: Vec<(InitiatorName, Option<String>)>,
    /// Its logical units.
    pub units: Vec<UnitInfo>,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

impl SessionInfo {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id,
            initiator: session.nexus.initiator.name().to_owned(),
            isid: hexadecimal(&session.nexus.initiator.isid()),
            target: session.target.clone(),
            group: session.nexus.port.0,
            peer: session.peer.to_string(),
            user: session
                .authenticated
                .as_ref()
                .map(|account| account.name.clone()),
            seconds: session.since.elapsed().map_or(0, |time| time.as_secs()),
        }
    }
}

impl UnitInfo {
    fn of(lun: u16, unit: &Unit) -> Self {
        let looked = unit.look();
        let trouble = match unit.health() {
            _ if unit.barred().is_some() => unit.barred(),
            _ if looked.is_none() => Some("its state was lost by a failure of the server"),
            Health::LostWrites => Some("writes were lost"),
            Health::Truncated => Some("the disk became shorter"),
            Health::Sound => None,
        };
        let tasks = looked.as_ref().map_or(0, |(_, tasks)| *tasks);
        let reservations = looked
            .filter(|_| unit.barred().is_none())
            .map(|(reservations, _)| {
                let registrations = reservations.registrations().iter();
                ReservationInfo {
                    generation: reservations.generation(),
                    persistent: reservations.aptpl(),
                    held: reservations.held().map(|held| held.kind.to_string()),
                    registrations: registrations
                        .map(|one| RegistrationInfo {
                            initiator: one.nexus.initiator.name().to_owned(),
                            isid: hexadecimal(&one.nexus.initiator.isid()),
                            group: one.nexus.port.0,
                            key: one.key.to_string(),
                            holds: reservations.holds(&one.nexus),
                        })
                        .collect(),
                }
            });
        Self {
            lun,
            path: unit.path().clone(),
            bytes: unit.bytes(),
            serial: unit.serial().to_owned(),
            trouble: trouble.map(str::to_owned),
            tasks,
            reservations,
        }
    }
}

/// A handle to a running server, for whoever administers it. It does not keep the server running.
#[derive(Debug, Clone)]
pub struct Admin {
    pub(super) shared: Arc<Shared>,
}

impl Server {
    /// A handle for administrators.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Admin {
    /// All sessions, without those that only look for targets.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let sessions = self.shared.sessions.all();
        sessions
            .iter()
            .map(|session| SessionInfo::of(session))
            .collect()
    }

    /// All targets with their logical units and reservations.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetInfo> {
        let targets = self.shared.targets.all();
        targets
            .iter()
            .map(|target| TargetInfo {
                name: target.name.clone(),
                initiators: target
                    .access()
                    .initiators
                    .into_iter()
                    .map(|one| (one.name, one.account.map(|account| account.name)))
                    .collect(),
                units: target
                    .units()
                    .iter()
                    .map(|(lun, unit)| UnitInfo::of(*lun, unit))
                    .collect(),
            })
            .collect()
    }

    /// Metrics in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics()
    }

    fn changing(&self) -> Result<MutexGuard<'_, ()>, AdminError> {
        self.shared.changes.lock().map_err(|_| AdminError::Broken)
    }

    fn target(&self, name: &Name) -> Result<Arc<Target>, AdminError> {
        let found = self.shared.targets.find(name.as_str());
        found.ok_or_else(|| AdminError::NoTarget(name.to_string()))
    }

    /// Ends a session. The initiator may log in again.
    ///
    /// # Errors
    /// If there is none of this number, or it does not end.
    pub fn drop_session(&self, id: u64) -> Result<(), AdminError> {
        let letter = Letter::End(Ending::Dropped);
        if self
            .shared
            .sessions
            .post(&letter, |session| session.id == id)
            == 0
        {
            return Err(AdminError::NoSession(id));
        }
        self.await_absence(|session| session.id == id)
    }

    fn await_absence(&self, of: impl Fn(&Session) -> bool) -> Result<(), AdminError> {
        let deadline = Deadline::after(DROP_LIMIT);
        if self.shared.sessions.await_absence(of, deadline) {
            Ok(())
        } else {
            Err(AdminError::InUse)
        }
    }

    /// Serves another target.
    ///
    /// # Errors
    /// If there is one of this name, or one of its disks cannot be served.
    pub fn add_target(&self, options: &TargetOptions) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let exists = || AdminError::Exists(options.name.to_string());
        if self.shared.targets.find(options.name.as_str()).is_some() {
            return Err(exists());
        }
        let claimed = self.shared.claimed([options]);
        let target = self.shared.open_target(options, &claimed)?;
        if self.shared.targets.add(target) {
            Ok(())
        } else {
            Err(exists())
        }
    }

    /// Serves a target no more; its sessions end.
    ///
    /// # Errors
    /// If there is none, or sessions do not end.
    pub fn remove_target(&self, name: &Name) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let target = self.shared.targets.remove(name);
        let target = target.ok_or_else(|| AdminError::NoTarget(name.to_string()))?;
        let of = |session: &Session| session.target == target.name.as_str();
        self.shared.sessions.post(&Letter::End(Ending::Dropped), of);
        let ended = self.await_absence(of);
        let deadline = Deadline::after(DROP_LIMIT);
        let units = target.units();
        let closed: Vec<_> = units.values().map(|unit| unit.close(deadline)).collect();
        closed
            .into_iter()
            .map(result)
            .fold(ended, |sofar, one| sofar.and(one))
    }

    /// Serves another disk.
    ///
    /// # Errors
    /// If the number is taken or the disk cannot be served.
    pub fn add_unit(&self, target: &Name, lun: &LunOptions) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let target = self.target(target)?;
        let mut units = (*target.units()).clone();
        if units.contains_key(&lun.number) {
            return Err(AdminError::Exists(format!("LUN {}", lun.number)));
        }
        let claimed = self.shared.claimed([]);
        let unit = self.shared.open_unit(target.name.as_str(), lun, &claimed);
        units.insert(lun.number, unit.map_err(AdminError::Unit)?);
        self.shared.change_units(&target, units);
        Ok(())
    }

    /// Serves a disk no more. Commands that have not ended are aborted; when this returns nothing is written to it any
    /// more, and it is closed.
    ///
    /// # Errors
    /// If there is none, or commands do not end.
    pub fn remove_unit(&self, target: &Name, lun: u16) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let target = self.target(target)?;
        let mut units = (*target.units()).clone();
        let unit = units.remove(&lun).ok_or_else(|| AdminError::NoUnit {
            target: target.name.to_string(),
            lun,
        })?;
        self.shared.change_units(&target, units);
        let deadline = Deadline::after(DROP_LIMIT);
        let closed = unit.close(deadline);
        // Once no session knows it any more, its medium and its journal are closed.
        let last = || Arc::strong_count(&unit) == 1;
        if closed == Closed::InUse || !self.shared.sessions.await_that(last, deadline) {
            return Err(AdminError::InUse);
        }
        result(closed)
    }

    /// Lets an initiator log in. What is said of the same name and user already is replaced.
    ///
    /// # Errors
    /// If there is no such target.
    pub fn allow(&self, target: &Name, initiator: InitiatorOptions) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let target = self.target(target)?;
        let mut access = target.access();
        let user =
            |one: &InitiatorOptions| one.account.as_ref().map(|account| account.name.clone());
        let new = user(&initiator);
        access
            .initiators
            .retain(|one| one.name != initiator.name || user(one) != new);
        access.initiators.push(initiator);
        target.set_access(access);
        Ok(())
    }

    /// Lets an initiator log in no more. Sessions that it has end.
    ///
    /// # Errors
    /// If there is no such target, nothing was said of the initiator, anybody may log in, or its sessions do not end.
    pub fn deny(&self, target: &Name, initiator: &InitiatorName) -> Result<(), AdminError> {
        let _alone = self.changing()?;
        let target = self.target(target)?;
        let mut access = target.access();
        let before = access.initiators.len();
        access.initiators.retain(|one| one.name != *initiator);
        if access.initiators.len() == before {
            return Err(AdminError::NoInitiator {
                target: target.name.to_string(),
                initiator: initiator.to_string(),
            });
        }
        let anybody = |one: &InitiatorOptions| one.name == InitiatorName::Anybody;
        if access.initiators.iter().any(anybody) {
            return Err(AdminError::Covered(initiator.to_string()));
        }
        target.set_access(access);
        let of = |session: &Session| {
            session.target == target.name.as_str()
                && initiator.covers(session.nexus.initiator.name())
        };
        self.shared.sessions.post(&Letter::End(Ending::Dropped), of);
        self.await_absence(of)
    }

    /// An administrator's decision, who has made sure that no fenced node runs: the damaged journal of a logical unit is
    /// moved aside, and the disk served without registrations, whatever is kept under former names of it. Gives where the old
    /// journal is.
    ///
    /// # Errors
    /// If the journal can be relied on, or cannot be moved.
    pub fn discard_journal(&self, target: &Name, lun: u16) -> Result<Option<PathBuf>, AdminError> {
        let served = self.target(target)?.units().get(&lun).cloned();
        let served = served.ok_or_else(|| AdminError::NoUnit {
            target: target.to_string(),
            lun,
        })?;
        if served.barred().is_none() {
            return Err(AdminError::Exists(format!("a sound journal of LUN {lun}")));
        }
        let options = LunOptions {
            number: lun,
            disk: served.options().clone(),
        };
        let name = served.name().journal();
        drop(served);
        match self.remove_unit(target, lun) {
            // Nobody could write to it since it was opened; it is removed.
            Ok(()) | Err(AdminError::Unwritten(_)) => {}
            Err(error) => return Err(error),
        }
        let identity = Identity::new(&name).ok_or(AdminError::Broken)?;
        let moved = Journal::discard(&self.shared.config.state, &identity);
        let moved = moved.map_err(AdminError::Journal);
        self.add_unit(target, &options)?;
        moved
    }
}
