//! A report as text.

use comfy_table::{ContentArrangement, Table, presets};
use disk::probe::report::{
    Answer, Identity, Mode, Need, Outcome, REGISTER, REGISTRANT_WRITES, RESERVE, Report, Verdict,
    WriteTried,
};

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
    if let Some(lines) = definition(report) {
        text.push_str(&format!(
            "For the disk's [[storage]] in the definition:\n{lines}"
        ));
    }
    if !report.left_behind.is_empty() {
        text.push_str("LEFT BEHIND on the disk:\n");
        for left in &report.left_behind {
            text.push_str(&format!("  - {left}\n"));
        }
    }
    plain::text(&text)
}

/// What the definition of a cluster says of the disk, so that `picket check` knows it. Nothing if nothing is known.
fn definition(report: &Report) -> Option<String> {
    let (reserves, aborts) = abilities(report);
    let line = |key, value: Option<bool>| value.map(|value| format!("  {key} = {value}\n"));
    let lines = [
        line("persistent_reservations", reserves),
        line("preempt_and_abort", aborts),
    ];
    let text: String = lines.into_iter().flatten().collect();
    (!text.is_empty()).then_some(text)
}

/// Whether the disk does persistent reservations, and whether fencing by PREEMPT AND ABORT cuts a node off, as far as
/// that is known.
pub(super) fn abilities(report: &Report) -> (Option<bool>, Option<bool>) {
    let wanted = [REGISTER, RESERVE, REGISTRANT_WRITES];
    let checks = wanted.iter().filter_map(|one| report.check(*one));
    let outcomes: Vec<Outcome> = checks.map(|check| check.outcome).collect();
    let reserves = if outcomes.contains(&Outcome::Broken) {
        Some(false)
    } else {
        let all = outcomes.iter().all(|outcome| *outcome == Outcome::Met);
        all.then_some(true)
    };
    let aborts = match report.verdict {
        // What gets past the reservation is not cut off, whatever PREEMPT AND ABORT says.
        Verdict::Unsafe => Some(false),
        Verdict::Safe => Some(true),
        Verdict::CannotKnow => None,
    };
    (reserves, aborts)
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

#[cfg(test)]
mod tests {
    use disk::probe::report::{FENCED_WRITES, PREEMPT_AND_ABORT, REQUIREMENTS, Requirement};

    use super::*;

    fn seen(broken: &[Requirement], open: &[Requirement]) -> Report {
        let mut seen = Report::new(
            "iscsi://192.0.2.1:3260/iqn.x:y/0".to_owned(),
            Mode::Exercised,
        );
        seen.identity.product = "EXAMPLE \u{1b}[2JDISK".to_owned();
        for requirement in REQUIREMENTS {
            seen.note(*requirement, Outcome::Met, "it was seen");
        }
        for requirement in broken {
            seen.note(*requirement, Outcome::Broken, "it was carried out");
        }
        for requirement in open {
            seen.note(*requirement, Outcome::Unknown, "no answer");
        }
        seen.writes.push(WriteTried {
            command: "UNMAP".to_owned(),
            registered: Answer::Good,
            registered_changed: true,
            fenced: Answer::Good,
            fenced_changed: Some(true),
        });
        seen.judge();
        seen
    }

    #[test]
    fn the_verdict_comes_with_its_reasons_and_with_what_the_definition_says() {
        let text = report(&seen(&[FENCED_WRITES], &[]));
        for words in [
            "Verdict: UNSAFE",
            "  - no write of a fenced initiator reaches the medium: no: it was carried out; so",
            "CHANGED",
            "persistent_reservations = true\n  preempt_and_abort = false",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        let safe = report(&seen(&[], &[]));
        assert!(safe.contains("Verdict: SAFE") && safe.contains("preempt_and_abort = true"));
        let open = report(&seen(&[], &[PREEMPT_AND_ABORT]));
        assert!(
            open.contains("CANNOT KNOW") && !open.contains("preempt_and_abort"),
            "{open}"
        );
    }

    #[test]
    fn what_a_disk_calls_itself_does_not_move_the_cursor() {
        assert!(!report(&seen(&[], &[])).contains('\u{1b}'));
    }
}
