//! Streams as networks deliver them, and requesters that do not do what they should.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use fence_wire::{AgentHandshake, CHALLENGE_LEN, HashType, Operation, RECORD_LEN, Reply};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests, peer,
    process::{PATIENCE, never_within},
    rig::Rig,
    skip::{PEERS, skipped},
};

fn daemon_on(rig: &Rig, subject: Subject, route: Route) -> Daemon {
    let uri = rig.hypervisor("node.xml", &guests::pair());
    Daemon::start(rig, subject, &Config::new(rig, route, &uri))
}

fn status(rig: &Rig, route: Route) -> Option<i32> {
    Call::over(rig, Subject::C, route)
        .act(rig, "status", Some("vm1"))
        .code
}

#[test]
fn a_request_may_come_in_pieces() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let key = rig.wire_key();
        let packet =
            peer::request(Operation::STATUS, "vm1", None, 7).encode(HashType::Sha256, &key);
        let mut stream = peer::dial(&rig.cable);
        stream.set_nodelay(true).expect("a TCP option");
        for piece in packet.chunks(16) {
            stream.write_all(piece).expect("the daemon reads");
            thread::sleep(Duration::from_millis(20));
        }
        peer::shake_as_agent(&stream, HashType::Sha256, &key).expect("the daemon goes on");
        assert_eq!(peer::read_all(&stream), [Reply::SUCCESS.0]);
    });
}

#[test]
fn half_a_request_is_dropped_without_a_word() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let mut stream = peer::dial(&rig.cable);
        stream.write_all(&[1; 100]).expect("the daemon reads");
        let begun = Instant::now();
        assert_eq!(peer::read_all(&stream), []);
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it takes {:?}",
            begun.elapsed()
        );
        assert_eq!(
            status(&rig, Route::TcpV4),
            Some(0),
            "and the daemon goes on"
        );
    });
}

/// Nothing tells a requester without the key that there is a daemon at all.
#[test]
fn bad_signatures_are_dropped_without_a_word() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let key = rig.wire_key();
        let good = peer::request(Operation::OFF, "vm1", None, 9).encode(HashType::Sha256, &key);
        let with = |at: usize, value: u8| {
            let mut packet = good;
            packet[at] = value;
            packet
        };
        let bad = [
            with(1, 4),
            with(1, 255),
            with(1, 0),
            with(1, 1),
            with(0, 2),
            with(112, !good[112]),
            with(175, 1),
        ];
        for packet in bad {
            let mut stream = peer::dial(&rig.cable);
            stream.write_all(&packet).expect("the daemon reads");
            assert_eq!(peer::read_all(&stream), []);
        }
        assert_eq!(status(&rig, Route::TcpV4), Some(0));
    });
}

/// Where a requester's part of the handshake stops.
#[derive(Debug, Clone, Copy)]
enum Stop {
    AfterRequest,
    AfterChallenge,
    BeforeAnswer,
    WrongAnswer,
    ShortAnswer,
}

fn stop_at(stop: Stop, mut stream: TcpStream, key: &fence_wire::Key) {
    let mut handshake = AgentHandshake::new(HashType::Sha256, key, peer::random::<CHALLENGE_LEN>());
    if matches!(stop, Stop::AfterRequest) {
        return;
    }
    let challenge = handshake.transmit().expect("it begins with a challenge");
    stream.write_all(&challenge).expect("the daemon reads");
    if matches!(stop, Stop::AfterChallenge) {
        return;
    }
    let mut both = [0; 2 * CHALLENGE_LEN];
    stream
        .read_exact(&mut both)
        .expect("the daemon answers and challenges");
    handshake.receive(&both).expect("the daemon knows the key");
    let mut answer = handshake.transmit().expect("it ends with an answer");
    match stop {
        Stop::WrongAnswer => answer[0] ^= 1,
        Stop::ShortAnswer => answer.truncate(CHALLENGE_LEN - 1),
        _ => return,
    }
    stream.write_all(&answer).expect("the daemon reads");
    if matches!(stop, Stop::WrongAnswer) {
        assert_eq!(peer::read_all(&stream), [], "a wrong answer gets no reply");
    }
}

/// Nothing is done before the requester has proven that it knows the key, wherever it stops.
#[test]
fn nothing_is_done_before_the_handshake_is_over() {
    if skipped(&PEERS) {
        return;
    }
    let stops = [
        Stop::AfterRequest,
        Stop::AfterChallenge,
        Stop::BeforeAnswer,
        Stop::WrongAnswer,
        Stop::ShortAnswer,
    ];
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let key = rig.wire_key();
        for (seqno, stop) in (1..).zip(stops) {
            let mut stream = peer::dial(&rig.cable);
            let request = peer::request(Operation::OFF, "vm1", None, seqno);
            stream
                .write_all(&request.encode(HashType::Sha256, &key))
                .expect("the daemon reads");
            stop_at(stop, stream, &key);
            assert_eq!(status(&rig, Route::TcpV4), Some(0), "{stop:?}");
        }
        never_within("the guest went off", Duration::from_secs(1), || {
            status(&rig, Route::TcpV4) != Some(0)
        });
    });
}

/// Operations that exist only in the future, or only in agents, fail.
#[test]
fn unknown_operations_fail() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let key = rig.wire_key();
        for code in [7, 8, 99, 255] {
            let request = peer::request(Operation(code), "vm1", None, u32::from(code));
            let answer = peer::ask_over_tcp(
                &rig.cable,
                &request,
                HashType::Sha256,
                HashType::Sha256,
                &key,
            );
            assert_eq!(
                answer.expect("an answer"),
                [Reply::FAILURE.0],
                "operation {code}"
            );
        }
        assert_eq!(status(&rig, Route::TcpV4), Some(0));
    });
}

/// The shape of a list on the wire: marker, records, an empty record, one more reply byte.
#[test]
fn a_list_ends_with_an_empty_record_and_a_reply() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::TcpV4);
        let key = rig.wire_key();
        let request = peer::request(Operation::HOST_LIST, "", None, 1);
        let answer = peer::ask_over_tcp(
            &rig.cable,
            &request,
            HashType::Sha256,
            HashType::Sha256,
            &key,
        )
        .expect("an answer");
        assert_eq!(answer.len(), 1 + 3 * RECORD_LEN + 1);
        assert_eq!(answer[0], Reply::HOST_LIST.0);
        assert_eq!(&answer[1..5], b"vm1\0");
        assert_eq!(&answer[1 + RECORD_LEN..5 + RECORD_LEN], b"vm2\0");
        assert_eq!(
            (answer[1 + 128], answer[1 + RECORD_LEN + 128]),
            (1, 1),
            "both run"
        );
        assert!(
            answer[1 + 2 * RECORD_LEN..][..RECORD_LEN]
                .iter()
                .all(|byte| *byte == 0)
        );
        assert_eq!(answer.last(), Some(&Reply::SUCCESS.0));
    });
}

/// Datagrams from nowhere in particular, and with addresses nobody can connect to.
#[test]
fn useless_datagrams_are_survived() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let _daemon = daemon_on(&rig, daemon, Route::MulticastV4);
        let key = rig.wire_key();
        let nowhere = "10.77.0.2:9".parse().ok();
        let good = peer::request(Operation::OFF, "vm1", nowhere, 3).encode(HashType::Sha256, &key);
        peer::multicast(&rig.cable, &good);
        let mut family = good;
        family[108] = 99;
        peer::multicast(&rig.cable, &family);
        peer::multicast(&rig.cable, &[]);
        peer::multicast(&rig.cable, &[0xff; 1400]);
        let begun = Instant::now();
        assert_eq!(status(&rig, Route::MulticastV4), Some(0));
        assert!(begun.elapsed() < PATIENCE);
    });
}
