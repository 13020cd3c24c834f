//! One connection.

use std::fmt;
use std::time::Instant;

use deadline::Deadline;

use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, compose};
use crate::transport::{Received, Transport, Trouble};
use crate::wait::Stop;
use crate::{Endpoint, Error, Interrupt, Request, Response, Scheme, dial, tls};

/// One TCP or TLS connection, kept open from request to request. It never opens another by itself, never follows a redirect
/// and knows no proxies.
pub struct Connection {
    transport: Transport,
    endpoint: Endpoint,
    peer: String,
    authority: String,
    limit: usize,
    usable: bool,
    /// Why the server does not go on, if it said so between two requests.
    farewell: Option<String>,
    answered: bool,
}

const HANDSHAKE: &str = "agreeing on TLS";
const SENDING: &str = "sending the request";
const WAITING: &str = "waiting for the answer";
const RECEIVING: &str = "receiving the answer";

impl Connection {
    /// The largest response taken, in bytes, unless set otherwise.
    pub const LIMIT: usize = 64 << 20;

    /// Connects: name look-up, TCP (every address in turn), TLS.
    ///
    /// # Errors
    /// When no trusted connection exists by the deadline.
    pub fn open(
        endpoint: &Endpoint,
        interrupt: Option<Interrupt>,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        // A trust file that cannot be read is told before anybody is contacted.
        let client = match endpoint.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(tls::client(endpoint)?),
        };
        let socket = dial::dial(endpoint, interrupt.as_ref(), deadline)?;
        let mut connection = Self {
            transport: Transport::new(socket, client, interrupt),
            endpoint: endpoint.clone(),
            peer: endpoint.peer(),
            authority: endpoint.authority(),
            limit: Self::LIMIT,
            usable: true,
            farewell: None,
            answered: false,
        };
        let begun = Instant::now();
        match connection.transport.handshake(deadline) {
            Ok(()) => Ok(connection),
            Err(trouble) => Err(connection.untrusted(&trouble, begun)),
        }
    }

    /// Sets the largest body of a response that is taken, in bytes.
    pub const fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// When there is no whole response; the connection is unusable then.
    pub fn send(&mut self, request: Request<'_>, deadline: Deadline) -> Result<Response, Error> {
        let begun = Instant::now();
        self.answered = false;
        let outgoing = compose(&request, &self.authority)?;
        if !self.is_usable() {
            let peer = self.peer.clone();
            return Err(match self.farewell.clone() {
                Some(detail) => Error::Tls { peer, detail },
                None => Error::Closed {
                    peer,
                    when: "before this request",
                    sent: false,
                },
            });
        }
        // Usable again only when both sides agree on where this exchange ends.
        self.usable = false;
        let exchange = Exchange::new(self, outgoing, deadline, begun);
        let (response, reusable) = exchange.run()?;
        self.usable = reusable;
        Ok(response)
    }

    /// Whether another request can go over it, as far as known without asking: false after an error, after `Connection: close`,
    /// and when the server has closed it, or said something unasked, meanwhile.
    pub fn is_usable(&mut self) -> bool {
        if self.usable
            && let Err(said) = self.transport.be_quiet()
        {
            self.usable = false;
            self.farewell = said.map(|error| self.explained(&error));
        }
        self.usable
    }

    /// Goes on without interrupt: for the last words of somebody who was interrupted.
    pub fn ignore_interrupt(&mut self) {
        self.transport.ignore_interrupt();
    }

    /// The server's certificate (DER), when encrypted.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.transport.peer_certificate()
    }

    /// Whether a byte of an answer to the last request has come.
    pub(crate) const fn was_answered(&self) -> bool {
        self.answered
    }

    fn explained(&self, error: &rustls::Error) -> String {
        tls::explain(error, &self.endpoint, self.transport.first())
    }

    /// Why there is no connection.
    fn untrusted(&self, trouble: &Trouble, begun: Instant) -> Error {
        let peer = self.peer.clone();
        match trouble {
            Trouble::Stop(stop) => stopped(*stop, peer, HANDSHAKE, begun, false),
            Trouble::Tls(error) => Error::Tls {
                peer,
                detail: self.explained(error),
            },
            Trouble::Gone(error) => Error::Tls {
                peer,
                detail: format!(
                    "it closed the connection when TLS was offered ({error}): the port is not for TLS, or TLS 1.2 and 1.3 \
                     are switched off there"
                ),
            },
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("usable", &self.usable)
            .finish_non_exhaustive()
    }
}

fn stopped(stop: Stop, peer: String, doing: &'static str, begun: Instant, sent: bool) -> Error {
    match stop {
        Stop::Deadline => Error::DeadlinePassed {
            peer,
            doing,
            waited: begun.elapsed(),
            sent,
        },
        Stop::Interrupted => Error::Interrupted { doing, sent },
    }
}

/// One request and its response.
struct Exchange<'a> {
    connection: &'a mut Connection,
    outgoing: zeroize::Zeroizing<Vec<u8>>,
    /// How much of the request was handed over.
    given: usize,
    /// Nothing more can be sent; what was answered before that may still be read.
    deaf: bool,
    incoming: Incoming,
    deadline: Deadline,
    begun: Instant,
    /// Bytes that had left the socket before.
    out: u64,
}

impl<'a> Exchange<'a> {
    fn new(
        connection: &'a mut Connection,
        outgoing: Outgoing,
        deadline: Deadline,
        begun: Instant,
    ) -> Self {
        Self {
            incoming: Incoming::new(outgoing.call, connection.limit),
            out: connection.transport.out(),
            connection,
            outgoing: outgoing.bytes,
            given: 0,
            deaf: false,
            deadline,
            begun,
        }
    }

    /// The response, and whether the connection can be used again.
    fn run(mut self) -> Result<(Response, bool), Error> {
        let mut received = Vec::new();
        loop {
            let transport = &self.connection.transport;
            if let Err(stop) = transport.check(self.deadline) {
                return Err(self.stopped(stop));
            }
            self.give()?;
            if self.receive(&mut received)? {
                return self.finish();
            }
            if let Err(stop) = self.pause() {
                return Err(self.stopped(stop));
            }
        }
    }

    /// Sends what can be sent without waiting.
    fn give(&mut self) -> Result<(), Error> {
        while !self.is_given() {
            let rest = &self.outgoing[self.given..];
            let (before, out) = (self.given, self.connection.transport.out());
            match self.connection.transport.write(rest) {
                Ok(count) => self.given += count,
                // A server may answer and close without having read the request to its end.
                Err(Trouble::Gone(_)) => self.deaf = true,
                Err(Trouble::Tls(error)) => {
                    return Err(self.malformed(self.connection.explained(&error)));
                }
                Err(Trouble::Stop(stop)) => return Err(self.stopped(stop)),
            }
            if self.given == before && self.connection.transport.out() == out {
                break;
            }
        }
        Ok(())
    }

    /// Whether the socket has taken all of the request that it ever will.
    fn is_given(&self) -> bool {
        self.deaf || self.is_whole()
    }

    /// Whether the socket has taken the whole request.
    fn is_whole(&self) -> bool {
        self.given == self.outgoing.len() && !self.connection.transport.holds_back()
    }

    /// Reads what is there; true once the response is complete.
    fn receive(&mut self, received: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            // Whoever sends without end must not keep this loop busy.
            if let Err(stop) = self.connection.transport.check(self.deadline) {
                return Err(self.stopped(stop));
            }
            received.clear();
            match self.connection.transport.read(received) {
                Ok(Received::Nothing) => return Ok(false),
                Ok(Received::Bytes) => {
                    self.connection.answered |= !received.is_empty();
                    match self.incoming.take(received) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(_) if self.incoming.is_tls() => return Err(self.encrypted()),
                        Err(detail) => return Err(self.malformed(detail)),
                    }
                }
                Ok(Received::End) => {
                    return if self.incoming.end() {
                        Ok(true)
                    } else {
                        Err(self.closed())
                    };
                }
                Err(Trouble::Gone(_)) => return Err(self.closed()),
                Err(Trouble::Tls(error)) => {
                    return Err(self.malformed(self.connection.explained(&error)));
                }
                Err(Trouble::Stop(stop)) => return Err(self.stopped(stop)),
            }
        }
    }

    fn pause(&self) -> Result<(), Stop> {
        let more = !self.is_given();
        self.connection.transport.wait(more, self.deadline)
    }

    fn finish(self) -> Result<(Response, bool), Error> {
        let whole = self.is_whole();
        let status = self.incoming.status().unwrap_or_default();
        if !whole && (200..300).contains(&status) {
            return Err(self.malformed(format!(
                "it answers {status} to a request that it has not received to its end"
            )));
        }
        if self.incoming.demands_tls() && !self.connection.transport.is_encrypted() {
            return Err(self.encrypted());
        }
        let reusable = whole && self.incoming.is_reusable();
        let peer = self.connection.peer.clone();
        let response = self.incoming.response();
        response
            .map(|response| (response, reusable))
            .ok_or_else(|| Error::Malformed {
                peer,
                detail: "it has no end".to_owned(),
            })
    }

    /// The port is one for TLS: nobody there has read the request.
    fn encrypted(&self) -> Error {
        Error::Tls {
            peer: self.connection.peer.clone(),
            detail: "this port takes encrypted connections only: use TLS (ssl)".to_owned(),
        }
    }

    fn is_sent(&self) -> bool {
        self.connection.transport.out() != self.out
    }

    fn doing(&self) -> &'static str {
        if self.incoming.has_begun() {
            RECEIVING
        } else if !self.is_whole() {
            SENDING
        } else {
            WAITING
        }
    }

    fn stopped(&self, stop: Stop) -> Error {
        let peer = self.connection.peer.clone();
        stopped(stop, peer, self.doing(), self.begun, self.is_sent())
    }

    fn malformed(&self, detail: String) -> Error {
        Error::Malformed {
            peer: self.connection.peer.clone(),
            detail,
        }
    }

    fn closed(&self) -> Error {
        let when = if self.incoming.has_begun() {
            "in the middle of its answer"
        } else if !self.is_whole() {
            "before it had the whole request"
        } else {
            "without an answer"
        };
        Error::Closed {
            peer: self.connection.peer.clone(),
            when,
            sent: self.is_sent(),
        }
    }
}
