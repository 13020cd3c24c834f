//! Pacemaker's configuration: is the running one the wanted one, and if not, what becomes of it?
//!
//! Compared is what the configuration means, not its text: the order of attributes and of most elements
//! does not matter, and what Pacemaker itself writes into it is left to it. Three things of the running
//! configuration are kept when it is replaced: the members and their attributes (a node in standby stays
//! there), Pacemaker's own properties, and the constraints that `crm_resource` makes when an
//! administrator moves a resource (`cli-…`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::xml::Element;

/// The set in which Pacemaker writes its own properties.
const BOOTSTRAP: &str = "cib-bootstrap-options";
/// Properties that Pacemaker writes itself.
const OWN: [&str; 5] = [
    "have-watchdog",
    "dc-version",
    "cluster-infrastructure",
    "cluster-name",
    "last-lrm-refresh",
];

/// What changes in Pacemaker's configuration, by the ids of its objects. Values are not shown: they may
/// be secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CibChange {
    /// Objects that are new.
    pub added: Vec<String>,
    /// Objects that go.
    pub removed: Vec<String>,
    /// Objects that are no longer the same.
    pub changed: Vec<String>,
}

/// A configuration that differs from the running one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) change: CibChange,
    /// The whole `configuration` element to replace the running one with.
    pub(crate) xml: String,
}

/// The `configuration` element of a whole CIB.
pub(crate) fn configuration(cib: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(cib).map_err(|error| error.to_string())?;
    let root = Element::parse(text)?;
    if root.name == "configuration" {
        return Ok(root);
    }
    root.child("configuration")
        .cloned()
        .ok_or_else(|| "there is no configuration in it".to_owned())
}

/// The members that the running configuration knows, but for remote ones.
pub(crate) fn members(live: &str) -> Vec<String> {
    let Ok(live) = configuration(live.as_bytes()) else {
        return Vec::new();
    };
    let nodes = live.child("nodes").into_iter();
    nodes
        .flat_map(|nodes| &nodes.children)
        .filter(|node| node.attribute("type").is_none_or(|kind| kind == "member"))
        .filter_map(|node| node.attribute("uname").map(str::to_owned))
        .collect()
}

/// Compares the running configuration with the wanted one. `None`: they mean the same.
pub(crate) fn replacement(live: &str, wanted: &Element) -> Result<Option<Replacement>, String> {
    let live = configuration(live.as_bytes())?;
    let target = merge(&live, wanted);
    let (is, should) = (normal(&live), normal(&target));
    Ok((is != should).then(|| Replacement {
        change: change(&is, &should),
        xml: target.write(),
    }))
}

/// The wanted configuration, with what is kept of the running one.
fn merge(live: &Element, wanted: &Element) -> Element {
    let mut target = wanted.clone();
    merge_nodes(live, &mut target);
    merge_properties(live, &mut target);
    let moved = live.child("constraints").map(|constraints| {
        let by_hand = |constraint: &&Element| constraint.id().starts_with("cli-");
        constraints.children.iter().filter(by_hand).cloned()
    });
    target
        .child_mut("constraints")
        .children
        .extend(moved.into_iter().flatten());
    target
}

fn merge_nodes(live: &Element, target: &mut Element) {
    let wanted = std::mem::take(&mut target.child_mut("nodes").children);
    let mut nodes = live
        .child("nodes")
        .map_or_else(Vec::new, |nodes| nodes.children.clone());
    for node in wanted {
        let known = nodes
            .iter_mut()
            .find(|known| known.attribute("uname") == node.attribute("uname"));
        match known {
            Some(known) => {
                for child in node.children {
                    known.children.retain(|old| old.id() != child.id());
                    known.children.push(child);
                }
            }
            None => nodes.push(node),
        }
    }
    target.child_mut("nodes").children = nodes;
}

fn merge_properties(live: &Element, target: &mut Element) {
    let own = |pair: &&Element| {
        pair.attribute("name")
            .is_some_and(|name| OWN.contains(&name))
    };
    let mut pairs: Vec<Element> = Vec::new();
    if let Some(config) = live.child("crm_config") {
        for set in config.children.iter().filter(|set| set.id() == BOOTSTRAP) {
            pairs.extend(set.children.iter().filter(own).cloned());
        }
    }
    let config = target.child_mut("crm_config");
    let mut names = Vec::new();
    config.walk(&mut |element| names.extend(element.attribute("name").map(str::to_owned)));
    pairs.retain(|pair| {
        pair.attribute("name")
            .is_some_and(|name| !names.iter().any(|known| known == name))
    });
    if pairs.is_empty() {
        return;
    }
    match config.children.iter_mut().find(|set| set.id() == BOOTSTRAP) {
        Some(set) => set.children.extend(pairs),
        None => {
            let mut set = Element::new("cluster_property_set");
            set.attributes.insert("id".to_owned(), BOOTSTRAP.to_owned());
            set.children = pairs;
            config.children.push(set);
        }
    }
}

/// Without empty sections, in an order of its own where order means nothing.
fn normal(element: &Element) -> Element {
    let mut out = element.clone();
    out.children = element.children.iter().map(normal).collect();
    if out.name == "configuration" {
        out.children.retain(|section| !section.children.is_empty());
        for section in &mut out.children {
            // Properties that Pacemaker writes come and go as it likes.
            if section.name == "crm_config" {
                section.children.iter_mut().for_each(forget_own);
                section.children.retain(|set| !set.children.is_empty());
            }
        }
        out.children.retain(|section| !section.children.is_empty());
    }
    if out.name == "nodes" {
        // A member without attributes is Pacemaker's own entry.
        out.children.retain(|node| !node.children.is_empty());
    }
    // Members of a group start in their order, and so do those of a set.
    if !matches!(out.name.as_str(), "group" | "resource_set") {
        out.children.sort();
    }
    out
}

fn forget_own(set: &mut Element) {
    if set.id() == BOOTSTRAP {
        set.children.retain(|pair| {
            !pair
                .attribute("name")
                .is_some_and(|name| OWN.contains(&name))
        });
    }
}

/// The objects of a configuration: what stands directly in a section, and each property by its name.
fn objects(configuration: &Element) -> BTreeMap<String, &Element> {
    let mut out = BTreeMap::new();
    for section in &configuration.children {
        for object in &section.children {
            if section.name == "crm_config" {
                for pair in &object.children {
                    let name = pair.attribute("name").unwrap_or_else(|| pair.id());
                    out.insert(format!("property {name}"), pair);
                }
            } else {
                out.insert(format!("{} {}", object.name, object.id()), object);
            }
        }
    }
    out
}

fn change(is: &Element, should: &Element) -> CibChange {
    let (is, should) = (objects(is), objects(should));
    let pick = |from: &BTreeMap<String, &Element>, keep: &dyn Fn(&str, &Element) -> bool| {
        from.iter()
            .filter(|(id, object)| keep(id, object))
            .map(|(id, _)| id.clone())
            .collect()
    };
    CibChange {
        added: pick(&should, &|id, _| !is.contains_key(id)),
        removed: pick(&is, &|id, _| !should.contains_key(id)),
        changed: pick(&should, &|id, object| {
            is.get(id).is_some_and(|old| *old != object)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = r#"<cib admin_epoch="0" epoch="1"><configuration>
        <crm_config><cluster_property_set id="options"><nvpair id="o_s" name="stonith-enabled" value="true"/>
        </cluster_property_set></crm_config><nodes/>
        <resources><primitive id="f1" class="stonith" type="fence_xvm"/>
        <group id="web"><primitive id="a" class="ocf" type="x"/><primitive id="b" class="ocf" type="x"/></group></resources>
        <constraints><rsc_location id="l" rsc="f1" node="n1" score="-INFINITY"/></constraints>
        </configuration><status/></cib>"#;

    /// As Pacemaker gives it back: its own properties, the members, other orders, empty sections.
    const LIVE: &str = r#"<configuration>
        <crm_config><cluster_property_set id="options"><nvpair value="true" name="stonith-enabled" id="o_s"/>
        </cluster_property_set><cluster_property_set id="cib-bootstrap-options">
        <nvpair id="d" name="dc-version" value="2.1.5"/><nvpair id="w" name="have-watchdog" value="false"/></cluster_property_set></crm_config>
        <nodes><node id="1" uname="n1"/><node id="2" uname="n2"><instance_attributes id="nodes-2"><nvpair id="s" name="standby" value="on"/></instance_attributes></node></nodes>
        <constraints><rsc_location id="cli-ban-web" rsc="web" node="n1" score="-INFINITY"/>
        <rsc_location score="-INFINITY" id="l" rsc="f1" node="n1"/></constraints>
        <resources><group id="web"><primitive class="ocf" id="a" type="x"/><primitive id="b" class="ocf" type="x"/></group>
        <primitive id="f1" class="stonith" type="fence_xvm"/></resources>
        <op_defaults/></configuration>"#;

    fn compare(live: &str) -> Option<Replacement> {
        let wanted = configuration(WANTED.as_bytes()).unwrap();
        replacement(live, &wanted).unwrap()
    }

    #[test]
    fn members_are_those_of_the_running_configuration() {
        assert_eq!(members(LIVE), ["n1", "n2"]);
        assert!(members("<cib").is_empty());
    }

    #[test]
    fn the_same_in_other_words_is_the_same() {
        assert_eq!(compare(LIVE), None);
    }

    #[test]
    fn a_replacement_keeps_what_is_pacemakers_and_the_administrators() {
        let replacement =
            compare(&LIVE.replace("type=\"fence_xvm\"", "type=\"fence_virt\"")).unwrap();
        assert_eq!(replacement.change.changed, ["primitive f1"]);
        assert!(replacement.change.added.is_empty() && replacement.change.removed.is_empty());
        for kept in ["standby", "cli-ban-web", "dc-version", "fence_xvm"] {
            assert!(replacement.xml.contains(kept), "{kept}");
        }
        assert_eq!(compare(&replacement.xml), None, "it converges");
    }

    #[test]
    fn the_order_within_a_group_counts() {
        let swapped = LIVE.replace(
            r#"<primitive class="ocf" id="a" type="x"/><primitive id="b" class="ocf" type="x"/>"#,
            r#"<primitive id="b" class="ocf" type="x"/><primitive class="ocf" id="a" type="x"/>"#,
        );
        assert_eq!(compare(&swapped).unwrap().change.changed, ["group web"]);
    }

    #[test]
    fn what_comes_and_goes_is_named() {
        let live = LIVE
            .replace("id=\"l\"", "id=\"old\"")
            .replace("stonith-enabled", "stonith-action");
        let change = compare(&live).unwrap().change;
        assert_eq!(change.added, ["property stonith-enabled", "rsc_location l"]);
        assert_eq!(
            change.removed,
            ["property stonith-action", "rsc_location old"]
        );
    }
}
