//! Shared storage and what lies on it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::types::{
    Backing, Count, DevicePath, Invalid, Iqn, Line, MountOptions, Name, NearbyFile, NodeName,
    PlainPath, Portal, Size, Word,
};

/// Storage that several nodes reach.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Storage {
    /// Its name.
    pub name: Name,
    /// What kind of storage it is.
    pub kind: StorageKind,
    /// `iscsi` only: the target's name.
    pub target: Option<Iqn>,
    /// `iscsi` only: where the target listens.
    #[serde(default)]
    pub portals: Vec<Portal>,
    /// `iscsi` only: the number of the logical unit.
    #[schemars(extend("default" = 0))]
    pub lun: Option<Count<0, 16383>>,
    /// `iscsi` only: who the initiator says it is.
    pub chap: Option<Chap>,
    /// `iscsi` only: what serves it: `lio`, `tgt`, `picket-target`, `ceph-iscsi`, `freebsd-ctl`,
    /// `truenas-scale`, `ontap`, `rhel-tgtd`, or the vendor's name.
    pub server: Option<Word>,
    /// What `picket storage probe --save` kept of it: a file, relative to the folder of the definition. What was seen goes
    /// before the next two keys. It counts for 90 days.
    pub probe: Option<NearbyFile>,
    /// Whether it does SCSI-3 persistent reservations, as a probe or the vendor said. Absent: nobody knows.
    pub persistent_reservations: Option<bool>,
    /// Whether it does the preempt-and-abort command, as a probe or the vendor said. Absent: nobody knows.
    pub preempt_and_abort: Option<bool>,
    /// On the hosts: the block device, the image or the virtual disk behind it.
    pub path: Option<Backing>,
    /// In the nodes: the device.
    pub device: Option<DevicePath>,
    /// Whether the nodes reach it over several paths with dm-multipath.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub multipath: bool,
    /// The nodes that reach it. Default: all.
    #[serde(default)]
    pub nodes: Vec<NodeName>,
}

/// A kind of shared storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StorageKind {
    /// A logical unit of an iSCSI target, which the nodes reach themselves.
    Iscsi,
    /// A block device of the hosts, given to the guests.
    HostBlock,
    /// A raw image file on the hosts.
    RawImage,
    /// A Xen shared block device.
    XenBlock,
    /// A VMware raw device mapping in physical mode.
    RdmPhysical,
    /// A VMware raw device mapping in virtual mode.
    RdmVirtual,
    /// A VMware virtual disk with the multi-writer flag.
    MultiWriterVmdk,
    /// A Hyper-V VHD set.
    VhdSet,
    /// A Hyper-V shared VHDX.
    SharedVhdx,
    /// A RHEV or oVirt direct LUN.
    DirectLun,
    /// A RHEV or oVirt shareable disk.
    ShareableDisk,
    /// A SCSI device of the host, commands passed through.
    ScsiPassthrough,
    /// A virtual Fibre Channel adapter.
    VirtualFc,
    /// A KubeVirt block volume that many may write.
    RwxBlock,
    /// A Nutanix volume group.
    VolumeGroup,
    /// A disk of a cloud that several instances attach.
    SharedCloudDisk,
    /// DRBD between the nodes.
    Drbd,
    /// A qcow2 image: cannot be shared.
    Qcow2Image,
}

impl StorageKind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Iscsi,
        Self::HostBlock,
        Self::RawImage,
        Self::XenBlock,
        Self::RdmPhysical,
        Self::RdmVirtual,
        Self::MultiWriterVmdk,
        Self::VhdSet,
        Self::SharedVhdx,
        Self::DirectLun,
        Self::ShareableDisk,
        Self::ScsiPassthrough,
        Self::VirtualFc,
        Self::RwxBlock,
        Self::VolumeGroup,
        Self::SharedCloudDisk,
        Self::Drbd,
        Self::Qcow2Image,
    ];

    /// The kind as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
            Self::HostBlock => "host-block",
            Self::RawImage => "raw-image",
            Self::XenBlock => "xen-block",
            Self::RdmPhysical => "rdm-physical",
            Self::RdmVirtual => "rdm-virtual",
            Self::MultiWriterVmdk => "multi-writer-vmdk",
            Self::VhdSet => "vhd-set",
            Self::SharedVhdx => "shared-vhdx",
            Self::DirectLun => "direct-lun",
            Self::ShareableDisk => "shareable-disk",
            Self::ScsiPassthrough => "scsi-passthrough",
            Self::VirtualFc => "virtual-fc",
            Self::RwxBlock => "rwx-block",
            Self::VolumeGroup => "volume-group",
            Self::SharedCloudDisk => "shared-cloud-disk",
            Self::Drbd => "drbd",
            Self::Qcow2Image => "qcow2-image",
        }
    }
}

impl std::fmt::Display for StorageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who an iSCSI initiator says it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Chap {
    /// The user.
    pub user: Line,
    /// The file on the nodes that holds the password.
    pub password_file: PlainPath,
}

/// An LVM volume group on shared storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VolumeGroup {
    /// Its name.
    pub name: Name,
    /// The storage that makes it up.
    pub storage: Vec<Name>,
    /// Whether several nodes use it at once: clustered LVM, lvmlockd today and clvmd then.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub shared: bool,
}

/// An LVM volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Volume {
    /// Its name.
    pub name: Name,
    /// Its volume group.
    pub group: Name,
    /// Its size.
    pub size: Size,
    /// How many further copies it has: cmirror's job in a shared volume group.
    #[serde(default)]
    #[schemars(extend("default" = 0))]
    pub mirrors: Count<0, 8>,
    /// On how many nodes it is active. Default: `shared` under GFS2, else `exclusive`.
    pub activation: Option<Activation>,
}

/// On how many nodes a volume is active at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activation {
    /// On all of them.
    Shared,
    /// On one.
    Exclusive,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Filesystem {
    /// Its name.
    pub name: Name,
    /// Which file system.
    pub kind: FilesystemKind,
    /// The volume that it lies on: `GROUP/VOLUME`. Either this or `storage`.
    pub volume: Option<VolumePath>,
    /// The storage that it lies on, without LVM. Either this or `volume`.
    pub storage: Option<Name>,
    /// Where it is mounted.
    pub mount: PlainPath,
    /// Mount options.
    pub options: Option<MountOptions>,
    /// `gfs2` only: how many nodes may mount it at once. Default: as many as there are nodes.
    pub journals: Option<Count<1, 32>>,
    /// `ext4` and `xfs` only: the one node that mounts it, if no service does.
    pub node: Option<NodeName>,
}

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FilesystemKind {
    /// GFS2: mounted on all nodes at once.
    Gfs2,
    /// ext4: mounted on one node.
    Ext4,
    /// XFS: mounted on one node.
    Xfs,
}

impl FilesystemKind {
    /// The kind as it is written in a definition, and as mount(8) takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gfs2 => "gfs2",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Whether several nodes may mount it at once.
    #[must_use]
    pub const fn is_clustered(self) -> bool {
        matches!(self, Self::Gfs2)
    }
}

/// A volume together with its group: `GROUP/VOLUME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct VolumePath {
    /// The volume group.
    pub group: Name,
    /// The volume.
    pub volume: Name,
}

impl<'de> Deserialize<'de> for VolumePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (group, volume) = text.split_once('/').ok_or_else(|| {
            serde::de::Error::custom(Invalid::new(format!(
                "`{text}` is not a volume: write `GROUP/VOLUME`"
            )))
        })?;
        let name = |text: &str| Name::try_from(text.to_owned()).map_err(serde::de::Error::custom);
        Ok(Self {
            group: name(group)?,
            volume: name(volume)?,
        })
    }
}

impl std::fmt::Display for VolumePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.volume)
    }
}

crate::types::schema!(VolumePath, "VolumePath", {
    "type": "string",
    "pattern": "^[A-Za-z][A-Za-z0-9_-]*/[A-Za-z][A-Za-z0-9_-]*$",
    "examples": ["vg_shared/data"]
});
