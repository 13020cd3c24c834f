//! What the figures should be. One table; the report and the exit code derive from it.

use super::Area;
use super::results::{Row, Summary};

/// What a figure must satisfy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Ours is not above so many times the other program's.
    RatioAtMost(f64),
    /// Ours is below so many times the other program's.
    RatioBelow(f64),
    /// Ours is at least so many times the other program's.
    RatioAtLeast(f64),
    /// Ours is below a number.
    Below(f64),
    /// Ours is not above a number.
    AtMost(f64),
    /// Ours is not above so many times our own figure in the row whose id has `quiet` for `attack`.
    WithinQuiet(f64),
    /// Ours is not above so many times our own figure in the row whose id ends in [`SMALLEST`] instead; that row itself is
    /// not judged.
    WithinSmallest(f64),
}

/// Guests in the smallest inventory: the last part of a row's id.
const SMALLEST: &str = "10";

/// A rule for the rows of one area whose id begins with `rows`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    area: &'static str,
    rows: &'static str,
    rule: Rule,
}

const fn target(area: &'static str, rows: &'static str, rule: Rule) -> Target {
    Target { area, rows, rule }
}

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    target("agent", "cpu/", Rule::RatioAtMost(1.0)),
    target("agent", "cpu/", Rule::Below(5.0)),
    target("agent", "memory/", Rule::RatioAtMost(1.0)),
    target("daemon", "rate/attack/", Rule::RatioAtLeast(10.0)),
    target("daemon", "p99/attack/", Rule::WithinQuiet(2.0)),
    target("daemon", "memory/", Rule::RatioBelow(1.0)),
    target("lab", "panic/fence", Rule::AtMost(0.5)),
    target("lab", "hang/fence", Rule::AtMost(2.0)),
    target("check", "wall/check", Rule::Below(20.0)),
    target("check", "wall/render", Rule::Below(50.0)),
    target("apply", "total", Rule::RatioBelow(1.0)),
    target("storage", "iops/d1/", Rule::RatioAtLeast(1.0)),
    target("storage", "iops/d32/", Rule::RatioAtLeast(2.0)),
    target("storage", "fence_scsi/cpu/", Rule::RatioAtMost(0.05)),
    target("management", "cpu/soap/", Rule::RatioAtMost(0.01)),
    target("management", "cpu/rest/", Rule::RatioAtMost(0.1)),
    target("management", "cpu/rhevm/", Rule::RatioAtMost(0.1)),
    target("management", "cpu/soap/status/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/soap/monitor/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/soap/off/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/rest/status/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/rest/monitor/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/rest/off/", Rule::WithinSmallest(1.5)),
    target("management", "cpu/rhevm/status/", Rule::WithinSmallest(1.5)),
    target(
        "management",
        "cpu/rhevm/monitor/",
        Rule::WithinSmallest(1.5),
    ),
    target("management", "cpu/rhevm/off/", Rule::WithinSmallest(1.5)),
    target("management", "proxy/logins", Rule::AtMost(1.0)),
    target("management", "proxy/failed", Rule::AtMost(0.0)),
];

impl Target {
    fn judges(&self, row: &Row) -> bool {
        let compared = matches!(self.rule, Rule::WithinSmallest(_));
        row.id.starts_with(self.rows) && !(compared && smallest(&row.id) == row.id)
    }
}

/// How a row stands to one of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The target in words.
    pub(crate) target: String,
    /// Whether it is met; none if one of the figures it needs is missing.
    pub(crate) met: Option<bool>,
}

/// The verdicts on one row of an area.
pub(crate) fn verdicts(area: &str, row: &Row, rows: &[Row]) -> Vec<Verdict> {
    TARGETS
        .iter()
        .filter(|target| target.area == area && target.judges(row))
        .map(|target| judge(target.rule, peer(area), row, rows))
        .collect()
}

fn peer(area: &str) -> &'static str {
    let area = Area::ALL.into_iter().find(|known| known.name() == area);
    area.map_or("C", Area::peer_in_targets)
}

fn judge(rule: Rule, peer: &str, row: &Row, rows: &[Row]) -> Verdict {
    let unit = row.unit.symbol();
    let ours = row.ours.filter(|ours| !ours.at_least).map(|s| s.median);
    let (target, met) = match rule {
        Rule::RatioAtMost(limit) => (
            format!("≤ {limit} × {peer}"),
            compare(row, |ours, theirs| ours <= limit * theirs),
        ),
        Rule::RatioBelow(limit) => (
            format!("< {limit} × {peer}"),
            compare(row, |ours, theirs| ours < limit * theirs),
        ),
        Rule::RatioAtLeast(limit) => (
            format!("≥ {limit} × {peer}"),
            compare(row, |ours, theirs| ours > 0.0 && ours >= limit * theirs),
        ),
        Rule::Below(limit) => (format!("< {limit} {unit}"), ours.map(|v| v < limit)),
        Rule::AtMost(limit) => (
            format!("≤ {limit} {unit}").trim_end().to_owned(),
            ours.map(|v| v <= limit),
        ),
        Rule::WithinQuiet(factor) => (
            format!("≤ {factor} × quiet"),
            within(factor, ours, &row.id.replace("attack", "quiet"), rows),
        ),
        Rule::WithinSmallest(factor) => (
            format!("≤ {factor} × ours at {SMALLEST}"),
            within(factor, ours, &smallest(&row.id), rows),
        ),
    };
    Verdict { target, met }
}

fn compare(row: &Row, holds: impl Fn(f64, f64) -> bool) -> Option<bool> {
    let medians = |s: Summary| s.median;
    Some(holds(row.ours.map(medians)?, row.theirs.map(medians)?))
}

/// Whether ours is at most so many times our own figure in another row.
fn within(factor: f64, ours: Option<f64>, other: &str, rows: &[Row]) -> Option<bool> {
    let other = rows.iter().find(|row| row.id == other)?.ours?;
    Some(ours? <= factor * other.median)
}

/// The id of the same row for the smallest inventory.
fn smallest(id: &str) -> String {
    let (rest, _) = id.rsplit_once('/').unwrap_or((id, ""));
    format!("{rest}/{SMALLEST}")
}

#[cfg(test)]
mod tests {
    use super::super::results::Unit;
    use super::*;

    fn row(id: &str, ours: f64, theirs: f64) -> Row {
        Row {
            id: id.to_owned(),
            what: id.to_owned(),
            unit: Unit::Milliseconds,
            ours: Summary::of(&[ours]),
            theirs: Summary::of(&[theirs]),
        }
    }

    fn met(area: &str, row: &Row, rows: &[Row]) -> Vec<Option<bool>> {
        let verdicts = verdicts(area, row, rows);
        verdicts.into_iter().map(|verdict| verdict.met).collect()
    }

    #[test]
    fn an_agent_must_be_cheaper_than_the_c_agent_and_cheap() {
        let good = row("cpu/metadata/fence_xvm", 2.0, 3.0);
        let dear = row("cpu/metadata/fence_xvm", 6.0, 5.0);
        assert_eq!(met("agent", &good, &[]), [Some(true), Some(true)]);
        assert_eq!(met("agent", &dear, &[]), [Some(false), Some(false)]);
    }

    #[test]
    fn latency_under_attack_is_judged_against_our_own_quiet_case() {
        let quiet = row("p99/quiet/16", 3.0, 9.0);
        let attack = row("p99/attack/16", 7.0, 900.0);
        let rows = [quiet.clone(), attack.clone()];
        assert_eq!(met("daemon", &attack, &rows), [Some(false)]);
        assert_eq!(met("daemon", &quiet, &rows), []);
        assert_eq!(met("daemon", &attack, &[]), [None]);
    }

    #[test]
    fn flat_means_in_comparison_with_our_own_smallest_inventory() {
        let small = row("cpu/soap/status/10", 4.0, 4000.0);
        let large = row("cpu/soap/status/5000", 6.5, 7000.0);
        let rows = [small.clone(), large.clone()];
        assert_eq!(met("management", &small, &rows), [Some(true)]);
        assert_eq!(met("management", &large, &rows), [Some(true), Some(false)]);
        assert_eq!(met("management", &large, &[]), [Some(true), None]);
        let list = row("cpu/soap/list/5000", 60.0, 7000.0);
        assert_eq!(met("management", &list, &rows), [Some(true)]);
    }

    #[test]
    fn a_figure_that_only_bounds_ours_from_below_proves_no_upper_limit() {
        let mut hang = row("hang/fence", 1.0, 12.0);
        hang.ours = hang.ours.map(|ours| ours.at_least(true));
        assert_eq!(met("lab", &hang, &[]), [None]);
    }

    #[test]
    fn nothing_answered_by_either_is_not_a_success() {
        let dead = row("rate/attack/1", 0.0, 0.0);
        assert_eq!(met("daemon", &dead, &[]), [Some(false)]);
    }

    #[test]
    fn every_target_belongs_to_an_area() {
        for target in TARGETS {
            let known = Area::ALL.iter().any(|a| a.name() == target.area);
            assert!(known, "{target:?}");
        }
    }
}
