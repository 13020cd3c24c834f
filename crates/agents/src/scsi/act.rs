//! The actions, over devices and state files that are given.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use deadline::Deadline;
use fence_agent::{Exit, Failure, FailureKind, Level, Surroundings};
use scsi::pr::Key;

use super::admit::admit;
use super::config::Device;
use super::cut::{Cut, Parties, cut};
use super::key::{self, Scheme};
use super::look::{Access, access, ready};
use super::parallel::{designators, each};
use super::plan::Whom;
use super::reach::{Disk, Reach};
use super::same::{by_designator, by_path};
use super::state::{Lock, StateError, Store};

/// A device that does not say what it is costs the others one part in so many of the time.
const IDENTIFYING: u32 = 4;

/// What an action works on.
pub(crate) struct Work<'a> {
    pub reach: &'a dyn Reach,
    pub store: &'a Store,
    pub devices: &'a [Device],
    pub aptpl: bool,
    pub read_only: bool,
    /// Where standard output goes instead.
    pub logfile: Option<&'a Path>,
}

impl Work<'_> {
    /// `on`: registers this node.
    ///
    /// # Errors
    /// If any device is not as it must be.
    pub(crate) fn on(&self, own: Key, around: &mut dyn Surroundings) -> Result<Exit, Failure> {
        // What a reboot would have cleared: with this key, and with these devices, the node was unfenced before.
        let former = match self.store.key() {
            Ok(key) if key == own => self.store.devices().unwrap_or_default(),
            _ => Vec::new(),
        };
        // Before anything is registered, so that a node which may write always knows its key.
        self.store.set_key(own).map_err(|error| unusable(&error))?;
        let devices = self.told_apart(around);
        each(&devices, self.reach, false, around, |disk| {
            let _alone = self.alone(disk)?;
            let names: Vec<Device> = disk.device().names().map(Device::alone).collect();
            let before = names.iter().any(|one| former.contains(&one.name));
            let fenced = before && !disk.keys()?.contains(&own);
            admit(disk, own, self.aptpl)?;
            if names.len() > 1 {
                self.admit_each(disk, &names, own)?;
            }
            if fenced {
                let text = "was cut off from this node since the node was unfenced, and the node has not rebooted: what it kept in \
                            memory before may be written now, over what others have written meanwhile. Reset a fenced node \
                            before it is unfenced";
                disk.note(Level::Warning, text);
            }
            names.iter().try_for_each(|one| {
                let kept = self.store.add_device(&one.name);
                kept.map_err(|error| unusable(&error))
            })
        })?;
        self.say("Success: Powered ON\n", around).map(|()| Exit::OK)
    }

    /// The devices, names of one disk together.
    fn told_apart(&self, around: &mut dyn Surroundings) -> Vec<Device> {
        let devices = by_path(self.devices, self.reach);
        if devices.len() < 2 {
            return devices;
        }
        let end = Deadline::at(around.deadline());
        let limit = end.within(end.remaining() / IDENTIFYING);
        let told = designators(&devices, self.reach, limit);
        let merged = by_designator(&devices, told);
        for disk in merged.iter().filter(|disk| !disk.also.is_empty()) {
            let names: Vec<&str> = disk.names().map(|one| one.name.as_str()).collect();
            let text = format!("{} are one disk, by what it calls itself", names.join(", "));
            around.log(Level::Debug, &text);
        }
        merged
    }

    /// The same once more under each of several names: should they not be one disk after all, each is as it must be.
    fn admit_each(&self, disk: &mut Disk<'_>, names: &[Device], own: Key) -> Result<(), Failure> {
        for name in names {
            let mut one = disk.under(name)?;
            let admitted = admit(&mut one, own, self.aptpl);
            disk.adopt(one);
            admitted?;
        }
        Ok(())
    }

    /// `off`: takes the victim's keys away everywhere.
    ///
    /// # Errors
    /// If any device was not seen to keep its node out.
    pub(crate) fn off(
        &self,
        victim: &Whom,
        around: &mut dyn Surroundings,
    ) -> Result<Exit, Failure> {
        let who = &victim.name;
        let own = self.own();
        if own
            .as_ref()
            .is_ok_and(|own| victim.keys().any(|key| key == *own))
        {
            return Err(Failure::refused(format!(
                "{who} is this node: it cannot fence itself"
            )));
        }
        let parties = Parties {
            own: &own,
            victim,
            aptpl: self.aptpl,
        };
        let devices = by_path(self.devices, self.reach);
        let cuts = each(&devices, self.reach, false, around, |disk| {
            let _alone = self.alone(disk)?;
            cut(disk, &parties)
        })?;
        let already = cuts.iter().all(|cut| *cut == Cut::Already);
        around.log(
            Level::Warning,
            &format!(
                "{who}: I/O cut off{}, node still running: every device ({}) keeps key {} out; reset the node before \
                 it is unfenced",
                if already { " before" } else { "" },
                cuts.len(),
                key::text(victim.key)
            ),
        );
        let text = if already {
            "Success: Already OFF\n"
        } else {
            "Success: Powered OFF\n"
        };
        self.say(text, around).map(|()| Exit::OK)
    }

    /// `status`: whether a node may write anywhere.
    ///
    /// # Errors
    /// If that cannot be told of every device.
    pub(crate) fn status(
        &self,
        whom: &Whom,
        around: &mut dyn Surroundings,
    ) -> Result<Exit, Failure> {
        let all = each(self.devices, self.reach, self.read_only, around, |disk| {
            access(disk, whom)
        })?;
        if all.iter().all(|access| *access == Access::None) {
            self.say("Status: OFF\n", around).map(|()| Exit::OFF)
        } else {
            self.say("Status: ON\n", around).map(|()| Exit::OK)
        }
    }

    /// `monitor`: whether this node could fence another. `expected` is the key it would be given today.
    ///
    /// # Errors
    /// If it could not.
    pub(crate) fn monitor(
        &self,
        expected: Option<Key>,
        scheme: Scheme,
        around: &mut dyn Surroundings,
    ) -> Result<Exit, Failure> {
        let own = self.own()?;
        self.store
            .devices()
            .map_err(|error| never_unfenced(&error))?;
        if let Some(expected) = expected.filter(|expected| *expected != own) {
            let text = format!(
                "this node was unfenced with key {}, and would be given {} today: the node list or key_value has changed. \
                 Unfence every node again",
                key::text(own),
                key::text(expected)
            );
            // Others find this node by its key of today: by its position they would find another node, or none.
            if scheme == Scheme::Id {
                return Err(Failure::refused(text));
            }
            around.log(Level::Warning, &text);
        }
        each(self.devices, self.reach, self.read_only, around, |disk| {
            ready(disk, own)
        })?;
        Ok(Exit::OK)
    }

    /// Under all its names, in an order that is the same for every process.
    fn alone(&self, disk: &Disk<'_>) -> Result<Vec<Lock>, Failure> {
        let mut names: Vec<&str> = disk.device().names().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let locks = names
            .into_iter()
            .map(|name| self.store.lock(name, disk.deadline()));
        locks
            .collect::<Result<_, _>>()
            .map_err(|error| disk.fail(FailureKind::TimedOut, error.to_string()))
    }

    fn own(&self) -> Result<Key, Failure> {
        self.store.key().map_err(|error| never_unfenced(&error))
    }

    fn say(&self, text: &str, around: &mut dyn Surroundings) -> Result<(), Failure> {
        let Some(path) = self.logfile else {
            return around.print(text);
        };
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| {
                Failure::refused(format!("cannot write to {}: {error}", path.display()))
            })
    }
}

fn unusable(error: &StateError) -> Failure {
    Failure::refused(error.to_string())
}

fn never_unfenced(error: &StateError) -> Failure {
    let hint = if error.is_missing() {
        " (this node has not been unfenced since it booted)"
    } else {
        ""
    };
    Failure::refused(format!("{error}{hint}"))
}
