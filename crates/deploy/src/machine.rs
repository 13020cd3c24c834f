//! The machines a cluster is put on, and how they are addressed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a machine is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs a hypervisor and `fence_virtd`. Hosts come first: a node that cannot be fenced must not start.
    Host,
    /// A member of the cluster.
    Node,
}

/// A machine that configuration is put on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its name in the definition.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Where `ssh` finds it.
    pub destination: Destination,
}

impl Machine {
    /// A machine.
    #[must_use]
    pub fn new(name: impl Into<String>, role: Role, destination: Destination) -> Self {
        Self {
            name: name.into(),
            role,
            destination,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is given to `ssh` as its destination: `HOST`, `USER@HOST` or `ssh://USER@HOST:PORT`.
///
/// It cannot be taken for an option, and holds nothing that a shell or ssh's own `%` would expand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Destination(String);

/// A text that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not something ssh can connect to: use HOST, USER@HOST or ssh://USER@HOST:PORT")]
pub struct BadDestination(String);

impl Destination {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Destination {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@:/[]".contains(&b);
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        // The part after `@` is the host; OpenSSH refuses one that begins with a hyphen, older ones ran it.
        let host = text.rsplit('@').next().unwrap_or_default();
        if starts_well
            && text.len() <= 512
            && text.bytes().all(plain)
            && !host.is_empty()
            && !host.starts_with('-')
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadDestination(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_never_an_option_or_a_command() {
        for good in [
            "n1",
            "root@10.9.0.1",
            "root@fd00::1",
            "ssh://root@n1.example.org:2222",
        ] {
            assert_eq!(good.parse::<Destination>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "root@",
            "root@-oX",
            "a b",
            "a;b",
            "a\nb",
            "$(x)",
            "%h",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }
}
