//! The fencing daemon on the hosts: which program, in which mode, and what must be there for it.

use cluster::{Listener, VirtdMode, VirtdProgram};

use super::view::Chapter;
use super::{ALWAYS, DOCUMENT, TODAY, judged, list, reason};
use crate::edition::Edition;
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const XVMD: Rule = Rule {
    id: "fence-xvmd",
    title: "on RHEL 5 hosts, fence_xvm needs fence_xvmd, a host cluster, and all guests",
    editions: DOCUMENT,
    statements: &["S05", "S09"],
    sources: &["S05", "S09"],
    explanation: "fence_xvmd on RHEL 5 hosts knows where a guest runs only through the hosts' own cluster, and \
        only that cluster can prove that a silent host is off. A guest that is fenced in another way, be it at one \
        level only, would not take part in that proof. Without the host cluster a guest of a dead host can never be \
        fenced with certainty. Form a cluster of the hosts with fencing of its own, or use fence_scsi on all guests, \
        which needs none (S52).",
    check: xvmd,
};

fn xvmd(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let statement = if facts.in_chapter(Chapter::Xen5) {
        "S05"
    } else if facts.in_chapter(Chapter::Kvm5) {
        "S09"
    } else {
        return;
    };
    if !facts
        .guests()
        .any(|node| facts.fenced_by(node, "fence_xvm"))
    {
        return;
    }
    let without: Vec<_> = facts
        .guests()
        .filter(|node| !facts.always_fenced_by(node, "fence_xvm"))
        .collect();
    let weight = Severity::Unsupported;
    if !facts.definition.platform.host_cluster {
        out.push(
            reason(
                XVMD.id,
                weight,
                statement,
                "the guests are fenced by fence_xvm, but the hosts form no cluster of their own",
            )
            .about("platform.host_cluster")
            .remedy(
                "cluster the hosts and set `host_cluster = true`, or fence all guests with fence_scsi",
            ),
        );
    }
    if !without.is_empty() {
        let names = list(without.iter().map(|node| &node.name));
        let verb = if without.len() == 1 { "is" } else { "are" };
        out.push(
            reason(
                XVMD.id,
                weight,
                statement,
                format!(
                    "fence_xvm must be the agent of all clustered guests at every level, and {names} {verb} fenced \
                     otherwise at some"
                ),
            )
            .about(format!("node.{}", without[0].name))
            .remedy("fence all guests with fence_xvm, or all of them with fence_scsi"),
        );
    }
    let program = facts
        .definition
        .fence_virtd
        .as_ref()
        .map(|daemon| daemon.program);
    if program != Some(VirtdProgram::FenceXvmd) {
        out.push(
            reason(
                XVMD.id,
                weight,
                statement,
                "requests of fence_xvm are answered by fence_xvmd on RHEL 5 hosts, and the definition runs none",
            )
            .about("fence_virtd.program")
            .remedy("add `[fence_virtd]` with `program = \"fence_xvmd\"`"),
        );
    }
}

pub(super) const S17: Rule = Rule {
    id: "S17",
    title: "RHEL 6 KVM hosts run fence_virtd when guests use fence_virt or fence_xvm",
    editions: DOCUMENT,
    statements: &["S17"],
    sources: &["S17"],
    explanation: "fence_virt and fence_xvm only ask; the daemon fence_virtd on the hosts switches the guest. \
        Without it no fencing request is ever answered, and the cluster waits for ever once a node fails. \
        fence_scsi does not ask the hosts and needs no daemon.",
    check: s17,
};

fn s17(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if !facts.in_chapter(Chapter::Kvm6) {
        return;
    }
    let Some(device) = facts.virt_devices().first().copied() else {
        return;
    };
    let program = facts
        .definition
        .fence_virtd
        .as_ref()
        .map(|daemon| daemon.program);
    if program == Some(VirtdProgram::FenceVirtd) {
        return;
    }
    out.push(
        reason(
            S17.id,
            Severity::Unsupported,
            "S17",
            format!(
                "the guests are fenced by {}, but the hosts do not run fence_virtd",
                device.agent
            ),
        )
        .about(program.map_or_else(
            || format!("fence.{}", device.name),
            |_| "fence_virtd".to_owned(),
        ))
        .remedy("add `[fence_virtd]`, or fence all guests with fence_scsi"),
    );
}

pub(super) const MISSING: Rule = Rule {
    id: "fence-virtd-missing",
    title: "every host runs fence_virtd when guests use fence_virt or fence_xvm",
    editions: TODAY,
    statements: &[],
    sources: &["kvm.fv-all"],
    explanation: "The agents fence_virt and fence_xvm only ask; the daemon fence_virtd switches the guest. It \
        must run on every host on which the guests may run. Without it no request is ever answered, and the \
        cluster waits for ever once a node fails.",
    check: |facts, out| {
        let Some(device) = facts.virt_devices().first().copied() else {
            return;
        };
        if facts.definition.fence_virtd.is_none() {
            out.push(
                reason(
                    MISSING.id,
                    Severity::Unsupported,
                    "kvm.fv-all",
                    format!("nothing answers the requests of {}: the hosts run no fence_virtd", device.agent),
                )
                .about(format!("fence.{}", device.name))
                .remedy("add `[fence_virtd]`: the daemon must run on every host that may run the guests"),
            );
        }
    },
};

pub(super) const S19: Rule = Rule {
    id: "S19",
    title: "the standalone mode of fence_virtd forbids live migration",
    editions: ALWAYS,
    statements: &["S19"],
    sources: &["S19"],
    explanation: "In its standalone mode the daemon knows the guests of its own host and nothing else. After a \
        live migration the request reaches a host on which the guest no longer runs: at best fencing fails, and \
        a daemon that takes a missing guest for a dead one reports success while the guest goes on writing. Let \
        the hosts' cluster track the guests (mode `cluster`), or forbid live migration.",
    check: |facts, out| {
        let standalone = facts
            .definition
            .fence_virtd
            .as_ref()
            .is_some_and(|daemon| daemon.mode == VirtdMode::Standalone);
        if standalone
            && facts.definition.platform.live_migration
            && !facts.virt_devices().is_empty()
        {
            out.push(
                reason(
                    S19.id,
                    Severity::Unsafe,
                    "S19",
                    "fence_virtd in standalone mode does not notice a live migration: a request for a guest that \
                     moved reaches the wrong host",
                )
                .about("platform.live_migration")
                .remedy("set `live_migration = false`, or run fence_virtd in mode `cluster` on clustered hosts"),
            );
        }
    },
};

pub(super) const S20: Rule = Rule {
    id: "S20",
    title: "the mode of fence_virtd that follows migrations through the hosts' cluster needs one",
    editions: ALWAYS,
    statements: &["S20"],
    sources: &["S20", "kvm.fv-backend"],
    explanation: "In mode `cluster` (the checkpoint service then, a Corosync process group today) the hosts tell \
        each other where guests run. That needs a cluster of the hosts, and that cluster needs fencing: a guest \
        whose host is silent counts as off only once the host is proven off.",
    check: |facts, out| {
        let cluster_mode = facts
            .definition
            .fence_virtd
            .as_ref()
            .is_some_and(|daemon| daemon.mode == VirtdMode::Cluster);
        if cluster_mode && !facts.definition.platform.host_cluster {
            out.push(
                reason(
                    S20.id,
                    Severity::Unsupported,
                    "S20",
                    "fence_virtd follows guests through the hosts' cluster, and the hosts form none",
                )
                .about("fence_virtd.mode")
                .remedy(
                    "cluster the hosts, with fencing, and set `host_cluster = true`; or use mode `standalone` \
                     without live migration",
                ),
            );
        }
    },
};

pub(super) const S21: Rule = Rule {
    id: "S21",
    title: "the bus mode of fence_virtd follows migrations without a host cluster",
    editions: DOCUMENT,
    statements: &["S21"],
    sources: &["S21"],
    explanation: "In mode `bus` the daemon asks all hosts over the message bus (QMF, by the package libvirt-qpid) \
        where a guest runs. Live migration is followed, and the hosts need no cluster.",
    check: |facts, out| {
        let bus = facts
            .definition
            .fence_virtd
            .as_ref()
            .is_some_and(|daemon| daemon.mode == VirtdMode::Bus);
        if bus {
            out.push(
                reason(
                    S21.id,
                    Severity::Note,
                    "S21",
                    "fence_virtd follows guests over the message bus: the hosts need no cluster, and guests may \
                     be migrated",
                )
                .about("fence_virtd.mode"),
            );
        }
    },
};

pub(super) const S52: Rule = Rule {
    id: "S52",
    title: "with fence_scsi on all guests the hosts need no cluster",
    editions: DOCUMENT,
    statements: &["S52"],
    sources: &["S52"],
    explanation: "fence_scsi asks the storage, not the hosts. If it fences every guest, the host cluster that \
        fence_xvmd and the checkpoint mode need can be left out.",
    check: |facts, out| {
        let virtual_hosts = [Chapter::Xen5, Chapter::Kvm5, Chapter::Kvm6]
            .into_iter()
            .any(|chapter| facts.in_chapter(chapter));
        let all_by_scsi = facts.guests().next().is_some()
            && facts.guests().all(|node| {
                let devices = facts.devices_of(node);
                !devices.is_empty()
                    && devices
                        .iter()
                        .all(|device| device.agent.as_str() == "fence_scsi")
            });
        if virtual_hosts && all_by_scsi && !facts.definition.platform.host_cluster {
            out.push(reason(
                S52.id,
                Severity::Note,
                "S52",
                "all guests are fenced by fence_scsi: the hosts need no cluster",
            ));
        }
    },
};

pub(super) const PROGRAM: Rule = Rule {
    id: "virtd-program",
    title: "fence_xvmd and the message bus are of the past",
    editions: TODAY,
    statements: &[],
    sources: &["kvm.fv-backend"],
    explanation: "fence_xvmd ended with RHEL 5. Of the three ways in which fence_virtd found guests, the upstream \
        daemon keeps two: the local libvirt and the hosts' Corosync group; the checkpoint service and QMF are \
        gone. Only this project's fence_virtd still offers the bus.",
    check: |facts, out| {
        let Some(daemon) = &facts.definition.fence_virtd else {
            return;
        };
        if daemon.program == VirtdProgram::FenceXvmd {
            out.push(
                reason(
                    PROGRAM.id,
                    Severity::Unsupported,
                    "kvm.fv-backend",
                    "fence_xvmd came with RHEL 5 and is not maintained: fence_virtd has taken its place",
                )
                .about("fence_virtd.program")
                .remedy("set `program = \"fence_virtd\"`: it answers fence_xvm as well"),
            );
        }
        if daemon.mode == VirtdMode::Bus {
            out.push(
                reason(
                    PROGRAM.id,
                    Severity::Warning,
                    "kvm.fv-backend",
                    "the upstream fence_virtd no longer has a bus mode; only Picket's does",
                )
                .about("fence_virtd.mode")
                .remedy(
                    "use mode `cluster` on clustered hosts, or Picket's fence_virtd on every host",
                ),
            );
        }
    },
};

pub(super) const GROUPS: Rule = Rule {
    id: "virtd-groups",
    title: "fence_virtd lets members fence only each other",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "Without groups, fence_virtd lets everyone who holds the key switch off every guest of its host, \
        guests of other clusters included, and a node with a wrong plug can switch off a stranger. With groups \
        a request is granted only for members of the requester's own cluster. When several clusters share \
        hosts, give each its own group, or its own instance, key and multicast address.",
    check: |facts, out| {
        let open = facts
            .definition
            .fence_virtd
            .as_ref()
            .is_some_and(|daemon| !daemon.groups);
        out.extend(unknown_askers(facts));
        if open && !facts.virt_devices().is_empty() {
            out.push(
                judged(
                    GROUPS.id,
                    Severity::Warning,
                    "fence_virtd without groups grants every request that carries the key",
                    "whoever holds the key may switch off every guest of these hosts, other clusters' included",
                )
                .about("fence_virtd.groups")
                .remedy("set `groups = true`: then members may fence only each other"),
            );
        }
    },
};

/// With groups, who asks is known by address; requests to a group of the other family come from addresses
/// that the definition does not name.
fn unknown_askers(facts: &Facts<'_>) -> Option<Reason> {
    let daemon = facts.definition.fence_virtd.as_ref();
    daemon.filter(|daemon| daemon.groups)?;
    facts.virt_devices().into_iter().find_map(|device| {
        let virt = device
            .virt()
            .filter(|virt| virt.listener == Listener::Multicast)?;
        let is_ipv6 = virt.multicast.ip().is_ipv6();
        let stranger = facts.nodes().find(|node| {
            let mut addresses = node.addresses.iter();
            addresses.all(|address| address.is_ipv6() != is_ipv6)
        })?;
        Some(
            judged(
                GROUPS.id,
                Severity::Unsafe,
                "a request from an address in no group is refused",
                format!(
                    "`{}` asks the group {}, and `{}` has no address of that family: with groups, fence_virtd \
                     does not know who asks and refuses",
                    device.name,
                    virt.multicast.ip(),
                    stranger.name
                ),
            )
            .about(format!("fence.{}", device.name))
            .remedy("use a multicast group of the nodes' own family"),
        )
    })
}

pub(super) const HOSTS: Rule = Rule {
    id: "virtd-hosts",
    title: "a standalone fence_virtd needs guests that stay on their host",
    editions: ALWAYS,
    statements: &[],
    sources: &["S19", "kvm.fv-backend"],
    explanation: "The libvirt backend of fence_virtd knows one host only. If a guest may be started on another \
        host, nothing prevents two daemons from knowing it, or none: pin each guest to its host, or let the \
        hosts' cluster track them.",
    check: |facts, out| {
        let standalone = facts
            .definition
            .fence_virtd
            .as_ref()
            .is_some_and(|daemon| daemon.mode == VirtdMode::Standalone);
        if !standalone || facts.definition.hosts.len() < 2 || facts.virt_devices().is_empty() {
            return;
        }
        let loose: Vec<_> = facts
            .guests()
            .filter(|node| node.host.is_none() || !node.pinned)
            .collect();
        let Some(first) = loose.first() else { return };
        let basis = if facts.edition == Edition::Document {
            "S19"
        } else {
            "kvm.fv-backend"
        };
        out.push(
            reason(
                HOSTS.id,
                Severity::Warning,
                basis,
                format!(
                    "each standalone fence_virtd knows the guests of its own host only, and nothing keeps {} \
                     on one host",
                    list(loose.iter().map(|node| &node.name))
                ),
            )
            .about(format!("node.{}", first.name))
            .remedy("give each guest its `host` and `pinned = true`, or use mode `cluster`"),
        );
    },
};
