//! What was measured, as it is kept between runs: one entry per area, replaced when it is run again.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The layout of the file; a file of another version is refused rather than misread.
const VERSION: u32 = 1;

/// Everything that is known, by area.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    version: u32,
    /// The last run of each area, by [`super::Area::name`].
    pub(crate) areas: BTreeMap<String, AreaResult>,
}

/// One run of one area.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AreaResult {
    /// When it ended.
    pub(crate) at: jiff::Timestamp,
    /// Where it ran.
    pub(crate) machine: super::machine::Machine,
    /// How it was measured, for the reader of the table.
    pub(crate) method: Vec<String>,
    /// The figures, in the order of the table.
    pub(crate) rows: Vec<Row>,
}

/// One figure of both sides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What targets refer to, such as `cpu/metadata/fence_xvm`.
    pub(crate) id: String,
    /// The same in words.
    pub(crate) what: String,
    /// What the numbers count.
    pub(crate) unit: Unit,
    /// Picket's.
    pub(crate) ours: Option<Summary>,
    /// The C program's.
    pub(crate) theirs: Option<Summary>,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Thousandths of a second.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Requests answered per second.
    #[serde(rename = "req/s")]
    PerSecond,
    /// Requests answered per second of processor time.
    #[serde(rename = "req/CPU s")]
    PerCpuSecond,
    /// Hundredths.
    #[serde(rename = "%")]
    Percent,
    /// Thousands of bytes.
    #[serde(rename = "kB")]
    Kilobytes,
    /// Things.
    #[serde(rename = "")]
    Count,
}

impl Unit {
    /// As it is printed.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::PerSecond => "req/s",
            Self::PerCpuSecond => "req/CPU s",
            Self::Percent => "%",
            Self::Kilobytes => "kB",
            Self::Count => "",
        }
    }
}

/// Several runs in five numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many runs.
    pub(crate) runs: usize,
    /// The smallest.
    pub(crate) min: f64,
    /// A quarter of the runs lie below.
    pub(crate) low: f64,
    /// Half of the runs lie below.
    pub(crate) median: f64,
    /// A quarter of the runs lie above.
    pub(crate) high: f64,
    /// The largest.
    pub(crate) max: f64,
    /// The real value is at least the one given: what was measured had not ended when the run did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) at_least: bool,
}

impl Summary {
    /// Summarises runs; none if there were none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            runs: sorted.len(),
            min: *sorted.first()?,
            low: quantile(&sorted, 0.25)?,
            median: quantile(&sorted, 0.5)?,
            high: quantile(&sorted, 0.75)?,
            max: *sorted.last()?,
            at_least: false,
        })
    }

    /// Marks the numbers as lower bounds.
    pub(crate) const fn at_least(mut self, yes: bool) -> Self {
        self.at_least = yes;
        self
    }
}

/// The `share`-quantile of ascending values, between two values in proportion.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions in a list of samples, far below 2^52 and never negative"
)]
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share.clamp(0.0, 1.0) * last as f64;
    let below = sorted[at.floor() as usize];
    let above = sorted[at.ceil() as usize];
    Some(below + (above - below) * at.fract())
}

impl Default for Results {
    fn default() -> Self {
        Self {
            version: VERSION,
            areas: BTreeMap::new(),
        }
    }
}

impl Results {
    /// Reads what earlier runs left; nothing yet is an empty report.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let results: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a report of the bench", path.display()))?;
        anyhow::ensure!(
            results.version == VERSION,
            "{} has version {}, this bench writes {VERSION}; remove it to start afresh",
            path.display(),
            results.version
        );
        Ok(results)
    }

    /// Writes the report.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_summary_does_not_depend_on_the_order() {
        let summary = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 2.0, 3.0));
        assert_eq!(summary.runs, 3);
        assert!(Summary::of(&[]).is_none());
    }
}
