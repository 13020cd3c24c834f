//! The JSON schema: as it is published, as a validator of another maker judges by it, and in step with what
//! is read.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::Definition;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_published_schema_is_this_one() {
    let path = repository().join("docs/cluster.schema.json");
    let now = format!(
        "{}\n",
        serde_json::to_string_pretty(&cluster::schema()).expect("JSON")
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).expect("written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == now,
        "docs/cluster.schema.json is not what the types say; run: UPDATE=1 cargo test -p cluster --test definition_schema"
    );
}

#[test]
fn the_schema_has_every_table_and_no_other() {
    let schema = cluster::schema();
    let properties = schema["properties"].as_object().expect("tables");
    let mut listed: Vec<_> = cluster::tables().map(|(name, _)| name).collect();
    for (name, is_list) in cluster::tables() {
        assert_eq!(properties[name]["type"] == "array", is_list, "{name}");
    }
    listed.sort_unstable();
    assert_eq!(listed, properties.keys().collect::<Vec<_>>());
}

/// Reads TOML and a schema, and says for each text, one a line, whether the schema accepts it.
const VALIDATE: &str = r#"
import json, sys, tomllib
from jsonschema import Draft7Validator
job = json.load(sys.stdin)
Draft7Validator.check_schema(job["schema"])
validator = Draft7Validator(job["schema"])
for text in job["texts"]:
    print(next((e.json_path + ": " + e.message for e in validator.iter_errors(tomllib.loads(text))), "accepted").replace("\n", " "))
"#;

/// What python3-jsonschema says of each text; `None` where it is not installed.
fn validate(texts: &[String]) -> Option<Vec<String>> {
    let knows = |python: &&str| {
        let status = Command::new(python)
            .args(["-c", "import jsonschema, tomllib"])
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    // Debian's own Python, if another one comes first.
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(knows) else {
        eprintln!("SKIPPED: python3-jsonschema (with Python 3.11 or newer) is not installed");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let job = serde_json::json!({ "schema": cluster::schema(), "texts": texts });
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(job.to_string().as_bytes())
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", output.status);
    let said: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(said.len(), texts.len());
    Some(said)
}

#[test]
fn a_validator_of_another_maker_accepts_all_examples() {
    let mut names = Vec::new();
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(repository().join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            texts.push(std::fs::read_to_string(&path).expect("text"));
            names.push(path);
        }
    }
    assert!(texts.len() >= 10);
    for (name, said) in names.iter().zip(validate(&texts).unwrap_or_default()) {
        assert_eq!(said, "accepted", "{}", name.display());
    }
}

const KVM_STORAGE: &str = include_str!("../../../examples/kvm-storage.toml");

#[test]
fn a_validator_of_another_maker_refuses_what_is_wrong() {
    let cases = [
        ("kind = \"kvm\"", "kind = \"kvn\""),
        ("kind = \"kvm\"", "knid = \"kvm\""),
        ("[platform]", "[platfrom]"),
        ("os = \"debian 12\"", "os = \"debian\""),
        ("address = \"10.9.0.1\"", "address = []"),
        ("address = \"10.9.0.1\"", "address = \"n1.example.org\""),
        ("name = \"n1\"", "name = \"N1\""),
        ("token = \"10s\"", "token = \"10\""),
        ("token = \"10s\"", "token = 10"),
        ("agent = \"fence_xvm\"", "agent = \"xvm\""),
        ("agent = \"fence_xvm\"", "agent = \"fence_xvm\"\nport = 0"),
        ("groups = true", "groups = \"yes\""),
        ("lun = 1", "lun = -1"),
        (
            "portals = [\"10.9.0.30:3260\"]",
            "portals = \"10.9.0.30:3260\"",
        ),
        ("size = \"64MiB\"", "size = \"64M\""),
        ("mirrors = 1", "mirrors = 9"),
        ("volume = \"vg_shared/data\"", "volume = \"data\""),
        ("mount = \"/srv/data\"", "mount = \"srv/data\""),
        ("journals = 2", "journals = 0"),
        (
            "virtual_ip = \"10.9.0.100/24\"",
            "virtual_ip = \"10.9.0.100\"",
        ),
        ("name = \"files\"", ""),
    ];
    let texts: Vec<String> = cases
        .iter()
        .map(|(from, to)| {
            assert!(KVM_STORAGE.contains(from), "the example has no {from:?}");
            KVM_STORAGE.replacen(from, to, 1)
        })
        .collect();
    for (text, case) in texts.iter().zip(cases) {
        assert!(Definition::parse("x", text).is_err(), "{case:?}");
    }
    for (case, said) in cases.iter().zip(validate(&texts).unwrap_or_default()) {
        assert_ne!(said, "accepted", "{case:?}");
    }
}

/// A definition that says as little as it may, with `{}` where lines of one table go.
fn bare(table: &str, line: &str) -> String {
    let mut text = String::new();
    for (name, content) in [
        ("cluster", "name = \"c\"\n"),
        ("platform", "kind = \"kvm\"\n"),
        ("guests", ""),
        ("options", ""),
        ("fencing", ""),
        ("fence_virtd", ""),
        (
            "node",
            "name = \"n1\"\naddress = \"10.9.0.1\"\nhost = \"h\"\n",
        ),
        ("node", "name = \"n2\"\naddress = \"10.9.0.2\"\n"),
        ("host", "name = \"h\"\n"),
        ("fence", "name = \"f\"\nagent = \"fence_xvm\"\n"),
        (
            "storage",
            "name = \"s\"\nkind = \"iscsi\"\ntarget = \"iqn.2026-11.org.example:s\"\nportals = [\"10.9.0.3\"]\n",
        ),
        ("volume_group", "name = \"v\"\nstorage = [\"s\"]\n"),
        ("volume", "name = \"l\"\ngroup = \"v\"\nsize = \"1GiB\"\n"),
        (
            "filesystem",
            "name = \"fs\"\nkind = \"ext4\"\nmount = \"/m\"\nvolume = \"v/l\"\n",
        ),
        ("service", "name = \"w\"\nfilesystems = [\"fs\"]\n"),
    ] {
        let is_list = cluster::tables().any(|(known, is_list)| known == name && is_list);
        let first = !text.contains(&format!("[{name}]"));
        let line = if name == table && first { line } else { "" };
        let header = if is_list {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        };
        text.push_str(&format!("{header}\n{content}{line}\n"));
    }
    text
}

/// Where a default is said, writing it changes nothing.
#[test]
fn defaults_are_what_the_schema_says() {
    let schema = cluster::schema();
    let plain = Definition::parse("bare", &bare("", "")).expect("valid");
    let mut seen = 0;
    for (table, is_list) in cluster::tables() {
        let reference = &schema["properties"][table];
        let target = if is_list {
            &reference["items"]["$ref"]
        } else {
            &reference["allOf"][0]["$ref"]
        };
        let pointer = target
            .as_str()
            .expect("a reference")
            .trim_start_matches('#');
        let properties = schema.pointer(pointer).expect("a table")["properties"].clone();
        for (key, property) in properties.as_object().expect("keys") {
            let Some(default) = property.get("default") else {
                continue;
            };
            seen += 1;
            let line = format!("{key} = {default}\n");
            let written = Definition::parse("written", &bare(table, &line))
                .unwrap_or_else(|error| panic!("{table}.{key}: {error}"));
            // What is only filled in when it is asked for differs by having been written.
            let same = match (table, key.as_str()) {
                ("fence", "listener" | "key_file" | "multicast" | "port") => {
                    written.virt() == plain.virt()
                }
                ("storage", "lun") => default == &Value::from(0),
                _ => written == plain,
            };
            assert!(same, "{table}.{key}: the default is not {default}");
        }
    }
    assert!(seen >= 20, "only {seen} defaults");
}

/// What is read must not be refused by an editor.
#[test]
fn the_schema_is_not_stricter_than_the_reader() {
    let lines = [
        ("platform", "version = \"7.0u3\""),
        ("platform", "version = \"2012 R2\""),
        ("platform", "os = \"SLES 15 SP6\""),
        ("platform", "os = \"centos-stream 9\""),
        ("host", "ssh = \"admin@h1.example.org\""),
        ("host", "ssh = \"my_alias\""),
        (
            "host",
            "uri = \"qemu+tls://h1.example.org/system?no_verify=1\"",
        ),
        ("host", "address = \"fd00::1\""),
        ("node", "guest = \"Datacenter/vm/n 1\""),
        ("node", "guest = \"é\""),
        ("node", "uuid = \"1B4E28BA-2fa1-11d2-883f-0016d3cca427\""),
        ("node", "ssh = \"root@fd00::1\""),
        ("options", "token = \"1500ms\""),
        ("options", "token = \"02s\""),
        (
            "options",
            "quorum_device = { host = \"192.0.2.9\", algorithm = \"lms\" }",
        ),
        (
            "options",
            "sbd = { devices = [\"/dev/disk/by-path/ip-10.9.0.30:3260-iscsi-iqn.2026-11.org.example:x-lun-1\"] }",
        ),
        ("fencing", "favour_delay = \"0s\""),
        ("fence", "multicast = \"ff05::3:1\""),
        (
            "fence",
            "options = { ssl = true, login-timeout = 5, ip = \"h\", shell-timeout = -1 }",
        ),
        (
            "fence",
            "secrets = { password = \"/etc/picket/secrets/a\" }",
        ),
        ("fence", "plugs = { n1 = \"[ds] a/b\" }"),
        ("fence_virtd", "interface = \"br0.100\""),
        ("fence_virtd", "mode = \"checkpoint\""),
        ("storage", "device = \"/dev/mapper/a=b\""),
        ("storage", "chap = { user = \"é\", password_file = \"/p\" }"),
        ("volume", "mirrors = 0"),
        (
            "filesystem",
            "options = \"noatime,context=system_u:object_r:x\"",
        ),
        ("service", "virtual_ip = \"10.9.0.100/8\""),
        ("service", "http = { text = \"Grüße\" }"),
        ("service", "prefer = [\"n1\"]"),
    ];
    let texts: Vec<String> = lines
        .iter()
        .map(|(table, line)| bare(table, &format!("{line}\n")))
        .collect();
    for (text, case) in texts.iter().zip(lines) {
        Definition::parse("x", text).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    }
    for (case, said) in lines.iter().zip(validate(&texts).unwrap_or_default()) {
        assert_eq!(said, "accepted", "{case:?}");
    }
}
