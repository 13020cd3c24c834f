//! `picket drill`: proves that a failure ends in recovery.
//!
//! | module | knows |
//! |---|---|
//! | `perform` | how to do a drill: lab, client, fault, waiting, collecting; nothing of showing |
//! | [`probe`] | the client |
//! | [`logs`] | what log lines mean; no files, no guests |
//! | [`timeline`] | stages, verdicts, reports; no logs, no lab |
//! | `site` | the seam to the guests |
//! | [`event`] | the contract between doing and showing |
//! | `show` | terminals and JSON; nothing of doing |

pub mod event;
pub mod logs;
mod perform;
pub mod probe;
mod show;
mod site;
pub mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lab::{LabName, Spec, Stack};

pub use perform::{Error, Plan, perform};
pub use show::{Console, summary_table, table};

use crate::exit;
use crate::setup;
use timeline::{Report, Verdict};

/// The options of `picket drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The definition of the cluster
    #[arg(default_value = "examples/web.toml")]
    definition: PathBuf,

    /// Which lab
    #[arg(long, value_name = "NAME", default_value_t = LabName::default())]
    name: LabName,

    /// What happens to the node
    #[arg(long, value_enum, default_value_t = FaultKind::Panic)]
    fault: FaultKind,

    /// Which node fails; without it, the one that runs the service
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Cut or extend the definition to this many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,

    /// Whose fencing programs are used
    #[arg(long, value_enum, default_value_t = StackKind::Picket)]
    stack: StackKind,

    /// Do the drill this many times, each on a fresh lab, and show the medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// What is kept going while the node fails
    #[arg(long, value_enum, default_value_t = Load::Client)]
    load: Load,

    /// How long the recovery may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,

    /// Leave the lab up afterwards; `picket lab down` removes it
    #[arg(long)]
    keep: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What happens to the node.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FaultKind {
    /// Its kernel panics
    Panic,
    /// Its QEMU process is stopped: the guest hangs
    Hang,
}

/// What is kept going while the node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Load {
    /// A client asks for the service's page
    Client,
    /// All nodes write to the shared file system, which is checked afterwards
    Storage,
}

/// Whose fencing programs are used.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StackKind {
    /// Picket's agent and daemon
    Picket,
    /// Debian's C agent and daemon, for comparison; it leaves no evidence
    C,
}

impl DrillArgs {
    /// From what was typed to what is to be done. Has no effect but reading the definition.
    fn plan(&self, cancel: lab::Cancel) -> Result<Plan, setup::Error> {
        let definition = setup::definition(&self.definition, self.nodes)?;
        let node = self
            .node
            .clone()
            .map(cluster::NodeName::try_from)
            .transpose()?;
        let mut spec = Spec::new(definition);
        spec.name = self.name.clone();
        spec.cancel = cancel;
        spec.stack = match self.stack {
            StackKind::Picket => Stack::Picket,
            StackKind::C => Stack::C,
        };
        Ok(Plan {
            spec,
            fault: match self.fault {
                FaultKind::Panic => lab::Fault::Panic,
                FaultKind::Hang => lab::Fault::Hang,
            },
            node,
            keep: self.keep,
            limit: Duration::from_secs(self.limit),
            lag: Plan::LAG,
        })
    }
}

/// Runs `picket drill`.
#[must_use]
pub fn run(args: &DrillArgs) -> ExitCode {
    let mut console = Console::new(args.json);
    let cancel = match setup::cancel_on_signals() {
        Ok(cancel) => cancel,
        Err(error) => {
            console.error(&format!("cannot handle signals: {error}"));
            return exit::code(exit::FAILED);
        }
    };
    let mut plan = match args.plan(cancel) {
        Ok(plan) => plan,
        Err(error) => {
            console.error(&error.to_string());
            return exit::code(error.exit_code());
        }
    };
    if args.load == Load::Storage {
        return storage(args, &plan, console);
    }
    let mut reports = Vec::new();
    let mut code = exit::SUCCESS;
    for run in 1..=args.runs {
        if args.runs > 1 {
            console.show(&event::Event::Run { run, of: args.runs });
        }
        // All runs but the last begin with what `up` makes of nothing.
        plan.keep = args.keep && run == args.runs;
        let outcome = perform(&plan, &mut |event| {
            if let event::Event::Finished { report } = &event {
                reports.push(report.as_ref().clone());
            }
            console.show(&event);
        });
        code = match outcome {
            Ok(report) => worse(code, exit_code(report.verdict)),
            Err(error) => {
                console.error(&error.to_string());
                code = error.exit_code();
                break;
            }
        };
    }
    console.end(&args.definition, &reports);
    exit::code(code)
}

/// Runs `picket drill --load storage`.
fn storage(args: &DrillArgs, plan: &Plan, mut console: Console) -> ExitCode {
    if args.runs > 1 {
        console.error("--runs: a drill of shared storage is done once");
        return exit::code(exit::USAGE);
    }
    let outcome = perform::storage::perform(plan, &mut |event| console.show(&event));
    match outcome {
        Ok(report) => {
            drop(console);
            let shown = if args.json {
                serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
            } else {
                show::storage(&report)
            };
            // A reader that has gone away wants no result.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), shown.as_bytes());
            exit::code(exit_code(report.verdict))
        }
        Err(error) => {
            console.error(&error.to_string());
            exit::code(error.exit_code())
        }
    }
}

/// The exit code of a verdict.
#[must_use]
pub const fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Recovered | Verdict::RecoveredUnproven => exit::SUCCESS,
        Verdict::NotProven => exit::NOT_PROVEN,
        Verdict::NotRecovered => exit::NOT_RECOVERED,
        Verdict::DataLost => exit::DATA_LOST,
        Verdict::NotKnown => exit::NOT_KNOWN,
    }
}

/// Of several runs the gravest outcome counts: a recovery without proof may mean two running nodes.
const fn worse(a: u8, b: u8) -> u8 {
    if a > b { a } else { b }
}

impl Error {
    /// The exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoService | Self::NoSurvivor(_) | Self::NoSharedFilesystem => exit::DEFINITION,
            Self::NoSuchNode { .. } => exit::USAGE,
            Self::NotAnswering { .. } | Self::NotWriting { .. } | Self::Writer(_) => exit::FAILED,
            Self::Lab(error) => exit::of_lab(error.kind()),
            Self::Cancelled => exit::CANCELLED,
        }
    }
}

/// What `--json` prints. The names of its fields are an interface.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    /// The version of this format.
    format: u32,
    /// The file that was drilled.
    definition: String,
    /// One report per run that came to an end.
    runs: &'a [Report],
    /// The medians over the runs, in seconds.
    medians: timeline::Stages,
}
