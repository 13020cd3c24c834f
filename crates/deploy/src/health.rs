//! What should run by a configuration, and whether the cluster is as it should be.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Definition, RenderOptions};
use observe::expected::{self, Expected, Why};
use observe::pacemaker;

use crate::cib;
use crate::xml::Element;

/// What a cluster lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lacks {
    /// In words; empty when all is well.
    pub(crate) missing: Vec<String>,
    /// What does not run because an administrator said so, in words.
    pub(crate) held: Vec<String>,
}

impl Lacks {
    pub(crate) fn missing(what: String) -> Self {
        Self {
            missing: vec![what],
            held: Vec::new(),
        }
    }
}

/// The resources that a definition means to run, fencing devices among them.
///
/// # Errors
/// When what is rendered from the definition is not understood, in words: a fault of this program.
pub fn expected_of(definition: &Definition) -> Result<Vec<Expected>, String> {
    let cib = cluster::pacemaker_configuration(definition, &RenderOptions::default());
    Ok(expected(&cib::configuration(&cib)?))
}

/// The resources that a configuration means to run, fencing devices among them.
pub(crate) fn expected(configuration: &Element) -> Vec<Expected> {
    let mut out = Vec::new();
    let bonds = Bonds::of(configuration);
    if let Some(resources) = configuration.child("resources") {
        for resource in &resources.children {
            collect(resource, &mut Vec::new(), false, &bonds, &mut out);
        }
    }
    out
}

type Names<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// What constraints say of resources.
#[derive(Default)]
struct Bonds<'a> {
    /// From which nodes each is kept, by itself or by what it must run together with.
    kept_off: Names<'a>,
    /// What each must share a node with, directly or along a chain.
    with: Names<'a>,
    after: Names<'a>,
    apart_from: Names<'a>,
}

impl<'a> Bonds<'a> {
    fn of(configuration: &'a Element) -> Self {
        let mut bonds = Self::default();
        let constraints = configuration.child("constraints").into_iter();
        for constraint in constraints.flat_map(|constraints| &constraints.children) {
            bonds.take(constraint);
        }
        // Each round carries what is known one resource further.
        for _ in 0..bonds.with.len() {
            for (resource, with) in bonds.with.clone() {
                for other in with {
                    let theirs = bonds.with.get(other).cloned().unwrap_or_default();
                    bonds.with.entry(resource).or_default().extend(theirs);
                    let theirs = bonds.kept_off.get(other).cloned().unwrap_or_default();
                    bonds.kept_off.entry(resource).or_default().extend(theirs);
                }
            }
        }
        bonds
    }

    fn take(&mut self, constraint: &'a Element) {
        let get = |name| constraint.attribute(name);
        let note = |names: &mut Names<'a>, one: &'a str, other: &'a str| {
            names.entry(one).or_default().insert(other);
        };
        match (get("rsc"), get("node"), get("with-rsc"), get("score")) {
            (Some(resource), Some(node), _, Some("-INFINITY")) => {
                note(&mut self.kept_off, resource, node);
            }
            (Some(resource), _, Some(with), Some("INFINITY")) => {
                note(&mut self.with, resource, with);
            }
            (Some(resource), _, Some(other), Some("-INFINITY")) => {
                note(&mut self.apart_from, resource, other);
            }
            _ => {}
        }
        if let (Some(first), Some(then)) = (get("first"), get("then")) {
            note(&mut self.after, then, first);
        }
    }
}

fn collect<'a>(
    resource: &'a Element,
    inside: &mut Vec<&'a str>,
    everywhere: bool,
    bonds: &Bonds<'_>,
    out: &mut Vec<Expected>,
) {
    if meta(resource, "target-role").is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
        || meta(resource, "is-managed").is_some_and(|managed| managed == "false")
    {
        return;
    }
    inside.push(resource.id());
    match resource.name.as_str() {
        "primitive" => out.push(of_primitive(resource, inside, everywhere, bonds)),
        "group" | "clone" | "master" => {
            let unlimited = resource.name != "group" && meta(resource, "clone-max").is_none();
            for child in &resource.children {
                collect(child, inside, everywhere || unlimited, bonds, out);
            }
        }
        _ => {}
    }
    inside.pop();
}

fn of_primitive(
    resource: &Element,
    names: &[&str],
    everywhere: bool,
    bonds: &Bonds<'_>,
) -> Expected {
    let of = |bonds: &Names<'_>| -> BTreeSet<String> {
        let own = names.iter().filter_map(|name| bonds.get(name));
        own.flatten().map(|name| (*name).to_owned()).collect()
    };
    let agent = ["class", "provider", "type"].map(|part| resource.attribute(part));
    let agent: Vec<&str> = agent.into_iter().flatten().collect();
    Expected {
        id: resource.id().to_owned(),
        agent: agent.join(":"),
        everywhere,
        kept_off: of(&bonds.kept_off),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        with: of(&bonds.with),
        after: of(&bonds.after),
        apart_from: of(&bonds.apart_from),
    }
}

fn meta<'a>(resource: &'a Element, name: &str) -> Option<&'a str> {
    resource
        .children
        .iter()
        .filter(|child| child.name == "meta_attributes")
        .flat_map(|set| &set.children)
        .find(|pair| pair.attribute("name") == Some(name))
        .and_then(|pair| pair.attribute("value"))
}

/// What is still missing by `crm_mon`'s XML.
pub(crate) fn lacks(
    monitor: &str,
    nodes: &[&str],
    expected: &[Expected],
) -> Result<Lacks, pacemaker::Unreadable> {
    let view = pacemaker::crm_mon(monitor, None)?;
    let mut out = Lacks::default();
    if view.coordinator.is_none() {
        out.missing.push("no coordinator is elected".to_owned());
    } else if view.quorate != Some(true) {
        out.missing.push("the cluster has no quorum".to_owned());
    }
    for name in nodes {
        let is_online = view
            .nodes
            .iter()
            .any(|node| node.name == *name && node.is_known() && node.pending != Some(true));
        if !is_online {
            out.missing.push(format!("node {name} is not online"));
        }
    }
    for finding in expected::findings(&view, nodes, expected) {
        let words = format!("resource {} {}", finding.resource, finding.message);
        if finding.why == Why::Held {
            out.held.push(words);
        } else {
            out.missing.push(words);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = r#"<pacemaker-result api-version="2.25" request="crm_mon"><status code="0"/>
      <summary><stack type="corosync"/><current_dc present="true" with_quorum="true" name="n1"/></summary>
      <nodes><node name="n1" id="1" online="true" pending="false" unclean="false"/>
        <node name="n2" id="2" online="true" pending="false" unclean="false"/></nodes>
      <resources><resource id="f1" role="Started" active="true" failed="false" orphaned="false"/>
        <group id="web"><resource id="ip" role="Started" active="true" failed="false" orphaned="false"/></group>
        <clone id="dlm-clone"><resource id="dlm" role="Started" active="true" failed="false"/>
          <resource id="dlm" role="Started" active="true" failed="false"/></clone></resources></pacemaker-result>"#;

    fn seen(monitor: &str) -> Vec<String> {
        let configuration = Element::parse(
            r#"<configuration><resources><primitive id="f1"/><group id="web"><primitive id="ip"/></group>
            <clone id="dlm-clone"><primitive id="dlm"/></clone>
            <primitive id="off"><meta_attributes id="m"><nvpair id="x" name="target-role" value="Stopped"/></meta_attributes></primitive>
            </resources></configuration>"#,
        )
        .unwrap();
        lacks(monitor, &["n1", "n2"], &expected(&configuration))
            .unwrap()
            .missing
    }

    #[test]
    fn a_healthy_cluster_misses_nothing() {
        assert!(seen(WELL).is_empty());
    }

    #[test]
    fn everything_missing_is_named() {
        let cases = [
            (
                "with_quorum=\"true\"",
                "with_quorum=\"false\"",
                "the cluster has no quorum",
            ),
            (
                "present=\"true\"",
                "present=\"false\"",
                "no coordinator is elected",
            ),
            (
                "name=\"n2\" id=\"2\" online=\"true\"",
                "name=\"n2\" id=\"2\" online=\"false\"",
                "node n2 is not online",
            ),
            (
                "<resource id=\"f1\" role=\"Started\" active=\"true\"",
                "<resource id=\"f1\" role=\"Stopped\" active=\"false\"",
                "resource f1 is not started",
            ),
            (
                "<resource id=\"ip\" role=\"Started\"",
                "<resource id=\"ip\" pending=\"Starting\" role=\"Stopped\"",
                "resource ip is starting",
            ),
            (
                "<resource id=\"dlm\" role=\"Started\" active=\"true\" failed=\"false\"/></clone>",
                "</clone>",
                "resource dlm is started on 1 of 2 nodes",
            ),
            (
                "id=\"ip\" role=\"Started\" active=\"true\" failed=\"false\"",
                "id=\"ip\" role=\"Started\" active=\"true\" failed=\"true\"",
                "resource ip has failed",
            ),
        ];
        for (from, to, said) in cases {
            let changed = WELL.replace(from, to);
            assert_ne!(changed, WELL, "{from}");
            assert_eq!(seen(&changed), [said]);
        }
    }

    /// A clone that some nodes cannot have is to run on all others, not on one of them.
    #[test]
    fn a_clone_runs_wherever_it_may() {
        let configuration = |constraints: &str| {
            let text = format!(
                "<configuration><resources><clone id=\"c\"><primitive id=\"dlm\"/></clone></resources>\
                 <constraints>{constraints}</constraints></configuration>"
            );
            expected(&Element::parse(&text).unwrap())
        };
        let ban = "<rsc_location id=\"x\" rsc=\"c\" node=\"n3\" score=\"-INFINITY\"/>";
        let wish = "<rsc_location id=\"y\" rsc=\"c\" node=\"n1\" score=\"1\"/>";
        let short = |constraints: &str, nodes: &[&str]| {
            let node = |name: &&str| format!("<node name=\"{name}\" online=\"true\"/>");
            let known: String = nodes.iter().map(node).collect();
            let monitor = WELL.replace("<nodes>", &format!("<nodes>{known}"));
            let all = lacks(&monitor, nodes, &configuration(constraints)).unwrap();
            all.missing
                .into_iter()
                .filter(|lack| lack.starts_with("resource"))
                .collect::<Vec<_>>()
        };
        assert!(short(ban, &["n1", "n2", "n3"]).is_empty());
        let said = ["resource dlm is started on 2 of 3 nodes"];
        assert_eq!(short(wish, &["n1", "n2", "n3"]), said);
        assert_eq!(short(ban, &["n1", "n2", "n3", "n4"]), said);
        let with = "<rsc_colocation id=\"a\" rsc=\"c\" with-rsc=\"d\" score=\"INFINITY\"/>\
                    <rsc_colocation id=\"b\" rsc=\"d\" with-rsc=\"e\" score=\"INFINITY\"/>\
                    <rsc_location id=\"z\" rsc=\"e\" node=\"n3\" score=\"-INFINITY\"/>";
        assert!(short(with, &["n1", "n2", "n3"]).is_empty());
    }

    /// Two nodes, of which the definition gives each a fencing device that runs on the other.
    const DEFINED: &str = "<configuration><resources><primitive id=\"f1\"/><primitive id=\"f2\"/>\
        <group id=\"web\"><primitive id=\"ip\"/></group><group id=\"db\"><primitive id=\"sql\"/></group>\
        <group id=\"log\"><primitive id=\"file\"/></group><clone id=\"c\"><primitive id=\"dlm\"/></clone></resources>\
        <constraints><rsc_location id=\"x\" rsc=\"f1\" node=\"n1\" score=\"-INFINITY\"/>\
        <rsc_location id=\"y\" rsc=\"f2\" node=\"n2\" score=\"-INFINITY\"/>\
        <rsc_order id=\"o\" first=\"web\" then=\"db\"/>\
        <rsc_colocation id=\"a\" rsc=\"log\" with-rsc=\"web\" score=\"-INFINITY\"/></constraints></configuration>";

    /// The cluster of [`DEFINED`]: `running` as `RESOURCE@NODE`, and what an administrator said.
    fn state(running: &[&str], n2: &str, more: &str) -> Lacks {
        let mut text = format!(
            "<pacemaker-result><status code=\"0\"/><summary><current_dc present=\"true\" name=\"n1\" with_quorum=\"true\"/>\
             </summary><nodes><node name=\"n1\" online=\"true\" unclean=\"false\"/>\
             <node name=\"n2\" online=\"true\" unclean=\"false\" {n2}/></nodes>{more}<resources>"
        );
        let instances = |id: &str| -> String {
            let on = running.iter().filter_map(|one| one.split_once('@'));
            let on: Vec<&str> = on.filter(|(own, _)| *own == id).map(|(_, on)| on).collect();
            let stopped = format!("<resource id=\"{id}\" role=\"Stopped\" active=\"false\"/>");
            let started = on.iter().map(|on| {
                format!("<resource id=\"{id}\" role=\"Started\" active=\"true\"><node name=\"{on}\"/></resource>")
            });
            if on.is_empty() {
                stopped
            } else {
                started.collect()
            }
        };
        for (group, id) in [("web", "ip"), ("db", "sql"), ("log", "file")] {
            text.push_str(&format!("<group id=\"{group}\">{}</group>", instances(id)));
        }
        text.push_str(&format!("<clone id=\"c\">{}</clone>", instances("dlm")));
        text.push_str(&format!(
            "{}{}</resources></pacemaker-result>",
            instances("f1"),
            instances("f2")
        ));
        let expected = expected(&Element::parse(DEFINED).unwrap());
        lacks(&text, &["n1", "n2"], &expected).unwrap()
    }

    const ALL: [&str; 7] = [
        "f1@n2", "f2@n1", "ip@n1", "sql@n1", "file@n2", "dlm@n1", "dlm@n2",
    ];

    fn without(gone: &[&str]) -> Vec<&'static str> {
        ALL.into_iter().filter(|one| !gone.contains(one)).collect()
    }

    #[test]
    fn a_node_in_standby_is_no_failure_and_no_success() {
        assert_eq!(state(&ALL, "", ""), Lacks::default());
        let left = without(&["f1@n2", "file@n2", "dlm@n2"]);
        let standby = state(&left, "standby=\"true\"", "");
        assert!(standby.missing.is_empty(), "{standby:?}");
        assert_eq!(
            standby.held,
            [
                "resource f1 is not started: n2 is in standby",
                // It may not share n1 with the group web.
                "resource file is not started: n2 is in standby",
                "resource dlm is started on 1 of 2 nodes: n2 is in standby",
            ]
        );
        // The same without anybody's word, and after a failure, is a failure.
        for n2 in ["", "standby=\"true\" standby_onfail=\"true\""] {
            let failed = state(&left, n2, "");
            assert!(
                failed.held.is_empty() && failed.missing.len() == 3,
                "{failed:?}"
            );
        }
        // What could run on the other node and does not is not explained.
        let worse = state(
            &without(&["f1@n2", "file@n2", "dlm@n2", "dlm@n1"]),
            "standby=\"true\"",
            "",
        );
        assert_eq!(worse.missing, ["resource dlm is not started"]);
    }

    #[test]
    fn a_ban_by_hand_holds_what_it_bans_and_what_waits_for_it() {
        let ban = |id: &str, node: &str| {
            format!(
                "<ban id=\"{id}-{node}\" resource=\"web\" node=\"{node}\" weight=\"-1000000\" promoted-only=\"false\"/>"
            )
        };
        let left = without(&["ip@n1", "sql@n1"]);
        let both = format!(
            "<bans>{}{}</bans>",
            ban("cli-ban", "n1"),
            ban("cli-ban", "n2")
        );
        let banned = state(&left, "", &both);
        assert!(banned.missing.is_empty(), "{banned:?}");
        assert_eq!(
            banned.held,
            [
                "resource ip is not started: web is banned from n1 (cli-ban-n1), web is banned from n2 (cli-ban-n2)",
                "resource sql is not started: it starts after ip, which is held",
            ]
        );
        // From one node only, or by something else than an administrator's command: a failure.
        for bans in [
            format!("<bans>{}</bans>", ban("cli-ban", "n1")),
            format!(
                "<bans>{}{}</bans>",
                ban("cli-ban", "n1"),
                ban("other", "n2")
            ),
        ] {
            let seen = state(&left, "", &bans);
            assert!(seen.held.is_empty(), "{seen:?}");
        }
        let web = without(&["ip@n1"]);
        assert_eq!(state(&web, "", &both).held.len(), 1);
    }
}
