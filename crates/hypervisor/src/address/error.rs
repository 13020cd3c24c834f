//! What is wrong with an address.

use std::ops::Range;

/// Which mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// There is no scheme, or nothing behind it.
    Form,
    /// The scheme is a slip of the fingers.
    Scheme,
    /// The scheme is known, but not to this build.
    NotInThisBuild,
    /// There is a password in it.
    Password,
    /// The user is missing or cannot be one.
    User,
    /// The host is missing or cannot be one.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// Something stands between host and `?`.
    Path,
    /// A key that the platform does not have.
    Key,
    /// A value that its key does not take.
    Value,
    /// A key that stands there twice, or beside one that contradicts it.
    Contradiction,
}

/// Why text is no address: what, where, and the remedy. Whatever could be a secret is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct AddressError {
    pub(super) kind: AddressErrorKind,
    pub(super) span: Range<usize>,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl AddressError {
    /// Which mistake it is.
    #[must_use]
    pub const fn kind(&self) -> AddressErrorKind {
        self.kind
    }

    /// The place, in bytes of the text that was read.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}
