//! PERSISTENT RESERVE OUT in two steps: what must be durable, what counts when, whose commands are aborted; and how long
//! registrations last.

use scsi::lu::Continued;
use scsi::pr::{OutAction, RelativePort, ReservationType, Reservations, TransportId};
use scsi::{AdditionalSense as A, SenseKey};

use super::common::{Disk, Ended, TEST_UNIT_READY, WRITE, attention, config, illegal};
use crate::pr::common::{RequestBuilder, nexus_at, port, registered};

const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

fn fenced(key: u64, victim: u64) -> RequestBuilder {
    RequestBuilder::new(OutAction::PreemptAndAbort, key, victim).kind(WERO)
}

fn aptpl(mut request: RequestBuilder) -> RequestBuilder {
    request.parameters.aptpl = true;
    request
}

/// `a` and `b` with keys 1 and 2; `a` has reserved.
fn reserved() -> Disk {
    let mut disk = Disk::of(&["a", "b", "u"]);
    disk.register("a", 1);
    disk.register("b", 2);
    disk.reserve("a", 1, WERO);
    disk
}

/// SPC-4, "Registering": a registration is the nexus's, whatever becomes of its sessions.
#[test]
fn registrations_outlive_sessions_and_resets() {
    let mut disk = reserved();
    disk.lose("a");
    disk.lose("b");
    assert_eq!(disk.end("u", &WRITE), Ended::Conflict);
    disk.attach_quietly("b");
    assert_eq!(disk.end("b", &WRITE), Ended::Good, "after a new login");
    disk.attach_quietly("b");
    assert_eq!(disk.end("b", &WRITE), Ended::Good, "after reinstatement");
    disk.unit.reset();
    disk.drain("b");
    disk.drain("u");
    assert_eq!(disk.end("b", &WRITE), Ended::Good, "after a reset");
    assert_eq!(disk.end("u", &WRITE), Ended::Conflict, "after a reset");
    disk.attach_quietly("a");
    let release = RequestBuilder::new(OutAction::Release, 1, 0).kind(WERO);
    assert_eq!(disk.out("a", &release), Ended::Good, "still the holder");
}

#[test]
fn what_stable_storage_kept_counts_from_the_start() {
    let mut before = reserved();
    let again = RequestBuilder::new(OutAction::RegisterAndIgnoreExistingKey, 0, 1);
    assert_eq!(before.out("a", &aptpl(again)), Ended::Good);
    let kept = before.unit.reservations();
    let kept = Reservations::restore(kept.registrations().to_vec(), kept.held().cloned()).unwrap();
    let mut disk = Disk::with(config(), kept);
    for name in ["a", "b", "u"] {
        disk.attach_quietly(name);
    }
    assert_eq!(disk.unit.reservations().generation(), 0);
    assert_eq!(disk.end("a", &WRITE), Ended::Good);
    assert_eq!(disk.end("b", &WRITE), Ended::Good);
    assert_eq!(disk.end("u", &WRITE), Ended::Conflict);
}

/// SPC-4, "Preserving persistent reservations and registrations through power loss": with APTPL every change is durable
/// first; without, none; and switching it off is itself such a change.
#[test]
fn what_must_be_durable_first() {
    let mut disk = Disk::of(&["a", "b"]);
    let mut must = |name: &str, request: &RequestBuilder| {
        let prepared = disk.prepare(name, request).unwrap();
        let must = prepared.must_persist();
        assert_eq!(Ended::from(disk.unit.commit(prepared)), Ended::Good);
        (must, disk.unit.reservations().aptpl())
    };
    let reserve = RequestBuilder::reserve(1, WERO);
    let release = RequestBuilder::new(OutAction::Release, 1, 0).kind(WERO);
    let again = RequestBuilder::new(OutAction::RegisterAndIgnoreExistingKey, 0, 1);
    assert_eq!(must("a", &RequestBuilder::register(0, 1)), (false, false));
    assert_eq!(must("a", &reserve), (false, false));
    assert_eq!(must("a", &aptpl(again.clone())), (true, true), "on");
    assert_eq!(must("a", &release), (true, true));
    assert_eq!(must("a", &release), (false, true), "nothing to release");
    assert_eq!(must("a", &reserve), (true, true));
    assert_eq!(must("a", &reserve), (false, true), "reserved already");
    assert_eq!(
        must("b", &aptpl(RequestBuilder::register(0, 2))),
        (true, true)
    );
    assert_eq!(must("a", &fenced(1, 2)), (true, true));
    assert_eq!(must("a", &again), (true, false), "off");
    assert_eq!(must("a", &release), (false, false));
}

#[test]
fn a_change_counts_from_commit_on() {
    let mut disk = reserved();
    let prepared = disk.prepare("a", &fenced(1, 2)).unwrap();
    assert_eq!(prepared.issuer(), disk.id("a"));
    assert_eq!(prepared.next().registrations().len(), 1);
    assert_eq!(disk.end("b", &WRITE), Ended::Good, "not yet fenced");
    assert_eq!(disk.end("b", &TEST_UNIT_READY), Ended::Good, "not yet told");
    assert_eq!(prepared.aborts(), [disk.id("b")]);
    assert_eq!(Ended::from(disk.unit.commit(prepared)), Ended::Good);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
}

#[test]
fn what_cannot_be_durable_changes_nothing() {
    let mut disk = reserved();
    let before = disk.unit.reservations().clone();
    let prepared = disk.prepare("a", &fenced(1, 2)).unwrap();
    let failed = Ended::Sense(SenseKey::HARDWARE_ERROR, A::INTERNAL_TARGET_FAILURE);
    assert_eq!(Ended::from(disk.unit.abandon(prepared)), failed);
    assert_eq!(*disk.unit.reservations(), before);
    assert_eq!(disk.end("b", &WRITE), Ended::Good);
    assert_eq!(disk.drain("b"), []);
    assert_eq!(
        disk.out("a", &fenced(1, 2)),
        Ended::Good,
        "it can be tried again"
    );
}

#[test]
fn one_change_at_a_time() {
    let mut disk = reserved();
    let prepared = disk.prepare("a", &fenced(1, 2)).unwrap();
    let other = RequestBuilder::register(2, 9);
    assert_eq!(disk.prepare("b", &other), Err(Ended::Busy));
    assert_eq!(Ended::from(disk.unit.commit(prepared)), Ended::Good);
    disk.drain("b");
    assert_eq!(disk.out("b", &other), Ended::Conflict, "its key is gone");
}

/// SPC-4, "Preempting and aborting": whose key was given, session or not. One who logs in while the change is made durable
/// is aborted like one who was there before.
#[test]
fn a_victim_that_logs_in_meanwhile_is_aborted_too() {
    let kept = registered(&[("a", 1), ("b", 2)]);
    let kept = Reservations::restore(kept.registrations().to_vec(), None).unwrap();
    let mut disk = Disk::with(config(), kept);
    disk.attach_quietly("a");
    disk.reserve("a", 1, WERO);
    let prepared = disk.prepare("a", &fenced(1, 2)).unwrap();
    let aborts = prepared.aborts().to_vec();
    // Others fill every place that is free; the victim's is not.
    for n in 0..200 {
        let name = format!("guest{n}");
        disk.attach(&name);
        disk.lose(&name);
    }
    disk.attach_quietly("b");
    assert_eq!(disk.end("b", &WRITE), Ended::Good, "still registered");
    assert_eq!(aborts, [disk.id("b")]);
    assert_eq!(Ended::from(disk.unit.commit(prepared)), Ended::Good);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
}

/// A conflict aborts nothing, nor does PREEMPT without ABORT.
#[test]
fn whose_commands_are_aborted() {
    let mut disk = reserved();
    assert_eq!(disk.prepare("u", &fenced(0, 2)), Err(Ended::Conflict));
    assert_eq!(disk.prepare("a", &fenced(9, 2)), Err(Ended::Conflict));
    assert_eq!(disk.prepare("a", &fenced(1, 9)), Err(Ended::Conflict));
    let gentle = RequestBuilder::new(OutAction::Preempt, 1, 2).kind(WERO);
    let prepared = disk.prepare("a", &gentle).unwrap();
    assert_eq!(prepared.aborts(), []);
    assert_eq!(
        Ended::from(disk.unit.abandon(prepared)),
        Ended::Sense(SenseKey::HARDWARE_ERROR, A::INTERNAL_TARGET_FAILURE)
    );
    let own = disk.prepare("a", &fenced(1, 1)).unwrap();
    assert_eq!(own.aborts(), [disk.id("a")], "the issuer's other commands");
    assert_eq!(Ended::from(disk.unit.commit(own)), Ended::Good);
    assert_eq!(disk.drain("a"), [], "but it is not told what it did");
}

/// The fenced node cannot fence back: its key is gone, and registering anew does not make it the holder.
#[test]
fn who_was_fenced_cannot_fence_back() {
    let mut disk = reserved();
    assert_eq!(disk.out("a", &fenced(1, 2)), Ended::Good);
    disk.drain("b");
    assert_eq!(disk.out("b", &fenced(2, 1)), Ended::Conflict);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
}

/// SPC-4, "PREVENT ALLOW MEDIUM REMOVAL command": it ends for whose commands are aborted.
#[test]
fn who_is_fenced_no_longer_prevents_removal() {
    let (prevent, eject) = ([0x1E, 0, 0, 0, 1, 0], [0x1B, 0, 0, 0, 2, 0]);
    let mut disk = reserved();
    assert_eq!(disk.end("b", &prevent), Ended::Good);
    assert_eq!(disk.end("a", &eject), illegal(A::MEDIUM_REMOVAL_PREVENTED));
    assert_eq!(disk.out("a", &fenced(1, 2)), Ended::Good);
    assert_eq!(disk.end("a", &eject), Ended::Good);
}

/// SPEC_I_PT, ALL_TG_PT and REGISTER AND MOVE concern nexuses that may have no session.
#[test]
fn others_can_be_registered_and_given_the_reservation() {
    let mut disk = Disk::of(&["a", "b", "u"]);
    let mut named = RequestBuilder::register(0, 1);
    named.parameters.initiators = Some(vec![
        TransportId::Port(port("absent")),
        TransportId::Device("iqn.2026-11.test:b".into()),
    ]);
    named.parameters.all_target_ports = true;
    assert_eq!(disk.out("a", &named), Ended::Good);
    let registrations = disk.unit.reservations().registrations();
    assert_eq!(
        registrations.len(),
        6,
        "three initiator ports at two target ports"
    );
    disk.reserve("a", 1, WERO);
    assert_eq!(
        disk.end("b", &WRITE),
        Ended::Good,
        "found by its device's name"
    );
    assert_eq!(disk.end("u", &WRITE), Ended::Conflict);
    let other = nexus_at("a", 2);
    let id = disk.unit.attach(&other).unwrap();
    assert_eq!(disk.unit.nexus(id), Some(&other));
    assert_ne!(id, disk.id("a"));

    let mut give = RequestBuilder::new(OutAction::RegisterAndMove, 1, 5);
    let to = TransportId::Port(port("far"));
    give.parameters.move_to = Some((to, RelativePort(1), true));
    assert_eq!(disk.out("a", &give), Ended::Good);
    assert_eq!(
        disk.end("a", &WRITE),
        Ended::Conflict,
        "no longer registered"
    );
    disk.attach_quietly("far");
    let release = RequestBuilder::new(OutAction::Release, 5, 0).kind(WERO);
    assert_eq!(disk.out("far", &release), Ended::Good, "the holder");
}

#[test]
fn there_is_room_for_so_many_registrations() {
    let mut limited = config();
    limited.limits.registrations = 2;
    let mut disk = Disk::with(limited, Reservations::default());
    for (name, key) in [("a", 1), ("b", 2)] {
        disk.attach_quietly(name);
        disk.register(name, key);
    }
    disk.attach_quietly("c");
    let full = illegal(A::INSUFFICIENT_REGISTRATION_RESOURCES);
    assert_eq!(disk.out("c", &RequestBuilder::register(0, 3)), full);
}

#[test]
fn parameter_lists_of_another_length() {
    let mut disk = Disk::of(&["a"]);
    let (cdb, list) = RequestBuilder::register(0, 1).wire();
    let wrong = illegal(A::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(
        disk.send_end("a", &cdb, &list[..23]),
        wrong,
        "data are missing"
    );
    let longer = [list.as_slice(), &[7; 9]].concat();
    assert_eq!(
        disk.send_end("a", &cdb, &longer),
        Ended::Good,
        "not looked at"
    );
    let mut short = cdb;
    short[8] = 23;
    assert_eq!(disk.send_end("a", &short, &list), wrong);
    let id = disk.id("a");
    let other = disk.unit.parameters(id, &WRITE, &list);
    assert!(
        matches!(other, Continued::Done(reply) if Ended::from(reply.clone()) == illegal(A::INVALID_FIELD_IN_CDB))
    );
}

#[test]
fn a_waiting_unit_attention_comes_before_a_change() {
    let mut disk = Disk::of(&["a"]);
    disk.unit.reset();
    let register = RequestBuilder::register(0, 1);
    assert_eq!(disk.out("a", &register), attention(A::BUS_DEVICE_RESET));
    assert!(disk.unit.reservations().registrations().is_empty());
    assert_eq!(disk.out("a", &register), Ended::Good);
}
