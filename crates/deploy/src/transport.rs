//! How scripts reach a machine.
//!
//! A [`Transport`] runs one script on one machine and returns what it printed. Its errors keep apart
//! what must never be mixed: the machine was not reached (nothing ran), it refused (nothing ran), the
//! script failed (it ran, and said so), and *nobody knows*, because the connection went away after
//! the script had been sent.

use std::time::Duration;

use deadline::Deadline;

use crate::machine::Machine;
use crate::operation::Operation;

/// The most that is kept of what a script prints.
pub const MAX_OUTPUT: usize = 16 << 20;

/// A script for a machine: POSIX sh, run as root.
#[derive(Clone)]
pub struct Command {
    script: Vec<u8>,
    operation: Option<Operation>,
}

impl Command {
    /// A script of the caller's own, to look at something. It gets no standard input.
    #[must_use]
    pub fn script(text: impl Into<Vec<u8>>) -> Self {
        Self {
            script: text.into(),
            operation: None,
        }
    }

    pub(crate) fn of(operation: Operation) -> Self {
        Self {
            script: operation.script(),
            operation: Some(operation),
        }
    }

    /// The text, as a shell is to read it: one compound command, so that a shell which receives only
    /// a part of it runs nothing at all.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = b"{\n".to_vec();
        text.extend_from_slice(&self.script);
        text.extend_from_slice(b"\nexit\n}\n");
        text
    }

    /// What it does, where it is one of this crate's own.
    #[must_use]
    pub(crate) const fn operation(&self) -> Option<&Operation> {
        self.operation.as_ref()
    }
}

/// Without the script: it may hold secrets.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.operation {
            Some(operation) => write!(f, "Command({})", operation.name()),
            None => write!(f, "Command({} bytes)", self.script.len()),
        }
    }
}

/// What a script that ended with status 0 printed, and when it was running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: String,
    /// From sending the script to its end.
    pub took: Duration,
}

impl Output {
    /// Standard output as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a script did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The machine could not be reached. Nothing ran on it.
    #[error("could not be reached: {detail}")]
    Unreachable {
        /// What ssh said.
        detail: String,
    },
    /// The machine was reached and let nobody in: its key is not the known one, it accepted none of
    /// ours, or the user may not become root. Nothing ran on it.
    #[error("refused: {detail}")]
    Refused {
        /// What ssh or sudo said.
        detail: String,
    },
    /// The script ran, and ended with a status other than 0.
    #[error("{} (exit status {status})", if .detail.is_empty() { "the command failed without a word" } else { .detail })]
    Failed {
        /// Its exit status.
        status: i32,
        /// The end of what it printed on standard error.
        detail: String,
    },
    /// The script was sent, and then the connection was lost or the time was up. Whether it ran, and
    /// how far, is not known.
    #[error("connection lost while a command was under way, its outcome is unknown: {detail}")]
    Unknown {
        /// What happened on the way.
        detail: String,
    },
    /// `ssh` itself cannot be used here.
    #[error("{detail}")]
    Local {
        /// What is wrong on this side.
        detail: String,
    },
}

impl TransportError {
    /// Whether it is certain that nothing ran on the machine.
    #[must_use]
    pub const fn nothing_ran(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Local { .. }
        )
    }
}

/// Runs scripts on machines, several machines at a time.
pub trait Transport: Sync {
    /// Runs `command` on `machine` and waits for its end, but not past `deadline`.
    ///
    /// # Errors
    /// See [`TransportError`].
    fn run(
        &self,
        machine: &Machine,
        command: &Command,
        deadline: Deadline,
    ) -> Result<Output, TransportError>;

    /// Lets time pass between two looks at the same thing. Says whether a second look is worth it: where
    /// nothing happens by itself, it is not.
    fn pause(&self, span: Duration) -> bool {
        std::thread::sleep(span);
        true
    }

    /// Whether machines may be spoken to at the same time. A transport for tests says no, so that the
    /// order of calls is always the same.
    fn at_once(&self) -> bool {
        true
    }
}
