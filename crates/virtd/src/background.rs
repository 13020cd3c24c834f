//! Going into the background, and telling whoever started the daemon how that went.
//!
//! The first process starts itself again in a session of its own, with a pipe as standard output,
//! and waits. It exits 0 when the second one writes into the pipe, which it does once it listens; if
//! the pipe closes without, the second one has ended and its exit code is the answer. Its messages
//! need no relay: until it listens, both share standard error.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use crate::exit::{self, Failure};

/// The hidden option that makes a process the second one.
pub const CHILD: &str = "background-process";

/// Starts the daemon in the background and waits until it listens.
///
/// # Errors
/// [`Failure`] with the exit code of a daemon that could not start; it has said why itself.
pub fn launch() -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::start(format!(
            "cannot go into the background: {error}; stay in the foreground with -F"
        ))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let (mut ready, writer) = io::pipe().map_err(failed)?;
    let mut child = {
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1))
            .arg(format!("--{CHILD}"))
            .stdin(Stdio::null())
            .stdout(writer);
        command.spawn().map_err(failed)?
    };
    let mut signal = [0; 1];
    if matches!(ready.read(&mut signal), Ok(1)) {
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    Err(Failure {
        code: code_of(status),
        message: String::new(),
    })
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    match code.and_then(|code| u8::try_from(code).ok()) {
        // Ended without listening: that is no success, whatever it says.
        None | Some(exit::SUCCESS) => exit::START_FAILURE,
        Some(code) => code,
    }
}

/// Leaves the terminal's session; the second process does so first of all.
///
/// # Errors
/// When the system refuses.
pub fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Tells the first process that the daemon listens, and lets go of what it had from it.
///
/// # Errors
/// When there is no `/dev/null`.
pub fn announce() -> io::Result<()> {
    let ready = rustix::io::dup(rustix::stdio::stdout())?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")?;
    // If nobody reads any more, nobody needs to know.
    let _ = rustix::io::write(&ready, b"R");
    Ok(())
}
