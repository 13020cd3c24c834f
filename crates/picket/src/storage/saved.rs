//! What `picket storage probe --save` kept, taken as what a definition says of its storage.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cluster::{Definition, Storage, StorageKind};
use disk::probe::report::{Report, VERSION};
use disk::{Address, IscsiAddress};
use serde::Deserialize;

use crate::storage::show;

/// More than any result has.
const MAX_READ: u64 = 1 << 20;

/// `NAME=FILE`: the result of a probe of the storage of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeOf {
    storage: String,
    file: PathBuf,
}

impl FromStr for ProbeOf {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (storage, file) = text.split_once('=').ok_or("not NAME=FILE")?;
        if storage.is_empty() || file.is_empty() {
            return Err("not NAME=FILE");
        }
        Ok(Self {
            storage: storage.to_owned(),
            file: file.into(),
        })
    }
}

/// Why a result is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not what `picket storage probe --save` writes: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("the definition has no storage `{0}`")]
    NoSuchStorage(String),
    #[error("{} is of {device}, which is not the storage `{storage}` of the definition", path.display())]
    OtherDisk {
        path: PathBuf,
        device: String,
        storage: String,
    },
}

/// The part of the file that counts.
#[derive(Debug, Deserialize)]
struct Saved {
    format: u32,
    report: Report,
}

/// Lets the definition say what the probe saw. What it left open stays as the definition has it.
///
/// # Errors
/// If the file is no result, or is of another disk.
pub(crate) fn take(definition: &mut Definition, probe: &ProbeOf) -> Result<(), Error> {
    let report = read(&probe.file)?;
    let mut all = definition.storage.iter_mut();
    let storage = all
        .find(|storage| storage.name.as_str() == probe.storage)
        .ok_or_else(|| Error::NoSuchStorage(probe.storage.clone()))?;
    if !is_of(&report, storage) {
        return Err(Error::OtherDisk {
            path: probe.file.clone(),
            device: report.device.clone(),
            storage: probe.storage.clone(),
        });
    }
    let (reserves, aborts) = show::abilities(&report);
    storage.persistent_reservations = reserves.or(storage.persistent_reservations);
    storage.preempt_and_abort = aborts.or(storage.preempt_and_abort);
    Ok(())
}

fn read(path: &Path) -> Result<Report, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let malformed = |why| Error::Malformed {
        path: path.to_owned(),
        why,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_READ)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if saved.format != 1 || saved.report.version != VERSION {
        return Err(malformed("another version".to_owned()));
    }
    let mut report = saved.report;
    // The verdict follows from the checks; a file may say anything.
    report.judge();
    Ok(report)
}

/// Whether the probe was of this storage, as far as both say. A name of a host says nothing against an address.
fn is_of(report: &Report, storage: &Storage) -> bool {
    match report.device.parse() {
        Ok(Address::Iscsi(address)) => {
            storage.kind == StorageKind::Iscsi && same(&address, storage)
        }
        Ok(Address::Node(node)) => storage.device.as_ref().is_none_or(|device| {
            let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            canonical(Path::new(device.as_str())) == canonical(&node)
        }),
        Err(_) => false,
    }
}

fn same(address: &IscsiAddress, storage: &Storage) -> bool {
    let target = storage.target.as_ref().map(|target| target.as_str());
    let lun = storage.lun.as_ref().map_or(0, |lun| lun.get());
    target.is_some_and(|target| target.eq_ignore_ascii_case(&address.target))
        && u64::from(address.lun) == u64::from(lun)
}

#[cfg(test)]
mod tests {
    use disk::probe::report::{FENCED_WRITES, Mode, Outcome, REQUIREMENTS};

    use super::*;

    const DEFINITION: &str = include_str!("../../../../examples/kvm-scsi.toml");

    fn definition() -> Definition {
        Definition::parse("kvm-scsi.toml", DEFINITION).unwrap()
    }

    /// A result for the storage of the example, with one requirement as given.
    fn saved(device: &str, outcome: Outcome) -> (tempfile::NamedTempFile, ProbeOf) {
        let mut report = Report::new(device.to_owned(), Mode::Exercised);
        for requirement in REQUIREMENTS {
            report.note(*requirement, Outcome::Met, "seen");
        }
        report.note(FENCED_WRITES, outcome, "seen");
        let text = serde_json::json!({"format": 1, "taken": "", "report": report, "exit_code": 0});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text.to_string()).unwrap();
        let storage = definition().storage[0].name.to_string();
        let probe = format!("{storage}={}", file.path().display());
        (file, probe.parse().unwrap())
    }

    fn address() -> String {
        let storage = &definition().storage[0];
        let target = storage.target.as_ref().unwrap();
        format!("iscsi://192.0.2.1:3260/{}/0", target.as_str())
    }

    #[test]
    fn what_was_seen_goes_before_what_the_definition_says() {
        for (outcome, expected) in [(Outcome::Met, true), (Outcome::Broken, false)] {
            let (_file, probe) = saved(&address(), outcome);
            let mut definition = definition();
            definition.storage[0].preempt_and_abort = Some(!expected);
            take(&mut definition, &probe).unwrap();
            let storage = &definition.storage[0];
            assert_eq!(storage.preempt_and_abort, Some(expected));
            assert_eq!(storage.persistent_reservations, Some(true));
        }
        let (_file, probe) = saved(&address(), Outcome::Unknown);
        let mut open = definition();
        open.storage[0].preempt_and_abort = None;
        take(&mut open, &probe).unwrap();
        assert_eq!(open.storage[0].preempt_and_abort, None);
    }

    #[test]
    fn a_result_of_another_disk_or_of_nothing_is_not_taken() {
        let (file, probe) = saved(
            "iscsi://192.0.2.1:3260/iqn.2026-11.example:other/0",
            Outcome::Met,
        );
        let refused = take(&mut definition(), &probe);
        assert!(matches!(refused, Err(Error::OtherDisk { .. })));
        let elsewhere = ProbeOf {
            storage: "none".to_owned(),
            ..probe.clone()
        };
        assert!(matches!(
            take(&mut definition(), &elsewhere),
            Err(Error::NoSuchStorage(_))
        ));
        std::fs::write(file.path(), "{}").unwrap();
        assert!(matches!(
            take(&mut definition(), &probe),
            Err(Error::Malformed { .. })
        ));
        let missing = ProbeOf {
            file: "/nowhere/probe.json".into(),
            ..probe
        };
        assert!(matches!(
            take(&mut definition(), &missing),
            Err(Error::Unreadable { .. })
        ));
        for bad in ["", "shared", "=file", "shared="] {
            assert!(bad.parse::<ProbeOf>().is_err(), "{bad}");
        }
    }
}
