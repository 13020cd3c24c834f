//! The agents' own defects.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use fence_wire::{HashType, HostRecord, Reply, encode_list};
use picket_tests::{
    Subject,
    agent::{Call, Program},
    cases,
    daemon::{Config, Daemon, Route},
    guests,
    net::Cable,
    peer::{self as ends, GroupSeat, TcpSeat},
    process::{PATIENCE, Process, Ran},
    rig::Rig,
    skip::{PEERS, skipped},
};

use crate::{peer, picket, shows, side_by_side};

/// I08: an unknown option prints the usage of the C agents, and they exit with success.
#[test]
fn i08_an_unknown_option_is_an_error() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let calls: [&[&str]; 4] = [
        &["-o", "off", "-n", "vm1", "-Q"],
        &["-Q"],
        &["--power-cycle"],
        &["-o", "off", "-n", "vm1", "-zz"],
    ];
    for program in Program::BOTH {
        picket(|| {
            for args in calls {
                let call = Call::new(Subject::Ours, program, args).limit(Duration::from_secs(5));
                let ran = call.run(&rig);
                assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
                assert!(
                    !ran.stderr.trim().is_empty(),
                    "{args:?} is refused without a word"
                );
            }
        });
        peer(|| {
            let ran = Call::new(Subject::C, program, &["-Q"]).run(&rig);
            shows(
                "takes an unknown option for success",
                ran.code == Some(0),
                &ran,
            );
        });
    }
}

/// What a stranger does with an agent's port; it may keep the connection.
type Stranger = fn(&Cable, SocketAddr) -> Option<TcpStream>;

/// W21: whoever connects first is "the host" for the C agent; if it is not, the run is over.
#[test]
fn w21_the_agent_listens_on_when_a_stranger_calls() {
    if skipped(&PEERS) {
        return;
    }
    // What the stranger does before the real daemon connects.
    let strangers: [(&str, Stranger); 3] = [
        ("hangs up", |cable, address| {
            drop(ends::connect(&cable.host, address));
            None
        }),
        ("sends rubbish", |cable, address| {
            let mut stream = ends::connect(&cable.host, address);
            stream.write_all(&[0x55; 300]).expect("the agent listens");
            Some(stream)
        }),
        ("stays silent", |cable, address| {
            Some(ends::connect(&cable.host, address))
        }),
    ];
    let run = |agent: Subject, stranger: Stranger| {
        let rig = Rig::new();
        let seat = GroupSeat::take(&rig.cable);
        let running = Call::over(&rig, agent, Route::MulticastV4)
            .with(&["-t", "6", "-o", "status", "-H", "vm1"])
            .start(&rig);
        let address = seat
            .request(&rig.wire_key())
            .reply_to
            .expect("it says where to answer");
        let _held = stranger(&rig.cable, address);
        // The C agent has closed its listener by now, or does soon.
        if let Ok(mut stream) = ends::try_connect(&rig.cable.host, address) {
            let limit = stream.set_read_timeout(Some(Duration::from_secs(5)));
            if limit.is_ok()
                && ends::shake_as_daemon(&stream, HashType::Sha256, &rig.wire_key()).is_ok()
            {
                stream
                    .write_all(&[Reply::SUCCESS.0])
                    .expect("the agent reads");
            }
        }
        running.finish(PATIENCE)
    };
    cases::all(&strangers, 3, |(what, stranger)| {
        picket(|| {
            let ran = run(Subject::Ours, *stranger);
            let got = (ran.code, ran.stdout.as_str());
            assert_eq!(got, (Some(0), "Status: ON\n"), "{what}: {ran:?}");
        });
        peer(|| {
            let ran = run(Subject::C, *stranger);
            let shown = !matches!(ran.code, Some(0 | 2));
            shows("gives up when a stranger calls", shown, &(what, &ran));
        });
    });
}

/// An agent on TCP whose daemon, played by `daemon`, is slow or breaks off.
fn against(
    agent: Subject,
    action: &str,
    seconds: u32,
    limit: Duration,
    daemon: impl FnOnce(&Rig, TcpStream) + Send,
) -> Ran {
    let rig = Rig::new();
    let seat = TcpSeat::take(&rig.cable);
    let running = Call::over(&rig, agent, Route::TcpV4)
        .with(&["-t", &seconds.to_string(), "-o", action, "-H", "vm1"])
        .start(&rig);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _packet) = seat.receive();
            daemon(&rig, stream);
        });
        running.finish(limit)
    })
}

fn half_a_list() -> Vec<u8> {
    let host = HostRecord {
        name: "vm1".to_owned(),
        uuid: guests::VM1_UUID.to_owned(),
        state: 1,
    };
    let mut bytes = encode_list(&[host.clone(), host], Reply::SUCCESS);
    bytes.truncate(1 + 130 + 60);
    bytes
}

/// W27, first: with a timeout shorter than the pause between retransmissions, the C agent never ends.
#[test]
fn w27_a_short_timeout_is_kept() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &[["-t", "1", "-r", "20"], ["-t", "3", "-r", "50"]],
        2,
        |args| {
            let call = |agent| {
                // A guest each: they would want the same port.
                let rig = Rig::new();
                Call::over(&rig, agent, Route::MulticastV4)
                    .with(args)
                    .limit(Duration::from_secs(8))
                    .act(&rig, "status", Some("vm1"))
            };
            let ours = || {
                let ran = call(Subject::Ours);
                assert_eq!(ran.code, Some(1), "{ran:?}");
                let seconds: u64 = args[1].parse().expect("a number");
                let (least, most) = (
                    Duration::from_secs(seconds),
                    Duration::from_secs(seconds + 3),
                );
                assert!(ran.took < most && ran.took > least / 2, "{:?}", ran.took);
            };
            side_by_side(ours, || {
                let ran = call(Subject::C);
                shows("runs for ever with a short timeout", ran.hung, &ran);
            });
        },
    );
}

/// W27, second: a list that is cut off is printed by the C agent for ever, its last line again and
/// again; one that stalls is a success.
#[test]
fn w27_half_a_list_is_an_error() {
    if skipped(&PEERS) {
        return;
    }
    let cut = |agent, limit| {
        against(agent, "list", 5, limit, |rig, mut stream| {
            ends::shake_as_daemon(&stream, HashType::Sha256, &rig.wire_key())
                .expect("the same key");
            stream.write_all(&half_a_list()).expect("the agent reads");
        })
    };
    picket(|| {
        let ran = cut(Subject::Ours, PATIENCE);
        assert_eq!(ran.code, Some(1), "{ran:?}");
    });
    peer(|| {
        // Only a moment: it fills the disk.
        let ran = cut(Subject::C, Duration::from_millis(500));
        shows(
            "prints a cut list for ever",
            ran.hung,
            &(ran.code, ran.stdout.len()),
        );
    });

    let stall = |agent| {
        against(agent, "list", 2, PATIENCE, |rig, mut stream| {
            ends::shake_as_daemon(&stream, HashType::Sha256, &rig.wire_key())
                .expect("the same key");
            stream.write_all(&half_a_list()).expect("the agent reads");
            let _rest = ends::read_all(&stream);
        })
    };
    picket(|| {
        let ran = stall(Subject::Ours);
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    });
    peer(|| {
        let ran = stall(Subject::C);
        shows(
            "takes a stalled list for success",
            ran.code == Some(0),
            &ran,
        );
    });
}

/// W27, third: the C agent grants its timeout to each step anew. Here every step takes two seconds,
/// with three seconds allowed in all.
#[test]
fn w27_the_timeout_is_for_the_whole_run() {
    if skipped(&PEERS) {
        return;
    }
    let slow = |agent| {
        against(agent, "status", 3, PATIENCE, |rig, mut stream| {
            let step = Duration::from_secs(2);
            let key = rig.wire_key();
            let mut handshake =
                fence_wire::DaemonHandshake::new(HashType::Sha256, &key, ends::random());
            let mut challenge = [0; fence_wire::CHALLENGE_LEN];
            std::io::Read::read_exact(&mut stream, &mut challenge).expect("it challenges");
            handshake.receive(&challenge).expect("a challenge");
            let reply = handshake.transmit().expect("answer and challenge");
            // The agent may have gone, and should: the rest is for one that waits.
            for piece in reply
                .chunks(fence_wire::CHALLENGE_LEN)
                .chain([&[Reply::SUCCESS.0][..]])
            {
                thread::sleep(step);
                let _written = stream.write_all(piece);
            }
        })
    };
    let ours = || {
        let ours = slow(Subject::Ours);
        assert!(ours.code.is_some_and(|code| code != 0), "{ours:?}");
        assert!(ours.took < Duration::from_millis(4500), "{ours:?}");
        // The words Pacemaker looks for.
        let said = ours.stderr.to_lowercase();
        assert!(
            said.contains("timed out") || said.contains("timeout"),
            "{ours:?}"
        );
    };
    side_by_side(ours, || {
        let c = slow(Subject::C);
        shows("grants each step the whole timeout", c.code == Some(0), &c);
    });
}

/// W28: the C agent listens on a fixed port, so two runs in one guest disturb each other. Ours takes
/// another when that one is busy, and says so in its packet, which C daemons honour.
#[test]
fn w28_parallel_runs_do_not_disturb_each_other() {
    if skipped(&PEERS) {
        return;
    }
    // Whether a second run is heard while a first one waits for an answer.
    let second_is_heard = |agent: Subject| {
        let rig = Rig::new();
        let seat = GroupSeat::take(&rig.cable);
        let call = Call::over(&rig, agent, Route::MulticastV4);
        let _first = call
            .clone()
            .with(&["-o", "status", "-H", "vm1"])
            .start(&rig);
        let _waits = seat.request(&rig.wire_key());
        let second = call
            .with(&["-t", "4", "-o", "status", "-H", "vm2"])
            .start(&rig);
        let begun = Instant::now();
        let mut heard = false;
        while !heard && begun.elapsed() < Duration::from_secs(6) {
            heard = seat.hear(Duration::from_secs(1)).is_some_and(|datagram| {
                let request = ends::verify(&datagram.payload, &rig.wire_key());
                request.plug.is_some_and(|plug| plug.as_str() == "vm2")
            });
        }
        // One that was heard has shown what is asked here; its end would take its whole time.
        let limit = if heard { Duration::ZERO } else { PATIENCE };
        (heard, second.finish(limit))
    };
    let ours = || {
        assert!(
            second_is_heard(Subject::Ours).0,
            "a second run of ours asks, too"
        );
        eight_at_once();
        every_run_has_a_port_of_its_own();
    };
    side_by_side(ours, || {
        let (heard, ran) = second_is_heard(Subject::C);
        let shown = !heard && ran.code == Some(255);
        shows("is silent while another runs", shown, &ran);
    });
}

fn eight_at_once() {
    for daemon in Subject::all() {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, Route::MulticastV4, &uri));
        let call = Call::over(&rig, Subject::Ours, Route::MulticastV4);
        let asking = call.with(&["-o", "status", "-H", "vm1"]);
        let runs: Vec<Process> = (0..8).map(|_| asking.start(&rig)).collect();
        for run in runs {
            let ran = run.finish(PATIENCE);
            assert_eq!(ran.code, Some(0), "{daemon} daemon: {ran:?}");
        }
    }
}

/// The first run takes the port that firewalls may have been opened for, each further one another.
fn every_run_has_a_port_of_its_own() {
    let rig = Rig::new();
    let seat = GroupSeat::take(&rig.cable);
    let call = Call::over(&rig, Subject::Ours, Route::MulticastV4).with(&["-r", "100"]);
    let port = || {
        let request = seat.request(&rig.wire_key());
        request.reply_to.expect("it says where to answer").port()
    };
    let asking = call.with(&["-o", "list"]);
    let _first = asking.start(&rig);
    let first = port();
    let _second = asking.start(&rig);
    let second = port();
    let _third = asking.start(&rig);
    assert_eq!(first, fence_wire::PORT);
    assert!(first != second && second != port() && second != 0);
}
