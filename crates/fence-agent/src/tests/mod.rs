//! Tests of what is derived from a table, on a table with every kind of option.

mod derived;
mod engine;
mod reading;

use std::process::Command;

use crate::log::Facility;
use crate::table::{Action, Agent, Alias, Kind, Need, Opt};
use crate::{common, metadata};

/// An agent with every kind of option.
pub(crate) static SAMPLE: Agent = Agent {
    name: "fence_sample",
    shortdesc: "Fence agent for tests <&>",
    longdesc: "First paragraph.\n\n.Second paragraph with a \\ and a -dash.",
    vendor_url: "https://example.org",
    version: "1.2.3",
    symlinks: &[("fence_other", "Fence agent for other tests")],
    options: &SAMPLE_OPTIONS,
    actions: &common::ACTIONS,
    ignored: &["nodename", "agent"],
    facility: Facility::User,
    notes: &[("NOTES", "A note.")],
};

static SAMPLE_OPTIONS: [Opt; 24] = [
    common::EVERY[0],
    common::EVERY[1],
    common::EVERY[2],
    common::EVERY[3],
    common::EVERY[4],
    common::EVERY[5],
    common::EVERY[6],
    common::EVERY[7],
    common::EVERY[8],
    common::EVERY[9],
    common::EVERY[10],
    common::EVERY[11],
    common::EVERY[12],
    common::EVERY[13],
    common::EVERY[14],
    common::EVERY[15],
    common::IP,
    common::PLUG,
    common::SSL,
    common::MISSING_AS_OFF,
    common::METHOD,
    common::PASSWORD,
    Opt::new("cid", Kind::Integer(2, 99))
        .short('K')
        .bare("2")
        .help("cid", "An optional value"),
    Opt::text("serial_device")
        .aliases(&[Alias::deprecated("tty").flags(Some('y'), true)])
        .need(Need::Optional)
        .help("device", "A device"),
];

/// Where the Debian package `fence-agents` puts its schema, or where the set-up has unpacked it.
fn schema() -> Option<String> {
    let unpacked = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/peers/metadata.rng"
    );
    let named = std::env::var("PICKET_METADATA_RNG").ok();
    let usual = ["/usr/share/cluster/relaxng/metadata.rng", unpacked].map(str::to_owned);
    named
        .into_iter()
        .chain(usual)
        .find(|path| std::path::Path::new(path).is_file())
}

fn skip(reason: &str) {
    assert!(
        std::env::var_os("PICKET_NO_SKIP").is_none_or(|value| value != "1"),
        "a test would be skipped, and PICKET_NO_SKIP forbids that: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

#[test]
fn metadata_validates_against_the_schema_of_fence_agents() {
    let Some(schema) = schema() else {
        skip(
            "needs metadata.rng of the Debian package fence-agents: unpack it and name it in PICKET_METADATA_RNG",
        );
        return;
    };
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("metadata.xml");
    std::fs::write(&file, metadata::render(&SAMPLE, "fence_sample")).expect("write");
    let xmllint = Command::new("xmllint")
        .args(["--noout", "--relaxng", &schema])
        .arg(&file)
        .output();
    match xmllint {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Err(error) => skip(&format!(
            "needs xmllint, of the Debian package libxml2-utils: {error}"
        )),
    }
}

#[test]
fn the_common_table_is_sound() {
    assert_eq!(SAMPLE.self_check(), Vec::<String>::new());
}

#[test]
fn self_check_finds_what_is_wrong() {
    static WRONG: [Opt; 4] = [
        Opt::text("action").default("explode").help("a", "b"),
        Opt::flag("x").short('a').help("", "b"),
        Opt::new("y", Kind::Integer(1, 2))
            .default("3")
            .short('a')
            .help("v", "b"),
        Opt::text("Y"),
    ];
    static ACTIONS: [Action; 1] = [Action::new("on", "help")];
    let agent = Agent {
        options: &WRONG,
        actions: &ACTIONS,
        ..copy(&SAMPLE)
    };
    let problems = agent.self_check().join("\n");
    for wanted in [
        "default action `explode`",
        "flag `-a` is declared twice",
        "option `y` has a default outside its own bounds",
        "name `y` is declared twice",
        "option `Y` has no description",
        "action `metadata` is missing",
    ] {
        assert!(problems.contains(wanted), "{wanted} not in {problems}");
    }
}

fn copy(agent: &Agent) -> Agent {
    Agent {
        name: agent.name,
        ..SAMPLE_COPY
    }
}

const SAMPLE_COPY: Agent = Agent {
    name: "",
    shortdesc: "",
    longdesc: "",
    vendor_url: "",
    version: "",
    symlinks: &[],
    options: &[],
    actions: &[],
    ignored: &[],
    facility: Facility::User,
    notes: &[],
};
