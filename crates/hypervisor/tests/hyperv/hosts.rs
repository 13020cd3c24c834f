//! Several hosts that are no cluster.

use std::time::Duration;

use hypervisor::hyperv::HyperV;
use hypervisor::{Deadline, ErrorKind, Hypervisor as _, Power};

use crate::common::{Rig, VM1, VM2, named, soon};

fn rig() -> Rig {
    Rig::new(&format!(
        "node HV1\nnode HV2\nguest vm1 {VM1} HV2 2\nguest vm2 {VM2} HV1 3\n"
    ))
}

#[test]
fn the_guest_is_found_on_whichever_host_has_it() {
    let rig = rig();
    let hosts = rig.hyperv();
    assert_eq!(hosts.list(soon()).unwrap().len(), 2);
    assert_eq!(
        hosts.observe(&named("vm1"), soon()).unwrap().power(),
        Power::On
    );
    hosts.power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(rig.truth(VM1), (3, 0, 1));
    let error = hosts.observe(&named("vm9"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchGuest, "{error}");
}

/// A guest that one host knows as off may run on the one that does not answer.
#[test]
fn off_needs_the_answer_of_all() {
    for how in ["hang", "close"] {
        let rig = rig();
        rig.run(&format!("kill HV2 {how}"));
        let hosts = rig.hyperv();
        let error = hosts
            .observe(&named("vm2"), Deadline::after(Duration::from_secs(4)))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains("may run the guest"), "{error}");
        let error = hosts
            .observe(&named("vm1"), Deadline::after(Duration::from_secs(4)))
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Unreachable,
            "it is not missing either: {error}"
        );
        assert!(
            hosts
                .power_off(&named("vm2"), Deadline::after(Duration::from_secs(4)))
                .is_err()
        );
        assert!(hosts.list(Deadline::after(Duration::from_secs(4))).is_err());
    }
    let rig = rig();
    rig.run("kill HV1 close");
    let hosts = rig.hyperv();
    let seen = hosts.observe(&named(VM1), soon()).unwrap();
    assert_eq!(seen.power(), Power::On, "what runs, runs");
    let error = hosts.power_off(&named("vm1"), soon()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unreachable,
        "a name may be another's there: {error}"
    );
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

#[test]
fn a_guest_that_moves_meanwhile_is_followed() {
    let rig = rig();
    rig.run("behave stop 60000");
    let hosts = rig.hyperv();
    std::thread::scope(|scope| {
        let off = scope.spawn(|| hosts.power_off(&named("vm1"), soon()));
        std::thread::sleep(Duration::from_millis(500));
        rig.run(&format!("behave stop 100\nstate {VM1} 2\nmove {VM1} HV1 0"));
        off.join().unwrap().unwrap();
    });
    assert_eq!(rig.truth(VM1).0, 3);
}

/// A list is as old as its oldest answer: what one host said before a guest was told to start says nothing of that start.
#[test]
fn a_list_that_takes_long_lifts_no_order_that_was_given_meanwhile() {
    let rig = rig();
    rig.run("behave start 6000\nbehave lazy yes");
    rig.servers[0]
        .faults()
        .set("path=/wsman count=1 do=delay:2500")
        .unwrap();
    let mut settings = rig.settings();
    settings.step = Duration::from_secs(5);
    let hosts = HyperV::new(settings);
    std::thread::scope(|scope| {
        let list = scope.spawn(|| hosts.list(soon()));
        std::thread::sleep(Duration::from_millis(500));
        hosts.power_off(&named("vm1"), soon()).unwrap();
        let short = Deadline::after(Duration::from_millis(700));
        hosts.power_on(&named("vm1"), None, short).unwrap_err();
        let list = list.join().unwrap().unwrap();
        assert_eq!(list[0].power(), Power::On, "as it was then");
    });
    assert_eq!(rig.truth(VM1), (3, 0, 1), "the start is yet to come");
    let seen = hosts.observe(&named("vm1"), soon()).unwrap();
    assert_eq!(seen.power(), Power::Unknown, "{seen}");
}

#[test]
fn one_name_on_two_hosts_is_refused() {
    let rig = Rig::new(&format!(
        "node HV1\nnode HV2\nguest vm {VM1} HV1 2\nguest vm {VM2} HV2 2\n"
    ));
    let error = rig.hyperv().power_off(&named("vm"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(&VM2.to_lowercase()), "{error}");
}

/// A guest's replica has its GUID and its name, and is always off.
#[test]
fn replicas_are_no_guests() {
    let rig = Rig::new(&format!(
        "node HV1\nnode HV2\nguest vm1 {VM1} HV1 2\nguest vm2 {VM2} HV2 3\nset {VM2} ReplicationMode 2\n"
    ));
    let hosts = rig.hyperv();
    let error = hosts.power_off(&named("vm2"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    hosts.power_off(&named("vm1"), soon()).unwrap();

    // Here of the same name, as the server tells each GUID once.
    let rig = Rig::new(&format!(
        "node HV1\nnode HV2\nguest vm1 {VM1} HV1 2\nguest vm1 {VM2} HV2 3\nset {VM2} ReplicationMode 2\n"
    ));
    let hosts = rig.hyperv();
    let off = hosts.power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert_eq!((rig.truth(VM1).0, rig.truth(VM2)), (3, (3, 0, 0)));
    rig.run("kill HV1 close");
    assert!(hosts.observe(&named("vm1"), soon()).is_err());
}
