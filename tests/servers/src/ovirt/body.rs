//! What clients send.

use roxmltree::{Document, Node};

use super::world::Placement;

/// The body of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Action {
    /// Whether to do it in spite of something.
    pub force: Option<bool>,
    /// For the log.
    pub reason: Option<String>,
    /// The host to do it on: id or name.
    pub host: Option<String>,
}

/// The body of a change to a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vm {
    /// Id or name, where one is named.
    pub reference: Option<String>,
    /// Where it is to run. The list of hosts is empty when the element had none: it is replaced all the same.
    pub placement: Option<Placement>,
}

/// The body of a change to an affinity group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Option<String>,
    /// Whether its rule is in force.
    pub enabled: Option<bool>,
    /// Together or apart.
    pub positive: Option<bool>,
    /// Whether it is mandatory.
    pub enforcing: Option<bool>,
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name)?.text().map(|text| text.trim().to_owned())
}

fn truth(node: Node<'_, '_>, name: &str) -> Result<Option<bool>, String> {
    match text(node, name).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(format!("`{other}` is no truth value")),
    }
}

/// What a thing is named by: its id or its name.
fn reference(node: Node<'_, '_>) -> Option<String> {
    node.attribute("id")
        .map(str::to_owned)
        .or_else(|| text(node, "name"))
}

fn read<T>(
    body: &str,
    root: &str,
    read: impl FnOnce(Node<'_, '_>) -> Result<T, String>,
) -> Result<T, String> {
    let document = Document::parse(body).map_err(|error| error.to_string())?;
    let element = document.root_element();
    if element.has_tag_name(root) {
        read(element)
    } else {
        Err(format!(
            "`{}` where `{root}` was expected",
            element.tag_name().name()
        ))
    }
}

impl Action {
    /// Reads one. With `strict`, elements that came with later versions are refused.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(body: &str, strict: bool) -> Result<Self, String> {
        if body.trim().is_empty() {
            return Ok(Self::default());
        }
        read(body, "action", |action| {
            let known = [
                "host",
                "cluster",
                "vm",
                "async",
                "pause",
                "filter",
                "use_cloud_init",
                "grace_period",
            ];
            for element in action.children().filter(Node::is_element) {
                let name = element.tag_name().name();
                if strict && !known.contains(&name) {
                    return Err(format!("unexpected element `{name}`"));
                }
            }
            let once = child(action, "vm").and_then(|vm| child(vm, "placement_policy"));
            let hosts = once.and_then(|policy| child(policy, "hosts").or(Some(policy)));
            let host = child(action, "host").or_else(|| child(hosts?, "host"));
            Ok(Self {
                force: truth(action, "force")?,
                reason: text(action, "reason"),
                host: host.and_then(reference),
            })
        })
    }
}

impl Vm {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(body: &str) -> Result<Self, String> {
        read(body, "vm", |vm| {
            let policy = child(vm, "placement_policy").map(|policy| {
                let many = child(policy, "hosts").unwrap_or(policy);
                let hosts = many
                    .children()
                    .filter(|node| node.has_tag_name("host"))
                    .filter_map(reference)
                    .collect();
                Placement {
                    affinity: text(policy, "affinity").unwrap_or_default(),
                    hosts,
                }
            });
            Ok(Self {
                reference: reference(vm),
                placement: policy,
            })
        })
    }
}

impl Group {
    /// Reads one. Since 4.1 (`rules`) the rule stands in an element of its own, and is still taken from the group itself.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(body: &str, rules: bool) -> Result<Self, String> {
        read(body, "affinity_group", |group| {
            let rule = child(group, "vms_rule").filter(|_| rules).unwrap_or(group);
            Ok(Self {
                name: text(group, "name"),
                enabled: truth(rule, "enabled")?,
                positive: truth(rule, "positive")?,
                enforcing: truth(rule, "enforcing")?,
            })
        })
    }
}
