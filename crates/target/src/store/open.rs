//! Opening a medium: what may be served, who else has it, how long it is.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::Duration;

use deadline::Deadline;
use rustix::fs::{
    AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, fcntl_getfl, fcntl_setfl,
    ioctl_blkpbszget, ioctl_blksszget, statx,
};
use rustix::io::Errno;

use super::device::{Descriptions, Device, reopened};
use super::workers;
use super::{OpenError, Options};
use crate::lock;

/// The most bytes a file may have: what a signed offset can name.
const MOST: u64 = i64::MAX as u64;

/// How often it is looked whether the medium is free.
const LOOK: Duration = Duration::from_millis(5);

/// An open device, with the exponent of its physical blocks. Waits for a medium that is in use as long as the options say.
pub(super) fn open(path: &Path, options: &Options) -> Result<(Device, u8), OpenError> {
    let deadline = Deadline::after(options.patience);
    loop {
        match open_now(path, options) {
            Err(OpenError::InUse { .. }) if !deadline.has_passed() => std::thread::sleep(LOOK),
            other => return other,
        }
    }
}

fn open_now(path: &Path, options: &Options) -> Result<(Device, u8), OpenError> {
    let opening = Opening { path, options };
    let existing = match path.metadata() {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(opening.failed(error)),
    };
    let file = match &existing {
        Some(metadata) => opening.existing(metadata)?,
        None => opening.created()?,
    };
    let metadata = file.metadata().map_err(|error| opening.failed(error))?;
    opening.check_kind(&metadata)?;
    opening.locked(&file)?;
    let regular = metadata.is_file();
    let length = opening.sized(&file, regular)?;
    opening.check_block(&file, regular)?;
    let device = opening.device(file, length, regular)?;
    let exponent = opening.exponent(&device, &metadata);
    Ok((device, exponent))
}

struct Opening<'a> {
    path: &'a Path,
    options: &'a Options,
}

impl Opening<'_> {
    fn failed(&self, source: impl Into<io::Error>) -> OpenError {
        OpenError::Open {
            path: self.path.to_owned(),
            source: source.into(),
        }
    }

    const fn block(&self) -> u32 {
        self.options.block_length.bytes()
    }

    const fn flags(&self) -> i32 {
        if self.options.direct {
            libc::O_DIRECT
        } else {
            0
        }
    }

    /// Opening some devices has effects (a watchdog starts), opening a FIFO waits: what is not a disk is not opened.
    fn check_kind(&self, metadata: &Metadata) -> Result<(), OpenError> {
        let kind = metadata.file_type();
        if kind.is_file() || kind.is_block_device() {
            return Ok(());
        }
        Err(OpenError::NotADisk {
            path: self.path.to_owned(),
        })
    }

    fn existing(&self, metadata: &Metadata) -> Result<File, OpenError> {
        self.check_kind(metadata)?;
        // The kernel keeps mounts, other servers, RAID … away from a block device opened like this.
        let exclusive = metadata.file_type().is_block_device() && !self.options.read_only;
        let exclusive = if exclusive { libc::O_EXCL } else { 0 };
        // Should it have become a FIFO since, opening it does not wait.
        let flags = self.flags() | exclusive | libc::O_NONBLOCK;
        let opened = File::options()
            .read(true)
            .write(!self.options.read_only)
            .custom_flags(flags)
            .open(self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Err(self.in_use()),
            Err(error) => return Err(self.failed(error)),
        };
        fcntl_getfl(&file)
            .and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK))
            .map_err(|error| self.failed(error))?;
        Ok(file)
    }

    fn created(&self) -> Result<File, OpenError> {
        if self.options.size.is_none() || self.options.read_only {
            return Err(OpenError::Missing {
                path: self.path.to_owned(),
            });
        }
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(self.flags())
            .open(self.path)
            .map_err(|error| self.failed(error))
    }

    fn in_use(&self) -> OpenError {
        OpenError::InUse {
            path: self.path.to_owned(),
        }
    }

    fn locked(&self, file: &File) -> Result<(), OpenError> {
        let mode = if self.options.read_only {
            lock::Mode::Shared
        } else {
            lock::Mode::Exclusive
        };
        match lock::try_lock(file, mode) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.in_use()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The length in bytes; a file that is empty as it was created gets the one that was asked for.
    fn sized(&self, mut file: &File, regular: bool) -> Result<u64, OpenError> {
        // Of a block device too: the same as BLKGETSIZE64.
        let found = file.seek(SeekFrom::End(0)).map_err(|e| self.failed(e))?;
        let length = match self.options.size {
            Some(wanted) if found == 0 && regular && !self.options.read_only => {
                self.check_length(wanted)?;
                self.fill(file, wanted).map_err(|e| self.failed(e))?;
                wanted
            }
            Some(wanted) if wanted != found => {
                return Err(OpenError::Size {
                    path: self.path.to_owned(),
                    found,
                    wanted,
                });
            }
            _ => found,
        };
        self.check_length(length)?;
        Ok(length)
    }

    fn check_length(&self, bytes: u64) -> Result<(), OpenError> {
        if (u64::from(self.block())..=MOST).contains(&bytes) {
            return Ok(());
        }
        Err(OpenError::Empty {
            path: self.path.to_owned(),
            bytes,
            block_length: self.block(),
        })
    }

    /// Gives a new file its length, durably. If it fails the file stays empty: the next attempt begins anew.
    fn fill(&self, file: &File, length: u64) -> io::Result<()> {
        let filled = if self.options.thin {
            file.set_len(length)
        } else {
            fallocate(file, FallocateFlags::empty(), 0, length).map_err(io::Error::from)
        };
        if let Err(error) = filled {
            // A part of the space may have been given.
            let _ = file.set_len(0);
            return Err(error);
        }
        file.sync_all()?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }

    /// Past the page cache, the disk's own blocks must not be longer than those that are served.
    fn check_block(&self, file: &File, regular: bool) -> Result<(), OpenError> {
        if !self.options.direct {
            return Ok(());
        }
        let needs = if regular {
            let all = AtFlags::EMPTY_PATH;
            match statx(file, "", all, StatxFlags::DIOALIGN) {
                Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
                    stat.stx_dio_offset_align
                }
                // Older kernels do not tell. The file system accepted O_DIRECT; a write will show.
                Ok(_) | Err(Errno::NOSYS | Errno::INVAL) => 512,
                Err(error) => return Err(self.failed(error)),
            }
        } else {
            ioctl_blksszget(file).map_err(|error| self.failed(error))?
        };
        if needs > self.block() {
            return Err(OpenError::BlockLength {
                path: self.path.to_owned(),
                block_length: self.block(),
                needs,
            });
        }
        Ok(())
    }

    fn device(&self, file: File, length: u64, regular: bool) -> Result<Device, OpenError> {
        let write = !self.options.read_only;
        let again = || reopened(&file, write, self.flags()).map_err(|error| self.failed(error));
        // As many as there are threads that could wait for the disk at a time.
        let syncs = if write { workers::MOST } else { 1 };
        let syncs = (0..syncs).map(|_| again()).collect::<Result<_, _>>()?;
        let witness = Mutex::new(again()?);
        let block = u64::from(self.block());
        Ok(Device {
            file,
            syncs: Descriptions::new(syncs),
            witness,
            length: length - length % block,
            block,
            direct: self.options.direct,
            regular,
            health: AtomicU8::new(0),
            nowait: AtomicBool::new(true),
        })
    }

    fn exponent(&self, device: &Device, metadata: &Metadata) -> u8 {
        use std::os::unix::fs::MetadataExt;
        let physical = if device.regular {
            metadata.blksize()
        } else {
            ioctl_blkpbszget(&device.file).map_or(0, u64::from)
        };
        // Larger ones are a file system's wish and not what a disk writes at a time.
        let physical = physical.clamp(device.block, 4096);
        let exponent = (physical / device.block).ilog2();
        u8::try_from(exponent).unwrap_or(0)
    }
}
