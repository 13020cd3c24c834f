//! Where guests run: one failed host must not take the cluster with it.

use cluster::{AntiAffinity, PlatformKind};

use super::view::{Chapter, at_least};
use super::{ALWAYS, DOCUMENT, TODAY, judged, list, place, reason, version};
use crate::edition::Edition;
use crate::live::SeenAt;
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const S29: Rule = Rule {
    id: "S29",
    title: "on RHEV the guests are pinned to hosts",
    editions: DOCUMENT,
    statements: &["S29"],
    sources: &["S29"],
    explanation: "RHEV cannot be told at first to keep guests apart. Nothing would stop it from migrating all members \
        to one host, whose failure then takes the whole cluster. So each clustered guest must be pinned, by the \
        RHEV-M administrator, to a host of its own.",
    check: |facts, out| {
        if !facts.in_chapter(Chapter::Rhev) {
            return;
        }
        let loose: Vec<_> = facts
            .guests()
            .filter(|node| !facts.is_pinned(node))
            .collect();
        for (host, together) in facts.guests_by_host() {
            let [first, _, ..] = together.as_slice() else {
                continue;
            };
            out.push(
                reason(
                    S29.id,
                    Severity::Unsupported,
                    "S29",
                    format!(
                        "{} are on one host, `{host}`: when it fails, they fail together",
                        list(together.iter().map(|node| &node.name))
                    ),
                )
                .about(place("node", &first.name))
                .remedy("pin each guest to a host of its own"),
            );
        }
        if let Some(first) = loose.first() {
            out.push(
                reason(
                    S29.id,
                    Severity::Unsupported,
                    "S29",
                    format!(
                        "{} may be migrated to the host of another member: RHEV keeps no guests apart",
                        list(loose.iter().map(|node| &node.name))
                    ),
                )
                .about(place("node", &first.name))
                .remedy("pin each guest to a host: `host = \"…\"` and `pinned = true`"),
            );
        }
    },
};

pub(super) const ONE_HOST: Rule = Rule {
    id: "one-host",
    title: "the guests do not all run on one host",
    editions: ALWAYS,
    statements: &[],
    sources: &["hist.onehost", "vmw.cib"],
    explanation: "A cluster whose guests all run on one host survives the failure of a guest, and not that of the \
        host. That is good enough to try things out, and not for production: come as near to one guest on each \
        host as you can.",
    check: |facts, out| {
        let guests = facts.guests().count();
        if guests < 2 || facts.bare_metal().next().is_some() {
            return;
        }
        let named = facts.guests_by_host();
        let one = match named.as_slice() {
            [(host, on)] if on.len() == guests => Some(*host),
            [] if facts.definition.hosts.len() == 1 => facts
                .definition
                .hosts
                .first()
                .map(|host| host.name.as_str()),
            _ => None,
        };
        let Some(host) = one else { return };
        let basis = if facts.kind() == PlatformKind::Vmware && facts.edition == Edition::Today {
            "vmw.cib"
        } else {
            "hist.onehost"
        };
        out.push(
            reason(
                ONE_HOST.id,
                Severity::Warning,
                basis,
                format!("all guests run on `{host}`: when it fails, the whole cluster fails"),
            )
            .about(place("host", host))
            .remedy("spread the guests over several hosts; one host is for trying things out"),
        );
    },
};

pub(super) const SEEN: Rule = Rule {
    id: "placement-seen",
    title: "no two members were seen on one host, and each where it may run",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "Where guests run is the platform's decision and changes while the cluster runs. With \
        `picket check --placement FILE`, the file being what `picket placement show --json` printed, the rules go by \
        what was seen there instead of what the definition says; and this rule says which members shared a host, \
        which ran elsewhere than they may, and which nobody could find.",
    check: seen,
};

fn seen(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(live) = facts.live else { return };
    const WHY: &str = "members on one host fail together";
    for (host, together) in facts.guests_by_host() {
        let there: Vec<_> = together
            .into_iter()
            .filter(|node| {
                let member = live.member(node.name.as_str());
                member.is_some_and(|member| member.at == SeenAt::Host(host.to_owned()))
            })
            .collect();
        if there.len() > 1 {
            let message = format!(
                "{} were seen on one host, `{host}`: when it fails, they fail together",
                list(there.iter().map(|node| &node.name))
            );
            out.push(
                judged(SEEN.id, Severity::Warning, WHY, message)
                    .about(place("node", &there[0].name))
                    .remedy("`picket placement plan` says what would bring them apart"),
            );
        }
    }
    for node in facts.guests() {
        let Some(member) = live.member(node.name.as_str()) else {
            continue;
        };
        let reason = match (&member.at, &node.host) {
            (SeenAt::Unknown(why), _) => judged(
                SEEN.id,
                Severity::Unverified,
                "who cannot be found may be anywhere",
                format!("where `{}` runs could not be found out: {why}", node.name),
            )
            .remedy("look again: `picket placement show`"),
            (SeenAt::Host(on), Some(said)) if node.pinned && on != said.as_str() => judged(
                SEEN.id,
                Severity::Warning,
                "a pin that is not kept protects nobody",
                format!(
                    "`{}` may run on `{said}` only, and was seen on `{on}`",
                    node.name
                ),
            )
            .remedy("move it back, or say in the definition where it may run"),
            _ => continue,
        };
        out.push(reason.about(place("node", &node.name)));
    }
}

pub(super) const ANTI_AFFINITY: Rule = Rule {
    id: "anti-affinity",
    title: "the platform keeps the members apart",
    editions: TODAY,
    statements: &[],
    sources: &[
        "ovirt.aff",
        "vmw.aff",
        "hv.aff",
        "kv.aff",
        "xen.aff-83",
        "xen.aff-xo",
        "pve.aff",
        "ahv.aff",
        "kvm.aff",
        "kv.pr-aff",
    ],
    explanation: "A platform that places guests as it likes may put two members on one host; the failure of that host \
        then takes both. Every platform but plain libvirt has rules that keep named guests apart: affinity groups \
        (oVirt), DRS rules (vSphere), AntiAffinityClassNames (Hyper-V), pod anti-affinity (KubeVirt), negative \
        resource affinity (Proxmox). Soft rules may be broken when hosts are short, hard ones leave a member off.",
    check: anti_affinity,
};

/// The fact on what the platform offers to keep guests apart.
const fn affinity_fact(kind: PlatformKind) -> Option<&'static str> {
    match kind {
        PlatformKind::Kvm => Some("kvm.aff"),
        PlatformKind::Rhev => Some("ovirt.aff"),
        PlatformKind::Vmware => Some("vmw.aff"),
        PlatformKind::HyperV => Some("hv.aff"),
        PlatformKind::Kubevirt => Some("kv.aff"),
        PlatformKind::Xen => Some("xen.aff-83"),
        PlatformKind::Proxmox => Some("pve.aff"),
        PlatformKind::Nutanix => Some("ahv.aff"),
        _ => None,
    }
}

fn anti_affinity(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(basis) = affinity_fact(facts.kind()) else {
        return;
    };
    let movable: Vec<_> = facts
        .guests()
        .filter(|node| !facts.is_pinned(node))
        .collect();
    let platform = &facts.definition.platform;
    if movable.len() > 1 && facts.definition.hosts.len() != 1 {
        // What was seen goes before what is said.
        let said = match facts.live.and_then(|live| live.kept_apart) {
            Some(false) => AntiAffinity::None,
            Some(true) if platform.anti_affinity == AntiAffinity::None => AntiAffinity::Soft,
            Some(true) | None => platform.anti_affinity,
        };
        match said {
            AntiAffinity::None => out.push(nothing_keeps_apart(facts, basis)),
            AntiAffinity::Soft => out.push(
                reason(
                    ANTI_AFFINITY.id,
                    Severity::Note,
                    basis,
                    "the platform keeps the members apart where it can: when hosts are short, two may meet on one",
                )
                .about("platform.anti_affinity"),
            ),
            AntiAffinity::Hard => out.extend(not_that_hard(facts)),
            _ => {}
        }
    }
    let hosts = facts.definition.hosts.len();
    let guests = facts.guests().count();
    if platform.anti_affinity == AntiAffinity::Hard && hosts > 1 && hosts <= guests {
        let (severity, message) = if hosts < guests {
            (
                Severity::Warning,
                format!(
                    "{guests} guests that may never share a host do not all start on {hosts} hosts"
                ),
            )
        } else {
            (
                Severity::Note,
                format!(
                    "after the loss of one of {hosts} hosts its guest stays off: no host is left for it"
                ),
            )
        };
        out.push(
            judged(
                ANTI_AFFINITY.id,
                severity,
                "a hard rule leaves a guest off rather than break",
                message,
            )
            .about("platform.anti_affinity"),
        );
    }
}

fn nothing_keeps_apart(facts: &Facts<'_>, basis: &'static str) -> Reason {
    let remedy = if facts.kind() == PlatformKind::Kvm {
        "libvirt has no such rule: pin each guest to a host of its own"
    } else {
        "set the platform's rule that keeps these guests apart, and say so with `anti_affinity`; or pin them"
    };
    reason(
        ANTI_AFFINITY.id,
        Severity::Warning,
        basis,
        "nothing keeps the members on different hosts: one failed host may take several of them",
    )
    .about("platform.anti_affinity")
    .remedy(remedy)
}

/// Where the platform is not known to enforce what the definition says it does.
fn not_that_hard(facts: &Facts<'_>) -> Option<Reason> {
    let platform = &facts.definition.platform;
    let (basis, message) = match facts.kind() {
        PlatformKind::Kvm => (
            "kvm.aff",
            "libvirt enforces no rule that keeps guests apart",
        ),
        PlatformKind::Nutanix => (
            "ahv.aff",
            "Nutanix is believed to keep guests apart only where it can",
        ),
        PlatformKind::Xen => {
            let since = version("xen.aff-83", "product")?;
            let groups = platform
                .version
                .as_ref()
                .is_some_and(|have| at_least(have, since.parts()));
            if groups {
                return None;
            }
            (
                "xen.aff-xo",
                "Xen Orchestra keeps guests apart only where it can",
            )
        }
        PlatformKind::Proxmox if !platform.restarts_guests => (
            "pve.aff",
            "Proxmox keeps apart only guests that its own HA manages, and these it does not",
        ),
        _ => return None,
    };
    Some(
        reason(
            ANTI_AFFINITY.id,
            Severity::Warning,
            basis,
            format!("`anti_affinity = \"hard\"` is more than the platform keeps: {message}"),
        )
        .about("platform.anti_affinity")
        .remedy("pin each guest to a host of its own"),
    )
}

pub(super) const MAJORITY: Rule = Rule {
    id: "host-majority",
    title: "no single host carries a majority of the nodes",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "When a host fails, its guests fail together. If these were the majority, the others lose the quorum \
        and stop, although they are healthy. Spread the nodes so that every host carries fewer than half of the \
        votes.",
    check: |facts, out| {
        let nodes = facts.definition.nodes.len();
        let on_hosts = facts.guests_by_host();
        if nodes < 3 || (on_hosts.len() == 1 && on_hosts[0].1.len() == nodes) {
            return;
        }
        let device = facts.definition.options.quorum_device.is_some();
        for (host, guests) in on_hosts {
            let left = nodes - guests.len() + usize::from(device);
            let votes = nodes + usize::from(device);
            if left * 2 <= votes {
                out.push(
                    judged(
                        MAJORITY.id,
                        Severity::Warning,
                        "the guests of a host fail together, and a minority has no quorum",
                        format!(
                            "`{host}` runs {} of {nodes} nodes: when it fails, the others have no quorum",
                            guests.len()
                        ),
                    )
                    .about(place("host", host))
                    .remedy("spread the nodes over more hosts, or add a quorum device"),
                );
            }
        }
    },
};

pub(super) const HYPERVISORS: Rule = Rule {
    id: "one-hypervisor",
    title: "all guests run on one kind of hypervisor",
    editions: ALWAYS,
    statements: &[],
    sources: &["hist.samehyp", "rhel.mixhyp"],
    explanation: "A cluster over several kinds of hypervisor needs a fencing device of each kind, and no vendor \
        supports it. Fencing, migration and timing then differ from node to node.",
    check: |facts, out| {
        let platform = facts.kind();
        let odd = facts
            .definition
            .hosts
            .iter()
            .find(|host| facts.definition.host_kind(host) != platform);
        let Some(host) = odd else { return };
        let basis = if facts.edition == Edition::Document {
            "hist.samehyp"
        } else {
            "rhel.mixhyp"
        };
        out.push(
            reason(
                HYPERVISORS.id,
                Severity::Unsupported,
                basis,
                format!(
                    "`{}` is a {} host in a {platform} cluster",
                    host.name,
                    facts.definition.host_kind(host)
                ),
            )
            .about(place("host", &host.name))
            .remedy("run all guests of the cluster on one kind of hypervisor"),
        );
    },
};
