//! Is the cluster as it should be? Read from `crm_mon`'s XML output.

use std::collections::{BTreeMap, BTreeSet};

use crate::xml::Element;

/// A resource that should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    id: String,
    /// On every node but so many, not on one: a clone.
    everywhere_but: Option<usize>,
}

/// The resources that a configuration means to run, fencing devices among them.
pub(crate) fn expected(configuration: &Element) -> Vec<Expected> {
    let mut out = Vec::new();
    if let Some(resources) = configuration.child("resources") {
        let kept_off = kept_off(configuration);
        for resource in &resources.children {
            collect(resource, None, &kept_off, &mut out);
        }
    }
    out
}

/// From which nodes constraints keep a resource: by themselves, or by what it must run together with.
type KeptOff<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn kept_off(configuration: &Element) -> KeptOff<'_> {
    let mut out = KeptOff::new();
    let mut together = Vec::new();
    let constraints = configuration.child("constraints").into_iter();
    for constraint in constraints.flat_map(|constraints| &constraints.children) {
        let get = |name| constraint.attribute(name);
        match (get("rsc"), get("node"), get("with-rsc"), get("score")) {
            (Some(resource), Some(node), _, Some("-INFINITY")) => {
                out.entry(resource).or_default().insert(node);
            }
            (Some(resource), _, Some(with), Some("INFINITY")) => together.push((resource, with)),
            _ => {}
        }
    }
    // Each round carries what is known one resource further.
    for _ in 0..together.len() {
        for (resource, with) in &together {
            let theirs = out.get(with).cloned().unwrap_or_default();
            out.entry(resource).or_default().extend(theirs);
        }
    }
    out
}

fn collect(
    resource: &Element,
    everywhere_but: Option<usize>,
    kept_off: &KeptOff<'_>,
    out: &mut Vec<Expected>,
) {
    if meta(resource, "target-role").is_some_and(|role| role.eq_ignore_ascii_case("stopped"))
        || meta(resource, "is-managed").is_some_and(|managed| managed == "false")
    {
        return;
    }
    match resource.name.as_str() {
        "primitive" => out.push(Expected {
            id: resource.id().to_owned(),
            everywhere_but,
        }),
        "group" | "clone" | "master" => {
            let unlimited = resource.name != "group" && meta(resource, "clone-max").is_none();
            let own = unlimited.then(|| kept_off.get(resource.id()).map_or(0, BTreeSet::len));
            for child in &resource.children {
                collect(child, everywhere_but.or(own), kept_off, out);
            }
        }
        _ => {}
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

/// What is still missing, in words; empty when all is well.
pub(crate) fn missing(
    monitor: &str,
    nodes: &[&str],
    expected: &[Expected],
) -> Result<Vec<String>, String> {
    let root = Element::parse(monitor)?;
    let mut out = Vec::new();
    let dc = root
        .child("summary")
        .and_then(|summary| summary.child("current_dc"));
    match dc {
        Some(dc) if dc.attribute("present") == Some("true") => {
            if dc.attribute("with_quorum") != Some("true") {
                out.push("the cluster has no quorum".to_owned());
            }
        }
        _ => out.push("no coordinator is elected".to_owned()),
    }
    for name in nodes {
        let online = root.child("nodes").is_some_and(|known| {
            known.children.iter().any(|node| {
                node.attribute("name") == Some(name)
                    && node.attribute("online") == Some("true")
                    && node.attribute("pending") != Some("true")
                    && node.attribute("unclean") != Some("true")
            })
        });
        if !online {
            out.push(format!("node {name} is not online"));
        }
    }
    let mut instances = Vec::new();
    root.walk(&mut |element| {
        if element.name == "resource" {
            instances.push(element);
        }
    });
    for resource in expected {
        let own: Vec<_> = instances
            .iter()
            .copied()
            .filter(|instance| base(instance.id()) == resource.id)
            .collect();
        out.extend(missing_of(resource, &own, nodes.len()));
    }
    Ok(out)
}

fn missing_of(resource: &Expected, instances: &[&Element], nodes: usize) -> Option<String> {
    let id = &resource.id;
    if instances
        .iter()
        .any(|instance| instance.attribute("failed") == Some("true"))
    {
        return Some(format!("resource {id} has failed"));
    }
    if let Some(pending) = instances
        .iter()
        .find_map(|instance| instance.attribute("pending"))
    {
        return Some(format!("resource {id} is {}", pending.to_lowercase()));
    }
    let running = instances.iter().filter(|instance| runs(instance)).count();
    let wanted = resource
        .everywhere_but
        .map_or(1, |fewer| nodes.saturating_sub(fewer).max(1));
    match running {
        0 => Some(format!("resource {id} is not started")),
        _ if running < wanted => Some(format!(
            "resource {id} is started on {running} of {wanted} nodes"
        )),
        _ => None,
    }
}

fn runs(instance: &Element) -> bool {
    instance.attribute("active") == Some("true")
        && instance.attribute("orphaned") != Some("true")
        && instance.attribute("role").is_some_and(|role| {
            matches!(
                role,
                "Started" | "Promoted" | "Unpromoted" | "Master" | "Slave"
            )
        })
}

/// An instance's id without its number.
fn base(id: &str) -> &str {
    id.split_once(':').map_or(id, |(base, _)| base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = r#"<pacemaker-result api-version="2.25" request="crm_mon">
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
        missing(monitor, &["n1", "n2"], &expected(&configuration)).unwrap()
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
        let lacks = |constraints: &str, nodes: &[&str]| {
            let all = missing(WELL, nodes, &configuration(constraints)).unwrap();
            all.into_iter()
                .filter(|lack| lack.starts_with("resource"))
                .collect::<Vec<_>>()
        };
        assert!(lacks(ban, &["n1", "n2", "n3"]).is_empty());
        let said = ["resource dlm is started on 2 of 3 nodes"];
        assert_eq!(lacks(wish, &["n1", "n2", "n3"]), said);
        assert_eq!(lacks(ban, &["n1", "n2", "n3", "n4"]), said);
        let with = "<rsc_colocation id=\"a\" rsc=\"c\" with-rsc=\"d\" score=\"INFINITY\"/>\
                    <rsc_colocation id=\"b\" rsc=\"d\" with-rsc=\"e\" score=\"INFINITY\"/>\
                    <rsc_location id=\"z\" rsc=\"e\" node=\"n3\" score=\"-INFINITY\"/>";
        assert!(lacks(with, &["n1", "n2", "n3"]).is_empty());
    }
}
