//! RESERVE and RELEASE of SPC-2.

use super::common::{Disk, Ended, READ, RELEASE, RESERVE, WRITE};
use crate::pr::common::RequestBuilder;

#[test]
fn one_nexus_at_a_time() {
    let mut disk = Disk::of(&["a", "b"]);
    assert_eq!(disk.end("a", &RESERVE), Ended::Good);
    assert_eq!(disk.end("a", &RESERVE), Ended::Good, "again");
    assert_eq!(disk.end("b", &RESERVE), Ended::Conflict);
    assert_eq!(disk.end("b", &RELEASE), Ended::Good, "releases nothing");
    assert_eq!(disk.end("b", &READ), Ended::Conflict);
    assert_eq!(disk.end("a", &WRITE), Ended::Good);
    assert_eq!(disk.end("a", &RELEASE), Ended::Good);
    assert_eq!(disk.end("b", &RESERVE), Ended::Good);
}

/// SPC-2, "Reservations": it ends with the nexus, and with a reset.
#[test]
fn it_ends_with_the_nexus_and_with_a_reset() {
    type End = fn(&mut Disk);
    let ends: [(&str, End); 3] = [
        ("loss", |disk| disk.lose("a")),
        ("reinstatement", |disk| {
            disk.attach("a");
        }),
        ("reset", |disk| disk.unit.reset()),
    ];
    for (name, end) in ends {
        let mut disk = Disk::of(&["a", "b"]);
        assert_eq!(disk.end("a", &RESERVE), Ended::Good);
        end(&mut disk);
        disk.drain("b");
        assert_eq!(disk.end("b", &WRITE), Ended::Good, "{name}");
        assert_eq!(disk.end("b", &RESERVE), Ended::Good, "{name}");
    }
}

#[test]
fn the_loss_of_another_nexus_does_not_end_it() {
    let mut disk = Disk::of(&["a", "b", "c"]);
    assert_eq!(disk.end("a", &RESERVE), Ended::Good);
    disk.lose("c");
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
}

/// The two kinds do not mix: while one is in force, commands of the other conflict, for the holder too.
#[test]
fn the_two_kinds_do_not_mix() {
    let register = RequestBuilder::register(0, 1);
    let mut disk = Disk::of(&["a", "b"]);
    assert_eq!(disk.end("a", &RESERVE), Ended::Good);
    assert_eq!(disk.out("a", &register), Ended::Conflict);
    assert_eq!(disk.out("b", &register), Ended::Conflict);
    assert_eq!(disk.end("a", &RELEASE), Ended::Good);
    disk.register("a", 1);
    assert_eq!(
        disk.end("a", &RESERVE),
        Ended::Conflict,
        "registered, but not reserved"
    );
    assert_eq!(disk.end("b", &RESERVE), Ended::Conflict);
}

/// A reservation of the one kind that comes between the two steps of a command of the other.
#[test]
fn an_old_reservation_between_command_and_parameter_list() {
    let mut disk = Disk::of(&["a", "b"]);
    let (cdb, list) = RequestBuilder::register(0, 1).wire();
    assert_eq!(disk.end("a", &cdb), Ended::Good, "let through");
    assert_eq!(disk.end("b", &RESERVE), Ended::Good);
    let id = disk.id("a");
    match disk.unit.parameters(id, &cdb, &list) {
        scsi::lu::Continued::Done(reply) => assert_eq!(Ended::from(reply), Ended::Conflict),
        other => panic!("{other:?}"),
    }
    assert!(disk.unit.reservations().registrations().is_empty());
}

#[test]
fn none_is_made_while_registrations_are_made_durable() {
    let mut disk = Disk::of(&["a", "b"]);
    let prepared = disk.prepare("a", &RequestBuilder::register(0, 1)).unwrap();
    assert_eq!(disk.end("b", &RESERVE), Ended::Busy);
    assert_eq!(Ended::from(disk.unit.commit(prepared)), Ended::Good);
    assert_eq!(disk.end("b", &RESERVE), Ended::Conflict);
}
