//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use hypervisor::address::redact;

/// Whether the daemon can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can, but somebody should know.
    Warning,
    /// It cannot.
    Error,
}

/// One remark on the file: what, where, and the remedy. What could be a password in an address is blotted out of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    span: Range<usize>,
    title: String,
    label: String,
    help: Option<String>,
}

impl Diagnostic {
    /// An error at `span` (byte offsets into the file).
    #[must_use]
    pub fn error(span: Range<usize>, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, span, title.into())
    }

    /// A warning at `span`.
    #[must_use]
    pub fn warning(span: Range<usize>, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, title.into())
    }

    fn new(severity: Severity, span: Range<usize>, title: String) -> Self {
        Self {
            severity,
            span,
            title: redact(&title),
            label: String::new(),
            help: None,
        }
    }

    /// Adds what to say at the place itself.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = redact(&label.into());
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(redact(&help.into()));
        self
    }

    /// Whether the daemon can go on.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// The place, in bytes from the start of the file.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The remark in one line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Line and column of the place, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, source: &str) -> (usize, usize) {
        let start = floor_boundary(source, self.span.start);
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The remark with a picture of the place, for people.
    #[must_use]
    pub fn render(&self, source: &str, path: &str) -> String {
        let level = match self.severity {
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        // Control characters in the file would garble the picture, and the terminal.
        let shown: String = source.chars().map(printable).collect();
        let shown_at = |offset: usize| {
            source[..floor_boundary(source, offset)]
                .chars()
                .map(|character| printable(character).len_utf8())
                .sum::<usize>()
        };
        let span = shown_at(self.span.start)..shown_at(self.span.end);
        let picture = Snippet::source(shown.as_str()).path(path).annotation(
            AnnotationKind::Primary
                .span(span)
                .label(self.label.as_str()),
        );
        let main = level.primary_title(self.title.as_str()).element(picture);
        let report: Vec<Group<'_>> = match &self.help {
            None => vec![main],
            Some(help) => vec![main.element(Level::HELP.message(help.as_str()))],
        };
        Renderer::plain()
            .decor_style(DecorStyle::Ascii)
            .render(&report)
    }

    /// The remark in one line with its place, for logs.
    #[must_use]
    pub fn line(&self, source: &str, path: &str) -> String {
        let (line, column) = self.position(source);
        let remedy = self
            .help
            .as_ref()
            .map_or_else(String::new, |help| format!("; {help}"));
        format!("{path}:{line}:{column}: {}{remedy}", self.title)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

fn printable(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        '\r' => '␍',
        control if control.is_control() => '\u{fffd}',
        other => other,
    }
}

fn floor_boundary(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The known name nearest to `written`, if it is near enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && left[row - 1] == *to && *from == right[column - 1];
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = last;
        last = current;
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let source = "aé\nbc";
        assert_eq!(Diagnostic::error(0..1, "").position(source), (1, 1));
        assert_eq!(Diagnostic::error(3..3, "").position(source), (1, 3));
        assert_eq!(Diagnostic::error(5..6, "").position(source), (2, 2));
        assert_eq!(Diagnostic::error(99..99, "").position(source), (2, 3));
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["listener", "backend", "key_file", "auth", "hash"];
        assert_eq!(nearest("listner", known), Some("listener"));
        assert_eq!(nearest("Key_Flie", known), Some("key_file"));
        assert_eq!(nearest("ahsh", known), Some("hash"));
        assert_eq!(nearest("colour", known), None);
    }
}
