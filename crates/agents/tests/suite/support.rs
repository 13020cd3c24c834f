//! A daemon for tests that follows a script, and the agent under test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fence_wire::{DaemonHandshake, HashType, Key, Request, Unverified};

/// The key that agent and daemon share.
pub(crate) const KEY: &[u8] = b"shared between guest and host";
/// Longer than any test may take; keeps a fault from hanging the suite.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with the key in it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("key"), KEY).expect("key file");
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn key(&self) -> String {
        self.path("key").to_string_lossy().into_owned()
    }
}

pub(crate) fn agent(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picket-agents"));
    command
        .arg(name)
        .stdin(Stdio::null())
        .env_remove("PCMK_service");
    command
}

/// What a finished agent left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let start = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the agent starts");
    Ended {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        took: start.elapsed(),
    }
}

/// A daemon on loopback that does `script` with each connection; returns its port.
pub(crate) fn daemon(script: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("address").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            script(stream);
        }
    });
    port
}

pub(crate) fn read_request(stream: &mut TcpStream) -> Request {
    let mut packet = [0; fence_wire::REQUEST_LEN];
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.read_exact(&mut packet).expect("a request");
    let unverified = Unverified::decode(&packet).expect("a request");
    unverified
        .verify(HashType::Sha256, &Key::new(KEY))
        .expect("signed")
}

/// The daemon's end of the handshake; false when the other side fails or leaves.
pub(crate) fn handshake(stream: &mut TcpStream, key: &[u8]) -> bool {
    let mut end = DaemonHandshake::new(HashType::Sha256, &Key::new(key), [7; 64]);
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    while !end.is_done() {
        let mut bytes = vec![0; end.need()];
        if stream.read_exact(&mut bytes).is_err() || end.receive(&bytes).is_err() {
            return false;
        }
        while let Some(out) = end.transmit() {
            if stream.write_all(&out).is_err() {
                return false;
            }
        }
    }
    true
}

/// Keeps a connection open until the other side closes it.
pub(crate) fn hold(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
}
