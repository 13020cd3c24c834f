//! The members of the cluster.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::platform::Watchdog;
use crate::types::{Addresses, GuestName, Name, NodeName, Os, SshDestination};

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Node {
    /// Its host name.
    pub name: NodeName,
    /// Where Corosync reaches it: an address, or an array of them, one for each link.
    #[serde(rename = "address")]
    pub addresses: Addresses,
    /// Whether it is a guest or a machine of its own.
    #[serde(default)]
    #[schemars(extend("default" = "guest"))]
    pub kind: NodeKind,
    /// The host on which it runs. Absent: wherever the platform puts it.
    pub host: Option<NodeName>,
    /// Whether it may run on `host` only.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub pinned: bool,
    /// What the platform calls it. Default: its name.
    pub guest: Option<GuestName>,
    /// Its UUID on the platform.
    pub uuid: Option<Uuid>,
    /// Its operating system, if not that of `[guests]`.
    pub os: Option<Os>,
    /// Its watchdog, if not that of `[guests]`.
    pub watchdog: Option<Watchdog>,
    /// Where ssh reaches it. Default: `root@` and its first address.
    pub ssh: Option<SshDestination>,
    /// The fencing levels of this node, instead of those of `[fencing]`.
    pub levels: Option<Vec<Vec<Name>>>,
}

impl Node {
    /// The address of its first link.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        // Never empty: see `Addresses`.
        self.addresses
            .first()
            .copied()
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }

    /// Whether it is a virtual machine.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.kind == NodeKind::Guest
    }

    /// What an agent switches, unless the device has a plug of its own for this node: the guest's
    /// name on the platform. See [`crate::Definition::plug_of`].
    #[must_use]
    pub fn plug(&self) -> &str {
        self.guest
            .as_ref()
            .map_or(self.name.as_str(), GuestName::as_str)
    }

    /// Where ssh reaches it.
    #[must_use]
    pub fn destination(&self) -> String {
        self.ssh
            .as_ref()
            .map_or_else(|| format!("root@{}", self.address()), ToString::to_string)
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NodeKind {
    /// A virtual machine.
    #[default]
    Guest,
    /// A machine of its own.
    BareMetal,
}
