//! One connection.

use deadline::Deadline;

use crate::{Endpoint, Error, Interrupt, Request, Response};

/// One TCP or TLS connection, kept open from request to request. It never opens another by itself.
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// The largest response taken, in bytes, unless set otherwise.
    pub const LIMIT: usize = 64 << 20;

    /// Connects: name look-up, TCP (every address in turn), TLS.
    ///
    /// # Errors
    /// When no trusted connection exists by the deadline.
    pub fn open(_endpoint: &Endpoint, _interrupt: Option<Interrupt>, _deadline: Deadline) -> Result<Self, Error> {
        todo!()
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// When there is no whole response; the connection is unusable then.
    pub fn send(&mut self, _request: Request<'_>, _deadline: Deadline) -> Result<Response, Error> {
        todo!()
    }

    /// Whether another request can go over it, as far as known without asking: false after an error, after `Connection: close`,
    /// and when the server has closed it meanwhile.
    pub fn is_usable(&mut self) -> bool {
        todo!()
    }

    /// Goes on without interrupt: for the last words of somebody who was interrupted.
    pub fn ignore_interrupt(&mut self) {
        todo!()
    }

    /// The server's certificate (DER), when encrypted.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        todo!()
    }
}
