//! Tests that cannot run on this machine say so aloud.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    thread,
};

/// Something a test needs from the machine.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// The right to create namespaces and to end foreign processes.
    Root,
    /// A file, and the Debian package that brings it.
    File(&'static str, &'static str),
}

/// The C programs on both ends, and the tools that build a network.
pub const PEERS: [Need; 5] = [
    Need::Root,
    Need::File("/usr/bin/stdbuf", "coreutils"),
    Need::File("/usr/sbin/fence_xvm", "fence-virt"),
    Need::File("/usr/sbin/fence_virtd", "fence-virtd"),
    Need::File("/usr/sbin/ip", "iproute2"),
];

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Self::Root if rustix::process::geteuid().is_root() => None,
            Self::Root => Some("needs root, for network namespaces".to_owned()),
            Self::File(path, _) if Path::new(path).exists() => None,
            Self::File(path, package) => Some(format!(
                "needs {path}: install the Debian package {package}"
            )),
        }
    }
}

/// Whether the running test must be skipped because one of `needs` is missing. Says so on standard
/// error, past the capture of the test runner.
///
/// # Panics
/// Instead of skipping, when `PICKET_NO_SKIP=1` is set: on a machine that has everything, a skip
/// means that a test was lost.
#[must_use]
pub fn skipped(needs: &[Need]) -> bool {
    needs
        .iter()
        .find_map(|need| need.missing())
        .is_some_and(|reason| {
            skip(&reason);
            true
        })
}

/// As [`skipped`], for what `more` lists beside the [`PEERS`].
#[must_use]
pub fn skipped_with(more: &[Need]) -> bool {
    skipped(&[&PEERS[..], more].concat())
}

/// Announces that the running test is skipped for `reason`.
///
/// # Panics
/// See [`skipped`].
pub fn skip(reason: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    assert!(
        env::var_os("PICKET_NO_SKIP").is_none_or(|value| value != "1"),
        "{test} would be skipped, and PICKET_NO_SKIP forbids that: {reason}"
    );
    // A message that cannot be written leaves nobody to tell.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
}
