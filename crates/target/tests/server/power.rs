//! The program itself: killed without warning, started again.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use disk::initiator::Payload;
use scsi::{AdditionalSense, SenseKey, Status};
use tempfile::TempDir;

use crate::harness::{BLOCK, Initiator, LUN, TARGET, failed_with, options, soon, write10};

/// `picket-target`, killed when this is dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_picket-target"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--target",
                TARGET,
                "--size",
                "16MiB",
            ])
            .arg("--control")
            .arg(directory.join("control"))
            .arg(directory.join("disk.img"))
            .env("PICKET_TARGET_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = stderr.lines();
        let address = loop {
            let line = lines
                .next()
                .expect("the server was to say where it listens")
                .unwrap();
            if let Some((_, address)) = line.split_once("address=") {
                break address.trim().parse().unwrap();
            }
        };
        // Somebody must read what it says, or it would wait for that some day.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn kill(mut self) {
        // SIGKILL
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn connect(&self, who: &str) -> Initiator {
        Initiator::connect(self.address, &options(self.address, who)).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn control(directory: &Path, what: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_picket-target"))
        .arg("control")
        .arg("--control")
        .arg(directory.join("control"))
        .args(what)
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.code().unwrap(), text)
}

#[test]
fn registrations_with_aptpl_outlive_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut before = Vec::new();
    for round in 1..6 {
        let program = Program::start(directory.path());
        let mut node = program.connect("node");
        let mut friend = program.connect("friend");
        let mut fenced = program.connect("fenced");
        assert_eq!(node.keys(), before);
        assert_eq!(node.holder(), before.first().copied());
        let refused = !before.is_empty();
        let expected = if refused {
            Status::RESERVATION_CONFLICT
        } else {
            Status::GOOD
        };
        assert_eq!(fenced.write(0, &[1; BLOCK]), expected, "round {round}");
        node.register(round, true);
        friend.register(round + 100, true);
        if before.is_empty() {
            node.reserve(round);
        }
        before = vec![round, round + 100];
        program.kill();
    }
}

#[test]
fn without_aptpl_registrations_end_with_the_server() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path());
    let mut node = program.connect("node");
    node.register(5, true);
    node.reserve(5);
    // The last registration decides: now nothing is kept.
    node.register(6, false);
    assert_eq!(node.keys(), [6]);
    program.kill();
    let program = Program::start(directory.path());
    let mut node = program.connect("node");
    assert_eq!((node.keys(), node.holder()), (vec![], None));
}

#[test]
fn acknowledged_writes_outlive_kill_9() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path());
    let mut node = program.connect("node");
    let mut writes = Vec::new();
    for lba in 0..100 {
        let data = Payload::Out(vec![u8::try_from(lba).unwrap() + 1; BLOCK]);
        writes.push(
            node.0
                .submit(LUN, &write10(lba, BLOCK, lba % 2 == 0), data, soon())
                .unwrap(),
        );
    }
    for write in writes {
        node.0.wait(write, soon()).unwrap().unwrap();
    }
    program.kill();
    let program = Program::start(directory.path());
    let mut node = program.connect("node");
    for lba in 0..100 {
        assert_eq!(
            node.read(lba, BLOCK),
            [u8::try_from(lba).unwrap() + 1; BLOCK]
        );
    }
}

#[test]
fn a_damaged_journal_closes_the_disk_until_somebody_decides() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path());
    let mut node = program.connect("node");
    node.register(5, true);
    node.reserve(5);
    program.kill();
    let journals = directory.path().join("disk.img.reservations");
    let mut damaged = 0;
    for file in std::fs::read_dir(&journals).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 16 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let program = Program::start(directory.path());
    let mut fenced = Initiator(
        disk::initiator::Session::connect(&options(program.address, "fenced"), soon()).unwrap(),
    );
    for (cdb, payload) in [
        (
            write10(0, BLOCK, false).to_vec(),
            Payload::Out(vec![1; BLOCK]),
        ),
        (vec![0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], Payload::In(BLOCK)),
        (vec![0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0], Payload::In(64)),
        (vec![0; 6], Payload::None),
    ] {
        let (done, _) = fenced.run(&cdb, payload);
        assert!(
            failed_with(&done, SenseKey::NOT_READY),
            "{cdb:02x?}: {done:?}"
        );
        assert_eq!(
            done.sense.map(|sense| sense.additional),
            Some(AdditionalSense(0x0403))
        );
    }
    let (done, _) = fenced.run(&[0x12, 0, 0, 0, 96, 0], Payload::In(96));
    assert_eq!(done.status, Status::GOOD);
    let (code, text) = control(directory.path(), &["targets"]);
    assert!(
        code == 0 && text.contains("TROUBLE: its journal of reservations is damaged"),
        "{text}"
    );
    let (code, text) = control(directory.path(), &["discard-journal", TARGET, "0"]);
    assert_eq!(code, 0, "{text}");
    fenced.settle();
    assert_eq!(fenced.keys(), [] as [u64; 0]);
    assert_eq!(fenced.write(0, &[1; BLOCK]), Status::GOOD);
}
