//! The values a definition is made of. Each is checked when it is read and cannot be wrong later.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Why a piece of text is not the value it should be: a fragment that reads after the offending value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A node's name: a valid host name (RFC 1123) of at most 63 bytes, in lower case.
///
/// The limit is that of the domain name in a fencing request; lower case because Pacemaker compares
/// node names without regard to case while libvirt does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The longest name: what fits into a fencing request.
    pub const MAX: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its trailing number, and that number: `n1` is (`n`, 1).
    pub(crate) fn split_number(&self) -> Option<(&str, u32)> {
        let stem = self.0.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &self.0[stem.len()..];
        if stem.is_empty() || digits.starts_with('0') {
            return None;
        }
        Some((stem, digits.parse().ok()?))
    }
}

impl TryFrom<String> for NodeName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(Invalid::new(format!(
                "a node name has 1 to {} characters, this one has {}",
                Self::MAX,
                text.len()
            )));
        }
        let label_is_valid = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !text.split('.').all(label_is_valid) {
            return Err(Invalid::new(format!(
                "`{text}` is not a host name: use lower-case letters, digits and inner hyphens, parts separated by dots"
            )));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a cluster or a service: a letter, then letters, digits, `_` or `-`; at most 32 bytes.
///
/// DLM and GFS2 take no more than 32 bytes for a cluster's name, and such a name is a valid XML id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The longest name.
    pub const MAX: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on_well = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !starts_well || !goes_on_well || text.len() > Self::MAX {
            return Err(Invalid::new(format!(
                "`{text}` is not a name: use a letter, then letters, digits, `_` or `-`, at most {} in all",
                Self::MAX
            )));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A length of time as people write it: `500ms`, `5s`, `2min`. Never zero, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// A span of whole seconds, for defaults.
    #[must_use]
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds, as Corosync counts.
    #[must_use]
    pub const fn millis(self) -> u128 {
        self.0.as_millis()
    }
}

impl TryFrom<String> for Span {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        const DAY: u64 = 86_400_000;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => 0,
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|millis| (1..=DAY).contains(millis))
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| {
                Invalid::new(format!(
                    "`{text}` is not a length of time: write a number and `ms`, `s` or `min`, as in `5s`"
                ))
            })
    }
}

/// As Pacemaker reads it: seconds where that is exact, else milliseconds.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        if millis.is_multiple_of(1000) {
            write!(f, "{}s", millis / 1000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

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

/// An absolute path of plain characters, so that it needs no quoting in any file it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PlainPath(PathBuf);

impl PlainPath {
    /// Where `fence_virtd` and its clients look for their key by default.
    pub(crate) fn default_key_file() -> Self {
        Self(PathBuf::from("/etc/cluster/fence_xvm.key"))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made from a `String`, so the empty case cannot arise.
        self.0.to_str().unwrap_or_default()
    }
}

impl TryFrom<String> for PlainPath {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
        let climbs = text.split('/').any(|part| part == "..");
        if !text.starts_with('/') || text.ends_with('/') || climbs || !text.bytes().all(plain) {
            return Err(Invalid::new(format!(
                "`{text}` is not an absolute path of letters, digits and `/ . _ - + @`"
            )));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// A TCP or UDP port: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of fencing requests.
    pub(crate) const FENCE_VIRT: Self = Self(NonZeroU16::new(1229).expect("not zero"));
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

/// One line of printable text, at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Line(String);

impl Line {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Line {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.len() > 200 || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                "the text must be one line of printable characters, at most 200 bytes",
            ));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: TryFrom<String>>(value: &str) -> Option<T> {
        T::try_from(value.to_owned()).ok()
    }

    #[test]
    fn node_names_are_host_names() {
        for good in ["n1", "web-1.example.org", "4u", &"a".repeat(63)] {
            assert!(text::<NodeName>(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "N1",
            "n_1",
            "-n",
            "n-",
            "a..b",
            "n 1",
            "n1\n",
            "ñ",
            &"a".repeat(64),
        ] {
            assert!(text::<NodeName>(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn names_split_only_where_counting_on_is_unambiguous() {
        let split = |name: &str| {
            let name = NodeName(name.to_owned());
            name.split_number().map(|(stem, n)| (stem.to_owned(), n))
        };
        assert_eq!(split("n1"), Some(("n".into(), 1)));
        assert_eq!(split("web-12"), Some(("web-".into(), 12)));
        assert_eq!(split("web"), None);
        assert_eq!(split("n01"), None);
        assert_eq!(split("12"), None);
        assert_eq!(split("n99999999999"), None);
    }

    #[test]
    fn spans_have_a_unit_and_a_bound() {
        let millis = |value: &str| text::<Span>(value).map(Span::millis);
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("5s"), Some(5_000));
        assert_eq!(millis("2min"), Some(120_000));
        for bad in [
            "5",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "5 s",
            "25000000000000000000s",
            "1441min",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
        assert_eq!(
            text::<Span>("1500ms").map(|s| s.to_string()),
            Some("1500ms".into())
        );
        assert_eq!(
            text::<Span>("2min").map(|s| s.to_string()),
            Some("120s".into())
        );
    }

    #[test]
    fn interfaces_know_their_network() {
        let interface: Interface = "10.9.0.100/24".parse().unwrap();
        let has_room = |ip: &str| interface.has_room_for(ip.parse().unwrap());
        assert!(has_room("10.9.0.1") && has_room("10.9.0.254"));
        assert!(!has_room("10.9.0.0") && !has_room("10.9.0.255") && !has_room("10.9.1.1"));
        assert!(!has_room("fd00::1"));
        let v6: Interface = "fd00::10/64".parse().unwrap();
        assert!(v6.reaches("fd00::1".parse().unwrap()));
        assert!(!v6.reaches("fd00:0:0:1::1".parse().unwrap()));
        let all: Interface = "10.0.0.1/0".parse().unwrap();
        assert!(all.reaches("192.0.2.1".parse().unwrap()));
        for bad in [
            "10.9.0.100",
            "10.9.0.100/33",
            "10.9.0.0/24",
            "10.9.0.255/24",
            "x/24",
        ] {
            assert!(bad.parse::<Interface>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_need_no_quoting() {
        assert!(text::<PlainPath>("/etc/cluster/fence_xvm.key").is_some());
        for bad in ["key", "/a b", "/a\"", "/a/../b", "/", "/a;b"] {
            assert!(text::<PlainPath>(bad).is_none(), "{bad}");
        }
    }
}
