//! Addresses, ports and the names by which machines are reached.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::Deserialize;

use super::{Invalid, text_type};

/// An address together with the length of its network's prefix: `10.9.0.100/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Interface {
    /// The address itself.
    pub address: IpAddr,
    /// How many of its leading bits name the network.
    pub prefix: u8,
}

impl Interface {
    /// Whether `other` lies in the same network.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = mask(u128::from(self.prefix) + 96);
                u128::from(a.to_bits()) & mask == u128::from(b.to_bits()) & mask
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = mask(u128::from(self.prefix));
                a.to_bits() & mask == b.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether `address` can belong to a machine of this network: it lies inside, and is neither the
    /// network's own number nor, in IPv4, its broadcast address.
    #[must_use]
    pub fn has_room_for(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else {
            return self.reaches(address);
        };
        let host_bits = 32 - u32::from(self.prefix.min(32));
        let host_mask = u32::try_from((1_u64 << host_bits) - 1).unwrap_or(u32::MAX);
        let host = v4.to_bits() & host_mask;
        self.reaches(address) && (host_bits < 2 || (host != 0 && host != host_mask))
    }
}

/// The leading `prefix` of 128 bits. A prefix out of range counts as the nearest in range.
fn mask(prefix: u128) -> u128 {
    let shift = 128_u32.saturating_sub(u32::try_from(prefix).unwrap_or(128));
    u128::MAX.checked_shl(shift).unwrap_or(0)
}

impl FromStr for Interface {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(format!(
                "`{text}` is not an address with its prefix length, as in `10.9.0.100/24`"
            ))
        };
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest {
            return Err(invalid());
        }
        let interface = Self { address, prefix };
        if !interface.has_room_for(address) {
            return Err(Invalid::new(format!(
                "`{text}` names the network itself, or its broadcast address, not a machine in it"
            )));
        }
        Ok(interface)
    }
}

impl TryFrom<String> for Interface {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address of a single machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(pub(crate) IpAddr);

impl Address {
    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<String> for Address {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let ip: IpAddr = text
            .parse()
            .map_err(|_| Invalid::new(format!("`{text}` is not an IP address")))?;
        if ip.is_multicast() || ip.is_unspecified() || ip.is_loopback() {
            return Err(Invalid::new(format!(
                "`{ip}` cannot be the address of a node"
            )));
        }
        Ok(Self(ip))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The multicast group on which fencing requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Group(IpAddr);

impl Group {
    /// The group that `fence_virtd` and its clients use by default.
    pub(crate) const DEFAULT: Self = Self(IpAddr::V4(std::net::Ipv4Addr::new(225, 0, 0, 12)));

    /// The group's address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<String> for Group {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse::<IpAddr>()
            .ok()
            .filter(IpAddr::is_multicast)
            .map(Self)
            .ok_or_else(|| {
                Invalid::new(format!(
                    "`{text}` is not a multicast address, as `225.0.0.12` or `ff05::3:1` is"
                ))
            })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A TCP or UDP port: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of fencing requests.
    pub(crate) const FENCE_VIRT: Self = Self(NonZeroU16::new(1229).expect("not zero"));
    /// The port of iSCSI (RFC 3720).
    pub(crate) const ISCSI: Self = Self(NonZeroU16::new(3260).expect("not zero"));
    /// The port of HTTP.
    pub(crate) const HTTP: Self = Self(NonZeroU16::new(80).expect("not zero"));

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::HTTP
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number from 1 to 65535, without quotation marks")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Port, E> {
                u16::try_from(number)
                    .ok()
                    .and_then(NonZeroU16::new)
                    .map(Port)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_i64(Visitor)
    }
}

super::schema!(Interface, "Interface", {
    "type": "string",
    "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    "examples": ["10.9.0.100/24"]
});
super::schema!(Address, "Address", {
    "type": "string",
    "pattern": "^[0-9A-Fa-f:.]+$",
    "examples": ["10.9.0.1", "fd00::1"]
});
super::schema!(Group, "Group", {
    "type": "string",
    "pattern": "^[0-9A-Fa-f:.]+$",
    "examples": ["225.0.0.12", "ff05::3:1"]
});
super::schema!(Port, "Port", { "type": "integer", "minimum": 1, "maximum": 65535 });

/// A node's addresses, one for each of Corosync's links: one address, or an array of 1 to 8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub(crate) Vec<IpAddr>);

impl Addresses {
    /// The most links Corosync takes (corosync.conf(5), `linknumber` 0 to 7).
    pub const MAX: usize = 8;
}

impl std::ops::Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IP address, or an array of 1 to 8 of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Addresses, E> {
                let address = Address::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(Addresses(vec![address.ip()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Addresses, A::Error> {
                let mut all = Vec::new();
                while let Some(address) = seq.next_element::<Address>()? {
                    all.push(address.ip());
                }
                if all.is_empty() || all.len() > Addresses::MAX {
                    return Err(serde::de::Error::invalid_length(all.len(), &self));
                }
                Ok(Addresses(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Addresses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Address>();
        schemars::json_schema!({
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": Self::MAX }]
        })
    }
}

/// Where an iSCSI target listens: an address, and a port (3260 if none is written).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub struct Portal {
    /// The address.
    pub address: IpAddr,
    /// The TCP port.
    pub port: Port,
}

impl TryFrom<String> for Portal {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let bare = |text: &str| {
            let inner = text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            inner.map_or_else(|| address(text).filter(IpAddr::is_ipv4), address)
        };
        let with_port = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = port.parse().ok().and_then(NonZeroU16::new)?;
            Some((bare(host)?, Port(port)))
        };
        address(&text)
            .or_else(|| bare(&text))
            .map(|address| (address, Port::ISCSI))
            .or_else(with_port)
            .map(|(address, port)| Self { address, port })
            .ok_or_else(|| {
                Invalid::new(format!(
                    "`{text}` is not the address of an iSCSI portal, as `10.9.0.30:3260` or `[fd00::30]:3260` is"
                ))
            })
    }
}

/// With the port, and IPv6 addresses in brackets.
impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port.get()).fmt(f)
    }
}

super::schema!(Portal, "Portal", {
    "type": "string",
    "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9A-Fa-f:.]+)(:[0-9]{1,5})?$",
    "examples": ["10.9.0.30:3260"]
});

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

text_type!(
    /// A machine on the network: a host name or an IP address.
    Endpoint,
    schema: { "pattern": "^[A-Za-z0-9:.-]+$", "maxLength": 253 },
    |text| {
        if text.parse::<IpAddr>().is_ok() || is_host_name(text) {
            return Ok(());
        }
        Err(format!("`{text}` is neither a host name nor an IP address"))
    }
);

text_type!(
    /// Where ssh(1) reaches a machine: `[USER@]HOST`. Everything else belongs into ssh_config(5).
    SshDestination,
    schema: { "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9:._-]+$", "maxLength": 253 },
    |text| {
        let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
        let user_is_plain = user.is_none_or(|user| {
            user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        });
        // An alias of ssh_config may hold underscores.
        let host_is_plain = host.parse::<IpAddr>().is_ok() || is_host_name(&host.replace('_', "x"));
        if user_is_plain && host_is_plain {
            return Ok(());
        }
        Err(format!(
            "`{text}` is not a destination of ssh: write `USER@HOST`; ports and the like belong into ssh_config"
        ))
    }
);

text_type!(
    /// A connection URI of libvirt, as in `qemu:///system`.
    Uri,
    schema: { "pattern": "^[a-z][a-z0-9+.-]*://[^\\s\"'\\\\]*$", "maxLength": 255 },
    |text| {
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"'\\".contains(&b);
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let known = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
        if !known || text.len() > 255 || !text.bytes().all(plain) {
            return Err(format!("`{text}` is not a URI of libvirt, as `qemu:///system` is"));
        }
        Ok(())
    }
);
