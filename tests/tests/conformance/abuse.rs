//! What somebody may do who does not hold the key, or holds less than he thinks.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use fence_wire::{HashType, Operation, Reply};
use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Config, Daemon, Route},
    guests,
    net::GUEST_V4,
    peer::{self as ends, Callback},
    process::{PATIENCE, never_within, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};

use crate::{peer, picket, shows, side_by_side, status, world};

/// Longer than any memory of the C daemon.
const LONG_AFTER: Duration = Duration::from_millis(13_000);

/// A daemon that signs but does not challenge: what somebody on the wire has seen is all he needs.
fn unchallenged(rig: &Rig, daemon: Subject) -> Daemon {
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let config = Config::new(rig, Route::MulticastV4, &uri).hashes("sha256", "none");
    Daemon::start(rig, daemon, &config)
}

/// Sends a signed packet, and waits for the daemon's answer.
fn served(rig: &Rig, callback: &Callback, operation: Operation, seqno: u32) -> Vec<u8> {
    let packet = ends::request(operation, "vm1", Some(callback.address()), seqno)
        .encode(HashType::Sha256, &rig.wire_key());
    ends::multicast(&rig.cable, &packet);
    assert_eq!(ends::read_all(&callback.accept()), [Reply::SUCCESS.0]);
    packet.to_vec()
}

/// Whether the daemon connects back within two seconds.
fn calls_back(callback: &Callback) -> bool {
    let deadline = deadline::Deadline::after(Duration::from_secs(2));
    while !deadline.has_passed() {
        if let Some(stream) = callback.try_accept() {
            let _answer = ends::read_all(&stream);
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// W7 (and I27): a datagram of one byte is completed by the C daemon with the rest of the packet
/// before it, signature and all. Once its memory has passed, that repeats the last request.
#[test]
fn w7_a_short_datagram_is_no_request() {
    if skipped(&PEERS) {
        return;
    }
    let repeated = |daemon: Subject| {
        let rig = Rig::new();
        let _daemon = unchallenged(&rig, daemon);
        let callback = Callback::listen(&rig.cable);
        served(&rig, &callback, Operation::OFF, 1);
        std::thread::sleep(LONG_AFTER);
        ends::multicast(&rig.cable, &[Operation::OFF.0]);
        calls_back(&callback)
    };
    side_by_side(
        || {
            assert!(
                !repeated(Subject::Ours),
                "one byte without a signature was served"
            );
        },
        || shows("serves a short datagram", repeated(Subject::C), &()),
    );
}

/// W14: a packet that was recorded can be played again after twelve seconds.
#[test]
fn w14_a_recorded_packet_is_never_served_again() {
    if skipped(&PEERS) {
        return;
    }
    let replayed = |daemon: Subject| {
        let rig = Rig::new();
        let _daemon = unchallenged(&rig, daemon);
        let callback = Callback::listen(&rig.cable);
        let recorded = served(&rig, &callback, Operation::OFF, 1);
        served(&rig, &callback, Operation::ON, 2);
        std::thread::sleep(LONG_AFTER);
        ends::multicast(&rig.cable, &recorded);
        let _called = calls_back(&callback);
        let call = Call::over(&rig, Subject::C, Route::MulticastV4).hashes("sha256", "none");
        let ran = call.act(&rig, "status", Some("vm1"));
        assert!(matches!(ran.code, Some(0 | 2)), "{ran:?}");
        ran.code == Some(2)
    };
    side_by_side(
        || {
            std::thread::scope(|scope| {
                scope.spawn(a_recorded_packet_is_refused_over_tcp);
                let again = replayed(Subject::Ours);
                assert!(!again, "a recorded packet switched the guest off again");
            });
        },
        || shows("serves a recorded packet", replayed(Subject::C), &()),
    );
}

/// The same over TCP, where the C daemon always challenges, whatever it is told.
fn a_recorded_packet_is_refused_over_tcp() {
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let config = Config::new(&rig, Route::TcpV4, &uri).hashes("sha256", "none");
    let _daemon = Daemon::start(&rig, Subject::Ours, &config);
    let key = rig.wire_key();
    let off = ends::request(Operation::OFF, "vm1", None, 1);
    let on = ends::request(Operation::ON, "vm1", None, 2);
    let ask = |request| {
        ends::ask_over_tcp(&rig.cable, request, HashType::Sha256, HashType::None, &key)
            .unwrap_or_default()
    };
    assert_eq!(ask(&off), [Reply::SUCCESS.0]);
    assert_eq!(ask(&on), [Reply::SUCCESS.0]);
    std::thread::sleep(LONG_AFTER);
    let _refused = ask(&off);
    let status = ends::request(Operation::STATUS, "vm1", None, 3);
    assert_eq!(ask(&status), [Reply::SUCCESS.0], "it is still on");
}

/// W17, first: the C daemon stops reading groups, from the last one backwards, at the first group
/// without members: one label at the end of the file, and everybody may fence everybody.
#[test]
fn w17_an_empty_group_opens_nothing() {
    if skipped(&PEERS) {
        return;
    }
    let groups = "group { ip = \"192.0.2.1\"; uuid = \"vm1\"; }\ngroup { name = \"label\"; }";
    let config = |rig: &Rig, route| {
        let uri = rig.hypervisor("node.xml", &guests::pair());
        Config::new(rig, route, &uri).groups(groups)
    };
    let ours = |route| {
        let rig = Rig::new();
        let mut daemon = Daemon::launch(&rig, Subject::Ours, &config(&rig, route).text());
        let listens = wait_for("our daemon to listen or to end", PATIENCE, || {
            (daemon.listens(route) || !daemon.process.is_running()).then(|| daemon.listens(route))
        });
        if listens {
            let ran = Call::over(&rig, Subject::C, route).act(&rig, "off", Some("vm1"));
            assert_eq!(ran.code, Some(3), "{ran:?}");
        } else {
            let said = daemon.process.printed();
            assert!(said.contains("group"), "it ended without a reason:\n{said}");
        }
    };
    for route in [Route::MulticastV4, Route::TcpV4] {
        picket(|| ours(route));
        peer(|| {
            let rig = Rig::new();
            let _daemon = Daemon::start(&rig, Subject::C, &config(&rig, route));
            let ran = Call::over(&rig, Subject::C, route).act(&rig, "off", Some("vm1"));
            shows(
                "lets an empty group open everything",
                ran.code == Some(0),
                &ran,
            );
        });
    }
}

/// W17, second: no groups at all means that everybody may fence everybody. That is kept, for the
/// files that exist, but said at the start (I15).
#[test]
fn w17_no_groups_are_warned_about() {
    if skipped(&PEERS) {
        return;
    }
    let said = |subject| {
        let (rig, daemon) = world(subject, Route::TcpV4);
        assert_eq!(status(&rig, Route::TcpV4, "vm1").code, Some(0));
        daemon.process.printed()
    };
    picket(|| {
        let said = said(Subject::Ours);
        assert!(said.contains("group"), "no word about groups:\n{said}");
    });
    peer(|| {
        let said = said(Subject::C);
        shows(
            "is silent about missing groups",
            !said.contains("group"),
            &said,
        );
    });
}

/// W31: the C daemon refuses to start without a key file that it would never read.
#[test]
fn w31_a_key_that_is_not_used_need_not_exist() {
    if skipped(&PEERS) {
        return;
    }
    let config = |rig: &Rig, route| {
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let mut config = Config::new(rig, route, &uri).hashes("none", "none");
        config.key = Some(PathBuf::from("/nonexistent/fence_xvm.key"));
        config
    };
    let ours = |route| {
        let rig = Rig::new();
        let config = config(&rig, route);
        let unkeyed = Daemon::start(&rig, Subject::Ours, &config);
        let call = Call::over(&rig, Subject::C, route).hashes("none", "none");
        let ran = call.act(&rig, "status", Some("vm1"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        unkeyed.stop();
        // And one that is used must.
        let needy = Config {
            hash: None,
            auth: None,
            ..config
        };
        let ran = Daemon::launch(&rig, Subject::Ours, &needy.text())
            .process
            .finish(PATIENCE);
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
        assert!(
            ran.printed().contains("/nonexistent/fence_xvm.key"),
            "{ran:?}"
        );
    };
    for route in [Route::MulticastV4, Route::TcpV4] {
        picket(|| ours(route));
        peer(|| {
            let rig = Rig::new();
            let text = config(&rig, route).text();
            let ran = Daemon::launch(&rig, Subject::C, &text)
                .process
                .finish(PATIENCE);
            shows("demands a key it does not use", ran.code == Some(255), &ran);
        });
    }
}

/// W33 (found by reading): when the C daemon cannot connect back it closes a descriptor twice. In
/// one thread that does no harm that shows outside, so only ours is tried: many failures later no
/// descriptor is lost and none that belongs to another request was closed.
#[test]
fn w33_failed_connections_back_cost_no_descriptor() {
    if skipped(&PEERS) || !Subject::all().contains(&Subject::Ours) {
        return;
    }
    let (rig, daemon) = world(Subject::Ours, Route::MulticastV4);
    let key = rig.wire_key();
    assert_eq!(status(&rig, Route::MulticastV4, "vm1").code, Some(0));
    let settled = |what: &str, most: usize| {
        wait_for(what, PATIENCE, || {
            (daemon.process.descriptors() <= most).then_some(())
        });
    };
    let before = daemon.process.descriptors();
    for seqno in 0..300 {
        let nowhere = SocketAddr::from((GUEST_V4, 2000 + u16::try_from(seqno).expect("small")));
        let request = ends::request(Operation::STATUS, "vm1", Some(nowhere), seqno);
        ends::multicast(&rig.cable, &request.encode(HashType::Sha256, &key));
        if seqno % 100 == 50 {
            let ran = status(&rig, Route::MulticastV4, "vm1");
            assert_eq!(ran.code, Some(0), "in between: {ran:?}");
        }
    }
    settled("descriptors of failed connections to be closed", before);
    let ran = status(&rig, Route::MulticastV4, "vm1");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    never_within("descriptors were lost", Duration::from_millis(300), || {
        daemon.process.descriptors() > before + 1
    });
}
