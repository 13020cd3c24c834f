//! Versions of products and operating systems.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::Invalid;

/// A version of a product: `6.1`, `4.0`, `7.0u3`, `2012 R2`, `11 SP3`.
///
/// Compared by its numbers: `7.0u3` is 7.0.3, `2012 R2` is 2012.2, and 4 equals 4.0.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    text: String,
    parts: Vec<u32>,
}

impl Version {
    /// The numbers, without trailing zeros; the first is always there.
    #[must_use]
    pub fn parts(&self) -> &[u32] {
        &self.parts
    }

    /// The first number.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.parts.first().copied().unwrap_or(0)
    }

    /// The second number; zero if there is none.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.parts.get(1).copied().unwrap_or(0)
    }

    /// Whether this is `least` or newer.
    #[must_use]
    pub fn at_least(&self, least: &Self) -> bool {
        self >= least
    }

    fn read(text: &str) -> Option<Vec<u32>> {
        if text.is_empty() || text.len() > 32 || !text.is_ascii() {
            return None;
        }
        let lower = text.to_ascii_lowercase();
        let separated = lower
            .replace("sp", ".")
            .replace(['u', 'r', 'p', '-', ' '], ".");
        let mut parts = separated
            .split('.')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u32>>>()?;
        let clean = !lower.contains("..")
            && lower.starts_with(|c: char| c.is_ascii_digit())
            && lower.ends_with(|c: char| c.is_ascii_digit());
        if !clean || parts.is_empty() || parts.len() > 6 {
            return None;
        }
        while parts.len() > 1 && parts.last() == Some(&0) {
            parts.pop();
        }
        Some(parts)
    }
}

impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::read(text)
            .map(|parts| Self {
                text: text.to_owned(),
                parts,
            })
            .ok_or_else(|| {
                Invalid::new(format!(
                    "`{text}` is not a version: write numbers, as in `6.1`, `7.0u3` or `2012 R2`"
                ))
            })
    }
}

impl TryFrom<String> for Version {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

/// As it was written.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts.hash(state);
    }
}

super::schema!(Version, "Version", {
    "type": "string",
    "pattern": "^[0-9]+([. -]?(SP|sp|[uUrRpP])?[0-9]+)*$",
    "maxLength": 32,
    "examples": ["4.0", "7.0u3", "2012 R2"]
});

/// An operating system: a distribution and its version, as in `rhel 6.1` or `debian 12`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub struct Os {
    /// The distribution, in lower case; one of [`Os::DISTRIBUTIONS`].
    pub distribution: String,
    /// Its version.
    pub version: Version,
}

impl Os {
    /// The distributions that are known by name, and `other` for the rest.
    pub const DISTRIBUTIONS: &'static [&'static str] = &[
        "rhel",
        "centos",
        "centos-stream",
        "alma",
        "rocky",
        "oracle",
        "fedora",
        "sles",
        "opensuse",
        "debian",
        "ubuntu",
        "xcp-ng",
        "xenserver",
        "ovirt-node",
        "rhv-h",
        "proxmox",
        "windows",
        "esxi",
        "esx",
        "ahv",
        "azure-linux",
        "amazon-linux",
        "rhcos",
        "other",
    ];

    /// Whether this is the distribution `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.distribution == name
    }
}

impl FromStr for Os {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (distribution, version) = text.split_once(' ').ok_or_else(|| {
            Invalid::new(format!(
                "`{text}` is not an operating system: write its name and version, as in `debian 12` or `rhel 6.1`"
            ))
        })?;
        let distribution = distribution.to_lowercase();
        if !Self::DISTRIBUTIONS.contains(&distribution.as_str()) {
            return Err(Invalid::new(format!(
                "unknown distribution `{distribution}`, expected one of `{}`",
                Self::DISTRIBUTIONS.join("`, `")
            )));
        }
        Ok(Self {
            distribution,
            version: version.trim_start().parse()?,
        })
    }
}

impl TryFrom<String> for Os {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.distribution, self.version)
    }
}

super::schema!(Os, "Os", {
    "type": "string",
    "pattern": "^[A-Za-z-]+ [0-9]+([. -]?(SP|sp|[uUrRpP])?[0-9]+)*$",
    "examples": ["debian 12", "rhel 6.1", "windows 2012 R2"]
});
