//! `picket status` on clusters of namespaces with real Corosync, Pacemaker, ssh and `fence_virtd`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use picket_tests::{
    Subject,
    daemon::{Config, Daemon, Route},
    guests::Guest,
    net::HOST_V4,
    nodes::{self, FORMING, File, Nodes, plain_cluster},
    process::{PATIENCE, Process, Ran, run, wait_for},
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;
use tempfile::TempDir;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const KEY: &str = "/etc/cluster/fence_xvm.key";

/// The exit codes, as documented.
const HEALTHY: Option<i32> = Some(0);
const DEGRADED: Option<i32> = Some(50);
const NO_QUORUM: Option<i32> = Some(51);
const UNREACHABLE: Option<i32> = Some(52);
const SPLIT: Option<i32> = Some(53);

fn cannot_run() -> bool {
    const XMLLINT: Need = Need::File("/usr/bin/xmllint", "libxml2-utils");
    const VIRSH: Need = Need::File("/usr/bin/virsh", "libvirt-clients");
    const AGENT: Need = Need::File("/usr/sbin/fence_virt", "fence-virt");
    skipped(&[&nodes::NEEDS[..], &nodes::SSH, &[XMLLINT, VIRSH, AGENT]].concat())
}

/// Nodes with ssh, and a `picket` on the host that asks them.
struct Site {
    nodes: Nodes,
    config: PathBuf,
    /// Where connections keep their sockets, whose paths must be short.
    runtime: TempDir,
    _servers: Vec<Process>,
}

impl Site {
    fn up() -> Self {
        let nodes = Nodes::up(&NAMES);
        let (config, servers) = nodes.serve_ssh();
        let short = tempfile::Builder::new().prefix("px").tempdir_in("/tmp");
        Self {
            nodes,
            config,
            runtime: short.expect("a directory"),
            _servers: servers,
        }
    }

    /// A definition of the nodes and of what [`configuration`] has; `more` is appended.
    fn definition(&self, name: &str, per_node: &str, more: &str) -> PathBuf {
        let dummy = |name: &str| {
            format!("[[service.resource]]\nname = \"{name}\"\nagent = \"ocf:pacemaker:Dummy\"\n")
        };
        let mut text = format!(
            "[cluster]\nname = \"web\"\n[platform]\nkind = \"kvm\"\nos = \"debian 12\"\n\
             [[service]]\nname = \"web\"\n{}{}\
             [[service]]\nname = \"ping\"\nclone = true\n{}",
            dummy("addr"),
            dummy("page"),
            dummy("d")
        );
        for node in NAMES {
            text.push_str(&format!(
                "[[fence]]\nname = \"{node}\"\nagent = \"fence_virt\"\nlistener = \"tcp\"\n\
                 key_file = \"{}\"\n",
                self.nodes.rig.key().display()
            ));
            text.push_str(&format!(
                "[[node]]\nname = \"{node}\"\nkind = \"guest\"\nguest = \"vm-{node}\"\n\
                 address = \"{}\"\nlevels = [[\"{node}\"]]\n{per_node}\n",
                self.nodes.address(node)
            ));
        }
        text.push_str(more);
        let path = self.nodes.rig.path(name);
        fs::write(&path, text).expect("the rig's directory takes files");
        path
    }

    fn command(&self, definition: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(ours("picket"));
        command
            .arg("status")
            .arg(definition)
            .arg("--ssh-config")
            .arg(&self.config)
            .args(args)
            // The machine may do other things as well.
            .args(if args.contains(&"--timeout") {
                &[][..]
            } else {
                &["--timeout", "25"]
            })
            .env("XDG_RUNTIME_DIR", self.runtime.path());
        command
    }

    fn status(&self, definition: &Path, args: &[&str]) -> Ran {
        let mut command = self.command(definition, args);
        let rig = &self.nodes.rig;
        run(
            &mut command,
            Some(&rig.cable.host),
            rig.dir(),
            None,
            PATIENCE,
        )
    }

    /// What connections have left behind: their sockets' directories.
    fn left_behind(&self) -> Vec<String> {
        fs::read_dir(self.runtime.path())
            .expect("it is there")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    fn json(&self, definition: &Path) -> (Option<i32>, Value) {
        let ran = self.status(definition, &["--json"]);
        (ran.code, parsed(&ran))
    }
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn alarms(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    status["alarms"]
        .as_array()
        .expect("there is a list of alarms")
        .iter()
        .map(|alarm| (text(&alarm["code"]), text(&alarm["subject"])))
        .collect()
}

fn has(status: &Value, code: &str, subject: &str) -> bool {
    alarms(status).contains(&(code.to_owned(), subject.to_owned()))
}

/// Three nodes, a fencing device for each, a group and a clone.
fn configuration() -> String {
    let device = |node: &str| {
        let pairs = [
            ("pcmk_host_check", "static-list"),
            ("pcmk_host_list", node),
            ("pcmk_host_map", &format!("{node}:vm-{node}")),
            ("key_file", KEY),
            ("ipaddr", &HOST_V4.to_string()),
            ("timeout", "3"),
        ]
        .map(|(name, value)| {
            format!("<nvpair id=\"fence.{node}_{name}\" name=\"{name}\" value=\"{value}\"/>")
        });
        format!(
            "<primitive id=\"fence.{node}\" class=\"stonith\" type=\"fence_virt\">\
             <instance_attributes id=\"fence.{node}_p\">{}</instance_attributes></primitive>",
            pairs.concat()
        )
    };
    const DUMMY: &str = "class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"";
    format!(
        "<crm_config><cluster_property_set id=\"o\">\
         <nvpair id=\"o1\" name=\"stonith-enabled\" value=\"true\"/>\
         <nvpair id=\"o2\" name=\"dc-deadtime\" value=\"2s\"/>\
         <nvpair id=\"o3\" name=\"stonith-timeout\" value=\"20s\"/>\
         </cluster_property_set></crm_config><nodes/><resources>{}\
         <group id=\"web\"><primitive id=\"web.addr\" {DUMMY}/><primitive id=\"web.page\" {DUMMY}/></group>\
         <clone id=\"cluster.clone.ping\"><group id=\"ping\"><primitive id=\"ping.d\" {DUMMY}/></group></clone></resources>\
         <constraints><rsc_location id=\"l\" rsc=\"web\" node=\"n3\" score=\"100\"/></constraints>",
        NAMES.map(device).concat()
    )
}

/// Forms the cluster, with our agent in the nodes and our daemon on the host.
fn form(site: &Site) -> Daemon {
    let rig = &site.nodes.rig;
    let guests = NAMES.map(|name| Guest::running(&format!("vm-{name}"), &uuid(name)));
    let uri = rig.hypervisor("guests.xml", &guests);
    let daemon = Daemon::start(rig, Subject::Ours, &Config::new(rig, Route::TcpV4, &uri));
    let mut files = plain_cluster(&NAMES, &configuration());
    let key = fs::read(rig.key()).expect("the rig wrote it");
    files.push(File::new(KEY, 0o600, key));
    let agents = ours("picket-agents").display().to_string();
    for node in NAMES {
        site.nodes.put(node, &files);
        let linked = site
            .nodes
            .exec(node, &["ln", "-sf", &agents, "/usr/sbin/fence_virt"]);
        assert_eq!(linked.code, Some(0), "{linked:?}");
    }
    site.nodes.form();
    daemon
}

fn uuid(node: &str) -> String {
    format!("00000000-0000-4000-8000-0000000000{node}").replace('n', "0")
}

fn well_formed(site: &Site, html: &Path) {
    let dir = site.nodes.rig.dir();
    // As XML nothing that is not escaped gets through; as HTML the elements must be known.
    for args in [&["--noout"][..], &["--noout", "--html"]] {
        let mut xmllint = Command::new("xmllint");
        xmllint.args(args).arg(html);
        let checked = run(&mut xmllint, None, dir, None, PATIENCE);
        assert_eq!(
            (checked.code, checked.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    let text = fs::read_to_string(html).expect("the page is text");
    for outside in [
        "src=", "href=", "url(", "@import", "<script", "<link", "<img",
    ] {
        assert!(!text.contains(outside), "the page has {outside}");
    }
}

/// A cluster from health over the loss of a node, fencing and the loss of quorum to silence.
#[test]
fn a_cluster_is_followed_from_health_to_silence() {
    if cannot_run() {
        return;
    }
    let mut site = Site::up();
    let definition = site.definition("plain.toml", "", "");
    let (code, before) = site.json(&definition);
    assert_eq!(code, NO_QUORUM, "ssh answers, nothing runs: {before}");
    assert!(has(&before, "cluster-not-running", "n2"));

    let daemon = form(&site);
    wait_for("the cluster to be healthy", FORMING, || {
        (site.status(&definition, &[]).code == HEALTHY).then_some(())
    });
    healthy(&site, &definition);
    hosts(&site);
    assert_eq!(site.left_behind(), [""; 0]);

    let mut watch = site.command(&definition, &["--watch=1"]);
    let host = Some(&site.nodes.rig.cable.host);
    let watching = Process::start(&mut watch, host, site.nodes.rig.dir());
    wait_for("the first block", PATIENCE, || {
        watching.stdout().contains("healthy").then_some(())
    });

    let of_the_watch = site.left_behind();
    daemon.process.freeze();
    site.nodes.kill("n3");
    // The tools are asked one after the other: what they say need not be of the same moment.
    const PENDING: [(&str, &str); 4] = [
        ("fencing-pending", "n3"),
        ("node-unclean", "n3"),
        ("node-not-asked", "n3"),
        ("resource-unknown", "web.addr"),
    ];
    wait_for("fencing to be pending", FORMING, || {
        let (code, status) = site.json(&definition);
        assert_ne!(code, HEALTHY, "{status}");
        let all = PENDING.iter().all(|(code, of)| has(&status, code, of));
        all.then_some(())
    });
    // The node that is off has its cable out as well: nothing refuses a connection there.
    site.nodes.unplug("n3");
    let table = site.status(&definition, &["--timeout", "60"]);
    assert_eq!(table.code, DEGRADED, "{table:?}");
    // Its silence must not keep the others waiting, nor leave anything behind.
    assert!(table.took < Duration::from_secs(30), "{table:?}");
    assert_eq!(site.left_behind(), of_the_watch);
    assert!(table.stdout.contains("UNCLEAN (offline)"), "{table:?}");
    assert!(table.stdout.contains("unknown, was Started"), "{table:?}");

    daemon.process.thaw();
    let fenced = wait_for("fencing to succeed", FORMING, || {
        let (_, status) = site.json(&definition);
        (has(&status, "fenced", "n3") && !has(&status, "node-unclean", "n3")).then_some(status)
    });
    let event = &fenced["view"]["fencing"][0];
    assert_eq!(
        (event["target"].as_str(), event["outcome"].as_str()),
        (Some("n3"), Some("success"))
    );
    assert!(
        event["age"].as_u64().is_some_and(|age| age < 300),
        "{event}"
    );
    watched(watching);

    site.nodes.kill("n2");
    wait_for("quorum to be lost", FORMING, || {
        let ran = site.status(&definition, &[]);
        (ran.code == NO_QUORUM && ran.stdout.contains("no quorum")).then_some(())
    });
    site.nodes.kill("n1");
    let (code, silent) = site.json(&definition);
    assert_eq!(
        (code, silent["health"].as_str()),
        (UNREACHABLE, Some("unreachable"))
    );
    assert!(silent["view"].is_null(), "{silent}");
}

fn healthy(site: &Site, definition: &Path) {
    let table = site.status(definition, &[]);
    for expected in [
        "web: healthy, 3 of 3 nodes online",
        "online, coordinator",
        "ocf:pacemaker:Dummy",
        "stonith:fence_virt",
        "web (group)",
    ] {
        assert!(
            table.stdout.contains(expected),
            "no `{expected}` in\n{}",
            table.stdout
        );
    }
    assert!(!table.stdout.contains('\x1b'), "no colours in a pipe");
    let coloured = site.status(definition, &["--colour", "always"]);
    assert!(coloured.stdout.contains("\x1b[32m"), "{coloured:?}");

    let (_, status) = site.json(definition);
    assert_eq!(status["format"], 1);
    assert_eq!(status["health"], "healthy");
    assert_eq!(status["quorum"]["votes"], 3);
    assert_eq!(status["asked"].as_array().map(Vec::len), Some(3));

    let page = site.nodes.rig.path("status.html");
    let path = page.display().to_string();
    fs::write(&page, "old").expect("the rig's directory takes files");
    let ran = site.status(definition, &["--html", &path, "--refresh", "5"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (HEALTHY, ""), "{ran:?}");
    well_formed(site, &page);

    // On a node itself, with nothing but the node.
    let picket = ours("picket").display().to_string();
    let local = site.nodes.exec("n2", &[&picket, "status"]);
    assert_eq!(local.code, HEALTHY, "{local:?}");
    assert!(local.stdout.contains("as n2 sees it"), "{local:?}");

    let one = site.status(definition, &["--node", "n1", "--json"]);
    assert!(one.stdout.contains("not-asked"), "{one:?}");
    assert_eq!(site.status(definition, &["--node", "n9"]).code, Some(2));
}

/// Two hosts: one has all guests and a daemon that answers, the other is off.
fn hosts(site: &Site) {
    let uri = format!("test://{}", site.nodes.rig.path("guests.xml").display());
    let host = |name: &str, address: &str| {
        format!("[[host]]\nname = \"{name}\"\naddress = \"{address}\"\nuri = \"{uri}\"\n")
    };
    let both = host("h1", &HOST_V4.to_string()) + &host("h2", "10.78.0.99");
    let definition = site.definition("hosts.toml", "", &both);
    let (code, status) = site.json(&definition);
    assert_eq!(code, DEGRADED, "{status}");
    assert!(has(&status, "members-on-one-host", "h1"), "{status}");
    assert!(has(&status, "host-unknown", "h2"), "{status}");
    assert_eq!(
        status["hosts"][0]["fence_virtd"]["state"], "answers",
        "{status}"
    );
    assert_eq!(
        status["hosts"][1]["fence_virtd"]["state"], "unknown",
        "{status}"
    );
    for place in status["guests"].as_array().expect("three guests") {
        assert_eq!(place["on"], serde_json::json!(["h1"]), "{place}");
    }
}

/// What was printed while a node was lost and fenced: a block for each change, and none in between.
fn watched(watching: Process) {
    wait_for("the watch to show the fencing", PATIENCE, || {
        watching.stdout().contains("n3 was fenced").then_some(())
    });
    let printed = watching.stdout();
    drop(watching);
    let headlines: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with("web: "))
        .collect();
    assert!(headlines.len() >= 3, "{printed}");
    assert!(headlines[0].contains("healthy"), "{headlines:?}");
    assert!(!printed.contains('\x1b'), "{printed}");
    // Blocks that say the same but for clocks would be noise.
    let bodies: Vec<String> = printed
        .split("\n\nweb: ")
        .map(|block| {
            block
                .lines()
                .filter(|line| !line.starts_with("as "))
                .collect()
        })
        .collect();
    assert!(
        bodies.windows(2).all(|pair| pair[0] != pair[1]),
        "{printed}"
    );
}

/// Tools that print rubbish, hang, or lie with names that a terminal or a browser would obey.
#[test]
fn hostile_answers_are_shown_harmlessly() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("plain.toml", "", "");
    let tool = |node: &str, script: &str| {
        let file = File::new("/usr/sbin/crm_mon", 0o755, format!("#!/bin/sh\n{script}\n"));
        site.nodes.put(node, &[file]);
    };
    tool("n1", "head -c 20000 /dev/urandom");
    tool("n2", "yes '<pacemaker-result>'");
    tool("n3", "sleep 100");
    let begun = Instant::now();
    let ran = site.status(&definition, &["--timeout", "5", "--json"]);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    let status = parsed(&ran);
    assert_eq!(ran.code, UNREACHABLE, "{status}");
    assert!(has(&status, "answer-unreadable", "n1"), "{status}");

    const NAME: &str = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x202e;&#x9;";
    let evil = format!(
        "<pacemaker-result><summary><current_dc present=\"true\" name=\"{NAME}\" with_quorum=\"true\"/>\
         <cluster_options stonith-enabled=\"true\"/></summary><nodes>\
         <node name=\"{NAME}\" id=\"1\" online=\"true\" unclean=\"false\"/></nodes>\
         <resources><resource id=\"{NAME}\" resource_agent=\"stonith:{NAME}\" role=\"{NAME}\"/></resources>\
         <failures><failure op_key=\"{NAME}_monitor_0\" exitreason=\"\u{9b}31m{NAME}\"/></failures>\
         <status code=\"0\"/></pacemaker-result>"
    );
    for node in NAMES {
        tool(node, &format!("cat <<'END'\n{evil}\nEND"));
    }
    let table = site.status(&definition, &[]);
    // None of them sees the others, and each claims quorum.
    assert_eq!(table.code, SPLIT, "{table:?}");
    assert!(
        table.stdout.contains("<script>alert(1)</script>"),
        "{table:?}"
    );
    let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!table.stdout.contains(obeyed), "{:?}", table.stdout);
    let page = site.nodes.rig.path("evil.html");
    let path = page.display().to_string();
    assert_eq!(site.status(&definition, &["--html", &path]).code, SPLIT);
    well_formed(&site, &page);
}

/// "Unreachable" and "refused" are told apart, and neither is taken for a state of the cluster.
#[test]
fn who_lets_nobody_in_is_not_unreachable() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("plain.toml", "", "");
    let locked = site.nodes.exec(
        "n2",
        &[
            "sh",
            "-c",
            "echo 'exit 1' >/root/.nologin; usermod -s /usr/sbin/nologin root",
        ],
    );
    assert_eq!(locked.code, Some(0), "{locked:?}");
    site.nodes.unplug("n3");
    let ran = site.status(&definition, &["--json", "--timeout", "20"]);
    let (code, status) = (ran.code, parsed(&ran));
    assert_eq!(code, NO_QUORUM, "n1 answers that nothing runs: {status}");
    let reason = |index: usize| status["asked"][index]["result"]["reason"]["why"].clone();
    assert_eq!(
        status["asked"][0]["result"]["answer"], "no-cluster",
        "{status}"
    );
    assert_eq!(reason(1), "refused", "{status}");
    assert_eq!(reason(2), "unreachable", "{status}");

    // A server whose key is another than the known one.
    let other = site.nodes.rig.path("ssh").join("known_hosts");
    let key = fs::read_to_string(site.nodes.rig.path("ssh").join("client_key.pub")).expect("a key");
    fs::write(other, format!("* {key}")).expect("one's own file");
    let (code, status) = site.json(&definition);
    assert_eq!(code, UNREACHABLE, "{status}");
    assert_eq!(
        status["asked"][0]["result"]["reason"]["why"], "refused",
        "{status}"
    );
}

/// Start-up files of a login shell that wait for something: that is said, and nothing stays behind.
#[test]
fn a_login_that_hangs_is_named() {
    if cannot_run() {
        return;
    }
    let site = Site::up();
    let definition = site.definition("plain.toml", "", "");
    let file = |text: &str| File::new("/run/root/.bashrc", 0o644, text);
    site.nodes.put("n1", &[file("sleep 300\n")]);
    let ran = site.status(&definition, &["--json", "--timeout", "28"]);
    let status = parsed(&ran);
    assert_eq!(ran.code, NO_QUORUM, "{status}");
    let reason = &status["asked"][0]["result"]["reason"];
    assert_eq!(reason["why"], "unreachable", "{status}");
    let detail = reason["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("the login shell did not run"), "{status}");
    assert_eq!(
        status["asked"][1]["result"]["answer"], "no-cluster",
        "{status}"
    );
    assert_eq!(site.left_behind(), [""; 0]);

    // The same where the time is up before the login is given up.
    let ran = site.status(&definition, &["--json", "--timeout", "8"]);
    let status = parsed(&ran);
    assert_eq!(
        status["asked"][0]["result"]["reason"]["why"], "late",
        "{status}"
    );
    assert_eq!(site.left_behind(), [""; 0]);

    site.nodes.put("n1", &[file("")]);
    let (_, status) = site.json(&definition);
    assert_eq!(
        status["asked"][0]["result"]["answer"], "no-cluster",
        "{status}"
    );
}

/// On a terminal the screen is replaced in place, and given back at the end.
#[test]
fn a_terminal_is_redrawn_and_given_back() {
    const SCRIPT: Need = Need::File("/usr/bin/script", "bsdutils");
    if cannot_run() || skipped(&[SCRIPT]) {
        return;
    }
    let nodes = Nodes::up(&["n1"]);
    let tool = "#!/bin/sh\n[ -e /run/later ] && n=later || n=sooner\ncat <<END\n\
         <pacemaker-result><nodes><node name=\"$n\" online=\"true\" unclean=\"false\"/></nodes>\
         <status code=\"0\"/></pacemaker-result>\nEND\n";
    nodes.put("n1", &[File::new("/usr/sbin/crm_mon", 0o755, tool)]);
    let watch = format!(
        "stty cols 60 rows 20; exec {} status --watch=1",
        ours("picket").display()
    );
    let shell = ["script", "-qefc", &watch, "/dev/null"];
    let mut watching = nodes.spawn("n1", &shell);
    wait_for("the first screen", PATIENCE, || {
        watching.stdout().contains("sooner").then_some(())
    });
    assert_eq!(nodes.exec("n1", &["touch", "/run/later"]).code, Some(0));
    wait_for("the second screen", PATIENCE, || {
        watching.stdout().contains("later").then_some(())
    });
    // By its number in the node: the terminal's own process, found by what it runs.
    let end = "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = \"$1\" ] && kill -INT ${p#/proc/}; done";
    let picket = ours("picket").display().to_string();
    let _ = nodes.exec("n1", &["sh", "-c", end, "sh", &picket]);
    let ended = watching.ended_within(PATIENCE).expect("it heeds SIGINT");
    assert_eq!(ended.code(), Some(130), "cancelled");
    let screen = watching.stdout();
    assert!(screen.starts_with("\x1b[?1049h\x1b[?25l"), "{screen:?}");
    assert!(
        screen.trim_end().ends_with("\x1b[?25h\x1b[?1049l"),
        "{screen:?}"
    );
    // Cleared as a whole once, at the beginning: what is blank in between flickers.
    assert_eq!(screen.matches("\x1b[2J").count(), 1, "{screen:?}");
    assert!(screen.matches("\x1b[H").count() >= 2, "{screen:?}");
}
