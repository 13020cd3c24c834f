//! One device, over every path that leads to it.
//!
//! A command goes over one path, which is one I_T nexus. What only reads may take any of them; what registers has to be
//! done over each. A path that fails is opened anew the next time: an iSCSI session does not outlast a lost command.

use deadline::Deadline;
use disk::pr::{PrError, Reservations};
use disk::{Address, Certainty, DeviceError, OpenOptions, Paths, ScsiDevice};
use fence_agent::{Failure, FailureKind, Level};
use scsi::pr::{InitiatorId, Key, RelativePort, ReservationData, ReservationType, TransportId};

use super::config::Device;
use super::same::is_same_port;

/// What `fence_scsi` reserves devices with.
pub(crate) const RESERVATION: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// Where processes of this node wait for each other's iSCSI sessions: two with one session id end each other's.
const LOCKS: &str = "/var/run/cluster.sessions";

/// Where open-iscsi keeps this machine's initiator name.
const INITIATOR_NAME: &str = "/etc/iscsi/initiatorname.iscsi";

/// How devices are found and opened. The real way is [`Machine`].
pub(crate) trait Reach: Sync {
    /// The paths of a device.
    ///
    /// # Errors
    /// If it is not there, or is several disks.
    fn paths(&self, device: &Device) -> Result<Vec<Address>, Failure>;

    /// Opens a path.
    ///
    /// # Errors
    /// If that fails.
    fn open(
        &self,
        path: &Address,
        read_only: bool,
        deadline: Deadline,
    ) -> Result<Box<dyn ScsiDevice>, DeviceError>;

    /// This machine's iSCSI initiator name, if it has one.
    fn initiator(&self) -> Option<String>;
}

/// This machine. Each variant is an initiator port of its own where devices are reached over iSCSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// As the agent: the same nexus on every call, for what one call registers the next one finds.
    Agent,
    /// As the watchdog's check, which only reads. It may come at any time, and must neither end a session of the agent nor
    /// wait for one: it would take that for a fencing.
    Check,
}

impl Machine {
    fn options(self, read_only: bool) -> OpenOptions {
        let (instance, locks) = match self {
            Self::Agent => ("fence_scsi", Some(LOCKS.into())),
            Self::Check => ("fence_scsi_check", None),
        };
        OpenOptions {
            instance: instance.to_owned(),
            locks,
            read_only,
            ..OpenOptions::default()
        }
    }
}

impl Reach for Machine {
    fn paths(&self, device: &Device) -> Result<Vec<Address>, Failure> {
        let Address::Node(node) = &device.address else {
            return Ok(vec![device.address.clone()]);
        };
        let sysfs = Paths::default();
        let failed = |error| Failure::unreachable(format!("{}: {}", device.name, chain(&error)));
        let paths = sysfs.of(node).map_err(failed)?;
        if paths.len() > 1 && !sysfs.is_multipath(node).map_err(failed)? {
            return Err(Failure::usage(format!(
                "{} stands on several disks: name them instead",
                device.name
            )));
        }
        Ok(paths.into_iter().map(Address::Node).collect())
    }

    fn open(
        &self,
        path: &Address,
        read_only: bool,
        deadline: Deadline,
    ) -> Result<Box<dyn ScsiDevice>, DeviceError> {
        disk::open(path, &self.options(read_only), deadline)
    }

    fn initiator(&self) -> Option<String> {
        disk::initiator::machine_initiator(std::path::Path::new(INITIATOR_NAME)).ok()
    }
}

/// A registration: its key, and whose it is as far as the device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub key: Key,
    pub port: RelativePort,
    /// `None` if the device names none that is known.
    pub initiator: Option<InitiatorId>,
}

impl Registration {
    /// The name of the initiator in lower case. Only iSCSI has one that stays the same whatever port of the machine is used:
    /// of a port of Fibre Channel or SAS that is gone nobody can say whose it was.
    pub(crate) fn initiator_name(&self) -> Option<String> {
        let name = match self.initiator.as_ref()?.iscsi()? {
            TransportId::Port(port) => port.name(),
            TransportId::Device(name) => name,
        };
        Some(name.to_ascii_lowercase())
    }
}

/// The registrations of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registrations {
    /// With their nexuses (READ FULL STATUS).
    Full(Vec<Registration>),
    /// Keys alone: the device does not know READ FULL STATUS.
    Keys(Vec<Key>),
}

impl Registrations {
    /// How many nexuses are registered with `key`.
    pub(crate) fn count(&self, key: Key) -> usize {
        match self {
            Self::Full(all) => all.iter().filter(|one| one.key == key).count(),
            Self::Keys(keys) => count(keys, key),
        }
    }

    /// Every key, as often as it is registered.
    pub(crate) fn keys(&self) -> Vec<Key> {
        match self {
            Self::Full(all) => all.iter().map(|one| one.key).collect(),
            Self::Keys(keys) => keys.clone(),
        }
    }

    /// Those with `key`; `None` if the device does not tell whose they are.
    pub(crate) fn with(&self, key: Key) -> Option<impl Iterator<Item = &Registration>> {
        match self {
            Self::Full(all) => Some(all.iter().filter(move |one| one.key == key)),
            Self::Keys(_) => None,
        }
    }
}

/// How often `key` is among `keys`.
pub(crate) fn count(keys: &[Key], key: Key) -> usize {
    keys.iter().filter(|known| **known == key).count()
}

/// Whether only registered nexuses may write.
pub(crate) fn keeps_others_out(held: &ReservationData) -> bool {
    held.kind().is_some_and(ReservationType::serves_registrants)
}

struct Path {
    /// Where it is; with several, whichever answers: they are one initiator port, which has one session at a time.
    addresses: Vec<Address>,
    device: Option<Box<dyn ScsiDevice>>,
}

impl Path {
    fn open(
        &mut self,
        reach: &dyn Reach,
        read_only: bool,
        limit: Deadline,
    ) -> Result<&mut dyn ScsiDevice, DeviceError> {
        let device = match self.device.take() {
            Some(device) => device,
            None => self.opened(reach, read_only, limit)?,
        };
        Ok(self.device.insert(device).as_mut())
    }

    /// Opened at the first of the addresses that answers.
    fn opened(
        &mut self,
        reach: &dyn Reach,
        read_only: bool,
        limit: Deadline,
    ) -> Result<Box<dyn ScsiDevice>, DeviceError> {
        let mut left = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        loop {
            let share = limit.within(limit.remaining() / left.max(1));
            match reach.open(&self.addresses[0], read_only, share) {
                Err(_) if left > 1 => self.addresses.rotate_left(1),
                ended => return ended,
            }
            left -= 1;
        }
    }

    fn name(&self) -> String {
        self.addresses
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

/// The paths of all names of a device, each once.
fn paths(reach: &dyn Reach, device: &Device) -> Result<Vec<Path>, Failure> {
    let mut paths: Vec<Path> = Vec::new();
    for name in device.names() {
        let found = reach.paths(name)?;
        if found.is_empty() {
            return Err(Failure::unreachable(format!("{} has no path", name.name)));
        }
        for address in found {
            let same = |path: &&mut Path| is_same_port(&path.addresses[0], &address);
            match paths.iter_mut().find(same) {
                Some(path) if path.addresses.contains(&address) => {}
                Some(path) => path.addresses.push(address),
                None => paths.push(Path {
                    addresses: vec![address],
                    device: None,
                }),
            }
        }
    }
    Ok(paths)
}

/// A device, over every path.
pub(crate) struct Disk<'r> {
    device: Device,
    reach: &'r dyn Reach,
    paths: Vec<Path>,
    read_only: bool,
    deadline: Deadline,
    notes: Vec<(Level, String)>,
}

impl<'r> Disk<'r> {
    /// Finds the paths. Nothing is sent yet.
    ///
    /// # Errors
    /// If there is no such device.
    pub(crate) fn new(
        reach: &'r dyn Reach,
        device: &Device,
        read_only: bool,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        Ok(Self {
            paths: paths(reach, device)?,
            device: device.clone(),
            reach,
            read_only,
            deadline,
            notes: Vec::new(),
        })
    }

    /// The device, with all its names.
    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// The same under one of its names only. Sessions that are open end: they could keep it from the disk.
    ///
    /// # Errors
    /// If there is no such device.
    pub(crate) fn under(&mut self, name: &Device) -> Result<Self, Failure> {
        for path in &mut self.paths {
            path.device = None;
        }
        Disk::new(self.reach, &name.alone(), self.read_only, self.deadline)
    }

    /// Takes another's messages.
    pub(crate) fn adopt(&mut self, other: Self) {
        self.notes.extend(other.notes);
    }

    /// When the work on it must have ended.
    pub(crate) const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// How many paths there are.
    pub(crate) fn paths(&self) -> usize {
        self.paths.len()
    }

    /// What a path is called.
    pub(crate) fn path_name(&self, at: usize) -> String {
        self.paths.get(at).map(Path::name).unwrap_or_default()
    }

    /// Keeps a message for the log.
    pub(crate) fn note(&mut self, level: Level, text: impl AsRef<str>) {
        self.notes
            .push((level, format!("{}: {}", self.device.name, text.as_ref())));
    }

    /// The messages.
    pub(crate) fn into_notes(self) -> Vec<(Level, String)> {
        self.notes
    }

    /// A failure that names the device.
    pub(crate) fn fail(&self, kind: FailureKind, text: impl AsRef<str>) -> Failure {
        Failure::new(kind, format!("{}: {}", self.device.name, text.as_ref()))
    }

    /// Sends something over one path.
    ///
    /// # Errors
    /// As the command ended.
    pub(crate) fn over<T>(
        &mut self,
        at: usize,
        send: impl FnOnce(&mut Reservations<'_>, Deadline) -> Result<T, PrError>,
    ) -> Result<T, PrError> {
        let limit = self.share();
        let Some(path) = self.paths.get_mut(at) else {
            return Err(no_such_path(&self.device.name).into());
        };
        let device = path.open(self.reach, self.read_only, limit)?;
        let mut reservations = Reservations::of(device);
        let result = send(&mut reservations, limit);
        for attention in reservations.attentions() {
            let (disk, path) = (&self.device.name, path.name());
            let text = format!("{disk}: unit attention over {path}: {attention}");
            self.notes.push((Level::Debug, text));
        }
        if matches!(result, Err(PrError::Device(_))) {
            path.device = None;
        }
        result
    }

    /// How long one command may take, so that there is time for the other paths when it hangs.
    fn share(&self) -> Deadline {
        let parts = u32::try_from(self.paths.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        self.deadline.within(self.deadline.remaining() / parts)
    }

    /// Reads over whichever path works.
    ///
    /// # Errors
    /// If none does; what the last one said.
    fn read<T>(
        &mut self,
        mut send: impl FnMut(&mut Reservations<'_>, Deadline) -> Result<T, PrError>,
    ) -> Result<T, PrError> {
        let mut at = 0;
        // Twice: a session that was lost since the last command is opened anew.
        let attempts = 2 * self.paths.len();
        loop {
            let error = match self.over(at % self.paths.len(), &mut send) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            at += 1;
            if at >= attempts || !error.may_pass() || self.deadline.has_passed() {
                return Err(error);
            }
            self.note(Level::Warning, chain(&error));
        }
    }

    /// What the disk calls itself, if it says so over any path.
    pub(crate) fn designator(&mut self) -> Option<String> {
        let limit = self.share();
        self.paths.iter_mut().find_map(|path| {
            let device = path.open(self.reach, self.read_only, limit).ok()?;
            disk::designator(device, limit).ok().flatten()
        })
    }

    /// READ KEYS.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn keys(&mut self) -> Result<Vec<Key>, Failure> {
        let read = self.read(|path, limit| path.read_keys(limit));
        read.map(|(_, keys)| keys).map_err(|error| failure(&error))
    }

    /// READ RESERVATION.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn reservation(&mut self) -> Result<Option<ReservationData>, Failure> {
        let read = self.read(|path, limit| path.read_reservation(limit));
        read.map(|(_, held)| held).map_err(|error| failure(&error))
    }

    /// READ FULL STATUS, or READ KEYS where the device does not know it.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn registrations(&mut self) -> Result<Registrations, Failure> {
        match self.read(|path, limit| path.read_full_status(limit)) {
            Ok((_, all)) => Ok(Registrations::Full(
                all.into_iter()
                    .filter_map(|one| {
                        Some(Registration {
                            key: one.key?,
                            port: one.port,
                            initiator: one.initiator.ok(),
                        })
                    })
                    .collect(),
            )),
            Err(error) if error.is_unsupported() => self.keys().map(Registrations::Keys),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Whether registrations are to outlast a loss of power: what was asked for, or what is in force already. A command
    /// that registers anything sets this anew for the whole device, and must not switch it off by the way.
    ///
    /// # Errors
    /// If the device does not say. One that does not know the question knows no APTPL that could be in force.
    pub(crate) fn persists(&mut self, asked: bool) -> Result<bool, Failure> {
        if asked {
            return Ok(true);
        }
        match self.read(|path, limit| path.report_capabilities(limit)) {
            Ok(capabilities) => Ok(capabilities.persist_active),
            Err(error) if error.is_unsupported() => Ok(asked),
            Err(error) => Err(failure(&error)),
        }
    }

    /// PRGENERATION, which counts the changes of registrations.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn generation(&mut self) -> Result<u32, Failure> {
        let read = self.read(|path, limit| path.read_keys(limit));
        read.map(|(generation, _)| generation)
            .map_err(|error| failure(&error))
    }

    /// The names of this machine's initiator ports, as far as they are known, in lower case.
    pub(crate) fn initiators(&self) -> Vec<String> {
        let ports = self
            .paths
            .iter()
            .filter_map(|path| path.device.as_ref()?.initiator_port());
        let names = ports.map(|port| port.name().to_owned());
        names
            .chain(self.reach.initiator())
            .map(|name| name.to_ascii_lowercase())
            .collect()
    }

    /// Whether this very path is registered with `key`, by what the device lists; `None` if that cannot be told.
    pub(crate) fn is_registered(
        &self,
        at: usize,
        registrations: &Registrations,
        key: Key,
    ) -> Option<bool> {
        let port = self.paths.get(at)?.device.as_ref()?.initiator_port()?;
        let mut same = registrations
            .with(key)?
            .map(|one| one.initiator.as_ref().and_then(InitiatorId::iscsi));
        Some(same.any(|initiator| initiator.is_some_and(|id| id.names(&port))))
    }
}

fn no_such_path(device: &str) -> DeviceError {
    DeviceError::NotSent {
        device: device.to_owned(),
        reason: "it has no such path",
    }
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Errors that pass through say the same as what they pass on.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// A failed command as the failure of an action.
pub(crate) fn failure(error: &PrError) -> Failure {
    let kind = match error {
        PrError::Device(error) => match error.certainty() {
            Certainty::Unknown => FailureKind::CannotKnow,
            Certainty::NotSent | Certainty::Refused => FailureKind::Unreachable,
        },
        PrError::Unsettled { .. } => FailureKind::Unreachable,
        PrError::Busy { .. } => FailureKind::TimedOut,
        error if error.is_unknown() => FailureKind::CannotKnow,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session of the check with the agent's session id would end an agent's that is fencing at that moment.
    #[test]
    fn the_check_is_another_initiator_port_than_the_agent_and_waits_for_nobody() {
        let (agent, check) = (Machine::Agent.options(false), Machine::Check.options(true));
        assert_ne!(agent.instance, check.instance);
        assert!(agent.locks.is_some() && check.locks.is_none());
        // What is registered already under this name must be found again.
        assert_eq!(agent.instance, "fence_scsi");
    }
}
