//! Our agent in the packaged one's place.

use std::{collections::BTreeMap, fs, process::Command};

use picket_tests::{
    process::run,
    skip::{Need, skipped},
};

use crate::{BOTH, Engine, NEEDS, PATIENCE, Whose, ended};

const XMLLINT: Need = Need::File("/usr/bin/xmllint", "libxml2-utils");
const SCHEMA: &str = "/usr/share/cluster/relaxng/metadata.rng";

fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// Each parameter with everything that tools read of it, each action with its attributes.
fn declared(xml: &str) -> BTreeMap<String, Vec<Option<String>>> {
    let mut all: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut parameter = String::new();
    for line in xml.lines() {
        if line.contains("<parameter ") {
            parameter = format!(
                "parameter {}",
                attribute(line, "name").expect("a parameter has a name")
            );
            let what =
                ["unique", "required", "deprecated", "obsoletes"].map(|name| attribute(line, name));
            all.insert(parameter.clone(), what.to_vec());
        } else if line.contains("<content ") {
            let what = ["type", "default"].map(|name| attribute(line, name));
            all.entry(parameter.clone()).or_default().extend(what);
        } else if line.contains("<action ") {
            let name = attribute(line, "name").expect("an action has a name");
            let what = ["on_target", "automatic"].map(|name| attribute(line, name));
            all.insert(format!("action {name}"), what.to_vec());
        }
    }
    all
}

#[test]
fn metadata_has_all_of_the_packaged_agents() {
    if skipped(&[&NEEDS[..], &[XMLLINT]].concat()) {
        return;
    }
    let engine = Engine::start("");
    let theirs = run(
        Whose::Packaged.command().args(["-o", "metadata"]),
        None,
        engine.dir(),
        None,
        PATIENCE,
    );
    let theirs = declared(&theirs.stdout);
    assert!(theirs.len() > 40, "{theirs:?}");
    for ran in [
        run(
            Whose::Ours.command().args(["-o", "metadata"]),
            None,
            engine.dir(),
            None,
            PATIENCE,
        ),
        run(
            &mut Command::new(engine.agent()),
            None,
            engine.dir(),
            Some("action=metadata\n"),
            PATIENCE,
        ),
    ] {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mine = declared(&ran.stdout);
        for (what, attributes) in &theirs {
            assert_eq!(mine.get(what), Some(attributes), "{what}");
        }
        let more: Vec<&String> = mine
            .keys()
            .filter(|what| !theirs.contains_key(*what))
            .collect();
        assert_eq!(more, ["parameter ssl_ca"]);
        let file = engine.path("metadata.xml");
        fs::write(&file, &ran.stdout).expect("the test's directory takes files");
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(file);
        assert_eq!(
            run(&mut xmllint, None, engine.dir(), None, PATIENCE).code,
            Some(0)
        );
    }
}

/// Every action, as both agents carry it out: by short options, by long ones, on standard input.
#[test]
fn actions_end_as_the_packaged_agents_do() {
    if skipped(&NEEDS) {
        return;
    }
    for whose in BOTH {
        let engine = Engine::start("--transition 300");
        let ran = |action: &str, plug: &str| {
            let by_short = || whose.run(&engine, &["-o", action, "-n", plug]);
            let by_long = || {
                whose.run(
                    &engine,
                    &[&format!("--action={action}"), &format!("--plug={plug}")],
                )
            };
            let by_input = || {
                whose.feed(
                    &engine,
                    &format!("action={action}\nnodename=x\nport={plug}"),
                )
            };
            match action {
                "status" => by_long(),
                "off" => by_input(),
                _ => by_short(),
            }
        };
        ended(&ran("status", "node1"), 0, "Status: ON\n", "");
        ended(&ran("off", "node1"), 0, "Success: Powered OFF\n", "");
        assert_eq!(engine.state("node1"), "down");
        ended(&ran("off", "node1"), 0, "Success: Already OFF\n", "");
        ended(&ran("status", "node1"), 2, "Status: OFF\n", "");
        ended(&ran("on", "node1"), 0, "Success: Powered ON\n", "");
        ended(&ran("on", "node1"), 0, "Success: Already ON\n", "");
        ended(&ran("reboot", "node2"), 0, "Success: Rebooted\n", "");
        assert_eq!(
            (
                engine.stops("node1"),
                engine.stops("node2"),
                engine.stops("node3")
            ),
            (1, 1, 0)
        );
        ended(&ran("monitor", "node1"), 0, "", "");
        let listed = whose.run(&engine, &["-o", "list", "-C", ";"]);
        let plugs: Vec<&str> = listed
            .stdout
            .lines()
            .filter_map(|line| line.split(';').next())
            .collect();
        assert_eq!(
            (listed.code, plugs.as_slice()),
            (Some(0), &["node1", "node2", "node3"][..]),
            "{listed:?}"
        );
        let missing = ran("off", "node9");
        assert_eq!(
            (missing.code, missing.stdout.as_str()),
            (Some(1), ""),
            "{missing:?}"
        );
        ended(
            &whose.run(&engine, &["-o", "validate-all", "-n", "node1"]),
            0,
            "",
            "",
        );
    }
}

/// Every age of engine, over TLS with a private authority, by UUID, by the other name of the agent.
#[test]
fn ways_that_the_packaged_agent_does_not_have() {
    let engine = Engine::start("");
    let id = engine.id("node2");
    ended(
        &Whose::Ours.run(&engine, &["-o", "off", "-n", &id]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    assert_eq!(engine.state("node2"), "down");
    ended(
        &Whose::Ours.run(&engine, &["-o", "off", "-n", "node1,node3"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    assert_eq!(
        (
            engine.state("node1").as_str(),
            engine.state("node3").as_str()
        ),
        ("down", "down")
    );
    assert_eq!(engine.sessions().0, 0, "sessions are ended");

    let mut command = Command::new(picket_tests::subject::ours("picket-agents"));
    command.args([
        "fence_rhev",
        "-a",
        "127.0.0.1",
        "-u",
        engine.port(),
        "-l",
        "fence@internal",
        "-p",
        "secret",
    ]);
    command.args(["-o", "status", "-n", "node1"]);
    ended(
        &run(&mut command, None, engine.dir(), None, PATIENCE),
        2,
        "Status: OFF\n",
        "",
    );

    for engine in [Engine::start("--tls"), Engine::start("--self-signed")] {
        let trust = format!("--ssl-ca={}", engine.path("trust.pem").display());
        ended(
            &Whose::Ours.run(&engine, &["-o", "off", "-n", "node1", &trust]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        ended(
            &Whose::Ours.run(&engine, &["-o", "status", "-n", "node1", "--ssl-insecure"]),
            2,
            "Status: OFF\n",
            "not verified",
        );
    }
    for (words, more) in [
        ("--engine 3.0 --api-path /api", "--api-path=/api"),
        ("--engine 3.6", "--api-version=auto"),
        ("--engine 4.2", "--api-version=3.6"),
    ] {
        let engine = Engine::start(words);
        ended(
            &Whose::Ours.run(&engine, &["-o", "reboot", "-n", "node1", more]),
            0,
            "Success: Rebooted\n",
            "",
        );
        assert_eq!(engine.stops("node1"), 1, "{words}");
    }
}

/// What monitor proves.
#[test]
fn monitor_proves_the_privilege() {
    let engine = Engine::start("--engine 4.5");
    let monitor = |user: &str, args: &[&str]| {
        Whose::Ours.run_as(
            &engine,
            user,
            "secret",
            &[&["-o", "monitor"], args].concat(),
        )
    };
    for user in ["admin@internal", "fence@internal", "member@internal"] {
        ended(&monitor(user, &[]), 0, "", "");
        ended(&monitor(user, &["-n", "node1"]), 0, "", "");
    }
    ended(&monitor("viewer@internal", &[]), 1, "", "stop_vm");
    ended(
        &monitor("viewer@internal", &["-n", "node1"]),
        1,
        "",
        "stop_vm",
    );
    ended(&monitor("nobody@internal", &[]), 1, "", "sees no guest");
    ended(
        &monitor("admin@internal", &["-n", "node9"]),
        1,
        "",
        "no guest `node9`",
    );
    assert_eq!(engine.stops("node1"), 0);

    // Where it cannot be told, that is said, and the device stays usable.
    let engine = Engine::start("--engine 4.1");
    let ran = Whose::Ours.run_as(
        &engine,
        "member@internal",
        "secret",
        &["-o", "monitor", "-n", "node1"],
    );
    ended(&ran, 0, "", "cannot be told without stopping it");
}

/// I19, I35: the session that is kept for the next run.
#[test]
fn a_session_can_be_kept_where_nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    if skipped(&[Need::Root]) {
        return;
    }
    let mode = |path: &std::path::Path| {
        fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o7777)
    };
    let engine = Engine::start("");
    for _ in 0..3 {
        ended(
            &Whose::Ours.run(&engine, &["-o", "status", "-n", "node1", "--use-cookies"]),
            0,
            "Status: ON\n",
            "",
        );
    }
    assert_eq!(engine.sessions(), (1, 1));
    let usual = format!(
        "/run/picket/rhevm-127.0.0.1_{}_ovirt-engine_api-admin@internal",
        engine.port()
    );
    let usual = std::path::Path::new(&usual);
    let (file, directory) = (
        mode(usual),
        mode(usual.parent().expect("it is in a directory")),
    );
    let held = fs::read_to_string(usual).unwrap_or_default();
    // It must not stay, whatever comes of this.
    let _ = fs::remove_file(usual);
    assert_eq!((file, directory), (0o600, 0o700));
    assert!(
        !held.lines().any(|line| line == "secret"),
        "no password in it"
    );

    let own = engine.path("mine/session");
    let option = format!("--cookie-file={}", own.display());
    let args = ["-o", "status", "-n", "node1", "--use-cookies", &option];
    ended(&Whose::Ours.run(&engine, &args), 0, "Status: ON\n", "");
    assert_eq!((mode(&own), mode(&engine.path("mine"))), (0o600, 0o700));
    // Somebody else's file, or one that others can write, is no session.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).expect("it is ours");
    ended(
        &Whose::Ours.run(&engine, &args),
        0,
        "Status: ON\n",
        "can be read or written by others",
    );
}
