//! The life of a lab: up, used, interrupted in every way, down, and nothing of it left.
//!
//! These tests start real guests. They take turns, for guests under emulation need a core each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    skip::{Need, skipped},
    subject::ours,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const NAME: &str = "test-lab";
const CANCELLED: i32 = 130;

/// What a lab needs of the machine. The guests' image is built when there is none.
const NEEDS: [Need; 6] = [
    Need::Root,
    Need::File("/usr/bin/mmdebstrap", "mmdebstrap"),
    Need::File("/usr/bin/mksquashfs", "squashfs-tools"),
    Need::File("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon"),
    Need::File("/usr/bin/virsh", "libvirt-clients"),
];

/// One lab at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A turn; when it ends, the lab goes.
struct Turn(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl Turn {
    fn take() -> Self {
        let turn = Self(TURN.lock().unwrap_or_else(PoisonError::into_inner));
        run(&["down"]);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = picket(&["down"]).output();
    }
}

fn picket(args: &[&str]) -> Command {
    let (command, rest) = args.split_first().expect("a command");
    let mut picket = Command::new(ours("picket"));
    picket
        .args(["lab", command, "--name", NAME])
        .args(rest)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    picket
}

/// Runs it, and insists on success.
fn run(args: &[&str]) -> String {
    let output = picket(args).output().expect("picket starts");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn up() -> Value {
    serde_json::from_str(&run(&["up", "--json"])).expect("JSON")
}

fn exec(node: &str, argv: &[&str]) -> Output {
    picket(&[&["exec", node, "--"], argv].concat())
        .output()
        .expect("picket starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything that there is of the lab.
fn remains() -> Vec<String> {
    let mut found = Vec::new();
    for path in [
        format!("/run/netns/{NAME}"),
        format!("/run/picket/lab/{NAME}"),
    ] {
        if Path::new(&path).exists() {
            found.push(path);
        }
    }
    let directory = format!("/run/picket/lab/{NAME}/");
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&directory) {
            found.push(format!("{}: {line}", entry.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.starts_with("picket-lab ") || line.contains(NAME))
            .map(str::to_owned),
    );
    found
}

#[test]
fn up_used_and_down() {
    if skipped(&NEEDS) {
        return;
    }
    let turn = Turn::take();
    let first = up();
    assert_eq!(first["nodes"].as_array().map(Vec::len), Some(2), "{first}");
    assert_eq!(first["cluster"]["online"].as_array().map(Vec::len), Some(2));

    // The commands pass on what a guest says, and how its command ended.
    assert_eq!(text(&exec("n2", &["hostname"])), "n2");
    assert_eq!(
        text(&exec("n1", &["printf", "%s", "it's \"$HOME\""])),
        "it's \"$HOME\""
    );
    assert_eq!(exec("n1", &["sh", "-c", "exit 7"]).status.code(), Some(7));
    assert!(run(&["console", "n1"]).contains("LAB-UP n1"));
    assert!(run(&["logs", "n1", "corosync"]).contains("TOTEM"));
    assert!(run(&["logs", "n2"]).contains("pacemaker-controld"));
    assert!(!run(&["logs", "fence_virtd"]).is_empty());
    pacemaker_fences_with_our_agent();

    // A second `up` finds it, one with other contents refuses.
    wait_whole();
    assert_eq!(up()["origin"], "found");
    let other = picket(&["up", "--stack", "c"])
        .output()
        .expect("picket starts");
    assert_eq!(other.status.code(), Some(5), "{other:?}");
    run(&["down"]);
    assert_eq!(remains(), [""; 0]);

    // What was formed once is restored, in seconds: no node notices.
    let began = Instant::now();
    let again = up();
    assert_eq!(again["origin"], "restored", "{again}");
    assert_eq!(again["cluster"]["ring"], first["cluster"]["ring"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{again}");
    clocks_agree();
    drop(turn);
    assert_eq!(remains(), [""; 0]);
}

/// `stonith_admin` lists and describes the agent and fences a node with it.
fn pacemaker_fences_with_our_agent() {
    let listed = text(&exec("n1", &["stonith_admin", "--list-installed"]));
    assert!(
        listed.lines().any(|line| line.trim() == "fence_xvm"),
        "{listed}"
    );
    let metadata = text(&exec(
        "n1",
        &["stonith_admin", "--metadata", "--agent", "fence_xvm"],
    ));
    assert!(
        metadata.contains("<resource-agent name=\"fence_xvm\""),
        "{metadata}"
    );
    let boot = |node| text(&exec(node, &["cat", "/proc/sys/kernel/random/boot_id"]));
    let (survivor, before) = (boot("n1"), boot("n2"));
    let fenced = exec(
        "n1",
        &["stonith_admin", "--reboot", "n2", "--timeout", "50"],
    );
    assert!(
        fenced.status.success(),
        "{fenced:?}\n{}",
        what_fenced_says()
    );
    let audit = fs::read_to_string(format!("/run/picket/lab/{NAME}/audit.jsonl")).expect("audit");
    let proven = audit.lines().any(|line| {
        let record: Value = serde_json::from_str(line).expect("JSON lines");
        record["operation"] == "reboot"
            && record["guest"] == "n2"
            && record["outcome"] == "off"
            && record["evidence"]
                .as_array()
                .is_some_and(|evidence| !evidence.is_empty())
    });
    assert!(proven, "{audit}");
    wait_whole();
    assert_eq!(boot("n1"), survivor);
    assert_ne!(boot("n2"), before);
}

/// What Pacemaker's fencer and `fence_virtd` last said: `stonith_admin` itself tells no more than that an
/// agent failed.
fn what_fenced_says() -> String {
    let log = run(&["logs", "n1", "pacemaker"]);
    let fencer: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("pacemaker-fenced"))
        .collect();
    let daemon = run(&["logs", "fence_virtd"]);
    let daemon: Vec<&str> = daemon.lines().collect();
    let last = |lines: &[&str]| lines[lines.len().saturating_sub(20)..].join("\n");
    format!("{}\n{}", last(&fencer), last(&daemon))
}

/// Until every node is online and every resource is started.
fn wait_whole() {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let whole = picket(&["up", "--json"]).output().expect("picket starts");
        if whole.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{whole:?}");
    }
}

/// A restored guest's clock stood still in the cache; it has been set.
fn clocks_agree() {
    for node in ["n1", "n2"] {
        let guest: i64 = text(&exec(node, &["date", "+%s"]))
            .parse()
            .expect("seconds");
        let ours = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        assert!((guest - ours).abs() <= 20, "{node}: {guest}, here {ours}");
    }
}

/// Starts `up`, waits for a word of its progress, and then for `longer`.
fn interrupted_at(word: &str, longer: Duration) -> (Child, PathBuf) {
    let log = std::env::temp_dir().join(format!("picket-{NAME}-{}.log", std::process::id()));
    let file = fs::File::create(&log).expect("a log");
    let mut child = picket(&["up", "--fresh"])
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("picket starts");
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let said = fs::read_to_string(&log).expect("the log");
        if said.contains(word) {
            break;
        }
        let ended = child.try_wait().expect("a status");
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "no `{word}`: {said}"
        );
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(longer);
    (child, log)
}

/// Moments of `up`, by what it says just before.
const MOMENTS: [(&str, u64); 6] = [
    ("setting up the lab's network", 0),
    ("setting up the lab's network", 150),
    ("setting up the lab's network", 400),
    ("starting fence_virtd", 20),
    ("booting the guests", 100),
    ("booting the guests", 3000),
];

#[test]
fn killed_it_is_cleaned_up_by_the_next_command() {
    if skipped(&NEEDS) {
        return;
    }
    let _turn = Turn::take();
    for (number, (word, longer)) in MOMENTS.into_iter().enumerate() {
        let (mut child, log) = interrupted_at(word, Duration::from_millis(longer));
        child.kill().expect("it runs");
        child.wait().expect("a status");
        let _ = fs::remove_file(log);
        assert_ne!(remains(), [""; 0], "nothing to clean up after {word}");
        // By `down`, and by turns by the next `up`.
        if number % 2 == 0 {
            run(&["down"]);
            assert_eq!(remains(), [""; 0], "killed {longer} ms after {word}");
        }
    }
    run(&["down"]);
    assert_eq!(remains(), [""; 0]);
}

#[test]
fn cancelled_it_cleans_up_itself() {
    if skipped(&NEEDS) {
        return;
    }
    let _turn = Turn::take();
    for (word, longer) in MOMENTS {
        let (mut child, log) = interrupted_at(word, Duration::from_millis(longer));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let began = Instant::now();
        let status = child.wait().expect("a status");
        let said = fs::read_to_string(&log).expect("the log");
        let _ = fs::remove_file(log);
        assert_eq!(status.code(), Some(CANCELLED), "{said}");
        assert!(said.contains("cancelled while"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(30), "{said}");
        assert_eq!(remains(), [""; 0], "cancelled {longer} ms after {word}");
    }
}

#[test]
fn two_at_once_do_not_mix() {
    if skipped(&NEEDS) {
        return;
    }
    let _turn = Turn::take();
    let (mut child, log) = interrupted_at("booting the guests", Duration::ZERO);
    for command in ["up", "down"] {
        let second = picket(&[command]).output().expect("picket starts");
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(5), "{said}");
        assert!(said.contains(&child.id().to_string()), "{said}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("a status").code(), Some(CANCELLED));
    let _ = fs::remove_file(log);
    assert_eq!(remains(), [""; 0]);
}
