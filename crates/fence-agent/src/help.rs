//! The usage text of an agent.

use std::fmt::Write;

use crate::metadata::flags;
use crate::table::{Agent, Kind, Opt};

/// Width of the text.
const WIDTH: usize = 80;
/// Column where descriptions start.
const INDENT: usize = 26;

/// The text of `--help`.
#[must_use]
pub fn render(agent: &'static Agent, program: &str) -> String {
    let mut text = format!("Usage: {program} [options]\n\n");
    for paragraph in agent.longdesc.split("\n\n") {
        wrap(&mut text, paragraph, 0);
        text.push('\n');
    }
    text.push_str("Options:\n");
    for option in sorted(agent) {
        entry(&mut text, &left(option), &described(option));
    }
    text.push_str("\nActions:\n");
    for action in agent.actions {
        entry(&mut text, action.name, action.help);
    }
    text.push_str(
        "\nWithout any argument, options are read from standard input as lines NAME=VALUE,\n\
         NAME being the long name with or without its dashes as underscores:\n",
    );
    let mut names = String::new();
    for option in sorted(agent).filter(|option| option.stdin) {
        let _ = write!(names, "{} ", option.name);
    }
    wrap(&mut text, names.trim_end(), 2);
    text.push_str(
        "\nExit status: 0 done and confirmed (status: on), 1 failed or cannot tell,\n2 status: off.\n",
    );
    text
}

fn sorted(agent: &'static Agent) -> impl Iterator<Item = &'static Opt> {
    let mut options: Vec<&Opt> = agent.options.iter().collect();
    options.sort_by_key(|option| (option.order, option.name));
    options.into_iter()
}

fn left(option: &'static Opt) -> String {
    let mut text = flags(option, 0);
    if let Some(too) = option.short_too {
        text = format!("-{too}, {text}");
    }
    for index in 0..option.aliases.len() {
        let also = flags(option, index + 1);
        if !also.is_empty() {
            text = format!("{text}, {also}");
        }
    }
    text
}

/// The description with its default and choices.
pub(crate) fn described(option: &Opt) -> String {
    let mut text = option.help.to_owned();
    if let Kind::Select(choices) = option.kind {
        let _ = write!(text, " ({})", choices.join(", "));
    }
    if let Some(default) = option.default {
        let _ = write!(text, " (default {default})");
    }
    text
}

fn entry(text: &mut String, left: &str, right: &str) {
    let lead = format!("  {left}");
    text.push_str(&lead);
    if lead.len() + 2 > INDENT {
        text.push('\n');
        wrap(text, right, INDENT);
    } else {
        let mut wrapped = String::new();
        wrap(&mut wrapped, right, INDENT);
        text.push_str(wrapped.get(lead.len()..).unwrap_or(&wrapped));
    }
}

/// Appends `words` in lines of at most [`WIDTH`] columns, each indented.
fn wrap(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
