//! Every command × every type × {unregistered, registered, holder} through [`scsi::lu::LogicalUnit::begin`], and every
//! command with a unit attention waiting, and under an SPC-2 reservation.

use scsi::lu::Begun;
use scsi::pr::ReservationType;
use scsi::{AdditionalSense, Status};

use super::common::{Disk, Ended, RESERVE, attention};
use crate::pr::access_matrix::{TABLE, column};

fn full(cdb: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..cdb.len()].copy_from_slice(cdb);
    bytes
}

/// Holder `h` with key 1, registrant `r` with key 2, and `u`, who is not registered.
fn reserved(kind: ReservationType) -> Disk {
    let mut disk = Disk::of(&["h", "r", "u"]);
    disk.register("h", 1);
    disk.register("r", 2);
    disk.reserve("h", 1, kind);
    disk
}

#[test]
fn every_command_under_every_reservation() {
    let mut checked = 0;
    for kind in ReservationType::ALL {
        for (name, cdb, row) in TABLE {
            for who in ["h", "r", "u"] {
                let mut disk = reserved(kind);
                let allowed = who == "h" || row.as_bytes()[column(kind, who)] == b'A';
                let conflict = disk.end(who, &full(cdb)) == Ended::Conflict;
                assert_eq!(conflict, !allowed, "{name}: {who} under {kind}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 45 * 6 * 3, "{checked}");
}

/// A conflict moves no data, and what conflicts asks for no parameter list.
#[test]
fn a_conflict_is_a_status_alone() {
    for kind in ReservationType::ALL {
        let mut disk = reserved(kind);
        for (name, cdb, _) in TABLE {
            if let Begun::Done(reply) = disk.begin("u", &full(cdb))
                && reply.status == Status::RESERVATION_CONFLICT
            {
                assert!(reply.data.is_empty() && reply.sense.is_none(), "{name}");
            }
        }
    }
}

/// SPC-4, "Exceptions to SPC-2 RESERVE and RELEASE behavior".
#[test]
fn old_reservations_under_every_type() {
    for kind in ReservationType::ALL {
        for code in [0x16, 0x17, 0x56, 0x57] {
            let mut disk = reserved(kind);
            let cdb = full(&[code]);
            let registrant = if kind.serves_registrants() {
                Ended::Good
            } else {
                Ended::Conflict
            };
            assert_eq!(disk.end("h", &cdb), Ended::Good, "{kind} {code:x}");
            assert_eq!(disk.end("r", &cdb), registrant, "{kind} {code:x}");
            assert_eq!(disk.end("u", &cdb), Ended::Conflict, "{kind} {code:x}");
            // GOOD has no effect: the registrant is not kept out by what the holder was allowed to say.
            assert_eq!(disk.end("h", &full(&[0x2A])), Ended::Good);
            if kind.serves_registrants() {
                assert_eq!(
                    disk.end("r", &full(&[0x2A])),
                    Ended::Good,
                    "{kind} {code:x}"
                );
            }
        }
    }
}

/// SAM-5, "Unit attention conditions": INQUIRY and REPORT LUNS leave it waiting, REQUEST SENSE tells it as data, every
/// other command ends with it, once, and is not carried out.
#[test]
fn every_command_with_a_unit_attention() {
    let what = AdditionalSense::CAPACITY_DATA_HAS_CHANGED;
    for (name, cdb, _) in TABLE {
        let mut disk = Disk::of(&["a"]);
        disk.unit.resize(500);
        let ended = disk.end("a", &full(cdb));
        match *name {
            "INQUIRY" | "REPORT LUNS" => {
                assert_ne!(ended, attention(what), "{name}");
                assert_eq!(disk.drain("a"), [what], "{name}");
            }
            "REQUEST SENSE" => {
                assert_eq!(ended, Ended::Good);
                assert_eq!(disk.drain("a"), []);
            }
            _ => {
                assert_eq!(ended, attention(what), "{name}");
                assert_eq!(disk.drain("a"), [], "{name}: told once");
            }
        }
    }
}

/// SAM-5, "Status precedence": a conflict comes before every unit attention but those of ASC 29h, and leaves it waiting.
#[test]
fn every_command_with_a_unit_attention_under_a_reservation() {
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    for (name, cdb, row) in TABLE {
        let conflicts = row.as_bytes()[column(kind, "u")] == b'C';
        let mut disk = reserved(kind);
        disk.unit.resize(500);
        let changed = AdditionalSense::CAPACITY_DATA_HAS_CHANGED;
        let ended = disk.end("u", &full(cdb));
        assert_eq!(ended == Ended::Conflict, conflicts, "{name}");
        if conflicts {
            assert_eq!(disk.drain("u"), [changed], "{name}");
            disk.unit.reset();
            let reset = AdditionalSense::BUS_DEVICE_RESET;
            assert_eq!(disk.end("u", &full(cdb)), attention(reset), "{name}");
            assert_eq!(disk.end("u", &full(cdb)), Ended::Conflict, "{name}");
        }
    }
}

/// What another nexus may do while the disk is reserved as by SPC-2 ("Reservations" there and in SBC-2): a list of its
/// own.
const PASSES: &[&str] = &[
    "INQUIRY",
    "REPORT LUNS",
    "REQUEST SENSE",
    "LOG SENSE",
    "READ CAPACITY(10)",
    "READ CAPACITY(16)",
    "READ MEDIA SERIAL NUMBER",
    "START STOP UNIT, start",
    "PREVENT ALLOW, allow",
];

#[test]
fn every_command_under_an_old_reservation() {
    for (name, cdb, _) in TABLE {
        let mut disk = Disk::of(&["h", "u"]);
        assert_eq!(disk.end("h", &RESERVE), Ended::Good);
        let persistent = cdb[0] == 0x5E;
        let own = disk.end("h", &full(cdb));
        assert_eq!(own == Ended::Conflict, persistent, "{name}: the holder");
        let other = disk.end("u", &full(cdb));
        let passes = PASSES.contains(name);
        assert_eq!(other == Ended::Conflict, !passes, "{name}: another");
    }
}
