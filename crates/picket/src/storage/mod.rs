//! `picket storage`: what has to do with shared disks.

mod ask;
mod probe;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// The options of `picket storage`.
#[derive(Debug, Args)]
pub struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    /// Find out whether fence_scsi can rely on a disk: two initiators register, reserve, fence, and try to
    /// write all the same
    #[command(after_long_help = crate::exit_codes())]
    Probe(probe::ProbeArgs),
}

/// Runs `picket storage`.
#[must_use]
pub fn run(args: &StorageArgs) -> ExitCode {
    match &args.command {
        StorageCommand::Probe(args) => probe::run(args),
    }
}
