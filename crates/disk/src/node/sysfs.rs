//! What a block device stands on, from sysfs: the paths of a multipath device.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// How deep devices stand on each other: partition, logical volume, multipath, disk and something to spare.
const MAX_DEPTH: usize = 16;
/// The most paths of a device.
const MAX_PATHS: usize = 1024;

/// Why the paths of a device are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathsError {
    /// It is not there.
    #[error("{}", device.display())]
    Missing {
        /// The device.
        device: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No block device or SCSI generic device that the kernel knows.
    #[error("{} is no block device that sysfs knows", .0.display())]
    Unknown(PathBuf),
    /// sysfs cannot be read.
    #[error("{}", path.display())]
    Sysfs {
        /// What was read.
        path: PathBuf,
        /// Why it could not be.
        #[source]
        source: io::Error,
    },
    /// Devices that stand on each other endlessly, or far too many.
    #[error("{} stands on too many devices", .0.display())]
    Endless(PathBuf),
}

/// Where devices are looked for.
#[derive(Debug, Clone)]
pub struct Paths {
    sys: PathBuf,
    dev: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self::below("/sys", "/dev")
    }
}

/// The lowest devices that `device` stands on, by name: see [`Paths::of`].
///
/// # Errors
/// If that is not known.
pub fn paths(device: &Path) -> Result<Vec<PathBuf>, PathsError> {
    Paths::default().of(device)
}

impl Paths {
    /// With other directories in the place of `/sys` and `/dev`: for tests.
    #[must_use]
    pub fn below(sys: impl Into<PathBuf>, dev: impl Into<PathBuf>) -> Self {
        Self {
            sys: sys.into(),
            dev: dev.into(),
        }
    }

    /// The lowest devices that `device` stands on, in the order of their names. A disk stands on itself, a partition on
    /// its disk, a device-mapper device on what it maps; each path of a multipath device comes up as a disk of its own.
    ///
    /// # Errors
    /// If the device is not there or not a block device.
    pub fn of(&self, device: &Path) -> Result<Vec<PathBuf>, PathsError> {
        let name = self.name(device)?;
        if self.sys.join("class/scsi_generic").join(&name).exists() {
            return Ok(vec![self.dev.join(name)]);
        }
        let mut found = Vec::new();
        self.descend(device, &name, MAX_DEPTH, &mut found)?;
        found.sort();
        found.dedup();
        Ok(found.into_iter().map(|name| self.dev.join(name)).collect())
    }

    /// Whether `device` is a multipath device, or a partition of one: its paths lead to one and the same disk.
    ///
    /// # Errors
    /// If the device is not there or not a block device.
    pub fn is_multipath(&self, device: &Path) -> Result<bool, PathsError> {
        let name = self.name(device)?;
        let uuid = fs::read_to_string(self.block(&name).join("dm/uuid")).unwrap_or_default();
        Ok(uuid.starts_with("mpath-") || uuid.starts_with("part") && uuid.contains("-mpath-"))
    }

    /// The directory of a block device.
    fn block(&self, name: &str) -> PathBuf {
        self.sys.join("class/block").join(name)
    }

    /// The kernel's name of a device.
    fn name(&self, device: &Path) -> Result<String, PathsError> {
        let missing = |source| PathsError::Missing {
            device: device.to_owned(),
            source,
        };
        let real = fs::canonicalize(device).map_err(missing)?;
        let unknown = || PathsError::Unknown(device.to_owned());
        let name = real.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(unknown)?;
        let metadata = fs::metadata(&real).map_err(missing)?;
        if !metadata.file_type().is_block_device() {
            let known = ["class/block", "class/scsi_generic"];
            let known = known
                .iter()
                .any(|class| self.sys.join(class).join(name).exists());
            return known.then(|| name.to_owned()).ok_or_else(unknown);
        }
        // A node may be called anything: its number is what counts.
        let number = metadata.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        let target = fs::canonicalize(link).map_err(|_| unknown())?;
        let name = target.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(unknown)
    }

    fn descend(
        &self,
        device: &Path,
        name: &str,
        depth: usize,
        found: &mut Vec<String>,
    ) -> Result<(), PathsError> {
        if depth == 0 || found.len() > MAX_PATHS {
            return Err(PathsError::Endless(device.to_owned()));
        }
        let directory = self.block(name);
        if directory.join("partition").exists() {
            let real = fs::canonicalize(&directory).map_err(|source| PathsError::Sysfs {
                path: directory.clone(),
                source,
            })?;
            let disk = real.parent().and_then(Path::file_name);
            let disk = disk.and_then(|name| name.to_str());
            let disk = disk.ok_or_else(|| PathsError::Unknown(device.to_owned()))?;
            return self.descend(device, disk, depth - 1, found);
        }
        let slaves = names(&directory.join("slaves"))?;
        if slaves.is_empty() {
            found.push(name.to_owned());
        }
        for slave in slaves {
            self.descend(device, &slave, depth - 1, found)?;
        }
        Ok(())
    }
}

/// The names in a directory; none if it does not exist.
fn names(directory: &Path) -> Result<Vec<String>, PathsError> {
    let failed = |source| PathsError::Sysfs {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(MAX_PATHS) {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree as the kernel has it: the real directories below `devices`, links to them below `class/block`.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for directory in ["dev/mapper", "sys/class/block", "sys/class/scsi_generic"] {
                fs::create_dir_all(tree.0.path().join(directory)).unwrap();
            }
            tree
        }

        fn paths(&self) -> Paths {
            Paths::below(self.0.path().join("sys"), self.0.path().join("dev"))
        }

        /// A block device `below` which others are.
        fn block(&self, place: &str, slaves: &[&str]) -> PathBuf {
            let real = self.0.path().join("sys/devices").join(place);
            let name = real.file_name().unwrap();
            fs::create_dir_all(real.join("slaves")).unwrap();
            for slave in slaves {
                fs::create_dir(real.join("slaves").join(slave)).unwrap();
            }
            let link = self.0.path().join("sys/class/block").join(name);
            symlink(&real, link).unwrap();
            fs::write(self.dev(name.to_str().unwrap()), "").unwrap();
            real
        }

        fn dev(&self, name: &str) -> PathBuf {
            self.0.path().join("dev").join(name)
        }

        #[track_caller]
        fn check(&self, device: &str, expected: &[&str]) {
            let expected: Vec<_> = expected.iter().map(|name| self.dev(name)).collect();
            assert_eq!(self.paths().of(&self.dev(device)).unwrap(), expected);
        }
    }

    #[test]
    fn a_volume_on_a_partition_of_a_multipath_device_has_all_paths() {
        let tree = Tree::new();
        tree.block("pci0/sda", &[]);
        fs::write(tree.block("pci0/sda/sda1", &[]).join("partition"), "1").unwrap();
        tree.block("pci1/sdb", &[]);
        let multipath = tree.block("virtual/dm-0", &["sdb", "sda"]);
        fs::create_dir(multipath.join("dm")).unwrap();
        fs::write(multipath.join("dm/uuid"), "mpath-3600a\n").unwrap();
        tree.block("virtual/dm-1", &["dm-0"]);
        tree.block("virtual/dm-2", &["dm-1", "sda1"]);
        symlink("../dm-0", tree.dev("mapper/mpatha")).unwrap();
        tree.check("sda", &["sda"]);
        tree.check("sda1", &["sda"]);
        tree.check("mapper/mpatha", &["sda", "sdb"]);
        tree.check("dm-2", &["sda", "sdb"]);
        assert!(
            tree.paths()
                .is_multipath(&tree.dev("mapper/mpatha"))
                .unwrap()
        );
        assert!(!tree.paths().is_multipath(&tree.dev("dm-1")).unwrap());
    }

    #[test]
    fn a_generic_device_stands_for_itself() {
        let tree = Tree::new();
        fs::create_dir(tree.0.path().join("sys/class/scsi_generic/sg3")).unwrap();
        fs::write(tree.dev("sg3"), "").unwrap();
        tree.check("sg3", &["sg3"]);
    }

    #[test]
    fn what_is_no_device_and_what_never_ends_is_refused() {
        let tree = Tree::new();
        fs::write(tree.dev("file"), "").unwrap();
        let of = |name: &str| tree.paths().of(&tree.dev(name));
        assert!(matches!(of("file"), Err(PathsError::Unknown(_))));
        assert!(matches!(of("none"), Err(PathsError::Missing { .. })));
        tree.block("virtual/dm-7", &["dm-8"]);
        tree.block("virtual/dm-8", &["dm-7"]);
        assert!(matches!(of("dm-7"), Err(PathsError::Endless(_))));
    }
}
