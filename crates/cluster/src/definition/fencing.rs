//! How a failed node is switched off.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{
    AgentName, Delay, Group, GuestName, Name, NodeName, OptionName, OptionValue, PlainPath, Port,
    Span, Word,
};

/// How a failed node is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fencing {
    /// What becomes of a failed node.
    pub action: FenceAction,
    /// The most one fencing action may take.
    pub timeout: Span,
    /// In a cluster of two nodes: who survives when both try to fence each other.
    pub favour: Option<Favour>,
    /// Which devices are tried one after the other; those of one level work together. Empty: the first
    /// device that can fence the node.
    pub levels: Vec<Vec<Name>>,
}

/// The node that wins when two nodes that cannot see each other both try to fence the other.
///
/// Without it both requests may be carried out, and the service is down until both nodes have
/// started again. So in a cluster of two nodes fencing *this* node is begun [`Favour::delay`] later
/// than fencing the other; by then the other has been switched off. The price is that the delay is
/// also paid when the favoured node really has failed. If the definition does not say, the last
/// node is favoured for two seconds: services start on the first node, so the usual failure, that
/// of the node which runs the service, is recovered without delay. With three nodes and more the
/// quorum decides and nobody is favoured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Favour {
    /// The favoured node.
    pub node: NodeName,
    /// How much later fencing it begins.
    pub delay: Delay,
}

/// How a failed node is switched off.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Fencing")]
#[derive(Default)]
pub(super) struct RawFencing {
    /// What becomes of a failed node.
    #[serde(default)]
    #[schemars(extend("default" = "reboot"))]
    pub(super) action: FenceAction,
    /// The most one fencing action may take.
    #[schemars(extend("default" = "60s"))]
    pub(super) timeout: Option<Span>,
    /// In a cluster of two nodes: the node that survives when both try to fence each other. Default:
    /// the last one.
    pub(super) favour: Option<NodeName>,
    /// In a cluster of two nodes: how much later fencing the favoured node begins.
    #[schemars(extend("default" = "2s"))]
    pub(super) favour_delay: Option<Delay>,
    /// Which devices are tried one after the other; those of an inner array work together. Default:
    /// the first device that can fence the node.
    #[serde(default)]
    pub(super) levels: Vec<Vec<Name>>,
}

/// What becomes of a failed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FenceAction {
    /// It is switched off and started again.
    #[default]
    Reboot,
    /// It is switched off.
    Off,
}

/// Something that can fence nodes: an agent and what it is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FenceDevice {
    /// Its name.
    pub name: Name,
    /// The agent's program.
    pub agent: AgentName,
    /// `fence_xvm` and `fence_virt` only: how `fence_virtd` is reached.
    #[schemars(extend("default" = "multicast"))]
    pub listener: Option<Listener>,
    /// `fence_xvm` and `fence_virt` only: where the key that guests and hosts share lies, on both
    /// alike.
    #[schemars(extend("default" = "/etc/cluster/fence_xvm.key"))]
    pub key_file: Option<PlainPath>,
    /// `fence_xvm` and `fence_virt` only: the multicast group of the requests.
    #[schemars(extend("default" = "225.0.0.12"))]
    pub multicast: Option<Group>,
    /// `fence_xvm` and `fence_virt` only: the port of the requests.
    #[schemars(extend("default" = 1229))]
    pub port: Option<Port>,
    /// `fence_scsi` and `fence_mpath` only: the storage whose reservations fence. Default: all that is
    /// shared.
    #[serde(default)]
    pub storage: Vec<Name>,
    /// Options that are handed to the agent as they are. Must hold no secret: see `secrets`.
    #[serde(default)]
    pub options: BTreeMap<OptionName, OptionValue>,
    /// Secret options of the agent, and for each the file on the nodes that holds it.
    #[serde(default)]
    pub secrets: BTreeMap<OptionName, PlainPath>,
    /// What the device calls a node, where that is neither the node's `guest` nor its name.
    #[serde(default)]
    pub plugs: BTreeMap<NodeName, GuestName>,
    /// Which nodes it can fence. Default: all guests, and the nodes that `plugs` names.
    pub nodes: Option<Vec<NodeName>>,
    /// How long an action of the device is held back (Pacemaker's `pcmk_delay_base`).
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub delay: Delay,
}

impl FenceDevice {
    /// Whether its plugs are what the platform calls its guests: the agent has them switched there.
    #[must_use]
    pub fn asks_platform(&self) -> bool {
        const FAMILIES: [&str; 3] = ["fence_rhev", "fence_vmware", "fence_hyperv"];
        let agent = self.agent.as_str();
        self.agent.is_virt() || FAMILIES.iter().any(|family| agent.starts_with(family))
    }

    /// What `fence_xvm` and `fence_virt` need, with defaults filled in; `None` for other agents.
    #[must_use]
    pub fn virt(&self) -> Option<Virt> {
        self.agent.is_virt().then(|| Virt {
            listener: self.listener.unwrap_or_default(),
            key_file: self
                .key_file
                .clone()
                .unwrap_or_else(PlainPath::default_key_file),
            multicast: self.multicast.unwrap_or(Group::DEFAULT),
            port: self.port.unwrap_or(Port::FENCE_VIRT),
        })
    }
}

/// What `fence_xvm` and `fence_virt` need to reach `fence_virtd`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Virt {
    /// How requests travel.
    pub listener: Listener,
    /// Where the key that guests and hosts share lies.
    pub key_file: PlainPath,
    /// The multicast group of the requests.
    pub multicast: Group,
    /// The port of the requests.
    pub port: Port,
}

/// How requests reach `fence_virtd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Listener {
    /// Over UDP multicast, the answer over TCP.
    #[default]
    Multicast,
    /// Over TCP.
    Tcp,
    /// Over a serial channel of the guest.
    Vmchannel,
    /// Over a socket between guest and host.
    Vsock,
}

impl Listener {
    /// The listener as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Tcp => "tcp",
            Self::Vmchannel => "vmchannel",
            Self::Vsock => "vsock",
        }
    }
}

/// The fencing daemon on the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FenceVirtd {
    /// The daemon's program.
    #[serde(default)]
    #[schemars(extend("default" = "fence_virtd"))]
    pub program: VirtdProgram,
    /// How it knows where guests run (S18).
    #[serde(default)]
    #[schemars(extend("default" = "standalone"))]
    pub mode: VirtdMode,
    /// The network interface on which requests arrive. Default: the kernel's choice.
    pub interface: Option<Word>,
    /// Whether members of this cluster may fence only each other.
    #[serde(default = "yes")]
    #[schemars(extend("default" = true))]
    pub groups: bool,
    /// Where it keeps its audit records.
    pub audit_log: Option<PlainPath>,
}

const fn yes() -> bool {
    true
}

/// The program of the fencing daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum VirtdProgram {
    /// `fence_virtd`, of RHEL 6 and everything since.
    #[default]
    #[serde(rename = "fence_virtd")]
    FenceVirtd,
    /// `fence_xvmd`, of RHEL 5.
    #[serde(rename = "fence_xvmd")]
    FenceXvmd,
}

impl VirtdProgram {
    /// The program's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FenceVirtd => "fence_virtd",
            Self::FenceXvmd => "fence_xvmd",
        }
    }
}

/// How the fencing daemon knows where guests run (S18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VirtdMode {
    /// It knows the guests of its own host; they are not live-migrated (S19).
    #[default]
    Standalone,
    /// The hosts' cluster tracks the guests (S20).
    #[serde(alias = "checkpoint", alias = "cpg")]
    #[schemars(extend("enum" = ["cluster", "checkpoint", "cpg"]))]
    Cluster,
    /// A message bus tracks the guests (S21).
    #[serde(alias = "qmf")]
    #[schemars(extend("enum" = ["bus", "qmf"]))]
    Bus,
}

impl VirtdMode {
    /// The mode as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
            Self::Bus => "bus",
        }
    }
}
