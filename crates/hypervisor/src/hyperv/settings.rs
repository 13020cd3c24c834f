//! Whom to ask, and as whom.

use std::time::Duration;

use https::{Endpoint, Identity, Interrupt, Scheme, Trust};
use zeroize::Zeroizing;

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What its cluster calls it, where that is not the first part of its host name.
    pub node: Option<String>,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Reads `[NODE=]HOST[:PORT]`; an IPv6 address that is followed by a port is in brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` is no host: {what}; it is written [NODE=]HOST[:PORT]");
        let (node, place) = match text.split_once('=') {
            Some((node, place)) => (Some(node.trim().to_owned()), place.trim()),
            None => (None, text.trim()),
        };
        let (host, port) = if let Some(rest) = place.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong("`]` is missing"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("something follows the address")),
            }
        } else if place.matches(':').count() == 1 {
            place
                .split_once(':')
                .map_or((place, None), |(host, port)| (host, Some(port)))
        } else {
            (place, None)
        };
        if host.is_empty() || node.as_ref().is_some_and(String::is_empty) {
            return Err(wrong("a name is missing"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@,;".contains(c)) {
            return Err(wrong("a host name has no such characters"));
        }
        let port = match port {
            None => default_port,
            Some(port) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                port.ok_or_else(|| wrong("the port is no number from 1 to 65535"))?
            }
        };
        Ok(Self {
            node,
            host: host.to_owned(),
            port,
        })
    }

    /// Whether the cluster's node of this name is meant.
    pub(super) fn is_node(&self, name: &str) -> bool {
        match &self.node {
            Some(node) => node.eq_ignore_ascii_case(name),
            None => {
                let first = self.host.split('.').next().unwrap_or_default();
                first.eq_ignore_ascii_case(name) && self.host.parse::<std::net::IpAddr>().is_err()
            }
        }
    }
}

/// How to log in.
#[derive(Clone)]
#[non_exhaustive]
pub enum Login {
    /// NTLM within Negotiate: over plain HTTP all messages are encrypted. Local and domain accounts, by name or address.
    Negotiate(ntlm::Credentials),
    /// Name and password in every request. Over plain HTTP anybody on the way can read them.
    Basic {
        /// The account, local to the host.
        user: String,
        /// Its password.
        password: Zeroizing<String>,
    },
    /// The client's certificate, which the host maps to one of its accounts; HTTPS only.
    Certificate(Identity),
}

/// Does not show the password.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Negotiate(credentials) => f.debug_tuple("Negotiate").field(credentials).finish(),
            Self::Basic { user, .. } => f
                .debug_struct("Basic")
                .field("user", user)
                .finish_non_exhaustive(),
            Self::Certificate(identity) => f.debug_tuple("Certificate").field(identity).finish(),
        }
    }
}

/// Which WMI namespace to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespace {
    /// v2, and v1 where a host has no v2.
    #[default]
    Auto,
    /// `root/virtualization/v2`: 2012 and later.
    V2,
    /// `root/virtualization`: 2008 to 2012.
    V1,
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hosts. All of them are asked, unless they are a cluster.
    pub hosts: Vec<Address>,
    /// Whether they are nodes of a failover cluster, or the cluster's own name: then the cluster is asked which node has a
    /// guest, and the guest is followed.
    pub cluster: bool,
    /// Plain or encrypted.
    pub scheme: Scheme,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// How to log in.
    pub login: Login,
    /// Which namespace.
    pub namespace: Namespace,
    /// Whether the worker process of a guest that does not end is ended, after this time: the last resort.
    pub kill_worker: Option<Duration>,
    /// How long to wait for one answer, connecting and logging in included.
    pub step: Duration,
    /// What ends waits early.
    pub interrupt: Option<Interrupt>,
}

impl Settings {
    /// Where this host is reached.
    pub(super) fn endpoint(&self, address: &Address) -> Endpoint {
        Endpoint {
            scheme: self.scheme,
            host: address.host.clone(),
            port: address.port,
            trust: self.trust.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let read = |text: &str| {
            Address::parse(text, 5985).map(|a| (a.node.unwrap_or_default(), a.host, a.port))
        };
        let is = |node: &str, host: &str, port| Ok((node.to_owned(), host.to_owned(), port));
        assert_eq!(read("hv1"), is("", "hv1", 5985));
        assert_eq!(
            read(" hv1.corp.example:80 "),
            is("", "hv1.corp.example", 80)
        );
        assert_eq!(read("HV1=10.0.0.1"), is("HV1", "10.0.0.1", 5985));
        assert_eq!(
            read("HV1=[fe80::1%eth0]:5986"),
            is("HV1", "fe80::1%eth0", 5986)
        );
        assert_eq!(read("::1"), is("", "::1", 5985));
        for wrong in [
            "", "=x", "x=", "h:", "h:0", "h:70000", "[::1", "[::1]x", "a b", "http://h", "a,b",
        ] {
            assert!(Address::parse(wrong, 5985).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_are_known_by_the_first_part_of_their_names() {
        let is = |text: &str, node: &str| Address::parse(text, 1).unwrap().is_node(node);
        assert!(is("hv1.corp.example", "HV1") && is("HV1", "hv1") && is("HV1=10.0.0.1", "hv1"));
        assert!(!is("10.0.0.1", "10") && !is("hv10", "hv1") && !is("A=hv1", "hv1"));
    }
}
