//! The machine this program runs on.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::source::{MAX_OUTPUT, Machine, Source, Unanswered};

/// Asks this machine, whatever name it is asked by. Corosync's tools answer root only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Source for Local {
    fn ask(&self, _: Machine<'_>, script: &str, deadline: Deadline) -> Result<Vec<u8>, Unanswered> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // All that the script starts can be ended together.
            .process_group(0)
            .spawn()
            .map_err(|error| Unanswered::Local {
                detail: format!("/bin/sh: {error}"),
            })?;
        let output = read(&mut child, deadline);
        end(&mut child);
        output
    }
}

/// Reads to the end of the output; the script keeps it open as long as it runs.
fn read(child: &mut Child, deadline: Deadline) -> Result<Vec<u8>, Unanswered> {
    let lost = |detail: &str| Unanswered::Lost {
        detail: detail.to_owned(),
    };
    let Some(pipe) = child.stdout.as_mut() else {
        return Err(lost("there is no pipe to read from"));
    };
    let mut output = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if deadline.has_passed() {
            return Err(Unanswered::Late);
        }
        let left = Timespec::try_from(deadline.remaining()).ok();
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], left.as_ref()) {
            Ok(0) => continue,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(lost(&error.to_string())),
        }
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(output),
            Ok(count) => output.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(&error.to_string())),
        }
        if output.len() > MAX_OUTPUT {
            return Err(lost("it says more than a cluster can have to say"));
        }
    }
}

fn end(child: &mut Child) {
    // The process is ours and has not been waited for, so its number cannot be another's by now. What
    // has ended already is what is wanted.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn ask(script: &str, limit: Duration) -> Result<Vec<u8>, Unanswered> {
        Local.ask(Machine::Node("here"), script, Deadline::after(limit))
    }

    #[test]
    fn output_comes_back_and_time_is_limited() {
        assert_eq!(
            ask("echo yes", Duration::from_secs(20)),
            Ok(b"yes\n".to_vec())
        );
        let begun = Instant::now();
        let late = ask("echo a; sleep 60 & wait", Duration::from_millis(200));
        assert_eq!(late, Err(Unanswered::Late));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn endless_output_is_cut() {
        let answer = ask("exec yes", Duration::from_secs(60));
        assert!(matches!(answer, Err(Unanswered::Lost { .. })), "{answer:?}");
    }
}
