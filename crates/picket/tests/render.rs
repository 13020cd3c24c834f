//! `picket render`, as somebody at a terminal runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket::exit::{DEFINITION, REJECTED, SUCCESS, UNCHECKED, UNFIT, USAGE};

fn example(name: &str) -> String {
    format!("{}/../../examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// A directory of the test's own, and `picket render` with its secrets kept there.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn render(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_picket"))
            .arg("render")
            .args(arguments)
            .env("XDG_STATE_HOME", self.at("state"))
            .env_remove("HOME")
            .output()
            .expect("picket runs")
    }

    /// Renders into `out`.
    fn write(&self, definition: &str, more: &[&str]) -> Output {
        let out = self.at("out").display().to_string();
        let mut arguments = vec![definition, "--output", &out];
        arguments.extend_from_slice(more);
        self.render(&arguments)
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_code(output: &Output, wanted: u8) {
    assert_eq!(
        code(output),
        i32::from(wanted),
        "{}{}",
        out(output),
        err(output)
    );
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o7777
}

/// All files below a directory, relative to it, sorted.
fn tree(directory: &Path) -> Vec<String> {
    fn walk(base: &Path, directory: &Path, all: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(base, &path, all);
            } else {
                all.push(
                    path.strip_prefix(base)
                        .expect("below")
                        .display()
                        .to_string(),
                );
            }
        }
    }
    let mut all = Vec::new();
    walk(directory, directory, &mut all);
    all.sort();
    all
}

#[test]
fn each_machine_has_a_directory_that_only_its_owner_reads() {
    let place = Place::new();
    assert_code(&place.write(&example("web"), &[]), SUCCESS);
    let directory = place.at("out");
    let expected = [
        (".picket-render.json", 0o600),
        ("guests/n1.xml", 0o644),
        ("guests/n2.xml", 0o644),
        ("hosts/host/etc/cluster/fence_xvm.key", 0o600),
        ("hosts/host/etc/fence_virt.conf", 0o600),
        ("instructions.md", 0o644),
        ("nodes/n1/etc/cluster/fence_xvm.key", 0o600),
        ("nodes/n1/etc/corosync/authkey", 0o400),
        ("nodes/n1/etc/corosync/corosync.conf", 0o644),
        ("nodes/n1/etc/pacemaker/authkey", 0o440),
        ("nodes/n1/usr/lib/ocf/resource.d/picket/httpd", 0o755),
        ("nodes/n1/var/lib/pacemaker/cib/cib.xml", 0o600),
        ("nodes/n2/etc/cluster/fence_xvm.key", 0o600),
        ("nodes/n2/etc/corosync/authkey", 0o400),
        ("nodes/n2/etc/corosync/corosync.conf", 0o644),
        ("nodes/n2/etc/pacemaker/authkey", 0o440),
        ("nodes/n2/usr/lib/ocf/resource.d/picket/httpd", 0o755),
        ("nodes/n2/var/lib/pacemaker/cib/cib.xml", 0o600),
    ];
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(tree(&directory), names);
    for (name, wanted) in expected {
        assert_eq!(mode(&directory.join(name)), wanted, "{name}");
    }
    for name in ["", "nodes", "nodes/n1/etc"] {
        assert_eq!(mode(&directory.join(name)), 0o700, "{name:?}");
    }
    assert_eq!(mode(&place.at("state/picket/web/seed")) & 0o077, 0);
}

#[test]
fn rendering_again_keeps_the_keys_and_takes_away_what_is_no_more() {
    let place = Place::new();
    assert_code(&place.write(&example("web"), &["--nodes", "3"]), SUCCESS);
    let key = place.at("out/nodes/n1/etc/corosync/authkey");
    let before = fs::read(&key).expect("a key");
    assert!(place.at("out/nodes/n3").is_dir());
    assert_code(&place.write(&example("web"), &[]), SUCCESS);
    assert_eq!(fs::read(&key).expect("a key"), before);
    assert!(!place.at("out/nodes/n3").exists() && !place.at("out/guests/n3.xml").exists());
    // Keys kept elsewhere are other keys.
    let secrets = place.at("secrets").display().to_string();
    assert_code(
        &place.write(&example("web"), &["--secrets", &secrets]),
        SUCCESS,
    );
    assert_ne!(fs::read(&key).expect("a key"), before);
}

#[test]
fn what_somebody_else_put_somewhere_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.at("out")).expect("made");
    fs::write(place.at("out/notes"), "mine").expect("written");
    let output = place.write(&example("web"), &[]);
    assert_code(&output, UNFIT);
    assert!(
        err(&output).contains("holds files that were not rendered"),
        "{}",
        err(&output)
    );
    assert_eq!(tree(&place.at("out")), ["notes"]);
    fs::remove_file(place.at("out/notes")).expect("removed");
    assert_code(&place.write(&example("web"), &[]), SUCCESS);
    let other = place.write(&example("mixed"), &[]);
    assert_code(&other, UNFIT);
    assert!(
        err(&other).contains("holds the cluster web"),
        "{}",
        err(&other)
    );
    // A list that reaches out of the directory is not followed.
    let list = place.at("out/.picket-render.json");
    let victim = place.at("victim");
    fs::write(&victim, "mine").expect("written");
    fs::write(
        &list,
        r#"{"version": 1, "cluster": "web", "files": ["../victim"]}"#,
    )
    .expect("written");
    assert_code(&place.write(&example("web"), &[]), UNFIT);
    assert!(victim.exists());
    fs::write(&list, "{").expect("written");
    assert_code(&place.write(&example("web"), &[]), UNFIT);
    fs::write(place.at("file"), "").expect("written");
    let file = place.at("file").display().to_string();
    assert_code(&place.render(&[&example("web"), "--output", &file]), UNFIT);
}

/// Whoever may write to the directory could put links where the next rendering writes.
#[test]
fn a_directory_that_everybody_may_write_to_is_left_alone() {
    let place = Place::new();
    let directory = place.at("out");
    fs::create_dir(&directory).expect("made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).expect("changed");
    let refused = place.write(&example("web"), &[]);
    assert_code(&refused, UNFIT);
    assert_eq!(fs::read_dir(&directory).expect("there").count(), 0);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("changed");
    assert_code(&place.write(&example("web"), &[]), SUCCESS);
}

#[test]
fn one_machine_or_one_file_can_be_asked_for() {
    let place = Place::new();
    assert_code(&place.write(&example("web"), &["--only", "n2"]), SUCCESS);
    let files = tree(&place.at("out"));
    assert!(
        files
            .iter()
            .skip(1)
            .all(|file| file.starts_with("nodes/n2/")),
        "{files:?}"
    );
    assert_code(
        &place.write(&example("web"), &["--only", "/etc/corosync/corosync.conf"]),
        SUCCESS,
    );
    assert!(
        place
            .at("out/nodes/n1/etc/corosync/corosync.conf")
            .is_file()
    );
    assert!(!place.at("out/nodes/n1/etc/corosync/authkey").exists());
    // What was there stays.
    assert!(place.at("out/nodes/n2/etc/corosync/authkey").is_file());
    let output = place.write(&example("web"), &["--only", "n7"]);
    assert_code(&output, USAGE);
    assert!(err(&output).contains("n7"), "{}", err(&output));
}

#[test]
fn a_list_writes_nothing_not_even_keys() {
    let place = Place::new();
    let output = place.render(&[&example("web")]);
    assert_code(&output, SUCCESS);
    assert!(
        out(&output).contains("0400 root:root /etc/corosync/authkey"),
        "{}",
        out(&output)
    );
    assert!(
        out(&output).contains("Nothing was written"),
        "{}",
        out(&output)
    );
    assert!(!place.at("state").exists());
}

#[test]
fn json_names_files_steps_and_checks() {
    let place = Place::new();
    let output = place.render(&[&example("kvm-storage"), "--json", "--check"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let unknown = document["checks"].to_string().contains("\"unknown\"");
    // Which tools there are is this machine's matter.
    assert_code(&output, if unknown { UNCHECKED } else { SUCCESS });
    assert_eq!(document["cluster"], "files");
    assert_eq!(document["machines"][0]["name"], "n1");
    assert_eq!(document["machines"][0]["disable"][2], "lvmlockd");
    let setup = document["setup"].as_array().expect("steps");
    assert!(setup.iter().any(|step| step["phase"] == "before-start"));
    assert!(setup.iter().any(|step| step["phase"] == "running"));
    let checks = document["checks"].as_array().expect("checks");
    assert!(checks.len() >= 7, "{checks:?}");
    for check in checks {
        let outcome = &check["outcome"];
        assert!(outcome == "passed" || outcome == "unknown", "{check}");
    }
}

/// Keys are made from a seed that no output may show; passwords stand in files that are not read at all.
#[test]
fn nothing_secret_is_printed() {
    let place = Place::new();
    let output = place.write(&example("mixed"), &["--json", "--check"]);
    assert!(
        [SUCCESS, UNCHECKED].map(i32::from).contains(&code(&output)),
        "{}",
        err(&output)
    );
    let said = out(&output) + &err(&output);
    for name in ["etc/corosync/authkey", "etc/cluster/fence_xvm.key"] {
        let key = fs::read(place.at("out/nodes/n1").join(name)).expect("a key");
        let hex: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            !said.contains(&hex) && !said.as_bytes().windows(8).any(|window| window == &key[..8])
        );
    }
}

/// What a tool rejects is not written. The tool stands in for the real one, which has nothing to reject.
#[test]
fn what_a_tool_rejects_is_not_written() {
    let place = Place::new();
    let programs = place.at("bin");
    fs::create_dir(&programs).expect("made");
    let path = programs.join("crm_verify");
    fs::write(
        &path,
        "#!/bin/sh\necho 'error: I do not like it' >&2\nexit 65\n",
    )
    .expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
    let rest = std::env::var("PATH").unwrap_or_default();
    let render = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_picket"))
            .args(["render", &example("web"), "--check", "--output"])
            .arg(place.at("out"))
            .args(more)
            .env("XDG_STATE_HOME", place.at("state"))
            .env("PATH", format!("{}:{rest}", programs.display()))
            .output()
            .expect("picket runs")
    };
    let text = render(&[]);
    assert_code(&text, REJECTED);
    assert!(err(&text).contains("I do not like it"), "{}", err(&text));
    assert_eq!(out(&text), "");
    // For programs the same in their form.
    let json = render(&["--json"]);
    assert_code(&json, REJECTED);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(document["verdict"], "failed");
    assert_eq!(document["exit_code"], 40);
    assert_eq!(document["output"], serde_json::Value::Null);
    let checks = document["checks"].as_array().expect("checks");
    let said: Vec<_> = checks
        .iter()
        .filter(|check| check["outcome"] == "failed")
        .map(|check| check["said"].to_string())
        .collect();
    assert_eq!(said.len(), 1, "{checks:?}");
    assert!(said[0].contains("I do not like it"), "{said:?}");
    assert!(!place.at("out").exists() && !place.at("state").exists());
}

/// Without the tools nothing is known, and that is said.
#[test]
fn tools_that_are_not_there_are_named() {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(["render", &example("kvm-storage"), "--check", "--json"])
        .env("XDG_STATE_HOME", place.at("state"))
        .env("PATH", place.at("empty"))
        .output()
        .expect("picket runs");
    assert_code(&output, UNCHECKED);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["verdict"], "unknown");
    let checks = document["checks"].as_array().expect("checks");
    assert!(!checks.is_empty());
    for check in checks {
        assert_eq!(check["outcome"], "unknown", "{check}");
        assert!(
            check["why"]
                .as_str()
                .is_some_and(|why| why.contains("not installed")),
            "{check}"
        );
    }
}

#[test]
fn the_schema_is_the_published_one() {
    let place = Place::new();
    let output = place.render(&["--schema"]);
    assert_code(&output, SUCCESS);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let path = format!(
        "{}/../../docs/cluster.schema.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let published: serde_json::Value =
        serde_json::from_slice(&fs::read(path).expect("a schema")).expect("JSON");
    assert_eq!(printed, published);
}

#[test]
fn bad_input_ends_with_the_code_that_belongs_to_it() {
    let place = Place::new();
    assert_code(&place.render(&[]), USAGE);
    assert_code(&place.render(&["/there/is/none.toml"]), DEFINITION);
    fs::write(place.at("bad.toml"), "[cluster]\nnam = 1\n").expect("written");
    let bad = place.at("bad.toml").display().to_string();
    let output = place.render(&[&bad]);
    assert_code(&output, DEFINITION);
    assert!(
        err(&output).contains("did you mean `name`?"),
        "{}",
        err(&output)
    );
    // A seed that others may read is no secret.
    fs::create_dir(place.at("open")).expect("made");
    fs::write(place.at("open/seed"), [7; 32]).expect("written");
    fs::set_permissions(place.at("open/seed"), fs::Permissions::from_mode(0o644)).expect("changed");
    let open = place.at("open").display().to_string();
    assert_code(&place.write(&example("web"), &["--secrets", &open]), UNFIT);
    assert!(!place.at("out").exists());
}
