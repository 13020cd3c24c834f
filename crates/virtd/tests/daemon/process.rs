//! The program: exit codes, background, reload, end.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use fence_wire::{Answer, HashType, Key, Operation, Reply};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{read_answer, request, shake_hands};

static PORT: AtomicU16 = AtomicU16::new(22_229);

const GUESTS: &str = "<node><domain type='test'><name>vm1</name><memory>131072</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain></node>";

/// A folder with everything a daemon needs.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            port: PORT.fetch_add(10, Ordering::Relaxed),
        };
        fs::write(place.path("key"), "secret").unwrap();
        fs::write(place.path("node.xml"), GUESTS).unwrap();
        place.configure(&place.good(place.port));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn good(&self, port: u16) -> String {
        let at = |name| self.path(name).display().to_string();
        format!(
            "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; audit_log = \"{}\"; }}\n\
             listeners {{ tcp {{ port = \"{port}\"; key_file = \"{}\"; }} }}\n\
             backends {{ libvirt {{ uri = \"test://{}\"; }} }}\n",
            at("audit.jsonl"),
            at("key"),
            at("node.xml"),
        )
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("virt.conf"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fence_virtd"));
        command
            .arg("-f")
            .arg(self.path("virt.conf"))
            .arg("-p")
            .arg(self.path("pid"))
            .args(arguments)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM");
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A daemon in the foreground that listens.
    fn start(&self, arguments: &[&str]) -> Foreground {
        let mut child = self
            .command(&["-F"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut daemon = Foreground { child, lines };
        daemon.await_line("listening:");
        daemon
    }

    fn audit(&self) -> String {
        fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default()
    }
}

struct Foreground {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Foreground {
    fn await_line(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.contains(wanted) {
                return line;
            }
            seen.push(line);
        }
        panic!("no `{wanted}` in {seen:#?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon in the background, known by its pid file. Ended with the test, however that ends.
struct Background(PathBuf);

impl Background {
    fn pid(&self) -> Pid {
        let text = fs::read_to_string(&self.0).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.0.exists() {
            let _ = kill_process(self.pid(), Signal::TERM);
        }
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Asks for the health of the hypervisors.
fn ask(port: u16) -> Reply {
    let key = Key::new(b"secret");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let packet = request(Operation::DEVICE_STATUS, "").encode(HashType::Sha256, &key);
    stream.write_all(&packet).unwrap();
    shake_hands(&mut stream, HashType::Sha256, &key).unwrap();
    match read_answer(&mut stream).unwrap() {
        Answer::Reply(reply) => reply,
        Answer::Hosts(hosts) => panic!("a list: {hosts:?}"),
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_configuration_is_shown_and_exits_with_255() {
    let place = Place::new();
    place.configure("fence_virtd { listener = tcp; }");
    for arguments in [&["--check"][..], &["-F"], &[]] {
        let output = place.output(arguments);
        assert_eq!(output.status.code(), Some(255), "{arguments:?}");
        assert!(
            stderr(&output).contains("virt.conf:1:26"),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains("write `listener = \"tcp\";`"));
    }
    place.configure(&place.good(place.port).replace("key\"", "nokey\""));
    let output = place.output(&["--check"]);
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("nokey"), "{}", stderr(&output));
}

#[test]
fn check_starts_nothing_and_changes_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(place.path("key"), open).unwrap();
    let output = place.output(&["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("no groups") && shown.contains("chmod 600"),
        "{shown}"
    );
    let mode = fs::metadata(place.path("key"))
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o644);
    assert!(!place.path("audit.jsonl").exists() && !place.path("pid").exists());
}

#[test]
fn a_port_in_use_and_no_hypervisor_exit_with_1() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    for arguments in [&["-F"][..], &[]] {
        let output = place.output(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("another program listens there"));
    }
    drop(taken);
    place.configure(&place.good(place.port).replace("node.xml", "gone.xml"));
    let output = place.output(&["-F"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no hypervisor can be reached"),
        "{}",
        stderr(&output)
    );
    assert!(!place.path("pid").exists());
}

#[test]
fn w_starts_without_a_hypervisor_and_finds_it_later() {
    let place = Place::new();
    fs::rename(place.path("node.xml"), place.path("later.xml")).unwrap();
    let mut daemon = place.start(&["-w"]);
    assert_eq!(ask(place.port), Reply::FAILURE);
    fs::rename(place.path("later.xml"), place.path("node.xml")).unwrap();
    daemon.await_line("reached");
    assert_eq!(ask(place.port), Reply::SUCCESS);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_second_daemon_is_refused() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let output = place.output(&["-F"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("runs already"),
        "{}",
        stderr(&output)
    );
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    assert_eq!(pid.trim(), daemon.child.id().to_string());
    assert_eq!(daemon.end(), Some(0));
    assert!(!place.path("pid").exists());
    assert!(place.audit().contains("started, listening"));
    assert!(place.audit().contains("\"ended\""));
}

#[test]
fn in_the_background_it_listens_when_the_command_returns() {
    let place = Place::new();
    let status = place
        .command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let daemon = Background(place.path("pid"));
    assert!(listens(place.port));
    let process = PathBuf::from(format!("/proc/{}", daemon.pid().as_raw_nonzero()));
    assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        let open = fs::read_link(process.join(descriptor)).unwrap();
        assert_eq!(open, Path::new("/dev/null"), "{descriptor}");
    }
    drop(daemon);
    let deadline = Instant::now() + Duration::from_secs(20);
    while place.path("pid").exists() {
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reload_takes_the_new_file_and_keeps_the_old_one_if_that_is_wrong() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    place.configure("fence_virtd { oops");
    daemon.signal(Signal::HUP);
    daemon.await_line("the new configuration is not used");
    assert!(listens(place.port));
    place.configure(&place.good(place.port + 1));
    daemon.signal(Signal::HUP);
    daemon.await_line("reloaded");
    assert!(listens(place.port + 1));
    assert!(!listens(place.port));
    // The same again: the socket is taken over, nobody is turned away meanwhile.
    fs::rename(place.path("audit.jsonl"), place.path("audit.old")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.await_line("reloaded");
    assert!(listens(place.port + 1));
    assert_eq!(daemon.end(), Some(0));
    assert!(place.audit().contains("configuration reloaded"));
}

#[test]
fn a_full_disk_stops_nothing_and_the_record_is_in_the_log() {
    let place = Place::new();
    let text = place.good(place.port);
    let log = place.path("audit.jsonl").display().to_string();
    place.configure(&text.replace(&log, "/dev/full"));
    let mut daemon = place.start(&[]);
    daemon.await_line("the audit log cannot be written");
    daemon.await_line("started, listening");
    assert!(listens(place.port));
    // Room again, elsewhere: what was kept is written.
    place.configure(&text);
    daemon.signal(Signal::HUP);
    daemon.await_line("being written again");
    assert_eq!(daemon.end(), Some(0));
    assert!(place.audit().contains("started, listening"));
}

#[test]
fn help_version_and_list_exit_with_0_and_an_unknown_option_does_not() {
    let place = Place::new();
    for argument in ["-h", "-?", "-V", "-l"] {
        let output = place.output(&[argument]);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(!output.stdout.is_empty(), "{argument}");
    }
    assert_eq!(place.output(&["-x"]).status.code(), Some(2));
}
