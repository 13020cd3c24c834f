//! Values that cannot be wrong.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An iSCSI name (RFC 7143, "iSCSI Name Structure"), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A text that is no iSCSI name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an iSCSI name such as iqn.2026-11.org.example:disks")]
pub struct NameError(pub String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.to_ascii_lowercase();
        let kinds = ["iqn.", "eui.", "naa."];
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        let good = kinds.iter().any(|kind| name.starts_with(kind))
            && (5..=223).contains(&name.len())
            && name.bytes().all(plain);
        if good {
            Ok(Self(name))
        } else {
            Err(NameError(text.chars().take(64).collect()))
        }
    }
}

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An initiator, or anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitiatorName {
    /// `*`
    Anybody,
    /// One.
    One(Name),
}

impl InitiatorName {
    /// Whether this is about `initiator`.
    #[must_use]
    pub fn covers(&self, initiator: &str) -> bool {
        match self {
            Self::Anybody => true,
            Self::One(name) => name.as_str().eq_ignore_ascii_case(initiator),
        }
    }
}

impl FromStr for InitiatorName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "*" => Ok(Self::Anybody),
            name => name.parse().map(Self::One),
        }
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("*"),
            Self::One(name) => name.fmt(f),
        }
    }
}

/// Where connections are accepted, and the portal group this belongs to: `10.0.0.1:3260`, or with a group
/// `10.0.0.1:3260,2`. Each group is a target port of its own (RFC 7143, "Network Portal Groups").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortalAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// Portal group tag, and relative target port: 1 to 65535.
    pub group: u16,
}

impl FromStr for PortalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, group) = text.split_once(',').unwrap_or((text, "1"));
        let address = address.parse().map_err(|_| {
            format!(
                "`{address}` is not an address with a port, such as 127.0.0.1:3260 or [::]:3260"
            )
        })?;
        match group.parse() {
            Ok(group @ 1..) => Ok(Self { address, group }),
            _ => Err(format!("`{group}` is not a portal group: 1 to 65535")),
        }
    }
}

impl fmt::Display for PortalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.address, self.group)
    }
}

/// A number of bytes: a number, or a text such as `"10GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a number of bytes such as 4096, 512MiB or 10GiB");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" | "K" => 10,
            "MiB" | "M" => 20,
            "GiB" | "G" => 30,
            "TiB" | "T" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes such as 4096 or \"10GiB\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                u64::try_from(number)
                    .map(Bytes)
                    .map_err(|_| E::custom("a number of bytes is not negative"))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bytes, E> {
                Ok(Bytes(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads and writes a type as the text it is shown as.
macro_rules! as_text {
    ($($type:ty)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

as_text! { Name InitiatorName PortalAddress }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_rfc() {
        let name: Name = "IQN.2026-11.Org.Example:A".parse().unwrap();
        assert_eq!(name.as_str(), "iqn.2026-11.org.example:a");
        for wrong in ["", "iqn.", "disk", "iqn.a b", "iqn.a,b", "iqn.\u{fc}"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        assert!(InitiatorName::Anybody.covers("iqn.x"));
        assert!(!"iqn.y".parse::<InitiatorName>().unwrap().covers("iqn.x"));
    }

    #[test]
    fn portals_have_a_group() {
        let portal: PortalAddress = "[::1]:3260,7".parse().unwrap();
        assert_eq!((portal.address.port(), portal.group), (3260, 7));
        assert_eq!("127.0.0.1:1".parse::<PortalAddress>().unwrap().group, 1);
        for wrong in [
            "127.0.0.1",
            "127.0.0.1:1,0",
            "127.0.0.1:1,65536",
            "host:1",
            "",
        ] {
            assert!(wrong.parse::<PortalAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1KiB", 1024),
            ("10 GiB", 10 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap().0, bytes, "{text}");
        }
        for wrong in ["", "GiB", "1.5G", "-1", "1GB", "99999999999T"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }
}
