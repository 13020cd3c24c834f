//! Persistent reservations of a device: the commands, with unit attentions taken out of the way.
//!
//! A unit attention is news, not an answer: the device reports it once instead of carrying out the next command.
//! [`Reservations`] notes it, and sends the command again; so it does where the device is busy. Both until the deadline.

use deadline::Deadline;
use scsi::pr::{
    Capabilities, FullStatus, InAction, Key, OutAction, OutParameters, OutRequest, ReservationData,
    ReservationType, Truncated, parse_full_status, parse_keys, parse_reservation,
};
use scsi::{Sense, SenseKey, Status};

use crate::device::settle;
use crate::{Certainty, Completion, Data, DeviceError, ScsiDevice};

/// How many bytes are asked for at first: some hundred registrations.
const FIRST_ALLOCATION: u16 = 8192;

/// Why a command of persistent reservations did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrError {
    /// RESERVATION CONFLICT: this nexus may not. Nothing was changed.
    #[error("{device}: {command}: reservation conflict")]
    Conflict {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
    },
    /// CHECK CONDITION: the device refuses, and says why. Nothing was changed, but for ABORTED COMMAND: see
    /// [`Self::is_unknown`].
    #[error("{device}: {command}: {sense}")]
    Refused {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
        /// Why.
        sense: Sense,
    },
    /// Any other status.
    #[error("{device}: {command}: {status}")]
    Status {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
        /// The status.
        status: Status,
    },
    /// The device had not taken the command when the deadline came: it was busy all the time.
    #[error("{device}: {command}: the device is busy: {}", told(*status, sense.as_ref()))]
    Busy {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
        /// What it answered last.
        status: Status,
        /// With CHECK CONDITION.
        sense: Option<Sense>,
    },
    /// The device reports one unit attention after another.
    #[error("{device}: {command}: one unit attention after another, the last {last}")]
    Unsettled {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
        /// The last of them.
        last: Sense,
    },
    /// The device's data are not what they should be.
    #[error("{device}: {command}")]
    Malformed {
        /// The device.
        device: String,
        /// The command.
        command: &'static str,
        /// Why.
        #[source]
        source: Truncated,
    },
    /// The device gave no answer.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl PrError {
    /// Whether the command may have been carried out although nobody said so: the keys must be read again. An aborted
    /// command, too, may have been carried out in part (SAM-5, "Aborting commands").
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Device(error) => error.certainty() == Certainty::Unknown,
            Self::Status { status, .. } => *status == Status::TASK_ABORTED,
            Self::Refused { sense, .. } => sense.key == SenseKey::ABORTED_COMMAND,
            _ => false,
        }
    }

    /// Whether the device was asked and said no, so that nothing has changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let no = matches!(
            self,
            Self::Conflict { .. } | Self::Refused { .. } | Self::Status { .. }
        );
        no && !self.is_unknown()
    }

    /// Whether another attempt, perhaps over another path, may end otherwise: there was no answer, or none that says
    /// anything of what was asked.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let no_answer = matches!(
            self,
            Self::Device(_) | Self::Busy { .. } | Self::Unsettled { .. }
        );
        no_answer || self.is_unknown()
    }

    /// The device does not know the command at all, or not this form of it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        use scsi::AdditionalSense as A;
        matches!(self, Self::Refused { sense, .. } if matches!(
            sense.additional,
            A::INVALID_COMMAND_OPERATION_CODE | A::INVALID_FIELD_IN_CDB | A::INVALID_FIELD_IN_PARAMETER_LIST
        ))
    }
}

/// A status with what its sense data say.
fn told(status: Status, sense: Option<&Sense>) -> String {
    sense.map_or_else(|| status.to_string(), ToString::to_string)
}

/// The reservations of one device, as one nexus sees and changes them.
pub struct Reservations<'d> {
    device: &'d mut dyn ScsiDevice,
    attentions: Vec<Sense>,
}

impl<'d> Reservations<'d> {
    /// Of `device`.
    pub fn of(device: &'d mut dyn ScsiDevice) -> Self {
        Self {
            device,
            attentions: Vec::new(),
        }
    }

    /// The unit attentions since the last call, the oldest first: for the log.
    pub fn attentions(&mut self) -> Vec<Sense> {
        std::mem::take(&mut self.attentions)
    }

    /// READ KEYS: PRGENERATION, and one key for each registered nexus, so the same one may come again.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn read_keys(&mut self, deadline: Deadline) -> Result<(u32, Vec<Key>), PrError> {
        self.read(InAction::ReadKeys, "READ KEYS", parse_keys, deadline)
    }

    /// READ RESERVATION: PRGENERATION, and the reservation if there is one.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn read_reservation(
        &mut self,
        deadline: Deadline,
    ) -> Result<(u32, Option<ReservationData>), PrError> {
        self.read(
            InAction::ReadReservation,
            "READ RESERVATION",
            parse_reservation,
            deadline,
        )
    }

    /// READ FULL STATUS: PRGENERATION, and every registration with its nexus. Not every device knows it.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn read_full_status(
        &mut self,
        deadline: Deadline,
    ) -> Result<(u32, Vec<FullStatus>), PrError> {
        self.read(
            InAction::ReadFullStatus,
            "READ FULL STATUS",
            parse_full_status,
            deadline,
        )
    }

    /// REPORT CAPABILITIES.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn report_capabilities(&mut self, deadline: Deadline) -> Result<Capabilities, PrError> {
        self.read(
            InAction::ReportCapabilities,
            "REPORT CAPABILITIES",
            Capabilities::parse,
            deadline,
        )
    }

    /// REGISTER: `old` is this nexus's key (`None`: it has none), `new` the one to come (`None`: withdraw it).
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn register(
        &mut self,
        old: Option<Key>,
        new: Option<Key>,
        aptpl: bool,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let parameters = OutParameters {
            aptpl,
            ..OutParameters::keys(old, new)
        };
        self.out(OutAction::Register, None, &parameters, deadline)
    }

    /// REGISTER AND IGNORE EXISTING KEY.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn register_ignoring(
        &mut self,
        new: Option<Key>,
        aptpl: bool,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let parameters = OutParameters {
            aptpl,
            ..OutParameters::keys(None, new)
        };
        let action = OutAction::RegisterAndIgnoreExistingKey;
        self.out(action, None, &parameters, deadline)
    }

    /// RESERVE.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn reserve(
        &mut self,
        key: Key,
        kind: ReservationType,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let parameters = OutParameters::keys(Some(key), None);
        self.out(OutAction::Reserve, Some(kind), &parameters, deadline)
    }

    /// RELEASE.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn release(
        &mut self,
        key: Key,
        kind: ReservationType,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let parameters = OutParameters::keys(Some(key), None);
        self.out(OutAction::Release, Some(kind), &parameters, deadline)
    }

    /// CLEAR: every registration and the reservation.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn clear(&mut self, key: Key, deadline: Deadline) -> Result<(), PrError> {
        let parameters = OutParameters::keys(Some(key), None);
        self.out(OutAction::Clear, None, &parameters, deadline)
    }

    /// PREEMPT, or with `abort` PREEMPT AND ABORT: takes away the registrations with `victim`.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn preempt(
        &mut self,
        key: Key,
        victim: Key,
        kind: ReservationType,
        abort: bool,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let action = if abort {
            OutAction::PreemptAndAbort
        } else {
            OutAction::Preempt
        };
        let parameters = OutParameters::keys(Some(key), Some(victim));
        self.out(action, Some(kind), &parameters, deadline)
    }

    /// Any PERSISTENT RESERVE OUT. `kind` counts where [`OutAction::uses_type`] says so.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn out(
        &mut self,
        action: OutAction,
        kind: Option<ReservationType>,
        parameters: &OutParameters,
        deadline: Deadline,
    ) -> Result<(), PrError> {
        let list = parameters.encode();
        let request = OutRequest {
            action,
            kind,
            length: u32::try_from(list.len()).unwrap_or(u32::MAX),
        };
        let cdb = request.cdb();
        self.send(name(action), &cdb, Data::Out(&list), deadline)?;
        Ok(())
    }

    /// TEST UNIT READY, only to take unit attentions out of the way.
    ///
    /// # Errors
    /// See [`PrError`].
    pub fn test_unit_ready(&mut self, deadline: Deadline) -> Result<(), PrError> {
        self.send("TEST UNIT READY", &[0; 6], Data::None, deadline)?;
        Ok(())
    }

    /// PERSISTENT RESERVE IN, once more with a longer buffer if the data did not fit.
    fn read<T>(
        &mut self,
        action: InAction,
        command: &'static str,
        parse: fn(&[u8]) -> Result<T, Truncated>,
        deadline: Deadline,
    ) -> Result<T, PrError> {
        let mut allocation = FIRST_ALLOCATION;
        loop {
            let mut buffer = vec![0; usize::from(allocation)];
            let cdb = action.cdb(allocation);
            let done = self.send(command, &cdb, Data::In(&mut buffer), deadline)?;
            let received = done.transferred.min(buffer.len());
            match parse(&buffer[..received]) {
                Ok(data) => return Ok(data),
                Err(cut) if cut.need > received && allocation < u16::MAX => allocation = u16::MAX,
                Err(source) => {
                    return Err(PrError::Malformed {
                        device: self.device.name().to_owned(),
                        command,
                        source,
                    });
                }
            }
        }
    }

    /// Sends a command until the device has taken it.
    fn send(
        &mut self,
        command: &'static str,
        cdb: &[u8],
        data: Data<'_>,
        deadline: Deadline,
    ) -> Result<Completion, PrError> {
        let done = settle(self.device, cdb, data, deadline, &mut self.attentions)?;
        let device = || self.device.name().to_owned();
        if let Some(last) = done.unit_attention() {
            return Err(PrError::Unsettled {
                device: device(),
                command,
                last,
            });
        }
        let busy = done.is_busy();
        match (done.status, done.sense) {
            (status, _) if status.is_good() => Ok(done),
            (status, sense) if busy => Err(PrError::Busy {
                device: device(),
                command,
                status,
                sense,
            }),
            (Status::RESERVATION_CONFLICT, _) => Err(PrError::Conflict {
                device: device(),
                command,
            }),
            (Status::CHECK_CONDITION, Some(sense)) => Err(PrError::Refused {
                device: device(),
                command,
                sense,
            }),
            (status, _) => Err(PrError::Status {
                device: device(),
                command,
                status,
            }),
        }
    }
}

/// What an action is called in messages.
#[must_use]
pub const fn name(action: OutAction) -> &'static str {
    match action {
        OutAction::Register => "REGISTER",
        OutAction::Reserve => "RESERVE",
        OutAction::Release => "RELEASE",
        OutAction::Clear => "CLEAR",
        OutAction::Preempt => "PREEMPT",
        OutAction::PreemptAndAbort => "PREEMPT AND ABORT",
        OutAction::RegisterAndIgnoreExistingKey => "REGISTER AND IGNORE EXISTING KEY",
        OutAction::RegisterAndMove => "REGISTER AND MOVE",
        OutAction::ReplaceLostReservation => "REPLACE LOST RESERVATION",
    }
}
