//! Children of this process that have been waited for long enough.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// Ends this process's own children that run the program `name`. Whoever started them still waits for
/// them, and sees them end.
pub(super) fn end(name: &str) {
    for child in children() {
        let Ok(handle) = pidfd_open(child, PidfdFlags::empty()) else {
            continue;
        };
        // Asked after the handle is open: it cannot be another process's by then.
        if is_ours(child, name) {
            // It may have ended meanwhile, which is what is wanted.
            let _ = pidfd_send_signal(&handle, Signal::TERM);
        }
    }
}

fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            let pids = pids.split_whitespace();
            pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `PID (NAME) STATE PARENT …`
fn is_ours(child: Pid, name: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
    let Ok(stat) = stat else {
        return false;
    };
    let parts = stat
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(") "));
    parts.is_some_and(|(comm, rest)| {
        let parent = rest.split_whitespace().nth(1);
        comm == name && parent == Some(&getpid().as_raw_nonzero().to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn only_children_of_that_name_end() {
        let start = |name: &str| {
            // The name of a process is that of its program's file.
            let link = std::env::temp_dir().join(format!("{name}{}", std::process::id()));
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink("/bin/sleep", &link).expect("a link");
            (
                Command::new(&link).arg("60").spawn().expect("it starts"),
                link,
            )
        };
        let (mut one, link) = start("one");
        let (mut other, other_link) = start("two");
        let name = link
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let kernels: String = name.chars().take(15).collect();
        super::end(&kernels);
        assert_eq!(one.wait().expect("it ends").signal(), Some(15));
        assert!(other.try_wait().expect("a child").is_none());
        other.kill().expect("a child");
        let _ = other.wait();
        for link in [link, other_link] {
            std::fs::remove_file(link).expect("one's own link");
        }
    }
}
