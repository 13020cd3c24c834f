//! One login on a management interface, for all guests.
//!
//! ```text
//!          one call, the others wait              refused                      after a pause, one call
//! nobody ───────────────────────────▶ logged in ──────────▶ held off ─────────────────────────────▶ logged in, or held off
//!                                        │  ▲  idle: asked for its health now and then, so that the session lasts
//!                                        └──┘
//! the last user is gone ──▶ logged out, on a thread of its own
//! ```
//!
//! Platforms lock an account after a few wrong passwords. Two hundred guests that are asked for once a minute would do that in
//! seconds, so a refused login is answered from memory until its pause is over. The password file is read again at a reload, which
//! starts afresh.
//!
//! A login that may look and not switch is of no use, and would be found out by the first guest that must be fenced. So asking for
//! health asks for the privilege as well, now and then.

use std::collections::HashMap;
use std::future::Future;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use hypervisor::{
    Error, ErrorKind, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff,
    Revival,
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// How long logging out may take.
const LOG_OUT_LIMIT: Duration = Duration::from_secs(5);
/// A session that nobody has used for this long is used. The shortest idle limit of a platform is five minutes.
const IDLE: Duration = Duration::from_secs(120);
/// How long the interface may take to answer then. Less than the end of the daemon waits for sessions to be closed.
const HEALTH_LIMIT: Duration = Duration::from_secs(6);
/// How long an answer about the right to switch guests holds: that it is there, and that it is not.
const PRIVILEGE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(30));
/// How long a refused login is not tried again: at first, and at most. vCenter locks an account after five refusals within three
/// minutes, unless told otherwise.
const PAUSES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));
/// How long calls wait for the one that logs in. A platform that hangs must not make them wait in line.
const TURN_LIMIT: Duration = Duration::from_secs(2);

/// The sessions of a fleet.
#[derive(Default)]
pub(super) struct Sessions {
    /// Tell of their ends.
    ends: Mutex<Vec<oneshot::Receiver<()>>>,
    all: Vec<Weak<Session>>,
}

impl Sessions {
    /// Adds an interface, and hands out what its guests are reached through: a session from the first call until it is dropped.
    pub(super) fn begin(&mut self, managed: Arc<dyn Managed>) -> Arc<dyn Hypervisor> {
        self.begin_with(managed, IDLE, None)
    }

    /// The same for an interface that finds guests by their names only. Their UUIDs are made from these.
    pub(super) fn begin_by_name(&mut self, managed: Arc<dyn Managed>) -> Arc<dyn Hypervisor> {
        self.begin_with(managed, IDLE, Some(Names::default()))
    }

    fn begin_with(
        &mut self,
        managed: Arc<dyn Managed>,
        idle: Duration,
        names: Option<Names>,
    ) -> Arc<dyn Hypervisor> {
        let (alive, gone) = mpsc::channel();
        let mut session = self.make(managed, alive);
        session.names = names;
        let session = Arc::new(session);
        let weak = Arc::downgrade(&session);
        self.all.push(Weak::clone(&weak));
        let keeper = move || keep_alive(&weak, &gone, idle);
        if let Err(error) = thread::Builder::new()
            .name("keep-alive".to_owned())
            .spawn(keeper)
        {
            tracing::error!(%error, "no thread that keeps the session on {} alive", session.name());
        }
        session
    }

    fn make(&mut self, managed: Arc<dyn Managed>, alive: mpsc::Sender<()>) -> Session {
        let (ended, end) = oneshot::channel();
        self.ends
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .push(end);
        Session {
            managed,
            state: Mutex::new(State {
                used: Instant::now(),
                proven: false,
                probing: false,
                refused: None,
                privilege: Privilege::default(),
            }),
            changed: Condvar::new(),
            names: None,
            ended: Some(ended),
            _alive: alive,
        }
    }

    /// Forgets what was refused.
    pub(super) fn afresh(&self) {
        for session in self.all.iter().filter_map(Weak::upgrade) {
            session.afresh();
        }
    }

    /// Ends when all sessions have been closed, or could not be. Only the first caller waits.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        async move {
            for end in ends {
                let _ = end.await;
            }
        }
    }
}

struct Session {
    managed: Arc<dyn Managed>,
    state: Mutex<State>,
    /// Somebody's turn has ended.
    changed: Condvar,
    names: Option<Names>,
    /// Told when the session has been closed.
    ended: Option<oneshot::Sender<()>>,
    /// Dropped with the session, which ends the thread that keeps it alive.
    _alive: mpsc::Sender<()>,
}

/// The guests of an interface that finds them by their names only, under identifiers that are made from these.
///
/// The fleet acts on guests by their UUIDs. Those that such an interface tells, if it does, may be those of several guests (copies,
/// replicas), between which it could not be asked to choose. A name is one guest's, or the interface refuses it.
#[derive(Debug, Default)]
struct Names(Mutex<HashMap<Uuid, Called>>);

/// How the interface knows a guest.
#[derive(Debug, Clone)]
struct Called {
    name: String,
    /// Its UUID when it was looked up by its name; nil when that was not told.
    uuid: Uuid,
}

/// More guests than any platform has; then all are forgotten, and learnt again by the next looks.
const MAX_NAMES: usize = 65_536;

impl Names {
    fn identifier(name: &str) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Uuid, Called>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the platform finds `guest`.
    fn of(&self, guest: &GuestRef) -> GuestRef {
        let known = self.known();
        let called = match guest {
            GuestRef::Uuid(uuid) => known.get(uuid),
            GuestRef::Name(_) => None,
        };
        called.map_or_else(
            || guest.clone(),
            |called| GuestRef::Name(called.name.clone()),
        )
    }

    /// What was seen, under the identifier made from its name; an error if it is not whom the caller meant.
    fn renamed(&self, wanted: &GuestRef, mut seen: Observation) -> Result<Observation, Error> {
        let own = Self::identifier(&seen.guest.name);
        let told = std::mem::replace(&mut seen.guest.uuid, own);
        let mut known = self.known();
        if let GuestRef::Uuid(uuid) = wanted {
            let before = known.get(uuid).map(|called| called.uuid);
            if own != *uuid || before.is_some_and(|before| before != told) {
                return Err(Error::NotConfirmed {
                    guest: wanted.clone(),
                    by: seen.by.clone(),
                    saw: format!("its name belongs to another guest now: {seen}"),
                });
            }
            return Ok(seen);
        }
        if known.len() >= MAX_NAMES {
            known.clear();
        }
        let name = seen.guest.name.clone();
        known.insert(own, Called { name, uuid: told });
        Ok(seen)
    }
}

#[derive(Debug)]
struct State {
    /// When it was last called.
    used: Instant,
    /// Whether somebody has been let in since the start or since the last refusal.
    proven: bool,
    /// Whether a call is under way that will tell.
    probing: bool,
    refused: Option<Refused>,
    privilege: Privilege,
}

/// What was last said about the right to switch guests.
#[derive(Debug, Default)]
struct Privilege {
    /// Until when that holds.
    until: Option<Instant>,
    /// The refusal, if it was one.
    refused: Option<Error>,
}

/// A login that was refused.
#[derive(Debug, Clone)]
struct Refused {
    by: String,
    detail: String,
    /// Until then nobody tries again.
    until: Instant,
    pause: Duration,
}

impl Refused {
    /// The answer to whoever asks meanwhile.
    fn again(&self, now: Instant) -> Error {
        Error::LoginRefused {
            by: self.by.clone(),
            detail: format!(
                "{} (not tried again for {} s, lest the account be locked; a reload tries at once)",
                self.detail,
                self.until.saturating_duration_since(now).as_secs() + 1
            ),
        }
    }

    /// How long to wait after another refusal. One that came while this one holds was under way already.
    fn next(&self, now: Instant) -> Duration {
        if now < self.until {
            self.pause
        } else {
            (self.pause * 2).min(PAUSES.1)
        }
    }
}

/// The turn of a call that will tell whether the login is good.
struct Turn<'a>(&'a Session);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().probing = false;
        self.0.changed.notify_all();
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, unless logging in has just been refused.
    fn ask<T>(
        &self,
        deadline: Deadline,
        call: impl FnOnce(&dyn Managed) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let turn = self.admit(deadline)?;
        let result = call(&*self.managed);
        for remark in self.managed.remarks() {
            tracing::warn!("{}: {remark}", self.name());
        }
        self.learn(result.as_ref().err(), Instant::now());
        drop(turn);
        result
    }

    /// Lets a call through. As long as nobody has been let in, one at a time: a wrong password is wrong for all.
    fn admit(&self, deadline: Deadline) -> Result<Option<Turn<'_>>, Error> {
        let latest = deadline.within(TURN_LIMIT);
        let mut state = self.state();
        loop {
            let now = Instant::now();
            state.used = now;
            if let Some(refused) = &state.refused
                && now < refused.until
            {
                return Err(refused.again(now));
            }
            if state.proven || latest.has_passed() {
                return Ok(None);
            }
            if !state.probing {
                state.probing = true;
                return Ok(Some(Turn(self)));
            }
            let waited = self.changed.wait_timeout(state, latest.remaining());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What only somebody logged in can be told ends the pause.
    fn learn(&self, error: Option<&Error>, now: Instant) {
        let mut state = self.state();
        match error {
            Some(Error::LoginRefused { by, detail }) => {
                let pause = state
                    .refused
                    .as_ref()
                    .map_or(PAUSES.0, |refused| refused.next(now));
                let until = now.checked_add(pause).unwrap_or(now);
                state.refused = Some(Refused {
                    by: by.clone(),
                    detail: detail.clone(),
                    until,
                    pause,
                });
                state.proven = false;
            }
            None
            | Some(
                Error::NoSuchGuest { .. } | Error::Refused { .. } | Error::NotConfirmed { .. },
            ) => {
                state.refused = None;
                state.proven = true;
            }
            Some(_) => {}
        }
    }

    /// Asks for the right to switch guests, if that was not done lately. What the platform does not tell is no reason to complain.
    fn check_privilege(&self, deadline: Deadline) -> Result<(), Error> {
        let now = Instant::now();
        let mut state = self.state();
        if state.privilege.until.is_some_and(|until| now < until) {
            return state.privilege.refused.clone().map_or(Ok(()), Err);
        }
        // Others go by what was said before, until this call has its answer.
        state.privilege.until = now.checked_add(PRIVILEGE.1);
        drop(state);
        let answer = self.ask(deadline, |managed| managed.may_switch(None, deadline));
        let (valid, refused) = match &answer {
            Ok(()) => (PRIVILEGE.0, None),
            Err(refused) if refused.kind() == ErrorKind::Refused => {
                (PRIVILEGE.1, Some(refused.clone()))
            }
            Err(error) => {
                tracing::debug!("whether guests may be switched cannot be told: {error}");
                (PRIVILEGE.1, None)
            }
        };
        self.state().privilege = Privilege {
            until: now.checked_add(valid),
            refused: refused.clone(),
        };
        refused.map_or(Ok(()), Err)
    }

    /// How the platform finds `guest`.
    fn call(&self, guest: &GuestRef) -> GuestRef {
        self.names
            .as_ref()
            .map_or_else(|| guest.clone(), |names| names.of(guest))
    }

    /// What was looked at must be whom the caller meant: a name may have passed to another guest.
    fn recognise(&self, guest: &GuestRef, seen: Observation) -> Result<Observation, Error> {
        match &self.names {
            Some(names) => names.renamed(guest, seen),
            None => Ok(seen),
        }
    }

    /// That nobody bears the name any more says nothing of the guest that did.
    fn missed(guest: &GuestRef, called: &GuestRef, error: Error) -> Error {
        match error {
            Error::NoSuchGuest { by, .. } if called != guest => Error::NotConfirmed {
                guest: guest.clone(),
                by,
                saw: format!("no guest is called {called} any more"),
            },
            other => other,
        }
    }

    /// Forgets what was refused: somebody may have mended it.
    fn afresh(&self) {
        let mut state = self.state();
        state.refused = None;
        state.privilege = Privilege::default();
        drop(state);
        self.changed.notify_all();
    }

    fn idle_for(&self) -> Duration {
        self.state().used.elapsed()
    }
}

/// Uses the session whenever nobody else has for `idle`, until it is dropped.
fn keep_alive(session: &Weak<Session>, gone: &Receiver<()>, idle: Duration) {
    let mut wait = idle;
    let mut well = true;
    while gone.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let Some(session) = session.upgrade() else {
            return;
        };
        wait = idle.saturating_sub(session.idle_for());
        if !wait.is_zero() {
            continue;
        }
        wait = idle;
        let health = session.health(Deadline::after(HEALTH_LIMIT));
        match &health {
            Ok(()) if !well => tracing::info!("{} answers again", session.name()),
            Err(error) if well => tracing::warn!("{error}"),
            Ok(()) | Err(_) => {}
        }
        well = health.is_ok();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let managed = Arc::clone(&self.managed);
        let ended = self.ended.take();
        let log_out = move || {
            match managed.log_out(Deadline::after(LOG_OUT_LIMIT)) {
                Ok(()) => tracing::debug!("logged out of {}", managed.name()),
                Err(error) => {
                    tracing::warn!("the session is left to the platform's idle limit: {error}");
                }
            }
            drop(managed);
            if let Some(ended) = ended {
                let _ = ended.send(());
            }
        };
        // Whoever drops the last reference may be a thread that must not wait.
        if let Err(error) = thread::Builder::new()
            .name("log-out".to_owned())
            .spawn(log_out)
        {
            tracing::error!(%error, "no thread to log out of {}", self.managed.name());
        }
    }
}

impl Hypervisor for Session {
    fn name(&self) -> &str {
        self.managed.name()
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let mut all = self.ask(deadline, |managed| managed.list(deadline))?;
        if self.names.is_some() {
            for seen in &mut all {
                seen.guest.uuid = Names::identifier(&seen.guest.name);
            }
        }
        Ok(all)
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        let called = self.call(guest);
        let seen = self.ask(deadline, |managed| managed.observe(&called, deadline));
        let seen = seen.map_err(|error| Self::missed(guest, &called, error))?;
        self.recognise(guest, seen)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        let called = self.call(guest);
        if called != *guest {
            // Nothing is switched by a name that belongs to another guest by now.
            self.observe(guest, deadline)?;
        }
        let off = self.ask(deadline, |managed| managed.power_off(&called, deadline));
        let mut off = off.map_err(|error| Self::missed(guest, &called, error))?;
        off.evidence.observation = self.recognise(guest, off.evidence.observation)?;
        Ok(off)
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        let called = self.call(guest);
        if called != *guest {
            self.observe(guest, deadline)?;
        }
        let on = self.ask(deadline, |managed| {
            managed.power_on(&called, revival, deadline)
        });
        let mut on = on.map_err(|error| Self::missed(guest, &called, error))?;
        on.observation = self.recognise(guest, on.observation)?;
        Ok(on)
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.check_privilege(deadline)?;
        self.ask(deadline, |managed| managed.health(deadline))
    }

    fn watch(&self) -> Receiver<Event> {
        self.managed.watch()
    }
}

#[cfg(test)]
mod tests;
