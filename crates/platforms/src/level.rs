//! How far something is supported, and how sure that is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a platform supports guest clusters. Ordered from the best to the worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Level {
    /// The vendor supports it.
    #[default]
    Supported,
    /// The vendor ships it for trial, without support.
    TechnologyPreview,
    /// No source that was read says, or none that is sure. Never counts as supported.
    Unverified,
    /// The vendor means to support it, and does not yet.
    Planned,
    /// The vendor says that it is not supported, or the list of what is does not name it.
    Unsupported,
}

impl Level {
    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::TechnologyPreview => "technology preview",
            Self::Unverified => "unverified",
            Self::Planned => "planned",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How sure a statement is. Ordered from the surest on.
///
/// The requirement document's statements are their own authority, hence [`Confidence::Verified`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// The source was read and says so.
    Verified,
    /// An old, undated or second-hand copy of the source was read and says so.
    VerifiedOld,
    /// From general knowledge: no source was read.
    Unverified,
    /// A source was looked for, and none was found: the answer is open.
    NotFound,
}

impl Confidence {
    /// Whether "supported" may rest on it.
    #[must_use]
    pub const fn is_evidence(self) -> bool {
        matches!(self, Self::Verified | Self::VerifiedOld)
    }

    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::VerifiedOld => "verified in an old copy",
            Self::Unverified => "unverified",
            Self::NotFound => "nothing found",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
