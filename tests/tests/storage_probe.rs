//! `picket storage probe` against real iSCSI targets: tgt, which lets fenced nodes write, and ours.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use picket_tests::{
    net::HOST_V4,
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::{Need, skipped_with},
    subject::ours,
};
use rustix::process::Signal;
use serde_json::Value;

/// Exit codes of `picket`, from its documentation.
mod code {
    pub(crate) const SAFE: i32 = 0;
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const UNSAFE: i32 = 20;
    pub(crate) const UNVERIFIED: i32 = 22;
    pub(crate) const NOT_REACHED: i32 = 30;
    pub(crate) const IN_USE: i32 = 60;
    pub(crate) const CANCELLED: i32 = 130;
}

const TARGET: &str = "iqn.2026-11.example:probed";
/// How long a probe may take on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(240);
const SIZE: usize = 64 << 20;

/// A disk of 64 MiB that is served in one namespace and probed from another.
struct World {
    rig: Rig,
    disk: PathBuf,
    lun: u8,
}

impl World {
    fn new(lun: u8) -> Self {
        let rig = Rig::new();
        // Something that is no signature, and of which every block differs from its neighbours.
        let data: Vec<u8> = (0..SIZE)
            .map(|at| (at / 512).to_le_bytes()[0] | 0x80)
            .collect();
        let disk = rig.write_private("disk.img", &data);
        Self { rig, disk, lun }
    }

    fn target(&self) -> Process {
        let mut command = Command::new(ours("picket-target"));
        let listen = format!("{HOST_V4}:3260");
        command
            .args(["--listen", &listen, "--target", TARGET])
            .arg(&self.disk);
        Process::start(&mut command, Some(&self.rig.cable.host), self.rig.dir())
    }

    /// tgt, whose administration is by a socket that all namespaces share: one test at a time.
    fn tgt(&self) -> Process {
        let mut command = Command::new("/usr/sbin/tgtd");
        let portal = format!("portal={HOST_V4}:3260");
        command.args(["-f", "-C", "92", "--iscsi", &portal]);
        let daemon = Process::start(&mut command, Some(&self.rig.cable.host), self.rig.dir());
        wait_for("tgtd to answer", PATIENCE, || {
            (self.tgtadm("--mode sys --op show").code == Some(0)).then_some(())
        });
        let disk = self.disk.display();
        for order in [
            format!("--mode target --op new --tid 1 --targetname {TARGET}"),
            format!("--mode logicalunit --op new --tid 1 --lun 1 --backing-store {disk}"),
            "--mode logicalunit --op update --tid 1 --lun 1 --params thin_provisioning=1"
                .to_owned(),
            "--mode target --op bind --tid 1 --initiator-address ALL".to_owned(),
        ] {
            let ran = self.tgtadm(&order);
            assert_eq!(ran.code, Some(0), "{order}: {ran:?}");
        }
        daemon
    }

    fn tgtadm(&self, order: &str) -> Ran {
        let mut command = Command::new("/usr/sbin/tgtadm");
        command
            .args(["-C", "92", "--lld", "iscsi"])
            .args(order.split(' '));
        run(
            &mut command,
            Some(&self.rig.cable.host),
            self.rig.dir(),
            None,
            PATIENCE,
        )
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ours("picket"));
        let address = format!("iscsi://{HOST_V4}:3260/{TARGET}/{}", self.lun);
        command
            .args(["storage", "probe", &address])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn probe(&self, args: &[&str]) -> Ran {
        let network = Some(&self.rig.cable.guest);
        run(&mut self.command(args), network, self.rig.dir(), None, LONG)
    }

    /// Waits until the target serves.
    fn await_target(&self) {
        wait_for("the target to answer", PATIENCE, || {
            (self.probe(&["--read-only"]).code != Some(code::NOT_REACHED)).then_some(())
        });
    }

    fn held(&self) -> Vec<u8> {
        fs::read(&self.disk).expect("the disk")
    }

    /// Nothing is left of the probe: neither data nor registrations.
    fn assert_untouched(&self, before: &[u8]) {
        assert!(self.held() == before, "the disk is not as it was");
        let ran = self.probe(&["--read-only", "--json"]);
        let seen = check(&document(&ran), "read-keys").1;
        assert_eq!(seen, "0 registrations, no reservation");
    }
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The outcome of a requirement, and what was seen.
fn check(document: &Value, id: &str) -> (String, String) {
    let checks = document["report"]["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["id"] == id).expect(id);
    let text = |field: &str| check[field].as_str().expect(field).to_owned();
    (text("outcome"), text("seen"))
}

#[test]
fn tgt_is_unsafe_because_fenced_nodes_write() {
    if skipped_with(&[Need::File("/usr/sbin/tgtd", "tgt")]) {
        return;
    }
    let world = World::new(1);
    let _tgt = world.tgt();
    world.await_target();
    let before = world.held();

    let asked = world.probe(&["--read-only", "--json"]);
    let document_of_asked = document(&asked);
    // It claims PREEMPT AND ABORT and does not have it: only trying shows that. It denies APTPL.
    assert_eq!(check(&document_of_asked, "preempt-and-abort").0, "unknown");
    assert_eq!(asked.code, Some(code::UNSAFE), "{asked:?}");

    let tried = world.probe(&["--destructive-ok", "--json", "--save", &world.saved()]);
    assert_eq!(tried.code, Some(code::UNSAFE), "{tried:?}");
    let document = document(&tried);
    for (id, outcome) in [
        ("register", "met"),
        ("reserve", "met"),
        ("registrant-writes", "met"),
        ("preempt-and-abort", "broken"),
        ("fenced-writes", "broken"),
        ("fence-back", "met"),
        ("reset", "met"),
        ("logout", "broken"),
        ("aptpl", "broken"),
        ("in-flight", "unknown"),
        ("full-status", "broken"),
    ] {
        assert_eq!(check(&document, id).0, outcome, "{id}: {document:#}");
    }
    let writes = document["report"]["writes"].as_array().expect("writes");
    let landed: Vec<&str> = writes
        .iter()
        .filter(|write| write["fenced_changed"] == true)
        .filter_map(|write| write["command"].as_str())
        .collect();
    for command in [
        "WRITE SAME(10)",
        "WRITE SAME(16)",
        "UNMAP",
        "ORWRITE(16)",
        "WRITE AND VERIFY(10)",
    ] {
        assert!(landed.contains(&command), "{command} in {landed:?}");
    }
    for command in ["WRITE(6)", "WRITE(10)", "WRITE(12)", "WRITE(16)"] {
        assert!(!landed.contains(&command), "{command} in {landed:?}");
    }
    let saved: Value =
        serde_json::from_slice(&fs::read(world.saved()).expect("saved")).expect("JSON");
    assert_eq!(saved["report"], document["report"]);
    world.assert_untouched(&before);

    let text = world.probe(&["--destructive-ok"]);
    for words in [
        "Verdict: UNSAFE",
        "UNMAP",
        "CHANGED",
        "INVALID FIELD IN CDB",
    ] {
        assert!(text.stdout.contains(words), "{words} in {text:?}");
    }
}

impl World {
    fn saved(&self) -> String {
        self.rig.path("probe.json").display().to_string()
    }
}

#[test]
fn our_target_is_safe_also_after_it_was_killed() {
    if skipped_with(&[]) {
        return;
    }
    let world = World::new(0);
    let target = world.target();
    world.await_target();
    let before = world.held();
    // The restart is asked for by one file and confirmed by another: the target lives in this process.
    let [wanted, done] = ["wanted", "done"].map(|name| world.rig.path(name));
    let script = format!(
        "> {}; while [ ! -e {} ]; do sleep 0.05; done",
        wanted.display(),
        done.display()
    );
    let script = world.rig.write_private("restart", script.as_bytes());
    let restart = format!("sh {}", script.display());
    let args = ["--destructive-ok", "--json", "--restart-command", &restart];
    let network = Some(&world.rig.cable.guest);
    let probe = Process::start(&mut world.command(&args), network, world.rig.dir());
    wait_for("the probe to ask for a restart", LONG, || {
        wanted.exists().then_some(())
    });
    drop(target);
    let _target = world.target();
    fs::write(&done, "").expect("the test's directory takes files");
    let ran = probe.finish(LONG);
    assert_eq!(ran.code, Some(code::SAFE), "{ran:?}");
    let document = document(&ran);
    for check in document["report"]["checks"].as_array().expect("checks") {
        assert_eq!(check["outcome"], "met", "{check:#}");
    }
    for write in document["report"]["writes"].as_array().expect("writes") {
        assert_eq!(write["fenced"]["kind"], "conflict", "{write:#}");
    }
    world.assert_untouched(&before);
}

#[test]
fn a_probe_that_is_interrupted_puts_everything_back() {
    if skipped_with(&[]) {
        return;
    }
    let world = World::new(0);
    let _target = world.target();
    world.await_target();
    let before = world.held();
    for step in [
        "fencing …",
        "fencing with writes in flight …",
        "logging out and in …",
    ] {
        let network = Some(&world.rig.cable.guest);
        let probe = Process::start(
            &mut world.command(&["--destructive-ok"]),
            network,
            world.rig.dir(),
        );
        wait_for(step, LONG, || probe.stderr().contains(step).then_some(()));
        probe.signal(Signal::INT);
        let ran = probe.finish(LONG);
        // Interrupted during the last step, it may have come to its end.
        let ends = [code::CANCELLED, code::UNVERIFIED, code::SAFE];
        assert!(
            ran.code.is_some_and(|code| ends.contains(&code)),
            "{step}: {ran:?}"
        );
        world.assert_untouched(&before);
    }
}

#[test]
fn what_cannot_or_must_not_be_probed_is_refused() {
    if skipped_with(&[]) {
        return;
    }
    let world = World::new(0);
    let unreached = world.probe(&["--destructive-ok"]);
    assert_eq!(unreached.code, Some(code::NOT_REACHED), "{unreached:?}");
    let mut password = Command::new(ours("picket"));
    password.args([
        "storage",
        "probe",
        "iscsi://node%hushhushhush@127.0.0.1/iqn.x:y/0",
    ]);
    let refused = run(&mut password, None, world.rig.dir(), None, PATIENCE);
    assert_eq!(refused.code, Some(code::USAGE), "{refused:?}");
    assert!(
        refused.stderr.contains("must not hold a password"),
        "{refused:?}"
    );

    // What is read first is what decides: nothing of the disk may be touched.
    let mut held = world.held();
    held[0x438..0x43A].copy_from_slice(&[0x53, 0xEF]);
    fs::write(&world.disk, &held).expect("the disk");
    let _target = world.target();
    world.await_target();
    let refused = world.probe(&["--destructive-ok"]);
    assert_eq!(refused.code, Some(code::IN_USE), "{refused:?}");
    assert!(refused.stderr.contains("ext4"), "{refused:?}");
    world.assert_untouched(&held);
    // Nobody can be asked here, hence nothing is changed.
    let asked = world.probe(&[]);
    assert_eq!(asked.code, Some(code::UNVERIFIED), "{asked:?}");
    world.assert_untouched(&held);
}
