//! What Corosync knows: the cluster's name and its nodes, as `corosync-cmapctl` prints them.

use std::collections::BTreeMap;

/// One node of the node list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its place in the list.
    pub position: u32,
    /// Its name, if the list gives one.
    pub name: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
}

impl Member {
    fn is_named(&self, node: &str) -> bool {
        self.name.as_deref() == Some(node)
    }

    fn is_at(&self, node: &str) -> bool {
        self.addresses.iter().any(|address| address == node)
    }

    /// What to call it.
    pub(crate) fn label(&self) -> &str {
        let address = self.addresses.first().map_or("?", String::as_str);
        self.name.as_deref().unwrap_or(address)
    }
}

/// The cluster as Corosync has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// `totem.cluster_name`
    pub name: String,
    /// `nodelist.node`
    pub members: Vec<Member>,
    /// `nodelist.local_node_pos`: this machine's place in the list.
    pub local: Option<u32>,
}

/// Where a node is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this position.
    At(u32),
    /// Not there.
    Nowhere,
    /// Not to be told: not every node of the list has a name.
    Untold,
}

/// Where the cluster's name is.
pub(crate) const NAME: &str = "totem.cluster_name";
/// What the keys of the node list begin with.
pub(crate) const NODES: &str = "nodelist";

/// Whether anything of the node list was printed.
pub(crate) fn tells_nodes(printed: &str) -> bool {
    entries(printed).any(|(key, _)| key.starts_with(NODES))
}

impl Cluster {
    /// From what `corosync-cmapctl totem.cluster_name nodelist` prints: all keys that begin with one of these.
    ///
    /// # Errors
    /// If the name or the node list is missing.
    pub(crate) fn parse(printed: &str) -> Result<Self, String> {
        let name = entries(printed)
            .find(|(key, value)| *key == NAME && !value.is_empty())
            .map(|(_, value)| value.to_owned())
            .ok_or("Corosync has no cluster name (totem.cluster_name)")?;
        let mut members: BTreeMap<u32, Member> = BTreeMap::new();
        let mut local = None;
        for (key, value) in entries(printed) {
            if key == "nodelist.local_node_pos" {
                local = value.parse().ok();
            }
            let Some((position, field)) = node_field(key) else {
                continue;
            };
            let member = members.entry(position).or_default();
            member.position = position;
            match field {
                "name" => member.name = Some(value.to_owned()),
                _ if is_address(field) => member.addresses.push(value.to_owned()),
                _ => {}
            }
        }
        if members.is_empty() {
            return Err("Corosync has no node list (nodelist.node)".to_owned());
        }
        Ok(Self {
            name,
            members: members.into_values().collect(),
            local,
        })
    }

    /// Where `node` is: its name counts first, an address only if no node has that name.
    ///
    /// # Errors
    /// If several nodes are called that.
    pub(crate) fn place(&self, node: &str) -> Result<Place, String> {
        for is_it in [Member::is_named, Member::is_at] {
            let mut found = self.members.iter().filter(|member| is_it(member, node));
            if let Some(first) = found.next() {
                return match found.next() {
                    None => Ok(Place::At(first.position)),
                    Some(_) => Err(format!("Corosync's node list has `{node}` more than once")),
                };
            }
        }
        if self.members.iter().all(|member| member.name.is_some()) {
            Ok(Place::Nowhere)
        } else {
            Ok(Place::Untold)
        }
    }

    /// The names of all nodes, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(Member::label).collect();
        names.join(", ")
    }
}

/// The lines `KEY (TYPE) = VALUE`.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (left, value) = line.split_once(" = ")?;
        let key = left.split_whitespace().next()?;
        Some((key, value.trim()))
    })
}

/// `nodelist.node.7.name` → 7 and `name`.
fn node_field(key: &str) -> Option<(u32, &str)> {
    let (position, field) = key.strip_prefix("nodelist.node.")?.split_once('.')?;
    Some((position.parse().ok()?, field))
}

/// `ring0_addr` and its like.
fn is_address(field: &str) -> bool {
    field
        .strip_prefix("ring")
        .and_then(|rest| rest.strip_suffix("_addr"))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As corosync 3.1.7 prints it.
    pub(crate) const NODELIST: &str = "\
nodelist.local_node_pos (u32) = 1
nodelist.node.0.name (str) = node1
nodelist.node.0.nodeid (u32) = 1
nodelist.node.0.ring0_addr (str) = 10.0.0.1
nodelist.node.1.name (str) = node2
nodelist.node.1.nodeid (u32) = 2
nodelist.node.1.ring0_addr (str) = 10.0.0.2
nodelist.node.1.ring1_addr (str) = 10.1.0.2
";

    fn cluster(nodelist: &str) -> Cluster {
        let name = "totem.cluster_name (str) = my cluster\n";
        Cluster::parse(&format!("{name}{nodelist}")).unwrap()
    }

    #[test]
    fn names_and_positions() {
        let cluster = cluster(NODELIST);
        assert_eq!(cluster.name, "my cluster");
        assert_eq!(cluster.local, Some(1));
        assert_eq!(cluster.place("node2"), Ok(Place::At(1)));
        assert_eq!(cluster.place("10.1.0.2"), Ok(Place::At(1)));
        // A name is not a pattern, and no beginning of another.
        for other in ["node", "node.", "node11", "NODE1", "ring0_addr", ""] {
            assert_eq!(cluster.place(other), Ok(Place::Nowhere), "{other}");
        }
    }

    #[test]
    fn a_list_without_names_tells_nothing_about_names() {
        let cluster = cluster("nodelist.node.0.ring0_addr (str) = 10.0.0.1\n");
        assert_eq!(cluster.place("10.0.0.1"), Ok(Place::At(0)));
        assert_eq!(cluster.place("node1"), Ok(Place::Untold));
    }

    #[test]
    fn the_same_name_twice_is_no_answer() {
        let twice = NODELIST.replace("node2", "node1");
        assert!(cluster(&twice).place("node1").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |name: &str, list| Cluster::parse(&format!("{name}{list}")).unwrap_err();
        assert!(tells_nodes(NODELIST) && !tells_nodes("totem.cluster_name (str) = nodelist\n"));
        assert!(missing("", NODELIST).contains("totem.cluster_name"));
        assert!(missing("totem.cluster_name (str) = \n", NODELIST).contains("totem.cluster_name"));
        assert!(missing("totem.cluster_name (str) = c\n", "").contains("nodelist"));
        assert!(Cluster::parse("garbage\n= = =\n(((\n").is_err());
    }
}
