//! Other programs' answers: `corosync-cmapctl`, `vgs`.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use deadline::Deadline;
use fence_agent::{Failure, FailureKind, Session, Wake};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The most that is read of either stream.
const LIMIT: usize = 1024 * 1024;

/// Runs a program without a shell and gives what it printed.
///
/// # Errors
/// If it cannot be started, fails, prints without end, or takes longer than `limit`. It is ended then.
pub(crate) fn output(
    program: &str,
    args: &[&str],
    limit: Deadline,
    session: &Session,
) -> Result<String, Failure> {
    let mut child = Command::new(program)
        .args(args)
        .env("LANG", "C")
        .env("LC_ALL", "C")
        // Warnings of LVM about descriptors it did not expect.
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::unreachable(format!("cannot run {program}: {error}")))?;
    let read = finish(&mut child, program, limit, session);
    if read.is_err() {
        // It may have ended meanwhile; then there is nothing to kill, and waiting only collects it.
        let _ = child.kill();
        let _ = child.wait();
    }
    read
}

/// One of a program's streams, as far as it has been read.
struct Stream {
    /// `None` at its end.
    pipe: Option<File>,
    said: Vec<u8>,
}

impl Stream {
    fn new(pipe: Option<impl Into<OwnedFd>>) -> Self {
        Self {
            pipe: pipe.map(|pipe| File::from(pipe.into())),
            said: Vec::new(),
        }
    }

    /// Reads what is there.
    fn take(&mut self, program: &str) -> Result<(), Failure> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut chunk = [0; 4096];
        let count = pipe
            .read(&mut chunk)
            .map_err(|error| Failure::unreachable(format!("{program}: {error}")))?;
        self.said
            .extend_from_slice(chunk.get(..count).unwrap_or_default());
        if self.said.len() > LIMIT {
            return Err(Failure::refused(format!(
                "{program} printed more than {LIMIT} bytes"
            )));
        }
        if count == 0 {
            self.pipe = None;
        }
        Ok(())
    }
}

/// Reads both streams to their ends, and waits for the program's.
fn finish(
    child: &mut Child,
    program: &str,
    limit: Deadline,
    session: &Session,
) -> Result<String, Failure> {
    let mut streams = [
        Stream::new(child.stdout.take()),
        Stream::new(child.stderr.take()),
    ];
    while streams.iter().any(|stream| stream.pipe.is_some()) {
        for at in ready(&streams, program, limit, session)? {
            streams[at].take(program)?;
        }
    }
    await_end(child, program, limit, session)?;
    let status = child
        .wait()
        .map_err(|error| Failure::unreachable(format!("{program}: {error}")))?;
    let [out, err] = streams.map(|stream| String::from_utf8_lossy(&stream.said).into_owned());
    if status.success() {
        return Ok(out);
    }
    Err(Failure::refused(format!(
        "{program} failed ({status}): {}",
        err.trim()
    )))
}

/// Which streams have something to read. Ended ones are not asked: they would always be ready.
fn ready(
    streams: &[Stream; 2],
    program: &str,
    limit: Deadline,
    session: &Session,
) -> Result<Vec<usize>, Failure> {
    let (mut places, mut fds) = (Vec::new(), Vec::new());
    for (at, stream) in streams.iter().enumerate() {
        if let Some(pipe) = &stream.pipe {
            places.push(at);
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
    }
    wait(session, &mut fds, program, limit)?;
    let ready = places
        .into_iter()
        .zip(&fds)
        .filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(at, _)| at).collect())
}

/// A program may close its streams and go on running.
fn await_end(
    child: &Child,
    program: &str,
    limit: Deadline,
    session: &Session,
) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::unreachable(format!("{program}: {error}"));
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed(&"no such process"))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(&error))?;
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    wait(session, &mut fds, program, limit)
}

fn wait<'a>(
    session: &'a Session,
    fds: &mut [PollFd<'a>],
    program: &str,
    limit: Deadline,
) -> Result<(), Failure> {
    let doing = || format!("waiting for {program}");
    match session.wait(fds, limit) {
        Ok(Wake::Ready) => Ok(()),
        Ok(Wake::Elapsed) => Err(Failure::new(
            FailureKind::TimedOut,
            format!("timed out {}", doing()),
        )),
        Err(stop) => Err(Failure::stopped(stop, doing())),
    }
}
