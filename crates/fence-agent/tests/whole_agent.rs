//! A whole agent as a process: table, options, engine, log, output, deadline and signals. The process
//! is this test program itself, started again with `FENCE_TEST_AGENT` set.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fence_agent::engine::{Settings, act};
use fence_agent::memory::Plugs;
use fence_agent::{
    Agent, Behaviour, Exit, Facility, Failure, Opt, Options, Power, Session, common, start,
};

static OPTIONS: [Opt; 17] = [
    common::EVERY[0],
    common::EVERY[1],
    common::EVERY[2],
    common::EVERY[3],
    common::EVERY[4],
    common::EVERY[5],
    common::EVERY[6],
    common::EVERY[7],
    common::EVERY[8],
    common::EVERY[9],
    common::EVERY[10],
    common::EVERY[11],
    common::EVERY[12],
    common::EVERY[13],
    common::EVERY[14],
    common::EVERY[15],
    common::PLUG,
];

static AGENT: Agent = Agent {
    name: "fence_memory",
    shortdesc: "Fence agent for plugs in memory",
    longdesc: "Switches nothing.",
    vendor_url: "https://example.org",
    version: "0",
    symlinks: &[],
    options: &OPTIONS,
    actions: &common::ACTIONS,
    ignored: &["nodename"],
    facility: Facility::User,
    notes: &[],
};

/// Plugs `on`, `off`, and `stuck`: a device whose library never returns.
struct Memory;

impl Behaviour for Memory {
    type Config = Settings;

    fn check(&self, options: &Options) -> Result<Settings, Vec<String>> {
        Ok(Settings::from_options(
            options,
            fence_agent::engine::is_under_pacemaker(),
        ))
    }

    fn limit(&self, _: &Settings) -> Duration {
        Duration::from_secs(2)
    }

    fn run(
        &self,
        settings: Settings,
        options: &Options,
        session: &mut Session,
    ) -> Result<Exit, Failure> {
        session
            .guard("talking to the device")
            .map_err(|error| Failure::refused(error.to_string()))?;
        if settings.plugs == ["stuck"] {
            println!("stuck now");
            loop {
                std::thread::park();
            }
        }
        let mut plugs = Plugs::new([("on", Power::On), ("off", Power::Off)]);
        act(options.action().name, &mut plugs, &settings, session)
    }
}

/// Not a test of its own: the process that the tests start.
#[test]
#[expect(
    clippy::exit,
    reason = "hands the agent's status to the test that started it"
)]
fn child() {
    let Some(args) = std::env::var_os("FENCE_TEST_AGENT") else {
        return;
    };
    let args = args.into_string().expect("UTF-8");
    let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
    let exit = start(&AGENT, "fence_memory".as_ref(), args.into_iter(), &Memory);
    std::process::exit(exit.code().into());
}

fn agent(args: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("FENCE_TEST_AGENT", args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    took: Duration,
}

fn run(args: &str, stdin: &str) -> Ended {
    let start = Instant::now();
    let mut child = agent(args).spawn().expect("start");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(stdin.as_bytes())
        .expect("write");
    let output = child.wait_with_output().expect("end");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ended {
        code: output.status.code(),
        // The test runner announces its test before the agent speaks.
        stdout: stdout
            .replace("\nrunning 1 test\n", "")
            .replace("test child ... ", ""),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: start.elapsed(),
    }
}

#[test]
fn from_stdin_and_from_argv() {
    for (args, stdin, code, stdout) in [
        (
            "",
            "action=status\nplug=on\nnodename=n\n",
            0,
            "Status: ON\n",
        ),
        ("", "action=status\nport=off\n", 2, "Status: OFF\n"),
        ("", "option=status\nplug=on\n", 0, "Status: ON\n"),
        ("", "plug=on\n", 0, "Success: Rebooted\n"),
        (
            "-o off -n on",
            "action=status\n",
            0,
            "Success: Powered OFF\n",
        ),
        ("-o on -n on", "", 0, "Success: Already ON\n"),
        ("-o list", "", 0, "off,\non,\n"),
        ("-o monitor", "", 0, ""),
        ("-o validate-all -n on", "", 0, ""),
        ("-o version", "", 1, ""),
        ("--version", "", 0, "0\n"),
        ("-o status -n nothing", "", 1, ""),
        ("-o status", "", 1, ""),
        ("-o explode -n on", "", 1, ""),
    ] {
        let ended = run(args, stdin);
        let seen = (ended.code, ended.stdout.as_str());
        assert_eq!(
            seen,
            (Some(code), stdout),
            "{args} {stdin:?}: {}",
            ended.stderr
        );
        assert_eq!(
            ended.stderr.contains("ERROR"),
            code == 1,
            "{args} {stdin:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn delay_holds_back_power_actions_only() {
    let off = run("-o off -n on --delay 1", "");
    assert_eq!(off.code, Some(0), "{}", off.stderr);
    assert!(off.took >= Duration::from_secs(1), "{:?}", off.took);
    let status = run("-o status -n on --delay 20", "");
    assert!(
        status.code == Some(0) && status.took < Duration::from_secs(10),
        "{:?}",
        status.took
    );
}

/// I13: under Pacemaker the Python agents have no limit and hang with their device until killed.
#[test]
fn i13_the_deadline_holds_under_pacemaker_while_a_library_hangs() {
    let start = Instant::now();
    let mut command = agent("-o off -n stuck");
    let child = command
        .env("PCMK_service", "pacemaker-fenced")
        .spawn()
        .expect("start");
    let output = child.wait_with_output().expect("end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("timed out talking to the device"),
        "{stderr}"
    );
    let took = start.elapsed();
    assert!((2..10).contains(&took.as_secs()), "{took:?}");
}

/// Waits until the process has taken over SIGTERM, as the kernel shows it.
fn wait_for_handler(pid: u32) {
    let limit = Instant::now() + Duration::from_secs(20);
    while Instant::now() < limit {
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .expect("mask");
        if u64::from_str_radix(caught.trim(), 16).expect("mask") & (1 << 14) != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the agent did not take over SIGTERM");
}

#[test]
fn sigterm_ends_a_hanging_agent_and_one_in_its_delay() {
    for args in ["-o off -n stuck", "-o off -n on --delay 30"] {
        let mut child = agent(args).spawn().expect("start");
        wait_for_handler(child.id());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
        let start = Instant::now();
        drop(child.stdin.take());
        let output = child.wait_with_output().expect("end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {stderr}");
        assert!(stderr.contains("SIGTERM"), "{args}: {stderr}");
        assert!(start.elapsed() < Duration::from_secs(1), "{args}: {stderr}");
    }
}

#[test]
fn quiet_silences_stderr_and_the_debug_file_keeps_everything() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("debug");
    let ended = run(
        &format!("-q -o status -n nothing -D {}", file.display()),
        "",
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let kept = std::fs::read_to_string(&file).expect("debug file");
    assert!(kept.contains("ERROR: no plug `nothing`"), "{kept}");
    let unwritable = run("-o status -n on -D /nonexistent/debug", "");
    assert_eq!(unwritable.code, Some(1));
    assert!(
        unwritable.stderr.contains("/nonexistent/debug"),
        "{}",
        unwritable.stderr
    );
}

#[test]
fn endless_input_is_refused() {
    let mut child = agent("").spawn().expect("start");
    let mut stdin = child.stdin.take().expect("stdin");
    let line = "x".repeat(4096);
    while writeln!(stdin, "# {line}").is_ok() {}
    let output = child.wait_with_output().expect("end");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("longer than"),
        "{output:?}"
    );
}
