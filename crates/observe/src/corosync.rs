//! What Corosync says: `corosync-quorumtool -s`, `corosync-cfgtool -s` and `corosync-cmapctl -g`.
//!
//! All print for people only; the forms here are those of Corosync 3.0 and 3.1, with knet and udpu.

use serde::Serialize;

/// Quorum as `corosync-quorumtool -s` tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Whether this node's partition has quorum.
    pub quorate: Option<bool>,
    /// How many votes the whole cluster has.
    pub expected_votes: Option<u32>,
    /// How many votes this partition has.
    pub votes: Option<u32>,
    /// How many votes are needed.
    pub needed: Option<u32>,
    /// Flags such as `Quorate`, `2Node`, `WaitForAll`, `Qdevice`.
    pub flags: Vec<String>,
    /// The members of this partition.
    pub members: Vec<Member>,
}

/// A member of the partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its number.
    pub id: String,
    /// Its votes.
    pub votes: Option<u32>,
    /// Its name, or its address where Corosync knows no name.
    pub name: String,
}

/// One of this node's links and how it carries to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its number.
    pub id: String,
    /// This node's address on it.
    pub address: Option<String>,
    /// The other nodes.
    pub peers: Vec<Peer>,
}

/// A node at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its number.
    pub id: String,
    /// `connected`, `disconnected`, or what else Corosync says.
    pub state: String,
}

impl Peer {
    /// Whether the link carries; `None` for words that are not known.
    #[must_use]
    pub fn is_connected(&self) -> Option<bool> {
        match self.state.as_str() {
            "connected" => Some(true),
            "disconnected" | "disconnected (never connected)" => Some(false),
            _ => None,
        }
    }
}

/// Reads a text that `corosync-cmapctl -g KEY` printed: `totem.cluster_name (str) = web`.
#[must_use]
pub fn setting(text: &str, key: &str) -> Option<String> {
    let line = text.lines().next()?.strip_prefix(key)?;
    let value = line.strip_prefix(" (str) = ")?.trim_end();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Reads what `corosync-quorumtool -s` printed; `None` if nothing of it is about quorum.
#[must_use]
pub fn quorum(text: &str) -> Option<Quorum> {
    let mut quorum = Quorum::default();
    let mut in_members = false;
    for line in text.lines() {
        if let Some((key, value)) = line.split_once(':').filter(|_| !in_members) {
            let value = value.trim();
            let first = value.split_whitespace().next().unwrap_or_default();
            match key.trim() {
                "Quorate" => {
                    quorum.quorate = match value {
                        "Yes" => Some(true),
                        "No" => Some(false),
                        _ => None,
                    };
                }
                "Expected votes" => quorum.expected_votes = first.parse().ok(),
                "Total votes" => quorum.votes = first.parse().ok(),
                // `Quorum: 2 Activity blocked`
                "Quorum" => quorum.needed = first.parse().ok(),
                "Flags" => quorum.flags = value.split_whitespace().map(str::to_owned).collect(),
                _ => {}
            }
        } else if in_members {
            quorum.members.extend(member(line));
        } else if line.split_whitespace().next() == Some("Nodeid") {
            in_members = true;
        }
    }
    (quorum.quorate.is_some() || !quorum.members.is_empty()).then_some(quorum)
}

/// `         1          1 n1 (local)`; with a quorum device there is a column more: `A,V,NMW`.
fn member(line: &str) -> Option<Member> {
    let mut words = line.split_whitespace();
    let id = words.next()?;
    let votes = words.next()?;
    let rest: Vec<&str> = words.filter(|word| *word != "(local)").collect();
    let name = rest.last()?;
    // The quorum device itself is listed with the number 0.
    (id.parse::<u32>().is_ok_and(|id| id != 0)).then(|| Member {
        id: id.to_owned(),
        votes: votes.parse().ok(),
        name: (*name).to_owned(),
    })
}

/// Reads what `corosync-cfgtool -s` printed.
#[must_use]
pub fn links(text: &str) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["LINK" | "RING", "ID", id, ..] = words[..] {
            links.push(Link {
                id: id.to_owned(),
                ..Link::default()
            });
            continue;
        }
        let Some(link) = links.last_mut() else {
            continue;
        };
        match words[..] {
            ["addr" | "id", "=", address] => link.address = Some(address.to_owned()),
            ["nodeid:", id, ..] => {
                let id = id.trim_end_matches(':').to_owned();
                let state = words[2..].join(" ");
                if state != "localhost" {
                    link.peers.push(Peer { id, state });
                }
            }
            _ => {}
        }
    }
    links
}
