//! `picket storage`: what has to do with shared disks.

mod ask;
mod probe;
pub(crate) mod saved;
mod serve;
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
    /// Serve files or block devices over iSCSI, with persistent reservations that keep fenced nodes off the
    /// disk: the program picket-target
    #[command(after_long_help = crate::exit_codes())]
    Serve(target::cli::ServeOptions),
    /// Ask a running server, or change it
    #[command(after_long_help = crate::exit_codes())]
    Control(target::control::ControlCommand),
}

/// Runs `picket storage`.
#[must_use]
pub fn run(args: &StorageArgs) -> ExitCode {
    match &args.command {
        StorageCommand::Probe(args) => probe::run(args),
        StorageCommand::Serve(options) => serve::run(options),
        StorageCommand::Control(command) => serve::control(command),
    }
}
