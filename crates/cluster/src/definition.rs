//! From the text of a `cluster.toml` to a [`Definition`] that cannot be wrong.
//!
//! Single values are checked by their types while they are read (`types.rs`); what concerns several
//! values together is checked here, all of it, before the text is refused.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{DefinitionError, Finding};
use crate::types::{Address, Group, Interface, Line, Name, NodeName, PlainPath, Port, Span};

/// The most nodes a cluster may have: what Corosync and Pacemaker are commonly supported with.
pub const MAX_NODES: usize = 32;

/// The longest definition that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// A guest cluster, as its definition describes it. Its values agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// The cluster's name.
    pub name: Name,
    /// Timers of Corosync and Pacemaker.
    pub options: Options,
    /// The members, in the order of their numbers. Between 1 and [`MAX_NODES`].
    pub nodes: Vec<Node>,
    /// How a failed node is switched off.
    pub fencing: Fencing,
    /// What the cluster keeps available.
    pub services: Vec<Service>,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its host name, which is also the name of its virtual machine on the host.
    pub name: NodeName,
    /// Where Corosync reaches it.
    pub address: IpAddr,
}

/// Timers of Corosync and Pacemaker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Options {
    /// How long Corosync waits for a node that says nothing before it counts it as lost.
    pub token: Span,
    /// How long Pacemaker waits at its start for other nodes before it elects a coordinator.
    pub dc_deadtime: Span,
    /// The most a start, stop or monitor of a resource may take.
    pub operation_timeout: Span,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: Span::from_secs(5),
            dc_deadtime: Span::from_secs(20),
            operation_timeout: Span::from_secs(60),
        }
    }
}

/// How a failed node is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fencing {
    /// The fencing agent.
    pub agent: FenceAgent,
    /// Where the key that guests and host share lies, on guests and host alike.
    pub key_file: PlainPath,
    /// The multicast group of the requests.
    pub multicast: Group,
    /// The port of the requests.
    pub port: Port,
    /// What becomes of a failed node.
    pub action: FenceAction,
    /// The most one fencing action may take.
    pub timeout: Span,
    /// In a cluster of two nodes: who survives when both try to fence each other.
    pub favour: Option<Favour>,
}

/// The node that wins when two nodes that cannot see each other both try to fence the other.
///
/// Without it both requests may be carried out, and the service is down until both nodes have
/// started again. So in a cluster of two nodes fencing *this* node is begun [`Favour::delay`] later
/// than fencing the other; by then the other has been switched off. The price is that the delay is
/// also paid when the favoured node really has failed. If the definition does not say, the last
/// node is favoured for two seconds: services start on the first node, so the usual failure, that
/// of the node which runs the service, is recovered without delay. With three nodes and more the
/// quorum decides and nobody is favoured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Favour {
    /// The favoured node.
    pub node: NodeName,
    /// How much later fencing it begins.
    pub delay: Span,
}

/// A fencing agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub enum FenceAgent {
    /// Asks the `fence_virtd` of the host over multicast.
    #[serde(rename = "fence_xvm")]
    FenceXvm,
}

impl FenceAgent {
    /// The name of the agent's program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::FenceXvm => "fence_xvm",
        }
    }
}

/// What becomes of a failed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FenceAction {
    /// It is switched off and on again, and joins the cluster by itself.
    #[default]
    Reboot,
    /// It stays off until somebody switches it on.
    Off,
}

/// A group of resources that run together on one node: a virtual address and what answers there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// The service's name.
    pub name: Name,
    /// The address at which clients find it, wherever it runs.
    pub virtual_ip: Interface,
    /// The HTTP server behind the address.
    pub http: Http,
}

impl Service {
    /// The ids of its resources in Pacemaker, in the order in which they start.
    #[must_use]
    pub fn resource_ids(&self) -> Vec<String> {
        ["ip", "http"]
            .map(|part| format!("{}.{part}", self.name))
            .to_vec()
    }
}

/// A small web server whose page names the node that serves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Http {
    /// The TCP port.
    #[serde(default)]
    pub port: Port,
    /// What the page says besides the node's name.
    pub text: Option<Line>,
}

/// Why a definition could not be cut or extended to another number of nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Not between 1 and [`MAX_NODES`].
    #[error("a cluster has 1 to {MAX_NODES} nodes, not {0}")]
    Count(usize),
    /// The last node's name does not end in a number that could be counted on.
    #[error(
        "node `{0}` has no trailing number: its successors cannot be named; list the nodes in the definition"
    )]
    Name(NodeName),
    /// There is no free address for a further node.
    #[error("no free address follows {0} for a further node; list the nodes in the definition")]
    Address(IpAddr),
    /// The node that is favoured in a fencing race would be cut off.
    #[error("node `{0}` is favoured in fencing races and cannot be left out")]
    Favoured(NodeName),
}

// The definition as it is written, with the places of the values that are compared with each other.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDefinition {
    cluster: RawCluster,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    node: Vec<RawNode>,
    fencing: RawFencing,
    #[serde(default)]
    service: Vec<RawService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    name: Spanned<Name>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<NodeName>,
    address: Spanned<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFencing {
    agent: FenceAgent,
    key_file: Option<PlainPath>,
    multicast: Option<Group>,
    port: Option<Port>,
    #[serde(default)]
    action: FenceAction,
    timeout: Option<Span>,
    favour: Option<Spanned<NodeName>>,
    favour_delay: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    name: Spanned<Name>,
    virtual_ip: Spanned<Interface>,
    http: Spanned<Http>,
}

impl Definition {
    /// Reads a definition. `path` is only used to name the file in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the text, with places and remedies.
    pub fn parse(path: &str, text: &str) -> Result<Self, DefinitionError> {
        if text.len() > MAX_TEXT {
            let finding = Finding::new(
                0..0,
                format!("the definition is longer than {MAX_TEXT} bytes"),
            );
            return Err(DefinitionError::new(path, "", vec![finding]));
        }
        let raw: RawDefinition = toml::from_str(text)
            .map_err(|error| DefinitionError::new(path, text, vec![Finding::from_toml(&error)]))?;
        let mut findings = Vec::new();
        check_nodes(&raw, text.len(), &mut findings);
        check_services(&raw, &mut findings);
        let favour = favour_of(&raw.fencing, &raw.node, &mut findings);
        if findings.is_empty() {
            Ok(Self::assemble(raw, favour))
        } else {
            findings.sort_by_key(|finding| finding.span.start);
            Err(DefinitionError::new(path, text, findings))
        }
    }

    fn assemble(raw: RawDefinition, favour: Option<Favour>) -> Self {
        let fencing = Fencing {
            agent: raw.fencing.agent,
            key_file: raw
                .fencing
                .key_file
                .unwrap_or_else(PlainPath::default_key_file),
            multicast: raw.fencing.multicast.unwrap_or(Group::DEFAULT),
            port: raw.fencing.port.unwrap_or(Port::FENCE_VIRT),
            action: raw.fencing.action,
            timeout: raw.fencing.timeout.unwrap_or(Span::from_secs(60)),
            favour,
        };
        Self {
            name: raw.cluster.name.into_inner(),
            options: raw.options,
            nodes: raw
                .node
                .into_iter()
                .map(|node| Node {
                    name: node.name.into_inner(),
                    address: node.address.into_inner().ip(),
                })
                .collect(),
            fencing,
            services: raw
                .service
                .into_iter()
                .map(|service| Service {
                    name: service.name.into_inner(),
                    virtual_ip: service.virtual_ip.into_inner(),
                    http: service.http.into_inner(),
                })
                .collect(),
        }
    }

    /// The same cluster with `count` nodes: the list is cut, or goes on as the last node's name and
    /// address suggest (`n2`, 10.9.0.2 → `n3`, 10.9.0.3), leaving out addresses that are taken.
    ///
    /// # Errors
    /// If there is no such cluster; see [`PatternError`].
    pub fn with_nodes(&self, count: usize) -> Result<Self, PatternError> {
        if !(1..=MAX_NODES).contains(&count) {
            return Err(PatternError::Count(count));
        }
        let mut grown = self.clone();
        grown.nodes.truncate(count);
        while grown.nodes.len() < count {
            let next = grown.successor()?;
            grown.nodes.push(next);
        }
        grown.fencing.favour = match (&self.fencing.favour, count) {
            (_, 2) if self.nodes.len() != 2 => default_favour(&grown.nodes),
            (Some(favour), 2) if grown.nodes.iter().all(|node| node.name != favour.node) => {
                return Err(PatternError::Favoured(favour.node.clone()));
            }
            (favour, 2) => favour.clone(),
            _ => None,
        };
        Ok(grown)
    }

    /// The node that would follow the last one.
    fn successor(&self) -> Result<Node, PatternError> {
        let last = self.nodes.last().ok_or(PatternError::Count(0))?;
        let (stem, number) = last
            .name
            .split_number()
            .ok_or_else(|| PatternError::Name(last.name.clone()))?;
        let name = NodeName::try_from(format!("{stem}{}", u64::from(number) + 1))
            .map_err(|_| PatternError::Name(last.name.clone()))?;
        let mut address = last.address;
        loop {
            address = following(address).ok_or(PatternError::Address(last.address))?;
            let in_network = |service: &Service| service.virtual_ip.has_room_for(address);
            if !self.services.iter().all(in_network) {
                return Err(PatternError::Address(last.address));
            }
            let taken = self.nodes.iter().any(|node| node.address == address)
                || self
                    .services
                    .iter()
                    .any(|service| service.virtual_ip.address == address);
            if !taken {
                return Ok(Node { name, address });
            }
        }
    }

    /// Whether the cluster needs Corosync's rules for two nodes.
    #[must_use]
    pub fn is_two_node(&self) -> bool {
        self.nodes.len() == 2
    }
}

fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V6(bits.into())),
    }
}

fn check_nodes(raw: &RawDefinition, end: usize, findings: &mut Vec<Finding>) {
    if raw.node.is_empty() {
        findings.push(
            Finding::new(end..end, "the cluster has no node")
                .help("add a `[[node]]` with `name` and `address` for each member"),
        );
    }
    if let Some(node) = raw.node.get(MAX_NODES) {
        let message = format!(
            "{} nodes are more than the {MAX_NODES} a cluster may have",
            raw.node.len()
        );
        findings.push(Finding::new(node.name.span(), message));
        return;
    }
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for node in &raw.node {
        if names.insert(node.name.get_ref(), ()).is_some() {
            let message = format!("a second node named `{}`", node.name.get_ref());
            findings.push(
                Finding::new(node.name.span(), message).help("each node needs a name of its own"),
            );
        }
        if let Some(first) = addresses.insert(node.address.get_ref(), node.name.get_ref()) {
            let message = format!(
                "address {} already belongs to node `{first}`",
                node.address.get_ref()
            );
            findings.push(Finding::new(node.address.span(), message));
        }
    }
    let Some(first) = raw.node.first() else {
        return;
    };
    for node in &raw.node {
        if node.address.get_ref().ip().is_ipv4() != first.address.get_ref().ip().is_ipv4() {
            findings.push(
                Finding::new(
                    node.address.span(),
                    "the nodes' addresses mix IPv4 and IPv6",
                )
                .help("Corosync's link needs the same kind of address on all nodes"),
            );
            return;
        }
    }
}

/// Names that would give two elements of Pacemaker's configuration the same id.
const RESERVED: [&str; 3] = ["cluster", "defaults", "fence"];

fn check_services(raw: &RawDefinition, findings: &mut Vec<Finding>) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    let mut ports = HashMap::new();
    for service in &raw.service {
        let name = service.name.get_ref();
        if RESERVED.contains(&name.as_str()) {
            let message = format!("a service cannot be named `{name}`");
            findings.push(
                Finding::new(service.name.span(), message)
                    .help("the word names other parts of the Pacemaker configuration"),
            );
        }
        if names.insert(name, ()).is_some() {
            let message = format!("a second service named `{name}`");
            findings.push(Finding::new(service.name.span(), message));
        }
        let ip = service.virtual_ip.get_ref();
        if let Some(other) = addresses.insert(ip.address, name) {
            let message = format!(
                "virtual address {} already belongs to service `{other}`",
                ip.address
            );
            findings.push(Finding::new(service.virtual_ip.span(), message));
        }
        if let Some(other) = ports.insert(service.http.get_ref().port, name) {
            let message = format!(
                "port {} is already used by service `{other}`, which may run on the same node",
                service.http.get_ref().port
            );
            findings.push(
                Finding::new(service.http.span(), message)
                    .help("give each service a port of its own"),
            );
        }
        check_virtual_ip(&service.virtual_ip, &raw.node, findings);
    }
}

fn check_virtual_ip(
    virtual_ip: &Spanned<Interface>,
    nodes: &[RawNode],
    findings: &mut Vec<Finding>,
) {
    let ip = virtual_ip.get_ref();
    for node in nodes {
        let address = node.address.get_ref().ip();
        if address == ip.address {
            let message = format!(
                "virtual address {address} is the address of node `{}`",
                node.name.get_ref()
            );
            findings.push(
                Finding::new(virtual_ip.span(), message).help(
                    "a virtual address moves between the nodes and must belong to none of them",
                ),
            );
        } else if !ip.has_room_for(address) {
            let message = format!(
                "node `{}` ({address}) is not in the network of {ip}",
                node.name.get_ref()
            );
            findings.push(
                Finding::new(virtual_ip.span(), message)
                    .help("choose a virtual address and prefix length of the nodes' own network"),
            );
            return;
        }
    }
}

fn favour_of(
    fencing: &RawFencing,
    nodes: &[RawNode],
    findings: &mut Vec<Finding>,
) -> Option<Favour> {
    let delay = fencing.favour_delay.as_ref();
    if nodes.len() != 2 {
        let given = fencing
            .favour
            .as_ref()
            .map(Spanned::span)
            .or_else(|| delay.map(Spanned::span));
        if let Some(span) = given {
            findings.push(
                Finding::new(span, "only a cluster of two nodes favours one of them")
                    .help("remove the line: with another number of nodes the quorum decides"),
            );
        }
        return None;
    }
    if let Some(favour) = &fencing.favour
        && nodes
            .iter()
            .all(|node| node.name.get_ref() != favour.get_ref())
    {
        let message = format!("there is no node named `{}`", favour.get_ref());
        let names: Vec<_> = nodes
            .iter()
            .map(|node| format!("`{}`", node.name.get_ref()))
            .collect();
        findings.push(
            Finding::new(favour.span(), message)
                .help(format!("the nodes are {}", names.join(" and "))),
        );
    }
    let node = fencing.favour.as_ref().map_or_else(
        || nodes.last().map(|node| node.name.get_ref()),
        |favour| Some(favour.get_ref()),
    )?;
    Some(Favour {
        node: node.clone(),
        delay: delay.map_or(FAVOUR_DELAY, |delay| *delay.get_ref()),
    })
}

const FAVOUR_DELAY: Span = Span::from_secs(2);

fn default_favour(nodes: &[Node]) -> Option<Favour> {
    nodes.last().map(|node| Favour {
        node: node.name.clone(),
        delay: FAVOUR_DELAY,
    })
}
