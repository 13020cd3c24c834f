//! The checkout: where it is, and running cargo in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The checkout that this program was built from.
#[derive(Debug)]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    /// Finds it.
    ///
    /// # Errors
    /// The checkout has gone since.
    pub(crate) fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .context("this package lies in the workspace")?
            .canonicalize()
            .with_context(|| format!("{} has moved; build xtask again", here.display()))?;
        Ok(Self { root })
    }

    /// Its top directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
    }

    /// A binary of the release build.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target().join("release").join(name)
    }

    /// A program to be run at the top of the checkout.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Runs cargo, the same that runs us.
    ///
    /// # Errors
    /// It cannot be run, or fails.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<()> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let status = self
            .command(&cargo)
            .args(arguments)
            .status()
            .with_context(|| format!("failed to run {cargo}"))?;
        ensure!(
            status.success(),
            "cargo {} failed ({status})",
            arguments.join(" ")
        );
        Ok(())
    }
}
