//! What is kept between runs: images, saved clusters, what libvirt knows about QEMU, the keys' seed.
//!
//! Entries are directories named by the hash of what they were made from. One is made under another
//! name, `.tmp-…`, and renamed when complete, so an entry is never half there.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::process::Identity;

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A guest image.
    Image,
    /// The memory of a formed cluster's guests.
    Saved,
}

impl EntryKind {
    const fn directory(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Saved => "saved",
        }
    }
}

/// Something in the cache.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// The hash it is known by.
    pub key: String,
    /// What it takes on disk.
    pub bytes: u64,
    /// When it was made, or last used.
    pub used: jiff::Timestamp,
    /// Where it is.
    pub path: PathBuf,
}

impl Cache {
    /// Where the cache is unless `$PICKET_LAB_CACHE` says otherwise.
    pub const DEFAULT: &str = "/var/cache/picket/lab";

    /// The cache at `$PICKET_LAB_CACHE`, else at [`Cache::DEFAULT`]. Nothing is created.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let root = std::env::var_os("PICKET_LAB_CACHE")
            .filter(|path| !path.is_empty())
            .map_or_else(|| PathBuf::from(Self::DEFAULT), PathBuf::from);
        Self::at(std::path::absolute(&root).unwrap_or(root))
    }

    /// The cache at `root`, an absolute path.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the directories.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        for kind in [EntryKind::Image, EntryKind::Saved] {
            create_private(&self.entries_of(kind))?;
        }
        create_private(&self.libvirt())
    }

    pub(crate) fn entries_of(&self, kind: EntryKind) -> PathBuf {
        self.root.join(kind.directory())
    }

    /// What libvirt found out about QEMU: probing it anew takes seconds.
    pub(crate) fn libvirt(&self) -> PathBuf {
        self.root.join("libvirt")
    }

    /// The keys by which guests are reached.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The seed of every key of this machine's labs: random, made when first needed. The same keys every
    /// time, or no saved cluster could be used again.
    pub(crate) fn seed(&self) -> Result<[u8; 32], Error> {
        let path = self.root.join("seed");
        let mut seed = [0; 32];
        match File::open(&path).and_then(|mut file| file.read_exact(&mut seed)) {
            Ok(()) => return Ok(seed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
        getrandom::fill(&mut seed).map_err(|error| {
            Error::io("get random bytes for", &path)(std::io::Error::other(error.to_string()))
        })?;
        let temporary = self.root.join(format!(".seed-{}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&seed).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Error::io("write", &path))?;
        Ok(seed)
    }

    /// Everything in it, images first, the newest of each kind first.
    ///
    /// # Errors
    /// If a directory cannot be read; that it is not there means empty.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        for kind in [EntryKind::Image, EntryKind::Saved] {
            let mut entries = Vec::new();
            for path in complete_in(&self.entries_of(kind))? {
                let Ok(metadata) = fs::metadata(&path) else {
                    continue;
                };
                entries.push(Entry {
                    kind,
                    key: path
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    bytes: disk_use(&path),
                    used: metadata
                        .modified()
                        .unwrap_or(SystemTime::UNIX_EPOCH)
                        .try_into()
                        .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
                    path,
                });
            }
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
            all.append(&mut entries);
        }
        Ok(all)
    }

    /// Removes entries whose makers have ended without completing them, and ends what still works on
    /// them.
    pub(crate) fn remove_interrupted(&self) -> Result<(), Error> {
        for kind in [EntryKind::Image, EntryKind::Saved] {
            for path in list(&self.entries_of(kind))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if !name.starts_with(".tmp-") {
                    continue;
                }
                let entry = Unfinished { path };
                if !entry.is_being_made() {
                    entry.discard()?;
                }
            }
        }
        Ok(())
    }

    /// Removes the oldest entries of a kind beyond the newest `keep`.
    pub(crate) fn prune(&self, kind: EntryKind, keep: usize) -> Result<(), Error> {
        let old = self
            .entries()?
            .into_iter()
            .filter(|entry| entry.kind == kind)
            .skip(keep);
        for entry in old {
            fs::remove_dir_all(&entry.path).map_err(Error::io("remove", &entry.path))?;
        }
        Ok(())
    }
}

/// Files in an unfinished entry that name processes: who makes it, and who works on it for that one.
const MAKER: &str = "maker";
const WORKER: &str = "worker";

/// An entry that is being made.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) path: PathBuf,
}

impl Unfinished {
    /// Starts a new entry in `parent`.
    pub(crate) fn begin(parent: &Path) -> Result<Self, Error> {
        let path = parent.join(format!(".tmp-{}", std::process::id()));
        let entry = Self { path };
        if entry.path.exists() {
            // Of an earlier process with our number.
            Self {
                path: entry.path.clone(),
            }
            .discard()?;
        }
        create_private(&entry.path)?;
        if let Some(maker) = Identity::of(std::process::id()) {
            entry.note(MAKER, maker)?;
        }
        Ok(entry)
    }

    /// Notes that process `worker` works in here, for whoever finds this after we were killed.
    pub(crate) fn note_worker(&self, worker: Identity) -> Result<(), Error> {
        self.note(WORKER, worker)
    }

    fn note(&self, name: &str, process: Identity) -> Result<(), Error> {
        let path = self.path.join(name);
        let text = serde_json::to_vec(&process).unwrap_or_default();
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    fn noted(&self, name: &str) -> Option<Identity> {
        let text = fs::read(self.path.join(name)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether its maker lives. One that has only just been begun does not name its maker yet.
    fn is_being_made(&self) -> bool {
        const BEGINNING: std::time::Duration = std::time::Duration::from_secs(10);
        let age = || {
            fs::metadata(&self.path)
                .ok()?
                .modified()
                .ok()?
                .elapsed()
                .ok()
        };
        self.noted(MAKER)
            .map_or_else(|| age().is_some_and(|age| age < BEGINNING), Identity::lives)
    }

    /// Makes it an entry of the cache, in place of what has that name.
    pub(crate) fn complete(self, to: &Path) -> Result<(), Error> {
        for name in [MAKER, WORKER] {
            let _ = fs::remove_file(self.path.join(name));
        }
        if to.exists() {
            fs::remove_dir_all(to).map_err(Error::io("remove", to))?;
        }
        fs::rename(&self.path, to).map_err(Error::io("rename to", to))
    }

    /// Ends its worker, if there is one, and removes it.
    pub(crate) fn discard(self) -> Result<(), Error> {
        if let Some(handle) = self.noted(WORKER).and_then(Identity::open) {
            let _ = handle.signal(rustix::process::Signal::KILL);
            handle.wait_gone(deadline::Deadline::after(std::time::Duration::from_secs(
                20,
            )));
        }
        remove_stubborn(&self.path)
    }
}

/// Removes a directory that a process which is just ending may still be writing into.
fn remove_stubborn(path: &Path) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries == 20 => return Err(Error::io("remove", path)(error)),
            Err(_) => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

/// Creates a directory, and those above it, for root only.
pub(crate) fn create_private(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create", path))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", directory)(error)),
    }
}

/// The complete entries of a directory.
fn complete_in(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = list(directory)?;
    paths.retain(|path| {
        path.file_name()
            .is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    });
    Ok(paths)
}

/// What a directory of plain files takes on disk.
pub(crate) fn disk_use(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

/// A hash over parts, each with its length, as the hexadecimal name of an entry.
#[derive(Clone, Default)]
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// 96 bits are plenty to tell apart what one machine makes.
    pub(crate) fn finish(self) -> String {
        self.0.finalize()[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        cache.prepare().unwrap();
        (dir, cache)
    }

    #[test]
    fn the_seed_stays() {
        let (_dir, cache) = cache();
        let seed = cache.seed().unwrap();
        assert_ne!(seed, [0; 32]);
        assert_eq!(cache.seed().unwrap(), seed);
    }

    #[test]
    fn only_complete_entries_count_and_old_ones_go() {
        let (_dir, cache) = cache();
        let parent = cache.entries_of(EntryKind::Saved);
        for (age, key) in ["new", "older", "oldest"].into_iter().enumerate() {
            let entry = Unfinished::begin(&parent).unwrap();
            assert!(
                !cache
                    .entries()
                    .unwrap()
                    .iter()
                    .any(|entry| entry.key.starts_with('.'))
            );
            let path = parent.join(key);
            entry.complete(&path).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(100 * age as u64);
            File::open(&path).unwrap().set_modified(then).unwrap();
        }
        cache.prune(EntryKind::Saved, 2).unwrap();
        let keys: Vec<_> = cache
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        assert_eq!(keys, ["new", "older"]);
    }

    #[test]
    fn what_was_interrupted_goes_together_with_its_worker() {
        let (_dir, cache) = cache();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let entry = Unfinished::begin(&cache.entries_of(EntryKind::Image)).unwrap();
        entry
            .note_worker(Identity::of(child.id()).unwrap())
            .unwrap();
        // Its maker lives: that is us.
        cache.remove_interrupted().unwrap();
        assert!(entry.path.exists());
        let mut maker = entry.noted(MAKER).unwrap();
        maker.started += 1;
        entry.note(MAKER, maker).unwrap();
        cache.remove_interrupted().unwrap();
        assert!(!entry.path.exists());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn keys_depend_on_where_a_part_ends() {
        let key = |parts: &[&str]| {
            parts
                .iter()
                .fold(Key::default(), |key, part| key.part(part))
                .finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["a"]).len(), 24);
    }
}
