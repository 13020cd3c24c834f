//! A probe at a terminal: what is going on, may it write, and who restarts the target.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use disk::probe::report::Identity;
use disk::probe::{Event, Watcher};

use crate::plain;
use crate::storage::show;

/// How often a restart is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Whoever sits at the terminal, or the options that speak for them.
pub(super) struct Terminal {
    pub(super) cancelled: Arc<AtomicBool>,
    /// The disk may be written to: said by an option.
    pub(super) agreed: bool,
    pub(super) restart_command: Option<String>,
    pub(super) restart_by_hand: bool,
    /// How long a restart may take.
    pub(super) limit: Duration,
}

impl Watcher for Terminal {
    fn event(&mut self, event: Event) {
        let line = match event {
            Event::Found(identity) => show::identity(&identity),
            Event::Trying(what) => format!("{what} …"),
            Event::Checked(check) => {
                format!("  {}: {}", check.title, show::outcome(check.outcome))
            }
            Event::CleaningUp => "putting everything back …".to_owned(),
            _ => return,
        };
        eprintln!("{}", plain::text(&line));
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn consent(&mut self, _: &Identity, place: &str) -> bool {
        let question = format!(
            "Two initiators are about to write to this disk ({place}, put back afterwards) and to change its \
             reservations. Is it a scratch disk that nobody uses? [y/N] "
        );
        self.agreed || matches!(ask(&question).as_deref(), Some("y" | "Y" | "yes"))
    }

    fn restart_target(&mut self) -> Option<Result<(), String>> {
        if let Some(command) = &self.restart_command {
            return Some(run(command, self.limit, &self.cancelled));
        }
        if self.restart_by_hand && io::stdin().is_terminal() {
            let answer = ask("Restart the target now, and press Enter when it is up again: ");
            return Some(answer.map(|_| ()).ok_or_else(|| "no answer".to_owned()));
        }
        None
    }
}

fn ask(question: &str) -> Option<String> {
    let mut err = io::stderr().lock();
    write!(err, "{question}").and_then(|()| err.flush()).ok()?;
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(count) if count > 0 => Some(answer.trim().to_owned()),
        _ => None,
    }
}

/// Runs a command until it ends, the limit passes, or the probe is to end.
fn run(command: &str, limit: Duration, cancelled: &AtomicBool) -> Result<(), String> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().ok_or("the command is empty")?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        // Standard output is for the result.
        .stdout(io::stderr())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let deadline = Deadline::after(limit);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{program}: {status}")),
            Ok(None) if deadline.has_passed() || cancelled.load(Ordering::SeqCst) => {
                // It may have ended at this very moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} did not end in time"));
            }
            Ok(None) => thread::sleep(LOOK),
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
}
