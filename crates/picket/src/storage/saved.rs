//! What `picket storage probe --save` kept, taken as what a definition says of its storage.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cluster::{Definition, Storage, StorageKind};
use disk::probe::report::{Report, VERSION};
use disk::{Address, IscsiAddress};
use jiff::{SignedDuration, Timestamp};
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

/// How many days a result counts unless the command line says otherwise. What serves a disk is updated, and is not what was
/// probed any more.
pub(crate) const MAX_AGE: u32 = 90;

/// So far a clock may go ahead of another.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);

/// How old a result may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Age {
    now: Timestamp,
    days: u32,
}

impl Age {
    /// So many days at most, by this machine's clock.
    pub(crate) fn of_days(days: u32) -> Self {
        let now = Timestamp::now();
        Self { now, days }
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
    #[error(
        "{} is of {device}; whether that is the storage `{storage}` is not known, for the definition does not say which \
         `device` it is in the nodes",
        path.display()
    )]
    AnyDisk {
        path: PathBuf,
        device: String,
        storage: String,
    },
    #[error(
        "{} is {days} days old, and the storage may have changed since: probe it again, or let older results count \
         (--probe-max-age)",
        path.display()
    )]
    Old { path: PathBuf, days: i64 },
    #[error("{} is of {taken}, which is yet to come: one of the clocks is wrong", path.display())]
    Future { path: PathBuf, taken: Timestamp },
}

/// The part of the file that counts.
#[derive(Debug, Deserialize)]
struct Saved {
    format: u32,
    taken: Timestamp,
    report: Report,
}

/// Lets the definition say what probes saw: those it names itself, by files beside `path`, and instead of them or besides those
/// of the command line.
///
/// # Errors
/// As [`take`].
pub(crate) fn take_all(
    definition: &mut Definition,
    path: &Path,
    probes: &[ProbeOf],
    age: Age,
) -> Result<(), Error> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let own = definition.storage.iter().filter_map(|storage| {
        let file = storage.probe.as_ref()?;
        Some(ProbeOf {
            storage: storage.name.to_string(),
            file: folder.join(file.as_str()),
        })
    });
    let named = |one: &ProbeOf| probes.iter().any(|probe| probe.storage == one.storage);
    let own: Vec<ProbeOf> = own.filter(|one| !named(one)).collect();
    own.iter()
        .chain(probes)
        .try_for_each(|probe| take(definition, probe, age))
}

/// Lets the definition say what the probe saw. What it left open stays as the definition has it.
///
/// # Errors
/// If the file is no result, is too old, or is of another disk.
fn take(definition: &mut Definition, probe: &ProbeOf, age: Age) -> Result<(), Error> {
    let report = read(&probe.file, age)?;
    let mut all = definition.storage.iter_mut();
    let storage = all
        .find(|storage| storage.name.as_str() == probe.storage)
        .ok_or_else(|| Error::NoSuchStorage(probe.storage.clone()))?;
    let (path, device, storage_name) = (
        probe.file.clone(),
        report.device.clone(),
        probe.storage.clone(),
    );
    match is_of(&report, storage) {
        Some(true) => {}
        Some(false) => {
            return Err(Error::OtherDisk {
                path,
                device,
                storage: storage_name,
            });
        }
        None => {
            return Err(Error::AnyDisk {
                path,
                device,
                storage: storage_name,
            });
        }
    }
    let (reserves, aborts) = show::abilities(&report);
    storage.persistent_reservations = reserves.or(storage.persistent_reservations);
    storage.preempt_and_abort = aborts.or(storage.preempt_and_abort);
    Ok(())
}

fn read(path: &Path, age: Age) -> Result<Report, Error> {
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
    check_age(path, saved.taken, age)?;
    let mut report = saved.report;
    // The verdict follows from the checks; a file may say anything.
    report.judge();
    Ok(report)
}

/// A result that says when it was taken, and not long ago.
fn check_age(path: &Path, taken: Timestamp, age: Age) -> Result<(), Error> {
    let path = path.to_owned();
    let old = age.now.duration_since(taken);
    if old < -CLOCKS {
        return Err(Error::Future { path, taken });
    }
    let days = old.as_hours() / 24;
    if days >= i64::from(age.days) {
        return Err(Error::Old { path, days });
    }
    Ok(())
}

/// Whether the probe was of this storage, as far as both say; `None`: the definition does not. A name of a host says nothing
/// against an address.
fn is_of(report: &Report, storage: &Storage) -> Option<bool> {
    match report.device.parse() {
        Ok(Address::Iscsi(address)) => {
            Some(storage.kind == StorageKind::Iscsi && same(&address, storage))
        }
        Ok(Address::Node(node)) => {
            let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let device = storage.device.as_ref()?;
            Some(canonical(Path::new(device.as_str())) == canonical(&node))
        }
        Err(_) => Some(false),
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

    fn timestamp(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The day after that on which [`saved`] was taken.
    fn fresh() -> Age {
        Age {
            now: timestamp("2026-11-02T12:00:00Z"),
            days: MAX_AGE,
        }
    }

    /// A result for the storage of the example, with one requirement as given.
    fn saved(device: &str, outcome: Outcome) -> (tempfile::NamedTempFile, ProbeOf) {
        let mut report = Report::new(device.to_owned(), Mode::Exercised);
        for requirement in REQUIREMENTS {
            report.note(*requirement, Outcome::Met, "seen");
        }
        report.note(FENCED_WRITES, outcome, "seen");
        let text = serde_json::json!({
            "format": 1, "taken": "2026-11-01T12:00:00Z", "report": report, "exit_code": 0
        });
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
            take(&mut definition, &probe, fresh()).unwrap();
            let storage = &definition.storage[0];
            assert_eq!(storage.preempt_and_abort, Some(expected));
            assert_eq!(storage.persistent_reservations, Some(true));
        }
        let (_file, probe) = saved(&address(), Outcome::Unknown);
        let mut open = definition();
        open.storage[0].preempt_and_abort = None;
        take(&mut open, &probe, fresh()).unwrap();
        assert_eq!(open.storage[0].preempt_and_abort, None);
    }

    /// The file stands in the definition; one on the command line goes before it.
    #[test]
    fn a_definition_names_its_probes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.toml");
        let keep = |outcome, name: &str| {
            let (file, _) = saved(&address(), outcome);
            std::fs::copy(file.path(), folder.path().join(name)).unwrap();
        };
        std::fs::create_dir(folder.path().join("probes")).unwrap();
        keep(Outcome::Broken, "probes/bad.json");
        keep(Outcome::Met, "good.json");
        let text = DEFINITION.replace(
            "preempt_and_abort = true",
            "preempt_and_abort = true\nprobe = \"probes/bad.json\"",
        );
        let take_all = |probes: &[ProbeOf]| {
            let mut definition = Definition::parse("cluster.toml", &text).unwrap();
            take_all(&mut definition, &path, probes, fresh())
                .map(|()| definition.storage[0].preempt_and_abort)
        };
        assert_eq!(take_all(&[]).unwrap(), Some(false));
        let storage = &definition().storage[0].name;
        let good = folder.path().join("good.json");
        let good = format!("{storage}={}", good.display()).parse().unwrap();
        assert_eq!(take_all(&[good]).unwrap(), Some(true));
        std::fs::remove_file(folder.path().join("probes/bad.json")).unwrap();
        let missing = take_all(&[]).unwrap_err();
        assert!(matches!(missing, Error::Unreadable { .. }), "{missing}");
    }

    #[test]
    fn a_result_counts_for_a_while() {
        let (file, probe) = saved(&address(), Outcome::Met);
        let at = |now: &str, days| {
            let now = timestamp(now);
            take(&mut definition(), &probe, Age { now, days })
        };
        assert!(at("2027-01-30T11:00:00Z", 90).is_ok());
        assert!(at("2026-11-01T11:30:00Z", 90).is_ok(), "another clock");
        let old = at("2027-01-30T13:00:00Z", 90).unwrap_err();
        assert!(matches!(old, Error::Old { days: 90, .. }), "{old}");
        assert!(old.to_string().contains("--probe-max-age"), "{old}");
        assert!(at("2027-01-30T13:00:00Z", 91).is_ok());
        let early = at("2026-10-01T12:00:00Z", 90).unwrap_err();
        assert!(matches!(early, Error::Future { .. }), "{early}");
        // One that does not say when it was taken is none.
        let text = std::fs::read_to_string(file.path()).unwrap();
        for wrong in ["", "yesterday"] {
            std::fs::write(file.path(), text.replace("2026-11-01T12:00:00Z", wrong)).unwrap();
            let refused = take(&mut definition(), &probe, fresh());
            assert!(matches!(refused, Err(Error::Malformed { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_device_node_is_compared_with_that_of_the_definition() {
        let (_file, probe) = saved("/dev/mapper/shared", Outcome::Met);
        let with = |device: Option<&str>| {
            let mut definition = definition();
            definition.storage[0].device =
                device.map(|device| device.to_owned().try_into().unwrap());
            take(&mut definition, &probe, fresh())
        };
        assert!(with(Some("/dev/mapper/shared")).is_ok());
        let other = with(Some("/dev/mapper/other"));
        assert!(matches!(other, Err(Error::OtherDisk { .. })), "{other:?}");
        let any = with(None);
        assert!(matches!(any, Err(Error::AnyDisk { .. })), "{any:?}");
    }

    #[test]
    fn a_result_of_another_disk_or_of_nothing_is_not_taken() {
        let (file, probe) = saved(
            "iscsi://192.0.2.1:3260/iqn.2026-11.example:other/0",
            Outcome::Met,
        );
        let refused = take(&mut definition(), &probe, fresh());
        assert!(matches!(refused, Err(Error::OtherDisk { .. })));
        let elsewhere = ProbeOf {
            storage: "none".to_owned(),
            ..probe.clone()
        };
        assert!(matches!(
            take(&mut definition(), &elsewhere, fresh()),
            Err(Error::NoSuchStorage(_))
        ));
        std::fs::write(file.path(), "{}").unwrap();
        assert!(matches!(
            take(&mut definition(), &probe, fresh()),
            Err(Error::Malformed { .. })
        ));
        let missing = ProbeOf {
            file: "/nowhere/probe.json".into(),
            ..probe
        };
        assert!(matches!(
            take(&mut definition(), &missing, fresh()),
            Err(Error::Unreadable { .. })
        ));
        for bad in ["", "shared", "=file", "shared="] {
            assert!(bad.parse::<ProbeOf>().is_err(), "{bad}");
        }
    }
}
