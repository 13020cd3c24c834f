//! The `picket` command line.
//!
//! Parsing has no effects: each command's arguments are turned into a plan, the plan is carried out
//! and emits events, and the events are shown. How a command ends is in [`exit`].

pub mod drill;
pub mod exit;
pub mod lab;
pub mod platforms;
pub mod setup;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Highly available clusters of virtual machines: fenced with evidence, proven by drill
#[derive(Debug, Parser)]
#[command(name = "picket", version, after_long_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start, use and remove a lab of real guests on this machine
    Lab(lab::LabArgs),
    /// Break a node of a cluster in the lab and prove that its service recovers
    #[command(after_long_help = exit_codes())]
    Drill(drill::DrillArgs),
    /// Browse what each platform supports, with which agents and storage, and who says so
    Platforms(platforms::PlatformsArgs),
}

/// The command line as a table: help, man pages and completions are derived from it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Lab(args) => lab::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Platforms(args) => platforms::run(args),
    }
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in exit::TABLE {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
