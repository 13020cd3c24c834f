//! The whole from arguments to exit status, with guests in memory.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};

use fence_agent::{Agent, Facility, Opt, common, metadata, start};
use hypervisor::GuestState;
use hypervisor::memory::{Calls, Faults, MemoryGuest, MemoryHypervisor};

use super::*;

thread_local! {
    static WORLD: RefCell<Option<MemoryHypervisor>> = const { RefCell::new(None) };
    static LOGIN: RefCell<Option<Login>> = const { RefCell::new(None) };
}

/// Guests of this thread's world.
struct InMemory;

impl Platform for InMemory {
    type Config = ();
    const PORTS: Ports = Ports {
        plain: 80,
        tls: 443,
    };

    fn check(options: &Options, _: &Access) -> Result<(), Vec<String>> {
        match options.text("own") {
            Some("wrong") => Err(vec!["own is wrong".to_owned()]),
            _ => Ok(()),
        }
    }

    fn connect((): (), login: Login, _: Interrupt) -> Result<Box<dyn Managed>, Error> {
        LOGIN.set(Some(login));
        let world = WORLD.with_borrow(Clone::clone);
        world
            .map(|world| Box::new(world) as Box<dyn Managed>)
            .ok_or_else(|| Error::Unreachable {
                by: "memory".to_owned(),
                detail: "no world".to_owned(),
            })
    }

    fn guest((): &(), plug: &str) -> Result<GuestRef, String> {
        match plug
            .strip_prefix('{')
            .and_then(|plug| plug.strip_suffix('}'))
        {
            _ if plug == "nobody" => Err("means nobody".to_owned()),
            Some(inner) => Ok(GuestRef::parse(inner)),
            None => Ok(GuestRef::parse(plug)),
        }
    }
}

static OPTIONS: [Opt; 29] = options([
    common::POWER_WAIT.default("0"),
    Opt::text("own").help("value", "The platform's own"),
]);

static AGENT: Agent = Agent {
    name: "fence_memory",
    shortdesc: "Fence agent for guests in memory",
    longdesc: "For tests.",
    vendor_url: "",
    version: "0",
    symlinks: &[],
    options: &OPTIONS,
    actions: &common::ACTIONS,
    ignored: &[],
    facility: Facility::User,
    notes: &[NOTE_TLS, NOTE_LIMITS],
};

/// Guests `vm1` (on), `vm2` (off), and what becomes of them.
struct World(MemoryHypervisor);

impl World {
    fn new() -> Self {
        let world = MemoryHypervisor::new("memory");
        world.add(MemoryGuest::running("vm1"));
        world.add(MemoryGuest::shut_off("vm2"));
        Self(world)
    }

    /// Runs the agent; its exit status.
    fn run(&self, args: &[&str]) -> u8 {
        WORLD.set(Some(self.0.clone()));
        let common = ["--ip=host", "--username=u", "--password=hunter2", "--quiet"];
        let args = common.iter().chain(args).map(OsString::from);
        let exit = start(
            &AGENT,
            OsStr::new("fence_memory"),
            args,
            &Through::<InMemory>::BEHAVIOUR,
        );
        exit.code()
    }

    fn is_on(&self, name: &str) -> bool {
        self.0.guest(name).unwrap().active
    }

    fn calls(&self) -> Calls {
        self.0.calls()
    }
}

#[test]
fn the_table_is_sound() {
    assert_eq!(AGENT.self_check(), Vec::<String>::new());
    let xml = metadata::render(&AGENT, "fence_memory");
    assert!(
        xml.contains("<parameter name=\"ssl_ca\" unique=\"0\" required=\"0\">"),
        "{xml}"
    );
    assert!(
        xml.contains("<content type=\"integer\" default=\"80\" />"),
        "{xml}"
    );
}

#[test]
fn every_action_ends_the_session() {
    for (args, exit) in [
        (&["-o", "status", "-n", "vm1"][..], 0),
        (&["-o", "status", "-n", "vm2"], 2),
        (&["-o", "off", "-n", "vm1"], 0),
        (&["-o", "off", "-n", "vm2"], 0),
        (&["-o", "on", "-n", "vm2"], 0),
        (&["-o", "reboot", "-n", "vm1"], 0),
        (&["-o", "list"], 0),
        (&["-o", "list-status"], 0),
        (&["-o", "monitor"], 0),
        (&["-o", "monitor", "-n", "vm1"], 0),
        (&["-o", "status", "-n", "nosuch"], 1),
        (&["-o", "off", "-n", "nosuch"], 1),
        (&["-o", "monitor", "-n", "nosuch"], 1),
    ] {
        let world = World::new();
        assert_eq!(world.run(args), exit, "{args:?}");
        assert_eq!(world.calls().log_out, 1, "{args:?}");
    }
}

#[test]
fn off_is_off_and_on_is_on() {
    let world = World::new();
    assert_eq!(world.run(&["-o", "off", "-n", "vm1"]), 0);
    assert!(!world.is_on("vm1"));
    assert_eq!(world.run(&["-o", "on", "-n", "vm1"]), 0);
    assert!(world.is_on("vm1"));
    assert_eq!(world.run(&["-o", "reboot", "-n", "vm1"]), 0);
    assert!(world.is_on("vm1"));
    assert_eq!((world.calls().ended, world.calls().started), (2, 2));
    // By UUID, and by the platform's own way of writing one.
    let uuid = world.0.guest("vm1").unwrap().uuid.to_string();
    assert_eq!(world.run(&["-o", "off", "-n", &uuid]), 0);
    assert!(!world.is_on("vm1"));
    assert_eq!(world.run(&["-o", "on", "-n", &format!("{{{uuid}}}")]), 0);
    assert!(world.is_on("vm1"));
}

/// I29: each of several plugs, or failure.
#[test]
fn every_plug_is_switched_or_the_run_fails() {
    let world = World::new();
    world.0.add(MemoryGuest::running("vm3"));
    assert_eq!(world.run(&["-o", "off", "-n", "vm1,vm2,vm3"]), 0);
    assert!(!world.is_on("vm1") && !world.is_on("vm3"));
    for plugs in ["vm1,vm3", "vm3,vm1"] {
        world.0.add(MemoryGuest::running("vm1"));
        world.0.add(MemoryGuest::running("vm3"));
        world.0.change("vm3", |guest| guest.ignore = true);
        assert_eq!(world.run(&["-o", "off", "-n", plugs]), 1);
        assert!(world.is_on("vm3"));
    }
    assert_eq!(world.run(&["-o", "off", "-n", "vm1,nosuch"]), 1);
}

/// I10, I11: what can go on is not off; what cannot be told is a failure.
#[test]
fn only_off_is_off() {
    let world = World::new();
    for state in [
        GuestState::Paused,
        GuestState::PmSuspended,
        GuestState::ShuttingDown,
        GuestState::Crashed,
    ] {
        world.0.add(MemoryGuest {
            state,
            ..MemoryGuest::running("vm1")
        });
        assert_eq!(world.run(&["-o", "status", "-n", "vm1"]), 0, "{state}");
        assert_eq!(world.run(&["-o", "off", "-n", "vm1"]), 0, "{state}");
        assert_eq!(world.0.guest("vm1").unwrap().state, GuestState::ShutOff);
    }
    world.0.add(MemoryGuest {
        state: GuestState::Other(99),
        ..MemoryGuest::running("vm1")
    });
    for action in ["status", "off", "on"] {
        assert_eq!(world.run(&["-o", action, "-n", "vm1"]), 1, "{action}");
    }
}

#[test]
fn monitor_needs_the_privilege_and_not_the_list() {
    let world = World::new();
    assert_eq!(world.run(&["-o", "monitor"]), 0);
    assert_eq!((world.calls().list, world.calls().may_switch), (0, 1));
    world.0.set_faults(Faults {
        forbidden: Some("no permit".to_owned()),
        ..Faults::default()
    });
    assert_eq!(world.run(&["-o", "monitor"]), 1);
    assert_eq!(world.run(&["-o", "monitor", "-n", "vm1"]), 1);
    assert_eq!(world.run(&["-o", "status", "-n", "vm1"]), 0);
}

#[test]
fn failures_are_never_success_and_the_session_ends_anyway() {
    for faults in [
        Faults {
            unreachable: Some("down".to_owned()),
            ..Faults::default()
        },
        Faults {
            no_goodbye: Some("gone".to_owned()),
            ..Faults::default()
        },
    ] {
        let world = World::new();
        let goodbye = faults.no_goodbye.is_some();
        world.0.set_faults(faults);
        // That the end of the session is not confirmed changes nothing about what was done.
        assert_eq!(world.run(&["-o", "off", "-n", "vm1"]), u8::from(!goodbye));
        assert_eq!(world.calls().log_out, 1);
    }
    let world = World::new();
    world
        .0
        .change("vm1", |guest| guest.refuse = Some("backup".to_owned()));
    assert_eq!(world.run(&["-o", "off", "-n", "vm1"]), 1);
    assert!(world.is_on("vm1"));
}

/// I13: a switch that does not end is given up at its limit; it may still take effect, so this is no "not done".
#[test]
fn a_slow_switch_has_an_end() {
    let world = World::new();
    world.0.set_faults(Faults {
        slow_action: Duration::from_secs(100),
        ..Faults::default()
    });
    let begun = std::time::Instant::now();
    assert_eq!(
        world.run(&["-o", "off", "-n", "vm1", "--power-timeout=1"]),
        1
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(world.calls().log_out, 1);
}

fn login() -> Login {
    LOGIN.with_borrow(Clone::clone).unwrap()
}

#[test]
fn where_to_and_whom_to_trust() {
    use https::{Scheme, Trust};
    let world = World::new();
    let authorities = || Trust::Authorities("/etc/ca.pem".into());
    for (args, scheme, port, trust) in [
        (&[][..], Scheme::Http, 80, Trust::System),
        (&["--ssl"], Scheme::Https, 443, Trust::System),
        (&["--ssl-secure"], Scheme::Https, 443, Trust::System),
        (&["--ssl-insecure"], Scheme::Https, 443, Trust::Anybody),
        (
            &["--ssl", "--ssl-insecure"],
            Scheme::Https,
            443,
            Trust::Anybody,
        ),
        (
            &["--ssl-secure", "--ssl-insecure"],
            Scheme::Https,
            443,
            Trust::System,
        ),
        (&["--ssl-ca=/etc/ca.pem"], Scheme::Https, 443, authorities()),
        (
            &["--ssl", "--ssl-ca=/etc/ca.pem", "-u", "8443"],
            Scheme::Https,
            8443,
            authorities(),
        ),
        (
            &["--notls", "-u", "8080"],
            Scheme::Http,
            8080,
            Trust::System,
        ),
    ] {
        let args = [&["-o", "status", "-n", "vm1"], args].concat();
        assert_eq!(world.run(&args), 0);
        let endpoint = login().endpoint;
        assert_eq!(
            (endpoint.scheme, endpoint.port, endpoint.trust),
            (scheme, port, trust),
            "{args:?}"
        );
    }
    let contradiction = ["-o", "status", "-n", "vm1", "--ssl-insecure", "--ssl-ca=/x"];
    assert_eq!(world.run(&contradiction), 1);
}

#[test]
fn the_password_may_come_from_a_script() {
    let world = World::new();
    let printed = |script: &str| {
        LOGIN.set(None);
        let option = format!("--password-script={script}");
        let exit = world.run(&["-o", "status", "-n", "vm1", &option]);
        let login = LOGIN.with_borrow(Clone::clone);
        (exit, login.map(|login| login.password.to_string()))
    };
    assert_eq!(
        printed("printf ' geheim \\n\\n'"),
        (0, Some(" geheim".to_owned()))
    );
    for script in ["/no/such/program", "false", "true", "echo x | cat"] {
        assert_eq!(printed(script), (1, None), "{script}");
    }
    assert!(!format!("{:?}", login_with_secret()).contains("hunter2"));
}

fn login_with_secret() -> Login {
    World::new().run(&["-o", "status", "-n", "vm1"]);
    let login = login();
    assert_eq!(&**login.password, "hunter2");
    login
}

#[test]
fn wrong_options_are_told_before_anything_is_done() {
    let world = World::new();
    for args in [
        &["-o", "status"][..],
        &["-o", "off", "-n", "nobody"],
        &["-o", "off", "-n", "vm1", "--own=wrong"],
        &["-o", "off", "-n", "vm1", "--ip=https://host/"],
        &["-o", "validate-all", "-n", "vm1", "--ip=a b"],
        &["-o", "off", "-n", "vm1", "--ipport=0"],
    ] {
        assert_eq!(world.run(args), 1, "{args:?}");
    }
    assert_eq!(world.calls(), Calls::default());
    assert_eq!(world.run(&["-o", "validate-all", "-n", "vm1"]), 0);
    assert_eq!(world.calls(), Calls::default());
}

#[test]
fn outcomes_stay_apart() {
    let late = |acted| Error::DeadlinePassed {
        by: "m".to_owned(),
        doing: "x".to_owned(),
        waited: Duration::from_secs(1),
        acted,
    };
    let guest = GuestRef::parse("vm1");
    for (error, kind) in [
        (late(false), FailureKind::TimedOut),
        (late(true), FailureKind::CannotKnow),
        (
            Error::NoSuchGuest {
                guest: guest.clone(),
                by: "m".to_owned(),
            },
            FailureKind::Refused,
        ),
        (
            Error::NotConfirmed {
                guest,
                by: "m".to_owned(),
                saw: "on".to_owned(),
            },
            FailureKind::CannotKnow,
        ),
        (
            Error::Busy {
                by: "m".to_owned(),
                waiting: 3,
            },
            FailureKind::Unreachable,
        ),
    ] {
        let text = error.to_string();
        let failure = device::failure(error);
        assert_eq!(failure.kind, kind, "{text}");
        assert!(failure.message.ends_with(&text));
    }
    // What Pacemaker looks for.
    assert!(device::failure(late(true)).message.starts_with("timed out"));
}

/// The body of the child of the next test.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_that_waits() {
    let world = World::new();
    let exit = world.run(&["-o", "off", "-n", "vm1", "--power-wait=60"]);
    println!(
        "exit={exit} ended={} log_out={}",
        world.calls().ended,
        world.calls().log_out
    );
}

/// SIGTERM ends every wait, and the session ends all the same.
#[test]
fn sigterm_ends_the_run_and_the_session() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let begun = std::time::Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "managed::tests::child_that_waits",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = rustix::process::Pid::from_child(&child);
    std::thread::sleep(Duration::from_millis(700));
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let told: Vec<String> = lines.filter(|line| line.contains("exit=")).collect();
    assert!(child.wait().unwrap().success());
    assert!(
        told.len() == 1 && told[0].ends_with("exit=1 ended=1 log_out=1"),
        "{told:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}
