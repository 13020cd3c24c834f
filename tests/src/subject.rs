//! Who is under test, and where its programs are.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use crate::daemon::Route;

/// Whose program plays a part in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Picket's.
    Ours,
    /// The C programs of Debian's packages `fence-virt` and `fence-virtd`.
    C,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::C => "C",
        })
    }
}

impl Subject {
    /// Both of them, or the one that `$PICKET_SUBJECT` (`c` or `ours`) names: with `c` the cases
    /// themselves can be checked without a build of Picket.
    ///
    /// # Panics
    /// When the variable names something else.
    #[must_use]
    pub fn all() -> Vec<Self> {
        match env::var("PICKET_SUBJECT").as_deref() {
            Err(_) => vec![Self::C, Self::Ours],
            Ok("c") => vec![Self::C],
            Ok("ours") => vec![Self::Ours],
            Ok(other) => panic!("PICKET_SUBJECT is `{other}`: it must be c or ours, or not set"),
        }
    }

    /// The daemon's program.
    #[must_use]
    pub fn daemon(self) -> PathBuf {
        match self {
            Self::Ours => ours("fence_virtd"),
            Self::C => PathBuf::from("/usr/sbin/fence_virtd"),
        }
    }
}

/// Pairs of agent and daemon, the C pair first: where that one fails, the case itself is wrong.
#[must_use]
pub fn pairs() -> Vec<(Subject, Subject)> {
    let all = Subject::all();
    all.iter()
        .flat_map(|&agent| all.iter().map(move |&daemon| (agent, daemon)))
        .collect()
}

/// Every pair with every one of `routes`.
#[must_use]
pub fn pairs_over(routes: &[Route]) -> Vec<(Subject, Subject, Route)> {
    pairs()
        .into_iter()
        .flat_map(|(agent, daemon)| routes.iter().map(move |&route| (agent, daemon, route)))
        .collect()
}

/// The directory of the built programs: `$PICKET_BINDIR`, or the workspace's release directory.
#[must_use]
pub fn bindir() -> PathBuf {
    env::var_os("PICKET_BINDIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release"),
        PathBuf::from,
    )
}

/// The path of one of our programs.
///
/// # Panics
/// When it has not been built, saying how to build it.
#[must_use]
pub fn ours(program: &str) -> PathBuf {
    let path = bindir().join(program);
    assert!(
        path.is_file(),
        "{} does not exist: run `make build` first, or set PICKET_BINDIR to where the programs are",
        path.display()
    );
    path.canonicalize().expect("a file that exists has a path")
}
