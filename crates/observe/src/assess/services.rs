//! Services: whether each resource does what it is meant to.

use std::collections::BTreeMap;

use super::{Alarms, list};
use crate::expected::Finding;
use crate::pacemaker::{FailedAction, Resource, Role, View};

/// `lacking` is what by the definition should run and does not: the definition knows better than the
/// cluster why that matters, so what is stopped is told there.
pub(super) fn check(alarms: &mut Alarms, view: &View, lacking: &[Finding]) {
    let is_told = |id: &str| lacking.iter().any(|finding| finding.resource == id);
    if view.options.maintenance == Some(true) {
        alarms.warn(
            "maintenance",
            "",
            "the cluster is in maintenance mode: nothing is started, stopped or recovered",
        );
    }
    if view.options.stop_all == Some(true) {
        alarms.warn(
            "stop-all",
            "",
            "all resources are to be stopped (stop-all-resources)",
        );
    }
    for resource in &view.resources {
        of_resource(alarms, view, resource, is_told(&resource.id));
    }
    missing_instances(alarms, view, is_told);
    for action in &view.failures {
        failed_action(alarms, action);
    }
}

fn of_resource(alarms: &mut Alarms, view: &View, resource: &Resource, is_told: bool) {
    let id = resource.id.as_str();
    for (set, code, what) in [
        (resource.failed, "resource-failed", "has failed"),
        (
            resource.blocked,
            "resource-blocked",
            "is blocked: Pacemaker cannot go on with it",
        ),
    ] {
        if set == Some(true) {
            alarms.critical(code, id, format!("{id} {what}"));
        }
    }
    if resource.orphaned == Some(true) {
        alarms.warn(
            "resource-orphaned",
            id,
            format!("{id} is no longer configured, and is still there"),
        );
    }
    if resource.managed == Some(false) && view.options.maintenance != Some(true) {
        alarms.warn(
            "resource-unmanaged",
            id,
            format!("{id} is not managed: nobody recovers it"),
        );
    }
    let unsure: Vec<&str> = resource
        .nodes
        .iter()
        .filter(|name| {
            view.nodes
                .iter()
                .any(|node| node.name == **name && !node.is_known())
        })
        .map(String::as_str)
        .collect();
    if !unsure.is_empty() && resource.role != Role::Stopped {
        alarms.critical(
            "resource-unknown",
            id,
            format!("whether {id} still runs on {} is not known", list(&unsure)),
        );
        return;
    }
    if resource.nodes.len() > 1 && resource.role.runs() {
        alarms.critical(
            "resource-twice",
            id,
            format!("{id} is active on {}", list(&resource.nodes)),
        );
    }
    match &resource.role {
        Role::Stopped if !resource.is_cloned() && !resource.should_be_stopped() && !is_told => {
            alarms.critical("resource-stopped", id, format!("{id} is stopped"));
        }
        Role::Starting | Role::Stopping => {
            let role = resource.role.to_string().to_lowercase();
            alarms.warn("resource-changing", id, format!("{id} is {role}"));
        }
        Role::Other(word) => alarms.warn(
            "resource-unknown",
            id,
            format!("{id} is in the state `{word}`, which is not known"),
        ),
        _ => {}
    }
}

/// Instances of a clone that do not run although there is a node that could run them: a node that is
/// online, may run resources and has none.
fn missing_instances(alarms: &mut Alarms, view: &View, is_told: impl Fn(&str) -> bool) {
    let mut clones: BTreeMap<(&str, &str), Vec<&Resource>> = BTreeMap::new();
    for resource in view
        .resources
        .iter()
        .filter(|resource| resource.is_cloned())
    {
        clones
            .entry((resource.service(), &resource.id))
            .or_default()
            .push(resource);
    }
    for ((_, id), instances) in clones {
        let stopped = instances
            .iter()
            .filter(|instance| instance.role == Role::Stopped && !instance.should_be_stopped())
            .count();
        if stopped == 0 || is_told(id) {
            continue;
        }
        if stopped == instances.len() {
            alarms.critical(
                "resource-stopped",
                id,
                format!("{id} is stopped everywhere"),
            );
            continue;
        }
        let idle: Vec<&str> = view
            .nodes
            .iter()
            .filter(|node| node.state() == "online")
            .filter(|node| {
                !instances
                    .iter()
                    .any(|instance| instance.nodes.contains(&node.name))
            })
            .map(|node| node.name.as_str())
            .collect();
        if !idle.is_empty() {
            alarms.warn(
                "instance-stopped",
                id,
                format!("{id} does not run on {}", list(&idle)),
            );
        }
    }
}

fn failed_action(alarms: &mut Alarms, action: &FailedAction) {
    let resource = action.resource().unwrap_or("a resource");
    let task = action.task.as_deref().unwrap_or("an action");
    let node = action.node.as_deref().unwrap_or("some node");
    let result = action.result.as_deref().unwrap_or("an unknown result");
    let reason = action
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    alarms.warn(
        "action-failed",
        resource,
        format!("{task} of {resource} on {node} failed: {result}{reason}"),
    );
    alarms.aged(action.age);
}
