//! One test's own world: a directory, a cable, a key, and guests to fence.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Once,
};

use tempfile::TempDir;

use crate::{
    guests::{self, Guest},
    net::{Cable, owner_is_gone, owner_tag},
};

const PREFIX: &str = "pickettest-";

/// A host and a guest machine with a key in common. Dropping it removes everything.
#[derive(Debug)]
pub struct Rig {
    /// The two machines.
    pub cable: Cable,
    dir: TempDir,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// A new one, with the key of the facts' captures.
    #[must_use]
    pub fn new() -> Self {
        let rig = Self {
            cable: Cable::lay(),
            dir: temp_dir(),
        };
        rig.write_key(&(0..64).collect::<Vec<u8>>());
        rig
    }

    /// The directory for this test's files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The key file both ends use unless told otherwise.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.path("key")
    }

    /// The key itself, as the wire format knows it.
    #[must_use]
    pub fn wire_key(&self) -> fence_wire::Key {
        fence_wire::Key::new(&fs::read(self.key()).expect("the rig wrote it"))
    }

    /// Replaces the key.
    pub fn write_key(&self, bytes: &[u8]) {
        self.write_private("key", bytes);
    }

    /// Writes a file only root may read, as keys and configurations must be.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the test's directory takes files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("one's own file");
        path
    }

    /// A URI of a test hypervisor with `guests`.
    #[must_use]
    pub fn hypervisor(&self, name: &str, guests: &[Guest]) -> String {
        guests::test_uri(&self.path(name), guests)
    }
}

/// A directory that goes when it is dropped, or when a later run finds its owner gone.
///
/// # Panics
/// When the temporary directory takes none.
#[must_use]
pub fn temp_dir() -> TempDir {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        for entry in fs::read_dir(env::temp_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let tag = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next());
            if tag.is_some_and(owner_is_gone) {
                // Another run may be removing it at the same time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    });
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", owner_tag()))
        .tempdir()
        .expect("a temporary directory")
}
