//! What is to be done on hosts and nodes besides putting the rendered files there.

use std::collections::BTreeMap;

use super::super::setup::{Phase, storage_setup};
use super::super::storage::device_of;
use super::super::units::{host_units, node_units};
use super::Text;
use crate::definition::{Activation, Definition, Listener, Node};

fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn hosts(text: &mut Text, definition: &Definition) {
    let libvirt: Vec<_> = definition
        .hosts
        .iter()
        .filter(|host| definition.host_kind(host).has_libvirt())
        .collect();
    let units = host_units(definition);
    if libvirt.is_empty() || (units.enable.is_empty() && definition.storage.is_empty()) {
        return;
    }
    text.section("On the hosts");
    if !units.enable.is_empty() {
        let names: Vec<&str> = libvirt.iter().map(|host| host.name.as_str()).collect();
        text.point(&format!(
            "Put the rendered files on {}, then enable and start {}.",
            list(&names),
            list(&units.enable)
        ));
    }
    text.point("Where a host's files have /etc/picket/guests/NODE/DEVICE.xml, add the device to the guest: `virsh attach-device GUEST FILE --config`; it is there when the guest is next started.");
    let listens = |listener| {
        definition
            .fence_devices
            .iter()
            .filter_map(|device| device.virt())
            .any(|virt| virt.listener == listener)
    };
    if listens(Listener::Vmchannel) {
        text.point("A guestfwd channel belongs to a network of QEMU's own (`<interface type='user'>`): the guest needs one besides its bridge.");
    }
    if listens(Listener::Multicast) {
        text.point("Multicast must pass between guests and host: on a bridge with snooping, either switch snooping off or provide a querier. The guest's firewall must let the answer in (TCP, from the host).");
    }
}

/// Whether the node's distribution is from before Corosync 3.
fn has_older_programs(definition: &Definition, node: &Node) -> bool {
    /// The first versions with Corosync 3.
    const FIRST: [(&str, u32); 6] = [
        ("rhel", 8),
        ("centos", 8),
        ("oracle", 8),
        ("sles", 16),
        ("debian", 10),
        ("ubuntu", 20),
    ];
    definition.guest_os(node).is_some_and(|os| {
        FIRST
            .iter()
            .any(|(name, first)| os.is(name) && os.version.major() < *first)
    })
}

pub(super) fn nodes(text: &mut Text, definition: &Definition) {
    text.section("On the nodes");
    let older: Vec<&str> = definition
        .nodes
        .iter()
        .filter(|node| has_older_programs(definition, node))
        .map(|node| node.name.as_str())
        .collect();
    if !older.is_empty() {
        text.point(&format!(
            "The rendered files are for Corosync 3 and Pacemaker 2.1 or newer. The distribution of {} came with older programs, on RHEL 5 and 6 with CMAN and rgmanager, which do not read them.",
            list(&older)
        ));
    }
    text.point("Give every node the host name that the definition has, a static address, and the time from one source outside the cluster (suse.ip, suse.time).");
    let mut alike: BTreeMap<(Vec<&str>, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for node in &definition.nodes {
        let units = node_units(definition, node);
        alike
            .entry((units.enable, units.disable))
            .or_default()
            .push(node.name.as_str());
    }
    for ((enable, disable), names) in alike {
        let mut line = format!("On {}: put the rendered files there", list(&names));
        if !disable.is_empty() {
            line.push_str(&format!(
                ", disable and stop {} (Pacemaker starts what is needed of them)",
                list(&disable)
            ));
        }
        line.push_str(&format!(", then enable and start {}.", list(&enable)));
        text.point(&line);
    }
    if let Some(device) = &definition.options.quorum_device {
        text.point(&format!(
            "On {}, which is not a member: run corosync-qnetd. Make its certificates and those of the nodes with `corosync-qdevice-net-certutil -Q -n {} {} NODE…`, once (rhel.qdevice, unverified).",
            device.host, definition.name, device.host
        ));
    }
    if definition.options.sbd.is_some() {
        text.point("sbd starts and stops together with Corosync, by a rendered drop-in; it cannot be started by hand.");
        text.point("Test the watchdog of every node before you trust it: `sbd query-watchdog`, then `sbd -w /dev/watchdog test-watchdog`, which resets the node.");
    }
}

/// What fencing does not do by itself.
pub(super) fn fencing(text: &mut Text, definition: &Definition) {
    let agents: Vec<&str> = ["fence_scsi", "fence_mpath"]
        .into_iter()
        .filter(|agent| definition.uses_agent(agent))
        .collect();
    if !agents.is_empty() {
        text.section("Fencing by reservations");
        let checks: Vec<String> = agents
            .iter()
            .map(|agent| format!("{agent}_check"))
            .collect();
        let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
        text.point("It cuts a node off from its storage and from nothing else: the node goes on running, with its addresses, until it is restarted (fa.pr). Every application must live on the storage in question (rhel.scsi-scope).");
        text.point(&format!(
            "To have a fenced node restart by itself, link {} from the agents' package into /etc/watchdog.d of each node, and run watchdog(8) there (hist.wd62).",
            list(&checks)
        ));
        text.point("A node that has restarted is let in again when it joins; nothing is to be done for that.");
    }
    secrets(text, definition);
}

fn secrets(text: &mut Text, definition: &Definition) {
    let secrets: Vec<_> = definition
        .fence_devices
        .iter()
        .flat_map(|device| {
            device
                .secrets
                .iter()
                .map(move |(option, file)| (device, option, file))
        })
        .collect();
    let chaps: Vec<_> = definition
        .storage
        .iter()
        .filter_map(|storage| storage.chap.as_ref().map(|chap| (storage, chap)))
        .collect();
    if secrets.is_empty() && chaps.is_empty() {
        return;
    }
    text.section("Secrets");
    text.say("No rendered file holds these. Put each on every node, owned by root, mode 0600, as one line.");
    for (device, option, file) in secrets {
        text.point(&format!(
            "{}: the {option} of the fencing device `{}`.",
            file.as_str(),
            device.name
        ));
    }
    for (storage, chap) in chaps {
        text.point(&format!(
            "{}: the password of the iSCSI user `{}` for the storage `{}`.",
            chap.password_file.as_str(),
            chap.user.as_str(),
            storage.name
        ));
    }
}

pub(super) fn storage(text: &mut Text, definition: &Definition) {
    let steps = storage_setup(definition);
    if steps.is_empty() {
        return;
    }
    text.section("Storage, once");
    text.say("The script looks first. It leaves alone what is there, and formats nothing that holds anything.");
    for phase in [Phase::BeforeStart, Phase::Running] {
        for step in steps.iter().filter(|step| step.phase == phase) {
            let when = match phase {
                Phase::BeforeStart => "before the cluster starts",
                Phase::Running => "while the cluster runs",
            };
            let names: Vec<&str> = step.on.iter().map(|name| name.as_str()).collect();
            text.point(&format!(
                "{} ({when}, on {}):\n\n    {}\n",
                capital(&step.title),
                list(&names),
                shell::command(&step.make)
            ));
        }
    }
    for storage in definition
        .storage
        .iter()
        .filter(|storage| device_of(storage).is_none())
    {
        text.point(&format!(
            "The definition does not say which device `{}` is in the nodes: add `device` to it; what lies on it is not made ready until then.",
            storage.name
        ));
    }
    let mirrored_everywhere = definition.volumes.iter().any(|volume| {
        volume.mirrors.get() > 0 && definition.activation_of(volume) == Activation::Shared
    });
    if mirrored_everywhere {
        text.point("A mirrored volume that is active on several nodes needs cmirrord on each of them (S02), which newer distributions no longer have; there, let the storage mirror, or use a clustered MD array below the volume group.");
    }
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}
