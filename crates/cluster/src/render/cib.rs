//! The Pacemaker configuration of a cluster that starts for the first time.
//!
//! Ids: `fence.NODE`, `SERVICE`, `SERVICE.ip`, `SERVICE.http`, each with `_WHAT` for what belongs to
//! it. Service names hold no dots and node names no underscores, so no two ids are the same.

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, Event};

use crate::definition::{Definition, FenceAction, Node, Service};

/// The newest feature set that Pacemaker 2.1.5 (Debian 12) has. A higher one than a node's own keeps
/// that node out of the cluster; a lower one is raised by Pacemaker itself.
const FEATURE_SET: &str = "3.16.1";

/// The newest schema that Pacemaker 2.1.5 has.
const SCHEMA: &str = "pacemaker-3.9";

/// An element. A tree of them is written out by [`Element::write`].
struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Self>,
}

impl Element {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    fn holding(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let attributes = self.attributes.iter().map(|(k, v)| (*k, v.as_str()));
        let start = BytesStart::new(self.name).with_attributes(attributes);
        if self.children.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        for child in &self.children {
            child.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.name)))
    }
}

/// The configuration as XML.
pub(crate) fn xml(definition: &Definition) -> Vec<u8> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    tree(definition)
        .write(&mut writer)
        .expect("writing to memory does not fail");
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    bytes
}

fn tree(definition: &Definition) -> Element {
    let fencing = definition
        .nodes
        .iter()
        .filter_map(|node| fence_device(definition, node));
    let services = definition
        .services
        .iter()
        .map(|service| group(definition, service));
    Element::new("cib")
        .with("crm_feature_set", FEATURE_SET)
        .with("validate-with", SCHEMA)
        .with("admin_epoch", "0")
        .with("epoch", "1")
        .with("num_updates", "0")
        .holding([
            Element::new("configuration").holding([
                Element::new("crm_config").holding([properties(definition)]),
                Element::new("nodes"),
                Element::new("resources").holding(fencing.chain(services)),
                Element::new("constraints").holding(bans(definition)),
                Element::new("rsc_defaults").holding([defaults()]),
            ]),
            Element::new("status"),
        ])
}

fn nvpair(owner: &str, name: &str, value: impl Into<String>) -> Element {
    Element::new("nvpair")
        .with("id", format!("{owner}_{name}"))
        .with("name", name)
        .with("value", value)
}

fn properties(definition: &Definition) -> Element {
    const ID: &str = "cluster_options";
    let action = match definition.fencing.action {
        FenceAction::Reboot => "reboot",
        FenceAction::Off => "off",
    };
    Element::new("cluster_property_set")
        .with("id", ID)
        .holding([
            nvpair(ID, "cluster-name", definition.name.as_str()),
            nvpair(ID, "stonith-enabled", "true"),
            nvpair(ID, "stonith-action", action),
            nvpair(
                ID,
                "stonith-timeout",
                definition.fencing.timeout.to_string(),
            ),
            nvpair(ID, "no-quorum-policy", "stop"),
            nvpair(
                ID,
                "dc-deadtime",
                definition.options.dc_deadtime.to_string(),
            ),
        ])
}

/// A service stays where it is when a repaired node comes back: moving it would interrupt it again.
fn defaults() -> Element {
    const ID: &str = "defaults_meta";
    Element::new("meta_attributes")
        .with("id", ID)
        .holding([nvpair(ID, "resource-stickiness", "100")])
}

/// One device per node, so that delays can differ. The host list is static: asking the host which
/// guests it has would take a second request before every fencing.
fn fence_device(definition: &Definition, node: &Node) -> Option<Element> {
    let fencing = &definition.fencing;
    let device = *definition.levels_of(node).first()?.first()?;
    let virt = device.virt()?;
    let id = format!("fence.{}", node.name);
    let parameters = format!("{id}_parameters");
    let mut pairs = vec![
        nvpair(&parameters, "pcmk_host_check", "static-list"),
        nvpair(&parameters, "pcmk_host_list", node.name.as_str()),
        nvpair(&parameters, "key_file", virt.key_file.as_str()),
        nvpair(&parameters, "multicast_address", virt.multicast.to_string()),
        nvpair(&parameters, "ipport", virt.port.to_string()),
    ];
    if let Some(favour) = fencing
        .favour
        .as_ref()
        .filter(|favour| favour.node == node.name)
    {
        pairs.push(nvpair(
            &parameters,
            "pcmk_delay_base",
            favour.delay.to_string(),
        ));
    }
    let timeout = definition.options.operation_timeout.to_string();
    let element = Element::new("primitive")
        .with("id", &id)
        .with("class", "stonith")
        .with("type", device.agent.as_str())
        .holding([
            Element::new("instance_attributes")
                .with("id", &parameters)
                .holding(pairs),
            Element::new("operations").holding([
                operation(&id, "start", "0s", &timeout),
                operation(&id, "monitor", "120s", &timeout),
            ]),
        ]);
    Some(element)
}

fn operation(owner: &str, name: &str, interval: &str, timeout: &str) -> Element {
    Element::new("op")
        .with("id", format!("{owner}_{name}"))
        .with("name", name)
        .with("interval", interval)
        .with("timeout", timeout)
}

/// The members of a group start in their order and stop in the reverse one.
fn group(definition: &Definition, service: &Service) -> Element {
    let ip = format!("{}.ip", service.name);
    let http = format!("{}.http", service.name);
    let mut members = Vec::new();
    if let Some(interface) = service.virtual_ip {
        let pairs = vec![
            ("ip", interface.address.to_string()),
            ("cidr_netmask", interface.prefix.to_string()),
        ];
        members.push(resource(definition, &ip, ("heartbeat", "IPaddr2"), pairs));
    }
    if let Some(page) = &service.http {
        let mut pairs = vec![("port", page.port.to_string())];
        if let Some(text) = &page.text {
            pairs.push(("text", text.as_str().to_owned()));
        }
        members.push(resource(definition, &http, ("picket", "httpd"), pairs));
    }
    Element::new("group")
        .with("id", service.name.as_str())
        .holding(members)
}

fn resource(
    definition: &Definition,
    id: &str,
    (provider, kind): (&str, &str),
    parameters: Vec<(&str, String)>,
) -> Element {
    let set = format!("{id}_parameters");
    let timeout = definition.options.operation_timeout.to_string();
    let pairs = parameters
        .into_iter()
        .map(|(name, value)| nvpair(&set, name, value));
    Element::new("primitive")
        .with("id", id)
        .with("class", "ocf")
        .with("provider", provider)
        .with("type", kind)
        .holding([
            Element::new("instance_attributes")
                .with("id", &set)
                .holding(pairs),
            Element::new("operations").holding([
                operation(id, "start", "0s", &timeout),
                operation(id, "stop", "0s", &timeout),
                operation(id, "monitor", "10s", &timeout),
            ]),
        ])
}

/// A node's own fencing device runs elsewhere: a node that fails then leaves no device behind that
/// its survivors must first start.
fn bans(definition: &Definition) -> Vec<Element> {
    if definition.nodes.len() < 2 {
        return Vec::new();
    }
    let ban = |node: &Node| {
        Element::new("rsc_location")
            .with("id", format!("fence.{}_elsewhere", node.name))
            .with("rsc", format!("fence.{}", node.name))
            .with("node", node.name.as_str())
            .with("score", "-INFINITY")
    };
    definition.nodes.iter().map(ban).collect()
}
