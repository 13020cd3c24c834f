//! Where this machine gets Debian's packages from: its own apt sources, reduced to what the image needs.

use std::fs;
use std::path::Path;

/// The suites an image may be made from.
const SUITES: [&str; 3] = ["bookworm", "bookworm-updates", "bookworm-security"];
const COMPONENT: &str = "main";

/// One line of sources for the image: `deb [signed-by=…] URI SUITE main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    suite: &'static str,
    uri: String,
    signed_by: Option<String>,
}

impl Source {
    fn line(&self) -> String {
        let options = self
            .signed_by
            .as_deref()
            .map_or_else(String::new, |key| format!("[signed-by={key}] "));
        format!("deb {options}{} {} {COMPONENT}\n", self.uri, self.suite)
    }
}

/// The machine's sources of Debian 12, as the text of a sources.list. Empty if it has none.
pub(crate) fn of_this_machine(apt: &Path) -> String {
    let mut found = Vec::new();
    if let Ok(text) = fs::read_to_string(apt.join("sources.list")) {
        found.extend(parse_lines(&text));
    }
    let mut files: Vec<_> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(parse_lines(&text)),
            Some("sources") => found.extend(parse_stanzas(&text)),
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    // Without the suite itself its updates are of no use.
    if !found.iter().any(|source| source.suite == SUITES[0]) {
        return String::new();
    }
    found.iter().map(Source::line).collect()
}

fn known(suite: &str) -> Option<&'static str> {
    SUITES
        .into_iter()
        .find(|known| *known == suite.trim_end_matches('/'))
}

/// Sources in the one-line form of sources.list(5).
fn parse_lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).flatten().collect()
}

fn parse_line(line: &str) -> Option<Vec<Source>> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let uri = words.next()?.to_owned();
    let suite = known(words.next()?)?;
    if !words.any(|component| component == COMPONENT) {
        return None;
    }
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    Some(vec![Source {
        suite,
        uri,
        signed_by,
    }])
}

/// Sources in the stanza form (deb822) of sources.list(5).
fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(from_stanza(&stanza));
            stanza.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn from_stanza(stanza: &[(String, String)]) -> Vec<Source> {
    let field = |name: &str| {
        stanza
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let has = |name: &str, wanted: &str| field(name).split_whitespace().any(|word| word == wanted);
    if field("enabled").eq_ignore_ascii_case("no")
        || !has("types", "deb")
        || !has("components", COMPONENT)
    {
        return Vec::new();
    }
    // A key block written out in the stanza cannot be passed on in a line; Debian's own keyring, which
    // is the default, is what signs these suites.
    let signed_by = Some(field("signed-by"))
        .filter(|key| key.starts_with('/') && !key.contains(' '))
        .map(str::to_owned);
    let mut sources = Vec::new();
    for uri in field("uris").split_whitespace() {
        for suite in field("suites").split_whitespace().filter_map(known) {
            sources.push(Source {
                suite,
                uri: uri.to_owned(),
                signed_by: signed_by.clone(),
            });
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        of_this_machine(dir.path())
    }

    #[test]
    fn one_line_form() {
        let text = machine(&[(
            "sources.list",
            "# comment\n\
             deb http://mirror.example/debian bookworm main contrib # inline\n\
             deb-src http://mirror.example/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/sec bookworm-security main\n\
             deb http://other.example stable main\n\
             debx http://mirror.example/debian bookworm main\n",
        )]);
        assert_eq!(
            text,
            "deb http://mirror.example/debian bookworm main\n\
             deb [signed-by=/k.gpg] http://mirror.example/sec bookworm-security main\n"
        );
    }

    #[test]
    fn stanza_form_with_folded_fields_and_comments() {
        let text = machine(&[(
            "sources.list.d/debian.sources",
            "Types: deb deb-src\n# note\nURIs: http://mirror.example/debian\nSuites: bookworm\n bookworm-updates\n\
             Components: main\nSigned-By: /k.gpg\n\n\
             Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n\n\
             Types: deb\nURIs: http://third.example\nSuites: nodistro\nComponents: main\n",
        )]);
        assert_eq!(
            text,
            "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main\n\
             deb [signed-by=/k.gpg] http://mirror.example/debian bookworm-updates main\n"
        );
    }

    #[test]
    fn updates_without_the_suite_are_nothing() {
        assert_eq!(
            machine(&[(
                "sources.list",
                "deb http://m.example bookworm-updates main\n"
            )]),
            ""
        );
        assert_eq!(machine(&[]), "");
    }
}
