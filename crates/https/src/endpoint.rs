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
    /// Those that lead to an authority in this PEM file, or that are in it themselves.
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
