//! Whose key: from a node's name and what Corosync knows.

use scsi::pr::Key;

use super::cmap::{Cluster, Member, Place};
use super::key::{self, Scheme};

/// A node's key, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub key: Key,
    /// Another node of the list that has the same key.
    pub twin: Option<String>,
    /// Worth a warning.
    pub doubt: Option<String>,
}

/// The key of `node`.
///
/// # Errors
/// If the cluster has no such node, or the scheme makes no key of it.
pub(crate) fn key_of(node: &str, cluster: &Cluster, scheme: Scheme) -> Result<Named, String> {
    let (position, doubt) = match (cluster.place(node)?, scheme) {
        (Place::At(position), _) => (position, None),
        (Place::Nowhere, _) | (Place::Untold, Scheme::Id) => {
            return Err(format!(
                "no node `{node}` in Corosync's node list ({})",
                cluster.names()
            ));
        }
        (Place::Untold, _) => (
            u32::MAX,
            Some(format!(
                "Corosync's node list ({}) does not name every node: `{node}` is taken as it is written",
                cluster.names()
            )),
        ),
    };
    let key = scheme.key(&cluster.name, node, position).ok_or_else(|| {
        format!("the key of `{node}` would be 0, which is none: use another key_value")
    })?;
    let twin = |other: &&Member| {
        other.position != position
            && other.label() != node
            && scheme.key(&cluster.name, other.label(), other.position) == Some(key)
    };
    let twin = cluster
        .members
        .iter()
        .find(twin)
        .map(|other| other.label().to_owned());
    Ok(Named { key, twin, doubt })
}

/// Refuses to register another machine's key from here: fencing that machine would then cut this one off.
///
/// # Errors
/// If the node list says that this machine is another node.
pub(crate) fn is_here(node: &str, cluster: &Cluster) -> Result<(), String> {
    match (cluster.place(node)?, cluster.local) {
        (Place::At(position), Some(local)) if position != local => Err(format!(
            "`{node}` is another machine: a node can only be unfenced on itself"
        )),
        _ => Ok(()),
    }
}

/// The words for two nodes with one key.
pub(crate) fn collision(node: &str, named: &Named, other: &str) -> String {
    format!(
        "nodes `{node}` and `{other}` have the same key {}: fencing one would fence the other; use key_value=unique",
        key::text(named.key)
    )
}

#[cfg(test)]
mod tests {
    use super::super::cmap::tests::NODELIST;
    use super::*;

    fn cluster(nodelist: &str) -> Cluster {
        Cluster::parse("totem.cluster_name (str) = mycluster\n", nodelist).unwrap()
    }

    #[test]
    fn keys_by_position_and_by_name() {
        let cluster = cluster(NODELIST);
        let text = |node, scheme| key_of(node, &cluster, scheme).map(|named| key::text(named.key));
        assert_eq!(text("node2", Scheme::Id).unwrap(), "6c9d0001");
        assert_eq!(text("10.0.0.1", Scheme::Id).unwrap(), "6c9d0000");
        assert_eq!(text("node1", Scheme::Hash).unwrap(), "6c9d1645");
        for scheme in [Scheme::Id, Scheme::Hash, Scheme::Unique] {
            let error = text("node3", scheme).unwrap_err();
            assert!(error.contains("node1, node2"), "{error}");
        }
    }

    /// Names whose MD5 begin with the same 16 bits.
    #[test]
    fn two_nodes_with_one_key_are_noticed() {
        let first = |name: &str| Scheme::Hash.key("mycluster", name, 0);
        let twin = (0..)
            .map(|n| format!("other{n}"))
            .find(|name| first(name) == first("node1"))
            .unwrap();
        let cluster = cluster(&NODELIST.replace("node2", &twin));
        let named = key_of("node1", &cluster, Scheme::Hash).unwrap();
        assert_eq!(named.twin.as_deref(), Some(twin.as_str()));
        for scheme in [Scheme::Id, Scheme::Unique] {
            assert_eq!(key_of("node1", &cluster, scheme).unwrap().twin, None);
        }
    }

    #[test]
    fn without_names_in_the_list_only_hashes_are_made_and_doubted() {
        let cluster = cluster("nodelist.node.0.ring0_addr (str) = 10.0.0.1\n");
        assert!(key_of("node1", &cluster, Scheme::Id).is_err());
        let named = key_of("node1", &cluster, Scheme::Hash).unwrap();
        assert!(named.doubt.is_some());
    }

    #[test]
    fn another_machines_name_is_refused() {
        let cluster = cluster(NODELIST);
        assert!(is_here("node2", &cluster).is_ok());
        assert!(is_here("node1", &cluster).is_err());
        let silent = NODELIST.replace("nodelist.local_node_pos (u32) = 1\n", "");
        assert!(is_here("node1", &self::cluster(&silent)).is_ok());
    }
}
