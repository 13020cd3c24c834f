//! Fields of parameter data.

/// Parameter data ended within a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("parameter data end after {have} bytes, within a field that ends at {need}")]
pub struct Truncated {
    /// Where the field ends.
    pub need: usize,
    /// How many bytes there are.
    pub have: usize,
}

/// The `N` bytes at `at`.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Truncated> {
    let need = at.saturating_add(N);
    bytes
        .get(at..need)
        .and_then(|field| field.try_into().ok())
        .ok_or(Truncated {
            need,
            have: bytes.len(),
        })
}

/// The `length` bytes at `at`.
pub(crate) fn span(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], Truncated> {
    let need = at.saturating_add(length);
    bytes.get(at..need).ok_or(Truncated {
        need,
        have: bytes.len(),
    })
}

/// `mask` if `set`.
pub(crate) const fn bit(set: bool, mask: u8) -> u8 {
    if set { mask } else { 0 }
}

/// A length as a field of four bytes.
pub(crate) fn length_u32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// A length as a field of two bytes.
pub(crate) fn length_u16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}
