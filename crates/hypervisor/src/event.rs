//! What a hypervisor reports without being asked.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::{Guest, GuestRef};

/// What happened to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Its definition was added or changed.
    Defined,
    /// Its definition was removed.
    Undefined,
    /// It was started here.
    Started,
    /// It arrived here from another host.
    MigratedIn,
    /// It was paused.
    Suspended,
    /// It runs again after a pause.
    Resumed,
    /// It stopped running.
    Stopped,
    /// It left for another host.
    MigratedOut,
    /// Its operating system finished shutting down.
    ShutDown,
    /// Its operating system suspended it.
    PmSuspended,
    /// It crashed.
    Crashed,
    /// Something this version has no word for.
    Other,
}

/// Something that happened on a hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum Event {
    /// A guest changed.
    Guest {
        /// The guest.
        guest: Guest,
        /// What happened.
        change: Change,
        /// The hypervisor's number for the circumstance.
        detail: i32,
        /// Who reported it.
        by: String,
        /// When it arrived here.
        at: Timestamp,
    },
    /// The connection broke. Nothing is known about the guests from here on.
    ConnectionLost {
        /// To whom.
        by: String,
        /// Why, as far as known.
        detail: String,
        /// When it was noticed.
        at: Timestamp,
    },
    /// The connection is back. Events in between are lost.
    ConnectionBack {
        /// To whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// An action ended after its caller had been told that its outcome is not known.
    LateCompletion {
        /// The guest that was acted upon.
        guest: GuestRef,
        /// What was being done.
        doing: String,
        /// How it ended.
        outcome: String,
        /// How long after the deadline, in seconds when serialized.
        #[serde(serialize_with = "seconds")]
        late_by: Duration,
        /// By whom.
        by: String,
        /// When it ended.
        at: Timestamp,
    },
}

fn seconds<S: serde::Serializer>(late: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(late.as_secs_f64())
}

/// The receivers of a hypervisor's events.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<SyncSender<Event>>>);

impl Watchers {
    /// Events a receiver may be behind.
    const BACKLOG: usize = 1024;

    /// Adds a receiver.
    pub(crate) fn add(&self) -> Receiver<Event> {
        let (sender, receiver) = mpsc::sync_channel(Self::BACKLOG);
        self.senders().push(sender);
        receiver
    }

    /// Hands `event` to every receiver that keeps up, and forgets those that are gone.
    pub(crate) fn tell(&self, event: &Event) {
        self.senders()
            .retain(|sender| match sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!(
                        ?event,
                        "a receiver of hypervisor events is behind; event dropped"
                    );
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            });
    }

    fn senders(&self) -> std::sync::MutexGuard<'_, Vec<SyncSender<Event>>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back() -> Event {
        Event::ConnectionBack {
            by: "x".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_slow_receiver_loses_events_and_a_gone_one_is_forgotten() {
        let watchers = Watchers::default();
        let (slow, gone) = (watchers.add(), watchers.add());
        drop(gone);
        for _ in 0..Watchers::BACKLOG + 10 {
            watchers.tell(&back());
        }
        assert_eq!(slow.try_iter().count(), Watchers::BACKLOG);
        assert_eq!(watchers.senders().len(), 1);
    }
}
