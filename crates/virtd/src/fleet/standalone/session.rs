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

use std::future::Future;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use hypervisor::{
    Error, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff, Revival,
};
use tokio::sync::oneshot;

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

/// The sessions of a fleet, to learn of their end.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Vec<oneshot::Receiver<()>>>);

impl Sessions {
    /// Adds an interface, and hands out what its guests are reached through: a session from the first call until it is dropped.
    pub(super) fn begin(&mut self, managed: Arc<dyn Managed>) -> Arc<dyn Hypervisor> {
        self.begin_with(managed, IDLE)
    }

    fn begin_with(&mut self, managed: Arc<dyn Managed>, idle: Duration) -> Arc<dyn Hypervisor> {
        let (alive, gone) = mpsc::channel();
        let session = Arc::new(self.make(managed, alive));
        let weak = Arc::downgrade(&session);
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
        self.0
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
            ended: Some(ended),
            _alive: alive,
        }
    }

    /// Ends when all sessions have been closed, or could not be. Only the first caller waits.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let ends = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
    /// Told when the session has been closed.
    ended: Option<oneshot::Sender<()>>,
    /// Dropped with the session, which ends the thread that keeps it alive.
    _alive: mpsc::Sender<()>,
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
        Error::Refused {
            by: self.by.clone(),
            guest: String::new(),
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
            Some(error @ Error::Refused { by, detail, .. }) if error.is_refused_login() => {
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
            Err(refused @ Error::Refused { .. }) => (PRIVILEGE.1, Some(refused.clone())),
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
                    tracing::warn!("the session is left to the platform's idle limit: {error}")
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
        self.ask(deadline, |managed| managed.list(deadline))
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        self.ask(deadline, |managed| managed.observe(guest, deadline))
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        self.ask(deadline, |managed| managed.power_off(guest, deadline))
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        self.ask(deadline, |managed| {
            managed.power_on(guest, revival, deadline)
        })
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
mod tests {
    use hypervisor::memory::{Faults, MemoryGuest, MemoryHypervisor, MemoryPlatform};

    use super::*;

    fn platform() -> (MemoryHypervisor, MemoryPlatform) {
        let guests = MemoryHypervisor::new("memory");
        guests.add(MemoryGuest::running("vm1"));
        let platform = MemoryPlatform::new(&guests);
        (guests, platform)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn look(session: &dyn Hypervisor) -> Result<Observation, Error> {
        session.observe(&GuestRef::parse("vm1"), soon())
    }

    #[tokio::test]
    async fn one_session_for_everybody_which_ends_with_the_last_one() {
        let (_, platform) = platform();
        let mut sessions = Sessions::default();
        let session = sessions.begin(Arc::new(platform.clone()));
        let another = Arc::clone(&session);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..25).for_each(|_| drop(look(&*session).unwrap())));
            }
        });
        platform.expire();
        look(&*session).unwrap();
        let ended = sessions.ended();
        drop(session);
        assert_eq!(platform.logins().ended, 0);
        drop(another);
        ended.await;
        let logins = platform.logins();
        assert_eq!(
            (logins.tried, logins.made, logins.ended, logins.open),
            (2, 2, 1, false)
        );
    }

    #[tokio::test]
    async fn a_platform_that_is_gone_holds_nobody_up_at_the_end() {
        let (guests, platform) = platform();
        let mut sessions = Sessions::default();
        let session = sessions.begin(Arc::new(platform.clone()));
        look(&*session).unwrap();
        guests.set_faults(Faults {
            unreachable: Some("pulled out".to_owned()),
            ..Faults::default()
        });
        let ended = sessions.ended();
        drop(session);
        ended.await;
        assert_eq!(platform.logins().ended, 0);
    }

    #[test]
    fn a_refused_login_is_not_tried_for_every_guest() {
        let (_, platform) = platform();
        platform.refuse_logins(Some("login of `root` refused"));
        let session = Sessions::default().begin(Arc::new(platform.clone()));
        for _ in 0..200 {
            let error = look(&*session).unwrap_err();
            assert_eq!(error.kind(), hypervisor::ErrorKind::Refused);
            assert!(
                error.to_string().contains("login of `root` refused"),
                "{error}"
            );
        }
        assert!(
            look(&*session)
                .unwrap_err()
                .to_string()
                .contains("a reload tries at once")
        );
        assert_eq!(platform.logins().tried, 1);
    }

    /// Many at once count as one; the pause grows with each refusal after it, and ends with the first answer.
    #[test]
    fn pauses_grow_and_end() {
        let (_, platform) = platform();
        let mut sessions = Sessions::default();
        let session = sessions.make(Arc::new(platform), mpsc::channel().0);
        let refused = |detail: &str| Error::Refused {
            by: "x".to_owned(),
            guest: String::new(),
            detail: detail.to_owned(),
        };
        let wrong = refused("login of `root` refused");
        let pause = || {
            session
                .state()
                .refused
                .as_ref()
                .map(|refused| refused.pause.as_secs())
        };
        let mut now = Instant::now();
        for wanted in [15, 30, 60, 120, 240, 300, 300] {
            session.learn(Some(&wrong), now);
            session.learn(Some(&wrong), now + Duration::from_secs(1));
            assert_eq!(pause(), Some(wanted));
            now += Duration::from_secs(wanted + 2);
        }
        assert!(session.admit(soon()).is_err());
        session.learn(
            Some(&Error::Unreachable {
                by: "x".to_owned(),
                detail: "no".to_owned(),
            }),
            now,
        );
        assert!(session.admit(soon()).is_err());
        session.learn(Some(&refused("no privilege")), now);
        assert_eq!(pause(), None);
        assert!(session.admit(soon()).unwrap().is_none());
    }

    #[test]
    fn the_first_call_logs_in_for_all_and_a_hanging_one_holds_nobody() {
        let (guests, platform) = platform();
        platform.refuse_logins(Some("login of `root` refused"));
        let session = Sessions::default().begin(Arc::new(platform.clone()));
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| look(&*session).unwrap_err());
            }
        });
        assert_eq!(platform.logins().tried, 1);

        platform.refuse_logins(None);
        let session = Sessions::default().begin(Arc::new(platform));
        guests.hang_for(Duration::from_millis(3500));
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| look(&*session).unwrap());
            }
        });
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn health_needs_the_right_to_switch() {
        let (guests, platform) = platform();
        let session = Sessions::default().begin(Arc::new(platform.clone()));
        for _ in 0..200 {
            session.health(soon()).unwrap();
        }
        assert_eq!(guests.calls().may_switch, 1);
        guests.set_faults(Faults {
            forbidden: Some("no role".to_owned()),
            ..Faults::default()
        });
        let session = Sessions::default().begin(Arc::new(platform));
        for _ in 0..200 {
            let error = session.health(soon()).unwrap_err();
            assert!(error.to_string().contains("no role"), "{error}");
            // Not to be taken for a refused login: looking is allowed.
            look(&*session).unwrap();
        }
        assert_eq!(guests.calls().may_switch, 2);
    }

    #[tokio::test]
    async fn an_idle_session_is_used() {
        let (guests, platform) = platform();
        let mut sessions = Sessions::default();
        let session = sessions.begin_with(Arc::new(platform.clone()), Duration::from_millis(20));
        look(&*session).unwrap();
        let latest = soon();
        while guests.calls().health < 3 {
            assert!(!latest.has_passed(), "{:?}", guests.calls());
            thread::sleep(Duration::from_millis(5));
        }
        let ended = sessions.ended();
        drop(session);
        ended.await;
        let calls = guests.calls().health;
        thread::sleep(Duration::from_millis(100));
        assert_eq!(guests.calls().health, calls);
    }
}
