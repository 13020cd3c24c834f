//! A cluster of a guest and a machine of its own: it forms, and each fences the other by what can know
//! about it. The machine is no guest to `fence_virtd`; only its management controller switches it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;

const NAME: &str = "test-mixed";
/// The machine, and the guest that is left of the example's two: what each of two fences, nobody else can.
const METAL: &str = "n3";
const GUEST: &str = "n1";
const DROPPED: &str = "n2";
/// From a fault until the service is whole elsewhere, and the fenced node is back: four times what an idle
/// machine of two cores takes.
const RECOVERY: Duration = Duration::from_secs(400);

const NEEDS: [Need; 8] = [
    Need::Root,
    Need::File("/usr/bin/mmdebstrap", "mmdebstrap"),
    Need::File("/usr/bin/mksquashfs", "squashfs-tools"),
    Need::File("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon"),
    Need::File("/usr/bin/virsh", "libvirt-clients"),
    Need::File("/usr/bin/ssh", "openssh-client"),
    Need::File("/usr/bin/ipmi_sim", "openipmi"),
];

/// The lab, up with the cluster on it. It goes with this.
struct Mixed {
    definition: PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Mixed {
    fn drop(&mut self) {
        let _ = picket(&["lab", "down", "--name", NAME]).output();
    }
}

fn picket(args: &[&str]) -> Command {
    let mut picket = Command::new(ours("picket"));
    picket.args(args);
    picket
}

/// Runs it, and insists on success.
fn run(args: &[&str]) -> String {
    let output = picket(args).output().expect("picket starts");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The example without its second guest.
fn definition() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mixed.toml");
    let text = fs::read_to_string(path).expect("the example");
    let tables: Vec<&str> = text.split_inclusive("\n\n").collect();
    let is_dropped = |table: &&str| {
        table.starts_with("[[node]]") && table.contains(&format!("name = \"{DROPPED}\""))
    };
    assert_eq!(tables.iter().filter(|table| is_dropped(table)).count(), 1);
    tables
        .into_iter()
        .filter(|table| !is_dropped(table))
        .collect()
}

impl Mixed {
    /// Blank machines first, then the cluster, as on real ones.
    fn up() -> Self {
        run(&["lab", "down", "--name", NAME]);
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("mixed.toml");
        fs::write(&file, definition()).expect("a file");
        let this = Self {
            definition: file,
            _directory: directory,
        };
        let file = this.file();
        run(&["lab", "up", "--blank", "--name", NAME, file]);
        run(&["apply", file, "--lab", NAME, "--yes"]);
        this.wait_whole();
        this
    }

    fn file(&self) -> &str {
        self.definition.to_str().expect("a plain path")
    }

    /// Until both nodes are online and every resource is started; the node of each.
    fn wait_whole(&self) -> Value {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let whole = picket(&["lab", "up", "--json", "--name", NAME, self.file()])
                .output()
                .expect("picket starts");
            if whole.status.success() {
                return serde_json::from_slice(&whole.stdout).expect("JSON");
            }
            assert!(Instant::now() < deadline, "{whole:?}");
        }
    }
}

fn exec(node: &str, argv: &[&str]) -> Output {
    picket(&[&["lab", "exec", "--name", NAME, node, "--"], argv].concat())
        .output()
        .expect("picket starts")
}

/// Runs it in a node, and insists on success.
fn said(node: &str, argv: &[&str]) -> String {
    let output = exec(node, argv);
    assert!(output.status.success(), "{node} {argv:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn state(file: &str) -> String {
    fs::read_to_string(format!("/run/picket/lab/{NAME}/{file}")).unwrap_or_default()
}

/// The QEMU process of a machine: its number, and when it started in clock ticks (proc(5), field 22).
fn qemu(machine: &str) -> Option<(u32, u64)> {
    let (named, ours) = (
        format!("guest={machine},"),
        format!("/run/picket/lab/{NAME}/"),
    );
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.split('\0').any(|word| word.starts_with(&named)) && line.contains(&ours) {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
            return Some((pid, started.parse().ok()?));
        }
    }
    None
}

/// Panics a node's kernel. It answers no more, which `exec` cannot know.
fn panic(node: &str) {
    let output = exec(node, &["sh", "-c", "echo c >/proc/sysrq-trigger"]);
    assert!(!output.status.success(), "{output:?}");
    wait_for("panic on the console", || {
        let console = run(&["lab", "console", "--name", NAME, node]);
        console.contains("Kernel panic").then_some(())
    });
}

/// Waits until `seen` yields something.
fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + RECOVERY;
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Whether Pacemaker's history, asked on `node`, has `node` itself fence `target` with success.
fn history_says(node: &str, target: &str) -> bool {
    let xml = said(
        node,
        &["stonith_admin", "--history", target, "--output-as", "xml"],
    );
    xml.lines().any(|line| {
        line.contains("<fence_event")
            && line.contains("action=\"reboot\"")
            && line.contains("status=\"success\"")
            && line.contains(&format!("target=\"{target}\""))
            && line.contains(&format!("delegate=\"{node}\""))
    })
}

/// What `fence_virtd` says it did to a guest, with the requester's address.
fn audited(guest: &str) -> Vec<(String, Value)> {
    let records = state("audit.jsonl");
    let records = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    records
        .filter(|record| record["guest"] == guest && record["operation"] == "reboot")
        .map(|record| {
            let requester = record["requester"].as_str().unwrap_or_default();
            (requester.to_owned(), record.clone())
        })
        .collect()
}

fn serves(node: &str) -> bool {
    let status = exec(node, &["crm_mon", "-1", "--output-as", "xml"]);
    let xml = String::from_utf8_lossy(&status.stdout).into_owned();
    let Some((_, http)) = xml.split_once("<resource id=\"web.http\"") else {
        return false;
    };
    let http = http.split("</resource>").next().unwrap_or_default();
    http.contains("role=\"Started\"")
        && !http.contains("pending=")
        && http.contains(&format!("<node name=\"{node}\""))
}

#[test]
fn each_node_is_fenced_by_what_can_know_about_it() {
    if skipped(&NEEDS) {
        return;
    }
    let mixed = Mixed::up();
    no_way_past_the_controller();
    the_guest_fences_the_machine();
    mixed.wait_whole();
    the_machine_fences_the_guest();
    mixed.wait_whole();
}

/// To `fence_virtd` the machine does not exist: it is not listed, and a request for it is refused.
fn no_way_past_the_controller() {
    let listed = said(GUEST, &["fence_xvm", "-o", "list"]);
    let names: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, [GUEST], "{listed}");
    let before = qemu(METAL);
    let refused = exec(GUEST, &["fence_xvm", "-o", "off", "-H", METAL, "-t", "20"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(before.is_some() && qemu(METAL) == before);
    assert_eq!(state(&format!("{METAL}.chassis.log")), "");
}

fn the_guest_fences_the_machine() {
    let boot = |node| said(node, &["cat", "/proc/sys/kernel/random/boot_id"]);
    let (first_boot, before) = (boot(METAL), qemu(METAL).expect("the machine runs"));
    let other = qemu(GUEST);
    panic(METAL);
    wait_for("service on the guest", || serves(GUEST).then_some(()));
    assert!(history_says(GUEST, METAL));
    let log = wait_for("power for the machine", || {
        let log = state(&format!("{METAL}.chassis.log"));
        log.contains("power 1 done").then_some(log)
    });
    let changes: Vec<_> = log
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    assert_eq!(changes.first(), Some(&"power 0 done"), "{log}");
    // Not reset, not rebooted by itself: another machine process, begun later.
    let after = wait_for("machine with power", || qemu(METAL));
    assert!(after.0 != before.0 && after.1 > before.1);
    assert_eq!(qemu(GUEST), other);
    assert!(
        audited(METAL).is_empty(),
        "fence_virtd had to do with it: {:?}",
        audited(METAL)
    );
    wait_for("boot of the machine", || {
        let again = exec(METAL, &["cat", "/proc/sys/kernel/random/boot_id"]);
        let id = String::from_utf8_lossy(&again.stdout).trim().to_owned();
        (again.status.success() && !id.is_empty() && id != first_boot).then_some(())
    });
}

fn the_machine_fences_the_guest() {
    let address = "10.9.0.3";
    let (before, other) = (qemu(GUEST).expect("the guest runs"), qemu(METAL));
    let switched = state(&format!("{METAL}.chassis.log"));
    panic(GUEST);
    wait_for("service on the machine", || serves(METAL).then_some(()));
    assert!(history_says(METAL, GUEST));
    let proven = audited(GUEST).into_iter().any(|(requester, record)| {
        requester == address
            && record["outcome"] == "off"
            && record["evidence"]
                .as_array()
                .is_some_and(|evidence| !evidence.is_empty())
    });
    assert!(proven, "{:?}", audited(GUEST));
    let after = wait_for("guest that runs again", || qemu(GUEST));
    assert!(after.0 != before.0 && after.1 > before.1);
    // The machine that fenced was left alone.
    assert_eq!(qemu(METAL), other);
    assert_eq!(state(&format!("{METAL}.chassis.log")), switched);
}
