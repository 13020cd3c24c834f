//! A disk without room for the audit log.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Config, Route},
    guests,
    process::{PATIENCE, Process, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};

use crate::tells;

/// Gives the program a small file system of its own, filled to the last byte.
const WITH_A_FULL_DISK: &str = "mount --make-rprivate / && \
    mount -t tmpfs -o size=64k tmpfs \"$1\" && \
    { cat /dev/zero > \"$1/filler\" 2>/dev/null; shift; exec \"$@\"; }";

struct Cramped {
    rig: Rig,
    daemon: Process,
}

impl Cramped {
    fn start() -> Self {
        let rig = Rig::new();
        let disk = rig.path("disk");
        fs::create_dir(&disk).expect("the test's directory takes directories");
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let mut config = Config::new(&rig, Route::TcpV4, &uri);
        config.audit = disk.join("audit.jsonl");
        let file = rig.write_private("virt.conf", config.text().as_bytes());
        let inner = picket_tests::daemon::command(Subject::Ours, &file, &rig.path("pid"));
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", WITH_A_FULL_DISK, "sh"])
            .arg(&disk);
        command.arg(inner.get_program()).args(inner.get_args());
        let daemon = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
        wait_for("the daemon to listen", PATIENCE, || {
            let lines = daemon.sockets("tcp");
            lines
                .iter()
                .any(|line| line.contains(":04CD") && line.contains(" 0A "))
                .then_some(())
        });
        Self { rig, daemon }
    }

    /// A file on the small disk, which only the daemon sees.
    fn inside(&self, name: &str) -> PathBuf {
        let path = self.rig.path("disk").join(name);
        let root = PathBuf::from(format!("/proc/{}/root", self.daemon.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }

    fn act(&self, action: &str) -> picket_tests::process::Ran {
        Call::over(&self.rig, Subject::Ours, Route::TcpV4).act(&self.rig, action, Some("vm1"))
    }
}

/// Fencing goes on without delay, the full disk is told with the remedy, and the records are written
/// as soon as there is room again.
#[test]
fn a_full_disk_stops_no_fencing_and_loses_no_record() {
    if skipped(&PEERS) {
        return;
    }
    let cramped = Cramped::start();
    for (action, code) in [("status", 0), ("off", 0), ("status", 2), ("on", 0)] {
        let ran = cramped.act(action);
        assert_eq!(ran.code, Some(code), "{action}: {ran:?}");
        assert!(
            ran.took < Duration::from_secs(3),
            "{action} took {:?}",
            ran.took
        );
    }
    wait_for("the full disk to be told", PATIENCE, || {
        let said = cramped.daemon.printed();
        said.contains("audit.jsonl").then_some(())
    });
    tells(&cramped.daemon, &["audit.jsonl", "no space"]);

    fs::remove_file(cramped.inside("filler")).expect("the filler is there");
    let written = wait_for("the records to be written", PATIENCE, || {
        let text = fs::read_to_string(cramped.inside("audit.jsonl")).ok()?;
        (records(&text)
            .iter()
            .filter(|record| is_about(record, "vm1"))
            .count()
            >= 4)
            .then_some(text)
    });
    let done: Vec<_> = records(&written)
        .iter()
        .filter(|record| is_about(record, "vm1"))
        .map(ToString::to_string)
        .collect();
    for operation in ["off", "on", "status"] {
        assert!(
            done.iter()
                .any(|record| record.contains(&format!("\"{operation}\""))),
            "no record of `{operation}` in\n{written}"
        );
    }
}

/// Every whole line, which must be JSON.
fn records(text: &str) -> Vec<serde_json::Value> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

fn is_about(record: &serde_json::Value, guest: &str) -> bool {
    record.to_string().contains(&format!("\"{guest}\""))
}
