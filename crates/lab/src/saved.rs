//! Labs that are up, saved as the memory and the disks of their guests.
//!
//! All guests are paused before the first is saved and resumed together after the last is loaded, so
//! that to Corosync no time passes. Saving ends a guest; a cluster that has just been saved is therefore
//! brought back from what was saved, which proves at once that it can be.
//!
//! A saved cluster is good for the same image, configuration disk (our agents included), guests, memory,
//! QEMU and libvirt, on a machine whose counter has the same rate ([`crate::tsc`]). Anything else means
//! forming anew.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::bmc::Power;
use crate::cache::{Cache, EntryKind, Key, Unfinished};
use crate::command::Cancel;
use crate::disk;
use crate::domain::{console, definition};
use crate::error::Error;
use crate::lab::Form;
use crate::preflight::free_disk;
use crate::spec::{LabName, Node};
use crate::tsc;

/// Saved clusters kept, the latest used first: a handful of definitions and stacks in turn.
const KEPT: usize = 6;
const VERSION: u32 = 3;

/// A saved cluster.
#[derive(Debug)]
pub(crate) struct Saved {
    directory: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    accel: Accel,
    tsc_khz: Option<u32>,
    /// The cluster that was formed; a blank lab has none.
    form: Option<Form>,
    saved: Timestamp,
}

/// The key under which a cluster of these contents is saved. `contents` hashes everything inside the
/// guests; here comes what is around them. The lab's name is in the guests' UUIDs.
pub(crate) fn key(lab: &LabName, contents: &str, accel: Accel) -> String {
    let identity = |program: &str| {
        fs::metadata(program).map_or_else(
            |_| String::new(),
            |metadata| {
                format!(
                    "{} {} {}",
                    metadata.len(),
                    metadata.mtime(),
                    metadata.mtime_nsec()
                )
            },
        )
    };
    Key::default()
        .part(lab.as_str())
        .part(contents)
        .part(format!("{accel:?}"))
        .part(identity("/usr/bin/qemu-system-x86_64"))
        .part(identity("/usr/sbin/libvirtd"))
        .finish()
}

impl Saved {
    /// The saved cluster of that key, if it is good on this machine.
    pub(crate) fn find(cache: &Cache, key: &str, tsc_khz: Option<u32>) -> Option<Self> {
        let directory = cache.entries_of(EntryKind::Saved).join(key);
        let text = fs::read(directory.join("manifest.json")).ok()?;
        let manifest: Manifest = serde_json::from_slice(&text).ok()?;
        let fits = manifest.version == VERSION
            && (manifest.accel == Accel::Kvm || tsc::same_rate(manifest.tsc_khz, tsc_khz));
        fits.then_some(Self {
            directory,
            manifest,
        })
    }

    /// The cluster as it was when it was saved.
    pub(crate) const fn form(&self) -> Option<&Form> {
        self.manifest.form.as_ref()
    }

    /// Removes it: it turned out to be no good.
    pub(crate) fn discard(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.directory).map_err(Error::io("remove", &self.directory))
    }

    /// Loads every guest, then lets them all go on. Their consoles begin with what they had said.
    pub(crate) fn restore(&self, guests: &Guests<'_>) -> Result<(), Error> {
        for node in guests.nodes {
            let (from, to) = (
                console(&self.directory, &node.name),
                console(guests.directory, &node.name),
            );
            fs::copy(&from, &to).map_err(Error::io("copy", from))?;
        }
        guests.copy_disks(guests.directory, &self.directory)?;
        at_once(guests.nodes, |node| {
            let args = [
                "restore".into(),
                memory(&self.directory, node).into_os_string(),
                // Where its files are this time.
                "--xml".into(),
                definition(guests.directory, &node.name).into_os_string(),
                "--paused".into(),
            ];
            guests
                .power
                .of(&node.name)
                .virsh("restoring a guest", args, guests.cancel)
        })?;
        at_once(guests.nodes, |node| {
            let args = ["resume", node.name.as_str()];
            guests
                .power
                .of(&node.name)
                .virsh("resuming a guest", args, guests.cancel)
        })?;
        // The latest used are the last to be removed.
        let now = std::time::SystemTime::now();
        let _ = fs::File::open(&self.directory).and_then(|directory| directory.set_modified(now));
        Ok(())
    }
}

/// The guests of a lab, and what it takes to switch them.
pub(crate) struct Guests<'a> {
    pub(crate) power: &'a Power,
    /// All of them, the storage guest too.
    pub(crate) nodes: &'a [Node],
    /// The files of all their writable disks, in the lab's state directory.
    pub(crate) disks: &'a [PathBuf],
    /// The lab's state directory.
    pub(crate) directory: &'a Path,
    pub(crate) cancel: &'a Cancel,
}

impl Guests<'_> {
    /// Copies all disks into the directory `to`, from those of the same names in `from`.
    fn copy_disks(&self, to: &Path, from: &Path) -> Result<(), Error> {
        let names = self.disks.iter().filter_map(|disk| disk.file_name());
        for name in names {
            disk::copy(&from.join(name), &to.join(name))?;
        }
        Ok(())
    }

    /// Whether there is room to save them.
    pub(crate) fn have_room(&self, cache: &Cache, memory_mib: u32) -> bool {
        // At most all of a guest's memory, and some for its devices.
        let memory = self.nodes.len() as u64 * (u64::from(memory_mib) + 64);
        let disks: u64 = self.disks.iter().map(|disk| disk::used_mib(disk)).sum();
        free_disk(cache.root()) >= memory + disks
    }
}

/// Saves the running guests of a formed cluster. They are not running afterwards.
pub(crate) fn save(
    cache: &Cache,
    key: &str,
    guests: &Guests<'_>,
    (accel, tsc_khz, form): (Accel, Option<u32>, Option<Form>),
) -> Result<Saved, Error> {
    let work = Unfinished::begin(&cache.entries_of(EntryKind::Saved))?;
    let manifest = Manifest {
        version: VERSION,
        accel,
        tsc_khz,
        form,
        saved: Timestamp::now(),
    };
    match fill(&work, &manifest, guests) {
        Ok(()) => {
            let directory = cache.entries_of(EntryKind::Saved).join(key);
            work.complete(&directory)?;
            cache.prune(EntryKind::Saved, KEPT)?;
            Ok(Saved {
                directory,
                manifest,
            })
        }
        Err(error) => {
            work.discard()?;
            Err(error)
        }
    }
}

fn fill(work: &Unfinished, manifest: &Manifest, guests: &Guests<'_>) -> Result<(), Error> {
    at_once(guests.nodes, |node| {
        let args = ["suspend", node.name.as_str()];
        guests
            .power
            .of(&node.name)
            .virsh("pausing a guest", args, guests.cancel)
    })?;
    at_once(guests.nodes, |node| {
        let args = [
            "save".into(),
            node.name.clone().into(),
            memory(&work.path, node).into_os_string(),
            "--paused".into(),
        ];
        guests
            .power
            .of(&node.name)
            .virsh("saving a guest", args, guests.cancel)
    })?;
    guests.copy_disks(&work.path, guests.directory)?;
    for node in guests.nodes {
        let (from, to) = (
            console(guests.directory, &node.name),
            console(&work.path, &node.name),
        );
        fs::copy(&from, &to).map_err(Error::io("copy", from))?;
    }
    let path = work.path.join("manifest.json");
    let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    fs::write(&path, text).map_err(Error::io("write", &path))
}

fn memory(directory: &Path, node: &Node) -> PathBuf {
    directory.join(format!("{}.memory", node.name))
}

/// Does something to every node at the same time; the first error, if any.
pub(crate) fn at_once<T: Send>(
    nodes: &[Node],
    work: impl Fn(&Node) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| work(node)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
