//! What goes well.

use std::slice;

use picket_tests::{
    Subject,
    agent::Call,
    daemon::Route,
    process::{PATIENCE, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::Signal;

use crate::{
    Conf, ask, audit, expect, password,
    platform::{Kind, PASSWORD, Platform},
};

#[test]
fn every_action_has_its_effect_and_its_evidence() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 4);
        let (mine, other) = (platform.guest(0), platform.guest(1));
        let daemon = Conf::of(&rig, &platform, &[mine.clone(), "nobody".to_owned()]).start(&rig);
        let on_mine = |action, code| {
            expect(
                &ask(&rig, action, Some(&mine)),
                code,
                &format!("{kind}: {action}"),
                &daemon,
            );
        };

        on_mine("status", 0);
        on_mine("off", 0);
        assert!(platform.is_off(&mine), "{kind}");
        on_mine("status", 2);
        let record = audit::record(&rig, "off", &mine, "off");
        let evidence = &record["evidence"][0];
        assert_eq!(evidence["means"], "destroyed", "{record:#}");
        assert_eq!(evidence["observation"]["state"], "shut off", "{record:#}");
        assert_eq!(
            evidence["observation"]["guest"]["name"],
            mine.as_str(),
            "{record:#}"
        );
        assert!(
            evidence["observation"]["by"]
                .as_str()
                .is_some_and(|by| by.contains("127.0.0.1")),
            "{record:#}"
        );
        on_mine("on", 0);
        assert!(!platform.is_off(&mine), "{kind}");
        on_mine("reboot", 0);
        audit::record(&rig, "reboot", &mine, "off");
        wait_for("the guest to be started again", PATIENCE, || {
            (!platform.is_off(&mine)).then_some(())
        });
        expect(&ask(&rig, "monitor", None), 0, "monitor", &daemon);

        // Of another cluster; and of nobody's.
        expect(
            &ask(&rig, "off", Some(&other)),
            3,
            "off of another's guest",
            &daemon,
        );
        assert!(!platform.is_off(&other), "{kind}");
        audit::record(&rig, "off", &other, "denied");
        expect(
            &ask(&rig, "status", Some("nobody")),
            1,
            "status of nobody",
            &daemon,
        );
        audit::record(&rig, "status", "nobody", "no_such_guest");
        let list = ask(&rig, "list", None);
        expect(&list, 0, "list", &daemon);
        assert!(
            list.stdout.contains(&mine) && !list.stdout.contains(&other),
            "{}",
            list.stdout
        );

        assert!(
            platform.logins() <= platform.most_sessions(),
            "{kind}: {} logins",
            platform.logins()
        );
        assert_eq!(daemon.stop(), Some(0));
        platform.expect_closed();
    }
}

/// fence_xvm, by multicast, and the C programs: the daemon's other end is what it always was.
#[test]
fn the_c_agents_and_multicast_reach_the_platform() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 2);
        let guest = platform.guest(0);
        let line = format!(
            "\t\thypervisor = \"{}\";\n",
            platform.address(&password(&rig, PASSWORD), "")
        );
        for (route, subject) in [
            (Route::MulticastV4, Subject::Ours),
            (Route::MulticastV4, Subject::C),
            (Route::TcpV4, Subject::C),
        ] {
            let daemon = Conf::new(&rig, route, &line, slice::from_ref(&guest), "").start(&rig);
            let call = Call::over(&rig, subject, route);
            for (action, code) in [("status", 0), ("off", 0), ("status", 2), ("on", 0)] {
                let ran = call.act(&rig, action, Some(&guest));
                expect(
                    &ran,
                    code,
                    &format!("{kind} {route:?} {subject} {action}"),
                    &daemon,
                );
            }
            assert_eq!(daemon.stop(), Some(0));
        }
    }
}

/// TLS with an authority of one's own, as set-ups have it.
#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    if skipped(&PEERS) {
        return;
    }
    for kind in [Kind::Rhevm, Kind::Hyperv] {
        let rig = Rig::new();
        let ca = rig.path("ca.pem");
        let platform = Platform::start_with(
            &rig,
            kind,
            2,
            &["--tls", "--trust", &ca.display().to_string()],
        );
        let guest = platform.guest(0);
        let password = password(&rig, PASSWORD);
        let address = platform.tls_address(&password, &ca);
        let conf = |address: &str| {
            Conf::new(
                &rig,
                Route::TcpV4,
                &format!("\t\thypervisor = \"{address}\";\n"),
                slice::from_ref(&guest),
                "",
            )
        };
        let daemon = conf(&address).start(&rig);
        expect(
            &ask(&rig, "status", Some(&guest)),
            0,
            "status over TLS",
            &daemon,
        );
        assert_eq!(daemon.stop(), Some(0));
        // Without its name nobody vouches for the server, and nothing is sent to it.
        let untrusting = address.split("&ca=").next().expect("there is a start");
        let mut daemon =
            picket_tests::daemon::Daemon::launch(&rig, Subject::Ours, &conf(untrusting).text);
        let status = daemon
            .process
            .ended_within(PATIENCE)
            .expect("it cannot start");
        let printed = daemon.process.printed();
        assert_eq!(status.code(), Some(1), "{printed}");
        assert!(printed.contains("certificate"), "{printed}");
    }
}

/// A reload keeps the session as long as neither address nor password has changed, and logs out of one that is not used any more.
#[test]
fn a_reload_keeps_the_session_or_ends_it() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let (first, second) = (
            Platform::start(&rig, kind, 2),
            Platform::start(&rig, kind, 2),
        );
        let plugs = [first.guest(0), first.guest(1)];
        let daemon = Conf::of(&rig, &first, &plugs[..1]).start(&rig);
        let reload = |conf: &Conf, count: usize| {
            std::fs::write(&daemon.config_file, &conf.text).expect("one's own file");
            daemon.process.signal(Signal::HUP);
            wait_for("the reload", PATIENCE, || {
                let reloaded = audit::records(&rig)
                    .iter()
                    .filter(|record| record["detail"] == "configuration reloaded")
                    .count();
                (reloaded == count).then_some(())
            });
        };
        expect(&ask(&rig, "status", Some(&plugs[0])), 0, "status", &daemon);
        let logins = first.logins();

        reload(&Conf::of(&rig, &first, &plugs), 1);
        expect(&ask(&rig, "status", Some(&plugs[1])), 0, "status", &daemon);
        assert_eq!(first.logins(), logins, "{kind}: the session was not kept");
        assert!(first.open() >= 1, "{kind}");

        reload(&Conf::of(&rig, &second, &plugs), 2);
        expect(&ask(&rig, "status", Some(&plugs[1])), 0, "status", &daemon);
        assert!(second.open() >= 1, "{kind}");
        wait_for("the old session to be closed", PATIENCE, || {
            (first.open() == 0).then_some(())
        });
        assert_eq!(daemon.stop(), Some(0));
        second.expect_closed();
    }
}
