//! The result as a JUnit report, which build servers show: a suite for each file, a case for each rule.

use std::fmt::Write as _;

use ::platforms::rules::RULES;
use ::platforms::{MATRIX_RULES, Outcome, Rule};

use super::{Checked, Judged, Located, Report, Threshold};

/// The document.
pub(super) fn document(report: &Report, threshold: Threshold) -> String {
    let suites: Vec<Suite> = report
        .files
        .iter()
        .map(|file| suite(file, threshold))
        .collect();
    let sum = |part: fn(&Suite) -> usize| suites.iter().map(part).sum::<usize>();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites name=\"picket check\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        sum(|suite| suite.tests),
        sum(|suite| suite.failures),
        sum(|suite| suite.errors),
    );
    for suite in &suites {
        text.push_str(&suite.text);
    }
    text.push_str("</testsuites>\n");
    text
}

/// A suite as text, and its numbers.
struct Suite {
    text: String,
    tests: usize,
    failures: usize,
    errors: usize,
}

fn suite(file: &Checked, threshold: Threshold) -> Suite {
    let (body, tests, failures, errors) = match &file.result {
        Ok(judged) => {
            let (body, tests, failures) = cases(judged, threshold);
            (body, tests, failures, 0)
        }
        Err(refused) => {
            let mut body = String::from(
                "    <testcase classname=\"picket.definition\" name=\"definition\">\n",
            );
            let messages: Vec<&str> = refused
                .problems
                .iter()
                .map(|p| p.message.as_str())
                .collect();
            let _ = writeln!(
                body,
                "      <error type=\"definition\" message=\"{}\">{}</error>",
                escape(&messages.join("; ")),
                escape(&refused.report)
            );
            body.push_str("    </testcase>\n");
            (body, 1, 0, 1)
        }
    };
    let text = format!(
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\">\n{body}  </testsuite>\n",
        escape(&file.path)
    );
    Suite {
        text,
        tests,
        failures,
        errors,
    }
}

/// A case for each rule of the edition. What rows of the matrix say belongs to the rule that applies them.
fn cases(judged: &Judged, threshold: Threshold) -> (String, usize, usize) {
    let rules: Vec<&Rule> = MATRIX_RULES
        .iter()
        .chain(RULES)
        .filter(|rule| rule.editions.contains(&judged.edition))
        .collect();
    let own = |rule: &Rule, located: &Located| located.reason.rule.as_str() == rule.id;
    let (mut body, mut failures) = (String::new(), 0);
    for (index, rule) in rules.iter().enumerate() {
        let said: Vec<&Located> = judged
            .reasons
            .iter()
            .filter(|located| {
                own(rule, located) || (index == 0 && !rules.iter().any(|known| own(known, located)))
            })
            .collect();
        let _ = writeln!(
            body,
            "    <testcase classname=\"picket.{}\" name=\"{}\">",
            judged.edition,
            escape(&format!("{}: {}", rule.id, rule.title))
        );
        let refused =
            |located: &&&Located| !threshold.accepts(Outcome::of(located.reason.severity));
        // The format allows several failures in one case, and its consumers read the first.
        if let Some(worst) = said.iter().find(refused) {
            failures += 1;
            let all: Vec<String> = said
                .iter()
                .filter(refused)
                .map(|located| in_full(located))
                .collect();
            let _ = writeln!(
                body,
                "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                worst.reason.severity,
                escape(&worst.reason.message),
                escape(&all.join("\n\n"))
            );
        }
        let rest: Vec<String> = said
            .iter()
            .filter(|located| !refused(located))
            .map(|located| in_full(located))
            .collect();
        if !rest.is_empty() {
            let _ = writeln!(
                body,
                "      <system-out>{}</system-out>",
                escape(&rest.join("\n\n"))
            );
        }
        body.push_str("    </testcase>\n");
    }
    (body, rules.len(), failures)
}

fn in_full(located: &Located) -> String {
    let reason = &located.reason;
    let mut text = format!("{}[{}]: {}", reason.severity, reason.rule, reason.message);
    if let Some(line) = located.line {
        let _ = write!(text, "\nline: {line}");
    }
    if let Some(remedy) = &reason.remedy {
        let _ = write!(text, "\nremedy: {remedy}");
    }
    let _ = write!(
        text,
        "\nsource: {} ({})",
        reason.source.citation, reason.source.confidence
    );
    text
}

/// For XML 1.0: the five characters with a meaning, and none of those it has no way to write.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_write_is_replaced() {
        assert_eq!(
            escape("a<b>&\"\u{1b}[0m"),
            "a&lt;b&gt;&amp;&quot;\u{fffd}[0m"
        );
    }
}
