//! What `picket lab` refuses, and that it has changed nothing then.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output},
};

use picket_tests::{
    skip::{Need, skipped},
    subject::ours,
};

/// Exit codes of `picket`, from its documentation.
mod code {
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const DEFINITION: i32 = 3;
    pub(crate) const UNFIT: i32 = 4;
    pub(crate) const STATE: i32 = 5;
    pub(crate) const EXEC_FAILED: i32 = 255;
}

const NAME: &str = "refusals";

fn picket(args: &[&str]) -> Command {
    let mut command = Command::new(ours("picket"));
    command
        .arg("lab")
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

/// Runs it; it must end with `code`, say each of `words`, and leave no lab behind.
fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let Output { status, stderr, .. } = command.output().expect("picket starts");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{command:?}: {said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing: {said}");
    }
    assert!(!Path::new("/run/picket/lab").join(NAME).exists());
}

fn up() -> Command {
    picket(&["up", "--name", NAME])
}

#[test]
fn not_root() {
    if skipped(&[Need::Root]) {
        return;
    }
    // The program itself may lie where nobody else may look. Not copied by ourselves: another test that
    // starts a program meanwhile would inherit the open file, and then it could not be started.
    let dir = tempfile::tempdir().expect("a directory");
    let [program, definition] = ["picket", "web.toml"].map(|name| dir.path().join(name));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web.toml");
    for (from, to) in [(ours("picket"), &program), (example, &definition)] {
        let status = Command::new("install")
            .args(["-m", "755"])
            .arg(from)
            .arg(to)
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).expect("a mode");
    let mut command = Command::new(program);
    command.args(["lab", "up", "--name", NAME]).arg(definition);
    refused(
        command.uid(65534).gid(65534).current_dir("/"),
        code::UNFIT,
        &["needs root", "sudo", "nothing has been changed"],
    );
}

#[test]
fn missing_programs() {
    if skipped(&[Need::Root]) {
        return;
    }
    // Nothing can be found here but our own programs, which are named by path.
    refused(
        up().env("PATH", "/nonexistent"),
        code::UNFIT,
        &[
            "apt-get install qemu-system-x86",
            "apt-get install libvirt-clients",
            "nothing has been changed",
        ],
    );
    refused(
        up().env("PICKET_BINDIR", "/nonexistent"),
        code::UNFIT,
        &["/nonexistent/picket-agents is missing", "make build"],
    );
}

#[test]
fn too_little_memory() {
    if skipped(&[Need::Root]) {
        return;
    }
    refused(
        up().args(["--memory", "65536", "--nodes", "16"]),
        code::UNFIT,
        &["MiB of memory", "--nodes"],
    );
}

#[test]
fn another_ones_network_namespace() {
    if skipped(&[Need::Root]) {
        return;
    }
    let ip = |args: &[&str]| {
        Command::new("ip")
            .args(args)
            .status()
            .is_ok_and(|status| status.success())
    };
    assert!(ip(&["netns", "add", NAME]));
    let output = up().output().expect("picket starts");
    let removed = ip(&["netns", "delete", NAME]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(removed, "it is still there");
    assert_eq!(output.status.code(), Some(code::USAGE), "{said}");
    assert!(
        said.contains("network namespace") && said.contains("--name"),
        "{said}"
    );
}

#[test]
fn definitions_that_do_not_fit() {
    refused(
        up().arg("/nonexistent.toml"),
        code::DEFINITION,
        &["/nonexistent.toml"],
    );
    refused(up().args(["--nodes", "17"]), code::USAGE, &["17"]);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("far.toml");
    let text = include_str!("../../examples/web.toml").replace("10.9.0.", "192.0.2.");
    std::fs::write(&path, text).expect("a file");
    refused(up().arg(&path), code::USAGE, &["192.0.2.", "10.9.0.0/24"]);
}

#[test]
fn labs_that_are_not_there() {
    refused(
        &mut picket(&["console", "--name", NAME, "n1"]),
        code::STATE,
        &["is not up", "picket lab up"],
    );
    refused(
        &mut picket(&["exec", "--name", NAME, "n1", "--", "true"]),
        code::EXEC_FAILED,
        &["is not up"],
    );
    refused(
        &mut picket(&["up", "--name", "../up"]),
        code::USAGE,
        &["lab's name"],
    );
    let output = picket(&["down", "--name", NAME])
        .output()
        .expect("picket starts");
    assert!(output.status.success());
}
