//! Whom to talk to, and whom to trust.

use std::path::PathBuf;

/// Plain or encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS 1.2 or 1.3.
    Https,
}

/// Which certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that lead to an authority of the system's store, for the name or address that was dialled.
    System,
    /// Those that lead to an authority in this PEM file, for the name or address that was dialled; and those that are in it
    /// themselves, byte for byte, whatever names and dates they have: somebody vouched for exactly them.
    Authorities(PathBuf),
    /// Any: whoever sits in between can read the password and answer in the server's place.
    Anybody,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Plain or encrypted.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Which certificates are accepted; without meaning for plain HTTP.
    pub trust: Trust,
}

impl Endpoint {
    /// Host and port as messages show them: `name:443`, `[::1]:443`.
    #[must_use]
    pub fn peer(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The `Host` header line (RFC 9110 section 7.2): without the port when it is the scheme's own, and without the zone of
    /// a link-local address, which means something on this machine only (RFC 6874 section 1).
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.split_once('%') {
            Some((address, _)) if address.contains(':') => address,
            _ => &self.host,
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(scheme: Scheme, host: &str, port: u16) -> String {
        let (host, trust) = (host.to_owned(), Trust::System);
        Endpoint {
            scheme,
            host,
            port,
            trust,
        }
        .authority()
    }

    #[test]
    fn host_lines() {
        assert_eq!(authority(Scheme::Https, "rhevm", 443), "rhevm");
        assert_eq!(authority(Scheme::Https, "rhevm", 80), "rhevm:80");
        assert_eq!(authority(Scheme::Http, "::1", 80), "[::1]");
        assert_eq!(
            authority(Scheme::Http, "fe80::1%eth0", 5985),
            "[fe80::1]:5985"
        );
    }
}
