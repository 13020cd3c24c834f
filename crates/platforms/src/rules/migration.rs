//! What moves or stops a guest without the cluster's knowledge.

use cluster::{PlatformKind, StorageKind};

use super::view::Vendor;
use super::{TODAY, list, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const MEMBERS: Rule = Rule {
    id: "live-migration",
    title: "members are not live-migrated while they are active",
    editions: TODAY,
    statements: &[],
    sources: &[
        "rhel.livemig",
        "rhel.livemig-cloud",
        "suse.livemig",
        "vmw.vmotion",
    ],
    explanation: "A guest stands still for a moment at the end of a live migration, and its clock and its peers notice. \
        If it stands still for longer than the token, it is fenced. Red Hat does not support migrating an active \
        member, clouds excepted; SUSE gives no support for what follows. Stop the cluster services on the guest, \
        or put it into maintenance, migrate it, start them again.",
    check: members,
};

fn members(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if !facts.definition.platform.live_migration || facts.guests().next().is_none() {
        return;
    }
    let cloud = matches!(facts.kind(), PlatformKind::Azure | PlatformKind::Aws);
    let remedy =
        "set `live_migration = false`: stop the cluster on a guest, migrate it, start it again";
    if facts.has_vendor(Vendor::RedHat) {
        let found = if cloud {
            reason(
                MEMBERS.id,
                Severity::Note,
                "rhel.livemig-cloud",
                "Red Hat supports live migration in public clouds, by the provider's timers and agents",
            )
        } else {
            reason(
                MEMBERS.id,
                Severity::Unsupported,
                "rhel.livemig",
                "Red Hat does not support live migration of active members",
            )
            .remedy(remedy)
        };
        out.push(found.about("platform.live_migration"));
    }
    if facts.has_vendor(Vendor::Suse) {
        out.push(
            reason(
                MEMBERS.id,
                Severity::Warning,
                "suse.livemig",
                "SUSE gives no support for what a live migration of an active member causes",
            )
            .about("platform.live_migration")
            .remedy("raise token and SBD timeouts and try it, or migrate with the cluster stopped on the guest"),
        );
    }
    if facts
        .nodes()
        .any(|node| matches!(facts.vendor(node), Vendor::Canonical | Vendor::Other))
        && !cloud
    {
        out.push(
            reason(
                MEMBERS.id,
                Severity::Warning,
                "suse.livemig",
                "a member that stands still during its migration for longer than the token is fenced",
            )
            .about("platform.live_migration")
            .remedy(remedy),
        );
    }
}

pub(super) const RESERVATIONS: Rule = Rule {
    id: "migration-reservations",
    title: "a guest whose reservations the platform holds is not live-migrated",
    editions: TODAY,
    statements: &[],
    sources: &["kvm.pr-migr", "kv.pr-migr", "ovirt.pr-migr", "vmw.wsfc"],
    explanation: "Where the host registers on behalf of a guest, the registration stays with the old host when the \
        guest moves: the guest can no longer write, and fencing it preempts the wrong one. QEMU moves it from \
        version 11 on, KubeVirt from 1.9; oVirt refuses to migrate such a guest. A guest that reaches its \
        storage over iSCSI itself takes its registration along.",
    check: reservations,
};

fn reservations(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if !facts.definition.platform.live_migration {
        return;
    }
    let passed: Vec<_> = facts
        .guarded()
        .into_iter()
        .map(|(_, storage)| storage)
        .filter(|storage| storage.kind != StorageKind::Iscsi)
        .collect();
    let Some(first) = passed.first() else { return };
    let have = facts.definition.platform.version.as_ref();
    let (basis, message) = match facts.kind() {
        PlatformKind::Kvm => (
            "kvm.pr-migr",
            "before QEMU 11 a migrated guest leaves its reservation on the old host",
        ),
        PlatformKind::Kubevirt => {
            if have
                .zip(version("kv.pr-migr", "product"))
                .is_some_and(|(have, since)| have >= since)
            {
                return;
            }
            (
                "kv.pr-migr",
                "before KubeVirt 1.9 a guest with reservations cannot be migrated",
            )
        }
        PlatformKind::Rhev => (
            "ovirt.pr-migr",
            "oVirt refuses to migrate a guest with reservations",
        ),
        PlatformKind::Vmware => (
            "vmw.wsfc",
            "vSphere does not migrate a guest whose shared disk has a shared bus",
        ),
        _ => return,
    };
    out.push(
        reason(
            RESERVATIONS.id,
            Severity::Unsupported,
            basis,
            format!(
                "live migration, with reservations on {}: {message}",
                list(passed.iter().map(|s| &s.name))
            ),
        )
        .about(place("storage", &first.name))
        .remedy("set `live_migration = false`, or reach the storage over iSCSI from the guests"),
    );
}

pub(super) const SNAPSHOTS: Rule = Rule {
    id: "snapshots",
    title: "members are not snapshotted or suspended while they run",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.snapshot", "vmw.mw-no", "hv.vhds-no"],
    explanation: "A suspended member is silent, and is fenced; resumed later, it goes on with the writes that it had in \
        hand. A member that goes back to a snapshot remembers a cluster that no longer exists. Disks that guests \
        share cannot be part of a snapshot at all on most platforms. Back up from inside the guest, or with the \
        node out of the cluster.",
    check: |facts, out| {
        if !facts.definition.guests.snapshots || facts.guests().next().is_none() {
            return;
        }
        let remedy = "set `snapshots = false`: take the node out of the cluster first, or back up from inside";
        let multi = facts
            .storage_of_kind(&[StorageKind::MultiWriterVmdk, StorageKind::RdmVirtual])
            .next();
        if let Some(storage) = multi {
            out.push(
                reason(
                    SNAPSHOTS.id,
                    Severity::Unsupported,
                    "vmw.mw-no",
                    format!("VMware does not allow snapshots and suspension with the multi-writer disk `{}`", storage.name),
                )
                .about(place("storage", &storage.name))
                .remedy(remedy),
            );
        }
        out.push(
            reason(
                SNAPSHOTS.id,
                Severity::Unsupported,
                "rhel.snapshot",
                "members are snapshotted or suspended while they run: a resumed member goes on writing",
            )
            .about("guests.snapshots")
            .remedy(remedy),
        );
    },
};
