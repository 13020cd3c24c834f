//! The matrix as tables for people.

use ::platforms::{Confidence, Edition, Level, Source};
use comfy_table::{ContentArrangement, Table, presets};
use rustix::termios::tcgetwinsize;

use super::gather::{
    AgentView, Details, FactList, FactView, InEdition, Listing, RowView, SourceList, StorageView,
};

/// The longest line, in characters, where the terminal does not say how wide it is.
pub(super) const WIDTH: u16 = 100;

/// The longest line, in characters: as wide as the terminal, within what tables can be drawn and read in.
pub(crate) fn width() -> u16 {
    let terminal = tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
    terminal
        .filter(|columns| *columns > 0)
        .map_or(WIDTH, |columns| columns.clamp(80, 160))
}

pub(super) fn listing(listing: &Listing, width: u16) -> String {
    let header = ["platform", ""].map(str::to_owned);
    let columns = listing.editions.iter().map(|edition| edition.to_string());
    let mut table = table(header.into_iter().chain(columns), width);
    for platform in &listing.platforms {
        let mut cells = vec![platform.platform.to_owned(), platform.title.to_owned()];
        cells.extend(
            platform
                .editions
                .iter()
                .map(|edition| levels(&edition.levels)),
        );
        table.add_row(cells);
    }
    format!(
        "{}\npicket platforms PLATFORM shows a platform, and what that rests on\n",
        drawn(&table)
    )
}

/// The levels of a platform's rows, the best first.
fn levels(levels: &[Level]) -> String {
    if levels.is_empty() {
        return "not named".to_owned();
    }
    join(levels, ", ")
}

pub(super) fn details(details: &Details, width: u16) -> String {
    let mut text = String::new();
    for (at, edition) in details.editions.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&in_edition(details.platform, edition, width));
    }
    text
}

fn in_edition(platform: &str, view: &InEdition, width: u16) -> String {
    let title = match view.edition {
        Edition::Document => format!("{platform} in the requirement document"),
        _ => format!("{platform} today"),
    };
    if !view.known {
        return format!("{title}: not named, so not supported\n");
    }
    let mut text = format!("{title}\n{}\n\n", "=".repeat(title.chars().count()));
    for row in view.rows.iter().filter(|row| !row.elsewhere) {
        text.push_str(&one_row(row, width));
    }
    if view.rows.iter().any(|row| row.elsewhere) {
        text.push_str(&elsewhere(&view.rows, width));
    }
    text.push_str(&format!(
        "{}\n{}",
        agents(&view.agents, width),
        storage(&view.storage, width)
    ));
    if !view.facts.is_empty() {
        text.push_str(&format!("\n{}", fact_table(&view.facts, width)));
    }
    text
}

/// The rows for guests that no row of the platform's own names.
fn elsewhere(rows: &[RowView], width: u16) -> String {
    let mut table = table(["other guests", "level", "because", "rests on"], width);
    for row in rows.iter().filter(|row| row.elsewhere) {
        table.add_row([
            row.guests.join("; "),
            level(row),
            row.statement.to_owned(),
            join(&row.sources.iter().map(rests_on).collect::<Vec<_>>(), " "),
        ]);
    }
    format!("{}\n", drawn(&table))
}

/// How far a row is supported, and how sure that is where it is not simply verified.
fn level(row: &RowView) -> String {
    match (row.level, row.confidence) {
        (Level::Unverified, _) | (_, Confidence::Verified) => row.level.to_string(),
        (level, sure) => format!("{level} ({sure})"),
    }
}

/// Whether something that a list names may be used. How far a cluster that uses it is supported, the
/// row says.
const fn allowed(level: Level) -> &'static str {
    match level {
        Level::Supported => "allowed",
        Level::Unsupported => "not allowed",
        other => other.as_str(),
    }
}

/// A table as text, without blanks at the ends of its lines.
fn drawn(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn one_row(row: &RowView, width: u16) -> String {
    let mut table = table([row.id.to_owned(), row.title.to_owned()], width);
    table.add_row(["level", &level(row)]);
    table.add_row(["because", row.statement]);
    let lists = [
        ("guests", &row.guests),
        ("hosts", &row.hosts),
        ("version", &row.versions),
        ("manager", &row.managers),
    ];
    for (name, values) in lists {
        if !values.is_empty() {
            table.add_row([name, &values.join("; ")]);
        }
    }
    if let Some(source) = row.homogeneous {
        table.add_row(["mixing", &format!("all guests of one kind ({source})")]);
    }
    if let Some(source) = row.bare_metal {
        table.add_row([
            "bare metal",
            &format!("may be nodes beside guests ({source})"),
        ]);
    }
    for note in &row.notes {
        table.add_row(["note", note]);
    }
    for source in &row.sources {
        table.add_row([source.id.as_str(), &source.citation]);
    }
    format!("{}\n", drawn(&table))
}

fn agents(entries: &[AgentView], width: u16) -> String {
    let mut table = table(["agents", "for", "", "rests on", "condition"], width);
    for entry in entries {
        let mut condition: Vec<String> = Vec::new();
        if !entry.managers.is_empty() {
            condition.push(format!("needs {}", entry.managers.join(" or ")));
        }
        condition.extend(entry.condition.map(str::to_owned));
        table.add_row([
            entry.agents.join(" "),
            scope(entry.row, &entry.guests),
            allowed(entry.level).to_owned(),
            rests_on(&entry.source),
            condition.join("; "),
        ]);
    }
    drawn(&table)
}

fn storage(entries: &[StorageView], width: u16) -> String {
    let mut table = table(
        [
            "shared storage",
            "for",
            "level",
            "rests on",
            "reservations",
            "condition",
        ],
        width,
    );
    for entry in entries {
        let (passes, further) = entry
            .reservations
            .as_ref()
            .map_or((String::new(), None), |view| {
                let passes = match view.level {
                    Level::Supported => "pass",
                    Level::Unsupported | Level::Planned => "do not pass",
                    _ => "unverified",
                };
                (format!("{passes} ({})", view.source.id), view.condition)
            });
        let further = further.map(|further| format!("reservations: {further}"));
        let condition: Vec<String> = entry
            .condition
            .map(str::to_owned)
            .into_iter()
            .chain(further)
            .collect();
        table.add_row([
            entry.kinds.join(" "),
            scope(entry.row, &entry.guests),
            allowed(entry.level).to_owned(),
            rests_on(&entry.source),
            passes,
            condition.join("; "),
        ]);
    }
    drawn(&table)
}

/// The source, and how sure it is where it is not simply verified.
fn rests_on(source: &Source) -> String {
    match source.confidence {
        Confidence::Verified => source.id.clone(),
        sure => format!("{} ({sure})", source.id),
    }
}

/// Which row and guests an entry is for.
fn scope(row: Option<&str>, guests: &[String]) -> String {
    match (row, guests) {
        (None, []) => "all".to_owned(),
        (Some(row), []) => row.to_owned(),
        (None, guests) => guests.join("; "),
        (Some(row), guests) => format!("{row}: {}", guests.join("; ")),
    }
}

pub(super) fn facts(list: &FactList, width: u16) -> String {
    fact_table(&list.facts, width)
}

fn fact_table(facts: &[FactView], width: u16) -> String {
    let mut table = table(["fact", "says", "how sure"], width);
    for fact in facts {
        let says = match fact.condition {
            Some(condition) => format!("{}; {condition}", fact.statement),
            None => fact.statement.clone(),
        };
        let mut sure = fact.confidence.to_string();
        if let Some(surer) = &fact.surer {
            sure.push_str(&format!("; {}: {}", surer.part, surer.confidence));
        }
        table.add_row([fact.key.to_owned(), says, sure]);
    }
    drawn(&table)
}

pub(super) fn sources(list: &SourceList) -> String {
    let mut text = String::new();
    for source in &list.sources {
        text.push_str(&format!("{}  {}\n", source.id, source.title));
        for url in source.urls {
            text.push_str(&format!("    {url}\n"));
        }
        for path in source.paths {
            text.push_str(&format!("      {path}\n"));
        }
        if let Some(note) = source.note {
            text.push_str(&format!("    note: {note}\n"));
        }
        text.push_str(&format!("    facts: {}\n\n", source.facts.join(" ")));
    }
    text
}

fn join<T: ToString>(items: &[T], between: &str) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    words.join(between)
}

fn table<T: Into<String>>(header: impl IntoIterator<Item = T>, width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.into_iter().map(Into::<String>::into));
    table
}
