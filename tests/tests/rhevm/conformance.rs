//! What the packaged agent gets wrong, by the numbers of the project's list of defects, beside what ours does: the same engine, the
//! same call. The test prints the outcomes as a table.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    cases,
    process::{Process, Ran},
    skip::skipped,
};

use crate::{BOTH, Engine, NEEDS, Whose};

/// One defect: what both are made to do, and what must come of it.
struct Case {
    id: &'static str,
    what: &'static str,
    outcome: fn(Whose) -> String,
    /// The packaged agent's outcome: were it another one, the peer would have been repaired, and the list would be out of date.
    packaged: &'static str,
    ours: &'static str,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)
    }
}

const CASES: [Case; 15] = [
    Case {
        id: "I09",
        what: "off of a machine the engine tells no state of",
        outcome: |whose| {
            let engine = Engine::start("--guest broken,state=none");
            let ran = whose.run(&engine, &["-o", "off", "-n", "broken"]);
            format!("{}, orders: {}", said(&ran), orders(&engine))
        },
        packaged: "exit 0 \"Success: Already OFF\", orders: 0",
        ours: "exit 1 \"\", orders: 1",
    },
    Case {
        id: "I09",
        what: "off of a machine that the engine refuses to stop (HTTP 409)",
        outcome: |whose| {
            let engine = Engine::start("--guest away,state=unknown");
            let begun = Instant::now();
            let ran = whose.run(&engine, &["-o", "off", "-n", "away", "--power-timeout=12"]);
            let reason = if ran.stderr.contains("VM is not running") {
                "with"
            } else {
                "without"
            };
            let when = if begun.elapsed() < Duration::from_secs(9) {
                "at once"
            } else {
                "at the limit"
            };
            format!("{}, {when}, {reason} the reason", said(&ran))
        },
        packaged: "exit 1 \"\", at the limit, without the reason",
        ours: "exit 1 \"\", at once, with the reason",
    },
    Case {
        id: "I13",
        what: "status for Pacemaker's fencer, of an engine that never answers",
        outcome: |whose| {
            let engine = Engine::start("");
            engine.faults("path=/api count=* do=hang");
            let mut command = whose.command();
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
                .args(["-o", "status", "-n", "node1"])
                .env("PCMK_service", "pacemaker-fenced");
            let ran =
                Process::start(&mut command, None, engine.dir()).finish(Duration::from_secs(58));
            let ending = if ran.hung {
                "hangs".to_owned()
            } else {
                said(&ran)
            };
            let left = if ran.hung {
                String::new()
            } else {
                format!(", sessions left: {}", engine.sessions().0)
            };
            format!("{ending}{left}")
        },
        packaged: "hangs",
        ours: "exit 1 \"\", sessions left: 0",
    },
    Case {
        id: "I19",
        what: "five times status",
        outcome: |whose| {
            let engine = Engine::start("");
            for _ in 0..5 {
                whose.run(&engine, &["-o", "status", "-n", "node1"]);
            }
            let (open, opened) = engine.sessions();
            format!("sessions opened: {opened}, left open: {open}")
        },
        packaged: "sessions opened: 10, left open: 10",
        ours: "sessions opened: 5, left open: 0",
    },
    Case {
        id: "I19",
        what: "five times status with use_cookies",
        outcome: |whose| {
            let engine = Engine::start("");
            let file = format!("--cookie-file={}", engine.path("kept").display());
            for _ in 0..5 {
                whose.run(
                    &engine,
                    &["-o", "status", "-n", "node1", "--use-cookies", &file],
                );
            }
            let (open, opened) = engine.sessions();
            format!("sessions opened: {opened}, left open: {open}")
        },
        packaged: "sessions opened: 1, left open: 1",
        ours: "sessions opened: 1, left open: 1",
    },
    Case {
        id: "I24",
        what: "status with ssl=0 on standard input, of an engine without TLS",
        outcome: |whose| said(&whose.feed(&Engine::start(""), "action=status\nplug=node1\nssl=0")),
        packaged: "exit 1 \"\"",
        ours: "exit 0 \"Status: ON\"",
    },
    Case {
        id: "I30",
        what: "monitor with a wrong password",
        outcome: |whose| {
            said(&whose.run_as(
                &Engine::start(""),
                "admin@internal",
                "wrong",
                &["-o", "monitor"],
            ))
        },
        packaged: "exit 0 \"\"",
        ours: "exit 1 \"\"",
    },
    Case {
        id: "I30",
        what: "list with a wrong password",
        outcome: |whose| {
            said(&whose.run_as(
                &Engine::start(""),
                "admin@internal",
                "wrong",
                &["-o", "list"],
            ))
        },
        packaged: "exit 0 \"\"",
        ours: "exit 1 \"\"",
    },
    Case {
        id: "I30",
        what: "monitor by a user who may not stop anything",
        outcome: |whose| {
            said(&whose.run_as(
                &Engine::start(""),
                "viewer@internal",
                "secret",
                &["-o", "monitor"],
            ))
        },
        packaged: "exit 0 \"\"",
        ours: "exit 1 \"\"",
    },
    Case {
        id: "I32",
        what: "list-status of one machine that is up",
        outcome: |whose| {
            let ran = whose.run(&Engine::start("--guests 1"), &["-o", "list-status"]);
            ran.stdout
                .trim_end()
                .rsplit(',')
                .next()
                .unwrap_or_default()
                .to_owned()
        },
        packaged: "UNKNOWN",
        ours: "ON",
    },
    Case {
        id: "I34",
        what: "off of `node*`",
        outcome: |whose| {
            let engine = Engine::start("");
            let ran = whose.run(&engine, &["-o", "off", "-n", "node*"]);
            format!("{}, orders: {}", said(&ran), orders(&engine))
        },
        packaged: "exit 0 \"Success: Powered OFF\", orders: 1",
        ours: "exit 1 \"\", orders: 0",
    },
    Case {
        id: "I34",
        what: "off of a name that two machines have",
        outcome: |whose| {
            let engine = Engine::start("--guest twin --guest twin,cluster=cluster2");
            let ran = whose.run(&engine, &["-o", "off", "-n", "twin", "--power-timeout=10"]);
            format!(
                "exit {}, orders: {}",
                ran.code.unwrap_or(-1),
                orders(&engine).min(1)
            )
        },
        packaged: "exit 0, orders: 1",
        ours: "exit 1, orders: 0",
    },
    Case {
        id: "I34",
        what: "off of the two plugs node1,node2",
        outcome: |whose| {
            let engine = Engine::start("");
            let ran = whose.run(
                &engine,
                &["-o", "off", "-n", "node1,node2", "--power-timeout=10"],
            );
            format!(
                "exit {}, node1 {}, node2 {}",
                ran.code.unwrap_or(-1),
                engine.state("node1"),
                engine.state("node2")
            )
        },
        packaged: "exit 1, node1 up, node2 down",
        ours: "exit 0, node1 down, node2 down",
    },
    Case {
        id: "I35",
        what: "the file that use_cookies keeps",
        outcome: |whose| {
            let engine = Engine::start("");
            let file = engine.path("kept");
            let option = format!("--cookie-file={}", file.display());
            whose.run(
                &engine,
                &["-o", "status", "-n", "node1", "--use-cookies", &option],
            );
            let mode = fs::metadata(file).map_or(0, |found| found.permissions().mode() & 0o777);
            format!("mode {mode:o}")
        },
        packaged: "mode 644",
        ours: "mode 600",
    },
    Case {
        id: "I36",
        what: "off during a backup",
        outcome: |whose| {
            let engine = Engine::start("--guest busy,backup=yes");
            let ran = whose.run(&engine, &["-o", "off", "-n", "busy", "--power-timeout=12"]);
            format!(
                "exit {}, the machine is {}",
                ran.code.unwrap_or(-1),
                engine.state("busy")
            )
        },
        packaged: "exit 1, the machine is up",
        ours: "exit 0, the machine is down",
    },
];

/// How a run ended, in short.
fn said(ran: &Ran) -> String {
    let code = ran
        .code
        .map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
    format!("exit {code} \"{}\"", ran.stdout.trim_end())
}

/// Orders to stop anything.
fn orders(engine: &Engine) -> usize {
    engine
        .log()
        .iter()
        .filter(|line| line.contains("method=POST") && line.contains("/stop"))
        .count()
}

#[test]
fn outcomes_beside_the_packaged_agents() {
    if skipped(&NEEDS) {
        return;
    }
    let outcomes = Mutex::new(Vec::new());
    let numbered: Vec<usize> = (0..CASES.len()).collect();
    cases::all(&numbered, 4, |&at| {
        let case = &CASES[at];
        // Side by side: where one waits for its limit, the other does too.
        let [packaged, ours] = thread::scope(|scope| {
            BOTH.map(|whose| scope.spawn(move || (case.outcome)(whose)))
                .map(|run| run.join().expect("an outcome is a text"))
        });
        outcomes
            .lock()
            .expect("no panic while locked")
            .push((at, packaged.clone(), ours.clone()));
        assert_eq!(
            packaged, case.packaged,
            "{case:?}: the peer was repaired: {}",
            case.what
        );
        assert_eq!(ours, case.ours, "{case:?}: {}", case.what);
    });
    let mut outcomes = outcomes.into_inner().expect("no panic while locked");
    outcomes.sort();
    let mut table = String::from("\n| | what | packaged fence_rhevm | ours |\n|---|---|---|---|\n");
    for (at, packaged, ours) in outcomes {
        let Case { id, what, .. } = &CASES[at];
        writeln!(table, "| {id} | {what} | {packaged} | {ours} |").expect("a String takes it");
    }
    println!("{table}");
}
