//! What both interfaces share: connections, and one login that all of them use.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use https::{Client, Endpoint, Interrupt};

use crate::web;

/// Connections to one server. Each is used by one question at a time.
#[derive(Debug)]
pub(super) struct Clients {
    endpoint: Endpoint,
    interrupt: Option<Interrupt>,
    idle: Mutex<Vec<Client>>,
}

impl Clients {
    /// Idle ones that are kept.
    const IDLE: usize = 8;

    pub(super) fn new(endpoint: Endpoint, interrupt: Option<Interrupt>) -> Self {
        Self {
            endpoint,
            interrupt,
            idle: Mutex::default(),
        }
    }

    /// Uses one, a new one when none is idle. After a failure a client connects anew by itself, so it is kept in any case.
    pub(super) fn with<T>(&self, use_it: impl FnOnce(&mut Client) -> T) -> T {
        let idle = self.idle().pop();
        let mut client =
            idle.unwrap_or_else(|| Client::new(self.endpoint.clone(), self.interrupt.clone()));
        let result = use_it(&mut client);
        let mut idle = self.idle();
        if idle.len() < Self::IDLE {
            idle.push(client);
        }
        result
    }

    /// Uses one for last words: an interrupt does not prevent them. All are closed then.
    pub(super) fn at_last<T>(&self, use_it: impl FnOnce(&mut Client) -> T) -> T {
        let mut idle = std::mem::take(&mut *self.idle());
        let mut client = idle
            .pop()
            .unwrap_or_else(|| Client::new(self.endpoint.clone(), None));
        client.ignore_interrupt();
        use_it(&mut client)
    }

    /// A pause between two looks. After an interrupt the next question says so.
    pub(super) fn pause(&self, time: Duration, deadline: Deadline) {
        let _ = web::pause(time, self.interrupt.as_ref(), deadline);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The login: opened by whoever needs it first, while others wait for it.
#[derive(Debug)]
pub(super) struct Sessions<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<S> {
    None,
    Opening,
    Open(Arc<S>),
}

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::None),
            changed: Condvar::new(),
        }
    }
}

impl<S> Sessions<S> {
    /// The session, opened by `open` if there is none; `late` is what to say when the deadline passes while somebody else
    /// opens it.
    pub(super) fn get<E>(
        &self,
        deadline: Deadline,
        late: impl FnOnce() -> E,
        open: impl FnOnce() -> Result<S, E>,
    ) -> Result<Arc<S>, E> {
        let mut state = self.state();
        loop {
            match &*state {
                State::Open(session) => return Ok(Arc::clone(session)),
                State::None => break,
                State::Opening if deadline.has_passed() => return Err(late()),
                State::Opening => {
                    let waited = self.changed.wait_timeout(state, deadline.remaining());
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        *state = State::Opening;
        drop(state);
        let mut turn = Turn {
            sessions: self,
            opened: None,
        };
        let session = Arc::new(open()?);
        turn.opened = Some(Arc::clone(&session));
        Ok(session)
    }

    /// This session is of no use any more.
    pub(super) fn forget(&self, stale: &Arc<S>) {
        let mut state = self.state();
        if matches!(&*state, State::Open(current) if Arc::ptr_eq(current, stale)) {
            *state = State::None;
        }
    }

    /// Takes the session out, to close it. One that is just being opened was not meant.
    pub(super) fn take(&self) -> Option<Arc<S>> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::None) {
            State::Open(session) => Some(session),
            State::None => None,
            State::Opening => {
                *state = State::Opening;
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose turn it is to open the session: whatever comes of it, the others are let on.
struct Turn<'a, S> {
    sessions: &'a Sessions<S>,
    opened: Option<Arc<S>>,
}

impl<S> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        *self.sessions.state() = self.opened.take().map_or(State::None, State::Open);
        self.sessions.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_login_serves_all() {
        let sessions = Sessions::default();
        let opened = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let deadline = Deadline::after(Duration::from_secs(10));
                    let session = sessions.get(
                        deadline,
                        || "late",
                        || {
                            thread::sleep(Duration::from_millis(50));
                            Ok(opened.fetch_add(1, Ordering::SeqCst))
                        },
                    );
                    assert_eq!(session.as_deref(), Ok(&0));
                });
            }
        });
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        let session = sessions.take().expect("it is open");
        assert!(sessions.take().is_none());
        sessions.forget(&session);
    }

    #[test]
    fn whoever_waits_for_a_login_waits_until_the_deadline() {
        let sessions: Sessions<()> = Sessions::default();
        thread::scope(|scope| {
            let slow = scope.spawn(|| {
                sessions.get(
                    Deadline::after(Duration::from_secs(10)),
                    || "late",
                    || {
                        thread::sleep(Duration::from_millis(400));
                        Err("refused")
                    },
                )
            });
            thread::sleep(Duration::from_millis(100));
            let impatient = sessions.get(
                Deadline::after(Duration::from_millis(50)),
                || "late",
                || Ok(()),
            );
            assert_eq!(impatient.map(drop), Err("late"));
            assert!(sessions.take().is_none());
            assert_eq!(slow.join().expect("no panic").map(drop), Err("refused"));
        });
        // The failed one is no obstacle.
        assert!(
            sessions
                .get(Deadline::after(Duration::ZERO), || "late", || Ok(()))
                .is_ok()
        );
    }
}
