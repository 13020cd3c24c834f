//! What can go wrong with an apply, and what state it leaves behind.

use serde::Serialize;

use crate::event::Phase;
use crate::transport::TransportError;

/// Something about a machine that keeps the configuration from being applied. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which machine; `None` for what concerns several.
    pub machine: Option<String>,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What is wrong: a sentence without a full stop.
    pub message: String,
    /// What would mend it.
    pub remedy: Option<String>,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The machine could not be reached.
    Unreachable,
    /// The machine let nobody in.
    Refused,
    /// The connection broke while the machine was looked at, or it answered nonsense.
    Unknown,
    /// Something is missing on the machine, or in the way.
    Unfit,
    /// The machine belongs to another cluster.
    Foreign,
    /// The machine carries keys that were made from other secrets.
    Keys,
    /// The wish itself cannot be carried out.
    Definition,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(machine) = &self.machine {
            write!(f, "{machine}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// A machine on which a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which machine.
    pub machine: String,
    /// Why.
    pub error: TransportError,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.machine, self.error)
    }
}

/// Why an apply did not end well. Messages are fragments that read after `error: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machines are not ready, all reasons at once. Nothing was changed.
    #[error("nothing was changed:\n{}", lines(.0))]
    Problems(Vec<Problem>),
    /// What changes only counts after a restart of the cluster, and that was not allowed. Nothing was
    /// changed.
    #[error("nothing was changed, because this needs a restart of {what}, which must be allowed (--restart):\n{}", lines(.reasons))]
    NeedsRestart {
        /// "one node after the other", or "all nodes together".
        what: &'static str,
        /// What makes it necessary.
        reasons: Vec<String>,
    },
    /// The plan was shown and not agreed to. Nothing was changed.
    #[error("nothing was changed: the plan was declined")]
    Declined,
    /// A step failed before anything had taken effect; every machine has its former files.
    #[error("failed while {}; every machine has its former files:\n{}", .phase.describe(), lines(.failures))]
    RolledBack {
        /// While doing what.
        phase: Phase,
        /// Where, and why.
        failures: Vec<Failure>,
    },
    /// A step failed after something had been changed, or it is not known whether it was. Applying again
    /// goes on from there.
    #[error("failed while {}; some machines have been changed, applying again goes on from there:\n{}", .phase.describe(), lines(.failures))]
    Incomplete {
        /// While doing what.
        phase: Phase,
        /// Where, and why.
        failures: Vec<Failure>,
    },
    /// Everything was put in its place, but the cluster was not healthy in time.
    #[error("all was applied, but the cluster is not healthy after {} s:\n{}", .after.as_secs(), lines(.waiting_for))]
    Unhealthy {
        /// How long it was waited for.
        after: std::time::Duration,
        /// What is missing.
        waiting_for: Vec<String>,
    },
    /// Everything was in its place before, and the cluster is not healthy all the same. Nothing was
    /// changed.
    #[error("nothing is to be done, but the cluster is not healthy:\n{}", lines(.missing))]
    Unwell {
        /// What is missing.
        missing: Vec<String>,
    },
    /// Nodes are not restarted one after the other while an administrator keeps something from running.
    /// Applying again goes on from there.
    #[error("the nodes are not restarted, or not all, while an administrator keeps something from running; applying again goes on from there:\n{}", lines(.held))]
    Held {
        /// What does not run, and on whose word.
        held: Vec<String>,
    },
    /// Cancelled by the user.
    #[error("cancelled before {}{}", .phase.describe(), if *.changed { "; some machines have been changed, applying again goes on from there" } else { "; nothing was changed" })]
    Cancelled {
        /// Before doing what.
        phase: Phase,
        /// Whether anything had been changed.
        changed: bool,
    },
    /// The secrets cannot be kept on this machine. Nothing was changed.
    #[error("{0}")]
    Secrets(#[from] crate::keys::KeysError),
    /// The operating system gives no random numbers, or no place for sockets. Nothing was changed.
    #[error("{0}")]
    Local(String),
}

fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    let lines: Vec<_> = items.iter().map(|item| format!("  {item}")).collect();
    lines.join("\n")
}
