//! The examples, and the largest definition that is of use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::{Definition, PlatformKind};

/// Every example: its file's name and its text.
fn examples() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read_to_string(path).expect("text"))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_example_is_a_definition() {
    let all = examples();
    assert!(all.len() >= 10, "only {} examples", all.len());
    for (name, text) in &all {
        if let Err(error) = Definition::parse(name, text) {
            panic!("{error}");
        }
    }
}

#[test]
fn there_is_an_example_for_every_platform() {
    let shown: Vec<_> = examples()
        .iter()
        .map(|(name, text)| Definition::parse(name, text).expect("valid").platform.kind)
        .collect();
    for kind in PlatformKind::ALL {
        assert!(shown.contains(&kind), "no example for {kind}");
    }
}

#[test]
fn every_node_of_every_example_is_fenced() {
    for (name, text) in examples() {
        let definition = Definition::parse(&name, &text).expect("valid");
        for node in &definition.nodes {
            assert!(
                !definition.levels_of(node).is_empty(),
                "{name}: {}",
                node.name
            );
        }
    }
}

#[test]
fn every_place_in_every_example_is_found_again() {
    for (name, text) in examples() {
        let (definition, places) = Definition::parse_with_places(&name, &text).expect("valid");
        for node in &definition.nodes {
            let span = places
                .exactly(&format!("node.{}.address", node.name))
                .expect("an address");
            assert!(
                text[span].contains(&node.address().to_string()),
                "{name}: {}",
                node.name
            );
        }
        for device in &definition.fence_devices {
            let line = places
                .line(&format!("fence.{}", device.name))
                .expect("a line");
            assert!(
                text.lines()
                    .nth(line - 1)
                    .expect("a line")
                    .starts_with("[[fence]]")
            );
        }
        for volume in &definition.volumes {
            let path = format!("volume.{}/{}.size", volume.group, volume.name);
            let span = places.exactly(&path).expect("a size");
            assert_eq!(text[span], format!("\"{}\"", volume.size));
        }
        assert!(text[places.find("platform.os").expect("a platform")].len() > 1);
        assert_eq!(places.find("nowhere.at.all"), None);
    }
}

/// 32 nodes on 8 hosts with shared storage and 16 services.
fn large() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "[cluster]\nname = \"large\"\n[platform]\nkind = \"kvm\"\nos = \"debian 12\"\n",
    );
    for host in 1..=8 {
        let _ = write!(
            text,
            "[[host]]\nname = \"h{host}\"\naddress = \"10.8.0.{host}\"\n"
        );
    }
    for node in 1..=32 {
        let _ = write!(
            text,
            "[[node]]\nname = \"n{node}\"\naddress = \"10.9.0.{node}\"\nhost = \"h{}\"\nguest = \"vm-{node}\"\n",
            node % 8 + 1
        );
    }
    text.push_str("[[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\n");
    for service in 1..=16 {
        let after = if service > 1 {
            format!("after = [\"s{}\"]\n", service - 1)
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\nvirtual_ip = \"10.9.0.{}/24\"\nhttp = {{ port = {} }}\n{after}",
            100 + service,
            8000 + service
        );
    }
    text
}

/// The fastest of several runs: what the work costs, without what else the machine does.
fn fastest(mut work: impl FnMut()) -> Duration {
    (0..20)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

#[test]
fn a_large_definition_is_read_within_milliseconds() {
    let text = large();
    let taken = fastest(|| {
        Definition::parse("large.toml", &text).expect("valid");
    });
    println!(
        "32 nodes, 8 hosts, 16 services: {:.2} ms",
        taken.as_secs_f64() * 1e3
    );
    let limit = if cfg!(debug_assertions) { 50 } else { 5 };
    assert!(taken < Duration::from_millis(limit), "{taken:?}");
}

#[test]
fn ten_thousand_nodes_are_refused_at_once_and_with_one_message() {
    use std::fmt::Write as _;
    let mut text = String::from("[cluster]\nname = \"huge\"\n[platform]\nkind = \"kvm\"\n");
    for node in 0..10_000 {
        let _ = write!(
            text,
            "[[node]]\nname = \"n{node}\"\naddress = \"10.{}.{}.1\"\n",
            node / 250,
            node % 250
        );
    }
    let mut problems = Vec::new();
    let taken = fastest(|| {
        let error = Definition::parse("huge.toml", &text).expect_err("refused");
        problems = error.problems().to_vec();
    });
    println!("10000 nodes refused: {:.1} ms", taken.as_secs_f64() * 1e3);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].message,
        "10000 nodes are more than the 32 a cluster may have"
    );
    assert!(taken < Duration::from_millis(500), "{taken:?}");
}

#[test]
fn a_megabyte_is_the_most_that_is_read() {
    let text = format!("# {}\n", "x".repeat(1 << 20));
    let error = Definition::parse("long.toml", &text).expect_err("refused");
    assert_eq!(error.problems().len(), 1);
    assert!(
        error.to_string().contains("longer than 1048576 bytes"),
        "{error}"
    );
}

/// Texts made to take long, of about a megabyte each.
fn hostile() -> Vec<(&'static str, String)> {
    let head = "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n[[node]]\nname = \"n1\"\naddress = \"10.9.0.1\"\n";
    let many = |n: usize, item: &dyn Fn(usize) -> String| -> String { (0..n).map(item).collect() };
    let fence = "[[fence]]\nname = \"f\"\nagent = \"fence_scsi\"\n";
    let names = |n| {
        many(n, &|i| format!("\"{i:0>60}\","))
            .trim_end_matches(',')
            .to_owned()
    };
    vec![
        (
            "a line of secrets",
            format!("x = {}", "token=".repeat(170_000)),
        ),
        ("lines of secrets", "password = \"x\"\n".repeat(60_000)),
        (
            "a long array",
            format!("{head}{fence}nodes = [{}]\n", names(15_000)),
        ),
        (
            "many plugs",
            format!(
                "{head}{fence}[fence.plugs]\n{}",
                many(20_000, &|i| format!("m{i:0>40} = \"x\"\n"))
            ),
        ),
        (
            "many options",
            format!(
                "{head}{fence}[fence.options]\n{}",
                many(40_000, &|i| format!("password{i} = \"x\"\n"))
            ),
        ),
        ("many services that name many", {
            let after = names(255);
            format!(
                "{head}{}",
                many(60, &|i| format!(
                    "[[service]]\nname = \"s{i}\"\nafter = [{after}]\n"
                ))
            )
        }),
        (
            "many unknown tables",
            format!("{head}{}", many(80_000, &|i| format!("[t{i}]\n"))),
        ),
        (
            "many hosts",
            format!(
                "{head}{}",
                many(40_000, &|i| format!("[[host]]\nname = \"h{i}\"\n"))
            ),
        ),
        (
            "depth",
            format!("{head}[options]\ntoken = {}", "[".repeat(500_000)),
        ),
        ("dots", format!("{head}{}", "a.".repeat(300_000))),
        ("quotation marks", format!("{head}{}", "\"".repeat(900_000))),
    ]
}

#[test]
fn texts_made_to_take_long_are_refused_soon() {
    for (name, text) in hostile() {
        assert!(text.len() < 1 << 20, "{name}: {}", text.len());
        let start = Instant::now();
        let error = Definition::parse("hostile.toml", &text).expect_err(name);
        let parsed = start.elapsed();
        let report = error.to_string();
        let taken = start.elapsed();
        println!(
            "{name}: {:.0} ms, report after {:.0} ms, {} problems, {} bytes of report",
            parsed.as_secs_f64() * 1e3,
            taken.as_secs_f64() * 1e3,
            error.problems().len(),
            report.len()
        );
        assert!(error.problems().len() <= 50, "{name}");
        let limit = if cfg!(debug_assertions) { 20 } else { 2 };
        assert!(taken < Duration::from_secs(limit), "{name}: {taken:?}");
    }
}
