//! A file or block device: reading and writing it by position, and what its errors mean.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{Advice, FallocateFlags, SeekFrom, fadvise, fallocate, fdatasync, fstat, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2, retry_on_intr};
use scsi::lu::MediumFailure;

use super::buffer::{ALIGNMENT, Buffer};
use super::{Health, Now};

/// The most bytes that go through memory of our own at a time.
pub(super) const CHUNK: usize = 1 << 20;

/// The longest write into the page cache at a time. A longer one makes the kernel keep the data in larger pieces of
/// memory, and every small write into such a piece later costs it several times as much.
const PIECE: usize = 128 << 10;

/// An open file or block device. Offsets are bytes.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) file: File,
    /// More open file descriptions of the same file, for whatever must be durable. The kernel reports a failed
    /// write-back once to each description: so nobody who makes something durable misses it because somebody else was
    /// told at the same moment.
    pub(super) syncs: Descriptions,
    /// One that is never written through: it tells whether a write-back failed when a durable write did.
    pub(super) witness: Mutex<File>,
    /// Bytes served.
    pub(super) length: u64,
    /// Length of a logical block, for the positions in errors.
    pub(super) block: u64,
    pub(super) direct: bool,
    /// A regular file: it can be truncated.
    pub(super) regular: bool,
    pub(super) health: AtomicU8,
    /// Whether the file system knows of reads that do not wait.
    pub(super) nowait: AtomicBool,
}

impl Device {
    pub(super) fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            0 => Health::Sound,
            1 => Health::Truncated,
            _ => Health::LostWrites,
        }
    }

    fn worsen(&self, to: Health) {
        let code = match to {
            Health::Sound => 0,
            Health::Truncated => 1,
            Health::LostWrites => 2,
        };
        self.health.fetch_max(code, Ordering::AcqRel);
    }

    /// Reads all of `into`.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MediumFailure> {
        if self.misaligned(into) {
            return with_bounce(|bounce| {
                let mut at = offset;
                for part in into.chunks_mut(CHUNK) {
                    bounce.reset(part.len());
                    self.read(at, bounce)?;
                    part.copy_from_slice(bounce);
                    at += part.len() as u64;
                }
                Ok(())
            });
        }
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            let flags = ReadWriteFlags::empty();
            match self.read_some(at, &mut into[done..], flags) {
                Ok(0) => return Err(self.truncated(at)),
                Ok(count) => done += count,
                Err(error) => return Err(self.unread(at, error)),
            }
        }
        Ok(())
    }

    /// Whether [`Self::read_now`] never waits here.
    pub(super) fn reads_without_waiting(&self) -> bool {
        self.nowait.load(Ordering::Relaxed)
    }

    /// Reads all of `into` if the page cache has it. Where the file system does not know such reads, as in memory, it
    /// may wait.
    pub(super) fn read_now(&self, offset: u64, into: &mut [u8]) -> Result<Now, MediumFailure> {
        let flags = if self.reads_without_waiting() {
            ReadWriteFlags::NOWAIT
        } else {
            ReadWriteFlags::empty()
        };
        match self.read_some(offset, into, flags) {
            Ok(count) if count == into.len() => Ok(Now::Done),
            // Partly cached, or truncated: reading it with patience tells.
            Ok(_) | Err(Errno::AGAIN) => Ok(Now::WouldBlock),
            Err(Errno::OPNOTSUPP) => {
                self.nowait.store(false, Ordering::Relaxed);
                Ok(Now::WouldBlock)
            }
            Err(error) => Err(self.unread(offset, error)),
        }
    }

    fn read_some(&self, at: u64, into: &mut [u8], flags: ReadWriteFlags) -> Result<usize, Errno> {
        retry_on_intr(|| preadv2(&self.file, &mut [IoSliceMut::new(into)], at, flags))
    }

    /// Whether it can be changed at all.
    pub(super) fn check_changeable(&self, at: u64) -> Result<(), MediumFailure> {
        match self.health() {
            Health::LostWrites => return Err(MediumFailure::NotDurable),
            Health::Truncated => return Err(self.truncated(at)),
            Health::Sound => {}
        }
        // A write beyond the end of a truncated file would make it long again, with zeros where data were.
        if self.regular {
            let length = fstat(&self.file).map(|stat| u64::try_from(stat.st_size).unwrap_or(0));
            if length.map_err(|error| self.unwritten(at, error))? < self.length {
                return Err(self.truncated(at));
            }
        }
        Ok(())
    }

    /// Writes all of `data`.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<(), MediumFailure> {
        self.check_changeable(offset)?;
        let flags = ReadWriteFlags::empty();
        let longest = if self.direct { usize::MAX } else { PIECE };
        let mut at = offset;
        for piece in data.chunks(longest) {
            self.write_through(&self.file, at, piece, flags)
                .map_err(|(at, error)| self.unwritten(at, error))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes all of `data` and makes it durable.
    pub(super) fn write_durable(&self, offset: u64, data: &[u8]) -> Result<(), MediumFailure> {
        self.check_changeable(offset)?;
        let failed = self.syncs.with(|file| {
            self.write_through(file, offset, data, ReadWriteFlags::DSYNC)
                .err()
        });
        let Some((at, error)) = failed else {
            return self.still_sound();
        };
        let failure = self.unwritten(at, error);
        // No space: either the write itself found none, and nothing else is concerned; or the write-back of something
        // acknowledged before did. Whatever else goes wrong may have been the write-back.
        if failure != MediumFailure::Full || self.witness_saw_a_failure() {
            self.worsen(Health::LostWrites);
        }
        Err(failure)
    }

    fn witness_saw_a_failure(&self) -> bool {
        let witness = self.witness.lock();
        let witness = witness.unwrap_or_else(PoisonError::into_inner);
        retry_on_intr(|| fdatasync(&*witness)).is_err()
    }

    fn write_through(
        &self,
        file: &File,
        offset: u64,
        data: &[u8],
        flags: ReadWriteFlags,
    ) -> Result<(), (u64, Errno)> {
        if self.misaligned(data) {
            return with_bounce(|bounce| {
                let mut at = offset;
                for part in data.chunks(CHUNK) {
                    bounce.reset(part.len());
                    bounce.copy_from_slice(part);
                    self.write_through(file, at, bounce, flags)?;
                    at += part.len() as u64;
                }
                Ok(())
            });
        }
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let part = [IoSlice::new(&data[done..])];
            match retry_on_intr(|| pwritev2(file, &part, at, flags)) {
                Ok(0) => return Err((at, Errno::IO)),
                Ok(count) => done += count,
                Err(error) => return Err((at, error)),
            }
        }
        Ok(())
    }

    /// Makes everything durable that was written before.
    pub(super) fn flush(&self) -> Result<(), MediumFailure> {
        self.check_changeable(0)?;
        let synced = self.syncs.with(|file| retry_on_intr(|| fdatasync(file)));
        if synced.is_err() {
            self.worsen(Health::LostWrites);
        }
        self.still_sound()
    }

    fn still_sound(&self) -> Result<(), MediumFailure> {
        match self.health() {
            Health::Sound => Ok(()),
            Health::LostWrites | Health::Truncated => Err(MediumFailure::NotDurable),
        }
    }

    /// Sets bytes to zero and gives their space back; false if that cannot be done here.
    pub(super) fn punch(&self, offset: u64, length: u64) -> Result<bool, MediumFailure> {
        self.allocate(FallocateFlags::PUNCH_HOLE, offset, length)
    }

    /// Sets bytes to zero without sending zeros; false if that cannot be done here.
    pub(super) fn zero(&self, offset: u64, length: u64) -> Result<bool, MediumFailure> {
        self.allocate(FallocateFlags::ZERO_RANGE, offset, length)
    }

    /// Block devices take the same calls as files: they become UNMAP and WRITE SAME, or zeros written by the kernel,
    /// and the page cache stays right. The ioctls BLKDISCARD and BLKZEROOUT promise less.
    fn allocate(
        &self,
        how: FallocateFlags,
        offset: u64,
        length: u64,
    ) -> Result<bool, MediumFailure> {
        self.check_changeable(offset)?;
        let flags = how | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.file, flags, offset, length)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
            Err(error) => Err(self.unwritten(offset, error)),
        }
    }

    /// Takes the bytes out of the page cache, as far as they are durable: what is read next comes from the disk.
    pub(super) fn forget(&self, offset: u64, length: u64) {
        if !self.direct {
            // If it cannot be done, the page cache answers: the same data, less proven.
            let _ = fadvise(&self.file, offset, length.try_into().ok(), Advice::DontNeed);
        }
    }

    /// Has the kernel read the bytes into the page cache.
    pub(super) fn prefetch(&self, offset: u64, length: u64) {
        if !self.direct {
            // A hint: reading will tell what is wrong.
            let _ = fadvise(&self.file, offset, length.try_into().ok(), Advice::WillNeed);
        }
    }

    /// Where the next bytes with space begin, and where they end, at or after `offset`; `None`: nothing follows.
    pub(super) fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>, MediumFailure> {
        let whole = Ok(Some((offset, self.length)));
        if !self.regular {
            return whole;
        }
        let data = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.max(offset),
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return whole,
            Err(error) => return Err(self.unread(offset, error)),
        };
        // Meanwhile it may have been unmapped: then there is no end, and nothing follows.
        match seek(&self.file, SeekFrom::Hole(data)) {
            Ok(hole) => Ok(Some((data, hole.max(data)))),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(self.unread(offset, error)),
        }
    }

    /// Direct I/O takes only aligned memory.
    fn misaligned(&self, memory: &[u8]) -> bool {
        self.direct && !(memory.as_ptr() as usize).is_multiple_of(ALIGNMENT)
    }

    fn truncated(&self, offset: u64) -> MediumFailure {
        self.worsen(Health::Truncated);
        let at = offset / self.block;
        MediumFailure::Truncated { at }
    }

    fn unread(&self, offset: u64, error: Errno) -> MediumFailure {
        let at = offset / self.block;
        match error {
            Errno::NOMEM | Errno::AGAIN | Errno::BADF | Errno::FAULT | Errno::INVAL => {
                MediumFailure::Internal
            }
            _ => MediumFailure::Unreadable { at },
        }
    }

    pub(super) fn unwritten(&self, offset: u64, error: Errno) -> MediumFailure {
        let at = offset / self.block;
        match error {
            // A limit on the size of files is one more way to have no space.
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => MediumFailure::Full,
            Errno::ROFS | Errno::PERM | Errno::ACCESS => MediumFailure::ReadOnly,
            Errno::NOMEM | Errno::AGAIN | Errno::BADF | Errno::FAULT | Errno::INVAL => {
                MediumFailure::Internal
            }
            _ => MediumFailure::Unwritable { at },
        }
    }
}

/// Open file descriptions that are used by one thread at a time.
#[derive(Debug)]
pub(super) struct Descriptions {
    spare: Mutex<Vec<File>>,
    returned: Condvar,
}

impl Descriptions {
    pub(super) const fn new(files: Vec<File>) -> Self {
        Self {
            spare: Mutex::new(files),
            returned: Condvar::new(),
        }
    }

    /// Lends one of them; waits for one if all are in use.
    fn with<R>(&self, call: impl FnOnce(&File) -> R) -> R {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let file = loop {
            match spare.pop() {
                Some(file) => break file,
                None => {
                    spare = self
                        .returned
                        .wait(spare)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(spare);
        let result = call(&file);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(file);
        drop(spare);
        self.returned.notify_one();
        result
    }
}

/// Aligned memory of this thread, for callers whose own is not aligned.
fn with_bounce<R>(call: impl FnOnce(&mut Buffer) -> R) -> R {
    thread_local! {
        static BOUNCE: RefCell<Buffer> = RefCell::default();
    }
    BOUNCE.with_borrow_mut(call)
}

/// Another open file description of an open file, whatever its name is by now.
pub(super) fn reopened(file: &File, write: bool, flags: i32) -> std::io::Result<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let name = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    File::options()
        .read(true)
        .write(write)
        .custom_flags(flags)
        .open(name)
}
