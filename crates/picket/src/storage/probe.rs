//! `picket storage probe`: is this disk one that `fence_scsi` can rely on (requirement statement S50).
//!
//! Progress goes to standard error; the table, or with `--json` one document whose field names are an interface, to
//! standard output. The exit code is the verdict's.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use disk::probe::report::{Report, Verdict};
use disk::probe::{ProbeOptions, Probed, Trouble, probe};
use disk::{Address, Certainty, DeviceError};
use jiff::Timestamp;
use serde::Serialize;

use crate::storage::ask::Terminal;
use crate::storage::show;
use crate::{exit, plain, setup};

/// Where this machine's initiator has its name.
const INITIATOR_NAME: &str = "/etc/iscsi/initiatorname.iscsi";
/// The name of a machine that has none.
const NAMELESS: &str = "iqn.2026-11.local.picket";

/// The options of `picket storage probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The disk: iscsi://[USER@]HOST[:PORT]/TARGET/LUN[?secret=FILE], or the device node of a multipath device
    #[arg(value_name = "DEVICE")]
    device: Address,

    /// Write to the disk and change its reservations without asking. It must be a scratch disk; what is
    /// overwritten is put back
    #[arg(long)]
    destructive_ok: bool,

    /// Only ask the disk what it says of itself. That is enough to call it unsafe, never safe. Without a
    /// terminal to ask at, this is what happens
    #[arg(long, conflicts_with = "destructive_ok")]
    read_only: bool,

    /// Go on although somebody is registered. They lose their registrations
    #[arg(long)]
    despite_registrations: bool,

    /// Go on although the disk holds a file system or the like, or is in use on this machine
    #[arg(long)]
    despite_data: bool,

    /// Name of the first iSCSI initiator, which fences. Default: derived from this machine's
    #[arg(long, value_name = "IQN")]
    initiator: Option<String>,

    /// Name of the second iSCSI initiator, which is fenced
    #[arg(long, value_name = "IQN")]
    second_initiator: Option<String>,

    /// A command that restarts the target and returns when it is done, to see what is kept; its words are
    /// separated by blanks
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    restart_command: Option<String>,

    /// Ask for a restart of the target at the terminal, to see what is kept
    #[arg(long, conflicts_with = "restart_command")]
    restart_by_hand: bool,

    /// How long one command may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// How long the target may take to be back after a restart, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    restart_timeout: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Keep the result in a file, for `picket check`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What is printed with `--json`, and kept with `--save`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    /// When it was found out.
    taken: String,
    report: Option<&'a Report>,
    /// Why there is no report, or why it is not complete.
    error: Option<String>,
    exit_code: u8,
}

/// Runs `picket storage probe`.
#[must_use]
pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let outcome = carry_out(args);
    let code = exit_code(&outcome);
    let (report, error) = match &outcome {
        Ok(probed) => (
            Some(&probed.report),
            probed.ended.as_ref().map(|trouble| explain(trouble, true)),
        ),
        Err(trouble) => (None, Some(explain(trouble, false))),
    };
    let document = Document {
        format: 1,
        taken: Timestamp::now().to_string(),
        report,
        error,
        exit_code: code,
    };
    let mut code = code;
    if let (Some(file), Some(_)) = (&args.save, report)
        && let Err(error) = save(file, &document)
    {
        eprintln!("picket: cannot write {}: {error}", file.display());
        code = exit::FAILED;
    }
    if let Err(error) = print(args, &document) {
        eprintln!("picket: cannot write the result: {error}");
        code = exit::FAILED;
    }
    exit::code(code)
}

fn carry_out(args: &ProbeArgs) -> Result<Probed, Trouble> {
    let failed = |error: io::Error| Trouble::Failed(format!("cannot handle signals: {error}"));
    let cancelled = setup::flag_on_signals().map_err(failed)?;
    let asks = !args.json && io::stdin().is_terminal();
    let destructive = args.destructive_ok || asks && !args.read_only;
    let options = ProbeOptions {
        destructive,
        despite_registrations: args.despite_registrations,
        despite_data: args.despite_data,
        initiators: initiators(args),
        timeout: Duration::from_secs(args.timeout),
        restart_timeout: Duration::from_secs(args.restart_timeout),
    };
    let mut terminal = Terminal {
        cancelled,
        agreed: args.destructive_ok,
        restart_command: args.restart_command.clone(),
        restart_by_hand: args.restart_by_hand,
        limit: options.restart_timeout,
    };
    probe(&args.device, &options, &mut terminal)
}

/// The initiators' names: two, as the nodes of a cluster have.
fn initiators(args: &ProbeArgs) -> [String; 2] {
    let machine = disk::initiator::machine_initiator(Path::new(INITIATOR_NAME));
    let machine = machine.unwrap_or_else(|_| NAMELESS.to_owned());
    let name = |given: &Option<String>, number| {
        let derived = || format!("{machine}:probe-{number}");
        given.clone().unwrap_or_else(derived)
    };
    [name(&args.initiator, 1), name(&args.second_initiator, 2)]
}

fn exit_code(outcome: &Result<Probed, Trouble>) -> u8 {
    let probed = match outcome {
        Ok(probed) => probed,
        Err(trouble) => return of_trouble(trouble),
    };
    if !probed.report.left_behind.is_empty() {
        return exit::LEFT_BEHIND;
    }
    match (probed.report.verdict, &probed.ended) {
        // What was seen before it ended is enough.
        (Verdict::Unsafe, _) => exit::UNSAFE,
        (_, Some(Trouble::Cancelled)) => exit::CANCELLED,
        (Verdict::Safe, None) => exit::SUCCESS,
        _ => exit::UNVERIFIED,
    }
}

fn of_trouble(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Open(DeviceError::NoInitiatorName { .. }) => exit::UNFIT,
        Trouble::Open(error) if error.certainty() == Certainty::Refused => exit::FAILED,
        Trouble::Open(_) => exit::NOT_REACHED,
        Trouble::InUse(_) => exit::IN_USE,
        Trouble::Declined => exit::DECLINED,
        Trouble::Cancelled => exit::CANCELLED,
        _ => exit::FAILED,
    }
}

/// A trouble in one line, with what can be done about it. `begun`: the disk had been changed by then.
fn explain(trouble: &Trouble, begun: bool) -> String {
    let mut text = trouble.to_string();
    let mut below = std::error::Error::source(trouble);
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    match trouble {
        Trouble::InUse(_) if begun => {
            text.push_str(". The probe has ended, and put back what it had changed");
        }
        Trouble::InUse(_) => text.push_str(
            ". Nothing was changed. If it is a scratch disk all the same, give --despite-registrations or --despite-data",
        ),
        Trouble::Open(DeviceError::Login { .. }) => text.push_str(
            ". The target must let in both initiators: allow their names there, or choose allowed ones with --initiator and --second-initiator",
        ),
        _ => {}
    }
    plain::text(&text)
}

fn save(file: &Path, document: &Document<'_>) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    // A reader sees the former result or this one, never half of it.
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(directory)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(draft.path(), mode)?;
    draft.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn print(args: &ProbeArgs, document: &Document<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, document)?;
        return writeln!(out);
    }
    if let Some(report) = document.report {
        out.write_all(show::report(report).as_bytes())?;
    }
    if let Some(error) = &document.error {
        eprintln!("picket: {error}");
    }
    out.flush()
}
