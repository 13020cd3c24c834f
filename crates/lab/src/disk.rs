//! The guests' writable disks: sparse files in the lab's state directory.
//!
//! Each guest has one of its own, which holds what it changes of the shared image. So a guest that was
//! fenced comes back with its configuration and its logs, as a real machine does. The storage guest has
//! one more for each disk it serves.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::command::{Call, Cancel};
use crate::error::Error;

/// What a guest can change: configuration, logs, Pacemaker's history. Takes room only as it is written.
const OWN_MIB: u64 = 512;
/// Making a file system takes milliseconds.
const MAKE_LIMIT: Duration = Duration::from_secs(30);

/// The disk of `node`'s own in the state directory.
pub(crate) fn own(directory: &Path, node: &str) -> PathBuf {
    directory.join(format!("{node}.disk"))
}

/// Makes a disk with an empty file system.
pub(crate) fn make_own(path: &Path, cancel: &Cancel) -> Result<(), Error> {
    make_blank(path, OWN_MIB)?;
    // A journal of 4 MiB is the smallest sensible one; nothing is written that need not be.
    Call::new("mke2fs", ["-q", "-t", "ext4", "-O", "^resize_inode"])
        .arg("-J")
        .arg("size=4")
        .arg("-E")
        .arg("lazy_itable_init=1,lazy_journal_init=1,nodiscard")
        .arg(path)
        .run("making a guest's disk", Deadline::after(MAKE_LIMIT), cancel)
        .map(drop)
}

/// Makes a disk that reads as zeros.
pub(crate) fn make_blank(path: &Path, mib: u64) -> Result<(), Error> {
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(mib << 20))
        .map_err(Error::io("create", path))
}

/// What a disk takes, in MiB, rounded up.
pub(crate) fn used_mib(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| (metadata.blocks() * 512).div_ceil(1 << 20))
}

/// Copies a sparse file with its holes.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut target = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(to)
        .map_err(Error::io("create", to))?;
    copy_data(&mut source, &mut target).map_err(|error| Error::io("copy", from)(error))
}

fn copy_data(source: &mut File, target: &mut File) -> std::io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match seek(&*source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // A hole up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(&*source, SeekFrom::Hole(data))?;
        seek(&*source, SeekFrom::Start(data))?;
        seek(&*target, SeekFrom::Start(data))?;
        copy_sparsely(&mut source.take(hole - data), target)?;
        at = hole;
    }
    target.set_len(length)
}

/// Copies all of `source`; blocks of zeros are left out, for a file system may keep holes no longer than
/// its own blocks.
fn copy_sparsely(source: &mut impl Read, target: &mut File) -> std::io::Result<()> {
    const BLOCK: usize = 64 << 10;
    let mut block = vec![0; BLOCK];
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match source.read(&mut block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        let data = &block[..filled];
        if data.is_empty() {
            return Ok(());
        }
        if data.iter().all(|byte| *byte == 0) {
            seek(
                &*target,
                SeekFrom::Current(filled.try_into().unwrap_or_default()),
            )?;
        } else {
            target.write_all(data)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_takes_as_little_room() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        make_blank(&from, 64).unwrap();
        let mut file = File::options().write(true).open(&from).unwrap();
        for at in [0, 5 << 20, (64 << 20) - 5] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(b"hello").unwrap();
        }
        drop(file);
        // What was there before must not show through.
        std::fs::write(&to, vec![7; 1 << 20]).unwrap();
        copy(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        assert!(std::fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20);
    }

    #[test]
    fn an_empty_disk_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        make_blank(&from, 8).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), 8 << 20);
        assert_eq!(std::fs::metadata(&to).unwrap().blocks(), 0);
    }
}
