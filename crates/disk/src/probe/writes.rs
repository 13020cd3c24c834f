//! Every kind of write that can be undone, as commands.

use scsi::Opcode;

/// What a command does to the blocks it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It writes other data.
    Writes,
    /// It writes no data: the medium is the same afterwards.
    Nothing,
}

/// One kind of write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    make: fn(Slot) -> (Vec<u8>, Body),
}

/// The blocks a command is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) lba: u64,
    pub(super) blocks: u32,
}

/// The data of a command, in terms of what the slot holds and of what is to be written.
enum Body {
    None,
    /// The new data of all blocks.
    New,
    /// The new data of one block.
    OneBlock,
    /// What one block holds, and its new data.
    CompareAndNew,
    List(Vec<u8>),
}

/// WRITE SAME: UNMAP, and NDOB.
const UNMAP_BIT: u8 = 0x08;
const NDOB_BIT: u8 = 0x01;
/// FUA.
pub(super) const FUA_BIT: u8 = 0x08;
/// The kind of write that tells whether FUA is supported.
pub(super) const WITH_FUA: &str = "WRITE(10) with FUA";
/// BYTCHK 01b: compare with the data.
const BYTE_CHECK: u8 = 0x02;

/// Declares the kinds by name, what they do, and how the command is made.
macro_rules! kinds {
    ($($name:expr, $effect:ident, $make:expr;)*) => {
        pub(super) const KINDS: &[Kind] = &[$(Kind { name: $name, effect: Effect::$effect, make: $make },)*];
    };
}

kinds! {
    "WRITE(6)", Writes, |slot| (six(Opcode::WRITE_6, slot), Body::New);
    "WRITE(10)", Writes, |slot| (ten(Opcode::WRITE_10, 0, slot), Body::New);
    WITH_FUA, Writes, |slot| (ten(Opcode::WRITE_10, FUA_BIT, slot), Body::New);
    "WRITE(12)", Writes, |slot| (twelve(Opcode::WRITE_12, 0, slot), Body::New);
    "WRITE(16)", Writes, |slot| (sixteen(Opcode::WRITE_16, 0, slot), Body::New);
    "WRITE AND VERIFY(10)", Writes, |slot| (ten(Opcode::WRITE_AND_VERIFY_10, 0, slot), Body::New);
    "WRITE AND VERIFY(10) with BYTCHK", Writes, |slot| (ten(Opcode::WRITE_AND_VERIFY_10, BYTE_CHECK, slot), Body::New);
    "WRITE AND VERIFY(12)", Writes, |slot| (twelve(Opcode::WRITE_AND_VERIFY_12, 0, slot), Body::New);
    "WRITE AND VERIFY(16)", Writes, |slot| (sixteen(Opcode::WRITE_AND_VERIFY_16, 0, slot), Body::New);
    "WRITE SAME(10)", Writes, |slot| (ten(Opcode::WRITE_SAME_10, 0, slot), Body::OneBlock);
    "WRITE SAME(10) with UNMAP", Writes, |slot| (ten(Opcode::WRITE_SAME_10, UNMAP_BIT, slot), Body::OneBlock);
    "WRITE SAME(16)", Writes, |slot| (sixteen(Opcode::WRITE_SAME_16, 0, slot), Body::OneBlock);
    "WRITE SAME(16) with UNMAP", Writes, |slot| (sixteen(Opcode::WRITE_SAME_16, UNMAP_BIT, slot), Body::OneBlock);
    "WRITE SAME(16) without data", Writes, |slot| (sixteen(Opcode::WRITE_SAME_16, NDOB_BIT, slot), Body::None);
    "UNMAP", Writes, |slot| (unmap(), Body::List(unmap_list(slot)));
    "COMPARE AND WRITE", Writes, |slot| (compare_and_write(slot), Body::CompareAndNew);
    "ORWRITE(16)", Writes, |slot| (sixteen(Opcode::ORWRITE_16, 0, slot), Body::New);
    "WRITE ATOMIC(16)", Writes, |slot| (atomic(slot), Body::New);
    "SYNCHRONIZE CACHE(10)", Nothing, |slot| (ten(Opcode::SYNCHRONIZE_CACHE_10, 0, slot), Body::None);
    "SYNCHRONIZE CACHE(16)", Nothing, |slot| (sixteen(Opcode::SYNCHRONIZE_CACHE_16, 0, slot), Body::None);
}

/// What writes, or changes more than blocks, and is not tried: nobody could undo it.
pub(super) const UNTRIED: &[&str] = &[
    "FORMAT UNIT",
    "SANITIZE",
    "REASSIGN BLOCKS",
    "WRITE LONG",
    "WRITE BUFFER",
    "EXTENDED COPY",
    "MODE SELECT",
    "START STOP UNIT",
];

impl Kind {
    /// The command for `slot`, with its data. `held` is what the slot holds, `new` what is to be written; both have the
    /// slot's length.
    pub(super) fn command(&self, slot: Slot, held: &[u8], new: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (cdb, body) = (self.make)(slot);
        let blocks = usize::try_from(slot.blocks).unwrap_or(1).max(1);
        let block = held.len() / blocks;
        let data = match body {
            Body::None => Vec::new(),
            Body::New => new.to_vec(),
            Body::OneBlock => new[..block].to_vec(),
            Body::CompareAndNew => [&held[..block], &new[..block]].concat(),
            Body::List(list) => list,
        };
        (cdb, data)
    }
}

/// Whether WRITE(6), which has 21 bits for it, can name a slot.
pub(super) const SIX_LIMIT: u64 = 1 << 21;

fn six(opcode: Opcode, slot: Slot) -> Vec<u8> {
    let [.., a, b, c] = slot.lba.to_be_bytes();
    vec![opcode.0, a & 0x1F, b, c, low(slot.blocks), 0]
}

pub(super) fn ten(opcode: Opcode, flags: u8, slot: Slot) -> Vec<u8> {
    let mut cdb = vec![opcode.0, flags];
    cdb.extend(u32::try_from(slot.lba).unwrap_or(u32::MAX).to_be_bytes());
    let [.., high, low] = slot.blocks.to_be_bytes();
    cdb.extend([0, high, low, 0]);
    cdb
}

fn twelve(opcode: Opcode, flags: u8, slot: Slot) -> Vec<u8> {
    let mut cdb = vec![opcode.0, flags];
    cdb.extend(u32::try_from(slot.lba).unwrap_or(u32::MAX).to_be_bytes());
    cdb.extend(slot.blocks.to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

pub(super) fn sixteen(opcode: Opcode, flags: u8, slot: Slot) -> Vec<u8> {
    let mut cdb = vec![opcode.0, flags];
    cdb.extend(slot.lba.to_be_bytes());
    cdb.extend(slot.blocks.to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

/// NUMBER OF LOGICAL BLOCKS is one byte, at the thirteenth.
fn compare_and_write(slot: Slot) -> Vec<u8> {
    let mut cdb = sixteen(Opcode::COMPARE_AND_WRITE, 0, Slot { blocks: 0, ..slot });
    cdb[13] = 1;
    cdb
}

/// TRANSFER LENGTH is two bytes, at the twelfth.
fn atomic(slot: Slot) -> Vec<u8> {
    let mut cdb = sixteen(Opcode::WRITE_ATOMIC_16, 0, Slot { blocks: 0, ..slot });
    let [.., high, low] = slot.blocks.to_be_bytes();
    (cdb[12], cdb[13]) = (high, low);
    cdb
}

fn unmap() -> Vec<u8> {
    vec![Opcode::UNMAP.0, 0, 0, 0, 0, 0, 0, 0, 24, 0]
}

/// One block descriptor.
fn unmap_list(slot: Slot) -> Vec<u8> {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(slot.lba.to_be_bytes());
    list.extend(slot.blocks.to_be_bytes());
    list.extend([0; 4]);
    list
}

const fn low(value: u32) -> u8 {
    value.to_be_bytes()[3]
}

#[cfg(test)]
mod tests {
    use scsi::Command;
    use scsi::command::{Blocks, BlocksOrRest, Transfer};

    use super::*;

    const SLOT: Slot = Slot {
        lba: 0x01_02_03,
        blocks: 8,
    };

    fn command(name: &str) -> (Vec<u8>, Vec<u8>) {
        let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
        kind.command(SLOT, &[1; 4096], &[2; 4096])
    }

    /// The commands are written here by hand; the parser of the target's side reads them.
    #[test]
    fn every_command_is_about_the_slot() {
        let blocks = Blocks {
            first: SLOT.lba,
            count: SLOT.blocks,
        };
        let range = BlocksOrRest {
            first: SLOT.lba,
            count: SLOT.blocks,
        };
        for kind in KINDS {
            let (cdb, _) = kind.command(SLOT, &[1; 4096], &[2; 4096]);
            match Command::parse(&cdb) {
                Ok(Command::Write(transfer) | Command::Orwrite(transfer)) => {
                    assert_eq!(transfer.blocks, blocks, "{}", kind.name);
                }
                Ok(Command::WriteAndVerify(about, _)) => assert_eq!(about, blocks, "{}", kind.name),
                Ok(
                    Command::WriteSame { blocks: about, .. }
                    | Command::SynchronizeCache { blocks: about, .. },
                ) => {
                    assert_eq!(about, range, "{}", kind.name);
                }
                Ok(Command::CompareAndWrite(Transfer { blocks: about, .. })) => {
                    assert_eq!((about.first, about.count), (SLOT.lba, 1));
                }
                Ok(Command::Unmap { length }) => assert_eq!(length, 24),
                // Not a command of our own target.
                _ if kind.name == "WRITE ATOMIC(16)" => {}
                other => panic!("{}: {other:?}", kind.name),
            }
        }
    }

    #[test]
    fn data_have_the_length_that_the_command_wants() {
        assert_eq!(command("WRITE(10)").1, [2; 4096]);
        assert_eq!(command("WRITE SAME(16) with UNMAP").1, [2; 512]);
        assert!(command("WRITE SAME(16) without data").1.is_empty());
        let (_, both) = command("COMPARE AND WRITE");
        assert_eq!((both.len(), both[0], both[512]), (1024, 1, 2));
        assert_eq!(command("WRITE(6)").0, [0x0A, 0x01, 0x02, 0x03, 8, 0]);
        assert_eq!(
            command("UNMAP").1[8..20],
            [0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 8]
        );
    }
}
