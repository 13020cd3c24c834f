//! What an apply says while it works. Doing emits events; showing them is someone else's business.

use std::time::Duration;

use serde::Serialize;

/// A stretch of work, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Looking at every machine.
    Survey,
    /// Copying the new files into a directory of their own. Nothing uses them yet.
    Stage,
    /// Checking the copied files with the machines' own programs.
    Verify,
    /// Putting the files in their places.
    Install,
    /// Putting the former files back, after a failure.
    RollBack,
    /// Hosts: starting or reloading their daemons.
    Hosts,
    /// Stopping cluster daemons: before a restart of all, or the one-node cluster that a package came with.
    Stop,
    /// Starting cluster daemons.
    Start,
    /// Making running daemons read their configuration.
    Reload,
    /// Restarting the nodes' daemons, one node after the other.
    Restart,
    /// Giving Pacemaker its configuration.
    Configure,
    /// Preparing shared storage.
    Storage,
    /// Waiting until the cluster is healthy.
    Health,
    /// Writing down that all is done, and removing the copies.
    Finish,
}

impl Phase {
    /// What is going on, as a phrase for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Survey => "looking at the machines",
            Self::Stage => "copying the files",
            Self::Verify => "checking the files on the machines",
            Self::Install => "installing the files",
            Self::RollBack => "putting the former files back",
            Self::Hosts => "starting the hosts' daemons",
            Self::Stop => "stopping the cluster's daemons",
            Self::Start => "starting the cluster's daemons",
            Self::Reload => "reloading Corosync's configuration",
            Self::Restart => "restarting one node after the other",
            Self::Configure => "giving Pacemaker its configuration",
            Self::Storage => "preparing shared storage",
            Self::Health => "waiting for the cluster to be healthy",
            Self::Finish => "writing down what was done",
        }
    }
}

/// Progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A phase begins.
    Started {
        /// Which.
        phase: Phase,
        /// On how many machines.
        machines: usize,
    },
    /// A machine has done its part of a phase.
    Done {
        /// Which phase.
        phase: Phase,
        /// Which machine.
        machine: String,
    },
    /// A machine has not.
    Failed {
        /// Which phase.
        phase: Phase,
        /// Which machine.
        machine: String,
        /// Why not.
        reason: String,
    },
    /// A line of progress, never needed to understand the result.
    Progress {
        /// Within which phase.
        phase: Phase,
        /// One line.
        detail: String,
    },
    /// A phase ended well.
    Finished {
        /// Which.
        phase: Phase,
        /// How long it took.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        took: Duration,
    },
}

/// Serializes a duration as seconds, to the millisecond.
pub(crate) fn seconds<S: serde::Serializer>(
    took: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}
