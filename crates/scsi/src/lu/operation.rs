//! What the driver is asked to do, and what it answers.

use crate::command::{Blocks, ByteCheck};
use crate::pr::Refusal;
use crate::{AdditionalSense, Sense, SenseKey, Status};

use super::{BlockLength, Prepared};

/// A run of blocks that lies on the medium. More than one command can name when it means "all the rest".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The first block.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl From<Blocks> for Extent {
    fn from(blocks: Blocks) -> Self {
        Self {
            first: blocks.first,
            count: u64::from(blocks.count),
        }
    }
}

/// What to do with the medium. Reservations, protection and bounds have been checked; `count` may be 0, which does
/// nothing and succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Send the blocks.
    Read {
        /// Which.
        extent: Extent,
        /// FUA: from the medium, after what a volatile cache holds of it has been written.
        from_medium: bool,
    },
    /// Write the blocks of the data-out buffer.
    Write {
        /// Where.
        extent: Extent,
        /// Durable before GOOD: FUA was set, or the write cache is off.
        durable: bool,
    },
    /// Write durably, then verify: with [`ByteCheck::Data`], what the medium has against the same data.
    WriteAndVerify {
        /// Where.
        extent: Extent,
        /// What to verify with. Never [`ByteCheck::OneBlock`].
        check: ByteCheck,
    },
    /// Compare, or read without sending.
    Verify {
        /// Which.
        extent: Extent,
        /// What to verify with.
        check: ByteCheck,
    },
    /// Combine the data-out buffer with the medium by OR, in one step as seen by every other command.
    Orwrite {
        /// Where.
        extent: Extent,
        /// Durable before GOOD.
        durable: bool,
    },
    /// Write the same block everywhere.
    WriteSame {
        /// Where.
        extent: Extent,
        /// The blocks may be unmapped instead, if the data-out block is all zeros (or `zeros`).
        unmap: bool,
        /// There is no data-out block: zeros are meant.
        zeros: bool,
        /// Durable before GOOD.
        durable: bool,
    },
    /// Compare the first half of the data-out buffer and, if it is equal, write the second; in one step as seen by every
    /// other command.
    CompareAndWrite {
        /// Where.
        extent: Extent,
        /// Durable before GOOD.
        durable: bool,
    },
    /// Unmap: each block reads as zeros afterwards.
    Unmap {
        /// Which, as they were given; they do not overlap the end of the medium but may overlap each other.
        extents: Vec<Extent>,
        /// Durable before GOOD.
        durable: bool,
    },
    /// Make what has been written durable.
    Synchronize {
        /// Which; doing it for the whole medium is as good.
        extent: Extent,
        /// IMMED: GOOD may be returned before it is done.
        immediate: bool,
    },
    /// Bring the blocks into a cache, if there is one; GOOD, or CONDITION MET if all are there.
    Prefetch {
        /// Which.
        extent: Extent,
        /// IMMED: the answer need not wait.
        immediate: bool,
    },
    /// Tell what is mapped, from `first` on: [`crate::capacity::LbaStatus::encode`] makes the data.
    GetLbaStatus {
        /// From where; it lies on the medium.
        first: u64,
        /// The most bytes wanted.
        allocation: u32,
    },
}

/// Bytes that an operation moves between initiator and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataPhase {
    /// None.
    None,
    /// So many to the initiator (at most, for [`Operation::GetLbaStatus`]).
    In(u64),
    /// So many from the initiator.
    Out(u64),
}

impl Operation {
    /// What it moves, with blocks of `length`.
    #[must_use]
    pub fn data_phase(&self, length: BlockLength) -> DataPhase {
        let bytes = |count: u64| count.saturating_mul(u64::from(length.bytes()));
        match self {
            Self::Read { extent, .. } => DataPhase::In(bytes(extent.count)),
            Self::GetLbaStatus { allocation, .. } => DataPhase::In(u64::from(*allocation)),
            Self::Write { extent, .. }
            | Self::WriteAndVerify { extent, .. }
            | Self::Orwrite { extent, .. } => DataPhase::Out(bytes(extent.count)),
            Self::CompareAndWrite { extent, .. } => {
                DataPhase::Out(bytes(extent.count.saturating_mul(2)))
            }
            Self::Verify { extent, check } => match check {
                ByteCheck::Readable => DataPhase::None,
                ByteCheck::Data => DataPhase::Out(bytes(extent.count)),
                ByteCheck::OneBlock => DataPhase::Out(bytes(1)),
            },
            Self::WriteSame { zeros: false, .. } => DataPhase::Out(bytes(1)),
            Self::WriteSame { .. }
            | Self::Unmap { .. }
            | Self::Synchronize { .. }
            | Self::Prefetch { .. } => DataPhase::None,
        }
    }

    /// Whether it is durable before it has ended, if it changes the medium.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Write { durable, .. }
            | Self::Orwrite { durable, .. }
            | Self::WriteSame { durable, .. }
            | Self::CompareAndWrite { durable, .. }
            | Self::Unmap { durable, .. } => *durable,
            Self::WriteAndVerify { .. } | Self::Synchronize { .. } => true,
            Self::Read { .. }
            | Self::Verify { .. }
            | Self::Prefetch { .. }
            | Self::GetLbaStatus { .. } => false,
        }
    }

    /// Whether it can change the medium: what PREEMPT AND ABORT must wait for.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::WriteAndVerify { .. }
                | Self::Orwrite { .. }
                | Self::WriteSame { .. }
                | Self::CompareAndWrite { .. }
                | Self::Unmap { .. }
        )
    }
}

/// How a command ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    /// The status.
    pub status: Status,
    /// What is wrong, with CHECK CONDITION. [`LogicalUnit::encode_sense`](super::LogicalUnit::encode_sense) makes the
    /// bytes.
    pub sense: Option<Sense>,
    /// Data-in, already cut to the allocation length.
    pub data: Vec<u8>,
}

impl Reply {
    /// A status alone.
    pub const fn status(status: Status) -> Self {
        Self {
            status,
            sense: None,
            data: Vec::new(),
        }
    }

    /// GOOD.
    pub const fn good() -> Self {
        Self::status(Status::GOOD)
    }

    /// GOOD with data, cut to `allocation` bytes.
    pub fn with_data(mut data: Vec<u8>, allocation: u32) -> Self {
        data.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
        Self {
            data,
            ..Self::good()
        }
    }

    /// CHECK CONDITION.
    pub const fn check(sense: Sense) -> Self {
        Self {
            status: Status::CHECK_CONDITION,
            sense: Some(sense),
            data: Vec::new(),
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Self::status(Status::RESERVATION_CONFLICT),
            Refusal::Check(sense) => Self::check(sense),
        }
    }
}

/// What a command needs after it has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// It has ended.
    Done(Reply),
    /// The medium.
    Medium(Operation),
    /// So many bytes of parameter list; then [`LogicalUnit::parameters`](super::LogicalUnit::parameters).
    Parameters {
        /// PARAMETER LIST LENGTH in bytes, bounded by what any command can need.
        length: u32,
    },
}

/// What a command needs after its parameter list has been read.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Continued {
    /// It has ended.
    Done(Reply),
    /// The medium.
    Medium(Operation),
    /// Reservations are about to change.
    Reservation(Prepared),
}

/// Why the medium did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MediumFailure {
    /// Cannot be read.
    #[error("block {at} cannot be read")]
    Unreadable {
        /// The first block concerned.
        at: u64,
    },
    /// Cannot be written.
    #[error("block {at} cannot be written")]
    Unwritable {
        /// The first block concerned.
        at: u64,
    },
    /// No room for another block of a thin disk.
    #[error("no space is left below the disk")]
    Full,
    /// Cannot be written at all.
    #[error("the medium is write protected")]
    ReadOnly,
    /// The medium is shorter than it was.
    #[error("the medium no longer has block {at}")]
    Truncated {
        /// The first block that is missing.
        at: u64,
    },
    /// Other data.
    #[error("the medium differs from the data at byte {at}")]
    Miscompare {
        /// Offset in bytes of the first difference, from the beginning of the compared data.
        at: u64,
    },
    /// What was written cannot be made durable. It stays so until the medium is opened anew.
    #[error("what was written cannot be made durable")]
    NotDurable,
    /// Something else failed.
    #[error("the device failed")]
    Internal,
}

impl From<MediumFailure> for Sense {
    /// SBC-3, "Error reporting": which sense data tell an initiator what it can do about it.
    fn from(failure: MediumFailure) -> Self {
        match failure {
            MediumFailure::Unreadable { at } | MediumFailure::Truncated { at } => Self::new(
                SenseKey::MEDIUM_ERROR,
                AdditionalSense::UNRECOVERED_READ_ERROR,
            )
            .with_information(at),
            MediumFailure::Unwritable { at } => {
                Self::new(SenseKey::MEDIUM_ERROR, AdditionalSense::WRITE_ERROR).with_information(at)
            }
            MediumFailure::Full => Self::new(
                SenseKey::DATA_PROTECT,
                AdditionalSense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
            ),
            MediumFailure::ReadOnly => {
                Self::new(SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED)
            }
            MediumFailure::Miscompare { at } => Self::new(
                SenseKey::MISCOMPARE,
                AdditionalSense::MISCOMPARE_DURING_VERIFY,
            )
            .with_information(at),
            MediumFailure::NotDurable => {
                Self::new(SenseKey::MEDIUM_ERROR, AdditionalSense::WRITE_ERROR)
            }
            MediumFailure::Internal => Self::new(
                SenseKey::HARDWARE_ERROR,
                AdditionalSense::INTERNAL_TARGET_FAILURE,
            ),
        }
    }
}

impl From<MediumFailure> for Reply {
    fn from(failure: MediumFailure) -> Self {
        Self::check(failure.into())
    }
}
