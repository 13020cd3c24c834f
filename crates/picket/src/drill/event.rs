//! What a drill says while it works: the contract between doing and showing.

use lab::Origin;
use serde::Serialize;

use super::timeline::{Milestone, Report};

/// Progress of a drill. The console and the JSON form are consumers of the same events.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// One of several runs begins.
    Run {
        /// Which, counted from 1.
        run: u32,
        /// Of how many.
        of: u32,
    },
    /// The lab reports progress.
    Lab {
        /// What it says.
        lab: lab::Event,
    },
    /// The lab is up.
    Up {
        /// How it came to be.
        origin: Origin,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// A client asks for the service, until it answers.
    AwaitingService,
    /// The nodes' writers were started.
    AwaitingWriters,
    /// All nodes were seen to write to shared storage before the fault.
    Writing {
        /// The file.
        file: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// The service was seen to answer before the fault.
    Answering {
        /// Where it is asked for.
        url: String,
        /// The node that answers.
        node: String,
    },
    /// A fault was injected and seen to take effect.
    Fault {
        /// The node that fails.
        node: String,
        /// What was done to it.
        fault: lab::Fault,
        /// What shows that it took effect.
        evidence: String,
    },
    /// Something was seen from outside while it happened.
    Seen {
        /// What.
        milestone: Milestone,
        /// Seconds after the fault.
        seconds: f64,
        /// The details, for people.
        detail: String,
    },
    /// The survivors are asked for their logs.
    Collecting,
    /// The run ended.
    Finished {
        /// With what.
        report: Box<Report>,
    },
    /// The lab is being taken down.
    TakingDown,
    /// Something the user should know though the drill goes on.
    Notice {
        /// One sentence.
        text: String,
    },
}
