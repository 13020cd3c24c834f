//! What a change of `corosync.conf` needs before it counts.
//!
//! Corosync reads some of its settings again when told to (`corosync-cfgtool -R`): timers, logging,
//! quorum, and members that come or go. Everything else it reads when it starts. Settings that are not
//! known to be re-read are taken for the latter.

use std::collections::BTreeMap;

/// What a change needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// Comments and blanks.
    Nothing,
    Reload,
    /// A restart of all nodes together, because of these settings.
    Restart(Vec<String>),
}

/// A configuration: settings by their path, and members by their name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conf {
    settings: BTreeMap<String, String>,
    nodes: Vec<BTreeMap<String, String>>,
}

impl Conf {
    /// Reads as Corosync does: `section {`, `key: value`, `}`, and `#` comments. What is no such line
    /// is left out; `corosync -t` judges it.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut sections: Vec<String> = Vec::new();
        let mut links = 0_usize;
        for line in text.lines().map(str::trim) {
            if line.starts_with('#') {
            } else if let Some(name) = line.strip_suffix('{') {
                let name = name.trim();
                match name {
                    "node" => conf.nodes.push(BTreeMap::new()),
                    "interface" => links += 1,
                    _ => {}
                }
                sections.push(match name {
                    "interface" => format!("interface#{links}"),
                    _ => name.to_owned(),
                });
            } else if line == "}" {
                sections.pop();
            } else if let Some((key, value)) = line.split_once(':') {
                conf.set(&sections, key.trim(), value.trim());
            }
        }
        conf
    }

    fn set(&mut self, sections: &[String], key: &str, value: &str) {
        if sections == ["nodelist", "node"] {
            if let Some(node) = self.nodes.last_mut() {
                node.insert(key.to_owned(), value.to_owned());
            }
            return;
        }
        let path = format!("{}.{key}", sections.join("."));
        self.settings.insert(path, value.to_owned());
    }

    /// The cluster's name.
    pub(crate) fn cluster_name(&self) -> Option<&str> {
        self.settings.get("totem.cluster_name").map(String::as_str)
    }

    /// What a running Corosync that has read this has in its map, and what it then has no more (`None`):
    /// the settings that it reads again, and the members. One of another version may have further ones.
    pub(crate) fn in_force(&self) -> Vec<(String, Option<String>)> {
        const MAY_GO: [&str; 5] = [
            "totem.token",
            "totem.consensus",
            "quorum.expected_votes",
            "quorum.two_node",
            "quorum.wait_for_all",
        ];
        let own = self.settings.iter();
        // What is nested has other names there, and does not count until daemons of their own read it.
        let flat = own.filter(|(key, _)| is_read_again(key) && key.split('.').count() == 2);
        let mut out: Vec<_> = flat
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect();
        let gone = MAY_GO
            .iter()
            .filter(|key| !self.settings.contains_key(**key));
        out.extend(gone.map(|key| ((*key).to_owned(), None)));
        for (place, node) in self.nodes.iter().enumerate() {
            for key in ["name", "nodeid"] {
                let value = node.get(key).cloned();
                out.extend(
                    value.map(|value| (format!("nodelist.node.{place}.{key}"), Some(value))),
                );
            }
        }
        out.push((format!("nodelist.node.{}.nodeid", self.nodes.len()), None));
        out
    }

    fn name_of(node: &BTreeMap<String, String>) -> Option<&str> {
        node.get("name")
            .or_else(|| node.get("ring0_addr"))
            .map(String::as_str)
    }

    fn node(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.nodes
            .iter()
            .find(|node| Self::name_of(node) == Some(name))
    }

    /// Whether it is the one-node cluster on the loopback address that Debian's package comes with and
    /// starts. It is nobody's cluster.
    pub(crate) fn is_package_default(&self) -> bool {
        let only = match &self.nodes[..] {
            [only] => only.get("ring0_addr").map(String::as_str),
            _ => return false,
        };
        matches!(only, Some("127.0.0.1" | "::1" | "localhost"))
            && matches!(self.cluster_name(), Some("debian") | None)
    }

    /// What it takes to go from this configuration to `new`.
    pub(crate) fn until(&self, new: &Self) -> Need {
        let keys: std::collections::BTreeSet<_> =
            self.settings.keys().chain(new.settings.keys()).collect();
        let changed: Vec<_> = keys
            .into_iter()
            .filter(|key| self.settings.get(*key) != new.settings.get(*key))
            .collect();
        let mut fixed: Vec<String> = changed
            .iter()
            .filter(|key| !is_read_again(key))
            .map(|key| format!("{key} of corosync.conf changes"))
            .collect();
        fixed.extend(self.nodes.iter().filter_map(|old| {
            let name = Self::name_of(old)?;
            let moved = new.node(name).is_some_and(|node| node != old);
            moved.then(|| format!("number or addresses of node {name} in corosync.conf change"))
        }));
        if !fixed.is_empty() {
            Need::Restart(fixed)
        } else if changed.is_empty() && self.nodes == new.nodes {
            Need::Nothing
        } else {
            Need::Reload
        }
    }
}

/// Settings that Corosync 3 reads again (corosync.conf(5), votequorum(5)).
fn is_read_again(path: &str) -> bool {
    const TOTEM: [&str; 17] = [
        "token",
        "token_warning",
        "token_retransmit",
        "token_retransmits_before_loss_const",
        "token_coefficient",
        "hold",
        "join",
        "send_join",
        "consensus",
        "merge",
        "downcheck",
        "fail_recv_const",
        "seqno_unchanged_const",
        "max_network_delay",
        "window_size",
        "max_messages",
        "miss_count_const",
    ];
    const QUORUM: [&str; 5] = [
        "expected_votes",
        "two_node",
        "wait_for_all",
        "last_man_standing",
        "last_man_standing_window",
    ];
    path.starts_with("logging.")
        || path.starts_with("quorum.device.")
        || path
            .strip_prefix("totem.")
            .is_some_and(|key| TOTEM.contains(&key))
        || path
            .strip_prefix("quorum.")
            .is_some_and(|key| QUORUM.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "totem {\n\tversion: 2\n\tcluster_name: web\n\ttoken: 5000\n}\nquorum {\n\
        \tprovider: corosync_votequorum\n\ttwo_node: 1\n}\nnodelist {\n\tnode {\n\t\tring0_addr: 10.0.0.1\n\
        \t\tname: n1\n\t\tnodeid: 1\n\t}\n\tnode {\n\t\tring0_addr: 10.0.0.2\n\t\tname: n2\n\t\tnodeid: 2\n\t}\n}\n";

    fn need(new: &str) -> Need {
        Conf::parse(TWO).until(&Conf::parse(new))
    }

    #[test]
    fn comments_need_nothing_timers_and_members_a_reload() {
        assert_eq!(need(&format!("# hello: world\n\n{TWO}")), Need::Nothing);
        assert_eq!(need(&TWO.replace("5000", "3000")), Need::Reload);
        let third = "\tnode {\n\t\tring0_addr: 10.0.0.3\n\t\tname: n3\n\t\tnodeid: 3\n\t}\n}\n";
        let grown = TWO.replace("\ttwo_node: 1\n", "");
        let grown = format!("{}{third}", grown.strip_suffix("}\n").unwrap());
        assert_eq!(need(&grown), Need::Reload);
    }

    #[test]
    fn what_is_in_force_names_what_is_gone_as_well() {
        let in_force = Conf::parse(TWO).in_force();
        let get = |key: &str| {
            let found = in_force.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_deref())
        };
        assert_eq!(get("totem.token"), Some(Some("5000")));
        assert_eq!(get("quorum.two_node"), Some(Some("1")));
        assert_eq!(get("totem.consensus"), Some(None));
        assert_eq!(get("nodelist.node.1.name"), Some(Some("n2")));
        assert_eq!(get("nodelist.node.2.nodeid"), Some(None));
        assert_eq!(get("totem.cluster_name"), None, "it is read once");
    }

    #[test]
    fn what_is_read_once_needs_a_restart() {
        let crypto = TWO.replace("token: 5000", "token: 5000\n\tcrypto_cipher: aes256");
        assert_eq!(
            need(&crypto),
            Need::Restart(vec![
                "totem.crypto_cipher of corosync.conf changes".to_owned()
            ])
        );
        assert!(matches!(
            need(&TWO.replace("10.0.0.2", "10.0.0.9")),
            Need::Restart(_)
        ));
        assert!(matches!(
            need(&TWO.replace("nodeid: 2", "nodeid: 7")),
            Need::Restart(_)
        ));
    }

    #[test]
    fn the_packages_own_cluster_is_nobodys() {
        let own = "totem {\n version: 2\n cluster_name: debian\n}\nnodelist {\n node {\n name: node1\n \
            nodeid: 1\n ring0_addr: 127.0.0.1\n }\n}\n";
        assert!(Conf::parse(own).is_package_default());
        assert!(!Conf::parse(TWO).is_package_default());
        assert!(!Conf::parse(&own.replace("debian", "bank")).is_package_default());
        assert!(!Conf::parse("").is_package_default());
    }
}
