//! What the nodes are and run.

use cluster::{Os, PlatformKind, Watchdog};

use super::view::{Vendor, at_least};
use super::{ALWAYS, DOCUMENT, TODAY, judged, list, place, reason, version};
use crate::edition::Edition;
use crate::matrix::{Row, confidence};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const HOMOGENEOUS: Rule = Rule {
    id: "homogeneous",
    title: "all guests run the same major release",
    editions: ALWAYS,
    statements: &["S13", "S25", "S33"],
    sources: &["S13", "S25", "S33", "rhel.homog"],
    explanation: "Different major releases bring different cluster stacks, protocols and agents; a cluster of both \
        may form and then fail in a way that nobody has tried. The requirement document says so for KVM on RHEL 6 \
        hosts, for RHEV and for VMware, and not for Xen and RHEL 5 KVM hosts. Bring all guests to one release, \
        or make two clusters of them.",
    check: homogeneous,
};

fn homogeneous(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let mut kinds: Vec<(&str, u32)> = Vec::new();
    // The document speaks of guests, today's knowledge of all members.
    let members = || {
        facts
            .nodes()
            .filter(|node| node.is_guest() || facts.edition == Edition::Today)
    };
    for os in members().filter_map(|node| facts.os(node)) {
        let kind = (os.distribution.as_str(), os.version.major());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let [(distribution, major), _, ..] = kinds.as_slice() else {
        return;
    };
    // Where no row says so, what is believed today weighs no more than "unverified".
    let basis = rows(facts)
        .find_map(|row| row.homogeneous.as_deref())
        .unwrap_or("rhel.homog");
    let odd = members().find(|node| {
        facts.os(node).is_some_and(|os| {
            (os.distribution.as_str(), os.version.major()) != (*distribution, *major)
        })
    });
    let Some(odd) = odd else { return };
    let systems = list(kinds.iter().map(|(name, major)| format!("{name} {major}")));
    out.push(
        reason(
            HOMOGENEOUS.id,
            Severity::Unsupported,
            basis,
            format!("the nodes run different systems: {systems}"),
        )
        .about(place("node", &odd.name))
        .remedy("bring all nodes to one major release of one system"),
    );
}

/// The rows of the matrix that the guests fall under.
fn rows(facts: &Facts<'_>) -> impl Iterator<Item = &'static Row> {
    facts
        .placements
        .iter()
        .filter_map(|placement| Some(placement.row?.1))
}

pub(super) const BARE_METAL: Rule = Rule {
    id: "bare-metal",
    title: "bare-metal nodes mix with guests where that is permitted",
    editions: ALWAYS,
    statements: &["S14", "S26", "S34"],
    sources: &["S14", "S26", "S34", "suse.mixphys", "rhel.mixphys"],
    explanation: "A cluster of guests and bare-metal nodes is permitted on RHEL 6 KVM hosts, RHEV and VMware by the \
        requirement document, which says nothing of Xen, RHEL 5 KVM and Hyper-V. SUSE supports it today for \
        nodes of one architecture. Each kind of node needs a fencing device that can switch it.",
    check: bare_metal,
};

fn bare_metal(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(machine) = facts.bare_metal().next() else {
        return;
    };
    if facts.guests().next().is_none() {
        out.push(
            judged(
                BARE_METAL.id,
                Severity::Unverified,
                "all that was read is about clusters with guests",
                "no node is a guest: how far a cluster of bare-metal nodes alone is supported, nothing here says",
            )
            .about(place("node", &machine.name)),
        );
        return;
    }
    let permit = rows(facts).find_map(|row| row.bare_metal.as_deref());
    let suse = facts
        .guests()
        .all(|node| facts.vendor(node) == Vendor::Suse);
    let (severity, basis) = match permit {
        Some(basis) if confidence(basis).is_evidence() => (Severity::Note, basis),
        None if suse && facts.edition == Edition::Today => (Severity::Note, "suse.mixphys"),
        _ => (Severity::Unverified, "rhel.mixphys"),
    };
    let message = if severity == Severity::Note {
        "bare-metal nodes may be members beside guests"
    } else {
        "bare-metal nodes are members beside guests: whether that is supported here, nothing that was read says"
    };
    out.push(reason(BARE_METAL.id, severity, basis, message).about(place("node", &machine.name)));
}

pub(super) const WATCHDOG: Rule = Rule {
    id: "watchdog-fits",
    title: "the platform offers the watchdog that the guests are said to have",
    editions: TODAY,
    statements: &[],
    sources: &[
        "kvm.wd",
        "ovirt.wd",
        "kv.wd",
        "vmw.wd",
        "vmw.wd67",
        "hv.wd",
        "pve.wd",
        "xen.wd",
        "suse.wd-driver",
    ],
    explanation: "A watchdog resets a node whose kernel hangs or whose sbd no longer answers. Each platform offers \
        its own: QEMU the i6300esb or ib700, vSphere 7 and newer one that Linux finds by ACPI, Xen its own, \
        Hyper-V none. If the platform does not offer it, the guest has none, and nobody notices until it is \
        needed.",
    check: watchdog_fits,
};

fn watchdog_fits(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    for node in facts.guests() {
        let Some(watchdog) = facts.definition.watchdog_of(node) else {
            continue;
        };
        if matches!(watchdog, Watchdog::None | Watchdog::Softdog) {
            continue;
        }
        if let Some(basis) = unoffered(facts, watchdog, facts.os(node)) {
            out.push(
                reason(
                    WATCHDOG.id,
                    Severity::Unsupported,
                    basis,
                    format!(
                        "{} does not offer its guests the watchdog `{}`",
                        facts.kind(),
                        watchdog.as_str()
                    ),
                )
                .about(place("node", &node.name))
                .remedy(match offered(facts.kind()) {
                    Some(other) => format!("give the guests the watchdog `{other}`"),
                    None => "the guests can have `softdog` only, with its limits".to_owned(),
                }),
            );
        }
    }
}

/// The watchdog that a platform offers first.
const fn offered(kind: PlatformKind) -> Option<&'static str> {
    match kind {
        PlatformKind::Kvm | PlatformKind::Rhev | PlatformKind::Kubevirt | PlatformKind::Proxmox => {
            Some("i6300esb")
        }
        PlatformKind::Vmware => Some("wdat"),
        PlatformKind::Xen => Some("xen"),
        _ => None,
    }
}

/// The fact that says that the platform does not offer this watchdog.
fn unoffered(facts: &Facts<'_>, watchdog: Watchdog, os: Option<&Os>) -> Option<&'static str> {
    use Watchdog::{Diag288, I6300esb, Ib700, Wdat, Xen};
    match (facts.kind(), watchdog) {
        (PlatformKind::Kvm, I6300esb | Ib700 | Diag288) => None,
        (PlatformKind::Kvm, _) => Some("kvm.wd"),
        (PlatformKind::Rhev, I6300esb) => None,
        (PlatformKind::Rhev, _) => Some("ovirt.wd"),
        (PlatformKind::Kubevirt, I6300esb) => None,
        (PlatformKind::Kubevirt, Diag288) => {
            let since = version("kv.wd", "s390x")?;
            let have = facts.definition.platform.version.as_ref()?;
            (have < since).then_some("kv.wd")
        }
        (PlatformKind::Kubevirt, _) => Some("kv.wd"),
        (PlatformKind::Proxmox, I6300esb | Ib700) => None,
        (PlatformKind::Proxmox, _) => Some("pve.wd"),
        (PlatformKind::Xen, Xen) => {
            // In SUSE's table for SLE HA 15 and absent from that for 16.
            os.filter(|os| os.is("sles") && os.version.major() >= 16)
                .map(|_| "suse.wd-driver")
        }
        (PlatformKind::Xen, _) => Some("xen.wd"),
        (PlatformKind::Vmware, Wdat) => vmware_too_old(facts, os),
        (PlatformKind::Vmware, _) => Some("vmw.wd"),
        (PlatformKind::HyperV, _) => Some("hv.wd"),
        _ => None,
    }
}

fn vmware_too_old(facts: &Facts<'_>, os: Option<&Os>) -> Option<&'static str> {
    let host = facts.definition.platform.version.as_ref();
    if host
        .zip(version("vmw.wd", "product"))
        .is_some_and(|(have, least)| have < least)
    {
        return Some("vmw.wd67");
    }
    let os = os?;
    let least = version("vmw.wd", &os.distribution)?;
    (!at_least(&os.version, least.parts())).then_some("vmw.wd")
}

pub(super) const RESILIENT: Rule = Rule {
    id: "resilient-storage",
    title: "shared file systems are granted to RHEL 6 guests",
    editions: DOCUMENT,
    statements: &["S02"],
    sources: &["S02"],
    explanation: "What the document says of RHEL 6 guests covers the High Availability and the Resilient Storage \
        add-ons: GFS2, clustered LVM and mirrored volumes. Of RHEL 5 guests it does not say so: whether these \
        are meant is open.",
    check: |facts, out| {
        let shared = facts
            .definition
            .filesystems
            .iter()
            .find(|filesystem| filesystem.kind.is_clustered())
            .map(|filesystem| place("filesystem", &filesystem.name))
            .or_else(|| {
                let group = facts
                    .definition
                    .volume_groups
                    .iter()
                    .find(|group| group.shared)?;
                Some(place("volume_group", &group.name))
            });
        let Some(subject) = shared else { return };
        let five = facts.rhel().any(|(_, version)| version.major() == 5);
        let (severity, message) = if five {
            (
                Severity::Unverified,
                "GFS2 and clustered LVM: the document grants the Resilient Storage add-on to RHEL 6 guests, and \
                 does not say whether RHEL 5 guests are meant",
            )
        } else {
            (
                Severity::Note,
                "GFS2 and clustered LVM are covered: RHEL 6 guests encompass the Resilient Storage add-on",
            )
        };
        out.push(reason(RESILIENT.id, severity, "S02", message).about(subject));
    },
};
