//! A failover cluster: the owner is asked, and followed.

use std::time::{Duration, Instant};

use hypervisor::hyperv::{Address, HyperV};
use hypervisor::{Deadline, ErrorKind, Hypervisor as _, Managed as _, Means, Power};

use crate::common::{Rig, VM1, VM2, VM3, named, negotiate, soon};

#[test]
fn any_node_leads_to_the_owner() {
    let rig = Rig::cluster();
    for first in 0..3 {
        let mut settings = rig.settings();
        settings.hosts.rotate_left(first);
        let cluster = HyperV::new(settings);
        let seen = cluster.observe(&named("vm1"), soon()).unwrap();
        assert_eq!(seen.power(), Power::On);
        assert!(seen.by.contains("HV1"), "{}", seen.by);
        assert_eq!(
            cluster.observe(&named(VM2), soon()).unwrap().power(),
            Power::Off
        );
    }
    let cluster = rig.hyperv();
    let off = cluster.power_off(&named("vm1"), soon()).unwrap();
    assert!(
        off.evidence
            .observation
            .by
            .contains("its owner in the cluster"),
        "{}",
        off.evidence.observation.by
    );
    assert_eq!(rig.truth(VM1), (3, 0, 1));
    cluster.power_on(&named("vm1"), None, soon()).unwrap();
    assert_eq!(rig.truth(VM1), (2, 1, 1));
}

#[test]
fn only_clustered_guests_are_known() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let names: Vec<String> = cluster
        .list(soon())
        .unwrap()
        .into_iter()
        .map(|seen| seen.guest.name)
        .collect();
    assert_eq!(names, ["vm1", "vm2", "vm3"]);
    for guest in ["alone", "nobody", "HV1", "Cluster Group"] {
        let error = cluster.power_off(&named(guest), soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchGuest, "{guest}: {error}");
    }
}

#[test]
fn a_guest_is_followed_when_it_moves_during_the_operation() {
    for at in [0, 200, 400, 700] {
        let rig = Rig::cluster();
        rig.run("behave stop 1200");
        let cluster = rig.hyperv();
        cluster.health(soon()).unwrap();
        std::thread::scope(|scope| {
            let off = scope.spawn(|| cluster.power_off(&named("vm1"), soon()));
            std::thread::sleep(Duration::from_millis(at));
            // The migration has won over the order: it runs on HV3.
            rig.run(&format!("state {VM1} 2"));
            std::thread::sleep(Duration::from_millis(20));
            rig.run(&format!("behave stop 100\nmove {VM1} HV3 50"));
            let off = off.join().unwrap().unwrap();
            // The order may have come first, and have ended the migration: then it is off where it was.
            let (by, node) = (off.evidence.observation.by, rig.node(VM1));
            assert!(by.contains(&node), "{at}: {by}, and it is on {node}");
        });
        assert_eq!(rig.truth(VM1).0, 3, "{at}");
    }
}

#[test]
fn a_guest_under_migration_is_on() {
    let rig = Rig::cluster();
    rig.run(&format!("move {VM1} HV2 60000"));
    let seen = rig.hyperv().observe(&named("vm1"), soon()).unwrap();
    assert_eq!(
        (seen.power(), seen.reason.as_str()),
        (Power::On, "migrating")
    );
}

#[test]
fn a_dead_owner_is_waited_for_until_the_cluster_has_moved_the_guest() {
    for how in ["hang", "close"] {
        let rig = Rig::cluster();
        rig.run(&format!("kill HV1 {how} HV2 2500"));
        let mut settings = rig.settings();
        settings.step = Duration::from_millis(700);
        let cluster = HyperV::new(settings);
        let error = cluster
            .observe(&named("vm1"), Deadline::after(Duration::from_millis(1500)))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        let off = cluster
            .power_off(&named("vm1"), Deadline::after(Duration::from_secs(15)))
            .unwrap();
        assert!(
            off.evidence.observation.by.contains("HV2"),
            "{}",
            off.evidence.observation.by
        );
        assert_eq!(rig.truth(VM1).0, 3);
    }
}

/// The owner has died so lately that the cluster still calls it up.
#[test]
fn a_dead_owner_is_waited_for_before_the_cluster_has_noticed() {
    let rig = Rig::cluster();
    rig.run("kill HV1 hang HV2 4000\nnodestate HV1 0");
    let mut settings = rig.settings();
    settings.step = Duration::from_millis(700);
    let cluster = HyperV::new(settings);
    let short = Deadline::after(Duration::from_secs(2));
    let error = cluster.observe(&named("vm1"), short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    // As the agent does it: first a look, then the order.
    let seen = cluster.observe(&named("vm1"), soon()).unwrap();
    assert_eq!(seen.power(), Power::On);
    let off = cluster.power_off(&named("vm1"), soon()).unwrap();
    let by = off.evidence.observation.by;
    assert!(by.contains("HV2"), "{by}");
    assert_eq!(rig.truth(VM1), (3, 0, 1));
}

/// It takes a moment until the new owner knows the guest, however long the old one was waited for.
#[test]
fn a_new_owner_has_its_time_after_a_dead_one() {
    let rig = Rig::cluster();
    let other = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2EE";
    rig.run(&format!("kill HV1 close HV2 6000\nset {VM1} Name {other}"));
    let cluster = rig.hyperv();
    std::thread::scope(|scope| {
        let deadline = Deadline::after(Duration::from_secs(15));
        let seen = scope.spawn(move || cluster.observe(&named("vm1"), deadline));
        std::thread::sleep(Duration::from_millis(7500));
        rig.run(&format!("set {VM1} Name -"));
        assert_eq!(seen.join().unwrap().unwrap().power(), Power::On);
    });
}

/// The owner is dead and the cluster does nothing: the guest is never called off.
#[test]
fn a_dead_owner_proves_nothing() {
    let rig = Rig::cluster();
    rig.run("kill HV1 close");
    let cluster = rig.hyperv();
    let begun = Instant::now();
    let error = cluster
        .power_off(&named("vm1"), Deadline::after(Duration::from_secs(3)))
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::CannotKnow),
        "{error}"
    );
    assert!(
        error.to_string().contains("HV1") && error.to_string().contains("down"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    let off = cluster.power_off(&named("vm2"), soon()).unwrap();
    assert_eq!(
        off.evidence.observation.power(),
        Power::Off,
        "the others go on"
    );
}

#[test]
fn the_owner_dies_during_the_operation() {
    let rig = Rig::cluster();
    rig.run("behave stop 60000");
    let mut settings = rig.settings();
    settings.step = Duration::from_millis(700);
    let cluster = HyperV::new(settings);
    std::thread::scope(|scope| {
        let off = scope
            .spawn(|| cluster.power_off(&named("vm1"), Deadline::after(Duration::from_secs(15))));
        std::thread::sleep(Duration::from_millis(700));
        rig.run(&format!("behave stop 100\nstate {VM1} 2"));
        std::thread::sleep(Duration::from_millis(20));
        rig.run("kill HV1 hang HV3 1500");
        let off = off.join().unwrap().unwrap();
        assert!(
            off.evidence.observation.by.contains("HV3"),
            "{}",
            off.evidence.observation.by
        );
    });
    assert_eq!(rig.truth(VM1).0, 3);
}

#[test]
fn the_list_goes_on_without_a_node() {
    let rig = Rig::cluster();
    rig.run("kill HV1 close");
    let list = rig.hyperv().list(soon()).unwrap();
    let shown: Vec<(&str, Power)> = list
        .iter()
        .map(|seen| (seen.guest.name.as_str(), seen.power()))
        .collect();
    assert_eq!(
        shown,
        [
            ("vm1", Power::Unknown),
            ("vm2", Power::Off),
            ("vm3", Power::Unknown)
        ]
    );
}

#[test]
fn a_resource_that_is_coming_up_is_not_off() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let both = || {
        let list = cluster.list(soon()).unwrap();
        let listed = list.iter().find(|seen| seen.guest.name == "vm2").unwrap();
        let seen = cluster.observe(&named("vm2"), soon()).unwrap();
        (seen.power(), listed.power())
    };
    // Initializing; online, as the cluster has not noticed the end of it; pending.
    for state in [1, 2, 128, 129] {
        rig.run(&format!("resource {VM2} {state}"));
        assert_eq!(both(), (Power::Unknown, Power::Unknown), "{state}");
    }
    // Offline; failed, and nobody here has ended it.
    for state in ["-", "3", "4"] {
        rig.run(&format!("resource {VM2} {state}"));
        assert_eq!(both(), (Power::Off, Power::Off), "{state}");
    }
}

/// The guest is off at once, the cluster notices later: until then it might start it again.
#[test]
fn off_is_what_the_cluster_has_noticed_as_well() {
    let rig = Rig::cluster();
    rig.run("behave notice 1500");
    let begun = Instant::now();
    let off = rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
    assert!(begun.elapsed() > Duration::from_millis(1500));
    assert_eq!(rig.truth(VM1), (3, 0, 1));
}

/// To the cluster, an ended worker process is a crash, and what crashes is started again.
#[test]
fn a_guest_that_the_cluster_starts_again_is_turned_off_again() {
    let rig = Rig::cluster();
    rig.run(&format!("behave restart 1500\nhung {VM1} yes"));
    let mut settings = rig.settings();
    settings.kill_worker = Some(Duration::from_millis(500));
    let off = HyperV::new(settings)
        .power_off(&named("vm1"), soon())
        .unwrap();
    assert_eq!(off.evidence.means, Means::Killed);
    assert_eq!(rig.truth(VM1), (3, 1, 2));
}

#[test]
fn a_node_that_calls_itself_otherwise_is_refused() {
    let rig = Rig::cluster();
    let mut settings = rig.settings();
    let (one, two) = (settings.hosts[0].port, settings.hosts[1].port);
    (settings.hosts[0].port, settings.hosts[1].port) = (two, one);
    let error = HyperV::new(settings)
        .power_off(&named("vm1"), soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("HV1=ADDRESS"), "{error}");
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

#[test]
fn an_owner_that_does_not_know_the_guest_proves_nothing() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    // The cluster's word is older than a move: its resource says HV1, which has another guest only.
    rig.run(&format!(
        "set {VM1} Name 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2EE"
    ));
    let short = || Deadline::after(Duration::from_secs(2));
    let error = cluster.observe(&named("vm1"), short()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert!(
        error.to_string().contains("HV1, which does not know it"),
        "{error}"
    );
    let error = cluster.power_off(&named("vm1"), short()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

/// What the cluster says of a guest is unusable: nothing is known.
#[test]
fn a_role_without_a_state_proves_nothing() {
    let rig = Rig::cluster();
    rig.fault("op=Enumerate:MSCluster_Resource count=* do=is:without:State");
    let error = rig.hyperv().observe(&named("vm1"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[test]
fn roles_and_guests_with_other_names() {
    let rig = Rig::new(&format!(
        "node HV1\nnode HV2\ncluster HVC\nguest web {VM1} HV1 2 role1\nguest db {VM2} HV2 2 web\nguest db {VM3} HV1 2 role3\n"
    ));
    let cluster = rig.hyperv();
    // The role `web` has another guest.
    let error = cluster.power_off(&named("web"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    // Two guests are called db, and no role.
    let error = cluster.power_off(&named("db"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(
        [VM1, VM2, VM3]
            .iter()
            .all(|guest| rig.truth(guest) == (2, 0, 0))
    );
    cluster.power_off(&named(VM3), soon()).unwrap();
    assert_eq!(rig.truth(VM3), (3, 0, 1));
    // One guest is called so, and its role otherwise.
    let rig = Rig::new(&format!(
        "node HV1\ncluster HVC\nguest web {VM1} HV1 2 role1\n"
    ));
    rig.hyperv().power_off(&named("web"), soon()).unwrap();
    assert_eq!(rig.truth(VM1), (3, 0, 1));
}

#[test]
fn rights_are_proven_on_every_node() {
    let rig = Rig::cluster();
    rig.hyperv().may_switch(None, soon()).unwrap();
    for user in ["nocluster", "blind", "reader"] {
        let mut settings = rig.settings();
        settings.login = negotiate(user);
        let error = HyperV::new(settings).may_switch(None, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{user}: {error}");
    }
    rig.run("kill HV3 close");
    rig.hyperv()
        .may_switch(None, soon())
        .expect("a node that is down for the cluster has no guests");
    rig.run("nodestate HV3 0");
    let error = rig.hyperv().may_switch(None, soon()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unreachable,
        "up, and out of reach: {error}"
    );
}

/// Without a node to ask, nothing is proven.
#[test]
fn a_cluster_without_a_node_that_is_up_is_not_well() {
    let rig = Rig::cluster();
    rig.run("nodestate HV1 1\nnodestate HV2 1\nnodestate HV3 1");
    let cluster = rig.hyperv();
    for error in [
        cluster.may_switch(None, soon()).unwrap_err(),
        cluster.may_switch(Some(&named("vm1")), soon()).unwrap_err(),
        cluster.health(soon()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("no node that is up"), "{error}");
    }
}

#[test]
fn the_right_to_read_roles_is_proven() {
    let rig = Rig::cluster();
    rig.fault("op=Enumerate:MSCluster_Resource count=* do=is:denied");
    let error = rig.hyperv().may_switch(None, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

/// Wherever the guest is now, it may be on any node by the time it is fenced.
#[test]
fn monitor_of_a_guest_asks_all_nodes_and_follows_it() {
    let rig = Rig::cluster();
    rig.run("kill HV3 close\nnodestate HV3 0");
    let error = rig
        .hyperv()
        .may_switch(Some(&named("vm1")), soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("HV3"), "{error}");

    // In the middle of a migration no node has it for a moment.
    let rig = Rig::cluster();
    let other = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2EE";
    rig.run(&format!("set {VM1} Name {other}"));
    let cluster = rig.hyperv();
    std::thread::scope(|scope| {
        let monitor = scope.spawn(|| cluster.may_switch(Some(&named("vm1")), soon()));
        std::thread::sleep(Duration::from_millis(700));
        rig.run(&format!("set {VM1} Name -"));
        monitor.join().unwrap().unwrap();
    });
}

#[test]
fn no_cluster_there_says_so() {
    let rig = Rig::host();
    let mut settings = rig.settings();
    settings.cluster = true;
    let error = HyperV::new(settings)
        .observe(&named("vm1"), soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().contains("no node of a failover cluster"),
        "{error}"
    );
}

#[test]
fn all_nodes_dead_is_unreachable() {
    let rig = Rig::cluster();
    rig.run("kill HV1 close\nkill HV2 close\nkill HV3 hang");
    let mut settings = rig.settings();
    settings.step = Duration::from_millis(500);
    let begun = Instant::now();
    let error = HyperV::new(settings)
        .power_off(&named("vm1"), Deadline::after(Duration::from_secs(3)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_node_that_was_not_given_is_looked_for_by_its_name() {
    let rig = Rig::cluster();
    let mut settings = rig.settings();
    // Only HV2 is given, under its address; HV1 has no such name here.
    settings.hosts = vec![Address {
        node: None,
        ..settings.hosts[1].clone()
    }];
    let error = HyperV::new(settings)
        .observe(&named("vm1"), soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("HV1"), "{error}");
}

/// Neither by name nor by GUID is the inventory listed.
#[test]
fn one_guest_among_many_costs_no_more() {
    let mut lines = "node HV1\nnode HV2\ncluster HVC\n".to_owned();
    for at in 0..400 {
        lines.push_str(&format!(
            "guest vm{at} 564D1FCB-2B1C-4B8E-8C52-{at:012} HV2 2 vm{at}\n"
        ));
    }
    let rig = Rig::new(&lines);
    for guest in ["vm7", "564D1FCB-2B1C-4B8E-8C52-000000000007"] {
        rig.servers
            .iter()
            .for_each(|server| server.faults().clear_log());
        rig.hyperv().power_off(&named(guest), soon()).unwrap();
        let log: Vec<_> = rig
            .servers
            .iter()
            .flat_map(|server| server.faults().log())
            .collect();
        let received: usize = log.iter().map(|entry| entry.sent).sum();
        assert!(
            received < 80_000 && log.len() < 40,
            "{guest}: {} requests, {received} bytes",
            log.len()
        );
        rig.hyperv().power_on(&named(guest), None, soon()).unwrap();
    }
}
