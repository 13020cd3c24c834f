//! `picket explain`: what a rule demands, a statement says or a fact tells, why, and who says so.
//!
//! What is known of an id is gathered first; text and JSON are two ways to show it. The field names of
//! the JSON are an interface.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use ::platforms::matrix::{Fact, Row};
use ::platforms::rules::RULES;
use ::platforms::{Edition, MATRIX_RULES, Matrix, Rule, STATEMENTS, Source, Statement};
use clap::Args;
use serde::Serialize;

use crate::exit;

/// The options of `picket explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A rule, the number of a statement (S19), a row of the matrix, or the key of a fact; without it,
    /// list them all
    #[arg(value_name = "RULE")]
    id: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known of one id. Which parts there are depends on what it names.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// The id, as it is written.
    pub(crate) id: String,
    /// "rule", "statement", "row" or "fact".
    pub(crate) kind: &'static str,
    /// What it demands or says, in one line.
    pub(crate) title: String,
    /// Why, what happens otherwise, and what to do.
    pub(crate) explanation: Option<String>,
    /// The editions in which it applies. Empty: a fact, which belongs to none.
    pub(crate) editions: Vec<Edition>,
    /// The statements that a rule enforces.
    pub(crate) statements: Vec<&'static str>,
    /// What enforces a statement, and what cites a row.
    pub(crate) enforced_by: Vec<String>,
    /// The test that shows a statement.
    pub(crate) test: Option<&'static str>,
    /// What it rests on. Empty for a rule: on this project's own judgement.
    pub(crate) sources: Vec<Source>,
}

/// All that is known under an id, whatever its case: a rule that is named by a statement comes with it.
pub(crate) fn lookup(id: &str) -> Vec<Entry> {
    let statement = STATEMENTS
        .iter()
        .find(|known| known.id.eq_ignore_ascii_case(id));
    let rules = MATRIX_RULES
        .iter()
        .chain(RULES)
        .filter(|rule| rule.id.eq_ignore_ascii_case(id));
    let rows = Edition::ALL
        .into_iter()
        .filter_map(|edition| Some((edition, Matrix::load(edition).row(id)?.1)));
    let fact = Matrix::fact(id);
    let mut entries: Vec<Entry> = statement.map(of_statement).into_iter().collect();
    entries.extend(rules.map(of_rule));
    entries.extend(rows.map(|(edition, row)| of_row(edition, row)));
    entries.extend(fact.map(of_fact));
    entries
}

/// The address of the page where it can be read, and one line, for tools that list rules.
pub(crate) fn in_one_line(id: &str) -> Option<(String, Option<String>)> {
    let entries = lookup(id);
    let titled = entries
        .iter()
        .find(|entry| entry.kind == "rule")
        .or_else(|| entries.first())?;
    let url = entries
        .iter()
        .flat_map(|entry| &entry.sources)
        .find_map(|source| source.url.clone());
    Some((titled.title.clone(), url))
}

fn of_statement(statement: &Statement) -> Entry {
    let rows = statement
        .rows()
        .map(|(id, title)| format!("row {id} ({title})"));
    let rules = statement.rules().map(|rule| format!("rule {}", rule.id));
    Entry {
        id: statement.id.to_owned(),
        kind: "statement",
        title: statement.text.to_owned(),
        explanation: statement
            .context
            .map(|why| format!("Nothing can violate it: it {why}.")),
        editions: vec![Edition::Document],
        statements: Vec::new(),
        enforced_by: rows.chain(rules).collect(),
        test: Some(statement.test),
        sources: vec![Source::statement(statement.id)],
    }
}

fn of_rule(rule: &Rule) -> Entry {
    Entry {
        id: rule.id.to_owned(),
        kind: "rule",
        title: rule.title.to_owned(),
        explanation: Some(rule.explanation.to_owned()),
        editions: rule.editions.to_vec(),
        statements: rule.statements.to_vec(),
        enforced_by: Vec::new(),
        test: None,
        sources: rule.sources.iter().map(|key| Source::cited(key)).collect(),
    }
}

fn of_row(edition: Edition, row: &Row) -> Entry {
    Entry {
        id: row.id.clone(),
        kind: "row",
        title: format!("{}: {}", row.title, row.effective_level()),
        explanation: Some(row.statement.clone()),
        editions: vec![edition],
        statements: Vec::new(),
        enforced_by: Vec::new(),
        test: None,
        sources: row.sources.iter().map(|key| Source::cited(key)).collect(),
    }
}

fn of_fact(fact: &Fact) -> Entry {
    let cited_by: Vec<String> = RULES
        .iter()
        .filter(|rule| rule.sources.contains(&fact.key.as_str()))
        .map(|rule| format!("rule {}", rule.id))
        .collect();
    Entry {
        id: fact.key.clone(),
        kind: "fact",
        title: fact.line(),
        explanation: fact.condition.clone(),
        editions: Vec::new(),
        statements: Vec::new(),
        enforced_by: cited_by,
        test: None,
        sources: vec![Source::cited(&fact.key)],
    }
}

/// Every id, with what it names in one line.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    kind: &'static str,
    title: String,
}

fn all() -> Vec<Listed> {
    let rules = MATRIX_RULES.iter().chain(RULES).map(|rule| Listed {
        id: rule.id.to_owned(),
        kind: "rule",
        title: rule.title.to_owned(),
    });
    let statements = STATEMENTS.iter().map(|statement| Listed {
        id: statement.id.to_owned(),
        kind: "statement",
        title: statement.text.to_owned(),
    });
    let facts = Matrix::facts().map(|fact| Listed {
        id: fact.key.clone(),
        kind: "fact",
        title: fact.line(),
    });
    rules.chain(statements).chain(facts).collect()
}

/// Runs `picket explain`.
#[must_use]
pub fn run(args: &ExplainArgs) -> ExitCode {
    let text = match &args.id {
        None => listing(args.json),
        Some(id) => {
            let entries = lookup(id);
            if entries.is_empty() {
                eprintln!("picket: nothing is known as `{id}`{}", hint(id));
                return exit::code(exit::USAGE);
            }
            if args.json {
                json(&entries)
            } else {
                entries.iter().map(describe).collect::<Vec<_>>().join("\n")
            }
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("picket: cannot write the result: {error}");
            exit::code(exit::FAILED)
        }
        _ => exit::code(exit::SUCCESS),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).map_or_else(|_| String::new(), |text| text + "\n")
}

fn listing(as_json: bool) -> String {
    let all = all();
    if as_json {
        return json(&all);
    }
    let mut text = String::new();
    for (kind, head) in [
        ("rule", "Rules"),
        ("statement", "Statements of the requirement document"),
        ("fact", "Facts of today"),
    ] {
        let _ = writeln!(text, "{head}");
        for entry in all.iter().filter(|entry| entry.kind == kind) {
            let _ = writeln!(text, "  {:<22} {}", entry.id, entry.title);
        }
        text.push('\n');
    }
    text.push_str("picket explain RULE tells more; rows of the matrix are in picket platforms\n");
    text
}

/// What was probably meant.
fn hint(id: &str) -> String {
    let id = id.to_ascii_lowercase();
    let rows = Edition::ALL.into_iter().flat_map(row_ids);
    let best = all()
        .into_iter()
        .map(|listed| listed.id)
        .chain(rows)
        .map(|known| {
            (
                strsim::jaro_winkler(&id, &known.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(alike, _)| *alike > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(
        || "; `picket explain` lists everything".to_owned(),
        |(_, known)| format!("; did you mean `{known}`?"),
    )
}

fn row_ids(edition: Edition) -> impl Iterator<Item = String> {
    cluster::PlatformKind::ALL
        .into_iter()
        .flat_map(move |platform| Matrix::load(edition).sheets(platform))
        .flat_map(|sheet| sheet.rows.iter().map(|row| row.id.clone()))
}

fn describe(entry: &Entry) -> String {
    let mut text = format!(
        "{} ({})\n  {}\n",
        entry.id,
        entry.kind,
        wrap(&entry.title, 2)
    );
    if let Some(explanation) = &entry.explanation {
        let _ = writeln!(text, "\n  {}", wrap(explanation, 2));
    }
    let mut line = |name: &str, values: &[String]| {
        if !values.is_empty() {
            let _ = writeln!(text, "\n  {name}: {}", wrap(&values.join(", "), 2));
        }
    };
    let editions: Vec<String> = entry.editions.iter().map(ToString::to_string).collect();
    let statements: Vec<String> = entry.statements.iter().map(ToString::to_string).collect();
    line("applies in edition", &editions);
    line("enforces", &statements);
    line(
        if entry.kind == "fact" {
            "cited by"
        } else {
            "enforced by"
        },
        &entry.enforced_by,
    );
    line(
        "shown by the test",
        &entry
            .test
            .map(str::to_owned)
            .into_iter()
            .collect::<Vec<_>>(),
    );
    if entry.sources.is_empty() {
        text.push_str("\n  source: this project's own judgement\n");
    }
    for source in &entry.sources {
        let _ = writeln!(text, "\n  source: {}", source_line(source, 2));
    }
    text
}

/// A source in words: what, where, and how sure it is.
pub(crate) fn source_line(source: &Source, indent: usize) -> String {
    let mut text = String::new();
    if !source.citation.starts_with(&source.id) {
        let _ = write!(text, "{}: ", source.id);
    }
    text.push_str(&source.citation);
    if source.confidence != ::platforms::Confidence::Verified {
        let _ = write!(text, " ({})", source.confidence);
    }
    let mut text = wrap(&text, indent);
    if let Some(url) = &source.url {
        let _ = write!(text, "\n{:indent$}{url}", "");
    }
    text
}

/// Breaks a text into lines of at most a hundred columns, further lines indented.
pub(crate) fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > 100 {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_comes_with_the_rule_of_its_name() {
        let kinds: Vec<_> = lookup("s19").iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, ["statement", "rule"]);
        assert_eq!(lookup("S03").len(), 2, "statement and row");
        assert_eq!(lookup("anti-affinity")[0].kind, "rule");
        assert_eq!(lookup("kvm.pr")[0].kind, "fact");
        assert!(lookup("S54").is_empty());
    }

    #[test]
    fn everything_listed_is_explained() {
        for listed in all() {
            let entries = lookup(&listed.id);
            assert!(
                entries.iter().any(|entry| entry.kind == listed.kind),
                "{}",
                listed.id
            );
            assert!(!describe(&entries[0]).trim().is_empty());
        }
    }

    #[test]
    fn every_reason_of_every_example_is_explained() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
        for entry in std::fs::read_dir(directory).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let definition = cluster::Definition::parse("example.toml", &text).unwrap();
            for edition in Edition::ALL {
                for reason in ::platforms::check(&definition, edition).reasons {
                    assert!(!lookup(reason.rule.as_str()).is_empty(), "{reason:?}");
                }
            }
        }
    }

    #[test]
    fn a_misspelt_rule_gets_a_suggestion() {
        assert!(
            hint("anti-afinity").contains("`anti-affinity`"),
            "{}",
            hint("anti-afinity")
        );
        assert!(hint("kvm.prx").contains("`kvm.pr"), "{}", hint("kvm.prx"));
        assert!(hint("@").contains("lists everything"));
    }

    #[test]
    fn long_texts_are_wrapped() {
        let text = wrap(&"word ".repeat(60), 4);
        assert!(text.lines().all(|line| line.chars().count() <= 100));
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("    word"))
        );
    }
}
