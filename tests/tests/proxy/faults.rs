//! What goes wrong at the platform.

use std::{
    slice,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    daemon::Route,
    guests::{self, Guest},
    process::{PATIENCE, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
    wiretap::Line,
};

use crate::{
    Conf, ask, audit, expect, password,
    platform::{Kind, PASSWORD, Platform},
};

/// Raises a flag when it goes, also by panic: else those that look at it would go on for ever.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The platform forgets the session while guests ask and one of them is fenced: nobody notices.
#[test]
fn an_expired_session_is_replaced_in_the_middle() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 6);
        let plugs: Vec<String> = (0..6).map(|number| platform.guest(number)).collect();
        let daemon = Conf::of(&rig, &platform, &plugs).start(&rig);
        expect(&ask(&rig, "status", Some(&plugs[0])), 0, "status", &daemon);
        let before = platform.logins();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (rig, daemon, stop) = (&rig, &daemon, &stop);
            for plug in &plugs[1..4] {
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        expect(
                            &ask(rig, "status", Some(plug)),
                            0,
                            &format!("{kind}: status of {plug}"),
                            daemon,
                        );
                    }
                });
            }
            let _end = Raised(stop);
            for plug in &plugs[4..] {
                platform.expire();
                let ran = ask(rig, "off", Some(plug));
                expect(
                    &ran,
                    0,
                    &format!("{kind}: off after the session expired"),
                    daemon,
                );
                assert!(platform.is_off(plug), "{kind}");
            }
        });
        assert!(platform.logins() > before, "{kind}: nobody logged in again");
        assert!(
            platform.open() <= platform.most_sessions(),
            "{kind}: {} sessions",
            platform.open()
        );
        assert_eq!(daemon.stop(), Some(0));
        platform.expect_closed();
    }
}

/// The platform hangs, is gone, and comes back. Guests of another hypervisor are served meanwhile, the daemon lives, and when the
/// platform is back, so is fencing.
#[test]
fn a_platform_that_hangs_or_is_gone_holds_up_its_own_guests_only() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 2);
        let (guest, local) = (platform.guest(0), "local".to_owned());
        let uri = rig.hypervisor("node.xml", &[Guest::running(&local, guests::VM1_UUID)]);
        let lines = format!(
            "\t\turi = \"{uri}\";\n\t\thypervisor = \"{}\";\n",
            platform.address(&password(&rig, PASSWORD), "")
        );
        let plugs = [guest.clone(), local.clone()];
        let conf = Conf::new(
            &rig,
            Route::TcpV4,
            &lines,
            &plugs,
            "\trequest_timeout = \"4\";\n",
        );
        let mut daemon = conf.start(&rig);
        expect(&ask(&rig, "status", Some(&guest)), 0, "status", &daemon);

        platform.tap.set(Line::Dead);
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    expect(
                        &ask(&rig, "status", Some(&guest)),
                        1,
                        &format!("{kind}: status of a guest behind a hanging platform"),
                        &daemon,
                    );
                });
            }
            // Running here, so it does not matter what the platform knows.
            thread::sleep(Duration::from_millis(500));
            let local_begun = Instant::now();
            expect(
                &ask(&rig, "status", Some(&local)),
                0,
                "status of a local guest",
                &daemon,
            );
            assert!(
                local_begun.elapsed() < Duration::from_secs(3),
                "{kind}: {:?}",
                local_begun.elapsed()
            );
        });
        assert!(
            begun.elapsed() < Duration::from_secs(12),
            "{kind}: {:?}",
            begun.elapsed()
        );
        expect(
            &ask(&rig, "monitor", None),
            1,
            "monitor while the platform hangs",
            &daemon,
        );

        platform.tap.set(Line::Cut);
        let begun = Instant::now();
        expect(
            &ask(&rig, "off", Some(&guest)),
            1,
            "off while the platform is gone",
            &daemon,
        );
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{kind}: {:?}",
            begun.elapsed()
        );
        let record = audit::record(&rig, "off", &guest, "unreachable");
        assert!(
            record["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("127.0.0.1")),
            "{record:#}"
        );
        assert!(!platform.is_off(&guest), "{kind}");

        platform.tap.set(Line::Whole);
        wait_for(&format!("{kind} to be reached again"), PATIENCE, || {
            (ask(&rig, "status", Some(&guest)).code == Some(0)).then_some(())
        });
        expect(
            &ask(&rig, "off", Some(&guest)),
            0,
            "off when the platform is back",
            &daemon,
        );
        assert!(platform.is_off(&guest), "{kind}");
        assert!(daemon.process.is_running());
        assert_eq!(daemon.stop(), Some(0));
    }
}

/// The daemon ends although the platform does not answer its farewell.
#[test]
fn a_platform_that_hangs_does_not_hold_up_the_end() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 2);
        let guest = platform.guest(0);
        let daemon = Conf::of(&rig, &platform, slice::from_ref(&guest)).start(&rig);
        expect(&ask(&rig, "status", Some(&guest)), 0, "status", &daemon);
        platform.tap.set(Line::Dead);
        let begun = Instant::now();
        assert_eq!(daemon.stop(), Some(0));
        assert!(
            begun.elapsed() < Duration::from_secs(12),
            "{kind}: {:?}",
            begun.elapsed()
        );
    }
}
