//! `fence_virt.conf`: the file of the C `fence_virtd`, read as it reads it, and a little more.
//!
//! | module | knows |
//! |---|---|
//! | `grammar` | what an entry looks like, not what it means |
//! | `diagnose` | how to show a place in the file and what to do about it |
//! | `section` | how a value of some type is read, and which names were never asked for |
//! | `model` | what the daemon's own keys mean; listeners and back ends read theirs themselves |

pub mod diagnose;
pub mod grammar;
mod groups;
mod model;
pub mod section;

use std::fmt;
use std::path::{Path, PathBuf};

use hypervisor::address::redact;

pub use diagnose::{Diagnostic, Severity};
pub use model::{Config, Limits};

/// Where the configuration is unless `-f` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/fence_virt.conf";

/// Largest file that is read.
const MAX_LEN: u64 = 1 << 20;

/// A file that could be read and its remarks.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody should know about the file; warnings only.
    pub warnings: Report,
}

/// Remarks on a file, with what is needed to show them.
#[derive(Debug, Default)]
pub struct Report {
    path: String,
    source: String,
    remarks: Vec<Diagnostic>,
}

impl Report {
    /// The remarks, in the order of the file.
    #[must_use]
    pub fn remarks(&self) -> &[Diagnostic] {
        &self.remarks
    }

    /// One line per remark, for logs.
    pub fn lines(&self) -> impl Iterator<Item = (Severity, String)> + '_ {
        self.remarks
            .iter()
            .map(|remark| (remark.severity(), remark.line(&self.source, &self.path)))
    }
}

impl fmt::Display for Report {
    /// Every remark with a picture of its place.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, remark) in self.remarks.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            writeln!(formatter, "{}", remark.render(&self.source, &self.path))?;
        }
        Ok(())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {error}; name another one with -f, or make one with -c", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is too long to be a configuration.
    #[error("{} is larger than {MAX_LEN} bytes and cannot be a configuration file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is wrong.
    #[error("{0}")]
    Wrong(Report),
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigError`], with every error and warning of the file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_LEN {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
        });
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // Comments in old files need not be UTF-8; everything that has a meaning is ASCII.
    parse(&String::from_utf8_lossy(&bytes), &path.to_string_lossy())
}

/// Checks a configuration text; `path` is for messages.
///
/// # Errors
/// [`ConfigError::Wrong`], with every error and warning of the text.
pub fn parse(source: &str, path: &str) -> Result<Loaded, ConfigError> {
    let report = |remarks| Report {
        path: path.to_owned(),
        // Pictures go to terminals and logs; a password that somebody wrote into an address does not.
        source: redact(source),
        remarks,
    };
    let items = grammar::parse(source).map_err(|error| ConfigError::Wrong(report(vec![error])))?;
    let remarks = section::Remarks::default();
    let config = model::read(&section::View::root(&items, &remarks));
    let remarks = remarks.into_sorted();
    match config {
        Some(config)
            if remarks
                .iter()
                .all(|remark| remark.severity() < Severity::Error) =>
        {
            Ok(Loaded {
                config,
                warnings: report(remarks),
            })
        }
        _ => Err(ConfigError::Wrong(report(remarks))),
    }
}
