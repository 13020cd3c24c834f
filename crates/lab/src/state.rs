//! What is written down about a lab, for whoever comes after us: another process, or the next run after
//! we were killed.
//!
//! The directory is made before anything else of the lab is, and removed after everything else. It names
//! the network namespace; whatever runs in that belongs to the lab. So there are no process numbers to
//! be kept, and none that could have come to mean another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::error::Error;
use crate::form::Wanted;
use crate::lab::{Form, Origin};
use crate::spec::{LabName, Node, Stack};
use crate::storage::Server;
use crate::target::Target;

/// Where labs keep their state.
const ROOT: &str = "/run/picket/lab";
/// The version of the file's format.
const VERSION: u32 = 2;

/// A lab's name and directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: LabName,
}

impl Place {
    pub(crate) fn of(name: &LabName) -> Self {
        Self { name: name.clone() }
    }

    /// The lab's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        Path::new(ROOT).join(self.name.as_str())
    }

    /// Where the logs of a run that failed are kept.
    pub(crate) fn failed(&self) -> PathBuf {
        Path::new(ROOT).join(format!(".failed-{}", self.name))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        Path::new(ROOT).join(format!(".lock-{}", self.name))
    }

    fn file(&self) -> PathBuf {
        self.directory().join("lab.json")
    }

    /// What is written down; `None` if there is no such lab, or nothing readable about it.
    pub(crate) fn read(&self) -> Result<Option<State>, Error> {
        let path = self.file();
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text)
                .ok()
                .filter(|state: &State| state.version == VERSION)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Writes it down, all or nothing.
    pub(crate) fn write(&self, state: &State) -> Result<(), Error> {
        let (path, new) = (self.file(), self.directory().join(".lab.json"));
        let text = serde_json::to_vec_pretty(state).unwrap_or_default();
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::io("write", &path))
    }

    /// Names of all labs that have a directory.
    pub(crate) fn all() -> Result<Vec<LabName>, Error> {
        let entries = match fs::read_dir(ROOT) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", ROOT)(error)),
        };
        let mut names: Vec<LabName> = entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The directory above all labs' directories.
pub(crate) fn root() -> &'static Path {
    Path::new(ROOT)
}

/// How far a lab got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being started; or its start was interrupted.
    Starting,
    /// Up.
    Formed,
}

/// What is written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) phase: Phase,
    pub(crate) since: Timestamp,
    /// The hash of everything its guests were made from.
    pub(crate) contents: String,
    pub(crate) image: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) storage: Option<Server>,
    #[serde(default)]
    pub(crate) target: Option<Target>,
    /// Whether a fencing device asks `fence_virtd`.
    #[serde(default = "yes")]
    pub(crate) fence_virtd: bool,
    /// The names of the nodes that are bare metal.
    #[serde(default)]
    pub(crate) metal: Vec<String>,
    /// The resources that have to be started. None in a lab that was brought up blank.
    pub(crate) resources: Vec<Wanted>,
    /// The hash of the cluster's own files; `None` in a lab that was brought up blank.
    pub(crate) cluster: Option<String>,
    pub(crate) stack: Stack,
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) origin: Origin,
    pub(crate) form: Option<Form>,
}

/// A state that was written before this could be otherwise.
const fn yes() -> bool {
    true
}

impl State {
    pub(crate) const VERSION: u32 = VERSION;

    /// Every guest: the nodes, and the storage guest if there is one.
    pub(crate) fn machines(&self) -> Vec<Node> {
        machines(&self.nodes, self.storage.as_ref())
    }
}

/// Every guest of a lab, the nodes first.
pub(crate) fn machines(nodes: &[Node], storage: Option<&Server>) -> Vec<Node> {
    let storage = storage.map(|storage| &storage.node);
    nodes.iter().chain(storage).cloned().collect()
}
