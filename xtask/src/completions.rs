//! `cargo xtask completions`: shell completions for `picket`, from its command-line definition.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use clap_complete::{Shell, generate_to};

use crate::repo::Repo;

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write them [default: completions in cargo's target directory].
    directory: Option<PathBuf>,
}

/// Writes a file for each shell that is known.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let directory = options
        .directory
        .clone()
        .unwrap_or_else(|| repo.target().join("completions"));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    for shell in Shell::value_variants() {
        let mut command = picket::command();
        let path = generate_to(*shell, &mut command, "picket", &directory)
            .with_context(|| format!("failed to write completions for {shell}"))?;
        println!("{}", path.display());
    }
    Ok(())
}
