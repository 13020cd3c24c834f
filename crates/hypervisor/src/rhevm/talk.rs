//! Requests to the engine: who we are, over which connection, and once more after the engine has forgotten us.
//!
//! ```text
//! ask ─▶ session? ─ none ─▶ log in (one thread; the others wait until their deadlines) ─▶ session
//!          │
//!          └▶ send ─ 401 ─▶ that session is over: log in once more, send again ─ 401 ─▶ refused
//!                 └ else ─▶ the answer     (a session kept from an earlier run may be old: it does not count)
//! ```
//!
//! A request that got 401 was not carried out, so sending it again is safe, orders included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Client, Method, Request, Response};
use zeroize::Zeroizing;

use super::settings::{Settings, Version};
use super::ticket::{Session, Ticket};
use super::trouble::{About, Answer, Lost};
use crate::Error;
use crate::web::{self, basic};

/// Connections that may exist at the same time.
const CONNECTIONS: usize = 8;

/// The way to one engine. Shared between threads.
pub(super) struct Talk {
    pub settings: Settings,
    /// The engine's name in messages and evidence.
    pub by: String,
    connections: Mutex<Connections>,
    returned: Condvar,
    gate: Mutex<Gate>,
    opened: Condvar,
    logins: AtomicU64,
    remarks: Mutex<Vec<String>>,
}

struct Connections {
    idle: Vec<Client>,
    /// Idle ones and those in use.
    all: usize,
}

/// Who may pass: those with a session.
#[derive(Default)]
struct Gate {
    session: Option<Arc<Session>>,
    /// The ticket that the engine last refused: not to be taken from the session file again.
    refused: Option<Ticket>,
    /// Whether somebody is logging in.
    busy: bool,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub method: Method,
    /// Below the path of the interface, percent-encoded.
    pub path: &'a str,
    pub body: &'a str,
    /// Whether the results are to be filtered.
    pub filter: bool,
    /// Read after "while ".
    pub doing: &'a str,
    /// The guest it is about, for messages and the engine's log; empty for none in particular.
    pub guest: &'a str,
}

impl Talk {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            by: settings.url(),
            settings,
            connections: Mutex::new(Connections {
                idle: Vec::new(),
                all: 0,
            }),
            returned: Condvar::new(),
            gate: Mutex::default(),
            opened: Condvar::new(),
            logins: AtomicU64::new(0),
            remarks: Mutex::default(),
        }
    }

    /// For messages about `guest`.
    pub(super) fn about<'a>(&'a self, guest: &'a str) -> About<'a> {
        About {
            by: &self.by,
            user: &self.settings.username,
            guest,
        }
    }

    /// Keeps something to tell the user that is no reason to fail.
    pub(super) fn remark(&self, text: String) {
        tracing::warn!("{text}");
        lock(&self.remarks).push(text);
    }

    /// What was to be told since the last time.
    pub(super) fn remarks(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.remarks))
    }

    /// Asks, logging in when needed.
    pub(super) fn ask(&self, order: &Order<'_>, deadline: Deadline) -> Result<Answer, Lost> {
        let (mut forgotten, mut stale) = (0, 0);
        loop {
            let session = self.session(deadline)?;
            let response = self.send_as(&session, order, deadline)?;
            if response.status != 401 {
                return Ok(answer(response));
            }
            self.is_over(&session);
            // One from a file may be old, and so may the one that somebody else has put there meanwhile.
            if session.kept {
                stale += 1;
            } else {
                forgotten += 1;
            }
            if forgotten > 1 || stale > 2 {
                let error = self.about(order.guest).no_success(&answer(response));
                return Err(Lost::nothing_sent(error));
            }
        }
    }

    /// The session, opened if there is none.
    pub(super) fn session(&self, deadline: Deadline) -> Result<Arc<Session>, Lost> {
        let begun = Instant::now();
        let mut gate = lock(&self.gate);
        loop {
            if let Some(session) = &gate.session {
                return Ok(Arc::clone(session));
            }
            if !gate.busy {
                break;
            }
            if deadline.has_passed() {
                return Err(Lost::nothing_sent(self.late("waiting for a login", begun)));
            }
            let waited = self.opened.wait_timeout(gate, deadline.remaining());
            gate = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        gate.busy = true;
        let refused = gate.refused.clone();
        drop(gate);
        // Whatever comes of it, the others are woken when this goes.
        let _opening = Opening(self);
        let session = Arc::new(self.log_in(refused.as_ref(), deadline)?);
        lock(&self.gate).session = Some(Arc::clone(&session));
        Ok(session)
    }

    /// The engine has forgotten this session.
    fn is_over(&self, session: &Session) {
        let mut gate = lock(&self.gate);
        if gate
            .session
            .as_ref()
            .is_some_and(|now| now.generation == session.generation)
        {
            gate.session = None;
            gate.refused = Some(session.ticket.clone());
        }
    }

    /// Takes the session away, to end it.
    pub(super) fn take_session(&self) -> Option<Arc<Session>> {
        lock(&self.gate).session.take()
    }

    /// A session with a number of its own.
    pub(super) fn new_session(&self, ticket: Ticket, version: Version, kept: bool) -> Session {
        Session {
            ticket,
            version,
            kept,
            generation: self.logins.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn send_as(
        &self,
        session: &Session,
        order: &Order<'_>,
        deadline: Deadline,
    ) -> Result<Response, Lost> {
        let secret: Zeroizing<String>;
        let mut more: Vec<(&str, &str)> = Vec::new();
        match &session.ticket {
            Ticket::Token(token) => {
                secret = Zeroizing::new(format!("Bearer {}", **token));
                more.push(("Authorization", &secret));
            }
            Ticket::Cookie(cookies) => {
                more.push(("Prefer", "persistent-auth"));
                more.push(("Cookie", cookies));
            }
            Ticket::Basic => {
                secret = basic(&self.settings.username, &self.settings.password);
                more.push(("Authorization", &secret));
            }
        }
        self.send_api(session.version, order, &more, deadline)
    }

    /// Sends a request to the interface with these header lines beside the usual ones.
    pub(super) fn send_api(
        &self,
        version: Version,
        order: &Order<'_>,
        more: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<Response, Lost> {
        let target = format!("{}/{}", self.settings.base(), order.path);
        let correlation = correlation(order.guest);
        let mut headers = vec![
            ("Version", if version == Version::V3 { "3" } else { "4" }),
            ("Accept", "application/xml"),
            ("Accept-Language", "en"),
            ("Filter", if order.filter { "true" } else { "false" }),
        ];
        if !order.body.is_empty() {
            headers.push(("Content-Type", "application/xml"));
        }
        if !matches!(order.method, Method::Get) {
            headers.push(("Correlation-Id", &correlation));
        }
        headers.extend_from_slice(more);
        let body = order.body.as_bytes();
        self.send(
            Request {
                method: order.method,
                target: &target,
                headers: &headers,
                body,
            },
            order.doing,
            deadline,
        )
    }

    /// Sends any request.
    pub(super) fn send(
        &self,
        request: Request<'_>,
        doing: &str,
        deadline: Deadline,
    ) -> Result<Response, Lost> {
        let begun = Instant::now();
        let mut client = self.connection(deadline)?;
        let until = self
            .settings
            .request_limit
            .map_or(deadline, |limit| deadline.within(limit));
        let result = client.client.send(request, until);
        drop(client);
        result.map_err(|error| {
            self.about("")
                .lost(&error, doing, begun.elapsed(), deadline)
        })
    }

    /// Lets nothing interrupt what is said from now on: last words.
    pub(super) fn ignore_interrupt(&self) {
        let mut connections = lock(&self.connections);
        connections
            .idle
            .iter_mut()
            .for_each(Client::ignore_interrupt);
        if connections.idle.is_empty() && connections.all < CONNECTIONS {
            connections.all += 1;
            connections
                .idle
                .push(Client::new(self.settings.endpoint.clone(), None));
        }
    }

    fn connection(&self, deadline: Deadline) -> Result<Borrowed<'_>, Lost> {
        let begun = Instant::now();
        let mut connections = lock(&self.connections);
        loop {
            if let Some(client) = connections.idle.pop() {
                return Ok(Borrowed { client, talk: self });
            }
            if connections.all < CONNECTIONS {
                connections.all += 1;
                let Settings {
                    endpoint,
                    interrupt,
                    ..
                } = &self.settings;
                return Ok(Borrowed {
                    client: Client::new(endpoint.clone(), interrupt.clone()),
                    talk: self,
                });
            }
            if deadline.has_passed() {
                return Err(Lost::nothing_sent(
                    self.late("waiting for a free connection", begun),
                ));
            }
            let waited = self
                .returned
                .wait_timeout(connections, deadline.remaining());
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets `time` pass; false when it ended early, because whoever asked is to end.
    pub(super) fn pause(&self, time: Duration) -> bool {
        web::pause(
            time,
            self.settings.interrupt.as_ref(),
            Deadline::after(time),
        )
    }

    /// The deadline passed and nothing was switched.
    pub(super) fn late(&self, doing: &str, begun: Instant) -> Error {
        let (by, doing) = (self.by.clone(), doing.to_owned());
        Error::DeadlinePassed {
            by,
            doing,
            waited: begun.elapsed(),
            acted: false,
        }
    }
}

/// Somebody is logging in.
struct Opening<'a>(&'a Talk);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        lock(&self.0.gate).busy = false;
        self.0.opened.notify_all();
    }
}

/// A connection in use, which goes back when it is dropped.
struct Borrowed<'a> {
    client: Client,
    talk: &'a Talk,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let fresh = Client::new(self.talk.settings.endpoint.clone(), None);
        let client = std::mem::replace(&mut self.client, fresh);
        lock(&self.talk.connections).idle.push(client);
        self.talk.returned.notify_one();
    }
}

fn answer(response: Response) -> Answer {
    let location = response.header("location").map(str::to_owned);
    Answer {
        status: response.status,
        body: response.body,
        location,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the engine writes into its log beside an action: at most 36 letters, digits, dashes and underscores.
fn correlation(guest: &str) -> String {
    const LONGEST: usize = 36;
    let pid = std::process::id();
    let room = LONGEST - "picket--".len() - pid.to_string().len();
    let name: String = guest
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(room)
        .collect();
    format!("picket-{name}-{pid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts, section 3.7.
    #[test]
    fn the_engines_log_gets_a_name_it_takes() {
        for guest in ["", "node1", "nöde <1>\r\n", &"x".repeat(99)] {
            let id = correlation(guest);
            assert!(id.len() <= 36, "{id}");
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "{id}"
            );
        }
        assert!(correlation("node1").starts_with("picket-node1-"));
    }
}
