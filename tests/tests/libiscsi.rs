//! libiscsi's test suite against `picket-target`, one process for each test: some of them leave their process in a state
//! that spoils the next.

use std::{collections::BTreeMap, fmt::Write as _, fs::File, process::Command, time::Duration};

use picket_tests::{
    net::HOST_V4,
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::{Need, skipped_with},
    subject::ours,
};

const NEEDS: [Need; 1] = [Need::File("/usr/bin/iscsi-test-cu", "libiscsi-bin")];
const TARGET: &str = "iqn.2026-11.example:suite";
/// The size of the disk in bytes.
const SIZE: u64 = 128 << 20;
/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(120);
/// It looks at what its callbacks are to set before any of them has run, in every version up to 1.19, and frees memory
/// twice.
const BROKEN: &str = "ALL.iSCSITMF.LUNResetSimpleAsync";

/// What wants physical blocks of several logical ones.
const PHYSICAL: [&str; 2] = ["UnmapUnaligned", "InvalidDataOutSize"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

struct World {
    rig: Rig,
    _target: Process,
}

impl World {
    /// A target with two portals and a disk, of which `more` is said.
    fn new(more: &str) -> Self {
        let rig = Rig::new();
        let disk = rig.write_private("disk.img", &[]);
        let disk = File::options().write(true).open(disk);
        disk.and_then(|disk| disk.set_len(SIZE)).expect("a disk");
        let config = format!(
            "listen = [\"{HOST_V4}:3260\", \"{HOST_V4}:3261\"]\ncontrol = \"control\"\nstate = \"state\"\n\
             [[target]]\nname = \"{TARGET}\"\n[[target.initiator]]\nname = \"*\"\n\
             [[target.lun]]\nnumber = 0\npath = \"disk.img\"\n{more}\n"
        );
        let path = rig.write_private("target.toml", config.as_bytes());
        let mut command = Command::new(ours("picket-target"));
        command.arg("--config").arg(path);
        let target = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
        let world = Self {
            rig,
            _target: target,
        };
        wait_for("picket-target to answer", PATIENCE, || {
            let ran = world.suite(&["-l"]);
            let inquiry = world.run("/usr/bin/iscsi-inq", &[&url(3260)]);
            (ran.code == Some(0) && inquiry.code == Some(0)).then_some(())
        });
        world
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments);
        run(
            &mut command,
            Some(&self.rig.cable.host),
            self.rig.dir(),
            None,
            LIMIT,
        )
    }

    fn suite(&self, arguments: &[&str]) -> Ran {
        self.run("/usr/bin/iscsi-test-cu", arguments)
    }

    /// The tests of the family ALL that `which` chooses, each with what it came to; and what failed ones printed.
    fn results(&self, which: impl Fn(&str) -> bool) -> (BTreeMap<String, Outcome>, String) {
        let list = self.suite(&["-l"]);
        let tests = list.stdout.lines().map(str::trim).filter(|line| {
            line.starts_with("ALL.") && line.matches('.').count() == 2 && which(line)
        });
        let mut printed = String::new();
        let mut results = BTreeMap::new();
        for test in tests {
            let ran = self.suite(&["-d", "-S", "-V", "-t", test, &url(3260), &url(3261)]);
            let text = format!("{}{}", ran.stdout, ran.stderr);
            let outcome = if text.contains("[SKIPPED]") {
                Outcome::Skipped
            } else if ran.code == Some(0) && text.contains("Tests completed") {
                Outcome::Passed
            } else {
                let _ = writeln!(printed, "=== {test}: {:?}\n{text}", ran.code);
                Outcome::Failed
            };
            results.insert(test.to_owned(), outcome);
        }
        (results, printed)
    }
}

fn url(port: u16) -> String {
    format!("iscsi://{HOST_V4}:{port}/{TARGET}/0")
}

fn of(results: &BTreeMap<String, Outcome>, outcome: Outcome) -> Vec<&str> {
    let of = results.iter().filter(|(_, came)| **came == outcome);
    of.map(|(test, _)| test.as_str()).collect()
}

/// tgt 1.0.85 passes 169 of these 230 and fails 12.
#[test]
fn no_test_fails_that_is_not_broken_itself() {
    if skipped_with(&NEEDS) {
        return;
    }
    let world = World::new("");
    let (results, printed) = world.results(|_| true);
    let mut failed = of(&results, Outcome::Failed);
    failed.retain(|test| *test != BROKEN);
    assert_eq!(failed, [] as [&str; 0], "{printed}");
    let passed = of(&results, Outcome::Passed).len();
    let skipped = of(&results, Outcome::Skipped);
    assert!(passed >= 181, "{passed} passed; skipped were {skipped:?}");
    // Thin provisioning and reservations are what it is for: nothing of these is skipped.
    let wanted = [
        "Unmap",
        "WriteSame",
        "CompareAndWrite",
        "Prin",
        "Prout",
        "GetLBAStatus",
        "MultipathIO",
    ];
    for suite in wanted {
        // The next test has what these want.
        let other = |test: &str| PHYSICAL.iter().any(|name| test.ends_with(name));
        let lost: Vec<_> = skipped
            .iter()
            .filter(|test| test.contains(suite) && !other(test))
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[test]
fn a_disk_whose_physical_blocks_are_larger() {
    if skipped_with(&NEEDS) {
        return;
    }
    let world = World::new("physical-block-length = 4096");
    // One test takes the block after the next for the next physical one: it can only pass where both are the same.
    let broken = "ALL.GetLBAStatus.UnmapSingle";
    let suites = [
        "Unmap",
        "GetLBAStatus",
        "ReadCapacity16",
        "Inquiry",
        "WriteSame",
    ];
    let (results, printed) =
        world.results(|test| test != broken && suites.iter().any(|suite| test.contains(suite)));
    assert_eq!(of(&results, Outcome::Failed), [] as [&str; 0], "{printed}");
    assert_eq!(of(&results, Outcome::Skipped), [] as [&str; 0]);
}

#[test]
fn a_medium_that_can_be_ejected() {
    if skipped_with(&NEEDS) {
        return;
    }
    let world = World::new("removable = true");
    let suites = ["PreventAllow", "StartStopUnit", "NoMedia"];
    let (results, printed) = world.results(|test| suites.iter().any(|suite| test.contains(suite)));
    assert_eq!(of(&results, Outcome::Failed), [] as [&str; 0], "{printed}");
    // Nobody may reset the sessions of all others.
    assert_eq!(
        of(&results, Outcome::Skipped),
        ["ALL.PreventAllow.ColdReset"]
    );
    assert_eq!(of(&results, Outcome::Passed).len(), 11);
}

#[test]
fn a_disk_that_is_served_for_reading_only() {
    if skipped_with(&NEEDS) {
        return;
    }
    let world = World::new("read-only = true");
    let (results, printed) = world.results(|test| test.contains("ReadOnly"));
    let passed = of(&results, Outcome::Passed);
    assert_eq!(passed, ["ALL.ReadOnly.ReadOnlySBC"], "{printed}");
}
