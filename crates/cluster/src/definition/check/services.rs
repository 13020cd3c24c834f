//! Services: names, addresses, ports, what depends on what, resources.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::{Definition, Service};
use super::{Check, Owners};
use crate::types::{Interface, Name};

/// Names that would give two elements of Pacemaker's configuration the same id.
const RESERVED: [&str; 13] = [
    "cluster",
    "defaults",
    "fence",
    "fencing",
    "dlm",
    "dlm-clone",
    "locking",
    "locking-clone",
    "lvmlockd",
    "lvmlockd-clone",
    "storage",
    "volume",
    "filesystem",
];

/// Names of the parts of a service that are not its resources.
const PARTS: [&str; 2] = ["ip", "http"];

pub(super) fn check(check: &mut Check<'_>) {
    let services = &check.definition.services;
    check.unique_names(
        "service",
        "service",
        services.iter().map(|service| &service.name),
    );
    let mut addresses = Owners::new();
    let mut ports = Owners::new();
    for (at, service) in services.iter().enumerate() {
        let name = &service.name;
        if RESERVED.contains(&name.as_str()) {
            check.advise(
                ["service".into(), at.into(), "name".into()],
                format!("a service cannot be named `{name}`"),
                "the word names other parts of the Pacemaker configuration",
            );
        }
        if let Some(ip) = service.virtual_ip {
            if let Some(other) = addresses.take(ip.address, name) {
                check.say(
                    ["service".into(), at.into(), "virtual_ip".into()],
                    format!(
                        "virtual address {} already belongs to service `{other}`",
                        ip.address
                    ),
                );
            }
            virtual_ip(check, at, ip);
        }
        if let Some(http) = &service.http
            && let Some(other) = ports.take(http.port, name)
        {
            check.advise(
                ["service".into(), at.into(), "http".into()],
                format!(
                    "port {} is already used by service `{other}`, which may run on the same node",
                    http.port
                ),
                "give each service a port of its own",
            );
        }
        contents(check, at, service);
        relations(check, at, service);
        resources(check, at, service);
    }
    cycles(check, "after", |service| &service.after);
    cycles(check, "with", |service| &service.with);
}

fn virtual_ip(check: &mut Check<'_>, at: usize, ip: Interface) {
    let definition = check.definition;
    let path = ["service".into(), at.into(), "virtual_ip".into()];
    if let Some(owner) = other_owner(definition, ip.address) {
        check.say(
            path,
            format!("virtual address {} is that of {owner}", ip.address),
        );
    }
    for node in &definition.nodes {
        if node.addresses.contains(&ip.address) {
            check.advise(
                path,
                format!(
                    "virtual address {} is the address of node `{}`",
                    ip.address, node.name
                ),
                "a virtual address moves between the nodes and must belong to none of them",
            );
        } else if !node
            .addresses
            .iter()
            .any(|address| ip.has_room_for(*address))
        {
            check.advise(
                path,
                format!("node `{}` ({}) is not in the network of {ip}", node.name, node.address()),
                "choose a virtual address and prefix length of the nodes' own network, or give the nodes their addresses in that network as a second link",
            );
            return;
        }
    }
}

fn other_owner(definition: &Definition, address: IpAddr) -> Option<String> {
    let hosts = definition.hosts.iter();
    let host = hosts
        .filter(|host| host.address == Some(address))
        .map(|host| format!("host `{}`", host.name));
    let portals = definition.storage.iter().filter(|storage| {
        storage
            .portals
            .iter()
            .any(|portal| portal.address == address)
    });
    host.chain(portals.map(|storage| format!("a portal of storage `{}`", storage.name)))
        .next()
}

/// A service runs something, and on all nodes only what can be there several times.
fn contents(check: &mut Check<'_>, at: usize, service: &Service) {
    let definition = check.definition;
    let known: Vec<_> = definition
        .filesystems
        .iter()
        .map(|fs| fs.name.as_str())
        .collect();
    check.known_names(
        ["service".into(), at.into(), "filesystems".into()],
        "file system",
        &service.filesystems,
        &known,
    );
    let empty = service.virtual_ip.is_none()
        && service.http.is_none()
        && service.resources.is_empty()
        && service.filesystems.is_empty();
    if empty {
        check.advise(
            ["service".into(), at.into()],
            format!("service `{}` has nothing to run", service.name),
            "add a `virtual_ip`, `http`, `filesystems` or a `[[service.resource]]`",
        );
    }
    if service.clone && service.virtual_ip.is_some() {
        check.advise(
            ["service".into(), at.into(), "virtual_ip".into()],
            format!(
                "service `{}` runs on all nodes, but an address belongs to one",
                service.name
            ),
            "remove `clone`, or move the address to a service of its own",
        );
    }
}

/// What a service refers to exists, and does not contradict itself.
fn relations(check: &mut Check<'_>, at: usize, service: &Service) {
    let services = &check.definition.services;
    let known: Vec<_> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for (key, names) in [
        ("after", &service.after),
        ("with", &service.with),
        ("apart_from", &service.apart_from),
    ] {
        let path = ["service".into(), at.into(), key.into()];
        check.known_names(path, "service", names, &known);
        if key == "apart_from" && names.contains(&service.name) {
            check.say(
                path,
                format!("service `{}` cannot run apart from itself", service.name),
            );
        }
    }
    let contradiction = |name: &&Name| {
        let mutual = services
            .iter()
            .any(|other| other.name == **name && other.apart_from.contains(&service.name));
        service.apart_from.contains(name) || mutual
    };
    if let Some(other) = service.with.iter().find(contradiction) {
        check.advise(
            ["service".into(), at.into(), "with".into()],
            format!(
                "service `{}` is to run with and apart from service `{other}`",
                service.name
            ),
            "remove one of the two",
        );
    }
    let nodes = check.node_names();
    check.known_names(
        ["service".into(), at.into(), "prefer".into()],
        "node",
        &service.prefer,
        &nodes,
    );
}

fn resources(check: &mut Check<'_>, at: usize, service: &Service) {
    let mut names = Owners::new();
    for (number, resource) in service.resources.iter().enumerate() {
        let path = [
            "service".into(),
            at.into(),
            "resource".into(),
            number.into(),
            "name".into(),
        ];
        let name = resource.name.as_str();
        if names.take(name, ()).is_some() {
            check.say(
                path,
                format!(
                    "a second resource named `{name}` in service `{}`",
                    service.name
                ),
            );
        }
        if PARTS.contains(&name) || service.filesystems.iter().any(|fs| fs.as_str() == name) {
            check.advise(
                path,
                format!(
                    "a resource of service `{}` cannot be named `{name}`",
                    service.name
                ),
                "its address, its page or one of its file systems has that name in Pacemaker",
            );
        }
        for (option, value) in &resource.options {
            // The mark by which Pacemaker knows that cibsecret(8) keeps the value elsewhere.
            if option.smells_of_a_secret() && value.as_str() != "lrmd://" {
                check.advise_key(
                    [
                        "service".into(),
                        at.into(),
                        "resource".into(),
                        number.into(),
                        "options".into(),
                        option.as_str().into(),
                    ],
                    super::fencing::secret(option),
                    "name a file that holds it, if the agent can read one; or keep it with cibsecret(8) and write `lrmd://` here",
                );
            }
        }
    }
}

/// A relation that must not lead back to where it began.
fn cycles(check: &mut Check<'_>, key: &str, next: fn(&Service) -> &[Name]) {
    let services = &check.definition.services;
    let numbers: HashMap<&Name, usize> = services
        .iter()
        .enumerate()
        .map(|(at, service)| (&service.name, at))
        .collect();
    let edges: Vec<Vec<usize>> = services
        .iter()
        .map(|service| {
            next(service)
                .iter()
                .filter_map(|name| numbers.get(name).copied())
                .collect()
        })
        .collect();
    for cycle in find_cycles(&edges) {
        let first = cycle[0];
        let names: Vec<_> = cycle
            .iter()
            .chain([&first])
            .map(|at| services[*at].name.as_str())
            .collect();
        check.advise(
            ["service".into(), first.into(), key.into()],
            format!("`{key}` leads back to its beginning: {}", names.join(" → ")),
            format!("remove one of the services from `{key}`"),
        );
    }
}

/// Cycles of a graph, none of which shares a node with another: a walk in depth, without recursion.
fn find_cycles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut done = vec![false; edges.len()];
    let mut cycles = Vec::new();
    for start in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = if done[start] {
            vec![]
        } else {
            vec![(start, 0)]
        };
        while let Some((at, edge)) = path.last_mut() {
            let Some(next) = edges[*at].get(*edge).copied() else {
                done[*at] = true;
                path.pop();
                continue;
            };
            *edge += 1;
            if done[next] {
                continue;
            }
            match path.iter().position(|(seen, _)| *seen == next) {
                Some(from) => {
                    let cycle: Vec<usize> = path[from..].iter().map(|(at, _)| *at).collect();
                    cycle.iter().for_each(|at| done[*at] = true);
                    cycles.push(cycle);
                    path.truncate(from);
                }
                None => path.push((next, 0)),
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::find_cycles;

    #[test]
    fn cycles_are_found_wherever_they_begin() {
        assert_eq!(
            find_cycles(&[vec![1], vec![2], vec![]]),
            Vec::<Vec<usize>>::new()
        );
        assert_eq!(find_cycles(&[vec![0]]), [[0]]);
        assert_eq!(find_cycles(&[vec![1], vec![2], vec![1]]), [[1, 2]]);
        assert_eq!(
            find_cycles(&[vec![1, 2], vec![0], vec![3], vec![2]]),
            [vec![0, 1], vec![2, 3]]
        );
        let long: Vec<Vec<usize>> = (0..10_000).map(|at| vec![(at + 1) % 10_000]).collect();
        assert_eq!(find_cycles(&long)[0].len(), 10_000);
    }
}
