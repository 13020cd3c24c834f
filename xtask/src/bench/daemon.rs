//! The daemons under load: throughput and latency, quiet and with silent connections held open.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::load::{Load, Outcome};
use super::network::Network;
use super::results::{Row, Summary, Unit};
use super::site::{Listener, Memory, Side, Site};
use super::{Measured, Programs};

/// How many clients ask at the same time.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How many silent connections the attack holds open.
const SILENT: usize = 40;
const LOOPBACK: Listener = Listener::Tcp("127.0.0.1");

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Runs per cell.
    rounds: usize,
    /// Runs per cell of the attacked C daemon.
    sieges: usize,
    /// Length of a run.
    window: Duration,
    /// Length of a run of the attacked C daemon, which answers about one party per second.
    besieged: Duration,
}

impl Plan {
    /// What goes into the report.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        sieges: 3,
        window: Duration::from_millis(1500),
        besieged: Duration::from_secs(5),
    };
    /// A trial.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        sieges: 1,
        window: Duration::from_millis(500),
        besieged: Duration::from_secs(3),
    };
}

impl Plan {
    /// Whether this is the C daemon under attack: it answers next to nothing, so its runs are few and
    /// long.
    fn is_besieged(self, side: Side, scene: Scene) -> bool {
        (side, scene) == (Side::C, Scene::Attack)
    }

    fn window(self, side: Side, scene: Scene) -> Duration {
        if self.is_besieged(side, scene) {
            self.besieged
        } else {
            self.window
        }
    }
}

/// Whether silent connections are held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    Quiet,
    Attack,
}

impl Scene {
    const BOTH: [Self; 2] = [Self::Quiet, Self::Attack];

    const fn id(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Attack => "attack",
        }
    }

    const fn silent(self) -> usize {
        match self {
            Self::Quiet => 0,
            Self::Attack => SILENT,
        }
    }
}

/// One cell of the experiment on one side.
type Cell = (Scene, usize, &'static str);

/// Everything seen so far.
#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<Cell, Vec<Outcome>>,
    memory: BTreeMap<&'static str, Vec<Memory>>,
}

/// Measures both daemons in turns.
///
/// # Errors
/// Not root, a program missing, or a daemon that does not serve.
pub(crate) fn measure(programs: &Programs, plan: Plan) -> Result<Measured> {
    let mut seen = Seen::default();
    for round in 1..=plan.rounds {
        eprintln!("daemon: round {round} of {}", plan.rounds);
        let mut peaks: BTreeMap<&'static str, Memory> = BTreeMap::new();
        for clients in CLIENTS {
            for scene in Scene::BOTH {
                for side in Side::BOTH {
                    let Some(program) = programs.daemon(side) else {
                        continue;
                    };
                    if plan.is_besieged(side, scene) && round > plan.sieges {
                        continue;
                    }
                    let (outcome, memory) = run(side, program, scene, clients, plan)?;
                    report(side, scene, clients, &outcome);
                    let cell = (scene, clients, side.name());
                    seen.outcomes.entry(cell).or_default().push(outcome);
                    let peak = peaks.entry(side.name()).or_insert(memory);
                    *peak = peak.max(memory);
                }
            }
        }
        for (side, memory) in peaks {
            seen.memory.entry(side).or_default().push(memory);
        }
    }
    Ok(Measured {
        method: method(plan, &seen),
        rows: rows(&seen),
    })
}

fn run(
    side: Side,
    program: &Path,
    scene: Scene,
    clients: usize,
    plan: Plan,
) -> Result<(Outcome, Memory)> {
    let network = Network::loopback()?;
    let _inside = network.enter_host()?;
    let site = Site::new()?;
    let daemon = site.start(side, LOOPBACK, program)?;
    let load = Load {
        address: ([127, 0, 0, 1], fence_wire::PORT).into(),
        key: site.key(),
        plugs: Site::plugs()?,
        clients,
        silent: scene.silent(),
        window: plan.window(side, scene),
    };
    let outcome = load.run()?;
    let memory = daemon.memory()?;
    if scene == Scene::Quiet {
        ensure!(
            outcome.failures() * 100 <= outcome.answered.len(),
            "the {} daemon failed quiet requests: {:?}",
            side.name(),
            outcome.failed
        );
    }
    Ok((outcome, memory))
}

fn report(side: Side, scene: Scene, clients: usize, outcome: &Outcome) {
    let quantile = |share| outcome.latency(share).map_or(f64::NAN, |(ms, _)| ms);
    eprintln!(
        "daemon: {:6} {:6} {clients:2} clients: {:8.1} req/s, p50 {:8.2} ms, p99 {:8.2} ms, \
         {} given up, failed {:?}, {} silent",
        side.name(),
        scene.id(),
        outcome.rate(),
        quantile(0.5),
        quantile(0.99),
        outcome.unanswered.len(),
        outcome.failed,
        outcome.silent,
    );
}

fn method(plan: Plan, seen: &Seen) -> Vec<String> {
    let failed: usize = seen
        .outcomes
        .values()
        .flatten()
        .map(Outcome::failures)
        .sum();
    let (answers, seconds) = besieged_answers(seen);
    vec![
        format!(
            "TCP on a loopback interface of its own, libvirt's test driver inside the daemon, SHA-256 \
             for requests and challenges, a fresh daemon for each of {} runs of {:.1} s (the attacked C \
             daemon: {} runs of {:.1} s).",
            plan.rounds,
            plan.window.as_secs_f64(),
            plan.sieges,
            plan.besieged.as_secs_f64()
        ),
        "Clients are closed loops of status requests, one connection each; latency runs from the \
         connect to the reply byte. A request unanswered one second after the window counts with the \
         time it had waited, and a quantile that falls on such a one is shown as a lower bound (≥)."
            .to_owned(),
        format!(
            "Attack: {SILENT} parties at the clients' own address each hold a connection open, send \
             nothing, and connect again {} ms after the daemon drops them. The C daemon gives each of \
             them one second of its only thread, and its queue has room for eleven; in {seconds:.0} s of \
             attack it answered {answers} requests.",
            super::load::REOPEN.as_millis()
        ),
        format!("Requests that failed outright, all runs of both sides together: {failed}."),
        "Memory: after the load, the largest of all cells of a round. Peak is the largest resident set \
         (shared libraries included), private are the pages the process has written itself."
            .to_owned(),
    ]
}

/// How many requests the C daemon answered under attack, and in how many seconds.
fn besieged_answers(seen: &Seen) -> (usize, f64) {
    seen.outcomes
        .iter()
        .filter(|((scene, _, side), _)| *scene == Scene::Attack && *side == Side::C.name())
        .flat_map(|(_, outcomes)| outcomes)
        .fold((0, 0.0), |(answers, seconds), outcome| {
            let answers = answers + outcome.answered.len();
            (answers, seconds + outcome.window.as_secs_f64())
        })
}

fn rows(seen: &Seen) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, share) in [("rate", None), ("p50", Some(0.5)), ("p99", Some(0.99))] {
        for scene in Scene::BOTH {
            for clients in CLIENTS {
                let summary = |side: Side| {
                    let outcomes = seen.outcomes.get(&(scene, clients, side.name()))?;
                    share.map_or_else(|| rate(outcomes), |share| latency(outcomes, share))
                };
                rows.push(Row {
                    id: format!("{kind}/{}/{clients}", scene.id()),
                    what: words(kind, scene, clients),
                    unit: share.map_or(Unit::PerSecond, |_| Unit::Milliseconds),
                    ours: summary(Side::Ours),
                    theirs: summary(Side::C),
                });
            }
        }
    }
    rows.extend(memory_rows(seen));
    rows
}

fn words(kind: &str, scene: Scene, clients: usize) -> String {
    let kind = match kind {
        "rate" => "throughput",
        other => other,
    };
    let clients = match clients {
        1 => "1 client".to_owned(),
        many => format!("{many} clients"),
    };
    match scene {
        Scene::Quiet => format!("{kind}, {clients}"),
        Scene::Attack => format!("{kind}, {clients}, {SILENT} silent"),
    }
}

fn rate(outcomes: &[Outcome]) -> Option<Summary> {
    Summary::of(&outcomes.iter().map(Outcome::rate).collect::<Vec<_>>())
}

fn latency(outcomes: &[Outcome], share: f64) -> Option<Summary> {
    let all: Vec<(f64, bool)> = outcomes.iter().filter_map(|o| o.latency(share)).collect();
    let values: Vec<f64> = all.iter().map(|(ms, _)| *ms).collect();
    // The median is a bound as soon as half of the runs are.
    let bounds = all.iter().filter(|(_, bound)| *bound).count();
    Some(Summary::of(&values)?.at_least(bounds * 2 >= all.len()))
}

/// A kind of memory: its id, its name, and where it is found.
type Kind = (&'static str, &'static str, fn(&Memory) -> f64);

fn memory_rows(seen: &Seen) -> Vec<Row> {
    let kinds: [Kind; 2] = [
        ("peak", "memory, peak resident", |memory| memory.peak),
        ("private", "memory, private", |memory| memory.private),
    ];
    let row = |(id, what, pick): Kind| {
        let summary = |side: Side| {
            let memory = seen.memory.get(side.name())?;
            Summary::of(&memory.iter().map(pick).collect::<Vec<_>>())
        };
        Row {
            id: format!("memory/{id}"),
            what: what.to_owned(),
            unit: Unit::Mebibytes,
            ours: summary(Side::Ours),
            theirs: summary(Side::C),
        }
    };
    kinds.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attacked_row_has_a_quiet_one_to_be_judged_against() {
        let rows = rows(&Seen::default());
        for row in rows.iter().filter(|row| row.id.contains("attack")) {
            let quiet = row.id.replace("attack", "quiet");
            assert!(rows.iter().any(|row| row.id == quiet), "{}", row.id);
        }
    }
}
