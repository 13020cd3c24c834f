//! A response out of bytes: no socket, no clock.
//!
//! ```text
//! Head ─ 1xx → Head          Body ─ its last byte ──────────→ Complete
//!   ├─ status, lines → Body    ├─ end of the connection ─→ Complete (a body without a length), else refused
//!   ├─ no body → Complete      └─ more than the limit ───→ refused
//!   └─ no HTTP → refused
//! ```
//!
//! Stricter than the state machine below it: what it would pass on undecoded (a compressed body, other transfer codings), or
//! cut at a place nobody confirmed, is refused.

use ureq_proto::client::state::{RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult};
use ureq_proto::{BodyMode, http};

use crate::outgoing::compose;
use crate::text::quoted;
use crate::{Method, Request, Response};

/// The most that the heads of one answer may take together, interim responses included.
pub(crate) const HEAD_LIMIT: usize = 64 << 10;
/// The longest line between chunks: a size, a trailer.
const LINE_LIMIT: usize = 16 << 10;

/// A response that is being received.
pub(crate) struct Incoming {
    state: State,
    /// What has come and is not used yet.
    pending: Vec<u8>,
    heads: usize,
    limit: usize,
    response: Response,
    reusable: bool,
    begun: bool,
}

enum State {
    Head(Call<RecvResponse>),
    Body(Call<RecvBody>),
    Complete,
    Refused,
}

impl Incoming {
    /// The response to the request that `call` has sent; at most `limit` bytes of body are taken.
    pub(crate) fn new(call: Call<RecvResponse>, limit: usize) -> Self {
        Self {
            state: State::Head(call),
            pending: Vec::new(),
            heads: 0,
            limit,
            response: Response::new(0, &[], []),
            reusable: false,
            begun: false,
        }
    }

    /// A response to a GET from all the bytes of a connection.
    pub(crate) fn whole(bytes: &[u8], limit: usize) -> Result<Response, String> {
        let request = Request {
            method: Method::Get,
            target: "/",
            headers: &[],
            body: b"",
        };
        let outgoing = compose(&request, "").map_err(|error| error.to_string())?;
        let mut incoming = Self::new(outgoing.call, limit);
        let complete = incoming.take(bytes)? || incoming.end();
        let response = complete.then_some(incoming).and_then(Self::response);
        response.ok_or_else(|| "it has no end".to_owned())
    }

    /// Whether a byte of it has come.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the connection can be used for another request after it: both sides know where it ends, and nothing follows.
    pub(crate) const fn is_reusable(&self) -> bool {
        self.reusable && self.pending.is_empty()
    }

    /// Takes bytes as they come; true once the response is complete.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.begun |= !bytes.is_empty();
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        let outcome = self.advance(&mut used);
        self.pending.drain(..used);
        if outcome.is_err() {
            self.state = State::Refused;
        }
        outcome
    }

    /// The other side will send nothing more. True if the response is complete by that.
    pub(crate) fn end(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Body(call) if call.body_mode() == BodyMode::CloseDelimited => {
                self.state = State::Complete;
                true
            }
            State::Complete => {
                self.state = State::Complete;
                true
            }
            _ => false,
        }
    }

    /// Whether what came instead of a response is a TLS record: alert or handshake, of a version 3.x (RFC 8446 section 5.1).
    pub(crate) fn is_tls(&self) -> bool {
        self.response.status == 0 && matches!(*self.pending, [0x15 | 0x16, 3, ..])
    }

    /// Whether it is the answer by which common servers tell that they want TLS on this port: Apache, nginx, Go, Tomcat and
    /// Jetty, in this order.
    pub(crate) fn demands_tls(&self) -> bool {
        const SAID: [&[u8]; 4] = [
            b"speaking plain HTTP to an SSL-enabled server port",
            b"plain HTTP request was sent to HTTPS port",
            b"sent an HTTP request to an HTTPS server",
            b"requires TLS",
        ];
        let body = &self.response.body[..self.response.body.len().min(4096)];
        self.response.status == 400
            && SAID
                .iter()
                .any(|said| body.windows(said.len()).any(|window| window == *said))
    }

    /// The response, once it is complete.
    pub(crate) fn response(self) -> Option<Response> {
        matches!(self.state, State::Complete).then_some(self.response)
    }

    /// The status, once it is known.
    pub(crate) fn status(&self) -> Option<u16> {
        (self.response.status != 0).then_some(self.response.status)
    }

    fn advance(&mut self, used: &mut usize) -> Result<bool, String> {
        loop {
            match std::mem::replace(&mut self.state, State::Refused) {
                State::Head(call) => {
                    if !self.head(call, used)? {
                        return Ok(false);
                    }
                }
                State::Body(call) => return self.body(call, used),
                State::Complete => {
                    self.state = State::Complete;
                    return Ok(true);
                }
                State::Refused => return Err("it was refused before".to_owned()),
            }
        }
    }

    /// Reads one head; true if it was a whole one, the final one or an interim one.
    fn head(&mut self, mut call: Call<RecvResponse>, used: &mut usize) -> Result<bool, String> {
        let input = &self.pending[*used..];
        let (count, response) = match interim(input) {
            Some(length) => (length, None),
            None => call
                .try_response(input, false)
                .map_err(|error| explain(&error, input))?,
        };
        let length = if count == 0 { input.len() } else { count };
        if self.heads + length > HEAD_LIMIT {
            return Err(format!("its head is longer than {HEAD_LIMIT} bytes"));
        }
        self.heads += count;
        *used += count;
        let Some(response) = response else {
            self.state = State::Head(call);
            return Ok(count > 0);
        };
        check(&response)?;
        self.response = converted(&response);
        self.state = match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => {
                match call.body_mode() {
                    BodyMode::LengthDelimited(length) => self.expect(length)?,
                    BodyMode::NoBody | BodyMode::Chunked | BodyMode::CloseDelimited => {}
                }
                State::Body(call)
            }
            Some(RecvResponseResult::Cleanup(call)) => {
                self.reusable = !call.must_close_connection();
                State::Complete
            }
            Some(RecvResponseResult::Redirect(call)) => {
                self.reusable = !call.must_close_connection();
                State::Complete
            }
            None => return Err("its head has no end".to_owned()),
        };
        Ok(true)
    }

    /// A body of this length is announced.
    fn expect(&mut self, length: u64) -> Result<(), String> {
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => {
                // What is announced may never come: memory is taken as it does.
                self.response.body.reserve(length.min(1 << 20));
                Ok(())
            }
            _ => Err(self.too_large()),
        }
    }

    fn body(&mut self, mut call: Call<RecvBody>, used: &mut usize) -> Result<bool, String> {
        loop {
            let input = &self.pending[*used..];
            let body = &mut self.response.body;
            let before = body.len();
            body.resize(before + input.len(), 0);
            let read = call.read(input, &mut body[before..]);
            let (count, got) = read.map_err(|error| error.to_string())?;
            body.truncate(before + got);
            *used += count;
            if self.response.body.len() > self.limit {
                return Err(self.too_large());
            }
            let ended = call.can_proceed() && call.body_mode() != BodyMode::CloseDelimited;
            if ended {
                self.reusable = match call.proceed() {
                    Some(RecvBodyResult::Cleanup(call)) => !call.must_close_connection(),
                    Some(RecvBodyResult::Redirect(call)) => !call.must_close_connection(),
                    None => false,
                };
                self.state = State::Complete;
                return Ok(true);
            }
            if count == 0 {
                break;
            }
        }
        if self.pending.len() - *used > LINE_LIMIT {
            return Err(format!(
                "a line between its chunks is longer than {LINE_LIMIT} bytes"
            ));
        }
        self.state = State::Body(call);
        Ok(false)
    }

    fn too_large(&self) -> String {
        format!("its body is larger than {} bytes", self.limit)
    }
}

/// The length of an interim response (RFC 9110 section 15.2) that stands first, 0 while it is not whole. They mean nothing here, and
/// the state machine takes no header lines in some, which old servers send.
fn interim(input: &[u8]) -> Option<usize> {
    let [version @ .., b' ', b'1', second, third] = input.get(..12)? else {
        return None;
    };
    let numbers = [second, third].iter().all(|digit| digit.is_ascii_digit());
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
        || !numbers
        || [second, third] == [&b'0', &b'1']
    {
        return None;
    }
    let end = input.windows(4).position(|four| four == b"\r\n\r\n");
    Some(end.map_or(0, |end| end + 4))
}

/// What the state machine would let through and nobody could use.
fn check(response: &http::Response<()>) -> Result<(), String> {
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        return Err("it changes the protocol, which nobody asked for".to_owned());
    }
    let codings = |name, harmless: [&str; 2]| {
        let values = response.headers().get_all(name).iter();
        let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        codings
            .find(|coding| {
                let coding = coding.trim_ascii();
                !coding.is_empty()
                    && !harmless
                        .iter()
                        .any(|known| coding.eq_ignore_ascii_case(known.as_bytes()))
            })
            .map(quoted)
    };
    if let Some(coding) = codings(http::header::TRANSFER_ENCODING, ["chunked", "identity"]) {
        return Err(format!(
            "it has the transfer coding {coding}, which nobody asked for"
        ));
    }
    if let Some(coding) = codings(http::header::CONTENT_ENCODING, ["identity", ""]) {
        return Err(format!(
            "its body has the coding {coding}, which nobody asked for"
        ));
    }
    let chunked = response
        .headers()
        .contains_key(http::header::TRANSFER_ENCODING);
    if chunked && response.version() == http::Version::HTTP_10 {
        // Neither side could know where it ends (RFC 9112 section 6.1).
        return Err("it is HTTP/1.0 with a transfer coding".to_owned());
    }
    Ok(())
}

fn converted(response: &http::Response<()>) -> Response {
    let lines = response.headers().iter();
    let lines = lines.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Response {
        status: response.status().as_u16(),
        headers: lines.collect(),
        body: Vec::new(),
    }
}

/// Why bytes are no head of a response; what they are instead, where it can be told.
fn explain(error: &ureq_proto::Error, input: &[u8]) -> String {
    if input.starts_with(b"HTTP/") {
        error.to_string()
    } else {
        format!("it is no HTTP: {}", quoted(input))
    }
}

#[cfg(test)]
mod tests;
