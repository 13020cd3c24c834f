//! Opening and ending a session.
//!
//! | engine | login | session | end |
//! |---|---|---|---|
//! | oVirt 4.x | password to the single sign-on | token | revoked |
//! | without single sign-on (RHEV-M 3.x) | Basic and `Prefer: persistent-auth` | cookie | a request with the cookie and without `Prefer` |
//! | that sets no cookie (before 3.1) | Basic with every request | – | – |

use std::time::Duration;

use deadline::Deadline;
use https::{Method, Request, Response};

use super::keep;
use super::reply;
use super::settings::Version;
use super::talk::{Order, Talk};
use super::ticket::{Session, Ticket};
use super::trouble::{Answer, Lost};
use super::xml;
use crate::Error;
use crate::web::{basic, form};

/// How long the end of a session may take when nobody gave a deadline for it.
pub(super) const GOODBYE: Duration = Duration::from_secs(3);

const LOGIN: &str = "logging in";

impl Talk {
    /// A session: the one kept from an earlier run, or a new one. `refused` is a ticket the engine does not take any more.
    pub(super) fn log_in(
        &self,
        refused: Option<&Ticket>,
        deadline: Deadline,
    ) -> Result<Session, Lost> {
        let settings = &self.settings;
        if let Some(path) = &settings.session_file {
            match keep::load(path, &self.by, &settings.username) {
                Ok(Some((ticket, version))) if Some(&ticket) != refused => {
                    return Ok(self.new_session(ticket, version, true));
                }
                Ok(_) => {}
                Err(problem) => self.remark(format!("the kept session is not used: {problem}")),
            }
        }
        let session = self.log_in_anew(deadline)?;
        if let (Some(path), Some(_)) = (&settings.session_file, session.ticket.secret()) {
            let stored = keep::store(
                path,
                &self.by,
                &settings.username,
                &session.ticket,
                session.version,
            );
            if let Err(problem) = stored {
                self.remark(format!(
                    "the session cannot be kept for the next run: {problem}"
                ));
            }
        }
        Ok(session)
    }

    fn log_in_anew(&self, deadline: Deadline) -> Result<Session, Lost> {
        if self.settings.version != Version::V3
            && let Some(ticket) = self.fetch_token(deadline)?
        {
            return Ok(self.new_session(ticket, Version::V4, false));
        }
        self.log_in_basic(deadline)
    }

    /// A token; none when there is no single sign-on at this server.
    fn fetch_token(&self, deadline: Deadline) -> Result<Option<Ticket>, Lost> {
        let settings = &self.settings;
        let target = format!("{}/sso/oauth/token", settings.web_root());
        let form = form(&[
            ("grant_type", "password"),
            ("scope", "ovirt-app-api"),
            ("username", &settings.username),
            ("password", &settings.password),
        ]);
        let response = self
            .send(form_to(&target, &form), LOGIN, deadline)
            .map_err(nothing_switched)?;
        if matches!(response.status, 404 | 405 | 501) {
            return Ok(None);
        }
        if let 200..=299 = response.status
            && let Some(ticket) = Ticket::from_answer(&response.body)
        {
            return Ok(Some(ticket));
        }
        Err(Lost::nothing_sent(self.token_refused(response)))
    }

    fn token_refused(&self, response: Response) -> Error {
        #[derive(serde::Deserialize, Default)]
        struct Refusal {
            #[serde(default)]
            error: String,
            #[serde(default)]
            error_code: String,
        }
        let about = self.about("");
        let answer = into_answer(response);
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(Refusal { error, error_code }) if !error.is_empty() || !error_code.is_empty() => {
                let said = xml::printable(format!("{error_code} {error}").trim());
                match answer.status {
                    400 | 401 | 403 => about.login_refused(&said),
                    status => about.unreachable(format!(
                        "its single sign-on fails with HTTP {status}: {said}"
                    )),
                }
            }
            _ if answer.is_success() => match xml::page(&answer.body) {
                Some(page) => about.unusable(&page),
                None => about.unreachable("its single sign-on answers without a token"),
            },
            _ => about.no_success(&answer),
        }
    }

    /// By user and password, to an engine without single sign-on: the first request finds out the version too.
    fn log_in_basic(&self, deadline: Deadline) -> Result<Session, Lost> {
        let authorization = basic(&self.settings.username, &self.settings.password);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Prefer", "persistent-auth"),
        ];
        let ask = |version| {
            let order = Order {
                filter: self.settings.filter,
                ..root_order()
            };
            self.send_api(version, &order, &headers, deadline)
                .map_err(nothing_switched)
        };
        let about = self.about("");
        let first = if self.settings.version == Version::V3 {
            Version::V3
        } else {
            Version::V4
        };
        let mut version = first;
        let mut response = ask(first)?;
        // An engine that does not speak version 4 says so with 400 or 404 and a page.
        if self.settings.version == Version::Auto && matches!(response.status, 400 | 404 | 406) {
            version = Version::V3;
            response = ask(version)?;
        }
        let ticket = Ticket::from_cookies(&response).unwrap_or(Ticket::Basic);
        let answer = into_answer(response);
        if !answer.is_success() {
            return Err(Lost::nothing_sent(about.no_success(&answer)));
        }
        let root =
            reply::root(&answer.body).map_err(|why| Lost::nothing_sent(about.unusable(&why)))?;
        // Before versions could be chosen, the header was ignored.
        if root.version.is_some_and(|(major, _)| major < 4) {
            version = Version::V3;
        }
        Ok(self.new_session(ticket, version, false))
    }

    /// Ends the session, if there is one and nobody is to use it later.
    pub(super) fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        let Some(session) = self.take_session() else {
            return Ok(());
        };
        if self.settings.session_file.is_some() && !self.is_lost_to_others(&session) {
            return Ok(());
        }
        self.ignore_interrupt();
        let about = self.about("");
        let doing = "logging out";
        let response = match &session.ticket {
            Ticket::Basic => return Ok(()),
            Ticket::Token(token) => {
                let target = format!("{}/services/sso-logout", self.settings.web_root());
                let form = form(&[("scope", "ovirt-app-api"), ("token", token)]);
                self.send(form_to(&target, &form), doing, deadline)?
            }
            Ticket::Cookie(cookies) => {
                let order = Order {
                    filter: self.settings.filter,
                    doing,
                    ..root_order()
                };
                self.send_api(session.version, &order, &[("Cookie", cookies)], deadline)?
            }
        };
        // 401: the session was over before the request was looked at.
        match response.status {
            200..=299 | 401 => Ok(()),
            status => Err(about.unreachable(format!(
                "the session may last until its idle limit: HTTP {status} at its end"
            ))),
        }
    }

    /// Whether a session that was to be kept is in no file.
    fn is_lost_to_others(&self, session: &Session) -> bool {
        let Some(path) = &self.settings.session_file else {
            return true;
        };
        !matches!(
            keep::load(path, &self.by, &self.settings.username),
            Ok(Some((ticket, _))) if ticket == session.ticket
        )
    }
}

const fn root_order() -> Order<'static> {
    Order {
        method: Method::Get,
        path: "",
        body: "",
        filter: true,
        doing: LOGIN,
        guest: "",
    }
}

fn form_to<'a>(target: &'a str, form: &'a str) -> Request<'a> {
    const HEADERS: [(&str, &str); 2] = [
        ("Accept", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    Request {
        method: Method::Post,
        target,
        headers: &HEADERS,
        body: form.as_bytes(),
    }
}

/// A login that went astray leaves a session behind at worst.
fn nothing_switched(lost: Lost) -> Lost {
    Lost {
        sent: false,
        ..lost
    }
}

fn into_answer(response: Response) -> Answer {
    let location = response.header("location").map(str::to_owned);
    Answer {
        status: response.status,
        body: response.body,
        location,
    }
}
