//! Why a medium cannot be served. What can fail later is [`scsi::lu::MediumFailure`].

use std::io;
use std::path::PathBuf;

/// Why a medium cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// It exists neither as a file nor as a block device, and no size says how to create it.
    #[error("{} does not exist; give a size to create it", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or character device.
    #[error("{} is neither a file nor a block device", path.display())]
    NotADisk {
        /// Which.
        path: PathBuf,
    },
    /// Somebody else has it open: another server, a virtual machine, a mounted file system.
    #[error("{} is in use by another program", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// It exists, and its size is not the one that was asked for. It is never resized.
    #[error("{} has {found} bytes, not {wanted}", path.display())]
    Size {
        /// Which.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size that was asked for, in bytes.
        wanted: u64,
    },
    /// It has no room for a single block, or more blocks than a file may have.
    #[error("{} has {bytes} bytes: too few or too many for blocks of {block_length}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// Length of a block in bytes.
        block_length: u32,
    },
    /// Blocks are 512 or 4096 bytes long, and never shorter than what the disk below can write without the page cache.
    #[error("{} cannot be served in blocks of {block_length} bytes: {needs} are needed", path.display())]
    BlockLength {
        /// Which.
        path: PathBuf,
        /// The length that was asked for, in bytes.
        block_length: u32,
        /// The shortest that is possible, in bytes.
        needs: u32,
    },
}
