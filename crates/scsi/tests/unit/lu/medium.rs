//! What goes to the medium: bounds, protection, durability, a medium that is not there.

use scsi::command::ByteCheck;
use scsi::lu::{BlockLength, Continued, DataPhase, Extent, MediumFailure, Operation, Reply};
use scsi::mode::{CONTROL, Parameters, SOFTWARE_WRITE_PROTECT, select_cdb, sense_cdb};
use scsi::pr::Reservations;
use scsi::{AdditionalSense as A, Sense, SenseKey};

use super::common::{
    BLOCKS, Disk, Ended, READ, TEST_UNIT_READY, WRITE, attention, config, illegal,
};

/// A command of sixteen bytes with its blocks.
fn sixteen(opcode: u8, flags: u8, first: u64, count: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&first.to_be_bytes());
    cdb[10..14].copy_from_slice(&count.to_be_bytes());
    cdb
}

fn compare_and_write(first: u64, count: u8) -> [u8; 16] {
    let mut cdb = sixteen(0x89, 0, first, 0);
    cdb[13] = count;
    cdb
}

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8A;
const ORWRITE: u8 = 0x8B;
const WRITE_AND_VERIFY: u8 = 0x8E;
const VERIFY: u8 = 0x8F;
const PRE_FETCH: u8 = 0x90;
const SYNCHRONIZE: u8 = 0x91;
const WRITE_SAME: u8 = 0x93;

#[test]
fn blocks_beyond_the_medium_are_refused() {
    let beyond = illegal(A::LBA_OUT_OF_RANGE);
    let mut disk = Disk::of(&["a"]);
    for opcode in [
        READ_16,
        WRITE_16,
        ORWRITE,
        WRITE_AND_VERIFY,
        VERIFY,
        PRE_FETCH,
        SYNCHRONIZE,
        WRITE_SAME,
    ] {
        for (first, count) in [
            (BLOCKS, 1),
            (BLOCKS - 1, 2),
            (BLOCKS + 1, 0),
            (1 << 63, 0),
            (u64::MAX, 1),
            (u64::MAX, u32::MAX),
        ] {
            let ended = disk.end("a", &sixteen(opcode, 0, first, count));
            assert_eq!(ended, beyond, "{opcode:02x}: {count} from {first}");
        }
        let last = sixteen(opcode, 0, BLOCKS - 1, 1);
        assert_eq!(disk.end("a", &last), Ended::Good, "{opcode:02x}");
        let none = sixteen(opcode, 0, BLOCKS, 0);
        assert_eq!(disk.end("a", &none), Ended::Good, "{opcode:02x}");
    }
    assert_eq!(disk.end("a", &compare_and_write(BLOCKS, 1)), beyond);
    for first in [BLOCKS, BLOCKS + 1, 1 << 63, u64::MAX] {
        let mut cdb = sixteen(0x9E, 0x12, first, 24);
        assert_eq!(disk.end("a", &cdb), beyond, "GET LBA STATUS {first}");
        cdb[2..10].copy_from_slice(&(BLOCKS - 1).to_be_bytes());
        assert_eq!(disk.end("a", &cdb), Ended::Good);
    }
}

#[test]
fn more_than_one_command_may_move_is_refused() {
    let invalid = illegal(A::INVALID_FIELD_IN_CDB);
    let mut disk = Disk::of(&["a"]);
    for opcode in [READ_16, WRITE_16, ORWRITE, WRITE_AND_VERIFY, VERIFY] {
        assert_eq!(disk.end("a", &sixteen(opcode, 0, 0, 100)), Ended::Good);
        assert_eq!(
            disk.end("a", &sixteen(opcode, 0, 0, 101)),
            invalid,
            "{opcode:02x}"
        );
    }
    assert_eq!(disk.end("a", &compare_and_write(0, 8)), Ended::Good);
    assert_eq!(disk.end("a", &compare_and_write(0, 9)), invalid);
    assert_eq!(disk.end("a", &sixteen(WRITE_SAME, 0, 0, 200)), Ended::Good);
    assert_eq!(disk.end("a", &sixteen(WRITE_SAME, 0, 0, 201)), invalid);
    assert_eq!(
        disk.end("a", &sixteen(WRITE_SAME, 0, 0, 0)),
        invalid,
        "1000 are the rest"
    );
    let rest = disk.operation("a", &sixteen(WRITE_SAME, 0, BLOCKS - 200, 0));
    let expected = Operation::WriteSame {
        extent: Extent {
            first: 800,
            count: 200,
        },
        unmap: false,
        zeros: false,
        durable: false,
    };
    assert_eq!(rest, expected);
    assert_eq!(
        disk.end("a", &sixteen(SYNCHRONIZE, 0, 0, 0)),
        Ended::Good,
        "no limit"
    );
}

#[test]
fn each_operation_moves_what_its_command_says() {
    let mut disk = Disk::of(&["a"]);
    let mut phase = |cdb: &[u8]| disk.operation("a", cdb).data_phase(BlockLength::B512);
    assert_eq!(phase(&sixteen(READ_16, 0, 0, 3)), DataPhase::In(1536));
    assert_eq!(phase(&sixteen(WRITE_16, 0, 0, 3)), DataPhase::Out(1536));
    assert_eq!(phase(&sixteen(ORWRITE, 0, 0, 3)), DataPhase::Out(1536));
    assert_eq!(
        phase(&sixteen(WRITE_AND_VERIFY, 2, 0, 3)),
        DataPhase::Out(1536)
    );
    assert_eq!(phase(&compare_and_write(0, 3)), DataPhase::Out(3072));
    assert_eq!(phase(&sixteen(VERIFY, 0, 0, 3)), DataPhase::None);
    assert_eq!(phase(&sixteen(VERIFY, 2, 0, 3)), DataPhase::Out(1536));
    assert_eq!(phase(&sixteen(VERIFY, 6, 0, 3)), DataPhase::Out(512));
    assert_eq!(phase(&sixteen(VERIFY, 6, 0, 0)), DataPhase::None);
    assert_eq!(phase(&sixteen(WRITE_SAME, 0, 0, 3)), DataPhase::Out(512));
    assert_eq!(phase(&sixteen(WRITE_SAME, 1, 0, 3)), DataPhase::None);
    assert_eq!(phase(&sixteen(SYNCHRONIZE, 0, 0, 3)), DataPhase::None);
    assert_eq!(phase(&sixteen(0x9E, 0x12, 0, 24)), DataPhase::In(24));
    assert_eq!(
        disk.end("a", &sixteen(WRITE_AND_VERIFY, 6, 0, 1)),
        illegal(A::INVALID_FIELD_IN_CDB)
    );
    let check = ByteCheck::OneBlock;
    let extent = Extent { first: 5, count: 3 };
    assert_eq!(
        disk.operation("a", &sixteen(VERIFY, 6, 5, 3)),
        Operation::Verify { extent, check }
    );
}

/// An acknowledged write is as durable as the caching page says, and FUA.
#[test]
fn writes_are_durable_without_a_cache_and_with_fua() {
    let durable = |disk: &mut Disk, cdb: &[u8]| match disk.operation("a", cdb) {
        Operation::Write { durable, .. }
        | Operation::Orwrite { durable, .. }
        | Operation::CompareAndWrite { durable, .. }
        | Operation::WriteSame { durable, .. } => durable,
        other => panic!("{other:?}"),
    };
    let mut cached = Disk::of(&["a"]);
    let mut off = config();
    off.write_cache = false;
    let mut through = Disk::with(off, Reservations::default());
    through.attach_quietly("a");
    for opcode in [WRITE_16, ORWRITE, WRITE_SAME] {
        let cdb = sixteen(opcode, 0, 0, 1);
        assert!(
            !durable(&mut cached, &cdb) && durable(&mut through, &cdb),
            "{opcode:02x}"
        );
    }
    for opcode in [WRITE_16, ORWRITE] {
        assert!(
            durable(&mut cached, &sixteen(opcode, 0x08, 0, 1)),
            "{opcode:02x}"
        );
    }
    let mut cdb = compare_and_write(0, 1);
    assert!(!durable(&mut cached, &cdb) && durable(&mut through, &cdb));
    cdb[1] = 0x08;
    assert!(durable(&mut cached, &cdb));
    let read = |disk: &mut Disk, flags| disk.operation("a", &sixteen(READ_16, flags, 0, 1));
    assert!(matches!(
        read(&mut cached, 0x08),
        Operation::Read {
            from_medium: true,
            ..
        }
    ));
    assert!(matches!(
        read(&mut cached, 0x10),
        Operation::Read {
            from_medium: false,
            ..
        }
    ));
}

/// Every command that could change the medium, with its smallest extent; UNMAP is separate.
fn writes() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [WRITE_16, ORWRITE, WRITE_AND_VERIFY, WRITE_SAME]
        .iter()
        .map(|opcode| sixteen(*opcode, 0, 0, 1).to_vec())
        .collect();
    all.push(compare_and_write(0, 1).to_vec());
    all.push(sixteen(WRITE_SAME, 0x08, 0, 1).to_vec());
    for short in [
        [0x0A, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        WRITE,
        [0x2E, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        [0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ] {
        all.push(short.to_vec());
    }
    all.push([&[0xAA; 1][..], &[0; 11]].concat());
    all.push([&[0xAE; 1][..], &[0; 11]].concat());
    all.push(vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
    all
}

#[test]
fn a_protected_medium_is_not_written() {
    let protected = Ended::Sense(SenseKey::DATA_PROTECT, A::WRITE_PROTECTED);
    let mut config = config();
    config.read_only = true;
    let mut disk = Disk::with(config, Reservations::default());
    disk.attach_quietly("a");
    for cdb in writes() {
        assert_eq!(disk.end("a", &cdb), protected, "{cdb:02x?}");
    }
    assert_eq!(disk.end("a", &READ), Ended::Good);
    let sense = disk.reply("a", &sense_cdb(CONTROL, 255)).data;
    assert!(
        Parameters::parse_sense(true, &sense)
            .unwrap()
            .write_protected
    );
}

#[test]
fn software_write_protection_is_set_and_cleared_by_mode_select() {
    let mut disk = Disk::of(&["a"]);
    let sense = disk.reply("a", &sense_cdb(CONTROL, 255)).data;
    let mut list = Parameters::parse_sense(true, &sense).unwrap();
    list.pages[0].body[2] = 0x08;
    assert!(list.pages[0].bit(SOFTWARE_WRITE_PROTECT));
    let bytes = list.encode(true);
    let cdb = select_cdb(u16::try_from(bytes.len()).unwrap());
    assert_eq!(disk.send_end("a", &cdb, &bytes), Ended::Good);
    let protected = Ended::Sense(SenseKey::DATA_PROTECT, A::WRITE_PROTECTED);
    assert_eq!(disk.end("a", &WRITE), protected);
    assert_eq!(disk.end("a", &READ), Ended::Good);
    list.pages[0].body[2] = 0;
    let bytes = list.encode(true);
    assert_eq!(disk.send_end("a", &cdb, &bytes), Ended::Good);
    assert_eq!(disk.end("a", &WRITE), Ended::Good);
}

fn unmap(runs: &[(u64, u32)]) -> ([u8; 10], Vec<u8>) {
    let length = u16::try_from(runs.len() * 16).unwrap();
    let mut list = [(length + 6).to_be_bytes(), length.to_be_bytes()].concat();
    list.extend([0; 4]);
    for (first, count) in runs {
        list.extend(first.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([0; 4]);
    }
    let [high, low] = u16::try_from(list.len()).unwrap().to_be_bytes();
    ([0x42, 0, 0, 0, 0, 0, 0, high, low, 0], list)
}

#[test]
fn unmapping() {
    let mut disk = Disk::of(&["a"]);
    let (cdb, list) = unmap(&[(5, 10), (7, 0), (BLOCKS - 1, 1)]);
    let extents = vec![
        Extent {
            first: 5,
            count: 10,
        },
        Extent {
            first: 999,
            count: 1,
        },
    ];
    let expected = Operation::Unmap {
        extents,
        durable: false,
    };
    assert_eq!(disk.send("a", &cdb, &list), Continued::Medium(expected));
    let mut end = |runs: &[(u64, u32)]| {
        let (cdb, list) = unmap(runs);
        disk.send_end("a", &cdb, &list)
    };
    assert_eq!(end(&[]), Ended::Good, "no descriptors");
    assert_eq!(end(&[(0, 0)]), Ended::Good, "no blocks");
    assert_eq!(end(&[(0, 300)]), Ended::Good);
    let (beyond, invalid) = (
        illegal(A::LBA_OUT_OF_RANGE),
        illegal(A::INVALID_FIELD_IN_PARAMETER_LIST),
    );
    assert_eq!(end(&[(BLOCKS, 1)]), beyond);
    assert_eq!(end(&[(u64::MAX, 2)]), beyond);
    assert_eq!(end(&[(0, 200), (0, 101)]), invalid, "too many blocks");
    assert_eq!(end(&[(0, 1); 5]), invalid, "too many descriptors");
    let short = illegal(A::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(
        disk.send_end("a", &cdb, &list[..list.len() - 1]),
        short,
        "data are missing"
    );
    let mut promised = list.clone();
    promised[3] += 16;
    assert_eq!(
        disk.send_end("a", &cdb, &promised),
        short,
        "more promised than there are"
    );
    let empty = [0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Ended::from(disk.reply("a", &empty)), Ended::Good, "no list");
    let tiny = [0x42, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    assert_eq!(disk.send_end("a", &tiny, &list), short);
}

#[test]
fn a_disk_that_is_not_thin_does_not_unmap() {
    let mut thick = config();
    thick.thin = false;
    let mut disk = Disk::with(thick, Reservations::default());
    disk.attach_quietly("a");
    let (cdb, list) = unmap(&[(0, 1)]);
    let unknown = illegal(A::INVALID_COMMAND_OPERATION_CODE);
    assert_eq!(disk.send_end("a", &cdb, &list), unknown);
    let invalid = illegal(A::INVALID_FIELD_IN_CDB);
    assert_eq!(disk.end("a", &sixteen(WRITE_SAME, 0x08, 0, 1)), invalid);
    assert_eq!(disk.end("a", &sixteen(WRITE_SAME, 0, 0, 1)), Ended::Good);
}

#[test]
fn without_a_medium_nothing_is_ready() {
    let absent = Ended::Sense(SenseKey::NOT_READY, A::MEDIUM_NOT_PRESENT);
    let (eject, load) = ([0x1B, 0, 0, 0, 2, 0], [0x1B, 0, 0, 0, 3, 0]);
    let mut disk = Disk::of(&["a", "b"]);
    let whole = Extent {
        first: 0,
        count: BLOCKS,
    };
    let flush = Operation::Synchronize {
        extent: whole,
        immediate: false,
    };
    assert_eq!(disk.operation("a", &eject), flush);
    let mut commands = writes();
    for opcode in [READ_16, VERIFY, PRE_FETCH, SYNCHRONIZE] {
        commands.push(sixteen(opcode, 0, 0, 1).to_vec());
    }
    commands.extend([
        TEST_UNIT_READY.to_vec(),
        vec![0x25; 1].into_iter().chain([0; 9]).collect(),
        sixteen(0x9E, 0x10, 0, 32).to_vec(),
        sixteen(0x9E, 0x12, 0, 32).to_vec(),
    ]);
    for cdb in commands {
        assert_eq!(disk.end("b", &cdb), absent, "{cdb:02x?}");
    }
    let sense = disk.reply("b", &[3, 0, 0, 0, 18, 0]).data;
    assert_eq!((sense[2], sense[12]), (2, 0x3A));
    assert_eq!(
        Ended::from(disk.reply("a", &eject)),
        Ended::Good,
        "ejected already"
    );
    assert_eq!(Ended::from(disk.reply("a", &load)), Ended::Good);
    assert_eq!(disk.end("a", &TEST_UNIT_READY), Ended::Good);
    assert_eq!(
        disk.end("b", &TEST_UNIT_READY),
        attention(A::MEDIUM_MAY_HAVE_CHANGED)
    );
}

#[test]
fn removal_is_prevented_until_everybody_allows_it() {
    let (prevent, allow) = ([0x1E, 0, 0, 0, 1, 0], [0x1E, 0, 0, 0, 0, 0]);
    let (eject, load) = ([0x1B, 0, 0, 0, 2, 0], [0x1B, 0, 0, 0, 3, 0]);
    let prevented = illegal(A::MEDIUM_REMOVAL_PREVENTED);
    let mut disk = Disk::of(&["a", "b"]);
    for name in ["a", "b"] {
        assert_eq!(disk.end(name, &prevent), Ended::Good);
    }
    assert_eq!(disk.end("a", &eject), prevented);
    assert_eq!(disk.end("a", &load), prevented);
    assert_eq!(disk.end("a", &allow), Ended::Good);
    assert_eq!(disk.end("a", &eject), prevented, "b still prevents it");
    disk.lose("b");
    assert_eq!(disk.end("a", &eject), Ended::Good);
    assert_eq!(disk.end("a", &load), Ended::Good);
    assert_eq!(disk.end("a", &prevent), Ended::Good);
    disk.unit.reset();
    disk.drain("a");
    assert_eq!(disk.end("a", &eject), Ended::Good, "after a reset");
}

/// One node that shuts down must not take the disk from the others.
#[test]
fn stopping_writes_the_cache_and_stops_nothing() {
    let mut disk = Disk::of(&["a", "b"]);
    let whole = Extent {
        first: 0,
        count: BLOCKS,
    };
    for (flags, immediate) in [(0, false), (1, true)] {
        let stop = [0x1B, flags, 0, 0, 0, 0];
        let flush = Operation::Synchronize {
            extent: whole,
            immediate,
        };
        assert_eq!(disk.operation("a", &stop), flush);
    }
    assert_eq!(
        Ended::from(disk.reply("a", &[0x1B, 0, 0, 0, 4, 0])),
        Ended::Good,
        "NO_FLUSH"
    );
    for condition in 1..16 {
        let cdb = [0x1B, 0, 0, 0, condition << 4 | 2, 0];
        assert_eq!(
            Ended::from(disk.reply("a", &cdb)),
            Ended::Good,
            "{condition}"
        );
    }
    assert_eq!(disk.end("b", &READ), Ended::Good);
    let mut fixed = config();
    fixed.removable = false;
    let mut disk = Disk::with(fixed, Reservations::default());
    disk.attach_quietly("a");
    let invalid = illegal(A::INVALID_FIELD_IN_CDB);
    assert_eq!(
        disk.end("a", &[0x1B, 0, 0, 0, 2, 0]),
        invalid,
        "nothing to eject"
    );
}

#[test]
fn what_the_medium_reports_becomes_sense_data() {
    let sense = |failure: MediumFailure| Sense::from(failure);
    let of = |key, what| Sense::new(key, what);
    let read = of(SenseKey::MEDIUM_ERROR, A::UNRECOVERED_READ_ERROR);
    assert_eq!(
        sense(MediumFailure::Unreadable { at: 7 }),
        read.with_information(7)
    );
    let write = of(SenseKey::MEDIUM_ERROR, A::WRITE_ERROR);
    assert_eq!(
        sense(MediumFailure::Unwritable { at: 7 }),
        write.with_information(7)
    );
    assert_eq!(sense(MediumFailure::NotDurable), write);
    let differs = of(SenseKey::MISCOMPARE, A::MISCOMPARE_DURING_VERIFY);
    assert_eq!(
        sense(MediumFailure::Miscompare { at: 485 }),
        differs.with_information(485)
    );
    let full = of(
        SenseKey::DATA_PROTECT,
        A::SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
    );
    assert_eq!(sense(MediumFailure::Full), full);
    let reply = Reply::from(MediumFailure::Internal);
    let failed = Ended::Sense(SenseKey::HARDWARE_ERROR, A::INTERNAL_TARGET_FAILURE);
    assert_eq!(Ended::from(reply), failed);
}
