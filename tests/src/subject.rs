//! Who is under test, and where its programs are.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

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
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::C, Self::Ours];

    /// The daemon's program.
    #[must_use]
    pub fn daemon(self) -> PathBuf {
        match self {
            Self::Ours => ours("fence_virtd"),
            Self::C => PathBuf::from("/usr/sbin/fence_virtd"),
        }
    }
}

/// Pairs of agent and daemon that can be tested, the C pair first: where that one fails, the case
/// itself is wrong.
pub const PAIRS: [(Subject, Subject); 4] = [
    (Subject::C, Subject::C),
    (Subject::C, Subject::Ours),
    (Subject::Ours, Subject::C),
    (Subject::Ours, Subject::Ours),
];

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
