//! What is shown of the matrix.

use ::platforms::matrix::{Agents, Bibliography, Fact, OsRange, Row, Sheet, StorageKinds};
use ::platforms::{Confidence, Edition, Level, Matrix, STATEMENTS, Source};
use cluster::PlatformKind;
use serde::Serialize;

/// All platforms, and how far each edition says they are supported.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    format: u32,
    pub(super) editions: Vec<Edition>,
    pub(super) platforms: Vec<Summary>,
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) platform: &'static str,
    pub(super) title: &'static str,
    pub(super) editions: Vec<Levels>,
}

/// The levels of a platform's rows.
#[derive(Debug, Serialize)]
pub(super) struct Levels {
    pub(super) edition: Edition,
    pub(super) rows: Vec<&'static str>,
    pub(super) levels: Vec<Level>,
}

/// One platform.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    format: u32,
    pub(super) platform: &'static str,
    pub(super) editions: Vec<InEdition>,
}

#[derive(Debug, Serialize)]
pub(super) struct InEdition {
    pub(super) edition: Edition,
    /// Whether the edition says anything about the platform.
    pub(super) known: bool,
    pub(super) rows: Vec<RowView>,
    pub(super) agents: Vec<AgentView>,
    pub(super) storage: Vec<StorageView>,
    pub(super) facts: Vec<FactView>,
}

#[derive(Debug, Serialize)]
pub(super) struct RowView {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// Whether it is about guests of every platform that no row of their own platform names.
    pub(super) elsewhere: bool,
    pub(super) level: Level,
    pub(super) confidence: Confidence,
    pub(super) statement: &'static str,
    pub(super) guests: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) versions: Vec<String>,
    pub(super) managers: Vec<String>,
    /// What demands that all guests are of one kind.
    pub(super) homogeneous: Option<&'static str>,
    /// What permits bare-metal nodes beside guests.
    pub(super) bare_metal: Option<&'static str>,
    pub(super) notes: Vec<String>,
    pub(super) sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
pub(super) struct AgentView {
    pub(super) agents: &'static [String],
    /// The row it belongs to. None: all of the platform.
    pub(super) row: Option<&'static str>,
    pub(super) guests: Vec<String>,
    pub(super) managers: Vec<String>,
    pub(super) level: Level,
    pub(super) condition: Option<&'static str>,
    pub(super) source: Source,
}

#[derive(Debug, Serialize)]
pub(super) struct StorageView {
    pub(super) kinds: Vec<&'static str>,
    pub(super) row: Option<&'static str>,
    pub(super) guests: Vec<String>,
    pub(super) level: Level,
    pub(super) condition: Option<&'static str>,
    pub(super) source: Source,
    /// Whether persistent reservations get through. None: the storage decides.
    pub(super) reservations: Option<ReservationsView>,
}

#[derive(Debug, Serialize)]
pub(super) struct ReservationsView {
    pub(super) level: Level,
    pub(super) condition: Option<&'static str>,
    pub(super) source: Source,
}

#[derive(Debug, Serialize)]
pub(super) struct FactView {
    pub(super) key: &'static str,
    pub(super) statement: String,
    pub(super) condition: Option<&'static str>,
    pub(super) confidence: Confidence,
    /// A part of it that is surer.
    pub(super) surer: Option<SurerView>,
    pub(super) sources: &'static [String],
}

#[derive(Debug, Serialize)]
pub(super) struct SurerView {
    pub(super) part: &'static str,
    pub(super) confidence: Confidence,
}

#[derive(Debug, Serialize)]
pub(super) struct FactList {
    format: u32,
    pub(super) facts: Vec<FactView>,
}

#[derive(Debug, Serialize)]
pub(super) struct SourceList {
    format: u32,
    pub(super) sources: Vec<SourceView>,
}

#[derive(Debug, Serialize)]
pub(super) struct SourceView {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) urls: &'static [String],
    pub(super) paths: &'static [String],
    pub(super) note: Option<&'static str>,
    /// The facts that rest on it.
    pub(super) facts: Vec<&'static str>,
}

pub(super) fn listing(editions: &[Edition]) -> Listing {
    let platforms = PlatformKind::ALL
        .into_iter()
        .map(|platform| Summary {
            platform: platform.as_str(),
            title: title(platform),
            editions: editions
                .iter()
                .map(|edition| levels(platform, *edition))
                .collect(),
        })
        .collect();
    Listing {
        format: 1,
        editions: editions.to_vec(),
        platforms,
    }
}

/// The platform's name for people: as today's edition calls it, which knows them all.
fn title(platform: PlatformKind) -> &'static str {
    Matrix::load(Edition::Today)
        .sheets(platform)
        .next()
        .map_or(platform.as_str(), |sheet| &sheet.title)
}

fn levels(platform: PlatformKind, edition: Edition) -> Levels {
    let rows: Vec<&Row> = Matrix::load(edition)
        .sheets(platform)
        .flat_map(|sheet| &sheet.rows)
        .collect();
    let mut levels: Vec<Level> = rows.iter().map(|row| row.effective_level()).collect();
    levels.sort_unstable();
    levels.dedup();
    Levels {
        edition,
        rows: rows.iter().map(|row| row.id.as_str()).collect(),
        levels,
    }
}

pub(super) fn details(platform: PlatformKind, editions: &[Edition]) -> Details {
    Details {
        format: 1,
        platform: platform.as_str(),
        editions: editions
            .iter()
            .map(|edition| in_edition(platform, *edition))
            .collect(),
    }
}

fn in_edition(platform: PlatformKind, edition: Edition) -> InEdition {
    let matrix = Matrix::load(edition);
    let known = matrix.knows(platform);
    let own: Vec<&Sheet> = matrix.sheets(platform).collect();
    let all: Vec<&Sheet> = own
        .iter()
        .copied()
        .chain(matrix.common().filter(|_| known))
        .collect();
    let rows = || all.iter().flat_map(|sheet| &sheet.rows);
    let is_reached = |common: &Row| {
        !own.iter()
            .flat_map(|sheet| &sheet.rows)
            .any(|row| hides(row, common))
    };
    let views = |sheet: &&'static Sheet| -> Vec<RowView> {
        let elsewhere = sheet.platform.is_none();
        let rows = sheet
            .rows
            .iter()
            .filter(|row| !elsewhere || is_reached(row));
        rows.map(|one| row(one, elsewhere)).collect()
    };
    let agents_of_rows =
        rows().flat_map(|row| row.agents.iter().map(|entry| agent(entry, Some(&row.id))));
    let agents_of_sheets = all
        .iter()
        .flat_map(|sheet| &sheet.agents)
        .map(|entry| agent(entry, None));
    let storage_of_rows = rows().flat_map(|row| {
        row.storage
            .iter()
            .map(|entry| storage(entry, Some(&row.id)))
    });
    let storage_of_sheets = all
        .iter()
        .flat_map(|sheet| &sheet.storage)
        .map(|entry| storage(entry, None));
    InEdition {
        edition,
        known,
        rows: all.iter().flat_map(views).collect(),
        agents: agents_of_rows.chain(agents_of_sheets).collect(),
        storage: storage_of_rows.chain(storage_of_sheets).collect(),
        facts: own
            .iter()
            .flat_map(|sheet| &sheet.facts)
            .map(fact)
            .collect(),
    }
}

/// Whether a platform's own row takes all guests of a row of all platforms, on whatever hosts.
fn hides(own: &Row, common: &Row) -> bool {
    let anywhere = own.hosts.is_none() && own.product.is_none() && own.manager.is_none();
    anywhere
        && common.guests.any.iter().all(|range| {
            own.guests.any.iter().any(|wider| {
                wider.os == range.os
                    && wider.from <= range.from
                    && (wider.below.is_none()
                        || range.below.is_some() && wider.below >= range.below)
            })
        })
}

fn strings<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// A range of guests; with why it is open whether they are meant, where it is.
fn guests(range: &OsRange) -> String {
    match &range.doubt {
        Some(doubt) => format!("{range} ({doubt})"),
        None => range.to_string(),
    }
}

fn row(row: &'static Row, elsewhere: bool) -> RowView {
    let managers = row.manager.as_ref().map_or_else(Vec::new, |manager| {
        let named = manager.any.iter().map(|range| match &range.from {
            Some(from) => format!("{} {from} or newer", range.kind),
            None => range.kind.to_string(),
        });
        let none = manager.none.then(|| "none".to_owned());
        named.chain(none).collect()
    });
    let later = row.later.iter().filter_map(|key| {
        let fact = Matrix::fact(key)?;
        Some(format!("later ({key}): {}", fact.line()))
    });
    let notes = row
        .notes
        .iter()
        .map(|note| format!("{}: {}", note.source, note.text));
    RowView {
        id: &row.id,
        title: &row.title,
        elsewhere,
        level: row.effective_level(),
        confidence: row.confidence(),
        statement: &row.statement,
        guests: row.guests.any.iter().map(guests).collect(),
        hosts: row
            .hosts
            .as_ref()
            .map_or_else(Vec::new, |hosts| strings(&hosts.any)),
        versions: row
            .product
            .as_ref()
            .map_or_else(Vec::new, |product| strings(&product.any)),
        managers,
        homogeneous: row.homogeneous.as_deref(),
        bare_metal: row.bare_metal.as_deref(),
        notes: notes.chain(later).collect(),
        sources: row.sources.iter().map(|source| cited(source)).collect(),
    }
}

/// A source; one of the requirement document's statements with what it says, in our words.
fn cited(citation: &str) -> Source {
    let mut source = Source::cited(citation);
    if let Some(statement) = STATEMENTS.iter().find(|known| known.id == source.id) {
        statement.text.clone_into(&mut source.citation);
    }
    source
}

/// How far something is supported, seen how sure its source is.
fn sure(level: Level, source: &Source) -> Level {
    if source.confidence.is_evidence() {
        level
    } else {
        Level::Unverified
    }
}

fn agent(entry: &'static Agents, row: Option<&'static str>) -> AgentView {
    let source = cited(&entry.source);
    AgentView {
        agents: &entry.names,
        row,
        guests: strings(&entry.guests),
        managers: strings(&entry.managers),
        level: sure(entry.level, &source),
        condition: entry.condition.as_deref(),
        source,
    }
}

fn storage(entry: &'static StorageKinds, row: Option<&'static str>) -> StorageView {
    let source = cited(&entry.source);
    let reservations = entry.reservations.as_ref().map(|reservations| {
        let source = cited(&reservations.source);
        ReservationsView {
            level: sure(reservations.level, &source),
            condition: reservations.condition.as_deref(),
            source,
        }
    });
    StorageView {
        kinds: entry.kinds.iter().map(|kind| kind.as_str()).collect(),
        row,
        guests: strings(&entry.guests),
        level: sure(entry.level, &source),
        condition: entry.condition.as_deref(),
        source,
        reservations,
    }
}

fn fact(fact: &'static Fact) -> FactView {
    FactView {
        key: &fact.key,
        statement: fact.line(),
        condition: fact.condition.as_deref(),
        confidence: fact.confidence,
        surer: fact.firm.as_ref().map(|firm| SurerView {
            part: &firm.what,
            confidence: firm.confidence,
        }),
        sources: &fact.sources,
    }
}

pub(super) fn all_facts() -> FactList {
    FactList {
        format: 1,
        facts: Matrix::facts().map(fact).collect(),
    }
}

pub(super) fn sources() -> SourceList {
    let sources = Bibliography::get()
        .sources
        .iter()
        .map(|source| SourceView {
            id: &source.id,
            title: &source.title,
            urls: &source.urls,
            paths: &source.paths,
            note: source.note.as_deref(),
            facts: Matrix::facts()
                .filter(|fact| fact.sources.contains(&source.id))
                .map(|fact| fact.key.as_str())
                .collect(),
        })
        .collect();
    SourceList { format: 1, sources }
}
