//! Hosts, pinning, moving, keeping apart.

use std::time::Duration;

use hypervisor::placement::{Changed, Placement as _};
use hypervisor::{Deadline, ErrorKind, Hypervisor as _};

use crate::{World, fails, named, soon};

fn guests(names: &[&str]) -> Vec<hypervisor::GuestRef> {
    names.iter().map(|name| named(name)).collect()
}

#[test]
fn hosts_and_whereabouts() {
    let world = World::new("--hosts 60 --guest pinned,affinity=pinned");
    let rhevm = world.admin();
    world.engine.state().world.hosts[0].status = "maintenance".to_owned();
    let hosts = rhevm.hosts(soon()).unwrap();
    assert_eq!(
        (hosts.len(), hosts.iter().filter(|host| host.usable).count()),
        (120, 119)
    );
    let at = rhevm.whereabouts(&named("node2"), soon()).unwrap();
    assert_eq!(
        (at.host.unwrap().name.as_str(), at.moves_by_itself),
        ("host2", true)
    );
    rhevm.power_off(&named("node2"), soon()).unwrap();
    assert_eq!(
        rhevm.whereabouts(&named("node2"), soon()).unwrap().host,
        None
    );
    assert!(
        !rhevm
            .whereabouts(&named("pinned"), soon())
            .unwrap()
            .moves_by_itself
    );
    // Who sees filtered results has no hosts, and must not be told that guests run nowhere.
    let plain = world.as_user("fence@internal");
    fails(
        plain.whereabouts(&named("node1"), soon()),
        ErrorKind::Refused,
        "may not do this",
    );
    fails(plain.hosts(soon()), ErrorKind::Refused, "may not do this");
}

#[test]
fn a_guest_is_pinned_now_or_at_its_next_start() {
    for engine in ["3.0", "3.6", "4.5"] {
        let world = World::new(&format!("--engine {engine}"));
        let rhevm = world.admin();
        let host = |name: &str| vec![name.to_owned()];
        assert_eq!(
            rhevm.pin(&named("node1"), &host("host2"), soon()).unwrap(),
            Changed::AtNextStart,
            "{engine}"
        );
        assert_eq!(
            rhevm.pin(&named("node1"), &[], soon()).unwrap(),
            Changed::Now,
            "{engine}: taken back"
        );
        assert_eq!(
            rhevm.pin(&named("node1"), &host("host2"), soon()).unwrap(),
            Changed::AtNextStart,
            "{engine}"
        );
        rhevm.power_off(&named("node1"), soon()).unwrap();
        rhevm.power_on(&named("node1"), None, soon()).unwrap();
        let at = rhevm.whereabouts(&named("node1"), soon()).unwrap();
        assert_eq!(
            at.host.as_ref().map(|host| host.name.as_str()),
            Some("host2"),
            "{engine}"
        );
        assert_eq!(at.pinned_to.len(), 1, "{engine}");
        assert_eq!(
            rhevm.pin(&named("node1"), &host("host2"), soon()).unwrap(),
            Changed::Already,
            "{engine}"
        );
        rhevm.power_off(&named("node1"), soon()).unwrap();
        assert_eq!(
            rhevm.pin(&named("node1"), &[], soon()).unwrap(),
            Changed::Now,
            "{engine}"
        );
        assert!(
            rhevm
                .whereabouts(&named("node1"), soon())
                .unwrap()
                .pinned_to
                .is_empty(),
            "{engine}"
        );
        fails(
            rhevm.pin(&named("node1"), &host("host9"), soon()),
            ErrorKind::Refused,
            "there are host1, host2",
        );
    }
    let world = World::new("");
    let both = ["host1".to_owned(), "host2".to_owned()];
    world.state("node3", "down");
    assert_eq!(
        world.admin().pin(&named("node3"), &both, soon()).unwrap(),
        Changed::Now
    );
    assert_eq!(
        world
            .admin()
            .whereabouts(&named("node3"), soon())
            .unwrap()
            .pinned_to
            .len(),
        2
    );
    let old = World::new("--engine 3.6");
    fails(
        old.admin().pin(&named("node3"), &both, soon()),
        ErrorKind::Refused,
        "one host only",
    );
}

#[test]
fn a_guest_is_moved_and_seen_there() {
    let world = World::new("--guest bound,affinity=user_migratable --guest pinned,affinity=pinned");
    let rhevm = world.admin();
    for name in ["node1", "bound"] {
        let from = rhevm
            .whereabouts(&named(name), soon())
            .unwrap()
            .host
            .unwrap()
            .name;
        let to = if from == "host1" { "host2" } else { "host1" };
        let at = rhevm.migrate(&named(name), to, soon()).unwrap();
        assert_eq!(at.host.unwrap().name, to, "{name}");
        // There already: nothing to do.
        rhevm.migrate(&named(name), to, soon()).unwrap();
    }
    assert_eq!(world.asked("/migrate"), 2);
    let from = rhevm
        .whereabouts(&named("pinned"), soon())
        .unwrap()
        .host
        .unwrap()
        .name;
    let to = if from == "host1" { "host2" } else { "host1" };
    fails(
        rhevm.migrate(&named("pinned"), to, soon()),
        ErrorKind::Refused,
        "pinned to Host",
    );
    fails(
        rhevm.migrate(&named("node1"), "host9", soon()),
        ErrorKind::Refused,
        "no host `host9`",
    );
    rhevm.power_off(&named("node1"), soon()).unwrap();
    fails(
        rhevm.migrate(&named("node1"), "host1", soon()),
        ErrorKind::Refused,
        "does not run",
    );
}

/// An order that may have been carried out is not one that was refused, and a look that fails is not the last.
#[test]
fn a_move_whose_answer_is_lost() {
    for fault in ["hang", "status:504"] {
        let world = World::new("");
        world.faults(&format!("path=/migrate when=after do={fault}"));
        let told = world.admin().migrate(
            &named("node1"),
            "host2",
            Deadline::after(Duration::from_millis(700)),
        );
        assert_eq!(
            told.map_err(|error| error.kind()),
            Err(ErrorKind::CannotKnow),
            "{fault}"
        );
    }
    let world = World::new("");
    let id = world.guest("node1").id;
    world.faults(&format!("method=GET path=/vms/{id} count=3 do=status:503"));
    let at = world.admin().migrate(&named("node1"), "host2", soon());
    assert_eq!(at.unwrap().host.unwrap().name, "host2");
}

#[test]
fn a_move_that_fails_is_not_reported_as_done() {
    let world = World::new("--guests 1 --transition 300");
    let rhevm = world.admin();
    let engine = world.engine.clone();
    let watch = std::thread::spawn(move || {
        for _ in 0..200 {
            {
                let mut state = engine.state();
                let guest = &mut state.world.guests[0];
                if guest.is(&["migrating"]) {
                    // Seen to migrate at least once by the client, and then it stays where it was.
                    std::thread::sleep(Duration::from_millis(1));
                    guest.coming.clear();
                    let (at, host) = (std::time::Instant::now(), guest.host.clone());
                    guest.become_at(at + Duration::from_millis(150), "up", host);
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    fails(
        rhevm.migrate(&named("node1"), "host2", soon()),
        ErrorKind::CannotKnow,
        "the migration ended",
    );
    watch.join().unwrap();
}

#[test]
fn guests_are_kept_apart() {
    for engine in ["3.6", "4.0", "4.1", "4.2", "4.5"] {
        let world = World::new(&format!("--engine {engine} --hosts 3"));
        let rhevm = world.admin();
        let all = guests(&["node1", "node2", "node3"]);
        assert!(rhevm.rules(&all, soon()).unwrap().is_empty());
        assert_eq!(
            rhevm
                .keep_apart("ha & co", &all[..2], true, soon())
                .unwrap(),
            Changed::Now,
            "{engine}"
        );
        assert_eq!(
            rhevm
                .keep_apart("ha & co", &all[..2], true, soon())
                .unwrap(),
            Changed::Already,
            "{engine}"
        );
        let rules = rhevm.rules(&all[1..], soon()).unwrap();
        assert_eq!(rules.len(), 1, "{engine}");
        let names: Vec<&str> = rules[0]
            .guests
            .iter()
            .map(|guest| guest.name.as_str())
            .collect();
        assert_eq!(
            (rules[0].name.as_str(), names.as_slice()),
            ("ha & co", &["node1", "node2"][..]),
            "{engine}"
        );
        assert!(
            rules[0].mandatory && rules[0].ineffective.is_none(),
            "{engine}: {rules:?}"
        );
        assert!(
            rhevm.rules(&all[2..], soon()).unwrap().is_empty(),
            "{engine}"
        );
        // Others, and best effort.
        assert_eq!(
            rhevm
                .keep_apart("ha & co", &all[1..], false, soon())
                .unwrap(),
            Changed::Now,
            "{engine}"
        );
        let rules = rhevm.rules(&all[2..], soon()).unwrap();
        assert!(
            !rules[0].mandatory && rules[0].guests.len() == 2,
            "{engine}: {rules:?}"
        );
        assert!(
            rhevm.rules(&all[..1], soon()).unwrap().is_empty(),
            "{engine}"
        );
    }
}

/// The rule does what it promises: the engine refuses to bring the second guest to the first one's host.
#[test]
fn a_mandatory_rule_binds_the_engine() {
    let world = World::new("--guests 2");
    let rhevm = world.admin();
    rhevm
        .keep_apart("apart", &guests(&["node1", "node2"]), true, soon())
        .unwrap();
    fails(
        rhevm.migrate(&named("node2"), "host1", soon()),
        ErrorKind::Refused,
        "VmAffinityGroups",
    );
}

#[test]
fn groups_that_cannot_be() {
    let world = World::new("--guest elsewhere,cluster=cluster2");
    let rhevm = world.admin();
    fails(
        rhevm.keep_apart("x", &guests(&["node1", "elsewhere"]), true, soon()),
        ErrorKind::Refused,
        "different clusters",
    );
    fails(
        rhevm.keep_apart("x", &[], true, soon()),
        ErrorKind::Refused,
        "nobody",
    );
    rhevm
        .keep_apart("x", &guests(&["node1", "node2"]), true, soon())
        .unwrap();
    world.engine.state().world.groups[0].positive = true;
    fails(
        rhevm.keep_apart("x", &guests(&["node1", "node2"]), true, soon()),
        ErrorKind::Refused,
        "keeps guests together",
    );
    assert!(rhevm.rules(&guests(&["node1"]), soon()).unwrap().is_empty());
    {
        let mut state = world.engine.state();
        (
            state.world.groups[0].positive,
            state.world.groups[0].enabled,
        ) = (false, false);
    }
    let rules = rhevm.rules(&guests(&["node1"]), soon()).unwrap();
    assert_eq!(
        rules[0].ineffective.as_deref(),
        Some("the group's rule for guests is disabled")
    );
    // Repaired.
    assert_eq!(
        rhevm
            .keep_apart("x", &guests(&["node1", "node2"]), true, soon())
            .unwrap(),
        Changed::Now
    );
    let old = World::new("--engine 3.0");
    fails(
        old.admin()
            .keep_apart("x", &guests(&["node1"]), true, soon()),
        ErrorKind::Refused,
        "pin the guests",
    );
    let plain = world.as_user("fence@internal");
    fails(
        plain.keep_apart("y", &guests(&["node1"]), true, soon()),
        ErrorKind::Refused,
        "may not",
    );
}

#[test]
fn a_rule_that_is_not_kept_is_told() {
    let world = World::new("--guests 3");
    let rhevm = world.admin();
    // node1 and node3 share host1.
    rhevm
        .keep_apart("soft", &guests(&["node1", "node3"]), false, soon())
        .unwrap();
    let rules = rhevm.rules(&guests(&["node1"]), soon()).unwrap();
    assert!(
        rules[0]
            .ineffective
            .as_deref()
            .is_some_and(|why| why.contains("not kept")),
        "{rules:?}"
    );
}
