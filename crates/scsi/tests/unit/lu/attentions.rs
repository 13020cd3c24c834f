//! Unit attentions (SAM-5, "Unit attention conditions"; SPC-4, the clauses of each service action): what brings them, to
//! whom, and that nobody is told what it did itself.

use scsi::lu::{Begun, NoRoom};
use scsi::mode::{CONTROL, Page, Parameters, select_cdb};
use scsi::pr::{OutAction, ReservationType, Reservations};
use scsi::{AdditionalSense as A, Sense};

use super::common::{Disk, Ended, TEST_UNIT_READY, WRITE, attention, config};
use crate::pr::common::{RequestBuilder, nexus, registered};

const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// `a`, `b`, `c` with keys 1, 2, 3; `a` has reserved.
fn reserved(kind: ReservationType) -> Disk {
    let mut disk = Disk::of(&["a", "b", "c", "u"]);
    for (name, key) in [("a", 1), ("b", 2), ("c", 3)] {
        disk.register(name, key);
    }
    disk.reserve("a", 1, kind);
    disk
}

fn told(disk: &mut Disk) -> [Vec<A>; 4] {
    ["a", "b", "c", "u"].map(|name| disk.drain(name))
}

#[test]
fn whoever_comes_is_told_that_the_power_came_on_and_later_that_it_was_lost() {
    let mut disk = Disk::new();
    let first = disk.attach("a");
    let on = attention(A::POWER_ON_OR_RESET);
    assert_eq!(disk.end("a", &TEST_UNIT_READY), on);
    assert_eq!(disk.end("a", &TEST_UNIT_READY), Ended::Good, "once");
    disk.lose("a");
    assert_eq!(disk.attach("a"), first, "the same nexus, the same number");
    assert_eq!(disk.end("a", &TEST_UNIT_READY), attention(A::NEXUS_LOSS));
    disk.attach("a");
    assert_eq!(disk.end("a", &TEST_UNIT_READY), attention(A::NEXUS_LOSS));
    assert_eq!(disk.end("a", &TEST_UNIT_READY), Ended::Good);
}

#[test]
fn of_resets_and_losses_the_gravest_is_told_first_and_alone() {
    let mut disk = Disk::new();
    disk.attach("a");
    disk.unit.resize(10);
    disk.lose("a");
    disk.attach("a");
    disk.unit.reset();
    let expected = [A::POWER_ON_OR_RESET, A::CAPACITY_DATA_HAS_CHANGED];
    assert_eq!(disk.drain("a"), expected);
    disk.lose("a");
    disk.attach("a");
    disk.unit.reset();
    assert_eq!(disk.drain("a"), [A::BUS_DEVICE_RESET]);
}

#[test]
fn a_reset_is_told_to_everybody() {
    let mut disk = Disk::of(&["a", "b"]);
    disk.unit.reset();
    assert_eq!(disk.drain("a"), [A::BUS_DEVICE_RESET]);
    assert_eq!(disk.drain("b"), [A::BUS_DEVICE_RESET]);
}

#[test]
fn each_is_told_once_and_in_order() {
    let mut disk = Disk::of(&["a"]);
    disk.unit.luns_changed();
    disk.unit.resize(10);
    disk.unit.luns_changed();
    let id = disk.id("a");
    disk.unit.commands_cleared(id);
    let expected = [
        A::REPORTED_LUNS_DATA_HAS_CHANGED,
        A::CAPACITY_DATA_HAS_CHANGED,
        A::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
    ];
    assert_eq!(disk.drain("a"), expected);
}

#[test]
fn who_has_the_list_of_units_is_not_told_that_it_changed() {
    let mut disk = Disk::of(&["a", "b"]);
    disk.unit.luns_changed();
    disk.unit.luns_reported(disk.id("a"));
    assert_eq!(disk.drain("a"), []);
    assert_eq!(disk.drain("b"), [A::REPORTED_LUNS_DATA_HAS_CHANGED]);
}

#[test]
fn sense_data_come_in_the_format_that_is_asked_for() {
    let mut disk = Disk::of(&["a"]);
    disk.unit.resize(10);
    let data = disk.reply("a", &[0x03, 0x01, 0, 0, 252, 0]).data;
    assert_eq!(data[0], 0x72);
    let sense = Sense::attention(A::CAPACITY_DATA_HAS_CHANGED);
    assert_eq!(Sense::parse(&data), Ok(sense));
}

#[test]
fn clearing_tells_the_other_registrants() {
    let mut disk = reserved(WERO);
    let clear = RequestBuilder::new(OutAction::Clear, 2, 0);
    assert_eq!(disk.out("b", &clear), Ended::Good);
    let gone = vec![A::RESERVATIONS_PREEMPTED];
    assert_eq!(told(&mut disk), [gone.clone(), vec![], gone, vec![]]);
}

/// SPC-4, "Releasing" and "Unregistering": who relied on the reservation hears that it is gone. Under the types that
/// served the holder alone nobody did.
#[test]
fn releasing_tells_the_other_registrants_if_the_type_served_them() {
    for kind in ReservationType::ALL {
        let release = RequestBuilder::new(OutAction::Release, 1, 0).kind(kind);
        let unregister = RequestBuilder::register(1, 0);
        for request in [&release, &unregister] {
            let mut disk = reserved(kind);
            assert_eq!(disk.out("a", request), Ended::Good);
            let goes = request.action == OutAction::Release || !kind.all_registrants();
            let others = if kind.serves_registrants() && goes {
                vec![A::RESERVATIONS_RELEASED]
            } else {
                vec![]
            };
            let expected = [vec![], others.clone(), others, vec![]];
            assert_eq!(told(&mut disk), expected, "{kind} {:?}", request.action);
        }
    }
}

#[test]
fn preempting_tells_its_victims() {
    for action in [OutAction::Preempt, OutAction::PreemptAndAbort] {
        let mut disk = reserved(WERO);
        let preempt = RequestBuilder::new(action, 2, 3).kind(WERO);
        assert_eq!(disk.out("b", &preempt), Ended::Good);
        let gone = vec![A::REGISTRATIONS_PREEMPTED];
        assert_eq!(told(&mut disk), [vec![], vec![], gone, vec![]]);
    }
}

#[test]
fn a_reservation_of_another_type_is_told_to_who_is_left() {
    let mut disk = reserved(WERO);
    let exclusive = ReservationType::ExclusiveAccessRegistrantsOnly;
    let preempt = RequestBuilder::new(OutAction::Preempt, 2, 1).kind(exclusive);
    assert_eq!(disk.out("b", &preempt), Ended::Good);
    let (gone, other) = (A::REGISTRATIONS_PREEMPTED, A::RESERVATIONS_RELEASED);
    assert_eq!(told(&mut disk), [vec![gone], vec![], vec![other], vec![]]);
}

/// SAM-5, "Status precedence": the fenced node's write conflicts at once; what happened to it is told by the next command
/// that does not.
#[test]
fn a_victims_write_conflicts_before_it_is_told_why() {
    let mut disk = reserved(WERO);
    let fence = RequestBuilder::new(OutAction::PreemptAndAbort, 1, 2).kind(WERO);
    assert_eq!(disk.out("a", &fence), Ended::Good);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
    let gone = attention(A::REGISTRATIONS_PREEMPTED);
    assert_eq!(disk.end("b", &TEST_UNIT_READY), gone);
    assert_eq!(disk.end("b", &TEST_UNIT_READY), Ended::Good);
    assert_eq!(disk.end("b", &WRITE), Ended::Conflict);
}

/// A victim that has no session is told when it has one, after what its login brings.
#[test]
fn a_victim_that_is_away_is_told_when_it_comes_back() {
    let mut disk = reserved(WERO);
    disk.lose("b");
    let fence = RequestBuilder::new(OutAction::PreemptAndAbort, 1, 2).kind(WERO);
    assert_eq!(disk.out("a", &fence), Ended::Good);
    disk.attach("b");
    let expected = [A::NEXUS_LOSS, A::REGISTRATIONS_PREEMPTED];
    assert_eq!(disk.drain("b"), expected);
}

/// Registered before the power went, and fenced before it came back.
#[test]
fn a_victim_that_was_never_here_is_told_when_it_comes() {
    let kept = registered(&[("a", 1), ("b", 2)]);
    let kept = Reservations::restore(kept.registrations().to_vec(), None).unwrap();
    let mut disk = Disk::with(config(), kept);
    disk.attach_quietly("a");
    let fence = RequestBuilder::new(OutAction::PreemptAndAbort, 1, 2).kind(WERO);
    assert_eq!(disk.out("a", &fence), Ended::Good);
    disk.attach("b");
    let expected = [A::POWER_ON_OR_RESET, A::REGISTRATIONS_PREEMPTED];
    assert_eq!(disk.drain("b"), expected);
}

fn control(byte_2: u8, byte_5: u8) -> Vec<u8> {
    let mut body = vec![0; 10];
    (body[0], body[1], body[3]) = (byte_2, 0x10, byte_5);
    let page = Page {
        code: CONTROL,
        subpage: None,
        saveable: false,
        body,
    };
    let list = Parameters {
        write_protected: false,
        dpo_fua: false,
        descriptor: None,
        pages: vec![page],
    };
    list.encode(true)
}

#[test]
fn changed_mode_pages_are_told_to_the_others() {
    let mut disk = Disk::of(&["a", "b"]);
    let list = control(0x04, 0);
    let cdb = select_cdb(u16::try_from(list.len()).unwrap());
    assert_eq!(disk.send_end("a", &cdb, &list), Ended::Good);
    assert_eq!(disk.drain("a"), []);
    assert_eq!(disk.drain("b"), [A::MODE_PARAMETERS_CHANGED]);
    assert_eq!(disk.send_end("a", &cdb, &list), Ended::Good);
    assert_eq!(disk.drain("b"), [], "nothing changed");
    assert_eq!(
        disk.unit.encode_sense(&Sense::attention(A::NEXUS_LOSS))[0],
        0x72
    );
}

/// SPC-4, "Control mode page": with TAS = 1 aborted commands say so themselves.
#[test]
fn cleared_commands_are_told_unless_they_end_with_task_aborted() {
    let mut disk = Disk::of(&["a", "b"]);
    let id = disk.id("b");
    assert!(!disk.unit.task_aborted_status());
    disk.unit.commands_cleared(id);
    assert_eq!(disk.drain("b"), [A::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR]);
    let list = control(0, 0x40);
    let cdb = select_cdb(u16::try_from(list.len()).unwrap());
    assert_eq!(disk.send_end("a", &cdb, &list), Ended::Good);
    disk.drain("b");
    assert!(disk.unit.task_aborted_status());
    disk.unit.commands_cleared(id);
    assert_eq!(disk.drain("b"), []);
    disk.unit.reset();
    assert!(!disk.unit.task_aborted_status(), "the default");
}

#[test]
fn there_is_room_for_so_many_and_who_is_gone_makes_room() {
    let mut disk = Disk::new();
    let names: Vec<String> = (0..8).map(|n| format!("n{n}")).collect();
    for name in &names {
        disk.attach_quietly(name);
    }
    assert_eq!(disk.unit.attach(&nexus("late")), Err(NoRoom));
    disk.register("n0", 7);
    disk.lose("n0");
    disk.lose("n1");
    // Hundreds come and go: whoever is registered keeps its number, and everybody attached is served.
    let most = config().limits.nexuses + config().limits.registrations;
    for n in 0..300 {
        let name = format!("guest{n}");
        assert!(disk.attach(&name).index() < most);
        assert_eq!(disk.drain(&name), [A::POWER_ON_OR_RESET]);
        disk.lose(&name);
    }
    let before = disk.id("n0");
    assert_eq!(disk.attach("n0"), before);
    assert_eq!(disk.drain("n0"), [A::NEXUS_LOSS], "it was remembered");
    assert_eq!(disk.end("n2", &TEST_UNIT_READY), Ended::Good);
}

#[test]
fn a_nexus_that_is_unknown_gets_nothing() {
    let mut disk = Disk::of(&["a", "b"]);
    let mut other = Disk::of(&["x", "y", "z"]);
    let foreign = other.attach("z");
    let Begun::Done(reply) = disk.unit.begin(foreign, &WRITE) else {
        panic!("it was let through");
    };
    assert_eq!(
        reply.sense.map(|sense| sense.additional),
        Some(A::INTERNAL_TARGET_FAILURE)
    );
}
