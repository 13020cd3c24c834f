//! What can go wrong with a lab, and whose fault it is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::preflight::Precondition;

/// Why a lab did not do what was asked. Messages are fragments that read after `error: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A lab's name that is none.
    #[error(
        "`{name}` is not a lab's name: use a lower-case letter, then lower-case letters, digits or hyphens, at most 32 in all"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// The specification cannot be a lab.
    #[error("this cluster cannot run in the lab: {reason}")]
    BadSpec {
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The machine lacks something. Nothing has been changed.
    #[error("{}", Precondition::list(.0))]
    Preconditions(Vec<Precondition>),
    /// Another process is starting or stopping this lab.
    #[error(
        "lab `{name}` is being started or stopped by process {}; wait for it, or end it and run `picket lab down`",
        holder.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Busy {
        /// Which lab.
        name: String,
        /// Who holds the lock, if that could be read.
        holder: Option<u32>,
    },
    /// The lab is up already, with other contents than asked for.
    #[error(
        "lab `{name}` is already up, but not as asked for now (another definition, size, stack or agent, or --fresh); `picket lab down` removes it"
    )]
    AlreadyUp {
        /// Which lab.
        name: String,
    },
    /// No lab of that name is up.
    #[error(
        "lab `{name}` is not up; `picket lab up` starts it, `picket lab list` shows what is there"
    )]
    NoSuchLab {
        /// Which lab.
        name: String,
    },
    /// The lab has no such node.
    #[error("there is no node `{node}` in this lab; its nodes are {known}")]
    NoSuchNode {
        /// What was asked for.
        node: String,
        /// What there is.
        known: String,
    },
    /// Cancelled by the user. What had been started has been taken down.
    #[error("cancelled while {doing}")]
    Cancelled {
        /// What was going on.
        doing: String,
    },
    /// Something took longer than it may.
    #[error("gave up {doing} after {:.1} s{}", after.as_secs_f64(), suffix(detail))]
    DeadlinePassed {
        /// What was going on.
        doing: String,
        /// How long it was waited for.
        after: Duration,
        /// What was seen last; may be empty.
        detail: String,
    },
    /// A program we called failed.
    #[error("`{program}` failed {doing}: {detail}")]
    Program {
        /// Which program.
        program: String,
        /// What it was called for.
        doing: String,
        /// Exit status and the end of what it printed.
        detail: String,
    },
    /// One of our own programs is not where it should be.
    #[error("{} is missing: build it with `make build`, or say where it is with PICKET_BINDIR", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A node could not be reached, or broke off. Nothing is known about whether the command ran.
    #[error("node `{node}` does not answer: {detail}; its console: `picket lab console {node}`")]
    NoAnswer {
        /// Which node.
        node: String,
        /// What happened on the way.
        detail: String,
    },
    /// A node answered something that makes no sense.
    #[error("node `{node}` answered nonsense: {detail}")]
    Garbled {
        /// Which node.
        node: String,
        /// What it sent.
        detail: String,
    },
    /// The cluster did not form, or is not what was saved.
    #[error("the cluster has not formed: {saw}")]
    NotFormed {
        /// What was missing when the deadline passed.
        saw: String,
    },
    /// The cluster could not be put on the guests.
    #[error("the cluster could not be put on the guests: {0}")]
    NotApplied(Box<deploy::Error>),
    /// A process the lab needs ended.
    #[error("{what} ended by itself; the end of its log {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        what: &'static str,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A fault was injected, but its effect was not seen.
    #[error("the fault was injected into `{node}`, but its effect was not seen: {saw}")]
    FaultNotSeen {
        /// Which node.
        node: String,
        /// What was seen instead.
        saw: String,
    },
    /// Something was left behind although it was ended.
    #[error("lab `{name}` could not be removed completely: {left}")]
    LeftBehind {
        /// Which lab.
        name: String,
        /// What is still there.
        left: String,
    },
}

/// Classes of errors, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request makes no sense: bad name, bad definition, unknown node.
    Usage,
    /// The machine lacks something; nothing was changed.
    Precondition,
    /// Another process is at work on this lab.
    Busy,
    /// No such lab, or one too many.
    State,
    /// A guest did not answer: nothing is known.
    NoAnswer,
    /// Something took too long.
    TooLong,
    /// The user cancelled.
    Cancelled,
    /// Anything else that failed.
    Failed,
}

impl Error {
    /// Its class.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::BadName { .. } | Self::BadSpec { .. } | Self::NoSuchNode { .. } => Kind::Usage,
            Self::Preconditions(_) | Self::NotBuilt { .. } => Kind::Precondition,
            Self::Busy { .. } => Kind::Busy,
            Self::AlreadyUp { .. } | Self::NoSuchLab { .. } => Kind::State,
            Self::NoAnswer { .. } => Kind::NoAnswer,
            Self::DeadlinePassed { .. } | Self::NotFormed { .. } => Kind::TooLong,
            Self::Cancelled { .. } => Kind::Cancelled,
            Self::Program { .. }
            | Self::NotApplied(_)
            | Self::Io { .. }
            | Self::Garbled { .. }
            | Self::Ended { .. }
            | Self::FaultNotSeen { .. }
            | Self::LeftBehind { .. } => Kind::Failed,
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

fn suffix(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}
