//! The resource agent `ocf:picket:httpd`, run as Pacemaker runs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

const SUCCESS: i32 = 0;
const ERR_GENERIC: i32 = 1;
const ERR_UNIMPLEMENTED: i32 = 3;
const ERR_INSTALLED: i32 = 5;
const ERR_CONFIGURED: i32 = 6;
const NOT_RUNNING: i32 = 7;

/// A port that nobody uses, no other test of this process is given, and the kernel gives to nobody by
/// itself (it begins at 32768).
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no free port");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// An instance of the resource with a state directory and a port of its own; stopped when dropped.
struct Resource {
    state: tempfile::TempDir,
    port: u16,
}

impl Resource {
    /// `None`, said aloud, where busybox is not installed.
    fn new() -> Option<Self> {
        if !Path::new("/bin/busybox").exists() {
            assert!(
                std::env::var_os("PICKET_NO_SKIP").is_none(),
                "busybox is missing"
            );
            eprintln!("SKIPPED: busybox is not installed");
            return None;
        }
        Some(Self {
            state: tempfile::tempdir().expect("a directory"),
            port: free_port(),
        })
    }

    fn run(&self, action: &str, parameters: &[(&str, &str)]) -> i32 {
        let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/ocf/httpd");
        let mut command = Command::new(agent);
        command
            .arg(action)
            .env("OCF_RESOURCE_INSTANCE", "web.http")
            .env("HA_RSCTMP", self.state.path())
            .env("OCF_RESKEY_port", self.port.to_string());
        for (name, value) in parameters {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        command
            .status()
            .expect("the agent runs")
            .code()
            .expect("an exit code")
    }

    fn page(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}

#[test]
fn starts_serves_and_stops() {
    let Some(resource) = Resource::new() else {
        return;
    };
    assert_eq!(resource.run("monitor", &[]), NOT_RUNNING);
    assert_eq!(
        resource.run("stop", &[]),
        SUCCESS,
        "stopping what is stopped"
    );
    assert_eq!(resource.run("start", &[("text", "this & <that>")]), SUCCESS);
    assert_eq!(resource.run("monitor", &[]), SUCCESS);
    assert_eq!(
        resource.run("start", &[]),
        SUCCESS,
        "starting what is started"
    );
    let page = resource.page();
    assert!(page.contains("this &amp; &lt;that&gt;"), "{page}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    assert!(
        page.contains(&format!("<p>node: {}</p>", host.trim())),
        "{page}"
    );
    assert_eq!(resource.run("stop", &[]), SUCCESS);
    assert_eq!(resource.run("monitor", &[]), NOT_RUNNING);
    assert!(TcpStream::connect(("127.0.0.1", resource.port)).is_err());
}

#[test]
fn a_server_that_was_killed_is_not_running() {
    let Some(resource) = Resource::new() else {
        return;
    };
    assert_eq!(resource.run("start", &[]), SUCCESS);
    let pid = std::fs::read_to_string(resource.state.path().join("picket-httpd-web.http/pid"))
        .expect("a pid");
    assert!(
        Command::new("kill")
            .args(["-9", pid.trim()])
            .status()
            .expect("killed")
            .success()
    );
    assert_eq!(resource.run("monitor", &[]), NOT_RUNNING);
    assert_eq!(
        resource.run("start", &[]),
        SUCCESS,
        "it can be started again"
    );
}

#[test]
fn a_stale_pid_of_another_program_does_not_count() {
    let Some(resource) = Resource::new() else {
        return;
    };
    let state = resource.state.path().join("picket-httpd-web.http");
    std::fs::create_dir(&state).expect("made");
    std::fs::write(state.join("pid"), format!("{}\n", std::process::id())).expect("written");
    assert_eq!(resource.run("monitor", &[]), NOT_RUNNING);
    assert_eq!(resource.run("stop", &[]), SUCCESS, "and it is left alone");
}

#[test]
fn a_taken_port_is_a_failed_start() {
    let Some(resource) = Resource::new() else {
        return;
    };
    // Takes connections into its backlog and never answers.
    let _silent = TcpListener::bind(("0.0.0.0", resource.port)).expect("the port");
    assert_eq!(resource.run("start", &[]), ERR_GENERIC);
    assert_eq!(resource.run("monitor", &[]), NOT_RUNNING);
}

#[test]
fn wrong_parameters_are_named() {
    let Some(resource) = Resource::new() else {
        return;
    };
    for port in ["0", "65536", "http", "99999999999999999999"] {
        assert_eq!(
            resource.run("validate-all", &[("port", port)]),
            ERR_CONFIGURED,
            "{port}"
        );
        assert_eq!(
            resource.run("start", &[("port", port)]),
            ERR_CONFIGURED,
            "{port}"
        );
    }
    assert_eq!(
        resource.run("validate-all", &[("docroot", "/nonexistent")]),
        ERR_INSTALLED
    );
    assert_eq!(
        resource.run("validate-all", &[("busybox", "/nonexistent")]),
        ERR_INSTALLED
    );
    assert_eq!(resource.run("validate-all", &[]), SUCCESS);
    assert_eq!(resource.run("promote", &[]), ERR_UNIMPLEMENTED);
}
