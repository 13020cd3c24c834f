//! `picket apply` over real OpenSSH on machines of namespaces, with real Corosync, Pacemaker, agents and
//! `fence_virtd`.
//!
//! Only systemd is stood in for: namespaces have no first process that could be it. A shell script takes
//! the place of `systemctl` (`support/systemctl`); it starts and stops the real daemons and remembers what
//! is enabled. With real systemd the same code runs in the lab, for nodes only: no test gives a host's
//! `fence_virtd` to a real systemd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use picket_tests::{
    guests::{self, Guest},
    nodes::{self, File, Nodes},
    process::{PATIENCE, Process, Ran, run, wait_for},
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;

const NAMES: [&str; 3] = ["n1", "n2", "h1"];
const MEMBERS: [&str; 2] = ["n1", "n2"];

/// The exit codes, as documented.
const DONE: Option<i32> = Some(0);
const USAGE: Option<i32> = Some(2);
const NOT_REACHED: Option<i32> = Some(30);
const NOT_READY: Option<i32> = Some(31);
const NEEDS_RESTART: Option<i32> = Some(32);
const ROLLED_BACK: Option<i32> = Some(33);
const INCOMPLETE: Option<i32> = Some(34);
const HELD: Option<i32> = Some(37);

const CONF: &str = "/etc/corosync/corosync.conf";
const SYSTEMCTL: &str = include_str!("../support/systemctl");

/// The most that forming the cluster may take on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(240);

/// One cluster at a time: on two processors daemons of several starve each other.
static TURN: Mutex<()> = Mutex::new(());

fn cannot_run() -> bool {
    const AGENT: Need = Need::File("/usr/sbin/fence_xvm", "fence-virt");
    skipped(&[&nodes::NEEDS[..], &nodes::SSH, &[AGENT]].concat())
}

/// Two nodes and a host, each with ssh and what stands in for systemd.
struct Site {
    _turn: MutexGuard<'static, ()>,
    nodes: Nodes,
    config: PathBuf,
    _servers: Vec<Process>,
}

impl Site {
    fn up() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = Nodes::up(&NAMES);
        let daemon = fs::read(ours("fence_virtd")).expect("it was built");
        for name in NAMES {
            let mut files = vec![File::new("/usr/bin/systemctl", 0o755, SYSTEMCTL)];
            if name == "h1" {
                files.push(File::new("/usr/sbin/fence_virtd", 0o755, daemon.clone()));
            }
            nodes.put(name, &files);
            let ran = nodes.exec(name, &["mkdir", "-p", "/run/systemd/system"]);
            assert_eq!(ran.code, DONE, "{ran:?}");
        }
        let (config, servers) = nodes.serve_ssh();
        Self {
            _turn: turn,
            nodes,
            config,
            _servers: servers,
        }
    }

    fn definition(&self, token: &str, resources: &[&str]) -> PathBuf {
        let guest = |name: &str| {
            let uuid = format!("00000000-0000-4000-8000-0000000000{name}");
            Guest::running(name, &uuid.replace('n', "0"))
        };
        let uri = guests::test_uri(&self.nodes.rig.path("guests.xml"), &MEMBERS.map(guest));
        let mut text = format!(
            "[cluster]\nname = \"web\"\n[platform]\nkind = \"kvm\"\nos = \"debian 12\"\n\
             [guests]\nos = \"debian 12\"\n\
             [[host]]\nname = \"h1\"\naddress = \"{}\"\nuri = \"{uri}\"\n\
             [options]\ntoken = \"{token}\"\ndc_deadtime = \"2s\"\n\
             [[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\nkey_file = \"/etc/cluster/fence_xvm.key\"\n\
             [fence_virtd]\nmode = \"standalone\"\ngroups = true\ninterface = \"eth0\"\n",
            self.nodes.address("h1")
        );
        for name in MEMBERS {
            text.push_str(&format!(
                "[[node]]\nname = \"{name}\"\naddress = \"{}\"\nhost = \"h1\"\n",
                self.nodes.address(name)
            ));
        }
        for name in resources {
            text.push_str(&format!(
                "[[service]]\nname = \"{name}\"\n[[service.resource]]\nname = \"d\"\n\
                 agent = \"ocf:pacemaker:Dummy\"\nmonitor = \"10s\"\n"
            ));
        }
        let path = self.nodes.rig.path("cluster.toml");
        fs::write(&path, text).expect("the rig's directory takes files");
        path
    }

    fn command(&self, definition: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(ours("picket"));
        command
            .args(["apply", "--json", "--ssh-config"])
            .arg(&self.config)
            .arg("--secrets")
            .arg(self.nodes.rig.path("secrets"))
            .args(["--timeout", "120"])
            .args(args)
            .arg(definition);
        command
    }

    fn run(&self, definition: &Path, args: &[&str]) -> (Ran, Value) {
        let rig = &self.nodes.rig;
        let mut command = self.command(definition, args);
        let ran = run(&mut command, Some(&rig.cable.host), rig.dir(), None, LIMIT);
        let value = serde_json::from_str(&ran.stdout);
        let value = value.unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        (ran, value)
    }

    /// Runs it and insists on how it ends.
    fn apply(&self, definition: &Path, args: &[&str], code: Option<i32>) -> Value {
        let (ran, value) = self.run(definition, args);
        let daemon = || self.ask("h1", "tail -n 20 /var/log/fence_virtd.out");
        assert_eq!(ran.code, code, "{}\n{}", ran.printed(), daemon());
        value
    }

    /// The kinds and subjects of the alarms that `picket status` raises, for a cluster that works.
    fn alarms(&self, definition: &Path) -> Vec<(String, String)> {
        const DEGRADED: Option<i32> = Some(50);
        let rig = &self.nodes.rig;
        let mut command = Command::new(ours("picket"));
        command
            .args(["status", "--json", "--timeout", "60", "--ssh-config"])
            .arg(&self.config)
            .arg(definition);
        let ran = run(&mut command, Some(&rig.cable.host), rig.dir(), None, LIMIT);
        assert!([DONE, DEGRADED].contains(&ran.code), "{}", ran.printed());
        let status: Value = serde_json::from_str(&ran.stdout).expect("its result is JSON");
        let alarms = status["alarms"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alarms
            .iter()
            .map(|alarm| (text(&alarm["code"]), text(&alarm["subject"])))
            .collect()
    }

    fn ask(&self, node: &str, script: &str) -> String {
        self.nodes
            .exec(node, &["sh", "-c", script])
            .stdout
            .trim()
            .to_owned()
    }

    fn put(&self, node: &str, path: &str, mode: u32, bytes: &str) {
        self.nodes.put(node, &[File::new(path, mode, bytes)]);
    }

    /// Process ids of the members' daemons: they change with a restart.
    fn daemons(&self) -> Vec<String> {
        MEMBERS
            .map(|node| {
                self.ask(
                    node,
                    "cat /run/systemctl/corosync.pid /run/systemctl/pacemaker.pid",
                )
            })
            .to_vec()
    }

    /// Everything that an apply could have changed.
    fn state(&self, node: &str) -> String {
        self.ask(
            node,
            "find /etc/corosync /etc/pacemaker /etc/cluster /etc/fence_virt.conf /etc/systemctl \
             /var/lib/pacemaker/cib -type f -exec sha256sum {} + -exec stat -c '%n %a %U %Y' {} + 2>/dev/null | sort",
        )
    }
}

fn messages(value: &Value) -> String {
    value["problems"].to_string() + &value["error"].to_string()
}

#[test]
fn a_cluster_is_applied_and_a_second_apply_changes_nothing() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let first = site.definition("3s", &["web"]);

    let shown = site.apply(&first, &["--plan"], DONE);
    assert_eq!(shown["outcome"], "planned");
    assert_eq!(shown["plan"]["configuration"]["state"], "fresh");
    for name in NAMES {
        let there = site.ask(
            name,
            "ls /var/lib/picket/apply /etc/corosync/corosync.conf 2>/dev/null",
        );
        assert_eq!(there, "", "showing a plan changes nothing on {name}");
    }
    assert!(!site.nodes.rig.path("secrets").exists(), "nor here");

    site.apply(&first, &[], USAGE);
    assert!(
        !site.nodes.rig.path("secrets").exists(),
        "nobody could be asked"
    );

    let done = site.apply(&first, &["--yes"], DONE);
    assert_eq!(done["outcome"], "applied");
    let running = site.ask("n1", "crm_mon --one-shot --inactive");
    for what in ["web", "fence", "Started"] {
        assert!(running.contains(what), "{running}");
    }
    assert!(!running.contains("Stopped"), "{running}");
    for (node, path, mode) in [
        ("n1", "/etc/corosync/authkey", "400 root"),
        ("n2", "/etc/cluster/fence_xvm.key", "600 root"),
        ("h1", "/etc/cluster/fence_xvm.key", "600 root"),
        ("n2", "/etc/pacemaker/authkey", "440 hacluster"),
    ] {
        assert_eq!(
            site.ask(node, &format!("stat -c '%a %U' {path}")),
            mode,
            "{node} {path}"
        );
    }
    assert_eq!(site.ask("n1", "stat -c %a /var/lib/picket/apply"), "700");
    assert_eq!(
        site.ask("n1", "ls /var/lib/picket/apply/last/new 2>/dev/null"),
        "",
        "no copy of keys stays"
    );

    let (daemons, before) = (site.daemons(), NAMES.map(|name| site.state(name)));
    let again = site.apply(&first, &["--yes"], DONE);
    assert_eq!(again["outcome"], "unchanged", "{again}");
    assert_eq!(
        again["report"]["warnings"],
        Value::Array(Vec::new()),
        "{again}"
    );
    assert_eq!(site.daemons(), daemons);
    assert_eq!(NAMES.map(|name| site.state(name)), before);

    changes_that_need_no_restart(&site, &daemons);
    what_an_administrator_holds(&site);
    what_status_says_of_another_definition(&site);
    changes_that_do(&site, &daemons);
}

fn changes_that_need_no_restart(site: &Site, daemons: &[String]) {
    let changed = site.definition("4s", &["web", "db"]);
    let shown = site.apply(&changed, &["--plan"], DONE);
    let diff = shown["plan"]["machines"].to_string();
    assert!(
        diff.contains("-\\ttoken: 3000") && diff.contains("+\\ttoken: 4000"),
        "{diff}"
    );
    assert_eq!(
        shown["plan"]["configuration"]["state"], "replace",
        "{shown}"
    );
    site.apply(&changed, &["--yes"], DONE);
    for node in MEMBERS {
        let token = site.ask(node, "corosync-cmapctl -g runtime.config.totem.token");
        assert!(token.ends_with("= 4000"), "{node}: {token}");
    }
    let running = site.ask("n2", "crm_mon --one-shot --inactive");
    assert!(
        running.contains("db") && !running.contains("Stopped"),
        "{running}"
    );
    assert_eq!(site.daemons(), daemons, "nothing was restarted");
    assert_eq!(
        site.apply(&changed, &["--yes"], DONE)["outcome"],
        "unchanged"
    );
}

/// A node in standby and a ban are an administrator's word: no failure, and not passed over either.
fn what_an_administrator_holds(site: &Site) {
    let definition = site.definition("4s", &["web", "db"]);
    let say = |script: &str| {
        let ran = site.nodes.exec("n1", &["sh", "-c", script]);
        assert_eq!(ran.code, DONE, "{script}: {ran:?}");
    };
    let settle = "crm_resource --wait --timeout=60";
    say(&format!(
        "crm_attribute --node n2 --name standby --update on && {settle}"
    ));
    // The services have moved; the device that fences n1 has no other node to run on.
    let standby = site.apply(&definition, &["--yes"], HELD);
    assert_eq!(standby["outcome"], "unchanged", "{standby}");
    let words = &standby["report"]["held"];
    assert_eq!(words.as_array().map(Vec::len), Some(1), "{words}");
    assert!(
        words
            .to_string()
            .contains("fence.virt.n1 is not started: n2 is in standby"),
        "{words}"
    );
    say(&format!(
        "crm_resource --resource web --ban --node n1 && {settle}"
    ));
    let held = site.apply(&definition, &["--yes"], HELD);
    assert_eq!(held["outcome"], "unchanged", "{held}");
    let words = held["report"]["held"].to_string();
    for said in ["web.d is not started", "n2 is in standby", "banned from n1"] {
        assert!(words.contains(said), "{said} in {words}");
    }
    assert!(!words.contains("db.d"), "{words}");
    let alarms = site.alarms(&definition);
    assert!(
        alarms.contains(&("resource-held".to_owned(), "web.d".to_owned())),
        "{alarms:?}"
    );
    // With a change to make, too: that is made, and the ban stays.
    let changed = site.definition("5s", &["web", "db"]);
    a_reload_that_does_nothing_is_found_out(site, &changed);
    let held = site.apply(&changed, &["--yes"], HELD);
    assert_eq!(held["outcome"], "applied", "{held}");
    say(&format!(
        "crm_resource --resource web --clear && crm_attribute --node n2 --name standby --delete && {settle}"
    ));
    site.apply(&definition, &["--yes"], DONE);
}

/// What `corosync-cfgtool` ends with is not taken for evidence.
fn a_reload_that_does_nothing_is_found_out(site: &Site, changed: &Path) {
    let liar = "/usr/local/sbin/corosync-cfgtool";
    site.put("n1", liar, 0o755, "#!/bin/sh\nexit 0\n");
    let believed = site.apply(changed, &["--yes"], INCOMPLETE);
    let said = believed["error"].to_string();
    for node in MEMBERS {
        let words = format!("{node}: ");
        assert!(said.contains(&words), "{said}");
    }
    assert!(
        said.contains("totem.token is 4000, and should be 5000"),
        "{said}"
    );
    site.ask("n1", &format!("rm {liar}"));
}

fn what_status_says_of_another_definition(site: &Site) {
    let right = site.alarms(&site.definition("4s", &["web", "db"]));
    let of = |alarms: &[(String, String)], code: &str| -> Vec<String> {
        let with = alarms.iter().filter(|(known, _)| known == code);
        with.map(|(_, subject)| subject.clone()).collect()
    };
    for code in [
        "resource-missing",
        "resource-not-defined",
        "cluster-name",
        "cluster-name-unknown",
    ] {
        assert!(of(&right, code).is_empty(), "{right:?}");
    }
    let other = site.definition("4s", &["web", "mail"]);
    let text = fs::read_to_string(&other).expect("it was just written");
    let text = text.replace("[cluster]\nname = \"web\"", "[cluster]\nname = \"bank\"");
    fs::write(&other, text).expect("the rig's directory takes files");
    let wrong = site.alarms(&other);
    assert_eq!(of(&wrong, "cluster-name"), MEMBERS, "{wrong:?}");
    assert_eq!(of(&wrong, "resource-missing"), ["mail.d"], "{wrong:?}");
    assert_eq!(of(&wrong, "resource-not-defined"), ["db.d"], "{wrong:?}");
}

/// Other secrets are not taken silently, and not without leave to restart.
fn changes_that_do(site: &Site, daemons: &[String]) {
    let definition = site.definition("4s", &["web", "db"]);
    let (here, away) = (site.nodes.rig.path("secrets"), site.nodes.rig.path("away"));
    fs::rename(&here, &away).expect("both are the test's own");
    let refused = site.apply(&definition, &["--yes"], NOT_READY);
    assert_eq!(refused["problems"][0]["kind"], "keys", "{refused}");
    let refused = site.apply(&definition, &["--yes", "--new-keys"], NEEDS_RESTART);
    assert!(
        messages(&refused).contains("/etc/corosync/authkey changes"),
        "{refused}"
    );
    assert_eq!(site.daemons(), daemons, "nothing was restarted");
    site.apply(&definition, &["--yes", "--new-keys", "--restart"], DONE);
    assert!(
        site.daemons()
            .iter()
            .zip(daemons)
            .all(|(now, then)| now != then)
    );
    assert_eq!(
        site.apply(&definition, &["--yes"], DONE)["outcome"],
        "unchanged"
    );
}

#[test]
fn what_is_in_the_way_is_said_before_anything_is_changed() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("3s", &["web"]);
    let before = site.state("n1");

    // Another cluster's node, and a file in the way, and a program that is missing: all at once.
    let foreign = "totem {\n\tversion: 2\n\tcluster_name: bank\n}\n";
    site.put("n2", CONF, 0o644, foreign);
    site.ask("n2", "mkdir -p /etc/cluster/fence_xvm.key");
    site.ask("h1", "rm /usr/sbin/fence_virtd");
    let refused = site.apply(&definition, &["--yes"], NOT_READY);
    let said = messages(&refused);
    for what in [
        "cluster `bank`",
        "fence_xvm.key is not a file",
        "fence_virtd is missing",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(site.ask("n2", &format!("cat {CONF}")), foreign.trim());

    // Unplugged, and a server that is not the known one.
    site.nodes.unplug("n2");
    let known = site.nodes.rig.path("ssh").join("known_hosts");
    let keys = fs::read_to_string(&known).expect("the harness wrote it");
    let other =
        fs::read_to_string(site.nodes.rig.path("ssh").join("client_key.pub")).expect("made");
    let h1 = site.nodes.address("h1");
    fs::write(
        &known,
        format!("{h1} {other}10.78.0.1 {}", keys.trim_start_matches("* ")),
    )
    .expect("written");
    let refused = site.apply(&definition, &["--yes"], NOT_REACHED);
    let problems = refused["problems"].as_array().expect("a list").clone();
    let kind = |machine: &str| {
        let of = |problem: &&Value| problem["machine"] == machine;
        problems
            .iter()
            .find(of)
            .map(|problem| problem["kind"].clone())
    };
    assert_eq!(kind("n2"), Some("unreachable".into()), "{refused}");
    assert_eq!(kind("h1"), Some("refused".into()), "{refused}");
    assert_eq!(kind("n1"), None, "{refused}");
    assert_eq!(site.state("n1"), before);
    assert!(!site.nodes.rig.path("secrets").exists());
}

#[test]
fn a_machine_that_fails_half_way_gets_its_files_back_and_so_do_the_others() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("3s", &["web"]);
    let old = "totem {\n\tversion: 2\n\tcluster_name: web\n}\n";
    site.put("n2", CONF, 0o640, old);
    let before = NAMES.map(|name| site.state(name));

    // Corosync there does not accept the new configuration.
    let picky =
        "#!/bin/sh\n[ \"$1\" = -v ] && exec /usr/sbin/corosync -v\necho no such thing; exit 8\n";
    site.put("n2", "/usr/local/sbin/corosync", 0o755, picky);
    let failed = site.apply(&definition, &["--yes"], ROLLED_BACK);
    assert!(messages(&failed).contains("no such thing"), "{failed}");
    assert_eq!(NAMES.map(|name| site.state(name)), before);
    site.ask("n2", "rm /usr/local/sbin/corosync");

    // The second rename there fails.
    let clumsy =
        "#!/bin/sh\ncase $2 in */.picket-1) echo no >&2; exit 1 ;; esac\nexec /bin/mv \"$@\"\n";
    site.put("n2", "/usr/local/bin/mv", 0o755, clumsy);
    let failed = site.apply(&definition, &["--yes"], ROLLED_BACK);
    assert!(
        messages(&failed).contains("the former files are back"),
        "{failed}"
    );
    site.ask("n2", "rm /usr/local/bin/mv");
    for name in NAMES {
        let files = |state: &str| {
            let without_times = state
                .lines()
                .map(|line| line.rsplit_once(' ').map_or(line, |cut| cut.0));
            without_times.map(str::to_owned).collect::<Vec<_>>()
        };
        let was = &before[NAMES
            .iter()
            .position(|known| *known == name)
            .expect("known")];
        assert_eq!(files(&site.state(name)), files(was), "{name}");
        assert_eq!(
            site.ask(name, "ls /var/lib/picket/apply"),
            "",
            "{name}: nothing is left"
        );
        assert_eq!(site.ask(name, "find /etc -name '.picket-*'"), "", "{name}");
    }
}

#[test]
fn an_apply_that_is_killed_is_completed_by_the_next() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("3s", &["web"]);
    // A slow machine: whoever applies is gone before it has replaced its first file.
    let slow = "#!/bin/sh\ncase $2 in */.picket-*) sleep 1 ;; esac\nexec /bin/mv \"$@\"\n";
    site.put("n2", "/usr/local/bin/mv", 0o755, slow);
    let mut command = site.command(&definition, &["--yes"]);
    let rig = &site.nodes.rig;
    let mut process = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
    wait_for("the installation to begin", PATIENCE, || {
        assert!(process.is_running(), "{}", process.printed());
        site.ask("n2", "cat /var/lib/picket/apply/*/state 2>/dev/null")
            .contains("installing")
            .then_some(())
    });
    process.kill();
    site.ask("n2", "rm /usr/local/bin/mv");
    wait_for("the machine to end what it had begun", PATIENCE, || {
        (!site
            .ask("n2", "cat /var/lib/picket/apply/*/state")
            .contains("installing"))
        .then_some(())
    });
    assert_eq!(
        site.ask("n1", "cat /run/systemctl/corosync.pid 2>/dev/null"),
        "",
        "nothing was started"
    );
    let done = site.apply(&definition, &["--yes"], DONE);
    assert_eq!(done["outcome"], "applied");
    for name in NAMES {
        let left = site.ask(name, "find /var/lib/picket/apply -name new -o -name state");
        assert_eq!(left, "", "{name}: no journal and no copies");
    }
    assert_eq!(
        site.apply(&definition, &["--yes"], DONE)["outcome"],
        "unchanged"
    );
}

#[test]
fn a_machine_that_is_lost_half_way_is_reported_and_the_next_apply_goes_on() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("3s", &["web"]);
    let slow = "#!/bin/sh\ncase $2 in */.picket-*) sleep 2 ;; esac\nexec /bin/mv \"$@\"\n";
    site.put("n2", "/usr/local/bin/mv", 0o755, slow);
    let mut command = site.command(&definition, &["--yes"]);
    let rig = &site.nodes.rig;
    let mut process = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
    wait_for("the installation to begin", PATIENCE, || {
        assert!(process.is_running(), "{}", process.printed());
        site.ask("n2", "cat /var/lib/picket/apply/*/state 2>/dev/null")
            .contains("installing")
            .then_some(())
    });
    site.nodes.unplug("n2");
    let ran = process.finish(LIMIT);
    assert_eq!(ran.code, INCOMPLETE, "{ran:?}");
    assert!(
        ran.stdout
            .contains("n2: connection lost while a command was under way"),
        "{ran:?}"
    );
    assert_eq!(
        site.ask("n1", "ls /etc/corosync/corosync.conf 2>/dev/null"),
        "",
        "n1 has its former files"
    );
    site.nodes.plug("n2");
    site.ask("n2", "rm /usr/local/bin/mv");
    assert_eq!(
        site.apply(&definition, &["--yes"], DONE)["outcome"],
        "applied"
    );
    assert_eq!(
        site.apply(&definition, &["--yes"], DONE)["outcome"],
        "unchanged"
    );
}
