//! What concerns several values of a definition together: everything that cannot be.
//!
//! What can be but should not is no concern of a definition: that is for the support matrix to say.

mod fencing;
mod filesystems;
mod hosts;
mod nodes;
mod options;
mod services;
mod storage;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::ops::Range;

use super::document::{Document, Step};
use super::{Definition, MAX_FINDINGS};
use crate::error::Finding;

pub(super) use nodes::favour;

/// Everything that contradicts something else.
pub(super) fn all(definition: &Definition, document: &Document<'_>) -> Vec<Finding> {
    let mut check = Check {
        definition,
        document,
        findings: Vec::new(),
    };
    hosts::check(&mut check);
    nodes::check(&mut check);
    options::check(&mut check);
    fencing::check(&mut check);
    storage::check(&mut check);
    filesystems::check(&mut check);
    services::check(&mut check);
    check.findings
}

/// A definition under examination, and what was found.
struct Check<'a> {
    definition: &'a Definition,
    document: &'a Document<'a>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    /// Something is wrong with the value at `path`.
    fn say<const N: usize>(&mut self, path: [Step<'_>; N], message: String) {
        if !self.is_full() {
            let span = self.document.at(&path);
            self.findings.push(Finding::new(span, message));
        }
    }

    /// Nobody reads more than the first of many, and to find each place takes a while.
    fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    /// Something is wrong with the value at `path`, and `help` says what would be right.
    fn advise<const N: usize>(
        &mut self,
        path: [Step<'_>; N],
        message: String,
        help: impl Into<String>,
    ) {
        if !self.is_full() {
            let span = self.document.at(&path);
            self.findings.push(Finding::new(span, message).help(help));
        }
    }

    /// Something is wrong with the key that `path` ends in.
    fn advise_key<const N: usize>(
        &mut self,
        path: [Step<'_>; N],
        message: String,
        help: impl Into<String>,
    ) {
        if !self.is_full() {
            let span = self.document.key_at(&path);
            self.findings.push(Finding::new(span, message).help(help));
        }
    }

    /// Each entry of the list `table` must have a name of its own.
    fn unique_names<T: Eq + Hash + Display>(
        &mut self,
        table: &str,
        what: &str,
        names: impl Iterator<Item = T>,
    ) {
        let mut seen = HashSet::new();
        for (at, name) in names.enumerate() {
            let message = format!("a second {what} named `{name}`");
            if !seen.insert(name) {
                self.advise(
                    [table.into(), at.into(), "name".into()],
                    message,
                    format!("each {what} needs a name of its own"),
                );
            }
        }
    }

    /// The names in an array must be known, and each stand there once.
    fn known_names<T: AsRef<str>, const N: usize>(
        &mut self,
        path: [Step<'_>; N],
        what: &str,
        names: &[T],
        known: &[&str],
    ) {
        let mut seen = HashSet::new();
        for (at, name) in names.iter().enumerate() {
            let mut whole = path.to_vec();
            whole.push(at.into());
            let span = self.document.at(&whole);
            let name = name.as_ref();
            if !known.contains(&name) {
                self.unknown(span, what, name, known);
            } else if !seen.insert(name) {
                let message = format!("{what} `{name}` is listed twice");
                self.findings.push(Finding::new(span, message));
            }
        }
    }

    /// A name must be known.
    fn known_name<const N: usize>(
        &mut self,
        path: [Step<'_>; N],
        what: &str,
        name: &str,
        known: &[&str],
    ) {
        if !known.contains(&name) {
            let span = self.document.at(&path);
            self.unknown(span, what, name, known);
        }
    }

    /// There is nothing of this name.
    fn unknown(&mut self, span: Range<usize>, what: &str, name: &str, known: &[&str]) {
        if !self.is_full() {
            self.findings
                .push(Finding::unknown(span, what, name, known));
        }
    }

    fn node_names(&self) -> Vec<&'a str> {
        let nodes = self.definition.nodes.iter();
        nodes.map(|node| node.name.as_str()).collect()
    }

    fn storage_names(&self) -> Vec<&'a str> {
        let storage = self.definition.storage.iter();
        storage.map(|storage| storage.name.as_str()).collect()
    }
}

/// Remembers who was first to have something.
struct Owners<K, V>(HashMap<K, V>);

impl<K: Eq + Hash, V: Clone> Owners<K, V> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Who has had `key` before; from now on somebody has it.
    fn take(&mut self, key: K, owner: V) -> Option<V> {
        let before = self.0.get(&key).cloned();
        if before.is_none() {
            self.0.insert(key, owner);
        }
        before
    }
}
