//! What the machines should look like in the end.

mod from_definition;

use std::net::IpAddr;

use cluster::File;
use sha2::{Digest, Sha256};

use crate::machine::{Machine, Role};

/// Where Corosync's configuration lies.
pub const COROSYNC_CONF: &str = "/etc/corosync/corosync.conf";
/// Where Corosync's key lies.
pub const COROSYNC_KEY: &str = "/etc/corosync/authkey";
/// Where Pacemaker's configuration lies. It is written only for a cluster that starts for the first
/// time; afterwards the file is Pacemaker's, which is asked for changes instead.
pub const CIB: &str = cluster::CIB;

/// Corosync's unit.
pub(crate) const COROSYNC: &str = "corosync.service";
/// Pacemaker's unit.
pub(crate) const PACEMAKER: &str = "pacemaker.service";

/// The wish: every machine of a cluster, with what belongs on it.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The cluster's name.
    pub cluster: String,
    /// Which secrets the keys were made from: a fingerprint that is no secret itself. See
    /// [`crate::Keys::fingerprint`].
    pub keys: String,
    /// The machines.
    pub machines: Vec<Wanted>,
}

/// The wish for one machine.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which.
    pub machine: Machine,
    /// Its files. Nodes have [`COROSYNC_CONF`] and [`CIB`] among them.
    pub files: Vec<File>,
    /// Programs that must be there, by name.
    pub programs: Vec<String>,
    /// systemd's units that must be enabled and running, in the order in which they start. Corosync's
    /// and Pacemaker's need not be named.
    pub units: Vec<String>,
    /// Units that systemd must not start: Pacemaker does. Those that the machine does not have need not
    /// be left out.
    pub disabled: Vec<String>,
    /// Addresses that must be the machine's own: is it the one that is meant?
    pub addresses: Vec<IpAddr>,
    /// Steps that prepare storage, in their order. See [`Preparation`].
    pub preparations: Vec<Preparation>,
}

impl Wanted {
    /// A machine on which nothing is wanted yet.
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self {
            machine,
            files: Vec::new(),
            programs: Vec::new(),
            units: Vec::new(),
            disabled: Vec::new(),
            addresses: Vec::new(),
            preparations: Vec::new(),
        }
    }

    /// A file's content by its path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path.as_os_str() == path)
    }

    pub(crate) fn is_node(&self) -> bool {
        self.machine.role == Role::Node
    }
}

pub use from_definition::NotDeployable;

/// A step that makes a file system or a volume where there is none.
///
/// Its script is POSIX sh. Run with `PICKET_PREPARE=look` in its environment it changes nothing and
/// ends with 0 if there is nothing left to do, with 10 if there is, and with anything else if it must
/// not be done, because the device holds something say. Run with `PICKET_PREPARE=do` it does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// What it does, for people: "make the volume group vg_shared".
    pub title: String,
    /// The script.
    pub script: String,
    /// Whether it needs the running cluster (DLM, lvmlockd). Otherwise it comes before the start.
    pub clustered: bool,
}

impl Desired {
    /// The wish for the machine of that name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Wanted> {
        self.machines
            .iter()
            .find(|wanted| wanted.machine.name == name)
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Wanted> {
        self.machines.iter().filter(|wanted| wanted.is_node())
    }

    /// The hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Wanted> {
        self.machines.iter().filter(|wanted| !wanted.is_node())
    }

    /// Pacemaker's wanted configuration: that of the first node; it is the same on all.
    pub(crate) fn cib(&self) -> Option<&File> {
        self.nodes().find_map(|node| node.file(CIB))
    }
}

/// SHA-256 in hexadecimal, as `sha256sum` prints it.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// Whether a file's content may be shown: only what every user of the machine may read anyway.
pub(crate) const fn may_be_shown(file: &File) -> bool {
    file.mode & 0o004 != 0
}

/// Whether a path can be handled: absolute, plain, without `..`.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./@+,:".contains(&b);
    path.starts_with('/')
        && !path.ends_with('/')
        && path.bytes().all(plain)
        && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_or_refused() {
        assert!(is_plain_path("/etc/corosync/corosync.conf"));
        for bad in [
            "etc/x",
            "/etc/../x",
            "/etc/x/",
            "/etc/a b",
            "/etc/a\tb",
            "",
            "/a'b",
        ] {
            assert!(!is_plain_path(bad), "{bad}");
        }
    }

    #[test]
    fn the_checksum_is_what_sha256sum_prints() {
        assert_eq!(
            checksum(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
