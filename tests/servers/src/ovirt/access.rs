//! Who is asking: users and passwords, tokens, cookies, and how many sessions there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::world::{User, World};
use crate::http::{Request, Response};
use crate::text::pairs;

/// Sessions: of tokens and of cookies alike.
#[derive(Debug)]
pub struct Sessions {
    open: BTreeMap<String, Open>,
    counter: u64,
    /// The most that may be open at one time.
    pub limit: usize,
    /// How long one may be idle.
    pub idle: Duration,
    /// How many were opened so far.
    pub opened: u64,
    /// How many were ended by those who opened them.
    pub closed: u64,
}

#[derive(Debug)]
struct Open {
    user: String,
    used: Instant,
    idle: Duration,
}

/// A request that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Whose it is.
    pub user: User,
    /// The cookie to set, if a session was opened that is to stay.
    pub cookie: Option<String>,
}

impl Sessions {
    /// None open, and these limits.
    #[must_use]
    pub const fn new(limit: usize, idle: Duration) -> Self {
        Self {
            open: BTreeMap::new(),
            counter: 0,
            limit,
            idle,
            opened: 0,
            closed: 0,
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Forgets all, as after a restart of the engine.
    pub fn expire(&mut self) {
        self.open.clear();
    }

    /// Opens one; none when there are too many.
    fn begin(&mut self, user: &User, idle: Duration) -> Option<String> {
        let now = Instant::now();
        self.open
            .retain(|_, session| now.duration_since(session.used) < session.idle);
        if self.open.len() >= self.limit {
            return None;
        }
        self.counter += 1;
        self.opened += 1;
        // As long as an engine's, and not guessable from another one's by anything that is tested here.
        let key = format!("{:016x}", self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(5);
        self.open.insert(
            key.clone(),
            Open {
                user: user.id.clone(),
                used: now,
                idle,
            },
        );
        Some(key)
    }

    fn user(&mut self, key: &str, world: &World) -> Option<User> {
        let now = Instant::now();
        let session = self.open.get_mut(key)?;
        if now.duration_since(session.used) >= session.idle {
            self.open.remove(key);
            return None;
        }
        session.used = now;
        world
            .users
            .iter()
            .find(|user| user.id == session.user)
            .cloned()
    }

    fn end(&mut self, key: &str) -> bool {
        let ended = self.open.remove(key).is_some();
        self.closed += u64::from(ended);
        ended
    }

    /// Answers a request for a token (`sso/oauth/token`).
    pub fn token(&mut self, request: &Request, world: &World) -> Response {
        let form = pairs(&request.text());
        let field = |name: &str| {
            form.iter()
                .find(|(field, _)| field == name)
                .map_or("", |(_, value)| value.as_str())
        };
        if field("grant_type") != "password"
            || !field("scope")
                .split(' ')
                .any(|scope| scope == "ovirt-app-api")
        {
            return refusal(
                400,
                "invalid_request",
                "Missing or unsupported grant_type or scope parameter",
            );
        }
        let Some(user) = log_in(field("username"), field("password"), world) else {
            let name = field("username").replace(['"', '\\'], " ");
            return refusal(
                400,
                "access_denied",
                &format!(
                    "Cannot authenticate user '{name}': The user name or password is incorrect."
                ),
            );
        };
        let Some(token) = self.begin(&user, self.idle) else {
            return refusal(
                400,
                "access_denied",
                "The maximum number of sessions has been reached.",
            );
        };
        json(
            200,
            &format!(
                "{{\"access_token\":\"{token}\",\"scope\":\"ovirt-app-api\",\"exp\":\"9223372036854775807\",\
                 \"token_type\":\"bearer\"}}"
            ),
        )
    }

    /// Answers a request to end a token (`services/sso-logout`).
    pub fn revoke(&mut self, request: &Request) -> Response {
        let form = pairs(&request.text());
        let token = form
            .iter()
            .find(|(field, _)| field == "token")
            .map_or("", |(_, value)| value.as_str());
        if self.end(token) {
            json(200, "{}")
        } else {
            refusal(
                400,
                "invalid_grant",
                "The provided authorization grant is invalid or expired.",
            )
        }
    }

    /// Lets a request in, or not.
    pub fn admit(
        &mut self,
        request: &Request,
        world: &World,
        tokens: bool,
        cookies: bool,
    ) -> Option<Admitted> {
        let prefer = request.header("prefer").unwrap_or_default();
        let persistent = cookies
            && prefer
                .split(',')
                .any(|word| word.trim() == "persistent-auth");
        let fresh = prefer.split(',').any(|word| word.trim() == "new-auth");
        let cookie = request.header("cookie").unwrap_or_default();
        let cookie = cookie
            .split(';')
            .find_map(|pair| pair.trim().strip_prefix("JSESSIONID="));
        if let Some(key) = cookie
            && !fresh
        {
            if persistent {
                if let Some(user) = self.user(key, world) {
                    return Some(Admitted { user, cookie: None });
                }
            } else {
                // The session is over before the request is looked at.
                self.end(key);
            }
        }
        let (scheme, value) = request.header("authorization")?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") && tokens {
            let user = self.user(value.trim(), world)?;
            return Some(Admitted { user, cookie: None });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(decode_base64(value.trim())?).ok()?;
        let (name, password) = pair.split_once(':')?;
        let user = log_in(name, password, world)?;
        let ttl = request
            .header("session-ttl")
            .and_then(|minutes| minutes.parse().ok());
        let idle = ttl.map_or(self.idle, |minutes: u64| {
            self.idle.min(Duration::from_secs(60 * minutes))
        });
        let key = self.begin(&user, idle)?;
        if persistent {
            return Some(Admitted {
                user,
                cookie: Some(key),
            });
        }
        self.end(&key);
        Some(Admitted { user, cookie: None })
    }
}

fn log_in(name: &str, password: &str, world: &World) -> Option<User> {
    world
        .users
        .iter()
        .find(|user| user.name == name && user.password == password)
        .cloned()
}

fn json(status: u16, text: &str) -> Response {
    Response::new(status, "application/json;charset=UTF-8", text)
}

fn refusal(status: u16, code: &str, text: &str) -> Response {
    json(
        status,
        &format!("{{\"error_code\":\"{code}\",\"error\":\"{text}\"}}"),
    )
}

/// RFC 4648, section 4.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base64_of_the_standard() {
        for (text, wanted) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode_base64(text).as_deref(), Some(wanted.as_bytes()));
        }
        assert_eq!(decode_base64("a b"), None);
    }
}
