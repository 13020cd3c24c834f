//! Whether every node can be fenced, by something that can know.

use cluster::{FenceAction, FenceDevice, Node, PlatformKind};

use super::{ALWAYS, judged, place, reason};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const EVERYWHERE: Rule = Rule {
    id: "fencing-everywhere",
    title: "every node can be fenced",
    editions: ALWAYS,
    statements: &[],
    sources: &["rhel.fence-must", "suse.fence-must", "ubuntu.support"],
    explanation: "A node that cannot be fenced blocks the cluster when it fails: nobody may take over its services, \
        because nobody can know that it has stopped writing. A cluster told to go on without fencing loses data \
        when both halves of a split write. Every vendor asks for a fencing device for every node, guests \
        included.",
    check: everywhere,
};

fn everywhere(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let sbd = facts.definition.options.sbd.as_ref();
    if sbd.is_some_and(|sbd| sbd.devices.is_empty()) {
        // Without disks SBD fences every node that has a watchdog; what that takes is in rules of its own.
        return;
    }
    for node in facts.nodes() {
        let levels = facts.definition.levels_of(node);
        if levels.iter().any(|level| !level.is_empty()) {
            continue;
        }
        out.push(
            reason(
                EVERYWHERE.id,
                Severity::Unsafe,
                "rhel.fence-must",
                format!(
                    "nothing can fence `{}`: if it fails, its services stay down, or run twice",
                    node.name
                ),
            )
            .about(place("node", &node.name))
            .remedy(if sbd.is_some() {
                "add a `[[fence]]` device with `agent = \"fence_sbd\"`: it writes the messages that SBD reads from the disks".to_owned()
            } else {
                format!(
                    "add a `[[fence]]` device that can fence it, and name `{}` in its `nodes`",
                    node.name
                )
            }),
        );
    }
}

/// Agents that ask a hypervisor or its manager, and so can only switch guests.
pub(super) const OF_GUESTS: &[&str] = &[
    "fence_xvm",
    "fence_virt",
    "fence_virsh",
    "fence_vmware",
    "fence_vmware_rest",
    "fence_vmware_soap",
    "fence_vmware_vcloud",
    "fence_rhev",
    "fence_rhevm",
    "fence_hyperv",
    "fence_kubevirt",
    "fence_nutanix_ahv",
    "fence_pve",
    "fence_xenapi",
    "fence_azure_arm",
    "fence_aws",
    "fence_openstack",
    "fence_vbox",
    "fence_docker",
];

/// Agents that ask the management controller of a single machine: they know no plugs.
pub(super) const CONTROLLERS: &[&str] = &[
    "fence_ipmilan",
    "fence_ipmilanplus",
    "fence_idrac",
    "fence_ilo",
    "fence_ilo2",
    "fence_ilo3",
    "fence_ilo4",
    "fence_ilo5",
    "fence_ilo_ssh",
    "fence_imm",
    "fence_drac",
    "fence_redfish",
    "fence_rsa",
    "fence_rsb",
];

/// Agents that switch a machine's mains or its management controller.
const OF_MACHINES: &[&str] = &[
    "fence_ipmilan",
    "fence_ipmilanplus",
    "fence_idrac",
    "fence_ilo",
    "fence_ilo2",
    "fence_ilo3",
    "fence_ilo4",
    "fence_ilo5",
    "fence_ilo_ssh",
    "fence_imm",
    "fence_drac",
    "fence_drac5",
    "fence_redfish",
    "fence_apc",
    "fence_apc_snmp",
    "fence_eaton_snmp",
    "fence_raritan",
    "fence_wti",
    "fence_bladecenter",
    "fence_hpblade",
    "fence_cisco_ucs",
    "fence_rsa",
    "fence_rsb",
    "fence_lpar",
];

pub(super) const FITS_NODE: Rule = Rule {
    id: "agent-fits-node",
    title: "a guest is fenced as a guest, a machine as a machine",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "An agent that asks a hypervisor cannot switch off a bare-metal node: it finds no such guest, and \
        the cluster blocks; or it finds a guest of that name, and reports a machine off that still runs. An \
        agent that switches mains or a management controller, given a guest, switches off the host with all \
        its other guests.",
    check: fits_node,
};

fn fits_node(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    for node in facts.nodes() {
        for device in facts.devices_of(node) {
            out.extend(misfit(node, device));
        }
    }
}

fn misfit(node: &Node, device: &FenceDevice) -> Option<Reason> {
    let agent = device.agent.as_str();
    if !node.is_guest() && OF_GUESTS.contains(&agent) {
        return Some(
            judged(
                FITS_NODE.id,
                Severity::Unsafe,
                "what switches guests cannot switch a machine",
                format!(
                    "`{}` is a machine of its own, and {agent} can only switch guests",
                    node.name
                ),
            )
            .about(place("node", &node.name))
            .remedy("fence it with the agent of its management controller, such as fence_ipmilan"),
        );
    }
    if node.is_guest() && OF_MACHINES.contains(&agent) {
        return Some(
            judged(
                FITS_NODE.id,
                Severity::Warning,
                "what switches a machine switches all its guests",
                format!("{agent} fences the guest `{}` by switching off a machine with all its guests", node.name),
            )
            .about(place("fence", &device.name))
            .remedy(
                "fence the guest through its platform first, and use this device as a later level, pinned to \
                 the host on which the guest runs",
            ),
        );
    }
    None
}

/// Agents that ask something with an address.
const OF_MANAGERS: &[&str] = &[
    "fence_vmware",
    "fence_vmware_rest",
    "fence_vmware_soap",
    "fence_rhev",
    "fence_rhevm",
    "fence_nutanix_ahv",
    "fence_pve",
    "fence_ipmilan",
    "fence_idrac",
    "fence_ilo4",
    "fence_redfish",
    "fence_apc",
    "fence_virsh",
    "fence_hyperv",
];

pub(super) const TARGET: Rule = Rule {
    id: "fence-target",
    title: "what fences is known, and lies outside the cluster",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "An agent that asks a manager, a host or a controller needs its address. It must not be an address \
        of the cluster itself: what a failed node or a service carries cannot be asked when that node or service \
        has failed.",
    check: target,
};

fn target(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let definition = facts.definition;
    for device in definition
        .fence_devices
        .iter()
        .filter(|device| facts.is_used(device))
    {
        let given = ["ip", "ipaddr"].iter().find_map(|key| {
            let (_, value) = device
                .options
                .iter()
                .find(|(name, _)| name.as_str() == *key)?;
            Some(value.to_string())
        });
        let managed = definition
            .platform
            .manager
            .as_ref()
            .is_some_and(|manager| manager.address.is_some());
        let asks = OF_MANAGERS.contains(&device.agent.as_str());
        let Some(address) = given else {
            if asks && !(managed && OF_GUESTS.contains(&device.agent.as_str())) {
                out.push(
                    judged(
                        TARGET.id,
                        Severity::Unsafe,
                        "an agent that knows no address can ask nobody",
                        format!(
                            "{} is not told whom to ask: fencing by it always fails",
                            device.agent
                        ),
                    )
                    .about(place("fence", &device.name))
                    .remedy("give it `options = { ip = \"…\" }`, or the manager an `address`"),
                );
            }
            continue;
        };
        if let Some(owner) = inside(facts, &address) {
            out.push(
                judged(
                    TARGET.id,
                    Severity::Unsafe,
                    "what has failed cannot be asked",
                    format!("the device asks {address}, which belongs to {owner}: it cannot be asked when that has failed"),
                )
                .about(place("fence", &device.name))
                .remedy("give the device the address of something outside the cluster"),
            );
        }
    }
}

/// Which part of the cluster has this address.
fn inside(facts: &Facts<'_>, address: &str) -> Option<String> {
    let ip: Option<std::net::IpAddr> = address.parse().ok();
    let node = facts.nodes().find(|node| {
        node.name.as_str() == address || ip.is_some_and(|ip| node.addresses.contains(&ip))
    });
    let service = facts.definition.services.iter().find(|service| {
        ip.is_some() && service.virtual_ip.map(|interface| interface.address) == ip
    });
    node.map(|node| format!("node `{}`", node.name))
        .or_else(|| service.map(|service| format!("service `{}`", service.name)))
}

pub(super) const LEVELS: Rule = Rule {
    id: "fence-levels",
    title: "each fencing level adds something",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "A later level is tried when an earlier one fails. One that asks the same device again fails for \
        the same reason and only costs time. Two devices that ask the same program on the same hosts fail \
        together as well. The devices of one level work together: a machine with two power supplies is off only \
        when both are. Where one of them cannot fence a node, the rest of the level says alone that it is off.",
    check: |facts, out| {
        for node in facts.nodes() {
            out.extend(half_a_level(facts, node));
            let levels = facts.definition.levels_of(node);
            for (index, level) in levels.iter().enumerate() {
                let again = level.iter().find(|device| {
                    levels[..index]
                        .iter()
                        .any(|earlier| earlier.len() == 1 && earlier[0].name == device.name)
                });
                if let Some(device) = again {
                    out.push(
                        judged(
                            LEVELS.id,
                            Severity::Warning,
                            "what failed once fails again for the same reason",
                            format!(
                                "level {} of `{}` asks `{}` again, which has failed by then",
                                index + 1,
                                node.name,
                                device.name
                            ),
                        )
                        .about(place("node", &node.name))
                        .remedy("make the later level independent of the earlier one: another path, another device"),
                    );
                }
            }
        }
    },
};

/// A level of all nodes of which some devices cannot fence this one.
fn half_a_level(facts: &Facts<'_>, node: &Node) -> Option<Reason> {
    let definition = facts.definition;
    if node.levels.is_some() {
        // A node's own levels name devices that fence it, or are refused.
        return None;
    }
    definition.fencing.levels.iter().find_map(|level| {
        let devices = level
            .iter()
            .filter_map(|name| definition.device(name.as_str()));
        let (able, unable): (Vec<_>, Vec<_>) =
            devices.partition(|device| definition.can_fence(device, node));
        let (able, unable) = (able.first()?, unable.first()?);
        let is_power = |device: &FenceDevice| OF_MACHINES.contains(&device.agent.as_str());
        let severity = if is_power(able) && is_power(unable) {
            Severity::Unsafe
        } else {
            Severity::Warning
        };
        Some(
            judged(
                LEVELS.id,
                severity,
                "devices of one level are meant to work together",
                format!(
                    "`{}` cannot fence `{}`, so `{}` alone says at that level that it is off",
                    unable.name, node.name, able.name
                ),
            )
            .about(place("node", &node.name))
            .remedy(format!(
                "add `{}` to the `nodes` of `{}`, or give it `levels` of its own",
                node.name, unable.name
            )),
        )
    })
}

pub(super) const ACTION: Rule = Rule {
    id: "platform-restart",
    title: "what is fenced is not started behind the cluster's back",
    editions: ALWAYS,
    statements: &[],
    sources: &["pve.host"],
    explanation: "A platform whose own high availability starts guests again brings a fenced guest back by itself. \
        With `action = \"off\"` that undoes the decision; with `reboot` two parties start the guest. A guest \
        that comes back while fencing still looks makes a confirmed power-off impossible, and one with a broken \
        network is back before the fault is mended. One of the two should decide.",
    check: action,
};

fn action(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if !facts.definition.platform.restarts_guests || facts.guests().next().is_none() {
        return;
    }
    let off = facts.definition.fencing.action == FenceAction::Off;
    let message = if off {
        "fencing is to leave a node off, and the platform starts guests again that it finds off"
    } else {
        "both the platform and fencing start a guest again: a start in between makes a power-off look failed"
    };
    let severity = if off {
        Severity::Unsafe
    } else {
        Severity::Warning
    };
    out.push(
        judged(ACTION.id, severity, "two parties decide whether a guest runs", message)
            .about("platform.restarts_guests")
            .remedy("switch the platform's restart policy off for the members, and set `restarts_guests = false`"),
    );
    if facts.kind() == PlatformKind::Proxmox {
        out.push(
            reason(
                ACTION.id,
                Severity::Warning,
                "pve.host",
                format!(
                    "the hosts' own HA moves guests about 60 s after it lost one: fencing ({}) and the token must \
                     have ended by then",
                    facts.definition.fencing.timeout
                ),
            )
            .about("fencing"),
        );
    }
}
