//! A rule, what it is given, and how all of them are applied.

use cluster::{Definition, Node};

use crate::edition::Edition;
use crate::live::Live;
use crate::matrix::{self, Placement, Row};
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
    /// The guests by what they and their hosts run, each with the row of the matrix that fits.
    pub placements: &'a [Placement<'a>],
    /// What was seen of the running cluster; none: the definition alone is measured.
    pub live: Option<&'a Live>,
}

impl<'a> Facts<'a> {
    /// The row of the matrix that a guest falls under. A guest that may run on hosts of several kinds
    /// may fall under several; this is the first. None: bare metal, or no row fits.
    #[must_use]
    pub fn row_of(&self, node: &Node) -> Option<&'static Row> {
        self.rows_of(node).next()
    }

    /// The rows of the matrix that a guest falls under.
    pub fn rows_of(&self, node: &Node) -> impl Iterator<Item = &'static Row> + use<'a> {
        let name = node.name.clone();
        self.placements
            .iter()
            .filter(move |placement| {
                let nodes = &placement.setting.nodes;
                nodes.iter().any(|known| known.name == name)
            })
            .filter_map(|placement| Some(placement.row?.1))
    }
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

/// The rules that the matrix itself carries out, on all its rows.
pub const MATRIX_RULES: &[Rule] = &[
    Rule {
        id: "S02",
        title: "the platform, its hosts and the guests are in the requirement document's list",
        editions: &[Edition::Document],
        statements: &["S02"],
        sources: &["S02"],
        explanation: "The requirement document lists the virtualization platforms on which guest clusters are \
supported, and how far: for each the hosts, the guests, the fencing agents and the kinds of shared storage. The \
list is complete. What it does not name is not supported: there is nobody to ask when it fails. Each entry of the \
list is a row of the matrix and carries the number of its statement; `picket platforms` shows them.",
        check: apply_matrix,
    },
    Rule {
        id: "unlisted",
        title: "a source that was read names the platform, its hosts and the guests",
        editions: &[Edition::Today],
        statements: &[],
        sources: &[],
        explanation: "For today's platforms Picket knows what public sources say, and how sure each of them is. \
What none of them names may work, and may even be supported; nobody who was asked says so. The verdict is \
\"unverified\", never \"supported\". Ask the vendor, or choose what a row of the matrix names; `picket platforms` \
shows them.",
        check: apply_matrix,
    },
];

fn apply_matrix(facts: &Facts<'_>, reasons: &mut Vec<Reason>) {
    matrix::levels(facts, reasons);
    matrix::agents(facts, reasons);
    matrix::storage(facts, reasons);
}

/// Measures a definition against the matrix and the rules of one edition.
#[must_use]
pub fn check(definition: &Definition, edition: Edition) -> Verdict {
    check_live(definition, edition, None)
}

/// As [`check`], with what was seen of the running cluster: it goes before what the definition says.
#[must_use]
pub fn check_live(definition: &Definition, edition: Edition, live: Option<&Live>) -> Verdict {
    let placements = matrix::place(definition, edition);
    let facts = Facts {
        definition,
        edition,
        placements: &placements,
        live,
    };
    let mut reasons = Vec::new();
    let rules = MATRIX_RULES.iter().chain(RULES);
    for rule in rules.filter(|rule| rule.editions.contains(&edition)) {
        (rule.check)(&facts, &mut reasons);
    }
    Verdict::of(edition, reasons)
}

/// The rule of that id, whatever its case.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    let mut rules = MATRIX_RULES.iter().chain(RULES);
    rules.find(|rule| rule.id.eq_ignore_ascii_case(id))
}
