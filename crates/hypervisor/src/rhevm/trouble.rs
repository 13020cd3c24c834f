//! Why there is no answer, or the answer is no: in words that name the remedy.

use std::time::Duration;

use deadline::Deadline;

use super::reply;
use super::xml::{self, Unusable};
use crate::{Error, GuestRef};

/// A request without an answer.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub error: Error,
    /// Whether the engine may have received it and acted on it.
    pub sent: bool,
}

impl Lost {
    pub(super) const fn nothing_sent(error: Error) -> Self {
        Self { error, sent: false }
    }

    /// What is true of `guest`, whom an order was for, when nobody looks afterwards.
    pub(super) fn of_order(self, guest: &GuestRef, by: &str) -> Error {
        if !self.sent {
            return self.error;
        }
        match self.error {
            Error::DeadlinePassed {
                by, doing, waited, ..
            } => Error::DeadlinePassed {
                by,
                doing,
                waited,
                acted: true,
            },
            other => Error::NotConfirmed {
                guest: guest.clone(),
                by: by.to_owned(),
                saw: other.to_string(),
            },
        }
    }
}

/// A question has no effect, whether or not it arrived.
impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        lost.error
    }
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Where a redirection leads.
    pub location: Option<String>,
}

impl Answer {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

/// Who is asked, for whom, and about what: for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub by: &'a str,
    /// The user.
    pub user: &'a str,
    /// The guest; empty for none in particular.
    pub guest: &'a str,
}

impl About<'_> {
    pub(super) fn refused(&self, detail: impl Into<String>) -> Error {
        Error::Refused {
            by: self.by.to_owned(),
            guest: self.guest.to_owned(),
            detail: detail.into(),
        }
    }

    pub(super) fn unreachable(&self, detail: impl Into<String>) -> Error {
        Error::Unreachable {
            by: self.by.to_owned(),
            detail: detail.into(),
        }
    }

    /// An answer that cannot be read.
    pub(super) fn unusable(&self, why: &Unusable) -> Error {
        match why {
            Unusable::Page(_) => self.unreachable(format!("the answer {why}; {CHECK_ADDRESS}")),
            _ => self.unreachable(format!("the answer {why}")),
        }
    }

    /// The login was not accepted.
    pub(super) fn login_refused(&self, said: &str) -> Error {
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({said})")
        };
        Error::LoginRefused {
            by: self.by.to_owned(),
            detail: format!(
                "`{}`{said}: check user name, which includes the domain (admin@internal), password, and whether the account \
                 is locked",
                xml::printable(self.user)
            ),
        }
    }

    /// An answer that is no success. 404 for a guest is for the caller to see.
    pub(super) fn no_success(&self, answer: &Answer) -> Error {
        let said = reply::fault(&answer.body)
            .map(|fault| fault.to_string())
            .filter(|text| !text.is_empty());
        let page = xml::page(&answer.body);
        let status = answer.status;
        let detail = said.clone().unwrap_or_else(|| match &page {
            Some(page) => format!("its answer {page}"),
            None => "it does not say why".to_owned(),
        });
        match status {
            301..=308 => {
                let to = answer.location.as_deref().map(xml::printable).unwrap_or_default();
                self.unreachable(format!(
                    "it sends us elsewhere (HTTP {status}, `{to}`), where no password is sent unasked: set address, port, ssl \
                     or api_path accordingly"
                ))
            }
            401 => self.login_refused(said.as_deref().unwrap_or_default()),
            403 if said.is_some() || page.is_none() => self.refused(format!(
                "`{}` may not do this (HTTP 403): {detail}; grant the user a role with the permit needed, \
                 UserVmManager on the guests for instance",
                xml::printable(self.user)
            )),
            403..=405 => self.unreachable(format!("HTTP {status}: {detail}; {CHECK_ADDRESS}")),
            // An order that failed although its answer is a success.
            200..=299 | 400 | 409..=499 => self.refused(format!("HTTP {status}: {detail}")),
            407 => self.unreachable("a proxy in the way wants a login (HTTP 407): give the engine's own address"),
            502..=504 => self.unreachable(format!(
                "HTTP {status}: {detail}; the engine's service is starting or down: see the service ovirt-engine there"
            )),
            500..=599 => self.unreachable(format!("HTTP {status}, a failure inside the engine: {detail}")),
            _ => self.unreachable(format!("HTTP {status} is no answer of an engine: {detail}; {CHECK_ADDRESS}")),
        }
    }

    /// No answer to a request, or none that is HTTP.
    pub(super) fn lost(
        &self,
        error: &https::Error,
        doing: &str,
        waited: Duration,
        deadline: Deadline,
    ) -> Lost {
        let sent = error.may_have_been_carried_out();
        let late = matches!(error, https::Error::DeadlinePassed { .. }) && deadline.has_passed();
        let error = if late {
            Error::DeadlinePassed {
                by: self.by.to_owned(),
                doing: doing.to_owned(),
                waited,
                acted: false,
            }
        } else {
            self.unreachable(error.to_string())
        };
        Lost { error, sent }
    }
}

const CHECK_ADDRESS: &str =
    "check address, port, ssl, and api_path: /ovirt-engine/api, or /api up to RHEV-M 3.0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const ABOUT: About<'_> = About {
        by: "https://m:443/ovirt-engine/api",
        user: "u@internal",
        guest: "node1",
    };

    fn of(status: u16, body: &str) -> Error {
        ABOUT.no_success(&Answer {
            status,
            body: body.as_bytes().to_vec(),
            location: None,
        })
    }

    /// A proxy's page must not look like the engine's refusal, nor the engine's refusal like a wrong address.
    #[test]
    fn who_said_no_stays_apart() {
        let page = "<html><head><title>Access Denied</title></head></html>";
        let fault = "<fault><reason>Operation Failed</reason><detail>[no]</detail></fault>";
        for (status, body, kind, words) in [
            (400, fault, ErrorKind::Refused, "Operation Failed: [no]"),
            (401, page, ErrorKind::Refused, "check user name"),
            (403, fault, ErrorKind::Refused, "grant the user a role"),
            (
                403,
                page,
                ErrorKind::Unreachable,
                "titled \"access denied\"",
            ),
            (404, page, ErrorKind::Unreachable, "api_path"),
            (404, "", ErrorKind::Unreachable, "api_path"),
            (407, page, ErrorKind::Unreachable, "proxy"),
            (409, fault, ErrorKind::Refused, "HTTP 409"),
            (500, fault, ErrorKind::Unreachable, "inside the engine"),
            (503, page, ErrorKind::Unreachable, "starting or down"),
            (302, "", ErrorKind::Unreachable, "elsewhere"),
            (100, "", ErrorKind::Unreachable, "no answer of an engine"),
        ] {
            let error = of(status, body);
            assert_eq!(error.kind(), kind, "{status}: {error}");
            assert!(error.to_string().contains(words), "{status}: {error}");
        }
    }

    #[test]
    fn what_the_engine_says_stays_on_one_line() {
        let fault =
            "<action><status>failed</status><fault><detail>a\nERROR b</detail></fault></action>";
        assert!(of(409, fault).to_string().contains("a ERROR b"));
        assert!(!of(409, fault).to_string().contains('\n'));
    }
}
