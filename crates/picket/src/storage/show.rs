//! A report as text.

use comfy_table::{ContentArrangement, Table, presets};
use disk::probe::report::{Answer, Identity, Mode, Need, Outcome, Report, Verdict, WriteTried};

use crate::plain;
use crate::platforms::width;

/// Which disk it is, in a line.
pub(super) fn identity(identity: &Identity) -> String {
    let bytes = identity.blocks.saturating_mul(identity.block_length.into());
    let size = match bytes >> 20 {
        mebi @ 0..10_240 => format!("{mebi} MiB"),
        mebi => format!("{} GiB", mebi >> 10),
    };
    let mut parts = vec![identity.product.clone(), size];
    parts.extend(identity.designator.clone());
    parts.extend(
        identity
            .serial
            .as_ref()
            .map(|serial| format!("serial {serial}")),
    );
    if identity.thin {
        parts.push("thinly provisioned".to_owned());
    }
    parts.join(", ")
}

/// An outcome, as short as it can be.
pub(super) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "yes",
        Outcome::Broken => "NO",
        Outcome::Unknown => "not known",
        Outcome::NotTried => "not tried",
    }
}

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = format!("{}\n{}\n\n", report.device, identity(&report.identity));
    text.push_str(&requirements(report));
    if !report.writes.is_empty() {
        text.push('\n');
        text.push_str(&writes(&report.writes));
        let untried = report.untried.join(", ");
        text.push_str(&format!("Not tried, for nobody could undo it: {untried}\n"));
    }
    text.push('\n');
    text.push_str(verdict(report));
    for reason in &report.reasons {
        text.push_str(&format!("  - {reason}\n"));
    }
    if !report.remarks.is_empty() {
        text.push_str("Besides:\n");
        for remark in &report.remarks {
            text.push_str(&format!("  - {remark}\n"));
        }
    }
    if !report.left_behind.is_empty() {
        text.push_str("LEFT BEHIND on the disk:\n");
        for left in &report.left_behind {
            text.push_str(&format!("  - {left}\n"));
        }
    }
    plain::text(&text)
}

const fn verdict(report: &Report) -> &'static str {
    match (report.verdict, report.mode) {
        (Verdict::Safe, _) => "Verdict: SAFE. fence_scsi can rely on this disk.\n",
        (Verdict::Unsafe, _) => {
            "Verdict: UNSAFE. fence_scsi must not be used with this disk, because\n"
        }
        (Verdict::CannotKnow, Mode::Inferred) => {
            "Verdict: CANNOT KNOW. Only what the disk says of itself was asked; open are\n"
        }
        (Verdict::CannotKnow, Mode::Exercised) => "Verdict: CANNOT KNOW. Open are\n",
    }
}

fn requirements(report: &Report) -> String {
    let mut table = table(["fence_scsi needs", "", "seen"]);
    for check in &report.checks {
        let title = match check.need {
            Need::Required => check.title.clone(),
            Need::Advised => format!("({})", check.title),
        };
        table.add_row([title.as_str(), outcome(check.outcome), &check.seen]);
    }
    format!("{}In brackets: advised, not required\n", drawn(&table))
}

fn writes(writes: &[WriteTried]) -> String {
    let mut table = table(["kind of write", "registered", "fenced", "medium"]);
    for tried in writes {
        let medium = match tried.fenced_changed {
            Some(true) => "CHANGED",
            Some(false) => "unchanged",
            None => "not known",
        };
        table.add_row([
            &tried.command,
            &brief(&tried.registered),
            &brief(&tried.fenced),
            medium,
        ]);
    }
    drawn(&table)
}

/// An answer, without the words of the device where they do not matter.
fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Refused(why) => why.clone(),
        other => other.to_string(),
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width())
        .set_header(header);
    table
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
