//! A rule, what it is given, and how all of them are applied.

use cluster::Definition;

use crate::edition::Edition;
use crate::rules::RULES;
use crate::verdict::{Reason, Verdict};

/// What a rule is given.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// What is measured.
    pub definition: &'a Definition,
    /// What it is measured against.
    pub edition: Edition,
}

/// A rule that no single row of the matrix expresses.
#[derive(Debug)]
pub struct Rule {
    /// The number of the statement it enforces ("S19"), else a short word ("anti-affinity").
    pub id: &'static str,
    /// What it demands, in one line.
    pub title: &'static str,
    /// The editions in which it applies.
    pub editions: &'static [Edition],
    /// The statements of the requirement document that it enforces.
    pub statements: &'static [&'static str],
    /// What it rests on: numbers of statements and keys of facts.
    pub sources: &'static [&'static str],
    /// Why it is so, what happens otherwise, and what to do.
    pub explanation: &'static str,
    /// Adds what it has to say about a definition.
    pub check: fn(&Facts<'_>, &mut Vec<Reason>),
}

/// Measures a definition against the matrix and the rules of one edition.
#[must_use]
pub fn check(definition: &Definition, edition: Edition) -> Verdict {
    let facts = Facts {
        definition,
        edition,
    };
    let mut reasons = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.editions.contains(&edition)) {
        (rule.check)(&facts, &mut reasons);
    }
    Verdict::of(edition, reasons)
}

/// The rule of that id, whatever its case.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(id))
}
