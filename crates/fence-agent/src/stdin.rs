//! Options on standard input: `name=value` lines, as Pacemaker writes them (FenceAgentAPI 1.2).

use std::borrow::Cow;

use crate::given::{Given, Reading, is_callers_own, slip_of};
use crate::table::{Agent, same_name};

/// Most bytes read from standard input. Pacemaker's own limit is a pipe buffer of 64 KiB.
pub(crate) const LIMIT: usize = 256 * 1024;

/// Reads the whole text of standard input.
pub(crate) fn read(agent: &'static Agent, input: &[u8]) -> Reading {
    let mut reading = Reading::default();
    for line in input.split(|byte| *byte == b'\n') {
        read_line(agent, line.trim_ascii(), &mut reading);
    }
    reading
}

fn read_line(agent: &'static Agent, line: &[u8], reading: &mut Reading) {
    if line.is_empty() || line.starts_with(b"#") {
        return;
    }
    let (name, value) = split(line);
    let Some((option, spelling)) = find(agent, &name) else {
        unknown(agent, &name, reading);
        return;
    };
    let value = match value.map(std::str::from_utf8).transpose() {
        Ok(value) => value.map(unquoted),
        Err(_) => {
            reading
                .errors
                .push(format!("value of `{name}` is not valid UTF-8"));
            return;
        }
    };
    reading.given.push(Given {
        option,
        spelling,
        value: value.map(str::to_owned),
    });
}

/// Name and value. A blank on the left of `=` shows that the writer meant `name = value`; then
/// blanks on the right of it go as well, otherwise they belong to the value.
fn split(line: &[u8]) -> (Cow<'_, str>, Option<&[u8]>) {
    let Some(at) = line.iter().position(|byte| *byte == b'=') else {
        return (String::from_utf8_lossy(line), None);
    };
    let (name, value) = (&line[..at], &line[at + 1..]);
    let trimmed = name.trim_ascii_end();
    let value = if trimmed.len() < name.len() {
        value.trim_ascii_start()
    } else {
        value
    };
    (String::from_utf8_lossy(trimmed), Some(value))
}

/// The value without one pair of double quotes around the whole of it.
fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

fn find(agent: &Agent, name: &str) -> Option<(usize, usize)> {
    agent
        .options
        .iter()
        .enumerate()
        .filter(|(_, option)| option.stdin)
        .find_map(|(index, option)| {
            if same_name(option.name, name) {
                return Some((index, 0));
            }
            let alias = option
                .aliases
                .iter()
                .position(|alias| same_name(alias.name, name))?;
            Some((index, alias + 1))
        })
}

/// A foreign name is warned about: other versions, front ends and agents have options this one does
/// not. A name that looks like a slip of a known one is an error, because leaving out an option the
/// administrator meant to set may change who is fenced and how.
fn unknown(agent: &Agent, name: &str, reading: &mut Reading) {
    if is_callers_own(agent, name) {
        return;
    }
    let shown: String = name.chars().take(64).collect();
    match slip_of(agent, name) {
        Some(meant) => reading.errors.push(format!(
            "unknown option `{shown}`: did you mean `{meant}`? Nothing is done on a guess"
        )),
        None => reading
            .warnings
            .push(format!("unknown option `{shown}`, ignored")),
    }
}
