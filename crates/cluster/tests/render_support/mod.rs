//! Definitions, and the real tools that judge what is made from them.

#![expect(dead_code, reason = "each test binary uses a part of what they share")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cluster::{CIB, Definition, Dialect, RenderOptions, Rendered, Secrets, render_node};

/// The definition in a text.
pub(crate) fn parse(name: &str, text: &str) -> Definition {
    Definition::parse(name, text).unwrap_or_else(|error| panic!("{name}:\n{error}"))
}

/// Every example, by its name without `.toml`, sorted.
pub(crate) fn examples() -> Vec<(String, Definition)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no examples in {}", directory.display());
    files
        .iter()
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(path).expect("readable");
            (name.clone().into_owned(), parse(&name, &text))
        })
        .collect()
}

/// The example of that name.
pub(crate) fn example(name: &str) -> Definition {
    let found = examples().into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no example {name}.toml")).1
}

/// The files of the node of that place in the list.
pub(crate) fn node_files(definition: &Definition, at: usize) -> Rendered {
    let secrets = Secrets::derive(b"a seed for tests");
    let node = &definition.nodes[at];
    render_node(definition, node, &secrets, &RenderOptions::default())
}

/// The Pacemaker configuration in a dialect.
pub(crate) fn cib(definition: &Definition, dialect: Dialect) -> String {
    let secrets = Secrets::derive(b"a seed for tests");
    let options = RenderOptions::default().in_dialect(dialect);
    let rendered = render_node(definition, &definition.nodes[0], &secrets, &options);
    text(&rendered, CIB)
}

/// The text of a file.
pub(crate) fn text(rendered: &Rendered, path: &str) -> String {
    let file = rendered.file(path).unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(file.bytes.clone()).expect("text")
}

/// Runs a checker; on a machine without it the test skips aloud.
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(
                std::env::var_os("PICKET_NO_SKIP").is_none(),
                "{program} is missing"
            );
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// What a program said, both ways.
pub(crate) fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}

/// That a checker was content and had nothing to say.
pub(crate) fn assert_accepted(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\n{}",
        output.status,
        said(output)
    );
}
