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
//!
//! # Another name
//!
//! A logical unit may come to be recognised by another name than before: the kernel tells one that it did not, or an
//! administrator gives it a serial number. Its reservations follow it, see [`Journal::open_known_as`].
//!
//! A journal that was deleted, or a state directory that is another one than before, cannot be told from that of a new
//! logical unit. So the directory must exist, on a disk that survives a loss of power.

mod adopt;
mod codec;
mod directory;
pub mod memory;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use scsi::pr::{Reservations, RestoreError};

pub use adopt::{Opened, Unclear};
pub use directory::{Directory, HostDirectory};

use crate::lock;

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
    /// What is kept under former names of the logical unit may be its reservations or not. It must stay closed.
    #[error(transparent)]
    Unclear(#[from] Box<Unclear>),
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
    /// It was written whole, but not by a program that knew the format.
    #[error("its contents make no sense")]
    Malformed,
    /// It was written whole, and the state it describes cannot be.
    #[error("its contents contradict each other")]
    Impossible(#[from] RestoreError),
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

    fn file(&self) -> String {
        format!("{}.reservations", self.0)
    }

    /// What becomes the file. One that a crash left behind is of no meaning.
    fn new_file(&self) -> String {
        format!("{}.reservations.new", self.0)
    }

    fn lock_file(&self) -> String {
        format!("{}.lock", self.0)
    }
}

/// Where the reservations of one logical unit are kept.
#[derive(Debug)]
pub struct Journal<D = HostDirectory> {
    identity: Identity,
    directory: D,
    unsure: bool,
    /// Keeps other programs from the same journal while it is open.
    _lock: Option<File>,
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
        let (directory, lock) = locked(directory, identity)?;
        Self::begin(directory, Some(lock), identity)
    }
}

impl<D: Directory> Journal<D> {
    /// The same as [`Journal::open`] in a directory of any kind. Nobody is kept out.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_in(
        directory: D,
        identity: &Identity,
    ) -> Result<(Self, Reservations), JournalError> {
        Self::begin(directory, None, identity)
    }

    fn begin(
        directory: D,
        lock: Option<File>,
        identity: &Identity,
    ) -> Result<(Self, Reservations), JournalError> {
        let name = identity.file();
        // One byte more than a file may have: a longer one does not look whole.
        let bytes = directory
            .read(&name, codec::MOST + 1)
            .map_err(|source| failed(&directory, "read", &name, source))?;
        let state = match bytes {
            None => Reservations::default(),
            Some(bytes) => {
                codec::decode(identity, &bytes).map_err(|source| JournalError::Damaged {
                    path: directory.path(&name),
                    source,
                })?
            }
        };
        let journal = Self {
            identity: identity.clone(),
            directory,
            unsure: false,
            _lock: lock,
        };
        Ok((journal, state))
    }

    /// Whose it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the last [`Self::store`] failed, or was doubted: which state is on the disk is not known, and even a state that has not
    /// changed must be stored before it is acknowledged.
    #[must_use]
    pub const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// What was stored last must not be there: until the next successful [`Self::store`] the disk has another state than is
    /// in force.
    pub const fn doubt(&mut self) {
        self.unsure = true;
    }

    /// Makes a state durable: all of it with APTPL, none of it without. Waits for the disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]: the command must not answer GOOD.
    pub fn store(&mut self, state: &Reservations) -> Result<(), JournalError> {
        let bytes = codec::encode(&self.identity, state);
        let (name, new) = (self.identity.file(), self.identity.new_file());
        let directory = &self.directory;
        self.unsure = true;
        directory
            .write_durable(&new, &bytes)
            .map_err(|source| failed(directory, "write", &new, source))?;
        directory
            .rename(&new, &name)
            .map_err(|source| failed(directory, "replace", &name, source))?;
        directory
            .sync_names()
            .map_err(|source| failed(directory, "make durable", &name, source))?;
        self.unsure = false;
        Ok(())
    }
}

fn failed(
    directory: &impl Directory,
    step: &'static str,
    name: &str,
    source: io::Error,
) -> JournalError {
    JournalError::Io {
        step,
        path: directory.path(name),
        source,
    }
}

/// Opens a directory and locks what belongs to a logical unit in it.
fn locked(path: &Path, identity: &Identity) -> Result<(HostDirectory, File), JournalError> {
    let directory = HostDirectory::open(path).map_err(|source| JournalError::Io {
        step: "open",
        path: path.to_owned(),
        source,
    })?;
    let name = identity.lock_file();
    let lock = directory
        .lock_file(&name)
        .map_err(|source| failed(&directory, "open", &name, source))?;
    match lock::try_lock(&lock, lock::Mode::Exclusive) {
        Ok(true) => Ok((directory, lock)),
        Ok(false) => Err(JournalError::InUse {
            path: directory.path(&name),
        }),
        Err(source) => Err(failed(&directory, "lock", &name, source)),
    }
}
