//! The secrets of a cluster, kept on the machine from which it is applied.
//!
//! All keys are derived from one random seed ([`cluster::Secrets::derive`]). Whoever keeps the seed can
//! apply a cluster again without changing its keys; whoever has lost it cannot, and is told so instead
//! of getting other keys without a word.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cluster::Secrets;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

const SEED_LEN: usize = 32;

/// Why secrets could not be read or kept. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file or directory cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others could read the secrets.
    #[error("{} is readable by others (mode {mode:04o}): the keys in it may be known; make new ones, or `chmod go=` it if they are not", path.display())]
    Exposed {
        /// Which file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no seed.
    #[error("{} is damaged: it should hold {SEED_LEN} bytes, and holds {len}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// The secrets of a cluster.
pub struct Keys {
    dir: PathBuf,
    seed: Zeroizing<[u8; SEED_LEN]>,
    kept: bool,
}

impl Keys {
    /// The usual directory for a cluster's secrets: `picket/CLUSTER` in the user's state directory, or
    /// under `/var/lib` for a user without a home. Takes the values of `XDG_STATE_HOME` and `HOME`.
    #[must_use]
    pub fn usual_dir(cluster: &str, state_home: Option<&Path>, home: Option<&Path>) -> PathBuf {
        let absolute = |path: &Path| path.is_absolute().then(|| path.to_owned());
        state_home
            .and_then(absolute)
            .or_else(|| Some(home.and_then(absolute)?.join(".local/state")))
            .unwrap_or_else(|| "/var/lib".into())
            .join("picket")
            .join(cluster)
    }

    /// The secrets kept in `dir`, or new ones that are not kept yet.
    ///
    /// # Errors
    /// When there are secrets that cannot be used.
    pub fn open(dir: &Path) -> Result<Self, KeysError> {
        let path = dir.join("seed");
        let io = |doing| {
            let path = path.clone();
            move |source| KeysError::Io {
                doing,
                path,
                source,
            }
        };
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        let mut file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                getrandom::fill(&mut *seed).map_err(|e| KeysError::Random(e.to_string()))?;
                return Ok(Self {
                    dir: dir.to_owned(),
                    seed,
                    kept: false,
                });
            }
            Err(error) => return Err(io("open")(error)),
        };
        let mode = file.metadata().map_err(io("look at"))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Exposed { path, mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(SEED_LEN + 1));
        io::Read::take(&mut file, SEED_LEN as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(io("read"))?;
        if bytes.len() != SEED_LEN {
            let len = bytes.len();
            return Err(KeysError::Damaged { path, len });
        }
        seed.copy_from_slice(&bytes);
        bytes.zeroize();
        Ok(Self {
            dir: dir.to_owned(),
            seed,
            kept: true,
        })
    }

    /// Keys from a seed that the caller keeps.
    #[must_use]
    pub fn from_seed(seed: [u8; SEED_LEN]) -> Self {
        Self {
            dir: PathBuf::new(),
            seed: Zeroizing::new(seed),
            kept: true,
        }
    }

    /// Whether they were read, not made just now.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.kept
    }

    /// Where they are kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps new secrets, so that they survive this process and the machine.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&mut self) -> Result<(), KeysError> {
        if self.kept {
            return Ok(());
        }
        let path = self.dir.join("seed");
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| KeysError::Io {
                doing,
                path,
                source,
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(io("make", &self.dir))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("make", &path))?;
        file.write_all(&*self.seed)
            .and_then(|()| file.sync_all())
            .map_err(io("write", &path))?;
        let dir = fs::File::open(&self.dir).map_err(io("open", &self.dir))?;
        dir.sync_all().map_err(io("write", &self.dir))?;
        self.kept = true;
        Ok(())
    }

    /// The keys.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::derive(&*self.seed)
    }

    /// Tells seeds apart without telling anything about them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"picket: which seed");
        hash.update(*self.seed);
        let digest = hash.finalize();
        digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, kept: {})", self.dir.display(), self.kept)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_kept_and_found_again() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("a/b");
        let mut keys = Keys::open(&dir).unwrap();
        assert!(!keys.are_kept() && !dir.exists(), "opening writes nothing");
        keys.keep().unwrap();
        let again = Keys::open(&dir).unwrap();
        assert!(again.are_kept());
        assert_eq!(keys.fingerprint(), again.fingerprint());
        assert_eq!(keys.secrets().corosync(), again.secrets().corosync());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("seed"))), (0o700, 0o600));
    }

    #[test]
    fn secrets_that_others_could_read_or_that_are_damaged_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(scratch.path()).unwrap();
        keys.keep().unwrap();
        let seed = scratch.path().join("seed");
        fs::set_permissions(&seed, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Keys::open(scratch.path()),
            Err(KeysError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&seed, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&seed, b"short").unwrap();
        assert!(matches!(
            Keys::open(scratch.path()),
            Err(KeysError::Damaged { len: 5, .. })
        ));
    }

    #[test]
    fn the_usual_directory_is_the_users() {
        let dir = |state: Option<&str>, home: Option<&str>| {
            Keys::usual_dir("web", state.map(Path::new), home.map(Path::new))
        };
        assert_eq!(dir(Some("/s"), Some("/h")), Path::new("/s/picket/web"));
        assert_eq!(
            dir(Some("rel"), Some("/h")),
            Path::new("/h/.local/state/picket/web")
        );
        assert_eq!(dir(None, None), Path::new("/var/lib/picket/web"));
    }
}
