//! `spent PROGRAM ARGUMENT…`: runs a program once and says what it cost.
//!
//! Prints one line: exit status (or minus the signal), CPU time in nanoseconds (user and system),
//! peak resident memory in kibibytes, and wall time in nanoseconds. The program's own output is
//! thrown away; its messages are not.
//!
//! This is a program of its own because Linux counts the peak memory of whoever starts a program
//! into the program's peak: measured from a large process, every small program looks as large. So
//! the starter must be small, and must fork rather than share its memory until the exec.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: spent PROGRAM ARGUMENT…");
        return ExitCode::from(64);
    };
    match run(Command::new(program).args(arguments)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("spent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &mut Command) -> std::io::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: the closure does nothing. Its presence makes std fork; without it the child would
    // borrow our memory until it execs, and our peak would be counted as its own.
    unsafe { command.pre_exec(|| Ok(())) };
    let began = Instant::now();
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
    let (status, usage) = wait4(pid)?;
    let wall = began.elapsed().as_nanos();
    let cpu = nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        -libc::WTERMSIG(status)
    };
    Ok(format!("{code} {cpu} {} {wall}", usage.ru_maxrss))
}

fn wait4(pid: i32) -> std::io::Result<(i32, libc::rusage)> {
    let mut status = 0;
    // SAFETY: rusage is a struct of integers, for which all-zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live variables of the right type.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited == pid {
            return Ok((status, usage));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn nanoseconds(time: libc::timeval) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_usec * 1_000
}
