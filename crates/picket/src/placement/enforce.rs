//! `picket placement enforce`: carries the plan out, after it was agreed to, and reads back what came of each step.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::placement::{Obstacle, Outcome, Report, Step, enact};
use clap::Args;
use deadline::Deadline;
use serde::Serialize;

use super::access::Platforms;
use super::{Error, Site, code_of, heard, print_json, print_text, show};
use crate::{exit, plain, setup};

/// The options of `picket placement enforce`.
#[derive(Debug, Args)]
pub(super) struct EnforceArgs {
    /// The definition of the cluster
    definition: PathBuf,

    /// Do not ask before the plan is carried out
    #[arg(long, short)]
    yes: bool,

    /// How long the platform may take to answer a question, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// How long one step may take, in seconds: a guest is moved in it
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=7200))]
    step_timeout: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A step and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Taken {
    #[serde(flatten)]
    pub(super) step: Step,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    cluster: &'a str,
    /// In the order in which they were taken.
    steps: &'a [Taken],
    /// What no step can remedy.
    obstacles: &'a [Obstacle],
    before: &'a Report,
    after: &'a Report,
    exit_code: u8,
}

pub(super) fn run(args: &EnforceArgs, platforms: &Platforms) -> Result<u8, Error> {
    let cancelled = setup::flag_on_signals().map_err(Error::Signals)?;
    let site = Site::open(&args.definition, platforms)?;
    let limit = Duration::from_secs(args.timeout);
    let (seen, before) = site.look(limit);
    let plan = ::placement::plan(&site.wish, &seen);
    if !args.json {
        print_text(&show::plan(&before, &plan))?;
    }
    let carried_out = plan.steps.iter().any(|step| step.held.is_none());
    if carried_out && !args.yes && !agreed(args)? {
        if !args.json {
            print_text("Nothing was changed.\n")?;
        }
        return Ok(exit::DECLINED);
    }
    let step_limit = Duration::from_secs(args.step_timeout);
    let steps = carry_out(&site, &plan.steps, step_limit, &cancelled, &mut |taken| {
        eprintln!("{}", plain::text(&told(taken)));
    });
    let (_, after) = if steps.is_empty() {
        (seen, before.clone())
    } else {
        site.look(limit)
    };
    let undone = steps.len() < plan.steps.len()
        || steps.iter().any(|taken| !taken.outcome.is_done())
        || !plan.obstacles.is_empty();
    let exit_code = match code_of(&after) {
        _ if cancelled.load(Ordering::SeqCst) => exit::CANCELLED,
        exit::SUCCESS | exit::NOT_KEPT_APART if undone => exit::NOT_ENFORCED,
        code => code,
    };
    heard(if args.json {
        print_json(&Document {
            format: 1,
            cluster: &before.cluster,
            steps: &steps,
            obstacles: &plan.obstacles,
            before: &before,
            after: &after,
            exit_code,
        })
    } else if steps.is_empty() {
        Ok(())
    } else {
        print_text(&format!("\n{}", show::report(&after)))
    })?;
    Ok(exit_code)
}

/// Takes the steps in their order. One that fails does not keep the others from being taken; each is a
/// remedy of its own.
pub(super) fn carry_out(
    site: &Site,
    steps: &[Step],
    limit: Duration,
    cancelled: &AtomicBool,
    tell: &mut dyn FnMut(&Taken),
) -> Vec<Taken> {
    let mut all = Vec::with_capacity(steps.len());
    for step in steps {
        if cancelled.load(Ordering::SeqCst) {
            break;
        }
        let outcome = enact(site.platform.as_ref(), step, Deadline::after(limit));
        let taken = Taken {
            step: step.clone(),
            outcome,
        };
        tell(&taken);
        all.push(taken);
    }
    all
}

/// What became of a step, in one line.
pub(super) fn told(taken: &Taken) -> String {
    let how = match &taken.outcome {
        Outcome::Done => "done, and seen to be so".to_owned(),
        Outcome::Already => "it was so already".to_owned(),
        Outcome::AtNextStart => "stored; it takes effect when the guest starts next".to_owned(),
        Outcome::NotInForce { why } => format!("as ordered, and not in force: {why}"),
        Outcome::Held { why } => format!("left to you: {why}"),
        Outcome::Failed(trouble) => format!("failed: {}", trouble.detail),
    };
    format!("{}: {how}", taken.step.text)
}

fn agreed(args: &EnforceArgs) -> Result<bool, Error> {
    if args.json || !io::stdin().is_terminal() {
        return Err(Error::NobodyToAsk);
    }
    let mut err = io::stderr().lock();
    write!(err, "Carry this out? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
