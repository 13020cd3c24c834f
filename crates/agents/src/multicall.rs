//! Which agent to be.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use fence_agent::{Agent, Exit, start};

use crate::{hyperv, rhevm, scsi, virt, vmware};

/// One agent of the binary.
#[derive(Debug)]
pub struct Entry {
    /// Its table.
    pub agent: &'static Agent,
    start: fn(&OsStr, std::env::ArgsOs) -> Exit,
}

/// Every agent.
pub static AGENTS: [Entry; 9] = [
    Entry {
        agent: &virt::FENCE_XVM,
        start: |program, args| start(&virt::FENCE_XVM, program, args, &virt::Virt::MULTICAST),
    },
    Entry {
        agent: &virt::FENCE_VIRT,
        start: |program, args| start(&virt::FENCE_VIRT, program, args, &virt::Virt::CHANNEL),
    },
    Entry {
        agent: &scsi::FENCE_SCSI,
        start: |program, args| start(&scsi::FENCE_SCSI, program, args, &scsi::Scsi),
    },
    Entry {
        agent: &rhevm::FENCE_RHEVM,
        start: |program, args| start(&rhevm::FENCE_RHEVM, program, args, &rhevm::BEHAVIOUR),
    },
    Entry {
        agent: &rhevm::FENCE_RHEV,
        start: |program, args| start(&rhevm::FENCE_RHEV, program, args, &rhevm::BEHAVIOUR),
    },
    Entry {
        agent: &vmware::FENCE_VMWARE,
        start: |program, args| start(&vmware::FENCE_VMWARE, program, args, &vmware::ENCRYPTED),
    },
    Entry {
        agent: &vmware::FENCE_VMWARE_SOAP,
        start: |program, args| {
            start(
                &vmware::FENCE_VMWARE_SOAP,
                program,
                args,
                &vmware::BEHAVIOUR,
            )
        },
    },
    Entry {
        agent: &vmware::FENCE_VMWARE_REST,
        start: |program, args| {
            start(
                &vmware::FENCE_VMWARE_REST,
                program,
                args,
                &vmware::BEHAVIOUR,
            )
        },
    },
    Entry {
        agent: &hyperv::FENCE_HYPERV,
        start: |program, args| start(&hyperv::FENCE_HYPERV, program, args, &hyperv::BEHAVIOUR),
    },
];

/// A check for the watchdog daemon. It is no agent: Pacemaker must not find it beside them.
#[derive(Debug)]
pub struct Check {
    /// Program base name.
    pub name: &'static str,
    /// One line.
    pub shortdesc: &'static str,
    start: fn(&OsStr, std::env::ArgsOs) -> Exit,
}

/// Every check.
pub static CHECKS: [Check; 2] = [
    Check {
        name: "fence_scsi_check",
        shortdesc: "Watchdog check: has this node been fenced by fence_scsi?",
        start: |program, args| scsi::check(program, args),
    },
    Check {
        name: "fence_scsi_check_hardreboot",
        shortdesc: "The same; reboots at once",
        start: |program, args| scsi::check(program, args),
    },
];

/// Runs the agent that the arguments ask for, the program's own name first.
#[must_use]
pub fn run(mut args: std::env::ArgsOs) -> Exit {
    let program = args.next().unwrap_or_default();
    if let Some(start) = find(&program) {
        return start(&program, args);
    }
    let Some(first) = args.next() else {
        complain(&format!("which agent?\n{}", usage()));
        return Exit::FAILED;
    };
    if let Some(start) = find(&first) {
        return start(&first, args);
    }
    match first.to_str() {
        Some("--list") => list(),
        Some("--help" | "-h") => say(&usage()),
        Some("--version" | "-V") => say(&format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Some("install") => install(
            AGENTS.iter().map(|entry| entry.agent.name),
            args.next(),
            args.next(),
        ),
        Some("install-checks") => install(
            CHECKS.iter().map(|check| check.name),
            args.next(),
            args.next(),
        ),
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

fn find(program: &OsStr) -> Option<fn(&OsStr, std::env::ArgsOs) -> Exit> {
    let name = Path::new(program).file_name()?;
    let agents = AGENTS.iter().map(|entry| (entry.agent.name, entry.start));
    let mut programs = agents.chain(CHECKS.iter().map(|check| (check.name, check.start)));
    programs
        .find(|(known, _)| name == *known)
        .map(|(_, start)| start)
}

fn usage() -> String {
    let mut text = String::from(
        "Usage: picket-agents AGENT [options]   run a fence agent; AGENT -h explains it\n\
        \x20      picket-agents --list            print the names of all agents\n\
        \x20      picket-agents install DIR       create a symbolic link to this program for each agent in DIR\n\
        \x20      picket-agents install-checks DIR   the same for the watchdog checks, e.g. in /usr/share/cluster\n\
         A link or copy named like an agent or a check is that.\n\nAgents:\n",
    );
    for entry in &AGENTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<18} {}", entry.agent.name, entry.agent.shortdesc);
    }
    text.push_str("\nWatchdog checks:\n");
    for check in &CHECKS {
        let _ = writeln!(text, "  {:<28} {}", check.name, check.shortdesc);
    }
    text
}

fn list() -> Exit {
    let names: Vec<&str> = AGENTS.iter().map(|entry| entry.agent.name).collect();
    say(&format!("{}\n", names.join("\n")))
}

/// Links that are there already and point to this program are left alone; anything else in their
/// place is not touched.
fn install(
    names: impl Iterator<Item = &'static str>,
    directory: Option<OsString>,
    rest: Option<OsString>,
) -> Exit {
    let (Some(directory), None) = (directory, rest) else {
        complain("one argument is needed, the folder for the links, e.g. /usr/sbin");
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
    for name in names {
        let link = Path::new(&directory).join(name);
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
