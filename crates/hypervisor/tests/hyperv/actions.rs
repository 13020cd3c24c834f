//! What is asked of a host that is well.

use std::time::{Duration, Instant};

use hypervisor::hyperv::Namespace;
use hypervisor::{Deadline, Error, ErrorKind, Hypervisor as _, Managed as _, Means, Power};

use crate::common::{Rig, VM1, VM2, VM3, named, soon};

#[test]
fn guests_are_listed_observed_and_switched() {
    let rig = Rig::host();
    let host = rig.hyperv();
    host.health(soon()).unwrap();
    let list = host.list(soon()).unwrap();
    let shown: Vec<(&str, Power)> = list
        .iter()
        .map(|seen| (seen.guest.name.as_str(), seen.power()))
        .collect();
    assert_eq!(
        shown,
        [("vm1", Power::On), ("vm2", Power::Off)],
        "the host is no guest"
    );

    let off = host.power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
    assert!(off.was_active && off.revival.is_none());
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert!(
        off.evidence.observation.by.contains("HV1")
            || off.evidence.observation.by.contains("127.0.0.1")
    );
    assert_eq!(rig.truth(VM1), (3, 0, 1));

    let off = host.power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::AlreadyOff);
    assert!(!off.was_active);
    let on = host.power_on(&named("vm1"), None, soon()).unwrap();
    assert_eq!(on.means, Means::Started);
    let on = host.power_on(&named("vm1"), None, soon()).unwrap();
    assert_eq!(on.means, Means::AlreadyOn);
    assert_eq!(rig.truth(VM1), (2, 1, 1));
    assert_eq!(rig.truth(VM2), (3, 0, 0), "the other one is left alone");
}

#[test]
fn guests_are_known_by_guid_in_any_spelling() {
    let rig = Rig::host();
    let host = rig.hyperv();
    for text in [
        VM1.to_owned(),
        VM1.to_lowercase(),
        format!("{{{VM1}}}"),
        format!("{{{}}}", VM1.to_lowercase()),
    ] {
        let seen = host.observe(&named(&text), soon()).unwrap();
        assert_eq!(seen.guest.name, "vm1", "{text}");
    }
}

#[test]
fn an_unknown_guest_and_the_host_itself_are_no_guests() {
    let rig = Rig::host();
    let host = rig.hyperv();
    for text in ["nobody", "HV1", "VM1", "vm", "vm_", "vm%", "", VM3] {
        let error = host.power_off(&named(text), soon()).unwrap_err();
        assert!(
            matches!(error, Error::NoSuchGuest { .. }),
            "{text}: {error}"
        );
    }
    assert_eq!(rig.truth(VM1).0, 2);
}

#[test]
fn names_with_metacharacters_are_names() {
    let names = [
        "O'Brien",
        "a\\' or 1=1 or 'b",
        "<vm> & \"co\"",
        "漢字 é\u{1f600}",
        "' or ElementName like '%",
        "x y",
        "]]>",
    ];
    let mut lines = format!("node HV1\nguest victim {VM1} HV1 2\n");
    for (at, name) in names.iter().enumerate() {
        let encoded = test_servers::text::encoded(name);
        lines.push_str(&format!(
            "guest {encoded} 564D1FCB-2B1C-4B8E-8C52-0000000000{at:02} HV1 2\n"
        ));
    }
    let rig = Rig::new(&lines);
    let host = rig.hyperv();
    for name in names {
        let off = host.power_off(&named(name), soon()).unwrap();
        assert_eq!(off.evidence.observation.guest.name, name);
    }
    assert_eq!(rig.truth(VM1), (2, 0, 0), "nobody else was hit");
    let error = host.observe(&named("a\0b"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn two_guests_of_one_name_are_refused_with_their_guids() {
    let rig = Rig::new(&format!(
        "node HV1\nguest vm {VM1} HV1 2\nguest vm {VM2} HV1 3\n"
    ));
    let host = rig.hyperv();
    let error = host.power_off(&named("vm"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(
        text.contains(&VM1.to_lowercase()) && text.contains(&VM2.to_lowercase()),
        "{text}"
    );
    assert_eq!(rig.truth(VM1), (2, 0, 0));
    host.power_off(&named(VM1), soon()).unwrap();
    assert_eq!(rig.truth(VM1), (3, 0, 1));
}

/// Every state that can be switched off ends off; saved memory is discarded, and on boots afresh.
#[test]
fn from_every_state_to_off() {
    for state in [
        0, 1, 2, 4, 6, 9, 10, 11, 32768, 32769, 32770, 32771, 32773, 32776, 32777, 32779, 32781,
        32784, 32785, 40000,
    ] {
        let rig = Rig::new(&format!("node HV1\nguest vm1 {VM1} HV1 {state}\n"));
        let host = rig.hyperv();
        assert_ne!(
            host.observe(&named("vm1"), soon()).unwrap().power(),
            Power::Off,
            "{state}"
        );
        let off = host.power_off(&named("vm1"), soon()).unwrap();
        let saved = [6, 32769, 32779, 32784].contains(&state);
        let means = if saved {
            Means::ImageDiscarded
        } else {
            Means::Destroyed
        };
        assert_eq!(off.evidence.means, means, "{state}");
        assert_eq!(rig.truth(VM1), (3, 0, 1), "{state}");
    }
}

#[test]
fn a_saved_guest_is_started_afresh() {
    let rig = Rig::new(&format!("node HV1\nguest vm1 {VM1} HV1 6\n"));
    let on = rig.hyperv().power_on(&named("vm1"), None, soon()).unwrap();
    assert_eq!(on.means, Means::Started);
    assert_eq!(rig.truth(VM1), (2, 1, 1), "its memory was discarded first");
}

#[test]
fn without_jobs_without_hints_and_one_by_one() {
    for lines in [
        "behave jobs no",
        "behave optimize no",
        "behave page 1",
        "behave page 1\nbehave optimize no",
    ] {
        let rig = Rig::host();
        rig.run(lines);
        let host = rig.hyperv();
        assert_eq!(host.list(soon()).unwrap().len(), 2, "{lines}");
        host.power_off(&named("vm1"), soon()).unwrap();
        assert_eq!(rig.truth(VM1).0, 3, "{lines}");
    }
}

#[test]
fn hosts_of_2008_have_the_old_namespace() {
    let rig = Rig::host();
    rig.run(&format!(
        "behave v2 no\nbehave v1 yes\nguest vm3 {VM3} HV1 6"
    ));
    let host = rig.hyperv();
    host.may_switch(None, soon()).unwrap();
    assert_eq!(host.list(soon()).unwrap().len(), 3);
    assert_eq!(
        host.observe(&named("vm3"), soon()).unwrap().power(),
        Power::On,
        "saved"
    );
    host.power_off(&named("vm1"), soon()).unwrap();
    host.power_off(&named("vm3"), soon()).unwrap();
    assert_eq!((rig.truth(VM1).0, rig.truth(VM3).0), (3, 3));

    let mut settings = rig.settings();
    settings.namespace = Namespace::V2;
    let error = hypervisor::hyperv::HyperV::new(settings)
        .list(soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn a_host_without_hyper_v_says_so() {
    let rig = Rig::host();
    rig.run("behave v2 no");
    let error = rig.hyperv().observe(&named("vm1"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("namespace"), "{error}");
}

#[test]
fn what_contradicts_off_is_not_off() {
    let rig = Rig::host();
    let host = rig.hyperv();
    let power = |lines: &str| {
        rig.run(lines);
        host.observe(&named("vm2"), soon()).unwrap().power()
    };
    assert_eq!(power(&format!("set {VM2} ProcessID 4711")), Power::Unknown);
    assert_eq!(
        power(&format!(
            "set {VM2} ProcessID -\nset {VM2} OperationalStatus 2,32771"
        )),
        Power::Unknown
    );
    assert_eq!(
        power(&format!(
            "set {VM2} OperationalStatus -\nset {VM2} ReplicationMode 2"
        )),
        Power::Unknown
    );
    assert_eq!(power(&format!("set {VM2} ReplicationMode -")), Power::Off);
    rig.run(&format!("set {VM2} ReplicationMode 2"));
    let begun = Instant::now();
    let error = host.power_off(&named("vm2"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    let error = host.power_on(&named("vm2"), None, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "waiting makes no guest of a replica"
    );
    assert_eq!(rig.truth(VM2), (3, 0, 0));
}

#[test]
fn nothing_is_ordered_after_the_deadline() {
    let rig = Rig::host();
    let host = rig.hyperv();
    let error = host
        .power_off(&named("vm1"), Deadline::after(Duration::ZERO))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

/// A start that outlives its caller: what is off until it takes effect is not off.
#[test]
fn an_order_to_start_under_way_is_not_off() {
    let rig = Rig::host();
    rig.run("behave start 1500\nbehave lazy yes");
    let host = rig.hyperv();
    let error = host
        .power_on(
            &named("vm2"),
            None,
            Deadline::after(Duration::from_millis(700)),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert_ne!(
        host.observe(&named("vm2"), soon()).unwrap().power(),
        Power::Off
    );
    let off = host.power_off(&named("vm2"), soon()).unwrap();
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert_eq!(rig.truth(VM2).0, 3);
}

/// The end of an order to turn it off says nothing of an order to start it that somebody else has given.
#[test]
fn the_end_of_an_off_leaves_a_start_under_way() {
    let rig = Rig::host();
    rig.run("behave stop 300\nbehave start 4000\nbehave lazy yes");
    let host = rig.hyperv();
    host.health(soon()).unwrap();
    // The first look after the order tells of the guest as it was 1.2 seconds ago.
    rig.fault("op=Enumerate:Msvm_ComputerSystem nth=2 do=delay:1200");
    let deadline = Deadline::after(Duration::from_secs(15));
    std::thread::scope(|scope| {
        let off = scope.spawn(|| host.power_off(&named("vm1"), deadline));
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(rig.truth(VM1), (3, 0, 1));
        let short = Deadline::after(Duration::from_millis(300));
        host.power_on(&named("vm1"), None, short).unwrap_err();
        off.join().unwrap().unwrap();
        assert_eq!(rig.truth(VM1), (3, 1, 2), "it was on once more, and is off");
    });
}

/// What the host has refused will not come.
#[test]
fn a_refused_start_is_not_under_way() {
    for how in ["return:32768", "return:32769", "return:32775"] {
        let rig = Rig::host();
        let host = rig.hyperv();
        rig.fault(&format!(
            "op=RequestStateChange:Msvm_ComputerSystem do=is:{how}"
        ));
        let short = Deadline::after(Duration::from_millis(700));
        host.power_on(&named("vm2"), None, short).unwrap_err();
        assert_eq!(
            host.observe(&named("vm2"), soon()).unwrap().power(),
            Power::Off,
            "{how}"
        );
    }
}

#[test]
fn callers_do_not_wait_for_one_another() {
    let rig = Rig::host();
    let host = rig.hyperv();
    host.health(soon()).unwrap();
    rig.fault("op=Enumerate:Msvm_ComputerSystem nth=1 do=delay:1500");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| host.observe(&named("vm1"), soon()));
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        host.observe(&named("vm2"), soon()).unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        slow.join().unwrap().unwrap();
    });
}

#[test]
fn one_login_serves_many_calls_and_more_callers_than_connections() {
    let rig = Rig::host();
    let host = rig.hyperv();
    for _ in 0..20 {
        host.observe(&named("vm1"), soon()).unwrap();
    }
    assert_eq!(rig.servers[0].connections(), 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..30)
            .map(|_| scope.spawn(|| host.observe(&named("vm1"), soon())))
            .collect();
        threads
            .into_iter()
            .for_each(|thread| drop(thread.join().unwrap().unwrap()));
    });
    assert!(
        rig.servers[0].connections() <= 8,
        "{}",
        rig.servers[0].connections()
    );
    host.log_out(soon()).unwrap();
    host.observe(&named("vm1"), soon()).unwrap();
}
