//! Pacemaker's own fencer calls our agents: the real caller, with no cluster around it.
//!
//! `pacemaker-fenced` runs stand-alone in the guest's namespace, where `/usr/sbin`, the directory it
//! takes agents from, has ours laid over the packaged ones. On the host runs our daemon.

use std::{
    fs,
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use picket_tests::{
    Subject,
    agent::{Call, Program},
    daemon::{Config, Daemon, Route},
    guests,
    net::HOST_V4,
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::{Need, skipped_with},
    subject::ours,
};

const NEEDS: [Need; 4] = [
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
    Need::File("/usr/bin/nsenter", "util-linux"),
    Need::File("/usr/bin/xmllint", "libxml2-utils"),
];

const LAY_OVER: &str = "mount --make-rprivate / && \
    mount -t overlay overlay -o \"lowerdir=/usr/sbin,upperdir=$1/upper,workdir=$1/work\" /usr/sbin && \
    mount -t tmpfs tmpfs /dev/shm && \
    mount -t tmpfs tmpfs /var/log/pacemaker && \
    mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores && \
    exec /usr/lib/pacemaker/pacemaker-fenced -s -l \"$1/fenced.log\"";

/// A fencer that runs our agents. Its process namespace ends with it, agents included.
struct Fencer {
    rig: Rig,
    unshare: Process,
}

impl Fencer {
    fn start(rig: Rig) -> Self {
        for dir in ["upper", "work"] {
            fs::create_dir(rig.path(dir)).expect("the test's directory takes directories");
        }
        for program in Program::BOTH {
            let link = rig.path("upper").join(program.name());
            symlink(ours("picket-agents"), link).expect("a new directory is empty");
        }
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "-i",
            "-p",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]);
        command.args(["sh", "-c", LAY_OVER, "sh"]).arg(rig.dir());
        let unshare = Process::start(&mut command, Some(&rig.cable.guest), rig.dir());
        let fencer = Self { rig, unshare };
        wait_for("pacemaker-fenced to answer", PATIENCE, || {
            (fencer.admin(&["-L"]).code == Some(0)).then_some(())
        });
        fencer
    }

    /// The fencer itself is the only child of `unshare`.
    fn pid(&self) -> Option<String> {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }

    /// Runs `stonith_admin` beside the fencer.
    fn admin(&self, args: &[&str]) -> Ran {
        let pid = self.pid().unwrap_or_else(|| "0".to_owned());
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &pid, "-m", "-i", "-n", "-p", "stonith_admin"])
            .args(args);
        run(
            &mut command,
            None,
            self.rig.dir(),
            None,
            Duration::from_secs(90),
        )
    }

    /// Registers a device for the nodes `node1` and `node2`, which are the guests `vm1` and `vm2`.
    fn register(&self, name: &str, program: Program, more: &[&str]) -> Ran {
        let key = format!("key_file={}", self.rig.key().display());
        let address = format!("ipaddr={HOST_V4}");
        let mut args = vec!["-R", name, "-a", program.name(), "-o", &key];
        args.extend(["-o", "pcmk_host_map=node1:vm1;node2:vm2;node3:vm3"]);
        if program == Program::Virt {
            args.extend(["-o", &address]);
        }
        for option in more {
            args.extend(["-o", option]);
        }
        self.admin(&args)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.rig.path("fenced.log")).unwrap_or_default()
    }
}

#[track_caller]
fn done(what: &str, ran: &Ran, fencer: &Fencer) {
    assert_eq!(
        ran.code,
        Some(0),
        "{what}: {ran:?}\n{}\n{}",
        fencer.log(),
        fencer.unshare.printed()
    );
}

/// The route a program of ours takes here.
fn route(program: Program) -> Route {
    match program {
        Program::Xvm => Route::MulticastV4,
        Program::Virt => Route::TcpV4,
    }
}

fn daemon_for(rig: &Rig, program: Program) -> Daemon {
    let uri = rig.hypervisor("node.xml", &guests::pair());
    Daemon::start(rig, Subject::Ours, &Config::new(rig, route(program), &uri))
}

/// The state of a guest, asked by the C agent.
fn status(rig: &Rig, program: Program, guest: &str) -> Option<i32> {
    Call::over(rig, Subject::C, route(program))
        .act(rig, "status", Some(guest))
        .code
}

#[test]
fn the_agents_are_listed_and_described() {
    if skipped_with(&NEEDS) {
        return;
    }
    let fencer = Fencer::start(Rig::new());
    let listed = fencer.admin(&["--list-installed"]);
    done("list", &listed, &fencer);
    for program in Program::BOTH {
        let name = program.name();
        assert!(
            listed.stdout.lines().any(|line| line.trim() == name),
            "{listed:?}"
        );
        let metadata = fencer.admin(&["-M", "-a", name]);
        done("metadata", &metadata, &fencer);
        // Ours, not the packaged one: it speaks of itself in other words.
        let own = Call::new(Subject::Ours, program, &["-o", "metadata"]).run(&fencer.rig);
        let longdesc = |xml: &str| {
            let from = xml
                .split_once("<longdesc>")
                .map(|(_, rest)| rest.to_owned());
            from.and_then(|rest| Some(rest.split_once("</longdesc>")?.0.trim().to_owned()))
        };
        assert!(longdesc(&own.stdout).is_some(), "{own:?}");
        assert_eq!(longdesc(&metadata.stdout), longdesc(&own.stdout), "{name}");
        for parameter in ["plug", "port", "key_file", "timeout"] {
            assert!(
                metadata.stdout.contains(&format!("name=\"{parameter}\"")),
                "{name}: {parameter}"
            );
        }
        for action in [
            "on", "off", "reboot", "status", "monitor", "list", "start", "stop",
        ] {
            assert!(
                metadata
                    .stdout
                    .contains(&format!("<action name=\"{action}\"")),
                "{name}: {action}"
            );
        }
    }
}

/// The whole way: fencer, agent, network, daemon, hypervisor, and back.
#[test]
fn nodes_are_fenced_and_unfenced() {
    if skipped_with(&NEEDS) {
        return;
    }
    for program in Program::BOTH {
        let rig = Rig::new();
        let _daemon = daemon_for(&rig, program);
        let fencer = Fencer::start(rig);
        let rig = &fencer.rig;
        done("register", &fencer.register("dev", program, &[]), &fencer);
        done("query", &fencer.admin(&["-Q", "dev"]), &fencer);
        let targets = fencer.admin(&["--list-targets", "dev"]);
        done("list of targets", &targets, &fencer);
        for (action, state) in [("-F", 2), ("-F", 2), ("-U", 0), ("-B", 0)] {
            let ran = fencer.admin(&[action, "node1", "-t", "30"]);
            done(action, &ran, &fencer);
            assert_eq!(status(rig, program, "vm1"), Some(state), "after {action}");
            assert_eq!(
                status(rig, program, "vm2"),
                Some(0),
                "after {action} of the other"
            );
        }
        // A node whose guest nobody knows is never fenced.
        let ran = fencer.admin(&["-F", "node3", "-t", "20"]);
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    }
}

/// With no host map and no list of hosts the fencer asks the agent which guests it can fence.
#[test]
fn targets_are_found_by_the_agents_list() {
    if skipped_with(&NEEDS) {
        return;
    }
    let rig = Rig::new();
    let _daemon = daemon_for(&rig, Program::Virt);
    let fencer = Fencer::start(rig);
    let key = format!("key_file={}", fencer.rig.key().display());
    let address = format!("ipaddr={HOST_V4}");
    let ran = fencer.admin(&["-R", "dev", "-a", "fence_virt", "-o", &key, "-o", &address]);
    done("register", &ran, &fencer);
    let ran = fencer.admin(&["-F", "vm2", "-t", "30"]);
    done("fence", &ran, &fencer);
    assert_eq!(status(&fencer.rig, Program::Virt, "vm2"), Some(2));
    let ran = fencer.admin(&["-F", "vm3", "-t", "20"]);
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
}

/// The agent's own limit holds, also when Pacemaker calls: with a daemon that stands still, fencing
/// fails when the agent's attempts are over, long before the fencer would kill it.
#[test]
fn deadlines_hold_when_pacemaker_calls() {
    if skipped_with(&NEEDS) {
        return;
    }
    for program in Program::BOTH {
        let rig = Rig::new();
        let daemon = daemon_for(&rig, program);
        let fencer = Fencer::start(rig);
        done(
            "register",
            &fencer.register("dev", program, &["timeout=2"]),
            &fencer,
        );
        daemon.process.freeze();
        let begun = Instant::now();
        let ran = fencer.admin(&["-F", "node1", "-t", "60"]);
        let took = begun.elapsed();
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
        // Two attempts of two seconds, and the fencer's pause between them.
        assert!(took < Duration::from_secs(20), "{took:?}: {ran:?}");
        daemon.process.thaw();
        wait_for(
            "the guest, which nobody fenced, to be seen",
            PATIENCE,
            || (status(&fencer.rig, program, "vm1") == Some(0)).then_some(()),
        );
    }
}

/// What Pacemaker's administrator is told when the device is configured wrongly.
#[test]
fn a_wrong_key_fails_the_monitor() {
    if skipped_with(&NEEDS) {
        return;
    }
    let rig = Rig::new();
    let _daemon = daemon_for(&rig, Program::Virt);
    let fencer = Fencer::start(rig);
    let other = fencer.rig.write_private("other", b"another key");
    let wrong = format!("key_file={}", other.display());
    let address = format!("ipaddr={HOST_V4}");
    let ran = fencer.admin(&[
        "-R",
        "dev",
        "-a",
        "fence_virt",
        "-o",
        &wrong,
        "-o",
        &address,
        "-o",
        "timeout=3",
    ]);
    done("register", &ran, &fencer);
    let ran = fencer.admin(&["-Q", "dev"]);
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    assert!(
        fencer.log().contains("key"),
        "the reason reaches the log:\n{}",
        fencer.log()
    );
}

#[test]
fn options_are_validated() {
    if skipped_with(&NEEDS) {
        return;
    }
    let fencer = Fencer::start(Rig::new());
    let key = format!("key_file={}", fencer.rig.key().display());
    let right = fencer.admin(&["-K", "-a", "fence_xvm", "-o", &key]);
    done("validate", &right, &fencer);
    let wrong = fencer.admin(&["-K", "-a", "fence_xvm", "-o", "key_file=/nonexistent/key"]);
    assert!(wrong.code.is_some_and(|code| code != 0), "{wrong:?}");
    assert!(wrong.printed().contains("/nonexistent/key"), "{wrong:?}");
}

/// The schema of fence-agents.
const SCHEMA: &str = "/usr/share/cluster/relaxng/metadata.rng";

#[test]
fn metadata_follows_the_schema_of_fence_agents() {
    if skipped_with(&[&NEEDS[..], &[Need::File(SCHEMA, "fence-agents")]].concat()) {
        return;
    }
    let rig = Rig::new();
    for program in Program::BOTH {
        for call in [
            Call::new(Subject::Ours, program, &["-o", "metadata"]),
            Call::new(Subject::Ours, program, &[]).input("action=metadata\n"),
        ] {
            let ran = call.run(&rig);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let file = rig.write_private("metadata.xml", ran.stdout.as_bytes());
            let mut xmllint = Command::new("xmllint");
            xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(file);
            let checked = run(&mut xmllint, None, rig.dir(), None, PATIENCE);
            assert_eq!(checked.code, Some(0), "{}: {checked:?}", program.name());
        }
    }
}
