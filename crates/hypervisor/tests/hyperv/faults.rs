//! Everything that goes wrong between a host and whoever asks. Whatever it is, a guest that runs is never called off, and
//! what was seen decides.

use std::time::{Duration, Instant};

use hypervisor::hyperv::HyperV;
use hypervisor::{Deadline, ErrorKind, Hypervisor as _, Managed as _, Means, Power};

use crate::common::{Rig, VM1, named, negotiate, soon};

const ENUMERATE: &str = "op=Enumerate:Msvm_ComputerSystem";
const ORDER: &str = "op=RequestStateChange:Msvm_ComputerSystem";
const JOB: &str = "op=Get:Msvm_ConcreteJob";
/// Answers to an order that leave open whether it was taken.
const UNCLEAR: [&str; 5] = [
    "is:return:3",
    "is:return:32771",
    "is:return:32772",
    "is:error",
    "is:timeout",
];

/// Questions that fail, whatever else: never "off", never "no such guest".
#[test]
fn a_question_without_a_usable_answer_is_an_error() {
    for (what, kind) in [
        ("do=is:denied", ErrorKind::Refused),
        ("do=is:empty", ErrorKind::Refused),
        ("do=is:error", ErrorKind::Refused),
        ("do=is:truncated", ErrorKind::Unreachable),
        ("do=is:unrelated", ErrorKind::Unreachable),
        ("do=is:plain", ErrorKind::Unreachable),
        ("do=is:tampered", ErrorKind::Unreachable),
        ("do=is:without:EnabledState", ErrorKind::Unreachable),
        ("do=is:without:ElementName", ErrorKind::Unreachable),
        ("do=is:without:Name", ErrorKind::Unreachable),
        ("do=is:timeout", ErrorKind::Unreachable),
        ("do=status:500", ErrorKind::Unreachable),
        ("do=status:503", ErrorKind::Unreachable),
        ("do=status:403", ErrorKind::Refused),
        ("do=status:404", ErrorKind::Unreachable),
        ("do=status:302", ErrorKind::Unreachable),
        ("do=status:407", ErrorKind::Unreachable),
        ("do=body:hello", ErrorKind::Unreachable),
        ("do=raw:%00%ff", ErrorKind::Unreachable),
        ("do=truncate:100", ErrorKind::Unreachable),
        ("do=hang", ErrorKind::Unreachable),
        ("do=close", ErrorKind::Unreachable),
        ("do=reset", ErrorKind::Unreachable),
    ] {
        let rig = Rig::host();
        rig.fault(&format!("{ENUMERATE} count=* {what}"));
        let host = rig.hyperv();
        for guest in ["vm1", "vm2"] {
            let begun = Instant::now();
            let error = host
                .observe(&named(guest), Deadline::after(Duration::from_secs(4)))
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        assert!(
            host.list(Deadline::after(Duration::from_secs(3))).is_err(),
            "{what}"
        );
        let error = host
            .power_off(&named("vm1"), Deadline::after(Duration::from_secs(3)))
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert_eq!(rig.truth(VM1), (2, 0, 0), "{what}");
    }
}

/// Once in the middle: the next answer is as good.
#[test]
fn a_question_is_asked_again_where_that_changes_nothing() {
    for what in [
        "nth=2 do=is:401",
        "nth=2 do=close",
        "nth=2 do=status:503",
        "nth=2 do=is:timeout",
    ] {
        let rig = Rig::host();
        let host = rig.hyperv();
        rig.fault(&format!("{ENUMERATE} {what}"));
        host.observe(&named("vm1"), soon()).unwrap();
        let seen = host.observe(&named("vm1"), soon()).unwrap();
        assert_eq!(seen.power(), Power::On, "{what}");
    }
}

/// The host forgets the login, at every point of an operation.
#[test]
fn an_expired_login_is_renewed_in_the_middle() {
    for at in 1..=4 {
        for op in [ENUMERATE, ORDER, JOB] {
            let rig = Rig::host();
            let host = rig.hyperv();
            host.health(soon()).unwrap();
            rig.fault(&format!("{op} nth={at} do=is:401"));
            let off = host.power_off(&named("vm1"), soon()).unwrap();
            assert_eq!(off.evidence.observation.power(), Power::Off);
            assert_eq!(rig.truth(VM1), (3, 0, 1), "{op} {at}");
        }
    }
}

#[test]
fn unusual_replies_are_read() {
    for what in ["is:fragment", "is:prefixes", "is:value-first"] {
        let rig = Rig::host();
        rig.fault(&format!("count=* do={what}"));
        let host = rig.hyperv();
        assert_eq!(host.list(soon()).unwrap().len(), 2, "{what}");
        host.may_switch(None, soon()).unwrap();
        host.power_off(&named("vm1"), soon()).unwrap();
        assert_eq!(rig.truth(VM1), (3, 0, 1), "{what}");
    }
}

/// The order is carried out and its answer does not arrive: what is seen afterwards decides.
#[test]
fn a_lost_answer_to_an_order_is_not_a_failure() {
    for what in [
        "do=close when=after",
        "do=reset when=after",
        "do=is:truncated",
        "do=is:unrelated",
        "do=truncate:50 when=after",
    ] {
        let rig = Rig::host();
        rig.fault(&format!("{ORDER} {what}"));
        let off = rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
        assert_eq!(off.evidence.means, Means::Destroyed, "{what}");
        assert_eq!(rig.truth(VM1), (3, 0, 1), "{what}");
    }
}

#[test]
fn an_order_that_hangs_leaves_time_to_look() {
    let rig = Rig::host();
    rig.fault(&format!("{ORDER} do=hang when=after"));
    let mut settings = rig.settings();
    settings.step = Duration::from_millis(800);
    let off = HyperV::new(settings)
        .power_off(&named("vm1"), soon())
        .unwrap();
    assert_eq!(off.evidence.observation.power(), Power::Off);
}

#[test]
fn invalid_state_means_look_and_try_again() {
    let rig = Rig::host();
    rig.fault(&format!("{ORDER} count=2 do=is:return:32775"));
    rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(rig.truth(VM1), (3, 0, 1));

    // In transition: it is being saved, and then it is.
    let rig = Rig::new(&format!("node HV1\nguest vm1 {VM1} HV1 32773\n"));
    rig.fault(&format!("{ORDER} do=is:return:32775"));
    rig.run(&format!("state {VM1} 6"));
    let off = rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::ImageDiscarded);
}

#[test]
fn an_order_that_is_never_taken_fails_with_the_reason() {
    let short = || Deadline::after(Duration::from_millis(2500));
    for (what, kind, words) in [
        ("is:return:32775", ErrorKind::CannotKnow, "32775"),
        ("is:return:32768", ErrorKind::CannotKnow, "32768"),
        ("is:return:32778", ErrorKind::CannotKnow, "out of memory"),
        ("is:return:32769", ErrorKind::Refused, "32769"),
        ("is:denied", ErrorKind::Refused, "Hyper-V Administrators"),
        // It may have come from what was switching the guest.
        ("is:error", ErrorKind::CannotKnow, "Generic failure"),
        ("is:return:32772", ErrorKind::CannotKnow, "timed out"),
        (
            "is:failed",
            ErrorKind::CannotKnow,
            "worker process did not respond",
        ),
        ("is:stuck", ErrorKind::CannotKnow, "running"),
    ] {
        let rig = Rig::host();
        rig.fault(&format!("{ORDER} count=* do={what}"));
        let error = rig.hyperv().power_off(&named("vm1"), short()).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(words), "{what}: {error}");
        assert_eq!(rig.truth(VM1), (2, 0, 0), "{what}");
    }
}

/// The same: an answer that says that it failed, or that nobody knows.
#[test]
fn an_order_that_fails_and_is_carried_out_is_seen() {
    for what in UNCLEAR {
        let rig = Rig::host();
        rig.fault(&format!("{ORDER} do={what} when=after"));
        let off = rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
        assert_eq!(off.evidence.means, Means::Destroyed, "{what}");
        assert_eq!(rig.truth(VM1), (3, 0, 1), "{what}");
    }
}

/// And one to start that takes effect later.
#[test]
fn a_start_that_fails_may_be_under_way() {
    for what in UNCLEAR {
        let rig = Rig::host();
        rig.run("behave start 3000\nbehave lazy yes");
        let host = rig.hyperv();
        rig.fault(&format!("{ORDER} do={what} when=after"));
        let short = Deadline::after(Duration::from_millis(700));
        let error = host.power_on(&named("vm2"), None, short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{what}: {error}");
        let seen = host.observe(&named("vm2"), soon()).unwrap();
        assert_eq!(seen.power(), Power::Unknown, "{what}: {seen}");
    }
}

#[test]
fn a_job_that_vanishes_or_fails_or_cannot_be_read_decides_nothing() {
    for (lines, means) in [
        (format!("{ORDER} do=is:vanished"), Means::Destroyed),
        (format!("{ORDER} do=is:failed"), Means::Destroyed),
        (format!("{JOB} count=* do=is:error"), Means::Destroyed),
        (
            format!("{JOB} count=* do=is:without:JobState"),
            Means::Destroyed,
        ),
        (format!("{JOB} count=* do=close"), Means::Destroyed),
    ] {
        let rig = Rig::host();
        rig.fault(&lines);
        let off = rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
        assert_eq!(off.evidence.means, means, "{lines}");
        assert_eq!(rig.truth(VM1), (3, 0, 1), "{lines}");
    }
}

#[test]
fn a_slow_job_is_waited_for_within_the_deadline() {
    let rig = Rig::host();
    rig.run("behave stop 2000");
    let begun = Instant::now();
    rig.hyperv().power_off(&named("vm1"), soon()).unwrap();
    assert!(
        (1900..4000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );

    let rig = Rig::host();
    rig.run("behave stop 60000");
    let begun = Instant::now();
    let error = rig
        .hyperv()
        .power_off(&named("vm1"), Deadline::after(Duration::from_secs(2)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_guest_deleted_in_the_middle_is_not_confirmed() {
    let rig = Rig::host();
    rig.run("behave stop 60000");
    let host = rig.hyperv();
    std::thread::scope(|scope| {
        let off = scope.spawn(|| host.power_off(&named("vm1"), soon()));
        std::thread::sleep(Duration::from_millis(700));
        rig.run(&format!("delete {VM1}"));
        let error = off.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    });
}

#[test]
fn a_hung_worker_process_is_ended_only_if_allowed() {
    let rig = Rig::host();
    rig.run(&format!("hung {VM1} yes"));
    let short = Deadline::after(Duration::from_secs(2));
    let error = rig.hyperv().power_off(&named("vm1"), short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert_eq!(rig.truth(VM1), (2, 0, 0));

    let mut settings = rig.settings();
    settings.kill_worker = Some(Duration::from_secs(1));
    settings.login = negotiate("noprocess");
    let short = Deadline::after(Duration::from_secs(3));
    let error = HyperV::new(settings.clone())
        .power_off(&named("vm1"), short)
        .unwrap_err();
    assert!(error.to_string().contains("cannot be ended"), "{error}");

    settings.login = negotiate("ann");
    // Another process, or none.
    for process in [612, 0] {
        rig.run(&format!("set {VM1} ProcessID {process}"));
        let short = Deadline::after(Duration::from_secs(3));
        let error = HyperV::new(settings.clone())
            .power_off(&named("vm1"), short)
            .unwrap_err();
        assert!(error.to_string().contains("do not agree"), "{error}");
        assert_eq!(rig.truth(VM1), (2, 0, 0));
    }

    rig.run(&format!("set {VM1} ProcessID -"));
    let off = HyperV::new(settings)
        .power_off(&named("vm1"), soon())
        .unwrap();
    assert_eq!(off.evidence.means, Means::Killed);
    assert_eq!(rig.truth(VM1), (3, 0, 1));
}

#[test]
fn a_list_that_does_not_go_on_is_refused() {
    let rig = Rig::host();
    rig.run("behave optimize no");
    rig.fault("op=Pull:* count=* do=is:endless");
    let host = rig.hyperv();
    let begun = Instant::now();
    for error in [
        host.list(soon()).unwrap_err(),
        host.observe(&named("vm2"), soon()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("does not go on"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_deadline_holds_with_a_host_that_answers_byte_by_byte() {
    let rig = Rig::host();
    rig.fault("count=* do=trickle:50");
    let begun = Instant::now();
    assert!(
        rig.hyperv()
            .observe(&named("vm1"), Deadline::after(Duration::from_secs(1)))
            .is_err()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}
