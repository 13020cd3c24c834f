//! The same cluster with another number of nodes.

use std::net::IpAddr;

use super::{Definition, FAVOUR_DELAY, Favour, MAX_NODES, Node};
use crate::types::{Addresses, GuestName, NodeName};

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
    /// Something else names a node that would be cut off.
    #[error("{by} names node `{node}`, which cannot be left out")]
    Named {
        /// The node.
        node: NodeName,
        /// What names it: `service `web``, say.
        by: String,
    },
    /// The last node is a machine of its own: no other follows from it.
    #[error(
        "node `{0}` is a machine of its own: no other follows from it; list the nodes in the definition"
    )]
    BareMetal(NodeName),
}

impl Definition {
    /// The same cluster with `count` nodes: the list is cut, or goes on as the last node's name and
    /// address suggest (`n2`, 10.9.0.2 → `n3`, 10.9.0.3), leaving out addresses that are taken.
    ///
    /// # Errors
    /// If there is no such cluster; see [`PatternError`].
    pub fn with_nodes(&self, count: usize) -> Result<Self, PatternError> {
        if !(1..=MAX_NODES).contains(&count) {
            return Err(PatternError::Count(count));
        }
        if let Some(cut) = self.nodes.get(count..) {
            self.check_cut(cut)?;
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

    /// Whether anything but the list of nodes names one that is to be cut off.
    fn check_cut(&self, cut: &[Node]) -> Result<(), PatternError> {
        let refuse = |node: &NodeName, what: &str, name: &dyn std::fmt::Display| {
            Err(PatternError::Named {
                node: node.clone(),
                by: format!("{what} `{name}`"),
            })
        };
        for node in cut.iter().map(|node| &node.name) {
            for device in &self.fence_devices {
                let listed = device.nodes.iter().flatten().any(|name| name == node);
                if listed || device.plugs.contains_key(node) {
                    return refuse(node, "fencing device", &device.name);
                }
            }
            for storage in &self.storage {
                if storage.nodes.contains(node) {
                    return refuse(node, "storage", &storage.name);
                }
            }
            for filesystem in &self.filesystems {
                if filesystem.node.as_ref() == Some(node) {
                    return refuse(node, "file system", &filesystem.name);
                }
            }
            for service in &self.services {
                if service.prefer.contains(node) {
                    return refuse(node, "service", &service.name);
                }
            }
        }
        Ok(())
    }

    /// The node that would follow the last one.
    fn successor(&self) -> Result<Node, PatternError> {
        let last = self.nodes.last().ok_or(PatternError::Count(0))?;
        if !last.is_guest() {
            return Err(PatternError::BareMetal(last.name.clone()));
        }
        let unnamed = || PatternError::Name(last.name.clone());
        let counted = |text: &str| {
            let name = NodeName::try_from(text.to_owned()).ok()?;
            let (stem, number) = name.split_number()?;
            Some(format!("{stem}{}", u64::from(number) + 1))
        };
        let name = counted(last.name.as_str())
            .and_then(|name| NodeName::try_from(name).ok())
            .ok_or_else(unnamed)?;
        let guest = match &last.guest {
            Some(guest) => Some(
                counted(guest.as_str())
                    .and_then(|name| GuestName::try_from(name).ok())
                    .ok_or_else(unnamed)?,
            ),
            None => None,
        };
        let addresses = last
            .addresses
            .iter()
            .map(|address| self.free_address(*address))
            .collect::<Result<_, _>>()?;
        Ok(Node {
            name,
            guest,
            addresses: Addresses(addresses),
            uuid: None,
            ssh: None,
            ..last.clone()
        })
    }

    /// The next address after `last` that nothing has.
    fn free_address(&self, last: IpAddr) -> Result<IpAddr, PatternError> {
        let full = || PatternError::Address(last);
        let networks: Vec<_> = self
            .services
            .iter()
            .filter_map(|service| service.virtual_ip)
            .filter(|interface| interface.reaches(last))
            .collect();
        let mut address = last;
        loop {
            address = following(address).ok_or_else(full)?;
            if !networks.iter().all(|network| network.has_room_for(address)) {
                return Err(full());
            }
            if !self.is_taken(address) {
                return Ok(address);
            }
        }
    }

    fn is_taken(&self, address: IpAddr) -> bool {
        let nodes = self
            .nodes
            .iter()
            .flat_map(|node| node.addresses.iter().copied());
        let hosts = self.hosts.iter().filter_map(|host| host.address);
        let services = self
            .services
            .iter()
            .filter_map(|service| service.virtual_ip);
        let portals = self.storage.iter().flat_map(|storage| &storage.portals);
        nodes
            .chain(hosts)
            .chain(services.map(|interface| interface.address))
            .chain(portals.map(|portal| portal.address))
            .any(|taken| taken == address)
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

pub(super) fn default_favour(nodes: &[Node]) -> Option<Favour> {
    nodes.last().map(|node| Favour {
        node: node.name.clone(),
        delay: FAVOUR_DELAY,
    })
}
