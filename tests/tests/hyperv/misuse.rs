//! What users get wrong: the message names the cause and the remedy, and never the password.

use picket_tests::process::{PATIENCE, Process, run, wait_for};

use crate::{ALONE, PASSWORD, VM1, VM2, World, ended};

#[test]
fn wrong_logins() {
    let world = World::alone();
    for action in ["monitor", "status", "off", "list"] {
        let ran = world.agent(&["-p", "wrong-hunter2", "-o", action, "-n", "vm1"]);
        ended(&ran, 1, "", "wrong user name or password");
        ended(
            &world.agent_as("OTHER\\ann", &["-o", action, "-n", "vm1"]),
            1,
            "",
            "wrong user name or password",
        );
    }
    for (user, words) in [
        ("blind", "does not even have the host"),
        ("closed", "Access is denied"),
        ("reader", "may not do this"),
    ] {
        let ran = world.agent_as(&format!("CORP\\{user}"), &["-o", "monitor"]);
        ended(&ran, 1, "", words);
        assert!(ran.stderr.contains("Hyper-V Administrators"), "{ran:?}");
    }
    ended(
        &world.agent(&["--auth", "basic", "-o", "status", "-n", "vm1"]),
        1,
        "",
        "it offers Negotiate",
    );
    let basic = World::with(ALONE, &["--no-negotiate", "--basic", "--unencrypted"]);
    ended(
        &basic.agent(&["-o", "status", "-n", "vm1"]),
        1,
        "",
        "it offers Basic",
    );
    let closed = World::with(ALONE, &["--basic"]);
    ended(
        &closed.agent_as("loc", &["--auth", "basic", "-o", "status", "-n", "vm1"]),
        1,
        "",
        "it offers Negotiate, Basic",
    );
}

#[test]
fn wrong_addresses() {
    let world = World::alone();
    let at = |args: &[&str]| world.agent(&[&["-o", "status", "-n", "vm1"], args].concat());
    ended(&at(&["-u", "1"]), 1, "", "127.0.0.1:1");
    ended(
        &at(&["-a", "no-such-host.invalid"]),
        1,
        "",
        "no-such-host.invalid",
    );
    ended(&at(&["-a", "http://hv1/wsman"]), 1, "", "page");
    ended(&at(&["--ssl-insecure"]), 1, "", "5986");
    ended(&at(&["--nodes", "HV2=:5985"]), 1, "", "nodes");
    ended(&at(&["--cluster"]), 1, "", "no node of a failover cluster");
    let tls = World::with(ALONE, &["--tls"]);
    let ran = tls.by_stdin("action=status\nplug=vm1");
    ended(&ran, 1, "", "ssl");
    let ran = tls.by_stdin("action=status\nplug=vm1\nssl=1");
    ended(&ran, 1, "", "ssl_ca");
    ended(
        &tls.by_stdin("action=status\nplug=vm1\nssl_insecure=1"),
        0,
        "Status: ON\n",
        "not verified",
    );
}

#[test]
fn wrong_options() {
    let world = World::alone();
    for (args, words) in [
        (
            &["--auth", "kerberos"][..],
            "must be one of negotiate, basic, certificate",
        ),
        (&["--auth", "certificate"], "ssl_client_cert"),
        (&["--namespace", "v3"], "must be one of"),
        (&["--kill-worker", "-1"], "kill_worker"),
        (&["--nodes", "HV2="], "nodes"),
    ] {
        let ran = world.agent(&[&["-o", "off", "-n", "vm1"], args].concat());
        ended(&ran, 1, "", words);
    }
    ended(&world.by_stdin("action=off\nplug="), 1, "", "plug");
    assert_eq!(world.truth(VM1), (2, 0, 0));
}

#[test]
fn names_that_are_something_else_where_they_are_put() {
    let names = [
        "O'Brien",
        "x' or '1'='1",
        "a\\",
        "<a href=\"&amp;\">",
        "漢字 é\u{1f600}",
        "%",
        "vm_",
        "]]>",
        "a;b",
        "--",
        "' or ElementName like '%",
    ];
    let mut lines = format!("node HV1\nguest vm1 {VM1} HV1 2\n");
    for (at, name) in names.iter().enumerate() {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        lines.push_str(&format!(
            "guest {encoded} 564D1FCB-2B1C-4B8E-8C52-0000000000{at:02} HV1 2\n"
        ));
    }
    let world = World::with(&lines, &[]);
    for name in names {
        let plug = format!("--plug={name}");
        ended(
            &world.agent(&["-o", "off", &plug]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        ended(
            &world.agent(&["-o", "status", &plug]),
            2,
            "Status: OFF\n",
            "",
        );
    }
    for name in ["VM1", "vm", "vm%", "HV1", "a\u{1}b"] {
        let ran = world.agent(&["-o", "off", &format!("--plug={name}")]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{name:?}: {ran:?}"
        );
    }
    assert_eq!(world.truth(VM1), (2, 0, 0), "nobody else was hit");
}

#[test]
fn two_guests_of_one_name() {
    let world = World::with(
        &format!("node HV1\nguest vm {VM1} HV1 2\nguest vm {VM2} HV1 2\n"),
        &[],
    );
    for action in ["status", "off", "reboot", "on"] {
        let ran = world.agent(&["-o", action, "-n", "vm"]);
        ended(&ran, 1, "", &VM1.to_lowercase());
        assert!(ran.stderr.contains(&VM2.to_lowercase()), "{ran:?}");
    }
    assert_eq!((world.truth(VM1), world.truth(VM2)), ((2, 0, 0), (2, 0, 0)));
}

/// The password is in no process list but the administrator's own doing, no log, no debug file, no error.
#[test]
fn the_password_stays_secret() {
    let world = World::alone();
    let script = world.dir.path().join("password");
    std::fs::write(&script, format!("#!/bin/sh\necho '{PASSWORD}'\n"))
        .expect("the test's directory takes files");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("one's own file");
    let debug = world.dir.path().join("debug");
    let mut command = world.command();
    command.args(["-l", "CORP\\ann", "-S"]).arg(&script);
    command
        .args(["-vvv", "-o", "off", "-n", "vm1", "-D"])
        .arg(&debug);
    world.tell("behave stop 1500");
    let agent = Process::start(&mut command, None, world.dir.path());
    wait_for("the order", PATIENCE, || {
        (world.truth(VM1).0 == 4).then_some(())
    });
    let place = format!("/proc/{}", agent.id());
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("{place}/{file}")).expect("a running process");
        assert!(
            !String::from_utf8_lossy(&text).contains("hunter2"),
            "{file}"
        );
    }
    ended(&agent.finish(PATIENCE), 0, "Success: Powered OFF\n", "");
    let debug = std::fs::read_to_string(debug).expect("the agent wrote it");
    assert!(!debug.is_empty() && !debug.contains("hunter2"), "{debug}");
    let log = world.http("GET", "/-/log", "");
    assert!(!log.contains("hunter2"), "{log}");
    // Nothing of what goes over the wire says it, either: neither plain nor in base64.
    let mut wrong = world.command();
    wrong.args([
        "-l",
        "CORP\\ann",
        "-p",
        "hunter2-wrong",
        "-vvv",
        "-o",
        "monitor",
    ]);
    let ran = run(&mut wrong, None, world.dir.path(), None, PATIENCE);
    ended(&ran, 1, "", "wrong user name or password");
}
