//! One connection to a host, logged in.
//!
//! NTLM authenticates the connection, not the request: both legs of the login and all that follows go over the same one, and
//! messages that are encrypted are numbered.
//!
//! ```text
//! POST, no body, type 1 ──▶ 401, type 2 ──▶ POST, type 3, and the first request ──▶ its reply … requests without login
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use deadline::Deadline;
use https::{Connection, Endpoint, Interrupt, Method, Request, Response, Scheme};
use ntlm::{Client, Salt, Session};
use wsman::encrypted;
use zeroize::Zeroizing;

use super::binding;
use super::settings::Login;
use super::trouble::Trouble;

/// Where WS-Management listens.
pub(super) const PATH: &str = "/wsman";
/// The most a reply may have, HTTP's own framing not counted.
const LIMIT: usize = 8 << 20;

/// A connection that is logged in, or will be by its first request.
#[derive(Debug)]
pub(super) struct Channel {
    connection: Connection,
    plain: bool,
    state: State,
    /// Whether a request was answered on it.
    used: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing was said yet.
    New(Login),
    /// Every request carries this line.
    Header(Zeroizing<String>),
    /// The connection is authenticated; over plain HTTP with the keys to encrypt.
    Session(Box<Session>),
}

/// What a request was answered with.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status of HTTP.
    pub(super) status: u16,
    /// The message, decrypted.
    pub(super) body: Vec<u8>,
}

impl Channel {
    /// Connects.
    pub(super) fn open(
        endpoint: &Endpoint,
        login: Login,
        interrupt: Option<Interrupt>,
        deadline: Deadline,
    ) -> Result<Self, Trouble> {
        let identity = match &login {
            Login::Certificate(identity) => Some(identity),
            _ => None,
        };
        let mut connection = Connection::open_as(endpoint, identity, interrupt, deadline)?;
        connection.set_limit(LIMIT);
        let plain = endpoint.scheme == Scheme::Http;
        Ok(Self {
            connection,
            plain,
            state: State::New(login),
            used: false,
        })
    }

    /// Whether a request was answered on it already: the server may have closed it since, which says nothing.
    pub(super) const fn was_used(&self) -> bool {
        self.used
    }

    /// Whether another request can go over it.
    pub(super) fn is_usable(&mut self) -> bool {
        self.connection.is_usable()
    }

    /// Sends a request and reads the answer.
    pub(super) fn exchange(
        &mut self,
        message: &str,
        deadline: Deadline,
    ) -> Result<Answer, Trouble> {
        if let State::New(login) = &self.state {
            let login = login.clone();
            return self.log_in(&login, message, deadline);
        }
        let answer = self.send(message, None, deadline)?;
        self.used = true;
        Ok(answer)
    }

    fn log_in(
        &mut self,
        login: &Login,
        message: &str,
        deadline: Deadline,
    ) -> Result<Answer, Trouble> {
        let answer = match login {
            Login::Basic { user, password } => {
                self.state = State::Header(crate::web::basic(user, password));
                self.send(message, None, deadline)
            }
            Login::Certificate(_) => {
                const MUTUAL: &str =
                    "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual";
                self.state = State::Header(Zeroizing::new(MUTUAL.to_owned()));
                self.send(message, None, deadline)
            }
            Login::Negotiate(credentials) => self.negotiate(credentials, message, deadline),
        }?;
        self.used = true;
        Ok(answer)
    }

    fn negotiate(
        &mut self,
        credentials: &ntlm::Credentials,
        message: &str,
        deadline: Deadline,
    ) -> Result<Answer, Trouble> {
        let client = Client::new();
        let first = format!("Negotiate {}", BASE64.encode(client.negotiate()));
        let response = self.post(Some(&first), encrypted::ORIGINAL, &[], deadline)?;
        let challenge = challenge(&response)?;
        let bound = self.connection.peer_certificate().map(binding::to);
        let (proof, session) = client.authenticate(&challenge, credentials, bound, &salt()?)?;
        self.state = State::Session(Box::new(session));
        let proof = Zeroizing::new(format!("Negotiate {}", BASE64.encode(proof)));
        self.send(message, Some(&proof), deadline)
    }

    /// Sends a message as the state of the connection asks for.
    fn send(
        &mut self,
        message: &str,
        proof: Option<&str>,
        deadline: Deadline,
    ) -> Result<Answer, Trouble> {
        let plain = self.plain;
        let (body, kind) = match &mut self.state {
            State::Session(session) if plain => {
                let sealed = session.seal(message.as_bytes())?;
                (
                    encrypted::encode(&sealed.signature, &sealed.cipher),
                    encrypted::CONTENT_TYPE,
                )
            }
            _ => (message.as_bytes().to_vec(), encrypted::ORIGINAL),
        };
        let header = match &self.state {
            State::Header(line) => Some(line.clone()),
            _ => None,
        };
        let authorization = proof.or_else(|| header.as_deref().map(String::as_str));
        let response = self.post(authorization, kind, &body, deadline)?;
        if response.status == 401 {
            return Err(Trouble::login(&response, self.used));
        }
        self.receive(response)
    }

    fn receive(&mut self, response: Response) -> Result<Answer, Trouble> {
        let status = response.status;
        let State::Session(session) = &mut self.state else {
            return Ok(Answer {
                status,
                body: response.body,
            });
        };
        if !self.plain {
            return Ok(Answer {
                status,
                body: response.body,
            });
        }
        let kind = response.header("Content-Type").unwrap_or_default();
        if encrypted::is_encrypted(kind) {
            let part = encrypted::decode(kind, &response.body)?;
            let body = session.unseal(&part.signature, part.cipher)?;
            return Ok(Answer { status, body });
        }
        if status == 200 {
            // Whoever sits in between can say anything without the keys.
            return Err(Trouble::Unprotected);
        }
        Ok(Answer {
            status,
            body: Vec::new(),
        })
    }

    fn post(
        &mut self,
        authorization: Option<&str>,
        kind: &str,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Response, Trouble> {
        let mut headers = vec![("Content-Type", kind), ("User-Agent", "picket")];
        if let Some(line) = authorization {
            headers.push(("Authorization", line));
        }
        let request = Request {
            method: Method::Post,
            target: PATH,
            headers: &headers,
            body,
        };
        Ok(self.connection.send(request, deadline)?)
    }
}

/// The server's message within the answer to the first one.
fn challenge(response: &Response) -> Result<Vec<u8>, Trouble> {
    if response.status != 401 {
        return Err(Trouble::Status(response.status));
    }
    let token = response.headers("WWW-Authenticate").find_map(|line| {
        let (scheme, token) = line.trim().split_once(' ')?;
        let ours = scheme.eq_ignore_ascii_case("Negotiate") && !token.trim().is_empty();
        ours.then(|| token.trim().to_owned())
    });
    let token = token.ok_or_else(|| Trouble::login(response, false))?;
    BASE64
        .decode(token)
        .map_err(|_| Trouble::Malformed("the challenge of its login is not base64".to_owned()))
}

fn salt() -> Result<Salt, Trouble> {
    let random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).map_err(|error| Trouble::Here(format!("no random numbers: {error}")))
    };
    let (mut challenge, mut session_key) = ([0; 8], Zeroizing::new([0; 16]));
    random(&mut challenge)?;
    random(session_key.as_mut_slice())?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Salt {
        challenge,
        session_key,
        time: Salt::time(now),
    })
}
