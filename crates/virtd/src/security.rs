//! How requests on a listener are authenticated: the weakest signature accepted, the hash of the
//! challenge, and the key.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fence_wire::{HashType, Key, MAX_KEY_LEN};

use crate::config::section::View;

/// The key file unless the listener names one.
pub const DEFAULT_KEY_FILE: &str = "/etc/cluster/fence_xvm.key";

const HASHES: [&str; 4] = ["none", "sha1", "sha256", "sha512"];

/// What the configuration says; nothing has been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityPlan {
    /// Weakest signature a request may carry.
    pub minimum: HashType,
    /// How peers are challenged.
    pub auth: HashType,
    /// Where the key is, and whether the file says so itself.
    key_file: PathBuf,
    named: bool,
}

/// What sessions need: the plan with its key.
#[derive(Debug, Clone)]
pub struct Security {
    /// Weakest signature a request may carry.
    pub minimum: HashType,
    /// How peers are challenged.
    pub auth: HashType,
    /// The shared secret; empty when neither needs one and there is none.
    pub key: Key,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("key file {}: {problem}; {remedy}", path.display())]
pub struct KeyError {
    path: PathBuf,
    problem: String,
    remedy: &'static str,
}

impl SecurityPlan {
    /// Reads `key_file`, `hash` and `auth` of a listener's section.
    #[must_use]
    pub fn read(view: &View<'_>) -> Option<Self> {
        let named = view.text("key_file");
        let hash = view.choice::<HashType>("hash", &HASHES);
        let auth = view.choice::<HashType>("auth", &HASHES);
        let wrong = view.text("hash").is_some() && hash.is_none()
            || view.text("auth").is_some() && auth.is_none();
        if wrong {
            return None;
        }
        Some(Self {
            minimum: hash.map_or(HashType::Sha256, |(hash, _)| hash),
            auth: auth.map_or(HashType::Sha256, |(auth, _)| auth),
            key_file: named.map_or_else(
                || PathBuf::from(DEFAULT_KEY_FILE),
                |path| PathBuf::from(&path.text),
            ),
            named: named.is_some(),
        })
    }

    /// A plan without a file behind it, for listeners that are made by hand.
    #[must_use]
    pub fn new(minimum: HashType, auth: HashType, key_file: &Path) -> Self {
        Self {
            minimum,
            auth,
            key_file: key_file.to_owned(),
            named: true,
        }
    }

    /// Whether nothing works without a key.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.minimum != HashType::None || self.auth != HashType::None
    }

    /// Reads the key. Remarks on a file that others may read, and closes it to them if `mend`.
    ///
    /// # Errors
    /// [`KeyError`] if a key is needed and there is none. A file that nothing needs may be absent
    /// (W31).
    pub fn load(&self, mend: bool, remarks: &mut Vec<String>) -> Result<Security, KeyError> {
        let key = match read_key(&self.key_file) {
            Ok(bytes) if bytes.is_empty() && self.needs_key() => {
                return Err(self.error(
                    "it is empty, and every signed request would be refused".to_owned(),
                    "fill it: dd if=/dev/urandom of=FILE bs=4096 count=1, and copy it to the guests",
                ));
            }
            Ok(bytes) => {
                keep_private(&self.key_file, mend, remarks);
                Key::new(&bytes)
            }
            Err(error) if self.needs_key() => {
                return Err(self.error(
                    error.to_string(),
                    "name the right file with `key_file`, or make one: dd if=/dev/urandom of=FILE bs=4096 count=1, and copy it to the guests",
                ));
            }
            Err(error) => {
                if self.named {
                    remarks.push(format!(
                        "key file {}: {error}; requests that are signed will be refused",
                        self.key_file.display()
                    ));
                }
                Key::none()
            }
        };
        Ok(Security {
            minimum: self.minimum,
            auth: self.auth,
            key,
        })
    }

    fn error(&self, problem: String, remedy: &'static str) -> KeyError {
        KeyError {
            path: self.key_file.clone(),
            problem,
            remedy,
        }
    }
}

/// The bytes of a key file that count. Nothing is stripped: a newline at the end is part of the key.
fn read_key(path: &Path) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(MAX_KEY_LEN));
    let room = u64::try_from(MAX_KEY_LEN).unwrap_or(u64::MAX);
    std::fs::File::open(path)?
        .take(room)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Takes a file with secrets away from other users, as the C daemon does, and says so.
pub fn keep_private(path: &Path, mend: bool, remarks: &mut Vec<String>) {
    const OTHERS: u32 = 0o077;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() || mode & OTHERS == 0 {
        return;
    }
    let shown = path.display();
    if !mend {
        remarks.push(format!(
            "{shown} has mode {mode:04o}, so others can read or change it; run: chmod 600 {shown}"
        ));
        return;
    }
    let private = std::fs::Permissions::from_mode(0o600);
    remarks.push(match std::fs::set_permissions(path, private) {
        Ok(()) => format!("{shown} had mode {mode:04o}; changed to 0600"),
        Err(error) => format!(
            "{shown} has mode {mode:04o} and cannot be made private ({error}); run: chmod 600 {shown}"
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: &Path, minimum: HashType, auth: HashType) -> SecurityPlan {
        SecurityPlan::new(minimum, auth, path)
    }

    #[test]
    fn a_key_is_demanded_only_where_it_is_used() {
        let missing = Path::new("/nonexistent/key");
        let mut remarks = Vec::new();
        let error = plan(missing, HashType::Sha256, HashType::None)
            .load(false, &mut remarks)
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/key"), "{error}");
        plan(missing, HashType::None, HashType::Sha1)
            .load(false, &mut remarks)
            .unwrap_err();
        assert!(remarks.is_empty());
        let security = plan(missing, HashType::None, HashType::None)
            .load(false, &mut remarks)
            .unwrap();
        assert!(security.key.is_empty());
        assert_eq!(remarks.len(), 1);
    }

    #[test]
    fn an_empty_key_is_no_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = plan(file.path(), HashType::Sha256, HashType::Sha256)
            .load(false, &mut Vec::new())
            .unwrap_err();
        assert!(error.to_string().contains("empty"), "{error}");
    }

    #[test]
    fn an_open_key_file_is_closed_and_remarked_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret").unwrap();
        let mode = || std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777;
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let plan = plan(file.path(), HashType::Sha256, HashType::Sha256);
        let mut remarks = Vec::new();
        plan.load(false, &mut remarks).unwrap();
        assert_eq!((mode(), remarks.len()), (0o644, 1));
        plan.load(true, &mut remarks).unwrap();
        assert_eq!((mode(), remarks.len()), (0o600, 2));
        plan.load(true, &mut remarks).unwrap();
        assert_eq!(remarks.len(), 2);
    }
}
