//! What is written down about the statements, the rules and the tests agrees with what is there.

use std::path::Path;

use platforms::rules::RULES;
use platforms::{Confidence, MATRIX_RULES, Matrix, STATEMENTS, Source, Statement, statements};

const TESTS: &str = include_str!("statements.rs");

#[test]
fn every_statement_is_listed_once_and_in_order() {
    let listed: Vec<String> = STATEMENTS
        .iter()
        .map(|statement| statement.id.to_owned())
        .collect();
    let all: Vec<String> = (1..=Source::STATEMENTS)
        .map(|number| format!("S{number:02}"))
        .collect();
    assert_eq!(listed, all);
}

#[test]
fn every_statement_is_enforced_by_something() {
    let idle: Vec<_> = STATEMENTS
        .iter()
        .filter(|statement| {
            statement.context.is_none()
                && statement.rows().next().is_none()
                && statement.rules().next().is_none()
                && !statement.is_common()
        })
        .map(|statement| statement.id)
        .collect();
    assert!(idle.is_empty(), "nothing enforces {idle:?}");
}

#[test]
fn every_statement_has_its_test_and_every_test_its_statement() {
    let tests: Vec<&str> = TESTS
        .split("#[test]\nfn ")
        .skip(1)
        .filter_map(|rest| rest.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let named: Vec<&str> = STATEMENTS.iter().map(|statement| statement.test).collect();
    assert_eq!(tests, named);
    for Statement { id, test, .. } in STATEMENTS {
        assert!(
            test.starts_with(&format!("{}_", id.to_ascii_lowercase())),
            "{id}: {test}"
        );
    }
}

#[test]
fn the_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/requirements.md");
    let page = statements::document();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs/requirements.md is written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/requirements.md is there");
    assert!(
        written == page,
        "write it anew: UPDATE=1 cargo test -p platforms --test suite"
    );
}

#[test]
fn rules_have_names_of_their_own_and_cite_what_exists() {
    let mut names: Vec<&str> = RULES
        .iter()
        .chain(MATRIX_RULES)
        .map(|rule| rule.id)
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two rules of one name");
    for rule in RULES {
        assert!(
            !rule.editions.is_empty() && !rule.explanation.is_empty(),
            "{}",
            rule.id
        );
        assert!(
            !rule.explanation.contains("  ") && !rule.title.ends_with('.'),
            "{}: {}",
            rule.id,
            rule.explanation
        );
        for statement in rule.statements {
            assert!(Source::is_statement(statement), "{}: {statement}", rule.id);
        }
        for source in rule.sources {
            let key = source.split('#').next().unwrap_or(source);
            assert!(
                Source::is_statement(source) || Matrix::fact(key).is_some(),
                "{} cites {source}, which does not exist",
                rule.id
            );
        }
    }
}

/// A statement's rule is named by its number exactly if the rule enforces that statement alone.
#[test]
fn rules_named_by_a_statement_enforce_it() {
    for rule in RULES.iter().filter(|rule| Source::is_statement(rule.id)) {
        assert_eq!(rule.statements, [rule.id]);
    }
}

#[test]
fn judgement_is_told_from_knowledge() {
    assert_eq!(
        Source::cited("kvm.rh-policy").confidence,
        Confidence::NotFound
    );
    assert_eq!(Source::cited("S19").confidence, Confidence::Verified);
}
