//! From blank guests to a cluster that keeps its service available: `picket apply`, and pcs with the same
//! nodes, settings and resources, in turns, each on the same saved blank guests.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cluster::Definition;
use deadline::Deadline;
use lab::Lab;
use serde::Deserialize;

use super::Measured;
use super::machine;
use super::pcs;
use super::results::{Row, Summary, Unit};
use crate::repo::Repo;

/// What is put on the guests.
pub(crate) const DEFINITION: &str = "examples/web.toml";
pub(crate) const NODES: usize = 3;
/// pcs and its daemon need more than the lab's usual guests have.
const MEMORY_MIB: u32 = 640;
/// The lab's name: a lab that the user has up is left alone.
const LAB: &str = "bench-apply";
/// The layout of the report of `picket apply` that is understood here.
const FORMAT: u32 = 1;
/// How long either side may take: several times what it takes without hardware virtualisation.
pub(crate) const LIMIT: Duration = Duration::from_secs(1800);
/// Between two tries of the client.
const TRY: Duration = Duration::from_millis(250);

/// Picket's side first.
const SIDES: [&str; 2] = ["picket", "pcs"];

/// Moments of one run, in seconds since its clock started.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Every node is online, and every resource runs.
    total: f64,
    /// A client was answered for the first time.
    service: Option<f64>,
    /// What it spent its time with, by name, in the order in which it was done.
    pub(crate) stages: Vec<(String, f64)>,
    /// What was done before the clock started, and does not count.
    pub(crate) before: Option<f64>,
    /// Load average of this machine at the end.
    load: Option<f64>,
}

/// The runs of one side.
#[derive(Debug, Default)]
struct Runs {
    done: Vec<Run>,
    failures: Vec<String>,
}

type Seen = BTreeMap<&'static str, Runs>;

/// Has both sides form the cluster so many times, in turns.
///
/// # Errors
/// The machine cannot run the lab, or Picket's side never came to an end. A side that fails has no figure;
/// the report says why.
pub(crate) fn measure(repo: &Repo, picket: &Path, rounds: usize) -> Result<Measured> {
    ensure!(picket.exists(), "{} is missing", picket.display());
    let path = repo.root().join(DEFINITION);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let mut definition =
        Definition::parse(DEFINITION, &text).map_err(|error| anyhow::anyhow!("{error}"))?;
    definition = definition
        .with_nodes(NODES)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut seen = Seen::new();
    let mut version = None;
    for round in 1..=rounds {
        for side in SIDES {
            eprintln!("apply: {side}, {round} of {rounds}");
            let bench = Bench {
                repo,
                picket,
                definition: &definition,
            };
            let outcome = bench.run(side, &mut version);
            seen.entry(side).or_default().take(outcome);
        }
    }
    let ours = seen.get(SIDES[0]).context("no round was asked for")?;
    if ours.done.is_empty() {
        bail!("Picket's side failed: {}", ours.failures.join("; "));
    }
    Ok(Measured {
        method: method(rounds, version.as_deref(), &seen),
        rows: rows(&seen),
    })
}

impl Runs {
    fn take(&mut self, outcome: Result<Run>) {
        match outcome {
            Ok(run) => {
                eprintln!("apply: {run:?}");
                self.done.push(run);
            }
            Err(error) => {
                eprintln!("apply: FAILED: {error:#}");
                self.failures.push(format!("{error:#}"));
            }
        }
    }
}

struct Bench<'a> {
    repo: &'a Repo,
    picket: &'a Path,
    definition: &'a Definition,
}

/// The lab goes, however the run ended.
struct Down<'a>(&'a Bench<'a>);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let mut down = self.0.picket(&["lab", "down", "--name", LAB]);
        let _ = down.stdout(Stdio::null()).status();
    }
}

impl Bench<'_> {
    fn picket(&self, arguments: &[&str]) -> Command {
        let mut command = self.repo.command(&self.picket.display().to_string());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// `picket lab up`, of the same lab each time.
    fn up(&self, blank: bool) -> Command {
        let mut command = self.picket(&["lab", "up", DEFINITION, "--name", LAB, "--json"]);
        command.args(["--nodes", &NODES.to_string()]);
        command.args(["--memory", &MEMORY_MIB.to_string()]);
        if blank {
            command.arg("--blank");
        }
        command.stdout(Stdio::null());
        command
    }

    fn run(&self, side: &str, version: &mut Option<String>) -> Result<Run> {
        let _down = Down(self);
        let _ = self.picket(&["lab", "down", "--name", LAB]).output();
        let status = self.up(true).status().context("failed to run picket")?;
        ensure!(status.success(), "the lab did not come up ({status})");
        let lab = Lab::attach(&LAB.parse()?)?;
        if side == SIDES[0] {
            return self.timed(&lab, || self.apply());
        }
        let before = Instant::now();
        let admin = pcs::prepare(self.repo, &lab, self.definition)?;
        *version = Some(admin.version.clone());
        let before = before.elapsed().as_secs_f64();
        let mut run = self.timed(&lab, || admin.form())?;
        run.before = Some(before);
        Ok(run)
    }

    /// Does `work`, which yields the stages, with the clock running until the cluster is whole.
    fn timed(&self, lab: &Lab, work: impl FnOnce() -> Result<Vec<(String, f64)>>) -> Result<Run> {
        let service = self
            .definition
            .services
            .iter()
            .find_map(|service| {
                let address = service.virtual_ip?.address;
                Some(SocketAddr::new(address, service.http.as_ref()?.port.get()))
            })
            .context("the definition has no service to ask for")?;
        let over = AtomicBool::new(false);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| first_answer(lab, service, began, &over));
            let outcome = work().and_then(|stages| {
                self.wait_whole(Deadline::at(began + LIMIT))?;
                Ok((stages, began.elapsed()))
            });
            over.store(true, Ordering::Relaxed);
            let answered = client.join().ok().flatten();
            let (stages, total) = outcome?;
            Ok(Run {
                total: total.as_secs_f64(),
                service: answered.map(|after| after.as_secs_f64()),
                stages,
                before: None,
                load: machine::load(),
            })
        })
    }

    /// `picket apply`, and the phases it reports.
    fn apply(&self) -> Result<Vec<(String, f64)>> {
        let output = self
            .picket(&["apply", DEFINITION, "--lab", LAB, "--yes", "--json"])
            .args(["--nodes", &NODES.to_string()])
            .args(["--timeout", &LIMIT.as_secs().to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run picket")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "picket apply ended with {}: {text}",
            output.status
        );
        phases(&text)
    }

    /// Until the cluster is whole: the lab asks Corosync and Pacemaker, whoever formed it.
    fn wait_whole(&self, deadline: Deadline) -> Result<()> {
        loop {
            let output = self.up(false).output().context("failed to run picket")?;
            if output.status.success() {
                return Ok(());
            }
            if deadline.has_passed() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("the cluster is not whole: {}", said.trim());
            }
        }
    }
}

/// What `picket apply` prints.
#[derive(Debug, Deserialize)]
struct Document {
    format: u32,
    report: Option<Report>,
}

#[derive(Debug, Deserialize)]
struct Report {
    phases: Vec<Phase>,
}

#[derive(Debug, Deserialize)]
struct Phase {
    phase: String,
    seconds: f64,
}

fn phases(text: &str) -> Result<Vec<(String, f64)>> {
    let document: Document = serde_json::from_str(text).context("it printed no report")?;
    ensure!(
        document.format == FORMAT,
        "it printed a report of format {}, not {FORMAT}",
        document.format
    );
    let phases = document.report.context("no report in it")?.phases;
    Ok(phases
        .into_iter()
        .map(|phase| (phase.phase, phase.seconds))
        .collect())
}

/// When the service first answers a client with its page.
fn first_answer(
    lab: &Lab,
    service: SocketAddr,
    began: Instant,
    over: &AtomicBool,
) -> Option<Duration> {
    while !over.load(Ordering::Relaxed) {
        if answers(lab, service).is_ok_and(|yes| yes) {
            return Some(began.elapsed());
        }
        std::thread::sleep(TRY);
    }
    None
}

fn answers(lab: &Lab, service: SocketAddr) -> std::io::Result<bool> {
    let patience = Duration::from_secs(5);
    let mut stream = lab.connect(service, Deadline::after(patience))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.") && answer.ends_with(b"200"))
}

fn method(rounds: usize, version: Option<&str>, seen: &Seen) -> Vec<String> {
    let failures: Vec<String> = seen
        .iter()
        .flat_map(|(side, runs)| {
            runs.failures
                .iter()
                .map(move |why| format!("{side}: {why}"))
        })
        .collect();
    let failures = match failures.as_slice() {
        [] => "None failed.".to_owned(),
        some => format!("{} failed: {}.", some.len(), some.join("; ")),
    };
    let load = |side| {
        let runs = seen.get(side).into_iter().flat_map(|runs| &runs.done);
        let highest = runs.filter_map(|run| run.load).reduce(f64::max);
        highest.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"))
    };
    vec![
        format!(
            "{rounds} runs of each, the two sides taking turns, each on the same {NODES} restored blank guests of \
             {MEMORY_MIB} MiB: no cluster, all packages installed. Both form the cluster of `{DEFINITION}`, \
             with the same nodes, settings, fencing device and resources. {failures}"
        ),
        format!(
            "Picket: `picket apply` over ssh, from outside. pcs ({}): `pcs host auth`, `pcs cluster setup`, \
             `pcs cluster start --all --wait`, `pcs -f` for each setting and resource, `pcs cluster cib-push \
             --wait`, typed on the first node. For pcs only, before the clock starts: its packages are \
             unpacked, hacluster's password set, the fencing key and the resource agent copied, its limit for \
             a request raised to 600 s, and pcsd started.",
            version.unwrap_or("version unknown")
        ),
        format!(
            "The clock runs from the first command until every node is online and every resource runs, as \
             the lab finds out by asking Corosync and Pacemaker after the last command. The machine's load at \
             the end of a run was at most {} with Picket and {} with pcs, guests included: other work on it \
             makes both slower.",
            load(SIDES[0]),
            load(SIDES[1])
        ),
    ]
}

fn rows(seen: &Seen) -> Vec<Row> {
    let summary = |side, pick: &dyn Fn(&Run) -> Option<f64>| {
        let runs = seen.get(side)?;
        Summary::of(&runs.done.iter().filter_map(pick).collect::<Vec<_>>())
    };
    let row = |id: &str, what: &str, pick: &dyn Fn(&Run) -> Option<f64>| Row {
        id: id.to_owned(),
        what: what.to_owned(),
        unit: Unit::Seconds,
        ours: summary(SIDES[0], pick),
        theirs: summary(SIDES[1], pick),
    };
    let mut rows = vec![
        row("total", "first command to all resources started", &|run| {
            Some(run.total)
        }),
        row("service", "first command to the service's answer", &|run| {
            run.service
        }),
    ];
    for side in SIDES {
        let first = seen.get(side).and_then(|runs| runs.done.first());
        for (name, _) in first.iter().flat_map(|run| &run.stages) {
            let pick = |run: &Run| {
                let mut stages = run.stages.iter();
                stages
                    .find(|(stage, _)| stage == name)
                    .map(|(_, took)| *took)
            };
            let mut row = row(&format!("{side}/{name}"), &format!("{side}: {name}"), &pick);
            // A stage of the other side that happens to have the same name is another thing.
            if side == SIDES[0] {
                row.theirs = None;
            } else {
                row.ours = None;
            }
            rows.push(row);
        }
    }
    rows.push(row(
        "before",
        "before the clock: pcs and pcsd made ready",
        &|run| run.before,
    ));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"format":1,"outcome":"applied","report":{"cluster":"web","changed":true,
        "phases":[{"phase":"survey","seconds":1.5},{"phase":"start","seconds":12.25}],"warnings":[]},
        "problems":[],"exit_code":0}"#;

    fn run(total: f64, stages: &[(&str, f64)]) -> Run {
        Run {
            total,
            stages: stages
                .iter()
                .map(|(name, took)| ((*name).to_owned(), *took))
                .collect(),
            ..Run::default()
        }
    }

    #[test]
    fn phases_come_from_the_report_of_apply() {
        let phases = phases(PRINTED).unwrap();
        assert_eq!(
            phases,
            [("survey".to_owned(), 1.5), ("start".to_owned(), 12.25)]
        );
    }

    #[test]
    fn another_format_is_not_guessed_at() {
        assert!(phases(&PRINTED.replace("\"format\":1", "\"format\":2")).is_err());
        assert!(phases(r#"{"format":1,"report":null}"#).is_err());
    }

    #[test]
    fn a_side_that_failed_has_no_figure_and_its_reason_is_told() {
        let mut seen = Seen::new();
        let ours = seen.entry(SIDES[0]).or_default();
        ours.take(Ok(run(40.0, &[("start", 10.0)])));
        let theirs = seen.entry(SIDES[1]).or_default();
        theirs.take(Err(anyhow::anyhow!("cluster setup: timed out")));
        let rows = rows(&seen);
        let total = rows.iter().find(|row| row.id == "total").unwrap();
        assert_eq!(total.ours.map(|ours| ours.median), Some(40.0));
        assert!(total.theirs.is_none());
        let method = method(1, None, &seen).join(" ");
        assert!(method.contains("1 failed: pcs: cluster setup: timed out."));
    }

    #[test]
    fn stages_of_one_side_are_not_compared_with_the_others() {
        let mut seen = Seen::new();
        for side in SIDES {
            let runs = seen.entry(side).or_default();
            runs.take(Ok(run(40.0, &[("start", 10.0)])));
        }
        let rows = rows(&seen);
        let stage = |id: &str| rows.iter().find(|row| row.id == id).unwrap();
        assert!(stage("picket/start").theirs.is_none());
        assert!(stage("pcs/start").ours.is_none());
    }
}
