//! One of the two initiators, and how it gets back after its session has ended.

use std::path::PathBuf;
use std::time::Duration;

use deadline::Deadline;
use iscsi::pdu::Lun;
use scsi::pr::InitiatorPort;
use scsi::{AdditionalSense, Sense, Status};

use crate::address::IscsiAddress;
use crate::initiator::{Disk, Session};
use crate::node::Node;
use crate::pr::Reservations;
use crate::probe::report::Answer;
use crate::{Completion, Data, DeviceError, OpenOptions, ScsiDevice, settle};

/// How an initiator reaches the disk.
#[derive(Debug, Clone)]
pub(super) enum How {
    Iscsi(Box<(IscsiAddress, OpenOptions)>),
    Node(PathBuf),
}

enum Device {
    Iscsi(Box<Disk>),
    Node(Box<Node>),
}

/// An initiator.
pub(super) struct Link {
    name: String,
    how: How,
    device: Option<Device>,
    timeout: Duration,
    attentions: Vec<Sense>,
}

impl Link {
    /// Opens the disk as the initiator `name`; every command may take as long as `timeout`.
    pub(super) fn open(name: String, how: How, timeout: Duration) -> Result<Self, DeviceError> {
        let mut link = Self {
            name,
            how,
            device: None,
            timeout,
            attentions: Vec::new(),
        };
        link.open_again()?;
        Ok(link)
    }

    fn open_again(&mut self) -> Result<(), DeviceError> {
        self.device = None;
        let deadline = self.deadline();
        self.device = Some(match &self.how {
            How::Iscsi(way) => {
                let (address, options) = way.as_ref();
                Device::Iscsi(Box::new(Disk::open(address, options, deadline)?))
            }
            How::Node(path) => Device::Node(Box::new(Node::open(path, false)?)),
        });
        Ok(())
    }

    /// The initiator's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// When a command that starts now must have ended.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// Opens the disk again if its session is over.
    pub(super) fn revive(&mut self) -> Result<(), DeviceError> {
        let over = match &mut self.device {
            Some(Device::Iscsi(disk)) => disk.session().is_over(),
            Some(Device::Node(_)) => false,
            None => true,
        };
        if over { self.open_again() } else { Ok(()) }
    }

    /// Logs out and in again, or closes the device node and opens it.
    pub(super) fn log_in_again(&mut self) -> Result<(), DeviceError> {
        let deadline = self.deadline();
        if let Some(Device::Iscsi(disk)) = self.device.take() {
            disk.close(deadline)?;
        }
        self.open_again()
    }

    /// Logs in while the former session is still there: the target reinstates it.
    pub(super) fn reinstate(&mut self) -> Result<(), DeviceError> {
        let former = self.device.take();
        let opened = self.open_again();
        drop(former);
        opened
    }

    /// Logs out.
    pub(super) fn close(mut self) -> Result<(), DeviceError> {
        let deadline = self.deadline();
        match self.device.take() {
            Some(Device::Iscsi(disk)) => disk.close(deadline),
            Some(Device::Node(_)) | None => Ok(()),
        }
    }

    /// The session, if it is one of iSCSI.
    pub(super) fn session(&mut self) -> Option<(&mut Session, Lun)> {
        match &mut self.device {
            Some(Device::Iscsi(disk)) => {
                let lun = disk.lun();
                Some((disk.session(), lun))
            }
            Some(Device::Node(_)) | None => None,
        }
    }

    fn device(&mut self) -> Result<&mut dyn ScsiDevice, DeviceError> {
        match &mut self.device {
            Some(Device::Iscsi(disk)) => Ok(disk.as_mut()),
            Some(Device::Node(node)) => Ok(node.as_mut()),
            None => Err(DeviceError::NotSent {
                device: self.name.clone(),
                reason: "there is no session",
            }),
        }
    }

    /// Its reservations.
    pub(super) fn pr(&mut self) -> Result<Reservations<'_>, DeviceError> {
        self.device().map(Reservations::of)
    }

    /// Its initiator port, if it is known.
    pub(super) fn port(&mut self) -> Option<InitiatorPort> {
        self.device().ok()?.initiator_port()
    }

    /// Sends a command, again after unit attentions, which are kept for [`Self::attentions`].
    pub(super) fn command(
        &mut self,
        cdb: &[u8],
        data: Data<'_>,
    ) -> Result<Completion, DeviceError> {
        let deadline = self.deadline();
        let mut attentions = std::mem::take(&mut self.attentions);
        let done = self
            .device()
            .and_then(|device| settle(device, cdb, data, deadline, &mut attentions));
        self.attentions = attentions;
        done
    }

    /// The unit attentions since the last call.
    pub(super) fn attentions(&mut self) -> Vec<Sense> {
        std::mem::take(&mut self.attentions)
    }
}

/// What the end of a command amounts to.
pub(super) fn answer(done: &Result<Completion, DeviceError>) -> Answer {
    let done = match done {
        Ok(done) => done,
        Err(error) => return Answer::None(crate::probe::chain(error)),
    };
    if done.is_busy() {
        // A moment later it may do what it was asked for.
        return Answer::None(format!("it was busy ({})", done.status));
    }
    match (done.status, done.sense) {
        (status, _) if status.is_good() => Answer::Good,
        (Status::RESERVATION_CONFLICT, _) => Answer::Conflict,
        (_, Some(sense)) if is_unsupported(sense) => Answer::Unsupported(sense.to_string()),
        (_, Some(sense)) => Answer::Refused(sense.to_string()),
        (status, None) => Answer::Refused(status.to_string()),
    }
}

fn is_unsupported(sense: Sense) -> bool {
    matches!(
        sense.additional,
        AdditionalSense::INVALID_COMMAND_OPERATION_CODE | AdditionalSense::INVALID_FIELD_IN_CDB
    )
}
