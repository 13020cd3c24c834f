//! Whose proof it is.

use zeroize::Zeroizing;

use crate::keys::{Key, owf};
use crate::pairs::Pairs;

/// An account and its password, as a user writes them. The password is wiped when it goes, and never shown.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    domain: Domain,
    password: Zeroizing<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Domain {
    Named(String),
    /// `.\user`: an account of the server itself, whatever it is called.
    Server,
}

impl Credentials {
    /// `login` is `DOMAIN\user`, `.\user` for an account of the server itself, `user@domain`, or `user` alone, whose domain the
    /// server then chooses.
    #[must_use]
    pub fn new(login: &str, password: Zeroizing<String>) -> Self {
        let (domain, user) = match login.split_once('\\') {
            Some((".", user)) => (Domain::Server, user),
            Some((domain, user)) => (Domain::Named(domain.to_owned()), user),
            None => (Domain::Named(String::new()), login),
        };
        Self {
            user: user.to_owned(),
            domain,
            password,
        }
    }

    /// The account without its domain, except in the form `user@domain`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The account's domain as it is sent to the server that told `info` of itself.
    #[must_use]
    pub fn domain(&self, info: &Pairs) -> String {
        match &self.domain {
            Domain::Named(domain) => domain.clone(),
            Domain::Server => info.text(Pairs::COMPUTER).unwrap_or_else(|| ".".to_owned()),
        }
    }

    pub(crate) fn owf(&self, domain: &str) -> Key {
        owf(&self.user, domain, &self.password)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, {:?})", self.domain, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Pair;

    #[test]
    fn logins_are_read_as_windows_writes_them() {
        let value = b"H\0V\x001\0".to_vec();
        let info = Pairs(vec![Pair {
            id: Pairs::COMPUTER,
            value,
        }]);
        for (login, user, domain) in [
            ("CORP\\ann", "ann", "CORP"),
            (".\\ann", "ann", "HV1"),
            ("ann@corp.example", "ann@corp.example", ""),
            ("ann", "ann", ""),
            ("\\ann", "ann", ""),
        ] {
            let read = Credentials::new(login, Zeroizing::new("hunter2".to_owned()));
            assert_eq!(
                (read.user(), read.domain(&info).as_str()),
                (user, domain),
                "{login}"
            );
            assert!(!format!("{read:?}").contains("hunter2"));
        }
        let local = Credentials::new(".\\ann", Zeroizing::default());
        assert_eq!(local.domain(&Pairs::default()), ".");
    }
}
