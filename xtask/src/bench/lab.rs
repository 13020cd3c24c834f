//! From a fault to the service answering again, in the lab: drills with Picket's and with the C
//! fencing programs in turns, everything else being the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::Measured;
use super::results::{Row, Summary, Unit};
use crate::repo::Repo;

/// The cluster that is drilled.
const DEFINITION: &str = "examples/web.toml";
/// The lab's name: a lab that the user has up is left alone.
const LAB: &str = "bench";
/// The layout of the drill's report that is understood here.
const FORMAT: u32 = 1;

/// Id and words of each fault, as `picket drill --fault` names them.
const FAULTS: [(&str, &str); 2] = [("panic", "kernel panic"), ("hang", "hung guest")];
/// Picket's fencing programs first, as `picket drill --stack` names them.
const STACKS: [&str; 2] = ["picket", "c"];

/// What a drill prints.
#[derive(Debug, Deserialize)]
struct Document {
    format: u32,
    runs: Vec<Report>,
}

/// One drill.
#[derive(Debug, Deserialize)]
struct Report {
    verdict: String,
    stages: Stages,
    power_off: Option<PowerOff>,
    clock_uncertainty: f64,
    load: Option<f64>,
}

/// Seconds per stage; absent if an end of it was not seen.
#[derive(Debug, Deserialize)]
struct Stages {
    membership: Option<f64>,
    pacemaker: Option<f64>,
    fence_call: Option<f64>,
    start: Option<f64>,
    total: Option<f64>,
}

/// The daemon's own account of the power-off.
#[derive(Debug, Deserialize)]
struct PowerOff {
    seconds: f64,
}

/// The drills of one fault with one stack.
#[derive(Debug, Default)]
struct Drills {
    reports: Vec<Report>,
    failures: Vec<String>,
}

type Seen = BTreeMap<(&'static str, &'static str), Drills>;

/// A stage: its id, its name, and where it is found.
type Stage = (&'static str, &'static str, fn(&Report) -> Option<f64>);

const STAGES: [Stage; 6] = [
    ("total", "fault to service", |r| r.stages.total),
    ("membership", "new membership", |r| r.stages.membership),
    ("pacemaker", "Pacemaker decides", |r| r.stages.pacemaker),
    ("fence", "fence call", |r| r.stages.fence_call),
    ("daemon", "of it, in the daemon", |r| {
        r.power_off.as_ref().map(|power_off| power_off.seconds)
    }),
    ("start", "service starts", |r| r.stages.start),
];

/// Drills each fault with each stack so many times, in turns.
///
/// # Errors
/// The machine cannot run the lab, or no drill of some combination came to an end.
pub(crate) fn measure(repo: &Repo, picket: &Path, drills: usize) -> Result<Measured> {
    ensure!(picket.exists(), "{} is missing", picket.display());
    let mut seen = Seen::new();
    for round in 1..=drills {
        for (fault, _) in FAULTS {
            for stack in STACKS {
                eprintln!("lab: {fault}, {stack} stack, {round} of {drills}");
                let cell = seen.entry((fault, stack)).or_default();
                match drill(repo, picket, fault, stack) {
                    Ok(report) => cell.add(report),
                    Err(error) => cell.fail(&error)?,
                }
            }
        }
    }
    Ok(Measured {
        method: method(drills, &seen),
        rows: rows(&seen),
    })
}

fn drill(repo: &Repo, picket: &Path, fault: &str, stack: &str) -> Result<Report> {
    let output = repo
        .command(&picket.display().to_string())
        .args(["drill", DEFINITION, "--json", "--runs", "1"])
        .args(["--name", LAB, "--fault", fault, "--stack", stack])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run picket")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = parse(&text).with_context(|| format!("the drill ended with {}", output.status))?;
    Ok(report)
}

/// The one report in what a drill printed.
fn parse(text: &str) -> Result<Report> {
    let document: Document = serde_json::from_str(text).context("it printed no report")?;
    ensure!(
        document.format == FORMAT,
        "it printed a report of format {}, not {FORMAT}",
        document.format
    );
    document.runs.into_iter().next().context("no run in it")
}

impl Drills {
    /// Keeps a drill that recovered; one that did not is a failure, not a figure.
    fn add(&mut self, report: Report) {
        eprintln!("lab: {} {:?}", report.verdict, report.stages);
        if report.verdict.starts_with("recovered") {
            self.reports.push(report);
        } else {
            self.failures.push(report.verdict);
        }
    }

    /// Notes a drill that came to no end. Two in a row before any figure: it will not get better.
    fn fail(&mut self, error: &anyhow::Error) -> Result<()> {
        eprintln!("lab: {error:#}");
        self.failures.push(format!("{error:#}"));
        if self.reports.is_empty() && self.failures.len() >= 2 {
            bail!("no drill came to an end: {}", self.failures.join("; "));
        }
        Ok(())
    }
}

fn method(drills: usize, seen: &Seen) -> Vec<String> {
    let reports = || seen.values().flat_map(|drills| &drills.reports);
    let uncertainty = reports().map(|r| r.clock_uncertainty).fold(0.0, f64::max);
    let load = reports().filter_map(|r| r.load).fold(0.0, f64::max);
    let failures: Vec<String> = seen
        .iter()
        .flat_map(|((fault, stack), drills)| {
            let name = move |why: &String| format!("{fault}, {stack}: {why}");
            drills.failures.iter().map(name)
        })
        .collect();
    let failures = match failures.as_slice() {
        [] => "None failed.".to_owned(),
        some => format!("{} failed: {}.", some.len(), some.join("; ")),
    };
    vec![
        format!(
            "{drills} drills of `{DEFINITION}` per fault and stack, in turns, each on a freshly restored \
             cluster with the same Corosync and Pacemaker settings; the C stack is Debian's fence_xvm in \
             the guests and fence_virtd outside. {failures}"
        ),
        format!(
            "Total is what a client outside sees: from the fault to the first answer of a survivor. The \
             stages are read from the survivors' logs, whose clocks agreed with the host's within \
             {uncertainty:.2} s. The machine's load at a fault was {load:.1} at most."
        ),
    ]
}

fn rows(seen: &Seen) -> Vec<Row> {
    let mut rows = Vec::new();
    for (fault, words) in FAULTS {
        for (id, name, pick) in STAGES {
            let summary = |stack| {
                let drills = seen.get(&(fault, stack))?;
                let values: Vec<f64> = drills.reports.iter().filter_map(pick).collect();
                Summary::of(&values)
            };
            rows.push(Row {
                id: format!("{fault}/{id}"),
                what: format!("{words}: {name}"),
                unit: Unit::Seconds,
                ours: summary(STACKS[0]),
                theirs: summary(STACKS[1]),
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"format":1,"definition":"web.toml","runs":[{"verdict":"recovered",
        "victim":"a","fault":"panic","stages":{"membership":10.5,"pacemaker":1.5,"fence_call":0.25,
        "start":0.5,"total":12.75},"power_off":{"means":"destroyed","seconds":0.125},
        "clock_uncertainty":0.0625,"load":1.5,"gaps":[]}],"medians":{}}"#;

    #[test]
    fn a_drills_report_becomes_the_rows_of_its_fault() {
        let mut seen = Seen::new();
        let drills = seen.entry(("panic", "picket")).or_default();
        drills.add(parse(PRINTED).unwrap());
        let rows = rows(&seen);
        let median = |id: &str| {
            let row = rows.iter().find(|row| row.id == id).unwrap();
            row.ours.map(|ours| ours.median)
        };
        assert_eq!(median("panic/fence"), Some(0.25));
        assert_eq!(median("panic/daemon"), Some(0.125));
        assert_eq!(median("panic/total"), Some(12.75));
        assert_eq!(median("hang/total"), None);
    }

    #[test]
    fn a_drill_that_did_not_recover_is_no_figure() {
        let mut drills = Drills::default();
        let printed = PRINTED.replace("\"recovered\"", "\"not_recovered\"");
        drills.add(parse(&printed).unwrap());
        assert!(drills.reports.is_empty());
        assert_eq!(drills.failures, ["not_recovered"]);
    }

    #[test]
    fn another_format_is_not_guessed_at() {
        assert!(parse(&PRINTED.replace("\"format\":1", "\"format\":2")).is_err());
        assert!(parse("no lab here").is_err());
    }
}
