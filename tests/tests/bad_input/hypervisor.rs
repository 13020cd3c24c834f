//! libvirt away: at the start, and in the middle.

use std::{thread, time::Duration};

use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Config, Daemon, Route, command},
    libvirtd::{self, Libvirtd},
    process::{PATIENCE, Process, wait_for},
    rig::Rig,
    skip::skipped_with,
};
use rustix::process::Signal;

use crate::{names, status, tells};

const ROUTE: Route = Route::TcpV4;

fn absent_uri(rig: &Rig) -> String {
    format!(
        "test+unix:///default?socket={}",
        rig.path("libvirt/libvirt-sock").display()
    )
}

#[test]
fn without_libvirt_the_start_fails_with_the_remedy() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let rig = Rig::new();
    let uri = absent_uri(&rig);
    let text = Config::new(&rig, ROUTE, &uri).text();
    let ran = Daemon::launch(&rig, Subject::Ours, &text)
        .process
        .finish(PATIENCE);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    names(&ran.stderr, &[&uri, "libvirtd", "-w"]);
}

/// With `-w` the daemon starts all the same: it answers, with failures, and works once libvirt does.
#[test]
fn told_to_wait_it_waits() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let rig = Rig::new();
    let text = Config::new(&rig, ROUTE, &absent_uri(&rig)).text();
    let file = rig.write_private("virt.conf", text.as_bytes());
    let mut waiting = command(Subject::Ours, &file, &rig.path("pid"));
    let daemon = Process::start(waiting.arg("-w"), Some(&rig.cable.host), rig.dir());
    wait_for("the daemon to answer with failure", PATIENCE, || {
        let ran = Call::over(&rig, Subject::Ours, ROUTE).act(&rig, "monitor", None);
        assert_ne!(ran.code, Some(0), "it is not healthy: {ran:?}");
        // Refused connections are not answers.
        (!ran.stderr.contains("refused (os error")).then_some(())
    });
    for action in ["status", "off", "on", "reboot"] {
        let ran = Call::over(&rig, Subject::Ours, ROUTE).act(&rig, action, Some("test"));
        assert_eq!(ran.code, Some(1), "{action}: {ran:?}");
    }
    tells(&daemon, &["libvirt-sock"]);
    let _libvirtd = Libvirtd::start(&rig, "libvirt");
    wait_for(
        "the daemon to find libvirt",
        Duration::from_secs(60),
        || {
            let ran = status(&rig, ROUTE, "test");
            assert_ne!(ran.code, Some(2), "a running guest was called off: {ran:?}");
            (ran.code == Some(0)).then_some(())
        },
    );
    let ran = Call::over(&rig, Subject::Ours, ROUTE).act(&rig, "monitor", None);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// libvirt crashes and comes back: in between everything fails at once or in time, is told in the
/// log with the URI, and nobody has to restart the daemon.
#[test]
fn a_crash_of_libvirt_is_survived() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let rig = Rig::new();
    let libvirtd = Libvirtd::start(&rig, "libvirt");
    let uri = libvirtd.default_uri();
    let daemon = Daemon::start(&rig, Subject::Ours, &Config::new(&rig, ROUTE, &uri));
    assert_eq!(status(&rig, ROUTE, "test").code, Some(0));
    libvirtd.crash();
    let call = Call::over(&rig, Subject::Ours, ROUTE).with(&["-t", "8"]);
    for action in ["off", "status", "monitor", "list"] {
        let plug = matches!(action, "off" | "status").then_some("test");
        let ran = call.act(&rig, action, plug);
        assert_eq!(ran.code, Some(1), "{action}: {ran:?}");
        assert!(
            ran.took < Duration::from_secs(12),
            "{action} took {:?}",
            ran.took
        );
    }
    tells(&daemon.process, &[&uri]);
    let _libvirtd = Libvirtd::start(&rig, "libvirt");
    wait_for(
        "the daemon to find libvirt again",
        Duration::from_secs(60),
        || {
            let ran = status(&rig, ROUTE, "test");
            assert_ne!(ran.code, Some(2), "a running guest was called off: {ran:?}");
            (ran.code == Some(0)).then_some(())
        },
    );
}

/// Told to end while a request waits for libvirt, the daemon answers it first.
#[test]
fn a_request_in_progress_is_answered_before_the_end() {
    if skipped_with(&libvirtd::NEEDS) {
        return;
    }
    let rig = Rig::new();
    let libvirtd = Libvirtd::start(&rig, "libvirt");
    let config = Config::new(&rig, ROUTE, &libvirtd.default_uri());
    let daemon = Daemon::start(&rig, Subject::Ours, &config);
    assert_eq!(status(&rig, ROUTE, "test").code, Some(0));
    // The test driver forgets everything when its last user goes: this one stays.
    let _user = libvirtd.hold(&rig);
    libvirtd.process.freeze();
    let asking = Call::over(&rig, Subject::Ours, ROUTE)
        .with(&["-o", "off", "-H", "test"])
        .start(&rig);
    wait_for("the request to arrive", PATIENCE, || {
        let established = |line: &String| line.split_whitespace().nth(3) == Some("01");
        daemon
            .process
            .sockets("tcp")
            .iter()
            .any(established)
            .then_some(())
    });
    thread::sleep(Duration::from_millis(300));
    daemon.process.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    libvirtd.process.thaw();
    let asked = asking.finish(PATIENCE);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let ended = daemon.process.finish(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let state = libvirtd.virsh(&rig, &["domstate", "test"]);
    assert_eq!(state.as_deref(), Some("shut off"));
}
