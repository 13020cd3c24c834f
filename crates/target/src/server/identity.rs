//! Who a logical unit is. Initiators recognise a disk by it, whatever its number and through whichever portal, and its
//! reservations are kept under it: so it belongs to the disk, and not to the place at which the disk is served.
//!
//! | disk | is recognised by |
//! |---|---|
//! | one with a `serial` in the configuration | that |
//! | a block device that calls itself something (device mapper, NVMe, SCSI, MD) | that, and the number of the partition |
//! | any other block device, a file | its path as it is configured |
//!
//! Beside that counts the target's name, which is unique in the whole world: two servers may have disks of one path.
//! Another file under the same path cannot be told from the same one restored. It gets the old one's reservations, which
//! keep out whoever was fenced; initiators are told of a power on, after which they look at everything anew.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use scsi::lu::LocalNaa;
use sha2::{Digest as _, Sha256};

use crate::config::DiskOptions;

/// What block devices call themselves, in their directories below `/sys/dev/block`: the first that says something counts.
const NAMES: [&str; 4] = ["dm/uuid", "md/uuid", "wwid", "device/wwid"];

/// The identity of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitName {
    naa: LocalNaa,
}

impl UnitName {
    /// That of a disk at a target.
    pub(crate) fn of(target: &str, options: &DiskOptions) -> Self {
        Self::below(target, options, Path::new("/sys"))
    }

    fn below(target: &str, options: &DiskOptions, sys: &Path) -> Self {
        let (kind, name) = match &options.serial {
            Some(serial) => ("serial", serial.clone().into()),
            None => match device_name(&options.path, sys) {
                Some(name) => ("device", name.into()),
                None => ("path", absolute(&options.path).into_os_string()),
            },
        };
        Self::from_parts(target, kind, &name)
    }

    /// 60 bits of a digest.
    fn from_parts(target: &str, kind: &str, name: &OsStr) -> Self {
        let digest = Sha256::new()
            .chain_update(target.as_bytes())
            .chain_update([0])
            .chain_update(kind.as_bytes())
            .chain_update([0])
            .chain_update(name.as_bytes())
            .finalize();
        let mut value = [0; 8];
        value.copy_from_slice(&digest[..8]);
        Self {
            naa: LocalNaa::new(u64::from_be_bytes(value)),
        }
    }

    /// The designator.
    pub(crate) const fn naa(&self) -> LocalNaa {
        self.naa
    }

    /// The designator's digits: the serial number of a disk that has no other.
    pub(crate) fn digits(&self) -> String {
        let bytes = self.naa.bytes();
        bytes
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// What its journal is called.
    pub(crate) fn journal(&self) -> String {
        format!("naa.{}", self.digits())
    }
}

/// Not resolved: where a link leads to may change with every start of the machine.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What a block device calls itself.
fn device_name(path: &Path, sys: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.file_type().is_block_device() {
        return None;
    }
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    name_in(&sys.join(format!("dev/block/{major}:{minor}")))
}

/// The same by the device's directory. A partition is recognised by its disk and its number.
fn name_in(directory: &Path) -> Option<String> {
    let said = |directory: &Path, name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let whole = |directory: &Path| NAMES.iter().find_map(|name| said(directory, name));
    if let Some(name) = whole(directory) {
        return Some(name);
    }
    let partition = said(directory, "partition")?;
    let disk = fs::canonicalize(directory).ok()?;
    Some(format!("{} partition {partition}", whole(disk.parent()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "iqn.2026-11.org.example:a";

    fn name(target: &str, path: &str, serial: Option<&str>) -> UnitName {
        let mut options = DiskOptions::new(path.into());
        options.serial = serial.map(str::to_owned);
        UnitName::of(target, &options)
    }

    #[test]
    fn a_file_is_its_path_and_a_serial_number_goes_before() {
        let file = name(TARGET, "/srv/a.img", None);
        assert_eq!(file, name(TARGET, "/srv/./a.img", None));
        let others = [
            name(TARGET, "/srv/b.img", None),
            name("iqn.2026-11.org.example:b", "/srv/a.img", None),
            name(TARGET, "/srv/a.img", Some("1")),
            name(TARGET, "/x", Some("/srv/a.img")),
        ];
        assert!(others.iter().all(|other| *other != file));
        assert_eq!(
            name(TARGET, "/srv/a.img", Some("1")),
            name(TARGET, "/srv/b.img", Some("1"))
        );
        // Computed by: printf 'iqn.2026-11.org.example:a\0path\0/srv/a.img' | sha256sum
        assert_eq!(file.journal(), "naa.3b3d193ad99a62e3");
    }

    #[test]
    fn a_block_device_is_what_it_calls_itself() {
        let sys = tempfile::tempdir().unwrap();
        let at = |name: &str| sys.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        write("sda/device/wwid", "naa.5000c500a1b2c3d4\n");
        write("sda/sda2/partition", "2\n");
        write("nvme0n1/wwid", "eui.0025385b71b00000\n");
        write("dm-0/dm/uuid", "LVM-abc\n");
        write("loop0/loop/backing_file", "/srv/a.img\n");
        write("loop0/loop0p1/partition", "1\n");
        write("vda/dm/uuid", "\n");
        for (directory, wanted) in [
            ("sda", Some("naa.5000c500a1b2c3d4")),
            ("sda/sda2", Some("naa.5000c500a1b2c3d4 partition 2")),
            ("nvme0n1", Some("eui.0025385b71b00000")),
            ("dm-0", Some("LVM-abc")),
            ("loop0", None),
            ("loop0/loop0p1", None),
            ("vda", None),
            ("none", None),
        ] {
            assert_eq!(name_in(&at(directory)).as_deref(), wanted, "{directory}");
        }
    }
}
