//! The command line, read the way GNU getopt reads it.
//!
//! Options and operands may be mixed; `--` ends options; short flags may be bundled (`-vvv`) and
//! their values attached (`-np1`); long options take `--plug=p1` or `--plug p1`, and any prefix that
//! fits one option only. Operands are warned about. An option with a bare value (`-S` of
//! `fence_virt`) takes only an attached one.

use std::ffi::OsString;

use crate::given::{Given, Reading};
use crate::table::{Agent, Opt, fold};

/// Reads the arguments after the program name.
pub(crate) fn read(agent: &'static Agent, args: impl Iterator<Item = OsString>) -> Reading {
    let mut reader = Reader {
        agent,
        args,
        reading: Reading {
            from_argv: true,
            ..Reading::default()
        },
    };
    reader.run();
    reader.reading
}

struct Reader<I> {
    agent: &'static Agent,
    args: I,
    reading: Reading,
}

/// A spelling found in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    option: usize,
    spelling: usize,
}

impl<I: Iterator<Item = OsString>> Reader<I> {
    fn run(&mut self) {
        while let Some(arg) = self.next() {
            if arg == "--" {
                while let Some(operand) = self.next() {
                    self.operand(&operand);
                }
            } else if let Some(long) = arg.strip_prefix("--") {
                self.long(long);
            } else if arg.len() > 1 && arg.starts_with('-') {
                self.bundle(&arg[1..]);
            } else {
                self.operand(&arg);
            }
        }
    }

    /// The next argument. Text that is not UTF-8 names no guest and no file this program is asked
    /// to use by accident: it is refused.
    fn next(&mut self) -> Option<String> {
        let arg = self.args.next()?;
        Some(arg.into_string().unwrap_or_else(|raw| {
            let shown = raw.to_string_lossy().into_owned();
            self.reading
                .errors
                .push(format!("argument `{shown}` is not valid UTF-8"));
            shown
        }))
    }

    fn operand(&mut self, operand: &str) {
        self.reading
            .warnings
            .push(format!("argument `{operand}` is not an option, ignored"));
    }

    fn long(&mut self, text: &str) {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match find_long(self.agent, name) {
            Ok(found) => self.accept(found, attached, &format!("--{name}")),
            Err(problem) => self.reading.errors.push(problem),
        }
    }

    fn bundle(&mut self, letters: &str) {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let Some(found) = find_short(self.agent, letter) else {
                self.reading
                    .errors
                    .push(format!("unknown option `-{letter}`"));
                return;
            };
            let option = &self.agent.options[found.option];
            let attached = rest.as_str();
            if option.takes_value() {
                let attached = (!attached.is_empty()).then(|| attached.to_owned());
                self.accept(found, attached, &format!("-{letter}"));
                return;
            }
            self.accept(found, None, &format!("-{letter}"));
        }
    }

    fn accept(&mut self, found: Found, attached: Option<String>, written: &str) {
        let option = &self.agent.options[found.option];
        let value = match (option.takes_value(), attached) {
            (true, Some(value)) => Some(value),
            (true, None) if option.bare.is_some() => None,
            (true, None) => {
                let Some(value) = self.next() else {
                    self.reading
                        .errors
                        .push(format!("option `{written}` needs a value"));
                    return;
                };
                Some(value)
            }
            (false, Some(_)) => {
                self.reading
                    .errors
                    .push(format!("option `{written}` takes no value"));
                return;
            }
            (false, None) => None,
        };
        self.reading.given.push(Given {
            option: found.option,
            spelling: found.spelling,
            value,
        });
    }
}

fn find_short(agent: &Agent, letter: char) -> Option<Found> {
    agent.options.iter().enumerate().find_map(|(option, row)| {
        if row.short == Some(letter) || row.short_too == Some(letter) {
            return Some(Found {
                option,
                spelling: 0,
            });
        }
        let alias = row
            .aliases
            .iter()
            .position(|alias| alias.short == Some(letter))?;
        Some(Found {
            option,
            spelling: alias + 1,
        })
    })
}

/// Exact names win; else a prefix must fit the spellings of one option only.
fn find_long(agent: &Agent, name: &str) -> Result<Found, String> {
    let mut fits: Vec<(Found, &str)> = Vec::new();
    for (option, row) in agent.options.iter().enumerate() {
        for (spelling, candidate) in long_names(row) {
            if !starts_with(candidate, name) {
                continue;
            }
            let found = Found { option, spelling };
            if candidate.len() == name.len() {
                return Ok(found);
            }
            fits.push((found, candidate));
        }
    }
    let mut options = fits.iter().map(|(found, _)| found.option);
    let first = options.next();
    match fits.first() {
        Some((found, _)) if options.all(|other| Some(other) == first) => Ok(*found),
        Some(_) => {
            let names: Vec<String> = fits
                .iter()
                .map(|(_, name)| format!("--{}", name.replace('_', "-")))
                .collect();
            Err(format!(
                "option `--{name}` is ambiguous: {}",
                names.join(", ")
            ))
        }
        None => Err(format!("unknown option `--{name}`")),
    }
}

fn long_names(row: &'static Opt) -> impl Iterator<Item = (usize, &'static str)> {
    let own = row.long.then_some((0, row.name));
    let aliases = row
        .aliases
        .iter()
        .enumerate()
        .filter(|(_, alias)| alias.long);
    own.into_iter()
        .chain(aliases.map(|(index, alias)| (index + 1, alias.name)))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    !prefix.is_empty()
        && prefix.len() <= name.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(a, b)| fold(a) == fold(b))
}
