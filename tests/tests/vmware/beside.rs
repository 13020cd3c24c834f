//! The packaged agents beside ours, on the same server, in the same situation: what the incumbents get wrong
//! (I10, I13, I20, I29, I31, I32, I33). The outcomes are printed as one table.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use picket_tests::process::{PATIENCE, Process, Ran, wait_for};
use rustix::process::Signal;

use crate::{AGENTS, World, encoded, ended, lacking_packaged};

/// Prints a table past the capture of the test runner.
fn show(title: &str, rows: &[[String; 4]]) {
    let mut text = format!("\n{title}\n");
    let head = ["agent", "case", "packaged", "ours"].map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let _ = writeln!(
            text,
            "  {:<18} {:<34} {:<58} {}",
            row[0], row[1], row[2], row[3]
        );
    }
    // A table that cannot be written leaves nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// How a run ended, in a few words.
fn words(ran: &Ran) -> String {
    if ran.hung {
        return format!("still running after {:.0?}", ran.took);
    }
    let mut errors = ran.stderr.lines().filter(|line| line.contains("ERROR"));
    let said = ran.stdout.lines().next().or_else(|| errors.next());
    let said = said
        .unwrap_or_default()
        .rsplit_once(": ")
        .map_or_else(|| said.unwrap_or_default(), |(_, last)| last);
    let said: String = said.chars().take(40).collect();
    let code = ran.code.map_or_else(
        || "ended by a signal".to_owned(),
        |code| format!("exit {code}"),
    );
    if said.is_empty() {
        code
    } else {
        format!("{code}, {said}")
    }
}

/// A suspended guest is not off, and `off` makes it so.
#[test]
fn i10_suspended_is_not_off() {
    if lacking_packaged() {
        return;
    }
    let mut rows = Vec::new();
    for agent in AGENTS {
        let world = World::vcenter();
        let mut outcomes = Vec::new();
        for packaged in [true, false] {
            world.tell("guest?name=DC0_H0_VM0&power=suspended");
            let act = |action: &str| {
                let args = ["-o", action, "-n", "DC0_H0_VM0"];
                if packaged {
                    world.theirs(agent, &args)
                } else {
                    world.ours(agent, &args)
                }
            };
            let (status, off) = (act("status"), act("off"));
            let state = world.state("DC0_H0_VM0");
            outcomes.push(format!(
                "status {:?}; off {}; then {state}",
                status.code,
                words(&off)
            ));
            if packaged {
                assert_eq!(
                    (off.code, state.as_str()),
                    (Some(0), "suspended"),
                    "the packaged agent is no better: {off:?}"
                );
            } else {
                ended(&status, 0, "Status: ON\n", "");
                ended(&off, 0, "Success: Powered OFF\n", "");
                assert_eq!(state, "poweredOff");
            }
        }
        let [theirs, mine] = <[String; 2]>::try_from(outcomes).expect("two runs");
        rows.push([
            agent.to_owned(),
            "I10 suspended guest".to_owned(),
            theirs,
            mine,
        ]);
    }
    show("I10: a suspended guest", &rows);
}

/// The refusal of a server that does not power off suspended guests is a failure, not success.
#[test]
fn i10_a_suspended_guest_that_cannot_be_powered_off() {
    if lacking_packaged() {
        return;
    }
    let world = World::vcenter();
    world.tell("guest?name=DC0_H0_VM0&power=suspended");
    let detail = "InvalidPowerState <requestedState>poweredOff</requestedState><existingState>suspended</existingState>";
    world.fault(
        "PowerOffVM_Task",
        "fault",
        1,
        &format!("&detail={}", encoded(detail)),
    );
    ended(
        &world.ours("fence_vmware_soap", &["-o", "off", "-n", "DC0_H0_VM0"]),
        1,
        "",
        "does not power off suspended guests",
    );
    world.fault("PowerOffVM_Task", "task", 1, "&detail=InvalidPowerState");
    ended(
        &world.ours("fence_vmware_soap", &["-o", "reboot", "-n", "DC0_H0_VM0"]),
        1,
        "",
        "does not power off suspended guests",
    );
    assert_eq!(world.state("DC0_H0_VM0"), "suspended");
}

/// Each named plug, or a failure.
#[test]
fn i29_two_plugs() {
    if lacking_packaged() {
        return;
    }
    let mut rows = Vec::new();
    for agent in AGENTS {
        let mut outcomes = Vec::new();
        for packaged in [true, false] {
            let world = World::vcenter();
            let args = [
                "-o",
                "off",
                "-n",
                "DC0_H0_VM0,DC0_C0_RP0_VM0",
                "--power-timeout=3",
            ];
            let ran = if packaged {
                world.theirs(agent, &args)
            } else {
                world.ours(agent, &args)
            };
            let states = ["DC0_H0_VM0", "DC0_C0_RP0_VM0"].map(|guest| world.state(guest));
            outcomes.push(format!("{}; then {}", words(&ran), states.join(", ")));
            if packaged {
                assert_ne!(
                    states,
                    ["poweredOff", "poweredOff"],
                    "the packaged agent is no better: {ran:?}"
                );
            } else {
                ended(&ran, 0, "Success: Powered OFF\n", "");
                assert_eq!(states, ["poweredOff", "poweredOff"]);
            }
        }
        let [theirs, mine] = <[String; 2]>::try_from(outcomes).expect("two runs");
        rows.push([
            agent.to_owned(),
            "I29 off of two plugs".to_owned(),
            theirs,
            mine,
        ]);
    }
    show("I29: two plugs", &rows);
}

/// More guests than the REST interface returns at once: monitor tells the truth, and the list is whole.
#[test]
fn i31_more_guests_than_the_list_takes() {
    if lacking_packaged() {
        return;
    }
    let world = World::with(&["-rest-limit", "5", "-no-api"]);
    let agent = "fence_vmware_rest";
    let theirs = ["list", "monitor"].map(|action| world.theirs(agent, &["-o", action]));
    let mine = ["list", "monitor"].map(|action| world.ours(agent, &["-o", action]));
    assert_eq!(theirs[1].code, Some(0), "the packaged agent is no better");
    assert_eq!(mine[0].stdout.lines().count(), 10, "{:?}", mine[0]);
    ended(&mine[1], 0, "", "");
    // A monitor that says yes proves that guests can be found and may be powered off.
    world.tell("guest?name=DC0_H0_VM0&role=-2");
    world.fault("HasPrivilegeOnEntities", "fault", 0, "&detail=NoPermission");
    ended(
        &world.ours(agent, &["-o", "monitor", "-n", "DC0_H0_VM0"]),
        1,
        "",
        "VirtualMachine.Interact.PowerOff",
    );
    let row = |at: usize, what: &str| {
        [
            agent.to_owned(),
            format!("I31 {what}, 10 guests, limit 5"),
            words(&theirs[at]),
            words(&mine[at]),
        ]
    };
    show(
        "I31: a list that is too long",
        &[row(0, "list"), row(1, "monitor")],
    );
}

/// States in list-status.
#[test]
fn i32_list_status() {
    if lacking_packaged() {
        return;
    }
    let mut rows = Vec::new();
    for agent in AGENTS {
        let world = World::vcenter();
        ended(
            &world.ours(agent, &["-o", "off", "-n", "DC0_H0_VM0"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        let state = |ran: &Ran| {
            let line = ran
                .stdout
                .lines()
                .find(|line| line.starts_with("DC0_H0_VM0,"))
                .map(str::to_owned);
            line.and_then(|line| line.rsplit(',').next().map(str::to_owned))
                .unwrap_or_default()
        };
        let theirs = state(&world.theirs(agent, &["-o", "list-status"]));
        let mine = state(&world.ours(agent, &["-o", "list-status"]));
        assert_eq!(mine, "OFF", "{agent}");
        if agent == "fence_vmware_soap" {
            assert_eq!(theirs, "UNKNOWN", "the packaged agent is no better");
        }
        rows.push([
            agent.to_owned(),
            "I32 list-status, guest is off".to_owned(),
            theirs,
            mine,
        ]);
    }
    show("I32: list-status", &rows);
}

/// One guest is looked up without a list, and sessions end: also on SIGTERM.
#[test]
fn i20_sessions_end_and_one_guest_needs_no_list() {
    if lacking_packaged() {
        return;
    }
    let mut rows = Vec::new();
    for agent in AGENTS {
        let world = World::with(&["-vm", "100"]);
        let mut costs = Vec::new();
        for packaged in [true, false] {
            world.forget();
            let args = ["-o", "status", "-n", "DC0_H0_VM0"];
            let ran = if packaged {
                world.theirs(agent, &args)
            } else {
                world.ours(agent, &args)
            };
            ended(&ran, 0, "Status: ON\n", "");
            let bytes = world.counts()["out"].as_u64().expect("a number");
            costs.push(format!("{} requests, {bytes} bytes", world.requests()));
            if !packaged {
                assert!(
                    world.requests() <= 8 && bytes < 12_000,
                    "{agent}: {}",
                    world.counts()
                );
            }
            assert_eq!(world.sessions(), (0, 0), "{agent}");
        }
        let [theirs, mine] = <[String; 2]>::try_from(costs).expect("two runs");
        rows.push([
            agent.to_owned(),
            "I20 status, 200 guests".to_owned(),
            theirs,
            mine,
        ]);

        let stuck = if agent == "fence_vmware_soap" {
            ["RetrievePropertiesEx"; 2]
        } else {
            ["GET /rest/vcenter/vm", "GET /api/vcenter/vm"]
        };
        let mut left = Vec::new();
        for (packaged, stuck) in [true, false].into_iter().zip(stuck) {
            world.forget();
            world.fault(stuck, "hang", 1, "");
            let program = if packaged {
                Path::new("/usr/sbin").join(agent)
            } else {
                world.dir.path().join(agent)
            };
            let mut command = world.command(&program, &["-o", "off", "-n", "DC0_H0_VM0"]);
            command.env("PCMK_service", "pacemaker-fenced");
            let process = Process::start(&mut command, None, world.dir.path());
            wait_for("the agent to be stuck", PATIENCE, || {
                (world.count(stuck) > 0).then_some(())
            });
            let begun = Instant::now();
            process.signal(Signal::TERM);
            let ran = process.finish(PATIENCE);
            let (soap, rest) = world.sessions();
            left.push(format!("{}; {} sessions left", words(&ran), soap + rest));
            if packaged {
                // The SOAP agent of Debian 12 logs out on SIGTERM, the other does not.
                assert_eq!(
                    (soap, rest),
                    (0, u64::from(agent == "fence_vmware_rest")),
                    "{ran:?}"
                );
                world.tell("expire");
            } else {
                assert_eq!((soap, rest), (0, 0), "{agent}: {ran:?}");
                assert!(begun.elapsed() < Duration::from_secs(5), "{agent}: {ran:?}");
                ended(&ran, 1, "", "SIGTERM");
            }
        }
        assert_eq!(world.state("DC0_H0_VM0"), "poweredOn");
        let [theirs, mine] = <[String; 2]>::try_from(left).expect("two runs");
        rows.push([
            agent.to_owned(),
            "I20 SIGTERM while it is stuck".to_owned(),
            theirs,
            mine,
        ]);
    }
    show("I20: sessions and lists", &rows);
}

/// A server that stops answering: ours ends by itself, before Pacemaker would kill it, and says why.
#[test]
fn i13_i33_a_server_that_hangs() {
    if lacking_packaged() {
        return;
    }
    const PACEMAKER: Duration = Duration::from_secs(60);
    let mut rows = Vec::new();
    let mut runs = Vec::new();
    for agent in AGENTS {
        for packaged in [true, false] {
            let world = World::vcenter();
            for stuck in [
                "RetrievePropertiesEx",
                "GET /rest/vcenter/vm",
                "GET /api/vcenter/vm",
            ] {
                world.fault(stuck, "hang", 0, "");
            }
            let program = if packaged {
                Path::new("/usr/sbin").join(agent)
            } else {
                world.dir.path().join(agent)
            };
            let mut command = world.command(&program, &["-o", "off", "-n", "DC0_H0_VM0"]);
            command.env("PCMK_service", "pacemaker-fenced");
            let process = Process::start_group(&mut command, None, world.dir.path());
            runs.push((agent, packaged, process, world));
        }
    }
    let begun = Instant::now();
    // Ours end first.
    runs.sort_by_key(|(_, packaged, ..)| *packaged);
    let mut mine = Vec::new();
    for (agent, packaged, process, world) in runs {
        let ran = process.finish(PACEMAKER.saturating_sub(begun.elapsed()));
        if packaged {
            assert!(ran.hung, "the packaged agent is no better: {ran:?}");
            rows.push([
                agent.to_owned(),
                "I13, I33 server hangs, Pacemaker".to_owned(),
                words(&ran),
                mine.remove(0),
            ]);
        } else {
            ended(&ran, 1, "", "timed out");
            assert!(ran.took < Duration::from_secs(55), "{ran:?}");
            assert_eq!(world.sessions(), (0, 0), "{agent}");
            mine.push(format!(
                "exit 1 after {:.0?}, timed out, no session left",
                ran.took
            ));
        }
    }
    show("I13, I33: a server that hangs", &rows);
}
