//! The result in SARIF 2.1.0, which code-review tools show beside the lines.

use ::platforms::Severity;
use serde_json::{Value, json};

use super::{Checked, Located, Problem, Report};
use crate::explain;

/// The schema of the format, as the documents name it.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// What a file that is no definition violates.
const NOT_A_DEFINITION: &str = "definition";

/// The document.
pub(super) fn document(report: &Report) -> String {
    let mut rules: Vec<String> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for file in &report.files {
        match &file.result {
            Ok(judged) => results.extend(
                judged
                    .reasons
                    .iter()
                    .map(|located| of_reason(file, located, &mut rules)),
            ),
            Err(refused) => results.extend(
                refused
                    .problems
                    .iter()
                    .map(|problem| of_problem(file, problem, &mut rules)),
            ),
        }
    }
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "picket",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|id| descriptor(id)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": report
                .files
                .iter()
                .map(|file| json!({ "location": { "uri": uri(&file.path) } }))
                .collect::<Vec<_>>(),
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

/// What is said of a rule once, beside its results.
fn descriptor(id: &str) -> Value {
    let entries = explain::lookup(id);
    let explanation = entries.iter().find_map(|entry| entry.explanation.clone());
    let (title, url) = explain::in_one_line(id).unwrap_or_else(|| {
        (
            "the file is a definition without contradictions".to_owned(),
            None,
        )
    });
    let mut rule = json!({
        "id": id,
        "shortDescription": { "text": title },
    });
    if let Some(explanation) = explanation {
        rule["fullDescription"] = json!({ "text": explanation });
    }
    if let Some(url) = url {
        rule["helpUri"] = json!(url);
    }
    rule
}

/// The place of a rule in the list, where it is put when it is first named.
fn index(rules: &mut Vec<String>, id: &str) -> usize {
    rules
        .iter()
        .position(|known| known == id)
        .unwrap_or_else(|| {
            rules.push(id.to_owned());
            rules.len() - 1
        })
}

fn of_reason(file: &Checked, located: &Located, rules: &mut Vec<String>) -> Value {
    let reason = &located.reason;
    let level = match reason.severity {
        Severity::Unsafe | Severity::Unsupported => "error",
        Severity::Unverified | Severity::Preview | Severity::Warning => "warning",
        _ => "note",
    };
    let mut message = reason.message.clone();
    if let Some(remedy) = &reason.remedy {
        message.push_str(". Remedy: ");
        message.push_str(remedy);
    }
    let region = located.span.as_ref().map(|span| {
        let (line, column) = position(&file.text, span.start);
        json!({ "startLine": line, "startColumn": column })
    });
    json!({
        "ruleId": reason.rule,
        "ruleIndex": index(rules, reason.rule.as_str()),
        "level": level,
        "message": { "text": message },
        "locations": [location(file, region, reason.subject.as_deref())],
        "properties": {
            "severity": reason.severity,
            "source": reason.source,
            "remedy": reason.remedy,
        },
    })
}

fn of_problem(file: &Checked, problem: &Problem, rules: &mut Vec<String>) -> Value {
    let mut message = problem.message.clone();
    if let Some(help) = &problem.help {
        message.push_str(". Remedy: ");
        message.push_str(help);
    }
    let region = problem
        .line
        .zip(problem.column)
        .map(|(line, column)| json!({ "startLine": line, "startColumn": column }));
    json!({
        "ruleId": NOT_A_DEFINITION,
        "ruleIndex": index(rules, NOT_A_DEFINITION),
        "level": "error",
        "message": { "text": message },
        "locations": [location(file, region, None)],
    })
}

fn location(file: &Checked, region: Option<Value>, subject: Option<&str>) -> Value {
    let mut place = json!({ "artifactLocation": { "uri": uri(&file.path) } });
    if let Some(region) = region {
        place["region"] = region;
    }
    let mut location = json!({ "physicalLocation": place });
    if let Some(subject) = subject {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": subject }]);
    }
    location
}

/// Line and column of a byte, counted from 1; the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// A path as a URI reference (RFC 3986): what is not plain is percent-encoded.
fn uri(path: &str) -> String {
    let mut text = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("examples/web.toml"), "examples/web.toml");
        assert_eq!(uri("/etc/a b.toml"), "file:///etc/a%20b.toml");
        assert_eq!(uri("é:1"), "%C3%A9%3A1");
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(position("ä = 1\nöö = 2", 9), (2, 2));
        assert_eq!(position("ä = 1\nöö = 2", 7), (2, 1));
        assert_eq!(position("", 9), (1, 1));
    }
}
