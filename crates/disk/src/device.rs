//! What a device is, however it is reached.

use std::thread;
use std::time::Duration;

use deadline::Deadline;
use scsi::pr::InitiatorPort;
use scsi::{AdditionalSense, Sense, SenseKey, Status};

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

    /// Whether the device could not take the command at this moment: it was not carried out, and the same one may be taken
    /// a little later (SAM-5, "Status codes"; SPC-4, "Sense key and sense code definitions").
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let busy = [Status::BUSY, Status::TASK_SET_FULL, Status::ACA_ACTIVE];
        busy.contains(&self.status) || self.sense.is_some_and(soon_ready)
    }
}

/// Whether sense data say that the device is not ready, and will be without anybody's doing.
fn soon_ready(sense: Sense) -> bool {
    let soon = [
        AdditionalSense::BECOMING_READY,
        AdditionalSense::ACCESS_STATE_TRANSITION,
    ];
    sense.key == SenseKey::NOT_READY && soon.contains(&sense.additional)
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

/// So many unit attentions are taken one right after the other; from then on there is a pause before each attempt.
pub const MAX_ATTENTIONS: usize = 8;

/// The pause before the first attempt after a device was busy; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Sends a command until the device has taken it. A unit attention, which goes to `attentions`, is news and not an answer,
/// a device that is busy has none yet: either way the command was not carried out. An end that still is one of them comes
/// when the deadline leaves no time for another attempt.
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
    let mut at_once = MAX_ATTENTIONS;
    let mut pause = FIRST_PAUSE;
    loop {
        let again = data.again();
        let done = device.execute(Request { cdb, data: again }, deadline)?;
        let attention = done.unit_attention();
        match attention {
            Some(sense) => attentions.push(sense),
            None if done.is_busy() => {}
            None => return Ok(done),
        }
        if attention.is_some() && at_once > 0 && !deadline.has_passed() {
            at_once -= 1;
            continue;
        }
        if deadline.remaining() <= pause {
            return Ok(done);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
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
