//! From process start to exit status: the order of operations every agent shares.
//!
//! ```text
//! signals → options (argv, or stdin until its end) ─┬─ help, version, metadata, manpage → stdout
//!                                                   ├─ wrong options ────────────────→ exit 1
//!                                                   └─ Behaviour::check ─┬─ problems ─→ exit 1
//!                                                      validate-all ─────┴─ none ─────→ exit 0
//!                                                      deadline → delay → Behaviour::run → exit
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use deadline::Deadline;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::{Level, Log};
use crate::options::{Assembled, Options, assemble};
use crate::session::{RUN_LIMIT, ReadError, Session, Signals, read_to_end};
use crate::table::Agent;
use crate::{argv, help, metadata, stdin};

/// What an agent adds to its table.
pub trait Behaviour {
    /// The options as this agent understands them: cannot be wrong any more.
    type Config;

    /// Turns checked options into a configuration, without contacting any device. Every problem
    /// found is reported, not the first one only: `validate-all` shows them all.
    ///
    /// # Errors
    /// The problems, one message each.
    fn check(&self, options: &Options) -> Result<Self::Config, Vec<String>>;

    /// How long the action may take, `delay` not counted.
    fn limit(&self, config: &Self::Config) -> Duration {
        let _ = config;
        RUN_LIMIT
    }

    /// Carries out the action. `delay` has passed already.
    ///
    /// # Errors
    /// The failure; it is logged by the caller and decides the exit status.
    fn run(
        &self,
        config: Self::Config,
        options: &Options,
        session: &mut Session,
    ) -> Result<Exit, Failure>;
}

/// Runs an agent from process start to exit status. `program` is the name it was called by, `args`
/// what follows it.
pub fn start<B: Behaviour>(
    agent: &'static Agent,
    program: &OsStr,
    args: impl Iterator<Item = OsString>,
    behaviour: &B,
) -> Exit {
    let program = base_name(program, agent);
    let log = Log::new(&program, agent.facility);
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return without_session(log, &format!("cannot take over SIGTERM: {error}")),
    };
    let mut session = Session::new(Deadline::after(RUN_LIMIT), signals, log);
    match go(agent, &program, args, behaviour, &mut session) {
        Ok(exit) => exit,
        Err(failure) => {
            session.log().error(&failure.message);
            failure.exit()
        }
    }
}

fn without_session(mut log: Log, problem: &str) -> Exit {
    log.error(problem);
    Exit::FAILED
}

/// The name in metadata, help and logs: what the program was called by, if it says anything.
fn base_name(program: &OsStr, agent: &Agent) -> String {
    let name = Path::new(program)
        .file_name()
        .unwrap_or_else(|| OsStr::from_bytes(agent.name.as_bytes()));
    name.to_string_lossy().into_owned()
}

fn go<B: Behaviour>(
    agent: &'static Agent,
    program: &str,
    args: impl Iterator<Item = OsString>,
    behaviour: &B,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let Assembled {
        options,
        errors,
        warnings,
        from_argv,
    } = read(agent, args, session)?;
    let options = match options {
        Ok(options) => options,
        Err(problem) => {
            let problems = errors.into_iter().chain([problem]);
            return Err(wrong_use(problems, program, session));
        }
    };
    // Discovery must work whatever else a front end sends along; a person's slip is an error.
    if options.action().informative && (errors.is_empty() || !from_argv) {
        return inform(agent, program, options.action().name, session);
    }
    set_up_log(&options, session)?;
    for warning in &warnings {
        session.log().warning(warning);
    }
    if !errors.is_empty() && options.action().name != "validate-all" {
        return Err(wrong_use(errors, program, session));
    }
    let config = match behaviour.check(&options) {
        Ok(config) if errors.is_empty() => config,
        Ok(_) => return Err(wrong_use(errors, program, session)),
        Err(problems) => {
            return Err(wrong_use(
                errors.into_iter().chain(problems),
                program,
                session,
            ));
        }
    };
    if options.action().name == "validate-all" {
        return Ok(Exit::OK);
    }
    let delay = if options.action().delayed {
        options.seconds("delay")
    } else {
        None
    }
    .unwrap_or_default();
    session.set_deadline(Deadline::after(
        delay.saturating_add(behaviour.limit(&config)),
    ));
    if !delay.is_zero() {
        session
            .pause(delay)
            .map_err(|stop| Failure::stopped(stop, "during delay, nothing was done"))?;
    }
    behaviour.run(config, &options, session)
}

/// Options from argv when there is any argument at all, else from standard input.
fn read(
    agent: &'static Agent,
    args: impl Iterator<Item = OsString>,
    session: &Session,
) -> Result<Assembled, Failure> {
    let mut args = args.peekable();
    if args.peek().is_some() {
        return Ok(assemble(agent, argv::read(agent, args)));
    }
    let input = read_to_end(
        rustix::stdio::stdin(),
        stdin::LIMIT,
        session.signals(),
        session.deadline(),
    )
    .map_err(ReadError::failure)?;
    Ok(assemble(agent, stdin::read(agent, &input)))
}

/// Answers from the table alone.
fn inform(
    agent: &'static Agent,
    program: &str,
    action: &str,
    session: &Session,
) -> Result<Exit, Failure> {
    let text = match action {
        "help" => help::render(agent, program),
        "version" => format!("{}\n", agent.version),
        // FenceAgentAPI's `manpage` is the same document, for tools that turn it into a page.
        _ => metadata::render(agent, program),
    };
    session.print(&text).map(|()| Exit::OK)
}

fn set_up_log(options: &Options, session: &mut Session) -> Result<(), Failure> {
    let count = ["verbose_level", "verbose", "debug"]
        .iter()
        .find_map(|name| options.number(name));
    if count.unwrap_or_default() > 0 {
        session.log().set_level(Level::Debug);
    }
    if options.flag("quiet") {
        session.log().quiet();
    }
    if let Some(path) = options.text("debug_file") {
        session.log().open_file(path).map_err(|error| {
            Failure::usage(format!("cannot write debug file `{path}`: {error}"))
        })?;
    }
    Ok(())
}

/// Logs every problem, and ends the run with where to read on.
fn wrong_use(
    problems: impl IntoIterator<Item = String>,
    program: &str,
    session: &mut Session,
) -> Failure {
    for problem in problems {
        session.log().error(&problem);
    }
    Failure::usage(format!(
        "nothing was done; `{program} -h` explains the options"
    ))
}
