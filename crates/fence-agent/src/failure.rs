//! Why an action did not end in success.

use std::fmt;

use crate::exit::Exit;
use crate::session::Stop;

/// Whose answer, or lack of one, ended the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The options are wrong: the caller's fault, nothing was sent.
    Usage,
    /// The other side could not be reached, or it stopped talking.
    Unreachable,
    /// The other side was reached and said no.
    Refused,
    /// The other side's access rules forbid this requester this plug.
    Denied,
    /// The action may or may not have taken effect: nobody who can know confirmed it.
    CannotKnow,
    /// The run's deadline passed.
    TimedOut,
    /// A signal asked the agent to end.
    Interrupted,
}

/// A failed action: kind for programs, text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose answer, or lack of one.
    pub kind: FailureKind,
    /// A lowercase sentence fragment that names what failed and how to mend it.
    pub message: String,
    exit: Exit,
}

impl Failure {
    /// A failure of the given kind.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let exit = if kind == FailureKind::Denied {
            Exit::DENIED
        } else {
            Exit::FAILED
        };
        Self {
            kind,
            message: message.into(),
            exit,
        }
    }

    /// The same with an exit status of its own, for agents whose callers tell more apart.
    #[must_use]
    pub const fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Wrong options.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The other side could not be reached.
    #[must_use]
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unreachable, message)
    }

    /// The other side said no.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, message)
    }

    /// Nobody who can know confirmed the outcome.
    #[must_use]
    pub fn cannot_know(message: impl Into<String>) -> Self {
        Self::new(FailureKind::CannotKnow, message)
    }

    /// A wait that ended early, with what was going on. The words "timed out" are what Pacemaker
    /// looks for when it classifies a failed agent.
    #[must_use]
    pub fn stopped(stop: Stop, doing: impl fmt::Display) -> Self {
        match stop {
            Stop::DeadlinePassed => Self::new(FailureKind::TimedOut, format!("timed out {doing}")),
            Stop::Signal(name) => {
                Self::new(FailureKind::Interrupted, format!("ended by {name} {doing}"))
            }
        }
    }

    /// The exit status of this failure.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
