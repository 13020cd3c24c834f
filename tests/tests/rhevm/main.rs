//! `fence_rhevm` as its callers see it, beside the packaged agent of that name, against an oVirt engine of the tests
//! (`tests/servers`), which is itself checked with oVirt's Python SDK and the packaged agent.
//!
//! What is behind the agent, placement too, has a suite of its own: `crates/hypervisor/tests/rhevm`.

mod agent;
mod bad_input;
mod conformance;
mod engine;
mod faults;
mod fencer;
mod peers;

use std::{process::Command, time::Duration};

use picket_tests::{
    process::{Ran, run},
    skip::Need,
    subject::ours,
};

use engine::Engine;

/// The packaged agent.
const PACKAGED: &str = "/usr/sbin/fence_rhevm";
/// What it needs.
const NEEDS: [Need; 2] = [
    Need::File(PACKAGED, "fence-agents"),
    Need::File(
        "/usr/lib/python3/dist-packages/curl/__init__.py",
        "python3-pycurl",
    ),
];
/// Longer than any run of either agent.
const PATIENCE: Duration = Duration::from_secs(70);

/// Whose agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Packaged,
}

const BOTH: [Whose; 2] = [Whose::Packaged, Whose::Ours];

impl Whose {
    /// The agent, with nothing on its command line.
    fn command(self) -> Command {
        match self {
            Self::Ours => {
                let mut command = Command::new(ours("picket-agents"));
                command.arg("fence_rhevm");
                command
            }
            Self::Packaged => Command::new(PACKAGED),
        }
    }

    /// Runs it with these arguments, as the engine's administrator.
    fn run(self, engine: &Engine, args: &[&str]) -> Ran {
        self.run_as(engine, "admin@internal", "secret", args)
    }

    fn run_as(self, engine: &Engine, user: &str, password: &str, args: &[&str]) -> Ran {
        let mut command = self.command();
        command
            .args([
                "-a",
                "127.0.0.1",
                "-u",
                engine.port(),
                "-l",
                user,
                "-p",
                password,
            ])
            .args(args);
        run(&mut command, None, engine.dir(), None, PATIENCE)
    }

    /// Runs it with these lines on standard input, beside those that say whom to ask.
    fn feed(self, engine: &Engine, lines: &str) -> Ran {
        let port = engine.port();
        let input = format!(
            "ip=127.0.0.1\nipport={port}\nusername=admin@internal\npassword=secret\n{lines}\n"
        );
        let mut command = match self {
            // With an argument, standard input would not be read: the agent must be called by its own name.
            Self::Ours => Command::new(engine.agent()),
            Self::Packaged => Command::new(PACKAGED),
        };
        run(&mut command, None, engine.dir(), Some(&input), PATIENCE)
    }
}

/// The run must have ended so: with this exit code, this on standard output and this somewhere on standard error.
#[track_caller]
fn ended(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(code), stdout),
        "{ran:?}"
    );
    assert!(ran.stderr.contains(stderr), "`{stderr}` is not in {ran:?}");
}
