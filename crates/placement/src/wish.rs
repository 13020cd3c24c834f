//! What a definition says of where its members run.

use cluster::{AntiAffinity, Definition, Node, PlatformKind};
use hypervisor::GuestRef;
use hypervisor::placement::Host;

/// What a platform offers to keep guests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Rules; where the platform has none after all, pins (S29).
    RuleOrPins,
    /// Rules.
    Rule,
    /// Nothing: whoever starts or moves a guest has to see to it. What is left is moving guests apart.
    Moves,
}

/// A member of the cluster that is a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node's name.
    pub node: String,
    /// What the platform calls it.
    pub guest: GuestRef,
    /// The host on which it should run.
    pub host: Option<String>,
    /// Whether it may run there only.
    pub pinned: bool,
}

/// A host that the definition names, and everything by which the platform may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    address: Option<String>,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The cluster's name.
    pub cluster: String,
    /// The platform, as a definition calls it.
    pub platform: String,
    /// The members that are guests, in the order of the definition.
    pub members: Vec<Member>,
    /// What the platform offers.
    pub remedy: Remedy,
    /// Whether a rule has to hold even if a member then cannot run.
    pub mandatory: bool,
    /// Whether members may be moved while they run.
    pub may_move: bool,
    hosts: Vec<Named>,
}

/// The definition is of a platform whose placement cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOffered(pub PlatformKind);

impl Wish {
    /// What `definition` wants.
    ///
    /// # Errors
    /// On a platform for which there is no [`hypervisor::placement::Placement`].
    pub fn of(definition: &Definition) -> Result<Self, NotOffered> {
        let kind = definition.platform.kind;
        let remedy = match kind {
            PlatformKind::Kvm | PlatformKind::Xen => Remedy::Moves,
            PlatformKind::Rhev => Remedy::RuleOrPins,
            PlatformKind::Vmware | PlatformKind::HyperV => Remedy::Rule,
            other => return Err(NotOffered(other)),
        };
        let named = |host: &cluster::Host| Named {
            name: host.name.to_string(),
            address: host.address.map(|address| address.to_string()),
        };
        Ok(Self {
            cluster: definition.name.to_string(),
            platform: kind.to_string(),
            members: definition
                .guest_nodes()
                .map(|node| member(definition, node))
                .collect(),
            remedy,
            mandatory: definition.platform.anti_affinity == AntiAffinity::Hard,
            may_move: definition.platform.live_migration,
            hosts: definition.hosts.iter().map(named).collect(),
        })
    }

    /// The name of the rule that keeps the members apart.
    #[must_use]
    pub fn rule_name(&self) -> String {
        format!("picket-{}", self.cluster)
    }

    /// The place in `hosts` of the host that the definition calls `name`: the one of that id, name or address, else the only
    /// one whose name begins with it, up to a dot.
    #[must_use]
    pub fn find(&self, name: &str, hosts: &[Host]) -> Option<usize> {
        let named = self.hosts.iter().find(|host| host.name == name);
        let address = named.and_then(|host| host.address.as_deref());
        let exact = |host: &Host| host.is(name) || address.is_some_and(|address| host.is(address));
        if let Some(at) = hosts.iter().position(exact) {
            return Some(at);
        }
        let mut alike = hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| same_machine(&host.name, name));
        match (alike.next(), alike.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    }
}

/// Whether one of two host names is the other with a domain.
fn same_machine(one: &str, other: &str) -> bool {
    let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let head = |name: &str| {
        name.split('.')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let short = !one.contains('.') || !other.contains('.');
    short && !is_address(one) && !is_address(other) && head(one) == head(other)
}

fn member(definition: &Definition, node: &Node) -> Member {
    let plug = definition
        .levels_of(node)
        .into_iter()
        .flatten()
        .find(|device| device.asks_platform())
        .map_or_else(|| node.plug(), |device| definition.plug_of(device, node));
    Member {
        node: node.name.to_string(),
        guest: node
            .uuid
            .map_or_else(|| GuestRef::parse(plug), GuestRef::Uuid),
        host: node.host.as_ref().map(ToString::to_string),
        pinned: node.pinned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Wish {
        Wish::of(&Definition::parse("cluster.toml", text).unwrap()).unwrap()
    }

    fn hosts(names: &[&str]) -> Vec<Host> {
        let host = |name: &&str| Host {
            id: format!("id-{name}"),
            name: (*name).to_owned(),
            usable: true,
        };
        names.iter().map(host).collect()
    }

    #[test]
    fn hosts_are_found_by_name_address_and_short_name() {
        let wish = wish(include_str!("../../../examples/vmware.toml"));
        let find = |name: &str, all: &[&str]| wish.find(name, &hosts(all));
        assert_eq!(find("esx2", &["esx1", "ESX2"]), Some(1));
        assert_eq!(find("esx2", &["192.0.2.1", "192.0.2.2"]), Some(1));
        assert_eq!(find("esx1", &["esx1.example.org"]), Some(0));
        assert_eq!(find("esx1", &["esx1.a.org", "esx1.b.org"]), None);
        assert_eq!(find("esx1", &["esx10", "192.0.2.9"]), None);
        assert_eq!(find("192", &["192.0.2.9"]), None);
    }

    #[test]
    fn examples_say_what_they_want() {
        let rhev = wish(include_str!("../../../examples/rhev-3.toml"));
        assert_eq!(rhev.remedy, Remedy::RuleOrPins);
        assert!(rhev.members.iter().all(|member| member.pinned));
        let kvm = wish(include_str!("../../../examples/kvm.toml"));
        assert_eq!((kvm.remedy, kvm.may_move), (Remedy::Moves, false));
        assert_eq!(kvm.members[0].guest, GuestRef::Name("shop-n1".to_owned()));
        let vmware = wish(include_str!("../../../examples/vmware.toml"));
        assert!(vmware.mandatory);
        assert_eq!(vmware.rule_name(), "picket-erp");
        let text = include_str!("../../../examples/azure.toml");
        let azure = Definition::parse("azure.toml", text).unwrap();
        assert_eq!(Wish::of(&azure), Err(NotOffered(PlatformKind::Azure)));
    }
}
