//! The program that hears of alarms: run once for each event, with the event as JSON on its standard input.
//!
//! It is run by a thread of its own, one run after the other, so that a slow one delays no look at the platform. What does
//! not fit into its queue is dropped, and said so.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use deadline::Deadline;
use rustix::process::{Pid, Signal, kill_process_group};

/// Events that wait for the program.
const QUEUE: usize = 64;
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// One event for the program.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// What kind of event, for the environment.
    pub(super) event: &'static str,
    /// The cluster, for the environment.
    pub(super) cluster: String,
    /// The event as one line of JSON.
    pub(super) json: String,
}

/// The program, and the thread that runs it.
#[derive(Debug)]
pub(super) struct Hook {
    sender: Option<SyncSender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Hook {
    /// Prepares to run `program`, each time for at most `limit`.
    ///
    /// # Errors
    /// When it is no file that can be executed, or there is no thread.
    pub(super) fn new(program: &Path, limit: Duration) -> io::Result<Self> {
        rustix::fs::access(program, rustix::fs::Access::EXEC_OK)?;
        if program.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let (sender, calls) = mpsc::sync_channel::<Call>(QUEUE);
        let program = program.to_owned();
        let run = move || {
            for call in calls {
                if let Err(why) = run(&program, &call, limit) {
                    eprintln!("picket: the alarm program {}: {why}", program.display());
                }
            }
        };
        let thread = thread::Builder::new().name("alarm".to_owned()).spawn(run)?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Lets the program hear of an event; whether there is room for it.
    pub(super) fn tell(&self, call: Call) -> bool {
        let Some(sender) = &self.sender else {
            return false;
        };
        !matches!(sender.try_send(call), Err(TrySendError::Full(_)))
    }
}

impl Drop for Hook {
    /// What was told is heard: each run ends by its own limit.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn run(program: &PathBuf, call: &Call, limit: Duration) -> Result<(), String> {
    let mut child = Command::new(program)
        .env("PICKET_EVENT", call.event)
        .env("PICKET_CLUSTER", &call.cluster)
        .stdin(Stdio::piped())
        // Standard output is for events.
        .stdout(io::stderr())
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A line fits into a pipe, so this never waits. A program that does not read it need not.
        let _ = writeln!(input, "{}", call.json);
    }
    let deadline = Deadline::after(limit);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if deadline.has_passed() => {
                end(&mut child);
                return Err(format!("it did not end within {} s", limit.as_secs()));
            }
            Ok(None) => thread::sleep(LOOK),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Ends it and what it started.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended at this very moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;

    fn program(dir: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = dir.path().join("alarm");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn call(json: &str) -> Call {
        Call {
            event: "alarm",
            cluster: "web".to_owned(),
            json: json.to_owned(),
        }
    }

    #[test]
    fn it_hears_each_event_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let text = format!(
            "#!/bin/sh\n{{ echo \"$PICKET_EVENT $PICKET_CLUSTER\"; cat; }} >>{}\n",
            log.display()
        );
        let hook = Hook::new(&program(&dir, &text), Duration::from_secs(20)).unwrap();
        assert!(hook.tell(call("{\"a\":1}")) && hook.tell(call("{\"a\":2}")));
        drop(hook);
        assert_eq!(
            fs::read_to_string(log).unwrap(),
            "alarm web\n{\"a\":1}\nalarm web\n{\"a\":2}\n"
        );
    }

    #[test]
    fn one_that_hangs_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(&dir, "#!/bin/sh\nsleep 600 & sleep 600\n");
        let begun = Instant::now();
        let error = run(&path, &call("{}"), Duration::from_millis(300)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_cannot_be_run_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Hook::new(dir.path(), Duration::from_secs(1)).is_err());
        assert!(Hook::new(&dir.path().join("none"), Duration::from_secs(1)).is_err());
    }
}
