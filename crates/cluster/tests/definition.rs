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
