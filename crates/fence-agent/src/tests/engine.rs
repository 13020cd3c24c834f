//! The order of operations, on plugs in memory.

use std::time::Duration;

use proptest::prelude::*;

use crate::engine::{Settings, act};
use crate::exit::Exit;
use crate::memory::{Faults, Memory, Plugs};
use crate::{Failure, FailureKind, Power, Switch};

fn suspended() -> Power {
    Power::Unknown("suspended".to_owned())
}

fn run(action: &str, plugs: &mut Plugs, settings: &Settings) -> (Result<Exit, Failure>, Memory) {
    let mut around = Memory::new(Duration::from_secs(50));
    let result = act(action, plugs, settings, &mut around);
    (result, around)
}

fn settings(plugs: &[&str]) -> Settings {
    Settings {
        plugs: plugs.iter().map(|plug| (*plug).to_owned()).collect(),
        ..Settings::default()
    }
}

#[test]
fn outputs_and_exit_codes() {
    let cases = [
        ("status", Power::On, Exit::OK, "Status: ON\n", 0),
        ("status", Power::Off, Exit::OFF, "Status: OFF\n", 0),
        ("off", Power::On, Exit::OK, "Success: Powered OFF\n", 1),
        ("off", Power::Off, Exit::OK, "Success: Already OFF\n", 0),
        ("off", suspended(), Exit::OK, "Success: Powered OFF\n", 1),
        ("on", Power::Off, Exit::OK, "Success: Powered ON\n", 1),
        ("on", Power::On, Exit::OK, "Success: Already ON\n", 0),
        ("reboot", Power::On, Exit::OK, "Success: Rebooted\n", 2),
        ("reboot", Power::Off, Exit::OK, "Success: Rebooted\n", 1),
        ("monitor", Power::Off, Exit::OK, "", 0),
        ("list", Power::On, Exit::OK, "p,\n", 0),
        ("list-status", Power::On, Exit::OK, "p,,ON\n", 0),
        ("list-status", suspended(), Exit::OK, "p,,UNKNOWN\n", 0),
    ];
    for (action, state, exit, output, orders) in cases {
        let mut plugs = Plugs::new([("p", state.clone())]);
        let (result, around) = run(action, &mut plugs, &settings(&["p"]));
        assert_eq!(result, Ok(exit), "{action} of {state:?}");
        assert_eq!(
            (around.output.as_str(), plugs.orders.len()),
            (output, orders),
            "{action} of {state:?}"
        );
    }
}

#[test]
fn what_cannot_be_told_is_neither_on_nor_off() {
    for action in ["status", "on"] {
        let (result, around) = run(
            action,
            &mut Plugs::new([("p", suspended())]),
            &settings(&["p"]),
        );
        assert_eq!(
            result.map_err(|failure| failure.kind),
            Err(FailureKind::CannotKnow),
            "{action}"
        );
        assert_eq!(around.output, "");
    }
}

#[test]
fn an_unknown_plug_is_never_off() {
    for action in ["status", "off", "on", "reboot"] {
        let (result, _) = run(
            action,
            &mut Plugs::new([("p", Power::Off)]),
            &settings(&["q"]),
        );
        assert!(result.is_err(), "{action}");
    }
}

/// I29: fence_vmware_soap prints success while the second of two plugs keeps running.
#[test]
fn every_plug_counts() {
    let mut plugs = Plugs::new([("a", Power::Off), ("b", Power::On)]);
    plugs.faults.ignore = Some(Switch::Off);
    let (result, around) = run("off", &mut plugs, &settings(&["a", "b"]));
    let failure = result.expect_err("b keeps running");
    assert!(
        failure.message.contains("`b`") && !failure.message.contains("`a`"),
        "{failure}"
    );
    assert_eq!(around.output, "");

    let mut plugs = Plugs::new([("a", Power::Off), ("b", Power::On)]);
    let (result, _) = run("on", &mut plugs, &settings(&["a", "b"]));
    assert_eq!(result, Ok(Exit::OK));
    assert_eq!(plugs.orders, [("a".to_owned(), Switch::On)]);
}

/// I24: `power_timeout` is seconds; the library counts looks.
#[test]
fn power_timeout_is_seconds() {
    let mut plugs = Plugs::new([("p", Power::On)]);
    plugs.faults.ignore = Some(Switch::Off);
    let slow = Settings {
        poll: Duration::from_secs(4),
        ..settings(&["p"])
    };
    let before = std::time::Instant::now();
    let (result, around) = run("off", &mut plugs, &slow);
    assert!(result.expect_err("ignored").message.contains("timed out"));
    let spent = crate::Surroundings::now(&around).saturating_duration_since(before);
    assert!((20..=24).contains(&spent.as_secs()), "{spent:?}");
}

/// I13: without limits of its own a Python agent called by Pacemaker never ends.
#[test]
fn the_deadline_holds_when_limits_are_lifted() {
    let mut plugs = Plugs::new([("p", Power::On)]);
    plugs.faults.ignore = Some(Switch::Off);
    let lifted = Settings {
        power_timeout: None,
        ..settings(&["p"])
    };
    let (result, _) = run("reboot", &mut plugs, &lifted);
    let failure = result.expect_err("deadline");
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(
        failure.message.contains("timed out"),
        "Pacemaker looks for these words: {failure}"
    );
    assert!(
        !plugs.orders.contains(&("p".to_owned(), Switch::On)),
        "on is not tried after a failed off"
    );
}

#[test]
fn reboot_counts_as_fenced_when_only_power_on_fails() {
    let mut plugs = Plugs::new([("p", Power::On)]);
    plugs.faults.ignore = Some(Switch::On);
    let (result, around) = run("reboot", &mut plugs, &settings(&["p"]));
    assert_eq!(result, Ok(Exit::OK));
    assert_eq!(around.output, "Success: Rebooted\n");
    assert!(
        around.logged[0].contains("not on again"),
        "{:?}",
        around.logged
    );
}

#[test]
fn on_is_tried_once_more_than_retry_on() {
    let mut plugs = Plugs::new([("p", Power::Off)]);
    plugs.faults.ignore = Some(Switch::On);
    let few = Settings {
        power_timeout: Some(Duration::from_secs(2)),
        ..settings(&["p"])
    };
    assert!(run("on", &mut plugs, &few).0.is_err());
    assert_eq!(plugs.orders.len(), 2);
}

proptest! {
    /// Success of off and reboot is only ever printed after every plug was seen off.
    #[test]
    fn success_means_seen_off(
        on in prop::collection::vec(0u8..3, 1..4),
        unreachable in any::<bool>(),
        refuse in any::<bool>(),
        ignore in prop::sample::select(vec![None, Some(Switch::Off), Some(Switch::On)]),
        looks in 0u32..40,
    ) {
        let mut plugs = Plugs::new([]);
        let names: Vec<String> = (0..on.len()).map(|index| format!("p{index}")).collect();
        for (name, state) in names.iter().zip(&on) {
            let power = match state { 0 => Power::Off, 1 => Power::On, _ => suspended() };
            plugs.states.insert(name.clone(), power);
        }
        plugs.faults = Faults { unreachable, refuse, ignore, looks_until_effect: looks };
        let wanted = Settings { plugs: names, ..Settings::default() };
        let (result, around) = run("off", &mut plugs, &wanted);
        prop_assert_eq!(result.is_ok(), around.output.starts_with("Success"));
        if result.is_ok() {
            prop_assert!(plugs.states.values().all(|state| *state == Power::Off));
        }
    }
}
