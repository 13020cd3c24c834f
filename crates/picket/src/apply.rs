//! `picket apply`: puts a cluster's configuration on its machines and starts it.
//!
//! Before anything is changed the definition is measured as `picket check` does, every machine is looked
//! at, and the plan is shown. Progress goes to standard error, the plan and the result to standard output:
//! text for people, or with `--json` one document whose field names are an interface.

mod show;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::lab::{Lab, LabName};
use ::platforms::{Edition, Severity, Verdict};
use clap::Args;
use cluster::{Definition, RenderOptions};
use deploy::{Decision, Desired, Keys, OpenSsh, Options, Plan, ProblemKind, Report, SshSettings};
use serde::Serialize;

use crate::storage::saved::{self, Age};
use crate::{exit, plain, setup};

/// The options of `picket apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The definition of the cluster
    definition: PathBuf,

    /// Do not ask before the plan is carried out
    #[arg(long, short, conflicts_with = "plan")]
    yes: bool,

    /// Only show what would be done
    #[arg(long)]
    plan: bool,

    /// Allow a running cluster to be restarted, where a change needs that
    #[arg(long)]
    restart: bool,

    /// Go on although this rule of `picket check` calls the cluster unsafe; can be given again
    #[arg(long, value_name = "RULE")]
    despite: Vec<String>,

    /// Take no result of a probe of its storage that is so many days old, or older
    #[arg(long, value_name = "DAYS", default_value_t = saved::MAX_AGE, value_parser = clap::value_parser!(u32).range(1..=3650))]
    probe_max_age: u32,

    /// Where the cluster's secrets are kept; made there when there are none. Default: picket/CLUSTER
    /// in the user's state directory
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,

    /// Replace the keys of machines that were given theirs from elsewhere
    #[arg(long)]
    new_keys: bool,

    /// Configuration for ssh, instead of the user's own
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,

    /// A command that ssh is run by, such as "ip netns exec NAME"; its words are separated by blanks
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    ssh_prefix: Option<String>,

    /// The nodes are guests of this lab
    #[arg(long, value_name = "NAME", conflicts_with_all = ["ssh_config", "ssh_prefix", "secrets"])]
    lab: Option<LabName>,

    /// Cut or extend the definition to this many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,

    /// How long all of it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(10..=86400))]
    timeout: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was applied, or not all.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error(transparent)]
    Probe(#[from] saved::Error),
    #[error("--despite {0}: there is no such rule; see `picket explain`")]
    NoSuchRule(String),
    #[error(
        "this cluster is not safe, and nothing was changed:\n{0}\n`picket check` says more; --despite RULE goes on although a rule objects"
    )]
    Unsafe(String),
    #[error(transparent)]
    Lab(#[from] ::lab::Error),
    #[error(transparent)]
    Keys(#[from] deploy::KeysError),
    #[error("nothing was changed: {0}")]
    NotDeployable(#[from] deploy::NotDeployable),
    #[error(transparent)]
    Deploy(#[from] deploy::Error),
    #[error(
        "nothing was changed: the plan must be agreed to, and nobody can be asked here; give --yes"
    )]
    NobodyToAsk,
    #[error("nothing was changed: another apply of this cluster is under way here (it holds {})", .0.display())]
    Busy(PathBuf),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::NoSuchRule(_) | Self::NobodyToAsk => exit::USAGE,
            Self::Unsafe(_) => exit::UNSAFE,
            Self::Lab(error) => exit::of_lab(error.kind()),
            Self::Keys(_) => exit::UNFIT,
            Self::NotDeployable(_) | Self::Probe(_) => exit::DEFINITION,
            Self::Deploy(error) => of_deploy(error),
            Self::Busy(_) => exit::STATE,
            Self::Io { .. } | Self::Signals(_) | Self::Output(_) => exit::FAILED,
        }
    }
}

fn of_deploy(error: &deploy::Error) -> u8 {
    match error {
        deploy::Error::Problems(problems)
            if problems.iter().any(|problem| {
                matches!(
                    problem.kind,
                    ProblemKind::Unreachable | ProblemKind::Unknown
                )
            }) =>
        {
            exit::NOT_REACHED
        }
        deploy::Error::Problems(_) => exit::NOT_READY,
        deploy::Error::NeedsRestart { .. } => exit::NEEDS_RESTART,
        deploy::Error::Declined => exit::DECLINED,
        deploy::Error::RolledBack { .. } => exit::ROLLED_BACK,
        deploy::Error::Incomplete { .. } | deploy::Error::Held { .. } => exit::INCOMPLETE,
        deploy::Error::Unhealthy { .. } | deploy::Error::Unwell { .. } => exit::UNHEALTHY,
        deploy::Error::Cancelled { .. } => exit::CANCELLED,
        deploy::Error::Secrets(_) => exit::UNFIT,
        _ => exit::FAILED,
    }
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    outcome: &'a str,
    verdict: Option<&'a str>,
    plan: Option<&'a Plan>,
    report: Option<&'a Report>,
    error: Option<String>,
    /// Everything that is in the way, where that is why nothing was done.
    problems: &'a [deploy::Problem],
    exit_code: u8,
}

/// What is known so far, for the document.
#[derive(Default)]
struct Known {
    verdict: Option<&'static str>,
    plan: Option<Plan>,
    report: Option<Report>,
}

impl Known {
    /// Whether an administrator keeps something from running.
    fn is_held(&self) -> bool {
        let report = self.report.as_ref();
        report.is_some_and(|report| !report.held.is_empty())
    }
}

/// Runs `picket apply`.
#[must_use]
pub fn run(args: &ApplyArgs) -> ExitCode {
    let mut known = Known::default();
    let outcome = apply(args, &mut known);
    let (code, error) = match &outcome {
        Ok(()) if known.is_held() => (exit::HELD, None),
        Ok(()) => (exit::SUCCESS, None),
        Err(error) => (error.exit_code(), Some(error)),
    };
    let printed = if args.json {
        print_document(&known, code, error)
    } else {
        if let Some(error) = error {
            // Machines' own words are in it.
            eprintln!("error: {}", plain::text(&error.to_string()));
        }
        Ok(())
    };
    match printed {
        // A reader that has gone away wants no result, and no complaint.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: {}", Error::Output(error));
            exit::code(exit::FAILED)
        }
        _ => exit::code(code),
    }
}

fn print_document(known: &Known, exit_code: u8, error: Option<&Error>) -> io::Result<()> {
    let outcome = match (&known.report, error) {
        (_, Some(_)) => "failed",
        (Some(report), None) if report.changed => "applied",
        (Some(_), None) => "unchanged",
        (None, None) => "planned",
    };
    let problems = match error {
        Some(Error::Deploy(deploy::Error::Problems(problems))) => &problems[..],
        _ => &[],
    };
    let document = Document {
        format: 1,
        outcome,
        verdict: known.verdict,
        plan: known.plan.as_ref(),
        report: known.report.as_ref(),
        error: error.map(ToString::to_string),
        problems,
        exit_code,
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document)?;
    writeln!(out)
}

fn apply(args: &ApplyArgs, known: &mut Known) -> Result<(), Error> {
    let mut definition = setup::definition(&args.definition, args.nodes)?;
    let age = Age::of_days(args.probe_max_age);
    saved::take_all(&mut definition, &args.definition, &[], age)?;
    let verdict = ::platforms::check(&definition, Edition::fitting(&definition));
    known.verdict = Some(verdict.outcome.as_str());
    // What loses data today loses it whatever the definition's time: its edition only decides on support.
    let today = ::platforms::check(&definition, Edition::Today);
    permit([&verdict, &today], &args.despite)?;
    let cancel = setup::flag_on_signals().map_err(Error::Signals)?;
    let lab = args.lab.as_ref().map(Lab::attach).transpose()?;
    let mut keys = keys(args, &definition, lab.as_ref())?;
    let desired = desired(&definition, &keys, lab.as_ref())?;
    let transport = transport(args, lab.as_ref())?;
    let options = Options {
        restart: args.restart,
        new_keys: args.new_keys,
        timeout: Duration::from_secs(args.timeout),
        cancel,
        ..Options::default()
    };
    let mut refusal = None;
    let mut lock = None;
    let mut progress = show::Progress::new();
    let quiet = progress.handle();
    let mut decide =
        |plan: &Plan| quiet.pause(|| decide(args, plan, &mut keys, &mut lock, &mut refusal, known));
    let outcome = deploy::apply(
        &desired,
        &transport,
        &options,
        &who(),
        &mut decide,
        &mut |event| progress.show(&event),
    );
    progress.end();
    if let Some(error) = refusal {
        return Err(error);
    }
    match outcome {
        Err(deploy::Error::Declined) if args.plan => Ok(()),
        Err(error) => Err(error.into()),
        Ok(report) => {
            if !args.json {
                show::report(&report).map_err(Error::Output)?;
            }
            known.report = Some(report);
            Ok(())
        }
    }
}

/// What is unsafe is refused, unless every rule that says so was named.
fn permit<'v>(
    verdicts: impl IntoIterator<Item = &'v Verdict>,
    despite: &[String],
) -> Result<(), Error> {
    if let Some(unknown) = despite.iter().find(|id| ::platforms::rule(id).is_none()) {
        return Err(Error::NoSuchRule(unknown.clone()));
    }
    let mut objections: Vec<String> = verdicts
        .into_iter()
        .flat_map(|verdict| &verdict.reasons)
        .filter(|reason| reason.severity == Severity::Unsafe)
        .filter(|reason| !despite.iter().any(|id| id == reason.rule.as_str()))
        .map(|reason| {
            let remedy = reason.remedy.as_ref();
            let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
            format!("  {}: {}{remedy}", reason.rule.as_str(), reason.message)
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    objections.retain(|objection| seen.insert(objection.clone()));
    if objections.is_empty() {
        Ok(())
    } else {
        Err(Error::Unsafe(objections.join("\n")))
    }
}

fn keys(args: &ApplyArgs, definition: &Definition, lab: Option<&Lab>) -> Result<Keys, Error> {
    if let Some(lab) = lab {
        return Ok(lab.keys()?);
    }
    let dir = args.secrets.clone().unwrap_or_else(|| {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let (state, home) = (variable("XDG_STATE_HOME"), variable("HOME"));
        Keys::usual_dir(definition.name.as_str(), state.as_deref(), home.as_deref())
    });
    Ok(Keys::open(&dir)?)
}

/// In a lab the nodes go by their names, and the host is the lab's own matter.
fn desired(definition: &Definition, keys: &Keys, lab: Option<&Lab>) -> Result<Desired, Error> {
    let mut desired = Desired::of(definition, keys, &RenderOptions::default())?;
    if lab.is_some() {
        desired
            .machines
            .retain(|wanted| wanted.machine.role == deploy::Role::Node);
        for wanted in &mut desired.machines {
            let destination = wanted.machine.name.parse();
            wanted.machine.destination =
                destination.map_err(|source| deploy::NotDeployable::Destination {
                    machine: wanted.machine.name.clone(),
                    source,
                })?;
        }
    }
    Ok(desired)
}

fn transport(args: &ApplyArgs, lab: Option<&Lab>) -> Result<OpenSsh, Error> {
    let settings = match lab.map(Lab::ssh) {
        Some(ssh) => SshSettings {
            prefix: ssh.prefix,
            config: Some(ssh.config),
        },
        None => SshSettings {
            prefix: args
                .ssh_prefix
                .iter()
                .flat_map(|prefix| prefix.split_whitespace())
                .map(Into::into)
                .collect(),
            config: args.ssh_config.clone(),
        },
    };
    OpenSsh::new(settings).map_err(|source| Error::Io {
        doing: "make sockets in",
        path: std::env::temp_dir(),
        source,
    })
}

/// Shows the plan and finds out whether it is to be carried out. Only then are new secrets kept.
fn decide(
    args: &ApplyArgs,
    plan: &Plan,
    keys: &mut Keys,
    lock: &mut Option<std::fs::File>,
    refusal: &mut Option<Error>,
    known: &mut Known,
) -> Decision {
    known.plan = Some(plan.clone());
    let mut agree = || -> Result<bool, Error> {
        if !args.json {
            show::plan(plan, known.verdict).map_err(Error::Output)?;
        }
        if args.plan {
            return Ok(false);
        }
        // What needs a restart that was not allowed is refused in any case: nobody is asked.
        let refused = plan.restart.is_some() && !args.restart;
        if plan.is_empty() || refused {
            return Ok(true);
        }
        if !args.yes && !ask(args)? {
            return Ok(false);
        }
        keys.keep()?;
        *lock = lock_out_others(keys.dir())?;
        Ok(true)
    };
    match agree() {
        Ok(true) => Decision::GoOn,
        Ok(false) => Decision::Decline,
        Err(error) => {
            *refusal = Some(error);
            Decision::Decline
        }
    }
}

fn ask(args: &ApplyArgs) -> Result<bool, Error> {
    if args.json || !io::stdin().is_terminal() {
        return Err(Error::NobodyToAsk);
    }
    let mut err = io::stderr().lock();
    write!(err, "Carry this out? [y/N] ")
        .and_then(|()| err.flush())
        .map_err(Error::Output)?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|source| Error::Io {
            doing: "read",
            path: "the answer".into(),
            source,
        })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Two applies from one machine must not mix. A lab has its own order of things.
fn lock_out_others(dir: &Path) -> Result<Option<std::fs::File>, Error> {
    if dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let path = dir.join("lock");
    let io = |source| Error::Io {
        doing: "lock",
        path: path.clone(),
        source,
    };
    let file = std::fs::File::create(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Busy(path)),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Who applies, for the record on the machines.
fn who() -> String {
    let user = std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "root".to_owned());
    let host = rustix::system::uname();
    format!("{user}@{}", host.nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes that both go on: no statement of the document's time speaks of SBD.
    #[test]
    fn an_old_guest_does_not_make_it_safe() {
        let text = "[cluster]\nname = 'c'\n[platform]\nkind = 'kvm'\nos = 'rhel 6.1'\n\
            [guests]\nos = 'rhel 6.1'\nwatchdog = 'i6300esb'\n\
            [options]\nsbd = { devices = [], watchdog_timeout = '5s' }\n\
            [[node]]\nname = 'n1'\naddress = '10.9.0.1'\n[[node]]\nname = 'n2'\naddress = '10.9.0.2'\n";
        let definition = Definition::parse("c.toml", text).unwrap();
        let fitting = ::platforms::check(&definition, Edition::fitting(&definition));
        assert_eq!(fitting.edition, Edition::Document);
        let today = ::platforms::check(&definition, Edition::Today);
        let Err(Error::Unsafe(said)) = permit([&fitting, &today], &[]) else {
            panic!("it was permitted");
        };
        assert!(said.contains("sbd-diskless"), "{said}");
        let twice = permit([&today, &today], &[]).unwrap_err().to_string();
        assert_eq!(twice.matches("sbd-diskless").count(), 1, "{twice}");
        assert!(permit([&fitting, &today], &["sbd-diskless".to_owned()]).is_ok());
    }
}
