//! The blocks that are written: where they lie, what they held, what they hold.

use scsi::Opcode;

use crate::Data;
use crate::initiator::{Payload, TaskEnd};
use crate::probe::link::Link;
use crate::probe::report::Identity;
use crate::probe::writes::{SIX_LIMIT, Slot, sixteen, ten};
use crate::probe::{Trouble, chain};

/// How much is written at most.
const MOST: u64 = 8 << 20;
/// How much one command moves.
const CHUNK: u64 = 256 << 10;
/// Where the region begins: on a multiple of so many bytes, which any granularity of unmapping divides.
const ALIGNMENT: u64 = 1 << 20;

/// The region of a disk that is written.
pub(super) struct Scratch {
    first: u64,
    blocks: u64,
    block_length: u32,
    /// What was there before.
    former: Vec<u8>,
}

impl Scratch {
    /// Chooses the region: in the middle of the disk, away from what both ends may hold, and where WRITE(6) still
    /// reaches.
    pub(super) fn choose(identity: &Identity) -> Result<Self, Trouble> {
        let length = u64::from(identity.block_length).max(1);
        let whole = MOST.min(identity.blocks.saturating_mul(length) / 4) / ALIGNMENT * ALIGNMENT;
        if whole == 0 {
            return Err(Trouble::Unfit("the disk has less than 4 MiB".to_owned()));
        }
        let aligned = ALIGNMENT / length;
        let first = (identity.blocks / 2).min(SIX_LIMIT / 2) / aligned * aligned;
        Ok(Self {
            first,
            blocks: whole / length,
            block_length: identity.block_length,
            former: Vec::new(),
        })
    }

    /// The region in words.
    pub(super) fn place(&self) -> String {
        format!("{} blocks from block {}", self.blocks, self.first)
    }

    /// The first eight blocks.
    pub(super) const fn slot(&self) -> Slot {
        Slot {
            lba: self.first,
            blocks: 8,
        }
    }

    /// The whole region in pieces of one command each.
    pub(super) fn chunks(&self) -> Vec<Slot> {
        let whole = self.blocks.saturating_mul(self.block_length.into());
        self.pieces(whole, CHUNK)
    }

    /// The first `bytes` of the region, or all of it if it is shorter, in pieces of `step` bytes.
    pub(super) fn pieces(&self, bytes: u64, step: u64) -> Vec<Slot> {
        let length = u64::from(self.block_length).max(1);
        let (blocks, step) = ((bytes / length).min(self.blocks), (step / length).max(1));
        let starts = (0..blocks).step_by(usize::try_from(step).unwrap_or(1));
        starts
            .map(|at| Slot {
                lba: self.first + at,
                blocks: u32::try_from(step.min(blocks - at)).unwrap_or(1),
            })
            .collect()
    }

    /// How many bytes a slot has.
    pub(super) fn bytes(&self, slot: Slot) -> usize {
        let bytes = u64::from(slot.blocks) * u64::from(self.block_length);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The data of `tag` for a slot: every eight bytes of a block tell the tag and the block.
    pub(super) fn pattern(&self, slot: Slot, tag: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.bytes(slot));
        for at in 0..u64::from(slot.blocks) {
            let word = (tag ^ (slot.lba + at).rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let words = usize::try_from(self.block_length / 8).unwrap_or_default();
            data.extend(word.to_be_bytes().repeat(words));
        }
        data
    }

    /// Keeps what the region holds.
    pub(super) fn save(&mut self, link: &mut Link) -> Result<(), Trouble> {
        let mut former = Vec::new();
        for slot in self.chunks() {
            former.extend(self.read(link, slot)?);
        }
        self.former = former;
        Ok(())
    }

    /// Puts back what the region held, and looks whether it is there.
    pub(super) fn restore(&self, link: &mut Link) -> Result<(), Trouble> {
        let mut rest = self.former.as_slice();
        for slot in self.chunks() {
            let Some((data, later)) = rest.split_at_checked(self.bytes(slot)) else {
                // Never saved, hence never written.
                return Ok(());
            };
            self.write(link, slot, data)?;
            if self.read(link, slot)? != data {
                return Err(Trouble::Failed("it reads back differently".to_owned()));
            }
            rest = later;
        }
        Ok(())
    }

    /// Fills the region with the data of `tag`.
    pub(super) fn fill(&self, link: &mut Link, tag: u64) -> Result<(), Trouble> {
        for slot in self.chunks() {
            self.write(link, slot, &self.pattern(slot, tag))?;
        }
        Ok(())
    }

    /// How many blocks of the region hold anything but the data of `tag`.
    pub(super) fn strangers(&self, link: &mut Link, tag: u64) -> Result<usize, Trouble> {
        let block = usize::try_from(self.block_length).unwrap_or(1);
        let mut strangers = 0;
        for slot in self.chunks() {
            let (held, expected) = (self.read(link, slot)?, self.pattern(slot, tag));
            let blocks = held.chunks(block).zip(expected.chunks(block));
            strangers += blocks.filter(|(held, expected)| held != expected).count();
        }
        Ok(strangers)
    }

    /// What the last block of each slot holds. All are asked for at once: it must not take long.
    pub(super) fn glance(&self, link: &mut Link, slots: &[Slot]) -> Result<Vec<u8>, Trouble> {
        let (deadline, length) = (link.deadline(), self.block_length);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((session, lun)) = link.session() else {
            return Err(Trouble::Failed("there is no session".to_owned()));
        };
        let mut tasks = Vec::with_capacity(slots.len());
        for slot in slots {
            let last = Slot {
                lba: slot.lba + u64::from(slot.blocks.saturating_sub(1)),
                blocks: 1,
            };
            tasks.push(session.submit(lun, &read_command(last), Payload::In(length), deadline)?);
        }
        let mut held = Vec::with_capacity(slots.len() * length);
        for task in tasks {
            match session.wait(task, deadline)? {
                Some(TaskEnd::Completed(done, data))
                    if done.status.is_good() && data.len() == length =>
                {
                    held.extend(data);
                }
                other => return Err(Trouble::Failed(format!("reading came to {other:?}"))),
            }
        }
        Ok(held)
    }

    /// How many blocks two glances differ in.
    pub(super) fn difference(&self, one: &[u8], other: &[u8]) -> usize {
        let block = usize::try_from(self.block_length).unwrap_or(1).max(1);
        let pairs = one.chunks(block).zip(other.chunks(block));
        pairs.filter(|(one, other)| one != other).count()
    }

    /// Reads a slot.
    pub(super) fn read(&self, link: &mut Link, slot: Slot) -> Result<Vec<u8>, Trouble> {
        let mut data = vec![0; self.bytes(slot)];
        let cdb = read_command(slot);
        let done = link.command(&cdb, Data::In(&mut data));
        match done {
            Ok(done) if done.status.is_good() && done.transferred == data.len() => Ok(data),
            other => Err(refused("reading", &other)),
        }
    }

    /// Writes a slot.
    pub(super) fn write(&self, link: &mut Link, slot: Slot, data: &[u8]) -> Result<(), Trouble> {
        let cdb = write_command(slot);
        match link.command(&cdb, Data::Out(data)) {
            Ok(done) if done.status.is_good() => Ok(()),
            other => Err(refused("writing", &other)),
        }
    }
}

/// READ(10), or READ(16) where that does not reach.
fn read_command(slot: Slot) -> Vec<u8> {
    match u32::try_from(slot.lba + u64::from(slot.blocks)) {
        Ok(_) => ten(Opcode::READ_10, 0, slot),
        Err(_) => sixteen(Opcode::READ_16, 0, slot),
    }
}

/// WRITE(10), or WRITE(16) where that does not reach.
pub(super) fn write_command(slot: Slot) -> Vec<u8> {
    match u32::try_from(slot.lba + u64::from(slot.blocks)) {
        Ok(_) => ten(Opcode::WRITE_10, 0, slot),
        Err(_) => sixteen(Opcode::WRITE_16, 0, slot),
    }
}

fn refused(what: &str, done: &Result<crate::Completion, crate::DeviceError>) -> Trouble {
    let why = match done {
        Ok(done) => match done.sense {
            Some(sense) => format!("{}, {sense}", done.status),
            None => done.status.to_string(),
        },
        Err(error) => chain(error),
    };
    Trouble::Failed(format!("{what} is answered with {why}"))
}
