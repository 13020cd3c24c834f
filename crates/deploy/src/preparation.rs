//! Storage is prepared by steps that say themselves whether there is anything left to do.

use std::time::Duration;

use serde::Serialize;

use crate::desired::Preparation;
use crate::fleet::Fleet;
use crate::machine::Machine;
use crate::operation::Operation;
use crate::transport::{Command, TransportError};

/// The most that making a file system may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// The most that a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// The status of a look that found something to do.
const TO_DO: i32 = 10;
/// The status of a look that cannot tell yet: what the step stands on does not run yet.
const NOT_YET: i32 = 11;

/// What a look at a step found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Outlook {
    pub(crate) title: String,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing is left to do.
    Done,
    /// It will be done.
    ToDo,
    /// It can only be told once the cluster runs.
    Later,
    /// It must not be done, or cannot be looked at.
    Refused(String),
}

impl Outlook {
    pub(crate) fn later(step: &Preparation) -> Self {
        Self {
            title: step.title.clone(),
            state: State::Later,
        }
    }
}

/// Looks whether anything is left to do.
pub(crate) fn look(machine: &Machine, step: &Preparation, fleet: &Fleet<'_>) -> Outlook {
    let state = match fleet.ask(machine, &command(step, "look"), LOOK_LIMIT) {
        Ok(_) => State::Done,
        Err(TransportError::Failed { status: TO_DO, .. }) => State::ToDo,
        Err(TransportError::Failed {
            status: NOT_YET, ..
        }) => State::Later,
        Err(error) => State::Refused(error.to_string()),
    };
    Outlook {
        title: step.title.clone(),
        state,
    }
}

/// The command that looks, or does.
pub(crate) fn command(step: &Preparation, what: &str) -> Command {
    Command::of(Operation::Prepare {
        script: format!(
            "PICKET_PREPARE={what}\nexport PICKET_PREPARE\n{}\n",
            step.script
        ),
    })
}
