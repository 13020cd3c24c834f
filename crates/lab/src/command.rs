//! Calling other programs: argument vectors only, a deadline for each, and an end to all of them when
//! the user cancels.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadline::Deadline;

use crate::error::Error;

/// How often a condition is looked at again while waiting for it.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A request to stop, set from elsewhere: a signal handler, another thread.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that nobody sets.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// One that is set when `flag` is.
    #[must_use]
    pub const fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// What it is set by, for others who look at it.
    pub(crate) const fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// Requests the stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if a stop was requested.
    pub(crate) fn check(&self, doing: &str) -> Result<(), Error> {
        if self.is_set() {
            Err(Error::Cancelled {
                doing: doing.to_owned(),
            })
        } else {
            Ok(())
        }
    }
}

/// Waits until `ready` yields a value, looking every [`POLL`].
///
/// # Errors
/// What `ready` fails with, [`Error::Cancelled`], or [`Error::DeadlinePassed`] with what `saw` says then.
pub(crate) fn wait_for<T>(
    doing: &str,
    deadline: Deadline,
    cancel: &Cancel,
    mut ready: impl FnMut() -> Result<Option<T>, Error>,
    saw: impl FnOnce() -> String,
) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        cancel.check(doing)?;
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if deadline.has_passed() {
            return Err(Error::DeadlinePassed {
                doing: doing.to_owned(),
                after: began.elapsed(),
                detail: saw(),
            });
        }
        std::thread::sleep(POLL.min(deadline.remaining()));
    }
}

/// A program to be called, with its arguments.
pub(crate) struct Call {
    command: Command,
    program: String,
}

/// What a program left behind.
pub(crate) struct Called {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Called {
    /// Standard output as text, without the line end.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

impl Call {
    /// `program` with `args`. Its input is empty, its language plain.
    pub(crate) fn new<S: AsRef<std::ffi::OsStr>>(
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            // A Ctrl-C is for us: we end what we started, in order.
            .process_group(0);
        Self {
            command,
            program: program.to_owned(),
        }
    }

    /// `program` in a session of its own: a terminal that goes away does not take it along.
    pub(crate) fn detached(program: &str) -> Self {
        // setsid(1) stays the same process as long as it does not lead a process group already.
        let mut command = Command::new("setsid");
        command
            .arg(program)
            .stdin(Stdio::null())
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/");
        Self {
            command,
            program: program.to_owned(),
        }
    }

    /// With one more argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Runs it to the end, at the latest at `deadline`; what it printed is kept in memory.
    ///
    /// # Errors
    /// [`Error::Program`] unless it exits with 0, [`Error::DeadlinePassed`], [`Error::Cancelled`]. In
    /// the last two cases its whole process group has been ended.
    pub(crate) fn run(
        self,
        doing: &str,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Called, Error> {
        let program = self.program.clone();
        let (status, called) = self.run_any(doing, deadline, cancel)?;
        if status.success() {
            return Ok(called);
        }
        Err(Error::Program {
            program,
            doing: doing.to_owned(),
            detail: describe(status, &called.stderr),
        })
    }

    /// As [`Call::run`], but any exit status will do.
    pub(crate) fn run_any(
        mut self,
        doing: &str,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(ExitStatus, Called), Error> {
        // Files, not pipes: whatever a program leaves running in the background cannot keep us waiting.
        let mut out = scratch()?;
        let mut err = scratch()?;
        self.command
            .stdout(
                out.try_clone()
                    .map_err(Error::io("use", "a temporary file"))?,
            )
            .stderr(
                err.try_clone()
                    .map_err(Error::io("use", "a temporary file"))?,
            );
        let mut child = self.spawn()?;
        let status = finish(&mut child, doing, deadline, cancel)?;
        let called = Called {
            stdout: read_back(&mut out)?,
            stderr: String::from_utf8_lossy(&read_back(&mut err)?).into_owned(),
        };
        Ok((status, called))
    }

    /// Starts it with everything it prints appended to `log`, and does not wait for it.
    pub(crate) fn daemon(mut self, log: &Path) -> Result<Child, Error> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io("open", log))?;
        let copy = file.try_clone().map_err(Error::io("open", log))?;
        self.command.stdout(file).stderr(copy);
        self.spawn()
    }

    /// Starts it, as prepared.
    pub(crate) fn spawn(&mut self) -> Result<Child, Error> {
        self.command.spawn().map_err(|source| Error::Program {
            program: self.program.clone(),
            doing: "to start".to_owned(),
            detail: source.to_string(),
        })
    }
}

/// Waits for `child`; ends its process group when the deadline passes or the user cancels.
pub(crate) fn finish(
    child: &mut Child,
    doing: &str,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<ExitStatus, Error> {
    let ended = wait_for(
        doing,
        deadline,
        cancel,
        || child.try_wait().map_err(Error::io("wait for", doing)),
        String::new,
    );
    if ended.is_err() {
        end_group(child);
    }
    ended
}

/// Ends `child` and everything in its process group, and waits for the child.
pub(crate) fn end_group(child: &mut Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // The child has not been waited for, so its number, and that of its group, is still its own.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// An exit status and the end of an error output, in one line.
pub(crate) fn describe(status: ExitStatus, stderr: &str) -> String {
    const KEPT: usize = 6;
    let lines: Vec<_> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = lines[lines.len().saturating_sub(KEPT)..].join(" · ");
    if tail.is_empty() {
        status.to_string()
    } else {
        format!("{tail} ({status})")
    }
}

/// An unnamed file in memory.
fn scratch() -> Result<File, Error> {
    rustix::fs::memfd_create("picket-lab", rustix::fs::MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|error| Error::Io {
            doing: "create",
            path: "a temporary file".into(),
            source: error.into(),
        })
}

/// The contents of a scratch file, at most 16 MiB.
fn read_back(file: &mut File) -> Result<Vec<u8>, Error> {
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(LIMIT).read_to_end(&mut bytes))
        .map_err(Error::io("read back", "a temporary file"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let error = Call::new("ls", ["/nonexistent-path"])
            .run("looking", soon(), &Cancel::never())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("`ls` failed looking") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended_at_the_deadline() {
        let began = Instant::now();
        let result = Call::new("sleep", ["60"]).run(
            "sleeping",
            Deadline::after(Duration::from_millis(100)),
            &Cancel::never(),
        );
        assert!(matches!(result, Err(Error::DeadlinePassed { .. })));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn cancelling_ends_a_program() {
        let cancel = Cancel::never();
        cancel.set();
        let result = Call::new("sleep", ["60"]).run("sleeping", soon(), &cancel);
        assert!(matches!(result, Err(Error::Cancelled { .. })));
    }

    #[test]
    fn output_is_kept() {
        let called = Call::new("echo", ["a b"])
            .run("echoing", soon(), &Cancel::never())
            .unwrap();
        assert_eq!(called.text(), "a b");
    }
}
