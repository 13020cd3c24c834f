//! Which state of knowledge a definition is measured against.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Which state of knowledge a definition is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Edition {
    /// The requirement document, exactly as written: the time of RHEL 5 and 6.
    Document,
    /// What public sources say today, each with how sure it is.
    Today,
}

impl Edition {
    /// Both editions, the older one first.
    pub const ALL: [Self; 2] = [Self::Document, Self::Today];

    /// As it is written on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Today => "today",
        }
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no [`Edition`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an edition: `document` or `today`")]
pub struct UnknownEdition(String);

impl FromStr for Edition {
    type Err = UnknownEdition;

    fn from_str(text: &str) -> Result<Self, UnknownEdition> {
        Self::ALL
            .into_iter()
            .find(|edition| edition.as_str() == text)
            .ok_or_else(|| UnknownEdition(text.to_owned()))
    }
}
