//! The commands of a disk (SPC-4, SBC-3): what each asks for, and the table from which REPORT SUPPORTED OPERATION CODES
//! answers.
//!
//! [`Command::parse`] reads a command into what it means. Whether a block lies on the medium, and whether a reservation
//! lets it through, is for others to say.

mod parse;
mod supported;

use std::fmt;

use crate::pr::{InAction, OutRequest};

pub use supported::{SUPPORTED, Supported, supported};

/// Blocks on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// LOGICAL BLOCK ADDRESS: the first.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl Blocks {
    /// Whether all of them lie on a medium of `capacity` blocks. None at all may begin at its end, but not beyond.
    #[must_use]
    pub fn fit(self, capacity: u64) -> bool {
        self.first
            .checked_add(u64::from(self.count))
            .is_some_and(|end| end <= capacity)
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks from {}", self.count, self.first)
    }
}

/// A read or write of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Which.
    pub blocks: Blocks,
    /// FUA: to or from the medium itself.
    pub force_unit_access: bool,
}

/// BYTCHK: what VERIFY compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteCheck {
    /// Nothing: the medium must be readable.
    Readable,
    /// As many blocks of data.
    Data,
    /// One block of data, with each.
    OneBlock,
}

/// What SYNCHRONIZE CACHE, WRITE SAME and PRE-FETCH are about: so many blocks, or with 0 all up to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlocksOrRest {
    /// LOGICAL BLOCK ADDRESS: the first.
    pub first: u64,
    /// How many; 0 stands for the rest.
    pub count: u32,
}

impl BlocksOrRest {
    /// The blocks on a medium of `capacity`, if they lie on it.
    #[must_use]
    pub fn on(self, capacity: u64) -> Option<(u64, u64)> {
        let count = match self.count {
            0 => capacity.checked_sub(self.first)?,
            count => u64::from(count),
        };
        let end = self.first.checked_add(count)?;
        (end <= capacity).then_some((self.first, count))
    }
}

/// PC: which values of a mode page are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageControl {
    /// Those in force.
    Current,
    /// A mask of the bits that can be changed.
    Changeable,
    /// Those after power on.
    Default,
    /// Those kept over power off.
    Saved,
}

/// REPORT SUPPORTED OPERATION CODES: which are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// All.
    All,
    /// One without service actions.
    One(u8),
    /// One with this service action.
    Action(u8, u16),
    /// One, whether it has service actions or not.
    Either(u8, u16),
}

/// A command for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// TEST UNIT READY
    TestUnitReady,
    /// REQUEST SENSE
    RequestSense {
        /// DESC: in descriptor format.
        descriptor: bool,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// INQUIRY
    Inquiry {
        /// The vital product data page; `None`: the standard data.
        page: Option<u8>,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// REPORT LUNS
    ReportLuns {
        /// SELECT REPORT
        select: u8,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// READ CAPACITY(10)
    ReadCapacity10,
    /// READ CAPACITY(16)
    ReadCapacity16 {
        /// The most bytes wanted.
        allocation: u32,
    },
    /// GET LBA STATUS
    GetLbaStatus {
        /// From where.
        first: u64,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// READ(6), (10), (12), (16)
    Read(Transfer),
    /// WRITE(6), (10), (12), (16)
    Write(Transfer),
    /// WRITE AND VERIFY(10), (12), (16)
    WriteAndVerify(Blocks, ByteCheck),
    /// VERIFY(10), (12), (16)
    Verify(Blocks, ByteCheck),
    /// ORWRITE(16)
    Orwrite(Transfer),
    /// COMPARE AND WRITE: twice as many blocks of data
    CompareAndWrite(Transfer),
    /// WRITE SAME(10), (16)
    WriteSame {
        /// Where.
        blocks: BlocksOrRest,
        /// UNMAP: the blocks may be unmapped if they read the same then.
        unmap: bool,
        /// NDOB: there is no data; write zeros.
        zeros: bool,
    },
    /// UNMAP
    Unmap {
        /// Length of the parameter list in bytes.
        length: u32,
    },
    /// SYNCHRONIZE CACHE(10), (16)
    SynchronizeCache {
        /// Which.
        blocks: BlocksOrRest,
        /// IMMED: the answer need not wait.
        immediate: bool,
    },
    /// PRE-FETCH(10), (16)
    PreFetch {
        /// Which.
        blocks: BlocksOrRest,
        /// IMMED: the answer need not wait.
        immediate: bool,
    },
    /// MODE SENSE(6), (10)
    ModeSense {
        /// Whether it is the command of ten bytes, which has the longer header.
        long: bool,
        /// DBD: without block descriptors.
        no_descriptors: bool,
        /// Which values.
        control: PageControl,
        /// The page and the subpage.
        page: (u8, u8),
        /// The most bytes wanted.
        allocation: u32,
    },
    /// MODE SELECT(6), (10)
    ModeSelect {
        /// Whether it is the command of ten bytes, which has the longer header.
        long: bool,
        /// SP: keep the values over power off.
        save: bool,
        /// Length of the parameter list in bytes.
        length: u32,
    },
    /// START STOP UNIT
    StartStop {
        /// START
        start: bool,
        /// LOEJ: load the medium, or eject it.
        eject: bool,
        /// NO_FLUSH is not set: what is cached is written first.
        flush: bool,
        /// IMMED: the answer need not wait.
        immediate: bool,
        /// POWER CONDITION
        power_condition: u8,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL
    PreventAllow {
        /// Whether removal is prevented.
        prevent: bool,
    },
    /// REPORT SUPPORTED OPERATION CODES
    ReportSupportedOperationCodes {
        /// Which.
        wanted: Wanted,
        /// RCTD: with timeouts.
        timeouts: bool,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    ReportSupportedTaskManagementFunctions {
        /// REPD: the longer form.
        extended: bool,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// REPORT TARGET PORT GROUPS
    ReportTargetPortGroups {
        /// Whether the header is the extended one.
        extended: bool,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// RESERVE(6), (10) of SPC-2
    Reserve,
    /// RELEASE(6), (10) of SPC-2
    Release,
    /// PERSISTENT RESERVE IN
    PersistentReserveIn {
        /// What is wanted.
        action: InAction,
        /// The most bytes wanted.
        allocation: u32,
    },
    /// PERSISTENT RESERVE OUT
    PersistentReserveOut(OutRequest),
}
