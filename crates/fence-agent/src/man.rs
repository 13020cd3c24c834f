//! The man page of an agent, section 8, as roff.

use std::fmt::Write;

use crate::help::described;
use crate::metadata::flags;
use crate::table::{Agent, Opt};

/// What every agent does with its input, in the same words.
const INPUT: &str = "Called without any argument, the agent reads options from standard input, one \
    NAME=VALUE a line. This is how Pacemaker calls it. With any argument, standard input is not read. \
    Lines that start with # are comments; - and _ in names are the same; case of names does not matter; \
    one pair of double quotes around a value is removed; a value keeps its inner blanks.\n\n\
    The deprecated name \"option\" means \"action\". A flag given as 0, no, off or false is not set. \
    When an option is given under several of its names, the current name wins over deprecated ones, \
    whatever the order of lines.\n\n\
    An unknown name on standard input is warned about and ignored, except when it looks like a slip \
    of a known one: then the agent does nothing and exits 1, because an option that was meant to be \
    set decides who is fenced, and how. A wrong value, an unknown option on the command line and an \
    unknown action are always errors.";

/// Exit statuses, in the words of [`Exit`](crate::Exit).
const STATUSES: [(&str, &str); 3] = [
    ("0", "Done and confirmed. For status: on."),
    (
        "1",
        "Not done, not confirmed, cannot tell, or wrong use. The message on standard error says which.",
    ),
    ("2", "Status only: the plug was seen to be off."),
];

/// The page, under the name by which the program is installed.
#[must_use]
pub fn render(agent: &'static Agent, program: &str) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let title = program.to_uppercase();
    push(
        &mut page,
        format_args!(
            ".TH {title} 8 \"\" \"Picket {}\" \"Fence agents\"",
            agent.version
        ),
    );
    push(
        &mut page,
        format_args!(".SH NAME\n{} \\- {}", text(program), text(agent.shortdesc)),
    );
    push(
        &mut page,
        format_args!(".SH SYNOPSIS\n.B {}\n[options]", text(program)),
    );
    section(&mut page, "DESCRIPTION", agent.longdesc);
    section(&mut page, "INPUT", INPUT);
    page.push_str(".SH OPTIONS\n");
    let mut options: Vec<&Opt> = agent.options.iter().collect();
    options.sort_by_key(|option| (option.order, option.name));
    for option in options {
        entry(&mut page, option);
    }
    page.push_str(".SH ACTIONS\n");
    for action in agent.actions {
        tagged(&mut page, action.name, action.help);
    }
    for (heading, note) in agent.notes {
        section(&mut page, heading, note);
    }
    page.push_str(".SH EXIT STATUS\n");
    for (status, meaning) in STATUSES {
        tagged(&mut page, status, meaning);
    }
    push(
        &mut page,
        format_args!(".SH SEE ALSO\n{}", text(agent.vendor_url)),
    );
    page
}

fn entry(page: &mut String, option: &'static Opt) {
    let mut forms: Vec<String> = (0..=option.aliases.len())
        .map(|spelling| flags(option, spelling))
        .filter(|form| !form.is_empty())
        .collect();
    if forms.is_empty() {
        forms.push(format!("{}= (standard input)", option.name));
    }
    if let Some(too) = option.short_too {
        forms.push(format!("-{too}"));
    }
    let mut words = described(option);
    if option.stdin {
        let names: Vec<&str> = std::iter::once(option.name)
            .chain(option.aliases.iter().map(|alias| alias.name))
            .collect();
        let _ = write!(words, ". Standard input: {}.", names.join(", "));
    }
    tagged(page, &forms.join(", "), &words);
}

fn section(page: &mut String, heading: &str, words: &str) {
    push(page, format_args!(".SH {heading}"));
    for (index, paragraph) in words.split("\n\n").enumerate() {
        if index > 0 {
            page.push_str(".PP\n");
        }
        push(page, format_args!("{}", text(paragraph)));
    }
}

fn tagged(page: &mut String, tag: &str, words: &str) {
    push(
        page,
        format_args!(".TP\n\\fB{}\\fR\n{}", text(tag), text(words)),
    );
}

/// Escaped for roff: backslashes, dashes, and a control character at the start of a line.
fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for line in words.lines() {
        if !out.is_empty() {
            out.push('\n');
        }
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                c => out.push(c),
            }
        }
    }
    out
}

fn push(page: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(words);
    page.push('\n');
}
