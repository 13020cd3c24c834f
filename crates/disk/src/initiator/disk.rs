//! One logical unit of a target.

use std::path::Path;

use deadline::Deadline;
use iscsi::pdu::Lun;
use scsi::pr::InitiatorPort;

use crate::address::IscsiAddress;
use crate::initiator::identity::{INITIATOR_NAME_FILE, isid, machine_initiator};
use crate::initiator::lock::Lock;
use crate::initiator::{ChapCredentials, Payload, Session, SessionOptions, TaskEnd};
use crate::{Completion, Data, DeviceError, LostBy, OpenOptions, Request, ScsiDevice};

/// A logical unit, with a session of its own.
pub struct Disk {
    name: String,
    lun: Lun,
    port: Option<InitiatorPort>,
    session: Session,
    /// Held as long as the session.
    _lock: Option<Lock>,
}

impl Disk {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If the target cannot be reached, or refuses.
    pub fn open(
        address: &IscsiAddress,
        options: &OpenOptions,
        deadline: Deadline,
    ) -> Result<Self, DeviceError> {
        let name = address.to_string();
        let initiator = match &options.initiator {
            Some(initiator) => initiator.clone(),
            None => machine_initiator(Path::new(INITIATOR_NAME_FILE)).map_err(|error| {
                DeviceError::NoInitiatorName {
                    device: name.clone(),
                    reason: format!("{INITIATOR_NAME_FILE}: {error}"),
                }
            })?,
        };
        let credentials = match ChapCredentials::of(address)? {
            Some(credentials) if address.user.is_some() => Some(credentials),
            of_environment => options.authentication.clone().or(of_environment),
        };
        let isid = isid(&initiator, &address.target, address.lun, &options.instance);
        let session = SessionOptions {
            name: name.clone(),
            host: address.host.clone(),
            port: address.port,
            initiator,
            target: address.target.clone(),
            isid,
            credentials,
            digests: address.digests,
        };
        let lock = match &options.locks {
            Some(directory) => Some(Lock::take(directory, &session, deadline)?),
            None => None,
        };
        let unusable = || DeviceError::Unusable {
            device: name.clone(),
            reason: "the logical unit's number",
        };
        Ok(Self {
            lun: Lun::from_number(address.lun).ok_or_else(unusable)?,
            port: InitiatorPort::new(&session.initiator, isid.0),
            session: Session::connect(&session, deadline)?,
            name,
            _lock: lock,
        })
    }

    /// Its logical unit number.
    #[must_use]
    pub const fn lun(&self) -> Lun {
        self.lun
    }

    /// Its session: for several commands at once and for task management.
    pub const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Logs out. Registrations stay.
    ///
    /// # Errors
    /// If the target does not answer in time; the connection is closed all the same.
    pub fn close(self, deadline: Deadline) -> Result<(), DeviceError> {
        self.session.logout(deadline)
    }

    fn lost(&self, source: LostBy) -> DeviceError {
        DeviceError::Lost {
            device: self.name.clone(),
            source,
        }
    }
}

impl ScsiDevice for Disk {
    /// A command that has not ended at `deadline` ends the session: the target then aborts what has not been done.
    fn execute(
        &mut self,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Completion, DeviceError> {
        let payload = match &request.data {
            Data::None => Payload::None,
            Data::In(buffer) => Payload::In(buffer.len()),
            Data::Out(bytes) => Payload::Out(bytes.to_vec()),
        };
        let task = self
            .session
            .submit(self.lun, request.cdb, payload, deadline)?;
        let Some(end) = self.session.wait(task, deadline)? else {
            self.session.end("a command had not ended in time");
            return Err(self.lost(LostBy::Expired));
        };
        match end {
            TaskEnd::Completed(completion, data) => {
                if let Data::In(buffer) = request.data {
                    let length = data.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&data[..length]);
                }
                Ok(completion)
            }
            TaskEnd::Aborted => Err(self.lost(LostBy::Closed)),
            TaskEnd::Lost(source) => Err(self.lost(source)),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn initiator_port(&self) -> Option<InitiatorPort> {
        self.port.clone()
    }
}
