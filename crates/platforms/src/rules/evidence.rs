//! Whether what fences can know that it did: agents that switch nothing, plugs of the wrong node, and
//! reservations that cut a node off from nothing.

use cluster::{FenceDevice, Node, Storage};

use super::fencing::{CONTROLLERS, OF_GUESTS};
use super::{ALWAYS, judged, list, place};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

/// Agents that report success although nothing was switched: for tests, or on a person's word.
const PRETENDING: &[&str] = &["fence_dummy", "fence_manual", "fence_ack_manual"];

/// Agents that find out something that helps another device of the same or a later level, and switch
/// nothing themselves.
const HELPING: &[&str] = &["fence_heuristics_ping", "fence_kdump"];

pub(super) const SWITCHES: Rule = Rule {
    id: "fencing-switches",
    title: "what fences switches the node, or cuts it off",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "A level of fencing succeeds when its devices say so. An agent that is made for tests or only asks a \
        person says so although the node goes on writing. fence_heuristics_ping finds out whether this node \
        should fence, and fence_kdump whether a crashed node is saving its memory: both help another device, and \
        are no fencing by themselves.",
    check: |facts, out| {
        for node in facts.nodes() {
            out.extend(pretended(facts, node));
        }
    },
};

fn is_one(agents: &[&str], device: &FenceDevice) -> bool {
    agents.contains(&device.agent.as_str())
}

fn pretended(facts: &Facts<'_>, node: &Node) -> Option<Reason> {
    let levels = facts.definition.levels_of(node);
    let hollow = levels.iter().find(|level| {
        level.iter().all(|device| {
            is_one(PRETENDING, device) || device.agent.as_str() == "fence_heuristics_ping"
        })
    });
    let (device, what) = if let Some(level) = hollow {
        (
            *level.first()?,
            "a level that it alone makes up succeeds, and the node goes on writing",
        )
    } else {
        let idle = levels
            .iter()
            .flatten()
            .all(|device| is_one(PRETENDING, device) || is_one(HELPING, device));
        (
            *levels.iter().flatten().next().filter(|_| idle)?,
            "it helps another device, and there is none",
        )
    };
    Some(
        judged(
            SWITCHES.id,
            Severity::Unsafe,
            "success needs somebody who switched the node and looked",
            format!("{} does not switch `{}`: {what}", device.agent, node.name),
        )
        .about(place("fence", &device.name))
        .remedy("put a device that switches the node into the same level"),
    )
}

pub(super) const PLUGS: Rule = Rule {
    id: "fence-plug",
    title: "a device fences the node that it is asked to fence",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "What a device switches is its plug: the guest's name, or the number of an outlet. If the plug is \
        another member's, that member is killed, the cluster takes the failed node for off, and it goes on \
        writing. A management controller has no plugs: it switches its own machine, whatever it is asked for, \
        so each machine needs a device with its own controller's address.",
    check: |facts, out| {
        for device in &facts.definition.fence_devices {
            out.extend(wrong_plug(facts, device));
        }
    },
};

fn wrong_plug(facts: &Facts<'_>, device: &FenceDevice) -> Option<Reason> {
    let definition = facts.definition;
    if device.agent.is_reservation()
        || is_one(HELPING, device)
        || device.agent.as_str() == "fence_sbd"
    {
        return None;
    }
    let own: Vec<&Node> = facts
        .nodes()
        .filter(|node| {
            let devices = facts.devices_of(node);
            devices.iter().any(|used| used.name == device.name)
        })
        .collect();
    let unsafe_because = |message: String, remedy: &str| {
        judged(
            PLUGS.id,
            Severity::Unsafe,
            "whoever holds the plug is switched, not whoever was meant",
            message,
        )
        .about(place("fence", &device.name))
        .remedy(remedy)
    };
    if is_one(CONTROLLERS, device) {
        return (own.len() > 1).then(|| {
            unsafe_because(
                format!(
                    "{} switches one machine, and `{}` is to fence {}",
                    device.agent,
                    device.name,
                    list(own.iter().map(|node| &node.name))
                ),
                "make a device for each node, with the address of its own controller",
            )
        });
    }
    let plug = |node| definition.plug_of(device, node);
    own.iter().enumerate().find_map(|(at, node)| {
        let same = own[at + 1..]
            .iter()
            .find(|other| plug(other) == plug(node))
            .copied();
        let other = same.or_else(|| {
            let others = definition.guest_nodes();
            others
                .filter(|other| other.name != node.name && is_one(OF_GUESTS, device))
                .filter(|other| device.agent.is_virt() || definition.can_fence(device, other))
                .find(|other| is_called(other, plug(node)))
        })?;
        Some(unsafe_because(
            format!(
                "`{}` fences `{}` by switching `{}`, which is `{}` as well",
                device.name,
                node.name,
                plug(node),
                other.name
            ),
            "give each node its own plug in `plugs`, or its own `guest`",
        ))
    })
}

/// Whether the platform knows a guest by that name.
fn is_called(guest: &Node, plug: &str) -> bool {
    guest.plug() == plug
        || guest
            .uuid
            .is_some_and(|uuid| uuid.to_string().eq_ignore_ascii_case(plug))
}

pub(super) const REACH: Rule = Rule {
    id: "reservations-reach",
    title: "fencing by reservations cuts a node off from something",
    editions: ALWAYS,
    statements: &[],
    sources: &["S53"],
    explanation: "fence_scsi and fence_mpath take away a node's registration with storage. Where there is no such \
        storage, or the node does not reach it, there is nothing to take away: the agent fails for ever, or \
        reports a node cut off that was never connected, and goes on running its services.",
    check: |facts, out| {
        for node in facts.nodes() {
            for device in facts.devices_of(node) {
                out.extend(cut_off_from_nothing(facts, node, device));
            }
        }
    },
};

fn cut_off_from_nothing(facts: &Facts<'_>, node: &Node, device: &FenceDevice) -> Option<Reason> {
    if !device.agent.is_reservation() {
        return None;
    }
    let guarded = facts.definition.storage_of(device);
    let reached = |storage: &&Storage| {
        let nodes = facts.definition.nodes_of(storage);
        nodes.iter().any(|other| other.name == node.name)
    };
    let message = if guarded.is_empty() {
        format!(
            "{} fences `{}`, and the definition names no shared storage whose reservations it could use",
            device.agent, node.name
        )
    } else if !guarded.iter().any(reached) {
        format!(
            "{} fences `{}` on {}, which it does not reach: it is cut off from nothing",
            device.agent,
            node.name,
            list(guarded.iter().map(|storage| &storage.name))
        )
    } else {
        return None;
    };
    Some(
        judged(
            REACH.id,
            Severity::Unsafe,
            "a registration that never was cannot be taken away",
            message,
        )
        .about(place("fence", &device.name))
        .remedy("let it guard storage that the node uses, or fence the node with an agent that switches it"),
    )
}
