//! Who asks, and the keys of a connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ntlm::{Acceptor, Binding, Identity, Names, Session};
use wsman::encrypted;
use zeroize::Zeroizing;

use super::spnego;
use crate::http::{Request, Response};

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Whether it sees guests and the host: Hyper-V Administrators.
    pub sees: bool,
    /// Whether it may read the virtualization namespaces at all.
    pub reads: bool,
    /// Whether it may call methods.
    pub calls: bool,
    /// Whether it may read and change the cluster.
    pub cluster: bool,
    /// Whether it may see and end processes.
    pub processes: bool,
}

impl Rights {
    /// All of them.
    pub const ALL: Self = Self {
        sees: true,
        reads: true,
        calls: true,
        cluster: true,
        processes: true,
    };

    /// All but what these words take away: `blind`, `closed`, `reader`, `nocluster`, `noprocess`.
    #[must_use]
    pub fn without(words: &str) -> Self {
        let has = |word: &str| words.split(',').any(|known| known == word);
        Self {
            sees: !has("blind"),
            reads: !has("closed"),
            calls: !has("reader"),
            cluster: !has("nocluster"),
            processes: !has("noprocess"),
        }
    }

    pub(super) fn may_read(self, namespace: &str) -> bool {
        match namespace {
            "root/mscluster" => self.cluster,
            "root/cimv2" => self.processes,
            _ => self.reads,
        }
    }
}

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its domain, or the host's name for a local one.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// What it may do.
    pub rights: Rights,
}

/// What a host takes.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The accounts.
    pub users: Vec<User>,
    /// Whether Basic is offered.
    pub basic: bool,
    /// Whether Negotiate is offered.
    pub negotiate: bool,
    /// Whether plain messages are taken over plain HTTP (`AllowUnencrypted`).
    pub unencrypted: bool,
    /// Whether NTLM must be bound to its TLS connection.
    pub strict_binding: bool,
    /// Whether the client's certificate is an account.
    pub certificates: bool,
}

/// One connection's login.
pub(super) struct Login<'a> {
    policy: &'a Policy,
    names: Names,
    /// The binding of the connection; none without TLS.
    bound: Option<ntlm::ChannelBinding>,
    state: State,
}

enum State {
    New,
    Challenged {
        acceptor: Acceptor,
        mechanisms: Option<Vec<u8>>,
    },
    In {
        session: Box<Session>,
        rights: Rights,
    },
}

/// A request that came from somebody known.
pub(super) struct Admitted {
    pub(super) rights: Rights,
    /// The message, decrypted.
    pub(super) message: Vec<u8>,
    /// Whether the answer is to be encrypted.
    encrypt: bool,
    /// What is to be said of the login in the answer.
    token: Option<Vec<u8>>,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        names: Names,
        bound: Option<ntlm::ChannelBinding>,
    ) -> Self {
        Self {
            policy,
            names,
            bound,
            state: State::New,
        }
    }

    /// Forgets whoever was in.
    pub(super) fn forget(&mut self) {
        self.state = State::New;
    }

    /// Who sent this, and what; or what to answer instead.
    pub(super) fn admit(&mut self, request: &Request) -> Result<Admitted, Response> {
        let Some(line) = request.header("authorization").map(str::to_owned) else {
            return self.message(request, None);
        };
        let (scheme, token) = line.split_once(' ').unwrap_or((&line, ""));
        match scheme.to_ascii_lowercase().as_str() {
            "basic" if self.policy.basic => self.basic(request, token),
            "negotiate" | "ntlm" if self.policy.negotiate => {
                let token = BASE64
                    .decode(token.trim())
                    .map_err(|_| Response::empty(400))?;
                self.negotiate(request, scheme, &token)
            }
            "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
                if self.policy.certificates && self.bound.is_some() =>
            {
                Ok(Admitted {
                    rights: Rights::ALL,
                    message: request.body.clone(),
                    encrypt: false,
                    token: None,
                })
            }
            _ => Err(self.unauthorized()),
        }
    }

    pub(super) fn unauthorized(&self) -> Response {
        let mut response = Response::empty(401);
        if self.policy.negotiate {
            response = response.header("WWW-Authenticate", "Negotiate");
        }
        if self.policy.basic {
            response = response.header("WWW-Authenticate", "Basic realm=\"WSMAN\"");
        }
        response
    }

    fn basic(&self, request: &Request, token: &str) -> Result<Admitted, Response> {
        let pair = BASE64
            .decode(token.trim())
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok())
            .unwrap_or_default();
        let (name, password) = pair.split_once(':').unwrap_or((&pair, ""));
        // Local accounts only.
        let name = name.strip_prefix(".\\").unwrap_or(name);
        let user = self
            .policy
            .users
            .iter()
            .find(|user| user.name.eq_ignore_ascii_case(name) && user.password == password);
        let user = user.ok_or_else(|| self.unauthorized())?;
        if self.bound.is_none() && !self.policy.unencrypted {
            return Err(self.unauthorized());
        }
        Ok(Admitted {
            rights: user.rights,
            message: request.body.clone(),
            encrypt: false,
            token: None,
        })
    }

    fn negotiate(
        &mut self,
        request: &Request,
        scheme: &str,
        token: &[u8],
    ) -> Result<Admitted, Response> {
        let wrapped = spnego::read(token);
        let bytes = wrapped
            .as_ref()
            .map_or(token, |wrapped| wrapped.message.as_slice());
        let refused = |_| Response::empty(401);
        match std::mem::replace(&mut self.state, State::New) {
            State::Challenged {
                acceptor,
                mechanisms,
            } if bytes.get(8) == Some(&3) => {
                let binding = match self.bound {
                    None => Binding::Ignored,
                    Some(bound) if self.policy.strict_binding => Binding::Strict(bound),
                    Some(bound) => Binding::Relaxed(bound),
                };
                let mut rights = Rights::without("blind,closed,reader,nocluster,noprocess");
                let accepted = acceptor.accept(bytes, binding, |identity| {
                    let user = self.find(identity)?;
                    rights = user.rights;
                    Some(Zeroizing::new(user.password.clone()))
                });
                let (_, mut session) = accepted.map_err(|_| self.unauthorized())?;
                let token = match (wrapped, mechanisms) {
                    (Some(wrapped), Some(mechanisms)) => {
                        Some(finish(&mut session, &wrapped, &mechanisms).map_err(refused)?)
                    }
                    _ => None,
                };
                self.state = State::In {
                    session: Box::new(session),
                    rights,
                };
                self.message(request, token)
            }
            _ => {
                let mut random = [0; 8];
                getrandom::fill(&mut random).map_err(|_| Response::empty(500))?;
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default();
                let time = Some(ntlm::Salt::time(now));
                let acceptor = Acceptor::challenge(bytes, &self.names, random, time)
                    .map_err(|_| self.unauthorized())?;
                let mechanisms = wrapped.and_then(|wrapped| wrapped.mechanisms);
                let answer = match mechanisms {
                    Some(_) => spnego::incomplete(acceptor.message()),
                    None => acceptor.message().to_vec(),
                };
                self.state = State::Challenged {
                    acceptor,
                    mechanisms,
                };
                let line = format!("{scheme} {}", BASE64.encode(answer));
                Err(Response::empty(401).header("WWW-Authenticate", line))
            }
        }
    }

    fn find(&self, identity: &Identity) -> Option<&User> {
        let name = identity
            .user
            .split_once('@')
            .map_or(identity.user.as_str(), |(name, _)| name);
        self.policy.users.iter().find(|user| {
            let domain =
                identity.domain.is_empty() || user.domain.eq_ignore_ascii_case(&identity.domain);
            user.name.eq_ignore_ascii_case(name) && domain
        })
    }

    /// A request on a connection that is logged in.
    fn message(&mut self, request: &Request, token: Option<Vec<u8>>) -> Result<Admitted, Response> {
        let unauthorized = self.unauthorized();
        let State::In { session, rights } = &mut self.state else {
            return Err(unauthorized);
        };
        let rights = *rights;
        let kind = request.header("content-type").unwrap_or_default();
        if encrypted::is_encrypted(kind) {
            let part = encrypted::decode(kind, &request.body).map_err(|_| Response::empty(400))?;
            let message = session
                .unseal(&part.signature, part.cipher)
                .map_err(|_| Response::empty(400))?;
            return Ok(Admitted {
                rights,
                message,
                encrypt: true,
                token,
            });
        }
        // pywinrm logs in with an empty message, and encrypts from then on.
        let plain_allowed =
            self.bound.is_some() || self.policy.unencrypted || request.body.is_empty();
        if !plain_allowed {
            return Err(Response::new(
                500,
                "text/plain",
                "Unencrypted traffic is disabled.",
            ));
        }
        Ok(Admitted {
            rights,
            message: request.body.clone(),
            encrypt: false,
            token,
        })
    }

    /// The answer as this connection's login asks for.
    pub(super) fn seal(
        &mut self,
        admitted: &Admitted,
        status: u16,
        xml: &str,
        fault: Option<&str>,
    ) -> Response {
        let mut response = match &mut self.state {
            State::In { session, .. } if admitted.encrypt && fault != Some("plain") => {
                let Ok(sealed) = session.seal(xml.as_bytes()) else {
                    return Response::empty(500);
                };
                let mut cipher = sealed.cipher;
                if fault == Some("tampered")
                    && let Some(byte) = cipher.last_mut()
                {
                    *byte ^= 1;
                }
                Response::new(
                    status,
                    encrypted::CONTENT_TYPE,
                    encrypted::encode(&sealed.signature, &cipher),
                )
            }
            _ => Response::new(status, "application/soap+xml;charset=UTF-8", xml),
        };
        if let Some(token) = &admitted.token {
            response = response.header(
                "WWW-Authenticate",
                format!("Negotiate {}", BASE64.encode(token)),
            );
        }
        response
    }
}

/// Both sides sign the list of mechanisms, if the client did; then the key streams begin anew.
fn finish(
    session: &mut Session,
    wrapped: &spnego::Token,
    mechanisms: &[u8],
) -> Result<Vec<u8>, ntlm::Error> {
    let Some(mic) = &wrapped.mic else {
        return Ok(spnego::complete(None));
    };
    let mic: &[u8; Session::SIGNATURE] =
        mic.as_slice()
            .try_into()
            .map_err(|_| ntlm::Error::NotAuthentic {
                detail: "its length",
            })?;
    session.verify(mic, mechanisms)?;
    let own = session.sign(mechanisms)?;
    session.restart_streams();
    Ok(spnego::complete(Some(&own)))
}
