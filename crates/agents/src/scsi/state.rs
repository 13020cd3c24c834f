//! What a node remembers until it reboots: its own key, and the devices it is registered with.
//!
//! The files are those of fence-agents (`/var/run/cluster.key` and `/var/run/cluster.dev` since 2021), so that its
//! watchdog check and ours read the same. `/var/run` does not outlast a reboot: a node that has rebooted has neither, and
//! is unfenced anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use scsi::pr::Key;

use super::key;

/// Where fence-agents keeps its state.
const STORE: &str = "/var/run/cluster";
/// The longest file that is read.
const LIMIT: u64 = 64 * 1024;

/// Time between two attempts to have a lock.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The state files.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    base: PathBuf,
    key: PathBuf,
    devices: PathBuf,
}

/// The right of one process of this node to change a device's registrations. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// What is wrong with a state file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} holds no key: {wrong}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: String,
    },
}

impl StateError {
    /// Whether the file does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::at(Path::new(STORE))
    }
}

impl Store {
    /// With other names: for tests.
    pub(crate) fn at(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            key: base.with_extension("key"),
            devices: base.with_extension("dev"),
        }
    }

    /// What a reboot does.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        for path in [&self.key, &self.devices] {
            let _ = fs::remove_file(path);
        }
    }

    /// This node's key.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn key(&self) -> Result<Key, StateError> {
        let text = read(&self.key)?;
        let line = text.lines().next().unwrap_or_default();
        key::parse(line).map_err(|wrong| StateError::NoKey {
            path: self.key.clone(),
            wrong,
        })
    }

    /// Remembers this node's key. Whoever reads finds the old one or the new one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn set_key(&self, key: Key) -> Result<(), StateError> {
        let failed = |source| StateError::Io {
            doing: "write",
            path: self.key.clone(),
            source,
        };
        let mut scratch = self.key.clone().into_os_string();
        scratch.push(format!(".{}", std::process::id()));
        let scratch = PathBuf::from(scratch);
        let written = create_parent(&self.key)
            .and_then(|()| write_new(&scratch, &format!("{}\n", key::text(key))))
            .and_then(|()| fs::rename(&scratch, &self.key));
        if written.is_err() {
            // Nothing is left behind; that it could not be written is what counts.
            let _ = fs::remove_file(&scratch);
        }
        written.map_err(failed)
    }

    /// The devices this node is registered with.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn devices(&self) -> Result<Vec<String>, StateError> {
        let text = read(&self.devices)?;
        let lines = text.lines().map(str::trim);
        Ok(lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// Remembers a device, once. Two agents at the same time lose neither's.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn add_device(&self, device: &str) -> Result<(), StateError> {
        self.append(device).map_err(|source| StateError::Io {
            doing: "write",
            path: self.devices.clone(),
            source,
        })
    }

    /// Waits until no other process of this node changes the registrations of `device`. Two agents of one node are one
    /// nexus to the device: what one of them registers for a moment, the other must not take for its right to fence.
    ///
    /// # Errors
    /// If that is not so before `deadline`.
    pub(crate) fn lock(&self, device: &str, deadline: Deadline) -> Result<Lock, StateError> {
        let path = self
            .base
            .with_extension(format!("lock.{}", key::name_digits(device)));
        self.wait_for(&path, deadline)
            .map_err(|source| StateError::Io {
                doing: "lock",
                path,
                source,
            })
    }

    fn wait_for(&self, path: &Path, deadline: Deadline) -> io::Result<Lock> {
        create_parent(path)?;
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if !deadline.has_passed() => {
                    thread::sleep(LOCK_POLL.min(deadline.remaining()));
                }
                Err(Errno::WOULDBLOCK) => {
                    let text = "timed out: another fence_scsi of this node is at this device";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn append(&self, device: &str) -> io::Result<()> {
        create_parent(&self.devices)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .open(&self.devices)?;
        // Held for two system calls at most, and given up with the file.
        flock(&file, FlockOperation::LockExclusive)?;
        let text = limited(&mut file)?;
        if text.lines().any(|line| line.trim() == device) {
            return Ok(());
        }
        // A line that another program left without its end does not swallow this one.
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        file.write_all(format!("{gap}{device}\n").as_bytes())
    }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    // Not synced: the folder does not outlast what syncing would protect against.
    options.open(path)?.write_all(text.as_bytes())
}

fn read(path: &Path) -> Result<String, StateError> {
    File::open(path)
        .and_then(|mut file| limited(&mut file))
        .map_err(|source| StateError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        })
}

fn limited(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("longer than {LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(&directory.path().join("run/cluster"));
        (directory, store)
    }

    #[test]
    fn keys_are_remembered_as_fence_agents_writes_them() {
        let (directory, store) = store();
        assert!(store.key().unwrap_err().is_missing());
        store.set_key(key::parse("0x6C9D0001").unwrap()).unwrap();
        let path = directory.path().join("run/cluster.key");
        assert_eq!(fs::read_to_string(&path).unwrap(), "6c9d0001\n");
        assert_eq!(store.key().unwrap(), key::parse("6c9d0001").unwrap());
        store.set_key(key::parse("2").unwrap()).unwrap();
        assert_eq!(store.key().unwrap(), key::parse("2").unwrap());
        let names: Vec<_> = fs::read_dir(directory.path().join("run"))
            .unwrap()
            .collect();
        assert_eq!(names.len(), 1, "no scratch file stays: {names:?}");
    }

    #[test]
    fn a_damaged_key_file_is_not_a_missing_one() {
        let (directory, store) = store();
        fs::create_dir_all(directory.path().join("run")).unwrap();
        let path = directory.path().join("run/cluster.key");
        for wrong in ["", "0\n", "what?\n"] {
            fs::write(&path, wrong).unwrap();
            let error = store.key().unwrap_err();
            assert!(!error.is_missing(), "{wrong:?}: {error}");
        }
        fs::write(&path, vec![b'1'; 70_000]).unwrap();
        assert!(store.key().is_err());
    }

    #[test]
    fn a_device_is_remembered_once() {
        let (directory, store) = store();
        store.add_device("/dev/sda").unwrap();
        store.add_device("/dev/sdb").unwrap();
        store.add_device("/dev/sda").unwrap();
        assert_eq!(store.devices().unwrap(), ["/dev/sda", "/dev/sdb"]);
        fs::write(directory.path().join("run/cluster.dev"), "/dev/sdc").unwrap();
        store.add_device("/dev/sd").unwrap();
        assert_eq!(store.devices().unwrap(), ["/dev/sdc", "/dev/sd"]);
    }

    #[test]
    fn one_process_at_a_device_at_a_time() {
        let (_directory, store) = store();
        let soon = || Deadline::after(Duration::from_millis(50));
        let first = store.lock("/dev/sda", soon()).unwrap();
        assert!(store.lock("/dev/sda", soon()).is_err());
        assert!(
            store.lock("/dev/sdb", soon()).is_ok(),
            "another device is free"
        );
        drop(first);
        assert!(store.lock("/dev/sda", soon()).is_ok());
    }

    #[test]
    fn agents_at_the_same_time_lose_no_device() {
        let (_directory, store) = store();
        thread::scope(|scope| {
            for at in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..20 {
                        store.add_device(&format!("/dev/d{at}-{n}")).unwrap();
                        store.add_device("/dev/common").unwrap();
                    }
                });
            }
        });
        assert_eq!(store.devices().unwrap().len(), 161);
    }
}
