//! The agents: what one run costs, from exec to exit.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::cost::{self, Cost};
use super::network::{HOST, HOST_INTERFACE, Network};
use super::results::{Row, Summary, Unit};
use super::site::{Listener, Side, Site};
use super::{Measured, Programs};

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    rounds: usize,
}

impl Plan {
    /// What goes into the report.
    pub(crate) const FULL: Self = Self { rounds: 250 };
    /// A trial.
    pub(crate) const QUICK: Self = Self { rounds: 20 };
}

/// One line of the table: an agent doing one thing.
struct Case {
    id: String,
    what: String,
    agent: &'static str,
    arguments: Vec<String>,
    costs: [Vec<Cost>; 2],
}

/// Measures both sides' agents in turns.
///
/// # Errors
/// Not root, a program missing, or an agent that fails.
pub(crate) fn measure(programs: &Programs, plan: Plan) -> Result<Measured> {
    let network = Network::pair()?;
    let site = Site::new()?;
    let agents = Agents::install(&site, programs)?;
    let mut cases = metadata_cases();
    {
        let _inside = network.enter_guest()?;
        agents.run(&mut cases, plan)?;
    }
    for side in Side::BOTH {
        let Some(daemon) = programs.daemon(side) else {
            continue;
        };
        for listener in [Listener::Tcp(HOST), Listener::Multicast(HOST_INTERFACE)] {
            let _daemon = {
                let _inside = network.enter_host()?;
                site.start(side, listener, daemon)?
            };
            let _inside = network.enter_guest()?;
            let mut case = [status_case(&site, side, listener)];
            agents.run(&mut case, plan)?;
            cases.extend(case);
        }
    }
    Ok(Measured {
        method: method(plan),
        rows: rows(&cases),
    })
}

fn metadata_cases() -> Vec<Case> {
    let case = |agent: &'static str| Case {
        id: format!("metadata/{agent}"),
        what: format!("`{agent} -o metadata`"),
        agent,
        arguments: vec!["-o".to_owned(), "metadata".to_owned()],
        costs: [Vec::new(), Vec::new()],
    };
    vec![case("fence_xvm"), case("fence_virt")]
}

fn status_case(site: &Site, daemon: Side, listener: Listener) -> Case {
    let key = site.path("key").display().to_string();
    let mut arguments: Vec<String> = ["-o", "status", "-H", "vm1", "-t", "10", "-k", &key]
        .map(str::to_owned)
        .into();
    let (agent, transport) = match listener {
        Listener::Tcp(address) => {
            arguments.extend(["-T".to_owned(), address.to_owned()]);
            ("fence_virt", "tcp")
        }
        Listener::Multicast(_) => ("fence_xvm", "multicast"),
    };
    Case {
        id: format!("status/{transport}/{}", daemon.name()),
        what: format!("`{agent} -o status`, {transport}, {} daemon", daemon.name()),
        agent,
        arguments,
        costs: [Vec::new(), Vec::new()],
    }
}

/// Where the agents of both sides are.
struct Agents {
    ours: Option<PathBuf>,
    meter: PathBuf,
}

impl Agents {
    /// Links our multi-call binary under the agents' names.
    fn install(site: &Site, programs: &Programs) -> Result<Self> {
        let ours = programs
            .agents
            .as_ref()
            .map(|binary| -> Result<PathBuf> {
                for name in ["fence_xvm", "fence_virt"] {
                    symlink(binary, site.path(name))?;
                }
                Ok(site.path(""))
            })
            .transpose()?;
        Ok(Self {
            ours,
            meter: programs.meter.clone(),
        })
    }

    fn path(&self, side: Side, agent: &str) -> Option<PathBuf> {
        match side {
            Side::Ours => Some(self.ours.as_ref()?.join(agent)),
            Side::C => Some(Path::new("/usr/sbin").join(agent)),
        }
    }

    /// Runs the cases in turns; the first round warms the caches and does not count.
    fn run(&self, cases: &mut [Case], plan: Plan) -> Result<()> {
        for round in 0..=plan.rounds {
            for case in &mut *cases {
                for (side, costs) in Side::BOTH.into_iter().zip(&mut case.costs) {
                    let Some(program) = self.path(side, case.agent) else {
                        continue;
                    };
                    let cost = self.cost(&program, &case.arguments)?;
                    if round > 0 {
                        costs.push(cost);
                    }
                }
            }
        }
        for case in cases {
            case.report();
        }
        Ok(())
    }

    /// What one run costs. One that failed is repeated: C agents number their requests by the clock's
    /// microseconds, so that two of hundreds within ten seconds meet, and the second is dropped as a
    /// duplicate.
    fn cost(&self, program: &Path, arguments: &[String]) -> Result<Cost> {
        let mut result = cost::of(&self.meter, program, arguments);
        for _ in 1..ATTEMPTS {
            if result.is_ok() {
                break;
            }
            result = cost::of(&self.meter, program, arguments);
        }
        result
    }
}

/// Runs of one kind in a row that may fail before that is an error.
const ATTEMPTS: usize = 3;

impl Case {
    fn summary(&self, side: usize, pick: fn(&Cost) -> f64) -> Option<Summary> {
        Summary::of(&self.costs[side].iter().map(pick).collect::<Vec<_>>())
    }

    fn report(&self) {
        for (n, side) in Side::BOTH.into_iter().enumerate() {
            let median = |pick| self.summary(n, pick).map_or(f64::NAN, |s| s.median);
            eprintln!(
                "agent: {:28} {:6} cpu {:.2} ms, memory {:.2} MiB, wall {:.2} ms",
                self.id,
                side.name(),
                median(|cost| cost.cpu),
                median(|cost| cost.memory),
                median(|cost| cost.wall),
            );
        }
    }
}

fn method(plan: Plan) -> Vec<String> {
    vec![
        format!(
            "{} runs of each, the two sides taking turns, after one that does not count; user and \
             system time and peak resident memory of the agent's process as the kernel accounts them \
             (wait4).",
            plan.rounds
        ),
        "Status asks for a running guest over a wire between two network namespaces, SHA-256 for \
         request and challenge; the daemons serve libvirt's test driver. The daemon's share of CPU is \
         not in these figures; the time from start to end includes waiting for it."
            .to_owned(),
    ]
}

/// A kind of cost: its id, its name, its unit, and where it is found.
type Kind = (&'static str, &'static str, Unit, fn(&Cost) -> f64);

fn rows(cases: &[Case]) -> Vec<Row> {
    let kinds: [Kind; 3] = [
        ("cpu", "CPU", Unit::Milliseconds, |cost| cost.cpu),
        ("memory", "peak memory", Unit::Mebibytes, |cost| cost.memory),
        ("wall", "start to end", Unit::Milliseconds, |cost| cost.wall),
    ];
    let mut rows = Vec::new();
    for (kind, words, unit, pick) in kinds {
        rows.extend(cases.iter().map(|case| Row {
            id: format!("{kind}/{}", case.id),
            what: format!("{words}: {}", case.what),
            unit,
            ours: case.summary(0, pick),
            theirs: case.summary(1, pick),
        }));
    }
    rows
}
