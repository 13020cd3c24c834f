//! What several rules want to know about a definition.

use cluster::{Definition, FenceDevice, Node, Os, PlatformKind, Storage, StorageKind, Version};

use crate::live::SeenAt;
use crate::rule::Facts;

/// Which part of the requirement document a platform falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chapter {
    /// Xen on RHEL 5 hosts: S03 to S06.
    Xen5,
    /// KVM on RHEL 5 hosts: S07 to S11.
    Kvm5,
    /// KVM on RHEL 6 hosts: S12 to S23.
    Kvm6,
    /// RHEV: S24 to S31.
    Rhev,
    /// VMware: S32 to S43.
    Vmware,
}

impl Chapter {
    /// The chapter on hosts of a kind that run that RHEL.
    const fn of(kind: PlatformKind, rhel: Option<u32>) -> Option<Self> {
        match (kind, rhel) {
            (PlatformKind::Xen, Some(5)) => Some(Self::Xen5),
            (PlatformKind::Kvm, Some(5)) => Some(Self::Kvm5),
            (PlatformKind::Kvm, Some(6)) => Some(Self::Kvm6),
            (PlatformKind::Rhev, _) => Some(Self::Rhev),
            (PlatformKind::Vmware, _) => Some(Self::Vmware),
            _ => None,
        }
    }
}

/// Whose policy a node's operating system falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    /// RHEL.
    RedHat,
    /// SLES.
    Suse,
    /// Ubuntu.
    Canonical,
    /// Everything else: no vendor's policy is known.
    Other,
}

/// A version from its numbers, which are known to be well-formed.
pub(super) fn at_least(version: &Version, least: &[u32]) -> bool {
    version.parts() >= least
}

impl<'a> Facts<'a> {
    pub(super) fn kind(&self) -> PlatformKind {
        self.definition.platform.kind
    }

    /// Whether that part of the requirement document speaks of some of the guests, by the hosts on which
    /// they may run.
    pub(super) fn in_chapter(&self, chapter: Chapter) -> bool {
        self.placements.iter().any(|placement| {
            let setting = &placement.setting;
            let rhel = setting.host_os.filter(|os| os.is("rhel"));
            Chapter::of(setting.platform, rhel.map(|os| os.version.major())) == Some(chapter)
        })
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.definition.nodes.iter()
    }

    pub(super) fn guests(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.nodes().filter(|node| node.is_guest())
    }

    pub(super) fn bare_metal(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.nodes().filter(|node| !node.is_guest())
    }

    pub(super) fn os(&self, node: &'a Node) -> Option<&'a Os> {
        self.definition.guest_os(node)
    }

    pub(super) fn vendor(&self, node: &'a Node) -> Vendor {
        match self.os(node).map(|os| os.distribution.as_str()) {
            Some("rhel") => Vendor::RedHat,
            Some("sles") => Vendor::Suse,
            Some("ubuntu") => Vendor::Canonical,
            _ => Vendor::Other,
        }
    }

    /// Whether some node falls under this vendor's policy.
    pub(super) fn has_vendor(&self, vendor: Vendor) -> bool {
        self.nodes().any(|node| self.vendor(node) == vendor)
    }

    /// The nodes that run RHEL, with its version.
    pub(super) fn rhel(&self) -> impl Iterator<Item = (&'a Node, &'a Version)> {
        self.nodes().filter_map(|node| {
            let os = self.os(node).filter(|os| os.is("rhel"))?;
            Some((node, &os.version))
        })
    }

    /// The devices that fence a node, over all levels.
    pub(super) fn devices_of(&self, node: &Node) -> Vec<&'a FenceDevice> {
        self.definition
            .levels_of(node)
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether the node is fenced by that agent at some level.
    pub(super) fn fenced_by(&self, node: &Node, agent: &str) -> bool {
        self.devices_of(node)
            .iter()
            .any(|device| device.agent.as_str() == agent)
    }

    /// Whether that agent takes part whenever the node is fenced: each level counts as fencing by itself,
    /// so it must be in all of them.
    pub(super) fn always_fenced_by(&self, node: &Node, agent: &str) -> bool {
        let levels = self.definition.levels_of(node);
        let uses = |level: &Vec<&FenceDevice>| level.iter().any(|one| one.agent.as_str() == agent);
        !levels.is_empty() && levels.iter().all(uses)
    }

    /// Whether some level that fences the node removes reservations and does nothing else: the node then
    /// goes on running.
    pub(super) fn fenced_by_reservations_alone(&self, node: &Node) -> bool {
        self.definition.levels_of(node).iter().any(|level| {
            !level.is_empty() && level.iter().all(|device| device.agent.is_reservation())
        })
    }

    /// The devices in use that fence by reservations.
    pub(super) fn reservation_devices(&self) -> Vec<&'a FenceDevice> {
        self.definition
            .fence_devices
            .iter()
            .filter(|device| device.agent.is_reservation() && self.is_used(device))
            .collect()
    }

    /// Whether a device fences some node.
    pub(super) fn is_used(&self, device: &FenceDevice) -> bool {
        self.nodes().any(|node| {
            self.devices_of(node)
                .iter()
                .any(|used| used.name == device.name)
        })
    }

    /// The devices in use that ask `fence_virtd`.
    pub(super) fn virt_devices(&self) -> Vec<&'a FenceDevice> {
        self.definition
            .fence_devices
            .iter()
            .filter(|device| device.agent.is_virt() && self.is_used(device))
            .collect()
    }

    /// The storage whose reservations fence, with the device that does it.
    pub(super) fn guarded(&self) -> Vec<(&'a FenceDevice, &'a Storage)> {
        let definition: &'a Definition = self.definition;
        self.reservation_devices()
            .into_iter()
            .flat_map(|device| {
                definition
                    .storage_of(device)
                    .into_iter()
                    .map(move |storage| (device, storage))
            })
            .collect()
    }

    /// Whether reservations fence on this storage.
    pub(super) fn is_guarded(&self, storage: &Storage) -> bool {
        self.guarded()
            .iter()
            .any(|(_, guarded)| guarded.name == storage.name)
    }

    pub(super) fn storage_of_kind(
        &self,
        kinds: &'static [StorageKind],
    ) -> impl Iterator<Item = &'a Storage> + use<'a> {
        self.definition
            .storage
            .iter()
            .filter(move |storage| kinds.contains(&storage.kind))
    }

    /// The storage under a file system.
    pub(super) fn storage_under(&self, filesystem: &cluster::Filesystem) -> Vec<&'a Storage> {
        let definition: &'a Definition = self.definition;
        let names: Vec<&cluster::Name> = match (&filesystem.volume, &filesystem.storage) {
            (Some(volume), _) => definition
                .volume_groups
                .iter()
                .filter(|group| group.name == volume.group)
                .flat_map(|group| &group.storage)
                .collect(),
            (None, Some(storage)) => vec![storage],
            (None, None) => Vec::new(),
        };
        definition
            .storage
            .iter()
            .filter(|storage| names.contains(&&storage.name))
            .collect()
    }

    /// The host on which a guest was seen; else the one on which it is said to run.
    fn host_of(&self, node: &'a Node) -> Option<&'a str> {
        let said = node.host.as_ref().map(cluster::NodeName::as_str);
        let Some(live) = self.live.and_then(|live| live.member(node.name.as_str())) else {
            return said;
        };
        match &live.at {
            SeenAt::Host(host) => Some(host),
            SeenAt::Nowhere | SeenAt::Unknown(_) => said,
        }
    }

    /// Whether a guest may run on one host only, as was seen or else as is said.
    pub(super) fn is_pinned(&self, node: &Node) -> bool {
        let live = self.live.and_then(|live| live.member(node.name.as_str()));
        match live.and_then(|live| live.pinned_to.as_ref()) {
            Some(hosts) if self.has_pins() => hosts.len() == 1,
            _ => node.pinned && node.host.is_some(),
        }
    }

    /// Whether the platform itself can keep a guest on a host. Under libvirt only people do.
    fn has_pins(&self) -> bool {
        !self.kind().has_libvirt()
    }

    /// The hosts on which guests were seen or are said to run, each with its guests.
    pub(super) fn guests_by_host(&self) -> Vec<(&'a str, Vec<&'a Node>)> {
        let mut hosts: Vec<(&str, Vec<&Node>)> = Vec::new();
        for node in self.guests() {
            let Some(host) = self.host_of(node) else {
                continue;
            };
            match hosts.iter_mut().find(|(name, _)| *name == host) {
                Some((_, guests)) => guests.push(node),
                None => hosts.push((host, vec![node])),
            }
        }
        hosts
    }
}
