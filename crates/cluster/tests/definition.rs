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
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        if let Err(error) = Definition::parse("x", &text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_change_of_the_example_panics(at in 0..WEB.len(), with in "\\PC{0,3}", cut in 0..20_usize) {
        let mut at = at;
        while !WEB.is_char_boundary(at) { at -= 1; }
        let mut end = (at + cut).min(WEB.len());
        while !WEB.is_char_boundary(end) { end -= 1; }
        let text = format!("{}{with}{}", &WEB[..at], &WEB[end.max(at)..]);
        if let Err(error) = Definition::parse("x", &text) {
            prop_assert!(!error.report(true).is_empty());
            prop_assert!(!error.problems().is_empty());
        }
    }
}
