//! What a reason rests on.

use serde::Serialize;

use crate::level::Confidence;
use crate::matrix::{Bibliography, Matrix, Publication, confidence};

/// What a reason rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// A statement of the requirement document ("S19"), or the key of a fact of today ("kvm.pr").
    pub id: String,
    /// Where that is written, in words.
    pub citation: String,
    /// Where it can be read, if it is published.
    pub url: Option<String>,
    /// How sure it is.
    pub confidence: Confidence,
}

impl Source {
    /// How many statements the requirement document has: S01 to S53.
    pub const STATEMENTS: u8 = 53;

    /// Where the requirement document is published.
    pub const DOCUMENT_URL: &'static str = "http://docs.redhat.com/docs/en-US/Red_Hat_Enterprise_Linux/6/html/High_Availability_Add-On_Overview/s1-virt-guestcluster.html";

    /// A statement of the requirement document, which is its own authority.
    #[must_use]
    pub fn statement(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            citation: format!("{id} of the requirement document"),
            url: Some(Self::DOCUMENT_URL.to_owned()),
            confidence: Confidence::Verified,
        }
    }

    /// What a citation resolves to: a statement ("S19"), the key of a fact ("kvm.pr"), or `KEY#firm` for
    /// the surer part of a fact. What cannot be resolved is not sure at all.
    #[must_use]
    pub fn cited(citation: &str) -> Self {
        if Self::is_statement(citation) {
            return Self::statement(citation);
        }
        let sure = confidence(citation);
        let key = citation.strip_suffix("#firm").unwrap_or(citation);
        let publications: Vec<&Publication> = Matrix::fact(key)
            .into_iter()
            .flat_map(|fact| &fact.sources)
            .filter_map(|id| Bibliography::get().find(id))
            .collect();
        let titles: Vec<&str> = publications
            .iter()
            .map(|known| known.title.as_str())
            .collect();
        Self {
            id: key.to_owned(),
            citation: match (titles.as_slice(), sure) {
                ([], Confidence::NotFound) => "no text was found".to_owned(),
                ([], _) => "general knowledge, not read anywhere".to_owned(),
                (titles, _) => titles.join("; "),
            },
            url: publications
                .iter()
                .find_map(|known| known.urls.first().cloned()),
            confidence: sure,
        }
    }

    /// That no source was found which names something.
    #[must_use]
    pub(crate) fn nothing_found() -> Self {
        Self {
            id: "unlisted".to_owned(),
            citation: "no text was found that names it".to_owned(),
            url: None,
            confidence: Confidence::NotFound,
        }
    }

    /// Engineering judgement of this project, where no text decides: `why` says in a few words what it
    /// follows from.
    #[must_use]
    pub fn judgement(id: &str, why: &str) -> Self {
        Self {
            id: id.to_owned(),
            citation: why.to_owned(),
            url: None,
            confidence: Confidence::Verified,
        }
    }

    /// This project's judgement of what a statement or a fact means elsewhere: `why` says in a few words
    /// what was concluded. It is as sure as what it was concluded from.
    #[must_use]
    pub(crate) fn concluded(citation: &str, why: &str) -> Self {
        let from = Self::cited(citation);
        Self {
            citation: format!("judgement, {why}; from: {}", from.citation),
            ..from
        }
    }

    /// Whether `id` is the number of a statement of the requirement document.
    #[must_use]
    pub fn is_statement(id: &str) -> bool {
        id.strip_prefix('S')
            .filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u8>().ok())
            .is_some_and(|number| (1..=Self::STATEMENTS).contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_numbered_from_1_to_53() {
        for id in ["S01", "S09", "S53"] {
            assert!(Source::is_statement(id), "{id}");
        }
        for id in [
            "S00", "S54", "S1", "S001", "s01", "S-1", "S+1", "kvm.pr", "",
        ] {
            assert!(!Source::is_statement(id), "{id}");
        }
    }
}
