//! A typed view on one section: reading a key checks its value and notes the key as known, so that
//! whatever was not asked for can be reported with the nearest name that was.

use std::cell::RefCell;
use std::ops::Range;
use std::str::FromStr;

use super::diagnose::{Diagnostic, nearest};
use super::grammar::{Item, Section, Spanned};

/// Where readers put their remarks.
#[derive(Debug, Default)]
pub struct Remarks(RefCell<Vec<Diagnostic>>);

impl Remarks {
    /// Adds a remark.
    pub fn add(&self, remark: Diagnostic) {
        self.0.borrow_mut().push(remark);
    }

    /// All remarks, in the order of the file, each once: a key may be read in two ways.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut remarks: Vec<Diagnostic> = Vec::new();
        for remark in self.0.into_inner() {
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        remarks.sort_by_key(|remark| remark.span().start);
        remarks
    }
}

/// One section of the file, or the file itself, or a section that the file does not have.
#[derive(Debug)]
pub struct View<'a> {
    /// The path of the section for messages, such as `listeners/tcp`; empty for the file.
    path: String,
    /// Where the section's name stands.
    place: Range<usize>,
    label: Option<&'a Spanned>,
    items: &'a [Item],
    known: RefCell<Vec<String>>,
    remarks: &'a Remarks,
}

impl<'a> View<'a> {
    /// The view on the whole file.
    #[must_use]
    pub const fn root(items: &'a [Item], remarks: &'a Remarks) -> Self {
        Self {
            path: String::new(),
            place: 0..0,
            label: None,
            items,
            known: RefCell::new(Vec::new()),
            remarks,
        }
    }

    /// The place to point at when something is missing.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// The text between the section's name and its brace.
    #[must_use]
    pub const fn label(&self) -> Option<&'a Spanned> {
        self.label
    }

    /// Where this view's remarks go.
    #[must_use]
    pub const fn remarks(&self) -> &'a Remarks {
        self.remarks
    }

    /// `key` with the section's path in front, for messages.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.path)
        }
    }

    /// Takes `key` for a name that has a meaning here.
    pub fn know(&self, key: &str) {
        self.known.borrow_mut().push(key.to_owned());
    }

    /// The section called `name`: as in C, the last one of that name, whatever its case.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Self> {
        let all = self.sections(name);
        if all.len() > 1 {
            for ignored in &all[..all.len() - 1] {
                self.remarks.add(
                    Diagnostic::warning(
                        ignored.place(),
                        format!("section `{}` appears again below", self.path_of(name)),
                    )
                    .label("this one is not read")
                    .help("merge the two: only the last section of a name counts"),
                );
            }
        }
        all.into_iter().next_back()
    }

    /// All sections called `name`, in the order of the file.
    #[must_use]
    pub fn sections(&self, name: &str) -> Vec<Self> {
        self.know(name);
        let matching = self.items.iter().filter_map(|item| match item {
            Item::Section(section) if section.name.text.eq_ignore_ascii_case(name) => Some(section),
            _ => None,
        });
        matching.map(|section| self.enter(section)).collect()
    }

    fn enter(&self, section: &'a Section) -> Self {
        Self {
            path: self.path_of(&section.name.text.to_ascii_lowercase()),
            place: section.name.span.clone(),
            label: section.label.as_ref(),
            items: &section.items,
            known: RefCell::new(Vec::new()),
            remarks: self.remarks,
        }
    }

    /// Every value assigned to `key`, in the order of the file.
    #[must_use]
    pub fn values(&self, key: &str) -> Vec<&'a Spanned> {
        self.know(key);
        self.assignments()
            .filter(|(written, _)| written.text.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
            .collect()
    }

    /// Every assignment of the section, in the order of the file.
    pub fn assignments(&self) -> impl Iterator<Item = (&'a Spanned, &'a Spanned)> + use<'a> {
        self.items.iter().filter_map(|item| match item {
            Item::Assignment { key, value } => Some((key, value)),
            Item::Section(_) => None,
        })
    }

    /// The value of `key`: as in C, the last assignment wins.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a Spanned> {
        let all = self.values(key);
        let (last, overridden) = all.split_last()?;
        for value in overridden {
            self.remarks.add(
                Diagnostic::warning(
                    value.span.clone(),
                    format!("`{}` is assigned again below", self.path_of(key)),
                )
                .label("this value is not used")
                .help("remove one of them: the last assignment of a key wins"),
            );
        }
        Some(last)
    }

    /// The value of `key` as one of a type's names, such as a hash.
    #[must_use]
    pub fn choice<T>(&self, key: &str, choices: &[&str]) -> Option<(T, Range<usize>)>
    where
        T: FromStr,
    {
        let value = self.text(key)?;
        if let Ok(choice) = value.text.to_ascii_lowercase().parse() {
            return Some((choice, value.span.clone()));
        }
        let known = choices.join(", ");
        let help = nearest(&value.text, choices.iter().copied()).map_or_else(
            || format!("write one of: {known}"),
            |near| format!("did you mean `{near}`? Known are: {known}"),
        );
        self.remarks.add(
            Diagnostic::error(
                value.span.clone(),
                format!("`{}` cannot be `{}`", self.path_of(key), value.text),
            )
            .label("not a known value")
            .help(help),
        );
        None
    }

    /// The value of `key` as a number from `least` to `most`.
    ///
    /// As in C the leading decimal digits count, and text without any is 0; both are remarked on.
    #[must_use]
    pub fn number(&self, key: &str, least: u64, most: u64) -> Option<u64> {
        let value = self.text(key)?;
        let digits: String = value
            .text
            .trim_start_matches([' ', '\t', '\n'])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let number = if digits.is_empty() {
            0
        } else {
            digits.parse().unwrap_or(u64::MAX)
        };
        if number < least || number > most {
            self.remarks.add(
                Diagnostic::error(
                    value.span.clone(),
                    format!("`{}` is out of range", self.path_of(key)),
                )
                .label(format!("counts as {number}"))
                .help(format!("write a number from {least} to {most}")),
            );
            return None;
        }
        if digits != value.text {
            self.remarks.add(
                Diagnostic::warning(
                    value.span.clone(),
                    format!("`{}` is not a plain number", self.path_of(key)),
                )
                .label(format!("counts as {number}"))
                .help(format!("write `{key} = \"{number}\";` if that is meant")),
            );
        }
        Some(number)
    }

    /// The value of `key` as a switch: 0 is off, any other number on.
    #[must_use]
    pub fn switch(&self, key: &str) -> bool {
        self.number(key, 0, u64::MAX)
            .is_some_and(|number| number != 0)
    }

    /// Remarks on everything in this section whose name nobody asked for. C ignores such entries,
    /// so existing files may hold them: they are warnings.
    pub fn report_unknown(&self) {
        let known = self.known.borrow();
        for item in self.items {
            let (name, what) = match item {
                Item::Assignment { key, .. } => (key, "key"),
                Item::Section(section) => (&section.name, "section"),
            };
            if known
                .iter()
                .any(|known| name.text.eq_ignore_ascii_case(known))
            {
                continue;
            }
            let help = nearest(&name.text, known.iter().map(String::as_str)).map_or_else(
                || "remove it, or see fence_virt.conf(5) for what is known here".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let path = self.path_of(&name.text);
            self.remarks.add(
                Diagnostic::warning(name.span.clone(), format!("unknown {what} `{path}`"))
                    .label("this has no effect")
                    .help(help),
            );
        }
    }
}
