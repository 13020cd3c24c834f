//! The result for people: a verdict, then the reasons with the lines they are about.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ::platforms::{Confidence, Outcome, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Checked, Judged, Located, Report};

/// The whole report.
pub(super) fn text(report: &Report, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let parts: Vec<String> = report
        .files
        .iter()
        .map(|file| one(file, &renderer))
        .collect();
    parts.join("\n")
}

fn one(file: &Checked, renderer: &Renderer) -> String {
    let judged = match &file.result {
        Ok(judged) => judged,
        Err(refused) => {
            return format!(
                "{}: not a definition\n\n{}\n",
                file.path,
                refused.report.trim_end()
            );
        }
    };
    let mut text = format!("{}\n", verdict(&file.path, judged));
    let (notes, heavy): (Vec<_>, Vec<_>) = judged
        .reasons
        .iter()
        .partition(|located| located.reason.severity == Severity::Note);
    for located in heavy {
        let _ = write!(text, "\n{}\n", renderer.render(&[picture(file, located)]));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for located in notes {
        let at = located
            .line
            .map(|line| format!(" (line {line})"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "note[{}]: {}{at}",
            located.reason.rule, located.reason.message
        );
    }
    text
}

/// "cluster.toml: UNSAFE (edition today): 1 unsafe, 2 warnings".
fn verdict(path: &str, judged: &Judged) -> String {
    let mut counts: BTreeMap<std::cmp::Reverse<Severity>, usize> = BTreeMap::new();
    for located in &judged.reasons {
        *counts
            .entry(std::cmp::Reverse(located.reason.severity))
            .or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(severity, count)| counted(severity.0, count))
        .collect();
    let word = if judged.outcome >= Outcome::Unverified {
        judged.outcome.as_str().to_uppercase()
    } else {
        judged.outcome.as_str().to_owned()
    };
    format!(
        "{path}: {word} (edition {}): {}",
        judged.edition,
        counts.join(", ")
    )
}

fn counted(severity: Severity, count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    match severity {
        Severity::Note | Severity::Warning | Severity::Preview => {
            format!("{count} {severity}{plural}")
        }
        _ => format!("{count} {severity}"),
    }
}

/// One reason with the line that it is about, what it rests on, and the remedy.
fn picture<'a>(file: &'a Checked, located: &'a Located) -> Group<'a> {
    let reason = &located.reason;
    let level = match reason.severity {
        Severity::Unsafe | Severity::Unsupported => Level::ERROR,
        Severity::Unverified | Severity::Preview | Severity::Warning => Level::WARNING,
        _ => Level::NOTE,
    };
    let title = level
        .with_name(reason.severity.as_str())
        .primary_title(&reason.message)
        .id(reason.rule.as_str());
    let mut group = match located
        .span
        .clone()
        .and_then(|span| first_line(&file.text, span))
    {
        Some(span) => title.element(
            Snippet::source(&file.text)
                .path(&file.path)
                .annotation(AnnotationKind::Primary.span(span)),
        ),
        None => Group::with_title(title),
    };
    if let Some(remedy) = &reason.remedy {
        group = group.element(Level::HELP.message(remedy));
    }
    group.element(Level::NOTE.with_name("source").message(cited(located)))
}

/// What is pointed at: of a table that spans lines, the line it begins on.
fn first_line(text: &str, span: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    let part = text.get(span.clone())?;
    let line = part.lines().next().unwrap_or_default().trim_end();
    Some(span.start..span.start + line.len())
}

fn cited(located: &Located) -> String {
    let source = &located.reason.source;
    let mut text = String::new();
    // Judgement of our own goes by the rule's name, which the title shows.
    let named =
        source.citation.starts_with(&source.id) || located.reason.rule.as_str() == source.id;
    if !named {
        let _ = write!(text, "{}: ", source.id);
    }
    text.push_str(&source.citation);
    if source.confidence != Confidence::Verified {
        let _ = write!(text, " ({})", source.confidence);
    }
    if let Some(url) = &source.url {
        let _ = write!(text, " <{url}>");
    }
    text
}
