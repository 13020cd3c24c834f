//! Clustered storage: the lock managers, volumes that are active on many nodes, and file systems.

use super::parts::{self, Primitive, colocation, only_on, order};
use crate::definition::{Activation, Definition, Filesystem, Service, Volume, VolumeGroup};
use crate::render::storage::device_of;
use crate::render::xml::Element;
use crate::types::Span;

/// The clone of the lock managers.
pub(super) const LOCKING_CLONE: &str = "cluster.locking.clone";

/// How often resources are looked after that fail quickly and are cheap to ask.
pub(super) const OFTEN: Span = Span::from_secs(10);

/// How often lock managers and mounts are looked after.
const SELDOM: Span = Span::from_secs(30);

fn uses_lvmlockd(definition: &Definition) -> bool {
    definition.volume_groups.iter().any(|group| group.shared)
}

fn group_of<'a>(definition: &'a Definition, filesystem: &Filesystem) -> Option<&'a VolumeGroup> {
    let path = filesystem.volume.as_ref()?;
    definition.volume_group(path.group.as_str())
}

fn is_in_shared_group(definition: &Definition, volume: &Volume) -> bool {
    definition
        .volume_group(volume.group.as_str())
        .is_some_and(|group| group.shared)
}

/// Whether the file system lies on a volume that lvmlockd guards.
pub(super) fn needs_lvmlockd(definition: &Definition, filesystem: &Filesystem) -> bool {
    group_of(definition, filesystem).is_some_and(|group| group.shared)
}

/// The service's file systems.
pub(super) fn filesystems_of<'a>(
    definition: &'a Definition,
    service: &'a Service,
) -> impl Iterator<Item = &'a Filesystem> {
    service
        .filesystems
        .iter()
        .filter_map(|name| definition.filesystem(name.as_str()))
}

/// The nodes that reach everything the file system lies on.
pub(super) fn nodes_of<'a>(definition: &'a Definition, filesystem: &Filesystem) -> Vec<&'a str> {
    let below = match (group_of(definition, filesystem), &filesystem.storage) {
        (Some(group), _) => group.storage.as_slice(),
        (None, Some(storage)) => std::slice::from_ref(storage),
        (None, None) => &[],
    };
    reaching(definition, below)
}

fn reaching<'a>(definition: &'a Definition, storage: &[crate::types::Name]) -> Vec<&'a str> {
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
        .map(|node| node.name.as_str())
        .collect()
}

/// The group of a clustered file system, and of a local one that belongs to a node.
fn group_id(filesystem: &Filesystem) -> String {
    format!("cluster.filesystem.{}", filesystem.name)
}

/// The clone of a clustered file system.
pub(super) fn clone_id(filesystem: &Filesystem) -> String {
    format!("{}.clone", group_id(filesystem))
}

/// The clone of a volume that is active on all nodes without a file system.
fn volume_id(volume: &Volume) -> String {
    format!("cluster.volume.{}.{}", volume.group, volume.name)
}

/// What mounts the file system: the activation of its volume, if it lies on one, and the mount. `owner`
/// is the group that they become members of.
pub(super) fn mounted<'a>(
    definition: &'a Definition,
    filesystem: &Filesystem,
    owner: &str,
) -> Vec<Primitive<'a>> {
    let timeout = definition.options.operation_timeout;
    let clustered = filesystem.kind.is_clustered();
    let mut all = Vec::new();
    if let Some(volume) = definition.volume_of(filesystem) {
        let id = format!("{owner}.volume.{}", filesystem.name);
        all.push(activated(definition, volume, id));
    }
    let device = filesystem.volume.as_ref().map_or_else(
        || {
            let name = filesystem.storage.as_ref();
            let storage = name.and_then(|name| definition.storage(name.as_str()));
            storage.and_then(device_of).unwrap_or_default()
        },
        |path| format!("/dev/{path}"),
    );
    let mount = Primitive::ocf(
        format!("{owner}.mount.{}", filesystem.name),
        "heartbeat",
        "Filesystem",
    )
    .with("device", device)
    .with("directory", filesystem.mount.as_str())
    .with("fstype", filesystem.kind.as_str());
    let mount = match &filesystem.options {
        Some(options) => mount.with("options", options.as_str()),
        None => mount,
    };
    let mount = mount.operated(timeout, SELDOM);
    all.push(if clustered {
        mount.fenced_when_it_fails()
    } else {
        mount
    });
    all
}

/// The activation of a volume: guarded by lvmlockd in a shared group, by the group's owner otherwise.
fn activated<'a>(definition: &Definition, volume: &Volume, id: String) -> Primitive<'a> {
    let access = if is_in_shared_group(definition, volume) {
        "lvmlockd"
    } else {
        "system_id"
    };
    let activation = match definition.activation_of(volume) {
        Activation::Shared => "shared",
        Activation::Exclusive => "exclusive",
    };
    Primitive::ocf(id, "heartbeat", "LVM-activate")
        .with("vgname", volume.group.as_str())
        .with("lvname", volume.name.as_str())
        .with("vg_access_mode", access)
        .with("activation_mode", activation)
        .operated(patience(definition), SELDOM)
}

/// Volumes of shared groups that are active on all nodes and hold no file system of the definition.
fn bare_volumes(definition: &Definition) -> impl Iterator<Item = &Volume> {
    definition.volumes.iter().filter(|volume| {
        let mounted = definition.filesystems.iter().any(|filesystem| {
            definition
                .volume_of(filesystem)
                .is_some_and(|own| own.group == volume.group && own.name == volume.name)
        });
        !mounted
            && is_in_shared_group(definition, volume)
            && definition.activation_of(volume) == Activation::Shared
    })
}

/// The most an operation of a lock manager or of a clustered volume may take: never less than these
/// agents ask for in their metadata (90 s, and 100 s for the stop of `controld`). Whoever comes back waits there for the others to give locks away.
fn patience(definition: &Definition) -> Span {
    definition
        .options
        .operation_timeout
        .max(Span::from_secs(100))
}

/// The lock managers. What they serve hangs on a node where one has failed until the node is fenced.
fn locking(definition: &Definition) -> Option<Element> {
    if !definition.needs_dlm() {
        return None;
    }
    let timeout = patience(definition);
    let mut members = vec![
        Primitive::ocf("cluster.dlm", "pacemaker", "controld")
            .operated(timeout, SELDOM)
            .fenced_when_it_fails(),
    ];
    if uses_lvmlockd(definition) {
        members.push(
            Primitive::ocf("cluster.lvmlockd", "heartbeat", "lvmlockd")
                .operated(timeout, SELDOM)
                .fenced_when_it_fails(),
        );
    }
    let group = parts::group("cluster.locking", &members);
    Some(parts::clone(LOCKING_CLONE, None, group))
}

/// How many nodes may have the file system mounted, where that is fewer than there are.
fn most(definition: &Definition, filesystem: &Filesystem) -> Option<usize> {
    let journals = definition.journals_of(filesystem);
    (journals < definition.nodes.len()).then_some(journals)
}

/// The lock managers, clustered volumes and file systems, and local file systems of single nodes.
pub(super) fn resources(definition: &Definition) -> Vec<Element> {
    let mut all: Vec<Element> = locking(definition).into_iter().collect();
    for volume in bare_volumes(definition) {
        let id = volume_id(volume);
        let volume = activated(definition, volume, id.clone()).element();
        all.push(parts::clone(&format!("{id}.clone"), None, volume));
    }
    for filesystem in &definition.filesystems {
        let id = group_id(filesystem);
        let group = || parts::group(&id, &mounted(definition, filesystem, &id));
        if filesystem.kind.is_clustered() {
            let most = most(definition, filesystem);
            all.push(parts::clone(&clone_id(filesystem), most, group()));
        } else if filesystem.node.is_some() {
            all.push(group());
        }
    }
    all
}

/// What waits for the lock managers, and what only some nodes can reach.
pub(super) fn constraints(definition: &Definition) -> Vec<Element> {
    let mut all = Vec::new();
    let mut locked = |id: &str| {
        all.push(order(format!("{id}._order"), LOCKING_CLONE, id));
        all.push(colocation(
            format!("{id}._colocation"),
            id,
            LOCKING_CLONE,
            "INFINITY",
        ));
    };
    let mut bans = Vec::new();
    for volume in bare_volumes(definition) {
        let id = format!("{}.clone", volume_id(volume));
        locked(&id);
        let group = definition.volume_group(volume.group.as_str());
        let storage = group.map_or(&[][..], |group| &group.storage);
        bans.extend(only_on(definition, &id, &reaching(definition, storage)));
    }
    for filesystem in &definition.filesystems {
        if filesystem.kind.is_clustered() {
            let id = clone_id(filesystem);
            locked(&id);
            bans.extend(only_on(definition, &id, &nodes_of(definition, filesystem)));
        } else if let Some(node) = &filesystem.node {
            let id = group_id(filesystem);
            if needs_lvmlockd(definition, filesystem) {
                locked(&id);
            }
            bans.extend(only_on(definition, &id, &[node.as_str()]));
        }
    }
    all.extend(bans);
    all
}
