//! Wrong configurations.

use std::{fs, time::Duration};

use picket_tests::{
    Subject,
    agent::Call,
    daemon::{self, Config, Daemon, Route},
    guests,
    process::{PATIENCE, Ran, run, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::Signal;

use crate::{names, status, tells, world};

const CONFIGURATION: i32 = 255;
const START_FAILURE: i32 = 1;
const USAGE: i32 = 2;

/// A right file, line by line, so that a mistake has a place.
fn right(rig: &Rig) -> Vec<String> {
    let uri = rig.hypervisor("node.xml", &guests::pair());
    [
        "fence_virtd {",
        "\tlistener = \"tcp\";",
        "\tbackend = \"libvirt\";",
        &format!("\taudit_log = \"{}\";", rig.path("audit.jsonl").display()),
        "}",
        "listeners {",
        "\ttcp {",
        &format!("\t\tkey_file = \"{}\";", rig.key().display()),
        "\t\taddress = \"10.77.0.1\";",
        "\t\thash = \"sha256\";",
        "\t}",
        "}",
        "backends {",
        &format!("\tlibvirt {{ uri = \"{uri}\"; }}"),
        "}",
        "groups {",
        "\tgroup { ip = \"10.77.0.2\"; uuid = \"vm1\"; uuid = \"vm2\"; }",
        "}",
    ]
    .map(str::to_owned)
    .into()
}

/// A line to put in place of another, where the message must point, and what it must name.
struct Mistake {
    line: usize,
    text: &'static str,
    place: &'static str,
    words: &'static [&'static str],
}

const fn mistake(
    line: usize,
    text: &'static str,
    place: &'static str,
    words: &'static [&'static str],
) -> Mistake {
    Mistake {
        line,
        text,
        place,
        words,
    }
}

const MISTAKES: [Mistake; 14] = [
    mistake(2, "\tlistener = \"tcp\"", ":2:", &["`;`"]),
    mistake(2, "\tlistener = tcp;", ":2:13", &["\""]),
    mistake(2, "\tlistener \"tcp\";", ":2:", &["="]),
    mistake(2, "\tlistener = \"\";", ":2:", &["empty"]),
    mistake(2, "\tlistener = \"tpc\";", ":2:", &["tpc", "tcp"]),
    mistake(2, "\tlistener = \"tcp;", ":", &["\""]),
    mistake(
        3,
        "\tbackend = \"livbirt\";",
        ":3:",
        &["livbirt", "libvirt"],
    ),
    mistake(5, "", ":", &["}"]),
    mistake(10, "\t\thash = \"sha265\";", ":10:", &["sha265", "sha256"]),
    mistake(10, "\t\tfamily = \"ipv5\";", ":10:", &["ipv5", "ipv4"]),
    mistake(10, "\t\tport = \"0\";", ":10:", &["port"]),
    mistake(10, "\t\tport = \"many\";", ":10:", &["port", "many"]),
    mistake(14, "\tlibvirt { }", ":14:", &["uri"]),
    mistake(17, "\tgroup { name = \"a\"; }", ":17:", &["group", "uuid"]),
];

fn launched(rig: &Rig, text: &str) -> Ran {
    Daemon::launch(rig, Subject::Ours, text)
        .process
        .finish(PATIENCE)
}

#[test]
fn mistakes_are_shown_with_line_column_and_remedy() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let mut running = Daemon::launch(&rig, Subject::Ours, &right(&rig).join("\n"));
    running.wait_until_listening(Route::TcpV4);
    drop(running);
    for Mistake {
        line,
        text,
        place,
        words,
    } in MISTAKES
    {
        let mut lines = right(&rig);
        text.clone_into(&mut lines[line - 1]);
        let ran = launched(&rig, &lines.join("\n"));
        assert_eq!(ran.code, Some(CONFIGURATION), "{text:?}: {ran:?}");
        let arrow = ran
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with("-->"));
        assert!(
            arrow.is_some_and(|arrow| arrow.contains(place)),
            "{text:?}: {}",
            ran.stderr
        );
        names(&ran.stderr, &["error", "help"]);
        names(&ran.stderr, words);
    }
}

/// What has no effect is no error, because the C daemon reads past it; but it is said.
#[test]
fn unknown_keys_are_warned_about() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let mut lines = right(&rig);
    lines[9] = "\t\thsah = \"sha512\";".to_owned();
    let mut daemon = Daemon::launch(&rig, Subject::Ours, &lines.join("\n"));
    daemon.wait_until_listening(Route::TcpV4);
    tells(&daemon.process, &["warn", "hsah", ":10:3", "hash"]);
    assert_eq!(status(&rig, Route::TcpV4, "vm1").code, Some(0));
}

#[test]
fn missing_files_are_named_with_the_remedy() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let nowhere = rig.path("nowhere.conf");
    let mut command = daemon::command(Subject::Ours, &nowhere, &rig.path("pid"));
    let ran = run(
        &mut command,
        Some(&rig.cable.host),
        rig.dir(),
        None,
        PATIENCE,
    );
    assert_eq!(ran.code, Some(CONFIGURATION), "{ran:?}");
    names(&ran.stderr, &["nowhere.conf", "-f"]);

    let mut lines = right(&rig);
    lines[7] = "\t\tkey_file = \"/nonexistent/key\";".to_owned();
    let ran = launched(&rig, &lines.join("\n"));
    assert_eq!(ran.code, Some(CONFIGURATION), "{ran:?}");
    names(&ran.stderr, &["/nonexistent/key", "key_file", "dd if="]);

    rig.write_key(b"");
    let ran = launched(&rig, &right(&rig).join("\n"));
    assert_eq!(ran.code, Some(CONFIGURATION), "{ran:?}");
    names(&ran.stderr, &["key", "empty"]);

    let ran = launched(&rig, "");
    assert_eq!(ran.code, Some(CONFIGURATION), "{ran:?}");
    names(&ran.stderr, &["fence_virtd"]);
}

#[test]
fn a_wrong_command_line_is_refused() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let mut command = daemon::command(Subject::Ours, &rig.path("c"), &rig.path("pid"));
    let ran = run(
        command.arg("-Z"),
        Some(&rig.cable.host),
        rig.dir(),
        None,
        PATIENCE,
    );
    assert_eq!(ran.code, Some(USAGE), "{ran:?}");
    names(&ran.stderr, &["-Z", "--help"]);
}

#[test]
fn what_the_network_does_not_have_is_named() {
    if skipped(&PEERS) {
        return;
    }
    let (rig, _first) = world(Route::TcpV4);
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let config = Config::new(&rig, Route::TcpV4, &uri);
    let ran = launched(&rig, &config.text());
    assert_eq!(ran.code, Some(START_FAILURE), "{ran:?}");
    names(&ran.stderr, &["10.77.0.1:1229", "in use"]);
    let ran = launched(&rig, &config.text().replace("10.77.0.1", "10.77.0.9"));
    assert_eq!(ran.code, Some(START_FAILURE), "{ran:?}");
    names(&ran.stderr, &["10.77.0.9", "address", "listeners/tcp"]);
    assert_eq!(
        status(&rig, Route::TcpV4, "vm1").code,
        Some(0),
        "the first one goes on"
    );
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let text = Config::new(&rig, Route::MulticastV4, &uri)
        .text()
        .replace("\"h0\"", "\"h9\"");
    let ran = launched(&rig, &text);
    assert!(
        matches!(ran.code, Some(START_FAILURE | CONFIGURATION)),
        "{ran:?}"
    );
    names(&ran.stderr, &["h9", "interface"]);
}

/// A second daemon on one pid file would end the first by accident sooner or later.
#[test]
fn a_second_daemon_on_one_pid_file_is_refused() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let config = rig.write_private("virt.conf", right(&rig).join("\n").as_bytes());
    let pid_file = rig.path("one.pid");
    let start = || {
        let mut command = daemon::command(Subject::Ours, &config, &pid_file);
        picket_tests::process::Process::start(&mut command, Some(&rig.cable.host), rig.dir())
    };
    let first = start();
    wait_for("the pid file", PATIENCE, || {
        let text = fs::read_to_string(&pid_file).ok()?;
        (text.trim() == first.id().to_string()).then_some(())
    });
    let ran = start().finish(PATIENCE);
    assert_eq!(ran.code, Some(START_FAILURE), "{ran:?}");
    names(&ran.stderr, &["one.pid", &first.id().to_string()]);
    assert_eq!(
        fs::read_to_string(&pid_file).unwrap_or_default().trim(),
        first.id().to_string()
    );
    first.signal(Signal::TERM);
    let ran = first.finish(PATIENCE);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!pid_file.exists(), "it takes its pid file with it");
}

/// A key or a configuration that others can read is no secret: it is closed, as the C daemon does,
/// and said.
#[test]
fn readable_secrets_are_closed_and_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    fs::set_permissions(rig.key(), fs::Permissions::from_mode(0o644)).expect("one's own file");
    let mut daemon = Daemon::launch(&rig, Subject::Ours, &right(&rig).join("\n"));
    daemon.wait_until_listening(Route::TcpV4);
    tells(&daemon.process, &[&rig.key().display().to_string()]);
    let mode = fs::metadata(rig.key())
        .expect("the rig wrote it")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A reload reads everything first: with a mistake in it, the daemon stays as it is.
#[test]
fn a_reload_with_a_mistake_changes_nothing() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let mut daemon = Daemon::launch(&rig, Subject::Ours, &right(&rig).join("\n"));
    daemon.wait_until_listening(Route::TcpV4);
    let rewrite = |line: usize, text: &str| {
        let mut lines = right(&rig);
        text.clone_into(&mut lines[line - 1]);
        fs::write(&daemon.config_file, lines.join("\n")).expect("one's own file");
        daemon.process.signal(Signal::HUP);
    };
    rewrite(10, "\t\thash = \"sha265\";");
    wait_for("the mistake to be told", PATIENCE, || {
        daemon.process.printed().contains("sha265").then_some(())
    });
    assert_eq!(
        status(&rig, Route::TcpV4, "vm1").code,
        Some(0),
        "it goes on as before"
    );
    tells(&daemon.process, &[":10:"]);

    // And a right file takes effect, here by refusing everybody.
    rewrite(17, "\tgroup { ip = \"192.0.2.1\"; uuid = \"vm1\"; }");
    wait_for("the new groups to hold", PATIENCE, || {
        (status(&rig, Route::TcpV4, "vm1").code == Some(3)).then_some(())
    });
    let call = Call::over(&rig, Subject::Ours, Route::TcpV4).limit(Duration::from_secs(20));
    assert_eq!(call.act(&rig, "monitor", None).code, Some(0));
}

/// `--check` says the same and starts nothing.
#[test]
fn check_tells_without_starting() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let check = |lines: &[String]| {
        let path = rig.write_private("checked.conf", lines.join("\n").as_bytes());
        let mut command = daemon::command(Subject::Ours, &path, &rig.path("pid"));
        run(
            command.arg("--check"),
            Some(&rig.cable.host),
            rig.dir(),
            None,
            PATIENCE,
        )
    };
    let mut lines = right(&rig);
    let ran = check(&lines);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    "\t\thash = \"sha265\";".clone_into(&mut lines[9]);
    let ran = check(&lines);
    assert_eq!(ran.code, Some(CONFIGURATION), "{ran:?}");
    names(&ran.printed(), &["sha265", ":10:"]);
    assert!(!rig.path("pid").exists());
}
