//! Any bytes as commands and parameter lists: nothing panics, and nothing exceeds its bounds.

use proptest::prelude::*;
use scsi::Status;
use scsi::command::SUPPORTED;
use scsi::lu::{Begun, BlockLength, Continued, DataPhase, Operation, Reply};
use scsi::pr::ReservationType;

use super::common::{BLOCKS, Disk, config};

/// Where a command has its allocation length: by the standard's tables, not by what the parser thinks.
fn allocation(cdb: &[u8]) -> Option<usize> {
    let at = |range: std::ops::Range<usize>| {
        cdb.get(range).map(|field| {
            field
                .iter()
                .fold(0, |value, byte| value << 8 | usize::from(*byte))
        })
    };
    match cdb.first()? {
        0x03 | 0x1A => at(4..5),
        0x12 => at(3..5),
        0x5A | 0x5E => at(7..9),
        0x9E => at(10..14),
        0xA0 | 0xA3 => at(6..10),
        _ => None,
    }
}

fn bounded_reply(cdb: &[u8], reply: &Reply) {
    assert_eq!(
        reply.sense.is_some(),
        reply.status == Status::CHECK_CONDITION
    );
    assert!(reply.data.is_empty() || reply.status == Status::GOOD);
    assert!(
        reply.data.len() <= allocation(cdb).unwrap_or(8).min(8192),
        "{cdb:02x?}"
    );
}

fn bounded_operation(operation: &Operation) {
    let limits = config().limits;
    let extents = match operation {
        Operation::Read { extent, .. }
        | Operation::Write { extent, .. }
        | Operation::WriteAndVerify { extent, .. }
        | Operation::Verify { extent, .. }
        | Operation::Orwrite { extent, .. }
        | Operation::WriteSame { extent, .. }
        | Operation::CompareAndWrite { extent, .. }
        | Operation::Synchronize { extent, .. }
        | Operation::Prefetch { extent, .. } => std::slice::from_ref(extent),
        Operation::Unmap { extents, .. } => {
            assert!(extents.len() <= usize::from(limits.unmap_descriptors));
            extents
        }
        Operation::GetLbaStatus { first, .. } => {
            assert!(*first < BLOCKS);
            &[]
        }
        other => panic!("an operation that this test does not know: {other:?}"),
    };
    for extent in extents {
        assert!(extent.first.checked_add(extent.count).unwrap() <= BLOCKS);
    }
    match operation.data_phase(BlockLength::B512) {
        DataPhase::Out(bytes) => assert!(bytes <= u64::from(limits.transfer_bytes)),
        DataPhase::In(bytes) if !matches!(operation, Operation::GetLbaStatus { .. }) => {
            assert!(bytes <= u64::from(limits.transfer_bytes));
        }
        DataPhase::In(_) | DataPhase::None => {}
    }
}

/// A command that is likely to be understood: a supported one with random fields.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let fields = proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 16);
    (0..SUPPORTED.len(), fields).prop_map(|(entry, fields)| {
        let entry = &SUPPORTED[entry];
        let mut cdb: Vec<u8> = entry
            .usage
            .iter()
            .zip(fields)
            .map(|(usage, field)| usage & field)
            .collect();
        cdb[0] = entry.opcode.0;
        if let Some(action) = entry.action {
            cdb[1] = cdb[1] & 0xE0 | action;
        }
        // NACA would have everything refused.
        let last = cdb.len() - 1;
        cdb[last] = 0;
        cdb
    })
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => likely(),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

fn list() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        2 => proptest::collection::vec(byte, 0..64),
        1 => Just(vec![0; 24 * 1024]),
    ]
}

fn disk(kind: Option<usize>) -> Disk {
    let mut disk = Disk::of(&["a", "b"]);
    if let Some(kind) = kind {
        disk.register("a", 1);
        disk.reserve("a", 1, ReservationType::ALL[kind]);
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_and_lists(
        kind in proptest::option::of(0_usize..6),
        commands in proptest::collection::vec((any::<bool>(), command(), list()), 1..30),
    ) {
        let mut disk = disk(kind);
        for (first, cdb, list) in commands {
            let who = disk.id(if first { "a" } else { "b" });
            match disk.unit.begin(who, &cdb) {
                Begun::Done(reply) => bounded_reply(&cdb, &reply),
                Begun::Medium(operation) => bounded_operation(&operation),
                Begun::Parameters { length } => {
                    prop_assert!(length > 0 && length <= 65_535);
                    match disk.unit.parameters(who, &cdb, &list) {
                        Continued::Done(reply) => bounded_reply(&cdb, &reply),
                        Continued::Medium(operation) => bounded_operation(&operation),
                        Continued::Reservation(prepared) => {
                            let most = config().limits.registrations;
                            prop_assert!(prepared.next().registrations().len() <= most);
                            bounded_reply(&cdb, &disk.unit.commit(prepared));
                        }
                    }
                }
            }
        }
    }

    /// What a nexus without a registration may do to a reserved disk never writes: whatever the bytes.
    #[test]
    fn nothing_that_a_fenced_nexus_sends_writes(kind in 0_usize..6, cdb in command()) {
        let mut disk = disk(Some(kind));
        match disk.begin("b", &cdb) {
            Begun::Medium(operation) => prop_assert!(!operation.writes(), "{:?}", operation),
            // Only PERSISTENT RESERVE OUT, whose own rules refuse all but registering.
            Begun::Parameters { .. } => prop_assert_eq!(cdb[0], 0x5F),
            Begun::Done(_) => {}
        }
    }
}
