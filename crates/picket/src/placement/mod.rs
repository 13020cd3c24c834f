//! `picket placement`: on which host each member of a cluster runs, what keeps the members apart, and what would.
//!
//! `show` looks, `plan` says what would be changed, `enforce` changes it and reads back, `watch` looks again and again and
//! raises an alarm. What the platform says goes through the crate `placement`; here are the command line and what is shown.

mod access;
mod alarm;
mod enforce;
mod managed;
pub(crate) mod saved;
mod show;
mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::placement::{Report, Seen, State, Weight, Wish, assess, look};
use clap::{Args, Subcommand};
use deadline::Deadline;
use hypervisor::placement::Placement;
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::access::open_platform;
pub use self::access::{OpenLibvirt, Platforms};
use crate::{exit, plain, setup};

/// The options of `picket placement`.
#[derive(Debug, Args)]
pub struct PlacementArgs {
    #[command(subcommand)]
    command: PlacementCommand,
}

#[derive(Debug, Subcommand)]
enum PlacementCommand {
    /// Show on which host each member runs, and what keeps the members apart
    #[command(after_long_help = crate::exit_codes())]
    Show(LookArgs),
    /// Show what would bring the members onto different hosts and keep them there
    #[command(after_long_help = crate::exit_codes())]
    Plan(LookArgs),
    /// Bring the members onto different hosts, and keep them there as far as the platform can
    #[command(after_long_help = crate::exit_codes())]
    Enforce(enforce::EnforceArgs),
    /// Raise an alarm when two members share a host, or when nobody can say whether they do
    #[command(after_long_help = crate::exit_codes())]
    Watch(watch::WatchArgs),
}

/// Which cluster, and how long to wait.
#[derive(Debug, Args)]
struct LookArgs {
    /// The definition of the cluster
    definition: PathBuf,

    /// How long the platform may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command cannot begin, or end as it should.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error(transparent)]
    Access(#[from] access::Error),
    #[error(
        "nothing was changed: the plan must be agreed to, and nobody can be asked here; give --yes"
    )]
    NobodyToAsk,
    #[error(
        "--move: the definition says `live_migration = false`, so members that run are not moved"
    )]
    MayNotMove,
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
    #[error("--alarm {}: {source}", program.display())]
    NoAlarm { program: PathBuf, source: io::Error },
}

impl Error {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::Access(error) => error.exit_code(),
            Self::NobodyToAsk | Self::NoAlarm { .. } => exit::USAGE,
            Self::MayNotMove => exit::DEFINITION,
            Self::Signals(_) | Self::Output(_) => exit::FAILED,
        }
    }
}

/// Runs `picket placement`.
#[must_use]
pub fn run(args: &PlacementArgs, platforms: &Platforms) -> ExitCode {
    let code = match &args.command {
        PlacementCommand::Show(args) => show_it(args, platforms),
        PlacementCommand::Plan(args) => plan_it(args, platforms),
        PlacementCommand::Enforce(args) => enforce::run(args, platforms),
        PlacementCommand::Watch(args) => watch::run(args, platforms),
    };
    match code {
        Ok(code) => exit::code(code),
        // A reader that has gone away wants no complaint; what was to be done was not.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            exit::code(exit::FAILED)
        }
        Err(error) => {
            eprintln!("picket: {}", plain::text(&error.to_string()));
            exit::code(error.exit_code())
        }
    }
}

/// A cluster and the platform it runs on.
struct Site {
    wish: Wish,
    platform: Box<dyn Placement>,
    /// Who is asked.
    asked: String,
    /// A signal has ended the waits for the platform.
    interrupted: Arc<AtomicBool>,
}

impl Site {
    fn open(definition: &Path, platforms: &Platforms) -> Result<Self, Error> {
        let definition = setup::definition(definition, None)?;
        let wish = Wish::of(&definition).map_err(access::Error::from)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let (platform, asked) = access::open(&definition, platforms, &interrupted)?;
        Ok(Self {
            wish,
            platform,
            asked,
            interrupted,
        })
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    fn look(&self, limit: Duration) -> (Seen, Report) {
        let seen = look(self.platform.as_ref(), &self.wish, Deadline::after(limit));
        let report = assess(&self.wish, &seen, &self.asked, Timestamp::now());
        (seen, report)
    }
}

/// The exit code for what was seen.
fn code_of(report: &Report) -> u8 {
    let heaviest = report.findings.first().map(|finding| finding.weight);
    match (report.state, heaviest) {
        (State::Shared, _) => exit::SHARED_HOST,
        (State::Unknown, _) | (_, Some(Weight::Alarm)) => exit::PLACES_UNKNOWN,
        (_, Some(Weight::Warning)) => exit::NOT_KEPT_APART,
        (State::Kept | State::Apart, _) => exit::SUCCESS,
    }
}

fn show_it(args: &LookArgs, platforms: &Platforms) -> Result<u8, Error> {
    let site = Site::open(&args.definition, platforms)?;
    let (_, report) = site.look(Duration::from_secs(args.timeout));
    if site.is_interrupted() {
        return Ok(exit::CANCELLED);
    }
    heard(if args.json {
        print_json(&report)
    } else {
        print_text(&show::report(&report))
    })?;
    Ok(code_of(&report))
}

/// What `picket placement plan --json` prints.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    format: u32,
    cluster: &'a str,
    state: State,
    plan: &'a ::placement::Plan,
}

fn plan_it(args: &LookArgs, platforms: &Platforms) -> Result<u8, Error> {
    let site = Site::open(&args.definition, platforms)?;
    let (seen, report) = site.look(Duration::from_secs(args.timeout));
    if site.is_interrupted() {
        return Ok(exit::CANCELLED);
    }
    let plan = ::placement::plan(&site.wish, &seen);
    heard(if args.json {
        print_json(&Planned {
            format: 1,
            cluster: &report.cluster,
            state: report.state,
            plan: &plan,
        })
    } else {
        print_text(&show::plan(&report, &plan))
    })?;
    // A plan for what is not known as a whole is none.
    let unknown = code_of(&report) == exit::PLACES_UNKNOWN || seen.hosts.is_err();
    Ok(if unknown {
        exit::PLACES_UNKNOWN
    } else {
        exit::SUCCESS
    })
}

/// All is done that was to be done: a reader that has gone away wants nothing more.
fn heard(printed: Result<(), Error>) -> Result<(), Error> {
    match printed {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn print_json(document: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
    text.push('\n');
    print_all(&text)
}

/// Names come from the platform.
fn print_text(text: &str) -> Result<(), Error> {
    print_all(&plain::text(text))
}

fn print_all(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
