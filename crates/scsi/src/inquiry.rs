//! Standard INQUIRY data (SPC-4, "Standard INQUIRY data"), in both directions.

use std::fmt;

/// A left-aligned field of at most `N` printable ASCII characters, filled with blanks (SPC-4, "ASCII data field
/// requirements").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>(String);

impl<const N: usize> Text<N> {
    /// The field; `None` if `text` is too long or holds anything but printable ASCII. Blanks at the end do not count.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(' ');
        let printable = text.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
        (text.len() <= N && printable).then(|| Self(text.to_owned()))
    }

    /// Without the blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the blanks.
    #[must_use]
    pub fn padded(&self) -> [u8; N] {
        let mut bytes = [b' '; N];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
