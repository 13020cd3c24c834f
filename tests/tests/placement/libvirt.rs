//! Two machines with libvirt and QEMU guests, which are live-migrated between them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use picket_tests::{
    hosts::{self, Hosts},
    process::{PATIENCE, Process, Ran, run, wait_for},
    skip::skipped,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{CANCELLED, DEFINITION, SHARED, SUCCESS as APART, UNKNOWN, USAGE, command, json};

const VM1: &str = "6695eb01-f6a4-4304-89aa-97f2502e1931";
const VM2: &str = "6695eb01-f6a4-4304-89aa-97f2502e1932";

fn definition(hosts: &Hosts, live_migration: bool) -> PathBuf {
    let mut text = format!(
        "[cluster]\nname = \"web\"\n[platform]\nkind = \"kvm\"\nlive_migration = {live_migration}\n"
    );
    for host in &hosts.all {
        text.push_str(&format!(
            "[[host]]\nname = \"{}\"\nremote_uri = \"{}\"\n",
            host.name,
            host.uri()
        ));
    }
    for number in 1..=2 {
        text.push_str(&format!(
            "[[node]]\nname = \"n{number}\"\nguest = \"vm{number}\"\naddress = \"192.0.2.{number}\"\n"
        ));
    }
    let path = hosts.rig.path("cluster.toml");
    fs::write(&path, text).expect("the rig's directory takes files");
    path
}

fn picket(hosts: &Hosts, definition: &Path, what: &str, args: &[&str]) -> Ran {
    let limit = PATIENCE * 4;
    run(
        &mut command(definition, what, args),
        None,
        hosts.rig.dir(),
        None,
        limit,
    )
}

/// Both guests on the first machine.
fn crowded() -> Hosts {
    let hosts = Hosts::up();
    hosts.start_guest(&hosts.all[0], "vm1", VM1);
    hosts.start_guest(&hosts.all[0], "vm2", VM2);
    hosts
}

#[test]
fn members_on_one_host_are_seen_planned_and_moved_apart() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let hosts = crowded();
    let definition = definition(&hosts, true);
    let shown = picket(&hosts, &definition, "show", &["--json"]);
    assert_eq!(shown.code, SHARED, "{shown:?}");
    let report = json(&shown);
    assert_eq!(report["state"], "shared");
    assert_eq!(report["findings"][0]["kind"], "members-on-one-host");
    assert_eq!(report["findings"][0]["host"], "h1");
    assert_eq!(report["members"][0]["uuid"], VM1);

    let planned = picket(&hosts, &definition, "plan", &[]);
    assert_eq!(planned.code, APART, "{planned:?}");
    assert!(
        planned.stdout.contains("1. move n2 from h1 to h2"),
        "{planned:?}"
    );
    assert_eq!(
        hosts.active(&hosts.all[0]).len(),
        2,
        "planning moves nobody"
    );

    // Without a terminal somebody must have agreed.
    let alone = picket(&hosts, &definition, "enforce", &[]);
    assert_eq!(alone.code, USAGE, "{alone:?}");
    assert_eq!(hosts.active(&hosts.all[0]).len(), 2);

    let enforced = picket(&hosts, &definition, "enforce", &["--yes", "--json"]);
    assert_eq!(enforced.code, APART, "{enforced:?}");
    let document = json(&enforced);
    assert_eq!(document["steps"][0]["outcome"], "done");
    assert_eq!(document["after"]["state"], "apart");
    assert_eq!(hosts.active(&hosts.all[0]), ["vm1"]);
    assert_eq!(hosts.active(&hosts.all[1]), ["vm2"]);
    // It took its definition along: it can be started in one place only.
    let left = hosts.virsh(&hosts.all[0], &["list", "--all", "--name"]);
    assert_eq!(left.stdout.split_whitespace().collect::<Vec<_>>(), ["vm1"]);

    let again = picket(&hosts, &definition, "enforce", &["--yes", "--json"]);
    assert_eq!(again.code, APART, "{again:?}");
    assert_eq!(
        json(&again)["steps"],
        Value::Array(Vec::new()),
        "there is nothing to do"
    );
}

#[test]
fn members_are_not_moved_where_the_definition_forbids_it() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let hosts = crowded();
    let definition = definition(&hosts, false);
    let enforced = picket(&hosts, &definition, "enforce", &["--yes", "--json"]);
    assert_eq!(enforced.code, SHARED, "{enforced:?}");
    assert_eq!(json(&enforced)["steps"][0]["outcome"], "held");
    let watch = picket(&hosts, &definition, "watch", &["--once", "--move"]);
    assert_eq!(watch.code, DEFINITION, "{watch:?}");
    assert_eq!(hosts.active(&hosts.all[0]).len(), 2);
}

/// A machine that is gone: its guests may be anywhere, and that is no "runs nowhere".
#[test]
fn a_host_that_cannot_be_asked_makes_it_unknown() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let mut hosts = Hosts::up();
    hosts.start_guest(&hosts.all[0], "vm1", VM1);
    hosts.start_guest(&hosts.all[1], "vm2", VM2);
    let definition = definition(&hosts, true);
    let before = picket(&hosts, &definition, "show", &[]);
    assert_eq!(before.code, APART, "{before:?}");
    hosts.all[1].lose_power();
    let begun = Instant::now();
    let after = picket(&hosts, &definition, "show", &["--json", "--timeout", "5"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(after.code, UNKNOWN, "{after:?}");
    let report = json(&after);
    assert_eq!(report["state"], "unknown");
    assert_eq!(report["members"][0]["place"]["state"], "runs");
    assert_eq!(report["members"][1]["place"]["state"], "unknown");
    assert_eq!(report["members"][1]["place"]["kind"], "cannot-know");
    assert_eq!(report["hosts"][1]["usable"], false);
    // It is an alarm, and not that members share a host.
    let watch = picket(
        &hosts,
        &definition,
        "watch",
        &["--once", "--json", "--timeout", "5", "--interval", "1"],
    );
    assert_eq!(watch.code, UNKNOWN, "{watch:?}");
    assert!(
        watch.stdout.contains("\"whereabouts-unknown\""),
        "{watch:?}"
    );
    assert!(!watch.stdout.contains("members-on-one-host"), "{watch:?}");
    // What nobody can find is not moved, and nobody is moved because of it.
    let enforced = picket(&hosts, &definition, "enforce", &["--yes", "--timeout", "5"]);
    assert_eq!(enforced.code, UNKNOWN, "{enforced:?}");
    assert!(enforced.stdout.contains("n2 is left alone"), "{enforced:?}");
}

/// A guest on its way is in two places, or none: whoever looks at that moment is told so.
#[test]
fn a_guest_in_flight_is_nowhere_for_sure() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let hosts = Hosts::up();
    hosts.start_guest(&hosts.all[0], "vm1", VM1);
    hosts.start_busy_guest(&hosts.all[0], "vm2", VM2);
    let definition = definition(&hosts, true);
    let mut migration = Command::new("virsh");
    migration.args(["-c", &hosts.all[0].uri(), "migrate", "--live", "vm2"]);
    migration.arg(hosts.all[1].uri());
    let migration = Process::start(&mut migration, None, hosts.rig.dir());
    let report = wait_for("the guest to be seen on its way", PATIENCE, || {
        let shown = picket(&hosts, &definition, "show", &["--json"]);
        (shown.code == UNKNOWN).then(|| json(&shown))
    });
    assert_eq!(report["members"][0]["place"]["state"], "runs");
    assert_eq!(report["members"][1]["place"]["kind"], "cannot-know");
    // Its migration that takes too long for somebody else is ended by them alone.
    let aborted = hosts.virsh(&hosts.all[0], &["domjobabort", "vm2"]);
    assert_eq!(aborted.code, Some(0), "{aborted:?}");
    drop(migration);
    wait_for("the guest to be found again", PATIENCE, || {
        (picket(&hosts, &definition, "show", &[]).code == SHARED).then_some(())
    });
}

/// A migration that does not come to an end in time is ended: the guest goes on where it was, and nothing is left there.
#[test]
fn a_move_that_takes_too_long_is_ended_and_leaves_one_guest() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let hosts = Hosts::up();
    hosts.start_guest(&hosts.all[0], "vm1", VM1);
    hosts.start_busy_guest(&hosts.all[0], "vm2", VM2);
    let definition = definition(&hosts, true);
    let begun = Instant::now();
    let enforced = picket(
        &hosts,
        &definition,
        "enforce",
        &["--yes", "--json", "--step-timeout", "12"],
    );
    assert!(begun.elapsed() < Duration::from_secs(60), "{enforced:?}");
    assert_eq!(enforced.code, SHARED, "{enforced:?}");
    let step = &json(&enforced)["steps"][0];
    assert_eq!(step["outcome"], "failed", "{step}");
    // Nothing was switched, and it never will be.
    assert_eq!(step["kind"], "unreachable", "{step}");
    let both = hosts.active(&hosts.all[0]);
    assert!(both.contains(&"vm2".to_owned()), "{both:?}");
    assert!(hosts.active(&hosts.all[1]).is_empty());
}

/// The daemon: it raises the alarm once, moves if told, and says when it is over.
#[test]
fn the_watch_raises_an_alarm_moves_and_clears_it() {
    if skipped(&hosts::NEEDS) {
        return;
    }
    let hosts = crowded();
    let definition = definition(&hosts, true);
    let heard = hosts.rig.path("heard");
    let program = hosts.rig.path("alarm");
    let text = format!(
        "#!/bin/sh\n{{ printf '%s ' \"$PICKET_EVENT\"; cat; }} >>{}\n",
        heard.display()
    );
    fs::write(&program, text).expect("the rig's directory takes files");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("one's own file");
    let alarm = program.display().to_string();
    let args = ["--interval", "1", "--json", "--alarm", &alarm, "--move"];
    let mut watch = Process::start(
        &mut command(&definition, "watch", &args),
        None,
        hosts.rig.dir(),
    );
    let events = || -> Vec<Value> {
        let lines = watch.stdout();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let cleared = wait_for("the alarm to be over", PATIENCE * 2, || {
        let events = events();
        events
            .iter()
            .any(|event| event["event"] == "cleared")
            .then_some(events)
    });
    let kinds: Vec<&str> = cleared
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(kinds, ["state", "alarm", "moved", "state", "cleared"]);
    assert_eq!(hosts.active(&hosts.all[1]), ["vm2"]);
    watch.signal(Signal::TERM);
    let ended = watch.ended_within(PATIENCE).expect("it heeds signals");
    assert_eq!(ended.code(), CANCELLED);
    let heard = fs::read_to_string(heard).expect("the program was run");
    let words: Vec<&str> = heard
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(words, ["alarm", "moved", "cleared"]);
}
