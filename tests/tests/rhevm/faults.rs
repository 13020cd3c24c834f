//! What goes wrong at an engine, and what the agent makes of it.

use std::time::{Duration, Instant};

use picket_tests::{
    cases,
    process::{Process, wait_for},
};
use rustix::process::Signal;

use crate::{Engine, Whose, ended};

/// A fault, what is done, how it ends, and what is said.
type Case = (&'static str, &'static str, i32, &'static str);

/// Answers to questions: never a state.
const QUESTIONS: [Case; 20] = [
    ("path=token do=status:500", "status", 1, "HTTP 500"),
    ("path=token do=is:starting", "off", 1, "ovirt-engine"),
    ("path=token do=is:page", "status", 1, "welcome to the proxy"),
    ("path=vms count=* do=status:401", "off", 1, "login"),
    ("path=vms count=* do=is:expire", "off", 1, "login"),
    (
        "path=vms do=is:refused",
        "status",
        1,
        "grant the user a role",
    ),
    ("path=vms do=status:404", "off", 1, "api_path"),
    ("path=vms do=is:broken", "off", 1, "Internal Engine Error"),
    ("path=vms do=status:503", "status", 1, "HTTP 503"),
    ("path=vms do=is:page", "off", 1, "proxy"),
    ("path=vms do=is:login", "status", 1, "portal.example"),
    ("path=vms count=* do=truncate:300", "off", 1, ""),
    ("path=vms count=* do=close", "status", 1, ""),
    ("path=vms count=* do=reset", "off", 1, ""),
    ("path=vms count=* do=raw:%00%01%02", "status", 1, ""),
    ("path=vms do=body:<vms/>", "off", 1, "no guest `node1`"),
    ("path=vms do=is:no-id", "off", 1, "no usable id"),
    ("path=vms do=is:no-name", "off", 1, "no usable name"),
    ("path=vms do=is:no-status", "status", 1, "tells no state"),
    ("path=vms do=hang", "status", 1, "no answer"),
];

#[test]
fn an_answer_that_is_none_is_no_state() {
    cases::all(&QUESTIONS, 4, |&(fault, action, code, words)| {
        let engine = Engine::start("");
        engine.faults(fault);
        let ran = Whose::Ours.run(&engine, &["-o", action, "-n", "node1", "--shell-timeout=4"]);
        ended(&ran, code, "", words);
        assert_eq!(
            (engine.stops("node1"), engine.state("node1").as_str()),
            (0, "up"),
            "{ran:?}"
        );
    });
}

/// What happens to the order, or while it is carried out: success only with the machine seen down.
const ORDERS: [Case; 15] = [
    // The engine's session ends in between; an order that got 401 was not carried out, and is given again.
    ("path=/stop do=is:expire", "off", 0, ""),
    ("path=/api/vms/ method=GET do=is:expire", "off", 0, ""),
    // The answer to the order is lost after it was carried out.
    ("path=/stop when=after do=close", "off", 0, ""),
    ("path=/stop when=after do=reset", "reboot", 0, ""),
    ("path=/stop when=after do=status:502", "off", 0, ""),
    ("path=/stop when=after do=hang", "off", 0, ""),
    ("path=/stop do=delay:1500", "off", 0, ""),
    // A look in between is lost.
    ("path=/api/vms/ method=GET do=status:503", "off", 0, ""),
    ("path=/api/vms/ method=GET do=truncate:99", "off", 0, ""),
    // It migrates when it is told to stop.
    ("path=/stop do=is:migrates", "off", 0, ""),
    // It is not carried out.
    (
        "path=/stop count=* do=is:refused",
        "off",
        1,
        "grant the user a role",
    ),
    (
        "path=/stop count=* do=is:broken",
        "off",
        1,
        "told to stop it, and then",
    ),
    ("path=/stop do=is:deleted", "off", 1, "no guest"),
    (
        "path=/api/vms/ method=GET do=is:deleted",
        "off",
        1,
        "does not know it any more",
    ),
    (
        "path=/api/vms/ method=GET count=* do=status:500",
        "off",
        1,
        "told to stop it",
    ),
];

#[test]
fn an_order_counts_when_the_machine_is_seen_down() {
    cases::all(&ORDERS, 4, |&(fault, action, code, words)| {
        let engine = Engine::start("");
        engine.faults(fault);
        let args = [
            "-o",
            action,
            "-n",
            "node1",
            "--shell-timeout=4",
            "--power-timeout=14",
        ];
        let ran = Whose::Ours.run(&engine, &args);
        let printed = match (code, action) {
            (0, "off") => "Success: Powered OFF\n",
            (0, _) => "Success: Rebooted\n",
            _ => "",
        };
        ended(&ran, code, printed, words);
        if code == 0 {
            assert_eq!(engine.stops("node1"), 1, "once: {ran:?}");
            assert!(action == "reboot" || engine.state("node1") == "down");
        }
    });
}

/// Facts, section 3.5.
#[test]
fn states_are_what_they_are() {
    let states = [
        ("down", 2),
        ("up", 0),
        ("powering_down", 0),
        ("paused", 0),
        ("suspended", 0),
        ("not_responding", 0),
        ("saving_state", 0),
        ("migrating", 0),
        ("unknown", 1),
        ("image_locked", 1),
        ("none", 1),
        ("whatever_comes_next", 1),
    ];
    cases::all(&states, 4, |&(state, code)| {
        let engine = Engine::start("--guests 1");
        engine.change("node1", &format!("state={state}"));
        let printed = ["Status: ON\n", "", "Status: OFF\n"][usize::try_from(code).expect("small")];
        ended(
            &Whose::Ours.run(&engine, &["-o", "status", "-n", "node1"]),
            code,
            printed,
            "",
        );
        let listed = Whose::Ours.run(&engine, &["-o", "list-status"]);
        let word = ["ON", "UNKNOWN", "OFF"][usize::try_from(code).expect("small")];
        assert!(
            listed.stdout.trim_end().ends_with(&format!(",{word}")),
            "{state}: {listed:?}"
        );
    });
}

#[test]
fn a_suspended_machine_is_off_when_its_memory_is_gone() {
    let engine = Engine::start("");
    engine.change("node1", "state=suspended");
    ended(
        &Whose::Ours.run(&engine, &["-o", "off", "-n", "node1"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    assert_eq!(engine.state("node1"), "down");
}

/// An engine that takes long is waited for; one that takes longer than the limit is reported, and nothing is called done.
#[test]
fn slow_engines() {
    let engine = Engine::start("--transition 4000");
    ended(
        &Whose::Ours.run(&engine, &["-o", "off", "-n", "node1"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    let begun = Instant::now();
    let ran = Whose::Ours.run(&engine, &["-o", "off", "-n", "node2", "--power-timeout=2"]);
    ended(&ran, 1, "", "in shutdown");
    assert!(begun.elapsed() < Duration::from_secs(20), "{ran:?}");
}

/// A stuck agent that is told to end does so at once, and ends its session.
#[test]
fn a_signal_ends_the_run_and_the_session() {
    let engine = Engine::start("");
    engine.faults("path=/stop count=* do=hang");
    let mut command = Whose::Ours.command();
    command.args([
        "-a",
        "127.0.0.1",
        "-u",
        engine.port(),
        "-l",
        "admin@internal",
        "-p",
        "secret",
    ]);
    command
        .args(["-o", "off", "-n", "node1"])
        .env("PCMK_service", "pacemaker-fenced");
    let process = Process::start(&mut command, None, engine.dir());
    wait_for("the order to be given", Duration::from_secs(20), || {
        engine
            .log()
            .iter()
            .any(|line| line.contains("/stop"))
            .then_some(())
    });
    assert_eq!(engine.sessions(), (1, 1));
    process.signal(Signal::TERM);
    let ran = process.finish(Duration::from_secs(15));
    ended(&ran, 1, "", "SIGTERM");
    assert_eq!(engine.sessions(), (0, 1), "{ran:?}");
}
