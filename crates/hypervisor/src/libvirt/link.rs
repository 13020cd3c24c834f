//! The connection to libvirt: opened when first needed, opened again when lost.
//!
//! Opening can wait for ever (a daemon that is stopped accepts the connection and never answers), so
//! it is done by threads of its own, at most [`Links::MOST_OPENING`] at a time. Callers wait for the
//! outcome of an attempt that began after they came, or for their deadline.
//!
//! A [`Link`] is one main connection, which brings the events, and some more for calls: with a daemon,
//! each call in progress has a connection to itself ([`Session`]). A connection may be shared between
//! threads, but then a daemon carries out only five calls of one connection at a time, so that a few stuck ones
//! would stop all others; and in libvirt's client library before 9.1 a thread that waits for a slow
//! answer can miss that another one has something to send (a lost wake-up), so that looking at one
//! guest waited for the end of another.
//!
//! A driver inside this process is used through the main connection alone: libvirt's test driver
//! keeps the guests of `test:///file.xml` in it.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use virt::connect::Connect;

use super::doubts::Doubts;
use super::ffi::{self, Listener};
use super::{states, trouble};
use crate::event::Watchers;
use crate::{Deadline, Error, Event, Guest};

/// Seconds between two signs of life asked of the daemon, and how many may be missing.
const KEEP_ALIVE: (i32, u32) = (3, 3);

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    connect: Connect,
    id: u64,
    uri: String,
    by: String,
    lost: AtomicBool,
    lifecycle: Option<c_int>,
    hears_close: bool,
    /// Whether there is a daemon behind it.
    is_remote: bool,
    /// Connections no call uses at the moment.
    spare: Mutex<Vec<Connect>>,
    doubts: Arc<Doubts>,
}

impl Link {
    /// Spare connections kept.
    const SPARE: usize = 4;

    /// Opens and prepares a connection. May wait for ever.
    fn open(uri: &str, id: u64, links: &Arc<Links>) -> Result<Self, String> {
        ffi::initialize();
        let (connect, is_remote) = connect(uri)?;
        let by = match connect.get_hostname() {
            Ok(host) => format!("{uri} on {host}"),
            Err(_) => uri.to_owned(),
        };
        let feed = || {
            Box::new(Feed {
                links: Arc::downgrade(links),
                id,
                by: by.clone(),
            })
        };
        let lifecycle = ffi::watch_lifecycle(&connect, feed())
            .inspect_err(|error| tracing::warn!(uri, %error, "libvirt offers no lifecycle events"))
            .ok();
        let hears_close = ffi::watch_close(&connect, feed()).is_ok();
        let (uri, lost) = (uri.to_owned(), AtomicBool::new(false));
        let (spare, doubts) = (Mutex::default(), Arc::clone(&links.doubts));
        Ok(Self {
            connect,
            id,
            uri,
            by,
            lost,
            lifecycle,
            hears_close,
            is_remote,
            spare,
            doubts,
        })
    }

    /// A connection for one call. May wait for ever.
    pub(super) fn session(&self) -> Result<Session<'_>, Error> {
        if !self.is_remote {
            return Ok(Session {
                link: self,
                connect: self.connect.clone(),
                is_own: false,
            });
        }
        let spare = self.spare().pop();
        let opened = spare.map_or_else(|| connect(&self.uri).map(|(connect, _)| connect), Ok);
        match opened {
            Ok(connect) => Ok(Session {
                link: self,
                connect,
                is_own: true,
            }),
            Err(detail) => {
                self.check(&self.connect);
                Err(Error::Unreachable {
                    by: self.by.clone(),
                    detail,
                })
            }
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Connect>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who answers here: URI and host.
    pub(super) fn by(&self) -> &str {
        &self.by
    }

    /// Whether the connection was found broken.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Notes that the link is broken if libvirt says that `connect` is. Never waits.
    fn check(&self, connect: &Connect) {
        if !connect.is_alive().unwrap_or(false) {
            self.lost.store(true, Ordering::Release);
        }
    }
}

/// Opens one connection; also says whether there is a daemon behind it.
fn connect(uri: &str) -> Result<(Connect, bool), String> {
    if uri.contains('\0') {
        return Err("the URI contains a NUL byte".to_owned());
    }
    let connect = Connect::open(Some(uri)).map_err(|error| trouble::text(&error))?;
    // A driver inside this process has no such thing.
    let is_remote = connect.set_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1).is_ok();
    Ok((connect, is_remote))
}

/// What one call asks through.
#[derive(Debug)]
pub(super) struct Session<'a> {
    link: &'a Link,
    connect: Connect,
    is_own: bool,
}

impl Session<'_> {
    pub(super) fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Who answers here: URI and host.
    pub(super) fn by(&self) -> &str {
        self.link.by()
    }

    /// The guests that may run elsewhere.
    pub(super) fn doubts(&self) -> &Doubts {
        &self.link.doubts
    }

    /// Notes that the link is broken if libvirt says so. Never waits.
    pub(super) fn check(&self) {
        self.link.check(&self.connect);
    }

    /// Whether the link was found broken.
    pub(super) fn is_lost(&self) -> bool {
        self.link.is_lost()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.is_own && self.connect.is_alive().unwrap_or(false) {
            let mut spare = self.link.spare();
            if spare.len() < Link::SPARE {
                spare.push(self.connect.clone());
            }
        }
        // Gives back our reference; the last one closes the connection.
        let _ = self.connect.close();
    }
}

impl Drop for Link {
    /// Saying good-bye waits for the daemon's answer, so a thread does it.
    fn drop(&mut self) {
        let mut connect = self.connect.clone();
        let (lifecycle, hears_close) = (self.lifecycle, self.hears_close);
        let spare = std::mem::take(&mut *self.spare());
        let _ = self.connect.close();
        let close = move || {
            if let Some(id) = lifecycle {
                ffi::unwatch_lifecycle(&connect, id);
            }
            if hears_close {
                ffi::unwatch_close(&connect);
            }
            let _ = connect.close();
            for mut connect in spare {
                let _ = connect.close();
            }
        };
        if let Err(error) = thread::Builder::new()
            .name("libvirt-close".to_owned())
            .spawn(close)
        {
            tracing::warn!(%error, "a libvirt connection is left open");
        }
    }
}

/// Hands what libvirt's event thread says to the [`Links`] it belongs to, if they still exist.
struct Feed {
    links: Weak<Links>,
    id: u64,
    by: String,
}

impl Listener for Feed {
    fn lifecycle(&self, guest: Guest, event: c_int, detail: c_int) {
        let Some(links) = self.links.upgrade() else {
            return;
        };
        let change = states::change(event, detail);
        tracing::debug!(%guest, ?change, detail, by = self.by, "lifecycle event");
        match states::departs(event, detail) {
            Some(true) => links.doubts.raise(guest.uuid),
            Some(false) => links.doubts.lift(guest.uuid),
            None => {}
        }
        let (by, at) = (self.by.clone(), Timestamp::now());
        links.watchers.tell(&Event::Guest {
            guest,
            change,
            detail,
            by,
            at,
        });
        links.note_change();
    }

    fn closed(&self, reason: c_int) {
        let Some(links) = self.links.upgrade() else {
            return;
        };
        links.lose_number(self.id, trouble::close_reason(reason));
    }
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<Link>>,
    /// When each attempt that has not ended was begun.
    opening: Vec<(u64, Instant)>,
    attempts: u64,
    /// The last attempt that failed, and why.
    failed: Option<(u64, String)>,
    next_try: Option<Instant>,
    pause: Duration,
    was_up: bool,
    reopening: bool,
    closing: bool,
}

/// The connection of one hypervisor over time.
#[derive(Debug)]
pub(super) struct Links {
    uri: String,
    state: Mutex<State>,
    changed: Condvar,
    /// Counts lifecycle events, for those who wait for one.
    changes: Mutex<u64>,
    change: Condvar,
    pub(super) watchers: Watchers,
    doubts: Arc<Doubts>,
}

impl Links {
    /// Attempts to open that may be stuck at the same time.
    const MOST_OPENING: usize = 4;
    /// An attempt older than this is taken for stuck, and another one may begin.
    const STUCK: Duration = Duration::from_secs(10);
    /// Pause after a failed attempt: doubled each time between these.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

    pub(super) fn new(uri: &str) -> Arc<Self> {
        Arc::new(Self {
            uri: uri.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            changes: Mutex::default(),
            change: Condvar::new(),
            watchers: Watchers::default(),
            doubts: Doubts::about(uri),
        })
    }

    /// The guests that may run elsewhere.
    pub(super) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// The connection, opened if need be.
    pub(super) fn get(self: &Arc<Self>, deadline: Deadline) -> Result<Arc<Link>, Error> {
        let entered = Instant::now();
        let mut state = self.state();
        let first = state.attempts + 1;
        loop {
            if let Some(link) = state.current.clone() {
                if !link.is_lost() {
                    return Ok(link);
                }
                drop(state);
                self.lose(&link, "it was found closed");
                state = self.state();
                continue;
            }
            if let Some((attempt, detail)) = &state.failed
                && *attempt >= first
            {
                let (by, detail) = (self.uri.clone(), detail.clone());
                return Err(Error::Unreachable { by, detail });
            }
            if deadline.has_passed() {
                return Err(Error::DeadlinePassed {
                    by: self.uri.clone(),
                    doing: "opening the connection".to_owned(),
                    waited: entered.elapsed(),
                    acted: false,
                });
            }
            let wake = self
                .try_to_open(&mut state)
                .unwrap_or_else(|| deadline.instant());
            let left = wake
                .min(deadline.instant())
                .saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Begins an attempt if one is due. Returns when to ask again, if it is known.
    fn try_to_open(self: &Arc<Self>, state: &mut State) -> Option<Instant> {
        let now = Instant::now();
        if let Some(due) = state.next_try.filter(|due| *due > now) {
            return Some(due);
        }
        if let Some((_, youngest)) = state.opening.last() {
            let stuck = *youngest + Self::STUCK;
            if stuck > now || state.opening.len() >= Self::MOST_OPENING {
                return (stuck > now).then_some(stuck);
            }
        }
        state.attempts += 1;
        let attempt = state.attempts;
        state.opening.push((attempt, now));
        let links = Arc::clone(self);
        let opening = move || {
            let opened = Link::open(&links.uri, attempt, &links);
            links.opened(attempt, opened);
        };
        if let Err(error) = thread::Builder::new()
            .name("libvirt-open".to_owned())
            .spawn(opening)
        {
            self.note_failure(state, attempt, format!("no thread to open it: {error}"));
        }
        None
    }

    fn opened(&self, attempt: u64, opened: Result<Link, String>) {
        let mut state = self.state();
        match opened {
            // One that was stuck and came back after another had succeeded is not needed.
            Ok(link) if state.closing || state.current.is_some() => {
                state.opening.retain(|(known, _)| *known != attempt);
                drop(state);
                drop(link);
            }
            Ok(link) => {
                let by = link.by.clone();
                state.opening.retain(|(known, _)| *known != attempt);
                state.current = Some(Arc::new(link));
                (state.next_try, state.pause) = (None, Duration::ZERO);
                let again = std::mem::replace(&mut state.was_up, true);
                drop(state);
                tracing::info!(by, again, "connected to libvirt");
                if again {
                    self.watchers.tell(&Event::ConnectionBack {
                        by,
                        at: Timestamp::now(),
                    });
                }
            }
            Err(detail) => {
                tracing::debug!(uri = self.uri, detail, "libvirt cannot be reached");
                self.note_failure(&mut state, attempt, detail);
            }
        }
        self.changed.notify_all();
    }

    fn note_failure(&self, state: &mut State, attempt: u64, detail: String) {
        state.opening.retain(|(known, _)| *known != attempt);
        state.failed = Some((attempt, detail));
        state.pause = (state.pause * 2).clamp(Self::PAUSES.0, Self::PAUSES.1);
        state.next_try = Instant::now().checked_add(state.pause);
        self.changed.notify_all();
    }

    /// Gives up `link` if it is the one in use, and begins to open another.
    pub(super) fn lose(self: &Arc<Self>, link: &Arc<Link>, detail: &str) {
        link.lost.store(true, Ordering::Release);
        let mut state = self.state();
        if !state
            .current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            return;
        }
        let lost = state.current.take();
        let reopen = !state.closing && !std::mem::replace(&mut state.reopening, true);
        drop(state);
        self.changed.notify_all();
        tracing::warn!(by = link.by(), detail, "connection to libvirt lost");
        self.watchers.tell(&Event::ConnectionLost {
            by: link.by().to_owned(),
            detail: detail.to_owned(),
            at: Timestamp::now(),
        });
        drop(lost);
        if reopen {
            self.reopen();
        }
    }

    /// As [`Links::lose`], for who knows only the number of the connection.
    fn lose_number(self: &Arc<Self>, id: u64, detail: &str) {
        let current = self.state().current.clone();
        if let Some(link) = current.filter(|link| link.id == id) {
            self.lose(&link, detail);
        }
    }

    /// Events are wanted although nobody asks anything, so a thread opens the connection again.
    fn reopen(self: &Arc<Self>) {
        let links = Arc::downgrade(self);
        let body = move || {
            while let Some(links) = links.upgrade() {
                // Whether it came is read from the state: it may be lost again by now.
                drop(links.get(Deadline::after(Self::PAUSES.1)));
                let mut state = links.state();
                if state.current.is_some() || state.closing {
                    state.reopening = false;
                    return;
                }
            }
        };
        if thread::Builder::new()
            .name("libvirt-reopen".to_owned())
            .spawn(body)
            .is_err()
        {
            self.state().reopening = false;
        }
    }

    /// How many lifecycle events there were so far.
    pub(super) fn changes(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there were more lifecycle events than `seen`, at most until `until`.
    pub(super) fn wait_for_change(&self, seen: u64, until: Deadline) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.remaining();
        drop(
            self.change
                .wait_timeout_while(changes, left, |now| *now == seen),
        );
    }

    fn note_change(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.change.notify_all();
    }

    /// Closes the connection; what is still opening is closed when it comes.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        let current = state.current.take();
        drop(state);
        drop(current);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
