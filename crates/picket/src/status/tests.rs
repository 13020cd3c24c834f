//! How a status is shown, from what real tools printed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use observe::source::{Memory, Source};
use observe::{ExpectedNode, Host, Inventory, Patience, Status};

use super::html::escaped;
use super::page::{Clocks, Page, clean};
use super::{StatusArgs, html, screen, text};

#[derive(Debug, Parser)]
struct Words {
    #[command(flatten)]
    args: StatusArgs,
}

fn parse(words: &str) -> Result<StatusArgs, clap::Error> {
    Words::try_parse_from(["status"].into_iter().chain(words.split_whitespace()))
        .map(|words| words.args)
}

/// Half a minute after the fixtures' last event.
const CLOCK: i64 = 1_795_375_780;

/// What a node prints whose tools say what they said in `state`.
fn answer(state: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observe/fixtures");
    let mut text =
        format!("clock  {CLOCK}\nclock ?0\ncluster  totem.cluster_name (str) = web\ncluster ?0\n");
    for (tag, file) in [
        ("crm_mon", "crm_mon.xml"),
        ("history", "stonith_admin.xml"),
        ("quorum", "quorumtool.txt"),
        ("links", "cfgtool.txt"),
    ] {
        let said = fs::read_to_string(fixtures.join(format!("{state}.{file}")))
            .expect("the fixture is there");
        for line in said.lines() {
            let _ = writeln!(text, "{tag}  {line}");
        }
        let _ = writeln!(text, "{tag} ?0");
    }
    text.push_str("end\n");
    text.into_bytes()
}

fn seen(state: &str) -> Status {
    let node = |name: &str| ExpectedNode {
        name: name.to_owned(),
        guest: Some(format!("vm-{name}")),
        host: Some("h1".to_owned()),
        ..ExpectedNode::default()
    };
    let inventory = Inventory {
        cluster: Some("web".to_owned()),
        nodes: ["n1", "n2", "n3"].map(node).to_vec(),
        complete: true,
        resources: None,
        hosts: vec![Host {
            name: "h1".to_owned(),
            ..Host::default()
        }],
    };
    let host =
        b"active  vm-n1\nactive ?0\npaused ?0\ndefined  vm-n1\ndefined  vm-n2\ndefined ?0\nend\n";
    let memory = Memory::default()
        .with("n1", Ok(answer(state)))
        .with("n2", Ok(b"rubbish".to_vec()))
        .with("h1", Ok(host.to_vec()));
    let source: Arc<dyn Source> = Arc::new(memory);
    let mut status = observe::gather(&inventory, &source, Patience::default());
    // What differs from run to run.
    status.taken_at = jiff::Timestamp::from_second(CLOCK).expect("a time");
    status.took_ms = 120;
    for report in &mut status.asked {
        report.took_ms = report.took_ms.map(|_| 100);
        report.clock_ahead = report.clock_ahead.map(|_| 0);
    }
    for report in &mut status.hosts {
        report.took_ms = Some(80);
    }
    // The fixtures' clock is not ours.
    status.alarms.retain(|alarm| alarm.code != "clock");
    status
}

fn shown(state: &str) -> String {
    let page = Page::of(&seen(state), Clocks::Shown);
    text::lines(&page, false, None).join("\n")
}

#[test]
fn the_table() {
    insta::assert_snapshot!("healthy", shown("healthy"));
    insta::assert_snapshot!("fencing_failed", shown("fencing-failed"));
    insta::assert_snapshot!("no_quorum", shown("no-quorum"));
}

#[test]
fn the_documents_fields_are_an_interface() {
    insta::assert_json_snapshot!("fenced_json", seen("fenced"));
}

#[test]
fn the_page_for_browsers() {
    let page = Page::of(&seen("fenced"), Clocks::Shown);
    let text = html::page(&page, Some(5));
    insta::assert_snapshot!("fenced_html", text);
    assert!(text.contains("http-equiv=\"refresh\" content=\"5\""));
    assert!(!html::page(&page, None).contains("refresh"));
}

#[test]
fn only_changes_make_a_new_page() {
    let (mut one, mut other) = (seen("fenced"), seen("fenced"));
    one.took_ms = 1;
    other.taken_at = jiff::Timestamp::UNIX_EPOCH;
    if let Some(view) = &mut other.view {
        view.fencing[0].age = Some(9999);
    }
    for alarm in &mut other.alarms {
        alarm.age = alarm.age.map(|age| age + 1);
    }
    assert_eq!(
        Page::of(&one, Clocks::Hidden),
        Page::of(&other, Clocks::Hidden)
    );
    assert_ne!(
        Page::of(&one, Clocks::Shown),
        Page::of(&other, Clocks::Shown)
    );
    let changed = seen("no-quorum");
    assert_ne!(
        Page::of(&one, Clocks::Hidden),
        Page::of(&changed, Clocks::Hidden)
    );
}

#[test]
fn nothing_is_obeyed() {
    assert_eq!(
        clean("a\x1b[31m\u{9b}b\r\n\u{202e}c"),
        "a\u{fffd}[31m\u{fffd}b\u{fffd}\u{fffd}\u{fffd}c"
    );
    assert_eq!(clean(&"x".repeat(1000)).chars().count(), 301);
    assert_eq!(
        escaped("<a href='x'>&\"</a>"),
        "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;"
    );
}

#[test]
fn lines_fit_the_terminal() {
    let page = Page::of(&seen("fencing-failed"), Clocks::Shown);
    for width in [1, 10, 40, 79] {
        let lines = text::lines(&page, false, Some(width));
        assert!(
            lines.iter().all(|line| line.chars().count() <= width),
            "{width}: {lines:?}"
        );
    }
    // Colours take no room.
    let bare = text::lines(&page, false, Some(40));
    let painted = text::lines(&page, true, Some(40));
    assert_ne!(bare, painted);
    let without = |line: &String| {
        let mut rest = line.split("\x1b[");
        let first = rest.next().unwrap_or_default().to_owned();
        rest.fold(first, |text, part| {
            text + part.split_once('m').map_or("", |(_, after)| after)
        })
    };
    assert_eq!(bare, painted.iter().map(without).collect::<Vec<_>>());
}

#[test]
fn a_frame_replaces_what_was_there() {
    let lines: Vec<String> = ["one", "two", "three"].map(str::to_owned).to_vec();
    assert_eq!(
        screen::frame(&lines, 24),
        "\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[K\x1b[J"
    );
    assert_eq!(
        screen::frame(&lines, 2),
        "\x1b[Hone\x1b[K\r\n… 2 lines more\x1b[K\x1b[J"
    );
    // A terminal of one line, or none.
    assert!(screen::frame(&lines, 1).contains("3 lines more"));
    assert!(screen::frame(&lines, 0).contains("3 lines more"));
}

#[test]
fn words_on_the_command_line() {
    let args = parse("web.toml --watch --json").expect("right");
    assert_eq!(args.watch, Some(2));
    assert_eq!(parse("--watch=7").expect("right").watch, Some(7));
    for words in [
        "--watch=0",
        "--json --html x",
        "--refresh 3",
        "--ssh-config x",
        "--lab a --ssh-config x web.toml",
        "--timeout 0",
        "--lab ../x",
        "a.toml b.toml",
    ] {
        assert!(parse(words).is_err(), "{words}");
    }
}
