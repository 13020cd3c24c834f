//! Nodes: names, addresses, the favoured one.

use std::collections::HashMap;

use super::super::document::Document;
use super::super::fencing::RawFencing;
use super::super::grow::default_favour;
use super::super::{Definition, FAVOUR_DELAY, Favour, Node};
use crate::error::Finding;

pub(super) fn check(definition: &Definition, document: &Document<'_>, findings: &mut Vec<Finding>) {
    if definition.nodes.is_empty() {
        findings.push(
            Finding::new(document.end(), "the cluster has no node")
                .help("add a `[[node]]` with `name` and `address` for each member"),
        );
    }
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for (at, node) in definition.nodes.iter().enumerate() {
        if names.insert(&node.name, at).is_some() {
            let message = format!("a second node named `{}`", node.name);
            findings.push(
                Finding::new(
                    document.at(&["node".into(), at.into(), "name".into()]),
                    message,
                )
                .help("each node needs a name of its own"),
            );
        }
        for (link, address) in node.addresses.iter().enumerate() {
            if let Some(first) = addresses.insert(*address, &node.name) {
                let message = format!("address {address} already belongs to node `{first}`");
                let path = ["node".into(), at.into(), "address".into(), link.into()];
                findings.push(Finding::new(document.at(&path), message));
            }
        }
    }
    check_links(definition, document, findings);
}

/// Each link joins all nodes, by addresses of one family.
fn check_links(definition: &Definition, document: &Document<'_>, findings: &mut Vec<Finding>) {
    let Some(first) = definition.nodes.first() else {
        return;
    };
    for (at, node) in definition.nodes.iter().enumerate() {
        let path = ["node".into(), at.into(), "address".into()];
        if node.addresses.len() != first.addresses.len() {
            let message = format!(
                "node `{}` has {} addresses, node `{}` has {}",
                node.name,
                node.addresses.len(),
                first.name,
                first.addresses.len()
            );
            findings.push(
                Finding::new(document.at(&path), message)
                    .help("each of Corosync's links needs an address on every node"),
            );
            return;
        }
        let mixed = node
            .addresses
            .iter()
            .zip(first.addresses.iter())
            .any(|(one, other)| one.is_ipv4() != other.is_ipv4());
        if mixed {
            findings.push(
                Finding::new(document.at(&path), "the nodes' addresses mix IPv4 and IPv6")
                    .help("Corosync's link needs the same kind of address on all nodes"),
            );
            return;
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
        let names: Vec<_> = nodes
            .iter()
            .map(|node| format!("`{}`", node.name))
            .collect();
        let span = document.at(&["fencing".into(), "favour".into()]);
        findings.push(
            Finding::new(span, format!("there is no node named `{favour}`"))
                .help(format!("the nodes are {}", names.join(" and "))),
        );
    }
    Some(Favour {
        node: favour.clone(),
        delay,
    })
}
