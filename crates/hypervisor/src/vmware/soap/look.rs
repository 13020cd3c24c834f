//! What is the case with one guest, or with all.

use deadline::Deadline;
use uuid::Uuid;

use super::Soap;
use super::collect::Query;
use super::fault::Meaning;
use super::link::Trouble;
use super::reply::{Content, Malformed, Moref, text_of};
use super::tasks::{self, is_start};
use crate::state::STARTING;
use crate::vmware::names::{Wanted, means};
use crate::vmware::states::{PowerState, observation, plain};
use crate::{Error, Guest, GuestRef, Observation, Power};

/// What is read of a guest.
pub(super) const PATHS: &[&str] = &[
    "name",
    "config.uuid",
    "config.instanceUuid",
    "config.template",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "runtime.question",
];
/// What is read of every guest for a list.
const LIST: &[&str] = &[
    "name",
    "config.uuid",
    "config.template",
    "runtime.powerState",
    "runtime.connectionState",
];
/// Guests a page of a list: some hundred kilobytes.
const PAGE: u32 = 500;

/// One guest, as the server described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vmware) struct Seen {
    pub(super) moref: Moref,
    /// As stored, see [`crate::vmware::names::stored`].
    pub(super) name: String,
    /// `config.uuid`: the SMBIOS UUID, which the guest's system sees.
    pub(super) uuid: Option<Uuid>,
    /// `config.instanceUuid`: vCenter's own.
    instance: Option<Uuid>,
    pub(super) template: bool,
    pub(super) power: Option<PowerState>,
    connection: Option<String>,
    pub(super) host: Option<Moref>,
    /// What somebody has to answer before the guest goes on.
    pub(super) question: Option<String>,
    /// Properties that the login may not read.
    refused: Vec<(String, String)>,
    /// Whether a task that may start it has not ended. It is powered off until then.
    starting: bool,
}

impl Seen {
    pub(super) fn read(content: Content<'_, '_>) -> Result<Self, Malformed> {
        let uuid = |path: &str| {
            content
                .text(path)
                .and_then(|text| Uuid::try_parse(text.trim()).ok())
        };
        Ok(Self {
            moref: content.object()?,
            name: content.text("name").unwrap_or_default(),
            uuid: uuid("config.uuid"),
            instance: uuid("config.instanceUuid"),
            template: content.flag("config.template").unwrap_or(false),
            power: content
                .text("runtime.powerState")
                .map(|word| PowerState::parse(word.trim())),
            connection: content
                .text("runtime.connectionState")
                .map(|word| plain(&word)),
            host: content.reference("runtime.host")?,
            question: content
                .value("runtime.question")
                .map(|question| plain(&text_of(question, "text").unwrap_or_default())),
            refused: content.refused(),
            starting: false,
        })
    }

    pub(super) fn guest(&self) -> Guest {
        Guest {
            name: self.name.clone(),
            uuid: self.uuid.unwrap_or_default(),
        }
    }

    pub(super) fn observation(&self, by: &str) -> Observation {
        let doubt = self.doubt();
        let mut seen = observation(
            self.guest(),
            self.power.as_ref(),
            doubt.as_deref(),
            self.question.as_deref(),
            by,
        );
        if self.starting && seen.power() == Power::Off {
            STARTING.clone_into(&mut seen.reason);
        }
        seen
    }

    /// Why the state may not be the guest's: it is the last one vCenter saw before it lost the host, or the guest's files.
    fn doubt(&self) -> Option<String> {
        match self.connection.as_deref() {
            Some("connected") => None,
            Some("disconnected") => Some("its host is not connected to vCenter".to_owned()),
            Some(other) => Some(format!("its connection state is `{other}`")),
            None => {
                let why = self
                    .refused
                    .iter()
                    .find(|(path, _)| path.starts_with("runtime"));
                let why = why.map_or("the server did not send it", |(_, fault)| fault.as_str());
                Some(format!(
                    "its connection state cannot be read ({why}): the login needs the privilege System.Read on it"
                ))
            }
        }
    }

    /// Whether it is still who was looked for: names can be given to others.
    pub(super) fn is(&self, wanted: &Wanted<'_>) -> bool {
        match wanted {
            Wanted::Name(name) => means(name, &self.name),
            Wanted::Path(path) => path
                .rsplit('/')
                .next()
                .is_some_and(|name| means(name, &self.name)),
            Wanted::Uuid(uuid) => [self.uuid, self.instance].contains(&Some(*uuid)),
        }
    }
}

/// What comes of a look.
enum Part {
    Guest(Box<Seen>),
    /// A task that may start the guest, and has not ended.
    Start,
}

impl Part {
    fn read(content: Content<'_, '_>) -> Result<Option<Self>, Malformed> {
        if content.object()?.kind == "Task" {
            return Ok(is_start(content).then_some(Self::Start));
        }
        Seen::read(content).map(|seen| Some(Self::Guest(Box::new(seen))))
    }

    fn joined(parts: Vec<Self>) -> Option<Seen> {
        let mut guest = None;
        let mut starting = false;
        for part in parts {
            match part {
                Self::Guest(seen) => guest = Some(*seen),
                Self::Start => starting = true,
            }
        }
        guest.map(|seen| Seen { starting, ..seen })
    }
}

impl Soap {
    /// Looks at the guest with this identifier, which both interfaces of a server share; none when it is gone.
    pub(in crate::vmware) fn look_at_id(
        &self,
        id: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Observation>, Error> {
        let seen = self.look_at(&Moref::new("VirtualMachine", id), guest, deadline)?;
        Ok(seen.map(|seen| seen.observation(self.by())))
    }

    /// Looks at a guest. One that was found before is looked at under its identifier, and looked up anew when that no longer
    /// leads to it.
    pub(super) fn look(&self, guest: &GuestRef, deadline: Deadline) -> Result<Seen, Error> {
        if let Some(moref) = self.found_before(guest) {
            match self.look_at(&moref, guest, deadline)? {
                Some(seen) if seen.is(&Wanted::of(guest)) => return Ok(seen),
                _ => self.lose(guest),
            }
        }
        let seen = self.find(guest, deadline)?;
        // A look does not show the path: who was moved elsewhere would go on being found by it.
        if !matches!(Wanted::of(guest), Wanted::Path(_)) {
            self.remember(guest, seen.moref.clone());
        }
        Ok(seen)
    }

    /// Looks at the object; none when it is gone.
    pub(super) fn look_at(
        &self,
        moref: &Moref,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Seen>, Error> {
        let query = Query::with_tasks(moref, PATHS, tasks::PATHS);
        match self.link.collect(&query, deadline, Part::read) {
            Ok(parts) => match Part::joined(parts) {
                Some(seen) if seen.moref != *moref => Err(Error::Unreachable {
                    by: self.by().to_owned(),
                    detail: format!(
                        "asked about {}, it answers about {}",
                        plain(&moref.id),
                        plain(&seen.moref.id)
                    ),
                }),
                seen => Ok(seen),
            },
            Err(Trouble::Fault(fault)) if matches!(fault.meaning, Meaning::Gone { .. }) => Ok(None),
            Err(trouble) => Err(self.link.error(trouble, Some(guest))),
        }
    }

    /// Looks at every guest below the datacenter, or all of them.
    pub(super) fn look_at_all(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let start = self.start(deadline)?;
        let query = Query::below(&start, "VirtualMachine", LIST).page(PAGE);
        let by = self.by();
        let read = |content: Content<'_, '_>| {
            let seen = Seen::read(content)?;
            Ok((!seen.template).then(|| seen.observation(by)))
        };
        self.link
            .collect(&query, deadline, read)
            .map_err(|trouble| self.link.error(trouble, None))
    }

    pub(super) fn no_such(&self, guest: &GuestRef) -> Error {
        Error::NoSuchGuest {
            guest: guest.clone(),
            by: self.by().to_owned(),
        }
    }
}
