//! The definition: whether the running cluster is the one that it describes.

use super::Alarms;
use crate::expected::{self, Finding, Why};
use crate::gather::Inventory;
use crate::pacemaker::View;
use crate::status::{NodeAnswer, Status};

/// What by the definition should run and does not. What is starting or looked at this moment is left
/// to its role, and what failed to its failure.
pub(super) fn lacking(view: &View, inventory: &Inventory) -> Vec<Finding> {
    let Some(resources) = &inventory.resources else {
        return Vec::new();
    };
    let nodes: Vec<&str> = inventory
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    let mut lacking = expected::findings(view, &nodes, resources);
    lacking.retain(|finding| !matches!(finding.why, Why::Failed | Why::Changing));
    lacking
}

pub(super) fn check(alarms: &mut Alarms, view: &View, inventory: &Inventory, lacking: &[Finding]) {
    for finding in lacking {
        let id = finding.resource.as_str();
        let message = format!("{id} is defined, and {}", finding.message);
        match finding.why {
            Why::Missing => alarms.critical("resource-missing", id, message),
            Why::Different => alarms.critical("resource-differs", id, message),
            Why::Held => alarms.warn("resource-held", id, message),
            _ if finding.runs => alarms.warn("instance-stopped", id, message),
            _ => alarms.critical("resource-stopped", id, message),
        }
    }
    let Some(resources) = &inventory.resources else {
        return;
    };
    for id in expected::unexpected(view, resources) {
        alarms.warn(
            "resource-not-defined",
            id,
            format!("{id} is in the cluster and not in the definition"),
        );
    }
}

/// Whether each node that tells about a cluster tells about this one. Two clusters may have nodes of
/// the same names.
pub(super) fn cluster_name(alarms: &mut Alarms, status: &Status) {
    let Some(wanted) = &status.cluster else {
        return;
    };
    for report in &status.asked {
        if !matches!(report.result, NodeAnswer::View { .. }) {
            continue;
        }
        let node = report.node.as_str();
        match &report.cluster {
            Some(name) if name == wanted => {}
            Some(name) => alarms.critical(
                "cluster-name",
                node,
                format!(
                    "{node} is in the cluster `{name}`, and the definition describes `{wanted}`"
                ),
            ),
            None => alarms.warn(
                "cluster-name-unknown",
                node,
                format!("{node} does not tell which cluster it is in; it should be `{wanted}`"),
            ),
        }
    }
}
