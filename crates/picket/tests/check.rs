//! `picket check` and `picket explain` from outside: exit codes, and every form of the result.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use picket::exit;
use serde_json::Value;

/// RHEL 6 guests on RHEL 6 KVM hosts: a technology preview of the requirement document.
const PREVIEW: &str = r#"[cluster]
name = "web"

[platform]
kind = "kvm"
os = "rhel 6.1"

[guests]
os = "rhel 6.1"

[[host]]
name = "h1"

[[host]]
name = "h2"

[[node]]
name = "n1"
address = "10.9.0.1"
host = "h1"
pinned = true

[[node]]
name = "n2"
address = "10.9.0.2"
host = "h2"
pinned = true

[[fence]]
name = "virt"
agent = "fence_virt"

[fence_virtd]
mode = "standalone"
"#;

/// The same, supported: Xen hosts of RHEL 5.
fn supported() -> String {
    PREVIEW
        .replace("rhel 6.1", "rhel 5.5")
        .replace("\"kvm\"", "\"xen\"\nhost_cluster = true")
        .replace("fence_virt\"", "fence_xvm\"")
        .replace(
            "mode = \"standalone\"",
            "program = \"fence_xvmd\"\nmode = \"cluster\"",
        )
}

fn warned() -> String {
    supported().replace("mode = \"cluster\"", "mode = \"cluster\"\ngroups = false")
}

fn unverified() -> String {
    supported()
        + "\n[[node]]\nname = \"m1\"\naddress = \"10.9.0.3\"\nkind = \"bare-metal\"\n\
        [[fence]]\nname = \"ipmi\"\nagent = \"fence_ipmilan\"\nnodes = [\"m1\"]\noptions = { ip = \"10.9.1.3\" }\n"
}

fn unsupported() -> String {
    PREVIEW
        .replace("kvm", "proxmox")
        .replace("[fence_virtd]\nmode = \"standalone\"\n", "")
}

fn unsafe_() -> String {
    PREVIEW.replace(
        "os = \"rhel 6.1\"\n\n[guests]",
        "os = \"rhel 6.1\"\nlive_migration = true\n\n[guests]",
    )
}

/// A directory for one test, and the files in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    }
}

fn picket(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(arguments)
        .output()
        .expect("picket runs")
}

fn code(output: &Output) -> u8 {
    let code = output.status.code().expect("an exit code");
    u8::try_from(code).expect("a byte")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The result of one definition as JSON, and the exit code.
fn judged(text: &str, more: &[&str]) -> (u8, Value) {
    let files = Files::new();
    let file = files.write("cluster.toml", text);
    let mut arguments = vec!["check", &file, "--json"];
    arguments.extend(more);
    let output = picket(&arguments);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["exit_code"], code(&output));
    (code(&output), json)
}

#[test]
fn each_outcome_has_its_exit_code() {
    for (text, outcome, expected) in [
        (supported(), "supported", exit::SUCCESS),
        (warned(), "supported-with-warnings", exit::SUCCESS),
        (PREVIEW.to_owned(), "technology-preview", exit::PREVIEW),
        (unverified(), "unverified", exit::UNVERIFIED),
        (unsupported(), "unsupported", exit::UNSUPPORTED),
        (unsafe_(), "unsafe", exit::UNSAFE),
    ] {
        let (code, json) = judged(&text, &[]);
        assert_eq!(json["files"][0]["outcome"], outcome, "{json:#}");
        assert_eq!(code, expected, "{outcome}");
    }
}

#[test]
fn strict_counts_warnings_and_accept_forgives_up_to_an_outcome() {
    assert_eq!(judged(&supported(), &["--strict"]).0, exit::SUCCESS);
    assert_eq!(judged(&warned(), &["--strict"]).0, exit::WARNINGS);
    assert_eq!(judged(PREVIEW, &["--accept", "preview"]).0, exit::SUCCESS);
    assert_eq!(
        judged(&unverified(), &["--accept", "preview"]).0,
        exit::UNVERIFIED
    );
    assert_eq!(
        judged(&unverified(), &["--accept", "unverified"]).0,
        exit::SUCCESS
    );
    assert_eq!(
        judged(&unsupported(), &["--accept", "unsupported"]).0,
        exit::SUCCESS
    );
    // What is unsafe is never accepted.
    assert_eq!(
        judged(&unsafe_(), &["--accept", "unsupported"]).0,
        exit::UNSAFE
    );
    let files = Files::new();
    let file = files.write("cluster.toml", PREVIEW);
    assert_eq!(
        code(&picket(&["check", &file, "--accept", "unsafe"])),
        exit::USAGE
    );
}

#[test]
fn the_worst_of_several_files_decides() {
    let files = Files::new();
    let good = files.write("good.toml", &supported());
    let preview = files.write("preview.toml", PREVIEW);
    let bad = files.write("bad.toml", &unsafe_());
    let wrong = files.write("wrong.toml", &PREVIEW.replace("address", "adress"));
    assert_eq!(code(&picket(&["check", &good, &preview])), exit::PREVIEW);
    assert_eq!(
        code(&picket(&["check", &good, &bad, &preview])),
        exit::UNSAFE
    );
    let output = picket(&["check", &wrong, &bad]);
    assert_eq!(code(&output), exit::DEFINITION);
    let text = said(&output);
    assert!(text.contains("did you mean `address`?"), "{text}");
    assert!(
        text.contains("bad.toml: UNSAFE (edition document)"),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = picket(&["check", "/nonexistent/cluster.toml"]);
    assert_eq!(code(&output), exit::DEFINITION);
    assert!(
        said(&output).contains("/nonexistent/cluster.toml"),
        "{}",
        said(&output)
    );
    let output = picket(&["check"]);
    assert_eq!(code(&output), exit::USAGE);
    // Without an end, and not text.
    let output = picket(&["check", "/dev/zero"]);
    assert_eq!(code(&output), exit::DEFINITION);
    assert!(said(&output).contains("longer than"), "{}", said(&output));
}

#[test]
fn the_edition_follows_the_definition_or_the_option() {
    let (_, json) = judged(PREVIEW, &[]);
    assert_eq!(json["files"][0]["edition"], "document");
    let (_, json) = judged(PREVIEW, &["--edition", "today"]);
    assert_eq!(json["files"][0]["edition"], "today");
    assert_ne!(json["files"][0]["outcome"], "technology-preview");
}

#[test]
fn people_see_the_verdict_the_line_the_remedy_and_the_source() {
    let files = Files::new();
    files.write("cluster.toml", &unsafe_());
    let output = Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(["check", "cluster.toml"])
        .current_dir(files.0.path())
        .output()
        .expect("picket runs");
    insta::assert_snapshot!("check-unsafe", said(&output));
}

#[test]
fn json_says_where_why_and_what_would_help() {
    let (_, json) = judged(&unsafe_(), &[]);
    let reason = &json["files"][0]["reasons"][0];
    assert_eq!(reason["rule"], "S19");
    assert_eq!(reason["severity"], "unsafe");
    assert_eq!(reason["subject"], "platform.live_migration");
    assert_eq!(reason["line"], 7);
    assert!(
        reason["remedy"]
            .as_str()
            .is_some_and(|text| text.contains("live_migration = false"))
    );
    assert_eq!(reason["source"]["confidence"], "verified");
    let (_, json) = judged(&PREVIEW.replace("address", "adress"), &[]);
    assert_eq!(json["files"][0]["problems"][0]["line"], 17);
}

/// The definitions of all tests, and one that is none, as one report of that format.
fn report(format: &str) -> (Vec<PathBuf>, String) {
    let files = Files::new();
    let texts = [
        supported(),
        warned(),
        PREVIEW.to_owned(),
        unverified(),
        unsupported(),
        unsafe_(),
        "[cluster".to_owned(),
    ];
    let mut names: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| files.write(&format!("a <&> \"{number}\".toml"), text))
        .collect();
    names.extend(
        examples()
            .iter()
            .map(|path| path.to_string_lossy().into_owned()),
    );
    let mut arguments = vec!["check", format, "-"];
    arguments.extend(names.iter().map(String::as_str));
    let output = picket(&arguments);
    assert_eq!(code(&output), exit::DEFINITION);
    (
        names.into_iter().map(PathBuf::from).collect(),
        said(&output),
    )
}

fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

const VALIDATE: &str = "import json, jsonschema, sys
job = json.load(sys.stdin)
jsonschema.validators.validator_for(job['schema'])(
    job['schema'], format_checker=jsonschema.FormatChecker()).validate(job['document'])
print('valid')";

#[test]
fn sarif_is_what_its_schema_says() {
    let (_, document) = report("--sarif");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert!(results.len() > 50, "{}", results.len());
    for result in results {
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/sarif-2.1.0.json");
    let Ok(schema) = std::fs::read_to_string(schema) else {
        return skip("the schema of SARIF is not there: run scripts/setup test");
    };
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let Some(verdict) = python(
        VALIDATE,
        &serde_json::json!({ "schema": schema, "document": document }),
    ) else {
        return skip("python3-jsonschema is not installed: run scripts/setup test");
    };
    assert_eq!(verdict, "valid\n");
    // The schema is not one that lets everything pass.
    let broken = serde_json::json!({ "schema": schema, "document": { "version": "2.1.0" } });
    assert_ne!(python(VALIDATE, &broken).as_deref(), Some("valid\n"));
}

fn skip(reason: &str) {
    assert!(
        std::env::var_os("PICKET_NO_SKIP").is_none_or(|value| value != "1"),
        "a test would be skipped, and PICKET_NO_SKIP forbids that: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// What the script says, by Debian's own Python if another one lacks the module.
fn python(script: &str, job: &Value) -> Option<String> {
    let knows = |python: &&str| {
        Command::new(python)
            .args(["-c", "import jsonschema"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(knows)?;
    let mut child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(job.to_string().as_bytes())
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn junit_is_what_a_reader_of_it_understands() {
    let (names, document) = report("--junit");
    let report = junit_parser::from_reader(document.as_bytes()).expect("JUnit");
    assert_eq!(report.suites.len(), names.len());
    assert_eq!(report.errors, 1);
    let mut failures = 0;
    for (suite, name) in report.suites.iter().zip(&names) {
        assert_eq!(Path::new(&suite.name), name);
        assert_eq!(suite.tests, u64::try_from(suite.cases.len()).expect("few"));
        let failed = suite
            .cases
            .iter()
            .filter(|case| case.status.is_failure())
            .count();
        assert_eq!(suite.failures, u64::try_from(failed).expect("few"));
        failures += suite.failures;
    }
    assert_eq!(report.failures, failures);
    // A definition that is supported fails nowhere; an unsafe one fails the rule that says so.
    assert_eq!(report.suites[0].failures, 0);
    let failed: Vec<&str> = report.suites[5]
        .cases
        .iter()
        .filter(|case| case.status.is_failure())
        .map(|case| case.name.as_str())
        .collect();
    assert!(
        failed.iter().any(|name| name.contains("S19: ")),
        "{failed:?}"
    );
}

#[test]
fn reports_go_to_files_beside_the_text() {
    let files = Files::new();
    let definition = files.write("cluster.toml", PREVIEW);
    let (sarif, junit) = (files.write("r.sarif", ""), files.write("r.xml", ""));
    let output = picket(&["check", &definition, "--sarif", &sarif, "--junit", &junit]);
    assert_eq!(code(&output), exit::PREVIEW);
    assert!(said(&output).contains("technology preview"));
    assert!(
        std::fs::read_to_string(sarif)
            .expect("a file")
            .contains("\"2.1.0\"")
    );
    assert!(
        std::fs::read_to_string(junit)
            .expect("a file")
            .contains("<testsuites")
    );
    let output = picket(&["check", &definition, "--junit", "/nonexistent/r.xml"]);
    assert_eq!(code(&output), exit::FAILED);
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/r.xml"));
}

#[test]
fn explain_knows_rules_statements_rows_and_facts() {
    for (id, part) in [
        ("S19", "live migration"),
        ("s53", "without a mix"),
        ("anti-affinity", "DRS rules"),
        ("kvm.pr", "qemu-pr-helper"),
        ("vmware.rhel", "Red Hat lists"),
    ] {
        let output = picket(&["explain", id]);
        assert_eq!(code(&output), exit::SUCCESS);
        assert!(said(&output).contains(part), "{id}: {}", said(&output));
        let json: Value =
            serde_json::from_slice(&picket(&["explain", id, "--json"]).stdout).expect("JSON");
        assert!(
            json.as_array().is_some_and(|entries| !entries.is_empty()),
            "{id}"
        );
    }
    let listed = said(&picket(&["explain"]));
    for id in ["S01", "S53", "anti-affinity", "kvm.pr"] {
        assert!(listed.contains(&format!("  {id} ")), "{id}");
    }
}

#[test]
fn explain_suggests_what_was_meant() {
    let output = picket(&["explain", "anti-afinity"]);
    assert_eq!(code(&output), exit::USAGE);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("did you mean `anti-affinity`?"), "{error}");
}
