//! Who waits for whom.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use fence_wire::{CHALLENGE_LEN, HashType, Operation};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    libvirtd::{self, Libvirtd},
    peer as ends,
    process::{PATIENCE, never_within, wait_for},
    rig::Rig,
    skip::{PEERS, skipped, skipped_with},
};

use crate::{shows, side_by_side, status, world};

/// What nobody in the way may add to a request. The machine may be busy with other tests.
const NO_DELAY: Duration = Duration::from_secs(2);

/// I07: forty clients that connect and say nothing.
#[test]
fn i07_silent_clients_delay_nobody() {
    if skipped(&PEERS) {
        return;
    }
    let took = |daemon: Subject| {
        let (rig, _daemon) = world(daemon, Route::TcpV4);
        let _silent: Vec<_> = (0..40)
            .map(|_| {
                rig.cable.guest.enter(|| {
                    let socket = socket2::Socket::new(
                        socket2::Domain::IPV4,
                        socket2::Type::STREAM,
                        Some(socket2::Protocol::TCP),
                    )
                    .expect("a socket");
                    socket.set_nonblocking(true).expect("an option");
                    let daemon = (picket_tests::net::HOST_V4, fence_wire::PORT);
                    // In progress: the C daemon's queue takes only a few.
                    let _begun = socket.connect(&std::net::SocketAddr::from(daemon).into());
                    socket
                })
            })
            .collect();
        let ran = Call::over(&rig, Subject::C, Route::TcpV4)
            .limit(Duration::from_secs(60))
            .act(&rig, "status", Some("vm1"));
        (ran.took, ran)
    };
    let ours = || {
        let (ours, ran) = took(Subject::Ours);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ours < NO_DELAY, "a request took {ours:?}");
    };
    side_by_side(ours, || {
        let (c, ran) = took(Subject::C);
        // In a full queue a request may also be lost altogether.
        let shown = c > Duration::from_secs(3) || ran.code != Some(0);
        shows("lets silent clients delay others", shown, &ran);
    });
}

/// I14: the C daemon sleeps for a second in every reboot.
#[test]
fn i14_a_reboot_waits_for_nothing_but_the_guest() {
    if skipped(&PEERS) {
        return;
    }
    for route in [Route::MulticastV4, Route::TcpV4] {
        let fastest = |daemon: Subject| {
            let (rig, _daemon) = world(daemon, route);
            let call = Call::over(&rig, Subject::C, route);
            (0..3)
                .map(|_| {
                    let ran = call.act(&rig, "reboot", Some("vm1"));
                    assert_eq!(ran.code, Some(0), "{ran:?}");
                    ran.took
                })
                .min()
                .expect("three of them")
        };
        let ours = || {
            let ours = fastest(Subject::Ours);
            assert!(ours < Duration::from_millis(900), "a reboot took {ours:?}");
        };
        side_by_side(ours, || {
            let c = fastest(Subject::C);
            shows(
                "sleeps a second in a reboot",
                c >= Duration::from_secs(1),
                &c,
            );
        });
    }
}

/// A daemon in front of a libvirtd of its own, which knows the running guest `test`.
fn stallable(daemon: Subject, route: Route) -> (Rig, Libvirtd, Daemon) {
    let rig = Rig::new();
    let libvirtd = Libvirtd::start(&rig, "libvirt");
    let config = Config::new(&rig, route, &libvirtd.default_uri());
    let running = Daemon::start(&rig, daemon, &config);
    wait_for("the daemon to know the guest", PATIENCE, || {
        (status(&rig, route, "test").code == Some(0)).then_some(())
    });
    (rig, libvirtd, running)
}

/// W6 (and I26): libvirtd stands still for some seconds; the agent gives up and reports a failure;
/// then libvirtd goes on. The C daemon now carries out what nobody waits for any more.
#[test]
fn w6_nothing_is_done_after_the_agent_gave_up() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let runs_on = |daemon: Subject, route: Route| {
        let (rig, libvirtd, _daemon) = stallable(daemon, route);
        libvirtd.process.freeze();
        let ran =
            Call::over(&rig, Subject::C, route)
                .with(&["-t", "3"])
                .act(&rig, "off", Some("test"));
        assert!(
            ran.code.is_some_and(|code| code != 0),
            "the agent gave up: {ran:?}"
        );
        // Its time is over; whatever grace the daemon grants itself is, too.
        std::thread::sleep(Duration::from_secs(2));
        libvirtd.process.thaw();
        let state = || {
            libvirtd
                .virsh(&rig, &["domstate", "test"])
                .expect("libvirtd answers again")
        };
        let begun = Instant::now();
        let mut last = state();
        while last == "running" && begun.elapsed() < Duration::from_secs(4) {
            std::thread::sleep(Duration::from_millis(50));
            last = state();
        }
        last == "running"
    };
    let all: Vec<_> = Subject::all()
        .into_iter()
        .flat_map(|daemon| [Route::MulticastV4, Route::TcpV4].map(|route| (daemon, route)))
        .collect();
    cases::all(&all, 4, |&(daemon, route)| {
        let runs_on = runs_on(daemon, route);
        match daemon {
            Subject::Ours => assert!(
                runs_on,
                "the guest was switched off after the agent gave up"
            ),
            Subject::C => shows("acts for agents that gave up", !runs_on, &route),
        }
    });
}

/// W23, first: a requester that stops in the middle of the handshake costs the others ten seconds.
#[test]
fn w23_a_stalled_handshake_delays_nobody() {
    if skipped(&PEERS) {
        return;
    }
    let took = |daemon: Subject| {
        let (rig, _daemon) = world(daemon, Route::TcpV4);
        let key = rig.wire_key();
        let stalled: Vec<_> = (0..3)
            .map(|seqno| {
                let mut stream = ends::dial(&rig.cable);
                let request = ends::request(Operation::STATUS, "vm2", None, seqno);
                stream
                    .write_all(&request.encode(HashType::Sha256, &key))
                    .expect("it is read");
                stream
            })
            .collect();
        let ran = Call::over(&rig, Subject::C, Route::TcpV4).act(&rig, "status", Some("vm1"));
        drop(stalled);
        (ran.took, ran)
    };
    let ours = || {
        let (ours, ran) = took(Subject::Ours);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ours < NO_DELAY, "a request took {ours:?}");
    };
    side_by_side(ours, || {
        let (c, ran) = took(Subject::C);
        shows(
            "lets a stalled handshake delay others",
            c > Duration::from_secs(5),
            &ran,
        );
    });
}

/// W23, second: with libvirtd standing still, the C daemon stands still altogether: nobody else even
/// gets an answer to a challenge. Ours goes on with everybody, and fails each request in its time.
#[test]
fn w23_a_dead_libvirt_delays_only_who_needs_it() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let challenge_answered = |daemon: Subject| {
        let (rig, libvirtd, _daemon) = stallable(daemon, Route::TcpV4);
        libvirtd.process.freeze();
        let first = Call::over(&rig, Subject::C, Route::TcpV4)
            .with(&["-o", "status", "-H", "test"])
            .start(&rig);
        // The daemon is busy with the first request once it has accepted it; then comes another.
        wait_for("the first request to arrive", PATIENCE, || {
            let tables = first.sockets("tcp");
            tables
                .iter()
                .any(|line| line.split_whitespace().nth(3) == Some("01"))
                .then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        let mut stream = ends::dial(&rig.cable);
        let request = ends::request(Operation::STATUS, "test", None, 5);
        stream
            .write_all(&request.encode(HashType::Sha256, &rig.wire_key()))
            .and_then(|()| stream.write_all(&ends::random::<CHALLENGE_LEN>()))
            .expect("it is read, or waits to be");
        stream
            .set_read_timeout(Some(Duration::from_secs(3)))
            .expect("an option");
        let mut both = [0; 2 * CHALLENGE_LEN];
        let answered = stream.read_exact(&mut both).is_ok();
        libvirtd.process.thaw();
        answered
    };
    let ours = || {
        assert!(challenge_answered(Subject::Ours));
        requests_fail_in_their_time();
    };
    side_by_side(ours, || {
        let answered = challenge_answered(Subject::C);
        shows("stands still with libvirtd", !answered, &answered);
    });
}

/// Each request fails in its time, none of them piles up, and afterwards all is well again.
fn requests_fail_in_their_time() {
    let (rig, libvirtd, daemon) = stallable(Subject::Ours, Route::TcpV4);
    libvirtd.process.freeze();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            Call::over(&rig, Subject::Ours, Route::TcpV4)
                .with(&["-t", "4", "-o", "status", "-H", "test"])
                .start(&rig)
        })
        .collect();
    for run in runs {
        let ran = run.finish(PATIENCE);
        assert!(
            ran.code.is_some_and(|code| code != 0 && code != 2),
            "{ran:?}"
        );
        assert!(ran.took < Duration::from_secs(7), "{:?}", ran.took);
    }
    libvirtd.process.thaw();
    wait_for("the daemon to recover", PATIENCE, || {
        (status(&rig, Route::TcpV4, "test").code == Some(0)).then_some(())
    });
    never_within("descriptors pile up", Duration::from_millis(100), || {
        daemon.process.descriptors() > 200
    });
}
