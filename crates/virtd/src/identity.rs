//! Who asks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What a listener knows about the sender of a request, as the groups of the configuration see it.
///
/// How far it can be trusted is the listener's to say: over TCP it is the peer's address, over
/// multicast the address that the holder of the key wrote into the packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    text: String,
    address: Option<IpAddr>,
}

impl Identity {
    /// A requester known by its address. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            text: address.to_string(),
            address: Some(address),
        }
    }

    /// A requester known by something else: a vsock CID in decimal, or the UUID of the guest that
    /// owns a serial channel.
    #[must_use]
    pub fn named(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            address: None,
        }
    }

    /// The identity as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        self.address
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The sender of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The listener that heard it, such as `tcp`.
    pub listener: Arc<str>,
    /// Who it is.
    pub identity: Identity,
}

impl fmt::Display for Requester {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} over {}", self.identity, self.listener)
    }
}
