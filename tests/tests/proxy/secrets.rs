//! Passwords: wrong ones, and where none may appear.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, slice, thread};

use picket_tests::{
    Subject,
    daemon::{self, Daemon, Route},
    process::{PATIENCE, run, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::Signal;

use crate::{
    Conf, ask, audit, expect, password,
    platform::{Kind, PASSWORD, Platform},
};

/// Nobody would choose it, so it is found wherever it appears.
const WRONG: &str = "Xq7-zorn-Ferkel";
/// The same in the header line of HTTP's Basic login of `root`.
const WRONG_IN_BASE64: &str = "YcTctem9ybi1GZXJrZWw";

/// Everything that others can read of a daemon: what it printed, its audit log, its command line and environment.
fn readable(rig: &Rig, daemon: &Daemon) -> String {
    let process = |name: &str| {
        let bytes = fs::read(format!("/proc/{}/{name}", daemon.process.id())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let audit = fs::read_to_string(rig.path("audit.jsonl")).unwrap_or_default();
    [
        daemon.process.printed(),
        audit,
        process("cmdline"),
        process("environ"),
    ]
    .concat()
}

fn shows_password(text: &str) -> bool {
    text.contains(WRONG) || text.contains(WRONG_IN_BASE64)
}

#[test]
fn a_wrong_password_is_named_with_its_remedy_and_not_tried_for_every_guest() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, 2);
        let guest = platform.guest(0);
        let good = Conf::of(&rig, &platform, slice::from_ref(&guest));
        password(&rig, WRONG);

        // A daemon that reaches nobody does not start, and says why.
        let mut daemon = Daemon::launch(&rig, Subject::Ours, &good.text);
        let status = daemon
            .process
            .ended_within(PATIENCE)
            .expect("it cannot start");
        let printed = readable(&rig, &daemon);
        assert_eq!(status.code(), Some(1), "{kind}: {printed}");
        assert!(
            printed.contains("password") && printed.contains("user name"),
            "{kind}: {printed}"
        );
        assert!(!shows_password(&printed), "{kind}: {printed}");
        assert_eq!(platform.logins(), 1, "{kind}");

        // One that is told to wait does not try again for every request.
        platform.tap.forget();
        let waiting = Conf {
            text: good.text.replacen(
                "fence_virtd {\n",
                "fence_virtd {\n\twait_for_init = \"1\";\n",
                1,
            ),
        };
        let daemon = waiting.start(&rig);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for action in ["status", "off", "monitor"] {
                        let plug = (action != "monitor").then_some(guest.as_str());
                        expect(
                            &ask(&rig, action, plug),
                            1,
                            &format!("{kind}: {action} with a wrong password"),
                            &daemon,
                        );
                    }
                });
            }
        });
        assert_eq!(platform.logins(), 1, "{kind}: {}", daemon.process.printed());
        assert!(!platform.is_off(&guest), "{kind}");
        let all = readable(&rig, &daemon);
        assert!(!shows_password(&all), "{kind}: {all}");
        let record = audit::records(&rig)
            .into_iter()
            .find(|record| record["operation"] == "status")
            .expect("a record");
        assert_eq!(record["outcome"], "refused", "{kind}: {record:#}");
        let detail = record["detail"].as_str().expect("a reason");
        assert!(
            detail.contains("password") && detail.contains("a reload tries at once"),
            "{kind}: {detail}"
        );

        // The right one, and a reload: at once.
        password(&rig, PASSWORD);
        daemon.process.signal(Signal::HUP);
        wait_for("the reload", PATIENCE, || {
            audit::records(&rig)
                .iter()
                .any(|record| record["detail"] == "configuration reloaded")
                .then_some(())
        });
        expect(
            &ask(&rig, "off", Some(&guest)),
            0,
            "off with the right password",
            &daemon,
        );
        assert!(platform.is_off(&guest), "{kind}");
        // `secret` is also a word; as the password it would stand in quotes or at the end of a line.
        assert!(!readable(&rig, &daemon).contains("secret\n"), "{kind}");
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn files_and_addresses_that_give_a_password_away_are_refused() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let password = password(&rig, WRONG);
    let check = |address: &str| {
        let conf = Conf::new(
            &rig,
            Route::TcpV4,
            &format!("\t\thypervisor = \"{address}\";\n"),
            &["vm1".to_owned()],
            "",
        );
        let file = rig.write_private("check.conf", conf.text.as_bytes());
        let mut command = Command::new(Subject::Ours.daemon());
        command.args(["--check", "-f"]).arg(file);
        let ran = run(&mut command, None, rig.dir(), None, daemon::PROMPT);
        assert!(!ran.printed().contains(WRONG), "{}", ran.printed());
        (ran.code, ran.printed())
    };
    let address = |file: &str| format!("rhevm://fence@internal@127.0.0.1/?password_file={file}");
    let shown = password.display().to_string();
    assert_eq!(check(&address(&shown)).0, Some(0));

    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).expect("one's own file");
    let (code, printed) = check(&address(&shown));
    assert_eq!(code, Some(255), "{printed}");
    assert!(
        printed.contains("mode 0644") && printed.contains("chmod 600"),
        "{printed}"
    );

    let missing = format!("{shown}.none");
    let (code, printed) = check(&address(&missing));
    assert_eq!(code, Some(255), "{printed}");
    assert!(
        printed.contains(&missing) && printed.contains("umask 077"),
        "{printed}"
    );

    let (code, printed) = check(&format!("rhevm://fence:{WRONG}@127.0.0.1/"));
    assert_eq!(code, Some(255), "{printed}");
    assert!(printed.contains("must not hold a password"), "{printed}");
}
