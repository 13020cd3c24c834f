//! What the cluster keeps available.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{
    Interface, Line, Name, NodeName, OptionName, OptionValue, Port, ResourceAgent, Span,
};

/// A group of resources that run together: started in this order and stopped in the reverse one: its
/// local file systems, its virtual address, its resources, its web page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// An address that moves with it, and the length of its network's prefix.
    pub virtual_ip: Option<Interface>,
    /// A small web server whose page names the node that serves it.
    pub http: Option<Http>,
    /// Its file systems. Local ones are mounted with it; it waits for clustered ones.
    #[serde(default)]
    pub filesystems: Vec<Name>,
    /// The services that must have started before it starts.
    #[serde(default)]
    pub after: Vec<Name>,
    /// The services on whose node it runs.
    #[serde(default)]
    pub with: Vec<Name>,
    /// The services on whose node it does not run.
    #[serde(default)]
    pub apart_from: Vec<Name>,
    /// The nodes that it would rather run on, the best first.
    #[serde(default)]
    pub prefer: Vec<NodeName>,
    /// Whether it runs on all nodes at once.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub clone: bool,
    /// Its further resources, in the order in which they start.
    #[serde(default, rename = "resource")]
    pub resources: Vec<Resource>,
}

impl Service {
    /// The ids of its address and its web page in Pacemaker, of those it has, in the order in which
    /// they start.
    #[must_use]
    pub fn resource_ids(&self) -> Vec<String> {
        let ip = self.virtual_ip.map(|_| "ip");
        let http = self.http.as_ref().map(|_| "http");
        let resources = self.resources.iter().map(|resource| resource.name.as_str());
        ip.into_iter()
            .chain(resources)
            .chain(http)
            .map(|part| format!("{}.{part}", self.name))
            .collect()
    }
}

/// A small web server whose page names the node that serves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Http {
    /// The TCP port.
    #[serde(default)]
    #[schemars(extend("default" = 80))]
    pub port: Port,
    /// What the page says besides the node's name.
    pub text: Option<Line>,
}

/// A resource of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Resource {
    /// Its name within the service.
    pub name: Name,
    /// Its agent: `ocf:PROVIDER:TYPE` or `systemd:UNIT`.
    pub agent: ResourceAgent,
    /// Options that are handed to the agent as they are. Must hold no secret.
    #[serde(default)]
    pub options: BTreeMap<OptionName, OptionValue>,
    /// How often it is looked after.
    #[schemars(extend("default" = "10s"))]
    #[serde(default = "Resource::usual_monitor")]
    pub monitor: Span,
    /// The most its start may take. Default: `operation_timeout` of `[options]`.
    pub start_timeout: Option<Span>,
    /// The most its stop may take. Default: `operation_timeout` of `[options]`.
    pub stop_timeout: Option<Span>,
    /// The most its monitor may take. Default: `operation_timeout` of `[options]`.
    pub monitor_timeout: Option<Span>,
}

impl Resource {
    const fn usual_monitor() -> Span {
        Span::from_secs(10)
    }
}
