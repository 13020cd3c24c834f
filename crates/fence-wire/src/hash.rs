//! Keys, and the keyed hashes that sign packets and answer challenges.

use std::fmt;
use std::str::FromStr;

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// At most this many bytes of a key file count; the C programs read no further.
pub const MAX_KEY_LEN: usize = 4096;

/// Room for the longest digest; shorter ones are left-aligned and zero-padded.
pub(crate) const DIGEST_ROOM: usize = 64;

/// How a packet is signed or a challenge answered. Ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashType {
    /// Not at all.
    None,
    /// SHA-1; only for peers that know nothing better.
    Sha1,
    /// SHA-256, the default everywhere.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A text or a wire code that names no hash.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown hash `{0}`; known are none, sha1, sha256 and sha512")]
pub struct UnknownHash(pub String);

impl HashType {
    /// Every hash, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The code in a packet.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha512 => 3,
        }
    }

    /// The hash with this code in a packet.
    #[must_use]
    pub fn from_wire(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.wire() == code)
    }

    /// The name used on command lines and in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// H(key ‖ data), left-aligned in 64 bytes and zero-padded. All zero for [`HashType::None`].
    pub(crate) fn digest(self, key: &Key, data: &[u8]) -> [u8; DIGEST_ROOM] {
        let mut out = [0; DIGEST_ROOM];
        match self {
            Self::None => {}
            Self::Sha1 => keyed::<Sha1>(key, data, &mut out),
            Self::Sha256 => keyed::<Sha256>(key, data, &mut out),
            Self::Sha512 => keyed::<Sha512>(key, data, &mut out),
        }
        out
    }
}

fn keyed<D: Digest>(key: &Key, data: &[u8], out: &mut [u8; DIGEST_ROOM]) {
    let digest = D::new().chain_update(&key.0).chain_update(data).finalize();
    out[..digest.len()].copy_from_slice(&digest);
}

/// Compares two padded digests without telling by the time it takes where they differ.
pub(crate) fn same_digest(a: &[u8; DIGEST_ROOM], b: &[u8; DIGEST_ROOM]) -> bool {
    a.ct_eq(b).into()
}

impl fmt::Display for HashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashType {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|hash| hash.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownHash(text.to_owned()))
    }
}

/// The secret that guests and hosts share: the raw bytes of the key file, nothing stripped. Wiped from
/// memory when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key from a key file's bytes. Bytes past [`MAX_KEY_LEN`] do not count.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(MAX_KEY_LEN)].to_vec())
    }

    /// No key at all, for peers that use neither hash nor authentication.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there is no secret in it. A packet signed with an empty key proves nothing, so
    /// verification always refuses it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_round_trip() {
        for hash in HashType::ALL {
            assert_eq!(hash.name().parse(), Ok(hash));
            assert_eq!(HashType::from_wire(hash.wire()), Some(hash));
        }
        assert_eq!(HashType::from_wire(4), None);
        assert!("md5".parse::<HashType>().is_err());
        assert!(HashType::Sha1 < HashType::Sha256);
    }

    #[test]
    fn a_key_is_cut_where_the_c_programs_stop_reading() {
        let long = [7u8; 5000];
        let digest = |bytes: &[u8]| HashType::Sha256.digest(&Key::new(bytes), b"x");
        assert_eq!(digest(&long), digest(&long[..4096]));
        assert_ne!(digest(b"abc"), digest(b"abc\n"), "nothing is stripped");
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", Key::new(b"secret")), "Key(6 bytes)");
    }
}
