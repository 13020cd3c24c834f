//! What several commands need before they can begin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cluster::Definition;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit;

/// Why a command cannot begin. Nothing has been done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition cannot be read.
    #[error("cannot read the definition {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The definition is wrong.
    #[error("{0}")]
    Definition(#[from] cluster::DefinitionError),
    /// The definition cannot be cut or extended as asked for.
    #[error("--nodes: {0}")]
    Nodes(#[from] cluster::PatternError),
    /// An argument is not what it should be.
    #[error("{0}")]
    Argument(#[from] cluster::Invalid),
}

impl Error {
    /// The exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } | Self::Definition(_) => exit::DEFINITION,
            Self::Nodes(_) | Self::Argument(_) => exit::USAGE,
        }
    }
}

/// Reads a definition; with `nodes`, cut or extended to that many.
///
/// # Errors
/// When the file cannot be read, or is wrong, or does not allow that many nodes.
pub fn definition(path: &Path, nodes: Option<usize>) -> Result<Definition, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let definition = Definition::parse(&path.to_string_lossy(), &text)?;
    match nodes {
        Some(count) => Ok(definition.with_nodes(count)?),
        None => Ok(definition),
    }
}

/// A cancellation that SIGINT and SIGTERM request. Every wait of the lab then ends soon, and what had
/// been started is taken down.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn cancel_on_signals() -> std::io::Result<lab::Cancel> {
    flag_on_signals().map(lab::Cancel::from_flag)
}

/// A flag that SIGINT and SIGTERM set.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn flag_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&flag))?;
    signal_hook::flag::register(SIGTERM, Arc::clone(&flag))?;
    Ok(flag)
}
