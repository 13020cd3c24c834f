//! The `picket` command line.
//!
//! Parsing has no effects: each command's arguments are turned into a plan, the plan is carried out
//! and emits events, and the events are shown. How a command ends is in [`exit`].

pub mod apply;
pub mod check;
pub mod discover;
pub mod drill;
pub mod exit;
pub mod explain;
pub mod lab;
pub mod placement;
mod plain;
pub mod platforms;
pub mod render;
pub mod setup;
pub mod status;
pub mod storage;

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
    /// Put a cluster's configuration on its machines over ssh, and start it
    #[command(after_long_help = exit_codes())]
    Apply(apply::ApplyArgs),
    /// Measure definitions: supported or not, safe or not, why, and what would make it so
    #[command(after_long_help = exit_codes())]
    Check(check::CheckArgs),
    /// Explain a rule, a statement of the requirement document, or a fact
    Explain(explain::ExplainArgs),
    /// Show the state of a running cluster: nodes, services, fencing, quorum, hosts
    #[command(after_long_help = exit_codes())]
    Status(status::StatusArgs),
    /// Find out who a guest is on its platform: its plug for each agent, and whether a definition means it
    #[command(after_long_help = exit_codes())]
    Discover(discover::DiscoverArgs),
    /// Show which host runs each member, what keeps the members apart, and watch over it
    Placement(placement::PlacementArgs),
    /// Find out whether fence_scsi can rely on a shared disk; serve one
    Storage(storage::StorageArgs),
    /// Browse what each platform supports, with which agents and storage, and who says so
    Platforms(platforms::PlatformsArgs),
    /// Write the configuration files of every node and host of a cluster
    Render(render::RenderArgs),
}

/// The command line as a table: help, man pages and completions are derived from it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's arguments. Hosts that run libvirt are reached by the program
/// `picket-libvirt`.
#[must_use]
pub fn main() -> ExitCode {
    main_with(&placement::Platforms::default())
}

/// As [`main`], with platforms that this program reaches itself.
#[must_use]
pub fn main_with(platforms: &placement::Platforms) -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Lab(args) => lab::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Status(args) => status::run(args),
        Command::Discover(args) => discover::run(args, platforms),
        Command::Placement(args) => placement::run(args, platforms),
        Command::Storage(args) => storage::run(args),
        Command::Platforms(args) => platforms::run(args),
        Command::Render(args) => render::run(args),
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
