//! How many nodes there are, and who decides when they cannot see each other.

use cluster::Algorithm;

use super::view::{Vendor, at_least};
use super::{ALWAYS, DOCUMENT, TODAY, judged, number, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const SIZE: Rule = Rule {
    id: "cluster-size",
    title: "the cluster is no larger than its vendor supports",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.size", "rhel.size9", "suse.size"],
    explanation: "Every further full member makes membership slower and more fragile. Red Hat supports 32 of them (16 \
        before RHEL 7.7 and 8.1, and 16 with GFS2 or clustered LVM), SUSE 32. Further machines can join through \
        pacemaker_remote, which does not count.",
    check: size,
};

fn size(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let nodes = facts.definition.nodes.len();
    let Some((basis, most)) = size_limit(facts) else {
        return;
    };
    if nodes > most as usize {
        let why = if facts.definition.needs_dlm() {
            " with GFS2 or clustered LVM"
        } else {
            ""
        };
        out.push(
            reason(
                SIZE.id,
                Severity::Unsupported,
                basis,
                format!("{nodes} full members, where {most} are supported{why}"),
            )
            .remedy("make it fewer members, or attach machines through pacemaker_remote"),
        );
    } else if basis == "rhel.size9" && nodes > 16 {
        out.push(reason(
            SIZE.id,
            Severity::Unverified,
            basis,
            format!("{nodes} full members: the limits that were read are those of RHEL 7 and 8"),
        ));
    }
}

/// The most members, and what says so.
fn size_limit(facts: &Facts<'_>) -> Option<(&'static str, u32)> {
    if let Some((_, version_of)) = facts.rhel().next() {
        if facts.definition.needs_dlm() {
            return Some((
                "rhel.size",
                number("rhel.size", "max_nodes_resilient_storage")?,
            ));
        }
        let since = match version_of.major() {
            7 => version("rhel.size", "since_7"),
            8 => version("rhel.size", "since_8"),
            9.. => return Some(("rhel.size9", number("rhel.size", "max_nodes")?)),
            _ => None,
        };
        let large = since.is_some_and(|since| at_least(version_of, since.parts()));
        let name = if large {
            "max_nodes"
        } else {
            "max_nodes_before"
        };
        return Some(("rhel.size", number("rhel.size", name)?));
    }
    if facts.has_vendor(Vendor::Suse) {
        return Some(("suse.size", number("suse.size", "max_nodes")?));
    }
    None
}

pub(super) const SINGLE: Rule = Rule {
    id: "single-node",
    title: "a cluster has at least two nodes",
    editions: ALWAYS,
    statements: &[],
    sources: &["rhel.min"],
    explanation: "One node has nobody to take over from it. Red Hat supports a cluster of one from RHEL 8.2 on, and \
        never with GFS2 or DLM.",
    check: |facts, out| {
        let [node] = facts.definition.nodes.as_slice() else {
            return;
        };
        let subject = place("node", &node.name);
        let old = facts
            .rhel()
            .next()
            .is_some_and(|(_, have)| version("rhel.min", "since").is_none_or(|since| have < since));
        if facts.definition.needs_dlm() || old {
            let why = if facts.definition.needs_dlm() {
                "GFS2 or clustered LVM on one node"
            } else {
                "a cluster of one node"
            };
            out.push(
                reason(
                    SINGLE.id,
                    Severity::Unsupported,
                    "rhel.min",
                    format!("{why} is not supported"),
                )
                .about(subject.clone())
                .remedy("add a second node"),
            );
        }
        out.push(
            judged(
                SINGLE.id,
                Severity::Warning,
                "one node has nobody to take over from it",
                "a cluster of one node keeps nothing available",
            )
            .about(subject)
            .remedy("add a second node"),
        );
    },
};

pub(super) const TWO: Rule = Rule {
    id: "two-nodes",
    title: "two nodes need something that decides between them",
    editions: TODAY,
    statements: &[],
    sources: &["cs.twonode", "cs.twonode-qd", "rhel.qdevice"],
    explanation: "With two nodes each one alone has quorum; when they cannot see each other, both try to fence the \
        other, and the faster wins. A delay in favour of one node makes sure that not both do. A quorum device \
        outside decides better: it knows which of the two it still reaches. One thing remains with two nodes: \
        after a full stop both must be seen once before services start (wait_for_all).",
    check: |facts, out| {
        if !facts.definition.is_two_node() || facts.definition.options.quorum_device.is_some() {
            return;
        }
        let favour = facts.definition.fencing.favour.as_ref();
        match favour {
            Some(favour) => out.push(
                reason(
                    TWO.id,
                    Severity::Note,
                    "cs.twonode",
                    format!(
                        "two nodes: when they cannot see each other, `{}` survives, by a delay of {}",
                        favour.node, favour.delay
                    ),
                )
                .about("fencing")
                .remedy("a quorum device on a third machine decides by what it reaches: `quorum_device`"),
            ),
            None => out.push(
                judged(
                    TWO.id,
                    Severity::Warning,
                    "two nodes that fence each other at once are both off",
                    "two nodes, and nothing decides which of them survives: each may switch off the other",
                )
                .about("fencing")
                .remedy("favour one with `favour` and `favour_delay`, or add a `quorum_device`"),
            ),
        }
    },
};

pub(super) const EVEN: Rule = Rule {
    id: "even-nodes",
    title: "an even number of nodes needs a tie-breaker",
    editions: TODAY,
    statements: &[],
    sources: &["suse.size", "cs.twonode-qd"],
    explanation: "When a cluster of an even number of nodes splits into halves, neither has quorum, and everything \
        stops. An odd number, or a quorum device, lets one half go on.",
    check: |facts, out| {
        let nodes = facts.definition.nodes.len();
        if nodes > 2 && nodes.is_multiple_of(2) && facts.definition.options.quorum_device.is_none()
        {
            out.push(
                reason(
                    EVEN.id,
                    Severity::Warning,
                    "suse.size",
                    format!("{nodes} nodes: when they split into halves, neither half has quorum"),
                )
                .remedy("add a node, or a `quorum_device` on a machine outside the cluster"),
            );
        }
    },
};

pub(super) const DEVICE: Rule = Rule {
    id: "quorum-device",
    title: "the quorum device stands outside the cluster",
    editions: TODAY,
    statements: &[],
    sources: &["cs.twonode-qd"],
    explanation: "The machine that runs corosync-qnetd decides when nodes cannot see each other. If it is a \
        host that carries nodes, its vote is lost together with theirs, just when it is needed. It belongs on a \
        separate machine, best in a network of its own.",
    check: device,
};

fn device(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(device) = &facts.definition.options.quorum_device else {
        return;
    };
    let at = device.host.to_string();
    let ip: Option<std::net::IpAddr> = at.parse().ok();
    let host = facts
        .definition
        .hosts
        .iter()
        .find(|host| host.name.as_str() == at || (ip.is_some() && host.address == ip));
    if let Some(host) = host {
        out.push(
            reason(
                DEVICE.id,
                Severity::Warning,
                "cs.twonode-qd",
                format!("the quorum device is the host `{}`: its vote is lost together with the host's guests", host.name),
            )
            .about("options.quorum_device")
            .remedy("run corosync-qnetd on a machine that carries no node"),
        );
    }
    let nodes = facts.definition.nodes.len();
    if device.algorithm == Algorithm::Ffsplit && nodes > 2 && !nodes.is_multiple_of(2) {
        out.push(
            judged(
                DEVICE.id,
                Severity::Note,
                "ffsplit decides between halves (corosync-qdevice(8))",
                format!("{nodes} nodes have a majority without a quorum device: `ffsplit` is made for an even number"),
            )
            .about("options.quorum_device"),
        );
    }
}

pub(super) const HOSTS: Rule = Rule {
    id: "host-cluster-size",
    title: "the hosts' own cluster has at most 16 members",
    editions: DOCUMENT,
    statements: &[],
    sources: &["hist.hosts16"],
    explanation: "Later editions of the document limit the cluster that RHEL 6 hosts form to 16 members, and ask for a \
        review of the architecture from 8 on.",
    check: |facts, out| {
        let hosts = facts.definition.hosts.len();
        let most = number("hist.hosts16", "max_hosts").map_or(usize::MAX, |most| most as usize);
        if facts.definition.platform.host_cluster && hosts > most {
            out.push(
                reason(
                    HOSTS.id,
                    Severity::Unsupported,
                    "hist.hosts16",
                    format!("{hosts} hosts in one cluster, where later editions of the document allow {most}"),
                )
                .about("platform.host_cluster")
                .remedy("make several clusters of the hosts, or fence all guests with fence_scsi"),
            );
        }
    },
};
