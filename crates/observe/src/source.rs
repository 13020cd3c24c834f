//! How a machine is asked.

use std::collections::HashMap;

use deadline::Deadline;
use serde::Serialize;

/// The most that is read from one machine, in bytes. `crm_mon` prints about 3 KiB per node and
/// 600 bytes per resource; a cluster of 32 nodes with a thousand resources stays below a tenth.
pub const MAX_OUTPUT: usize = 16 << 20;

/// Why a machine gave no answer. None of these says anything about the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unanswered {
    /// The machine could not be reached.
    #[error("could not be reached: {detail}")]
    Unreachable {
        /// What was tried and what came of it.
        detail: String,
    },
    /// The machine was reached and refused: wrong key, no such user, not permitted.
    #[error("refused: {detail}")]
    Refused {
        /// Its words.
        detail: String,
    },
    /// It was asked, and no complete answer came.
    #[error("no complete answer: {detail}")]
    Lost {
        /// What is known.
        detail: String,
    },
    /// The time was up before an answer came.
    #[error("no answer in time")]
    Late,
    /// This side cannot ask: a program is missing, say.
    #[error("cannot ask: {detail}")]
    Local {
        /// What is wrong here.
        detail: String,
    },
}

/// A machine of the inventory. A node and a host may bear the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine<'a> {
    /// The node of this name.
    Node(&'a str),
    /// The host of this name.
    Host(&'a str),
}

impl<'a> Machine<'a> {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'a str {
        match self {
            Self::Node(name) | Self::Host(name) => name,
        }
    }
}

/// Runs a script (POSIX sh) on a machine and returns what it printed on standard output. The scripts
/// of this crate only read, end with status 0 whatever their commands say, and need no input.
///
/// `ask` should return at the deadline. Whoever does not is left behind: [`crate::gather()`] waits no longer.
pub trait Source: Send + Sync {
    /// Asks one machine.
    ///
    /// # Errors
    /// [`Unanswered`]; output beyond [`MAX_OUTPUT`] counts as [`Unanswered::Lost`].
    fn ask(
        &self,
        machine: Machine<'_>,
        script: &str,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Unanswered>;

    /// Nobody waits any more for answers that are still to come: what is under way may end at once.
    /// More may be asked later.
    fn give_up(&self) {}
}

impl<F> Source for F
where
    F: Fn(Machine<'_>, &str, Deadline) -> Result<Vec<u8>, Unanswered> + Send + Sync,
{
    fn ask(
        &self,
        machine: Machine<'_>,
        script: &str,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Unanswered> {
        self(machine, script, deadline)
    }
}

/// Machines that answer what they were told to, for tests and demonstrations. Nodes and hosts are not
/// told apart.
#[derive(Debug, Clone, Default)]
pub struct Memory(HashMap<String, Result<Vec<u8>, Unanswered>>);

impl Memory {
    /// With one more machine that gives this answer.
    #[must_use]
    pub fn with(mut self, machine: &str, answer: Result<Vec<u8>, Unanswered>) -> Self {
        self.0.insert(machine.to_owned(), answer);
        self
    }
}

impl Source for Memory {
    fn ask(&self, machine: Machine<'_>, _: &str, _: Deadline) -> Result<Vec<u8>, Unanswered> {
        self.0.get(machine.name()).cloned().unwrap_or_else(|| {
            Err(Unanswered::Unreachable {
                detail: "there is no such machine".to_owned(),
            })
        })
    }
}
