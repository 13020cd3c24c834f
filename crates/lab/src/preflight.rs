//! What the machine must offer, checked before anything is changed.

use std::fmt::Write as _;

use serde::Serialize;

/// Something the machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "lacking", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precondition {
    /// Not running as root.
    Root,
}

impl Precondition {
    /// What is lacking and what to do about it.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Root => {
                "the lab needs root (network namespaces, taps): run it with sudo".to_owned()
            }
        }
    }

    /// All of `lacking`, one to a line.
    pub(crate) fn list(lacking: &[Self]) -> String {
        let mut text = String::from("this machine cannot hold the lab; nothing has been changed");
        for one in lacking {
            let _ = write!(text, "\n  - {}", one.message());
        }
        text
    }
}
