//! Looking at guests and switching them.

use std::time::Duration;

use hypervisor::rhevm::{Rhevm, Settings};
use hypervisor::{Deadline, ErrorKind, GuestState, Hypervisor as _, Means, Power};

use crate::{World, fails, in_vain, named, soon};

#[test]
fn one_guest_is_asked_for_not_all() {
    let world = World::new("--guests 50");
    let rhevm = world.admin();
    let seen = rhevm.observe(&named("node7"), soon()).unwrap();
    assert_eq!(
        (seen.guest.name.as_str(), seen.power()),
        ("node7", Power::On)
    );
    let by_id = rhevm
        .observe(&named(&seen.guest.uuid.to_string()), soon())
        .unwrap();
    assert_eq!(by_id.guest, seen.guest);
    let targets: Vec<String> = world.log().into_iter().map(|entry| entry.target).collect();
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert!(
        targets[1].ends_with("vms?search=name%3Dnode7"),
        "{targets:?}"
    );
}

/// I34: the engine's search ignores case and expands wildcards; what it finds is compared exactly.
#[test]
fn a_name_means_one_guest_or_none() {
    let world = World::new(
        "--guest Node1 --guest twin --guest twin,cluster=cluster2 --guest a%26b<c>'d --guest nöde --guest a%20b",
    );
    let rhevm = world.admin();
    for name in [
        "node*",
        "*",
        "NODE1",
        "node",
        "node1 ",
        "",
        "node1\" or name=\"node2",
        "node1 or name=node2",
        "node\n1",
    ] {
        fails(
            rhevm.observe(&named(name), soon()),
            ErrorKind::NoSuchGuest,
            "no guest",
        );
        fails(
            rhevm.power_off(&named(name), soon()),
            ErrorKind::NoSuchGuest,
            "no guest",
        );
    }
    for name in ["Node1", "node1", "a&b<c>'d", "nöde", "a b"] {
        assert_eq!(
            rhevm.observe(&named(name), soon()).unwrap().guest.name,
            name
        );
    }
    fails(
        rhevm.observe(&named("twin"), soon()),
        ErrorKind::Refused,
        "by its UUID",
    );
    fails(
        rhevm.power_off(&named("twin"), soon()),
        ErrorKind::Refused,
        "2 guests have this name",
    );
    fails(
        rhevm.observe(&named("6e0de000-0000-4000-8000-ffffffffffff"), soon()),
        ErrorKind::NoSuchGuest,
        "no guest",
    );
    assert!(
        world
            .engine
            .state()
            .world
            .guests
            .iter()
            .all(|guest| guest.stops == 0)
    );
}

#[test]
fn lists_are_whole() {
    let world = World::new("--guests 250 --guest elsewhere,cluster=cluster2");
    for (user, filter, wanted) in [
        ("admin@internal", false, 251),
        ("admin@internal", true, 251),
        ("fence@internal", true, 250),
        ("nobody@internal", true, 0),
    ] {
        let rhevm = Rhevm::new(Settings {
            filter,
            ..world.settings(user)
        });
        assert_eq!(rhevm.list(soon()).unwrap().len(), wanted, "{user} {filter}");
    }
    world.change("node9", |guest| guest.status = None);
    let listed = world.admin().list(soon()).unwrap();
    let odd: Vec<_> = listed
        .iter()
        .filter(|seen| seen.power() == Power::Unknown)
        .collect();
    assert_eq!(
        odd.len(),
        1,
        "one guest without a state does not hide the others"
    );
    assert!(listed.is_sorted_by_key(|seen| seen.guest.name.clone()));
}

/// Facts, section 3.5: which states can be stopped, and what becomes of each.
#[test]
fn every_state_is_stopped_or_refused_aloud() {
    for (state, means) in [
        ("down", Means::AlreadyOff),
        ("up", Means::Destroyed),
        ("powering_up", Means::Destroyed),
        ("powering_down", Means::Destroyed),
        ("reboot_in_progress", Means::Destroyed),
        ("wait_for_launch", Means::Destroyed),
        ("migrating", Means::Destroyed),
        ("paused", Means::Destroyed),
        ("not_responding", Means::Destroyed),
        ("suspended", Means::ImageDiscarded),
    ] {
        let world = World::new("--guests 1");
        world.state("node1", state);
        let off = world
            .admin()
            .power_off(&named("node1"), soon())
            .unwrap_or_else(|error| panic!("{state}: {error}"));
        assert_eq!(off.evidence.means, means, "{state}");
        assert_eq!(
            off.evidence.observation.state,
            GuestState::ShutOff,
            "{state}"
        );
        assert_eq!(world.guest("node1").status.as_deref(), Some("down"));
    }
    for state in ["unknown", "unassigned", "strange"] {
        let world = World::new("--guests 1");
        world.state("node1", state);
        fails(
            world.admin().power_off(&named("node1"), soon()),
            ErrorKind::Refused,
            "VM is not running",
        );
        assert_eq!(world.guest("node1").status.as_deref(), Some(state));
        fails(
            world.admin().power_on(&named("node1"), None, soon()),
            ErrorKind::CannotKnow,
            state,
        );
    }
}

/// States that pass are waited for, as long as there is time.
#[test]
fn a_guest_that_saves_its_memory_is_stopped_when_it_has() {
    let world = World::new("--guests 1");
    world.change("node1", |guest| {
        let now = std::time::Instant::now();
        guest.become_now("saving_state", guest.host.clone());
        guest.become_at(now + Duration::from_millis(300), "suspended", None);
    });
    let off = world.admin().power_off(&named("node1"), soon()).unwrap();
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert!(world.asked("/stop") > 1);

    world.state("node1", "saving_state");
    fails(
        world.admin().power_off(&named("node1"), in_vain()),
        ErrorKind::Refused,
        "saving or restoring",
    );
}

/// I09: no state is not "off", and is no reason not to try.
#[test]
fn a_guest_without_a_state_is_not_off() {
    let world = World::new("--guests 1");
    world.change("node1", |guest| guest.status = None);
    let rhevm = world.admin();
    let seen = rhevm.observe(&named("node1"), soon()).unwrap();
    assert_eq!(seen.power(), Power::Unknown);
    assert!(seen.to_string().contains("tells no state"), "{seen}");
    fails(
        rhevm.power_off(&named("node1"), soon()),
        ErrorKind::Refused,
        "not running",
    );
    assert_eq!(world.asked("/stop"), 1);
    fails(
        rhevm.power_on(&named("node1"), None, soon()),
        ErrorKind::CannotKnow,
        "tells no state",
    );
}

/// I36: during a backup a stop must be forced; engines that do not know how get the plain order.
#[test]
fn a_backup_does_not_keep_a_guest_alive() {
    let world = World::new("--guest busy,backup=yes");
    let off = world.admin().power_off(&named("busy"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
    assert!(world.guest("busy").reason.contains("fenced"));

    let world = World::new("--engine 4.3 --guest idle --guest busy,backup=yes");
    let rhevm = world.admin();
    let off = rhevm.power_off(&named("idle"), soon()).unwrap();
    assert_eq!(
        (off.evidence.means, world.asked("/stop")),
        (Means::Destroyed, 2)
    );
    fails(
        rhevm.power_off(&named("busy"), in_vain()),
        ErrorKind::Refused,
        "backup operation",
    );
}

#[test]
fn a_boot_is_afresh_and_seen() {
    let world = World::new("--guests 1");
    let rhevm = world.admin();
    assert_eq!(
        rhevm.power_on(&named("node1"), None, soon()).unwrap().means,
        Means::AlreadyOn
    );
    world.change("node1", |guest| guest.become_now("suspended", None));
    let on = rhevm.power_on(&named("node1"), None, soon()).unwrap();
    assert_eq!((on.means, on.observation.active), (Means::Started, true));
    let guest = world.guest("node1");
    assert_eq!(
        (guest.stops, guest.starts),
        (1, 1),
        "its saved memory was discarded first"
    );

    for host in &mut world.engine.state().world.hosts {
        host.status = "maintenance".to_owned();
    }
    rhevm.power_off(&named("node1"), soon()).unwrap();
    fails(
        rhevm.power_on(&named("node1"), None, soon()),
        ErrorKind::Refused,
        "scheduling constraints",
    );
}

#[test]
fn a_slow_engine_is_waited_for_until_the_deadline_and_no_longer() {
    let world = World::new("--guests 2 --transition 400");
    let rhevm = world.admin();
    assert_eq!(
        rhevm
            .power_off(&named("node1"), soon())
            .unwrap()
            .evidence
            .means,
        Means::Destroyed
    );
    let world = World::new("--guests 1 --transition 60000");
    let begun = std::time::Instant::now();
    fails(
        world.admin().power_off(&named("node1"), in_vain()),
        ErrorKind::CannotKnow,
        "in shutdown",
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn nothing_is_done_after_the_deadline() {
    let world = World::new("--guests 1");
    world.faults("path=vms%3Fsearch do=delay:300");
    let short = Deadline::after(Duration::from_millis(100));
    fails(
        world.admin().power_off(&named("node1"), short),
        ErrorKind::Unreachable,
        "no answer",
    );
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(world.guest("node1").stops, 0);
}

/// However far apart looks are, there is one shortly before the time is up.
#[test]
fn the_last_look_is_as_late_as_can_be() {
    let world = World::new("--guests 1 --transition 2000");
    let rhevm = Rhevm::new(Settings {
        poll: Duration::from_secs(10),
        ..world.settings("admin@internal")
    });
    rhevm
        .power_off(&named("node1"), Deadline::after(Duration::from_secs(3)))
        .unwrap();
}
