//! What happens when something is wrong: the message names what, where and how to mend it, the exit
//! code is the documented one, nothing is lost, and nobody else is delayed.

mod agents;
mod configuration;
mod disk;
mod hypervisor;
mod packets;

use std::{thread, time::Duration};

use deadline::Deadline;
use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Config, Daemon, Route},
    guests,
    process::{Process, Ran},
    rig::Rig,
};

/// A rig with our daemon for `vm1` and `vm2`.
fn world(route: Route) -> (Rig, Daemon) {
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let daemon = Daemon::start(&rig, Subject::Ours, &Config::new(&rig, route, &uri));
    (rig, daemon)
}

/// Our agent's status of a guest.
fn status(rig: &Rig, route: Route, plug: &str) -> Ran {
    Call::over(rig, Subject::Ours, route).act(rig, "status", Some(plug))
}

/// Fails unless `said` contains every one of `words`, whatever their case.
#[track_caller]
fn names(said: &str, words: &[&str]) {
    let lower = said.to_lowercase();
    for word in words {
        assert!(
            lower.contains(&word.to_lowercase()),
            "no word of `{word}` in:\n{said}"
        );
    }
}

/// Waits until `daemon` has said every one of `words`: its log is written behind its back.
#[track_caller]
fn tells(daemon: &Process, words: &[&str]) {
    let deadline = Deadline::after(Duration::from_secs(5));
    let told = || {
        let said = daemon.printed().to_lowercase();
        words.iter().all(|word| said.contains(&word.to_lowercase()))
    };
    while !told() && !deadline.has_passed() {
        thread::sleep(Duration::from_millis(10));
    }
    names(&daemon.printed(), words);
}
