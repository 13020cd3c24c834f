//! `picket status`: the state of a running cluster, once or as it changes.
//!
//! ```text
//! arguments ─▶ ask::Target ─▶ observe::gather ─▶ Status ─▶ page::Page ─▶ text, screen, HTML
//!                                                     └───────────────▶ JSON
//! ```
//!
//! The page is made once from a status; a table and HTML are two ways to show it. The field names of
//! the JSON are an interface.

mod ask;
mod html;
mod output;
mod page;
mod screen;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::lab::{Cancel, LabName};
use clap::{Args, ValueEnum};
use deadline::Deadline;
use observe::{Health, Patience, Status};

use crate::drill::Console;
use crate::{exit, setup};
use ask::Target;
use output::Output;

/// How soon a signal is heeded.
const HEED: Duration = Duration::from_millis(50);

/// The options of `picket status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The definition of the cluster; without one, and without --lab, this machine is asked
    #[arg(value_name = "FILE")]
    definition: Option<PathBuf>,

    /// Look again every so many seconds, until Ctrl-C; where the output is no terminal, print what
    /// has changed
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=86400))]
    watch: Option<u64>,

    /// Print JSON; with --watch a line for each change
    #[arg(long)]
    json: bool,

    /// Write a page for browsers to FILE, or to standard output
    #[arg(long, value_name = "FILE|-", conflicts_with = "json")]
    html: Option<PathBuf>,

    /// Let browsers load the page again every so many seconds
    #[arg(long, value_name = "SECONDS", requires = "html", value_parser = clap::value_parser!(u64).range(1..=86400))]
    refresh: Option<u64>,

    /// Ask this node only; may be given several times
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,

    /// Ask the guests of a lab
    #[arg(long, value_name = "NAME", conflicts_with = "ssh_config")]
    lab: Option<LabName>,

    /// The configuration for ssh, instead of your own
    #[arg(long, value_name = "FILE", requires = "definition")]
    ssh_config: Option<PathBuf>,

    /// How long to wait for answers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// When to use colours
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    colour: Colour,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Colour {
    fn is_wanted(self) -> bool {
        match self {
            Self::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Why the status cannot be shown. What it is, is no error.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error(transparent)]
    Lab(#[from] ::lab::Error),
    #[error("there is no node `{name}`; the nodes are {known}")]
    NoSuchNode { name: String, known: String },
    #[error("{machine}: {source}")]
    Destination {
        machine: String,
        source: deploy::BadDestination,
    },
    #[error("what the definition wants of Pacemaker is not understood: {0}")]
    Rendering(String),
    #[error("cannot prepare for ssh: {0}")]
    Ssh(io::Error),
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    #[error("cannot write {}: {source}", path.display())]
    Page { path: PathBuf, source: io::Error },
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::Lab(error) => exit::of_lab(error.kind()),
            Self::NoSuchNode { .. } => exit::USAGE,
            Self::Destination { .. } => exit::DEFINITION,
            Self::Rendering(_)
            | Self::Ssh(_)
            | Self::Signals(_)
            | Self::Page { .. }
            | Self::Output(_) => exit::FAILED,
        }
    }
}

/// Runs `picket status`.
#[must_use]
pub fn run(args: &StatusArgs) -> ExitCode {
    match look(args) {
        Ok(code) => exit::code(code),
        // A reader that has gone away wants nothing more, and no complaint.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            exit::code(exit::SUCCESS)
        }
        Err(error) => {
            Console::new(true).error(&error.to_string());
            exit::code(error.exit_code())
        }
    }
}

/// The exit code for a cluster in this state.
const fn code_of(health: Health) -> u8 {
    match health {
        Health::Healthy => exit::SUCCESS,
        Health::Degraded => exit::DEGRADED,
        Health::NoQuorum => exit::NO_QUORUM,
        Health::Split => exit::SPLIT,
        // What a later version may add is not known to be better.
        _ => exit::UNREACHABLE,
    }
}

fn look(args: &StatusArgs) -> Result<u8, Error> {
    let target = target(args)?;
    let cancel = setup::cancel_on_signals().map_err(Error::Signals)?;
    let patience = Patience {
        limit: Duration::from_secs(args.timeout),
        ..Patience::default()
    };
    let code = follow(args, &target, patience, &cancel);
    target.close();
    code
}

fn follow(
    args: &StatusArgs,
    target: &Target,
    patience: Patience,
    cancel: &Cancel,
) -> Result<u8, Error> {
    let mut output = Output::new(args);
    loop {
        let next = args.watch.map(Duration::from_secs).map(Deadline::after);
        let Some(status) = gather(target, patience, cancel) else {
            return Ok(exit::CANCELLED);
        };
        output.show(&status)?;
        match next {
            None => return Ok(code_of(status.health)),
            Some(next) if wait(next, cancel) => {}
            Some(_) => return Ok(exit::CANCELLED),
        }
    }
}

fn target(args: &StatusArgs) -> Result<Target, Error> {
    let definition = match &args.definition {
        Some(path) => Some(setup::definition(path, None)?),
        None => None,
    };
    let mut target = match (&args.lab, definition) {
        (Some(name), definition) => Target::lab(name, definition.as_ref())?,
        (None, Some(definition)) => Target::over_ssh(&definition, args.ssh_config.as_deref())?,
        (None, None) => Target::this_machine(),
    };
    target.only(&args.nodes)?;
    Ok(target)
}

/// Asks, on a thread of its own, so that Ctrl-C need not wait for machines. `None`: cancelled.
fn gather(target: &Target, patience: Patience, cancel: &Cancel) -> Option<Status> {
    let (sender, receiver) = mpsc::channel();
    let Target {
        inventory, source, ..
    } = target.clone();
    let asking = thread::spawn(move || {
        // Nobody listens any more after a Ctrl-C.
        let _ = sender.send(observe::gather(&inventory, &source, patience));
    });
    loop {
        match receiver.recv_timeout(HEED) {
            Ok(status) => return Some(status),
            Err(RecvTimeoutError::Timeout) if cancel.is_set() => {
                target.source.give_up();
                return None;
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It panicked; so do we.
            Err(RecvTimeoutError::Disconnected) => match asking.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return None,
            },
        }
    }
}

/// Whether `next` came, and not a signal.
fn wait(next: Deadline, cancel: &Cancel) -> bool {
    while !next.has_passed() {
        if cancel.is_set() {
            return false;
        }
        thread::sleep(HEED.min(next.remaining()));
    }
    !cancel.is_set()
}

/// Whether the page goes to standard output.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}
