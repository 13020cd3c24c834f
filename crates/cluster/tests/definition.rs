//! What a definition may say, and how a wrong one is refused.

use cluster::{Definition, FenceAction, PatternError};
use proptest::prelude::*;

const WEB: &str = include_str!("../../../examples/web.toml");

fn web() -> Definition {
    Definition::parse("web.toml", WEB).expect("the example is valid")
}

/// The report for the example with one piece of its text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(WEB.contains(from), "the example has no {from:?}");
    Definition::parse("web.toml", &WEB.replacen(from, to, 1))
        .expect_err("refused")
        .to_string()
}

#[test]
fn the_example_says_what_it_says() {
    let web = web();
    assert_eq!(web.name.as_str(), "web");
    let nodes: Vec<String> = web
        .nodes
        .iter()
        .map(|n| format!("{} {}", n.name, n.address()))
        .collect();
    assert_eq!(nodes, ["n1 10.9.0.1", "n2 10.9.0.2"]);
    assert_eq!(web.options.token.millis(), 5000);
    assert_eq!(web.fencing.action, FenceAction::Reboot);
    assert_eq!(web.virt().expect("fence_xvm").port.get(), 1229);
    let favour = web.fencing.favour.expect("two nodes");
    assert_eq!((favour.node.as_str(), favour.delay.millis()), ("n2", 2000));
    assert_eq!(
        web.services[0].virtual_ip.expect("one").to_string(),
        "10.9.0.100/24"
    );
    assert_eq!(web.services[0].http.as_ref().expect("one").port.get(), 80);
}

/// The daemon listens once in each way: a device that asks elsewhere would never be answered.
#[test]
fn devices_that_ask_in_the_same_way_ask_at_the_same_place() {
    let second = |what: &str| {
        let text = format!("{WEB}\n[[fence]]\nname = \"second\"\nagent = \"fence_virt\"\n{what}\n");
        Definition::parse("web.toml", &text)
    };
    for what in ["port = 1300", "multicast = \"225.0.0.13\""] {
        let said = second(what).expect_err(what).to_string();
        assert!(said.contains("one listener of that kind"), "{said}");
    }
    for what in ["", "listener = \"tcp\"\nport = 1300"] {
        assert!(second(what).is_ok(), "{what}");
    }
}

#[test]
fn refusals_show_the_place_and_the_remedy() {
    let cases = [
        ("misspelt-key", refusal("address = ", "adress = ")),
        ("misspelt-value", refusal("standalone", "standalome")),
        ("missing-key", refusal("agent = \"fence_xvm\"  ", "#")),
        ("not-toml", refusal("name = \"web\"", "name = web")),
        ("wrong-type", refusal("port = 80", "port = \"80\"")),
        ("port-zero", refusal("port = 80", "port = 0")),
        ("bad-host-name", refusal("\"n1\"", "\"N_1\"")),
        ("bad-time", refusal("token = \"5s\"", "token = \"5\"")),
        ("same-name", refusal("\"n2\"", "\"n1\"")),
        ("same-address", refusal("\"10.9.0.2\"", "\"10.9.0.1\"")),
        ("address-taken", refusal("10.9.0.100/24", "10.9.0.2/24")),
        ("foreign-network", refusal("10.9.0.100/24", "10.8.0.100/24")),
        ("no-prefix", refusal("10.9.0.100/24", "10.9.0.100")),
        ("not-multicast", refusal("225.0.0.12", "10.0.0.12")),
        (
            "reserved",
            refusal("name = \"web\"\nvirtual_ip", "name = \"fence\"\nvirtual_ip"),
        ),
        ("two-families", refusal("\"10.9.0.2\"", "\"fd00::2\"")),
        (
            "relative-key",
            refusal("/etc/cluster/fence_xvm.key", "fence_xvm.key"),
        ),
        (
            "favour-nobody",
            refusal("[fence_virtd]", "[fencing]\nfavour = \"n3\"\n[fence_virtd]"),
        ),
    ];
    for (name, report) in cases {
        insta::assert_snapshot!(name, report);
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = WEB
        .replace("\"10.9.0.2\"", "\"10.9.0.1\"")
        .replace("10.9.0.100", "10.9.0.1");
    let error = Definition::parse("web.toml", &text).expect_err("refused");
    assert_eq!(error.problems().len(), 3);
    let lines: Vec<usize> = error.problems().iter().map(|p| p.line).collect();
    assert!(lines.is_sorted());
}

#[test]
fn line_and_column_count_characters() {
    let error = Definition::parse("x", "# é\n[cluster]\nname = \"é\"\n").expect_err("refused");
    let problem = &error.problems()[0];
    assert_eq!((problem.line, problem.column), (3, 8));
}

#[test]
fn a_cluster_needs_a_node() {
    let start = WEB.find("[[node]]").expect("nodes");
    let end = WEB.find("[[fence]]").expect("fencing");
    let text = format!("{}{}", &WEB[..start], &WEB[end..]);
    let error = Definition::parse("web.toml", &text).expect_err("refused");
    assert_eq!(error.problems()[0].message, "the cluster has no node");
}

#[test]
fn the_node_list_goes_on_by_its_pattern() {
    let names = |count| -> Vec<String> {
        let grown = web().with_nodes(count).expect("a pattern");
        grown
            .nodes
            .iter()
            .map(|n| format!("{} {}", n.name, n.address()))
            .collect()
    };
    assert_eq!(names(1), ["n1 10.9.0.1"]);
    assert_eq!(names(3), ["n1 10.9.0.1", "n2 10.9.0.2", "n3 10.9.0.3"]);
    assert_eq!(web().with_nodes(2).expect("the same"), web());
    assert!(web().with_nodes(3).expect("three").fencing.favour.is_none());
    let again = web()
        .with_nodes(3)
        .and_then(|d| d.with_nodes(2))
        .expect("two");
    assert_eq!(again, web());
}

#[test]
fn further_nodes_leave_out_taken_addresses_and_stay_in_the_network() {
    let text = WEB.replace("10.9.0.100/24", "10.9.0.3/29");
    let web = Definition::parse("web.toml", &text).expect("valid");
    let grown = web.with_nodes(5).expect("room for five");
    assert_eq!(grown.nodes[2].address().to_string(), "10.9.0.4");
    assert_eq!(grown.nodes[4].address().to_string(), "10.9.0.6");
    assert!(matches!(web.with_nodes(6), Err(PatternError::Address(_))));
}

#[test]
fn patterns_that_cannot_go_on_are_errors() {
    assert_eq!(web().with_nodes(0), Err(PatternError::Count(0)));
    assert_eq!(web().with_nodes(33), Err(PatternError::Count(33)));
    let named = Definition::parse("web.toml", &WEB.replace("\"n2\"", "\"beta\"")).expect("valid");
    assert!(matches!(named.with_nodes(3), Err(PatternError::Name(_))));
}

fn parsed(text: &str) -> Definition {
    Definition::parse("test.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_link_and_the_guest_go_on_by_their_pattern() {
    let kvm = parsed(EXAMPLES[1]);
    let grown = kvm.with_nodes(5).expect("a pattern");
    let last = &grown.nodes[4];
    assert_eq!(last.name.as_str(), "n5");
    assert_eq!(last.plug(), "shop-n5");
    assert_eq!(
        last.addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["198.51.100.5", "203.0.113.5"]
    );
    assert_eq!(last.destination(), "root@198.51.100.5");
}

#[test]
fn further_nodes_leave_out_the_storage() {
    let storage = parsed(EXAMPLES[2]);
    let grown = storage.with_nodes(32).expect("room");
    assert!(
        grown
            .nodes
            .iter()
            .all(|node| node.address().to_string() != "10.9.0.30")
    );
    assert_eq!(grown.nodes[31].address().to_string(), "10.9.0.33");
}

#[test]
fn a_node_that_something_names_is_not_cut_off() {
    let kvm = parsed(EXAMPLES[1]);
    let error = kvm.with_nodes(1).expect_err("n2 is preferred");
    assert_eq!(
        error.to_string(),
        "service `db` names node `n2`, which cannot be left out"
    );
    let mixed = parsed(EXAMPLES[3]);
    let error = mixed
        .with_nodes(2)
        .expect_err("n3 is fenced by its own device");
    assert_eq!(
        error.to_string(),
        "fencing device `ipmi-n3` names node `n3`, which cannot be left out"
    );
    assert!(matches!(
        mixed.with_nodes(4),
        Err(PatternError::BareMetal(_))
    ));
}

#[test]
fn a_machine_of_its_own_is_fenced_by_what_names_it() {
    let mixed = parsed(EXAMPLES[3]);
    let by = |node: &str| -> Vec<Vec<&str>> {
        let node = mixed.node(node).expect("a node");
        let levels = mixed.levels_of(node);
        levels
            .iter()
            .map(|level| level.iter().map(|device| device.name.as_str()).collect())
            .collect()
    };
    assert_eq!(by("n1"), [["virt"]]);
    assert_eq!(by("n3"), [["ipmi-n3"]]);
    // Without levels: the first device that can fence the node.
    let text = EXAMPLES[3]
        .replace("levels = [[\"ipmi-n3\"]]", "")
        .replace("levels = [[\"virt\"]]", "");
    let plain = parsed(&text);
    let first = |node: &str| {
        let levels = plain.levels_of(plain.node(node).expect("a node"));
        levels[0][0].name.as_str().to_owned()
    };
    assert_eq!(
        (first("n1").as_str(), first("n3").as_str()),
        ("virt", "ipmi-n3")
    );
}

#[test]
fn values_may_be_spelled_in_other_ways() {
    use cluster::{ManagerKind, PlatformKind, VirtdMode};
    let with = |from: &str, to: &str| parsed(&WEB.replacen(from, to, 1));
    let ovirt = with(
        "kind = \"kvm\"",
        "kind = \"ovirt\"\nmanager = { kind = \"ovirt-engine\" }",
    );
    assert_eq!(ovirt.platform.kind, PlatformKind::Rhev);
    assert_eq!(
        ovirt.platform.manager.map(|manager| manager.kind),
        Some(ManagerKind::RhevM)
    );
    for (word, mode) in [
        ("checkpoint", VirtdMode::Cluster),
        ("cpg", VirtdMode::Cluster),
        ("cluster", VirtdMode::Cluster),
        ("qmf", VirtdMode::Bus),
        ("bus", VirtdMode::Bus),
    ] {
        let read = with("mode = \"standalone\"", &format!("mode = \"{word}\""));
        assert_eq!(
            read.fence_virtd.map(|daemon| daemon.mode),
            Some(mode),
            "{word}"
        );
    }
    for kind in PlatformKind::ALL {
        let read = with("kind = \"kvm\"", &format!("kind = \"{kind}\""));
        assert_eq!(read.platform.kind, kind);
    }
}

#[test]
fn every_kind_of_storage_is_read_as_it_is_written() {
    for kind in cluster::StorageKind::ALL {
        let iscsi = match kind {
            cluster::StorageKind::Iscsi => {
                "target = \"iqn.2026-11.org.example:s\"\nportals = [\"10.9.0.30\"]\n"
            }
            _ => "",
        };
        let text = format!("{WEB}\n[[storage]]\nname = \"s\"\nkind = \"{kind}\"\n{iscsi}");
        assert_eq!(parsed(&text).storage[0].kind, kind);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parses_or_says_why(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        parses_or_says_why(&text)?;
    }

    #[test]
    fn no_change_of_an_example_panics(
        which in 0..EXAMPLES.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0..20_usize, "\\PC{0,3}|\n|\"|\\[|\\{|= "), 1..4),
    ) {
        let mut text = EXAMPLES[which].to_owned();
        for (at, cut, with) in changes {
            let at = text.floor_char_boundary(at.index(text.len().max(1)));
            let end = text.floor_char_boundary((at + cut).min(text.len())).max(at);
            text.replace_range(at..end, &with);
        }
        parses_or_says_why(&text)?;
    }

    /// Words of the format in any order: more of these get past the reader.
    #[test]
    fn no_shuffled_lines_panic(
        which in proptest::collection::vec((0..EXAMPLES.len(), any::<proptest::sample::Index>()), 0..40),
    ) {
        let mut text = String::new();
        for (example, line) in which {
            let lines: Vec<&str> = EXAMPLES[example].lines().collect();
            text.push_str(lines[line.index(lines.len())]);
            text.push('\n');
        }
        parses_or_says_why(&text)?;
    }

    /// Tables left out or written twice: what refers to them must be missed.
    #[test]
    fn no_missing_table_panics(which in 0..EXAMPLES.len(), keep in proptest::collection::vec(0..3_u8, 40)) {
        let mut text = String::new();
        for (table, keep) in EXAMPLES[which].split("\n\n").zip(keep.iter().cycle()) {
            for _ in 0..(*keep).min(2) {
                text.push_str(table);
                text.push_str("\n\n");
            }
        }
        parses_or_says_why(&text)?;
    }
}

const EXAMPLES: [&str; 6] = [
    WEB,
    include_str!("../../../examples/kvm.toml"),
    include_str!("../../../examples/kvm-storage.toml"),
    include_str!("../../../examples/mixed.toml"),
    include_str!("../../../examples/vmware.toml"),
    include_str!("../../../examples/rhev.toml"),
];

/// A text is either a definition, whose questions all have answers, or refused with a place and a picture.
fn parses_or_says_why(text: &str) -> Result<(), TestCaseError> {
    match Definition::parse_with_places("x", text) {
        Ok((definition, places)) => {
            for node in &definition.nodes {
                let path = format!("node.{}", node.name);
                prop_assert!(places.exactly(&path).is_some());
                prop_assert!(!node.address().is_unspecified());
                for device in definition.levels_of(node).into_iter().flatten() {
                    prop_assert!(definition.can_fence(device, node));
                    prop_assert!(!definition.plug_of(device, node).is_empty());
                }
            }
            for count in [1, 2, 5, 32] {
                if let Ok(grown) = definition.with_nodes(count) {
                    prop_assert_eq!(grown.nodes.len(), count);
                }
            }
        }
        Err(error) => {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(!error.report(true).is_empty() && !error.to_string().is_empty());
            for problem in error.problems() {
                prop_assert!(text.get(problem.span.clone()).is_some());
                prop_assert!(problem.line >= 1 && problem.column >= 1);
                prop_assert!(!problem.message.is_empty());
            }
        }
    }
    Ok(())
}
