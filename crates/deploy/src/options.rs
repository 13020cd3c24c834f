//! How an apply is to be done, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::event::{Phase, seconds};

/// How an apply is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// A running cluster may be restarted, where a change needs that.
    pub restart: bool,
    /// Machines that carry keys made from other secrets get the new ones.
    pub new_keys: bool,
    /// The most that all of it may take.
    pub timeout: Duration,
    /// How long is waited between two looks at the cluster's health.
    pub poll: Duration,
    /// Set to end the apply after the step that is under way.
    pub cancel: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            restart: false,
            new_keys: false,
            timeout: Duration::from_secs(900),
            poll: Duration::from_secs(1),
            cancel: Arc::default(),
        }
    }
}

impl Options {
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// Whether anything was changed. `false`: everything was as wished already.
    pub changed: bool,
    /// Phases that were gone through, and how long each took.
    pub phases: Vec<Took>,
    /// What deserves attention though all is well: a clock that is off, say.
    pub warnings: Vec<String>,
    /// What is defined and does not run because an administrator said so: a node in standby, a ban. It
    /// is no failure, and no success either: those services are down, or on fewer nodes than defined.
    pub held: Vec<String>,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Took {
    /// Which.
    pub phase: Phase,
    /// How long.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}
