//! The engine of the tests is right: clients that were not written here take it for one.

use std::{path::Path, process::Command};

use picket_tests::{
    process::{PATIENCE, run},
    skip::{skip, skipped},
};

use crate::{Engine, NEEDS, Whose, ended};

/// What `scripts/setup test` makes.
const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/peers/python/bin/python"
);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rhevm/sdk.py");

#[test]
fn the_sdk_takes_it_for_an_engine() {
    if !Path::new(PYTHON).exists() {
        skip("needs oVirt's Python SDK: run `scripts/setup test`");
        return;
    }
    let engine = Engine::start("");
    let mut command = Command::new(PYTHON);
    command.args([SCRIPT, &engine.url(), "admin@internal", "secret"]);
    let ran = run(&mut command, None, engine.dir(), None, PATIENCE);
    let wanted = "wrong password AuthError
test True
version 4 5
all node1 node2 node3
search node1
wildcard node1 node2 node3
page node3
unknown NotFoundError 404
state up host
start of a running guest Error 409 [Cannot run VM. VM is running.]
stopped down
stop of a stopped guest down
started up
hosts host1 host2 host3 host4
moving migrating
moved True
pinned now migratable
pinned later pinned True
group apart False True
same group Error 409 [Cannot add Affinity Group. Affinity Group name already exists.]
member twice Error 409 [VM is already in the Affinity Group.]
members node1
members left 0
groups left 0
permits True
filtered up no host no policy
";
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), wanted),
        "{ran:?}"
    );
    assert_eq!(engine.sessions().0, 0, "the SDK ends its sessions");
}

/// With versions 3 and 4 of the interface, found out or given, with and without cookies.
#[test]
fn the_packaged_agent_takes_it_for_an_engine() {
    if skipped(&NEEDS) {
        return;
    }
    for (words, more) in [
        ("", &[][..]),
        ("", &["--api-version", "4"]),
        ("--engine 3.6", &[]),
        ("--engine 4.2", &["--api-version", "3"]),
        // Before 3.6 the engine ignores which version is asked for, which the packaged agent takes for version 4.
        (
            "--engine 3.0 --api-path /api",
            &["--api-path=/api", "--api-version", "3"],
        ),
    ] {
        let engine = Engine::start(words);
        let packaged = |args: &[&str]| Whose::Packaged.run(&engine, &[args, more].concat());
        ended(
            &packaged(&["-o", "status", "-n", "node1"]),
            0,
            "Status: ON\n",
            "",
        );
        ended(
            &packaged(&["-o", "off", "-n", "node1"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        assert_eq!(engine.state("node1"), "down", "{words}");
        ended(
            &packaged(&["-o", "status", "-n", "node1"]),
            2,
            "Status: OFF\n",
            "",
        );
        ended(
            &packaged(&["-o", "off", "-n", "node1"]),
            0,
            "Success: Already OFF\n",
            "",
        );
        ended(
            &packaged(&["-o", "on", "-n", "node1"]),
            0,
            "Success: Powered ON\n",
            "",
        );
        ended(
            &packaged(&["-o", "list"]),
            0,
            "node1,\nnode2,\nnode3,\n",
            "",
        );
        ended(&packaged(&["-o", "monitor"]), 0, "", "");
    }
    let engine = Engine::start("");
    let cookies = engine.path("cookies").display().to_string();
    let file = format!("--cookie-file={cookies}");
    for _ in 0..3 {
        let ran = Whose::Packaged.run(
            &engine,
            &[
                "-o",
                "status",
                "-n",
                "node1",
                "--use-cookies",
                &file,
                "--api-version",
                "4",
            ],
        );
        ended(&ran, 0, "Status: ON\n", "");
    }
    assert_eq!(engine.sessions(), (1, 1));
}
