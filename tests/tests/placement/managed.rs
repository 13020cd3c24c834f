//! RHEV and oVirt, vCenter, Hyper-V: the same definition, the same commands, another remedy each.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use picket_tests::{
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::temp_dir,
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{DEFINITION, NOT_ENFORCED, NOT_KEPT, SHARED, SUCCESS, UNKNOWN, command, json};

const PASSWORD: &str = "hush-hush";
const VCSIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/vcsim");

/// A platform that a server stands in for, and a definition of two guests there.
struct Site {
    dir: TempDir,
    server: Process,
    port: u16,
}

/// The definition's words for a platform: kind, agent, and what the access is given besides the server and the password.
struct Words {
    kind: &'static str,
    agent: &'static str,
    options: String,
    guests: [&'static str; 2],
    more: &'static str,
}

impl Site {
    fn up(command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = temp_dir();
        let server = Process::start(&mut command(dir.path()), None, dir.path());
        let port = wait_for("the server to listen", PATIENCE * 4, || {
            let said = server.stdout();
            let first = said.lines().next().filter(|_| said.contains('\n'))?;
            // Each server prints its address, some with words around it.
            first
                .split_whitespace()
                .find_map(|word| word.trim_end_matches('/').rsplit_once(':')?.1.parse().ok())
        });
        fs::write(dir.path().join("password"), format!("{PASSWORD}\n"))
            .expect("one's own directory");
        fs::set_permissions(
            dir.path().join("password"),
            fs::Permissions::from_mode(0o600),
        )
        .expect("one's own file");
        Self { dir, server, port }
    }

    fn definition(&self, words: &Words) -> PathBuf {
        let mut text = format!(
            "[cluster]\nname = \"web\"\n[platform]\nkind = \"{}\"\nlive_migration = true\n{}\n\
             [platform.access]\nagent = \"{}\"\n\
             options = {{ ip = \"127.0.0.1\", ipport = {}, {} }}\n\
             secrets = {{ password = \"{}\" }}\n",
            words.kind,
            words.more,
            words.agent,
            self.port,
            words.options,
            self.dir.path().join("password").display()
        );
        for (number, guest) in (1..).zip(words.guests) {
            text.push_str(&format!(
                "[[node]]\nname = \"n{number}\"\nguest = \"{guest}\"\naddress = \"192.0.2.{number}\"\n"
            ));
        }
        let path = self.dir.path().join("cluster.toml");
        fs::write(&path, text).expect("one's own directory");
        path
    }

    fn picket(&self, definition: &Path, what: &str, args: &[&str]) -> Ran {
        let ran = run(
            &mut command(definition, what, args),
            None,
            self.dir.path(),
            None,
            PATIENCE * 2,
        );
        assert!(!ran.printed().contains(PASSWORD), "{ran:?}");
        ran
    }

    fn steps(&self, definition: &Path) -> (Option<i32>, Vec<(String, String)>) {
        let ran = self.picket(definition, "enforce", &["--yes", "--json"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let document = json(&ran);
        let steps = document["steps"].as_array().cloned().unwrap_or_default();
        let steps = steps
            .iter()
            .map(|step| (text(&step["text"]), text(&step["outcome"])));
        (ran.code, steps.collect())
    }
}

fn done(text: &str) -> (String, String) {
    (text.to_owned(), "done".to_owned())
}

fn engine(args: &[&str]) -> impl FnOnce(&Path) -> Command {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    move |dir| {
        let mut command = Command::new(ours("ovirt-engine"));
        command
            .args(["--guests", "0", "--hosts", "3", "--transition", "100"])
            .args(["--guest", "vm1,host=host1", "--guest", "vm2,host=host1"])
            .args(["--user", &format!("admin@corp:{PASSWORD}:SuperUser")])
            .args([
                "--user",
                &format!("plain@corp:{PASSWORD}:UserVmManager@cluster1"),
            ])
            .args(["--tls", "--trust"])
            .arg(dir.join("ca.pem"))
            .args(args);
        command
    }
}

fn rhev(site: &Site, more: &'static str) -> PathBuf {
    site.definition(&Words {
        kind: "rhev",
        agent: "fence_rhevm",
        options: format!(
            "username = \"admin@corp\", ssl_ca = \"{}\"",
            site.dir.path().join("ca.pem").display()
        ),
        guests: ["vm1", "vm2"],
        more,
    })
}

#[test]
fn ovirt_keeps_members_apart_by_an_affinity_group() {
    let site = Site::up(engine(&[]));
    let definition = rhev(&site, "anti_affinity = \"hard\"");
    let shown = site.picket(&definition, "show", &["--json"]);
    assert_eq!(shown.code, SHARED, "{shown:?}");
    assert_eq!(json(&shown)["findings"][0]["host"], "host1");
    let (code, steps) = site.steps(&definition);
    assert_eq!(
        steps,
        [
            done("move n2 from host1 to host2"),
            done("keep n1 and n2 apart, always: rule picket-web")
        ]
    );
    assert_eq!(code, SUCCESS);
    let shown = site.picket(&definition, "show", &["--json"]);
    assert_eq!(shown.code, SUCCESS, "{shown:?}");
    let report = json(&shown);
    assert_eq!(report["state"], "kept");
    assert_eq!(report["rules"][0]["mandatory"], true);
    assert_eq!(site.steps(&definition), (SUCCESS, Vec::new()));
    // What was seen is what `picket check` goes by.
    let seen = site.dir.path().join("seen.json");
    fs::write(&seen, &shown.stdout).expect("one's own directory");
    let mut check = Command::new(ours("picket"));
    check.args(["check", "--json"]).arg(&definition);
    check.arg("--placement").arg(&seen);
    let checked = run(&mut check, None, site.dir.path(), None, PATIENCE);
    let reasons = json(&checked)["files"][0]["reasons"].to_string();
    assert!(!reasons.contains("anti-affinity"), "{reasons}");
}

/// S29: before affinity groups the guests are pinned. What runs is pinned from its next start on, and that is said.
#[test]
fn rhev_without_affinity_groups_pins_members() {
    let site = Site::up(engine(&["--engine", "3.0"]));
    let definition = rhev(&site, "");
    let shown = site.picket(&definition, "show", &["--json"]);
    assert_eq!(shown.code, SHARED, "{shown:?}");
    let findings = json(&shown)["findings"].to_string();
    assert!(findings.contains("(S29)"), "{findings}");
    let (code, steps) = site.steps(&definition);
    let texts: Vec<&str> = steps.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "pin n1 to host1",
            "move n2 from host1 to host2",
            "pin n2 to host2"
        ]
    );
    let pins: Vec<&str> = steps
        .iter()
        .filter(|(text, _)| text.starts_with("pin"))
        .map(|(_, outcome)| outcome.as_str())
        .collect();
    match pins.as_slice() {
        ["done", "done"] => assert_eq!(code, SUCCESS),
        ["at-next-start", "at-next-start"] => assert_eq!(code, NOT_ENFORCED),
        other => panic!("{other:?}"),
    }
    assert_eq!(steps[1].1, "done");
    let after = site.picket(&definition, "show", &["--json"]);
    assert_ne!(json(&after)["state"], "shared", "{after:?}");
}

/// Who may not see hosts is told so, with what it takes; nothing is guessed.
#[test]
fn a_login_that_may_not_see_hosts_is_told() {
    let site = Site::up(engine(&[]));
    let definition = rhev(&site, "");
    let text = fs::read_to_string(&definition).expect("it was written");
    let text = text.replace("admin@corp", "plain@corp");
    fs::write(&definition, text).expect("one's own directory");
    let shown = site.picket(&definition, "show", &["--json"]);
    assert_eq!(shown.code, UNKNOWN, "{shown:?}");
    assert_eq!(json(&shown)["state"], "unknown");
}

#[test]
fn wrong_access_names_the_cause() {
    let site = Site::up(engine(&[]));
    let definition = rhev(&site, "");
    let text = fs::read_to_string(&definition).expect("it was written");
    let with = |from: &str, to: &str| {
        let path = site.dir.path().join("other.toml");
        fs::write(&path, text.replace(from, to)).expect("one's own directory");
        site.picket(&path, "show", &[])
    };
    let secrets = "secrets = {";
    let none = with(secrets, "#");
    assert_eq!(none.code, DEFINITION, "{none:?}");
    assert!(none.stderr.contains("no password"), "{none:?}");
    let missing = with("/password\"", "/nowhere\"");
    assert_eq!(missing.code, DEFINITION, "{missing:?}");
    assert!(missing.stderr.contains("nowhere"), "{missing:?}");
    let stranger = with("admin@corp", "stranger@corp");
    assert_eq!(stranger.code, UNKNOWN, "{stranger:?}");
    let untrusted = with("ssl_ca = ", "api_path = \"/ovirt-engine/api\" } # ");
    assert_eq!(untrusted.code, UNKNOWN, "{untrusted:?}");
    assert!(untrusted.stdout.contains("certificate"), "{untrusted:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = nobody.local_addr().expect("it has one").port();
    drop(nobody);
    let gone = with(
        &format!("ipport = {}", site.port),
        &format!("ipport = {closed}"),
    );
    assert_eq!(gone.code, UNKNOWN, "{gone:?}");
    let in_options = with(
        "username =",
        &format!("password = \"{PASSWORD}\", username ="),
    );
    assert_eq!(in_options.code, DEFINITION, "{in_options:?}");
}

#[test]
fn vcenter_keeps_members_apart_by_a_drs_rule() {
    if skipped(&[Need::File(
        VCSIM,
        "golang-github-vmware-govmomi-dev, and run scripts/setup test",
    )]) {
        return;
    }
    let site = Site::up(|_| {
        let mut command = Command::new(VCSIM);
        command.args(["-l", "127.0.0.1:0", "-password", PASSWORD]);
        command
    });
    let definition = site.definition(&Words {
        kind: "vmware",
        // REST knows no rules: they are made through SOAP all the same.
        agent: "fence_vmware_rest",
        options: "username = \"root\", ssl = false".to_owned(),
        guests: ["DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1"],
        more: "",
    });
    let before = site.picket(&definition, "show", &["--json"]);
    assert!([SHARED, NOT_KEPT].contains(&before.code), "{before:?}");
    let (code, steps) = site.steps(&definition);
    assert_eq!(
        steps[steps.len() - 1],
        done("keep n1 and n2 apart, as far as hosts suffice: rule picket-web")
    );
    assert!(
        steps.iter().all(|(_, outcome)| outcome == "done"),
        "{steps:?}"
    );
    let after = site.picket(&definition, "show", &["--json"]);
    assert_eq!((code, after.code), (SUCCESS, SUCCESS), "{after:?}");
    assert_eq!(json(&after)["state"], "kept");
    assert_eq!(site.steps(&definition), (SUCCESS, Vec::new()));
}

#[test]
fn hyperv_keeps_members_apart_by_class_names() {
    let site = Site::up(|dir| {
        let world = dir.join("world");
        let lines = "node HV1\nnode HV2\nnode HV3\ncluster CL\n\
            guest vm1 11111111-1111-4111-8111-111111111111 HV1 2 vm1\n\
            guest vm2 22222222-2222-4222-8222-222222222222 HV1 2 vm2\n";
        fs::write(&world, lines).expect("one's own directory");
        let mut command = Command::new(ours("hyperv-host"));
        command
            .args(["--user", &format!("CORP\\picket:{PASSWORD}"), "--world"])
            .arg(world);
        command
    });
    // The nodes of the cluster are reached where the server says that they are.
    let said = wait_for("all nodes to listen", PATIENCE, || {
        let said = site.server.stdout();
        (said.matches('\n').count() == 3).then_some(said)
    });
    let nodes: Vec<String> = said
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(node, address)| format!("{node}={address}"))
        .collect();
    let definition = site.definition(&Words {
        kind: "hyper-v",
        agent: "fence_hyperv",
        options: "username = \"CORP\\\\picket\", cluster = true".to_owned(),
        guests: ["vm1", "vm2"],
        more: "",
    });
    let text = fs::read_to_string(&definition).expect("it was written");
    let text = text.replace(
        "ip = \"127.0.0.1\"",
        &format!("ip = \"{}\"", nodes.join(" ")),
    );
    fs::write(&definition, text).expect("one's own directory");
    let shown = site.picket(&definition, "show", &["--json"]);
    assert_eq!(shown.code, SHARED, "{shown:?}");
    let (code, steps) = site.steps(&definition);
    assert_eq!(
        steps,
        [
            done("move n2 from HV1 to HV2"),
            done("keep n1 and n2 apart, as far as hosts suffice: rule picket-web")
        ]
    );
    assert_eq!(code, SUCCESS);
    let after = site.picket(&definition, "show", &["--json"]);
    assert_eq!(json(&after)["state"], "kept", "{after:?}");
}
