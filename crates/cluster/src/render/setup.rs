//! What makes the storage ready, step by step, for whoever carries it out.
//!
//! Each step is a call of the script that is rendered to [`STORAGE_SETUP`]; the script looks first,
//! leaves alone what is there, and refuses to touch what holds anything.

use super::STORAGE_SETUP;
use super::storage::{device_of, iscsi_of};
use super::watchdog;
use crate::definition::{Activation, Definition, Filesystem, FilesystemKind, Storage, VolumeGroup};
use crate::types::{Name, NodeName};

/// When a step is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the cluster starts.
    BeforeStart,
    /// While the cluster runs on all nodes: what the lock managers must agree to.
    Running,
}

/// One piece of storage that is made where it is missing.
///
/// Both commands end with 0 if it is there (afterwards). [`SetupStep::check`] changes nothing and ends
/// with [`SetupStep::MISSING`] if it is missing and can be made, with [`SetupStep::TOO_EARLY`] if nobody
/// can tell before the lock manager runs. It ends with anything else if it cannot be made, because something else is there, or if nobody can tell: then the step must not be carried
/// out, and standard error says why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetupStep {
    /// What the step does, in the imperative: `make the volume group vg_shared`.
    pub title: String,
    /// When it is carried out. Steps of one phase are carried out in their order.
    pub phase: Phase,
    /// The nodes that carry it out; several may do so at once.
    pub on: Vec<NodeName>,
    /// Finds out whether the step is needed.
    pub check: Vec<String>,
    /// Carries it out.
    pub make: Vec<String>,
}

impl SetupStep {
    /// How [`SetupStep::check`] ends if the piece is missing and can be made.
    pub const MISSING: i32 = 10;

    /// How [`SetupStep::check`] ends if the lock manager has to run first, which Pacemaker starts.
    pub const TOO_EARLY: i32 = 11;

    /// The step as a POSIX shell script that needs no file on the node: carried out if `make`, looked at
    /// otherwise. It ends as the commands do.
    #[must_use]
    pub fn script(&self, make: bool) -> String {
        let command = if make { &self.make } else { &self.check };
        let words = command.get(1..).unwrap_or_default();
        format!("set -- {}\n{SCRIPT}", shell::command(words))
    }
}

/// The script behind the steps.
pub(super) const SCRIPT: &str = include_str!("scripts/storage-setup");

/// The steps that make the storage of a cluster ready, in their order.
#[must_use]
pub fn storage_setup(definition: &Definition) -> Vec<SetupStep> {
    let mut steps = sessions(definition);
    paths(definition, &mut steps);
    messages(definition, &mut steps);
    for group in &definition.volume_groups {
        make_group(definition, group, &mut steps);
    }
    for filesystem in &definition.filesystems {
        if let Some(step) = make_filesystem(definition, filesystem) {
            steps.push(step);
        }
    }
    if steps.iter().any(|step| step.phase == Phase::Running) {
        let anyone = definition
            .nodes
            .iter()
            .take(1)
            .map(|node| node.name.clone());
        steps.push(step(
            "let Pacemaker try again what failed while the storage was not ready".to_owned(),
            Phase::Running,
            anyone.collect(),
            vec!["recovered".to_owned()],
        ));
    }
    steps.sort_by_key(|step| step.phase);
    steps
}

fn step(title: String, phase: Phase, on: Vec<NodeName>, piece: Vec<String>) -> SetupStep {
    let call = |mode: &str| {
        [STORAGE_SETUP.to_owned(), mode.to_owned()]
            .into_iter()
            .chain(piece.iter().cloned())
            .collect()
    };
    SetupStep {
        title,
        phase,
        on,
        check: call("check"),
        make: call("make"),
    }
}

/// What follows needs the device over all paths, and multipathd is otherwise started with the cluster.
fn paths(definition: &Definition, steps: &mut Vec<SetupStep>) {
    for storage in definition.storage.iter().filter(|one| one.multipath) {
        let Some(device) = device_of(storage) else {
            continue;
        };
        let on = reaching(definition, std::slice::from_ref(&storage.name));
        if !on.is_empty() {
            let title = format!("bring the paths of {} together", storage.name);
            let piece = vec!["paths".to_owned(), device];
            steps.push(step(title, Phase::BeforeStart, on, piece));
        }
    }
}

/// Each node logs in by itself: its record is its own.
fn sessions(definition: &Definition) -> Vec<SetupStep> {
    let mut steps: Vec<SetupStep> = Vec::new();
    for storage in &definition.storage {
        let on: Vec<NodeName> = definition
            .nodes
            .iter()
            .filter(|node| {
                iscsi_of(definition, node)
                    .iter()
                    .any(|one| one.name == storage.name)
            })
            .map(|node| node.name.clone())
            .collect();
        let Some(target) = storage.target.as_ref().filter(|_| !on.is_empty()) else {
            continue;
        };
        let paths = if storage.multipath { usize::MAX } else { 1 };
        for portal in storage.portals.iter().take(paths) {
            let mut piece = vec![
                "session".to_owned(),
                target.to_string(),
                portal.to_string(),
                patience(storage).to_owned(),
            ];
            if let Some(chap) = &storage.chap {
                piece.push(chap.user.as_str().to_owned());
                piece.push(chap.password_file.as_str().to_owned());
            }
            let title = format!("log in to {target} at {portal}");
            // Two units of one target share a session.
            if !steps.iter().any(|known| known.title == title) {
                steps.push(step(title, Phase::BeforeStart, on.clone(), piece));
            }
        }
    }
    steps
}

/// How long, in seconds, input and output wait for a lost connection before they fail. Over several
/// paths another one takes over, the sooner the better.
fn patience(storage: &Storage) -> &'static str {
    if storage.multipath { "15" } else { "120" }
}

fn messages(definition: &Definition, steps: &mut Vec<SetupStep>) {
    let Some(sbd) = &definition.options.sbd else {
        return;
    };
    let on: Vec<NodeName> = definition
        .nodes
        .iter()
        .take(1)
        .map(|node| node.name.clone())
        .collect();
    for device in &sbd.devices {
        let piece = vec![
            "messages".to_owned(),
            watchdog::seconds(sbd).to_string(),
            device.as_str().to_owned(),
        ];
        let title = format!("make sbd's slots on {device}");
        steps.push(step(title, Phase::BeforeStart, on.clone(), piece));
    }
}

/// The nodes that reach all of these.
fn reaching(definition: &Definition, storage: &[Name]) -> Vec<NodeName> {
    definition
        .nodes
        .iter()
        .filter(|node| {
            definition
                .storage
                .iter()
                .filter(|one| storage.contains(&one.name))
                .all(|one| one.nodes.is_empty() || one.nodes.contains(&node.name))
        })
        .map(|node| node.name.clone())
        .collect()
}

fn make_group(definition: &Definition, group: &VolumeGroup, steps: &mut Vec<SetupStep>) {
    let devices: Vec<String> = definition
        .storage
        .iter()
        .filter(|storage| group.storage.contains(&storage.name))
        .filter_map(device_of)
        .collect();
    let all = reaching(definition, &group.storage);
    let one: Vec<NodeName> = all.iter().take(1).cloned().collect();
    if devices.len() < group.storage.len() || one.is_empty() {
        return;
    }
    let (kind, phase) = if group.shared {
        ("shared", Phase::Running)
    } else {
        ("local", Phase::BeforeStart)
    };
    let mut piece = vec!["group".to_owned(), kind.to_owned(), group.name.to_string()];
    piece.extend(devices.iter().cloned());
    steps.push(step(
        format!("make the volume group {}", group.name),
        phase,
        one.clone(),
        piece,
    ));
    let mut piece = vec!["known".to_owned()];
    piece.extend(devices);
    steps.push(step(
        format!("let LVM see the devices of {}", group.name),
        phase,
        all,
        piece,
    ));
    for volume in definition
        .volumes
        .iter()
        .filter(|volume| volume.group == group.name)
    {
        let formatted = definition.filesystems.iter().any(|filesystem| {
            definition
                .volume_of(filesystem)
                .is_some_and(|own| own.group == volume.group && own.name == volume.name)
        });
        // LVM's newer mirrors are active on one node at a time; the older ones, with cmirrord, on all.
        let layout = match (volume.mirrors.get(), definition.activation_of(volume)) {
            (0, _) => "linear",
            (_, Activation::Shared) => "mirror",
            (_, Activation::Exclusive) => "raid1",
        };
        let piece = vec![
            "volume".to_owned(),
            kind.to_owned(),
            group.name.to_string(),
            volume.name.to_string(),
            volume.size.bytes().to_string(),
            layout.to_owned(),
            volume.mirrors.get().to_string(),
            if formatted { "formatted" } else { "bare" }.to_owned(),
        ];
        let title = format!("make the volume {}/{}", group.name, volume.name);
        steps.push(step(title, phase, one.clone(), piece));
    }
}

fn make_filesystem(definition: &Definition, filesystem: &Filesystem) -> Option<SetupStep> {
    let (place, below, phase) = if let Some(path) = &filesystem.volume {
        let group = definition.volume_group(path.group.as_str())?;
        let phase = if group.shared {
            Phase::Running
        } else {
            Phase::BeforeStart
        };
        (path.to_string(), group.storage.clone(), phase)
    } else {
        let storage = definition.storage(filesystem.storage.as_ref()?.as_str())?;
        (
            device_of(storage)?,
            vec![storage.name.clone()],
            Phase::BeforeStart,
        )
    };
    let on: Vec<NodeName> = reaching(definition, &below).into_iter().take(1).collect();
    let mut piece = vec![filesystem.kind.as_str().to_owned(), place.clone()];
    if filesystem.kind == FilesystemKind::Gfs2 {
        piece.push(format!("{}:{}", definition.name, filesystem.name));
        piece.push(definition.journals_of(filesystem).to_string());
    }
    let title = format!(
        "make the {} file system {} on {place}",
        filesystem.kind.as_str(),
        filesystem.name
    );
    (!on.is_empty()).then(|| step(title, phase, on, piece))
}
