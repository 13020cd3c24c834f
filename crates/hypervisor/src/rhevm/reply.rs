//! What the engine answers, read into types: every byte comes from outside.
//!
//! Both versions of the interface are read by the same functions. They differ in how a state is written, in whether a version's
//! parts are attributes or elements, and in how many hosts a guest can be pinned to.

use roxmltree::Node;
use uuid::Uuid;

use super::scan;
pub use super::scan::Listed;
use super::states::Status;
pub use super::xml::Unusable;
use super::xml::{child, children, own_text, printable, read, text, truth};

/// One guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Its id, which is its UUID.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its state; none when the engine said nothing about it (I09).
    pub status: Option<Status>,
    /// The host it runs on. Not told to those who see filtered results.
    pub host: Option<String>,
    /// The cluster it belongs to.
    pub cluster: Option<String>,
    /// Where it may run. Not told to those who see filtered results.
    pub placement: Option<PlacementPolicy>,
    /// Whether the engine restarts it after a failure of its host.
    pub highly_available: bool,
    /// Whether changes wait for its next start.
    pub next_run: bool,
}

/// Where a guest may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementPolicy {
    /// Who may move it.
    pub affinity: Affinity,
    /// Ids of hosts; the only ones it may run on if `affinity` is [`Affinity::Pinned`], else a preference.
    pub hosts: Vec<String>,
}

/// Who may move a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// The engine and administrators.
    Migratable,
    /// Administrators.
    UserMigratable,
    /// Nobody.
    Pinned,
    /// A word that is not known here.
    Unknown,
}

impl Affinity {
    fn read(word: &str) -> Self {
        match word {
            "migratable" => Self::Migratable,
            "user_migratable" => Self::UserMigratable,
            "pinned" => Self::Pinned,
            _ => Self::Unknown,
        }
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state, a word; empty when the engine said nothing about it.
    pub status: String,
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Root {
    /// The version of the product: major and minor.
    pub version: Option<(u32, u32)>,
    /// The id of the user who is logged in (since 4.2).
    pub user: Option<String>,
}

/// Why the engine refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In general.
    pub reason: String,
    /// In particular; a sentence in the engine's language.
    pub detail: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.reason.as_str(), self.detail.as_str()) {
            (reason, "") => f.write_str(reason),
            ("", detail) => f.write_str(detail),
            (reason, detail) => write!(f, "{reason}: {detail}"),
        }
    }
}

/// One permission: who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Its id.
    pub id: String,
    /// The id of the role it grants.
    pub role: String,
    /// The id of the user it is granted to; none when to a group.
    pub user: Option<String>,
    /// Whether it covers guests: it is granted on a guest, a pool, a cluster, a data center or everything.
    pub covers_guests: bool,
}

/// A group of guests that are to run together or apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffinityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Together (true), apart (false); none when the group has no rule for guests.
    pub positive: Option<bool>,
    /// Whether it holds even if a guest then cannot run.
    pub enforcing: bool,
    /// Whether the engine says that it is not kept at present (since 4.4.8).
    pub broken: bool,
    /// Its members: id and, if told, name. None when the engine did not list them.
    pub members: Option<Vec<(Uuid, Option<String>)>>,
}

/// The guests of a list.
///
/// # Errors
/// When it is not one, or has a guest without id or name.
pub fn vms(body: &[u8]) -> Result<Vec<Listed>, Unusable> {
    let mut all = Vec::new();
    scan::vms(body, |listed, _| all.push(listed))?;
    Ok(all)
}

/// Those guests of a list that have exactly this name.
///
/// # Errors
/// As [`vms`].
pub fn vms_named(body: &[u8], name: &str) -> Result<Vec<Vm>, Unusable> {
    let mut found = Vec::new();
    scan::vms(body, |listed, element| {
        if listed.name == name {
            found.push(vm(element.as_bytes()));
        }
    })?;
    let found: Vec<Vm> = found.into_iter().collect::<Result<_, _>>()?;
    // Both ways of reading must have seen the same guest.
    if found.iter().all(|vm| vm.name == name) {
        Ok(found)
    } else {
        Err(Unusable::Missing {
            what: "name",
            within: "vm",
        })
    }
}

/// One guest.
///
/// # Errors
/// When it is not one.
pub fn vm(body: &[u8]) -> Result<Vm, Unusable> {
    read(body, "vm", vm_of)
}

fn vm_of(node: Node<'_, '_>) -> Result<Vm, Unusable> {
    let missing = |what| Unusable::Missing { what, within: "vm" };
    let id = node.attribute("id").ok_or_else(|| missing("id"))?;
    Ok(Vm {
        id: Uuid::try_parse(id).map_err(|_| missing("id"))?,
        // Not trimmed: names are compared exactly.
        name: child(node, "name")
            .and_then(|name| name.text())
            .ok_or_else(|| missing("name"))?
            .to_owned(),
        status: word(node, "status").map(Status::read),
        host: id_of(node, "host"),
        cluster: id_of(node, "cluster"),
        placement: child(node, "placement_policy").map(placement_of),
        highly_available: child(node, "high_availability")
            .is_some_and(|node| truth(node, "enabled") == Some(true)),
        next_run: truth(node, "next_run_configuration_exists") == Some(true),
    })
}

/// A state: version 4 writes the word itself, version 3 wraps it in an element `state`.
fn word<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let status = child(node, name)?;
    match child(status, "state") {
        Some(state) => own_text(state),
        None => own_text(status),
    }
}

fn id_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name)?.attribute("id").map(str::to_owned)
}

fn placement_of(node: Node<'_, '_>) -> PlacementPolicy {
    let many = child(node, "hosts").map(|hosts| children(hosts, "host"));
    let hosts = children(node, "host").chain(many.into_iter().flatten());
    let mut ids: Vec<String> = hosts
        .filter_map(|host| Some(host.attribute("id")?.to_owned()))
        .collect();
    // 3.6 told both ways of writing it.
    ids.sort_unstable();
    ids.dedup();
    PlacementPolicy {
        affinity: text(node, "affinity").map_or(Affinity::Migratable, Affinity::read),
        hosts: ids,
    }
}

/// The hosts of a list.
///
/// # Errors
/// When it is not one.
pub fn hosts(body: &[u8]) -> Result<Vec<HostEntry>, Unusable> {
    read(body, "hosts", |root| {
        children(root, "host").map(host_of).collect()
    })
}

/// One host.
///
/// # Errors
/// When it is not one.
pub fn host(body: &[u8]) -> Result<HostEntry, Unusable> {
    read(body, "host", host_of)
}

fn host_of(node: Node<'_, '_>) -> Result<HostEntry, Unusable> {
    let missing = |what| Unusable::Missing {
        what,
        within: "host",
    };
    Ok(HostEntry {
        id: node
            .attribute("id")
            .ok_or_else(|| missing("id"))?
            .to_owned(),
        name: text(node, "name")
            .ok_or_else(|| missing("name"))?
            .to_owned(),
        status: word(node, "status").unwrap_or_default().to_owned(),
    })
}

/// The root of the interface.
///
/// # Errors
/// When it is not one.
pub fn root(body: &[u8]) -> Result<Root, Unusable> {
    read(body, "api", |root| {
        let version = child(root, "product_info").and_then(|info| child(info, "version"));
        Ok(Root {
            version: version.and_then(version_of),
            user: id_of(root, "authenticated_user"),
        })
    })
}

/// Version 4 writes elements, version 3 attributes.
fn version_of(node: Node<'_, '_>) -> Option<(u32, u32)> {
    let part = |name| node.attribute(name).or_else(|| text(node, name));
    Some((part("major")?.parse().ok()?, part("minor")?.parse().ok()?))
}

/// Why something was refused: a fault, alone or within the answer to an action.
#[must_use]
pub fn fault(body: &[u8]) -> Option<Fault> {
    let of = |node: Node<'_, '_>| {
        let part = |name| text(node, name).map(printable).unwrap_or_default();
        Ok(Fault {
            reason: part("reason"),
            detail: part("detail"),
        })
    };
    let within = |root: Node<'_, '_>| {
        child(root, "fault").map_or(
            Err(Unusable::Missing {
                what: "fault",
                within: "action",
            }),
            of,
        )
    };
    read(body, "fault", of)
        .or_else(|_| read(body, "action", within))
        .ok()
}

/// How an action was answered: `complete`, `pending`, `failed` …; none when the answer does not say. Version 3 wraps the word.
///
/// # Errors
/// When it is no answer to an action.
pub fn action(body: &[u8]) -> Result<Option<String>, Unusable> {
    read(body, "action", |root| {
        Ok(word(root, "status").map(str::to_owned))
    })
}

/// The permissions of a list.
///
/// # Errors
/// When it is not one.
pub fn permissions(body: &[u8]) -> Result<Vec<Permission>, Unusable> {
    read(body, "permissions", |root| {
        children(root, "permission").map(permission_of).collect()
    })
}

fn permission_of(node: Node<'_, '_>) -> Result<Permission, Unusable> {
    const OBJECTS: [&str; 12] = [
        "vm",
        "vm_pool",
        "vmpool",
        "cluster",
        "data_center",
        "host",
        "storage_domain",
        "template",
        "disk",
        "network",
        "vnic_profile",
        "disk_profile",
    ];
    const WITH_GUESTS: usize = 5;
    let missing = |what| Unusable::Missing {
        what,
        within: "permission",
    };
    let covers = |names: &[&str]| names.iter().any(|name| child(node, name).is_some());
    Ok(Permission {
        id: node
            .attribute("id")
            .ok_or_else(|| missing("id"))?
            .to_owned(),
        role: id_of(node, "role").ok_or_else(|| missing("role"))?,
        user: id_of(node, "user"),
        // One that names no object is granted on the whole system.
        covers_guests: covers(&OBJECTS[..WITH_GUESTS]) || !covers(&OBJECTS),
    })
}

/// The names of what a role permits.
///
/// # Errors
/// When it is no such list.
pub fn permits(body: &[u8]) -> Result<Vec<String>, Unusable> {
    read(body, "permits", |root| {
        Ok(children(root, "permit")
            .filter_map(|permit| text(permit, "name"))
            .map(str::to_owned)
            .collect())
    })
}

/// The name by which a user logs in.
///
/// # Errors
/// When it is no user.
pub fn user_name(body: &[u8]) -> Result<Option<String>, Unusable> {
    read(body, "user", |root| {
        Ok(text(root, "user_name").map(str::to_owned))
    })
}

/// The affinity groups of a list.
///
/// # Errors
/// When it is not one.
pub fn affinity_groups(body: &[u8]) -> Result<Vec<AffinityGroup>, Unusable> {
    read(body, "affinity_groups", |root| {
        children(root, "affinity_group").map(group_of).collect()
    })
}

/// One affinity group.
///
/// # Errors
/// When it is not one.
pub fn affinity_group(body: &[u8]) -> Result<AffinityGroup, Unusable> {
    read(body, "affinity_group", group_of)
}

fn group_of(node: Node<'_, '_>) -> Result<AffinityGroup, Unusable> {
    let missing = |what| Unusable::Missing {
        what,
        within: "affinity_group",
    };
    // Before 4.1 there was one rule, about guests, and it was the group itself.
    let (positive, enforcing) = match child(node, "vms_rule") {
        Some(rule) if truth(rule, "enabled") == Some(false) => (None, false),
        Some(rule) => (
            truth(rule, "positive"),
            truth(rule, "enforcing") == Some(true),
        ),
        None => (
            truth(node, "positive"),
            truth(node, "enforcing") == Some(true),
        ),
    };
    Ok(AffinityGroup {
        id: node
            .attribute("id")
            .ok_or_else(|| missing("id"))?
            .to_owned(),
        name: text(node, "name")
            .ok_or_else(|| missing("name"))?
            .to_owned(),
        positive,
        enforcing,
        broken: truth(node, "broken") == Some(true),
        members: child(node, "vms").map(members_of).transpose()?,
    })
}

/// The members of an affinity group.
///
/// # Errors
/// When it is no list of guests.
pub fn members(body: &[u8]) -> Result<Vec<(Uuid, Option<String>)>, Unusable> {
    read(body, "vms", members_of)
}

fn members_of(node: Node<'_, '_>) -> Result<Vec<(Uuid, Option<String>)>, Unusable> {
    let member = |vm: Node<'_, '_>| {
        let id = vm.attribute("id").and_then(|id| Uuid::try_parse(id).ok());
        let id = id.ok_or(Unusable::Missing {
            what: "id",
            within: "vm",
        })?;
        Ok((id, text(vm, "name").map(str::to_owned)))
    };
    children(node, "vm").map(member).collect()
}
