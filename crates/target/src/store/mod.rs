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
//!
//! # Who waits for the disk
//!
//! A [`Lane`] serves the page cache on the thread of a connection. Reads that it cannot serve, and transfers past it, it
//! gives to the kernel (io_uring); everything else it hands to threads that belong to this medium alone. Why it is so and
//! what it costs is written, with the numbers, in this crate's ARCHITECTURE.md, "I/O path".
//!
//! The process must ignore `SIGXFSZ`: a limit on the size of files is then [`MediumFailure::Full`].

mod buffer;
mod device;
mod error;
mod lane;
mod open;
mod operations;
mod patience;
mod ranges;
mod ring;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scsi::lu::{BlockLength, Extent, MediumFailure, Operation};

pub use buffer::{ALIGNMENT, Buffer};
use device::Device;
pub use error::OpenError;
pub use lane::{Done, Finished, IoPath, Lane, Started, Ticket};
use patience::Patience;
use ranges::{Held, Ranges};
pub(crate) use workers::Workers;

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
    /// How long to wait for a medium that somebody has. A server that was killed keeps it until its last transfers are
    /// over, for which the kernel waits after the process has gone; the next one must not begin before that.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: false,
            read_only: false,
            thin: true,
            block_length: BlockLength::B512,
            size: None,
            patience: Duration::ZERO,
        }
    }
}

/// What a call that does not wait for a disk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Now {
    /// Done.
    Done,
    /// It would have to wait: nothing was done.
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
    device: Device,
    exponent: u8,
    ranges: Arc<Ranges>,
    patience: Patience,
    workers: Workers,
}

impl Store {
    /// Opens `path`, and keeps others out while it is open.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let (device, exponent) = open::open(path, options)?;
        Ok(Self {
            options: *options,
            device,
            exponent,
            ranges: Arc::default(),
            patience: Patience::default(),
            workers: Workers::default(),
        })
    }

    /// How many blocks it has.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.device.length / self.device.block
    }

    /// Length of a logical block.
    #[must_use]
    pub const fn block_length(&self) -> BlockLength {
        self.options.block_length
    }

    /// 2 to this power logical blocks are best written together.
    #[must_use]
    pub const fn physical_exponent(&self) -> u8 {
        self.exponent
    }

    /// What the medium has come to.
    #[must_use]
    pub fn health(&self) -> Health {
        self.device.health()
    }

    /// Reads the blocks from `first` on, as many as `into` has room for.
    ///
    /// # Errors
    /// [`MediumFailure::Unreadable`], [`MediumFailure::Truncated`].
    pub fn read(&self, first: u64, into: &mut [u8]) -> Result<(), MediumFailure> {
        let (offset, _) = self.place(first, into.len())?;
        self.device.read(offset, into)
    }

    /// The same if the page cache has it all.
    fn read_now(&self, first: u64, into: &mut [u8]) -> Result<Now, MediumFailure> {
        let (offset, _) = self.place(first, into.len())?;
        if self.device.reads_without_waiting() {
            return self.device.read_now(offset, into);
        }
        self.patience.watch(|| self.device.read_now(offset, into))
    }

    /// Writes `data` from `first` on.
    ///
    /// # Errors
    /// Any [`MediumFailure`] of a change.
    pub fn write(&self, first: u64, data: &[u8], durable: bool) -> Result<(), MediumFailure> {
        let (offset, extent) = self.place(first, data.len())?;
        self.check_writable()?;
        let _held = self.ranges.change(extent);
        if durable {
            self.device.write_durable(offset, data)
        } else {
            self.device.write(offset, data)
        }
    }

    /// The same, not durable and into the page cache. No file system tells beforehand whether that will wait for a disk,
    /// so it can happen: then the next ones are handed to others.
    fn write_now(&self, first: u64, data: &[u8]) -> Result<Now, MediumFailure> {
        let (offset, extent) = self.place(first, data.len())?;
        self.check_writable()?;
        let Some(_held) = self.ranges.try_change(extent) else {
            return Ok(Now::WouldBlock);
        };
        self.patience
            .watch(|| self.device.write(offset, data).map(|()| Now::Done))
    }

    /// Whether a thread is better for a transfer that goes past the page cache, beside others that are under way: a write into a
    /// file. Of one that the kernel is to end without a thread waiting for it, the end goes through a worker of the kernel's own
    /// (`iomap_dio_complete_work`), one for each write, which waits its turn among everything that runs on the machine. When as
    /// many wait for threads as there are threads, more at the disk is better after all.
    fn prefers_threads(&self, operation: &Operation) -> bool {
        self.device.regular && operation.writes() && self.workers.is_at_hand()
    }

    /// Makes everything durable that was acknowledged before. Also due when the write cache is switched off.
    ///
    /// # Errors
    /// [`MediumFailure::NotDurable`], [`MediumFailure::Truncated`].
    pub fn flush(&self) -> Result<(), MediumFailure> {
        if self.options.read_only {
            return Ok(());
        }
        self.device.flush()
    }

    fn check_writable(&self) -> Result<(), MediumFailure> {
        if self.options.read_only {
            Err(MediumFailure::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Where `length` bytes from block `first` on lie.
    fn place(&self, first: u64, length: usize) -> Result<(u64, Extent), MediumFailure> {
        let block = self.device.block;
        let length = u64::try_from(length).map_err(|_| MediumFailure::Internal)?;
        let count = length / block;
        let extent = Extent { first, count };
        if !length.is_multiple_of(block) {
            return Err(MediumFailure::Internal);
        }
        self.offset(extent).map(|(offset, _)| (offset, extent))
    }

    /// The bytes of an extent: offset and length.
    fn offset(&self, extent: Extent) -> Result<(u64, u64), MediumFailure> {
        let end = extent.first.checked_add(extent.count);
        if end.is_none_or(|end| end > self.blocks()) {
            return Err(MediumFailure::Internal);
        }
        // On the medium, hence less than its length.
        let block = self.device.block;
        Ok((extent.first * block, extent.count * block))
    }
}
