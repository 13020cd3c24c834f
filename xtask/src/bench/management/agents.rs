//! The agents, operation by operation, on inventories of several sizes.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::Plan;
use super::manager::{HOST, Kind, Manager, PASSWORD, PORT, Traffic};
use crate::bench::Programs;
use crate::bench::cost::{self, Cost};
use crate::bench::results::{Row, Summary, Unit};
use crate::bench::site::Side;

/// Where the packaged agents are.
const PACKAGED: &str = "/usr/sbin";
/// How often ours runs where the other agent takes seconds of processor time.
const OURS_MEANWHILE: usize = 5;

/// An agent, by the name that both sides have.
#[derive(Debug)]
pub(super) struct Subject {
    /// In the rows' ids.
    pub(super) id: &'static str,
    pub(super) agent: &'static str,
    pub(super) kind: Kind,
    /// Whether the packaged one takes seconds of processor time.
    slow: bool,
}

pub(super) const SUBJECTS: [Subject; 3] = [
    Subject {
        id: "soap",
        agent: "fence_vmware_soap",
        kind: Kind::Vcenter,
        slow: true,
    },
    Subject {
        id: "rest",
        agent: "fence_vmware_rest",
        kind: Kind::Vcenter,
        slow: false,
    },
    Subject {
        id: "rhevm",
        agent: "fence_rhevm",
        kind: Kind::Engine,
        slow: false,
    },
];

pub(super) const OPERATIONS: [&str; 4] = ["status", "list", "monitor", "off"];

/// One run.
#[derive(Debug, Clone, Copy)]
struct Sample {
    cost: Cost,
    traffic: Traffic,
}

/// Agent, operation, guests in the inventory.
type Cell = (&'static str, &'static str, usize);

/// All runs of both sides, ours first.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<Cell, [Vec<Sample>; 2]>);

/// Both sides' agents.
#[derive(Debug)]
pub(super) struct Agents<'a> {
    ours: Option<TempDir>,
    meter: &'a Path,
}

impl<'a> Agents<'a> {
    /// Links our multi-call binary under the agents' names.
    pub(super) fn install(programs: &'a Programs) -> Result<Self> {
        for subject in &SUBJECTS {
            let packaged = Path::new(PACKAGED).join(subject.agent);
            ensure!(
                packaged.exists(),
                "{} is missing (package fence-agents)",
                packaged.display()
            );
        }
        let link = |binary: &PathBuf| -> Result<TempDir> {
            let directory = tempfile::tempdir()?;
            for name in SUBJECTS.iter().map(|it| it.agent).chain(["fence_virt"]) {
                symlink(binary, directory.path().join(name))?;
            }
            Ok(directory)
        };
        Ok(Self {
            ours: programs.agents.as_ref().map(link).transpose()?,
            meter: &programs.meter,
        })
    }

    /// The program of a side; none in a trial before ours is built.
    pub(super) fn path(&self, side: Side, agent: &str) -> Option<PathBuf> {
        match side {
            Side::Ours => Some(self.ours.as_ref()?.path().join(agent)),
            Side::C => Some(Path::new(PACKAGED).join(agent)),
        }
    }

    /// What one run costs; an error unless it succeeds.
    pub(super) fn cost(&self, program: &Path, arguments: &[String]) -> Result<Cost> {
        cost::of(self.meter, program, arguments)
    }

    /// Runs every operation of an agent in turns. Before, each side runs once to warm the caches.
    pub(super) fn measure(
        &self,
        subject: &Subject,
        manager: &mut Manager,
        plan: Plan,
        seen: &mut Seen,
    ) -> Result<()> {
        let guests = manager.guests();
        let guest = guests.last().context("a server without guests")?;
        for side in Side::BOTH {
            if let Some(program) = self.path(side, subject.agent) {
                self.run(&program, manager, "status", guest)?;
            }
        }
        let (rounds, ours) = if subject.slow {
            (plan.slow_rounds, OURS_MEANWHILE)
        } else {
            (plan.rounds, 1)
        };
        for operation in OPERATIONS {
            let cell = (subject.id, operation, guests.len());
            let samples = seen.0.entry(cell).or_default();
            for _ in 0..rounds {
                for (side, samples) in Side::BOTH.into_iter().zip(&mut *samples) {
                    let Some(program) = self.path(side, subject.agent) else {
                        continue;
                    };
                    let runs = if side == Side::Ours { ours } else { 1 };
                    for _ in 0..runs {
                        let sample = self.run(&program, manager, operation, guest);
                        let sample = sample.with_context(|| {
                            format!("{} -o {operation}, {} guests", subject.agent, guests.len())
                        })?;
                        samples.push(sample);
                    }
                }
            }
            report(cell, samples);
        }
        Ok(())
    }

    fn run(
        &self,
        program: &Path,
        manager: &mut Manager,
        operation: &str,
        guest: &str,
    ) -> Result<Sample> {
        manager.reset()?;
        let cost = self.cost(program, &arguments(manager.kind, operation, guest))?;
        let traffic = manager.traffic()?;
        ensure!(traffic.requests > 0, "the server was asked nothing");
        if operation == "off" {
            ensure!(traffic.stops > 0, "the guest was not ordered to stop");
            manager.switch_on(guest)?;
        }
        Ok(Sample { cost, traffic })
    }
}

/// The same words for both sides.
pub(super) fn arguments(kind: Kind, operation: &str, guest: &str) -> Vec<String> {
    let port = PORT.to_string();
    let mut words = vec!["-o", operation, "-a", HOST, "-u", &port, "--ssl-insecure"];
    words.extend(["-l", kind.user(), "-p", PASSWORD]);
    if ["status", "off"].contains(&operation) {
        words.extend(["-n", guest]);
    }
    words.into_iter().map(str::to_owned).collect()
}

fn report((subject, operation, guests): Cell, samples: &[Vec<Sample>; 2]) {
    for (side, samples) in Side::BOTH.into_iter().zip(samples) {
        let median =
            |pick: fn(&Sample) -> f64| summary(samples, pick).map_or(f64::NAN, |s| s.median);
        eprintln!(
            "management: {subject:5} {operation:7} {guests:4} guests, {:6}: cpu {:8.2} ms, memory {:6.2} MiB, \
             wall {:8.2} ms, {:.0} requests, {:.1} kB",
            side.name(),
            median(|it| it.cost.cpu),
            median(|it| it.cost.memory),
            median(|it| it.cost.wall),
            median(|it| f64::from(it.traffic.requests)),
            median(|it| kilobytes(it.traffic.sent) + kilobytes(it.traffic.received)),
        );
    }
}

fn summary(samples: &[Sample], pick: fn(&Sample) -> f64) -> Option<Summary> {
    Summary::of(&samples.iter().map(pick).collect::<Vec<_>>())
}

fn kilobytes(bytes: u32) -> f64 {
    f64::from(bytes) / 1000.0
}

/// Which inventories a figure is shown for.
#[derive(Debug, Clone, Copy)]
enum Sizes {
    All,
    /// The smallest and the largest.
    Ends,
    Smallest,
}

impl Sizes {
    fn shows(self, size: usize, sizes: &[usize]) -> bool {
        let (first, last) = (sizes.iter().min(), sizes.iter().max());
        match self {
            Self::All => true,
            Self::Ends => Some(&size) == first || Some(&size) == last,
            Self::Smallest => Some(&size) == first,
        }
    }
}

/// A figure: the beginning of its id, in words, its unit, the inventories, and where it is found.
type Kinds = (&'static str, &'static str, Unit, Sizes, fn(&Sample) -> f64);

const KINDS: [Kinds; 7] = [
    ("cpu", "CPU", Unit::Milliseconds, Sizes::All, |it| {
        it.cost.cpu
    }),
    ("memory", "peak memory", Unit::Mebibytes, Sizes::All, |it| {
        it.cost.memory
    }),
    (
        "wall",
        "start to end",
        Unit::Milliseconds,
        Sizes::All,
        |it| it.cost.wall,
    ),
    ("requests", "requests", Unit::Count, Sizes::Ends, |it| {
        f64::from(it.traffic.requests)
    }),
    ("sent", "sent", Unit::Kilobytes, Sizes::Ends, |it| {
        kilobytes(it.traffic.sent)
    }),
    ("received", "received", Unit::Kilobytes, Sizes::Ends, |it| {
        kilobytes(it.traffic.received)
    }),
    (
        "sessions",
        "sessions left open",
        Unit::Count,
        Sizes::Smallest,
        |it| f64::from(it.traffic.sessions),
    ),
];

pub(super) fn rows(seen: &Seen) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, words, unit, shown, pick) in KINDS {
        for subject in &SUBJECTS {
            for operation in OPERATIONS {
                let of_both = |(id, op, _): &Cell| *id == subject.id && *op == operation;
                let cells: Vec<_> = seen.0.iter().filter(|(cell, _)| of_both(cell)).collect();
                let sizes: Vec<usize> = cells.iter().map(|(cell, _)| cell.2).collect();
                let cells = cells
                    .into_iter()
                    .filter(|(cell, _)| shown.shows(cell.2, &sizes));
                rows.extend(cells.map(|((_, _, size), [ours, theirs])| Row {
                    id: format!("{kind}/{}/{operation}/{size}", subject.id),
                    what: format!("{words}: `{} -o {operation}`, {size} guests", subject.agent),
                    unit,
                    ours: summary(ours, pick),
                    theirs: summary(theirs, pick),
                }));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventories_are_shown_as_each_figure_wants_them() {
        let sample = Sample {
            cost: Cost {
                cpu: 1.0,
                memory: 2.0,
                wall: 3.0,
            },
            traffic: Traffic::default(),
        };
        let mut seen = Seen::default();
        for size in [10, 1000, 5000] {
            let cell = ("soap", "status", size);
            seen.0.insert(cell, [vec![sample], vec![sample]]);
        }
        let rows = rows(&seen);
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(
            ids[..3],
            [
                "cpu/soap/status/10",
                "cpu/soap/status/1000",
                "cpu/soap/status/5000"
            ]
        );
        let of = |kind: &str| ids.iter().filter(|id| id.starts_with(kind)).count();
        assert_eq!([of("memory/"), of("requests/"), of("sessions/")], [3, 2, 1]);
    }
}
