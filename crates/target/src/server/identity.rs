//! Who a logical unit is. Initiators recognise a disk by it, whatever its number and through whichever portal, and its
//! reservations are kept under it: so it belongs to the disk, and not to the place at which the disk is served.
//!
//! | disk | is recognised by |
//! |---|---|
//! | one with a `serial` in the configuration | that |
//! | a block device that calls itself something (device mapper, NVMe, SCSI, MD) | that, and the number of the partition |
//! | any other block device, a file | its path as it is configured |
//!
//! The disk may come to be recognised by what stands further up in the table: by a serial number that it is given, by a name
//! that the kernel did not tell before. So it is known by what stands further down, too, and brings its reservations with
//! it. The way back is not known: a serial number must stay. A name that is there and cannot be read is an error, lest the disk be
//! taken for another one, which has no reservations.
//!
//! Beside that counts the target's name, which is unique in the whole world: two servers may have disks of one path.
//! Another file under the same path cannot be told from the same one restored. It gets the old one's reservations, which
//! keep out whoever was fenced; initiators are told of a power on, after which they look at everything anew.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use scsi::lu::LocalNaa;
use sha2::{Digest as _, Sha256};

use crate::config::DiskOptions;
use crate::server::unit::UnitError;

/// What block devices call themselves, in their directories below `/sys/dev/block`: the first that says something counts.
const NAMES: [&str; 4] = ["dm/uuid", "md/uuid", "wwid", "device/wwid"];

/// The identity of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitName {
    naa: LocalNaa,
}

impl UnitName {
    /// That of a disk at a target. One that is not there yet will be a file.
    ///
    /// # Errors
    /// If the disk is there and what it calls itself cannot be read.
    pub(crate) fn of(target: &str, options: &DiskOptions) -> Result<Self, UnitError> {
        Self::below(target, options, Path::new("/sys"))
    }

    fn below(target: &str, options: &DiskOptions, sys: &Path) -> Result<Self, UnitError> {
        if let Some(serial) = &options.serial {
            return Ok(Self::from_parts(target, "serial", OsStr::new(serial)));
        }
        let device = device_name(&options.path, sys)?;
        Ok(device.map_or_else(
            || Self::by_path(target, options),
            |name| Self::from_parts(target, "device", OsStr::new(&name)),
        ))
    }

    /// What else the same disk may have been recognised by.
    ///
    /// # Errors
    /// If that cannot be told.
    pub(crate) fn former(target: &str, options: &DiskOptions) -> Result<Vec<Self>, UnitError> {
        Self::former_below(target, options, Path::new("/sys"))
    }

    fn former_below(
        target: &str,
        options: &DiskOptions,
        sys: &Path,
    ) -> Result<Vec<Self>, UnitError> {
        let mut former = vec![Self::by_path(target, options)];
        if options.serial.is_some() {
            let device = match device_name(&options.path, sys) {
                // Devices without any name say so in this way. That they are given a serial number is the remedy.
                Err(UnitError::Name { source, .. }) if has_no_name(&source) => None,
                device => device?,
            };
            former.extend(device.map(|name| Self::from_parts(target, "device", OsStr::new(&name))));
        }
        Ok(former)
    }

    fn by_path(target: &str, options: &DiskOptions) -> Self {
        Self::from_parts(target, "path", absolute(&options.path).as_os_str())
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
fn device_name(path: &Path, sys: &Path) -> Result<Option<String>, UnitError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(path, source)),
    };
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    name_in(&sys.join(format!("dev/block/{major}:{minor}")))
}

/// The same by the device's directory. A partition is recognised by its disk and its number.
fn name_in(directory: &Path) -> Result<Option<String>, UnitError> {
    // Without it all names would seem to be missing.
    let directory = fs::canonicalize(directory).map_err(|source| unreadable(directory, source))?;
    if let Some(name) = whole(&directory)? {
        return Ok(Some(name));
    }
    let (Some(partition), Some(disk)) = (said(&directory, "partition")?, directory.parent()) else {
        return Ok(None);
    };
    Ok(whole(disk)?.map(|name| format!("{name} partition {partition}")))
}

fn whole(directory: &Path) -> Result<Option<String>, UnitError> {
    for name in NAMES {
        if let Some(said) = said(directory, name)? {
            return Ok(Some(said));
        }
    }
    Ok(None)
}

/// What a file says, if it is there and says anything.
fn said(directory: &Path, name: &str) -> Result<Option<String>, UnitError> {
    let path = directory.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(&path, source)),
    };
    // Of a vendor's name not all need be text.
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok((!text.is_empty()).then_some(text))
}

fn unreadable(path: &Path, source: io::Error) -> UnitError {
    UnitError::Name {
        path: path.to_owned(),
        source,
    }
}

/// Linux, `device/wwid`: ENXIO from a disk without a page of names, EINVAL from one whose page has none that is unique.
fn has_no_name(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| [rustix::io::Errno::NXIO, rustix::io::Errno::INVAL].contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "iqn.2026-11.org.example:a";

    fn name(target: &str, path: &str, serial: Option<&str>) -> UnitName {
        let mut options = DiskOptions::new(path.into());
        options.serial = serial.map(str::to_owned);
        UnitName::of(target, &options).unwrap()
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
        ] {
            let name = name_in(&at(directory)).unwrap();
            assert_eq!(name.as_deref(), wanted, "{directory}");
        }
    }

    /// It would be taken for a disk that has no name, and so for another one.
    #[test]
    fn a_name_that_cannot_be_read_is_not_a_missing_one() {
        let sys = tempfile::tempdir().unwrap();
        let at = |name: &str| sys.path().join(name);
        fs::create_dir_all(at("sda/device")).unwrap();
        fs::create_dir_all(at("sda/sda1")).unwrap();
        fs::write(at("sda/sda1/partition"), "1\n").unwrap();
        assert_eq!(name_in(&at("sda")).unwrap(), None);
        // A directory cannot be read, whoever asks.
        fs::create_dir(at("sda/device/wwid")).unwrap();
        for directory in ["sda", "sda/sda1", "none"] {
            let error = name_in(&at(directory)).unwrap_err();
            assert!(
                matches!(error, UnitError::Name { .. }),
                "{directory}: {error}"
            );
        }
    }

    #[test]
    fn a_disk_is_known_by_what_it_was_recognised_by_before() {
        let mut options = DiskOptions::new("/srv/a.img".into());
        let by_path = UnitName::of(TARGET, &options).unwrap();
        options.serial = Some("x".to_owned());
        assert_ne!(UnitName::of(TARGET, &options).unwrap(), by_path);
        assert_eq!(UnitName::former(TARGET, &options).unwrap(), [by_path]);
    }
}
