//! The pieces that resources are made of.
//!
//! What belongs to an element is named `OWNER._WHAT`, a name and value `OWNER._WHAT.NAME`: no name in a
//! definition has a part that begins with an underscore, so none of these is another element's id.

use crate::definition::Definition;
use crate::render::xml::Element;
use crate::types::Span;

/// Names with their values, in the order in which they are written.
pub(super) type Pairs = Vec<(String, String)>;

/// A pair of a name and a value.
pub(super) fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// A set of names and values: nothing if there are none.
pub(super) fn set(element: &'static str, id: &str, pairs: &Pairs) -> Option<Element> {
    let nvpair = |(name, value): &(String, String)| {
        Element::new("nvpair")
            .with("id", format!("{id}.{name}"))
            .with("name", name)
            .with("value", value)
    };
    (!pairs.is_empty()).then(|| {
        Element::new(element)
            .with("id", id)
            .holding(pairs.iter().map(nvpair))
    })
}

/// What is done with a resource, how often and for how long at most.
pub(super) struct Operation {
    name: &'static str,
    interval: String,
    timeout: String,
    on_fail: Option<&'static str>,
}

/// A resource.
pub(super) struct Primitive<'a> {
    id: String,
    class: &'a str,
    provider: Option<&'a str>,
    kind: &'a str,
    parameters: Pairs,
    meta: Pairs,
    operations: Vec<Operation>,
}

impl<'a> Primitive<'a> {
    pub(super) fn new(
        id: impl Into<String>,
        class: &'a str,
        provider: Option<&'a str>,
        kind: &'a str,
    ) -> Self {
        Self {
            id: id.into(),
            class,
            provider,
            kind,
            parameters: Vec::new(),
            meta: Vec::new(),
            operations: Vec::new(),
        }
    }

    /// An agent of the Open Cluster Framework.
    pub(super) fn ocf(id: impl Into<String>, provider: &'a str, kind: &'a str) -> Self {
        Self::new(id, "ocf", Some(provider), kind)
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.push(pair(name, value));
        self
    }

    pub(super) fn with_all(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.parameters.extend(pairs);
        self
    }

    pub(super) fn meta(mut self, name: &str, value: impl Into<String>) -> Self {
        self.meta.push(pair(name, value));
        self
    }

    /// Start and stop take no longer than `timeout`; once started it is looked after every `monitor`.
    pub(super) fn operated(self, timeout: Span, monitor: Span) -> Self {
        self.operation("start", None, timeout)
            .operation("stop", None, timeout)
            .operation("monitor", Some(monitor), timeout)
    }

    pub(super) fn operation(
        mut self,
        name: &'static str,
        interval: Option<Span>,
        timeout: Span,
    ) -> Self {
        self.operations.push(Operation {
            name,
            interval: interval.map_or_else(|| "0s".to_owned(), |span| span.to_string()),
            timeout: timeout.to_string(),
            on_fail: None,
        });
        self
    }

    /// A node on which the resource fails is fenced: what else uses it there hangs until then.
    pub(super) fn fenced_when_it_fails(mut self) -> Self {
        for operation in &mut self.operations {
            if operation.name == "monitor" {
                operation.on_fail = Some("fence");
            }
        }
        self
    }

    pub(super) fn element(&self) -> Element {
        let id = &self.id;
        let mut element = Element::new("primitive")
            .with("id", id)
            .with("class", self.class);
        if let Some(provider) = self.provider {
            element = element.with("provider", provider);
        }
        let operations = self.operations.iter().map(|operation| {
            let element = Element::new("op")
                .with("id", format!("{id}._{}", operation.name))
                .with("name", operation.name)
                .with("interval", &operation.interval)
                .with("timeout", &operation.timeout);
            match operation.on_fail {
                Some(reaction) => element.with("on-fail", reaction),
                None => element,
            }
        });
        element
            .with("type", self.kind)
            .holding(set("meta_attributes", &format!("{id}._meta"), &self.meta))
            .holding(set(
                "instance_attributes",
                &format!("{id}._parameters"),
                &self.parameters,
            ))
            .holding(
                (!self.operations.is_empty())
                    .then(|| Element::new("operations").holding(operations)),
            )
    }
}

/// Resources that run together, started in this order and stopped in the reverse one.
pub(super) fn group(id: &str, members: &[Primitive<'_>]) -> Element {
    Element::new("group")
        .with("id", id)
        .holding(members.iter().map(Primitive::element))
}

/// What runs on many nodes at once. Instances wait only for those on their own node (`interleave`): a
/// node that joins would otherwise interrupt all others.
pub(super) fn clone(id: &str, most: Option<usize>, inner: Element) -> Element {
    let mut meta = vec![pair("interleave", "true")];
    if let Some(most) = most {
        meta.push(pair("clone-max", most.to_string()));
    }
    Element::new("clone")
        .with("id", id)
        .holding(set("meta_attributes", &format!("{id}._meta"), &meta))
        .holding([inner])
}

/// `then` starts after `first` and stops before it.
pub(super) fn order(id: impl Into<String>, first: &str, then: &str) -> Element {
    Element::new("rsc_order")
        .with("id", id)
        .with("first", first)
        .with("then", then)
}

/// `resource` runs where `other` runs or, with the score `-INFINITY`, where it does not.
pub(super) fn colocation(
    id: impl Into<String>,
    resource: &str,
    other: &str,
    score: &str,
) -> Element {
    Element::new("rsc_colocation")
        .with("id", id)
        .with("rsc", resource)
        .with("with-rsc", other)
        .with("score", score)
}

/// How much `resource` would rather run on `node`.
pub(super) fn location(id: impl Into<String>, resource: &str, node: &str, score: &str) -> Element {
    Element::new("rsc_location")
        .with("id", id)
        .with("rsc", resource)
        .with("node", node)
        .with("score", score)
}

/// `resource` never runs on any node but `allowed`.
pub(super) fn only_on(definition: &Definition, resource: &str, allowed: &[&str]) -> Vec<Element> {
    definition
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .filter(|node| !allowed.contains(node))
        .map(|node| {
            location(
                format!("{resource}._not.{node}"),
                resource,
                node,
                "-INFINITY",
            )
        })
        .collect()
}
