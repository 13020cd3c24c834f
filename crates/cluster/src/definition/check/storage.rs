//! Storage, volume groups and volumes.

use std::collections::HashSet;

use super::super::{Activation, Storage, StorageKind, Volume};
use super::{Check, Owners};

pub(super) fn check(check: &mut Check<'_>) {
    let definition = check.definition;
    let storage = &definition.storage;
    check.unique_names(
        "storage",
        "storage",
        storage.iter().map(|storage| &storage.name),
    );
    for (at, storage) in storage.iter().enumerate() {
        keys_fit_the_kind(check, at, storage);
        let nodes = check.node_names();
        check.known_names(
            ["storage".into(), at.into(), "nodes".into()],
            "node",
            &storage.nodes,
            &nodes,
        );
        if storage.preempt_and_abort == Some(true) && storage.persistent_reservations == Some(false)
        {
            check.advise(
                ["storage".into(), at.into(), "preempt_and_abort".into()],
                format!(
                    "storage `{}` cannot preempt and abort without reservations",
                    storage.name
                ),
                "correct `persistent_reservations` or `preempt_and_abort`",
            );
        }
    }
    same_disk(check);
    volume_groups(check);
    for (at, volume) in definition.volumes.iter().enumerate() {
        check_volume(check, at, volume);
    }
}

/// Keys that belong to iSCSI stand with it only, and it has those that it needs.
fn keys_fit_the_kind(check: &mut Check<'_>, at: usize, storage: &Storage) {
    let name = &storage.name;
    let iscsi = [
        ("target", storage.target.is_some()),
        ("portals", !storage.portals.is_empty()),
        ("lun", storage.lun.is_some()),
        ("chap", storage.chap.is_some()),
        ("server", storage.server.is_some()),
    ];
    if storage.kind == StorageKind::Iscsi {
        for (key, _) in iscsi[..2].iter().filter(|(_, given)| !given) {
            check.advise(
                ["storage".into(), at.into(), "kind".into()],
                format!("iSCSI storage `{name}` has no `{key}`"),
                "the nodes log in to the `target` at its `portals`",
            );
        }
        if storage.path.is_some() {
            check.advise_key(
                ["storage".into(), at.into(), "path".into()],
                format!("iSCSI storage `{name}` has no `path` on the hosts"),
                "the nodes reach it themselves; what the device is called in them is `device`",
            );
        }
        return;
    }
    for (key, _) in iscsi.into_iter().filter(|(_, given)| *given) {
        check.advise_key(
            ["storage".into(), at.into(), key.into()],
            format!("`{}` storage has no `{key}`", storage.kind),
            "only `kind = \"iscsi\"` has it",
        );
    }
    let on_unix = matches!(
        storage.kind,
        StorageKind::HostBlock
            | StorageKind::RawImage
            | StorageKind::XenBlock
            | StorageKind::ScsiPassthrough
            | StorageKind::Qcow2Image
    );
    if let Some(path) = storage.path.as_ref().filter(|_| on_unix)
        && !path.as_str().starts_with('/')
    {
        check.advise(
            ["storage".into(), at.into(), "path".into()],
            format!("`{path}` is not an absolute path"),
            "name the device or the file on the hosts, as `/dev/mapper/shared`",
        );
    }
}

/// No disk is two.
fn same_disk(check: &mut Check<'_>) {
    let mut paths = Owners::new();
    let mut devices = Owners::new();
    let mut units = Owners::new();
    for (at, storage) in check.definition.storage.iter().enumerate() {
        if let Some(path) = &storage.path
            && let Some(first) = paths.take(path, &storage.name)
        {
            check.say(
                ["storage".into(), at.into(), "path".into()],
                format!("`{path}` is already storage `{first}`"),
            );
        }
        if let Some(device) = &storage.device
            && let Some(first) = devices.take(device, &storage.name)
        {
            check.say(
                ["storage".into(), at.into(), "device".into()],
                format!("`{device}` is already storage `{first}`"),
            );
        }
        if let Some(target) = &storage.target {
            let lun = storage.lun.map_or(0, |lun| lun.get());
            if let Some(first) = units.take((target, lun), &storage.name) {
                check.say(
                    ["storage".into(), at.into(), "target".into()],
                    format!("logical unit {lun} of `{target}` is already storage `{first}`"),
                );
            }
        }
        for (number, portal) in storage.portals.iter().enumerate() {
            if storage.portals[..number].contains(portal) {
                check.say(
                    ["storage".into(), at.into(), "portals".into(), number.into()],
                    format!("portal {portal} is listed twice"),
                );
            }
        }
    }
}

fn volume_groups(check: &mut Check<'_>) {
    let definition = check.definition;
    let groups = &definition.volume_groups;
    check.unique_names(
        "volume_group",
        "volume group",
        groups.iter().map(|group| &group.name),
    );
    let mut owners = Owners::new();
    let known = check.storage_names();
    for (at, group) in groups.iter().enumerate() {
        let path = ["volume_group".into(), at.into(), "storage".into()];
        check.known_names(path, "storage", &group.storage, &known);
        if group.storage.is_empty() {
            check.advise(
                path,
                format!("volume group `{}` lies on no storage", group.name),
                "name the storage that makes it up",
            );
        }
        let mut reached: Option<HashSet<&str>> = None;
        for (number, name) in group.storage.iter().enumerate() {
            let path = [
                "volume_group".into(),
                at.into(),
                "storage".into(),
                number.into(),
            ];
            if let Some(first) = owners.take(name, &group.name)
                && *first != group.name
            {
                check.say(
                    path,
                    format!("storage `{name}` already belongs to volume group `{first}`"),
                );
            }
            let Some(storage) = definition.storage(name.as_str()) else {
                continue;
            };
            let nodes = definition.nodes_of(storage);
            let nodes: HashSet<_> = nodes.iter().map(|node| node.name.as_str()).collect();
            if reached.as_ref().is_some_and(|before| *before != nodes) {
                check.advise(
                    path,
                    format!(
                        "not the same nodes reach all storage of volume group `{}`",
                        group.name
                    ),
                    "give its storage the same `nodes`",
                );
            }
            reached.get_or_insert(nodes);
        }
    }
}

fn check_volume(check: &mut Check<'_>, at: usize, volume: &Volume) {
    let definition = check.definition;
    let known: Vec<_> = definition
        .volume_groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    check.known_name(
        ["volume".into(), at.into(), "group".into()],
        "volume group",
        volume.group.as_str(),
        &known,
    );
    let same = |other: &Volume| other.group == volume.group && other.name == volume.name;
    if definition.volumes[..at].iter().any(same) {
        check.say(
            ["volume".into(), at.into(), "name".into()],
            format!(
                "a second volume named `{}` in volume group `{}`",
                volume.name, volume.group
            ),
        );
    }
    let Some(group) = definition.volume_group(volume.group.as_str()) else {
        return;
    };
    let copies = volume.mirrors.get() as usize + 1;
    if copies > group.storage.len().max(1) {
        check.advise(
            ["volume".into(), at.into(), "mirrors".into()],
            format!(
                "{copies} copies of volume `{}` need {copies} disks, volume group `{}` has {}",
                volume.name,
                group.name,
                group.storage.len()
            ),
            "each copy lies on a disk of its own: add storage to the volume group",
        );
    }
    if volume.activation == Some(Activation::Shared) && !group.shared {
        check.advise(
            ["volume".into(), at.into(), "activation".into()],
            format!("volume group `{}` is not shared", group.name),
            "write `shared = true` in the volume group: then the nodes lock it against each other",
        );
    }
}
