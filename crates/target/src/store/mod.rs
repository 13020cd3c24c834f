//! The medium of a logical unit: a file or a block device.
//!
//! # What an answer means
//!
//! | answer | means |
//! |---|---|
//! | `Ok` of a write, write cache on | later reads see it; a crash of this program does not undo it, a loss of power may |
//! | `Ok` of a write with [`Durability::Forced`], or of any with the write cache off | it survives a loss of power |
//! | `Ok` of [`Store::flush`] | everything acknowledged before survives a loss of power |
//! | [`MediumError::Unwritable`] of any of these | it may not be there, and after [`Health::LostWrites`] earlier writes may be gone |
//!
//! The kernel reports a failed write-back once and then forgets it: asking a second time would succeed although data
//! are lost. So a store that has seen one refuses every change until it is opened anew ([`Health::LostWrites`]).
//!
//! # Which operations wait for which
//!
//! Commands of SIMPLE tasks may be carried out in any order (SAM-5, "Task attributes"), and initiators do not overlap
//! their own. Only COMPARE AND WRITE promises more: nothing may change its blocks between the comparison and the write
//! (SBC-3, "COMPARE AND WRITE command"). It waits for all changes under way within its blocks and keeps new ones out.

mod buffer;
mod error;
mod lane;

use std::path::Path;
use std::sync::Arc;

pub use buffer::{ALIGNMENT, Buffer};
pub use error::{MediumError, OpenError};
pub use lane::{Done, Finished, IoPath, Lane, Order, Started, Ticket};

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
    /// Acknowledge writes before they are durable: the WCE bit.
    pub write_cache: bool,
    /// Length of a block in bytes: 512 or 4096.
    pub block_length: u32,
    /// Create a file of this many bytes if there is none. One that exists must have this size.
    pub size: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: false,
            read_only: false,
            thin: true,
            write_cache: true,
            block_length: 512,
            size: None,
        }
    }
}

/// Blocks one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The first.
    pub lba: u64,
    /// How many.
    pub blocks: u64,
}

/// Whether a write must be durable before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// As the write cache is set.
    Cached,
    /// Always: FUA.
    Forced,
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

/// Whether blocks have space on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// They have.
    Mapped,
    /// They have none, and read as zeros.
    Deallocated,
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

/// An open medium. All calls may be made from several threads at a time.
#[derive(Debug)]
pub struct Store {
    options: Options,
}

/// The calls below wait for the disk. On the thread of a connection use [`Store::read_now`] and [`Store::write_now`]
/// first, and a [`Lane`] if they cannot serve.
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

    /// Length of a block in bytes.
    #[must_use]
    pub const fn block_length(&self) -> u32 {
        self.options.block_length
    }

    /// Whether it was opened for reading only.
    #[must_use]
    pub const fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// Whether UNMAP gives space back.
    #[must_use]
    pub const fn thin(&self) -> bool {
        self.options.thin
    }

    /// Whether writes are acknowledged before they are durable.
    #[must_use]
    pub fn write_cache(&self) -> bool {
        self.options.write_cache
    }

    /// Switches the write cache, as MODE SELECT may. Switching it off makes everything durable first.
    ///
    /// # Errors
    /// As [`Self::flush`]; the cache then stays on.
    pub fn set_write_cache(&self, on: bool) -> Result<(), MediumError> {
        let _ = on;
        Ok(())
    }

    /// What the medium has come to.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::Sound
    }

    /// Reads the blocks from `lba` on into `into`, whole blocks.
    ///
    /// # Errors
    /// [`MediumError::Unreadable`], [`MediumError::Truncated`].
    pub fn read(&self, lba: u64, into: &mut [u8]) -> Result<(), MediumError> {
        let _ = (lba, into);
        Err(MediumError::Unreadable)
    }

    /// The same if it need not wait.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now(&self, lba: u64, into: &mut [u8]) -> Result<Now, MediumError> {
        let _ = (lba, into);
        Ok(Now::WouldBlock)
    }

    /// Writes `data`, whole blocks, from `lba` on.
    ///
    /// # Errors
    /// Any [`MediumError`] but a miscompare.
    pub fn write(&self, lba: u64, data: &[u8], durability: Durability) -> Result<(), MediumError> {
        let _ = (lba, data, durability);
        Err(MediumError::Unwritable)
    }

    /// The same if it need not wait.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_now(
        &self,
        lba: u64,
        data: &[u8],
        durability: Durability,
    ) -> Result<Now, MediumError> {
        let _ = (lba, data, durability);
        Ok(Now::WouldBlock)
    }

    /// Makes everything durable that was acknowledged before: SYNCHRONIZE CACHE, whatever its range.
    ///
    /// # Errors
    /// [`MediumError::Unwritable`].
    pub fn flush(&self) -> Result<(), MediumError> {
        Err(MediumError::Unwritable)
    }

    /// Gives the space of these blocks back; they read as zeros. Without thin provisioning, or where the disk below
    /// cannot do it, they are set to zero.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn unmap(&self, extent: Extent, durability: Durability) -> Result<(), MediumError> {
        let _ = (extent, durability);
        Err(MediumError::Unwritable)
    }

    /// Writes `block` to every block of `extent`; if it is all zeros and `unmap` allows it, as [`Self::unmap`] does.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_same(
        &self,
        extent: Extent,
        block: &[u8],
        unmap: bool,
        durability: Durability,
    ) -> Result<(), MediumError> {
        let _ = (extent, block, unmap, durability);
        Err(MediumError::Unwritable)
    }

    /// Writes `new` from `lba` on if the blocks there hold `expected`; both have the same length. Nothing else changes
    /// these blocks between the comparison and the write.
    ///
    /// # Errors
    /// [`MediumError::Miscompare`]: nothing was written. Else as [`Self::read`] and [`Self::write`].
    pub fn compare_and_write(
        &self,
        lba: u64,
        expected: &[u8],
        new: &[u8],
        durability: Durability,
    ) -> Result<(), MediumError> {
        let _ = (lba, expected, new, durability);
        Err(MediumError::Unwritable)
    }

    /// Compares the blocks from `lba` on with `expected`.
    ///
    /// # Errors
    /// [`MediumError::Miscompare`]. Else as [`Self::read`].
    pub fn compare(&self, lba: u64, expected: &[u8]) -> Result<(), MediumError> {
        let _ = (lba, expected);
        Err(MediumError::Unreadable)
    }

    /// Reads the blocks and throws them away: VERIFY without data.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn verify(&self, extent: Extent) -> Result<(), MediumError> {
        let _ = extent;
        Err(MediumError::Unreadable)
    }

    /// Has the kernel read the blocks into the page cache, if there is one: PRE-FETCH. Does not wait for it.
    pub fn prefetch(&self, extent: Extent) {
        let _ = extent;
    }

    /// Which blocks from `lba` on have space, as at most `most` extents one after another that begin at `lba`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn allocation(
        &self,
        lba: u64,
        most: usize,
    ) -> Result<Vec<(Extent, Allocation)>, MediumError> {
        let _ = (lba, most);
        Err(MediumError::Unreadable)
    }

    /// Carries an order out, waiting for the disk; for tests and for what is not served by a [`Lane`].
    ///
    /// # Errors
    /// As the call it stands for.
    pub fn carry_out(self: &Arc<Self>, order: &mut Order) -> Result<(), MediumError> {
        let _ = order;
        Err(MediumError::Unwritable)
    }
}
