//! `cargo xtask`: the repository's own tasks.

mod bench;
mod check;
mod completions;
mod man;
mod repo;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use repo::Repo;

/// The repository's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure against the C programs; writes docs/benchmarks.md.
    Bench(bench::Options),
    /// Write the manual pages, generated from the programs' own tables.
    Man(man::Options),
    /// Write shell completions for picket.
    Completions(completions::Options),
    /// Run what a change must pass; reports every failure.
    Check(check::Options),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let repo = Repo::find()?;
    match Cli::parse().task {
        Task::Bench(options) => bench::start(&repo, &options),
        Task::Man(options) => man::run(&repo, &options),
        Task::Completions(options) => completions::run(&repo, &options),
        Task::Check(options) => check::run(&repo, &options),
    }
}
