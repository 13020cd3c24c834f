//! Which state of knowledge a definition is measured against.

use std::fmt;
use std::str::FromStr;

use cluster::{Definition, Os, Platform, PlatformKind};
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

    /// The edition that fits a definition: the document's if it names software of the document's time
    /// (RHEL 5 and 6 and their clones, ESX 4, RHEV 2 and 3, Windows Server 2008), else today's.
    #[must_use]
    pub fn fitting(definition: &Definition) -> Self {
        let hosts = definition.hosts.iter().filter_map(|host| host.os.as_ref());
        let nodes = definition.nodes.iter().filter_map(|node| node.os.as_ref());
        let common = [&definition.platform.os, &definition.guests.os];
        let mut systems = hosts.chain(nodes).chain(common.into_iter().flatten());
        if old_product(&definition.platform) || systems.any(is_old) {
            Self::Document
        } else {
            Self::Today
        }
    }

    /// As it is written on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Today => "today",
        }
    }
}

/// Whether a system is of the document's time.
fn is_old(os: &Os) -> bool {
    let enterprise = ["rhel", "centos", "oracle"].iter().any(|name| os.is(name));
    enterprise && os.version.major() <= 6
}

/// Whether a platform's version is of the document's time.
fn old_product(platform: &Platform) -> bool {
    let before = |limit: u32| {
        let version = platform.version.as_ref();
        version.is_some_and(|version| version.major() < limit)
    };
    match platform.kind {
        PlatformKind::Vmware => before(5),
        PlatformKind::Rhev => before(4),
        PlatformKind::HyperV => before(2012),
        _ => false,
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
