//! What proves who asks: given out by the engine at login, shown with every request, handed back at the end.

use std::fmt;

use https::Response;
use zeroize::Zeroizing;

use super::settings::Version;

/// The longest a token or a set of cookies may be, in bytes.
const LONGEST: usize = 6000;

/// How the engine recognises us.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Ticket {
    /// A token of the engine's single sign-on.
    Token(Zeroizing<String>),
    /// The cookies of a session.
    Cookie(Zeroizing<String>),
    /// Nothing: the engine keeps no sessions, and every request carries user and password.
    Basic,
}

impl Ticket {
    /// The word for its kind in a session file.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Cookie(_) => "cookie",
            Self::Basic => "basic",
        }
    }

    /// What a session file of this kind holds.
    pub(super) fn restore(kind: &str, secret: &str) -> Option<Self> {
        let secret = usable(secret)?;
        match kind {
            "token" => Some(Self::Token(secret)),
            "cookie" => Some(Self::Cookie(secret)),
            _ => None,
        }
    }

    /// What a session file keeps; nothing of a session that does not exist.
    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::Token(secret) | Self::Cookie(secret) => Some(secret),
            Self::Basic => None,
        }
    }

    /// The token in the answer to a login.
    pub(super) fn from_answer(body: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Granted {
            access_token: String,
        }
        let granted: Granted = serde_json::from_slice(body).ok()?;
        let token = Zeroizing::new(granted.access_token);
        Some(Self::Token(usable(&token)?))
    }

    /// The session that an answer opens by cookies.
    pub(super) fn from_cookies(response: &Response) -> Option<Self> {
        let mut all = Zeroizing::new(String::new());
        for line in response.headers("set-cookie") {
            let pair = line.split(';').next().unwrap_or_default().trim();
            if pair
                .split_once('=')
                .is_none_or(|(name, value)| name.is_empty() || value.is_empty())
            {
                continue;
            }
            if !all.is_empty() {
                all.push_str("; ");
            }
            all.push_str(pair);
        }
        Some(Self::Cookie(usable(&all)?))
    }
}

/// Without the secret.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A secret that can stand in a header line.
fn usable(secret: &str) -> Option<Zeroizing<String>> {
    let fits = !secret.is_empty() && secret.len() <= LONGEST;
    let plain = secret.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (fits && plain).then(|| Zeroizing::new(secret.to_owned()))
}

/// A session: who we are to the engine, and which engine it is.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub ticket: Ticket,
    /// The version that is spoken.
    pub version: Version,
    /// Whether it was opened by another run of the program.
    pub kept: bool,
    /// Counts the logins: a request that fails tells by it whether somebody else logged in meanwhile.
    pub generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_only_if_a_header_can_carry_it() {
        let token = |text: &str| Ticket::from_answer(text.as_bytes());
        assert_eq!(
            token(r#"{"access_token":"aZ-9_.","scope":"x","exp":"1"}"#),
            Some(Ticket::Token(Zeroizing::new("aZ-9_.".to_owned())))
        );
        for wrong in [
            "",
            "{}",
            "[]",
            "<html/>",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\r\nX: y"}"#,
            r#"{"access_token":"ä"}"#,
        ] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(LONGEST + 1));
        assert_eq!(token(&long), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let ticket = Ticket::restore("cookie", "JSESSIONID=hunter2").unwrap();
        assert_eq!(format!("{ticket:?}"), "cookie");
        assert_eq!(Ticket::restore("basic", "x"), None);
        assert_eq!(Ticket::restore("token", "a\nb"), None);
    }
}
