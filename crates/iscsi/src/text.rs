//! Text keys: `key=value` pairs that end with NUL (RFC 7143, "Text Format").

use std::collections::HashSet;
use std::fmt;

/// The most text that is gathered from PDUs with the C bit, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The longest key.
const MAX_KEY: usize = 63;
/// The longest value of any key used here: a CHAP response or challenge of 1024 bytes in hexadecimal digits.
const MAX_VALUE: usize = 8192;

/// Why text is not a list of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than [`MAX_TEXT`].
    #[error("the text is longer than {MAX_TEXT} bytes")]
    TooLong,
    /// Not UTF-8, or the last pair does not end.
    #[error("the text is not a list of keys that end with NUL")]
    Malformed,
    /// A pair without `=`, or a key that is empty or too long.
    #[error("`{0}` is not key=value")]
    NotAPair(String),
    /// The same key twice.
    #[error("the key {0} comes twice")]
    Twice(String),
}

/// Keys and their values, in their order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Keys(Vec<(String, String)>);

impl Keys {
    /// No keys.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a pair. Neither may hold a NUL; what follows one is left out.
    pub fn push(&mut self, key: &str, value: impl fmt::Display) {
        let until_nul = |text: &str| text.split('\0').next().unwrap_or_default().to_owned();
        self.0.push((until_nul(key), until_nul(&value.to_string())));
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a data segment.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// Reads text, gathered from as many PDUs as it came in.
    ///
    /// # Errors
    /// If it is not a list of different keys with values.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let keys = Self::parse_list(bytes)?;
        // There may be thousands: each is looked at once.
        let mut seen = HashSet::with_capacity(keys.0.len());
        for (key, _) in &keys.0 {
            if !seen.insert(key) {
                return Err(KeyError::Twice(key.clone()));
            }
        }
        Ok(keys)
    }

    /// Reads text in which keys come again: targets that were found (RFC 7143, "SendTargets Operation").
    ///
    /// # Errors
    /// If it is not a list of keys with values.
    pub fn parse_list(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_TEXT {
            return Err(KeyError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError::Malformed)?;
        let mut keys = Self::new();
        let Some(text) = text.strip_suffix('\0') else {
            return if text.is_empty() {
                Ok(keys)
            } else {
                Err(KeyError::Malformed)
            };
        };
        // Some initiators pad with further NULs.
        for pair in text.split('\0').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, value)| {
                    (1..=MAX_KEY).contains(&key.len()) && value.len() <= MAX_VALUE
                })
                .ok_or_else(|| KeyError::NotAPair(shortened(pair)))?;
            keys.0.push((key.to_owned(), value.to_owned()));
        }
        Ok(keys)
    }
}

/// Values may be secret (CHAP responses): only keys are shown.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

fn shortened(pair: &str) -> String {
    pair.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_end_with_nul() {
        let keys = Keys::parse(b"InitiatorName=iqn.x\0SessionType=Normal\0").unwrap();
        assert_eq!(keys.get("SessionType"), Some("Normal"));
        assert_eq!(keys.encode(), b"InitiatorName=iqn.x\0SessionType=Normal\0");
        assert_eq!(Keys::parse(b"a=1\0\0\0\0").unwrap().encode(), b"a=1\0");
        assert!(Keys::parse(b"").unwrap().is_empty());
        assert_eq!(
            Keys::parse(b"SendTargets=\0").unwrap().get("SendTargets"),
            Some("")
        );
    }

    #[test]
    fn what_is_no_list_of_keys_is_refused() {
        assert_eq!(Keys::parse(b"a=1"), Err(KeyError::Malformed));
        assert_eq!(Keys::parse(b"a=\xFF\0"), Err(KeyError::Malformed));
        assert_eq!(Keys::parse(b"a\0"), Err(KeyError::NotAPair("a".into())));
        assert_eq!(Keys::parse(b"=1\0"), Err(KeyError::NotAPair("=1".into())));
        assert_eq!(Keys::parse(b"a=1\0a=2\0"), Err(KeyError::Twice("a".into())));
        assert_eq!(
            Keys::parse(&vec![b'a'; MAX_TEXT + 1]),
            Err(KeyError::TooLong)
        );
    }

    #[test]
    fn values_are_not_shown() {
        let mut keys = Keys::new();
        keys.push("CHAP_R", "0xsecret");
        assert_eq!(format!("{keys:?}"), "{\"CHAP_R\"}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(keys) = Keys::parse(&bytes) {
                prop_assert_eq!(Keys::parse(&keys.encode()), Ok(keys));
            }
        }
    }
}
