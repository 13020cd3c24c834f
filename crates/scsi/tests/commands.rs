//! Commands: their fields where SPC-4 and SBC-3 have them, what is refused, and the table of what is supported.

use proptest::prelude::*;
use scsi::command::{
    Blocks, BlocksOrRest, ByteCheck, Command, PageControl, SUPPORTED, Transfer, Wanted,
};
use scsi::pr::{Access, access};
use scsi::{AdditionalSense, Sense};

fn parse(bytes: &[u8]) -> Result<Command, Sense> {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    Command::parse(&cdb)
}

fn read(first: u64, count: u32, force_unit_access: bool) -> Result<Command, Sense> {
    let blocks = Blocks { first, count };
    Ok(Command::Read(Transfer {
        blocks,
        force_unit_access,
    }))
}

const INVALID: Result<Command, Sense> = Err(Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));

#[test]
fn blocks_are_where_each_size_has_them() {
    assert_eq!(
        parse(&[0x08, 0x1F, 0xFF, 0xFE, 0, 0]),
        read(0x1F_FFFE, 256, false)
    );
    assert_eq!(
        parse(&[0x28, 0x08, 1, 2, 3, 4, 0, 0, 9, 0]),
        read(0x0102_0304, 9, true)
    );
    assert_eq!(
        parse(&[0xA8, 0, 1, 2, 3, 4, 0, 1, 0, 0]),
        read(0x0102_0304, 65_536, false)
    );
    let sixteen = [0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 1, 0, 0];
    assert_eq!(parse(&sixteen), read(0x0102_0304_0506_0708, 257, false));
    assert_eq!(parse(&[0x28, 0x20]), INVALID, "protection information");
}

#[test]
fn other_commands_mean_what_they_say() {
    let rest = BlocksOrRest { first: 7, count: 0 };
    assert_eq!(
        parse(&[0x35, 0, 0, 0, 0, 7]),
        Ok(Command::SynchronizeCache {
            blocks: rest,
            immediate: false
        })
    );
    let blocks = Blocks { first: 1, count: 2 };
    let verify = [0x2F, 0x02, 0, 0, 0, 1, 0, 0, 2];
    assert_eq!(parse(&verify), Ok(Command::Verify(blocks, ByteCheck::Data)));
    assert_eq!(parse(&[0x2F, 0x04]), INVALID, "BYTCHK 10b");
    let same = [0x93, 0x09, 0, 0, 0, 0, 0, 0, 0, 7];
    let expected = Command::WriteSame {
        blocks: rest,
        unmap: true,
        zeros: true,
    };
    assert_eq!(parse(&same), Ok(expected));
    assert_eq!(parse(&[0x93, 0x18]), INVALID, "anchored");
    let sense = Command::ModeSense {
        long: false,
        no_descriptors: true,
        control: PageControl::Changeable,
        page: (0x0A, 0),
        allocation: 255,
    };
    assert_eq!(parse(&[0x1A, 0x08, 0x4A, 0, 255]), Ok(sense));
    assert_eq!(
        parse(&[0x12, 0, 0x80, 0, 36]),
        INVALID,
        "a page without EVPD"
    );
    assert_eq!(
        parse(&[0x12, 1, 0x83, 1, 0]),
        Ok(Command::Inquiry {
            page: Some(0x83),
            allocation: 256
        })
    );
    let caw = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0];
    let blocks = Blocks { first: 5, count: 1 };
    let transfer = Transfer {
        blocks,
        force_unit_access: false,
    };
    assert_eq!(parse(&caw), Ok(Command::CompareAndWrite(transfer)));
}

#[test]
fn what_is_not_supported_says_so() {
    let unknown = Err(Sense::illegal(
        AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
    ));
    for opcode in [0x04, 0x48, 0x83, 0x9C, 0xEE] {
        assert_eq!(parse(&[opcode]), unknown, "{opcode:#x}");
    }
    assert_eq!(Command::parse(&[]), unknown);
    assert_eq!(parse(&[0x9E, 0x1F]), INVALID);
    assert_eq!(parse(&[0x5E, 0x04]), INVALID);
    assert_eq!(Command::parse(&[0x28, 0, 0]), INVALID, "cut off");
    assert_eq!(parse(&[0x00, 0, 0, 0, 0, 0x04]), INVALID, "NACA");
}

#[test]
fn blocks_end_at_the_medium_and_not_beyond() {
    let fit = |first, count| Blocks { first, count }.fit(100);
    assert!(fit(0, 100) && fit(100, 0) && fit(99, 1));
    assert!(!fit(101, 0) && !fit(99, 2) && !fit(u64::MAX, 1));
    let on = |first, count| BlocksOrRest { first, count }.on(100);
    assert_eq!(on(40, 0), Some((40, 60)));
    assert_eq!(on(40, 60), Some((40, 60)));
    assert_eq!(
        (on(40, 61), on(101, 0), on(u64::MAX, 2)),
        (None, None, None)
    );
}

#[test]
fn the_table_is_in_order_and_is_what_is_parsed() {
    let code = |entry: &scsi::command::Supported| (entry.opcode, entry.action);
    assert!(
        SUPPORTED
            .windows(2)
            .all(|pair| code(&pair[0]) < code(&pair[1]))
    );
    for entry in SUPPORTED {
        assert_eq!(entry.usage[0], entry.opcode.0);
        let length = match entry.opcode.0 >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            group => panic!("group {group}"),
        };
        assert_eq!(entry.length(), length, "{}", entry.opcode);
        let mut cdb = vec![0; length];
        cdb[0] = entry.opcode.0;
        cdb[1] = entry.action.unwrap_or_default();
        // What PERSISTENT RESERVE OUT, MODE SELECT and START STOP UNIT need besides.
        if entry.opcode.0 == 0x5F {
            cdb[2] = 5;
            cdb[8] = 24;
        } else if matches!(entry.opcode.0, 0x15 | 0x55) {
            cdb[1] = 0x10;
        }
        assert!(
            Command::parse(&cdb).is_ok(),
            "{} {:?}",
            entry.opcode,
            entry.action
        );
        assert_ne!((entry.opcode.name(), access(&cdb)), (None, Access::Writes));
    }
}

#[test]
fn supported_operation_codes_are_reported() {
    let all = Wanted::All.data(false, |_| true).unwrap();
    assert_eq!(all.len(), 4 + 8 * SUPPORTED.len());
    assert_eq!(
        all[..4],
        u32::try_from(all.len() - 4).unwrap().to_be_bytes()
    );
    assert_eq!(
        Wanted::All.data(true, |_| true).unwrap().len(),
        4 + 20 * SUPPORTED.len()
    );
    let read = Wanted::One(0x28).data(false, |_| true).unwrap();
    assert_eq!(read[..6], [0, 3, 0, 10, 0x28, 0x18]);
    assert_eq!(
        Wanted::One(0xEE).data(false, |_| true).unwrap(),
        [0, 1, 0, 0]
    );
    let invalid = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
    assert_eq!(Wanted::One(0x5E).data(false, |_| true), Err(invalid));
    assert_eq!(Wanted::Action(0x28, 0).data(false, |_| true), Err(invalid));
    assert_eq!(
        Wanted::Action(0x5F, 5).data(false, |_| true).unwrap()[..6],
        [0, 3, 0, 10, 0x5F, 5]
    );
    assert_eq!(
        Wanted::Either(0x5F, 9).data(false, |_| true).unwrap(),
        [0, 1, 0, 0]
    );
    assert_eq!(
        Wanted::Either(0x28, 0).data(true, |_| true).unwrap().len(),
        4 + 10 + 12
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        let _ = Command::parse(&bytes);
        let _ = access(&bytes);
    }
}
