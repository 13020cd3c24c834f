//! What a device is, however it is reached.

use deadline::Deadline;
use scsi::pr::InitiatorPort;
use scsi::{Sense, SenseKey, Status};

use crate::DeviceError;

/// The data of a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// From the device: at most so many bytes as the buffer has.
    In(&'a mut [u8]),
    /// To the device: all of them.
    Out(&'a [u8]),
}

impl Data<'_> {
    /// The same for a while: so that a command can be sent again.
    pub const fn again(&mut self) -> Data<'_> {
        match self {
            Self::None => Data::None,
            Self::In(buffer) => Data::In(buffer),
            Self::Out(bytes) => Data::Out(bytes),
        }
    }
}

/// A command.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its bytes: 6, 10, 12 or 16.
    pub cdb: &'a [u8],
    /// Its data.
    pub data: Data<'a>,
}

impl<'a> Request<'a> {
    /// Without data.
    #[must_use]
    pub const fn plain(cdb: &'a [u8]) -> Self {
        let data = Data::None;
        Self { cdb, data }
    }

    /// With data from the device.
    #[must_use]
    pub const fn read(cdb: &'a [u8], buffer: &'a mut [u8]) -> Self {
        let data = Data::In(buffer);
        Self { cdb, data }
    }

    /// With data to the device.
    #[must_use]
    pub const fn write(cdb: &'a [u8], bytes: &'a [u8]) -> Self {
        let data = Data::Out(bytes);
        Self { cdb, data }
    }
}

/// How the device ended a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The status.
    pub status: Status,
    /// Sense data, with CHECK CONDITION; `None` also if the device sent some that are none.
    pub sense: Option<Sense>,
    /// How many bytes of data were moved.
    pub transferred: usize,
}

impl Completion {
    /// The unit attention it reports, if it is one: the command was not carried out, and may be sent again.
    #[must_use]
    pub fn unit_attention(&self) -> Option<Sense> {
        self.sense.filter(|sense| {
            self.status == Status::CHECK_CONDITION && sense.key == SenseKey::UNIT_ATTENTION
        })
    }
}

/// A SCSI device, reached over one I_T nexus.
pub trait ScsiDevice: Send {
    /// Sends a command and waits for its end.
    ///
    /// # Errors
    /// If the device did not end it. [`DeviceError::certainty`] says whether it may have been carried out all the same.
    /// After `deadline` it is given up, and that is not known.
    fn execute(
        &mut self,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Completion, DeviceError>;

    /// What it is called in messages: its path or address, without secrets.
    fn name(&self) -> &str;

    /// The initiator port of this nexus, if it is known here: by it, one's own registration is found in READ FULL STATUS.
    fn initiator_port(&self) -> Option<InitiatorPort> {
        None
    }
}

/// The most unit attentions that one command is sent again after.
pub const MAX_ATTENTIONS: usize = 8;

/// Sends a command, and again after each unit attention, which goes to `attentions`: it is news, not an answer, and the
/// device has not carried the command out. An end that still is one comes after [`MAX_ATTENTIONS`] of them.
///
/// # Errors
/// As [`ScsiDevice::execute`].
pub fn settle(
    device: &mut dyn ScsiDevice,
    cdb: &[u8],
    mut data: Data<'_>,
    deadline: Deadline,
    attentions: &mut Vec<Sense>,
) -> Result<Completion, DeviceError> {
    let mut left = MAX_ATTENTIONS;
    loop {
        let again = data.again();
        let done = device.execute(Request { cdb, data: again }, deadline)?;
        let Some(sense) = done.unit_attention() else {
            return Ok(done);
        };
        attentions.push(sense);
        if left == 0 || deadline.has_passed() {
            return Ok(done);
        }
        left -= 1;
    }
}

impl<D: ScsiDevice + ?Sized> ScsiDevice for Box<D> {
    fn execute(
        &mut self,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Completion, DeviceError> {
        (**self).execute(request, deadline)
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn initiator_port(&self) -> Option<InitiatorPort> {
        (**self).initiator_port()
    }
}
