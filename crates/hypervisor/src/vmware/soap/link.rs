//! Connections and the session on them.
//!
//! ```text
//! no session ─RetrieveServiceContent, Login─▶ session ─Logout─▶ no session
//!     ▲                                         │
//!     └──────── NotAuthenticated, once ─────────┘   a second time in one question is an error
//! ```
//!
//! All connections carry the same session, so that many guests are served with one login. A connection is used by one
//! question at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Client, Method, Response};
use roxmltree::Node;
use zeroize::Zeroizing;

use super::envelope::Request;
use super::fault::{Fault, Meaning};
use super::reply::{Answer, Malformed, Moref, child, missing, need, read, reference_of, text_of};
use crate::vmware::Settings;
use crate::vmware::session::{Clients, Sessions};
use crate::vmware::wire::foreign;
use crate::web::unanswered;
use crate::{Error, GuestRef};

/// Where the interface is, on every server.
const PATH: &str = "/sdk";

/// What `RetrieveServiceContent` tells of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceContent {
    pub(super) root: Moref,
    pub(super) collector: Moref,
    pub(super) sessions: Moref,
    pub(super) search: Moref,
    pub(super) views: Moref,
    pub(super) authorization: Option<Moref>,
    /// `VirtualCenter` or `HostAgent`.
    pub(super) api_type: String,
    /// As the server writes it; also names the version in `SOAPAction`.
    pub(super) api_version: String,
}

impl ServiceContent {
    /// Whether it is vCenter, and not a host of its own.
    pub(super) fn is_center(&self) -> bool {
        self.api_type == "VirtualCenter"
    }

    /// Whether the interface is of this version or newer.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self
            .api_version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        let own = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        own >= (major, minor)
    }
}

/// A login.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) content: ServiceContent,
    /// Its key, for questions about itself.
    pub(super) key: String,
    cookie: Zeroizing<String>,
}

/// Why there is no answer to a call.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server said no.
    Fault(Fault),
    /// Anything else, as the caller is told.
    Error(Error),
    /// The same, when the server may have received the call.
    Lost(Error),
    /// Somebody answers there who does not serve this interface.
    NotServed(Error),
}

/// The way to one server.
pub(super) struct Link {
    by: String,
    username: String,
    password: Zeroizing<String>,
    clients: Clients,
    sessions: Sessions<Session>,
    /// The longest a question may take; orders have until the deadline.
    limit: Option<Duration>,
}

impl Link {
    pub(super) fn new(settings: &Settings, by: &str) -> Self {
        Self {
            by: by.to_owned(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            clients: Clients::new(settings.endpoint.clone(), settings.interrupt.clone()),
            sessions: Sessions::default(),
            limit: settings.request_limit,
        }
    }

    pub(super) fn by(&self) -> &str {
        &self.by
    }

    /// Pauses between two looks.
    pub(super) fn pause(&self, time: Duration, deadline: Deadline) {
        self.clients.pause(time, deadline);
    }

    /// Puts a question in the session: `build` makes it, `read` gets the element of the response.
    ///
    /// A session that has expired is opened again, once; and what only asks is asked again, once, when the connection ended
    /// before the answer.
    pub(super) fn ask<T>(
        &self,
        deadline: Deadline,
        build: impl Fn(&Session) -> Request,
        read: impl Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<T, Trouble> {
        match self.order(
            deadline.within(self.limit.unwrap_or(Duration::MAX)),
            &build,
            &read,
        ) {
            Err(Trouble::Lost(Error::Unreachable { .. })) if !deadline.has_passed() => {
                let limit = self.limit.unwrap_or(Duration::MAX);
                self.order(deadline.within(limit), build, read)
            }
            other => other,
        }
    }

    /// Whether this interface is served there, which logging in tells.
    pub(super) fn is_served(&self, deadline: Deadline) -> Result<bool, Error> {
        match self.session(deadline) {
            Ok(_) => Ok(true),
            Err(Trouble::NotServed(_)) => Ok(false),
            Err(trouble) => Err(self.error(trouble, None)),
        }
    }

    /// Gives an order in the session. It is given again only when the server answered that the session has expired.
    pub(super) fn order<T>(
        &self,
        deadline: Deadline,
        build: impl Fn(&Session) -> Request,
        read: impl Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<T, Trouble> {
        let mut again = true;
        loop {
            let session = self.session(deadline)?;
            match self.call(Some(&session), &build(&session), deadline, &read) {
                Err(Trouble::Fault(fault)) if fault.meaning == Meaning::Session && again => {
                    again = false;
                    self.forget(&session);
                }
                other => return other.map(|(answer, _)| answer),
            }
        }
    }

    /// Puts a question in this very session: what it refers to would not be known in another.
    pub(super) fn ask_in<T>(
        &self,
        session: &Session,
        request: &Request,
        deadline: Deadline,
        read: impl Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<T, Trouble> {
        let deadline = deadline.within(self.limit.unwrap_or(Duration::MAX));
        self.call(Some(session), request, deadline, &read)
            .map(|(answer, _)| answer)
    }

    /// The session, opened if there is none.
    pub(super) fn session(&self, deadline: Deadline) -> Result<Arc<Session>, Trouble> {
        let begun = Instant::now();
        let late = || Trouble::Error(self.late("waiting for a login", begun, false));
        self.sessions.get(deadline, late, || self.open(deadline))
    }

    fn open(&self, deadline: Deadline) -> Result<Session, Trouble> {
        let instance = Moref::new("ServiceInstance", "ServiceInstance");
        let request = Request::new("RetrieveServiceContent", &instance, |_| {});
        let (content, first) = self.call(None, &request, deadline, &read_content)?;
        let login = Request::new("Login", &content.sessions, |parts| {
            parts.text("userName", &self.username);
            parts.text("password", &self.password);
        });
        let unnamed = Session {
            content,
            key: String::new(),
            // A server may hand out the cookie before the login.
            cookie: first.unwrap_or_default(),
        };
        let (key, cookie) = self.call(Some(&unnamed), &login, deadline, &read_key)?;
        let cookie = cookie.unwrap_or(unnamed.cookie);
        Ok(Session {
            content: unnamed.content,
            key,
            cookie,
        })
    }

    /// The session is of no use any more.
    pub(super) fn forget(&self, stale: &Arc<Session>) {
        self.sessions.forget(stale);
    }

    /// Whether the server answers to this login.
    pub(super) fn health(&self, deadline: Deadline) -> Result<(), Error> {
        let instance = Moref::new("ServiceInstance", "ServiceInstance");
        let build = |_: &Session| Request::new("CurrentTime", &instance, |_| {});
        self.ask(deadline, build, |response| {
            need(response, "returnval").map(drop)
        })
        .map_err(|trouble| self.error(trouble, None))
    }

    /// Ends the session, if there is one. An interrupt does not prevent it.
    pub(super) fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        let Some(session) = self.sessions.take() else {
            return Ok(());
        };
        let request = Request::new("Logout", &session.content.sessions, |_| {});
        let answer = self.clients.at_last(|client| {
            self.call_over(client, Some(&session), &request, deadline, &|_| Ok(()))
        });
        match answer {
            Ok(_) => Ok(()),
            Err(Trouble::Fault(fault)) if fault.meaning == Meaning::Session => Ok(()),
            Err(trouble) => Err(self.error(trouble, None)),
        }
    }

    /// One request and its answer, with the cookie that came with it.
    fn call<T>(
        &self,
        session: Option<&Session>,
        request: &Request,
        deadline: Deadline,
        read: &dyn Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<(T, Option<Zeroizing<String>>), Trouble> {
        self.clients
            .with(|client| self.call_over(client, session, request, deadline, read))
    }

    fn call_over<T>(
        &self,
        client: &mut Client,
        session: Option<&Session>,
        request: &Request,
        deadline: Deadline,
        read_result: &dyn Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<(T, Option<Zeroizing<String>>), Trouble> {
        let version = session.map_or("", |session| session.content.api_version.as_str());
        let action = if version.is_empty() {
            "\"urn:vim25\"".to_owned()
        } else {
            format!("\"urn:vim25/{version}\"")
        };
        let mut headers = vec![
            ("Content-Type", "text/xml; charset=utf-8"),
            ("SOAPAction", action.as_str()),
            ("User-Agent", concat!("picket/", env!("CARGO_PKG_VERSION"))),
        ];
        if let Some(session) = session.filter(|session| !session.cookie.is_empty()) {
            headers.push(("Cookie", &session.cookie));
        }
        let message = https::Request {
            method: Method::Post,
            target: PATH,
            headers: &headers,
            body: &request.body,
        };
        let response = client.send(message, deadline).map_err(|error| {
            let lost = error.may_have_been_carried_out();
            let error = unanswered(&error, &self.by, request.method, None);
            if lost {
                Trouble::Lost(error)
            } else {
                Trouble::Error(error)
            }
        })?;
        let cookie = cookie(&response);
        match self.read(&response, read_result) {
            Ok(Answer::Result(result)) => Ok((result, cookie)),
            Ok(Answer::Fault(fault)) => Err(Trouble::Fault(fault)),
            Err(detail) => {
                let error = Error::Unreachable {
                    by: self.by.clone(),
                    detail: format!("{}: {detail}", request.method),
                };
                // Anybody else who answered in the server's place may have passed the request on.
                Err(match response.status {
                    404 | 405 | 501 => Trouble::NotServed(error),
                    _ => Trouble::Lost(error),
                })
            }
        }
    }

    /// Only 200 and 500 carry envelopes (SOAP 1.1 section 6.2).
    fn read<T>(
        &self,
        response: &Response,
        read_result: &dyn Fn(Node<'_, '_>) -> Result<T, Malformed>,
    ) -> Result<Answer<T>, String> {
        if !matches!(response.status, 200 | 500) {
            return Err(foreign(response, PATH));
        }
        read(&response.body, read_result).map_err(|Malformed(detail)| {
            if response.status == 500 {
                foreign(response, PATH)
            } else {
                format!(
                    "the answer is not one of vSphere: {detail}; {}",
                    foreign(response, PATH)
                )
            }
        })
    }

    /// What the caller is told.
    pub(super) fn error(&self, trouble: Trouble, guest: Option<&GuestRef>) -> Error {
        match trouble {
            Trouble::Fault(fault) if fault.meaning == Meaning::Login => Error::LoginRefused {
                by: self.by.clone(),
                detail: fault.words(),
            },
            Trouble::Fault(fault) => self.refused(guest, fault.words()),
            Trouble::Error(error) | Trouble::Lost(error) | Trouble::NotServed(error) => error,
        }
    }

    /// The server said no.
    pub(super) fn refused(&self, guest: Option<&GuestRef>, detail: impl Into<String>) -> Error {
        let guest = guest.map_or_else(|| self.username.clone(), ToString::to_string);
        Error::Refused {
            by: self.by.clone(),
            guest,
            detail: detail.into(),
        }
    }

    /// The deadline passed.
    pub(super) fn late(&self, doing: impl Into<String>, since: Instant, acted: bool) -> Error {
        Error::DeadlinePassed {
            by: self.by.clone(),
            doing: doing.into(),
            waited: since.elapsed(),
            acted,
        }
    }
}

impl Drop for Link {
    /// Sessions that are left open count against the server's limit until they are idle for half an hour (I20).
    fn drop(&mut self) {
        const LAST_WORDS: Duration = Duration::from_secs(2);
        if let Err(error) = self.log_out(Deadline::after(LAST_WORDS)) {
            tracing::debug!(%error, by = self.by, "the session was not closed");
        }
    }
}

/// The session's cookie, as it is to be sent back: quotes included.
fn cookie(response: &Response) -> Option<Zeroizing<String>> {
    let mut cookies = response.headers("set-cookie");
    let cookie = cookies.find(|cookie| cookie.trim_start().starts_with("vmware_soap_session"))?;
    let pair = cookie.split(';').next().unwrap_or_default().trim();
    Some(Zeroizing::new(pair.to_owned()))
}

/// Reads the answer to `RetrieveServiceContent`.
pub(super) fn read_content(response: Node<'_, '_>) -> Result<ServiceContent, Malformed> {
    let value = child(response, "returnval").ok_or_else(|| missing(response, "returnval"))?;
    let about = child(value, "about").ok_or_else(|| missing(value, "about"))?;
    let object = |name: &str| reference_of(value, name)?.ok_or_else(|| missing(value, name));
    let api_version = need(about, "apiVersion")?;
    if !api_version
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    {
        return Err(Malformed("the version of the interface is none".to_owned()));
    }
    Ok(ServiceContent {
        root: object("rootFolder")?,
        collector: object("propertyCollector")?,
        sessions: object("sessionManager")?,
        search: object("searchIndex")?,
        views: object("viewManager")?,
        authorization: reference_of(value, "authorizationManager")?,
        api_type: need(about, "apiType")?,
        api_version,
    })
}

/// Reads the answer to `Login`: the session's key.
pub(super) fn read_key(response: Node<'_, '_>) -> Result<String, Malformed> {
    let value = child(response, "returnval").ok_or_else(|| missing(response, "returnval"))?;
    Ok(text_of(value, "key").unwrap_or_default())
}
