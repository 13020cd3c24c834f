//! `picket lab`: real guests on this machine, from the command line.
//!
//! Progress goes to standard error, results to standard output: a table for people, or with `--json`
//! one document whose field names are an interface.

use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ::lab::{Cache, CacheEntry, Cancel, Event, GuestLog, Lab, LabName, Spec, Stack, Step, Summary};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use deadline::Deadline;
use serde::Serialize;

use crate::drill::Console;
use crate::drill::event::Event as Shown;
use crate::{exit, setup};

/// The options of `picket lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a cluster up in virtual machines; the first time also builds the guests' image
    Up(UpArgs),
    /// Remove a lab, and whatever an interrupted run left of it
    Down(DownArgs),
    /// Show labs, images and saved clusters
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a guest; ends with its exit status, or with 255 if that is unknown
    Exec(ExecArgs),
    /// Show what a guest wrote to its serial console
    Console(ConsoleArgs),
    /// Show a log of a guest, or of the fencing daemon
    Logs(LogsArgs),
}

#[derive(Debug, Args)]
struct Which {
    /// Which lab
    #[arg(long, value_name = "NAME", default_value_t = LabName::default())]
    name: LabName,
}

#[derive(Debug, Args)]
struct UpArgs {
    /// The definition of the cluster
    #[arg(default_value = "examples/web.toml")]
    definition: PathBuf,

    #[command(flatten)]
    which: Which,

    /// Cut or extend the definition to this many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,

    /// Memory of each guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = Spec::DEFAULT_MEMORY_MIB, value_parser = clap::value_parser!(u32).range(320..=65536))]
    memory: u32,

    /// Whose fencing programs are used
    #[arg(long, value_enum, default_value_t = StackKind::Picket)]
    stack: StackKind,

    /// Size of each iSCSI disk of the definition in MiB
    #[arg(long, value_name = "MIB", default_value_t = Spec::DEFAULT_DISK_MIB, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    disk: u32,

    /// Only boot the guests, for `picket apply --lab` to put the cluster on them
    #[arg(long)]
    blank: bool,

    /// Boot and form the cluster anew, even if a saved one could be restored
    #[arg(long)]
    fresh: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DownArgs {
    #[command(flatten)]
    which: Which,

    /// Remove every lab
    #[arg(long, conflicts_with = "name")]
    all: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExecArgs {
    #[command(flatten)]
    which: Which,

    /// How long the command may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,

    /// Where
    node: String,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct ConsoleArgs {
    #[command(flatten)]
    which: Which,

    /// Whose
    node: String,

    /// Go on showing what is written, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Args)]
struct LogsArgs {
    #[command(flatten)]
    which: Which,

    /// A node, or fence_virtd for the daemon outside the guests
    #[arg(value_name = "NODE|fence_virtd")]
    of: String,

    /// Which log of the node
    #[arg(value_enum, default_value_t = LogKind::Pacemaker)]
    log: LogKind,
}

/// Whose fencing programs are used.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StackKind {
    /// Picket's agent and daemon
    Picket,
    /// Debian's C agent and daemon, for comparison
    C,
}

/// A log in a guest.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogKind {
    /// Membership and quorum
    Corosync,
    /// Resources and fencing
    Pacemaker,
    /// What the guest's start script printed
    Start,
}

impl From<LogKind> for GuestLog {
    fn from(kind: LogKind) -> Self {
        match kind {
            LogKind::Corosync => Self::Corosync,
            LogKind::Pacemaker => Self::Pacemaker,
            LogKind::Start => Self::Start,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Lab(#[from] ::lab::Error),
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

impl Error {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Lab(error) => exit::of_lab(error.kind()),
            Self::Setup(error) => error.exit_code(),
            Self::Signals(_) | Self::Unreadable { .. } | Self::Output(_) => exit::FAILED,
        }
    }
}

/// Runs `picket lab`.
#[must_use]
pub fn run(args: &LabArgs) -> ExitCode {
    let (outcome, unknown) = match &args.command {
        Command::Up(args) => (up(args), None),
        Command::Down(args) => (down(args), None),
        Command::List { json } => (list(*json), None),
        Command::Exec(args) => (exec(args), Some(exit::EXEC_FAILED)),
        Command::Console(args) => (console(args), None),
        Command::Logs(args) => (logs(args), None),
    };
    match outcome {
        Ok(code) => exit::code(code),
        // A reader that has gone away wants no result, and no complaint.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            exit::code(exit::SUCCESS)
        }
        Err(error) => {
            Console::new(true).error(&error.to_string());
            exit::code(unknown.unwrap_or_else(|| error.exit_code()))
        }
    }
}

/// The result of `lab up`.
#[derive(Debug, Serialize)]
struct UpReport<'a> {
    format: u32,
    name: &'a LabName,
    origin: ::lab::Origin,
    acceleration: ::lab::Accel,
    stack: Stack,
    nodes: &'a [::lab::Node],
    cluster: Option<&'a ::lab::Form>,
    seconds: f64,
    steps: Vec<StepTook>,
}

#[derive(Debug, Serialize)]
struct StepTook {
    step: Step,
    seconds: f64,
}

fn up(args: &UpArgs) -> Result<u8, Error> {
    let began = Instant::now();
    let mut spec = Spec::new(setup::definition(&args.definition, args.nodes)?);
    spec.name.clone_from(&args.which.name);
    spec.memory_mib = args.memory;
    spec.disk_mib = args.disk;
    spec.blank = args.blank;
    spec.fresh = args.fresh;
    spec.stack = match args.stack {
        StackKind::Picket => Stack::Picket,
        StackKind::C => Stack::C,
    };
    spec.cancel = setup::cancel_on_signals().map_err(Error::Signals)?;
    let mut steps = Vec::new();
    let mut shown = Console::new(args.json);
    let lab = Lab::up(&spec, &mut |event| {
        if let Event::Finished { step, took } = &event {
            steps.push(StepTook {
                step: *step,
                seconds: rounded(*took),
            });
        }
        shown.show(&Shown::Lab { lab: event });
    });
    drop(shown);
    let lab = lab?;
    let report = UpReport {
        format: 1,
        name: lab.name(),
        origin: lab.origin(),
        acceleration: lab.accel(),
        stack: lab.stack(),
        nodes: lab.nodes(),
        cluster: lab.form(),
        seconds: rounded(began.elapsed()),
        steps,
    };
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.text())?;
    }
    Ok(exit::SUCCESS)
}

impl UpReport<'_> {
    fn text(&self) -> String {
        let how = match self.origin {
            ::lab::Origin::Booted => "booted",
            ::lab::Origin::Restored => "restored from its saved state",
            ::lab::Origin::Found => "was up already",
        };
        let mut table = table(&["node", "address", "runs"]);
        for node in self.nodes {
            let runs = self.cluster.map_or_else(String::new, |cluster| {
                let here = cluster.resources.iter().filter(|(_, on)| *on == node.name);
                here.map(|(id, _)| id.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            table.add_row([node.name.clone(), node.address.to_string(), runs]);
        }
        let name = self.name;
        let next = match (self.cluster, self.nodes.first()) {
            (Some(_), Some(node)) => {
                format!(
                    "look around:  picket lab exec --name {name} {} -- crm_mon -1",
                    node.name
                )
            }
            _ => format!("put the cluster on it:  picket apply --lab {name} DEFINITION"),
        };
        format!(
            "lab {name} {how} in {:.1} s\n{table}\n{next}\nremove it:    picket lab down --name {name}\n",
            self.seconds
        )
    }
}

/// The result of `lab down` for one lab.
#[derive(Debug, Serialize)]
struct DownReport {
    name: LabName,
    found: bool,
    processes: usize,
}

fn down(args: &DownArgs) -> Result<u8, Error> {
    let names = if args.all {
        Lab::list()?.into_iter().map(|lab| lab.name).collect()
    } else {
        vec![args.which.name.clone()]
    };
    let mut reports = Vec::new();
    let mut failed = None;
    for name in names {
        match Lab::remove(&name) {
            Ok(removed) => reports.push(DownReport {
                name,
                found: removed.found,
                processes: removed.processes,
            }),
            // The others are removed all the same.
            Err(error) => failed = Some(error),
        }
    }
    if args.json {
        print_json(&reports)?;
    } else {
        for report in &reports {
            print(&if report.found {
                format!(
                    "lab {} removed ({} processes ended)\n",
                    report.name, report.processes
                )
            } else {
                format!("lab {} is not there; nothing to do\n", report.name)
            })?;
        }
    }
    failed.map_or(Ok(exit::SUCCESS), |error| Err(error.into()))
}

/// The result of `lab list`.
#[derive(Debug, Serialize)]
struct Listing {
    format: u32,
    labs: Vec<Summary>,
    cache: PathBuf,
    entries: Vec<CacheEntry>,
}

fn list(json: bool) -> Result<u8, Error> {
    let cache = Cache::of_this_machine();
    let listing = Listing {
        format: 1,
        labs: Lab::list()?,
        entries: cache.entries()?,
        cache: cache.root().to_owned(),
    };
    if json {
        print_json(&listing)?;
    } else {
        print(&listing.text())?;
    }
    Ok(exit::SUCCESS)
}

impl Listing {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.labs.is_empty() {
            text.push_str("no lab is up\n");
        } else {
            let mut labs = table(&[
                "lab",
                "state",
                "nodes",
                "stack",
                "since",
                "processes",
                "memory",
            ]);
            for lab in &self.labs {
                let nodes: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
                labs.add_row([
                    lab.name.to_string(),
                    if lab.up { "up" } else { "left behind" }.to_owned(),
                    nodes.join(" "),
                    lab.stack
                        .map_or_else(String::new, |stack| stack.to_string()),
                    lab.since
                        .map_or_else(String::new, |since| format!("{since:.0}")),
                    lab.processes.to_string(),
                    format!("{} MiB", lab.memory_mib),
                ]);
            }
            text.push_str(&format!("{labs}\n"));
        }
        if self.entries.is_empty() {
            text.push_str(&format!("nothing is cached in {}\n", self.cache.display()));
            return text;
        }
        let mut entries = table(&["cached", "key", "size", "used"]);
        for entry in &self.entries {
            let kind = match entry.kind {
                ::lab::EntryKind::Image => "image",
                ::lab::EntryKind::Saved => "saved cluster",
            };
            entries.add_row([
                kind.to_owned(),
                entry.key.clone(),
                format!("{} MiB", entry.bytes >> 20),
                format!("{:.0}", entry.used),
            ]);
        }
        if let Some(size) = entries.column_mut(2) {
            size.set_cell_alignment(CellAlignment::Right);
        }
        text.push_str(&format!("{entries}\nin {}\n", self.cache.display()));
        text
    }
}

fn exec(args: &ExecArgs) -> Result<u8, Error> {
    let lab = Lab::attach(&args.which.name)?;
    let argv: Vec<&str> = args.command.iter().map(String::as_str).collect();
    let deadline = Deadline::after(Duration::from_secs(args.timeout));
    let output = lab.exec(&args.node, &argv, deadline)?;
    io::stdout()
        .write_all(&output.stdout)
        .map_err(Error::Output)?;
    io::stderr()
        .write_all(&output.stderr)
        .map_err(Error::Output)?;
    Ok(u8::try_from(output.status).unwrap_or(exit::EXEC_FAILED))
}

fn logs(args: &LogsArgs) -> Result<u8, Error> {
    /// A guest that is busy may take its time.
    const PATIENCE: Duration = Duration::from_secs(60);
    let lab = Lab::attach(&args.which.name)?;
    if args.of == "fence_virtd" {
        return show_file(&lab.daemon_log(), None);
    }
    let text = lab.logs(&args.of, args.log.into(), Deadline::after(PATIENCE))?;
    write_plainly(text.as_bytes()).map_err(Error::Output)?;
    Ok(exit::SUCCESS)
}

fn console(args: &ConsoleArgs) -> Result<u8, Error> {
    let lab = Lab::attach(&args.which.name)?;
    let cancel = if args.follow {
        Some(setup::cancel_on_signals().map_err(Error::Signals)?)
    } else {
        None
    };
    show_file(&lab.console(&args.node)?, cancel.as_ref())
}

/// Shows a file; with `follow`, what is added to it too, until that is set.
fn show_file(path: &Path, follow: Option<&Cancel>) -> Result<u8, Error> {
    const PAUSE: Duration = Duration::from_millis(100);
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut shown = 0;
    loop {
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        // A lab that is formed anew begins its consoles anew.
        if file.metadata().map_err(unreadable)?.len() < shown {
            shown = 0;
        }
        file.seek(SeekFrom::Start(shown)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(1 << 20)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        shown += bytes.len() as u64;
        write_plainly(&bytes).map_err(Error::Output)?;
        let done = follow.is_none_or(Cancel::is_set);
        if bytes.is_empty() {
            if done {
                return Ok(exit::SUCCESS);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Writes what a guest said. On a terminal its control characters are left out: a guest is not to move
/// the cursor or worse.
fn write_plainly(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let plain: String = String::from_utf8_lossy(bytes)
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .collect();
        out.write_all(plain.as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    out.flush()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    table
}

fn rounded(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

fn print(text: &str) -> Result<(), Error> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Error::Output)
}

fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Output(error.into()))?;
    print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: LabArgs,
    }

    fn parse(words: &str) -> Result<Command, clap::Error> {
        let words = ["lab"].into_iter().chain(words.split_whitespace());
        Program::try_parse_from(words).map(|program| program.args.command)
    }

    #[test]
    fn a_command_for_a_guest_keeps_its_own_options() {
        let Ok(Command::Exec(args)) = parse("exec --timeout 5 n1 -- crm_mon -1 --json") else {
            panic!("not parsed as exec");
        };
        assert_eq!((args.node.as_str(), args.timeout), ("n1", 5));
        assert_eq!(args.command, ["crm_mon", "-1", "--json"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "exec n1",
            "up --memory 1",
            "up --stack xen",
            "up --name ../x",
            "down --all --name a",
            "logs",
            "logs n1 kernel",
            "start",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_report_says_where_everything_runs() {
        let nodes = [::lab::Node {
            name: "n1".to_owned(),
            address: [10, 9, 0, 1].into(),
        }];
        let cluster = ::lab::Form {
            dc: "n1".to_owned(),
            online: vec!["n1".to_owned()],
            resources: vec![("web.ip".to_owned(), "n1".to_owned())],
            ring: "1.9".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
        };
        let name = LabName::default();
        let report = UpReport {
            format: 1,
            name: &name,
            origin: ::lab::Origin::Restored,
            acceleration: ::lab::Accel::Tcg,
            stack: Stack::Picket,
            nodes: &nodes,
            cluster: Some(&cluster),
            seconds: 3.26,
            steps: Vec::new(),
        };
        insta::assert_snapshot!(report.text());
    }
}
