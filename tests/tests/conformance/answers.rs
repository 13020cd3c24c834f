//! Answers that were not true.

use std::time::Duration;

use fence_wire::{HashType, Operation, RECORD_LEN};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests::{self, Guest, crowd},
    libvirtd::{self, Libvirtd},
    peer as ends,
    process::{PATIENCE, wait_for},
    rig::Rig,
    skip::{PEERS, skipped, skipped_with},
};

use crate::{peer, picket, shows, side_by_side, status, world};

const UNKNOWN_UUID: &str = "99999999-9999-4999-8999-999999999999";

/// I05: the C daemon says OFF of a guest it does not know; a misspelt name then looks fenced.
#[test]
fn i05_unknown_guest_is_an_error_not_off() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Route::NETWORK, 4, |&route| {
        picket(|| {
            let (rig, _daemon) = world(Subject::Ours, route);
            for agent in [Subject::C, Subject::Ours] {
                let call = Call::over(&rig, agent, route);
                for action in ["status", "off", "reboot", "on"] {
                    let ran = call.act(&rig, action, Some("vm3"));
                    assert_eq!(ran.code, Some(1), "{agent} agent, {action}: {ran:?}");
                    assert!(
                        !ran.stdout.contains("OFF"),
                        "{agent} agent, {action}: {ran:?}"
                    );
                }
            }
        });
        peer(|| {
            let (rig, _daemon) = world(Subject::C, route);
            let ran = status(&rig, route, "vm3");
            shows("calls an unknown guest off", ran.code == Some(2), &ran);
        });
    });
}

/// I06: with two hypervisors the C daemon's list is empty, or ends in rubbish: the second answer
/// overwrites the first, and what lies behind it in memory is sent in place of the rest.
#[test]
fn i06_the_list_has_the_guests_of_every_hypervisor() {
    if skipped(&PEERS) {
        return;
    }
    let list = |daemon: Subject| {
        let rig = Rig::new();
        let first = rig.hypervisor("first.xml", &[Guest::running("one", guests::VM1_UUID)]);
        let second = rig.hypervisor("second.xml", &[Guest::running("two", guests::VM2_UUID)]);
        let mut config = Config::new(&rig, Route::TcpV4, &first);
        config.uris.push(second);
        let _daemon = Daemon::start(&rig, daemon, &config);
        let call = Call::over(&rig, Subject::C, Route::TcpV4);
        let states: Vec<_> = ["one", "two"]
            .map(|plug| call.act(&rig, "status", Some(plug)).code)
            .into();
        assert_eq!(states, [Some(0), Some(0)], "{daemon}: both are known");
        call.act(&rig, "list", None)
    };
    picket(|| {
        let ours = list(Subject::Ours);
        assert_eq!(ours.code, Some(0), "{ours:?}");
        let lines = ours.results();
        let names: Vec<_> = lines
            .iter()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(names, ["one", "two"], "{ours:?}");
    });
    peer(|| {
        let c = list(Subject::C);
        let lost = !["one ", "two "].iter().all(|name| c.stdout.contains(name));
        shows("loses guests with two hypervisors", lost, &c);
    });
}

/// W4: OFF for an unknown guest by UUID, too; and no OFF either when the hypervisor is gone and
/// nobody can know. (The C daemon then waits for the hypervisor without end, see W23.)
#[test]
fn w4_what_nobody_knows_is_not_off() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    peer(|| {
        let (rig, _daemon) = world(Subject::C, Route::TcpV4);
        let ran = status(&rig, Route::TcpV4, UNKNOWN_UUID);
        shows("calls an unknown UUID off", ran.code == Some(2), &ran);
    });
    picket(|| {
        let (rig, _daemon) = world(Subject::Ours, Route::TcpV4);
        let ran = status(&rig, Route::TcpV4, UNKNOWN_UUID);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        without_a_hypervisor_all_is_failure();
    });
}

fn without_a_hypervisor_all_is_failure() {
    let rig = Rig::new();
    let libvirtd = Libvirtd::start(&rig, "libvirt");
    let config = Config::new(&rig, Route::TcpV4, &libvirtd.default_uri());
    let _daemon = Daemon::start(&rig, Subject::Ours, &config);
    wait_for("our daemon to reach libvirtd", PATIENCE, || {
        (status(&rig, Route::TcpV4, "test").code == Some(0)).then_some(())
    });
    libvirtd.crash();
    for action in ["status", "off", "reboot", "on", "monitor", "list"] {
        let plug = (action != "monitor" && action != "list").then_some("test");
        let ran = Call::over(&rig, Subject::Ours, Route::TcpV4).act(&rig, action, plug);
        assert_eq!(ran.code, Some(1), "{action}: {ran:?}");
    }
}

/// W20: the C daemon sends bytes of its stack in the gaps of a list.
#[test]
fn w20_lists_leak_no_memory() {
    if skipped(&PEERS) {
        return;
    }
    let gaps = |daemon: Subject| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &crowd(20, 9));
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, Route::TcpV4, &uri));
        let key = rig.wire_key();
        let request = ends::request(Operation::HOST_LIST, "", None, 1);
        let answer = ends::ask_over_tcp(
            &rig.cable,
            &request,
            HashType::Sha256,
            HashType::Sha256,
            &key,
        )
        .expect("a list");
        let records: Vec<&[u8]> = answer[1..].chunks_exact(RECORD_LEN).take(20).collect();
        assert_eq!(records.len(), 20);
        // Behind the name and its NUL, behind the UUID and its NUL, and the padding.
        let gap = |record: &&[u8]| [&record[9..64], &record[64 + 36..128], &record[129..]].concat();
        records.iter().flat_map(gap).collect::<Vec<u8>>()
    };
    picket(|| assert!(gaps(Subject::Ours).iter().all(|byte| *byte == 0)));
    peer(|| {
        let leaked: Vec<u8> = gaps(Subject::C)
            .into_iter()
            .filter(|byte| *byte != 0)
            .collect();
        shows("sends bytes of its stack", !leaked.is_empty(), &leaked);
    });
}

/// W32: a hypervisor that is away when the C daemon reconnects is forgotten: its guests, which still
/// run, are then "off" for good.
#[test]
fn w32_a_hypervisor_that_comes_back_is_asked_again() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let here = [Guest::running("here", guests::VM1_UUID)];
    let away = [Guest::running("away", guests::VM2_UUID)];
    let route = Route::TcpV4;
    let begin = |daemon: Subject| {
        let rig = Rig::new();
        let stable = Libvirtd::start(&rig, "stable");
        let weak = Libvirtd::start(&rig, "weak");
        let mut config = Config::new(&rig, route, &weak.uri(&away));
        config.uris.push(stable.uri(&here));
        let running = Daemon::start(&rig, daemon, &config);
        for plug in ["here", "away"] {
            wait_for("both hypervisors to be known", PATIENCE, || {
                (status(&rig, route, plug).code == Some(0)).then_some(())
            });
        }
        weak.crash();
        (rig, stable, running)
    };

    let ours = || {
        let (rig, _stable, _daemon) = begin(Subject::Ours);
        let ran = status(&rig, route, "here");
        assert_eq!(
            ran.code,
            Some(0),
            "the other hypervisor still answers: {ran:?}"
        );
        let ran = status(&rig, route, "away");
        assert_eq!(ran.code, Some(1), "nobody can know: {ran:?}");
        let _weak = Libvirtd::start(&rig, "weak");
        wait_for(
            "our daemon to ask the hypervisor again",
            Duration::from_secs(60),
            || {
                let ran = status(&rig, route, "away");
                assert_ne!(
                    ran.code,
                    Some(2),
                    "a guest that runs was called off: {ran:?}"
                );
                (ran.code == Some(0)).then_some(())
            },
        );
    };
    side_by_side(ours, || {
        let (rig, _stable, _daemon) = begin(Subject::C);
        let ran = status(&rig, route, "here");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let _weak = Libvirtd::start(&rig, "weak");
        let ran = status(&rig, route, "away");
        shows(
            "forgets a hypervisor that was away",
            ran.code == Some(2),
            &ran,
        );
    });
}
