//! Showing a drill: progress on standard error, the result on standard output.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::Document;
use super::event::Event;
use super::perform::storage;
use super::timeline::{self, Report, Stages, Verdict};

/// Shows the events of drills. On a terminal the current activity is a moving line; elsewhere each
/// event is a line of its own.
pub struct Console {
    bar: Option<ProgressBar>,
    json: bool,
    began: Instant,
}

impl Console {
    /// With `json`, only one JSON document goes to standard output, at the end.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            json,
            began: Instant::now(),
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Run { run, of } => self.line(&format!("Run {run} of {of}")),
            Event::Lab { lab } => self.lab(lab),
            Event::Up { nodes, origin } => {
                let how = match origin {
                    lab::Origin::Booted => "booted",
                    lab::Origin::Restored => "restored from its saved state",
                    lab::Origin::Found => "found running",
                };
                self.line(&format!("the lab is up ({how}): {}", nodes.join(", ")));
            }
            Event::AwaitingService => self.activity("waiting for the service to answer"),
            Event::AwaitingWriters => self.activity("waiting for all nodes to write"),
            Event::Writing { file, nodes } => {
                self.line(&format!("{file} is written by {}", nodes.join(", ")));
                self.activity("injecting the fault");
            }
            Event::Answering { url, node } => {
                self.line(&format!("{url} is answered by {node}"));
                self.activity("injecting the fault");
            }
            Event::Fault {
                node,
                fault,
                evidence,
            } => {
                let what = match fault {
                    lab::Fault::Panic => "the kernel panics",
                    lab::Fault::Hang => "the guest hangs",
                };
                self.line(&format!("{:>7.2} s  {node}: {what} ({evidence})", 0.0));
                self.activity("waiting for the survivors to notice, fence and take over");
            }
            Event::Seen {
                milestone,
                seconds,
                detail,
            } => self.line(&format!(
                "{seconds:>7.2} s  {}: {detail}",
                milestone.describe()
            )),
            Event::Collecting => self.activity("reading the survivors' logs"),
            Event::Finished { report } => {
                self.activity("");
                if !self.json {
                    self.print(&table(report));
                }
            }
            Event::TakingDown => self.activity("taking the lab down"),
            Event::Notice { text } => self.line(&format!("note: {text}")),
        }
    }

    /// Shows why something could not be done.
    pub fn error(&mut self, message: &str) {
        self.clear();
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        // The report of a definition already begins with the word.
        let lead = if first.starts_with("error") {
            ""
        } else {
            "error: "
        };
        let _ = writeln!(std::io::stderr(), "{lead}{message}");
    }

    /// Shows the result of all runs.
    pub fn end(&mut self, definition: &Path, reports: &[Report]) {
        self.clear();
        if self.json {
            let document = Document {
                format: 1,
                definition: definition.display().to_string(),
                runs: reports,
                medians: timeline::medians(reports),
            };
            if let Ok(text) = serde_json::to_string_pretty(&document) {
                // A reader that has gone away wants no result.
                let _ = writeln!(std::io::stdout(), "{text}");
            }
        } else if reports.len() > 1 {
            self.print(&summary_table(reports));
        }
    }

    fn lab(&mut self, event: &lab::Event) {
        match event {
            lab::Event::Started { step } => self.activity(step.describe()),
            lab::Event::Progress { step, detail } => {
                self.status(&format!("{}: {detail}", step.describe()));
            }
            lab::Event::Finished { step, took } => {
                self.line(&format!(
                    "{:>7.2} s  {}",
                    took.as_secs_f64(),
                    step.describe()
                ));
            }
            lab::Event::Notice { text } => self.line(&format!("note: {text}")),
            _ => {}
        }
    }

    /// Something that stays on the screen.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    /// What is going on now. Without a terminal, a line.
    fn activity(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if text.is_empty() => {}
            None => {
                let elapsed = self.began.elapsed().as_secs_f64();
                let _ = writeln!(std::io::stderr(), "[{elapsed:6.1} s] {text} …");
            }
        }
    }

    /// A detail of what is going on. Without a terminal, nothing.
    fn status(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    fn print(&self, text: &str) {
        let print = || {
            let _ = writeln!(std::io::stdout(), "\n{text}\n");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The course of one drill.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = timeline_table(&report.timeline);
    text.push_str("\n\n");
    text.push_str(&stages_line(&report.stages));
    if let Some(load) = report.load {
        text.push_str(&format!(" (load of this machine {load:.1})"));
    }
    text.push('\n');
    text.push_str(&match &report.cut_off {
        Some(cut) => format!(
            "evidence: {}: {}, by {} at {}",
            report.victim,
            cut.describe(),
            cut.by,
            cut.at
        ),
        None => evidence_line(&report.victim, report.power_off.as_ref(), report.stack),
    });
    for gap in &report.gaps {
        text.push_str(&format!("\nnot known: {gap}"));
    }
    text.push_str(&format!("\n{}", verdict_line(report)));
    text
}

/// The result of a storage drill for people.
pub(super) fn storage(report: &storage::Report) -> String {
    let mut text = timeline_table(&report.timeline);
    let evidence = evidence_line(&report.victim, report.power_off.as_ref(), report.stack);
    text.push_str(&format!("\n\n{evidence}\n"));
    let findings = &report.findings;
    for one in &findings.records {
        let lost = match one.lost.as_deref() {
            None => "whether they are there is NOT KNOWN".to_owned(),
            Some([]) => "all of them there".to_owned(),
            Some(lost) => format!("{} of them LOST", lost.len()),
        };
        text.push_str(&format!(
            "{}: {} records acknowledged, {lost}\n",
            one.node, one.acknowledged
        ));
    }
    text.push_str(match findings.same_everywhere {
        Some(true) => "",
        Some(false) => "the nodes read DIFFERENT files\n",
        None => "whether all nodes read the same file is NOT KNOWN\n",
    });
    let said = &findings.fsck.said;
    text.push_str(&match findings.fsck.status {
        Some(0) => "fsck.gfs2 found nothing wrong\n".to_owned(),
        Some(status) => format!("fsck.gfs2 ended with status {status}:\n{said}\n"),
        None => format!("NOT checked: {said}\n"),
    });
    for gap in &report.gaps {
        text.push_str(&format!("not known: {gap}\n"));
    }
    let resumed = report.resumed.unwrap_or_default();
    text.push_str(&match report.verdict {
        Verdict::Recovered => {
            format!("RECOVERED: written to again {resumed:.2} s after the fault\n")
        }
        Verdict::RecoveredUnproven => {
            format!("RECOVERED, UNPROVEN: written to again {resumed:.2} s after the fault\n")
        }
        Verdict::NotProven => format!(
            "FAILED: written to again after {resumed:.2} s, but nothing had proved by then that {} is off\n",
            report.victim
        ),
        Verdict::NotRecovered => "FAILED: no survivor wrote again in time\n".to_owned(),
        Verdict::DataLost => {
            "FAILED: data was lost, or the file system was found damaged\n".to_owned()
        }
        Verdict::NotKnown => format!(
            "FAILED: written to again {resumed:.2} s after the fault, but whether data was lost is not known\n"
        ),
    });
    text
}

fn timeline_table(timeline: &[timeline::Step]) -> String {
    let mut rows = grid(&["after", "step", "what", "seen by", "detail"], 2);
    let mut before = None;
    for step in timeline {
        let since = before.map_or_else(String::new, |before| {
            format!("+{:.2}", step.seconds - before)
        });
        before = Some(step.seconds);
        rows.add_row(vec![
            format!("{:.2} s", step.seconds),
            since,
            step.milestone.describe().to_owned(),
            step.source.clone(),
            shortened(&step.detail, 80),
        ]);
    }
    rows.trim_fmt()
}

fn stages_line(stages: &Stages) -> String {
    let part = |name: &str, value: Option<f64>| {
        value.map_or_else(
            || format!("{name} ?"),
            |value| format!("{name} {value:.2} s"),
        )
    };
    [
        part("membership", stages.membership),
        part("Pacemaker", stages.pacemaker),
        part("fence call", stages.fence_call),
        part("start", stages.start),
    ]
    .join(" · ")
}

fn evidence_line(victim: &str, proof: Option<&timeline::PowerOff>, stack: lab::Stack) -> String {
    match (proof, stack) {
        (Some(proof), _) => format!(
            "evidence: {victim} was {} and then seen {} by {} at {}",
            proof.means, proof.state, proof.by, proof.at
        ),
        (None, lab::Stack::C) => {
            "evidence: none; the C daemon keeps none, the agent's word is all there is".to_owned()
        }
        (None, lab::Stack::Picket) => "evidence: NONE".to_owned(),
    }
}

fn verdict_line(report: &Report) -> String {
    let total = report.stages.total.unwrap_or_default();
    let survivor = report.survivor.as_deref().unwrap_or("nobody");
    match report.verdict {
        Verdict::Recovered => {
            format!("RECOVERED: answered by {survivor} {total:.2} s after the fault")
        }
        Verdict::RecoveredUnproven => {
            format!("RECOVERED, UNPROVEN: answered by {survivor} {total:.2} s after the fault")
        }
        Verdict::NotProven => format!(
            "FAILED: answered by {survivor} after {total:.2} s, but nothing proves that {} is off or cut off",
            report.victim
        ),
        Verdict::NotRecovered => {
            "FAILED: the service did not answer from a survivor in time".to_owned()
        }
        Verdict::DataLost => "FAILED: data was lost".to_owned(),
        Verdict::NotKnown => "FAILED: whether data was lost is not known".to_owned(),
    }
}

/// Several runs beside each other, and their medians.
#[must_use]
pub fn summary_table(reports: &[Report]) -> String {
    let mut rows = grid(
        &[
            "run",
            "membership",
            "Pacemaker",
            "fence call",
            "start",
            "total",
            "verdict",
        ],
        6,
    );
    let cells = |name: String, stages: &Stages, verdict: &str| {
        let cell = |value: Option<f64>| {
            value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2} s"))
        };
        vec![
            name,
            cell(stages.membership),
            cell(stages.pacemaker),
            cell(stages.fence_call),
            cell(stages.start),
            cell(stages.total),
            verdict.to_owned(),
        ]
    };
    for (report, run) in reports.iter().zip(1_u32..) {
        let verdict = match report.verdict {
            Verdict::Recovered => "recovered",
            Verdict::RecoveredUnproven => "recovered, unproven",
            Verdict::NotProven => "NOT PROVEN",
            Verdict::NotRecovered => "NOT RECOVERED",
            Verdict::DataLost => "DATA LOST",
            Verdict::NotKnown => "NOT KNOWN",
        };
        rows.add_row(cells(run.to_string(), &report.stages, verdict));
    }
    rows.add_row(cells("median".to_owned(), &timeline::medians(reports), ""));
    rows.trim_fmt()
}

/// A table without lines. The first `right` columns hold numbers.
fn grid(header: &[&str], right: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for column in table.column_iter_mut().take(right) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(most - 1).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::timeline::{Milestone, PowerOff, Step};

    fn step(milestone: Milestone, seconds: f64, source: &str, detail: &str) -> Step {
        Step {
            milestone,
            seconds,
            source: source.into(),
            detail: detail.into(),
        }
    }

    fn report() -> Report {
        let timeline = vec![
            step(Milestone::Fault, 0.0, "lab", "Kernel panic - not syncing"),
            step(
                Milestone::ServiceLost,
                0.031,
                "client",
                "the first request without an answer",
            ),
            step(
                Milestone::MembershipLost,
                4.95,
                "n2 corosync",
                "A processor failed, forming new configuration",
            ),
            step(
                Milestone::NewMembership,
                10.95,
                "n2 corosync",
                "A new membership (2.12) was formed. Members left: 1",
            ),
            step(
                Milestone::FencingRequested,
                12.5,
                "n2 pacemaker",
                "Requesting fencing (reboot) of node n1",
            ),
            step(
                Milestone::FenceCallStarted,
                12.61,
                "n2 pacemaker",
                "Requesting that n2 perform 'reboot' action",
            ),
            step(
                Milestone::PowerOffConfirmed,
                12.8,
                "fence_virtd",
                "destroyed, seen shut off by qemu:///system",
            ),
            step(
                Milestone::FenceCallReturned,
                12.93,
                "n2 pacemaker",
                "Operation 'reboot' [901] targeting n1 returned 0",
            ),
            step(
                Milestone::ServiceAnswering,
                14.2,
                "client",
                "answered by n2",
            ),
        ];
        Report {
            verdict: Verdict::Recovered,
            victim: "n1".into(),
            fault: lab::Fault::Panic,
            survivor: Some("n2".into()),
            stack: lab::Stack::Picket,
            at: "2026-11-22T17:00:00Z".parse().unwrap(),
            stages: timeline::stages(&timeline),
            timeline,
            power_off: Some(PowerOff {
                means: "destroyed".into(),
                by: "qemu:///system on host".into(),
                state: "shut off".into(),
                at: "2026-11-22T17:00:12.8Z".parse().unwrap(),
                seconds: 0.112,
            }),
            cut_off: None,
            clock_uncertainty: 0.004,
            load: Some(0.42),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn a_recovery_reads_like_this() {
        insta::assert_snapshot!("recovered", table(&report()));
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut report = report();
        report.power_off = None;
        report.verdict = Verdict::NotProven;
        report.stages.fence_call = None;
        report.timeline.truncate(2);
        report.gaps = vec!["the clock of n2 could not be read: no answer".into()];
        insta::assert_snapshot!("not-proven", table(&report));
        report.stack = lab::Stack::C;
        report.verdict = Verdict::RecoveredUnproven;
        insta::assert_snapshot!("c-stack", table(&report));
        report.survivor = None;
        report.verdict = Verdict::NotRecovered;
        insta::assert_snapshot!("not-recovered", table(&report));
    }

    #[test]
    fn several_runs_have_medians() {
        let mut slow = report();
        slow.stages.total = Some(20.0);
        slow.verdict = Verdict::NotProven;
        insta::assert_snapshot!("summary", summary_table(&[report(), slow, report()]));
    }

    #[test]
    fn the_json_form_is_stable() {
        let report = report();
        let document = Document {
            format: 1,
            definition: "examples/web.toml".into(),
            runs: std::slice::from_ref(&report),
            medians: timeline::medians(std::slice::from_ref(&report)),
        };
        insta::assert_json_snapshot!("json", document);
    }
}
