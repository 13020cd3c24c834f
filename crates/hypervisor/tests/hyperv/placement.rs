//! Where guests run and where they may.

use hypervisor::hyperv::HyperV;
use hypervisor::placement::{Changed, Placement as _};
use hypervisor::{ErrorKind, GuestRef, Hypervisor as _};

use crate::common::{Rig, VM1, VM2, VM3, named, negotiate, soon};

fn guests(names: &[&str]) -> Vec<GuestRef> {
    names.iter().map(|name| named(name)).collect()
}

fn apart(rig: &Rig, guid: &str) -> Vec<String> {
    let GuestRef::Uuid(guid) = named(guid) else {
        panic!("no GUID")
    };
    let mut world = rig.world.now();
    world
        .guest(guid)
        .and_then(|guest| guest.role.clone())
        .map(|role| role.apart)
        .unwrap_or_default()
}

#[test]
fn hosts_and_whereabouts() {
    let rig = Rig::cluster();
    rig.run("nodestate HV3 2");
    let cluster = rig.hyperv();
    let hosts = cluster.hosts(soon()).unwrap();
    let shown: Vec<(&str, bool)> = hosts
        .iter()
        .map(|host| (host.name.as_str(), host.usable))
        .collect();
    assert_eq!(shown, [("HV1", true), ("HV2", true), ("HV3", false)]);
    let at = cluster.whereabouts(&named("vm1"), soon()).unwrap();
    assert_eq!(at.host.map(|host| host.name).as_deref(), Some("HV1"));
    assert!(at.pinned_to.is_empty() && at.moves_by_itself);
    let at = cluster.whereabouts(&named("vm2"), soon()).unwrap();
    assert_eq!(at.host, None, "it is off");
}

#[test]
fn guests_are_kept_apart() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let pair = guests(&["vm1", "vm2"]);
    assert_eq!(cluster.rules(&pair, soon()).unwrap(), []);
    assert_eq!(
        cluster
            .keep_apart("c 'l' & <1>", &pair, false, soon())
            .unwrap(),
        Changed::Now
    );
    assert_eq!(
        cluster
            .keep_apart("C 'L' & <1>", &pair, false, soon())
            .unwrap(),
        Changed::Already
    );
    assert_eq!(
        (apart(&rig, VM1), apart(&rig, VM2), apart(&rig, VM3).len()),
        (
            vec!["c 'l' & <1>".to_owned()],
            vec!["c 'l' & <1>".to_owned()],
            0
        )
    );
    let rules = cluster.rules(&guests(&["vm1"]), soon()).unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].guests.len(), rules[0].mandatory), (2, false));
    assert_eq!(cluster.rules(&guests(&["vm3"]), soon()).unwrap(), []);
    // Exactly these: one goes, another comes, and other names stay.
    cluster
        .keep_apart("other", &guests(&["vm2", "vm3"]), false, soon())
        .unwrap();
    assert_eq!(
        cluster
            .keep_apart("c 'l' & <1>", &guests(&["vm1", "vm3"]), false, soon())
            .unwrap(),
        Changed::Now
    );
    assert_eq!(apart(&rig, VM2), ["other"]);
    assert_eq!(apart(&rig, VM3).len(), 2);
}

#[test]
fn mandatory_is_the_clusters_own_choice() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let pair = guests(&["vm1", "vm2"]);
    let error = cluster.keep_apart("c", &pair, true, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().contains("ClusterEnforcedAntiAffinity"),
        "{error}"
    );
    rig.run("behave enforced yes");
    cluster.keep_apart("c", &pair, true, soon()).unwrap();
    assert!(cluster.rules(&pair, soon()).unwrap()[0].mandatory);
}

#[test]
fn guests_are_pinned() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let to = |hosts: &[&str]| {
        hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect::<Vec<_>>()
    };
    let vm1 = named("vm1");
    assert_eq!(
        cluster.pin(&vm1, &to(&["hv1", "HV3"]), soon()).unwrap(),
        Changed::Now
    );
    assert_eq!(
        cluster.pin(&vm1, &to(&["HV1", "HV3"]), soon()).unwrap(),
        Changed::Already
    );
    let at = cluster.whereabouts(&vm1, soon()).unwrap();
    let pinned: Vec<&str> = at.pinned_to.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(pinned, ["HV1", "HV3"]);
    let error = cluster.pin(&vm1, &to(&["HV2"]), soon()).unwrap_err();
    assert!(error.to_string().contains("move it first"), "{error}");
    let error = cluster.pin(&vm1, &to(&["HV9"]), soon()).unwrap_err();
    assert!(error.to_string().contains("no node HV9"), "{error}");
    assert_eq!(cluster.pin(&vm1, &[], soon()).unwrap(), Changed::Now);
    assert!(
        cluster
            .whereabouts(&vm1, soon())
            .unwrap()
            .pinned_to
            .is_empty()
    );
}

#[test]
fn guests_are_moved_live_and_seen_there() {
    let rig = Rig::cluster();
    let cluster = rig.hyperv();
    let at = cluster.migrate(&named("vm1"), "hv2", soon()).unwrap();
    assert_eq!(at.host.map(|host| host.name).as_deref(), Some("HV2"));
    assert_eq!(rig.truth(VM1), (2, 0, 0), "it was never off");
    cluster.migrate(&named("vm1"), "HV2", soon()).unwrap();
    for (guest, host, words) in [
        ("vm1", "HV9", "no node"),
        ("vm2", "HV1", "only a running guest"),
    ] {
        let error = cluster.migrate(&named(guest), host, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(words), "{error}");
    }
    rig.run("nodestate HV3 2");
    let error = cluster.migrate(&named("vm1"), "HV3", soon()).unwrap_err();
    assert!(error.to_string().contains("paused"), "{error}");
}

#[test]
fn without_rights_or_cluster_it_is_refused() {
    let rig = Rig::cluster();
    let mut settings = rig.settings();
    settings.login = negotiate("nocluster");
    let cluster = HyperV::new(settings);
    let pair = guests(&["vm1", "vm2"]);
    assert_eq!(
        cluster.rules(&pair, soon()).unwrap_err().kind(),
        ErrorKind::Refused
    );
    let rig = Rig::host();
    let host = rig.hyperv();
    for error in [
        host.rules(&pair, soon()).unwrap_err(),
        host.keep_apart("c", &pair, false, soon()).unwrap_err(),
        host.pin(&named("vm1"), &[], soon()).unwrap_err(),
        host.migrate(&named("vm1"), "HV1", soon()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("no failover cluster"), "{error}");
    }
    let at = host.whereabouts(&named("vm1"), soon()).unwrap();
    assert_eq!(at.host.map(|host| host.name).as_deref(), Some("HV1"));
    assert_eq!(host.hosts(soon()).unwrap().len(), 1);
    assert!(host.name().starts_with("hyperv://"));
}
