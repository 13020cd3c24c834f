//! The system's OpenSSH as transport.
//!
//! The administrator's own keys, agent, `known_hosts` and `ssh_config` count; nothing is asked
//! (`BatchMode`), so an unknown host key is a refusal. One connection per machine serves all calls
//! (`ControlMaster`); its socket lies in a directory of this process's own that goes away with it.
//!
//! ```text
//!   us                                  machine
//!   ssh … sh -c BOOTSTRAP ────────────▶ becomes root, or ends with NO_ROOT
//!                          ◀─────────── "picket-ready"
//!   script ───────────────────────────▶ sh -s
//!                          ◀─────────── output, exit status
//! ```
//!
//! The script is sent only after the machine has said that it is ready. So whatever fails before is
//! certain not to have run anything, and whatever is cut off afterwards is *unknown*, never guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::machine::Machine;
use crate::transport::{Command, MAX_OUTPUT, Output, Transport, TransportError};

/// How long a machine may take to be connected to and to say that it is ready.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a look at a connection of one's own may take, and the end of all of them.
const MOMENT: Duration = Duration::from_secs(2);
/// How much of what ssh and scripts say on standard error is kept.
const MAX_STDERR: usize = 8 << 10;
/// The line after which the script is sent.
const READY: &[u8] = b"picket-ready\n";
/// What there is to say of a machine that lets us in and then nothing.
const STUCK_LOGIN: &str = "the login succeeded, but the login shell did not run the command in time; \
     do its start-up files (.bashrc) wait for something?";
/// The most that a login may print before that line.
const MAX_GREETING: usize = 64 << 10;
/// The status of the bootstrap when the user may not become root.
const NO_ROOT: i32 = 77;
/// What ssh itself ends with when it has failed.
const SSH_FAILED: i32 = 255;

/// Run by the machine's login shell, whichever that is.
const BOOTSTRAP: &str = "exec sh -c 'if [ \"$(id -u)\" = 0 ]; then echo picket-ready; exec sh -s; fi; sudo -n true || exit 77; exec sudo -n -- sh -c \"echo picket-ready; exec sh -s\"'";

/// How `ssh` is called.
#[derive(Debug, Clone, Default)]
pub struct SshSettings {
    /// A program and its arguments before `ssh`, such as `ip netns exec NAME`.
    pub prefix: Vec<OsString>,
    /// A configuration to use instead of the user's: `ssh -F`.
    pub config: Option<PathBuf>,
}

/// Connections over OpenSSH. They are closed when this is dropped, if not before.
#[derive(Debug)]
pub struct OpenSsh {
    settings: SshSettings,
    open: Mutex<Open>,
}

/// What there is to be closed.
#[derive(Debug)]
struct Open {
    /// The directory of the sockets; none once all is closed.
    sockets: Option<tempfile::TempDir>,
    /// The destinations that connections may stand to.
    used: BTreeSet<String>,
    /// Every `ssh` that runs a command, by a number of its own.
    running: BTreeMap<u64, OwnedFd>,
    started: u64,
}

impl Open {
    fn end_running(&self) {
        for handle in self.running.values() {
            // It may have ended meanwhile, which is what is wanted.
            let _ = pidfd_send_signal(handle, Signal::TERM);
        }
    }
}

impl OpenSsh {
    /// Prepares to connect; connects to nothing yet.
    ///
    /// # Errors
    /// When there is no place for the sockets.
    pub fn new(settings: SshSettings) -> std::io::Result<Self> {
        let sockets = tempfile::Builder::new()
            .prefix("picket-ssh-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            // A socket's path may be 108 bytes long, so not in a deep TMPDIR.
            .tempdir_in(runtime_dir())?;
        Ok(Self {
            settings,
            open: Mutex::new(Open {
                sockets: Some(sockets),
                used: BTreeSet::new(),
                running: BTreeMap::new(),
                started: 0,
            }),
        })
    }

    /// Ends every `ssh` that runs a command. Whoever waits for one sees it end. Connections stand, and
    /// more commands may be run later.
    pub fn end_running(&self) {
        self.open().end_running();
    }

    /// Ends every command and every connection, and removes their sockets. Nothing can be run
    /// afterwards. This takes a moment, whatever the machines do.
    pub fn close(&self) {
        let (sockets, used) = {
            let mut open = self.open();
            open.end_running();
            (open.sockets.take(), std::mem::take(&mut open.used))
        };
        let Some(sockets) = sockets else { return };
        let children: Vec<_> = used
            .iter()
            .filter_map(|destination| self.control(sockets.path(), "exit", destination).ok())
            .collect();
        let limit = Deadline::after(MOMENT);
        for mut child in children {
            // A connection that cannot be closed ends by itself when it is no longer used.
            let _ = end_within(&mut child, limit);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection to the machine stands: that it was reached and let us in.
    fn is_connected(&self, machine: &Machine) -> bool {
        let asked = {
            let open = self.open();
            let Some(sockets) = &open.sockets else {
                return false;
            };
            self.control(sockets.path(), "check", machine.destination.as_str())
        };
        let status = asked
            .ok()
            .and_then(|mut child| end_within(&mut child, Deadline::after(MOMENT)));
        status.is_some_and(|status| status.success())
    }

    /// Starts `ssh -O`, which speaks with the process that holds the connection, not with the machine.
    fn control(&self, sockets: &Path, what: &str, destination: &str) -> std::io::Result<Child> {
        let mut process = self.ssh(sockets);
        process
            .args(["-O", what, "--", destination])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    fn ssh(&self, sockets: &Path) -> Process {
        let mut words = self.settings.prefix.iter().cloned();
        let mut process = match words.next() {
            Some(first) => {
                let mut process = Process::new(first);
                process.args(words).arg("ssh");
                process
            }
            None => Process::new("ssh"),
        };
        if let Some(config) = &self.settings.config {
            process.arg("-F").arg(config);
        }
        let mut socket = OsString::from("ControlPath=");
        socket.push(sockets.join("%C"));
        process.arg("-o").arg(socket);
        for option in [
            "BatchMode=yes",
            "ControlMaster=auto",
            "ControlPersist=120",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "EscapeChar=none",
            "LogLevel=ERROR",
        ] {
            process.args(["-o", option]);
        }
        process.args(["-T", "-a", "-x"]);
        // Ctrl-C is for us: it must not cut a command in the middle.
        process.process_group(0);
        process
    }

    fn start(&self, machine: &Machine) -> Result<Session<'_>, TransportError> {
        // Held until the new process is listed: it is either ended with the others or not started.
        let mut open = self.open();
        let Some(sockets) = &open.sockets else {
            return Err(local("the connections are closed".to_owned()));
        };
        let mut process = self.ssh(sockets.path());
        process
            .arg("--")
            .arg(machine.destination.as_str())
            .arg(BOOTSTRAP)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process.spawn().map_err(|error| {
            let program = process.get_program().display();
            local(format!("cannot run {program}: {error}"))
        })?;
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| {
            let _ = child.kill();
            let _ = child.wait();
            local(format!("cannot watch ssh: {error}"))
        })?;
        open.used.insert(machine.destination.as_str().to_owned());
        open.started += 1;
        let number = open.started;
        open.running.insert(number, handle);
        Ok(Session::new(child, self, number))
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        self.close();
    }
}

fn runtime_dir() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.as_os_str().len() < 40 && dir.is_dir())
        .unwrap_or_else(|| Path::new("/tmp").to_owned())
}

impl Transport for OpenSsh {
    fn run(
        &self,
        machine: &Machine,
        command: &Command,
        deadline: Deadline,
    ) -> Result<Output, TransportError> {
        let mut session = self.start(machine)?;
        session.until_ready(deadline.within(CONNECT), || self.is_connected(machine))?;
        session.carry_out(command.text(), deadline)
    }
}

/// What a reading thread has to say.
enum Heard {
    Out(Vec<u8>),
    OutEnded,
}

/// One running `ssh`. Dropping it kills it.
struct Session<'a> {
    child: Child,
    /// Where it is listed, and its number there.
    of: &'a OpenSsh,
    number: u64,
    heard: Receiver<Heard>,
    complaints: Receiver<Vec<u8>>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(mut child: Child, of: &'a OpenSsh, number: u64) -> Self {
        let (out, heard) = channel();
        let (err, complaints) = channel();
        if let Some(pipe) = child.stdout.take() {
            thread::spawn(move || {
                pump(pipe, &out, Heard::Out);
                let _ = out.send(Heard::OutEnded);
            });
        }
        if let Some(pipe) = child.stderr.take() {
            thread::spawn(move || pump(pipe, &err, |bytes| bytes));
        }
        Self {
            child,
            of,
            number,
            heard,
            complaints,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// Waits for the machine to say that it is ready. Nothing has run if it does not. `is_connected`
    /// is asked where it says nothing at all.
    fn until_ready(
        &mut self,
        deadline: Deadline,
        is_connected: impl FnOnce() -> bool,
    ) -> Result<(), TransportError> {
        loop {
            if let Some(at) = find(&self.stdout, READY) {
                self.stdout.drain(..at + READY.len());
                return Ok(());
            }
            if self.stdout.len() > MAX_GREETING {
                return Err(TransportError::Refused {
                    detail: "the login prints without end".to_owned(),
                });
            }
            match self.heard.recv_timeout(deadline.remaining()) {
                Ok(Heard::Out(bytes)) => self.stdout.extend(bytes),
                Ok(Heard::OutEnded) | Err(RecvTimeoutError::Disconnected) => {
                    let status = end_of(&mut self.child, deadline);
                    let code = status.and_then(|status| status.code());
                    return Err(before_start(code, &self.complaint()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let detail = match self.complaint() {
                        said if !said.is_empty() => said,
                        // What a user's start-up files wait for nobody sees from here.
                        _ if is_connected() => STUCK_LOGIN.to_owned(),
                        _ => "no answer in time".to_owned(),
                    };
                    return Err(TransportError::Unreachable { detail });
                }
            }
        }
    }

    /// Sends the script and waits for its end. From the first byte on, silence means "unknown".
    fn carry_out(mut self, script: Vec<u8>, deadline: Deadline) -> Result<Output, TransportError> {
        let began = Instant::now();
        if let Some(mut pipe) = self.child.stdin.take() {
            // In a thread of its own: a machine that does not read must not keep us from the deadline.
            thread::spawn(move || {
                let script = zeroize::Zeroizing::new(script);
                // A pipe that breaks shows in how ssh ends.
                let _ = pipe.write_all(&script);
            });
        }
        loop {
            match self.heard.recv_timeout(deadline.remaining()) {
                Ok(Heard::Out(bytes)) if self.stdout.len() + bytes.len() > MAX_OUTPUT => {
                    return Err(unknown("it printed without end"));
                }
                Ok(Heard::Out(bytes)) => self.stdout.extend(bytes),
                Ok(Heard::OutEnded) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(unknown("no answer in time")),
            }
        }
        let status = end_of(&mut self.child, deadline);
        let stderr = self.complaint();
        match status.map(|status| status.code()) {
            Some(Some(0)) => Ok(Output {
                stdout: std::mem::take(&mut self.stdout),
                stderr,
                took: began.elapsed(),
            }),
            Some(Some(SSH_FAILED)) => Err(unknown(&stderr)),
            Some(Some(status)) => Err(TransportError::Failed {
                status,
                detail: stderr,
            }),
            Some(None) => Err(unknown("ssh was ended by a signal")),
            None => Err(unknown("ssh did not end in time")),
        }
    }

    /// What was said on standard error so far; a little while is waited for what is still on its way.
    fn complaint(&mut self) -> String {
        let until = Deadline::after(Duration::from_millis(300));
        while let Ok(bytes) = self.complaints.recv_timeout(until.remaining()) {
            self.stderr.extend(bytes);
            let excess = self.stderr.len().saturating_sub(MAX_STDERR);
            self.stderr.drain(..excess);
        }
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.of.open().running.remove(&self.number);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn local(detail: String) -> TransportError {
    TransportError::Local { detail }
}

fn unknown(detail: &str) -> TransportError {
    TransportError::Unknown {
        detail: if detail.is_empty() {
            "ssh gave no reason".to_owned()
        } else {
            detail.to_owned()
        },
    }
}

/// Why ssh ended before the machine was ready.
fn before_start(status: Option<i32>, said: &str) -> TransportError {
    let detail = if said.is_empty() {
        match status {
            Some(status) => format!("ssh ended with status {status} without a word"),
            None => "ssh ended without a word".to_owned(),
        }
    } else {
        said.to_owned()
    };
    let refusals = [
        "Permission denied",
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "Too many authentication failures",
        "No more authentication methods",
        "no matching host key",
    ];
    match status {
        Some(SSH_FAILED) if refusals.iter().any(|refusal| said.contains(refusal)) => {
            TransportError::Refused { detail }
        }
        Some(SSH_FAILED) | None => TransportError::Unreachable { detail },
        Some(NO_ROOT) => TransportError::Refused {
            detail: format!(
                "the user is not root and may not become it without a password (sudo -n): {detail}"
            ),
        },
        Some(_) => TransportError::Refused { detail },
    }
}

fn pump<T>(mut pipe: impl Read, to: &Sender<T>, wrap: impl Fn(Vec<u8>) -> T) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to.send(wrap(buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// How the process ends, if it does in time.
fn end_of(child: &mut Child, deadline: Deadline) -> Option<ExitStatus> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()?;
    loop {
        if let Some(status) = child.try_wait().ok()? {
            return Some(status);
        }
        if deadline.has_passed() {
            return None;
        }
        let left = Timespec::try_from(deadline.remaining()).ok()?;
        // An interrupted wait is only another look.
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left));
    }
}

/// How the process ends; if it does not in time, it is killed.
fn end_within(child: &mut Child, deadline: Deadline) -> Option<ExitStatus> {
    let status = end_of(child, deadline);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    status
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_before_the_start_is_told_apart() {
        let refused = before_start(Some(255), "root@n1: Permission denied (publickey).");
        assert!(matches!(refused, TransportError::Refused { .. }));
        let changed = before_start(Some(255), "Host key verification failed.");
        assert!(matches!(changed, TransportError::Refused { .. }));
        let down = before_start(
            Some(255),
            "ssh: connect to host n1 port 22: No route to host",
        );
        assert!(matches!(down, TransportError::Unreachable { .. }));
        let user = before_start(Some(NO_ROOT), "sudo: a password is required");
        assert!(matches!(user, TransportError::Refused { .. }));
        for error in [refused, changed, down, user] {
            assert!(error.nothing_ran());
        }
        assert!(!unknown("").nothing_ran());
    }

    /// A transport whose `ssh` is this script.
    fn pretending(script: &str) -> OpenSsh {
        let prefix = ["sh", "-c", script].map(OsString::from).to_vec();
        let config = None;
        OpenSsh::new(SshSettings { prefix, config }).unwrap()
    }

    fn outcome(script: &str) -> Result<Output, TransportError> {
        let machine = Machine::new("n1", crate::machine::Role::Node, "root@n1".parse().unwrap());
        let limit = Deadline::after(Duration::from_secs(1));
        pretending(script).run(&machine, &Command::script("echo hello"), limit)
    }

    #[test]
    fn what_ran_what_did_not_and_what_nobody_knows_are_told_apart() {
        let well = outcome("echo Welcome; echo picket-ready; exec sh -s").unwrap();
        assert_eq!(
            well.text(),
            "hello\n",
            "what the login prints is not the script's"
        );
        let failed = outcome("echo picket-ready; cat >/dev/null; echo no >&2; exit 3");
        let detail = "no".to_owned();
        assert_eq!(failed, Err(TransportError::Failed { status: 3, detail }));
        for lost in [
            "echo picket-ready; cat >/dev/null; exit 255",
            "echo picket-ready; cat >/dev/null; kill -9 $$",
            "echo picket-ready; exit 255",
            "echo picket-ready; exec sleep 60",
            "echo picket-ready; exec yes",
        ] {
            assert!(
                matches!(outcome(lost), Err(TransportError::Unknown { .. })),
                "{lost}"
            );
        }
        for unreached in [
            "echo ssh: connect to host n1 port 22: Connection refused >&2; exit 255",
            "exec sleep 60",
            "kill -9 $$",
        ] {
            let outcome = outcome(unreached);
            assert!(
                matches!(outcome, Err(TransportError::Unreachable { .. })),
                "{unreached}"
            );
        }
        for refused in [
            "echo 'Permission denied (publickey).' >&2; exit 255",
            "echo 'sudo: a password is required' >&2; exit 77",
            "exit 127",
            "exec yes",
        ] {
            assert!(
                matches!(outcome(refused), Err(TransportError::Refused { .. })),
                "{refused}"
            );
        }
        let config = None;
        let prefix = vec!["/does/not/exist".into()];
        let transport = OpenSsh::new(SshSettings { prefix, config }).unwrap();
        let machine = Machine::new("n1", crate::machine::Role::Node, "n1".parse().unwrap());
        let limit = Deadline::after(Duration::from_secs(1));
        let local = transport.run(&machine, &Command::script(""), limit);
        assert!(matches!(local, Err(TransportError::Local { .. })));
    }

    /// `ssh` that lets the login hang, and says of connections whether they stand.
    fn stuck(check: &str) -> String {
        format!("for word; do [ \"$word\" = -O ] && {{ {check}; }}; done; exec sleep 60")
    }

    #[test]
    fn a_login_that_hangs_is_told_from_a_machine_that_is_not_there() {
        let said = |check: &str| match outcome(&stuck(check)) {
            Err(TransportError::Unreachable { detail }) => detail,
            other => panic!("{other:?}"),
        };
        assert_eq!(said("exit 0"), STUCK_LOGIN);
        assert_eq!(said("exit 255"), "no answer in time");
    }

    #[test]
    fn what_runs_ends_with_the_connections() {
        let machine = Machine::new("n1", crate::machine::Role::Node, "root@n1".parse().unwrap());
        let transport = pretending(&stuck("exit 0"));
        let sockets = transport.open().sockets.as_ref().unwrap().path().to_owned();
        let run = || {
            let limit = Deadline::after(Duration::from_secs(50));
            transport.run(&machine, &Command::script("echo hello"), limit)
        };
        let begun = Instant::now();
        let end = |how: fn(&OpenSsh)| {
            thread::scope(|scope| {
                let running = scope.spawn(run);
                while transport.open().running.is_empty() {
                    thread::yield_now();
                }
                how(&transport);
                running.join().unwrap()
            })
        };
        for how in [OpenSsh::end_running, OpenSsh::close] {
            let outcome = end(how);
            assert!(
                matches!(outcome, Err(TransportError::Unreachable { .. })),
                "{outcome:?}"
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits");
        assert!(!sockets.exists());
        assert!(transport.open().running.is_empty());
        assert!(matches!(run(), Err(TransportError::Local { .. })));
        transport.close();
    }

    #[test]
    fn the_bootstrap_waits_for_a_whole_script() {
        let run = |script: &[u8]| {
            let mut child = Process::new("sh")
                .args(["-c", BOOTSTRAP])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(script).unwrap();
            let output = child.wait_with_output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let whole = Command::script("echo one\necho two").text();
        assert_eq!(run(&whole), "picket-ready\none\ntwo\n");
        for cut in 0..whole.len() - 2 {
            assert_eq!(run(&whole[..cut]), "picket-ready\n", "cut at {cut}");
        }
    }
}
