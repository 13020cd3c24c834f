//! What users get wrong, and what must never be told.

use std::{fs, process::Command};

use picket_tests::process::{Process, Ran, run, wait_for};

use crate::{Engine, PATIENCE, Whose, ended, engine::script};

/// A password that is found again wherever it turns up.
const SECRET: &str = "Tr0ub4dor&<3>%";

#[track_caller]
fn refused(ran: &Ran, words: &str) {
    ended(ran, 1, "", words);
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
}

#[test]
fn a_message_names_the_cause_and_the_remedy() {
    let engine = Engine::start("");
    let run_with = |args: &[&str]| Whose::Ours.run(&engine, args);
    let status = ["-o", "status", "-n", "node1"];
    for (more, words) in [
        (
            &["--api-path=/wrong/api"][..],
            "check address, port, ssl, and api_path",
        ),
        (&["--api-path=https://x/api"], "no path"),
        (&["--api-version=5"], "none of auto, 3 and 4"),
        (
            &["--use-cookies", "--cookie-file=here"],
            "begin with a slash",
        ),
        (&["-n", ""], "plug"),
        (&["--ssl-ca=/nonexistent.pem"], "/nonexistent.pem"),
        (&["--ssl"], "TLS"),
        (&["-u", "1"], "no connection to 127.0.0.1:1"),
        (&["-u", "0"], "ipport"),
        (&["-a", "nonexistent.invalid"], "nonexistent.invalid"),
        (&["-a", "https://engine/"], "host alone"),
        (&["--api-version=3"], "HTTP 400"),
    ] {
        refused(&run_with(&[&status[..], more].concat()), words);
    }
    let as_user = |user: &str, password: &str| Whose::Ours.run_as(&engine, user, password, &status);
    ended(&as_user("admin", "secret"), 1, "", "admin@internal)");
    ended(
        &as_user("admin@internal", "wrong"),
        1,
        "",
        "refused the login: `admin@internal`",
    );
    ended(&as_user("admin@internal", ""), 1, "", "password");
    ended(&as_user("viewer@internal", "secret"), 0, "Status: ON\n", "");
    let ran = Whose::Ours.run_as(
        &engine,
        "viewer@internal",
        "secret",
        &["-o", "off", "-n", "node1"],
    );
    ended(&ran, 1, "", "UserVmManager");
    ended(
        &run_with(&["-o", "off", "-n", "nodee1"]),
        1,
        "",
        "no guest `nodee1`",
    );
    ended(
        &run_with(&["-o", "off", "-n", "NODE1"]),
        1,
        "",
        "no guest `NODE1`",
    );
    assert_eq!(engine.stops("node1"), 0);
    // Nothing can be asked with options that contradict each other.
    assert!(
        Whose::Ours
            .feed(&engine, "action=off\nplg=node1\nplug=node1")
            .code
            == Some(1)
    );
    assert_eq!(engine.stops("node1"), 0);
}

/// TLS that does not fit, on either side.
#[test]
fn mismatches_of_tls_are_told_from_other_trouble() {
    let status = ["-o", "status", "-n", "node1"];
    for (words, more, said) in [
        ("--tls", &["--ssl"][..], "ssl_ca"),
        ("--self-signed", &["--ssl-secure"], "ssl_ca"),
        ("--tls", &[], ""),
    ] {
        let engine = Engine::start(words);
        ended(
            &Whose::Ours.run(&engine, &[&status[..], more].concat()),
            1,
            "",
            said,
        );
    }
    // Another authority than the one that signed.
    let (engine, other) = (Engine::start("--tls"), Engine::start("--tls"));
    let trust = format!("--ssl-ca={}", other.path("trust.pem").display());
    ended(
        &Whose::Ours.run(&engine, &[&status[..], &[trust.as_str()]].concat()),
        1,
        "",
        "certificate",
    );
}

/// Names with everything that means something to XML, to addresses, to searches or to a shell.
#[test]
fn names_mean_themselves() {
    let names = [
        "a&b",
        "<vm>",
        "x'y",
        "100%",
        "50%25",
        "q?a=b#c",
        "a+b",
        "a b",
        "größe",
        "名前",
        "a/../b",
        "$(id)",
        "a=b",
        "or",
        "name=node1",
    ];
    let words: String = names
        .iter()
        .map(|name| format!(" --guest {}", encoded(name)))
        .collect();
    let engine = Engine::start(&words);
    for name in names {
        ended(
            &Whose::Ours.run(&engine, &["-o", "status", "-n", name]),
            0,
            "Status: ON\n",
            "",
        );
        let ran = Whose::Ours.feed(&engine, &format!("action=off\nplug={name}"));
        ended(&ran, 0, "Success: Powered OFF\n", "");
        ended(
            &Whose::Ours.run(&engine, &["-o", "status", "-n", name]),
            2,
            "Status: OFF\n",
            "",
        );
    }
    for name in ["node1", "node2", "node3"] {
        assert_eq!(engine.stops(name), 0);
    }
    for name in [
        "\"node1\"",
        "node1\" or name=\"node2",
        "*",
        "node?",
        "name=node*",
        "\\node1",
        " ",
    ] {
        let ran = Whose::Ours.run(&engine, &["-o", "off", "-n", name]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{name}: {ran:?}"
        );
    }
    assert_eq!(engine.stops("node1"), 0);
    let listed = Whose::Ours.run(&engine, &["-o", "list"]);
    for name in names {
        assert!(
            listed
                .stdout
                .lines()
                .any(|line| line.starts_with(&format!("{name},"))),
            "{name}: {listed:?}"
        );
    }
}

fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

/// Not in logs, messages, the process list, the environment, or a file that is left.
#[test]
fn the_password_is_nowhere() {
    let password: String = encoded(SECRET);
    let engine = Engine::start(&format!("--user who@internal:{password}:SuperUser"));
    let log = engine.path("debug");
    let session = engine.path("kept/session");
    let script_file = engine.path("password");
    script(
        &script_file,
        &format!("#!/bin/sh\ncat <<'END'\n{SECRET}\nEND\n"),
    );
    let common = format!(
        "ip=127.0.0.1\nipport={}\nusername=who@internal\nverbose=1\ndebug_file={}\nuse_cookies=1\ncookie_file={}\nplug=node1\n",
        engine.port(),
        log.display(),
        session.display(),
    );
    let faults = [
        "",
        "path=token do=status:400",
        "path=vms count=* do=is:expire",
        "path=vms do=is:broken",
        "path=vms do=truncate:9",
    ];
    let sources = [
        format!("password={SECRET}\n"),
        format!("password_script={}\n", script_file.display()),
    ];
    for (fault, source) in faults
        .iter()
        .flat_map(|fault| sources.iter().map(move |source| (fault, source)))
    {
        let _ = fs::remove_file(&session);
        engine.faults(fault);
        for action in ["status", "monitor", "list"] {
            let input = format!("{common}{source}action={action}\n");
            let ran = run(
                &mut Command::new(engine.agent()),
                None,
                engine.dir(),
                Some(&input),
                PATIENCE,
            );
            assert!(
                fault.is_empty() == (ran.code == Some(0)) || !fault.is_empty(),
                "{ran:?}"
            );
            silent(&ran.stdout);
            silent(&ran.stderr);
        }
        silent(&fs::read_to_string(&log).unwrap_or_default());
        silent(&fs::read_to_string(&session).unwrap_or_default());
    }
    assert!(
        !fs::read_to_string(&log).unwrap_or_default().is_empty(),
        "there was a log to look into"
    );
    assert!(session.exists(), "there was a session to look into");
}

#[track_caller]
fn silent(text: &str) {
    for form in [SECRET, &encoded(SECRET), "Tr0ub4dor"] {
        assert!(!text.contains(form), "the password is in: {text}");
    }
}

/// While it runs: nobody who lists processes sees it.
#[test]
fn the_password_is_not_in_the_process_list() {
    let engine = Engine::start(&format!(
        "--user who@internal:{}:SuperUser",
        encoded(SECRET)
    ));
    engine.faults("path=vms count=* do=hang");
    let file = engine.path("input");
    let input = format!(
        "ip=127.0.0.1\nipport={}\nusername=who@internal\npassword={SECRET}\naction=status\nplug=node1\n",
        engine.port()
    );
    fs::write(&file, input).expect("the test's directory takes files");
    let mut command = Command::new(engine.agent());
    command.stdin(fs::File::open(&file).expect("it was written"));
    let process = Process::start(&mut command, None, engine.dir());
    wait_for("the machine to be asked for", PATIENCE, || {
        engine
            .log()
            .iter()
            .any(|line| line.contains("vms"))
            .then_some(())
    });
    for what in ["cmdline", "environ", "comm"] {
        let shown = fs::read(format!("/proc/{}/{what}", process.id())).expect("it runs");
        silent(&String::from_utf8_lossy(&shown));
    }
}
