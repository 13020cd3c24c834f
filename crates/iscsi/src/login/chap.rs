//! CHAP: each side proves that it knows a secret (RFC 7143, "Challenge Handshake Authentication Protocol (CHAP)"; RFC
//! 1994).

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The shortest secret in bytes (RFC 7143, "CHAP Considerations": 96 bits).
pub const MIN_SECRET: usize = 12;
/// The longest secret in bytes.
pub const MAX_SECRET: usize = 256;
/// Length of the challenges made here in bytes.
pub(super) const CHALLENGE: usize = 32;

/// A secret. It is wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// A secret of a length that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a CHAP secret has {MIN_SECRET} to {MAX_SECRET} bytes, not {0}")]
pub struct SecretLength(pub usize);

impl Secret {
    /// A secret.
    ///
    /// # Errors
    /// If it is too short to be safe, or too long.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretLength> {
        let bytes = Zeroizing::new(bytes);
        if (MIN_SECRET..=MAX_SECRET).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretLength(bytes.len()))
        }
    }

    /// Whether both are the same, in a time that tells nothing.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A name and the secret that goes with it.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// CHAP_N
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

/// CHAP_A: how the response is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA3-256
    Sha3,
    /// SHA-256
    Sha256,
    /// SHA-1
    Sha1,
    /// MD5: the only one every peer knows.
    Md5,
}

impl Algorithm {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Sha3, Self::Sha256, Self::Sha1, Self::Md5];

    /// Its number in CHAP_A.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3 => 8,
        }
    }

    pub(super) fn from_code(code: &str) -> Option<Self> {
        let code: u8 = code.parse().ok()?;
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// The first of a list that is known here.
    pub(super) fn choose(list: &str) -> Option<Self> {
        list.split(',').find_map(Self::from_code)
    }

    /// What proves that `secret` is known: the hash of identifier, secret and challenge.
    #[must_use]
    pub fn response(self, identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        let parts = [&[identifier], secret.0.as_slice(), challenge];
        match self {
            Self::Md5 => hash::<md5::Md5>(&parts),
            Self::Sha1 => hash::<sha1::Sha1>(&parts),
            Self::Sha256 => hash::<sha2::Sha256>(&parts),
            Self::Sha3 => hash::<sha3::Sha3_256>(&parts),
        }
    }
}

fn hash<D: sha1::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// A question that was asked: what must come back is known only to whoever knows the secret.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) algorithm: Algorithm,
    pub(super) identifier: u8,
    pub(super) challenge: Vec<u8>,
}

impl Question {
    /// A new one, of bytes from `random`.
    pub(super) fn ask(algorithm: Algorithm, random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = [0; 1 + CHALLENGE];
        random(&mut bytes);
        let [identifier, challenge @ ..] = bytes;
        Self {
            algorithm,
            identifier,
            challenge: challenge.to_vec(),
        }
    }

    /// Whether `response` answers it, in a time that tells nothing.
    pub(super) fn answered(&self, secret: &Secret, response: &[u8]) -> bool {
        let expected = self
            .algorithm
            .response(self.identifier, secret, &self.challenge);
        expected.as_slice().ct_eq(response).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec()).unwrap()
    }

    /// Computed by openssl from the same bytes: `printf '\x01secret-secretabc' | openssl dgst -ALGORITHM`.
    #[test]
    fn responses_are_those_that_openssl_computes() {
        let secret = secret("secret-secret");
        let response = |algorithm: Algorithm| {
            let bytes = algorithm.response(1, &secret, b"abc");
            crate::login::value::encode(&bytes)
        };
        assert_eq!(
            response(Algorithm::Md5),
            "0xe1f09e3f50b4476be9f0399b41169b2e"
        );
        assert_eq!(
            response(Algorithm::Sha1),
            "0x66945121f01bc1a812779b4b2c162f7fa51789a5"
        );
        assert_eq!(
            response(Algorithm::Sha256),
            "0x34bf7637f980e0b3ad4d9714fba86ba856dbc94cc6bdce198c39bc0595fde2b8"
        );
        assert_eq!(
            response(Algorithm::Sha3),
            "0x63e3a28de976a8510ece4430ab7c0847c69c94f26de9d1d0edc08a7cb09dfcf1"
        );
    }

    #[test]
    fn short_secrets_are_refused_and_none_is_shown() {
        let refused = Secret::new(b"elevenbytes".to_vec()).unwrap_err();
        assert_eq!(refused, SecretLength(11));
        let credentials = Credentials {
            name: "n".into(),
            secret: secret("not-to-be-seen"),
        };
        assert!(!format!("{credentials:?}").contains("seen"));
    }

    #[test]
    fn the_first_known_algorithm_is_chosen() {
        assert_eq!(Algorithm::choose("9,7,5"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::choose("5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::choose("1,x,"), None);
    }
}
