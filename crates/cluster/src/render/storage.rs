//! What a node needs to reach its storage: iSCSI, multipath, LVM, DLM.

use std::fmt::Write as _;

use super::{File, Owner, STORAGE_SETUP};
use crate::definition::{Definition, Node, Storage, StorageKind};

/// The device of a storage in the nodes: what the definition says, or the name that udev gives to an
/// iSCSI unit. `None` if neither is known.
pub(crate) fn device_of(storage: &Storage) -> Option<String> {
    if let Some(device) = &storage.device {
        return Some(device.as_str().to_owned());
    }
    // Over several paths the device is called after the unit's serial number, which nobody knows yet.
    let (target, portal) = (storage.target.as_ref()?, storage.portals.first()?);
    let lun = storage.lun.map_or(0, |lun| lun.get());
    (storage.kind == StorageKind::Iscsi && !storage.multipath).then(|| {
        format!(
            "/dev/disk/by-path/ip-{}:{}-iscsi-{target}-lun-{lun}",
            portal.address, portal.port
        )
    })
}

/// The iSCSI storage that a node reaches.
pub(super) fn iscsi_of<'a>(definition: &'a Definition, node: &Node) -> Vec<&'a Storage> {
    definition
        .storage
        .iter()
        .filter(|storage| storage.kind == StorageKind::Iscsi && storage.target.is_some())
        .filter(|storage| storage.nodes.is_empty() || storage.nodes.contains(&node.name))
        .collect()
}

pub(super) fn multipath_of(definition: &Definition, node: &Node) -> bool {
    definition.storage.iter().any(|storage| {
        storage.multipath && (storage.nodes.is_empty() || storage.nodes.contains(&node.name))
    })
}

pub(super) fn files(definition: &Definition, node: &Node) -> Vec<File> {
    let mut files = Vec::new();
    let iscsi = iscsi_of(definition, node);
    if !iscsi.is_empty() {
        let name = initiator(definition, node, &iscsi);
        files.push(File::new(
            "/etc/iscsi/initiatorname.iscsi",
            0o600,
            Owner::Root,
            format!("InitiatorName={name}\n"),
        ));
    }
    let is_fenced_by_paths = definition.uses_agent("fence_mpath");
    if multipath_of(definition, node) || is_fenced_by_paths {
        let key = is_fenced_by_paths
            .then(|| definition.node_id(node))
            .flatten();
        files.push(File::new(
            "/etc/multipath/conf.d/picket.conf",
            0o644,
            Owner::Root,
            multipath(key),
        ));
    }
    if !definition.volume_groups.is_empty() {
        files.push(File::new(
            "/etc/lvm/lvmlocal.conf",
            0o644,
            Owner::Root,
            lvm(definition),
        ));
    }
    if definition.needs_dlm() && node.addresses.len() > 1 {
        files.push(File::new(
            "/etc/dlm/dlm.conf",
            0o644,
            Owner::Root,
            "# Over TCP the lock manager uses one link only, and refuses to start where there are several.\nprotocol=sctp\n",
        ));
    }
    if needs_setup(definition) {
        files.push(File::new(
            STORAGE_SETUP,
            0o755,
            Owner::Root,
            super::setup::SCRIPT,
        ));
    }
    if let Some(text) = start_order(definition, node) {
        for service in ["pacemaker", "sbd"] {
            if service == "sbd" && definition.options.sbd.is_none() {
                continue;
            }
            files.push(File::new(
                format!("/etc/systemd/system/{service}.service.d/50-picket-storage.conf"),
                0o644,
                Owner::Root,
                text.as_str(),
            ));
        }
    }
    files
}

/// Whether there is anything for the set-up script to do.
pub(super) fn needs_setup(definition: &Definition) -> bool {
    let iscsi = definition
        .storage
        .iter()
        .any(|storage| storage.kind == StorageKind::Iscsi && storage.target.is_some());
    let messages = definition
        .options
        .sbd
        .as_ref()
        .is_some_and(|sbd| !sbd.devices.is_empty());
    iscsi || messages || !definition.volume_groups.is_empty() || !definition.filesystems.is_empty()
}

/// The node's own name as an initiator. Targets know nodes by it, and reservations are kept under it: it
/// must be unlike every other, and the same after a new installation. It is made under the naming
/// authority of the target's own name, which whoever runs the target owns.
fn initiator(definition: &Definition, node: &Node, iscsi: &[&Storage]) -> String {
    let authority = iscsi
        .iter()
        .filter_map(|storage| storage.target.as_ref())
        .map(|target| target.as_str())
        .find(|target| target.starts_with("iqn."))
        .map_or("iqn.2016-04.com.open-iscsi", |target| {
            target.split(':').next().unwrap_or(target)
        });
    let cluster = definition
        .name
        .as_str()
        .to_ascii_lowercase()
        .replace('_', "-");
    format!("{authority}:{cluster}.{}", node.name)
}

/// Every node must know a device by the same name: the unit's own, not a number counted on each node. Some
/// distributions (Debian) let multipathd take only units that it has been told of, unless this says otherwise.
fn multipath(key: Option<u32>) -> String {
    let mut out = String::from("defaults {\n\tuser_friendly_names no\n\tfind_multipaths yes\n");
    if let Some(key) = key {
        let _ = writeln!(out, "\treservation_key 0x{key:x}");
    }
    out.push_str("}\n");
    out
}

/// `lvmlocal.conf` is read before `lvm.conf` and wins over it.
fn lvm(definition: &Definition) -> String {
    let mut out = String::from("global {\n");
    if definition.volume_groups.iter().any(|group| group.shared) {
        out.push_str("\tuse_lvmlockd = 1\n");
    }
    // A group that moves between the nodes belongs to one at a time, by the node's name.
    if definition.volume_groups.iter().any(|group| !group.shared) {
        out.push_str("\tsystem_id_source = \"uname\"\n");
    }
    out.push_str("}\n");
    out
}

/// Resources are looked for when Pacemaker starts: their devices must be there by then. Services that
/// the distribution has not are ignored by systemd.
fn start_order(definition: &Definition, node: &Node) -> Option<String> {
    let mut after = Vec::new();
    if !iscsi_of(definition, node).is_empty() {
        after.extend(["iscsi.service", "open-iscsi.service"]);
    }
    if multipath_of(definition, node) {
        after.push("multipathd.service");
    }
    (!after.is_empty()).then(|| {
        let after = after.join(" ");
        format!("[Unit]\nWants={after}\nAfter={after}\n")
    })
}
