//! Full feature phase (RFC 7143, "iSCSI Full Feature Phase") at error recovery level 0 with one connection per session,
//! as a state machine for each side: [`TargetConnection`] and [`InitiatorConnection`].
//!
//! Whoever owns the socket moves bytes and decides nothing:
//!
//! ```text
//!  receive a header ─▶ begin(header) ─▶ Place: where its data go ─▶ receive them there, check digests ─▶ finish(…)
//!  poll_event()  ─▶ what happened
//!  poll_output() ─▶ a header and where its data are ─▶ send both
//! ```
//!
//! Data of commands are never held here: a [`Place`] or [`Body`] names a task and an offset in the buffer that the
//! caller keeps for it. An error from `begin` or `finish` ends the connection: at error recovery level 0 nothing is sent
//! again. The order of events and outputs is that in which they are polled; no call blocks.

mod initiator;
mod target;

pub use initiator::{
    CommandRequest, InitiatorConnection, InitiatorEvent, NotNow, Outcome, Transfer,
};
pub use target::{
    Discovery, Fault, ManagementId, ScsiTask, TargetConnection, TargetEvent, TargetPortal,
    TaskResponse,
};

use crate::pdu::{Header, PduError};
use crate::text::KeyError;
use crate::{Serial, Tag};

/// A task, as this side calls it. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// Where the data segment of a PDU goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There is none.
    None,
    /// So many bytes, to be passed to `finish`.
    Bytes(usize),
    /// Into the buffer of a task. It may be one that has not been heard of yet: its command comes with these data.
    Task {
        /// Whose buffer.
        task: TaskId,
        /// Where in it, in bytes.
        offset: u32,
        /// How many bytes.
        length: usize,
    },
    /// So many bytes, which nobody wants.
    Discard(usize),
}

/// How the data segment of a PDU arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived<'a> {
    /// It lies where it should; or there was none, or it was discarded.
    Placed,
    /// For [`Place::Bytes`].
    Bytes(&'a [u8]),
    /// Its digest was wrong.
    Damaged,
}

/// The data segment of a PDU to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of the buffer of a task.
    Task {
        /// Whose buffer.
        task: TaskId,
        /// Where in it, in bytes.
        offset: u32,
        /// How many bytes.
        length: u32,
    },
}

impl Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            Self::None
        } else {
            Self::Bytes(bytes)
        }
    }
}

/// A PDU to be sent. Lengths and digests are for [`crate::Framing`] to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The header.
    pub header: Header,
    /// The data segment.
    pub body: Body,
    /// A target: the buffer of this task is not needed once the PDU is sent.
    pub last_of: Option<TaskId>,
}

/// What the peer did that ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A command's number is in the window, but not the next one: with one connection the gap is never filled.
    #[error("command number {got}, where {expected} is next")]
    CommandGap {
        /// CmdSN
        got: Serial,
        /// ExpCmdSN
        expected: Serial,
    },
    /// A status number is not the next one.
    #[error("status number {got}, where {expected} is next")]
    StatusGap {
        /// StatSN
        got: Serial,
        /// ExpStatSN
        expected: Serial,
    },
    /// Data that nobody asked for, or more than was agreed on.
    #[error("data that were not asked for")]
    Unsolicited,
    /// Data out of order, beyond their end, or ended too early.
    #[error("data out of sequence")]
    DataSequence,
    /// A PDU about a task that does not exist.
    #[error("a PDU about a task that does not exist")]
    NoTask,
    /// Data were damaged, and nothing is sent again.
    #[error("the data of a PDU were damaged")]
    Damaged,
    /// Not a PDU that may come now.
    #[error("a PDU that may not come now")]
    OutOfPlace,
    /// Not a PDU of that side.
    #[error("the header")]
    Pdu(#[from] PduError),
    /// Text that is none.
    #[error("the text")]
    Text(#[from] KeyError),
    /// The caller passed `finish` something else than `begin` asked for.
    #[error("`begin` and `finish` do not match")]
    Misused,
}

/// A counter of tags, which never gives the reserved one.
#[derive(Debug, Default)]
struct Tags(u32);

impl Tags {
    fn next(&mut self) -> Tag {
        let tag = Tag(self.0);
        let next = self.0.wrapping_add(1);
        self.0 = if Tag(next) == Tag::NONE { 0 } else { next };
        tag
    }
}

/// A part of a buffer that is filled in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Burst {
    next: u32,
    end: u32,
    /// DataSN of the next PDU.
    number: u32,
}

impl Burst {
    const fn new(from: u32, end: u32) -> Self {
        Self {
            next: from,
            end,
            number: 0,
        }
    }

    /// Takes a PDU's data: they must be the next ones and end where they should.
    fn take(&mut self, number: u32, offset: u32, length: usize) -> Result<(), SessionError> {
        let length = u32::try_from(length).map_err(|_| SessionError::DataSequence)?;
        if number != self.number || offset != self.next || length > self.end - self.next {
            return Err(SessionError::DataSequence);
        }
        self.next += length;
        self.number = self.number.wrapping_add(1);
        Ok(())
    }

    const fn is_whole(self) -> bool {
        self.next == self.end
    }
}
