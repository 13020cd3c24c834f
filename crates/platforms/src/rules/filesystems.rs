//! File systems and volumes: which nodes may use them at once, and which can reach them.

use cluster::{Filesystem, NodeName};

use super::{ALWAYS, TODAY, judged, list, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const GFS2: Rule = Rule {
    id: "gfs2-release",
    title: "the release supports GFS2 and clustered LVM",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.rs10"],
    explanation: "Red Hat's Resilient Storage add-on (GFS2, DLM, clustered LVM) ends with RHEL 9: RHEL 10 does not have \
        it. Stay on RHEL 9, use a local file system that moves with its service, or a file server.",
    check: |facts, out| {
        if !facts.definition.needs_dlm() {
            return;
        }
        let Some(end) = version("rhel.rs10", "until") else {
            return;
        };
        if let Some((node, have)) = facts.rhel().find(|(_, have)| *have >= end) {
            out.push(
                reason(
                    GFS2.id,
                    Severity::Unsupported,
                    "rhel.rs10",
                    format!(
                        "`{}` runs RHEL {have}, which has neither GFS2 nor DLM",
                        node.name
                    ),
                )
                .about(place("node", &node.name))
                .remedy("stay on RHEL 9, or use xfs that moves with its service"),
            );
        }
    },
};

/// The nodes that do not reach all the storage under a file system.
fn blind<'a>(facts: &Facts<'a>, filesystem: &Filesystem) -> Vec<&'a NodeName> {
    let under = facts.storage_under(filesystem);
    facts
        .nodes()
        .filter(|node| {
            under.iter().any(|storage| {
                !facts
                    .definition
                    .nodes_of(storage)
                    .iter()
                    .any(|reaching| reaching.name == node.name)
            })
        })
        .map(|node| &node.name)
        .collect()
}

pub(super) const MIRROR: Rule = Rule {
    id: "mirror-legs",
    title: "the copies of a mirrored volume lie on different storage",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "Each copy of a mirrored volume lies on a disk of its own. If all of them come from one target, the target's \
        failure takes all copies at once.",
    check: mirror,
};

fn mirror(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let definition = facts.definition;
    for volume in definition
        .volumes
        .iter()
        .filter(|volume| volume.mirrors.get() > 0)
    {
        let Some(group) = definition.volume_group(volume.group.as_str()) else {
            continue;
        };
        let subject = place("volume", &volume.name);
        let mut targets = group
            .storage
            .iter()
            .filter_map(|name| definition.storage(name.as_str()))
            .map(|storage| storage.target.as_ref());
        let first = targets.next().flatten();
        if first.is_some() && targets.all(|target| target == first) {
            out.push(
                judged(
                    MIRROR.id,
                    Severity::Warning,
                    "what one target serves fails together",
                    format!(
                        "all copies of `{}` lie on one target, and fail together with it",
                        volume.name
                    ),
                )
                .about(subject)
                .remedy("take the copies from targets on different machines"),
            );
        }
    }
}

pub(super) const REACH: Rule = Rule {
    id: "storage-reach",
    title: "a service can run where its storage can be reached",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "A service that mounts a file system can only run on nodes that reach the storage below it. Where \
        another node is preferred, or no second node reaches it, the service fails there instead of being taken \
        over.",
    check: reach,
};

fn reach(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let definition = facts.definition;
    for service in &definition.services {
        for name in &service.filesystems {
            let Some(filesystem) = definition.filesystem(name.as_str()) else {
                continue;
            };
            if filesystem.kind.is_clustered() {
                continue;
            }
            let blind = blind(facts, filesystem);
            let preferred = service.prefer.iter().find(|node| blind.contains(node));
            let subject = place("service", &service.name);
            let why = "a node that does not reach the storage cannot mount it";
            if let Some(node) = preferred {
                out.push(
                    judged(
                        REACH.id,
                        Severity::Warning,
                        why,
                        format!("`{}` would rather run on `{node}`, which does not reach the storage of `{name}`", service.name),
                    )
                    .about(subject)
                    .remedy("let the node reach the storage, or prefer another"),
                );
            } else if !blind.is_empty() {
                out.push(
                    judged(
                        REACH.id,
                        Severity::Warning,
                        why,
                        format!(
                            "`{}` cannot run on {}: the storage of `{name}` is not reached there",
                            service.name,
                            list(&blind)
                        ),
                    )
                    .about(subject)
                    .remedy("let all nodes reach the storage"),
                );
            }
        }
    }
}
