//! `picket placement watch`: looks at the platform again and again and raises an alarm when two members share a host, or when
//! nobody can say whether they do.
//!
//! ```text
//! look ─▶ assess ─▶ Memory (what was wrong before): raised, again, cleared ─▶ lines, JSON, the alarm program
//!            └─ shared, twice in a row, everybody found, --move ─▶ plan ─▶ moves ─▶ look
//! ```
//!
//! A guest that is being migrated is in two places for a moment. So what is not known is looked at again before it is an
//! alarm; members that were *seen* on one host are one at once.

mod memory;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::placement::{Action, Finding, Report, Seen, State, Step, Weight};
use clap::Args;
use deadline::Deadline;
use jiff::Timestamp;
use sd_notify::NotifyState;
use serde::Serialize;

use self::memory::{Change, Memory};
use super::access::Platforms;
use super::alarm::{Call, Hook};
use super::enforce::{Taken, carry_out, told};
use super::{Error, Site, code_of, print_all, show};
use crate::{exit, plain, setup};

/// How often a signal is heeded.
const HEED: Duration = Duration::from_millis(100);
/// When what is not known is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After moves did not help, how long none is tried.
const REST: Duration = Duration::from_secs(600);

/// The options of `picket placement watch`.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The definition of the cluster
    definition: PathBuf,

    /// The time between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    interval: u64,

    /// Look once, and end with the exit code of what was seen
    #[arg(long)]
    once: bool,

    /// Run this program for each alarm and when it is over, with the event as JSON on its standard input
    #[arg(long, value_name = "PROGRAM")]
    alarm: Option<PathBuf>,

    /// How long the alarm program may run, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    alarm_timeout: u64,

    /// Repeat an alarm that lasts after this time, in seconds; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    remind: u64,

    /// Move members apart that share a host, if the definition allows live migration
    #[arg(long = "move")]
    moves: bool,

    /// How long a move may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=7200))]
    step_timeout: u64,

    /// How long the platform may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// Print events as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// What happened. Its serialised form is an interface.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    /// The first look, and each that found another state than the one before.
    State { state: State, summary: &'a str },
    /// Something is wrong now.
    Alarm { finding: &'a Finding },
    /// It still is.
    Reminder { finding: &'a Finding },
    /// It is over.
    Cleared { finding: &'a Finding },
    /// Something may go wrong.
    Warning { finding: &'a Finding },
    /// A move was tried.
    Moved { step: &'a Taken },
}

impl Event<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::State { .. } => "state",
            Self::Alarm { .. } => "alarm",
            Self::Reminder { .. } => "reminder",
            Self::Cleared { .. } => "cleared",
            Self::Warning { .. } => "warning",
            Self::Moved { .. } => "moved",
        }
    }

    /// syslog(3)'s number for how much it matters.
    const fn priority(&self) -> u8 {
        match self {
            Self::Alarm { .. } | Self::Reminder { .. } => 2,
            Self::Moved { step } if !step.outcome.is_done() => 3,
            Self::Warning { .. } => 4,
            Self::Cleared { .. } | Self::Moved { .. } => 5,
            Self::State { .. } => 6,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::State { summary, .. } => (*summary).to_owned(),
            Self::Alarm { finding } => format!("ALARM: {}", finding.message),
            Self::Reminder { finding } => format!("ALARM, still: {}", finding.message),
            Self::Cleared { finding } => format!("over: {}", finding.message),
            Self::Warning { finding } => format!("warning: {}", finding.message),
            Self::Moved { step } => told(step),
        }
    }

    /// Whether the alarm program hears of it.
    const fn is_for_program(&self) -> bool {
        !matches!(self, Self::State { .. } | Self::Warning { .. })
    }
}

/// An event with its circumstances.
#[derive(Debug, Serialize)]
struct Told<'a> {
    at: Timestamp,
    cluster: &'a str,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// Where events go.
struct Herald {
    cluster: String,
    json: bool,
    /// The journal takes the priority from the line's beginning (sd-daemon(3)).
    to_journal: bool,
    hook: Option<Hook>,
}

impl Herald {
    fn tell(&self, event: &Event<'_>) -> Result<(), Error> {
        let told = Told {
            at: Timestamp::now(),
            cluster: &self.cluster,
            event,
        };
        let json = serde_json::to_string(&told).map_err(io::Error::other)?;
        if event.is_for_program()
            && let Some(hook) = &self.hook
        {
            let call = Call {
                event: event.name(),
                cluster: self.cluster.clone(),
                json: json.clone(),
            };
            if !hook.tell(call) {
                eprintln!("picket: the alarm program is too slow: an event was not told to it");
            }
        }
        let line = if self.json {
            json
        } else {
            let text = plain::text(&event.text()).replace('\n', " ");
            format!("{}: {text}", self.cluster)
        };
        let mark = if self.to_journal {
            format!("<{}>", event.priority())
        } else {
            String::new()
        };
        print_all(&format!("{mark}{line}\n"))
    }
}

pub(super) fn run(args: &WatchArgs, platforms: &Platforms) -> Result<u8, Error> {
    let cancelled = setup::flag_on_signals().map_err(Error::Signals)?;
    let site = Site::open(&args.definition, platforms)?;
    if args.moves && !site.wish.may_move {
        return Err(Error::MayNotMove);
    }
    let hook = match &args.alarm {
        Some(program) => {
            let limit = Duration::from_secs(args.alarm_timeout);
            let hook = Hook::new(program, limit).map_err(|source| Error::NoAlarm {
                program: program.clone(),
                source,
            })?;
            Some(hook)
        }
        None => None,
    };
    let herald = Herald {
        cluster: site.wish.cluster.clone(),
        json: args.json,
        to_journal: std::env::var_os("JOURNAL_STREAM").is_some(),
        hook,
    };
    let remind = Some(args.remind).filter(|seconds| *seconds > 0);
    let mut watch = Watch {
        args,
        site: &site,
        herald,
        memory: Memory::new(remind.map(Duration::from_secs)),
        last: None,
        rest_until: None,
        cancelled: &cancelled,
    };
    watch.go_on()
}

struct Watch<'a> {
    args: &'a WatchArgs,
    site: &'a Site,
    herald: Herald,
    memory: Memory,
    last: Option<State>,
    rest_until: Option<Instant>,
    cancelled: &'a AtomicBool,
}

impl Watch<'_> {
    fn go_on(&mut self) -> Result<u8, Error> {
        let interval = Duration::from_secs(self.args.interval);
        // Nobody but a service manager listens.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        loop {
            let next = Deadline::after(interval);
            let Some((seen, mut report)) = self.look(interval) else {
                return Ok(exit::CANCELLED);
            };
            self.tell(&report)?;
            if self.args.moves
                && report.state == State::Shared
                && !self.is_resting()
                && let Some(after) = self.move_apart(&seen)?
            {
                // Whoever ends the program cuts the look afterwards short: it says nothing.
                if self.is_cancelled() {
                    return Ok(exit::CANCELLED);
                }
                report = after;
                self.tell(&report)?;
            }
            let summary = show::meaning(report.state);
            let _ = sd_notify::notify(&[NotifyState::Status(summary)]);
            if self.args.once {
                return Ok(code_of(&report));
            }
            if !self.wait(next) {
                let _ = sd_notify::notify(&[NotifyState::Stopping]);
                return Ok(exit::CANCELLED);
            }
        }
    }

    /// One look; a second one where the first says that something is not known. None: cancelled.
    fn look(&self, interval: Duration) -> Option<(Seen, Report)> {
        let limit = Duration::from_secs(self.args.timeout);
        let first = self.site.look(limit);
        let unknown = |report: &Report| code_of(report) == exit::PLACES_UNKNOWN;
        if !unknown(&first.1) {
            return Some(first);
        }
        let again = Deadline::after(LOOK_AGAIN.min(interval));
        self.wait(again).then(|| self.site.look(limit))
    }

    fn tell(&mut self, report: &Report) -> Result<(), Error> {
        if self.last.replace(report.state) != Some(report.state) {
            let summary = show::meaning(report.state);
            self.herald.tell(&Event::State {
                state: report.state,
                summary,
            })?;
        }
        for change in self.memory.take(&report.findings, Instant::now()) {
            let event = match &change {
                Change::New(finding) if finding.weight == Weight::Alarm => Event::Alarm { finding },
                Change::New(finding) => Event::Warning { finding },
                Change::Again(finding) => Event::Reminder { finding },
                Change::Over(finding) => Event::Cleared { finding },
            };
            self.herald.tell(&event)?;
        }
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst) || self.site.is_interrupted()
    }

    fn is_resting(&self) -> bool {
        self.rest_until.is_some_and(|until| until > Instant::now())
    }

    /// Moves members apart, if a second look says the same as the first. What is the case then.
    fn move_apart(&mut self, first: &Seen) -> Result<Option<Report>, Error> {
        let limit = Duration::from_secs(self.args.timeout);
        let (seen, report) = self.site.look(limit);
        if seen.members != first.members || seen.members.iter().any(Result::is_err) {
            return Ok(Some(report));
        }
        let plan = ::placement::plan(&self.site.wish, &seen);
        let moves: Vec<Step> = plan
            .steps
            .into_iter()
            .filter(|step| matches!(step.action, Action::Move { .. }))
            .collect();
        if moves.is_empty() {
            return Ok(None);
        }
        let step_limit = Duration::from_secs(self.args.step_timeout);
        let taken = carry_out(self.site, &moves, step_limit, self.cancelled, &mut |_| {});
        for step in &taken {
            self.herald.tell(&Event::Moved { step })?;
        }
        // Also where it helped: somebody else may bring them back each time.
        self.rest_until = Instant::now().checked_add(REST);
        Ok(Some(self.site.look(limit).1))
    }

    /// Whether the time came, and not a signal.
    fn wait(&self, until: Deadline) -> bool {
        while !until.has_passed() {
            if self.cancelled.load(Ordering::SeqCst) {
                return false;
            }
            thread::sleep(HEED.min(until.remaining()));
        }
        !self.cancelled.load(Ordering::SeqCst)
    }
}
