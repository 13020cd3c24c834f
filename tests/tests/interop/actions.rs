//! Every action, over every route, for every pair: the table of expected results.

use std::{os::unix::net::UnixStream, time::Duration};

use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests::{self, VM1_UUID, VM2_UUID},
    process::Ran,
    relay::{self, DeviceSocket, Relay},
    rig::Rig,
    skip::{PEERS, skipped},
    subject::{pairs, pairs_over},
};

/// What an agent's run must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Done,
    On,
    Off,
    Failed,
}

impl Want {
    fn check(self, label: &str, ran: &Ran) {
        let (code, status): (i32, &[&str]) = match self {
            Self::Done => (0, &[]),
            Self::On => (0, &["Status: ON"]),
            Self::Off => (2, &["Status: OFF"]),
            Self::Failed => (1, &[]),
        };
        assert_eq!(ran.code, Some(code), "{label}: {ran:?}");
        assert_eq!(ran.results(), status, "{label}");
    }
}

/// Runs the table with `call`; what the daemon of `subject` answers about unknown guests differs.
fn run_table(rig: &Rig, call: &Call, daemon: Subject) {
    let expect = |action: &str, plug: Option<&str>, want: Want| {
        let ran = call.act(rig, action, plug);
        want.check(&format!("{action} {}", plug.unwrap_or("")), &ran);
        ran
    };
    for action in ["list", "list-status"] {
        let ran = call.act(rig, action, None);
        assert_eq!(ran.code, Some(0), "{action}: {ran:?}");
        let line = |name: &str, uuid: &str, state: &str| format!("{name:<32} {uuid} {state}");
        assert_eq!(
            ran.results(),
            [line("vm1", VM1_UUID, "on"), line("vm2", VM2_UUID, "on")],
            "{action}"
        );
    }
    expect("status", Some("vm1"), Want::On);
    expect("status", Some(VM1_UUID), Want::On);
    // The C daemon says OFF of a guest it does not know (I05); ours cannot know, so it is an error.
    let unknown = if daemon == Subject::C {
        Want::Off
    } else {
        Want::Failed
    };
    expect("status", Some("nosuch"), unknown);
    expect("monitor", None, Want::Done);
    expect("null", Some("vm1"), Want::Failed);
    expect("off", Some("vm1"), Want::Done);
    expect("off", Some("vm1"), Want::Done);
    expect("status", Some("vm1"), Want::Off);
    expect("reboot", Some("vm1"), Want::Done);
    expect("status", Some("vm1"), Want::Off);
    expect("on", Some("vm1"), Want::Done);
    expect("on", Some("vm1"), Want::Done);
    expect("status", Some("vm1"), Want::On);
    expect("reboot", Some(VM1_UUID), Want::Done);
    expect("status", Some("vm1"), Want::On);
    for action in ["off", "on", "reboot"] {
        expect(action, Some("nosuch"), Want::Failed);
    }
    expect("status", Some("vm2"), Want::On);
    let off = call.act(rig, "list", None);
    let states: Vec<bool> = off
        .results()
        .iter()
        .map(|line| line.ends_with(" on"))
        .collect();
    assert_eq!(states, [true, true], "{off:?}");
}

#[test]
fn all_actions_over_the_network() {
    if skipped(&PEERS) {
        return;
    }
    let all = pairs_over(&Route::NETWORK);
    cases::all(&all, 4, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, route, &uri));
        run_table(&rig, &Call::over(&rig, agent, route), daemon);
    });
}

/// A C daemon that serves `vm1`'s device, and the daemon's end of that device.
fn device_daemon(rig: &Rig, route: Route) -> (Daemon, UnixStream) {
    let sockets = rig.path("socks");
    let path = sockets.join("s1");
    let socket = DeviceSocket::bind(&path);
    let mut pair = guests::pair();
    let element = if route == Route::Serial {
        "serial"
    } else {
        "channel"
    };
    pair[0].socket = Some((element, path.display().to_string()));
    let uri = rig.hypervisor("node.xml", &pair);
    let mut config = Config::new(rig, route, &uri);
    config.sockets = Some(sockets);
    let daemon = Daemon::start(rig, Subject::C, &config);
    (daemon, socket.accept())
}

/// Our daemon has no serial listener yet, so the C daemon serves both agents.
#[test]
fn all_actions_over_serial_lines_and_channels() {
    if skipped(&PEERS) {
        return;
    }
    let all: Vec<_> = Subject::all()
        .into_iter()
        .flat_map(|agent| [Route::Serial, Route::VmChannel].map(|route| (agent, route)))
        .collect();
    cases::all(&all, 4, |&(agent, route)| {
        let rig = Rig::new();
        let (_daemon, stream) = device_daemon(&rig, route);
        let (_relay, call): (Relay, Call) = if route == Route::Serial {
            let (relay, device) = relay::serial(stream);
            (relay, Call::serial(agent, device.to_str().expect("ASCII")))
        } else {
            let (relay, port) = relay::channel(&rig.cable.guest, stream);
            (relay, Call::channel(agent, port))
        };
        run_table(&rig, &call, Subject::C);
    });
}

/// `-n`, `-H` and `-u` name the same guest.
#[test]
fn every_spelling_of_the_plug() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&pairs(), 4, |&(agent, daemon)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, Route::MulticastV4, &uri));
        let call = Call::over(&rig, agent, Route::MulticastV4);
        for plug in [
            ["-n", "vm1", "-d"],
            ["-H", "vm1", "-d"],
            ["-n", VM1_UUID, "-u"],
        ] {
            let ran = call.clone().with(&["-o", "status"]).with(&plug).run(&rig);
            Want::On.check(&plug.join(" "), &ran);
        }
    });
}

/// A daemon that is started while the agent is asking already hears a retransmission.
#[test]
fn a_daemon_that_comes_late_is_found() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&pairs(), 4, |&(agent, daemon)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let call = Call::over(&rig, agent, Route::MulticastV4).with(&["-r", "5"]);
        let asking = call.with(&["-o", "status", "-H", "vm1"]).start(&rig);
        let heard = picket_tests::peer::GroupSeat::take(&rig.cable).hear(Duration::from_secs(10));
        assert!(heard.is_some(), "the agent asks");
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, Route::MulticastV4, &uri));
        Want::On.check("status", &asking.finish(Duration::from_secs(25)));
    });
}
