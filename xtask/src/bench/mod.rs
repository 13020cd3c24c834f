//! `cargo xtask bench`: figures against other programs, kept in `docs/benchmarks.json` and rendered
//! into `docs/benchmarks.md`.

mod agent;
mod apply;
mod check;
mod cost;
mod daemon;
mod lab;
mod load;
mod machine;
mod management;
mod network;
mod pcs;
mod render;
mod results;
mod site;
mod storage;
mod targets;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::repo::Repo;
use results::{AreaResult, Results, Row};
use site::Side;

const NUMBERS: &str = "docs/benchmarks.json";
const REPORT: &str = "docs/benchmarks.md";

/// A part of the report that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Area {
    /// The agents' CPU and memory.
    Agent,
    /// The daemons under load.
    Daemon,
    /// Kill to service in the lab.
    Lab,
    /// Checking and rendering a large definition.
    Check,
    /// A cluster on blank guests, put there by `picket apply` and by pcs.
    Apply,
    /// The iSCSI target, and fencing at the storage.
    Storage,
    /// Agents for management platforms, and the daemon in front of one.
    Management,
}

impl Area {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 7] = [
        Self::Agent,
        Self::Daemon,
        Self::Lab,
        Self::Check,
        Self::Apply,
        Self::Storage,
        Self::Management,
    ];

    /// The key in the results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Daemon => "daemon",
            Self::Lab => "lab",
            Self::Check => "check",
            Self::Apply => "apply",
            Self::Storage => "storage",
            Self::Management => "management",
        }
    }

    /// The heading in the report.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Agent => "Agents",
            Self::Daemon => "Daemon under load",
            Self::Lab => "Fault to service in the lab",
            Self::Check => "Check and render",
            Self::Apply => "From blank guests to a cluster",
            Self::Storage => "Storage",
            Self::Management => "Management platforms",
        }
    }

    /// What Picket is compared with: the heading of its column.
    pub(crate) const fn peer(self) -> &'static str {
        match self {
            Self::Agent | Self::Daemon | Self::Lab => "C program",
            Self::Check => "–",
            Self::Apply => "pcs",
            Self::Storage => "tgt, packaged agent",
            Self::Management => "packaged agent",
        }
    }

    /// The same as short as targets name it.
    pub(crate) const fn peer_in_targets(self) -> &'static str {
        match self {
            Self::Agent | Self::Daemon | Self::Lab | Self::Check => "C",
            Self::Apply => "pcs",
            Self::Storage | Self::Management => "theirs",
        }
    }
}

/// What one area yields.
pub(crate) struct Measured {
    /// How it was measured.
    pub(crate) method: Vec<String>,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

/// The programs under test.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Our multi-call agent binary; none in a trial before it is built.
    agents: Option<PathBuf>,
    /// Our daemon.
    daemon: Option<PathBuf>,
    /// The C daemon.
    c_daemon: PathBuf,
    /// The command line.
    picket: PathBuf,
    /// The program that tells what another one costs (`spent`).
    meter: PathBuf,
}

impl Programs {
    /// Finds them. A trial does without those of ours that are not built yet.
    fn find(repo: &Repo, trial: bool) -> Result<Self> {
        let ours = |name: &str| {
            let path = repo.release(name);
            (path.exists() || !trial).then_some(path)
        };
        let programs = Self {
            agents: ours("picket-agents"),
            daemon: ours("fence_virtd"),
            c_daemon: PathBuf::from("/usr/sbin/fence_virtd"),
            picket: repo.release("picket"),
            meter: repo.release("spent"),
        };
        let c_agents = ["/usr/sbin/fence_xvm", "/usr/sbin/fence_virt"].map(PathBuf::from);
        let needed = [&programs.agents, &programs.daemon]
            .into_iter()
            .flatten()
            .chain([&programs.c_daemon, &programs.meter])
            .chain(&c_agents);
        for program in needed {
            ensure!(
                program.exists(),
                "{} is missing (the C programs are in the packages fence-virt and fence-virtd)",
                program.display()
            );
        }
        Ok(programs)
    }

    fn daemon(&self, side: Side) -> Option<&Path> {
        match side {
            Side::Ours => self.daemon.as_deref(),
            Side::C => Some(&self.c_daemon),
        }
    }
}

/// How to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which areas; all of them if none is named.
    #[arg(value_enum)]
    areas: Vec<Area>,
    /// A short trial: prints the tables and leaves the report alone.
    #[arg(long)]
    quick: bool,
    /// Do not build the release binaries first.
    #[arg(long)]
    no_build: bool,
    /// Measure nothing: write the report anew from the results that are there.
    #[arg(long)]
    render: bool,
    /// Drills per combination of fault and stack in the lab.
    #[arg(long, default_value_t = 5, value_name = "N")]
    drills: usize,
    /// How often each side puts its cluster on blank guests: minutes each time.
    #[arg(long, default_value_t = 2, value_name = "N")]
    rounds: usize,
}

/// Runs the bench in the release build of this program: a load generator without optimisation
/// would measure itself.
///
/// # Errors
/// As [`run`].
pub(crate) fn start(repo: &Repo, options: &Options) -> Result<()> {
    if !options.no_build && !options.render {
        build(repo)?;
    }
    if cfg!(debug_assertions) && !options.render {
        let status = repo
            .command(&repo.release("xtask").display().to_string())
            .args(std::env::args_os().skip(1))
            .arg("--no-build")
            .status()
            .context("failed to run the release build of xtask")?;
        ensure!(status.success(), "the bench failed");
        return Ok(());
    }
    run(repo, options)
}

/// Runs the areas and writes the report.
///
/// # Errors
/// A program or a privilege is missing, or something does not work; areas that were finished before
/// are in the report all the same. Missed targets are no error: the report says so.
fn run(repo: &Repo, options: &Options) -> Result<()> {
    if options.render {
        return write_report(repo.root(), &Results::load(&repo.root().join(NUMBERS))?);
    }
    let programs = Programs::find(repo, options.quick)?;
    let areas = match options.areas.as_slice() {
        [] => &Area::ALL,
        some => some,
    };
    for area in areas {
        let machine = machine::Machine::observe();
        let measured = measure(*area, repo, &programs, options)
            .with_context(|| format!("failed to measure the {}", area.name()))?;
        let result = AreaResult {
            at: jiff::Timestamp::now(),
            machine,
            method: measured.method,
            rows: measured.rows,
        };
        println!("{}", render::section(*area, &result));
        if !options.quick {
            keep(repo.root(), *area, result)?;
        }
    }
    Ok(())
}

fn measure(area: Area, repo: &Repo, programs: &Programs, options: &Options) -> Result<Measured> {
    match (area, options.quick) {
        (Area::Agent, true) => agent::measure(programs, agent::Plan::QUICK),
        (Area::Agent, false) => agent::measure(programs, agent::Plan::FULL),
        (Area::Daemon, true) => daemon::measure(programs, daemon::Plan::QUICK),
        (Area::Daemon, false) => daemon::measure(programs, daemon::Plan::FULL),
        (Area::Lab, quick) => {
            let drills = if quick { 1 } else { options.drills };
            lab::measure(repo, &programs.picket, drills)
        }
        (Area::Apply, quick) => {
            let rounds = if quick { 1 } else { options.rounds };
            apply::measure(repo, &programs.picket, rounds)
        }
        (Area::Storage, true) => storage::measure(repo, programs, storage::Plan::QUICK),
        (Area::Storage, false) => storage::measure(repo, programs, storage::Plan::FULL),
        (Area::Management, true) => management::measure(repo, programs, management::Plan::QUICK),
        (Area::Management, false) => management::measure(repo, programs, management::Plan::FULL),
        (Area::Check, true) => {
            check::measure(&programs.picket, &programs.meter, check::Plan::QUICK)
        }
        (Area::Check, false) => {
            check::measure(&programs.picket, &programs.meter, check::Plan::FULL)
        }
    }
}

/// Puts one area's results in the place of its earlier ones and renders the report anew.
fn keep(root: &Path, area: Area, result: AreaResult) -> Result<()> {
    let numbers = root.join(NUMBERS);
    let mut results = Results::load(&numbers)?;
    results.areas.insert(area.name().to_owned(), result);
    results.save(&numbers)?;
    write_report(root, &results)
}

fn write_report(root: &Path, results: &Results) -> Result<()> {
    std::fs::write(root.join(REPORT), render::markdown(results))
        .with_context(|| format!("failed to write {REPORT}"))?;
    eprintln!("wrote {REPORT}");
    Ok(())
}

/// Whether the report is what the results say.
///
/// # Errors
/// It is not, or one of the two is missing or unreadable.
pub(crate) fn check_report(repo: &Repo) -> Result<()> {
    let numbers = repo.root().join(NUMBERS);
    let report = repo.root().join(REPORT);
    if !numbers.exists() && !report.exists() {
        return Ok(());
    }
    let wanted = render::markdown(&Results::load(&numbers)?);
    let found = std::fs::read_to_string(&report)
        .with_context(|| format!("failed to read {}", report.display()))?;
    ensure!(
        found == wanted,
        "{REPORT} was changed by hand; `cargo xtask bench --render` writes it anew"
    );
    Ok(())
}

/// Builds what `make build` builds, all of it at once: with fewer packages cargo would choose other
/// features for shared dependencies, and other programs than the shipped ones would be measured.
fn build(repo: &Repo) -> Result<()> {
    repo.cargo(&["build", "--release"])
}
