//! Connections, the session and the two styles of the REST interface.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Client, Method, Response};
use serde_json::Value;
use zeroize::Zeroizing;

use super::reply::{Meaning, Refusal, Style, token, value};
use crate::vmware::Settings;
use crate::vmware::session::{Clients, Sessions};
use crate::vmware::wire::{WRONG_LOGIN, foreign};
use crate::web::{basic, unanswered};
use crate::{Error, GuestRef};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server said no.
    Refusal(Refusal),
    /// Anything else, as the caller is told.
    Error(Error),
    /// The same, when the server may have received the request.
    Lost(Error),
}

/// A login.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) style: Style,
    prefix: String,
    token: Zeroizing<String>,
}

impl Session {
    /// The name of a condition of a list.
    pub(super) fn condition(&self, name: &str) -> String {
        match self.style {
            Style::Api => name.to_owned(),
            Style::Rest => format!("filter.{name}"),
        }
    }
}

/// One request, before it is known where the interface is.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    path: String,
}

impl Call {
    /// Reads.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
        }
    }

    /// Orders.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self {
            method: Method::Post,
            path: path.into(),
        }
    }
}

/// The way to one server.
pub(super) struct Link {
    by: String,
    username: String,
    password: Zeroizing<String>,
    /// Where the interface is, if the caller knows.
    place: Option<(Style, String)>,
    clients: Clients,
    sessions: Sessions<Session>,
    /// The longest a question may take; orders have until the deadline.
    limit: Option<Duration>,
}

impl Link {
    pub(super) fn new(settings: &Settings, path: Option<&str>, by: &str) -> Self {
        Self {
            by: by.to_owned(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            place: path.map(place),
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

    /// Sends a request in the session; one that has expired is opened again, once.
    pub(super) fn ask(
        &self,
        deadline: Deadline,
        build: impl Fn(&Session) -> Call,
    ) -> Result<Value, Trouble> {
        let mut again = true;
        loop {
            let session = self.session(deadline)?;
            let answer = self
                .clients
                .with(|client| self.call(client, &session, &build(&session), deadline));
            match answer {
                Err(Trouble::Refusal(refusal))
                    if refusal.meaning == Meaning::Unauthenticated && again =>
                {
                    again = false;
                    self.sessions.forget(&session);
                }
                other => return other,
            }
        }
    }

    fn session(&self, deadline: Deadline) -> Result<Arc<Session>, Trouble> {
        let begun = Instant::now();
        let late = || {
            Trouble::Error(Error::DeadlinePassed {
                by: self.by.clone(),
                doing: "waiting for a login".to_owned(),
                waited: begun.elapsed(),
                acted: false,
            })
        };
        self.sessions.get(deadline, late, || self.open(deadline))
    }

    fn open(&self, deadline: Deadline) -> Result<Session, Trouble> {
        let candidates = match &self.place {
            Some(place) => vec![place.clone()],
            None => vec![
                (Style::Api, "/api".to_owned()),
                (Style::Rest, "/rest".to_owned()),
            ],
        };
        let basic = basic(&self.username, &self.password);
        let mut first = None;
        for (style, prefix) in candidates {
            let target = format!("{prefix}{}", session_path(style));
            let headers = [("Authorization", basic.as_str())];
            let response = self.clients.with(|client| {
                self.send(
                    client,
                    Method::Post,
                    &target,
                    &headers,
                    "logging in",
                    deadline,
                )
            })?;
            match response.status {
                200 | 201 => {
                    let token = value(style, &response.body).and_then(|value| token(&value));
                    let token = Zeroizing::new(
                        token.map_err(|detail| self.malformed(&target, &detail, &response))?,
                    );
                    return Ok(Session {
                        style,
                        prefix,
                        token,
                    });
                }
                // There is no such interface here.
                404 | 405 | 501 if first.is_none() => first = Some(self.told(&response, &target)),
                _ => return Err(self.told(&response, &target)),
            }
        }
        Err(first
            .unwrap_or_else(|| Trouble::Error(self.refused(None, "there is nowhere to log in"))))
    }

    fn call(
        &self,
        client: &mut Client,
        session: &Session,
        call: &Call,
        deadline: Deadline,
    ) -> Result<Value, Trouble> {
        let target = format!("{}/{}", session.prefix, call.path);
        let headers = [("vmware-api-session-id", session.token.as_str())];
        let (doing, deadline) = match (call.method, self.limit) {
            (Method::Get, Some(limit)) => ("asking", deadline.within(limit)),
            (Method::Get, None) => ("asking", deadline),
            _ => ("ordering", deadline),
        };
        let response = self.send(client, call.method, &target, &headers, doing, deadline)?;
        if matches!(response.status, 200..=299) {
            return value(session.style, &response.body)
                .map_err(|detail| self.malformed(&target, &detail, &response));
        }
        Err(self.told(&response, &target))
    }

    fn send(
        &self,
        client: &mut Client,
        method: Method,
        target: &str,
        own: &[(&str, &str)],
        doing: &'static str,
        deadline: Deadline,
    ) -> Result<Response, Trouble> {
        let mut headers = vec![
            ("Accept", "application/json"),
            ("User-Agent", concat!("picket/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend_from_slice(own);
        let request = https::Request {
            method,
            target,
            headers: &headers,
            body: b"",
        };
        client.send(request, deadline).map_err(|error| {
            let lost = error.may_have_been_carried_out();
            let error = unanswered(&error, &self.by, doing, None);
            if lost {
                Trouble::Lost(error)
            } else {
                Trouble::Error(error)
            }
        })
    }

    /// What a status other than success says.
    fn told(&self, response: &Response, target: &str) -> Trouble {
        match Refusal::read(response.status, &response.body) {
            Some(refusal) => Trouble::Refusal(refusal),
            None => {
                let path = target.split('?').next().unwrap_or(target);
                let (by, detail) = (self.by.clone(), foreign(response, path));
                Trouble::Lost(Error::Unreachable { by, detail })
            }
        }
    }

    fn malformed(&self, target: &str, detail: &str, response: &Response) -> Trouble {
        let path = target.split('?').next().unwrap_or(target);
        let detail = format!(
            "the answer is not one of vSphere: {detail}; {}",
            foreign(response, path)
        );
        let by = self.by.clone();
        Trouble::Lost(Error::Unreachable { by, detail })
    }

    /// Ends the session, if there is one. An interrupt does not prevent it.
    pub(super) fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        let Some(session) = self.sessions.take() else {
            return Ok(());
        };
        let target = format!("{}{}", session.prefix, session_path(session.style));
        let headers = [("vmware-api-session-id", session.token.as_str())];
        let response = self.clients.at_last(|client| {
            self.send(
                client,
                Method::Delete,
                &target,
                &headers,
                "logging out",
                deadline,
            )
        });
        match response
            .map_err(|trouble| self.error(trouble, None))?
            .status
        {
            200..=299 | 401 => Ok(()),
            status => {
                Err(self.refused(None, format!("logging out was answered with HTTP {status}")))
            }
        }
    }

    /// Where the session is asked about.
    pub(super) fn who_am_i(session: &Session) -> Call {
        match session.style {
            Style::Api => Call::get("session"),
            Style::Rest => Call::post("com/vmware/cis/session?~action=get"),
        }
    }

    /// What the caller is told.
    pub(super) fn error(&self, trouble: Trouble, guest: Option<&GuestRef>) -> Error {
        match trouble {
            Trouble::Refusal(refusal) if refusal.meaning == Meaning::Unauthenticated => {
                let words = refusal.words();
                Error::LoginRefused {
                    by: self.by.clone(),
                    detail: format!("{words}: {WRONG_LOGIN}"),
                }
            }
            Trouble::Refusal(refusal) => self.refused(guest, refusal.words()),
            Trouble::Error(error) | Trouble::Lost(error) => error,
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
}

impl Drop for Link {
    /// vCenter allows some hundred sessions a user (I20).
    fn drop(&mut self) {
        const LAST_WORDS: Duration = Duration::from_secs(2);
        if let Err(error) = self.log_out(Deadline::after(LAST_WORDS)) {
            tracing::debug!(%error, by = self.by, "the session was not closed");
        }
    }
}

fn session_path(style: Style) -> &'static str {
    match style {
        Style::Api => "/session",
        Style::Rest => "/com/vmware/cis/session",
    }
}

/// Reads where the caller says that the interface is.
fn place(path: &str) -> (Style, String) {
    let prefix = format!("/{}", path.trim_matches('/'));
    let style = if prefix.ends_with("/api") {
        Style::Api
    } else {
        Style::Rest
    };
    (style, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_style() {
        assert_eq!(place("/api"), (Style::Api, "/api".to_owned()));
        assert_eq!(place("rest/"), (Style::Rest, "/rest".to_owned()));
        assert_eq!(place("/vc1/api"), (Style::Api, "/vc1/api".to_owned()));
    }
}
