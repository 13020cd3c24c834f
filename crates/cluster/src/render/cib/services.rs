//! Services: groups of resources, and what holds between them.

use super::parts::{self, Primitive, colocation, location, only_on, order};
use super::storage;
use crate::definition::{Definition, Resource, Service};
use crate::render::xml::Element;

/// The id of what stands for the whole service: its group, or the clone of its group.
fn top(service: &Service) -> String {
    if service.clone {
        format!("cluster.clone.{}", service.name)
    } else {
        service.name.as_str().to_owned()
    }
}

/// The members of the service's group in the order in which they start: file systems first, so that the
/// resources find their data; the web page last, so that it is not shown before there is something.
fn members<'a>(definition: &'a Definition, service: &'a Service) -> Vec<Primitive<'a>> {
    let timeout = definition.options.operation_timeout;
    let mut members: Vec<Primitive<'_>> = local_filesystems(definition, service)
        .flat_map(|filesystem| storage::mounted(definition, filesystem, service.name.as_str()))
        .collect();
    if let Some(ip) = &service.virtual_ip {
        members.push(
            Primitive::ocf(format!("{}.ip", service.name), "heartbeat", "IPaddr2")
                .with("ip", ip.address.to_string())
                .with("cidr_netmask", ip.prefix.to_string())
                .operated(timeout, storage::OFTEN),
        );
    }
    members.extend(
        service
            .resources
            .iter()
            .map(|resource| own(definition, service, resource)),
    );
    if let Some(http) = &service.http {
        let page = Primitive::ocf(format!("{}.http", service.name), "picket", "httpd")
            .with("port", http.port.to_string());
        let page = match &http.text {
            Some(text) => page.with("text", text.as_str()),
            None => page,
        };
        members.push(page.operated(timeout, storage::OFTEN));
    }
    members
}

fn own<'a>(definition: &Definition, service: &Service, resource: &'a Resource) -> Primitive<'a> {
    let usual = definition.options.operation_timeout;
    let agent = &resource.agent;
    let options = resource
        .options
        .iter()
        .map(|(name, value)| parts::pair(name.as_str(), value.as_str()));
    Primitive::new(
        format!("{}.{}", service.name, resource.name),
        agent.class(),
        agent.provider(),
        agent.kind(),
    )
    .with_all(options)
    .operation("start", None, resource.start_timeout.unwrap_or(usual))
    .operation("stop", None, resource.stop_timeout.unwrap_or(usual))
    .operation(
        "monitor",
        Some(resource.monitor),
        resource.monitor_timeout.unwrap_or(usual),
    )
}

fn local_filesystems<'a>(
    definition: &'a Definition,
    service: &'a Service,
) -> impl Iterator<Item = &'a crate::definition::Filesystem> {
    storage::filesystems_of(definition, service)
        .filter(|filesystem| !filesystem.kind.is_clustered())
}

/// The services that have a resource. One without only says what the others wait for.
fn present(definition: &Definition) -> impl Iterator<Item = &Service> {
    definition
        .services
        .iter()
        .filter(|service| !members(definition, service).is_empty())
}

/// The services as resources.
pub(super) fn resources(definition: &Definition) -> Vec<Element> {
    present(definition)
        .map(|service| {
            let group = parts::group(service.name.as_str(), &members(definition, service));
            if service.clone {
                parts::clone(&top(service), None, group)
            } else {
                group
            }
        })
        .collect()
}

/// What holds between services, and between them and nodes and storage.
pub(super) fn constraints(definition: &Definition) -> Vec<Element> {
    let present: Vec<&Service> = present(definition).collect();
    let find = |name: &crate::types::Name| present.iter().find(|service| service.name == *name);
    let mut all = Vec::new();
    for service in &present {
        let (name, top_id) = (&service.name, top(service));
        for other in service.after.iter().filter_map(find) {
            let id = format!("cluster.after.{name}.{}", other.name);
            all.push(order(id, &top(other), &top_id));
        }
        for other in service.with.iter().filter_map(find) {
            let id = format!("cluster.with.{name}.{}", other.name);
            all.push(colocation(id, &top_id, &top(other), "INFINITY"));
        }
        for other in service.apart_from.iter().filter_map(find) {
            let id = format!("cluster.apart.{name}.{}", other.name);
            all.push(colocation(id, &top_id, &top(other), "-INFINITY"));
        }
        // Small scores: they choose where a service starts, and never outweigh the stickiness of where
        // it runs.
        for (node, score) in service.prefer.iter().rev().zip(1_u32..) {
            let id = format!("{top_id}._prefer.{node}");
            all.push(location(id, &top_id, node.as_str(), &score.to_string()));
        }
        all.extend(storage_needs(definition, service, &top_id));
    }
    all
}

/// A service runs where its clustered file systems are mounted, after they are; and only where its
/// storage is reached.
fn storage_needs(definition: &Definition, service: &Service, top_id: &str) -> Vec<Element> {
    let name = &service.name;
    let mut all = Vec::new();
    for filesystem in storage::filesystems_of(definition, service)
        .filter(|filesystem| filesystem.kind.is_clustered())
    {
        let clone = storage::clone_id(filesystem);
        let id = format!("cluster.needs.{name}.{}", filesystem.name);
        all.push(order(format!("{id}._order"), &clone, top_id));
        all.push(colocation(
            format!("{id}._colocation"),
            top_id,
            &clone,
            "INFINITY",
        ));
    }
    let local: Vec<_> = local_filesystems(definition, service).collect();
    if local
        .iter()
        .any(|filesystem| storage::needs_lvmlockd(definition, filesystem))
    {
        let id = format!("cluster.locks.{name}");
        all.push(order(
            format!("{id}._order"),
            storage::LOCKING_CLONE,
            top_id,
        ));
        all.push(colocation(
            format!("{id}._colocation"),
            top_id,
            storage::LOCKING_CLONE,
            "INFINITY",
        ));
    }
    let mut allowed: Vec<&str> = definition
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    for filesystem in &local {
        let reach = storage::nodes_of(definition, filesystem);
        allowed.retain(|node| reach.contains(node));
    }
    all.extend(only_on(definition, top_id, &allowed));
    all
}
