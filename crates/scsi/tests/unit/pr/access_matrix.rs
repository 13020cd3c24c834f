//! Every command × every type × {unregistered, registered, holder}: SPC-4, "Persistent reservations interactions with
//! commands", and SBC-3, "Reservations", as a table of its own, against what the state machine lets through.

use crate::pr::common::{RequestBuilder, nexus, registered};
use scsi::pr::{Access, ReservationType, Reservations, access};

/// Where a command is allowed, in five columns: not the holder under Write Exclusive, under Exclusive Access; registered
/// under any registrants-only or all-registrants type; unregistered under such a type of Write Exclusive, of Exclusive
/// Access. The holder is always allowed.
const FREE: &str = "AAAAA";
const READS: &str = "ACAAC";
const WRITES: &str = "CCACC";

/// A command's first bytes (with its service action where it has one) and its row.
pub(crate) const TABLE: &[(&str, &[u8], &str)] = &[
    ("INQUIRY", &[0x12], FREE),
    ("REPORT LUNS", &[0xA0], FREE),
    ("REQUEST SENSE", &[0x03], FREE),
    ("TEST UNIT READY", &[0x00], FREE),
    ("LOG SENSE", &[0x4D], FREE),
    ("READ CAPACITY(10)", &[0x25], FREE),
    ("READ CAPACITY(16)", &[0x9E, 0x10], FREE),
    ("PERSISTENT RESERVE IN, READ KEYS", &[0x5E, 0x00], FREE),
    (
        "PERSISTENT RESERVE IN, READ RESERVATION",
        &[0x5E, 0x01],
        FREE,
    ),
    (
        "PERSISTENT RESERVE IN, REPORT CAPABILITIES",
        &[0x5E, 0x02],
        FREE,
    ),
    (
        "PERSISTENT RESERVE IN, READ FULL STATUS",
        &[0x5E, 0x03],
        FREE,
    ),
    ("REPORT TARGET PORT GROUPS", &[0xA3, 0x0A], FREE),
    ("REPORT ALIASES", &[0xA3, 0x0B], FREE),
    ("REPORT PRIORITY", &[0xA3, 0x0E], FREE),
    ("REPORT TIMESTAMP", &[0xA3, 0x0F], FREE),
    ("REPORT IDENTIFYING INFORMATION", &[0xA3, 0x05], FREE),
    ("READ MEDIA SERIAL NUMBER", &[0xAB, 0x01], FREE),
    ("START STOP UNIT, start", &[0x1B, 0, 0, 0, 0x01, 0], FREE),
    ("PREVENT ALLOW, allow", &[0x1E, 0, 0, 0, 0x00, 0], FREE),
    ("READ(6)", &[0x08], READS),
    ("READ(10)", &[0x28], READS),
    ("READ(12)", &[0xA8], READS),
    ("READ(16)", &[0x88], READS),
    ("VERIFY(10)", &[0x2F], READS),
    ("VERIFY(10), compared", &[0x2F, 0x02], READS),
    ("VERIFY(12)", &[0xAF], READS),
    ("VERIFY(16)", &[0x8F], READS),
    ("PRE-FETCH(10)", &[0x34], READS),
    ("PRE-FETCH(16)", &[0x90], READS),
    ("GET LBA STATUS", &[0x9E, 0x12], READS),
    ("READ DEFECT DATA(10)", &[0x37], READS),
    ("READ DEFECT DATA(12)", &[0xB7], READS),
    ("MODE SENSE(6)", &[0x1A], READS),
    ("MODE SENSE(10)", &[0x5A], READS),
    ("READ BUFFER", &[0x3C], READS),
    ("RECEIVE DIAGNOSTIC RESULTS", &[0x1C], READS),
    ("READ ATTRIBUTE", &[0x8C], READS),
    ("SECURITY PROTOCOL IN", &[0xA2], READS),
    ("REPORT SUPPORTED OPERATION CODES", &[0xA3, 0x0C], READS),
    (
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        &[0xA3, 0x0D],
        READS,
    ),
    ("WRITE(6)", &[0x0A], WRITES),
    ("WRITE(10)", &[0x2A], WRITES),
    ("WRITE(12)", &[0xAA], WRITES),
    ("WRITE(16)", &[0x8A], WRITES),
    ("WRITE AND VERIFY(10)", &[0x2E], WRITES),
    ("WRITE AND VERIFY(12)", &[0xAE], WRITES),
    ("WRITE AND VERIFY(16)", &[0x8E], WRITES),
    ("WRITE SAME(10)", &[0x41], WRITES),
    ("WRITE SAME(10), unmap", &[0x41, 0x08], WRITES),
    ("WRITE SAME(16)", &[0x93], WRITES),
    ("WRITE SAME(16), unmap", &[0x93, 0x08], WRITES),
    ("UNMAP", &[0x42], WRITES),
    ("COMPARE AND WRITE", &[0x89], WRITES),
    ("ORWRITE(16)", &[0x8B], WRITES),
    ("WRITE ATOMIC(16)", &[0x9C], WRITES),
    ("WRITE LONG(10)", &[0x3F], WRITES),
    ("WRITE LONG(16)", &[0x9F, 0x11], WRITES),
    ("SANITIZE", &[0x48], WRITES),
    ("FORMAT UNIT", &[0x04], WRITES),
    ("REASSIGN BLOCKS", &[0x07], WRITES),
    ("SYNCHRONIZE CACHE(10)", &[0x35], WRITES),
    ("SYNCHRONIZE CACHE(16)", &[0x91], WRITES),
    ("EXTENDED COPY", &[0x83], WRITES),
    ("MODE SELECT(6)", &[0x15], WRITES),
    ("MODE SELECT(10)", &[0x55], WRITES),
    ("LOG SELECT", &[0x4C], WRITES),
    ("WRITE BUFFER", &[0x3B], WRITES),
    ("SEND DIAGNOSTIC", &[0x1D], WRITES),
    ("SECURITY PROTOCOL OUT", &[0xB5], WRITES),
    ("SET TARGET PORT GROUPS", &[0xA4, 0x0A], WRITES),
    ("SET TIMESTAMP", &[0xA4, 0x0F], WRITES),
    ("WRITE ATTRIBUTE", &[0x8D], WRITES),
    ("START STOP UNIT, stop", &[0x1B, 0, 0, 0, 0x00, 0], WRITES),
    ("START STOP UNIT, eject", &[0x1B, 0, 0, 0, 0x02, 0], WRITES),
    (
        "START STOP UNIT, standby",
        &[0x1B, 0, 0, 0, 0x30, 0],
        WRITES,
    ),
    ("PREVENT ALLOW, prevent", &[0x1E, 0, 0, 0, 0x01, 0], WRITES),
    ("unknown operation code", &[0xEE], WRITES),
    ("unknown service action in", &[0x9E, 0x1F], WRITES),
    ("vendor's operation code", &[0xC1], WRITES),
];

/// A logical unit that `h` has reserved and with which `r` is registered; `u` is not.
fn reserved(kind: ReservationType) -> Reservations {
    let state = registered(&[("h", 1), ("r", 2)]);
    RequestBuilder::reserve(1, kind).run(&state, "h").unwrap().0
}

pub(crate) fn column(kind: ReservationType, who: &str) -> usize {
    match (who, kind.serves_registrants(), kind.exclusive_access()) {
        (_, false, exclusive) => usize::from(exclusive),
        ("r", true, _) => 2,
        (_, true, exclusive) => 3 + usize::from(exclusive),
    }
}

#[test]
fn every_command_under_every_reservation() {
    assert!(TABLE.len() >= 45);
    for kind in ReservationType::ALL {
        let state = reserved(kind);
        for (name, cdb, row) in TABLE {
            let may = |who: &str| state.permits(&nexus(who), access(cdb));
            assert!(may("h"), "{name}: the holder under {kind}");
            for who in ["r", "u"] {
                let expected = row.as_bytes()[column(kind, who)] == b'A';
                assert_eq!(may(who), expected, "{name}: {who} under {kind}");
            }
        }
    }
}

#[test]
fn without_a_reservation_everything_is_allowed() {
    let state = registered(&[("h", 1)]);
    for (name, cdb, _) in TABLE {
        assert!(state.permits(&nexus("u"), access(cdb)), "{name}");
    }
}

/// SPC-4, "Exceptions to SPC-2 RESERVE and RELEASE behavior".
#[test]
fn old_reservations_conflict_with_registrations() {
    for code in [0x16, 0x17, 0x56, 0x57] {
        assert_eq!(access(&[code]), Access::Legacy);
    }
    assert_eq!(Reservations::default().legacy(&nexus("u")), None);
    assert_eq!(registered(&[("r", 1)]).legacy(&nexus("r")), Some(false));
    for kind in ReservationType::ALL {
        let state = reserved(kind);
        assert_eq!(state.legacy(&nexus("h")), Some(true), "{kind}");
        assert_eq!(
            state.legacy(&nexus("r")),
            Some(kind.serves_registrants()),
            "{kind}"
        );
        assert_eq!(state.legacy(&nexus("u")), Some(false), "{kind}");
    }
}
