//! What is known of a cluster at one moment. Its serialised form is an interface.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::corosync::{Link, Quorum};
use crate::host::{DaemonState, Guests};
use crate::pacemaker::View;

/// The version of the serialised form of [`Status`].
pub const FORMAT: u32 = 1;

/// What is known of a cluster at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name, where a definition tells it.
    pub cluster: Option<String>,
    /// When the answers were there, by this machine's clock.
    pub taken_at: Timestamp,
    /// How long asking took, in milliseconds.
    pub took_ms: u64,
    /// All in all.
    pub health: Health,
    /// The same in a sentence.
    pub summary: String,
    /// What is wrong or worth knowing, the worst first.
    pub alarms: Vec<Alarm>,
    /// Whose view of the cluster [`Self::view`] is.
    pub seen_by: Option<String>,
    /// The cluster as Pacemaker sees it.
    pub view: Option<View>,
    /// Quorum as Corosync on the same node sees it.
    pub quorum: Option<Quorum>,
    /// What each node said that was asked.
    pub asked: Vec<NodeReport>,
    /// Which host each guest runs on, for every node that is a guest by the definition.
    pub guests: Vec<Placement>,
    /// The hosts of the definition.
    pub hosts: Vec<HostReport>,
}

/// All in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Health {
    /// Nothing is wrong that could be seen, and all that should be seen was.
    Healthy,
    /// The cluster has quorum, and there are alarms that are more than notes.
    Degraded,
    /// Nodes answered, and none of them is in a partition that is known to have quorum.
    NoQuorum,
    /// No node gave an answer that says anything about the cluster.
    Unreachable,
    /// Two partitions claim quorum at the same time.
    Split,
}

impl Health {
    /// In the words of the serialised form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::NoQuorum => "no-quorum",
            Self::Unreachable => "unreachable",
            Self::Split => "split",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much an [`Alarm`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Services or data are in danger now.
    Critical,
    /// Something is not as it should be, or cannot be seen.
    Warning,
    /// Worth knowing. Does not make a cluster degraded.
    Note,
}

impl Severity {
    /// In the words of the serialised form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that is wrong or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// How much it matters.
    pub severity: Severity,
    /// What kind it is, in one stable word: `node-unclean`, `fencing-failed` …
    pub code: &'static str,
    /// What it is about: a node, a resource, a host.
    pub subject: Option<String>,
    /// For people.
    pub message: String,
    /// How long ago it happened, in seconds, if it is something that happened.
    pub age: Option<u64>,
}

/// What became of asking a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NodeAnswer {
    /// It told about the cluster.
    View {
        /// Whether its partition has quorum, by Pacemaker and Corosync together.
        quorate: Option<bool>,
        /// The coordinator it sees.
        coordinator: Option<String>,
        /// The members it sees online.
        online: Vec<String>,
    },
    /// It answered, and the cluster does not run on it.
    NoCluster {
        /// What Pacemaker's tool said.
        detail: String,
    },
    /// It answered nothing that can be read.
    Unreadable {
        /// What is wrong with it.
        detail: String,
    },
    /// It could not be asked, or did not answer.
    Unanswered {
        /// Why.
        reason: crate::Unanswered,
    },
    /// It was not asked, on request.
    NotAsked,
}

/// What a node said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// How long its answer took, in milliseconds.
    pub took_ms: Option<u64>,
    /// What became of asking it.
    pub result: NodeAnswer,
    /// How far its clock is ahead of this machine's, in seconds; no more than is certain.
    pub clock_ahead: Option<i64>,
    /// What its Corosync calls the cluster.
    pub cluster: Option<String>,
    /// Quorum as its Corosync sees it.
    pub quorum: Option<Quorum>,
    /// Its links.
    pub links: Vec<Link>,
    /// Tools that could not be asked there, and why.
    pub trouble: Vec<String>,
    /// All that its Pacemaker said; the status has that of one node.
    #[serde(skip)]
    pub view: Option<View>,
}

/// Where a guest runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The node it is in the cluster.
    pub node: String,
    /// What the platform calls it.
    pub guest: String,
    /// The host the definition names.
    pub expected: Option<String>,
    /// Whether it may run only there.
    pub pinned: bool,
    /// The hosts it was seen on. More than one: it is being migrated, or there are two of it.
    pub on: Vec<String>,
    /// Whether every host was asked and answered: only then is no host an answer.
    pub complete: bool,
}

/// What a host said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// The host.
    pub host: String,
    /// How long its answer took, in milliseconds.
    pub took_ms: Option<u64>,
    /// Its guests.
    pub guests: Guests,
    /// Its `fence_virtd`.
    pub fence_virtd: DaemonState,
}
