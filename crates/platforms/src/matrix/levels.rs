//! What the rows say of the level of support; and where none fits, what would.

use cluster::{Os, PlatformKind};

use super::place::{Fit, Met, Setting, conditions, fit, platform_name, rows};
use super::range::either;
use super::sheet::{ManagerCondition, OsCondition, Row};
use super::{Matrix, weakest};
use crate::edition::Edition;
use crate::level::{Confidence, Level};
use crate::rule::Facts;
use crate::source::Source;
use crate::verdict::{Reason, Severity};

/// Says how far the platform of every group of guests is supported, and if it is not, what would be.
pub(crate) fn levels(facts: &Facts<'_>, reasons: &mut Vec<Reason>) {
    for placement in facts.placements {
        let setting = &placement.setting;
        if !Matrix::load(facts.edition).knows(setting.platform) {
            reasons.push(unknown_platform(facts.edition, setting));
            continue;
        }
        match fit(facts.definition, facts.edition, setting) {
            Fit::Row(_, row) => supported(setting, row, reasons),
            Fit::Open(rows) => open(facts, setting, &rows, reasons),
            Fit::None => misfit(facts, setting, reasons),
        }
    }
}

/// What a row says that fits.
fn supported(setting: &Setting<'_>, row: &Row, reasons: &mut Vec<Reason>) {
    let source = Source::cited(weakest(&row.sources).unwrap_or(&row.id));
    let severity = severity(row.level, source.confidence);
    let mut reason =
        Reason::new(row.id.clone(), severity, row.statement.clone(), source).about("platform");
    reason.remedy = aged(row.level, reason.source.confidence);
    reasons.push(reason);
    let doubt = setting.guest_os.and_then(|os| {
        let range = row.guests.any.iter().find(|range| range.contains(os))?;
        range.doubt.as_ref()
    });
    if let Some(doubt) = doubt {
        let sure = row.guests.any.iter().filter(|range| range.doubt.is_none());
        reasons.push(
            Reason::new(
                row.guests.source.clone(),
                Severity::Unverified,
                doubt.clone(),
                Source::cited(&row.guests.source),
            )
            .about(setting.guest_subject.clone())
            .remedy(format!("guests of {}", either(sure))),
        );
    }
    for note in &row.notes {
        reasons.push(Reason::new(
            note.source.clone(),
            Severity::Note,
            note.text.clone(),
            Source::cited(&note.source),
        ));
    }
    for key in &row.later {
        if let Some(fact) = Matrix::fact(key) {
            let message = format!("later editions of the document: {}", fact.line());
            reasons.push(Reason::new(
                key.clone(),
                Severity::Note,
                message,
                Source::cited(key),
            ));
        }
    }
}

/// How heavily something of a level weighs, seen how sure that is.
pub(super) const fn severity(level: Level, confidence: Confidence) -> Severity {
    match (super::effective(level, confidence), confidence) {
        (Level::Supported, Confidence::VerifiedOld) => Severity::Warning,
        (Level::Supported, _) => Severity::Note,
        (Level::TechnologyPreview, _) => Severity::Preview,
        (Level::Unverified, _) => Severity::Unverified,
        (Level::Planned | Level::Unsupported, _) => Severity::Unsupported,
    }
}

/// What to do about something that only an old copy of a source grants.
pub(super) fn aged(level: Level, confidence: Confidence) -> Option<String> {
    let granted = matches!(level, Level::Supported | Level::TechnologyPreview);
    (granted && confidence == Confidence::VerifiedOld).then(|| {
        "ask the vendor: the copy of the source that was read is old, undated or second-hand"
            .to_owned()
    })
}

/// How heavily it weighs that a list does not name something. The document's lists are complete; today's
/// are what was found.
pub(super) const fn unlisted(edition: Edition) -> Severity {
    match edition {
        Edition::Document => Severity::Unsupported,
        Edition::Today => Severity::Unverified,
    }
}

/// What is the case with something that a list does not name.
const fn missing(edition: Edition) -> &'static str {
    match edition {
        Edition::Document => "not in the list of what is supported",
        Edition::Today => "no source that was read names them",
    }
}

fn unknown_platform(edition: Edition, setting: &Setting<'_>) -> Reason {
    let known = PlatformKind::ALL
        .into_iter()
        .filter(|platform| Matrix::load(edition).knows(*platform))
        .map(platform_name);
    Reason::new(
        edition.list_rule(),
        unlisted(edition),
        format!(
            "guest clusters on {}: {}",
            platform_name(setting.platform),
            missing(edition)
        ),
        edition.list_source(),
    )
    .about("platform")
    .remedy(format!("hosts of {}", either(known)))
}

impl Edition {
    /// The rule that what is in no list is not supported (document), or not known to be (today).
    pub(crate) const fn list_rule(self) -> &'static str {
        match self {
            Self::Document => "S02",
            Self::Today => "unlisted",
        }
    }

    /// What that rule rests on.
    pub(crate) fn list_source(self) -> Source {
        match self {
            Self::Document => Source::statement("S02"),
            Self::Today => Source::nothing_found(),
        }
    }
}

/// A condition of rows that the definition may leave open.
struct Question {
    /// Its place among the [`conditions`].
    aspect: usize,
    /// What is not said.
    what: &'static str,
    /// Where it would be said: the table, and the key in it.
    key: (&'static str, &'static str),
    /// What states the condition.
    source: fn(&Row) -> Option<&str>,
    /// What would meet it.
    wanted: fn(&Row) -> String,
}

const QUESTIONS: [Question; 4] = [
    Question {
        aspect: 0,
        what: "what the hosts run",
        key: ("platform", "os"),
        source: |row| Some(&row.hosts.as_ref()?.source),
        wanted: |row| either(row.hosts.iter().flat_map(|hosts| &hosts.any)),
    },
    Question {
        aspect: 1,
        what: "which version of the platform the hosts run",
        key: ("platform", "version"),
        source: |row| Some(&row.product.as_ref()?.source),
        wanted: |row| either(row.product.iter().flat_map(|product| &product.any)),
    },
    Question {
        aspect: 2,
        what: "which version manages the hosts",
        key: ("platform.manager", "version"),
        source: |row| Some(&row.manager.as_ref()?.source),
        wanted: |row| either(row.manager.iter().map(managers)),
    },
    Question {
        aspect: 3,
        what: "what the guests run",
        key: ("guests", "os"),
        source: |row| Some(&row.guests.source),
        wanted: |row| either(row.guests.any.iter().filter(|range| range.doubt.is_none())),
    },
];

/// What the definition would have to say so that it can be known which of these rows fits.
fn open(
    facts: &Facts<'_>,
    setting: &Setting<'_>,
    rows: &[&'static Row],
    reasons: &mut Vec<Reason>,
) {
    for question in QUESTIONS {
        let unknown: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| {
                conditions(facts.definition, setting, row)[question.aspect] == Met::Unknown
            })
            .collect();
        if unknown.is_empty() {
            continue;
        }
        let (rule, source) = cited_by(facts, &unknown, question.source, |_| false);
        let wanted = unknown
            .iter()
            .map(|row| format!("{} ({})", (question.wanted)(row), row.id));
        let (table, key) = question.key;
        reasons.push(
            Reason::new(
                rule,
                Severity::Unverified,
                format!(
                    "the definition does not say {}, so how far guest clusters are supported there cannot be known",
                    question.what
                ),
                source,
            )
            .about(table)
            .remedy(format!("set `{table}.{key}`; what is named is {}", either(wanted))),
        );
    }
}

fn managers(condition: &ManagerCondition) -> String {
    let named = condition.any.iter().map(|range| match &range.from {
        Some(from) => format!("{} {from} or newer", range.kind),
        None => range.kind.to_string(),
    });
    either(named.chain(condition.none.then(|| "no manager".to_owned())))
}

/// What is wrong where no row fits: the guests, if there is a row for such hosts; else the hosts, and
/// the guests too if no row at all has such.
fn misfit(facts: &Facts<'_>, setting: &Setting<'_>, reasons: &mut Vec<Reason>) {
    let definition = facts.definition;
    let candidates: Vec<_> = rows(facts.edition, setting.platform)
        .map(|(_, row)| (row, conditions(definition, setting, row)))
        .collect();
    let host_misses =
        |answers: &[Met; 4]| answers[..3].iter().filter(|met| **met == Met::No).count();
    let least = candidates
        .iter()
        .map(|(_, answers)| host_misses(answers))
        .min();
    let nearest: Vec<_> = candidates
        .iter()
        .filter(|(_, answers)| Some(host_misses(answers)) == least)
        .collect();
    if least != Some(0) {
        let suits_guests = |answers: &[Met; 4]| answers[3] != Met::No;
        let any_suits = nearest.iter().any(|(_, answers)| suits_guests(answers));
        let rows: Vec<&Row> = nearest
            .iter()
            .filter(|(_, answers)| !any_suits || suits_guests(answers))
            .map(|(row, _)| *row)
            .collect();
        reasons.extend(wrong_hosts(facts, setting, &rows));
    }
    if nearest.iter().all(|(_, answers)| answers[3] == Met::No) {
        let rows: Vec<&Row> = nearest.iter().map(|(row, _)| *row).collect();
        reasons.push(wrong_guests(facts, setting, &rows));
    }
}

/// The rows' common source, or that of the one for the same major version, or the rule of the list.
fn cited_by<'r>(
    facts: &Facts<'_>,
    rows: &[&'r Row],
    source: impl Fn(&'r Row) -> Option<&'r str>,
    same_major: impl Fn(&'r Row) -> bool,
) -> (String, Source) {
    let mut sources: Vec<&str> = rows.iter().filter_map(|row| source(row)).collect();
    sources.dedup();
    let nearest = rows
        .iter()
        .filter(|row| same_major(row))
        .find_map(|row| source(row));
    match (sources.as_slice(), nearest, facts.edition) {
        ([only], _, Edition::Document) => ((*only).to_owned(), Source::cited(only)),
        (_, Some(nearest), Edition::Document) => (nearest.to_owned(), Source::cited(nearest)),
        (_, _, edition) => (edition.list_rule().to_owned(), edition.list_source()),
    }
}

fn same_major(condition: Option<&OsCondition>, os: Option<&Os>) -> bool {
    os.zip(condition).is_some_and(|(os, condition)| {
        condition.any.iter().any(|range| {
            os.is(&range.os)
                && range
                    .from
                    .as_ref()
                    .is_some_and(|from| from.major() == os.version.major())
        })
    })
}

fn wrong_hosts(facts: &Facts<'_>, setting: &Setting<'_>, rows: &[&Row]) -> Vec<Reason> {
    let definition = facts.definition;
    let mut reasons = Vec::new();
    let severity = unlisted(facts.edition);
    let platform = platform_name(setting.platform);
    let wrong = |aspect: usize| {
        rows.iter()
            .all(|row| conditions(definition, setting, row)[aspect] == Met::No)
    };
    if wrong(0) {
        let (rule, source) = cited_by(
            facts,
            rows,
            |row| row.hosts.as_ref().map(|hosts| hosts.source.as_str()),
            |row| same_major(row.hosts.as_ref(), setting.host_os),
        );
        let wanted = rows
            .iter()
            .filter_map(|row| row.hosts.as_ref())
            .flat_map(|hosts| &hosts.any);
        reasons.push(
            Reason::new(
                rule,
                severity,
                format!(
                    "guest clusters on {}: {}",
                    setting.hosts(),
                    missing(facts.edition)
                ),
                source,
            )
            .about(setting.host_subject.clone())
            .remedy(format!("hosts of {}", either(wanted))),
        );
    }
    if wrong(1) {
        let version = definition
            .platform
            .version
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let (rule, source) = cited_by(
            facts,
            rows,
            |row| row.product.as_ref().map(|product| product.source.as_str()),
            |_| false,
        );
        let wanted = rows
            .iter()
            .filter_map(|row| row.product.as_ref())
            .flat_map(|product| &product.any);
        reasons.push(
            Reason::new(
                rule,
                severity,
                format!(
                    "guest clusters on {platform} {version}: {}",
                    missing(facts.edition)
                ),
                source,
            )
            .about("platform.version")
            .remedy(format!("hosts of {platform} {}", either(wanted))),
        );
    }
    if wrong(2) {
        reasons.push(wrong_manager(facts, rows));
    }
    reasons
}

fn wrong_manager(facts: &Facts<'_>, rows: &[&Row]) -> Reason {
    let manager = facts.definition.platform.manager.as_ref();
    let names_it = |row: &Row| {
        row.manager
            .as_ref()
            .zip(manager)
            .is_some_and(|(condition, manager)| {
                condition.any.iter().any(|range| range.kind == manager.kind)
            })
    };
    let (rule, source) = cited_by(
        facts,
        rows,
        |row| row.manager.as_ref().map(|manager| manager.source.as_str()),
        names_it,
    );
    let given = manager.map_or_else(
        || "hosts without a manager".to_owned(),
        |manager| match &manager.version {
            Some(version) => format!("hosts managed by {} {version}", manager.kind),
            None => format!("hosts managed by {}", manager.kind),
        },
    );
    let wanted = rows
        .iter()
        .filter_map(|row| row.manager.as_ref())
        .map(managers);
    Reason::new(
        rule,
        unlisted(facts.edition),
        format!("guest clusters on {given}: {}", missing(facts.edition)),
        source,
    )
    .about("platform.manager")
    .remedy(format!("hosts managed by {}", either(wanted)))
}

fn wrong_guests(facts: &Facts<'_>, setting: &Setting<'_>, rows: &[&Row]) -> Reason {
    let (rule, source) = cited_by(
        facts,
        rows,
        |row| Some(row.guests.source.as_str()),
        |row| same_major(Some(&row.guests), setting.guest_os),
    );
    let wanted = rows
        .iter()
        .flat_map(|row| &row.guests.any)
        .filter(|range| range.doubt.is_none());
    Reason::new(
        rule,
        unlisted(facts.edition),
        format!(
            "clusters of {} on {}: {}",
            setting.guests(),
            setting.hosts(),
            missing(facts.edition)
        ),
        source,
    )
    .about(setting.guest_subject.clone())
    .remedy(format!("guests of {}", either(wanted)))
}
