//! Storage-based death: nodes that reset themselves.

use cluster::{Node, StorageKind, Watchdog};

use super::view::Vendor;
use super::{ALWAYS, TODAY, judged, list, number, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const DISKLESS: Rule = Rule {
    id: "sbd-diskless",
    title: "SBD without disks needs a third vote",
    editions: TODAY,
    statements: &[],
    sources: &["suse.sbd-diskless", "cs.qd-wd"],
    explanation: "Without a disk, a node resets itself when it has lost the quorum, and the others take that for done \
        after a while. With two nodes and nothing else each keeps its quorum when they cannot see each other: \
        neither resets itself, both go on. Three nodes, or two with a quorum device, are needed; with the device \
        the watchdog must also outlast the device's own timers.",
    check: |facts, out| {
        let options = &facts.definition.options;
        let Some(sbd) = options.sbd.as_ref().filter(|sbd| sbd.devices.is_empty()) else {
            return;
        };
        let nodes = facts.definition.nodes.len();
        if nodes < 3 && options.quorum_device.is_none() {
            out.push(
                reason(
                    DISKLESS.id,
                    Severity::Unsafe,
                    "suse.sbd-diskless",
                    format!("SBD without disks in a cluster of {nodes}: nodes that cannot see each other both keep their quorum and go on"),
                )
                .about("options.sbd")
                .remedy("add a `quorum_device`, a third node, or a shared disk for SBD"),
            );
        }
        let least = number("cs.qd-wd", "min_watchdog_ms").unwrap_or(0);
        if options.quorum_device.is_some() && sbd.watchdog_timeout.millis() < u128::from(least) {
            out.push(
                reason(
                    DISKLESS.id,
                    Severity::Warning,
                    "cs.qd-wd",
                    format!(
                        "a watchdog time-out of {}: with SBD without disks and a quorum device it must outlast the device's timers",
                        sbd.watchdog_timeout
                    ),
                )
                .about("options.sbd")
                .remedy(format!("set `watchdog_timeout = \"{}s\"`", least / 1000)),
            );
        }
    },
};

pub(super) const WATCHDOG: Rule = Rule {
    id: "sbd-watchdog",
    title: "SBD needs a watchdog on every node",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "SBD fences by leaving a message or by silence; what resets the node in the end is its watchdog. A node \
        without one may hang, hold its writes, and go on with them after the others took over.",
    check: |facts, out| {
        if facts.definition.options.sbd.is_none() {
            return;
        }
        let watchdog = |node: &&Node| facts.definition.watchdog_of(node);
        let none: Vec<_> = facts
            .nodes()
            .filter(|node| watchdog(node) == Some(Watchdog::None))
            .collect();
        let unsaid: Vec<_> = facts
            .nodes()
            .filter(|node| watchdog(node).is_none())
            .collect();
        for (nodes, severity, what) in [
            (none, Severity::Unsafe, "no watchdog"),
            (
                unsaid,
                Severity::Unverified,
                "no watchdog that the definition names",
            ),
        ] {
            let Some(first) = nodes.first() else { continue };
            out.push(
                judged(
                    WATCHDOG.id,
                    severity,
                    "without a watchdog nothing resets a node that hangs",
                    format!("SBD relies on watchdogs, and {} has {what}", list(nodes.iter().map(|node| &node.name))),
                )
                .about(place("node", &first.name))
                .remedy("give every node the watchdog that its platform offers, and name it in `watchdog`"),
            );
        }
    },
};

pub(super) const SOFTDOG: Rule = Rule {
    id: "softdog",
    title: "softdog stops together with the kernel that it watches",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.softdog", "rhel.softdog-rel", "suse.softdog"],
    explanation: "softdog is a timer of the kernel it is to reset: it does not fire when that kernel, or the virtual \
        CPU below it, stands still. Red Hat refused it for long and now supports it from RHEL 8.8 and 9.0 on, \
        with these risks; SUSE allows it in SLE HA 15 if there is nothing better, and in 16 for tests only. Use \
        the platform's watchdog where it has one.",
    check: softdog,
};

fn softdog(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if facts.definition.options.sbd.is_none() {
        return;
    }
    for node in facts.nodes() {
        if facts.definition.watchdog_of(node) != Some(Watchdog::Softdog) {
            continue;
        }
        let (severity, basis, message) = softdog_for(facts, node);
        out.push(
            reason(SOFTDOG.id, severity, basis, message)
                .about(place("node", &node.name))
                .remedy("use the watchdog that the platform offers"),
        );
    }
}

fn softdog_for(facts: &Facts<'_>, node: &Node) -> (Severity, &'static str, String) {
    let name = &node.name;
    let general = format!(
        "`{name}` has only `softdog`, which stops together with the kernel that it watches"
    );
    let Some(os) = facts.os(node) else {
        return (Severity::Warning, "suse.softdog", general);
    };
    match facts.vendor(node) {
        Vendor::RedHat => {
            let since = match os.version.major() {
                8 => version("rhel.softdog-rel", "rhel8"),
                _ => version("rhel.softdog-rel", "rhel9"),
            };
            if since.is_some_and(|since| os.version < *since) {
                let message = format!(
                    "`{name}` has only `softdog`, which Red Hat supports under SBD from RHEL 8.8 and 9.0 on"
                );
                (Severity::Unsupported, "rhel.softdog-rel", message)
            } else {
                (Severity::Warning, "rhel.softdog", general)
            }
        }
        Vendor::Suse if os.version.major() >= 16 => {
            let message = format!(
                "`{name}` has only `softdog`, which SUSE keeps for tests from SLE HA 16 on"
            );
            (Severity::Unsupported, "suse.softdog", message)
        }
        _ => (Severity::Warning, "suse.softdog", general),
    }
}

pub(super) const DISKS: Rule = Rule {
    id: "sbd-disks",
    title: "SBD's disks are shared, raw, and named for good",
    editions: TODAY,
    statements: &[],
    sources: &["suse.sbd-disk", "rhel.sbd-disk", "pr.drbd"],
    explanation: "SBD leaves messages on one to three small disks that all nodes write directly. A mirror, LVM or DRBD \
        below would depend on the very cluster that SBD is to save, and a name like /dev/sdb may be another disk \
        after the next boot.",
    check: disks,
};

fn disks(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(sbd) = &facts.definition.options.sbd else {
        return;
    };
    for device in &sbd.devices {
        let path = device.to_string();
        let managed = ["/dev/drbd", "/dev/md"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
            || facts.definition.volume_groups.iter().any(|group| {
                path.starts_with(&format!("/dev/{}/", group.name))
                    || path.starts_with(&format!("/dev/mapper/{}-", group.name))
            });
        let on_drbd = facts
            .storage_of_kind(&[StorageKind::Drbd])
            .any(|storage| storage.device.as_ref().is_some_and(|own| own == device));
        if managed || on_drbd {
            out.push(
                reason(
                    DISKS.id,
                    Severity::Unsupported,
                    "suse.sbd-disk",
                    format!("SBD's disk `{path}` lies on something that the nodes manage themselves (RAID, LVM or DRBD)"),
                )
                .about("options.sbd")
                .remedy("give SBD a raw shared disk of its own"),
            );
        } else if !path.starts_with("/dev/disk/") && !path.starts_with("/dev/mapper/") {
            out.push(
                reason(
                    DISKS.id,
                    Severity::Warning,
                    "suse.sbd-disk",
                    format!("`{path}` may be another disk after the next boot"),
                )
                .about("options.sbd")
                .remedy("name SBD's disk by /dev/disk/by-id/…"),
            );
        }
    }
}

pub(super) const TIMES: Rule = Rule {
    id: "sbd-times",
    title: "SBD's times fit each other",
    editions: TODAY,
    statements: &[],
    sources: &["suse.sbd-times", "cs.profile"],
    explanation: "A message on the disk counts as received after twice the watchdog's time-out (msgwait), and fencing \
        must be allowed a fifth more than that: a shorter time-out makes every fencing fail that in truth \
        succeeds. On iSCSI and multipath the watchdog must outlast the failover of a path, or a broken cable \
        resets the node.",
    check: times,
};

fn times(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(sbd) = &facts.definition.options.sbd else {
        return;
    };
    let factor = |name| number("suse.sbd-times", name).map(u128::from);
    let (Some(msgwait), Some(percent)) = (
        factor("msgwait_per_watchdog"),
        factor("stonith_over_msgwait_percent"),
    ) else {
        return;
    };
    let watchdog = sbd.watchdog_timeout.millis();
    let least = (watchdog * msgwait * percent).div_ceil(100);
    let timeout = facts.definition.fencing.timeout;
    if timeout.millis() < least {
        out.push(
            reason(
                TIMES.id,
                Severity::Unsafe,
                "suse.sbd-times",
                format!(
                    "fencing may take {timeout}, and SBD with a watchdog time-out of {} needs {} s: every fencing would count as failed",
                    sbd.watchdog_timeout,
                    least.div_ceil(1000)
                ),
            )
            .about("fencing.timeout")
            .remedy(format!("set `timeout = \"{}s\"` in `[fencing]`", least.div_ceil(1000))),
        );
    }
    let (profile, usual) = if facts.kind() == cluster::PlatformKind::Azure {
        ("azure_watchdog_ms", "Azure")
    } else {
        ("watchdog_ms", "virtual machines")
    };
    if number("cs.profile", profile).is_some_and(|least| watchdog < u128::from(least)) {
        out.push(
            reason(
                TIMES.id,
                Severity::Note,
                "cs.profile",
                format!(
                    "a watchdog time-out of {} is shorter than the published profile for {usual}",
                    sbd.watchdog_timeout
                ),
            )
            .about("options.sbd"),
        );
    }
}

pub(super) const RELEASE: Rule = Rule {
    id: "sbd-release",
    title: "the release supports SBD",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.sbd-rel"],
    explanation: "Red Hat supports SBD in RHEL 8 and 9, in RHEL 7 from 7.1 on without disks and from 7.4 on with them, \
        and in 6.8 and newer. On RHEL 10 nothing was found.",
    check: |facts, out| {
        let Some(sbd) = &facts.definition.options.sbd else {
            return;
        };
        let since = |name| version("rhel.sbd-rel", name);
        for (node, have) in facts.rhel() {
            let seven = if sbd.devices.is_empty() {
                "rhel7_watchdog"
            } else {
                "rhel7_disk"
            };
            let (severity, missing) = match have.major() {
                8 | 9 => continue,
                7 => (
                    Severity::Unsupported,
                    since(seven).is_none_or(|least| have < least),
                ),
                6 => (
                    Severity::Unsupported,
                    since("rhel6").is_none_or(|least| have < least),
                ),
                ..6 => (Severity::Unsupported, true),
                _ => (Severity::Unverified, true),
            };
            if missing {
                let what = if severity == Severity::Unverified {
                    format!("whether Red Hat supports SBD on RHEL {have} was not found")
                } else {
                    format!("Red Hat does not support this use of SBD on RHEL {have}")
                };
                out.push(
                    reason(RELEASE.id, severity, "rhel.sbd-rel", what)
                        .about(place("node", &node.name)),
                );
            }
        }
    },
};
