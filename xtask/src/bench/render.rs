//! The report for people, made from the results alone.

use std::fmt::Write as _;

use super::Area;
use super::results::{AreaResult, Results, Row, Summary, Unit};
use super::targets::{Verdict, verdicts};

/// The whole document.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from(HEAD);
    for area in Area::ALL {
        if let Some(result) = results.areas.get(area.name()) {
            text.push('\n');
            text.push_str(&section(area, result));
        }
    }
    text
}

const HEAD: &str = "\
# Benchmarks

Written by `make bench` (`cargo xtask bench`); do not edit. Each figure of Picket stands beside the C
program's (Debian's `fence-virt` and `fence-virtd`), that of pcs, tgt's, or the packaged agent's, taken in the
same run on the same machine, the two taking turns. Values are medians, in brackets the quartiles; *ratio* is
Picket's median divided by the other's. The numbers behind this page are in `benchmarks.json`.
";

/// One area.
pub(crate) fn section(area: Area, result: &AreaResult) -> String {
    let mut text = format!("## {}\n\n", area.title());
    let machine = &result.machine;
    let _ = writeln!(
        text,
        "{}, {} × {}, {} MiB, {}, kernel {}, C programs {}, load before the run {:.2}. {}",
        result.at.strftime("%Y-%m-%d %H:%M UTC"),
        machine.cores,
        machine.cpu,
        machine.memory_mib,
        machine.system,
        machine.kernel,
        machine.peer,
        machine.load,
        tally(area.name(), &result.rows),
    );
    text.push('\n');
    for line in &result.method {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(
        text,
        "\n| | Picket | {} | ratio | runs | target | met |",
        area.peer()
    );
    text.push_str("|---|---|---|---|---|---|---|\n");
    for row in &result.rows {
        text.push_str(&line(area.name(), row, &result.rows));
    }
    text
}

/// How many targets are met, in words.
pub(crate) fn tally(area: &str, rows: &[Row]) -> String {
    let all: Vec<Verdict> = rows
        .iter()
        .flat_map(|row| verdicts(area, row, rows))
        .collect();
    let met = all.iter().filter(|v| v.met == Some(true)).count();
    format!("Targets met: {met} of {}.", all.len())
}

fn line(area: &str, row: &Row, rows: &[Row]) -> String {
    let verdicts = verdicts(area, row, rows);
    let targets: Vec<&str> = verdicts.iter().map(|v| v.target.as_str()).collect();
    let met: Vec<&str> = verdicts.iter().map(|v| word(v.met)).collect();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        row.what,
        cell(row.ours, row.unit),
        cell(row.theirs, row.unit),
        ratio(row),
        runs(row),
        targets.join("; "),
        met.join("; "),
    )
}

const fn word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "unknown",
    }
}

fn cell(summary: Option<Summary>, unit: Unit) -> String {
    let Some(s) = summary else {
        return "–".to_owned();
    };
    let bound = if s.at_least { "≥ " } else { "" };
    let number = |value: f64| match unit {
        Unit::Count if value.fract() == 0.0 => format!("{value:.0}"),
        _ => number(value),
    };
    let mut text = format!("{bound}{}", number(s.median));
    if unit != Unit::Count {
        let _ = write!(text, " {}", unit.symbol());
    }
    // A count that never differed needs no quartiles.
    if s.runs > 1 && (unit != Unit::Count || s.max > s.min) {
        let _ = write!(text, " ({} – {})", number(s.low), number(s.high));
    }
    text
}

fn runs(row: &Row) -> String {
    match (row.ours, row.theirs) {
        (Some(a), Some(b)) if a.runs != b.runs => format!("{}/{}", a.runs, b.runs),
        (Some(one), _) | (None, Some(one)) => one.runs.to_string(),
        (None, None) => "0".to_owned(),
    }
}

fn ratio(row: &Row) -> String {
    let (Some(ours), Some(theirs)) = (row.ours, row.theirs) else {
        return "–".to_owned();
    };
    if theirs.median <= 0.0 {
        return if ours.median > 0.0 { "∞" } else { "–" }.to_owned();
    }
    let value = number(ours.median / theirs.median);
    match (ours.at_least, theirs.at_least) {
        (false, false) => value,
        (false, true) => format!("≤ {value}"),
        (true, false) => format!("≥ {value}"),
        (true, true) => "–".to_owned(),
    }
}

/// Three significant digits, without an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], theirs: &[f64]) -> Row {
        Row {
            id: "cpu/metadata/fence_xvm".to_owned(),
            what: "metadata".to_owned(),
            unit: Unit::Milliseconds,
            ours: Summary::of(ours),
            theirs: Summary::of(theirs),
        }
    }

    #[test]
    fn a_row_shows_both_sides_the_ratio_and_the_verdicts() {
        let row = row(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]);
        assert_eq!(
            line("agent", &row, std::slice::from_ref(&row)),
            "| metadata | 2.00 ms (1.50 – 2.50) | 4.00 ms (4.00 – 4.00) | 0.50 | 3 | \
             ≤ 1 × C; < 5 ms | yes; yes |\n"
        );
    }

    #[test]
    fn what_was_not_measured_is_not_claimed() {
        let row = row(&[], &[4.0]);
        assert_eq!(
            line("agent", &row, std::slice::from_ref(&row)),
            "| metadata | – | 4.00 ms | – | 1 | ≤ 1 × C; < 5 ms | unknown; unknown |\n"
        );
    }

    #[test]
    fn what_is_counted_has_no_unit() {
        let summary = Summary::of(&[5.0]);
        assert_eq!(cell(summary, Unit::Count), "5");
        assert_eq!(cell(Summary::of(&[5.0, 5.0]), Unit::Count), "5");
    }

    #[test]
    fn counts_that_differ_have_quartiles() {
        let summary = Summary::of(&[5.0, 5.0, 7.0]);
        assert_eq!(cell(summary, Unit::Count), "5 (5 – 6)");
    }

    #[test]
    fn a_lower_bound_stays_one_in_the_ratio() {
        let mut row = row(&[2.0], &[8000.0]);
        row.theirs = row.theirs.map(|theirs| theirs.at_least(true));
        assert!(line("agent", &row, &[]).contains("≥ 8000 ms | ≤ 0.000250 |"));
    }
}
