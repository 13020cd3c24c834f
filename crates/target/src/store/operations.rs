//! The operations of a logical unit, made of reads and writes.

use scsi::capacity::{LbaStatus, Provisioning};
use scsi::command::ByteCheck;
use scsi::lu::{Extent, MediumFailure, Operation};

use super::device::CHUNK;
use super::{Buffer, Held, Now, Store};

type Result<T = ()> = std::result::Result<T, MediumFailure>;

/// The longest transfer, in bytes, that is made on the thread of a connection: a longer one is worth another processor's
/// time.
const MOST_NOW: u64 = 256 * 1024;

/// The most runs that one GET LBA STATUS is answered with. What follows is asked for by another.
const MOST_RUNS: usize = 256;

impl Store {
    /// Carries an operation out, waiting for the disk. `data` holds the data-out; it is replaced by the data-in if the
    /// operation has any. With a miscompare nothing was written.
    ///
    /// # Errors
    /// [`MediumFailure`].
    pub fn carry_out(&self, operation: &Operation, data: &mut Buffer) -> Result {
        match operation {
            Operation::Read {
                extent,
                from_medium,
            } => {
                let (_, length) = self.offset(*extent)?;
                if *from_medium {
                    self.bypass_cache(*extent)?;
                }
                data.reset(memory(length)?);
                self.read(extent.first, data)
            }
            Operation::Write { extent, durable } => {
                self.write(extent.first, self.out(*extent, 1, data)?, *durable)
            }
            Operation::WriteAndVerify { extent, check } => {
                self.write(extent.first, self.out(*extent, 1, data)?, true)?;
                self.verify(*extent, *check, data)
            }
            Operation::Verify { extent, check } => self.verify(*extent, *check, data),
            Operation::Orwrite { extent, durable } => self.orwrite(*extent, data, *durable),
            Operation::WriteSame {
                extent,
                unmap,
                zeros,
                durable,
            } => self.write_same(*extent, (!zeros).then_some(&**data), *unmap, *durable),
            Operation::CompareAndWrite { extent, durable } => {
                self.compare_and_write(*extent, data, *durable)
            }
            Operation::Unmap { extents, durable } => self.unmap_all(extents, *durable),
            Operation::Synchronize { .. } => self.flush(),
            Operation::Prefetch { extent, .. } => {
                let (offset, length) = self.offset(*extent)?;
                self.device.prefetch(offset, length);
                Ok(())
            }
            Operation::GetLbaStatus { first, allocation } => {
                // A header of 8 bytes, and 16 for each run.
                let most = usize::try_from(allocation.saturating_sub(8) / 16).unwrap_or(MOST_RUNS);
                let runs = self.allocation(*first, most.clamp(1, MOST_RUNS))?;
                *data = Buffer::copied(&LbaStatus::encode(&runs));
                Ok(())
            }
            // A new operation that nobody has taught the medium must not end as done.
            _ => Err(MediumFailure::Internal),
        }
    }

    /// Whether an operation is likely to be carried out without waiting for a disk: reading what may be in the page
    /// cache, writing into it.
    pub(super) fn worth_trying(&self, operation: &Operation) -> bool {
        let (extent, polite) = match operation {
            Operation::Read {
                extent,
                from_medium: false,
            } => (extent, self.device.reads_without_waiting()),
            Operation::Write {
                extent,
                durable: false,
            } => (extent, false),
            _ => return false,
        };
        let short = extent.count <= MOST_NOW / self.device.block;
        !self.options.direct && short && (polite || self.patience.may_try())
    }

    /// Carries out an operation that is worth trying.
    pub(super) fn carry_out_now(&self, operation: &Operation, data: &mut Buffer) -> Result<Now> {
        match operation {
            Operation::Read { extent, .. } => {
                let (_, length) = self.offset(*extent)?;
                data.reset(memory(length)?);
                self.read_now(extent.first, data)
            }
            Operation::Write { extent, .. } => {
                self.write_now(extent.first, self.out(*extent, 1, data)?)
            }
            _ => Ok(Now::WouldBlock),
        }
    }

    /// Whether an operation is one transfer past the page cache, for [`Ring`](super::ring::Ring).
    pub(super) fn is_direct_transfer(&self, operation: &Operation) -> bool {
        let plain = match operation {
            Operation::Read {
                extent,
                from_medium,
            } => !from_medium && extent.count > 0,
            Operation::Write { extent, durable } => !durable && extent.count > 0,
            _ => false,
        };
        self.options.direct && plain
    }

    /// Makes ready for such a transfer: memory and range. `None`: it cannot be started now, or fails, and a thread of the
    /// medium is to find out.
    pub(super) fn prepare_transfer(
        &self,
        operation: &Operation,
        data: &mut Buffer,
    ) -> Option<Option<Held>> {
        match operation {
            Operation::Read { extent, .. } => {
                let (_, length) = self.offset(*extent).ok()?;
                data.reset(memory(length).ok()?);
                Some(None)
            }
            Operation::Write { extent, .. } => {
                self.out(*extent, 1, data).ok()?;
                self.check_writable().ok()?;
                self.device.check_changeable(0).ok()?;
                self.ranges.try_change(*extent).map(Some)
            }
            _ => None,
        }
    }

    /// Data-out as long as `times` the extent.
    fn out<'a>(&self, extent: Extent, times: u64, data: &'a [u8]) -> Result<&'a [u8]> {
        let (_, length) = self.offset(extent)?;
        if memory(length.saturating_mul(times))? == data.len() {
            Ok(data)
        } else {
            Err(MediumFailure::Internal)
        }
    }

    /// What is read next comes from the medium and not from a cache (SBC-3, "Caches": FUA, VERIFY). What the cache
    /// holds is written first.
    fn bypass_cache(&self, extent: Extent) -> Result {
        self.flush()?;
        let (offset, length) = self.offset(extent)?;
        self.device.forget(offset, length);
        Ok(())
    }

    fn verify(&self, extent: Extent, check: ByteCheck, data: &[u8]) -> Result {
        self.bypass_cache(extent)?;
        let block = memory(self.device.block)?;
        match check {
            ByteCheck::Readable => self.each_chunk(extent, |_, _| Ok(())),
            ByteCheck::Data => {
                let expected = self.out(extent, 1, data)?;
                self.compare(extent, expected)
            }
            ByteCheck::OneBlock if data.len() == block => self.each_chunk(extent, |_, found| {
                found
                    .chunks(block)
                    .try_for_each(|found| equal(0, found, data))
            }),
            ByteCheck::OneBlock => Err(MediumFailure::Internal),
        }
    }

    fn compare(&self, extent: Extent, expected: &[u8]) -> Result {
        self.each_chunk(extent, |at, found| {
            let expected = expected.get(at..).unwrap_or_default();
            equal(at, found, expected.get(..found.len()).unwrap_or_default())
        })
    }

    /// Reads an extent piece by piece; gives each with its offset from the beginning.
    fn each_chunk(&self, extent: Extent, mut look: impl FnMut(usize, &[u8]) -> Result) -> Result {
        let (_, length) = self.offset(extent)?;
        let mut chunk = Buffer::default();
        let mut at = 0;
        while at < length {
            chunk.reset(memory((length - at).min(CHUNK as u64))?);
            self.read(extent.first + at / self.device.block, &mut chunk)?;
            look(memory(at)?, &chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// SBC-3, "COMPARE AND WRITE command".
    fn compare_and_write(&self, extent: Extent, data: &[u8], durable: bool) -> Result {
        self.check_writable()?;
        let data = self.out(extent, 2, data)?;
        let (expected, new) = data.split_at(data.len() / 2);
        let _held = self.ranges.step(extent);
        self.compare(extent, expected)?;
        self.write_held(extent, new, durable)
    }

    /// SBC-3, "ORWRITE (16) command".
    fn orwrite(&self, extent: Extent, data: &[u8], durable: bool) -> Result {
        self.check_writable()?;
        let data = self.out(extent, 1, data)?;
        let _held = self.ranges.step(extent);
        let mut combined = Buffer::zeroed(data.len());
        self.read(extent.first, &mut combined)?;
        for (byte, more) in combined.iter_mut().zip(data) {
            *byte |= more;
        }
        self.write_held(extent, &combined, durable)
    }

    /// Writes within a step.
    fn write_held(&self, extent: Extent, data: &[u8], durable: bool) -> Result {
        let (offset, _) = self.offset(extent)?;
        if durable {
            self.device.write_durable(offset, data)
        } else {
            self.device.write(offset, data)
        }
    }

    /// SBC-3, "WRITE SAME (10) command"; without a block zeros are meant.
    fn write_same(
        &self,
        extent: Extent,
        block: Option<&[u8]>,
        unmap: bool,
        durable: bool,
    ) -> Result {
        self.check_writable()?;
        let length = memory(self.device.block)?;
        let pattern = block.filter(|block| block.iter().any(|byte| *byte != 0));
        if block.is_some_and(|block| block.len() != length) {
            return Err(MediumFailure::Internal);
        }
        let held = self.ranges.change(extent);
        match pattern {
            None => self.zero(extent, unmap)?,
            Some(block) => self.fill(extent, block)?,
        }
        drop(held);
        if durable { self.flush() } else { Ok(()) }
    }

    /// SBC-3, "UNMAP command": all extents, in the order they were given.
    fn unmap_all(&self, extents: &[Extent], durable: bool) -> Result {
        self.check_writable()?;
        for extent in extents {
            let _held = self.ranges.change(*extent);
            self.zero(*extent, true)?;
        }
        if durable { self.flush() } else { Ok(()) }
    }

    /// Zeros; without space if `unmap` and the medium allow it.
    fn zero(&self, extent: Extent, unmap: bool) -> Result {
        let (offset, length) = self.offset(extent)?;
        if length == 0 {
            return Ok(());
        }
        let punched = unmap && self.options.thin && self.device.punch(offset, length)?;
        if punched || self.device.zero(offset, length)? {
            return Ok(());
        }
        self.fill(extent, &vec![0; memory(self.device.block)?])
    }

    /// The same block everywhere.
    fn fill(&self, extent: Extent, block: &[u8]) -> Result {
        let (mut offset, length) = self.offset(extent)?;
        let end = offset + length;
        let mut chunk = Buffer::zeroed(memory(length.min(CHUNK as u64))?);
        for place in chunk.chunks_mut(block.len()) {
            place.copy_from_slice(block);
        }
        while offset < end {
            let part = memory((end - offset).min(chunk.len() as u64))?;
            self.device.write(offset, &chunk[..part])?;
            offset += part as u64;
        }
        Ok(())
    }

    /// Which blocks have space on the medium, from `first` on: at most `most` runs, one after another.
    ///
    /// # Errors
    /// [`MediumFailure::Unreadable`].
    pub fn allocation(&self, first: u64, most: usize) -> Result<Vec<LbaStatus>> {
        let block = self.device.block;
        let mut runs: Vec<LbaStatus> = Vec::new();
        let mut at = first;
        while at < self.blocks() && runs.len() < most {
            let (data, hole) = match self.device.next_data(at * block)? {
                // A block has space if any of its bytes has.
                Some((data, hole)) => (data / block, hole.div_ceil(block).min(self.blocks())),
                None => (self.blocks(), self.blocks()),
            };
            let (end, state) = if data > at {
                (data, Provisioning::DEALLOCATED)
            } else {
                (hole.max(at + 1), Provisioning::MAPPED)
            };
            let blocks = u32::try_from(end - at).unwrap_or(u32::MAX);
            match runs.last_mut() {
                // Two stretches of data may end and begin within one block.
                Some(last) if last.state == state && last.blocks.checked_add(blocks).is_some() => {
                    last.blocks += blocks;
                }
                _ => runs.push(LbaStatus {
                    first: at,
                    blocks,
                    state,
                }),
            }
            at += u64::from(blocks);
        }
        Ok(runs)
    }
}

/// A length in bytes as one in memory.
fn memory(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| MediumFailure::Internal)
}

/// Where data that begin at `start` of all that is compared first differ.
fn equal(start: usize, found: &[u8], expected: &[u8]) -> Result {
    if found == expected {
        return Ok(());
    }
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
    let at = start + same.count();
    Err(MediumFailure::Miscompare { at: at as u64 })
}
