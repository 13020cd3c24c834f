//! Where the guests of a failover cluster run and where they may.
//!
//! | here | there |
//! |---|---|
//! | keep apart | the same text in `AntiAffinityClassNames` of the groups; mandatory for all such names or for none: `ClusterEnforcedAntiAffinity` |
//! | pin | possible owners of the guest's resource |
//! | migrate | live, by `CLUSCTL_RESOURCE_VM_START_MIGRATION` at the owner |
//!
//! Hosts that are no cluster know no such rules, and move nothing by themselves.

use deadline::Deadline;
use wsman::wql::Query;
use wsman::{Argument, Filter, Instance, Resource};

use super::HyperV;
use super::cluster::{GROUP, NAMESPACE, NODE, Node, RESOURCE, Role, Which};
use super::fleet::Sight;
use super::host::Host as Machine;
use super::trouble::Trouble;
use crate::placement::{Apart, Changed, Host, Placement, Whereabouts};
use crate::{Error, Guest, GuestRef, Hypervisor as _, Power};

const CLASS_NAMES: &str = "AntiAffinityClassNames";
/// `MSCluster_ResourceGroup.GroupType` of a virtual machine.
const VIRTUAL_MACHINE: u32 = 111;
/// `CLUSCTL_RESOURCE_VM_START_MIGRATION`, 0x01600004. Its input is the node's name in UTF-16, with a zero at its end.
const START_MIGRATION: &str = "23068676";
/// Between two looks at a guest that moves.
const POLL: std::time::Duration = std::time::Duration::from_secs(1);

impl HyperV {
    fn refused<T>(&self, guest: &str, detail: &str) -> Result<T, Error> {
        let (by, guest, detail) = (self.name().to_owned(), guest.to_owned(), detail.to_owned());
        Err(Error::Refused { by, guest, detail })
    }

    /// The guest and its role; refused where there is no cluster.
    fn clustered(&self, guest: &GuestRef, deadline: Deadline) -> Result<(Sight, Role), Error> {
        if !self.fleet.is_cluster() {
            return self.refused(
                &guest.to_string(),
                "Hyper-V hosts that are no failover cluster have no rules for where guests run",
            );
        }
        let sight = self.sight(guest, deadline)?;
        match sight.role.clone() {
            Some(role) => Ok((sight, role)),
            None => self.refused(&guest.to_string(), "it is no clustered role"),
        }
    }

    /// The groups of clustered guests.
    fn groups(&self, deadline: Deadline) -> Result<Vec<Instance>, Error> {
        self.fleet.any(deadline, |host, deadline| {
            let query = Query::all(GROUP).and_equals("GroupType", VIRTUAL_MACHINE);
            host.query(NAMESPACE, &query, deadline)
        })
    }

    /// Whether names that keep apart are obeyed even if a guest cannot run then.
    fn is_enforced(&self, deadline: Deadline) -> Result<bool, Error> {
        self.fleet.any(deadline, |host, deadline| {
            let clusters = host.query(NAMESPACE, &Query::all("MSCluster_Cluster"), deadline)?;
            let cluster = clusters
                .first()
                .ok_or_else(|| Trouble::Malformed("it has no cluster".to_owned()))?;
            Ok(cluster
                .number("ClusterEnforcedAntiAffinity")?
                .unwrap_or_default()
                != 0)
        })
    }

    /// The nodes on which a resource may be.
    fn possible_owners(&self, role: &Role, deadline: Deadline) -> Result<Vec<String>, Error> {
        let object = Resource::wmi(NAMESPACE, RESOURCE).with("Name", &role.resource);
        let nodes = self.fleet.any(deadline, move |host, deadline| {
            let filter = Filter::Associated {
                object: &object,
                association: "MSCluster_ResourceToPossibleOwner",
                result: NODE,
            };
            let instances =
                host.instances(&Resource::wmi(NAMESPACE, "*"), Some(&filter), deadline)?;
            Ok(instances
                .iter()
                .map(Node::read)
                .collect::<Result<Vec<_>, _>>()?)
        })?;
        Ok(nodes.into_iter().map(|node| node.name).collect())
    }

    /// Calls a method of the guest's resource that gives nothing back.
    fn on_resource(
        &self,
        host: &Machine,
        role: &Role,
        method: &str,
        arguments: &[(&str, Argument<'_>)],
        deadline: Deadline,
    ) -> Result<(), Error> {
        let resource = Resource::wmi(NAMESPACE, RESOURCE).with("Name", &role.resource);
        let called = host.invoke(&resource, method, arguments, deadline);
        let output = called.map_err(|trouble| host.error(trouble))?;
        match output.number("ReturnValue") {
            Ok(None | Some(0)) => Ok(()),
            Ok(Some(value)) => self.refused(&role.group, &format!("{method} returned {value}")),
            Err(error) => Err(host.error(error.into())),
        }
    }

    /// Gives a group this name, or takes it away, and reads back that it is so.
    fn set_class_name(
        &self,
        host: &Machine,
        group: &Instance,
        name: &str,
        on: bool,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let run = || -> Result<bool, Trouble> {
            let resource = Resource::wmi(NAMESPACE, GROUP).with("Name", group.required("Name")?);
            let now = host.get(&resource, deadline)?;
            let now = now.ok_or_else(|| Trouble::Refused("the role is gone".to_owned()))?;
            let mut names = now.texts(CLASS_NAMES);
            names.retain(|known| !known.eq_ignore_ascii_case(name));
            if on {
                names.push(name.to_owned());
            }
            host.put(&resource, &now.with_texts(CLASS_NAMES, &names), deadline)?;
            let after = host.get(&resource, deadline)?;
            Ok(after.is_some_and(|after| has_name(&after, name) == on))
        };
        match run() {
            Ok(true) => Ok(()),
            Ok(false) => self.refused(
                group.text("Name").unwrap_or_default(),
                &format!("{CLASS_NAMES} was set, and read back as it was before"),
            ),
            Err(trouble) => Err(host.error(trouble)),
        }
    }

    /// Any node that answers.
    fn some_node(&self, deadline: Deadline) -> Result<std::sync::Arc<Machine>, Error> {
        let nodes = self.fleet.nodes(deadline)?;
        for node in nodes.iter().filter(|node| node.is_member()) {
            let host = self.fleet.node(&node.name);
            if host.own_name(deadline).is_ok() {
                return Ok(host);
            }
        }
        Err(Error::Unreachable {
            by: self.name().to_owned(),
            detail: "no node answers".to_owned(),
        })
    }
}

fn has_name(group: &Instance, name: &str) -> bool {
    group
        .texts(CLASS_NAMES)
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn host(node: &Node) -> Host {
    Host {
        id: node.name.clone(),
        name: node.name.clone(),
        usable: node.is_usable(),
    }
}

impl Placement for HyperV {
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        if self.fleet.is_cluster() {
            return Ok(self.fleet.nodes(deadline)?.iter().map(host).collect());
        }
        let asked = super::all_of(self.fleet.given(), |host| host.own_name(deadline));
        let hosts = asked.into_iter().zip(&self.fleet.settings().hosts);
        let hosts = hosts.map(|((_, name), address)| Host {
            id: address.host.clone(),
            usable: name.is_ok(),
            name: name.unwrap_or_else(|_| address.host.clone()),
        });
        Ok(hosts.collect())
    }

    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error> {
        let sight = self.sight(guest, deadline)?;
        let (hosts, name) = match &sight.role {
            Some(role) => (self.hosts(deadline)?, role.owner.clone()),
            None => {
                let name = sight
                    .host
                    .own_name(deadline)
                    .map_err(|trouble| sight.host.error(trouble))?;
                (
                    vec![Host {
                        id: name.clone(),
                        name: name.clone(),
                        usable: true,
                    }],
                    name,
                )
            }
        };
        let pinned_to = match &sight.role {
            Some(role) => {
                let possible = self.possible_owners(role, deadline)?;
                let named = |host: &&Host| {
                    possible
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(&host.name))
                };
                let pinned: Vec<Host> = hosts.iter().filter(named).cloned().collect();
                if pinned.len() == hosts.len() {
                    Vec::new()
                } else {
                    pinned
                }
            }
            None => Vec::new(),
        };
        let host = hosts
            .into_iter()
            .find(|host| host.name.eq_ignore_ascii_case(&name));
        Ok(Whereabouts {
            guest: sight.machine.guest.clone(),
            host: host.filter(|_| sight.seen.active),
            pinned_to,
            moves_by_itself: sight.role.is_some(),
        })
    }

    /// The guests of a rule are named after their roles.
    fn rules(&self, guests: &[GuestRef], deadline: Deadline) -> Result<Vec<Apart>, Error> {
        let mut own = Vec::new();
        for guest in guests {
            own.push(self.clustered(guest, deadline)?.1.group);
        }
        let (groups, roles) = (
            self.groups(deadline)?,
            self.fleet.roles(Which::All, deadline)?,
        );
        let mandatory = self.is_enforced(deadline)?;
        let ours = groups.iter().filter(|group| {
            group
                .text("Name")
                .is_some_and(|name| own.iter().any(|o| o == name))
        });
        let mut names: Vec<String> = ours.flat_map(|group| group.texts(CLASS_NAMES)).collect();
        names.sort_by_key(|name| name.to_lowercase());
        names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        let rule = |name: String| {
            let members = groups.iter().filter(|group| has_name(group, &name));
            let members = members.filter_map(|group| group.text("Name"));
            let guest = |group: &str| {
                let role = roles.iter().find(|role| role.group == group)?;
                Some(Guest {
                    name: group.to_owned(),
                    uuid: role.guest?,
                })
            };
            let guests: Vec<Guest> = members.filter_map(guest).collect();
            Apart {
                name,
                guests,
                mandatory,
                ineffective: None,
            }
        };
        Ok(names
            .into_iter()
            .map(rule)
            .filter(|rule| rule.guests.len() > 1)
            .collect())
    }

    fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let name = name.trim();
        if name.is_empty() {
            return self.refused("", "the rule needs a name");
        }
        let mut wanted = Vec::new();
        for guest in guests {
            wanted.push(self.clustered(guest, deadline)?.1.group);
        }
        if !self.fleet.is_cluster() || wanted.is_empty() {
            return self.refused(
                "",
                "a rule keeps guests of a failover cluster apart; none was named",
            );
        }
        if mandatory && !self.is_enforced(deadline)? {
            return self.refused(
                "",
                "this cluster keeps guests apart as well as it can, not at any price, and it is one setting for all \
                 rules: (Get-Cluster).ClusterEnforcedAntiAffinity = 1",
            );
        }
        let groups = self.groups(deadline)?;
        let (node, mut changed) = (self.some_node(deadline)?, Changed::Already);
        for group in &groups {
            let is_member = group
                .text("Name")
                .is_some_and(|known| wanted.iter().any(|group| group == known));
            if has_name(group, name) != is_member {
                self.set_class_name(&node, group, name, is_member, deadline)?;
                changed = Changed::Now;
            }
        }
        Ok(changed)
    }

    fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let (sight, role) = self.clustered(guest, deadline)?;
        let nodes = self.fleet.nodes(deadline)?;
        let is_wanted = |node: &str| {
            hosts.is_empty() || hosts.iter().any(|host| host.eq_ignore_ascii_case(node))
        };
        if let Some(unknown) = hosts.iter().find(|host| {
            !nodes
                .iter()
                .any(|node| node.name.eq_ignore_ascii_case(host))
        }) {
            return self.refused(&role.group, &format!("the cluster has no node {unknown}"));
        }
        if !is_wanted(&role.owner) && sight.seen.power() != Power::Off {
            let detail = format!(
                "it is on {}, which is not among them; move it first",
                role.owner
            );
            return self.refused(&role.group, &detail);
        }
        let (before, mut changed) = (self.possible_owners(&role, deadline)?, Changed::Already);
        let is_possible = |node: &str| before.iter().any(|owner| owner.eq_ignore_ascii_case(node));
        // First more, then fewer: at no time has it no host.
        for (method, add) in [("AddPossibleOwner", true), ("RemovePossibleOwner", false)] {
            for node in nodes
                .iter()
                .filter(|node| is_wanted(&node.name) == add && is_possible(&node.name) != add)
            {
                let argument = [("NodeName", Argument::Text(&node.name))];
                self.on_resource(&sight.host, &role, method, &argument, deadline)?;
                changed = Changed::Now;
            }
        }
        let after = self.possible_owners(&role, deadline)?;
        let is_so = nodes.iter().all(|node| {
            is_wanted(&node.name)
                == after
                    .iter()
                    .any(|owner| owner.eq_ignore_ascii_case(&node.name))
        });
        if is_so {
            return Ok(changed);
        }
        self.refused(
            &role.group,
            &format!(
                "its possible owners were set, and read back as {}",
                after.join(", ")
            ),
        )
    }

    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let (sight, role) = self.clustered(guest, deadline)?;
        let by_guid = sight.by_guid();
        let nodes = self.fleet.nodes(deadline)?;
        let Some(node) = nodes
            .iter()
            .find(|node| node.name.eq_ignore_ascii_case(host))
        else {
            return self.refused(&role.group, &format!("the cluster has no node {host}"));
        };
        if !node.is_usable() {
            return self.refused(
                &role.group,
                &format!("the node {} is {}", node.name, node.word()),
            );
        }
        if sight.seen.power() != Power::On || !sight.seen.active {
            return self.refused(
                &role.group,
                &format!("only a running guest is moved; {}", sight.seen),
            );
        }
        if !role.owner.eq_ignore_ascii_case(&node.name) {
            let name: Vec<String> = node
                .name
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .map(|b| b.to_string())
                .collect();
            let mut arguments = vec![("ControlCode", Argument::Text(START_MIGRATION))];
            arguments.extend(
                name.iter()
                    .map(|byte| ("InputBuffer", Argument::Text(byte))),
            );
            self.on_resource(
                &sight.host,
                &role,
                "ExecuteResourceControl",
                &arguments,
                deadline,
            )?;
        }
        loop {
            let seen = match self.whereabouts(&by_guid, deadline) {
                Ok(now)
                    if now
                        .host
                        .as_ref()
                        .is_some_and(|at| at.name.eq_ignore_ascii_case(&node.name)) =>
                {
                    return Ok(now);
                }
                Ok(now) => now
                    .host
                    .map_or_else(|| "nowhere".to_owned(), |host| format!("on {}", host.name)),
                Err(error) => error.to_string(),
            };
            if deadline.has_passed() || self.fleet.is_interrupted() {
                return Err(Error::NotConfirmed {
                    guest: by_guid,
                    by: self.name().to_owned(),
                    saw: format!("it was told to move to {}; seen {seen}", node.name),
                });
            }
            self.fleet.pause(POLL, deadline);
        }
    }
}
