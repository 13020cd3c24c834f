//! The name of what is to be switched.

use std::fmt;

use thiserror::Error;

/// The longest plug, in bytes: the field has 64 and the last stays zero.
pub const MAX_PLUG_LEN: usize = 63;

/// A guest's name or UUID as text: 1 to 63 bytes of UTF-8 without NUL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Plug(String);

/// Why a text cannot be a plug.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPlug {
    /// There is nothing in it.
    #[error("the plug is empty")]
    Empty,
    /// It does not fit its field.
    #[error("the plug is {0} bytes long; at most {MAX_PLUG_LEN} fit")]
    TooLong(usize),
    /// It holds a NUL byte, which would end it early.
    #[error("the plug holds a NUL byte")]
    Nul,
    /// It is not UTF-8; libvirt's names are.
    #[error("the plug is not UTF-8")]
    NotUtf8,
}

impl Plug {
    /// Checks `text` and makes it a plug.
    ///
    /// # Errors
    /// [`InvalidPlug`] if the text is empty, too long, or holds a NUL byte.
    pub fn new(text: &str) -> Result<Self, InvalidPlug> {
        match text.len() {
            0 => Err(InvalidPlug::Empty),
            n if n > MAX_PLUG_LEN => Err(InvalidPlug::TooLong(n)),
            _ if text.contains('\0') => Err(InvalidPlug::Nul),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The plug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a NUL-padded field; all zero means that no plug was given. What stands behind the first
    /// NUL is padding, which C peers do not clear, and is ignored.
    pub(crate) fn from_field(field: &[u8]) -> Result<Option<Self>, InvalidPlug> {
        let text = until_nul(field);
        if text.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(text).map_err(|_| InvalidPlug::NotUtf8)?;
        Self::new(text).map(Some)
    }

    /// Writes the plug into a NUL-padded field, which must be longer than [`MAX_PLUG_LEN`].
    pub(crate) fn to_field(plug: Option<&Self>, field: &mut [u8]) {
        field.fill(0);
        if let Some(plug) = plug {
            field[..plug.0.len()].copy_from_slice(plug.0.as_bytes());
        }
    }
}

/// The bytes of `field` before its first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_the_field_is_a_plug() {
        assert_eq!(Plug::new(""), Err(InvalidPlug::Empty));
        assert_eq!(Plug::new(&"x".repeat(64)), Err(InvalidPlug::TooLong(64)));
        assert_eq!(Plug::new("a\0b"), Err(InvalidPlug::Nul));
        assert!(Plug::new(&"x".repeat(63)).is_ok());
    }

    #[test]
    fn a_field_ends_at_its_first_nul() {
        assert_eq!(
            Plug::from_field(b"vm1\0junk").unwrap(),
            Some(Plug::new("vm1").unwrap())
        );
        assert_eq!(Plug::from_field(&[0; 64]).unwrap(), None);
        assert_eq!(
            Plug::from_field(&[b'x'; 64]),
            Err(InvalidPlug::TooLong(64)),
            "an unterminated name is not cut to another guest's"
        );
        assert_eq!(
            Plug::from_field(&[0xff, 0xfe, 0]),
            Err(InvalidPlug::NotUtf8)
        );
    }
}
