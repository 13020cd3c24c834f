//! What a lab is made of.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use cluster::{Definition, File};
use serde::{Deserialize, Serialize};

use crate::command::Cancel;
use crate::error::Error;

/// A lab's name: lower-case letters, digits and hyphens, starting with a letter, at most 32 bytes.
///
/// It names the network namespace and directories, so nothing else is let through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The longest name.
    pub const MAX: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LabName {
    /// `picket-lab`.
    fn default() -> Self {
        Self("picket-lab".to_owned())
    }
}

impl FromStr for LabName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(plain)
            && text.len() <= Self::MAX
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::BadName {
                name: text.to_owned(),
            })
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose programs fence: compared by the benchmark in otherwise the same lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// Our `fence_xvm` in the guests, our `fence_virtd` outside.
    Picket,
    /// Debian's `fence_xvm` in the guests, Debian's `fence_virtd` outside.
    C,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Picket => "picket",
            Self::C => "c",
        })
    }
}

/// One node: a guest of this name at this address of the lab's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Host name, libvirt domain name and Corosync node name.
    pub name: String,
    /// Its address in 10.9.0.0/24.
    pub address: Ipv4Addr,
}

/// What [`crate::Lab::up`] is to bring up.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Which lab. Several can run side by side.
    pub name: LabName,
    /// The cluster in it. Its nodes and virtual addresses must lie in 10.9.0.0/24.
    pub definition: Definition,
    /// Further files for every guest, besides those rendered from the definition.
    pub extra_files: Vec<File>,
    /// Memory of each guest in MiB. 384 holds Corosync, Pacemaker and a small service.
    pub memory_mib: u32,
    /// Whose fencing programs.
    pub stack: Stack,
    /// Where our `fence_virtd` and `picket-agents` are, for [`Stack::Picket`].
    pub bindir: PathBuf,
    /// Ignore a saved state: boot and form the cluster anew.
    pub fresh: bool,
    /// Only boot the guests: they have names, addresses and an SSH server, and nothing of a cluster.
    pub blank: bool,
    /// Size of each iSCSI disk of the definition, in MiB. It takes room only as it is written.
    pub disk_mib: u32,
    /// Set by a signal handler: every wait of `up` ends soon after, and what was started is taken down.
    pub cancel: Cancel,
}

impl Spec {
    /// Memory of a guest unless said otherwise, in MiB.
    pub const DEFAULT_MEMORY_MIB: u32 = 384;

    /// Size of a served disk unless said otherwise, in MiB.
    pub const DEFAULT_DISK_MIB: u32 = 512;

    /// A lab of the default name and size for `definition`, with our programs from
    /// [`Spec::default_bindir`].
    #[must_use]
    pub fn new(definition: Definition) -> Self {
        Self {
            name: LabName::default(),
            definition,
            extra_files: Vec::new(),
            memory_mib: Self::DEFAULT_MEMORY_MIB,
            stack: Stack::Picket,
            bindir: Self::default_bindir(),
            fresh: false,
            blank: false,
            disk_mib: Self::DEFAULT_DISK_MIB,
            cancel: Cancel::never(),
        }
    }

    /// `$PICKET_BINDIR`, else the directory of the running program.
    #[must_use]
    pub fn default_bindir() -> PathBuf {
        if let Some(dir) = std::env::var_os("PICKET_BINDIR").filter(|dir| !dir.is_empty()) {
            return dir.into();
        }
        std::env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(std::path::Path::to_path_buf))
            .unwrap_or_else(|| PathBuf::from("/usr/bin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_climb() {
        for good in ["picket-lab", "a", "lab2"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "A", "-x", "a b", "a\n", &"a".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?}");
        }
    }
}
