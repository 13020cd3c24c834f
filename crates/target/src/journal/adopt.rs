//! A logical unit that is recognised by another name than before: its reservations follow it.
//!
//! ```text
//! a file of its name? ─ yes ─▶ that counts
//!   └─ no ─▶ files of its former names that hold something
//!              ├─ none ─▶ it begins without registrations
//!              ├─ one, nobody else's ─▶ stored under the new name, durably; then the old file is moved aside
//!              └─ several, damaged, or another's ─▶ not clear: it must stay closed
//! ```
//!
//! After a crash between the two steps the new name has a file, which counts.

use std::io;
use std::path::{Path, PathBuf};

use scsi::pr::Reservations;

use super::{Damage, Directory, HostDirectory, Identity, Journal, JournalError, codec, failed};

/// A journal that is open.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What was kept.
    pub state: Reservations,
    /// Where the file of a former name is now, if this is what it held.
    pub adopted: Option<PathBuf>,
}

/// Why it cannot be told where the reservations of a logical unit are.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not there, and reservations are kept under names that the disk may have had before, in {}: {why}. Move aside all that do \
     not count and serve the disk again; or discard its journal, if nobody is to be registered",
    path.display(),
    .former.join(", ")
)]
pub struct Unclear {
    /// The file it has by its name of today.
    path: PathBuf,
    /// The other files.
    former: Vec<String>,
    why: &'static str,
}

/// A file that may be this logical unit's.
struct Candidate<'a> {
    name: &'a Identity,
    path: PathBuf,
    state: Result<Reservations, Damage>,
}

impl Journal {
    /// The same as [`Journal::open`] for a logical unit that may have been known by `former` names. `is_others` tells which of
    /// these are another logical unit's today.
    ///
    /// # Errors
    /// [`JournalError::Damaged`], [`JournalError::Unclear`]: keep the logical unit closed. The others: it cannot be served at
    /// all.
    pub fn open_known_as(
        path: &Path,
        identity: &Identity,
        former: &[Identity],
        is_others: impl Fn(&Identity) -> bool,
    ) -> Result<Opened, JournalError> {
        let (directory, lock) = super::locked(path, identity)?;
        let mut found = Vec::new();
        if !exists(&directory, identity)? {
            for name in former.iter().filter(|name| *name != identity) {
                found.extend(candidate(&directory, name)?);
            }
        }
        let (mut journal, state) = Self::begin(directory, Some(lock), identity)?;
        let [one] = found.as_slice() else {
            if found.is_empty() {
                return Ok(Opened {
                    journal,
                    state,
                    adopted: None,
                });
            }
            return Err(journal.unclear(&found, "which of them counts cannot be told"));
        };
        if one.state.is_err() {
            return Err(journal.unclear(&found, "it is damaged"));
        }
        let others = "it is another disk's today";
        if is_others(one.name) {
            return Err(journal.unclear(&found, others));
        }
        // Whoever has it may have changed it since it was read.
        let (directory, _lock) = match super::locked(path, one.name) {
            Ok(locked) => locked,
            Err(JournalError::InUse { .. }) => return Err(journal.unclear(&found, others)),
            Err(error) => return Err(error),
        };
        let again = candidate(&directory, one.name)?;
        let Some(state) = again.and_then(|again| again.state.ok()) else {
            return Err(journal.unclear(&found, "it has changed at this moment"));
        };
        journal.store(&state)?;
        let (from, to) = (one.name.file(), format!("{}.adopted", one.name.file()));
        directory
            .rename(&from, &to)
            .map_err(|source| failed(&directory, "rename", &from, source))?;
        directory
            .sync_names()
            .map_err(|source| failed(&directory, "make durable", &to, source))?;
        Ok(Opened {
            journal,
            state,
            adopted: Some(directory.path(&to)),
        })
    }

    fn unclear(&self, found: &[Candidate<'_>], why: &'static str) -> JournalError {
        let files = found.iter().map(|one| one.path.display().to_string());
        Box::new(Unclear {
            path: self.directory.path(&self.identity.file()),
            former: files.collect(),
            why,
        })
        .into()
    }

    /// An administrator's decision: moves the file aside, if there is one that holds something or cannot be read, and begins
    /// without registrations, whatever is kept under former names. Returns where the old file is now.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Io`].
    pub fn discard(directory: &Path, identity: &Identity) -> Result<Option<PathBuf>, JournalError> {
        let (directory, lock) = super::locked(directory, identity)?;
        let old = candidate(&directory, identity)?;
        let mut aside = None;
        if old.is_some() {
            let (from, to) = (identity.file(), format!("{}.discarded", identity.file()));
            match directory.rename(&from, &to) {
                Ok(()) => aside = Some(directory.path(&to)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(&directory, "rename", &from, source)),
            }
        }
        let (mut journal, _) = Self::begin(directory, Some(lock), identity)?;
        // A file that holds nothing says so, where none would leave it to those of former names.
        journal.store(&Reservations::default())?;
        Ok(aside)
    }
}

fn exists(directory: &HostDirectory, identity: &Identity) -> Result<bool, JournalError> {
    let name = identity.file();
    let read = directory.read(&name, 1);
    read.map(|bytes| bytes.is_some())
        .map_err(|source| failed(directory, "read", &name, source))
}

/// The file of a name, unless it is known to hold nothing.
fn candidate<'a>(
    directory: &HostDirectory,
    name: &'a Identity,
) -> Result<Option<Candidate<'a>>, JournalError> {
    let file = name.file();
    let bytes = directory
        .read(&file, codec::MOST + 1)
        .map_err(|source| failed(directory, "read", &file, source))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let state = codec::decode(name, &bytes);
    let holds_nothing =
        |state: &Reservations| state.registrations().is_empty() && state.held().is_none();
    Ok(
        (!state.as_ref().is_ok_and(holds_nothing)).then(|| Candidate {
            name,
            path: directory.path(&file),
            state,
        }),
    )
}
