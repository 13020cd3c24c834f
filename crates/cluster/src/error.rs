//! What is wrong with a definition, where, and what would be right.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// The longest piece of the text that is shown around a problem, in bytes.
const MAX_PICTURE: usize = 4096;

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// What would be right, where that can be said.
    pub help: Option<String>,
    /// Where in the text, in bytes.
    pub span: Range<usize>,
    /// Line of the place, counted from 1.
    pub line: usize,
    /// Column of the place in characters, counted from 1.
    pub column: usize,
}

/// A definition that cannot be used, with everything that is wrong with it.
///
/// `Display` shows each problem with its line, column and a picture of the place.
#[derive(Clone)]
pub struct DefinitionError {
    path: String,
    source: String,
    problems: Vec<Problem>,
}

impl DefinitionError {
    pub(crate) fn new(path: &str, source: &str, findings: Vec<Finding>) -> Self {
        Self::hiding(path, source, findings, &[])
    }

    /// As [`Self::new`], but nothing that is shown repeats what stands in the text at `hidden`.
    pub(crate) fn hiding(
        path: &str,
        source: &str,
        findings: Vec<Finding>,
        hidden: &[Range<usize>],
    ) -> Self {
        let source_shown = masked(source, hidden);
        let words: Vec<&str> = hidden
            .iter()
            .filter_map(|span| source.get(span.clone()))
            .map(|word| word.trim_matches([' ', '"', '\'']))
            // Shorter words occur in any text.
            .filter(|word| word.len() > 2)
            .collect();
        let silent = |text: String| {
            let hide = |text: String, word: &&str| text.replace(word, "…");
            words.iter().fold(text, hide)
        };
        let problems = findings
            .into_iter()
            .map(|finding| {
                let problem = finding.locate(source);
                Problem {
                    message: silent(problem.message),
                    help: problem.help.map(silent),
                    ..problem
                }
            })
            .collect();
        Self {
            path: path.to_owned(),
            source: source_shown,
            problems,
        }
    }

    /// The problems, in the order of the text. Never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The name of the file as it was given.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The lines on which `span` lies and where they begin; `None` if they are too long for a picture.
    fn lines_of(&self, span: &Range<usize>) -> Option<(usize, &str)> {
        let start = self
            .source
            .get(..span.start)?
            .rfind('\n')
            .map_or(0, |at| at + 1);
        let rest = self.source.get(span.end..)?;
        let end = span.end + rest.find('\n').unwrap_or(rest.len());
        (end - start <= MAX_PICTURE).then(|| (start, &self.source[start..end]))
    }

    /// The report for people; with colours if `colour` says so.
    #[must_use]
    pub fn report(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for problem in &self.problems {
            let title = Level::ERROR.primary_title(&problem.message);
            let mut group = match self.lines_of(&problem.span) {
                Some((start, lines)) => title.element(
                    Snippet::source(lines)
                        .path(&self.path)
                        .line_start(problem.line)
                        .annotation(
                            AnnotationKind::Primary
                                .span(problem.span.start - start..problem.span.end - start),
                        ),
                ),
                None => title.element(
                    Origin::path(&self.path)
                        .line(problem.line)
                        .char_column(problem.column),
                ),
            };
            if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help));
            }
            let _ = writeln!(out, "{}", renderer.render(&[group]));
        }
        out.truncate(out.trim_end().len());
        out
    }
}

impl std::fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.report(false))
    }
}

/// As `Display`: the text itself is long, and is shown where it matters.
impl std::fmt::Debug for DefinitionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for DefinitionError {}

/// A problem before its line and column are known.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) span: Range<usize>,
}

impl Finding {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            span,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// That `name` is not one of the things of this kind that there are.
    pub(crate) fn unknown(span: Range<usize>, what: &str, name: &str, known: &[&str]) -> Self {
        let finding = Self::new(span, format!("there is no {what} named `{name}`"));
        match alternatives(name, known) {
            Some(help) => finding.help(help),
            None => finding.help(format!("the definition has no {what} at all")),
        }
    }

    /// That a definition has no table of this name.
    pub(crate) fn unknown_table(span: Range<usize>, name: &str, known: &[&str]) -> Self {
        let mut finding = Self::new(span, format!("unknown table `{name}`"));
        finding.help = alternatives(name, known);
        finding
    }

    /// From what the TOML reader reports. Its message spans lines where it quotes alternatives; a
    /// misspelt key gets a suggestion.
    pub(crate) fn from_toml(error: &toml::de::Error) -> Self {
        let message = error.message().trim_end();
        let (title, rest) = message
            .split_once('\n')
            .map_or((message, None), |(title, rest)| (title, Some(rest)));
        let (title, help) = reword(title);
        let mut finding = Self::new(error.span().unwrap_or(0..0), title);
        finding.help = help.or_else(|| rest.map(|rest| rest.replace('\n', "; ")));
        finding
    }

    fn locate(self, source: &str) -> Problem {
        let end = floor_char(source, self.span.end.min(source.len()));
        let start = floor_char(source, self.span.start.min(end));
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            message: self.message,
            help: self.help,
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
        }
    }
}

/// The text with asterisks for everything at `hidden`; every byte stays where it was.
fn masked(source: &str, hidden: &[Range<usize>]) -> String {
    let mut bytes = source.as_bytes().to_vec();
    for span in hidden {
        let inside = bytes.get_mut(span.clone()).unwrap_or_default();
        for byte in inside.iter_mut().filter(|byte| !b"\r\n\"'".contains(byte)) {
            *byte = b'*';
        }
    }
    // A span that cut a character in two would leave no valid text; then nothing is shown.
    String::from_utf8(bytes).unwrap_or_default()
}

fn floor_char(source: &str, mut at: usize) -> usize {
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The reader's message in the words of this file format: keys and values instead of fields and
/// variants. The alternatives it lists become help. The words between backticks are all that is relied on.
fn reword(message: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("missing field ") {
        return (format!("missing key {rest}"), None);
    }
    let Some((unknown, expected)) = message.split_once(", expected ") else {
        return (message.to_owned(), None);
    };
    if !unknown.starts_with("unknown ") {
        return (message.to_owned(), None);
    }
    let title = unknown
        .replacen("unknown field ", "unknown key ", 1)
        .replacen("unknown variant ", "unknown value ", 1);
    let given = unknown.split('`').nth(1).unwrap_or_default();
    let known: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    (title, alternatives(given, &known))
}

/// What might have been meant by `given`.
fn alternatives(given: &str, known: &[&str]) -> Option<String> {
    const MOST: usize = 24;
    if let Some(best) = nearest(given, known.iter().copied()).filter(|best| best.len() > 3) {
        return Some(format!("did you mean `{best}`?"));
    }
    let mut known = known.to_vec();
    known.dedup();
    match known.as_slice() {
        [] => None,
        [one] => Some(format!("there is only `{one}`")),
        _ if known.len() > MOST => Some(format!(
            "there are `{}` and more",
            known[..MOST].join("`, `")
        )),
        _ => Some(format!("there are `{}`", known.join("`, `"))),
    }
}

/// The candidate that looks most like `given`, if one looks like it at all.
fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, best) = candidates
        .map(|candidate| (distance(given, candidate), candidate))
        .min()?;
    let close_enough = distance <= 1 + given.chars().count() / 4;
    close_enough.then_some(best)
}

/// Levenshtein's distance. Words longer than 64 characters count as unlike everything.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    if a.chars().count() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let message = "unknown field `adress`, expected one of `name`, `address`";
        assert_eq!(
            reword(message),
            (
                "unknown key `adress`".to_owned(),
                Some("did you mean `address`?".to_owned())
            )
        );
        assert_eq!(
            reword("unknown variant `colour`, expected `name` or `address`"),
            (
                "unknown value `colour`".to_owned(),
                Some("there are `name`, `address`".to_owned())
            )
        );
        let other = "invalid type: `a`, expected `a`";
        assert_eq!(reword(other), (other.to_owned(), None));
        assert_eq!(
            alternatives("n3", &["n1", "n2"]).as_deref(),
            Some("there are `n1`, `n2`")
        );
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(distance(&"x".repeat(65), "x"), usize::MAX);
    }
}
