//! Where the facts of today were read.

use std::sync::OnceLock;

use serde::Deserialize;

/// The public sources of the facts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Bibliography {
    /// In the order of the data file.
    #[serde(rename = "source")]
    pub sources: Vec<Publication>,
}

/// A public source of facts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Publication {
    /// By what facts cite it.
    pub id: String,
    /// Its title, with the day of the edition that was read where it is known.
    pub title: String,
    /// Where it is.
    pub urls: Vec<String>,
    /// For a repository: the files that were read.
    #[serde(default)]
    pub paths: Vec<String>,
    /// What to know about it.
    pub note: Option<String>,
}

impl Bibliography {
    /// All sources.
    #[must_use]
    pub fn get() -> &'static Self {
        static SOURCES: OnceLock<Bibliography> = OnceLock::new();
        SOURCES.get_or_init(|| {
            toml::from_str(include_str!("../../data/sources.toml"))
                .expect("the data is compiled in, and a test reads it")
        })
    }

    /// The source of that id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Publication> {
        self.sources.iter().find(|source| source.id == id)
    }
}
