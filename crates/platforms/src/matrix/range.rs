//! Ranges of versions, and how people read them.

use std::fmt;

use cluster::{Os, Version};
use serde::Deserialize;

/// Versions from one on, up to but without another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VersionRange {
    /// The first. None: any.
    pub from: Option<Version>,
    /// The first that no longer belongs to it. None: there is no end.
    pub below: Option<Version>,
}

impl VersionRange {
    /// Whether `version` belongs to it.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        contains(self.from.as_ref(), self.below.as_ref(), version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.from.as_ref(), self.below.as_ref(), f)
    }
}

/// Versions of one operating system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OsRange {
    /// The distribution, as in [`Os::distribution`].
    pub os: String,
    /// The first version. None: any.
    pub from: Option<Version>,
    /// The first version that no longer belongs to it. None: there is no end.
    pub below: Option<Version>,
    /// Why it is open whether the range is meant at all.
    pub doubt: Option<String>,
}

impl OsRange {
    /// Whether `os` belongs to it.
    #[must_use]
    pub fn contains(&self, os: &Os) -> bool {
        os.is(&self.os) && contains(self.from.as_ref(), self.below.as_ref(), &os.version)
    }
}

impl fmt::Display for OsRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(distribution(&self.os))?;
        if self.from.is_some() || self.below.is_some() {
            f.write_str(" ")?;
        }
        show(self.from.as_ref(), self.below.as_ref(), f)
    }
}

fn contains(from: Option<&Version>, below: Option<&Version>, version: &Version) -> bool {
    from.is_none_or(|from| version.at_least(from)) && below.is_none_or(|below| version < below)
}

/// "5.4 or newer 5" where the range ends with the major version it begins in.
fn show(
    from: Option<&Version>,
    below: Option<&Version>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match (from, below) {
        (None, None) => Ok(()),
        (Some(from), None) => write!(f, "{from} or newer"),
        (None, Some(below)) => write!(f, "before {below}"),
        (Some(from), Some(below)) if below.parts() == [from.major() + 1] => {
            write!(f, "{from} or newer {}.x", from.major())
        }
        (Some(from), Some(below)) => write!(f, "{from} or newer, before {below}"),
    }
}

/// The name of a distribution for people.
#[must_use]
pub fn distribution(name: &str) -> &str {
    match name {
        "rhel" => "RHEL",
        "centos" => "CentOS",
        "centos-stream" => "CentOS Stream",
        "alma" => "AlmaLinux",
        "rocky" => "Rocky Linux",
        "oracle" => "Oracle Linux",
        "fedora" => "Fedora",
        "sles" => "SLES",
        "opensuse" => "openSUSE",
        "debian" => "Debian",
        "ubuntu" => "Ubuntu",
        "xcp-ng" => "XCP-ng",
        "xenserver" => "XenServer",
        "windows" => "Windows Server",
        "esxi" => "ESXi",
        "esx" => "ESX",
        other => other,
    }
}

/// An operating system for people: "RHEL 6.1".
pub(crate) fn os_name(os: &Os) -> String {
    format!("{} {}", distribution(&os.distribution), os.version)
}

/// "A, B or C".
pub(crate) fn either<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut words: Vec<String> = Vec::new();
    for item in items {
        let word = item.to_string();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> OsRange {
        toml::from_str(text).unwrap()
    }

    fn os(text: &str) -> Os {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let five = range("os = 'rhel'\nfrom = '5.4'\nbelow = '6'");
        for inside in ["rhel 5.4", "rhel 5.11"] {
            assert!(five.contains(&os(inside)), "{inside}");
        }
        for outside in ["rhel 5.3", "rhel 6.0", "centos 5.4"] {
            assert!(!five.contains(&os(outside)), "{outside}");
        }
    }

    #[test]
    fn ranges_read_well() {
        for (text, words) in [
            (
                "os = 'rhel'\nfrom = '5.4'\nbelow = '6'",
                "RHEL 5.4 or newer 5.x",
            ),
            (
                "os = 'rhel'\nfrom = '7'\nbelow = '11'",
                "RHEL 7 or newer, before 11",
            ),
            ("os = 'sles'\nfrom = '15 SP1'", "SLES 15 SP1 or newer"),
            ("os = 'rhel'\nbelow = '6'", "RHEL before 6"),
            ("os = 'debian'", "Debian"),
        ] {
            assert_eq!(range(text).to_string(), words);
        }
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(either(Vec::<&str>::new()), "");
        assert_eq!(either(["a"]), "a");
        assert_eq!(either(["a", "b", "a", "c"]), "a, b or c");
    }
}
