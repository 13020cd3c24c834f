//! What the thread of a connection is told by others.

use iscsi::session::TaskId;

use crate::server::unit::Answer;

/// A wait for tasks to be gone, as the connection that waits calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DrainId(pub(crate) u64);

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The same initiator port has logged in anew.
    Reinstated,
    /// The administrator wants it so, or the target is gone.
    Dropped,
    /// The server stops.
    Stopping,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Letter {
    /// Another nexus has aborted a task of this connection.
    Aborted {
        /// Which.
        task: TaskId,
        /// It ends with TASK ABORTED, and not without status.
        answer: bool,
    },
    /// The tasks of this wait are gone.
    Drained(DrainId),
    /// A change of reservations has ended.
    Settled {
        /// What the wait for it is called.
        id: DrainId,
        /// How its command is answered.
        answer: Answer,
        /// Not yet: [`Letter::Drained`] follows.
        drains: bool,
    },
    /// The target has other logical units now.
    UnitsChanged,
    /// The connection is to end.
    End(Ending),
}
