//! A connection that is opened when needed.

use deadline::Deadline;

use crate::{Endpoint, Error, Interrupt, Request, Response};

/// Sends requests over one connection, which it opens at first use and opens anew when it was closed between two requests.
///
/// No request is ever sent twice, unless it is a GET and the connection had been used before and ended before a byte of the
/// response.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Contacts nobody yet.
    #[must_use]
    pub fn new(_endpoint: Endpoint, _interrupt: Option<Interrupt>) -> Self {
        todo!()
    }

    /// The server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        todo!()
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// As [`crate::Connection::open`] and [`crate::Connection::send`].
    pub fn send(&mut self, _request: Request<'_>, _deadline: Deadline) -> Result<Response, Error> {
        todo!()
    }

    /// Goes on without interrupt.
    pub fn ignore_interrupt(&mut self) {
        todo!()
    }
}
