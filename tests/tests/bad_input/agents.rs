//! Agents called wrongly, or with nobody to answer.

use std::{fs::OpenOptions, process::Command, time::Duration};

use picket_tests::{
    Subject,
    agent::{Call, Program},
    cases,
    daemon::{Config, Daemon, Route},
    guests,
    peer::GroupSeat,
    process::{PATIENCE, Ran},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::Signal;

use crate::{names, status, tells, world};

/// Arguments, and what the message must name.
type Misuse = (&'static [&'static str], &'static [&'static str]);

const MISUSES: [Misuse; 10] = [
    (&["-o", "status", "-n", "vm1", "-Q"], &["-Q"]),
    (&["-o", "status", "-n", "vm1", "--plg", "vm1"], &["--plg"]),
    (
        &["-o", "conquer", "-n", "vm1"],
        &["conquer", "reboot", "status"],
    ),
    (&["-o", "off"], &["plug", "-n"]),
    (&["-o", "off", "-n", ""], &["plug"]),
    (
        &["-o", "off", "-n", "vm1", "-t", "soon"],
        &["timeout", "seconds"],
    ),
    (&["-o", "off", "-n", "vm1", "-t", "0"], &["timeout"]),
    (&["-o", "off", "-n", "vm1", "-p", "65536"], &["ipport"]),
    (
        &["-o", "off", "-n", "vm1", "-c", "sha265"],
        &["hash", "sha256"],
    ),
    (
        &["-o", "off", "-n", "vm1", "-C", "md5"],
        &["auth", "sha256"],
    ),
];

fn refused(args: &dyn std::fmt::Debug, ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
    assert_eq!(
        ran.stdout, "",
        "{args:?}: messages belong on standard error"
    );
    names(&ran.stderr, words);
}

#[test]
fn wrong_options_are_named() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let key = rig.key().display().to_string();
    for program in Program::BOTH {
        for (args, words) in MISUSES {
            let ran = Call::new(Subject::Ours, program, &["-k", &key])
                .with(args)
                .run(&rig);
            refused(&args, &ran, words);
        }
    }
}

/// On standard input, Pacemaker adds what agents do not know; so only what looks like a slip of a
/// known name is refused.
#[test]
fn slips_on_standard_input_are_named() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let key = rig.key().display().to_string();
    let inputs: [(&str, &[&str]); 5] = [
        ("action=off\nplg=vm1\n", &["plg", "plug"]),
        (
            "action=off\nport=vm1\nkey_fil=/x\n",
            &["key_fil", "key_file"],
        ),
        ("action=off\nport=vm1\nhash=md5\n", &["hash"]),
        ("action=off\nport=\n", &["plug"]),
        ("action=vanish\nport=vm1\n", &["vanish"]),
    ];
    for program in Program::BOTH {
        for (input, words) in inputs {
            let text = format!("key_file={key}\n{input}");
            let ran = Call::new(Subject::Ours, program, &[])
                .input(&text)
                .run(&rig);
            refused(&input, &ran, words);
        }
    }
}

/// The C agents go on without a key when the default file is missing (W16); ours ask for it.
#[test]
fn a_missing_or_empty_key_is_named_with_the_remedy() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let empty = rig.write_private("empty", b"").display().to_string();
    let network: [(Program, &[&str]); 2] =
        [(Program::Xvm, &[]), (Program::Virt, &["-T", "10.77.0.1"])];
    for (program, args) in network {
        for key in ["/nonexistent/key", &empty, "/"] {
            let ran = Call::new(Subject::Ours, program, args)
                .with(&["-o", "off", "-n", "vm1", "-k", key])
                .run(&rig);
            refused(&key, &ran, &[key, "key", "copy"]);
        }
        if !std::path::Path::new("/etc/cluster/fence_xvm.key").exists() {
            let ran = Call::new(Subject::Ours, program, args)
                .with(&["-o", "off", "-n", "vm1"])
                .run(&rig);
            refused(&"no -k", &ran, &["/etc/cluster/fence_xvm.key", "copy"]);
        }
    }
}

#[test]
fn an_unreachable_daemon_is_named() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let ran = Call::over(&rig, Subject::Ours, Route::TcpV4).act(&rig, "off", Some("vm1"));
    refused(&"tcp", &ran, &["10.77.0.1:1229", "fence_virtd"]);

    let call = Call::over(&rig, Subject::Ours, Route::MulticastV4).impatient();
    let ran = call.act(&rig, "off", Some("vm1"));
    refused(
        &"multicast",
        &ran,
        &["timed out", "225.0.0.12", "vm1", "fence_virtd", "key"],
    );
    assert!(ran.took < Duration::from_secs(5), "{:?}", ran.took);

    let ran = Call::serial(Subject::Ours, "/dev/nosuch").act(&rig, "off", Some("vm1"));
    assert!(matches!(ran.code, Some(1 | 255)), "{ran:?}");
    names(&ran.stderr, &["/dev/nosuch", "serial_device"]);

    let ran = Call::channel(Subject::Ours, 7).act(&rig, "off", Some("vm1"));
    assert!(matches!(ran.code, Some(1 | 255)), "{ran:?}");
    names(&ran.stderr, &["127.0.0.1:7", "fence_virtd"]);
}

#[test]
fn an_unknown_guest_is_an_error_that_names_it() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&[Route::MulticastV4, Route::TcpV4], 2, |&route| {
        let (rig, daemon) = world(route);
        let ran = status(&rig, route, "vm3");
        refused(&route, &ran, &["vm3"]);
        tells(&daemon.process, &["vm3"]);
    });
}

#[test]
fn a_wrong_key_is_suspected_aloud() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&[Route::MulticastV4, Route::TcpV4], 2, |&route| {
        let (rig, _daemon) = world(route);
        rig.write_key(b"another key");
        let ran = Call::over(&rig, Subject::Ours, route)
            .impatient()
            .act(&rig, "off", Some("vm1"));
        refused(&route, &ran, &["key"]);
    });
}

#[test]
fn a_refusal_by_the_groups_is_called_that() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let config = Config::new(&rig, Route::TcpV4, &uri)
        .groups("group { ip = \"192.0.2.1\"; uuid = \"vm1\"; }");
    let _daemon = Daemon::start(&rig, Subject::Ours, &config);
    let ran = Call::over(&rig, Subject::Ours, Route::TcpV4).act(&rig, "off", Some("vm1"));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    names(&ran.stderr, &["permission denied", "groups", "vm1"]);
}

/// An answer that nobody could read is no success.
#[test]
fn a_full_standard_output_is_an_error() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let status = Command::new(Program::Xvm.path(&rig, Subject::Ours))
        .args(["-o", "metadata"])
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status()
        .expect("it starts");
    assert_eq!(status.code(), Some(1));
}

/// Ended from outside, an agent ends at once, with neither success nor "off".
#[test]
fn a_terminated_agent_ends_at_once() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let seat = GroupSeat::take(&rig.cable);
    for signal in [Signal::TERM, Signal::INT] {
        let asking = Call::over(&rig, Subject::Ours, Route::MulticastV4)
            .with(&["-o", "off", "-H", "vm1"])
            .start(&rig);
        assert!(seat.hear(PATIENCE).is_some());
        asking.signal(signal);
        let ran = asking.finish(Duration::from_secs(5));
        assert!(
            !ran.hung && !matches!(ran.code, Some(0 | 2)),
            "{signal:?}: {ran:?}"
        );
    }
}
