//! The program `picket-target`: how it ends, and how it reads its configuration again.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deadline::Deadline;
use disk::initiator::{Payload, Session, SessionOptions, TaskEnd};
use iscsi::pdu::{Isid, Lun};
use rustix::process::{Pid, Signal, kill_process};

const TARGET: &str = "iqn.2026-11.org.example:disks";
const SIZE: u64 = 8 << 20;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A running server; it is killed if the test ends before it does.
struct Server {
    child: Child,
    address: SocketAddr,
    log: BufReader<std::process::ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_picket-target");

impl Server {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--listen", "127.0.0.1:0", "--target", TARGET, "--size"])
            .arg(SIZE.to_string())
            .arg(directory.join("disk.img"));
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it does not listen");
        }
        let address = line.split("address=").nth(1).unwrap().trim();
        Self {
            address: address.parse().unwrap(),
            child,
            log,
        }
    }

    /// Writes a block that stays in the cache.
    fn write(&self) {
        let options = SessionOptions {
            name: "the disk".to_owned(),
            host: self.address.ip().to_string(),
            port: self.address.port(),
            initiator: "iqn.2026-11.org.example:node".to_owned(),
            target: TARGET.to_owned(),
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
            credentials: None,
            digests: None,
        };
        let mut session = Session::connect(&options, soon()).unwrap();
        let mut cdb = [0; 10];
        (cdb[0], cdb[8]) = (0x2A, 1);
        loop {
            let data = Payload::Out(vec![7; 512]);
            let task = session.submit(Lun([0; 8]), &cdb, data, soon()).unwrap();
            match session.wait(task, soon()).unwrap() {
                Some(TaskEnd::Completed(done, _)) if done.status.is_good() => break,
                Some(TaskEnd::Completed(done, _)) if done.unit_attention().is_some() => {}
                other => panic!("{other:?}"),
            }
        }
        session.logout(soon()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Reads the log up to a line with this.
    fn await_line(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "{part}");
        }
        line
    }

    /// Tells it to end. Its exit code, and what it said.
    fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let limit = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < limit, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

#[test]
fn an_end_at_which_everything_is_on_the_disk_is_a_success() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    server.write();
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    let disk = std::fs::read(directory.path().join("disk.img")).unwrap();
    assert_eq!(disk[..512], [7; 512]);
}

#[test]
fn an_end_at_which_writes_are_lost_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    server.write();
    let disk = directory.path().join("disk.img");
    let file = std::fs::File::options().write(true).open(disk).unwrap();
    file.set_len(SIZE / 2).unwrap();
    let (code, said) = server.stop();
    assert_eq!(code, Some(i32::from(target::exit::UNCLEAN)), "{said}");
    assert!(
        said.contains("picket-target: what was written cannot be made durable"),
        "{said}"
    );
}

/// A server with a configuration file, and who asks it.
#[test]
fn the_configuration_is_read_again_by_signal_and_by_command() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let write = |luns: &[u8], more: &str| {
        let mut text = format!(
            "listen = [\"127.0.0.1:0\"]\ncontrol = \"control\"\nstate = \"state\"\n{more}\n\
             [[target]]\nname = \"{TARGET}\"\n[[target.initiator]]\nname = \"*\"\n"
        );
        for number in luns {
            let lun = format!(
                "[[target.lun]]\nnumber = {number}\npath = \"{number}.img\"\nsize = \"1MiB\"\n"
            );
            text.push_str(&lun);
        }
        std::fs::write(at("target.toml"), text).unwrap();
    };
    write(&[0], "");
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(at("target.toml"));
    let mut server = Server::run(command);
    let control = |what: &str| {
        let control = at("control");
        let done = Command::new(PROGRAM)
            .args(["control", what, "--control"])
            .arg(control)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    assert_eq!(control("reload").1, "nothing has changed\n");
    write(&[0, 1], "");
    let (code, said, _) = control("reload");
    assert_eq!(code, Some(0));
    assert!(said.contains("LUN 1"), "{said}");
    write(&[0, 1, 2], "");
    server.signal(Signal::HUP);
    server.await_line("2.img) added");
    assert!(control("targets").1.contains("LUN 2"));
    // A mistake: where it is, and everything stays as it is.
    write(&[0], "limit = 1");
    let (code, _, said) = control("reload");
    assert_eq!(code, Some(i32::from(target::exit::REFUSED)));
    assert!(said.contains("target.toml:4"), "{said}");
    server.signal(Signal::HUP);
    server.await_line("the configuration is not taken");
    assert!(control("targets").1.contains("LUN 2"));
    write(&[0, 1, 2], "");
    server.signal(Signal::HUP);
    server.await_line("nothing has changed");
    server.write();
    assert_eq!(server.stop().0, Some(0));
}
