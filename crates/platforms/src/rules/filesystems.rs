//! File systems and volumes: which nodes may use them at once, and which can reach them.

use cluster::{Activation, Filesystem, NodeName};

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

pub(super) const GFS2_SHARED: Rule = Rule {
    id: "gfs2-shared",
    title: "GFS2 lies on storage that every node reaches, and on a shared volume group",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "GFS2 is mounted on all nodes at once. The volume below it must be active on all of them, which only a \
        shared volume group allows: nodes that change an ordinary one behind each other's back destroy its \
        description, and with it everything on it.",
    check: gfs2_shared,
};

fn gfs2_shared(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let nodes = facts.definition.nodes.len();
    let clustered = facts
        .definition
        .filesystems
        .iter()
        .filter(|f| f.kind.is_clustered());
    for filesystem in clustered {
        let subject = place("filesystem", &filesystem.name);
        let group = filesystem
            .volume
            .as_ref()
            .and_then(|path| facts.definition.volume_group(path.group.as_str()));
        if nodes > 1 && group.is_some_and(|group| !group.shared) {
            out.push(
                judged(
                    GFS2_SHARED.id,
                    Severity::Unsafe,
                    "an ordinary volume group belongs to one node at a time (lvmsystemid(7))",
                    format!(
                        "GFS2 `{}` lies in a volume group that is not shared",
                        filesystem.name
                    ),
                )
                .about(subject.clone())
                .remedy("set `shared = true` in the volume group"),
            );
        }
        let volume = facts.definition.volume_of(filesystem);
        let exclusive = volume
            .is_some_and(|volume| facts.definition.activation_of(volume) == Activation::Exclusive);
        if nodes > 1 && exclusive {
            out.push(
                judged(
                    GFS2_SHARED.id,
                    Severity::Warning,
                    "a volume that is active on one node can be mounted on that one",
                    format!("GFS2 `{}` lies on a volume that only one node activates: the others cannot mount it", filesystem.name),
                )
                .about(subject.clone())
                .remedy("set `activation = \"shared\"` for the volume"),
            );
        }
        for storage in facts.storage_under(filesystem) {
            let blind: Vec<&NodeName> = blind(facts, filesystem);
            if !blind.is_empty() {
                out.push(
                    judged(
                        GFS2_SHARED.id,
                        Severity::Warning,
                        "GFS2 is mounted on all nodes",
                        format!(
                            "GFS2 `{}` lies on `{}`, which {} does not reach",
                            filesystem.name,
                            storage.name,
                            list(&blind)
                        ),
                    )
                    .about(subject.clone())
                    .remedy("let every node reach the storage"),
                );
            }
        }
    }
}

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

pub(super) const LOCAL: Rule = Rule {
    id: "local-filesystem",
    title: "a local file system is mounted on one node at a time",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "ext4 and XFS believe that nobody else writes to their disk. Mounted on two nodes at once, they destroy \
        it within minutes. One service may mount such a file system, on the node where it runs; a service that \
        runs on all nodes at once, two services that run apart, or a volume that is active everywhere, break \
        that.",
    check: local,
};

fn local(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let definition = facts.definition;
    for filesystem in definition
        .filesystems
        .iter()
        .filter(|f| !f.kind.is_clustered())
    {
        let subject = place("filesystem", &filesystem.name);
        let shared = facts
            .storage_under(filesystem)
            .iter()
            .any(|storage| definition.nodes_of(storage).len() > 1);
        if !shared {
            continue;
        }
        let kind = filesystem.kind.as_str();
        let users: Vec<_> = definition
            .services
            .iter()
            .filter(|service| service.filesystems.contains(&filesystem.name))
            .collect();
        if let Some(cloned) = users.iter().find(|service| service.clone) {
            out.push(twice(format!(
                "`{}` runs on all nodes at once and mounts `{}`, which is {kind}: two nodes that mount it destroy it",
                cloned.name, filesystem.name
            ), &subject));
        }
        let apart = users.len() > 1
            && !users[1..].iter().all(|other| {
                other.with.contains(&users[0].name) || users[0].with.contains(&other.name)
            });
        if apart {
            out.push(twice(
                format!(
                    "{} mount `{}`, which is {kind}, and may run on different nodes",
                    list(users.iter().map(|service| &service.name)),
                    filesystem.name
                ),
                &subject,
            ));
        }
        if filesystem.node.is_some() && !users.is_empty() {
            out.push(twice(
                format!(
                    "`{}` is {kind}, and mounted both by a service and on one node for good",
                    filesystem.name
                ),
                &subject,
            ));
        }
        let everywhere = definition
            .volume_of(filesystem)
            .is_some_and(|volume| volume.activation == Some(Activation::Shared));
        if everywhere {
            out.push(
                judged(
                    LOCAL.id,
                    Severity::Warning,
                    "only an exclusive activation keeps the second node from mounting it",
                    format!("`{}` is {kind} on a volume that is active on all nodes: nothing keeps a second one from mounting it", filesystem.name),
                )
                .about(subject)
                .remedy("set `activation = \"exclusive\"` for the volume"),
            );
        }
    }
}

fn twice(message: String, subject: &str) -> Reason {
    judged(
        LOCAL.id,
        Severity::Unsafe,
        "ext4 and XFS are not made for two writers",
        message,
    )
    .about(subject)
    .remedy("let one service mount it, use GFS2, or keep the services together (`with`)")
}

pub(super) const JOURNALS: Rule = Rule {
    id: "gfs2-journals",
    title: "GFS2 has a journal for every node",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "Each node that mounts GFS2 needs a journal of its own. Where there are fewer, the last nodes cannot \
        mount it, and the services that need it do not start there.",
    check: |facts, out| {
        let nodes = facts.definition.nodes.len();
        for filesystem in facts
            .definition
            .filesystems
            .iter()
            .filter(|f| f.kind.is_clustered())
        {
            let journals = facts.definition.journals_of(filesystem);
            if journals < nodes {
                out.push(
                    judged(
                        JOURNALS.id,
                        Severity::Warning,
                        "each mount takes a journal (mkfs.gfs2(8))",
                        format!("GFS2 `{}` has {journals} journals for {nodes} nodes: the others cannot mount it", filesystem.name),
                    )
                    .about(place("filesystem", &filesystem.name))
                    .remedy(format!("set `journals = {nodes}` or more, or leave it out")),
                );
            }
        }
    },
};

pub(super) const MIRROR: Rule = Rule {
    id: "mirror-legs",
    title: "the copies of a mirrored volume lie on different storage",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "A mirror with n further copies needs n + 1 physical volumes; LVM refuses to make it otherwise. If all of \
        them come from one target, the target's failure takes all copies at once.",
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
        let copies = volume.mirrors.get() as usize + 1;
        if group.storage.len() < copies {
            out.push(
                judged(
                    MIRROR.id,
                    Severity::Unsupported,
                    "each copy needs a physical volume of its own (lvcreate(8))",
                    format!(
                        "`{}` has {copies} copies, and its volume group {} storage",
                        volume.name,
                        group.storage.len()
                    ),
                )
                .about(subject)
                .remedy("add storage to the volume group, or make it fewer mirrors"),
            );
            continue;
        }
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
