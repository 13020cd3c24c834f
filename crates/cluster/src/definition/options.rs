//! Timers and switches of Corosync and Pacemaker.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{Count, DevicePath, Endpoint, Span};

/// Timers and switches of Corosync and Pacemaker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Options {
    /// How long Corosync waits for a node that says nothing before it counts it as lost.
    #[schemars(extend("default" = "5s"))]
    pub token: Span,
    /// How long Corosync waits for the others' consent to a new membership. Default: Corosync's own,
    /// 1.2 times `token`.
    pub consensus: Option<Span>,
    /// How long Pacemaker waits at its start for other nodes before it elects a coordinator.
    #[schemars(extend("default" = "20s"))]
    pub dc_deadtime: Span,
    /// The most a start, stop or monitor of a resource may take. Lock managers and volumes get 100 s at least.
    #[schemars(extend("default" = "60s"))]
    pub operation_timeout: Span,
    /// How much a resource would rather stay where it is, in Pacemaker's points.
    #[schemars(extend("default" = 100))]
    pub stickiness: Count<0, 1_000_000>,
    /// How Corosync's packets travel.
    #[schemars(extend("default" = "knet"))]
    pub transport: Transport,
    /// How the cluster options of Pacemaker are spelled.
    #[schemars(extend("default" = "stonith"))]
    pub dialect: Dialect,
    /// A machine outside the cluster that has a vote (`corosync-qnetd`).
    pub quorum_device: Option<QuorumDevice>,
    /// Storage-based death: a node that has lost the cluster resets itself by its watchdog.
    pub sbd: Option<Sbd>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: Span::from_secs(5),
            consensus: None,
            dc_deadtime: Span::from_secs(20),
            operation_timeout: Span::from_secs(60),
            stickiness: Count::new(100).expect("within its limits"),
            transport: Transport::default(),
            dialect: Dialect::default(),
            quorum_device: None,
            sbd: None,
        }
    }
}

/// How Corosync's packets travel (corosync.conf(5), `transport`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// Kronosnet: up to eight links, encrypted.
    #[default]
    Knet,
    /// UDP to each node, one link, neither encrypted nor authenticated by Corosync 3.
    Udpu,
}

/// How the cluster options of Pacemaker are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Dialect {
    /// `stonith-enabled` and the like: understood by Pacemaker 2 and 3.
    #[default]
    Stonith,
    /// `fencing-enabled` and the like: the names of newer versions.
    Fencing,
}

/// A machine outside the cluster that has a vote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct QuorumDevice {
    /// The machine that runs `corosync-qnetd`.
    pub host: Endpoint,
    /// Which part of a split cluster gets the vote.
    #[serde(default)]
    #[schemars(extend("default" = "ffsplit"))]
    pub algorithm: Algorithm,
}

/// Which part of a split cluster gets the quorum device's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Algorithm {
    /// One of the parts when they are of equal size: for an even number of nodes.
    #[default]
    Ffsplit,
    /// The last node standing may go on alone.
    Lms,
}

/// Storage-based death.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sbd {
    /// The shared devices that messages are left on, at most three. Empty: the watchdog alone.
    #[serde(default)]
    #[schemars(extend("default" = []), length(max = 3))]
    pub devices: Vec<DevicePath>,
    /// After how long the watchdog resets a node that no longer feeds it.
    #[serde(default = "Sbd::usual_timeout")]
    #[schemars(extend("default" = "5s"))]
    pub watchdog_timeout: Span,
}

impl Sbd {
    const fn usual_timeout() -> Span {
        Span::from_secs(5)
    }
}
