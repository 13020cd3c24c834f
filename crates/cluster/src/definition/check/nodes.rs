//! Nodes: names, addresses, where they run, the favoured one.

use super::super::document::Document;
use super::super::fencing::RawFencing;
use super::super::grow::default_favour;
use super::super::{FAVOUR_DELAY, Favour, Node};
use super::{Check, Owners};
use crate::error::Finding;

pub(super) fn check(check: &mut Check<'_>) {
    let definition = check.definition;
    if definition.nodes.is_empty() {
        check.findings.push(
            Finding::new(check.document.end(), "the cluster has no node")
                .help("add a `[[node]]` with `name` and `address` for each member"),
        );
    }
    let names = definition.nodes.iter().map(|node| &node.name);
    check.unique_names("node", "node", names);
    addresses(check);
    links(check);
    for (at, node) in definition.nodes.iter().enumerate() {
        placement(check, at, node);
    }
    guests(check);
}

fn addresses(check: &mut Check<'_>) {
    let mut owners = Owners::new();
    for (at, node) in check.definition.nodes.iter().enumerate() {
        for (link, address) in node.addresses.iter().enumerate() {
            if let Some(first) = owners.take(*address, &node.name) {
                check.say(
                    ["node".into(), at.into(), "address".into(), link.into()],
                    format!("address {address} already belongs to node `{first}`"),
                );
            }
        }
    }
}

/// Each link joins all nodes, by addresses of one family.
fn links(check: &mut Check<'_>) {
    let nodes = &check.definition.nodes;
    let Some(first) = nodes.first() else {
        return;
    };
    for (at, node) in nodes.iter().enumerate() {
        let path = ["node".into(), at.into(), "address".into()];
        let (count, expected) = (node.addresses.len(), first.addresses.len());
        if count != expected {
            let message = format!(
                "node `{}` has {count} addresses, node `{}` has {expected}",
                node.name, first.name
            );
            check.advise(
                path,
                message,
                "each of Corosync's links needs an address on every node",
            );
            return;
        }
        let pairs = node.addresses.iter().zip(first.addresses.iter());
        if pairs
            .clone()
            .any(|(one, other)| one.is_ipv4() != other.is_ipv4())
        {
            check.advise(
                path,
                "the nodes' addresses mix IPv4 and IPv6".to_owned(),
                "Corosync's link needs the same kind of address on all nodes",
            );
            return;
        }
    }
}

/// Where a node runs must exist; a machine of its own runs nowhere.
fn placement(check: &mut Check<'_>, at: usize, node: &Node) {
    let definition = check.definition;
    if !node.is_guest() {
        let given = [
            ("host", node.host.is_some()),
            ("pinned", node.pinned),
            ("guest", node.guest.is_some()),
            ("uuid", node.uuid.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            check.advise_key(
                ["node".into(), at.into(), key.into()],
                format!("node `{}` is bare metal and has no `{key}`", node.name),
                format!("remove `{key}`, or the line `kind = \"bare-metal\"`"),
            );
        }
        return;
    }
    match &node.host {
        Some(host) => {
            let known: Vec<_> = definition
                .hosts
                .iter()
                .map(|host| host.name.as_str())
                .collect();
            check.known_name(
                ["node".into(), at.into(), "host".into()],
                "host",
                host.as_str(),
                &known,
            );
        }
        None if node.pinned => check.advise_key(
            ["node".into(), at.into(), "pinned".into()],
            format!("node `{}` is pinned, but to no host", node.name),
            "say which with `host`, or remove `pinned`",
        ),
        None => {}
    }
}

/// No two nodes are the same virtual machine.
fn guests(check: &mut Check<'_>) {
    let mut plugs = Owners::new();
    let mut uuids = Owners::new();
    let nodes = check.definition.nodes.iter().enumerate();
    for (at, node) in nodes.filter(|(_, node)| node.is_guest()) {
        // Hosts without a common manager may each have a guest of that name.
        if let Some(first) = plugs.take((node.plug(), &node.host), &node.name)
            && *first != node.name
        {
            check.say(
                ["node".into(), at.into(), "guest".into()],
                format!("guest `{}` is already node `{first}`", node.plug()),
            );
        }
        if let Some(uuid) = node.uuid
            && let Some(first) = uuids.take(uuid, &node.name)
        {
            check.say(
                ["node".into(), at.into(), "uuid".into()],
                format!("UUID {uuid} is already that of node `{first}`"),
            );
        }
    }
}

/// Who survives when two nodes fence each other.
pub(in super::super) fn favour(
    fencing: &RawFencing,
    nodes: &[Node],
    document: &Document<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Favour> {
    if nodes.len() != 2 {
        let given = fencing
            .favour
            .as_ref()
            .map(|_| "favour")
            .or_else(|| fencing.favour_delay.map(|_| "favour_delay"));
        if let Some(key) = given {
            let span = document.at(&["fencing".into(), key.into()]);
            findings.push(
                Finding::new(span, "only a cluster of two nodes favours one of them")
                    .help("remove the line: with another number of nodes the quorum decides"),
            );
        }
        return None;
    }
    let delay = fencing.favour_delay.unwrap_or(FAVOUR_DELAY);
    let Some(favour) = &fencing.favour else {
        return default_favour(nodes).map(|favour| Favour { delay, ..favour });
    };
    if nodes.iter().all(|node| node.name != *favour) {
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        let span = document.at(&["fencing".into(), "favour".into()]);
        findings.push(Finding::unknown(span, "node", favour.as_str(), &names));
    }
    Some(Favour {
        node: favour.clone(),
        delay,
    })
}
