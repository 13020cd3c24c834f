//! One request acts once, however often it is sent; and nothing is done for an agent that died.

use std::{thread, time::Duration};

use fence_wire::{HashType, Operation, Reply};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests,
    peer::{self, Callback, Tap},
    process::{PATIENCE, never_within, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
    subject::{pairs, pairs_over},
};

const SHA256: (HashType, HashType) = (HashType::Sha256, HashType::Sha256);

fn daemon_on(rig: &Rig, subject: Subject, route: Route) -> Daemon {
    let uri = rig.hypervisor("node.xml", &guests::pair());
    Daemon::start(rig, subject, &Config::new(rig, route, &uri))
}

fn is_on(rig: &Rig, route: Route) -> bool {
    let ran = Call::over(rig, Subject::C, route).act(rig, "status", Some("vm1"));
    match ran.code {
        Some(0) => true,
        Some(2) => false,
        _ => panic!("no status of vm1: {ran:?}"),
    }
}

/// One hand-made request; the reply byte.
fn ask(rig: &Rig, route: Route, operation: Operation, plug: &str, seqno: u32) -> Reply {
    let key = rig.wire_key();
    let answer = if route.is_multicast() {
        peer::ask_over_multicast(&rig.cable, operation, plug, seqno, SHA256, &key)
    } else {
        let request = peer::request(operation, plug, None, seqno);
        peer::ask_over_tcp(&rig.cable, &request, SHA256.0, SHA256.1, &key)
    };
    let answer = answer.unwrap_or_else(|error| panic!("{operation} {plug} ({seqno}): {error}"));
    assert_eq!(
        answer.len(),
        1,
        "{operation} {plug} ({seqno}) is answered by one byte"
    );
    Reply(answer[0])
}

/// Sends a request again, as a retransmission is sent, and goes along with whatever the daemon does.
fn repeat(rig: &Rig, route: Route, operation: Operation, plug: &str, seqno: u32) {
    let key = rig.wire_key();
    if route.is_multicast() {
        let callback = Callback::listen(&rig.cable);
        let request = peer::request(operation, plug, Some(callback.address()), seqno);
        peer::multicast(&rig.cable, &request.encode(HashType::Sha256, &key));
        never_within("", Duration::from_millis(800), || {
            if let Some(stream) = callback.try_accept()
                && peer::shake_as_agent(&stream, HashType::Sha256, &key).is_ok()
            {
                let _answer = peer::read_all(&stream);
            }
            false
        });
    } else {
        let request = peer::request(operation, plug, None, seqno);
        // Refused or answered from memory: both are fine as long as nothing is done.
        let _outcome = peer::ask_over_tcp(&rig.cable, &request, SHA256.0, SHA256.1, &key);
    }
}

fn daemons(routes: &[Route]) -> Vec<(Subject, Route)> {
    Subject::all()
        .into_iter()
        .flat_map(|daemon| routes.iter().map(move |&route| (daemon, route)))
        .collect()
}

#[test]
fn a_retransmission_acts_once() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &daemons(&[Route::MulticastV4, Route::TcpV4]),
        4,
        |&(daemon, route)| {
            let rig = Rig::new();
            let _daemon = daemon_on(&rig, daemon, route);
            assert_eq!(ask(&rig, route, Operation::OFF, "vm1", 1), Reply::SUCCESS);
            assert!(!is_on(&rig, route));
            // The same number with another operation is another request.
            assert_eq!(ask(&rig, route, Operation::ON, "vm1", 1), Reply::SUCCESS);
            assert!(is_on(&rig, route));
            repeat(&rig, route, Operation::OFF, "vm1", 1);
            repeat(&rig, route, Operation::OFF, "VM1", 1);
            assert!(
                is_on(&rig, route),
                "the repeated `off` was carried out again"
            );
            // And with another guest.
            assert_eq!(ask(&rig, route, Operation::OFF, "vm2", 1), Reply::SUCCESS);
            assert!(is_on(&rig, route));
        },
    );
}

/// Numbers come from the clock's microseconds, so they come again.
#[test]
fn a_number_counts_again_after_some_time() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &daemons(&[Route::MulticastV4, Route::TcpV4]),
        4,
        |&(daemon, route)| {
            let rig = Rig::new();
            let _daemon = daemon_on(&rig, daemon, route);
            assert_eq!(ask(&rig, route, Operation::OFF, "vm1", 1), Reply::SUCCESS);
            assert_eq!(ask(&rig, route, Operation::ON, "vm1", 2), Reply::SUCCESS);
            // Asking all the time would itself meet a number again.
            thread::sleep(Duration::from_secs(13));
            assert!(is_on(&rig, route));
            assert_eq!(ask(&rig, route, Operation::OFF, "vm1", 1), Reply::SUCCESS);
            assert!(!is_on(&rig, route));
        },
    );
}

/// The daemon finds several retransmissions of one run waiting for it.
#[test]
fn retransmissions_that_wait_together_act_once() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&pairs(), 4, |&(agent, daemon)| {
        let rig = Rig::new();
        let route = Route::MulticastV4;
        let daemon = daemon_on(&rig, daemon, route);
        let tap = Tap::open(&rig.cable);
        daemon.process.freeze();
        let off = Call::over(&rig, agent, route)
            .with(&["-r", "3", "-o", "off", "-H", "vm1"])
            .start(&rig);
        let heard: Vec<_> = (0..4).filter_map(|_| tap.hear(PATIENCE)).collect();
        let first = peer::verify(&heard[0].payload, &rig.wire_key());
        for again in &heard[1..] {
            let again = peer::verify(&again.payload, &rig.wire_key());
            assert_eq!(again.seqno, first.seqno, "retransmissions are recognisable");
            assert_ne!(again.random, first.random, "no packet is sent twice");
        }
        daemon.process.thaw();
        let ran = off.finish(PATIENCE);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!is_on(&rig, route));
        let ran = Call::over(&rig, agent, route).act(&rig, "on", Some("vm1"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        never_within(
            "a retransmission was carried out on its own",
            Duration::from_secs(1),
            || !is_on(&rig, route),
        );
    });
}

/// The agent dies after its request was sent and before the daemon has looked at it.
#[test]
fn nothing_is_done_for_an_agent_that_died() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &pairs_over(&[Route::MulticastV4, Route::TcpV4]),
        4,
        |&(agent, daemon, route)| {
            let rig = Rig::new();
            let daemon = daemon_on(&rig, daemon, route);
            let tap = Tap::open(&rig.cable);
            daemon.process.freeze();
            let mut off = Call::over(&rig, agent, route)
                .with(&["-o", "off", "-H", "vm1"])
                .start(&rig);
            if route.is_multicast() {
                assert!(tap.hear(PATIENCE).is_some(), "the request was sent");
            } else {
                wait_for("the request to arrive", PATIENCE, || {
                    daemon
                        .process
                        .sockets("tcp")
                        .iter()
                        .any(|line| received(line) >= 176)
                        .then_some(())
                });
            }
            off.kill();
            daemon.process.thaw();
            // The next agent listens on the port of the dead one: who connects back a little late would take it for that.
            thread::sleep(Duration::from_millis(500));
            never_within(
                "the guest was switched off for nobody",
                Duration::from_secs(2),
                || !is_on(&rig, route),
            );
        },
    );
}

/// How many bytes wait to be read in the socket that `line` describes.
fn received(line: &str) -> u64 {
    line.split_whitespace()
        .nth(4)
        .and_then(|queues| queues.split_once(':'))
        .and_then(|(_, bytes)| u64::from_str_radix(bytes, 16).ok())
        .unwrap_or(0)
}
