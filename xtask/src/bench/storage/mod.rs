//! Storage: `picket-target` beside tgt over loopback, and `fence_scsi` beside the packaged agent.

mod echo;
mod fence;
mod load;
mod server;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::network::Network;
use super::results::{Row, Summary, Unit};
use super::site::Side;
use super::{Measured, Programs};
use crate::repo::Repo;
use load::{LOADS, Load, Shape};
use server::{Medium, Program, Server};

/// Size of the disk in bytes: the page cache holds it.
const SIZE: usize = 512 << 20;
/// How it is filled, and read ahead while it is: what the page cache's folios become, and so what small writes cost.
const PIECE: usize = 128 << 10;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    rounds: usize,
    window: Duration,
    /// Rounds of the agents.
    fencings: usize,
}

impl Plan {
    /// What goes into the report.
    pub(crate) const FULL: Self = Self {
        rounds: 3,
        window: Duration::from_millis(1000),
        fencings: 15,
    };
    /// A trial.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        window: Duration::from_millis(500),
        fencings: 2,
    };
}

/// What one run under load came to.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Commands per second.
    rate: f64,
    /// Commands per second of the server's processor time.
    per_cpu: f64,
    /// Peak resident memory of the server in MiB.
    memory: f64,
    /// The rate in percent of what the raw connection carried right before.
    share: f64,
}

/// A load on a medium.
type Cell = (Medium, &'static str);

#[derive(Default)]
struct Seen {
    samples: [BTreeMap<Cell, Vec<Sample>>; 2],
    /// Reads per second that libiscsi's own program had, by queue depth.
    other: [BTreeMap<usize, Vec<f64>>; 2],
}

/// Measures both targets in turns, then both agents.
///
/// # Errors
/// Not root, a program missing, or one that fails.
pub(crate) fn measure(repo: &Repo, programs: &Programs, plan: Plan) -> Result<Measured> {
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("disk.img");
    fill(&image)?;
    let network = Network::loopback()?;
    let _inside = network.enter_host()?;
    let ours = repo.release("picket-target");
    ensure!(ours.exists(), "{} is missing", ours.display());
    let mut seen = Seen::default();
    for round in 1..=plan.rounds {
        eprintln!("storage: round {round} of {}", plan.rounds);
        for medium in Medium::BOTH {
            for load in &LOADS {
                let limit = echo::limit(load, plan.window / 2)?;
                for (n, program) in [Program::Ours(&ours), Program::Tgt].into_iter().enumerate() {
                    let sample = run(program, medium, load, &image, limit, plan.window)?;
                    let cell = (medium, load.id);
                    seen.samples[n].entry(cell).or_default().push(sample);
                }
            }
        }
        for depth in [1, 32] {
            for (n, program) in [Program::Ours(&ours), Program::Tgt].into_iter().enumerate() {
                let server = Server::start(program, Medium::PageCache, &image)?;
                let rate = other(&server, depth)?;
                seen.other[n].entry(depth).or_default().push(rate);
            }
        }
    }
    let mut rows = rows(&seen);
    if let Some(agents) = &programs.agents {
        rows.extend(fence::measure(
            agents,
            &programs.meter,
            &ours,
            plan.fencings,
        )?);
    }
    let load = super::machine::load().unwrap_or(f64::NAN);
    Ok(Measured {
        method: method(plan, load),
        rows,
    })
}

/// The disk, and the page cache, as both find them.
fn fill(image: &Path) -> Result<()> {
    let mut file = File::create(image)?;
    let mut piece = vec![0; PIECE];
    for at in 0..SIZE / PIECE {
        piece.fill(at.to_le_bytes()[0] | 1);
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let mut file = File::open(image)?;
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

fn run(
    program: Program<'_>,
    medium: Medium,
    load: &Load,
    image: &Path,
    limit: f64,
    window: Duration,
) -> Result<Sample> {
    let server = Server::start(program, medium, image)?;
    let mut client = load.connect(&server)?;
    let before = server.processor_time()?;
    let (done, took) = load.run(&mut client, SIZE as u64, window)?;
    let spent = server.processor_time()? - before;
    let memory = server.peak_memory()?;
    drop(server);
    // What the kernel still has to write is not left to the next one.
    File::open(image)?.sync_all()?;
    let rate = done / took;
    let sample = Sample {
        rate,
        per_cpu: done / spent.max(0.01),
        memory,
        share: 100.0 * rate / limit,
    };
    eprintln!(
        "storage: {:14} {:10} {:16} {rate:9.0}/s, {:9.0} per CPU s, {memory:6.1} MiB, {:5.1}% of {limit:.0}/s",
        program.name(),
        medium.id(),
        load.id,
        sample.per_cpu,
        sample.share,
    );
    Ok(sample)
}

/// Random reads by `iscsi-perf`.
fn other(server: &Server, depth: usize) -> Result<f64> {
    let output = Command::new("/usr/bin/iscsi-perf")
        .args(["-m", &depth.to_string(), "-b", "8", "-r", "-t", "2"])
        .arg(server.address())
        .output()
        .context("failed to run iscsi-perf (package libiscsi-bin)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    average(&text).with_context(|| format!("iscsi-perf said no average: {text}"))
}

fn average(text: &str) -> Option<f64> {
    let (_, last) = text.rsplit_once("iops average ")?;
    last.split_whitespace().next()?.parse().ok()
}

fn method(plan: Plan, load: f64) -> Vec<String> {
    vec![
        format!(
            "{} runs of {} ms of each, the two targets taking turns on the same image of 512 MiB, each time a \
             new process, over loopback in a network namespace. The machine's load was {load:.1} at the end: \
             load generator and server share its processors with whatever else ran, so that ratios say more than \
             rates.",
            plan.rounds,
            plan.window.as_millis()
        ),
        "tgt (Debian's `tgt`) has its defaults, and `--bsoflags direct` for O_DIRECT. Both have a write \
         cache: nothing is flushed while it is measured. The image was written in pieces of 128 KiB and read."
            .to_owned(),
        "The load comes from Picket's own initiator, one thread and one connection: Debian's fio has no engine for \
         iSCSI. `iscsi-perf` (libiscsi, random reads only) is a second opinion. At depth 32 \
         it is they who limit Picket's rates; commands per second of the server's processor time (/proc/PID/stat) do \
         not depend on them."
            .to_owned(),
        "The limit is the same number of bytes in both directions over a plain TCP connection between two threads, \
         right before, as many in flight.".to_owned(),
        format!(
            "fence_scsi: {} rounds, user and system time with all children; both agents in a mount namespace \
             with a Corosync of their own. Ours talks iSCSI to picket-target; the packaged agent, which only takes \
             device nodes, runs a script of shell built-ins in the place of sg_persist, and `/bin/true` in that \
             of sg_turs: cheaper than a real disk would be.",
            plan.fencings
        ),
    ]
}

fn summary(values: impl Iterator<Item = f64>) -> Option<Summary> {
    Summary::of(&values.collect::<Vec<_>>())
}

/// What is told of each cell: the beginning of its id, in words, its unit, and where it is found.
type Kind = (&'static str, &'static str, Unit, fn(&Sample) -> f64);

const KINDS: [Kind; 3] = [
    ("iops", "", Unit::PerSecond, |s| s.rate),
    ("per-cpu", "per CPU second: ", Unit::PerCpuSecond, |s| {
        s.per_cpu
    }),
    ("limit", "of the raw connection: ", Unit::Percent, |s| {
        s.share
    }),
];

fn rows(seen: &Seen) -> Vec<Row> {
    let of = |side: usize, cell: Cell, pick: fn(&Sample) -> f64| {
        summary(seen.samples[side].get(&cell)?.iter().map(pick))
    };
    let mut rows = Vec::new();
    for (kind, words, unit, pick) in KINDS {
        for medium in Medium::BOTH {
            for load in &LOADS {
                let shape = match load.shape {
                    Shape::Random => format!("d{}", load.depth),
                    Shape::Sequential => "sequential".to_owned(),
                };
                rows.push(Row {
                    id: format!("{kind}/{shape}/{}/{}", medium.id(), load.id),
                    what: format!("{words}{}, {}", load.what(), medium.name()),
                    unit,
                    ours: of(0, (medium, load.id), pick),
                    theirs: of(1, (medium, load.id), pick),
                });
            }
        }
        if kind == "iops" {
            rows.extend([1, 32].map(|depth| Row {
                id: format!("iops/d{depth}/page-cache/iscsi-perf"),
                what: format!("random 4 KiB reads by iscsi-perf, depth {depth}, page cache"),
                unit,
                ours: summary(seen.other[0].get(&depth).into_iter().flatten().copied()),
                theirs: summary(seen.other[1].get(&depth).into_iter().flatten().copied()),
            }));
        }
    }
    for medium in Medium::BOTH {
        let peak = |side: usize| {
            let cells = seen.samples[side].iter();
            let cells = cells.filter(|((of, _), _)| *of == medium);
            summary(cells.filter_map(|(_, samples)| {
                samples.iter().map(|sample| sample.memory).reduce(f64::max)
            }))
        };
        rows.push(Row {
            id: format!("memory/{}", medium.id()),
            what: format!("peak memory over the loads, {}", medium.name()),
            unit: Unit::Mebibytes,
            ours: peak(Side::Ours as usize),
            theirs: peak(Side::C as usize),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_the_last_one_that_iscsi_perf_prints() {
        let text = "iops current 1\rfinished.\niops average 37970 (148 MB/s)   \n";
        assert_eq!(average(text), Some(37970.0));
        assert_eq!(average("cannot log in"), None);
    }
}
