//! What each platform must be told, which no file of ours can tell it.

use super::Text;
use crate::definition::{
    AntiAffinity, Definition, Node, PlatformKind, Storage, StorageKind, VirtdMode, VirtdProgram,
};

pub(super) fn write(text: &mut Text, definition: &Definition) {
    let kind = definition.platform.kind;
    text.section(&format!("On the platform: {}", name(kind)));
    placement(text, definition);
    pins(text, definition);
    if !definition.platform.live_migration {
        text.point(no_migration(kind));
    }
    for storage in &definition.storage {
        shared_disk(text, definition, storage);
    }
    particulars(text, definition);
}

const fn name(kind: PlatformKind) -> &'static str {
    match kind {
        PlatformKind::Kvm => "KVM and libvirt",
        PlatformKind::Xen => "Xen",
        PlatformKind::Rhev => "RHEV and oVirt",
        PlatformKind::Vmware => "VMware vSphere",
        PlatformKind::HyperV => "Hyper-V",
        PlatformKind::Kubevirt => "KubeVirt",
        PlatformKind::Nutanix => "Nutanix AHV",
        PlatformKind::Proxmox => "Proxmox VE",
        PlatformKind::Azure => "Microsoft Azure",
        PlatformKind::Aws => "Amazon Web Services",
    }
}

fn plugs<'a>(nodes: impl Iterator<Item = &'a Node>) -> String {
    nodes.map(Node::plug).collect::<Vec<_>>().join(", ")
}

/// Members on different hosts: one host lost must not be the cluster lost.
fn placement(text: &mut Text, definition: &Definition) {
    if definition.guest_nodes().count() < 2 {
        return;
    }
    let guests = plugs(definition.guest_nodes());
    let cluster = &definition.name;
    let wanted = match definition.platform.anti_affinity {
        AntiAffinity::None => {
            "The definition asks for no rule; without one a single host lost may be the whole cluster lost."
        }
        AntiAffinity::Soft => "The definition asks for a rule that holds where it can.",
        AntiAffinity::Hard => "The definition asks for a rule that always holds.",
    };
    let how = match definition.platform.kind {
        PlatformKind::Kvm => "libvirt has no such rule: define each guest on its own host, or use what stands above libvirt (kvm.aff, unverified).".to_owned(),
        PlatformKind::Xen => format!(
            "XCP-ng 8.3 and XenServer 8: put them into one VM group with anti-affinity (xen.aff-83). Xen Orchestra: give them one tag and use its anti-affinity, which holds where it can (xen.aff-xo). VM group or tag: `{cluster}`."
        ),
        PlatformKind::Rhev => format!(
            "Early RHEV has no such rule: pin each guest to its host (S29). RHV and oVirt 4: make an affinity group `{cluster}` with a negative VM rule, enforcing if it must always hold; its scheduling policy needs VmAffinityGroups as filter (enforcing) or weight (ovirt.aff)."
        ),
        PlatformKind::Vmware => format!(
            "Make a DRS rule `{cluster}` of the kind \"Separate Virtual Machines\" (vmw.aff). All members on one ESXi are not for production (vmw.cib)."
        ),
        PlatformKind::HyperV => format!(
            "On the failover cluster, for each group: `(Get-ClusterGroup NAME).AntiAffinityClassNames = \"{cluster}\"`. That holds where it can; `(Get-Cluster).ClusterEnforcedAntiAffinity = 1` makes it hold always, and a guest then stays down when a host is missing (hv.aff)."
        ),
        PlatformKind::Kubevirt => "Give the virtual machines a common label and a `podAntiAffinity` term on `kubernetes.io/hostname` for it: `required…` holds always, `preferred…` where it can (kv.aff).".to_owned(),
        PlatformKind::Nutanix => format!("Make a VM-VM anti-affinity policy `{cluster}`; it holds where it can (ahv.aff, unverified)."),
        PlatformKind::Proxmox => format!(
            "`ha-manager rules add resource-affinity {cluster} --affinity negative --resources vm:ID,vm:ID`. It binds only machines that the hosts' HA manages (pve.aff)."
        ),
        PlatformKind::Azure => "Put them into an availability set, or into different zones (unverified).".to_owned(),
        PlatformKind::Aws => "Put them into a spread placement group, or into different zones (unverified).".to_owned(),
    };
    text.point(&format!(
        "Keep {guests} on different hosts. {wanted}\n{how}"
    ));
}

/// Guests that the definition ties to hosts.
fn pins(text: &mut Text, definition: &Definition) {
    for node in definition.guest_nodes().filter(|node| node.pinned) {
        let Some(host) = &node.host else {
            continue;
        };
        let how = match definition.platform.kind {
            PlatformKind::Rhev => {
                "In the manager: Edit, Host, \"Start Running On: Specific\" with this host, Migration Mode \"Do not allow migration\" (S29)."
            }
            PlatformKind::Vmware => {
                "Make a VM-Host rule \"Must run on hosts in group\", and set the DRS automation of this guest to Disabled (unverified)."
            }
            PlatformKind::HyperV => {
                "Set this host as the group's only possible owner (`Set-ClusterOwnerNode`; unverified)."
            }
            PlatformKind::Kubevirt => {
                "Set `nodeSelector: {kubernetes.io/hostname: HOST}` and `evictionStrategy: None` (unverified)."
            }
            PlatformKind::Proxmox => {
                "Make a strict node-affinity rule for it (`ha-manager rules add node-affinity … --strict 1`), or leave it out of the hosts' HA (pve.aff)."
            }
            PlatformKind::Kvm
            | PlatformKind::Xen
            | PlatformKind::Nutanix
            | PlatformKind::Azure
            | PlatformKind::Aws => "Define it on this host only, and migrate it nowhere (S19).",
        };
        text.point(&format!("Pin {} to {host}. {how}", node.plug()));
    }
}

const fn no_migration(kind: PlatformKind) -> &'static str {
    match kind {
        PlatformKind::Vmware => {
            "Keep DRS and operators from migrating the members while they are in the cluster: stop Pacemaker and Corosync on the node first, migrate, start them again (rhel.livemig, suse.livemig, vmw.vmotion)."
        }
        PlatformKind::Azure | PlatformKind::Aws => {
            "The provider may freeze or move a machine for maintenance: `token` must outlast that (az.token, rhel.livemig-cloud)."
        }
        _ => {
            "Do not migrate a member while it is in the cluster: stop Pacemaker and Corosync on the node first, migrate, start them again (rhel.livemig, suse.livemig)."
        }
    }
}

/// How the platform shares a disk between guests.
fn shared_disk(text: &mut Text, definition: &Definition, storage: &Storage) {
    let nodes = definition.nodes_of(storage);
    let guests = plugs(nodes.into_iter().filter(|node| node.is_guest()));
    let what = storage.path.as_ref().map_or_else(
        || format!("the disk `{}`", storage.name),
        |path| format!("`{path}` (`{}`)", storage.name),
    );
    let how = match storage.kind {
        StorageKind::Iscsi => {
            text.point(&format!(
                "Storage `{}`: the nodes reach the iSCSI target themselves; the platform need not know it (S49). On the target, allow the initiator names that stand in each node's /etc/iscsi/initiatorname.iscsi.",
                storage.name
            ));
            return;
        }
        StorageKind::HostBlock | StorageKind::RawImage => {
            "attach it with `disk-NAME.xml` from the rendered host files: shareable, cache none. Only raw disks can be shared (S10, S22; kvm.share, unverified). Reservations do not pass through such a disk (kvm.pr-blk)."
        }
        StorageKind::XenBlock => {
            "attach it writable and shared (`w!` in xl's disk syntax, `<shareable/>` in libvirt's) (S06)."
        }
        StorageKind::ScsiPassthrough => {
            "attach it with `disk-NAME.xml` from the rendered host files: device lun, reservations managed. On a multipath device the host's multipath.conf needs a `reservation_key` (kvm.pr, kvm.pr-xml)."
        }
        StorageKind::RdmPhysical => {
            "map it as RDM in physical compatibility mode on every guest, at the same unit of a PVSCSI adapter with SCSI bus sharing `physical`, and set `scsiX.releaseResvOnPowerOff = \"FALSE\"` (S39; vmw.bc-disk)."
        }
        StorageKind::RdmVirtual => {
            "map it as RDM in virtual compatibility mode, sharing `Multi-writer` (`scsiX:Y.sharing = \"multi-writer\"`), on every guest at the same unit (S39; vmw.vrdm). It passes no reservations."
        }
        StorageKind::MultiWriterVmdk => {
            "make it eager-zeroed thick and independent-persistent, sharing `Multi-writer` (`scsiX:Y.sharing = \"multi-writer\"`), on at most 8 hosts (vmw.mw-hosts, vmw.mw-ezt). No snapshots, suspend, clone, Storage vMotion or changed block tracking (vmw.mw-no). It passes no reservations (vmw.mw-pr, unverified)."
        }
        StorageKind::VhdSet => {
            "make a `.vhds` on a cluster shared volume and add it with `Add-VMHardDiskDrive -SupportPersistentReservations` (hv.vhds; its place: hv.place, unverified). Whether Linux guests get reservations with preempt and abort is not known (hv.pr, unverified)."
        }
        StorageKind::SharedVhdx => {
            "add it with `Add-VMHardDiskDrive -SupportPersistentReservations`. No host backup, resize or storage migration; converting it to a VHD set offline lifts that (hv.vhdx)."
        }
        StorageKind::DirectLun => {
            "attach it as direct LUN, VirtIO-SCSI, Shareable, with SCSI pass-through, privileged SCSI I/O and \"Using SCSI Reservation\" (ovirt.pr). The engine then refuses to migrate the guest (ovirt.pr-migr)."
        }
        StorageKind::ShareableDisk => {
            "make it raw and preallocated, tick Shareable, attach it to every guest; not on a Gluster domain (ovirt.share)."
        }
        StorageKind::VirtualFc => {
            "give every guest virtual Fibre Channel adapters and zone both of their name pairs to the unit (hv.vfc)."
        }
        StorageKind::RwxBlock => {
            "claim it as `ReadWriteMany`, volume mode Block, and set `shareable: true` on the disk (kv.share); for reservations use a `lun` with `bus: scsi` and `reservation: true`, behind the gate PersistentReservation (kv.pr)."
        }
        StorageKind::VolumeGroup => {
            "attach the volume group to every guest, or let the guests reach it over iSCSI (ahv.share, unverified for attachment)."
        }
        StorageKind::SharedCloudDisk => {
            "Azure: `maxShares` of at least the number of nodes, no host caching (az.limits). AWS: io2 with Multi-Attach, all nodes in one zone (aws.multi)."
        }
        StorageKind::Drbd => {
            "install DRBD on the nodes. Two primaries need protocol C and the policy `resource-and-stonith`, and are for two nodes (pr.drbd); it passes no reservations and must not carry sbd."
        }
        StorageKind::Qcow2Image => {
            "this kind of image cannot be shared: convert it with `qemu-img convert -O raw` (kvm.share, unverified)."
        }
    };
    let to = if guests.is_empty() {
        "the nodes".to_owned()
    } else {
        guests
    };
    text.point(&format!("Give {what} to {to}: {how}"));
}

/// What else the platform asks for.
fn particulars(text: &mut Text, definition: &Definition) {
    let platform = &definition.platform;
    if platform.restarts_guests {
        text.point("The platform's own high availability starts guests again that are found off. Switch that off for the members, or make sure that it never starts a guest which the cluster has just fenced: two powers must not decide about one machine (unverified).");
    }
    if definition.guests.snapshots {
        text.point("Take no snapshots of running members and suspend none: a member that stands still is fenced, and one that is resumed may write with old knowledge (rhel.snapshot, unverified).");
    }
    match platform.kind {
        PlatformKind::Kvm | PlatformKind::Xen => virtd(text, definition),
        PlatformKind::Vmware => {
            text.point("`fence_vmware_rest` needs vCenter; through a standalone ESXi nobody can fence the guests of a host that is dead: add the host's own power as a second level (vmw.standalone). Give the cluster an account of its own that may only see and switch its members.");
            text.point("A watchdog for Linux: VM hardware 17 or newer, a virtual watchdog timer added while the guest is off, driver wdat_wdt (vmw.wd).");
        }
        PlatformKind::HyperV => {
            text.point("There is no power fencing for Hyper-V (S44; fa.hyperv): the members are fenced by reservations (S45) or by sbd.");
            text.point("Give each member a static MAC address (hv.mac).");
        }
        PlatformKind::Proxmox => {
            text.point("The disk flag `shared` does not share a disk between guests (pve.shared). Give the members a watchdog with `qm set ID --watchdog model=i6300esb,action=reset` (pve.wd).");
        }
        PlatformKind::Kubevirt => {
            text.point("`fence_kubevirt` needs a kubeconfig on the nodes with rights on the virtual machines and their subresources (kv.fence). Set `runStrategy: Manual` or `RerunOnFailure`: `Always` starts a fenced guest again by itself.");
        }
        PlatformKind::Nutanix => text.point("`fence_nutanix_ahv` needs Prism Central with the v4 API (ahv.fence)."),
        PlatformKind::Azure => text.point("`fence_azure_arm` needs a managed identity or a service principal that may switch the members off and on (az.fence). Token: at least 30 s (az.token)."),
        PlatformKind::Aws => text.point("`fence_aws` needs a role that may stop, start and describe the members (unverified). Token: 30 s (cs.profile)."),
        PlatformKind::Rhev => text.point("`fence_rhevm` needs an account in the manager that may switch the members (S27; ovirt.fence). While the manager is down nobody is fenced."),
    }
}

/// The fencing daemon's modes.
fn virtd(text: &mut Text, definition: &Definition) {
    let Some(virtd) = &definition.fence_virtd else {
        return;
    };
    if virtd.program == VirtdProgram::FenceXvmd {
        text.point("`fence_xvmd` is part of the hosts' own cluster (RHEL 5): add `<fence_xvmd/>` to the hosts' /etc/cluster/cluster.conf, and the key of the rendered host files to /etc/cluster/fence_xvm.key (S05, S09). It reads no fence_virt.conf.");
    }
    match virtd.mode {
        VirtdMode::Standalone => text.point("`fence_virtd` knows the guests of its own host only: do not live-migrate members (S19; kvm.fv-migr, unverified)."),
        VirtdMode::Cluster => text.point("`fence_virtd` follows the guests through the hosts' own cluster, which must run and have fencing of its own (S20; kvm.fv-backend)."),
        VirtdMode::Bus => text.point("`fence_virtd` follows the guests over a message bus: each host needs libvirt's agent on the bus, and all of them the broker (S21). The C daemon dropped this back end (kvm.fv-backend)."),
    }
    text.point("`fence_virtd` must run on every host that may run a member (S17; kvm.fv-all).");
}
