//! What goes wrong between this program and a host, and what that means to whoever asked.

use https::{Response, Scheme};
use wsman::Fault;

use crate::Error;

/// Why there is no answer that can be used.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// No response.
    Http(https::Error),
    /// A response that HTTP itself calls a failure, without an explanation.
    Status(u16),
    /// The login was not accepted. The schemes that the host offers, and whether this connection had been accepted before.
    Login { offered: Vec<String>, before: bool },
    /// The exchange of the login itself cannot go on.
    Ntlm(ntlm::Error),
    /// The host answered with a fault.
    Fault(Fault),
    /// What came cannot be used.
    Malformed(String),
    /// What came should have been encrypted.
    Unprotected,
    /// The host says that the login may not do this.
    Denied(String),
    /// The host has been asked and does not do it, for another reason.
    Refused(String),
    /// It fails on this machine.
    Here(String),
    /// So many calls are waiting for it already.
    Busy(usize),
}

impl From<https::Error> for Trouble {
    fn from(error: https::Error) -> Self {
        Self::Http(error)
    }
}

impl From<ntlm::Error> for Trouble {
    fn from(error: ntlm::Error) -> Self {
        Self::Ntlm(error)
    }
}

impl From<wsman::Error> for Trouble {
    fn from(error: wsman::Error) -> Self {
        match error {
            wsman::Error::Fault(fault) => Self::Fault(fault),
            other => Self::Malformed(other.to_string()),
        }
    }
}

impl Trouble {
    /// The login was answered with "401".
    pub(super) fn login(response: &Response, before: bool) -> Self {
        let schemes = response.headers("WWW-Authenticate");
        let offered = schemes
            .filter_map(|line| line.split_whitespace().next().map(printable))
            .collect();
        Self::Login { offered, before }
    }

    /// What the status of a response says that carries no fault.
    pub(super) fn status(status: u16) -> Self {
        match status {
            403 => Self::Denied("HTTP 403".to_owned()),
            other => Self::Status(other),
        }
    }

    /// Whether the request may have been carried out all the same.
    pub(super) fn may_have_been_carried_out(&self) -> bool {
        match self {
            Self::Http(error) => error.may_have_been_carried_out(),
            // Only these are said before anything is done; others also come from what was doing it.
            Self::Fault(fault) => {
                !(fault.is_access_denied() || fault.is_not_found() || fault.is_unknown_class())
            }
            Self::Malformed(_) | Self::Unprotected => true,
            Self::Status(status) => *status >= 500 && *status != 503,
            Self::Ntlm(error) => matches!(error, ntlm::Error::NotAuthentic { .. }),
            Self::Login { .. }
            | Self::Denied(_)
            | Self::Refused(_)
            | Self::Here(_)
            | Self::Busy(_) => false,
        }
    }

    /// Whether a new connection may do better: the host has forgotten the old one.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Login { before: true, .. } | Self::Http(https::Error::Closed { .. })
        )
    }

    /// Whether the caller is asked to end.
    pub(super) fn is_interrupt(&self) -> bool {
        matches!(self, Self::Http(https::Error::Interrupted { .. }))
    }

    /// Whether the same question, asked a little later, may be answered.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => [503, 429].contains(status),
            Self::Fault(fault) => fault.is_timed_out(),
            _ => false,
        }
    }

    /// What it means to whoever asked `by`.
    pub(super) fn error(self, by: &str, scheme: Scheme) -> Error {
        let unreachable = |detail: String| Error::Unreachable {
            by: by.to_owned(),
            detail,
        };
        let refused = |detail: String| Error::Refused {
            by: by.to_owned(),
            guest: String::new(),
            detail,
        };
        match self {
            Self::Http(error) => http(error, by, scheme),
            Self::Login { offered, .. } => Error::LoginRefused {
                by: by.to_owned(),
                detail: login(&offered),
            },
            Self::Status(404) => unreachable(
                "HTTP 404: nothing answers at /wsman; is this the port of WinRM (5985, with TLS 5986)?".to_owned(),
            ),
            Self::Status(407) => unreachable(
                "HTTP 407: a proxy is in the way and asks for a login; hosts are reached directly".to_owned(),
            ),
            Self::Status(503) => unreachable("HTTP 503: it is busy, or WinRM's limits are used up".to_owned()),
            Self::Status(status) => {
                unreachable(format!("it answered HTTP {status}, which WinRM does not; is a proxy in the way?"))
            }
            Self::Ntlm(ntlm::Error::NotAuthentic { detail }) => unreachable(format!(
                "its answer is not authentic ({detail}): it was changed on its way, or is of another session"
            )),
            Self::Ntlm(error) => unreachable(format!("the login cannot go on: {error}")),
            Self::Fault(fault) if fault.is_access_denied() => refused(denied(&fault.to_string())),
            Self::Fault(fault) if fault.is_timed_out() => {
                unreachable(format!("it did not finish in the time it was given: {fault}"))
            }
            Self::Fault(fault) if fault.is_unknown_class() => refused(format!(
                "it has no such WMI namespace or class ({fault}); is the role installed there?"
            )),
            Self::Fault(fault) => refused(fault.to_string()),
            Self::Malformed(detail) => unreachable(detail),
            Self::Unprotected => unreachable(
                "its answer is not encrypted as the session asks for: somebody is in between, or a proxy".to_owned(),
            ),
            Self::Denied(detail) => refused(denied(&detail)),
            Self::Refused(detail) | Self::Here(detail) => refused(detail),
            Self::Busy(waiting) => Error::Busy { by: by.to_owned(), waiting },
        }
    }
}

fn denied(detail: &str) -> String {
    format!(
        "the login may not do this ({detail}). It needs the groups Hyper-V Administrators and Remote Management Users of \
         this host (for cluster mode: full control of the cluster); a local administrator other than Administrator also \
         LocalAccountTokenFilterPolicy=1"
    )
}

fn login(offered: &[String]) -> String {
    if offered.is_empty() {
        return "wrong user name or password, or the account is locked or may not log in over the \
                network"
            .to_owned();
    }
    format!(
        "wrong user name or password, or the way to log in (auth) is not enabled there; it offers {}",
        offered.join(", ")
    )
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn http(error: https::Error, by: &str, scheme: Scheme) -> Error {
    let hint = match (&error, scheme) {
        (https::Error::Tls { .. }, Scheme::Https) => "; WinRM has TLS on port 5986, not on 5985",
        (https::Error::Malformed { .. } | https::Error::Closed { .. }, Scheme::Http) => {
            "; if this is the port with TLS (5986), ssl is to be set"
        }
        _ => "",
    };
    match error {
        https::Error::DeadlinePassed { doing, waited, .. } => Error::DeadlinePassed {
            by: by.to_owned(),
            doing: doing.to_owned(),
            waited,
            acted: false,
        },
        other => Error::Unreachable {
            by: by.to_owned(),
            detail: format!("{other}{hint}"),
        },
    }
}
