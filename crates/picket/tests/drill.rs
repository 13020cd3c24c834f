//! How `picket drill` refuses what it cannot do: before anything is started, with the documented codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket::exit;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web.toml")
}

fn drill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket"))
        .arg("drill")
        .args(arguments)
        .output()
        .expect("picket runs")
}

/// The exit code and what was said. Nothing may go to standard output, where results go.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = drill(arguments);
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("an exit code"), said)
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [
        ["--fault", "fire"],
        ["--runs", "0"],
        ["--limit", "x"],
        ["--colour", "red"],
    ] {
        let (code, said) = refused(&arguments);
        assert_eq!(code, i32::from(exit::USAGE), "{said}");
        assert!(said.contains(arguments[0]), "{said}");
    }
}

#[test]
fn a_node_that_is_not_there_is_a_usage_error() {
    let example = example();
    let file = example.to_str().expect("text");
    let (code, said) = refused(&[file, "--node", "n7"]);
    assert_eq!(code, i32::from(exit::USAGE), "{said}");
    assert!(
        said.contains("no node `n7`") && said.contains("n1, n2"),
        "{said}"
    );
    let (code, said) = refused(&[file, "--node", "N_7"]);
    assert_eq!(code, i32::from(exit::USAGE), "{said}");
    let (code, said) = refused(&[file, "--nodes", "99"]);
    assert_eq!(code, i32::from(exit::USAGE), "{said}");
}

#[test]
fn a_definition_that_cannot_be_read_is_named() {
    let (code, said) = refused(&["/nonexistent/cluster.toml"]);
    assert_eq!(code, i32::from(exit::DEFINITION), "{said}");
    assert!(said.contains("/nonexistent/cluster.toml"), "{said}");
}

#[test]
fn a_wrong_definition_is_shown_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cluster.toml");
    let text = std::fs::read_to_string(example()).expect("the example");
    std::fs::write(&file, text.replace("virtual_ip", "virtual_pi")).expect("written");
    let (code, said) = refused(&[file.to_str().expect("text")]);
    assert_eq!(code, i32::from(exit::DEFINITION), "{said}");
    let line = text.lines().position(|line| line.starts_with("virtual_ip"));
    let place = format!("cluster.toml:{}:1", line.expect("the example has one") + 1);
    assert!(said.contains(&place), "{said}");
    assert!(said.contains("did you mean `virtual_ip`?"), "{said}");
}

#[test]
fn what_cannot_fail_over_is_not_drilled() {
    let example = example();
    let (code, said) = refused(&[example.to_str().expect("text"), "--nodes", "1"]);
    assert_eq!(code, i32::from(exit::DEFINITION), "{said}");
    assert!(said.contains("at least two nodes"), "{said}");

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cluster.toml");
    let text = std::fs::read_to_string(&example).expect("the example");
    let cut = text.find("[[service]]").expect("a service");
    std::fs::write(&file, &text[..cut]).expect("written");
    let (code, said) = refused(&[file.to_str().expect("text")]);
    assert_eq!(code, i32::from(exit::DEFINITION), "{said}");
    assert!(said.contains("[[service]]"), "{said}");
}

#[test]
fn help_lists_the_exit_codes() {
    let output = drill(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for (code, meaning) in exit::TABLE {
        assert!(text.contains(&format!("{code:>3}  {meaning}")), "{text}");
    }
}
