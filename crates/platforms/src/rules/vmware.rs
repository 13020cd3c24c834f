//! What VMware asks of clusters of guests.

use cluster::{PlatformKind, StorageKind};

use super::view::at_least;
use super::{TODAY, number, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

/// Whether these are guests of VMware.
fn is_vmware(facts: &Facts<'_>) -> bool {
    facts.kind() == PlatformKind::Vmware
}

pub(super) const STANDALONE: Rule = Rule {
    id: "standalone-esxi",
    title: "guests of a standalone ESXi host have a second way of being fenced",
    editions: TODAY,
    statements: &[],
    sources: &["vmw.standalone"],
    explanation: "Without vCenter the agent asks the ESXi host itself. If that host dies, nobody can say whether its \
        guests are off, every fencing fails, and the cluster waits. Add the host's power switch as a second \
        level, or manage the hosts by vCenter, which Red Hat prefers.",
    check: |facts, out| {
        if !is_vmware(facts) || facts.definition.platform.manager.is_some() {
            return;
        }
        let alone = facts.guests().find(|node| {
            let levels = facts.definition.levels_of(node);
            levels.len() == 1
                && levels[0]
                    .iter()
                    .all(|device| device.agent.as_str().starts_with("fence_vmware"))
        });
        if let Some(node) = alone {
            out.push(
                reason(
                    STANDALONE.id,
                    Severity::Warning,
                    "vmw.standalone",
                    format!("`{}` is fenced through its ESXi host alone: when that host dies, nobody can fence it", node.name),
                )
                .about(place("node", &node.name))
                .remedy("add the host's power switch as a second level, or manage the hosts by vCenter"),
            );
        }
    },
};

pub(super) const RESERVATIONS: Rule = Rule {
    id: "vmware-reservations",
    title: "reservations on VMware within VMware's table",
    editions: TODAY,
    statements: &[],
    sources: &["vmw.bc-matrix", "vmw.bc-disk"],
    explanation: "VMware grants shared disks with SCSI-3 reservations to clusters of RHEL guests in one table: vSphere \
        7.0 U3 and newer; RHEL 7.9, 8.2 and newer, 9; at most five nodes; raw device mappings in physical mode, \
        on a PVSCSI controller with physical bus sharing. What lies outside is not supported.",
    check: reservations,
};

fn reservations(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let basis = "vmw.bc-matrix";
    let mapped = facts
        .guarded()
        .into_iter()
        .find(|(_, storage)| storage.kind == StorageKind::RdmPhysical);
    let Some((_, storage)) = mapped.filter(|_| is_vmware(facts)) else {
        return;
    };
    let weight = Severity::Unsupported;
    let nodes = facts.definition.nodes_of(storage).len();
    let most = number(basis, "max_nodes").map_or(usize::MAX, |most| most as usize);
    if nodes > most {
        out.push(
            reason(
                RESERVATIONS.id,
                weight,
                basis,
                format!(
                    "{nodes} nodes reserve on `{}`, where VMware allows {most}",
                    storage.name
                ),
            )
            .about(place("storage", &storage.name))
            .remedy("share it among fewer nodes, or reach it over iSCSI from the guests"),
        );
    }
    let host = facts.definition.platform.version.as_ref();
    if let Some((have, least)) = host
        .zip(version(basis, "product"))
        .filter(|(have, least)| have < least)
    {
        out.push(
            reason(
                RESERVATIONS.id,
                weight,
                basis,
                format!("VMware grants reservations of guests from vSphere {least} on, and this is {have}"),
            )
            .about("platform.version")
            .remedy(format!("update to vSphere {least} or newer, or reach the storage over iSCSI from the guests")),
        );
    }
    for (node, have) in facts.rhel() {
        let listed = match have.major() {
            7 => version(basis, "rhel7"),
            8 => version(basis, "rhel8"),
            9 => version(basis, "rhel9"),
            _ => None,
        };
        if have.major() > 9 {
            out.push(
                reason(
                    RESERVATIONS.id,
                    Severity::Unverified,
                    basis,
                    format!(
                        "VMware's table of reservations does not name RHEL {have} (`{}`)",
                        node.name
                    ),
                )
                .about(place("node", &node.name)),
            );
        } else if !listed.is_some_and(|least| at_least(have, least.parts())) {
            out.push(
                reason(
                    RESERVATIONS.id,
                    weight,
                    basis,
                    format!(
                        "VMware's table of reservations does not name RHEL {have} (`{}`)",
                        node.name
                    ),
                )
                .about(place("node", &node.name))
                .remedy("use RHEL 7.9, 8.2 and newer, or 9"),
            );
        }
    }
}

pub(super) const MULTI_WRITER: Rule = Rule {
    id: "multi-writer",
    title: "a multi-writer disk is shared by at most eight hosts",
    editions: TODAY,
    statements: &[],
    sources: &["vmw.mw-hosts", "vmw.mw-ezt", "vmw.vrdm"],
    explanation: "Up to eight ESXi hosts may open one multi-writer disk. On VMFS it must be eager-zeroed thick, and \
        snapshots, suspension, cloning, Storage vMotion and hot extension are not allowed.",
    check: |facts, out| {
        if !is_vmware(facts) {
            return;
        }
        let most = number("vmw.mw-hosts", "max_hosts").map_or(usize::MAX, |most| most as usize);
        let hosts = facts.definition.hosts.len();
        for storage in
            facts.storage_of_kind(&[StorageKind::MultiWriterVmdk, StorageKind::RdmVirtual])
        {
            let subject = place("storage", &storage.name);
            let nodes = facts.definition.nodes_of(storage).len();
            let spread =
                facts
                    .guests_by_host()
                    .len()
                    .max(if hosts == 0 { nodes } else { hosts.min(nodes) });
            if spread > most {
                out.push(
                    reason(
                        MULTI_WRITER.id,
                        Severity::Unsupported,
                        "vmw.mw-hosts",
                        format!(
                            "`{}` may be opened by {spread} hosts, where VMware allows {most}",
                            storage.name
                        ),
                    )
                    .about(subject.clone())
                    .remedy("share it among fewer hosts, or reach it over iSCSI from the guests"),
                );
            }
            if storage.kind == StorageKind::MultiWriterVmdk {
                out.push(
                    reason(
                        MULTI_WRITER.id,
                        Severity::Note,
                        "vmw.mw-ezt",
                        format!(
                            "`{}` must be eager-zeroed thick where it lies on VMFS",
                            storage.name
                        ),
                    )
                    .about(subject),
                );
            }
        }
    },
};

pub(super) const NEIGHBOURS: Rule = Rule {
    id: "esxi-alike",
    title: "all ESXi hosts run one version",
    editions: TODAY,
    statements: &[],
    sources: &["vmw.wsfc"],
    explanation: "VMware's limits for clusters of guests (written for Windows) do not allow hosts of different ESXi \
        versions under one cluster.",
    check: |facts, out| {
        if !is_vmware(facts) {
            return;
        }
        let mut versions = facts
            .definition
            .hosts
            .iter()
            .filter_map(|host| Some((host, host.os.as_ref()?)));
        let Some((first, os)) = versions.next() else {
            return;
        };
        if let Some((other, differs)) = versions.find(|(_, other)| other.version != os.version) {
            out.push(
                reason(
                    NEIGHBOURS.id,
                    Severity::Warning,
                    "vmw.wsfc",
                    format!("`{}` runs {os} and `{}` {differs}", first.name, other.name),
                )
                .about(place("host", &other.name))
                .remedy("bring all hosts to one version"),
            );
        }
    },
};
