//! A definition's text as TOML: its tables one by one, and where in the text everything stands.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::MAX_FINDINGS;
use crate::error::Finding;
use crate::types::OptionName;

/// How many entries a list of the definition may have. More are refused before any of them is read.
const MAX_ENTRIES: usize = 256;

/// How many mistakes of one table are looked for.
const MAX_MISTAKES: usize = 8;

/// The parsed text.
pub(super) struct Document<'t> {
    root: DeTable<'t>,
    text: &'t str,
    /// Whether `root` is all of the text.
    whole: bool,
}

/// Everything that may stand at the top level, and whether it is a list (`[[…]]`); in the order in which a
/// definition is best read.
pub(crate) const SECTIONS: [(&str, bool); 14] = [
    ("cluster", false),
    ("platform", false),
    ("guests", false),
    ("host", true),
    ("node", true),
    ("options", false),
    ("fencing", false),
    ("fence", true),
    ("fence_virtd", false),
    ("storage", true),
    ("volume_group", true),
    ("volume", true),
    ("filesystem", true),
    ("service", true),
];

impl<'t> Document<'t> {
    /// Reads the text as far as TOML goes, and finds what cannot be a definition.
    pub(super) fn parse(text: &'t str, max_nodes: usize) -> (Self, Vec<Finding>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            root: root.into_inner(),
            text,
            whole: errors.is_empty(),
        };
        let mut findings: Vec<_> = errors
            .iter()
            .take(MAX_FINDINGS)
            .map(Finding::from_toml)
            .collect();
        if findings.is_empty() {
            document.check_sections(&mut findings);
        }
        if findings.is_empty() {
            document.check_lengths(max_nodes, &mut findings);
        }
        if findings.is_empty() {
            document.check_arrays(&mut findings);
        }
        (document, findings)
    }

    /// Where values stand that seem to be secrets, rightly or by mistake.
    pub(super) fn secrets(&self) -> Vec<Range<usize>> {
        let mut found = if self.whole {
            Vec::new()
        } else {
            suspects(self.text)
        };
        // `token` of `[options]` is a length of time.
        let secretive = self
            .root
            .iter()
            .filter(|(key, _)| key.get_ref() != "options");
        let mut values: Vec<_> = secretive
            .map(|(key, value)| (smells(key.get_ref()), value))
            .collect();
        while let Some((inside, value)) = values.pop() {
            match value.get_ref() {
                DeValue::Table(table) => {
                    for (key, value) in table {
                        values.push((inside || smells(key.get_ref()), value));
                    }
                }
                DeValue::Array(entries) => {
                    values.extend(entries.iter().map(|entry| (inside, entry)));
                }
                // The place of a secret is none.
                DeValue::String(text) if inside && !text.starts_with('/') => {
                    found.push(value.span());
                }
                _ => {}
            }
        }
        found
    }

    /// The end of the text: the place of what is missing.
    pub(super) fn end(&self) -> Range<usize> {
        self.text.len()..self.text.len()
    }

    pub(super) fn root(&self) -> &DeTable<'t> {
        &self.root
    }

    fn check_sections(&self, findings: &mut Vec<Finding>) {
        for (key, value) in &self.root {
            if findings.len() >= MAX_FINDINGS {
                return;
            }
            let name = key.get_ref().as_ref();
            match SECTIONS.iter().find(|(known, _)| *known == name) {
                None => {
                    let names: Vec<_> = SECTIONS.map(|(name, _)| name).into();
                    findings.push(Finding::unknown_table(key.span(), name, &names));
                }
                Some((_, true)) if !value.get_ref().is_array() => findings.push(
                    Finding::new(value.span(), format!("`{name}` is a list of tables"))
                        .help(format!("write `[[{name}]]`, once for each")),
                ),
                Some((_, false)) if !value.get_ref().is_table() => findings.push(
                    Finding::new(value.span(), format!("`{name}` is a single table"))
                        .help(format!("write `[{name}]`, once")),
                ),
                Some(_) => {}
            }
        }
        self.check_moved(findings);
    }

    /// What a fencing device needs once stood in `[fencing]`.
    fn check_moved(&self, findings: &mut Vec<Finding>) {
        let fencing = self
            .root
            .get("fencing")
            .and_then(|value| value.get_ref().as_table());
        for key in fencing.into_iter().flat_map(|table| table.keys()) {
            let name = key.get_ref().as_ref();
            if ["agent", "key_file", "multicast", "port"].contains(&name) {
                let message = format!("`{name}` belongs to a fencing device");
                findings.push(
                    Finding::new(key.span(), message)
                        .help("move it to a table of its own: `[[fence]]`, with a `name`"),
                );
            }
        }
    }

    fn check_lengths(&self, max_nodes: usize, findings: &mut Vec<Finding>) {
        for (name, is_list) in SECTIONS {
            let Some(list) = self
                .root
                .get(name)
                .and_then(|value| value.get_ref().as_array())
            else {
                continue;
            };
            let (most, whole) = match name {
                "node" => (max_nodes, "a cluster"),
                _ => (MAX_ENTRIES, "a definition"),
            };
            if is_list && let Some(first_too_many) = list.get(most) {
                let message = match name {
                    "node" => format!(
                        "{} nodes are more than the {most} {whole} may have",
                        list.len()
                    ),
                    _ => format!(
                        "{} `[[{name}]]` are more than the {most} {whole} may have",
                        list.len()
                    ),
                };
                findings.push(Finding::new(first_too_many.span(), message));
                return;
            }
        }
    }

    /// No array is longer than a list of tables may be.
    fn check_arrays(&self, findings: &mut Vec<Finding>) {
        let mut values: Vec<&Spanned<DeValue<'t>>> = self.root.values().collect();
        while let Some(value) = values.pop() {
            match value.get_ref() {
                DeValue::Table(table) => values.extend(table.values()),
                DeValue::Array(entries) if entries.len() > MAX_ENTRIES => {
                    let message = format!(
                        "an array of {} entries: there may be {MAX_ENTRIES}",
                        entries.len()
                    );
                    findings.push(Finding::new(value.span(), message));
                    return;
                }
                DeValue::Array(entries) => values.extend(entries.iter()),
                _ => {}
            }
        }
    }

    /// Reads the table `name`; `None` if it is not there or wrong.
    pub(super) fn table<T: Deserialize<'t>>(
        &self,
        name: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<T> {
        read(self.root.get(name)?, findings)
    }

    /// Reads all tables of the list `name` that are right.
    pub(super) fn list<T: Deserialize<'t>>(
        &self,
        name: &str,
        findings: &mut Vec<Finding>,
    ) -> Vec<T> {
        self.root
            .get(name)
            .and_then(|value| value.get_ref().as_array())
            .into_iter()
            .flatten()
            .filter_map(|value| read(value, findings))
            .collect()
    }

    /// Where something stands: keys and numbers of list entries, from the outside in. If it is not
    /// written, where the nearest thing around it stands.
    pub(super) fn at(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut span = self.end();
        let mut steps = path.iter();
        let Some(Step::Key(first)) = steps.next() else {
            return span;
        };
        let Some(mut value) = self.root.get(*first) else {
            return span;
        };
        span = value.span();
        for step in steps {
            let next = match step {
                Step::Key(key) => value.get_ref().as_table().and_then(|table| table.get(*key)),
                Step::Entry(at) => value.get_ref().as_array().and_then(|array| array.get(*at)),
            };
            let Some(next) = next else {
                break;
            };
            value = next;
            span = value.span();
        }
        span
    }

    /// Where the key stands that `path` ends in; if it is not written, as [`Self::at`].
    pub(super) fn key_at(&self, path: &[Step<'_>]) -> Range<usize> {
        let written = || {
            let (Step::Key(last), rest) = path.split_last()? else {
                return None;
            };
            let mut table = &self.root;
            let mut value: Option<&Spanned<DeValue<'t>>> = None;
            for step in rest {
                let next = match step {
                    Step::Key(key) => table.get(*key),
                    Step::Entry(at) => value?.get_ref().as_array()?.get(*at),
                };
                value = next;
                if let Some(inner) = next?.get_ref().as_table() {
                    table = inner;
                }
            }
            table
                .keys()
                .find(|key| key.get_ref() == last)
                .map(Spanned::span)
        };
        written().unwrap_or_else(|| self.at(path))
    }
}

/// Whether what is given by this name is likely to be a secret. An SNMP community is one that cannot be kept
/// better than in an option, and need not be shown for that.
fn smells(key: &str) -> bool {
    key.eq_ignore_ascii_case("community")
        || OptionName::try_from(key.to_owned()).is_ok_and(|key| key.smells_of_a_secret())
}

/// Where secrets may stand in a text that is no TOML: after keys that smell of one, to the end of the line.
fn suspects(text: &str) -> Vec<Range<usize>> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let follows_secret_key = |before: &str| {
        let before = before.trim_end_matches([' ', '\t', '"', '\'']);
        let key = &before[before.trim_end_matches(is_key).len()..];
        // A token is Corosync's timer more often than a secret.
        key != "token" && smells(key)
    };
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut equals = line.match_indices('=').map(|(at, _)| at);
        if let Some(at) = equals.find(|at| follows_secret_key(&line[..*at])) {
            found.push(start + at + 1..start + line.trim_end().len().max(at + 1));
        }
        start += line.len();
    }
    found
}

/// A step on the way to a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// To the value of a key.
    Key(&'a str),
    /// To an entry of an array, counted from 0.
    Entry(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(at: usize) -> Self {
        Self::Entry(at)
    }
}

/// Reads one table. The reader stops at its first mistake; that key is then left out and the rest read
/// again, so that all mistakes are found.
fn read<'t, T: Deserialize<'t>>(
    value: &Spanned<DeValue<'t>>,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let mut rest = value.clone();
    let mut removed: Vec<String> = Vec::new();
    for _ in 0..MAX_MISTAKES {
        let error = match T::deserialize(ValueDeserializer::from(rest.clone())) {
            Ok(read) if removed.is_empty() => return Some(read),
            Ok(_) => return None,
            Err(error) => error,
        };
        let about_removed = |name: &String| error.message() == format!("missing field `{name}`");
        if removed.iter().any(about_removed) {
            return None;
        }
        let mut finding = Finding::from_toml(&error);
        if error.span().is_none() {
            finding.span = value.span();
        }
        let place = finding.span.clone();
        findings.push(finding);
        match remove(&mut rest, &place) {
            Some(key) => removed.push(key),
            None => return None,
        }
    }
    None
}

/// Removes the key of a table at which, or at whose value, `place` lies.
fn remove(value: &mut Spanned<DeValue<'_>>, place: &Range<usize>) -> Option<String> {
    let DeValue::Table(table) = value.get_mut() else {
        return None;
    };
    let around = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    let name = table
        .iter()
        .find(|(key, value)| around(key.span()) || around(value.span()))
        .map(|(key, _)| key.get_ref().to_string())?;
    table.remove(name.as_str());
    Some(name)
}
