//! What a failover cluster says of its guests: WMI namespace `root/MSCluster`, the same on every node.
//!
//! A clustered guest is a resource of type "Virtual Machine" in a group of its own. `OwnerNode` exists since 2012.

use deadline::Deadline;
use uuid::Uuid;
use wsman::Instance;
use wsman::wql::Query;

use super::host::Host;
use super::system::guid;
use super::trouble::Trouble;

/// The namespace.
pub(super) const NAMESPACE: &str = "root/MSCluster";
/// The class of resources.
pub(super) const RESOURCE: &str = "MSCluster_Resource";
/// The class of groups.
pub(super) const GROUP: &str = "MSCluster_ResourceGroup";
/// The class of nodes.
pub(super) const NODE: &str = "MSCluster_Node";
const TYPE: &str = "Virtual Machine";

/// Where a clustered guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    /// The name of its resource.
    pub(super) resource: String,
    /// The name of its group.
    pub(super) group: String,
    /// The node that has it.
    pub(super) owner: String,
    /// The resource's state.
    pub(super) state: u32,
    /// The guest; none where the cluster does not say.
    pub(super) guest: Option<Uuid>,
}

impl Role {
    /// `ClusterResourceInitializing`, `Online`, `Pending` and `OnlinePending` (CLUSTER_RESOURCE_STATE). Of a guest that is off
    /// they say that the cluster is starting or moving it, or takes it for running: then it will find that the guest has
    /// ended without being told to, and start it again.
    const COMING: [u32; 4] = [1, Self::ONLINE, 128, 129];
    /// `ClusterResourceOnline`.
    const ONLINE: u32 = 2;
    /// `ClusterResourceFailed`.
    const FAILED: u32 = 4;

    fn read(instance: &Instance) -> Result<Self, wsman::Error> {
        let id = instance
            .object("PrivateProperties")
            .and_then(|private| private.text("VmID"));
        Ok(Self {
            resource: instance.required("Name")?.to_owned(),
            group: instance.required("OwnerGroup")?.to_owned(),
            owner: instance.required("OwnerNode")?.to_owned(),
            state: instance.required_number("State")?,
            guest: id.or_else(|| instance.text("VmID")).and_then(guid),
        })
    }

    /// Whether the cluster is about to start or move the guest, if that is off now. After an order to turn it off, the resource
    /// is offline (3) as soon as the cluster has noticed.
    pub(super) fn is_coming(&self) -> bool {
        Self::COMING.contains(&self.state)
    }

    /// Whether the cluster counts it as broken. It starts it again after a while, unless it has given up or is told not to:
    /// the state is the same.
    pub(super) fn has_failed(&self) -> bool {
        self.state == Self::FAILED
    }

    /// Whether the cluster counts it as running.
    pub(super) fn is_online(&self) -> bool {
        self.state == Self::ONLINE
    }
}

/// Which roles are wanted.
#[derive(Debug, Clone)]
pub(super) enum Which {
    All,
    /// Those of a group.
    Group(String),
    /// The one of a resource.
    Resource(String),
}

/// The roles of guests.
pub(super) fn roles(host: &Host, which: &Which, deadline: Deadline) -> Result<Vec<Role>, Trouble> {
    let all = Query::all(RESOURCE).and_is("Type", TYPE);
    let query = match which {
        Which::All => all,
        Which::Group(name) => all.and_is("OwnerGroup", name),
        Which::Resource(name) => all.and_is("Name", name),
    };
    let instances = host
        .query(NAMESPACE, &query, deadline)
        .map_err(no_cluster)?;
    Ok(instances.iter().map(Role::read).collect::<Result<_, _>>()?)
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    state: u32,
}

impl Node {
    /// Whether it takes part in the cluster: up or paused (CLUSTER_NODE_STATE 0 and 2).
    pub(super) fn is_member(&self) -> bool {
        [0, 2].contains(&self.state)
    }

    /// Whether it takes guests: up, not paused.
    pub(super) fn is_usable(&self) -> bool {
        self.state == 0
    }

    /// Its state in words.
    pub(super) fn word(&self) -> &'static str {
        match self.state {
            0 => "up",
            1 => "down",
            2 => "paused",
            3 => "joining",
            _ => "in an unknown state",
        }
    }

    /// Reads an instance.
    pub(super) fn read(instance: &Instance) -> Result<Self, wsman::Error> {
        // -1 is "unknown".
        let state = instance.number("State").unwrap_or(None).unwrap_or(u32::MAX);
        Ok(Self {
            name: instance.required("Name")?.to_owned(),
            state,
        })
    }
}

/// All nodes, up or not.
pub(super) fn nodes(host: &Host, deadline: Deadline) -> Result<Vec<Node>, Trouble> {
    let instances = host
        .query(NAMESPACE, &Query::all(NODE), deadline)
        .map_err(no_cluster)?;
    Ok(instances.iter().map(Node::read).collect::<Result<_, _>>()?)
}

fn no_cluster(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Fault(fault) if fault.is_unknown_class() => Trouble::Refused(
            "it is no node of a failover cluster (it has no root/MSCluster); cluster mode is not to be set then".to_owned(),
        ),
        other => other,
    }
}
