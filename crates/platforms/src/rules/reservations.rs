//! Fencing by SCSI persistent reservations: what the storage must do, what must lie on it, and what
//! the fenced node goes on doing.

use cluster::{Storage, StorageKind, Watchdog};

use super::view::Chapter;
use super::{ALWAYS, DOCUMENT, TODAY, judged, list, place, reason};
use crate::edition::Edition;
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const S30: Rule = Rule {
    id: "S30",
    title: "on RHEV, shared storage is iSCSI and fenced by fence_scsi",
    editions: DOCUMENT,
    statements: &["S30"],
    sources: &["S30"],
    explanation: "RHEV does not let guests share block storage at first. Guests that share storage reach it over \
        iSCSI themselves, and must then be fenced by fence_scsi: it is the storage that has to be cut off. The \
        first level that succeeds ends the fencing, so fence_scsi belongs into each level.",
    check: |facts, out| {
        if !facts.in_chapter(Chapter::Rhev) {
            return;
        }
        let shared = facts.definition.shared_storage();
        let Some(storage) = shared.first() else {
            return;
        };
        let Some(node) = facts
            .guests()
            .find(|node| !facts.always_fenced_by(node, "fence_scsi"))
        else {
            return;
        };
        let how = if facts.fenced_by(node, "fence_scsi") {
            "can count as fenced by a level without fence_scsi"
        } else {
            "is not fenced by fence_scsi"
        };
        out.push(
            reason(
                S30.id,
                Severity::Unsupported,
                "S30",
                format!(
                    "the guests share `{}`, and `{}` {how}",
                    storage.name, node.name
                ),
            )
            .about(place("storage", &storage.name))
            .remedy("share storage over iSCSI only, and fence all guests with fence_scsi at every level"),
        );
    },
};

/// Whether a storage does what fencing by reservations needs: reservations, and preempt and abort.
enum Ability {
    /// It does.
    Does,
    /// It does not; what says so, and in which words.
    DoesNot(&'static str, &'static str),
    /// Nobody said; what comes nearest, and in which words.
    Unknown(&'static str, &'static str),
}

/// Whether the RHEL 5 and 6 target serves the storage, by any of the names of it, its daemon and its package.
fn is_tgt(storage: &Storage) -> bool {
    const NAMES: [&str; 4] = ["tgt", "tgtd", "rhel-tgtd", "scsi-target-utils"];
    let server = storage.server.as_ref();
    server.is_some_and(|server| {
        let server = server.as_str();
        NAMES.iter().any(|name| server.eq_ignore_ascii_case(name))
    })
}

/// What is known of the software that serves a storage (facts `pr.*` and `az.pr`).
fn ability(facts: &Facts<'_>, storage: &Storage) -> Ability {
    let declared = (storage.persistent_reservations, storage.preempt_and_abort);
    let server = storage
        .server
        .as_ref()
        .map(|server| server.as_str().to_ascii_lowercase());
    let needs = if facts.edition == Edition::Document {
        "S50"
    } else {
        "fa.pr"
    };
    // What is known to lack it lacks it whatever the definition declares.
    if is_tgt(storage) {
        return Ability::DoesNot("pr.tgt", "tgt does not do preempt and abort");
    }
    if storage.kind == StorageKind::Drbd {
        return Ability::DoesNot("pr.drbd", "DRBD has no persistent reservations");
    }
    match declared {
        (Some(false), _) => return Ability::DoesNot(needs, "it does no persistent reservations"),
        (_, Some(false)) => return Ability::DoesNot(needs, "it does not do preempt and abort"),
        (Some(true), Some(true)) => return Ability::Does,
        _ => {}
    }
    let unknown = "whether it does persistent reservations with preempt and abort is not said";
    if facts.edition == Edition::Document {
        return Ability::Unknown("S50", unknown);
    }
    match (storage.kind, server.as_deref()) {
        (_, Some("lio" | "picket-target")) => Ability::Does,
        (_, Some("ceph-iscsi")) => Ability::DoesNot(
            "pr.ceph-iscsi",
            "Ceph's iSCSI gateways do not share reservations",
        ),
        (_, Some("freebsd-ctl")) => Ability::Unknown(
            "pr.freebsd",
            "FreeBSD's target does reservations, and preempt and abort is not spelled out",
        ),
        (_, Some("ontap")) => Ability::Unknown(
            "pr.ontap",
            "ONTAP keeps reservations, and preempt and abort is not spelled out",
        ),
        (_, Some("truenas-scale")) => Ability::Unknown(
            "pr.truenas-scale",
            "TrueNAS SCALE is believed to do reservations, and no page says so",
        ),
        (StorageKind::SharedCloudDisk, _) => Ability::Unknown(
            if facts.kind() == cluster::PlatformKind::Aws {
                "aws.nvme"
            } else {
                "az.pr"
            },
            "the cloud enforces reservations, and does not say whether by preempt and abort",
        ),
        _ => Ability::Unknown("fa.pr", unknown),
    }
}

const PROBE: &str = "ask its vendor and write down `persistent_reservations` and `preempt_and_abort`, or have \
    `picket storage probe --save FILE` try it and name the file as its `probe`";

pub(super) const S50: Rule = Rule {
    id: "S50",
    title: "fencing by reservations needs storage that does preempt and abort",
    editions: ALWAYS,
    statements: &["S50"],
    sources: &[
        "S50",
        "fa.pr",
        "pr.lio",
        "pr.ceph-iscsi",
        "pr.freebsd",
        "pr.ontap",
        "pr.truenas-scale",
        "pr.drbd",
        "az.pr",
        "aws.nvme",
    ],
    explanation: "fence_scsi and fence_mpath take a node's registration away with PREEMPT AND ABORT: what the node \
        has written is decided before another takes over. Storage that has no reservations refuses it, and one \
        that has reservations without the abort may still carry out a write of the fenced node. Which of the \
        two a given storage does must be asked: the vendor says, or `picket storage probe` tries it on the living \
        target.",
    check: |facts, out| {
        for (device, storage) in facts.guarded() {
            let subject = place("storage", &storage.name);
            match ability(facts, storage) {
                Ability::Does => {}
                // A statement of its own speaks of that server: S51.
                Ability::DoesNot("pr.tgt", _) => {}
                Ability::DoesNot(basis, what) => out.push(
                    reason(
                        S50.id,
                        Severity::Unsafe,
                        basis,
                        format!("{} cannot fence on `{}`: {what}", device.agent, storage.name),
                    )
                    .about(subject)
                    .remedy("move to storage that does both, or fence with an agent that switches the node"),
                ),
                Ability::Unknown(basis, what) => out.push(
                    reason(
                        S50.id,
                        Severity::Unverified,
                        basis,
                        format!("{} fences on `{}`: {what}", device.agent, storage.name),
                    )
                    .about(subject)
                    .remedy(PROBE),
                ),
            }
        }
    },
};

pub(super) const S51: Rule = Rule {
    id: "S51",
    title: "the old RHEL iSCSI server cannot be used with fence_scsi",
    editions: ALWAYS,
    statements: &["S51"],
    sources: &["S51", "pr.tgt", "hist.tgt"],
    explanation: "The iSCSI server of RHEL 5 and 6 (tgtd, of scsi-target-utils) does no persistent reservations that \
        fence_scsi could use; its preempt and abort is switched off in the source to this day. It is good enough \
        as shared storage when nodes are fenced in another way. RHEL 7 and newer serve iSCSI with the kernel's \
        target, which does both.",
    check: |facts, out| {
        let basis = if facts.edition == Edition::Document {
            "S51"
        } else {
            "pr.tgt"
        };
        let all = facts.definition.storage.iter();
        for storage in all.filter(|storage| is_tgt(storage)) {
            let subject = place("storage", &storage.name);
            if facts.is_guarded(storage) {
                out.push(
                    reason(
                        S51.id,
                        Severity::Unsafe,
                        basis,
                        format!(
                            "`{}` is served by tgt, whose reservations fence_scsi cannot use",
                            storage.name
                        ),
                    )
                    .about(subject)
                    .remedy("serve it with the kernel's target (LIO), or fence with another agent"),
                );
            } else {
                out.push(
                    reason(
                        S51.id,
                        Severity::Note,
                        basis,
                        format!("`{}` is served by tgt: good enough as long as nodes are not fenced by fence_scsi", storage.name),
                    )
                    .about(subject),
                );
            }
        }
    },
};

pub(super) const S53: Rule = Rule {
    id: "S53",
    title: "with fence_scsi all shared storage is iSCSI",
    editions: DOCUMENT,
    statements: &["S53"],
    sources: &["S53"],
    explanation: "fence_scsi cuts a node off from the storage whose reservations it manages. What is shared in another \
        way stays open to the fenced node, which goes on running and writing. So all shared storage must be over \
        iSCSI; a mix of iSCSI and native shared storage is not permitted.",
    check: |facts, out| {
        let Some(node) = facts
            .nodes()
            .find(|node| facts.fenced_by(node, "fence_scsi"))
        else {
            return;
        };
        for storage in facts.definition.shared_storage() {
            if storage.kind == StorageKind::Iscsi {
                continue;
            }
            let alone = facts
                .nodes()
                .any(|node| facts.fenced_by_reservations_alone(node));
            out.push(
                reason(
                    S53.id,
                    if alone { Severity::Unsafe } else { Severity::Unsupported },
                    "S53",
                    format!(
                        "`{}` is fenced by fence_scsi, and the shared storage `{}` is not iSCSI: a fenced node \
                         goes on writing to it",
                        node.name, storage.name
                    ),
                )
                .about(place("storage", &storage.name))
                .remedy("share all storage over iSCSI, or fence with an agent that switches the node"),
            );
        }
    },
};

pub(super) const SCOPE: Rule = Rule {
    id: "reservations-scope",
    title: "fencing by reservations covers everything that services use",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.scsi-scope"],
    explanation: "A node that is fenced by reservations goes on running: it is cut off from the guarded storage and \
        from nothing else. An address stays up on it, and what it shares by other means it goes on writing. So \
        it is valid only if every application that the cluster manages lives on the guarded devices; a device \
        that was made for fencing alone does not count. A later level that switches the node does not change \
        what the first one leaves open.",
    check: scope,
};

fn scope(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(node) = facts
        .nodes()
        .find(|node| facts.fenced_by_reservations_alone(node))
    else {
        return;
    };
    let fix = "add a device that switches the node to the same level, or put everything that the service uses on \
               the guarded storage";
    for storage in facts.definition.shared_storage() {
        if !facts.is_guarded(storage) {
            out.push(
                reason(
                    SCOPE.id,
                    Severity::Unsafe,
                    "rhel.scsi-scope",
                    format!(
                        "`{}` may be fenced by reservations alone, which do not guard `{}`: it goes on writing there",
                        node.name, storage.name
                    ),
                )
                .about(place("storage", &storage.name))
                .remedy(fix),
            );
        }
    }
    for service in &facts.definition.services {
        let on_guarded = service.filesystems.iter().any(|name| {
            facts
                .definition
                .filesystem(name.as_str())
                .is_some_and(|filesystem| {
                    let under = facts.storage_under(filesystem);
                    !under.is_empty() && under.iter().all(|storage| facts.is_guarded(storage))
                })
        });
        if !on_guarded {
            out.push(
                reason(
                    SCOPE.id,
                    Severity::Unsupported,
                    "rhel.scsi-scope",
                    format!(
                        "`{}` may be fenced by reservations alone, and the service `{}` does not live on the \
                         guarded storage: it may go on running there",
                        node.name, service.name
                    ),
                )
                .about(place("service", &service.name))
                .remedy(fix),
            );
        }
    }
}

pub(super) const REBOOT: Rule = Rule {
    id: "reservations-reboot",
    title: "a node that is fenced by reservations is rebooted by something",
    editions: TODAY,
    statements: &[],
    sources: &["fa.pr", "hist.wd62"],
    explanation: "After fencing by reservations the node is cut off and still running, and stays out of the cluster \
        until it is rebooted. A watchdog that notices the lost registration does that; without one an \
        administrator must.",
    check: |facts, out| {
        let left: Vec<_> = facts
            .nodes()
            .filter(|node| facts.fenced_by_reservations_alone(node))
            .filter(|node| {
                matches!(
                    facts.definition.watchdog_of(node),
                    None | Some(Watchdog::None)
                )
            })
            .collect();
        let Some(first) = left.first() else { return };
        out.push(
            reason(
                REBOOT.id,
                Severity::Warning,
                "fa.pr",
                format!(
                    "after fencing by reservations {} goes on running, cut off, until somebody reboots it: it has \
                     no watchdog",
                    list(left.iter().map(|node| &node.name))
                ),
            )
            .about(place("node", &first.name))
            .remedy("give the nodes a watchdog: it reboots a node that has lost its registration"),
        );
    },
};

pub(super) const MULTIPATH: Rule = Rule {
    id: "multipath-fencing",
    title: "on multipath devices, reservations hold for every path",
    editions: TODAY,
    statements: &[],
    sources: &["kvm.pr"],
    explanation: "A registration belongs to one path. On a multipath device fence_mpath registers one key for the \
        whole device through multipathd (`reservation_key` in multipath.conf); the usual fence_scsi has been seen \
        to register some paths only, or one key twice. fence_mpath without dm-multipath has nothing to work on.",
    check: |facts, out| {
        for (device, storage) in facts.guarded() {
            let subject = place("storage", &storage.name);
            match (device.agent.as_str(), storage.multipath) {
                ("fence_scsi", true) => out.push(
                    judged(
                        MULTIPATH.id,
                        Severity::Warning,
                        "a registration belongs to one path (SPC, I_T nexus)",
                        format!(
                            "`{}` has several paths: fence_scsi must register on every one of them, which Picket's \
                             does and older ones may not",
                            storage.name
                        ),
                    )
                    .about(subject)
                    .remedy("use fence_mpath with `reservation_key` in multipath.conf, or Picket's fence_scsi on all nodes"),
                ),
                ("fence_mpath", false) => out.push(
                    judged(
                        MULTIPATH.id,
                        Severity::Unsafe,
                        "fence_mpath acts on multipath devices",
                        format!("fence_mpath fences on multipath devices, and `{}` is none", storage.name),
                    )
                    .about(subject)
                    .remedy("set `multipath = true`, or fence with fence_scsi"),
                ),
                _ => {}
            }
        }
    },
};
