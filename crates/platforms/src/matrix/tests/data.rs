//! The data itself: it reads, it is complete, and its citations resolve.

use std::collections::BTreeSet;

use cluster::{Os, PlatformKind};

use super::super::*;
use crate::source::Source;
use crate::verdict::Severity;

/// The keys of all facts that are known. A fact that is lost, or one that is added and not listed here,
/// is an error.
const KEYS: &str = include_str!("keys.txt");

fn sheets() -> impl Iterator<Item = &'static Sheet> {
    FILES.iter().map(File::sheet)
}

fn rows() -> impl Iterator<Item = (Edition, &'static Sheet, &'static Row)> {
    FILES.iter().flat_map(|file| {
        let sheet = file.sheet();
        sheet.rows.iter().map(move |row| (file.edition, sheet, row))
    })
}

/// Everything that is cited anywhere in the data.
fn citations() -> Vec<&'static str> {
    let mut cited: Vec<&str> = Vec::new();
    for (_, _, row) in rows() {
        cited.extend(row.sources.iter().map(String::as_str));
        cited.push(&row.guests.source);
        cited.extend(row.hosts.iter().map(|hosts| hosts.source.as_str()));
        cited.extend(row.product.iter().map(|product| product.source.as_str()));
        cited.extend(row.manager.iter().map(|manager| manager.source.as_str()));
        let rules = [
            &row.homogeneous,
            &row.bare_metal,
            &row.agents_rule,
            &row.storage_rule,
        ];
        cited.extend(rules.into_iter().flatten().map(String::as_str));
        cited.extend(row.notes.iter().map(|note| note.source.as_str()));
        cited.extend(row.later.iter().map(String::as_str));
    }
    for sheet in sheets() {
        let rules = [&sheet.agents_rule, &sheet.storage_rule];
        cited.extend(rules.into_iter().flatten().map(String::as_str));
    }
    for entry in agents() {
        cited.push(&entry.source);
        cited.extend(entry.managers_source.iter().map(String::as_str));
    }
    for entry in storage() {
        cited.push(&entry.source);
        cited.extend(entry.product.iter().map(|product| product.source.as_str()));
        let reservations = entry.reservations.iter();
        cited.extend(reservations.map(|reservations| reservations.source.as_str()));
    }
    cited
}

fn agents() -> impl Iterator<Item = &'static Agents> {
    let of_rows = rows().flat_map(|(_, _, row)| &row.agents);
    of_rows.chain(sheets().flat_map(|sheet| &sheet.agents))
}

fn storage() -> impl Iterator<Item = &'static StorageKinds> {
    let of_rows = rows().flat_map(|(_, _, row)| &row.storage);
    of_rows.chain(sheets().flat_map(|sheet| &sheet.storage))
}

#[test]
fn every_file_reads_and_says_what_it_is_about() {
    for file in &FILES {
        let sheet: Sheet = toml::from_str(file.text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sheet.platform, file.platform, "{}", sheet.title);
        for fact in &sheet.facts {
            let (prefix, _) = fact.key.split_once('.').expect("PREFIX.NAME");
            assert!(
                file.prefixes.contains(&prefix),
                "{} is in a wrong file",
                fact.key
            );
        }
    }
}

#[test]
fn unknown_keys_and_words_are_errors() {
    for text in [
        "title = 'x'\ncolour = 'red'",
        "title = 'x'\nplatform = 'esx'",
        "title = 'x'\n[[row]]\nid = 'a'\ntitle = 'a'\nlevel = 'maybe'\nstatement = 'a'\nsources = []\nguests = { source = 'S03', any = [] }",
        "title = 'x'\n[[storage]]\nkinds = ['floppy']\nsource = 'S06'",
        "title = 'x'\n[[agent]]\nnames = ['fence_x']\nsource = 'S06'\nguests = [{ os = 'rhel', from = 'six' }]",
    ] {
        assert!(toml::from_str::<Sheet>(text).is_err(), "{text}");
    }
}

#[test]
fn every_fact_is_there_once() {
    let expected: BTreeSet<&str> = KEYS.lines().collect();
    let found: Vec<&str> = Matrix::facts().map(|fact| fact.key.as_str()).collect();
    let unique: BTreeSet<&str> = found.iter().copied().collect();
    assert_eq!(found.len(), unique.len(), "a key is there twice");
    assert_eq!(unique, expected);
}

#[test]
fn rows_have_ids_of_their_own() {
    let mut seen = BTreeSet::new();
    for (edition, _, row) in rows() {
        assert!(seen.insert(&row.id), "{} is there twice", row.id);
        assert_eq!(
            Source::is_statement(&row.id),
            edition == Edition::Document,
            "{}: the document's rows are statements, today's are not",
            row.id
        );
        assert!(Matrix::fact(&row.id).is_none(), "{} is also a fact", row.id);
    }
}

#[test]
fn every_citation_resolves() {
    for citation in citations() {
        if Source::is_statement(citation) {
            continue;
        }
        let (key, firm) = citation
            .strip_suffix("#firm")
            .map_or((citation, false), |key| (key, true));
        let fact = Matrix::fact(key).unwrap_or_else(|| panic!("no fact {key}"));
        assert!(!firm || fact.firm.is_some(), "{key} has no surer part");
    }
}

#[test]
fn every_source_resolves_and_is_public() {
    let bibliography = Bibliography::get();
    let mut ids = BTreeSet::new();
    for source in &bibliography.sources {
        assert!(ids.insert(&source.id), "{} is there twice", source.id);
        assert!(!source.urls.is_empty(), "{} has no address", source.id);
        for url in &source.urls {
            assert!(
                url.starts_with("http://") || url.starts_with("https://"),
                "{url}"
            );
        }
    }
    let mut used = BTreeSet::new();
    for fact in Matrix::facts() {
        for source in &fact.sources {
            assert!(ids.contains(source), "{}: no source {source}", fact.key);
            used.insert(source);
        }
        assert_eq!(
            fact.sources.is_empty(),
            !fact.confidence.is_evidence() && fact.firm.is_none() && fact.key != "suse.fence-plat",
            "{}: what was read names where, what was not read does not",
            fact.key
        );
    }
    let unused: Vec<_> = ids.difference(&used).collect();
    assert!(unused.is_empty(), "never cited: {unused:?}");
}

#[test]
fn distributions_are_those_of_the_definition() {
    let of_rows = rows().flat_map(|(_, _, row)| {
        let hosts = row.hosts.iter().flat_map(|hosts| &hosts.any);
        hosts.chain(&row.guests.any)
    });
    let of_agents = agents().flat_map(|entry| &entry.guests);
    let of_storage = storage().flat_map(|entry| &entry.guests);
    for range in of_rows.chain(of_agents).chain(of_storage) {
        assert!(
            Os::DISTRIBUTIONS.contains(&range.os.as_str()),
            "{}",
            range.os
        );
        let ordered = range.from.as_ref().zip(range.below.as_ref());
        assert!(ordered.is_none_or(|(from, below)| from < below), "{range}");
    }
}

#[test]
fn nothing_is_supported_without_evidence() {
    for (_, _, row) in rows() {
        if matches!(row.level, Level::Supported | Level::TechnologyPreview) {
            assert!(
                row.confidence().is_evidence(),
                "{} rests on nothing",
                row.id
            );
        }
    }
    for sure in [Confidence::Unverified, Confidence::NotFound] {
        for level in [
            Level::Supported,
            Level::TechnologyPreview,
            Level::Unsupported,
        ] {
            assert_eq!(levels::severity(level, sure), Severity::Unverified);
        }
    }
    assert_eq!(
        levels::severity(Level::Supported, Confidence::VerifiedOld),
        Severity::Warning
    );
}

#[test]
fn every_platform_has_rows_today() {
    for platform in PlatformKind::ALL {
        let matrix = Matrix::load(Edition::Today);
        assert!(
            matrix.sheets(platform).any(|sheet| !sheet.rows.is_empty()),
            "{platform}"
        );
    }
}
