//! `picket lab`: being written.

use std::process::ExitCode;

/// The options of `picket lab`.
#[derive(Debug, clap::Args)]
pub struct LabArgs {}

/// Runs `picket lab`.
#[must_use]
pub fn run(args: &LabArgs) -> ExitCode {
    let _ = args;
    crate::exit::code(crate::exit::FAILED)
}
