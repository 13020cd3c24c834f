//! A running engine.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use picket_tests::{
    process::{PATIENCE, Process, wait_for},
    rig::temp_dir,
    subject::ours,
};
use tempfile::TempDir;

/// An engine, and a directory for the test. Dropping it ends both.
pub(crate) struct Engine {
    port: String,
    dir: TempDir,
    tls: bool,
    /// Ends with the value.
    _process: Process,
}

impl Engine {
    /// One with three guests, and what else `words` say.
    pub(crate) fn start(words: &str) -> Self {
        let dir = temp_dir();
        let mut command = Command::new(ours("ovirt-engine"));
        command.arg("--trust").arg(dir.path().join("trust.pem"));
        let quick = !words.contains("--transition");
        command.args(
            quick
                .then_some(["--transition", "200"])
                .into_iter()
                .flatten(),
        );
        command.args(words.split_whitespace());
        let process = Process::start(&mut command, None, dir.path());
        let address = wait_for("the engine to listen", PATIENCE, || {
            process.stdout().lines().next().map(str::to_owned)
        });
        let (_, port) = address.rsplit_once(':').expect("an address has a port");
        symlink(ours("picket-agents"), dir.path().join("fence_rhevm"))
            .expect("a new directory is empty");
        let tls = words.contains("--tls") || words.contains("--self-signed");
        Self {
            port: port.to_owned(),
            dir,
            tls,
            _process: process,
        }
    }

    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Our agent, by its name.
    pub(crate) fn agent(&self) -> PathBuf {
        self.path("fence_rhevm")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ovirt-engine/api", self.port)
    }

    /// One request to what the server has for tests.
    fn control(&self, method: &str, path: &str, body: &str) -> String {
        assert!(!self.tls, "tests speak plain HTTP with servers");
        let mut stream =
            TcpStream::connect(format!("127.0.0.1:{}", self.port)).expect("the server listens");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream
            .write_all(request.as_bytes())
            .expect("the server reads");
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        // The server keeps the connection open.
        while !is_whole(&answer) {
            let count = stream.read(&mut part).expect("the server answers");
            assert!(count > 0, "{method} {path}: the answer ends early");
            answer.extend_from_slice(&part[..count]);
        }
        let answer = String::from_utf8(answer).expect("the server writes text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        body.to_owned()
    }

    /// Lets these faults happen, and no others.
    pub(crate) fn faults(&self, lines: &str) {
        self.control("PUT", "/-/faults", lines);
    }

    /// Changes a guest: lines `word=value`.
    pub(crate) fn change(&self, guest: &str, lines: &str) {
        self.control("PUT", &format!("/-/engine/{guest}"), lines);
    }

    /// The requests seen so far.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.control("GET", "/-/log", "");
        log.lines().map(str::to_owned).collect()
    }

    /// What is true of everything: lines of `word=value` each, by the first.
    fn shown(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let line = |line: &str| {
            let words = line
                .split(' ')
                .map(|word| word.split_once('=').unwrap_or((word, "")));
            let words: BTreeMap<String, String> = words
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            (
                words
                    .get("name")
                    .cloned()
                    .unwrap_or_else(|| "sessions".to_owned()),
                words,
            )
        };
        self.control("GET", "/-/engine", "")
            .lines()
            .map(line)
            .collect()
    }

    fn word(&self, of: &str, word: &str) -> String {
        self.shown()
            .get(of)
            .and_then(|words| words.get(word))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn state(&self, guest: &str) -> String {
        self.word(guest, "state")
    }

    pub(crate) fn id(&self, guest: &str) -> String {
        self.word(guest, "id")
    }

    pub(crate) fn stops(&self, guest: &str) -> u32 {
        self.word(guest, "stops").parse().expect("a number")
    }

    /// Sessions: open, opened so far.
    pub(crate) fn sessions(&self) -> (u32, u32) {
        let number = |word| self.word("sessions", word).parse().expect("a number");
        (number("open"), number("opened"))
    }
}

/// Whether an answer has all of its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// Writes a program.
pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("the test's directory takes files");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
