//! Applies on machines in memory: idempotence, interruption at every point, and what is refused.

use cluster::{File, Owner};
use deadline::Deadline;

use crate::desired::{CIB, COROSYNC_CONF, COROSYNC_KEY};
use crate::memory::{Content, Fault, MemoryMachine, MemoryMachines};
use crate::operation::Operation;
use crate::{
    Command, Configuration, Decision, Desired, Effect, Error, Machine, Options, Output, Phase,
    Plan, Preparation, ProblemKind, Report, Role, Transport, TransportError, Wanted, apply, plan,
};

const PACEMAKER_ENV: &str = "/etc/default/pacemaker";
const DROP_IN: &str = "/etc/systemd/system/pacemaker.service.d/50-picket-storage.conf";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// What differs between two wishes.
#[derive(Clone)]
struct Wish {
    token: u32,
    cipher: &'static str,
    key: u8,
    resource: &'static str,
    environment: &'static str,
    prepare: bool,
}

const FIRST: Wish = Wish {
    token: 5000,
    cipher: "aes256",
    key: 1,
    resource: "web",
    environment: "A=1",
    prepare: true,
};

fn file(path: &str, mode: u32, owner: Owner, bytes: impl Into<Vec<u8>>) -> File {
    File {
        path: path.into(),
        mode,
        owner,
        bytes: bytes.into(),
    }
}

fn conf(cluster: &str, wish: &Wish, nodes: &[&str]) -> String {
    let mut out = format!(
        "totem {{\nversion: 2\ncluster_name: {cluster}\ntoken: {}\ncrypto_cipher: {}\n}}\nnodelist {{\n",
        wish.token, wish.cipher
    );
    for (id, node) in nodes.iter().enumerate() {
        out.push_str(&format!(
            "node {{\nring0_addr: 10.0.0.{id}\nname: {node}\nnodeid: {id}\n}}\n"
        ));
    }
    out + "}\n"
}

fn machine(name: &str, role: Role) -> Machine {
    Machine::new(name, role, format!("root@{name}").parse().unwrap())
}

fn desired(wish: &Wish, nodes: &[&str]) -> Desired {
    let mut host = Wanted::new(machine("h1", Role::Host));
    host.units = vec!["fence_virtd.service".to_owned()];
    let virt = format!("# {}\n", wish.environment);
    host.files = vec![file("/etc/fence_virt.conf", 0o600, Owner::Root, virt)];
    let mut machines = vec![host];
    for name in nodes {
        let mut node = Wanted::new(machine(name, Role::Node));
        let cib = format!(
            "<cib><configuration><crm_config/><nodes/><resources><primitive id=\"{}\"/></resources>\
             <constraints/></configuration></cib>",
            wish.resource
        );
        node.files = vec![
            file(COROSYNC_CONF, 0o644, Owner::Root, conf("web", wish, nodes)),
            file(COROSYNC_KEY, 0o400, Owner::Root, [wish.key; 256]),
            file(PACEMAKER_ENV, 0o644, Owner::Root, wish.environment),
            file(DROP_IN, 0o644, Owner::Root, wish.environment),
            file(CIB, 0o600, Owner::Pacemaker, cib),
        ];
        if *name == "n1" && wish.prepare {
            for clustered in [false, true] {
                node.preparations.push(Preparation {
                    title: format!("make a file system ({clustered})"),
                    script: format!("mkfs {clustered}"),
                    clustered,
                });
            }
        }
        machines.push(node);
    }
    Desired {
        cluster: "web".to_owned(),
        keys: format!("seed{}", wish.key),
        machines,
    }
}

fn fresh() -> MemoryMachines {
    let node = || MemoryMachine::with_units(&["corosync.service", "pacemaker.service"]);
    let mut machines = vec![(
        "h1".to_owned(),
        MemoryMachine::with_units(&["fence_virtd.service"]),
    )];
    machines.extend(NODES.map(|name| (name.to_owned(), node())));
    MemoryMachines::new(machines)
}

fn options(restart: bool) -> Options {
    Options {
        restart,
        new_keys: true,
        ..Options::default()
    }
}

fn run(machines: &MemoryMachines, wish: &Wish, restart: bool) -> Result<Report, Error> {
    run_with(machines, &desired(wish, &NODES), &options(restart))
}

fn run_with(
    machines: &MemoryMachines,
    desired: &Desired,
    options: &Options,
) -> Result<Report, Error> {
    let mut agree = |_: &Plan| Decision::GoOn;
    apply(
        desired,
        machines,
        options,
        "me@here",
        &mut agree,
        &mut |_| {},
    )
}

/// The state, without what differs between two applies that come to the same.
fn state(machines: &MemoryMachines) -> impl PartialEq + std::fmt::Debug + use<> {
    let (mut machines, cib) = machines.snapshot();
    for machine in machines.values_mut() {
        machine.starts = 0;
        let applied = machine.applied.take().unwrap_or_default();
        let stable = applied.lines().filter(|line| !line.starts_with("id "));
        machine.applied = Some(stable.collect::<Vec<_>>().join("\n"));
    }
    (machines, cib)
}

fn files(machines: &MemoryMachines) -> impl PartialEq + std::fmt::Debug + use<> {
    let (machines, _) = machines.snapshot();
    machines
        .into_iter()
        .map(|(name, machine)| (name, machine.files))
        .collect::<Vec<_>>()
}

/// Machines on which `FIRST` was applied.
fn applied() -> MemoryMachines {
    let machines = fresh();
    assert!(run(&machines, &FIRST, false).unwrap().changed);
    machines.set_fault(None);
    machines
}

type Scenario = (&'static str, fn() -> MemoryMachines, Wish);

/// Changes that take every way through an apply: start, reload, restart together, restart one by one.
fn scenarios() -> Vec<Scenario> {
    vec![
        ("fresh", fresh, FIRST),
        (
            "reload",
            applied,
            Wish {
                token: 3000,
                resource: "db",
                ..FIRST
            },
        ),
        (
            "together",
            applied,
            Wish {
                key: 2,
                cipher: "none",
                ..FIRST
            },
        ),
        (
            "one by one",
            applied,
            Wish {
                environment: "A=2",
                ..FIRST
            },
        ),
        (
            "all at once",
            applied,
            Wish {
                token: 1,
                cipher: "none",
                key: 9,
                resource: "x",
                environment: "",
                prepare: true,
            },
        ),
        ("package", package_default, FIRST),
    ]
}

/// As after `apt-get install corosync pacemaker`.
fn package_default() -> MemoryMachines {
    let machines = fresh();
    for name in NODES {
        machines.change(name, |machine| {
            let text = "totem {\ncluster_name: debian\n}\nnodelist {\nnode {\nname: node1\nring0_addr: 127.0.0.1\n}\n}\n";
            let content = |bytes: &[u8]| Content {
                bytes: bytes.to_vec(),
                mode: 0o644,
                user: "root".to_owned(),
                group: "root".to_owned(),
            };
            machine.files.insert(COROSYNC_CONF.to_owned(), content(text.as_bytes()));
            machine.files.insert(CIB.to_owned(), content(b"<cib/>"));
            machine.running = Some((text.into(), Vec::new()));
            machine.saved_cib = true;
            for unit in machine.units.values_mut() {
                *unit = (true, true);
            }
        });
    }
    machines
}

#[test]
fn a_second_apply_changes_nothing() {
    for (name, begin, wish) in scenarios() {
        let machines = begin();
        assert!(run(&machines, &wish, true).unwrap().changed, "{name}");
        let before = machines.snapshot();
        machines.set_fault(None);
        let report = run(&machines, &wish, false).unwrap();
        assert!(
            !report.changed && report.warnings.is_empty(),
            "{name}: {report:?}"
        );
        assert_eq!(machines.snapshot(), before, "{name}");
        let looks = ["survey", "prepare storage", "health"];
        for call in machines.calls() {
            assert!(
                looks.iter().any(|look| call.ends_with(look)),
                "{name}: {call}"
            );
        }
    }
}

/// Machines on which Pacemaker does not answer.
struct Mute(MemoryMachines);

impl Transport for Mute {
    fn run(
        &self,
        machine: &Machine,
        command: &Command,
        deadline: Deadline,
    ) -> Result<Output, TransportError> {
        let mut answer = self.0.run(machine, command, deadline)?;
        if matches!(command.operation(), Some(Operation::Health)) {
            answer.stdout = b"health\t1\nmonitor\t-\nend\n".to_vec();
        }
        Ok(answer)
    }

    fn at_once(&self) -> bool {
        false
    }
}

#[test]
fn nothing_to_do_on_a_cluster_that_is_not_healthy_is_no_success() {
    let mut agree = |_: &Plan| Decision::GoOn;
    let wish = desired(&FIRST, &NODES);
    let options = Options::default();
    let mute = Mute(applied());
    let ended = apply(&wish, &mute, &options, "me", &mut agree, &mut |_| {});
    let Err(Error::Unwell { missing }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(missing.len(), NODES.len(), "{missing:?}");
    assert!(missing[0].contains("does not answer"), "{missing:?}");
}

#[test]
fn an_apply_interrupted_anywhere_is_completed_by_the_next() {
    let mut interruptions = 0;
    for (name, begin, wish) in scenarios() {
        let whole = begin();
        run(&whole, &wish, true).unwrap();
        let calls = whole.calls().len();
        let mut faults = Vec::new();
        for at in 0..calls {
            faults.extend([Fault::KilledBefore(at), Fault::KilledAfter(at)]);
            faults.extend((0..4).map(|files| Fault::KilledWithin(at, files)));
        }
        for fault in faults {
            let machines = begin();
            machines.set_fault(Some(fault));
            let outcome = run(&machines, &wish, true);
            machines.set_fault(None);
            // A look at the health that is lost is made again elsewhere.
            if outcome.is_err() {
                interruptions += 1;
            }
            run(&machines, &wish, true).unwrap_or_else(|error| panic!("{name} {fault:?}: {error}"));
            assert_eq!(state(&machines), state(&whole), "{name} {fault:?}");
            let third = run(&machines, &wish, false).unwrap();
            assert!(!third.changed, "{name} {fault:?}");
        }
    }
    assert!(interruptions > 500, "{interruptions}");
}

#[test]
fn one_broken_call_never_leaves_files_half_installed() {
    let (mut rolled_back, mut incomplete) = (0, 0);
    for (name, begin, wish) in scenarios() {
        let whole = begin();
        let before = files(&whole);
        run(&whole, &wish, true).unwrap();
        for at in 0..whole.calls().len() {
            for fault in [Fault::Unreachable(at), Fault::Lost(at), Fault::Fails(at)] {
                let machines = begin();
                machines.set_fault(Some(fault));
                match run(&machines, &wish, true) {
                    Err(Error::RolledBack { failures, .. }) => {
                        rolled_back += 1;
                        assert!(!failures.is_empty());
                        if name != "package" {
                            assert_eq!(files(&machines), before, "{name} {fault:?}");
                        }
                        for node in NODES {
                            assert!(machines.machine(node).unwrap().journals().len() <= 1);
                        }
                    }
                    Err(Error::Problems(problems)) => {
                        assert_eq!(problems.len(), 1, "{name} {fault:?}");
                        assert_eq!(state(&machines), state(&begin()), "{name} {fault:?}");
                    }
                    Err(Error::Incomplete { .. }) => incomplete += 1,
                    Ok(_) => {}
                    Err(other) => panic!("{name} {fault:?}: {other}"),
                }
                machines.set_fault(None);
                run(&machines, &wish, true).unwrap();
                assert_eq!(state(&machines), state(&whole), "{name} {fault:?}");
            }
        }
    }
    assert!(
        rolled_back > 50 && incomplete > 50,
        "{rolled_back} {incomplete}"
    );
}

#[test]
fn a_running_cluster_is_not_restarted_without_being_told() {
    for (name, begin, wish) in scenarios() {
        let machines = begin();
        let before = machines.snapshot();
        let starts = |name: &str| machines.machine(name).unwrap().starts;
        let started = NODES.map(starts);
        match run(&machines, &wish, false) {
            Err(Error::NeedsRestart { reasons, .. }) => {
                assert!(!reasons.is_empty(), "{name}");
                assert_eq!(machines.snapshot(), before, "{name}: nothing was changed");
            }
            Ok(_) if name == "reload" => assert_eq!(NODES.map(starts), started),
            Ok(_) => assert!(matches!(name, "fresh" | "package"), "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn nodes_are_restarted_one_after_the_other_or_all_together() {
    let machines = applied();
    run(
        &machines,
        &Wish {
            environment: "A=2",
            ..FIRST
        },
        true,
    )
    .unwrap();
    let restarts: Vec<_> = machines
        .calls()
        .into_iter()
        .filter(|call| call.ends_with("units") || call.ends_with("health"))
        .collect();
    let expected = [
        "h1 units",
        // systemd reads the drop-in that changes as well.
        "n1 units",
        "n2 units",
        "n3 units",
        "n1 health",
        "n1 units",
        "n1 health",
        "n2 units",
        "n1 health",
        "n3 units",
        "n1 health",
        "n1 health",
    ];
    assert_eq!(restarts, expected);

    let machines = applied();
    run(&machines, &Wish { key: 2, ..FIRST }, true).unwrap();
    let units: Vec<_> = machines
        .calls()
        .into_iter()
        .filter(|call| call.ends_with("units"))
        .collect();
    // Pacemaker stops everywhere, then Corosync, then all start.
    assert_eq!(
        units,
        [(); 3]
            .map(|()| NODES.map(|node| format!("{node} units")))
            .concat()
    );
}

/// It is said, it is no failure, and no node is restarted meanwhile.
#[test]
fn what_an_administrator_holds_is_told_from_failure() {
    let machines = applied();
    for node in NODES {
        machines.change(node, |machine| machine.standby = true);
    }
    let report = run(&machines, &FIRST, false).unwrap();
    assert!(!report.changed);
    let words = "resource web is not started: n1 is in standby, n2 is in standby, n3 is in standby";
    assert_eq!(report.held, [words]);
    let reload = Wish {
        token: 3000,
        ..FIRST
    };
    let report = run(&machines, &reload, false).unwrap();
    assert!(report.changed);
    assert_eq!(report.held, [words]);
    let restart = Wish {
        environment: "A=2",
        ..reload
    };
    let starts = |name: &str| machines.machine(name).unwrap().starts;
    match run(&machines, &restart, true) {
        Err(Error::Held { held }) => assert_eq!(held, [words]),
        other => panic!("{other:?}"),
    }
    assert_eq!(NODES.map(starts), [1; 3], "nothing was restarted");
    machines.change("n2", |machine| machine.standby = false);
    let report = run(&machines, &restart, true).unwrap();
    assert!(report.changed && report.held.is_empty());
    assert_eq!(NODES.map(starts), [2; 3]);
}

/// Before anything is started, and also where a drop-in is all that changes.
#[test]
fn systemd_reads_changed_drop_ins() {
    for (name, begin, wish) in scenarios() {
        let machines = begin();
        run(&machines, &wish, true).unwrap_or_else(|error| panic!("{name}: {error}"));
        for node in NODES {
            let machine = machines.machine(node).unwrap();
            assert_eq!(
                machine.units_read[DROP_IN],
                wish.environment.as_bytes(),
                "{name}"
            );
        }
    }
    let mut wish = desired(&FIRST, &NODES);
    let drop_in = wish.machines[1].files.iter_mut();
    let drop_in = drop_in.filter(|file| file.path.as_os_str() == DROP_IN);
    drop_in.for_each(|file| file.bytes = b"[Unit]\nAfter=x\n".to_vec());
    let machines = applied();
    run_with(&machines, &wish, &options(false)).unwrap();
    let machine = machines.machine("n1").unwrap();
    assert_eq!(machine.units_read[DROP_IN], b"[Unit]\nAfter=x\n");
    assert_eq!(machine.starts, 1, "nothing was restarted");
    let again = run_with(&machines, &wish, &options(false)).unwrap();
    assert!(!again.changed);
}

/// The node that is told to reload tells all; that it has done so proves nothing about another.
#[test]
fn a_node_that_does_not_take_the_new_configuration_is_named() {
    let wish = Wish {
        token: 3000,
        ..FIRST
    };
    for deaf in NODES {
        let machines = applied();
        machines.change(deaf, |machine| machine.deaf = true);
        let Err(Error::Incomplete { phase, failures }) = run(&machines, &wish, false) else {
            panic!("{deaf} goes on with its former configuration");
        };
        assert_eq!(phase, Phase::Reload);
        let names: Vec<_> = failures.iter().map(|failure| &failure.machine).collect();
        assert_eq!(names, [deaf]);
        let pending = machines.machine(deaf).unwrap().pending;
        assert!(pending.contains(&Effect::ReloadCorosync), "{pending:?}");
        machines.change(deaf, |machine| machine.deaf = false);
        assert!(run(&machines, &wish, false).unwrap().changed);
        assert!(machines.machine(deaf).unwrap().pending.is_empty());
    }
}

#[test]
fn a_foreign_cluster_is_left_alone() {
    let machines = fresh();
    let theirs = conf("bank", &FIRST, &["n2"]);
    machines.change("n2", |machine| {
        machine.running = Some((theirs.clone().into(), vec![7]));
        machine.files.insert(
            COROSYNC_CONF.to_owned(),
            Content {
                bytes: theirs.clone().into(),
                mode: 0o644,
                user: "root".to_owned(),
                group: "root".to_owned(),
            },
        );
    });
    let before = machines.snapshot();
    let Err(Error::Problems(problems)) = run(&machines, &FIRST, true) else {
        panic!("it must be refused");
    };
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].kind, ProblemKind::Foreign);
    assert!(problems[0].message.contains("`bank`"), "{}", problems[0]);
    assert_eq!(machines.snapshot(), before);
    // Stopped, it is still somebody's.
    machines.change("n2", |machine| machine.running = None);
    assert!(matches!(
        run(&machines, &FIRST, true),
        Err(Error::Problems(_))
    ));
}

#[test]
fn all_problems_of_all_machines_are_listed_at_once() {
    let machines = fresh();
    machines.change("n1", |machine| {
        machine.missing.insert("pacemakerd".to_owned());
        machine.units.remove("pacemaker.service");
    });
    machines.change("n3", |machine| {
        machine.missing.insert("corosync".to_owned());
    });
    machines.set_fault(Some(Fault::Unreachable(2)));
    let Err(Error::Problems(problems)) = run(&machines, &FIRST, true) else {
        panic!("it must be refused");
    };
    let mut kinds: Vec<_> = problems
        .iter()
        .map(|problem| (problem.machine.clone().unwrap_or_default(), problem.kind))
        .collect();
    kinds.sort();
    let expected = [
        ("n1", ProblemKind::Unfit),
        ("n1", ProblemKind::Unfit),
        ("n2", ProblemKind::Unreachable),
        ("n3", ProblemKind::Unfit),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    let text = Error::Problems(problems).to_string();
    assert!(
        text.contains("n1: the program pacemakerd is missing; install the package pacemaker"),
        "{text}"
    );
}

#[test]
fn other_secrets_do_not_replace_keys_silently() {
    let machines = applied();
    let before = machines.snapshot();
    let other = desired(&Wish { key: 2, ..FIRST }, &NODES);
    let strict = Options {
        restart: true,
        ..Options::default()
    };
    let Err(Error::Problems(problems)) = run_with(&machines, &other, &strict) else {
        panic!("it must be refused");
    };
    assert!(
        problems
            .iter()
            .all(|problem| problem.kind == ProblemKind::Keys)
    );
    assert!(
        problems[0].to_string().contains("me@here"),
        "{}",
        problems[0]
    );
    assert_eq!(machines.snapshot(), before);
}

#[test]
fn a_node_joins_a_running_cluster() {
    let machines = fresh();
    let two = desired(&FIRST, &NODES[..2]);
    run_with(&machines, &two, &options(false)).unwrap();
    let three = desired(&FIRST, &NODES);
    let shown = plan(&three, &machines, &options(false), &mut |_| {}).unwrap();
    assert_eq!(
        (shown.starting, shown.restart),
        (vec!["n3".to_owned()], None)
    );
    assert_eq!(shown.configuration, Configuration::Same);
    run_with(&machines, &three, &options(false)).unwrap();
    for node in NODES {
        let machine = machines.machine(node).unwrap();
        assert_eq!(machine.starts, 1, "{node}");
        let (running, _) = machine.running.unwrap();
        assert_eq!(running, conf("web", &FIRST, &NODES).into_bytes());
    }
    assert!(
        !machines.machine("n3").unwrap().files.contains_key(CIB),
        "the cluster gives it"
    );
    // And it does not leave by being forgotten.
    let Err(Error::Problems(problems)) = run_with(&machines, &two, &options(true)) else {
        panic!("a running member must be stopped first");
    };
    assert!(
        problems[0].message.starts_with("n3 is a running member"),
        "{}",
        problems[0]
    );
}

#[test]
fn secrets_are_never_in_a_plan() {
    let machines = applied();
    let wish = desired(
        &Wish {
            key: b'K',
            token: 1,
            resource: "secretive",
            ..FIRST
        },
        &NODES,
    );
    let shown = plan(&wish, &machines, &options(true), &mut |_| {}).unwrap();
    let text = format!("{shown:?} {}", serde_json::to_string(&shown).unwrap());
    assert!(!text.contains("KKKK"));
    assert!(
        text.contains("+token: 1"),
        "what may be seen is shown as a diff"
    );
    let key = shown.machines[1]
        .files
        .iter()
        .find(|file| file.path == COROSYNC_KEY)
        .unwrap();
    assert!(key.secret && key.diff.is_none());
}

#[test]
fn a_declined_or_cancelled_apply_changes_nothing() {
    let machines = fresh();
    let before = machines.snapshot();
    let wish = desired(&FIRST, &NODES);
    let mut decline = |_: &Plan| Decision::Decline;
    let declined = apply(
        &wish,
        &machines,
        &options(true),
        "me",
        &mut decline,
        &mut |_| {},
    );
    assert!(matches!(declined, Err(Error::Declined)));
    let cancelled = options(true);
    let flag = std::sync::Arc::clone(&cancelled.cancel);
    let mut agree = |_: &Plan| {
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
        Decision::GoOn
    };
    let outcome = apply(&wish, &machines, &cancelled, "me", &mut agree, &mut |_| {});
    assert!(
        matches!(
            outcome,
            Err(Error::Cancelled {
                phase: Phase::Stage,
                changed: false
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(machines.snapshot(), before);
}

#[test]
fn effects_of_an_interrupted_apply_come_about() {
    let machines = applied();
    machines.change("n2", |machine| {
        machine.pending.insert(Effect::ReloadCorosync);
    });
    assert!(run(&machines, &FIRST, false).unwrap().changed);
    assert!(machines.machine("n2").unwrap().pending.is_empty());
    assert!(!run(&machines, &FIRST, false).unwrap().changed);
}
