//! Nodes: whether they answer, agree, and are members.

use std::collections::BTreeSet;

use super::{Alarms, list};
use crate::gather::Inventory;
use crate::pacemaker::{Node, View};
use crate::status::{NodeAnswer, Status};

/// A clock that is this far from ours makes times in logs and ages hard to compare, in seconds.
const CLOCK_TOLERANCE: u64 = 10;

/// What came of asking each node.
pub(super) fn asked(alarms: &mut Alarms, status: &Status) {
    for report in &status.asked {
        let node = report.node.as_str();
        match &report.result {
            NodeAnswer::View { .. } | NodeAnswer::NotAsked => {}
            NodeAnswer::NoCluster { detail } => alarms.warn(
                "cluster-not-running",
                node,
                format!("the cluster is not running on {node}: {detail}"),
            ),
            NodeAnswer::Unreadable { detail } => alarms.warn(
                "answer-unreadable",
                node,
                format!("the answer of {node} cannot be read: {detail}"),
            ),
            NodeAnswer::Unanswered { reason } => alarms.warn(
                "node-not-asked",
                node,
                format!("{node} could not be asked: {reason}"),
            ),
        }
        for trouble in &report.trouble {
            if matches!(report.result, NodeAnswer::View { .. }) {
                alarms.warn("tool-failed", node, format!("{node}: {trouble}"));
            }
        }
        if let Some(ahead) = report.clock_ahead
            && ahead.unsigned_abs() > CLOCK_TOLERANCE
        {
            let way = if ahead > 0 { "ahead" } else { "behind" };
            alarms.warn(
                "clock",
                node,
                format!(
                    "the clock of {node} is {} seconds {way}",
                    ahead.unsigned_abs()
                ),
            );
        }
    }
    disagreement(alarms, status);
}

/// What other nodes see differently from the one whose view is shown.
fn disagreement(alarms: &mut Alarms, status: &Status) {
    let view_of = |name: &str| {
        status.asked.iter().find_map(|report| match &report.result {
            NodeAnswer::View {
                quorate,
                coordinator,
                online,
            } if report.node == name => Some((quorate, coordinator, online)),
            _ => None,
        })
    };
    let Some(shown) = status.seen_by.as_deref() else {
        return;
    };
    let Some((quorate, coordinator, online)) = view_of(shown) else {
        return;
    };
    for report in &status.asked {
        let node = report.node.as_str();
        let Some((their_quorate, their_coordinator, their_online)) = view_of(node) else {
            continue;
        };
        let mut different = Vec::new();
        if their_quorate != quorate {
            different.push(format!("quorum: {}", yes_no(*their_quorate)));
        }
        if their_coordinator != coordinator {
            let other = their_coordinator.as_deref().unwrap_or("none");
            different.push(format!("coordinator: {other}"));
        }
        if set(their_online) != set(online) {
            different.push(format!("online: {}", list(their_online)));
        }
        if !different.is_empty() {
            alarms.critical(
                "nodes-disagree",
                node,
                format!(
                    "{node} sees another cluster than {shown}: {}",
                    different.join("; ")
                ),
            );
        }
    }
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

const fn yes_no(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

/// Quorum, coordinator, and the state of each node.
pub(super) fn membership(alarms: &mut Alarms, status: &Status, view: &View, inventory: &Inventory) {
    match view.quorate {
        Some(true) => {}
        Some(false) => alarms.critical("no-quorum", "", "this partition has no quorum"),
        None => alarms.critical("quorum-unknown", "", "Pacemaker does not tell about quorum"),
    }
    if let Some(quorum) = &status.quorum
        && quorum.quorate.is_some()
        && quorum.quorate != view.quorate
    {
        alarms.critical(
            "quorum-differs",
            "",
            "Corosync and Pacemaker disagree about quorum: the membership is changing, or Pacemaker is stuck",
        );
    }
    if view.coordinator.is_none() {
        alarms.critical("no-coordinator", "", "no coordinator (DC) is elected");
    }
    if view.nodes.is_empty() {
        alarms.critical("no-nodes", "", "Pacemaker does not tell about any node");
    }
    for node in &view.nodes {
        state(alarms, node);
    }
    unseen_members(alarms, status, view);
    if !inventory.complete {
        return;
    }
    for expected in &inventory.nodes {
        if !view.nodes.iter().any(|node| node.name == expected.name) {
            alarms.critical(
                "node-missing",
                &expected.name,
                format!(
                    "{} is in the definition and not in the cluster",
                    expected.name
                ),
            );
        }
    }
    for node in &view.nodes {
        let is_member = matches!(node.kind.as_deref(), None | Some("member"));
        let is_known = inventory.nodes.iter().any(|known| known.name == node.name);
        if is_member && !is_known {
            alarms.warn(
                "node-unknown",
                &node.name,
                format!("{} is in the cluster and not in the definition", node.name),
            );
        }
    }
}

fn state(alarms: &mut Alarms, node: &Node) {
    let name = node.name.as_str();
    match node.state() {
        "online" => {}
        state @ ("UNCLEAN (online)" | "UNCLEAN (offline)") => alarms.critical(
            "node-unclean",
            name,
            format!("{name} is {state}: what runs on it is not known until it is fenced"),
        ),
        "unknown" => alarms.critical(
            "node-unknown-state",
            name,
            format!("Pacemaker does not tell whether {name} is online"),
        ),
        state => alarms.warn("node-not-online", name, format!("{name} is {state}")),
    }
}

/// Nodes that Pacemaker counts as online and Corosync has lost, or the other way round.
fn unseen_members(alarms: &mut Alarms, status: &Status, view: &View) {
    let Some(quorum) = &status.quorum else {
        return;
    };
    for node in &view.nodes {
        let Some(id) = node.id.as_deref() else {
            continue;
        };
        if !matches!(node.kind.as_deref(), None | Some("member")) {
            continue;
        }
        let is_member = quorum.members.iter().any(|member| member.id == id);
        let name = node.name.as_str();
        if node.online == Some(true) && !is_member {
            alarms.critical(
                "membership-differs",
                name,
                format!(
                    "{name} is gone from Corosync's membership; Pacemaker has not acted on it yet"
                ),
            );
        } else if node.online == Some(false) && is_member {
            alarms.warn(
                "membership-differs",
                name,
                format!("{name} is in Corosync's membership, but Pacemaker does not run on it"),
            );
        }
    }
}

/// Links between members that do not carry.
pub(super) fn links(alarms: &mut Alarms, status: &Status) {
    let Some(view) = &status.view else {
        return;
    };
    for report in &status.asked {
        for link in &report.links {
            let cut: Vec<&str> = link
                .peers
                .iter()
                .filter(|peer| peer.is_connected() != Some(true))
                .filter_map(|peer| {
                    view.nodes
                        .iter()
                        .find(|node| node.id.as_ref() == Some(&peer.id))
                })
                // To a node that is off nothing carries.
                .filter(|node| node.online == Some(true))
                .map(|node| node.name.as_str())
                .collect();
            if !cut.is_empty() {
                alarms.warn(
                    "link-down",
                    &report.node,
                    format!(
                        "link {} of {} does not reach {}",
                        link.id,
                        report.node,
                        list(&cut)
                    ),
                );
            }
        }
    }
}
