//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// Line of the place, counted from 1.
    pub line: usize,
    /// Column of the place in characters, counted from 1.
    pub column: usize,
}

/// A mistake before its line is known.
#[derive(Debug)]
pub(super) struct Finding {
    span: Range<usize>,
    message: String,
}

impl Finding {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
        }
    }

    pub(super) fn from_toml(error: &toml::de::Error) -> Self {
        let message = error.message().trim_end().replace('\n', "; ");
        let message = message.replace("unknown field", "unknown key");
        let message = message.replace("missing field", "missing key");
        Self::new(error.span().unwrap_or(0..0), message)
    }
}

/// A configuration that cannot be used. `Display` shows each mistake with its line, column and a picture of the place.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// It is wrong.
    #[error("{report}")]
    Wrong {
        /// Every mistake, in the order of the text.
        problems: Vec<Problem>,
        /// For people.
        report: String,
    },
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ConfigError {
    pub(super) fn wrong(path: &Path, text: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.span.start);
        let renderer = Renderer::plain();
        let mut report = String::new();
        let mut problems = Vec::new();
        for finding in findings {
            let end = floor(text, finding.span.end);
            let start = floor(text, finding.span.start.min(end));
            let before = &text[..start];
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let line = before.matches('\n').count() + 1;
            let column = text[line_start..start].chars().count() + 1;
            let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
            let name = path.display().to_string();
            let picture = Level::ERROR.primary_title(&finding.message).element(
                Snippet::source(&text[line_start..line_end])
                    .path(&name)
                    .line_start(line)
                    .annotation(AnnotationKind::Primary.span(start - line_start..end - line_start)),
            );
            report.push_str(&renderer.render(&[picture]));
            report.push('\n');
            problems.push(Problem {
                message: finding.message,
                line,
                column,
            });
        }
        Self::Wrong {
            problems,
            report: report.trim_end().to_owned(),
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
