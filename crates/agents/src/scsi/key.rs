//! Reservation keys of nodes.
//!
//! | scheme | key | distinct as long as |
//! |---|---|---|
//! | `id` | 16 bits of the cluster's name, then the node's position in Corosync's node list | positions are below 10000 and nobody else's cluster has the same 16 bits |
//! | `hash` | 16 bits of the cluster's name, 16 bits of the node's | no two names share 16 bits |
//! | `unique` | 63 bits of both names together, the top bit set | always, for all that matters |
//!
//! `id` and `hash` are those of fence-agents, digit for digit. A `unique` key has its top bit set, which no key of the
//! other two has: the schemes cannot collide with each other. That no key collides with another node's is not left to
//! arithmetic alone: see [`super::admit`].

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use scsi::pr::Key;
use sha2::Sha256;

/// How a node's key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// By the node's position in the node list.
    Id,
    /// By 16 bits of the node's name.
    Hash,
    /// By both names, 64 bits wide.
    Unique,
}

impl Scheme {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Id, Self::Hash, Self::Unique];

    /// The values of option `key_value`.
    pub(crate) const NAMES: &'static [&'static str] = &["id", "hash", "unique"];

    /// From a value of `key_value`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "id" => Some(Self::Id),
            "hash" => Some(Self::Hash),
            "unique" => Some(Self::Unique),
            _ => None,
        }
    }

    /// The key of the node `name` at `position` of the node list. `None` only where the digits amount to zero, which is
    /// no key.
    pub(crate) fn key(self, cluster: &str, name: &str, position: u32) -> Option<Key> {
        match self {
            Self::Id => classic(cluster, &format!("{position:04}")),
            Self::Hash => classic(cluster, &first_digits(name)),
            Self::Unique => Some(unique(cluster, name)),
        }
    }
}

/// Four hexadecimal digits of the cluster's name and then the node's digits, read as one hexadecimal number. In the
/// scheme `id` the node's digits are decimal ones, and are read as hexadecimal all the same.
fn classic(cluster: &str, node: &str) -> Option<Key> {
    let digits = first_digits(cluster) + node;
    u64::from_str_radix(&digits, 16).ok().and_then(Key::new)
}

/// Whether a key has the form of one by position in a cluster: decimal digits after those of the cluster's name.
pub(crate) fn is_position(key: Key, cluster: &str) -> bool {
    let digits = format!("{:08x}", key.get());
    digits
        .strip_prefix(&first_digits(cluster))
        .is_some_and(|rest| {
            (4..=5).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_digit())
        })
}

/// Digits for a name, for use in a file's name.
pub(crate) fn name_digits(name: &str) -> String {
    format!("{:x}", unique("", name).get())
}

/// The first four hexadecimal digits of the MD5 of `text`: not for security, but because it is what every other node of a
/// running cluster computes.
fn first_digits(text: &str) -> String {
    let mut digits = String::with_capacity(4);
    for byte in Md5::digest(text.as_bytes()).iter().take(2) {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// SHA-256 of both names; a NUL, which neither can hold, keeps `a`+`bc` and `ab`+`c` apart.
fn unique(cluster: &str, node: &str) -> Key {
    let mut hash = Sha256::new();
    for part in [cluster, "\0", node] {
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(hash.finalize().iter()) {
        *to = *from;
    }
    let value = u64::from_be_bytes(bytes) | 1 << 63;
    // The top bit is set, so this is never the other key.
    Key::new(value).unwrap_or(TOP)
}

/// The least key of the scheme `unique`.
const TOP: Key = match Key::new(1 << 63) {
    Some(key) => key,
    None => unreachable!(),
};

/// A key as people write it: hexadecimal in any case, with `0x` or without, with leading zeros or without.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Key, String> {
    let text = text.trim();
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("`{text}` is not a hexadecimal number"));
    }
    let value = u64::from_str_radix(digits, 16)
        .map_err(|_| format!("`{text}` has more than the 64 bits of a key"))?;
    Key::new(value).ok_or_else(|| "a key cannot be 0".to_owned())
}

/// A key as fence-agents writes it into files: lower case, no `0x`, no leading zeros.
pub(crate) fn text(key: Key) -> String {
    format!("{:x}", key.get())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(scheme: Scheme, cluster: &str, name: &str, position: u32) -> String {
        scheme.key(cluster, name, position).map(text).unwrap()
    }

    /// As the packaged agent (fence-agents 4.12.1) computes them.
    #[test]
    fn the_classic_schemes_are_those_of_fence_agents() {
        assert_eq!(key(Scheme::Id, "mycluster", "node1", 12), "6c9d0012");
        assert_eq!(key(Scheme::Hash, "mycluster", "node1", 12), "6c9d1645");
        assert_eq!(key(Scheme::Id, "mycluster", "x", 0), "6c9d0000");
        assert_eq!(key(Scheme::Id, "mycluster", "x", 12345), "6c9d12345");
        for (text, is) in [
            ("6c9d0012", true),
            ("6c9d12345", true),
            ("6c9d1645", true),
            ("6c9d", false),
            ("6c9d001a", false),
        ] {
            assert_eq!(is_position(parse(text).unwrap(), "mycluster"), is, "{text}");
        }
    }

    #[test]
    fn a_unique_key_depends_on_both_names_and_on_where_they_meet() {
        let keys = [
            ("a", "bc"),
            ("ab", "c"),
            ("a", "b"),
            ("b", "a"),
            ("", "abc"),
        ]
        .map(|(cluster, node)| key(Scheme::Unique, cluster, node, 0));
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), 16, "{one}");
            assert!(!keys[..at].contains(one), "{keys:?}");
        }
        // The position plays no part, so removing a node changes nobody's key.
        assert_eq!(
            key(Scheme::Unique, "c", "n", 1),
            key(Scheme::Unique, "c", "n", 7)
        );
    }

    #[test]
    fn explicit_keys_are_numbers() {
        let key = parse("abc123").unwrap();
        for same in ["0xABC123", "ABC123", "000abc123", " 0X0abc123 "] {
            assert_eq!(parse(same), Ok(key), "{same}");
        }
        assert_eq!(text(key), "abc123");
        assert_eq!(parse("ffffffffffffffff").unwrap().get(), u64::MAX);
        for wrong in [
            "",
            "0x",
            "0",
            "000",
            "0x0",
            "xyz",
            "+1",
            "-1",
            "10000000000000000",
            "1 2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn the_schemes_never_meet(cluster: String, node: String, position in 0u32..100_000) {
            let unique = Scheme::Unique.key(&cluster, &node, position).unwrap();
            prop_assert!(unique.get() >= 1 << 63);
            for scheme in [Scheme::Id, Scheme::Hash] {
                if let Some(key) = scheme.key(&cluster, &node, position) {
                    prop_assert!(key.get() < 1 << 40);
                }
            }
        }

        #[test]
        fn keys_round_trip(value in 1u64..) {
            let key = Key::new(value).unwrap();
            prop_assert_eq!(parse(&text(key)), Ok(key));
        }
    }
}
