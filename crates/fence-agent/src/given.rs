//! What a source of options said, before it means anything: the common form of argv and stdin.

use crate::table::{Agent, Opt, fold, same_name};

/// One option as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// Index in the agent's table.
    pub option: usize,
    /// Which spelling: 0 is the option's own name, 1 its first alias, and so on.
    pub spelling: usize,
    /// The value, if one was written.
    pub value: Option<String>,
}

/// Everything one source said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Options in the order written.
    pub given: Vec<Given>,
    /// Problems that make the run impossible.
    pub errors: Vec<String>,
    /// Problems that do not.
    pub warnings: Vec<String>,
    /// Whether the source was the command line.
    pub from_argv: bool,
}

/// The name of the given spelling of an option.
pub(crate) fn spelling(option: &'static Opt, spelling: usize) -> &'static str {
    match spelling
        .checked_sub(1)
        .and_then(|index| option.aliases.get(index))
    {
        Some(alias) => alias.name,
        None => option.name,
    }
}

/// The known stdin name closest to `name`, if `name` looks like a slip of it.
///
/// One wrong, missing, extra or swapped letter is a slip in any name of three letters or more; two
/// are, in names of at least seven.
pub(crate) fn slip_of(agent: &Agent, name: &str) -> Option<&'static str> {
    let name: Vec<u8> = name.bytes().map(fold).collect();
    if name.len() < 3 || name.len() > 40 {
        return None;
    }
    let limit = if name.len() >= 7 { 2 } else { 1 };
    let known = agent
        .options
        .iter()
        .filter(|option| option.stdin)
        .flat_map(|option| {
            std::iter::once(option.name).chain(option.aliases.iter().map(|alias| alias.name))
        });
    known
        .filter(|candidate| candidate.len() >= 3)
        .map(|candidate| {
            (
                distance(&name, &candidate.bytes().map(fold).collect::<Vec<u8>>()),
                candidate,
            )
        })
        .filter(|(distance, _)| (1..=limit).contains(distance))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Whether a stdin name belongs to the caller's own bookkeeping and never to an agent.
pub(crate) fn is_callers_own(agent: &Agent, name: &str) -> bool {
    let starts = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|head| same_name(head, prefix))
    };
    agent.ignored.iter().any(|ignored| same_name(ignored, name))
        || starts("pcmk_")
        || starts("CRM_meta_")
}

/// Letters to insert, delete, replace or swap (neighbours) to turn one text into the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = last[j] + usize::from(x != y);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, wanted) in [
            ("plug", "plg", 1),
            ("plug", "pulg", 1),
            ("plug", "plug", 0),
            ("", "abc", 3),
            ("missing_as_of", "missing_as_off", 1),
            ("action", "option", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), wanted, "{a} {b}");
        }
    }
}
