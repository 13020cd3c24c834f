//! Which agent to be.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use fence_agent::{Agent, Exit, start};

use crate::virt;

/// One agent of the binary.
#[derive(Debug)]
pub struct Entry {
    /// Its table.
    pub agent: &'static Agent,
    start: fn(&OsStr, std::env::ArgsOs) -> Exit,
}

/// Every agent.
pub static AGENTS: [Entry; 2] = [
    Entry {
        agent: &virt::FENCE_XVM,
        start: |program, args| start(&virt::FENCE_XVM, program, args, &virt::Virt::MULTICAST),
    },
    Entry {
        agent: &virt::FENCE_VIRT,
        start: |program, args| start(&virt::FENCE_VIRT, program, args, &virt::Virt::CHANNEL),
    },
];

/// Runs the agent that the arguments ask for, the program's own name first.
#[must_use]
pub fn run(mut args: std::env::ArgsOs) -> Exit {
    let program = args.next().unwrap_or_default();
    if let Some(entry) = find(&program) {
        return (entry.start)(&program, args);
    }
    let Some(first) = args.next() else {
        complain(&format!("which agent?\n{}", usage()));
        return Exit::FAILED;
    };
    if let Some(entry) = find(&first) {
        return (entry.start)(&first, args);
    }
    match first.to_str() {
        Some("--list") => list(),
        Some("--help" | "-h") => say(&usage()),
        Some("--version" | "-V") => say(&format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Some("install") => install(args.next(), args.next()),
        _ => {
            complain(&format!(
                "no agent named `{}`\n{}",
                first.to_string_lossy(),
                usage()
            ));
            Exit::FAILED
        }
    }
}

fn find(program: &OsStr) -> Option<&'static Entry> {
    let name = Path::new(program).file_name()?;
    AGENTS.iter().find(|entry| name == entry.agent.name)
}

fn usage() -> String {
    let mut text = String::from(
        "Usage: picket-agents AGENT [options]   run a fence agent; AGENT -h explains it\n\
        \x20      picket-agents --list            print the names of all agents\n\
        \x20      picket-agents install DIR       create a symbolic link to this program for each agent in DIR\n\
         A link or copy named like an agent is that agent.\n\nAgents:\n",
    );
    for entry in &AGENTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<12} {}", entry.agent.name, entry.agent.shortdesc);
    }
    text
}

fn list() -> Exit {
    let names: Vec<&str> = AGENTS.iter().map(|entry| entry.agent.name).collect();
    say(&format!("{}\n", names.join("\n")))
}

/// Links that are there already and point to this program are left alone; anything else in their
/// place is not touched.
fn install(directory: Option<OsString>, rest: Option<OsString>) -> Exit {
    let (Some(directory), None) = (directory, rest) else {
        complain("`install` takes one argument, the folder for the links, e.g. /usr/sbin");
        return Exit::FAILED;
    };
    let target = match std::env::current_exe() {
        Ok(target) => target,
        Err(error) => {
            complain(&format!("cannot find my own path: {error}"));
            return Exit::FAILED;
        }
    };
    let mut exit = Exit::OK;
    for entry in &AGENTS {
        let link = Path::new(&directory).join(entry.agent.name);
        if std::fs::read_link(&link).is_ok_and(|there| there == target) {
            continue;
        }
        if let Err(error) = symlink(&target, &link) {
            complain(&format!("cannot create {}: {error}", link.display()));
            exit = Exit::FAILED;
        }
    }
    exit
}

fn say(text: &str) -> Exit {
    match fence_agent::print(text) {
        Ok(()) => Exit::OK,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::FAILED
        }
    }
}

fn complain(text: &str) {
    eprintln!("picket-agents: {}", text.trim_end());
}
