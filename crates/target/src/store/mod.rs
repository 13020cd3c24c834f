//! The medium of a logical unit: a file or a block device.
//!
//! # What an answer means
//!
//! | answer | means |
//! |---|---|
//! | `Ok` of a change that need not be durable | later reads see it; a crash of this program does not undo it, a loss of power may |
//! | `Ok` of a durable change (FUA, or the write cache is off) | it survives a loss of power |
//! | `Ok` of [`Store::flush`] | everything acknowledged before survives a loss of power |
//! | [`MediumFailure::NotDurable`] | that cannot be promised; earlier changes may be gone too |
//!
//! The kernel reports a failed write-back once and then forgets it: asking a second time would succeed although data
//! are lost. So a store that has seen one refuses every change until it is opened anew ([`Health::LostWrites`]).
//!
//! # Which operations wait for which
//!
//! Commands of SIMPLE tasks may be carried out in any order (SAM-5, "Task attributes"), and initiators do not overlap
//! their own. Only COMPARE AND WRITE and ORWRITE promise more: nothing may change their blocks between reading and
//! writing them (SBC-3, "COMPARE AND WRITE command"). They wait for all changes under way within their blocks and keep
//! new ones out.

mod buffer;
mod error;
mod lane;

use std::path::Path;

use scsi::capacity::LbaStatus;
use scsi::lu::{BlockLength, Extent, MediumFailure, Operation};

pub use buffer::{ALIGNMENT, Buffer};
pub use error::OpenError;
pub use lane::{Done, Finished, IoPath, Lane, Started, Ticket};

/// How a medium is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Refuse every change.
    pub read_only: bool,
    /// UNMAP gives space back, and a file that is created has none at first. Without it, a file that is created has all
    /// its space from the beginning.
    pub thin: bool,
    /// Length of a logical block.
    pub block_length: BlockLength,
    /// Create a file of this many bytes if there is none. One that exists must have this size.
    pub size: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: false,
            read_only: false,
            thin: true,
            block_length: BlockLength::B512,
            size: None,
        }
    }
}

/// What a call that never waits for a disk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Now {
    /// Done.
    Done,
    /// It would have to wait: nothing was done, hand it to a [`Lane`].
    WouldBlock,
}

/// What the medium has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// As it should be.
    Sound,
    /// A write-back failed: acknowledged writes may be gone. No change is accepted any more.
    LostWrites,
    /// The file became shorter. No change is accepted any more.
    Truncated,
}

/// An open medium. All calls may be made from several threads at a time. Ranges are whole blocks on the medium: the
/// logical unit has checked them, and here a wrong one is [`MediumFailure::Internal`].
#[derive(Debug)]
pub struct Store {
    options: Options,
}

impl Store {
    /// Opens `path`, and keeps others out while it is open.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let _ = path;
        Ok(Self { options: *options })
    }

    /// How many blocks it has.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        0
    }

    /// Length of a logical block.
    #[must_use]
    pub const fn block_length(&self) -> BlockLength {
        self.options.block_length
    }

    /// 2 to this power logical blocks are best written together.
    #[must_use]
    pub fn physical_exponent(&self) -> u8 {
        0
    }

    /// What the medium has come to.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::Sound
    }

    /// Carries an operation out, waiting for the disk. `data` holds the data-out; it is replaced by the data-in if the
    /// operation has any. With a miscompare nothing was written.
    ///
    /// # Errors
    /// [`MediumFailure`].
    pub fn carry_out(&self, operation: &Operation, data: &mut Buffer) -> Result<(), MediumFailure> {
        let _ = (operation, data);
        Err(MediumFailure::Internal)
    }

    /// Reads the blocks from `first` on, as many as `into` has room for.
    ///
    /// # Errors
    /// [`MediumFailure::Unreadable`], [`MediumFailure::Truncated`].
    pub fn read(&self, first: u64, into: &mut [u8]) -> Result<(), MediumFailure> {
        let _ = (first, into);
        Err(MediumFailure::Internal)
    }

    /// The same if it need not wait for a disk.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now(&self, first: u64, into: &mut [u8]) -> Result<Now, MediumFailure> {
        let _ = (first, into);
        Ok(Now::WouldBlock)
    }

    /// Writes `data` from `first` on.
    ///
    /// # Errors
    /// Any [`MediumFailure`] of a change.
    pub fn write(&self, first: u64, data: &[u8], durable: bool) -> Result<(), MediumFailure> {
        let _ = (first, data, durable);
        Err(MediumFailure::Internal)
    }

    /// The same, not durable, if it need not wait for a disk.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_now(&self, first: u64, data: &[u8]) -> Result<Now, MediumFailure> {
        let _ = (first, data);
        Ok(Now::WouldBlock)
    }

    /// Makes everything durable that was acknowledged before. Also due when the write cache is switched off.
    ///
    /// # Errors
    /// [`MediumFailure::NotDurable`].
    pub fn flush(&self) -> Result<(), MediumFailure> {
        Err(MediumFailure::Internal)
    }

    /// Which blocks have space on the medium, from `first` on: at most `most` runs.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn allocation(&self, first: u64, most: usize) -> Result<Vec<LbaStatus>, MediumFailure> {
        let _ = (first, most, Extent { first, count: 0 });
        Err(MediumFailure::Internal)
    }
}
