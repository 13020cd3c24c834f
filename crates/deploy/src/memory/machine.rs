//! One machine: its files, its units, its journal.

use std::collections::{BTreeMap, BTreeSet};

use crate::corosync::Conf;
use crate::desired::{COROSYNC, COROSYNC_CONF, PACEMAKER};
use crate::effect::Effect;
use crate::operation::Staged;

/// A file.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its user.
    pub user: String,
    /// Its group.
    pub group: String,
}

/// Without the content: it may be secret.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            bytes,
            mode,
            user,
            group,
        } = self;
        let sum = crate::desired::checksum(bytes);
        write!(f, "{mode:04o} {user}:{group} {}", &sum[..12])
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryMachine {
    /// Files by path.
    pub files: BTreeMap<String, Content>,
    /// Units: whether each is enabled and whether it runs.
    pub units: BTreeMap<String, (bool, bool)>,
    /// Programs that are missing.
    pub missing: BTreeSet<String>,
    /// What the running Corosync has read: its configuration and its key.
    pub running: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether an administrator has put the node in standby.
    pub standby: bool,
    /// Whether its Corosync refuses to read its file again.
    pub deaf: bool,
    /// What systemd has read of its units, by path.
    pub units_read: BTreeMap<String, Vec<u8>>,
    /// Whether Pacemaker has written its configuration itself.
    pub saved_cib: bool,
    /// How often Corosync was started.
    pub starts: usize,
    /// What is written about due effects.
    pub pending: BTreeSet<Effect>,
    /// What the last apply wrote down.
    pub applied: Option<String>,
    /// Scripts that prepared storage.
    pub prepared: BTreeSet<String>,
    pub(super) journals: BTreeMap<String, Journal>,
}

/// The journal of one apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) state: &'static str,
    pub(super) files: Vec<Staged>,
    pub(super) old: Vec<(String, Option<Content>)>,
    pub(super) old_pending: BTreeSet<Effect>,
}

impl MemoryMachine {
    /// A machine on which the packages are installed, and nothing runs.
    #[must_use]
    pub fn with_units(units: &[&str]) -> Self {
        Self {
            units: units
                .iter()
                .map(|unit| ((*unit).to_owned(), (false, false)))
                .collect(),
            ..Self::default()
        }
    }

    /// The journals of applies that have not ended.
    #[must_use]
    pub fn journals(&self) -> Vec<&str> {
        self.journals.keys().map(String::as_str).collect()
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        self.files
            .get(path)
            .map_or_else(Vec::new, |file| file.bytes.clone())
    }

    pub(super) fn active(&self, unit: &str) -> bool {
        self.units.get(unit).is_some_and(|(_, active)| *active)
    }

    pub(super) fn conf(&self) -> Option<Conf> {
        let (conf, _) = self.running.as_ref()?;
        Some(Conf::parse(&String::from_utf8_lossy(conf)))
    }

    /// The units and drop-ins that are there.
    pub(super) fn unit_files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.iter();
        files
            .filter(|(path, _)| path.starts_with("/etc/systemd/system/"))
            .map(|(path, file)| (path.clone(), file.bytes.clone()))
            .collect()
    }

    pub(super) fn reload_corosync(&mut self) {
        if self.deaf {
            return;
        }
        let conf = self.bytes(COROSYNC_CONF);
        if let Some(running) = &mut self.running {
            running.0 = conf;
        }
    }

    pub(super) fn start(&mut self, unit: &str) {
        if self.active(unit) {
            return;
        }
        if let Some(state) = self.units.get_mut(unit) {
            state.1 = true;
        }
        if unit == COROSYNC {
            self.running = Some((
                self.bytes(COROSYNC_CONF),
                self.bytes(crate::desired::COROSYNC_KEY),
            ));
            self.starts += 1;
        }
    }

    pub(super) fn stop(&mut self, unit: &str) {
        if let Some(state) = self.units.get_mut(unit) {
            state.1 = false;
        }
        if unit == COROSYNC {
            self.running = None;
            self.stop(PACEMAKER);
        }
    }

    pub(super) fn put_back(&mut self, id: &str) {
        let Some(journal) = self.journals.remove(id) else {
            return;
        };
        if journal.state == "staged" {
            return;
        }
        for (path, old) in journal.old {
            match old {
                Some(content) => self.files.insert(path, content),
                None => self.files.remove(&path),
            };
        }
        self.pending = journal.old_pending;
    }
}
