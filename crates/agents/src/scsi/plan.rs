//! Whose key: from a node's name and what Corosync knows.

use scsi::pr::Key;

use super::cmap::{Cluster, Place};
use super::key::{self, Scheme};

/// A node, by its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whom {
    /// For messages.
    pub name: String,
    /// Its key.
    pub key: Key,
    /// The keys it would have by other schemes: those of a node that was unfenced before `key_value` was changed. None of
    /// them is another node's.
    pub also: Vec<Key>,
    /// Every key that a node of the list may have, where a key that is none of them may be this node's: positions shift
    /// when a node is removed from the list.
    pub known: Option<Vec<Key>>,
    /// Only keys made of a position in the list of this cluster count as unknown ones.
    pub positions_of: Option<String>,
    /// Another node of the list that has the same key.
    pub twin: Option<String>,
    /// Worth a warning.
    pub doubt: Option<String>,
}

impl Whom {
    /// Whoever has this key.
    pub(crate) fn with_key(key: Key) -> Self {
        Self {
            name: format!("key {}", key::text(key)),
            key,
            also: Vec::new(),
            known: None,
            positions_of: None,
            twin: None,
            doubt: None,
        }
    }

    /// Every key that gives it access.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        std::iter::once(self.key).chain(self.also.iter().copied())
    }

    /// A listed key that may be this node's, and is nobody's by the node list of today.
    pub(crate) fn stranger(&self, listed: &[Key]) -> Option<Key> {
        let known = self.known.as_ref()?;
        let may_be = |key: &Key| match &self.positions_of {
            None => true,
            Some(cluster) => key::is_position(*key, cluster),
        };
        let mut unknown = listed.iter().filter(|key| !known.contains(key));
        unknown.find(|key| may_be(key)).copied()
    }
}

/// The key of `node`.
///
/// # Errors
/// If the cluster has no such node, or the scheme makes no key of it.
pub(crate) fn key_of(node: &str, cluster: &Cluster, scheme: Scheme) -> Result<Whom, String> {
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
    let others = || {
        cluster
            .members
            .iter()
            .filter(|other| other.position != position && other.label() != node)
    };
    let twin = others()
        .find(|other| scheme.key(&cluster.name, other.label(), other.position) == Some(key));
    let theirs: Vec<Key> = others()
        .flat_map(|other| all_keys(cluster, other.label(), other.position))
        .collect();
    let mine: Vec<Key> = all_keys(cluster, node, position).collect();
    let known = || -> Vec<Key> { theirs.iter().chain(&mine).copied().collect() };
    Ok(Whom {
        name: format!("node `{node}`"),
        key,
        also: mine
            .iter()
            .copied()
            .filter(|one| *one != key && !theirs.contains(one))
            .collect(),
        // With another scheme this node may have been unfenced by its position all the same, before `key_value` was changed.
        known: Some(known()),
        positions_of: (scheme != Scheme::Id).then(|| cluster.name.clone()),
        twin: twin.map(|other| other.label().to_owned()),
        doubt,
    })
}

/// The keys of a node by every scheme; by its position only if it has one.
fn all_keys<'a>(
    cluster: &'a Cluster,
    node: &'a str,
    position: u32,
) -> impl Iterator<Item = Key> + 'a {
    Scheme::ALL
        .into_iter()
        .filter(move |scheme| *scheme != Scheme::Id || position != u32::MAX)
        .filter_map(move |scheme| scheme.key(&cluster.name, node, position))
}

/// What this machine's own key is by the node list; `None` if that does not say which node it is.
pub(crate) fn own_key(cluster: &Cluster, scheme: Scheme) -> Option<Key> {
    let local = cluster
        .members
        .iter()
        .find(|member| Some(member.position) == cluster.local)?;
    scheme.key(&cluster.name, local.label(), local.position)
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
pub(crate) fn collision(whom: &Whom, other: &str) -> String {
    format!(
        "{} and node `{other}` have the same key {}: fencing one would fence the other; use key_value=unique",
        whom.name,
        key::text(whom.key)
    )
}

#[cfg(test)]
mod tests {
    use super::super::cmap::tests::NODELIST;
    use super::*;

    fn cluster(nodelist: &str) -> Cluster {
        Cluster::parse(&format!("totem.cluster_name (str) = mycluster\n{nodelist}")).unwrap()
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

    /// What a node had before `key_value` was changed is its key still, unless it has become another's.
    #[test]
    fn keys_of_other_schemes_count_as_well() {
        let cluster = cluster(NODELIST);
        let texts = |scheme| {
            let whom = key_of("node1", &cluster, scheme).unwrap();
            let mut texts: Vec<String> = whom.keys().map(key::text).collect();
            texts.sort();
            texts
        };
        assert_eq!(texts(Scheme::Id).len(), 3);
        assert_eq!(texts(Scheme::Id), texts(Scheme::Unique));
        assert_eq!(texts(Scheme::Id), texts(Scheme::Hash));
        assert_eq!(
            own_key(&cluster, Scheme::Id).map(key::text).as_deref(),
            Some("6c9d0001")
        );
    }

    /// After `node1` was removed from the list: the key that `node2` had is nobody's, and may be anybody's.
    #[test]
    fn positions_that_have_shifted_are_noticed() {
        let before = cluster(NODELIST);
        let old = key_of("node2", &before, Scheme::Id).unwrap().key;
        let after = cluster(
            "nodelist.node.0.name (str) = node2\nnodelist.node.1.name (str) = node4\nnodelist.node.2.name (str) = node5\n",
        );
        let whom = key_of("node5", &after, Scheme::Id).unwrap();
        assert_eq!(whom.stranger(&[old]), None, "it is node4's now");
        let gone = key::parse("6c9d0003").unwrap();
        assert_eq!(whom.stranger(&[old, gone]), Some(gone));
        // `key_value` was changed, and the node unfenced before that: by a position, and nobody knows by which.
        for scheme in [Scheme::Hash, Scheme::Unique] {
            let whom = key_of("node5", &after, scheme).unwrap();
            assert_eq!(whom.stranger(&[old, gone]), Some(gone));
            // Keys of others, whatever they are, are nothing of this cluster's positions.
            let others = ["6c9d", "6c9d16f5", "6c9e0003", "1", "ffffffffffffffff"];
            let others = others.map(|text| key::parse(text).unwrap());
            assert_eq!(whom.stranger(&others), None);
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
