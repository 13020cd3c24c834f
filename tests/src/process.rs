//! Children that end with their test, and waits that end.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use deadline::Deadline;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};

use crate::net::Namespace;

/// How long a program may take to do what it does at once on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds something.
///
/// # Panics
/// When nothing was found within `limit`; `what` says what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(limit);
    loop {
        // The deadline is read first: whatever happens in between, there is one look after it.
        let last = deadline.has_passed();
        if let Some(found) = look() {
            return found;
        }
        assert!(!last, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// Looks during all of `span` whether something happens that must not.
///
/// # Panics
/// When `look` finds something.
pub fn never_within(what: &str, span: Duration, mut look: impl FnMut() -> bool) {
    let deadline = Deadline::after(span);
    loop {
        let last = deadline.has_passed();
        assert!(!look(), "{what}");
        if last {
            return;
        }
        // Not often: C agents number their requests by the clock's microseconds, and a number that
        // comes twice within ten seconds is taken for a retransmission.
        thread::sleep(Duration::from_millis(100));
    }
}

/// A program that runs beside the test. Dropping it kills it, by its process id.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    started: Instant,
    /// Whether the whole process group goes with it.
    group: bool,
}

impl Process {
    /// Starts `command`, in `namespace` if there is one. What it prints goes to files in `dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, namespace: Option<&Namespace>, dir: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = Path::new(command.get_program()).file_name().map_or_else(
            || "program".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = dir.join(format!("{program}-{number}"));
        let create = |suffix: &str| {
            File::create(log.with_extension(suffix)).expect("the test's directory takes files")
        };
        command.stdout(create("out")).stderr(create("err"));
        let started = Instant::now();
        let child = match namespace {
            Some(namespace) => namespace.enter(|| command.spawn()),
            None => command.spawn(),
        };
        Self {
            child: child.unwrap_or_else(|error| panic!("{program} cannot be started: {error}")),
            name: program,
            log,
            started,
            group: false,
        }
    }

    /// As [`Self::start`], but as the head of a process group that ends with it.
    pub fn start_group(command: &mut Command, namespace: Option<&Namespace>, dir: &Path) -> Self {
        let mut process = Self::start(command.process_group(0), namespace, dir);
        process.group = true;
        process
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends `signal`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| {
            panic!("{} takes no signal: {error}\n{}", self.name, self.printed())
        });
    }

    /// Stops the process and waits until it really stands still.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        wait_for("a process to stop", PATIENCE, || {
            (self.state() == Some('T')).then_some(())
        });
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("one's own child can be asked")
            .is_none()
    }

    /// Waits for the end, but not past `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(limit);
        // The descriptor becomes readable when the process ends, so the time taken is exact.
        let Ok(handle) = pidfd_open(self.pid(), PidfdFlags::empty()) else {
            return self.child.try_wait().expect("one's own child can be asked");
        };
        loop {
            if let Some(status) = self.child.try_wait().expect("one's own child can be asked") {
                return Some(status);
            }
            if deadline.has_passed() {
                return None;
            }
            let left = Timespec::try_from(deadline.remaining()).expect("a test's wait is short");
            // An interrupted wait is only another look.
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left));
        }
    }

    /// What it has printed so far, both streams.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("--- {} ---\n{}{}", self.name, self.stdout(), self.stderr())
    }

    /// What it has printed on standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.log.with_extension("out"))
    }

    /// What it has printed on standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&self.log.with_extension("err"))
    }

    /// The number of open descriptors.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id()))
            .expect("a running process has descriptors")
            .count()
    }

    /// The sockets of protocol `table` (`tcp`, `udp6` …) in the process's network namespace, one
    /// line each, as the kernel prints them.
    #[must_use]
    pub fn sockets(&self, table: &str) -> Vec<String> {
        fs::read_to_string(format!("/proc/{}/net/{table}", self.id()))
            .unwrap_or_default()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect()
    }

    /// Waits for the end and collects everything; kills it at `limit`.
    pub fn finish(mut self, limit: Duration) -> Ran {
        let status = self.ended_within(limit);
        let took = self.started.elapsed();
        if status.is_none() {
            self.kill();
        }
        Ran {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            hung: status.is_none(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            took,
        }
    }

    /// Kills it now.
    pub fn kill(&mut self) {
        if self.group {
            // Gone already is what is wanted.
            let _ = kill_process_group(self.pid(), Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.printed());
        }
        self.kill();
    }
}

fn read_lossy(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it had to be killed because it did not end in time.
    pub hung: bool,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Ran {
    /// Everything printed, on both streams.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The lines of standard output that are results, not messages: the C programs print both there.
    #[must_use]
    pub fn results(&self) -> Vec<&str> {
        self.stdout
            .lines()
            .filter(|line| {
                line.starts_with("Status: ") || line.ends_with(" on") || line.ends_with(" off")
            })
            .collect()
    }
}

/// Runs a program to its end, with `input` on standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run(
    command: &mut Command,
    namespace: Option<&Namespace>,
    dir: &Path,
    input: Option<&str>,
    limit: Duration,
) -> Ran {
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut process = Process::start(command, namespace, dir);
    if let (Some(text), Some(mut pipe)) = (input, process.child.stdin.take()) {
        // A program that ends without reading is the test's finding, not the harness's failure.
        let _ = pipe.write_all(text.as_bytes());
    }
    process.finish(limit)
}
