//! What was written, what of it was acknowledged, and what must therefore be there after a crash.

use crate::Loss;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// Slots of 128 KiB, which take several transfers each, and after them slots of 4 KiB.
const LARGE: u64 = 8;
const LARGE_BLOCKS: u64 = 256;
const SMALL_BLOCKS: u64 = 8;
/// How many slots there are.
pub(crate) const SLOTS: usize = 128;

/// The block at which a slot begins, and how many it has.
pub(crate) fn span(slot: usize) -> (u64, u64) {
    let slot = slot as u64;
    match slot.checked_sub(LARGE) {
        None => (slot * LARGE_BLOCKS, LARGE_BLOCKS),
        Some(small) => (LARGE * LARGE_BLOCKS + small * SMALL_BLOCKS, SMALL_BLOCKS),
    }
}

/// One place that is written again and again, by one command at a time.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The number of the last write that was sent.
    sent: u64,
    /// The last one that was acknowledged.
    acknowledged: u64,
    /// The last one that was promised to be durable.
    durable: u64,
    busy: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    /// How many promises of durability were given.
    pub(crate) promises: u64,
    /// Acknowledged writes, not promised to be durable, that were gone after a crash.
    pub(crate) gone: u64,
}

impl Ledger {
    /// Of a disk of zeros.
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS],
            promises: 0,
            gone: 0,
        }
    }

    /// Begins a write, unless there is one under way: its number.
    pub(crate) fn begin(&mut self, slot: usize) -> Option<u64> {
        let slot = &mut self.slots[slot];
        if slot.busy {
            return None;
        }
        slot.busy = true;
        slot.sent += 1;
        Some(slot.sent)
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(&mut self, slot: usize, number: u64, durable: bool) {
        let at = &mut self.slots[slot];
        at.busy = false;
        at.acknowledged = number;
        if durable {
            self.promise(slot, number);
        }
    }

    /// A write was refused: it may have been carried out in part.
    pub(crate) fn refuse(&mut self, slot: usize) {
        self.slots[slot].busy = false;
    }

    /// What a SYNCHRONIZE CACHE that is sent now promises.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.slots.iter().map(|slot| slot.acknowledged).collect()
    }

    /// That write, or a later one, is there for ever.
    pub(crate) fn promise(&mut self, slot: usize, number: u64) {
        self.promises += 1;
        let at = &mut self.slots[slot];
        at.durable = at.durable.max(number);
    }

    /// After a crash: compares what is there with what must be. `held` is the disk from its first block.
    pub(crate) fn verify(&mut self, held: &[u8], loss: Loss) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let (first, blocks) = span(number);
            let least = match loss {
                // The kernel lives on, and with it all that it has taken.
                Loss::Process => slot.acknowledged,
                Loss::Power => slot.durable,
            };
            let mut oldest = u64::MAX;
            for block in first..first + blocks {
                let at = usize::try_from(block).expect("a small disk") * BLOCK;
                let found = read(&held[at..at + BLOCK], block);
                let found = found.unwrap_or_else(|what| panic!("block {block}: {what}"));
                assert!(
                    (least..=slot.sent).contains(&found),
                    "block {block} has write {found}: after {loss:?} it must have one of {least} to {}: {slot:?}",
                    slot.sent
                );
                oldest = oldest.min(found);
            }
            self.gone += slot.acknowledged.saturating_sub(oldest);
            slot.acknowledged = oldest;
            slot.busy = false;
        }
    }
}

/// The data of a write: each block says which one it is, and of which write, all over.
pub(crate) fn data(slot: usize, number: u64) -> Vec<u8> {
    let (first, blocks) = span(slot);
    (first..first + blocks)
        .flat_map(|block| record(block, number).repeat(BLOCK / RECORD))
        .collect()
}

const RECORD: usize = 16;

fn record(block: u64, number: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&block.to_le_bytes());
    record[8..].copy_from_slice(&number.to_le_bytes());
    record
}

/// Of which write a block is; 0 if it was never written.
fn read(held: &[u8], block: u64) -> Result<u64, String> {
    if held.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let (head, number) = held[..RECORD].split_at(8);
    let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
    let whole = held
        .chunks(RECORD)
        .all(|part| part == record(block, number));
    if whole {
        Ok(number)
    } else {
        Err(format!("it is torn, or another block's: {head:?}"))
    }
}
