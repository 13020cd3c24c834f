//! Where in its text a definition says what.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

/// Where in its text a definition says what: from paths such as `node.n1`, `fence.virt.options`,
/// `storage.shared.kind`, `platform`, `options.token` or `volume.vg_shared/data` to bytes of the text.
///
/// A path is the name of a table, for a list the `name` of its entry, then keys; all with dots between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    text_len: usize,
    spans: HashMap<String, Range<usize>>,
    lines: Vec<usize>,
}

/// How deep tables are followed: no key of a definition lies deeper.
const MAX_DEPTH: usize = 5;

impl Places {
    pub(crate) fn new<'a, 't: 'a>(
        text: &str,
        root: impl IntoIterator<Item = (&'a str, &'a Spanned<DeValue<'t>>)>,
    ) -> Self {
        let mut places = Self {
            text_len: text.len(),
            spans: HashMap::new(),
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
        };
        for (name, value) in root {
            places.add(name.to_owned(), value, 0);
        }
        places
    }

    fn add(&mut self, path: String, value: &Spanned<DeValue<'_>>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.add(format!("{path}.{}", key.get_ref()), value, depth + 1);
                }
            }
            DeValue::Array(entries) => {
                for entry in entries {
                    let Some(table) = entry.get_ref().as_table() else {
                        continue;
                    };
                    let text =
                        |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
                    let Some(name) = text("name") else {
                        continue;
                    };
                    if let (true, Some(group)) = (path == "volume", text("group")) {
                        self.add(format!("{path}.{group}/{name}"), entry, depth + 1);
                    }
                    self.add(format!("{path}.{name}"), entry, depth + 1);
                }
            }
            _ => {}
        }
        self.spans.entry(path).or_insert_with(|| value.span());
    }

    /// Where `path` is said, in bytes of the text. If it is not said itself, where the nearest thing
    /// around it is: for `node.n1.os` that may be the header of node `n1`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Range<usize>> {
        let mut rest = path;
        loop {
            if let Some(span) = self.spans.get(rest) {
                return Some(span.clone());
            }
            rest = rest.rsplit_once('.')?.0;
        }
    }

    /// Where exactly `path` is said.
    #[must_use]
    pub fn exactly(&self, path: &str) -> Option<Range<usize>> {
        self.spans.get(path).cloned()
    }

    /// The line of the nearest place to `path`, counted from 1.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<usize> {
        let start = self.find(path)?.start.min(self.text_len);
        Some(self.lines.partition_point(|line| *line <= start))
    }
}
