//! Services: names, addresses, ports.

use std::collections::HashMap;

use super::super::Definition;
use super::super::document::Document;
use crate::error::Finding;

/// Names that would give two elements of Pacemaker's configuration the same id.
const RESERVED: [&str; 3] = ["cluster", "defaults", "fence"];

pub(super) fn check(definition: &Definition, document: &Document<'_>, findings: &mut Vec<Finding>) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    let mut ports = HashMap::new();
    for (at, service) in definition.services.iter().enumerate() {
        let place = |key: &str| document.at(&["service".into(), at.into(), key.into()]);
        let name = &service.name;
        if RESERVED.contains(&name.as_str()) {
            let message = format!("a service cannot be named `{name}`");
            findings.push(
                Finding::new(place("name"), message)
                    .help("the word names other parts of the Pacemaker configuration"),
            );
        }
        if names.insert(name, ()).is_some() {
            findings.push(Finding::new(
                place("name"),
                format!("a second service named `{name}`"),
            ));
        }
        if let Some(ip) = service.virtual_ip
            && let Some(other) = addresses.insert(ip.address, name)
        {
            let message = format!(
                "virtual address {} already belongs to service `{other}`",
                ip.address
            );
            findings.push(Finding::new(place("virtual_ip"), message));
        }
        if let Some(http) = &service.http
            && let Some(other) = ports.insert(http.port, name)
        {
            let message = format!(
                "port {} is already used by service `{other}`, which may run on the same node",
                http.port
            );
            findings.push(
                Finding::new(place("http"), message).help("give each service a port of its own"),
            );
        }
        check_virtual_ip(definition, document, at, findings);
    }
}

fn check_virtual_ip(
    definition: &Definition,
    document: &Document<'_>,
    at: usize,
    findings: &mut Vec<Finding>,
) {
    let Some(ip) = definition.services[at].virtual_ip else {
        return;
    };
    let place = document.at(&["service".into(), at.into(), "virtual_ip".into()]);
    for node in &definition.nodes {
        if node.addresses.contains(&ip.address) {
            let message = format!(
                "virtual address {} is the address of node `{}`",
                ip.address, node.name
            );
            findings.push(
                Finding::new(place.clone(), message).help(
                    "a virtual address moves between the nodes and must belong to none of them",
                ),
            );
        } else if !node
            .addresses
            .iter()
            .any(|address| ip.has_room_for(*address))
        {
            let message = format!(
                "node `{}` ({}) is not in the network of {ip}",
                node.name,
                node.address()
            );
            findings.push(Finding::new(place, message).help(
                "choose a virtual address and prefix length of the nodes' own network, or give the nodes their addresses in that network as a second link",
            ));
            return;
        }
    }
}
