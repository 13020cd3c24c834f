//! Who is logged in. An initiator port has at most one session with a target port: a new one takes the place of the old
//! one, after everything that the old one had begun has ended (RFC 7143, "Session Reinstatement").

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use deadline::Deadline;
use iscsi::login::Credentials;
use scsi::pr::Nexus;

use crate::server::letter::{Ending, Letter};
use crate::server::tasks::Owner;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Never used again.
    pub(crate) id: u64,
    pub(crate) tsih: u16,
    pub(crate) target: String,
    pub(crate) nexus: Nexus,
    pub(crate) peer: SocketAddr,
    /// Where it came in.
    pub(crate) local: SocketAddr,
    /// What it proved itself with.
    pub(crate) authenticated: Option<Credentials>,
    pub(crate) since: SystemTime,
    pub(crate) owner: Owner,
}

/// A session that has not begun.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) tsih: u16,
    pub(crate) target: String,
    pub(crate) nexus: Nexus,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) authenticated: Option<Credentials>,
    pub(crate) owner: Owner,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: Vec<Arc<Session>>,
    next_id: u64,
    last_tsih: u16,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
    left: Condvar,
}

/// The old session of the same nexus did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldSessionStays;

/// A session's presence in the list: it ends with this.
#[derive(Debug)]
pub(crate) struct Presence {
    sessions: Arc<Sessions>,
    pub(crate) session: Arc<Session>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut inner = self.sessions.lock();
        inner
            .sessions
            .retain(|session| session.id != self.session.id);
        drop(inner);
        self.sessions.left.notify_all();
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under this lock can leave it half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A target session id that no session has.
    pub(crate) fn next_tsih(&self) -> u16 {
        let mut inner = self.lock();
        loop {
            inner.last_tsih = inner.last_tsih.wrapping_add(1).max(1);
            let tsih = inner.last_tsih;
            if !inner.sessions.iter().any(|session| session.tsih == tsih) {
                return tsih;
            }
        }
    }

    /// Whether there is a session of this id.
    pub(crate) fn has_tsih(&self, tsih: u16) -> bool {
        self.lock()
            .sessions
            .iter()
            .any(|session| session.tsih == tsih)
    }

    /// A session begins. An old one of the same nexus is told to end, and waited for.
    ///
    /// # Errors
    /// If it does not end by `deadline`.
    pub(crate) fn enter(
        self: &Arc<Self>,
        arrival: Arrival,
        deadline: Deadline,
    ) -> Result<Presence, OldSessionStays> {
        let mut inner = self.lock();
        loop {
            let same =
                |old: &&Arc<Session>| old.target == arrival.target && old.nexus == arrival.nexus;
            let Some(old) = inner.sessions.iter().find(same) else {
                break;
            };
            old.owner.post(Letter::End(Ending::Reinstated));
            let left = deadline.remaining();
            if left.is_zero() {
                return Err(OldSessionStays);
            }
            let waited = self.left.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.next_id += 1;
        let session = Arc::new(Session {
            id: inner.next_id,
            tsih: arrival.tsih,
            target: arrival.target,
            nexus: arrival.nexus,
            peer: arrival.peer,
            local: arrival.local,
            authenticated: arrival.authenticated,
            since: SystemTime::now(),
            owner: arrival.owner,
        });
        inner.sessions.push(Arc::clone(&session));
        Ok(Presence {
            sessions: Arc::clone(self),
            session,
        })
    }

    /// Everybody who is there.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().sessions.clone()
    }

    /// Writes to some. How many that were.
    pub(crate) fn post(&self, letter: &Letter, to: impl Fn(&Session) -> bool) -> usize {
        let inner = self.lock();
        let addressees = inner.sessions.iter().filter(|session| to(session));
        addressees
            .map(|session| session.owner.post(letter.clone()))
            .count()
    }

    /// A session has let go of something that somebody may wait for.
    pub(crate) fn notify(&self) {
        self.left.notify_all();
    }

    /// Waits until `over` holds. Whether it does by `deadline`. It is looked at whenever a session lets go of something,
    /// and now and then besides, for not everything that ends is told.
    pub(crate) fn await_that(&self, over: impl Fn() -> bool, deadline: Deadline) -> bool {
        const NOW_AND_THEN: Duration = Duration::from_millis(20);
        let mut inner = self.lock();
        while !over() {
            if deadline.has_passed() {
                return false;
            }
            let limit = deadline.remaining().min(NOW_AND_THEN);
            let waited = self.left.wait_timeout(inner, limit);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until some have left. Whether they have by `deadline`.
    pub(crate) fn await_absence(&self, of: impl Fn(&Session) -> bool, deadline: Deadline) -> bool {
        let mut inner = self.lock();
        while inner.sessions.iter().any(|session| of(session)) {
            let left = deadline.remaining();
            if left.is_zero() {
                return false;
            }
            let waited = self.left.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
