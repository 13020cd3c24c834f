//! A connection that is opened when needed.

use deadline::Deadline;

use crate::{Connection, Endpoint, Error, Interrupt, Method, Request, Response};

/// Sends requests over one connection, which it opens at first use and opens anew when it was closed between two requests.
///
/// No request is ever sent twice, unless it is a GET and the connection had been used before and ended before a byte of the
/// response.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    interrupt: Option<Interrupt>,
    limit: usize,
    connection: Option<Connection>,
}

impl Client {
    /// Contacts nobody yet.
    #[must_use]
    pub const fn new(endpoint: Endpoint, interrupt: Option<Interrupt>) -> Self {
        Self {
            endpoint,
            interrupt,
            limit: Connection::LIMIT,
            connection: None,
        }
    }

    /// The server.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sets the largest body of a response that is taken, in bytes.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
        if let Some(connection) = &mut self.connection {
            connection.set_limit(bytes);
        }
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// As [`crate::Connection::open`] and [`crate::Connection::send`].
    pub fn send(&mut self, request: Request<'_>, deadline: Deadline) -> Result<Response, Error> {
        if let Some(mut used) = self.connection.take_if(Connection::is_usable) {
            match used.send(request, deadline) {
                // The server closed an idle connection while the request was on its way. To read once more changes nothing.
                Err(Error::Closed { .. })
                    if request.method == Method::Get && !used.was_answered() => {}
                outcome => return self.keep(used, outcome),
            }
        }
        self.close();
        let mut fresh = Connection::open(&self.endpoint, self.interrupt.clone(), deadline)?;
        fresh.set_limit(self.limit);
        let outcome = fresh.send(request, deadline);
        self.keep(fresh, outcome)
    }

    /// Closes the connection, if there is one; the next request opens another.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// Goes on without interrupt.
    pub fn ignore_interrupt(&mut self) {
        self.interrupt = None;
        if let Some(connection) = &mut self.connection {
            connection.ignore_interrupt();
        }
    }

    /// The certificate (DER) of the server that answered last, if the connection is still there and encrypted.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.as_ref()?.peer_certificate()
    }

    /// Keeps a connection that can be used again.
    fn keep(
        &mut self,
        connection: Connection,
        outcome: Result<Response, Error>,
    ) -> Result<Response, Error> {
        self.connection = outcome.is_ok().then_some(connection);
        outcome
    }
}
