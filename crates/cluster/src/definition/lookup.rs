//! Questions that a definition answers.

use super::{
    Activation, Definition, FenceDevice, Filesystem, Host, Node, PlatformKind, Service, Storage,
    Virt, Volume, VolumeGroup, Watchdog,
};
use crate::types::{GuestName, Os};

impl Definition {
    /// Whether the cluster needs Corosync's rules for two nodes.
    #[must_use]
    pub fn is_two_node(&self) -> bool {
        self.nodes.len() == 2
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }

    /// The fencing device of that name.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&FenceDevice> {
        self.fence_devices
            .iter()
            .find(|device| device.name.as_str() == name)
    }

    /// The storage of that name.
    #[must_use]
    pub fn storage(&self, name: &str) -> Option<&Storage> {
        self.storage
            .iter()
            .find(|storage| storage.name.as_str() == name)
    }

    /// The volume group of that name.
    #[must_use]
    pub fn volume_group(&self, name: &str) -> Option<&VolumeGroup> {
        self.volume_groups
            .iter()
            .find(|group| group.name.as_str() == name)
    }

    /// The volume of that group and name.
    #[must_use]
    pub fn volume(&self, group: &str, name: &str) -> Option<&Volume> {
        self.volumes
            .iter()
            .find(|volume| volume.group.as_str() == group && volume.name.as_str() == name)
    }

    /// The file system of that name.
    #[must_use]
    pub fn filesystem(&self, name: &str) -> Option<&Filesystem> {
        self.filesystems
            .iter()
            .find(|filesystem| filesystem.name.as_str() == name)
    }

    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.name.as_str() == name)
    }

    /// The members that are virtual machines.
    pub fn guest_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_guest())
    }

    /// The number of a node in Corosync: its place in the list, counted from 1.
    #[must_use]
    pub fn node_id(&self, node: &Node) -> Option<u32> {
        let at = self
            .nodes
            .iter()
            .position(|known| known.name == node.name)?;
        u32::try_from(at + 1).ok()
    }

    /// A node's operating system: its own, or for a guest that of `[guests]`.
    #[must_use]
    pub fn guest_os<'a>(&'a self, node: &'a Node) -> Option<&'a Os> {
        let common = || self.guests.os.as_ref().filter(|_| node.is_guest());
        node.os.as_ref().or_else(common)
    }

    /// A node's watchdog: its own, or for a guest that of `[guests]`.
    #[must_use]
    pub fn watchdog_of(&self, node: &Node) -> Option<Watchdog> {
        let common = || self.guests.watchdog.filter(|_| node.is_guest());
        node.watchdog.or_else(common)
    }

    /// The host on which a node runs, where the definition says so.
    #[must_use]
    pub fn host_of(&self, node: &Node) -> Option<&Host> {
        self.host(node.host.as_ref()?.as_str())
    }

    /// A host's operating system: its own, or that of `[platform]`.
    #[must_use]
    pub fn host_os<'a>(&'a self, host: &'a Host) -> Option<&'a Os> {
        host.os.as_ref().or(self.platform.os.as_ref())
    }

    /// A host's platform: its own, or that of `[platform]`.
    #[must_use]
    pub fn host_kind(&self, host: &Host) -> PlatformKind {
        host.kind.unwrap_or(self.platform.kind)
    }

    /// A host's libvirt connection URI: its own, or the usual one of its platform.
    #[must_use]
    pub fn host_uri<'a>(&self, host: &'a Host) -> &'a str {
        match (&host.uri, self.host_kind(host)) {
            (Some(uri), _) => uri.as_str(),
            (None, PlatformKind::Xen) => "xen:///",
            (None, _) => "qemu:///system",
        }
    }

    /// Whether the definition has `fence_virtd` run on a host.
    #[must_use]
    pub fn runs_fence_virtd(&self, host: &Host) -> bool {
        self.fence_virtd.is_some() && self.host_kind(host).has_libvirt()
    }

    /// Whether a device can fence a node: it lists the node; or it has no list, and the node is a guest
    /// or has a plug of its own there.
    #[must_use]
    pub fn can_fence(&self, device: &FenceDevice, node: &Node) -> bool {
        match &device.nodes {
            Some(nodes) => nodes.contains(&node.name),
            None => node.is_guest() || device.plugs.contains_key(&node.name),
        }
    }

    /// The devices that fence a node, level by level; those of one level work together. Devices that
    /// cannot fence the node are left out, and so are levels that are then empty.
    #[must_use]
    pub fn levels_of(&self, node: &Node) -> Vec<Vec<&FenceDevice>> {
        let levels = node.levels.as_ref().unwrap_or(&self.fencing.levels);
        if levels.is_empty() {
            let first = self
                .fence_devices
                .iter()
                .find(|device| self.can_fence(device, node));
            return first.map(|device| vec![device]).into_iter().collect();
        }
        levels
            .iter()
            .map(|level| {
                level
                    .iter()
                    .filter_map(|name| self.device(name.as_str()))
                    .filter(|device| self.can_fence(device, node))
                    .collect::<Vec<_>>()
            })
            .filter(|level| !level.is_empty())
            .collect()
    }

    /// What a device calls a node: the plug it has for it, else [`Node::plug`].
    #[must_use]
    pub fn plug_of<'a>(&self, device: &'a FenceDevice, node: &'a Node) -> &'a str {
        device
            .plugs
            .get(&node.name)
            .map_or_else(|| node.plug(), GuestName::as_str)
    }

    /// How `fence_virtd` is reached: by the first device whose agent asks it.
    #[must_use]
    pub fn virt(&self) -> Option<Virt> {
        self.fence_devices.iter().find_map(FenceDevice::virt)
    }

    /// Whether any node is fenced by an agent of that name.
    #[must_use]
    pub fn uses_agent(&self, agent: &str) -> bool {
        self.nodes
            .iter()
            .flat_map(|node| self.levels_of(node))
            .flatten()
            .any(|device| device.agent.as_str() == agent)
    }

    /// The nodes that reach a storage.
    #[must_use]
    pub fn nodes_of(&self, storage: &Storage) -> Vec<&Node> {
        self.nodes
            .iter()
            .filter(|node| storage.nodes.is_empty() || storage.nodes.contains(&node.name))
            .collect()
    }

    /// The storage that more than one node reaches.
    #[must_use]
    pub fn shared_storage(&self) -> Vec<&Storage> {
        self.storage
            .iter()
            .filter(|storage| self.nodes_of(storage).len() > 1)
            .collect()
    }

    /// The storage whose reservations a device of `fence_scsi` or `fence_mpath` uses: what it lists, or
    /// all that is shared. Empty for other agents.
    #[must_use]
    pub fn storage_of(&self, device: &FenceDevice) -> Vec<&Storage> {
        if !device.agent.is_reservation() {
            return Vec::new();
        }
        if device.storage.is_empty() {
            return self.shared_storage();
        }
        device
            .storage
            .iter()
            .filter_map(|name| self.storage(name.as_str()))
            .collect()
    }

    /// The volume of a file system, if it lies on one.
    #[must_use]
    pub fn volume_of(&self, filesystem: &Filesystem) -> Option<&Volume> {
        let path = filesystem.volume.as_ref()?;
        self.volume(path.group.as_str(), path.volume.as_str())
    }

    /// On how many nodes a volume is active: what it says; else on all under a clustered file system,
    /// and on one otherwise.
    #[must_use]
    pub fn activation_of(&self, volume: &Volume) -> Activation {
        volume.activation.unwrap_or_else(|| {
            let under_clustered = self.filesystems.iter().any(|filesystem| {
                filesystem.kind.is_clustered()
                    && self
                        .volume_of(filesystem)
                        .is_some_and(|own| own.group == volume.group && own.name == volume.name)
            });
            if under_clustered {
                Activation::Shared
            } else {
                Activation::Exclusive
            }
        })
    }

    /// How many nodes may mount a clustered file system at once.
    #[must_use]
    pub fn journals_of(&self, filesystem: &Filesystem) -> usize {
        filesystem
            .journals
            .map_or(self.nodes.len(), |journals| journals.get() as usize)
    }

    /// Whether any file system or volume group is used by several nodes at once, so that the cluster
    /// needs DLM.
    #[must_use]
    pub fn needs_dlm(&self) -> bool {
        self.volume_groups.iter().any(|group| group.shared)
            || self
                .filesystems
                .iter()
                .any(|filesystem| filesystem.kind.is_clustered())
    }
}
