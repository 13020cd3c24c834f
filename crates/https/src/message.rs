//! Requests and responses.

use std::fmt;

use crate::Connection;
use crate::incoming::Incoming;

/// Request methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Acts.
    Post,
    /// Replaces.
    Put,
    /// Changes a part.
    Patch,
    /// Removes.
    Delete,
}

/// One request. `Host`, `Content-Length` and whatever else decides how messages follow one another are the connection's matter,
/// and are refused among [`Request::headers`].
///
/// Its `Debug` form has neither header values nor body: both may hold passwords.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// To what: path and query, percent-encoded.
    pub target: &'a str,
    /// Further header lines; values are never logged.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// One response, read to its end. Its `Debug` form has neither header values nor body: both may hold session tokens.
#[derive(Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// A response as a server might have sent it: for programs that stand in for one.
    #[must_use]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            status,
            headers: headers.collect(),
            body: body.into(),
        }
    }

    /// Reads a response to a GET from all the bytes of its connection: a recorded one.
    ///
    /// # Errors
    /// What is wrong with it, or that it is not whole.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        Incoming::whole(bytes, Connection::LIMIT)
    }

    /// The values of all header lines of this name, in the order they came; names are compared without regard to case.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.headers.iter();
        lines
            .filter(move |(line, _)| line.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first of them.
    #[must_use]
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_forms_hold_no_secrets() {
        let request = Request {
            method: Method::Post,
            target: "/login",
            headers: &[("authorization", "hunter2")],
            body: b"hunter2",
        };
        let response = Response::new(200, &[("set-cookie", "hunter2")], "hunter2");
        let shown = format!("{request:?} {response:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("/login") && shown.contains("set-cookie"),
            "{shown}"
        );
    }
}
