//! What can go wrong with shared storage, whoever fences.

use cluster::{PlatformKind, Storage, StorageKind};

use super::{ALWAYS, TODAY, judged, number, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::Severity;

pub(super) const IMAGE: Rule = Rule {
    id: "image-shared",
    title: "an image that guests share is raw",
    editions: ALWAYS,
    statements: &["S06", "S10", "S22"],
    sources: &["kvm.share", "S06", "S10", "S22"],
    explanation: "A qcow2 image keeps tables of its own, which each QEMU holds in memory. Two that write to one image \
        overwrite each other's tables, and the image is destroyed. The requirement document grants raw images, \
        and nothing else.",
    check: |facts, out| {
        for storage in shared(facts, StorageKind::Qcow2Image) {
            out.push(
                reason(
                    IMAGE.id,
                    Severity::Unsafe,
                    "kvm.share",
                    format!(
                        "`{}` is a qcow2 image: two guests that write to it destroy it",
                        storage.name
                    ),
                )
                .about(place("storage", &storage.name))
                .remedy("convert it to a raw image, or share a block device or iSCSI"),
            );
        }
    },
};

fn shared<'a>(facts: &Facts<'a>, kind: StorageKind) -> Vec<&'a Storage> {
    facts
        .definition
        .shared_storage()
        .into_iter()
        .filter(|storage| storage.kind == kind)
        .collect()
}

pub(super) const DRBD: Rule = Rule {
    id: "drbd",
    title: "DRBD is written on two nodes at most, and needs fencing that switches nodes",
    editions: TODAY,
    statements: &[],
    sources: &["pr.drbd"],
    explanation: "DRBD can be written on two nodes at once with protocol C and fencing of the kind \
        resource-and-stonith only; version 9.0 allows exactly two, and for live migration only. It has no \
        persistent reservations, so fence_scsi cannot guard it, and SBD must not lie on it.",
    check: |facts, out| {
        for storage in shared(facts, StorageKind::Drbd) {
            let clustered = facts.definition.filesystems.iter().any(|filesystem| {
                filesystem.kind.is_clustered()
                    && facts
                        .storage_under(filesystem)
                        .iter()
                        .any(|under| under.name == storage.name)
            });
            let nodes = facts.definition.nodes_of(storage).len();
            let subject = place("storage", &storage.name);
            if clustered && nodes > 2 {
                out.push(
                    reason(
                        DRBD.id,
                        Severity::Unsupported,
                        "pr.drbd",
                        format!(
                            "GFS2 on the DRBD `{}` of {nodes} nodes: two may write to it at once",
                            storage.name
                        ),
                    )
                    .about(subject.clone())
                    .remedy("use storage that is shared, or two nodes"),
                );
            } else if clustered {
                out.push(
                    reason(
                        DRBD.id,
                        Severity::Warning,
                        "pr.drbd",
                        format!("`{}` is written on two nodes: DRBD needs protocol C and `fencing resource-and-stonith` for that", storage.name),
                    )
                    .about(subject),
                );
            }
        }
    },
};

pub(super) const PLATFORM: Rule = Rule {
    id: "platform-version",
    title: "the platform's version can do what the storage asks of it",
    editions: TODAY,
    statements: &[],
    sources: &["kv.share", "kv.pr-ver"],
    explanation: "KubeVirt shares a disk between guests from 0.51 on, and lets their reservations through from 1.0 on, \
        over several paths from 1.6 on.",
    check: |facts, out| {
        if facts.kind() != PlatformKind::Kubevirt {
            return;
        }
        let Some(have) = &facts.definition.platform.version else {
            return;
        };
        for storage in shared(facts, StorageKind::RwxBlock) {
            let guarded = facts.is_guarded(storage);
            let (basis, least, what) = match (guarded, storage.multipath) {
                (true, true) => (
                    "kv.pr-ver",
                    "multipath",
                    "lets reservations through over several paths",
                ),
                (true, false) => ("kv.pr-ver", "first", "lets reservations of guests through"),
                _ => ("kv.share", "product", "shares disks between guests"),
            };
            if let Some(least) = version(basis, least).filter(|least| have < *least) {
                out.push(
                    reason(
                        PLATFORM.id,
                        Severity::Unsupported,
                        basis,
                        format!("KubeVirt {what} from {least} on, and this is {have}"),
                    )
                    .about("platform.version")
                    .remedy(format!("update KubeVirt to {least} or newer")),
                );
            }
        }
    },
};

pub(super) const PATHS: Rule = Rule {
    id: "storage-paths",
    title: "several paths to a storage are one device, and one path is no failure of a node",
    editions: TODAY,
    statements: &[],
    sources: &[],
    explanation: "A target that is reached through several portals shows up as several disks. Without dm-multipath a \
        node uses one of them and does not notice the others; with it, but only one portal, nothing is gained. \
        With a single path, a broken switch takes the storage, and with it the services, from every node.",
    check: |facts, out| {
        for storage in shared(facts, StorageKind::Iscsi) {
            let subject = place("storage", &storage.name);
            let portals = storage.portals.len();
            if portals > 1 && !storage.multipath {
                out.push(
                    judged(
                        PATHS.id,
                        Severity::Warning,
                        "each portal gives a disk of its own",
                        format!("`{}` has {portals} portals and no multipath: each is a disk of its own", storage.name),
                    )
                    .about(subject)
                    .remedy("set `multipath = true`, or name one portal"),
                );
            } else if portals <= 1 {
                let severity = if storage.multipath {
                    Severity::Warning
                } else {
                    Severity::Note
                };
                out.push(
                    judged(
                        PATHS.id,
                        severity,
                        "one path has no second",
                        format!("`{}` is reached over one portal: when that path fails, every node loses the storage", storage.name),
                    )
                    .about(subject)
                    .remedy("give the target a second portal on another network, and set `multipath = true`"),
                );
            }
        }
    },
};

pub(super) const OUTSIDE: Rule = Rule {
    id: "storage-outside",
    title: "no member serves the storage that all share",
    editions: ALWAYS,
    statements: &[],
    sources: &["pr.lio-ha"],
    explanation: "A target that runs on a member fails together with it: the others lose their storage just when \
        they are to take over. Reservations are lost as well, unless the target keeps them on a disk that moves \
        along. Serve the storage from machines outside the cluster.",
    check: |facts, out| {
        for storage in shared(facts, StorageKind::Iscsi) {
            let server = facts.nodes().find(|node| {
                let mut portals = storage.portals.iter();
                portals.any(|portal| node.addresses.contains(&portal.address))
            });
            let Some(node) = server else { continue };
            out.push(
                judged(
                    OUTSIDE.id,
                    Severity::Unsafe,
                    "what a member serves fails together with it",
                    format!(
                        "`{}` is served by the node `{}`: when that fails, all others lose the storage",
                        storage.name, node.name
                    ),
                )
                .about(place("storage", &storage.name))
                .remedy("serve the storage from machines outside the cluster"),
            );
        }
    },
};

pub(super) const CLOUD: Rule = Rule {
    id: "cloud-disk",
    title: "a cloud's shared disk is attached within the provider's limits",
    editions: TODAY,
    statements: &[],
    sources: &["aws.multi", "az.limits"],
    explanation: "AWS attaches a Multi-Attach volume to at most 16 instances of one zone, and documents no fencing on \
        it. Azure's shared disks know no host cache, and Ultra and Premium v2 disks do not reach across zones.",
    check: |facts, out| {
        for storage in shared(facts, StorageKind::SharedCloudDisk) {
            let nodes = facts.definition.nodes_of(storage).len();
            let subject = place("storage", &storage.name);
            match facts.kind() {
                PlatformKind::Aws => {
                    let most = number("aws.multi", "max_instances").unwrap_or(u32::MAX) as usize;
                    let (severity, message) = if nodes > most {
                        (
                            Severity::Unsupported,
                            format!("`{}` is attached to {nodes} instances, where AWS allows {most}", storage.name),
                        )
                    } else {
                        (
                            Severity::Note,
                            format!("`{}`: AWS attaches it to instances of one zone only", storage.name),
                        )
                    };
                    out.push(reason(CLOUD.id, severity, "aws.multi", message).about(subject));
                }
                PlatformKind::Azure => out.push(
                    reason(
                        CLOUD.id,
                        Severity::Note,
                        "az.limits",
                        format!("`{}`: no host cache, no growing while attached, and not every kind reaches across zones", storage.name),
                    )
                    .about(subject),
                ),
                _ => {}
            }
        }
    },
};
