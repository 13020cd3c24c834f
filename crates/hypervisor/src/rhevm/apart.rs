//! Affinity groups that keep guests apart.

use std::collections::BTreeMap;

use deadline::Deadline;
use https::Method;
use uuid::Uuid;

use super::place::{Change, UNFILTERED, escape, identity};
use super::reply::{self, AffinityGroup, Vm};
use super::talk::Talk;
use super::xml;
use crate::placement::{Apart, Changed};
use crate::web::encode;
use crate::{Error, Guest, GuestRef};

/// The first version that has rules within groups.
const WITH_RULES: (u32, u32) = (4, 1);
/// The first version that has affinity groups.
const WITH_GROUPS: (u32, u32) = (3, 4);

impl Talk {
    /// The groups that keep any of these guests apart from another.
    pub(super) fn rules(
        &self,
        guests: &[GuestRef],
        deadline: Deadline,
    ) -> Result<Vec<Apart>, Error> {
        self.has_groups(deadline)?;
        let mut names: BTreeMap<Uuid, String> = BTreeMap::new();
        let mut clusters: Vec<String> = Vec::new();
        let mut wanted = Vec::new();
        for guest in guests {
            let vm = self.find(guest, UNFILTERED, deadline)?;
            let cluster = self.cluster_of(&vm)?;
            if !clusters.contains(&cluster) {
                clusters.push(cluster);
            }
            wanted.push(vm.id);
            names.insert(vm.id, vm.name);
        }
        let mut found = Vec::new();
        for cluster in &clusters {
            for group in self.groups(cluster, deadline)? {
                let members = self.members(cluster, &group, deadline)?;
                let concerned = members.iter().any(|(id, _)| wanted.contains(id));
                if concerned && group.positive != Some(true) {
                    found.push(self.apart(&group, members, &mut names, deadline)?);
                }
            }
        }
        Ok(found)
    }

    /// The engine's version, if that has affinity groups.
    fn has_groups(&self, deadline: Deadline) -> Result<(u32, u32), Error> {
        let version = self
            .root(UNFILTERED, deadline)?
            .version
            .unwrap_or(WITH_RULES);
        if version < WITH_GROUPS {
            return Err(self.about("").refused(
                "this version has no affinity groups: pin the guests to different hosts instead",
            ));
        }
        Ok(version)
    }

    fn cluster_of(&self, vm: &Vm) -> Result<String, Error> {
        vm.cluster.clone().ok_or_else(|| {
            self.about(&vm.name)
                .unreachable("the engine does not say to which cluster it belongs")
        })
    }

    fn groups(&self, cluster: &str, deadline: Deadline) -> Result<Vec<AffinityGroup>, Error> {
        let path = format!("clusters/{}/affinitygroups?follow=vms", encode(cluster));
        let body = self.get(&path, "", "listing affinity groups", UNFILTERED, deadline)?;
        reply::affinity_groups(&body).map_err(|why| self.about("").unusable(&why))
    }

    /// Versions before 4.2 list no members within groups.
    fn members(
        &self,
        cluster: &str,
        group: &AffinityGroup,
        deadline: Deadline,
    ) -> Result<Vec<(Uuid, Option<String>)>, Error> {
        if let Some(members) = &group.members {
            return Ok(members.clone());
        }
        let path = format!("{}/vms", group_path(cluster, &group.id));
        let body = self.get(
            &path,
            "",
            "listing members of an affinity group",
            UNFILTERED,
            deadline,
        )?;
        reply::members(&body).map_err(|why| self.about("").unusable(&why))
    }

    fn apart(
        &self,
        group: &AffinityGroup,
        members: Vec<(Uuid, Option<String>)>,
        names: &mut BTreeMap<Uuid, String>,
        deadline: Deadline,
    ) -> Result<Apart, Error> {
        let mut guests = Vec::new();
        for (id, name) in members {
            if let Some(name) = name {
                names.insert(id, name);
            }
            if let std::collections::btree_map::Entry::Vacant(place) = names.entry(id) {
                place.insert(self.vm(id, &GuestRef::Uuid(id), UNFILTERED, deadline)?.name);
            }
            guests.push(Guest {
                name: names.get(&id).cloned().unwrap_or_default(),
                uuid: id,
            });
        }
        guests.sort();
        let ineffective = match group.positive {
            None => Some("the group's rule for guests is disabled"),
            Some(_) if guests.len() < 2 => Some("it has fewer than two members"),
            Some(_) if group.broken => Some("the engine says that it is not kept at present"),
            Some(_) => None,
        };
        Ok(Apart {
            name: xml::printable(&group.name),
            guests,
            mandatory: group.enforcing,
            ineffective: ineffective.map(str::to_owned),
        })
    }

    /// Makes the group `name` keep exactly these guests apart.
    pub(super) fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let about = self.about("");
        let mut vms = Vec::new();
        for guest in guests {
            vms.push(self.find(guest, UNFILTERED, deadline)?);
        }
        let [first, rest @ ..] = vms.as_slice() else {
            return Err(about.refused("nobody is to be kept apart"));
        };
        let cluster = self.cluster_of(first)?;
        if let Some(other) = rest
            .iter()
            .find(|vm| vm.cluster.as_deref() != Some(cluster.as_str()))
        {
            return Err(about.refused(format!(
                "`{}` and `{}` belong to different clusters of the engine; an affinity group has guests of one",
                first.name, other.name
            )));
        }
        let version = self.has_groups(deadline)?;
        let goal = Goal {
            name,
            vms: &vms,
            mandatory,
            cluster: &cluster,
            rules: version >= WITH_RULES,
        };
        let changed = self.reach(&goal, deadline)?;
        if changed == Changed::Now && !self.holds(&goal, deadline)? {
            return Err(about.refused(format!("the affinity group `{name}` is not as ordered: somebody changes it at the same time")));
        }
        Ok(changed)
    }

    fn reach(&self, goal: &Goal<'_>, deadline: Deadline) -> Result<Changed, Error> {
        let nobody = GuestRef::Name(goal.name.to_owned());
        let there = self
            .groups(goal.cluster, deadline)?
            .into_iter()
            .find(|group| group.name == goal.name);
        let mut changed = Changed::Already;
        let body = goal.body();
        let (group, members) = match there {
            None => {
                changed = Changed::Now;
                let path = format!("clusters/{}/affinitygroups", encode(goal.cluster));
                let change = Change {
                    method: Method::Post,
                    path: &path,
                    body: &body,
                    doing: "creating an affinity group",
                };
                let body = self.change(change, &nobody, deadline)?;
                (
                    reply::affinity_group(&body).map_err(|why| self.about("").unusable(&why))?,
                    Vec::new(),
                )
            }
            Some(group) if group.positive == Some(true) => {
                return Err(self.about("").refused(format!(
                    "there is an affinity group `{}` that keeps guests together: take another name",
                    goal.name
                )));
            }
            Some(group) => {
                let members = self.members(goal.cluster, &group, deadline)?;
                if group.positive.is_none() || group.enforcing != goal.mandatory {
                    changed = Changed::Now;
                    let path = group_path(goal.cluster, &group.id);
                    let change = Change {
                        method: Method::Put,
                        path: &path,
                        body: &body,
                        doing: "changing an affinity group",
                    };
                    self.change(change, &nobody, deadline)?;
                }
                (group, members.into_iter().map(|(id, _)| id).collect())
            }
        };
        let path = format!("{}/vms", group_path(goal.cluster, &group.id));
        // First those that are missing: while the others go, the group protects too many rather than too few.
        for vm in goal.vms.iter().filter(|vm| !members.contains(&vm.id)) {
            changed = Changed::Now;
            let body = format!("<vm id=\"{}\"/>", vm.id);
            let change = Change {
                method: Method::Post,
                path: &path,
                body: &body,
                doing: "adding a guest to an affinity group",
            };
            self.change(change, &GuestRef::Name(vm.name.clone()), deadline)?;
        }
        for id in members
            .iter()
            .filter(|id| goal.vms.iter().all(|vm| vm.id != **id))
        {
            changed = Changed::Now;
            let path = format!("{path}/{id}");
            let change = Change {
                method: Method::Delete,
                path: &path,
                body: "",
                doing: "removing a guest from an affinity group",
            };
            self.change(change, &GuestRef::Uuid(*id), deadline)?;
        }
        Ok(changed)
    }

    /// Reads back.
    fn holds(&self, goal: &Goal<'_>, deadline: Deadline) -> Result<bool, Error> {
        let Some(group) = self
            .groups(goal.cluster, deadline)?
            .into_iter()
            .find(|group| group.name == goal.name)
        else {
            return Ok(false);
        };
        let mut members: Vec<Uuid> = self
            .members(goal.cluster, &group, deadline)?
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let mut wanted: Vec<Uuid> = goal.vms.iter().map(|vm| identity(vm).uuid).collect();
        members.sort_unstable();
        wanted.sort_unstable();
        wanted.dedup();
        Ok(members == wanted && group.positive == Some(false) && group.enforcing == goal.mandatory)
    }
}

/// A group as it is to be.
struct Goal<'a> {
    name: &'a str,
    vms: &'a [Vm],
    mandatory: bool,
    cluster: &'a str,
    /// Whether groups have rules, or are one.
    rules: bool,
}

impl Goal<'_> {
    fn body(&self) -> String {
        let name = escape(self.name);
        let enforcing = self.mandatory;
        if self.rules {
            format!(
                "<affinity_group><name>{name}</name><vms_rule><enabled>true</enabled><positive>false</positive>\
                 <enforcing>{enforcing}</enforcing></vms_rule></affinity_group>"
            )
        } else {
            format!(
                "<affinity_group><name>{name}</name><positive>false</positive><enforcing>{enforcing}</enforcing>\
                 </affinity_group>"
            )
        }
    }
}

fn group_path(cluster: &str, group: &str) -> String {
    format!(
        "clusters/{}/affinitygroups/{}",
        encode(cluster),
        encode(group)
    )
}
