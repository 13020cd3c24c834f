//! What an agent makes of each answer a daemon can give.

use std::{io::Write as _, time::Duration};

use fence_wire::{HashType, HostRecord, Reply, encode_list};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::Route,
    guests::{VM1_UUID, VM2_UUID},
    peer::{self, TcpSeat},
    process::{PATIENCE, Ran},
    rig::Rig,
    skip::{PEERS, skipped},
};

/// Runs `action` against a daemon that goes through the handshake and then sends `pieces`.
fn answered(agent: Subject, action: &str, pieces: &[&[u8]]) -> Ran {
    let rig = Rig::new();
    let seat = TcpSeat::take(&rig.cable);
    let running = Call::over(&rig, agent, Route::TcpV4)
        .with(&["-t", "5", "-o", action, "-H", "vm1"])
        .start(&rig);
    let (mut stream, _packet) = seat.receive();
    peer::shake_as_daemon(&stream, HashType::Sha256, &rig.wire_key())
        .expect("the agent knows the key");
    for piece in pieces {
        stream.write_all(piece).expect("the agent reads");
        stream.flush().expect("nothing is buffered");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stream);
    running.finish(PATIENCE)
}

/// Answers, and what agents exit with. Only 0 is success and only a status can be "off"; a value
/// the protocol does not know, or an "off" to another question, goes through as it came.
const ANSWERS: [(&str, u8, i32); 12] = [
    ("status", 0, 0),
    ("status", 1, 1),
    ("status", 2, 2),
    ("status", 3, 3),
    ("off", 0, 0),
    ("off", 1, 1),
    ("off", 3, 3),
    ("on", 0, 0),
    ("reboot", 0, 0),
    ("monitor", 0, 0),
    ("off", 2, 2),
    ("status", 7, 7),
];

#[test]
fn each_reply_has_its_exit_code() {
    if skipped(&PEERS) {
        return;
    }
    let all: Vec<_> = Subject::all()
        .into_iter()
        .flat_map(|agent| ANSWERS.map(|answer| (agent, answer)))
        .collect();
    cases::all(&all, 6, |&(agent, (action, reply, wanted))| {
        let ran = answered(agent, action, &[&[reply]]);
        assert_eq!(ran.code, Some(wanted), "{ran:?}");
        let said: &[&str] = match (action, wanted) {
            ("status", 0) => &["Status: ON"],
            ("status", 2) => &["Status: OFF"],
            _ => &[],
        };
        assert_eq!(ran.results(), said);
    });
}

#[test]
fn a_daemon_that_hangs_up_has_not_answered() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        for action in ["status", "off", "list"] {
            let ran = answered(agent, action, &[]);
            assert_eq!(ran.code, Some(1), "{action}: {ran:?}");
        }
    });
}

#[test]
fn a_daemon_with_another_key_is_not_believed() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let rig = Rig::new();
        let seat = TcpSeat::take(&rig.cable);
        let running = Call::over(&rig, agent, Route::TcpV4)
            .with(&["-t", "5", "-o", "off", "-H", "vm1"])
            .start(&rig);
        let (mut stream, _packet) = seat.receive();
        let other = fence_wire::Key::new(b"another key");
        let _refused = peer::shake_as_daemon(&stream, HashType::Sha256, &other);
        // It may have hung up already.
        let _sent = stream.write_all(&[Reply::SUCCESS.0]);
        drop(stream);
        let ran = running.finish(PATIENCE);
        assert_eq!(ran.code, Some(1), "{ran:?}");
    });
}

/// The C daemon leaves bytes of its stack in the records, so nothing behind a name counts.
#[test]
fn rubbish_in_the_gaps_of_a_list_is_ignored() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let record = |name: &str, uuid: &str, state| HostRecord {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            state,
        };
        let hosts = [record("vm1", VM1_UUID, 1), record("vm2", VM2_UUID, 5)];
        let mut bytes = encode_list(&hosts, Reply::SUCCESS);
        for start in [1, 131] {
            // Behind the name's and the UUID's NUL, and the byte of padding.
            for at in (4..64).chain(64 + 37..128).chain([129]) {
                bytes[start + at] = 0x6d;
            }
        }
        let ran = answered(agent, "list", &[&bytes]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let line = |name: &str, uuid: &str, state: &str| format!("{name:<32} {uuid} {state}");
        assert_eq!(
            ran.results(),
            [line("vm1", VM1_UUID, "on"), line("vm2", VM2_UUID, "off")]
        );
    });
}

/// A stream has no borders: a list may come in any pieces.
#[test]
fn a_list_may_come_in_pieces() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let host = HostRecord {
            name: "vm1".to_owned(),
            uuid: VM1_UUID.to_owned(),
            state: 1,
        };
        let bytes = encode_list(&[host], Reply::SUCCESS);
        let pieces = [
            &bytes[..1],
            &bytes[1..40],
            &bytes[40..131],
            &bytes[131..200],
            &bytes[200..],
        ];
        let ran = answered(agent, "list", &pieces);
        assert_eq!((ran.code, ran.results().len()), (Some(0), 1), "{ran:?}");
    });
}
