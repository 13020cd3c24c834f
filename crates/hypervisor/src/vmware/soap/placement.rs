//! Where guests run, and where they may: hosts, DRS rules, migration.
//!
//! Rules belong to a cluster of hosts, so guests that are to be kept apart must be in the same one. A host without vCenter,
//! and one that is in no cluster, has no rules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deadline::Deadline;

use super::Soap;
use super::cluster::{self, Change, Cluster, Edit, Group, Rule, RuleKind};
use super::collect::Query;
use super::envelope::Request;
use super::fault::Meaning;
use super::link::{Session, Trouble};
use super::look::Seen;
use super::reply::{Content, Malformed, Moref};
use super::tasks::{End, read_order};
use crate::placement::{Apart, Changed, Host, Whereabouts};
use crate::{Error, Guest, GuestRef};

/// What is read of a host.
const PATHS: &[&str] = &[
    "name",
    "parent",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
];

/// A host, and what it is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostSeen {
    pub(super) moref: Moref,
    pub(super) host: Host,
    /// Its `ComputeResource`; a `ClusterComputeResource` when it is in a cluster.
    parent: Option<Moref>,
}

/// Reads a host.
pub(super) fn read_host(content: Content<'_, '_>) -> Result<HostSeen, Malformed> {
    let moref = content.object()?;
    let connected = content.text("runtime.connectionState").as_deref() == Some("connected");
    let maintained = content.flag("runtime.inMaintenanceMode") != Some(false);
    Ok(HostSeen {
        host: Host {
            id: moref.id.clone(),
            name: content.text("name").unwrap_or_default(),
            usable: connected && !maintained,
        },
        parent: content.reference("parent")?,
        moref,
    })
}

impl Soap {
    /// Every host.
    pub(in crate::vmware) fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        let mut hosts: Vec<Host> = self
            .hosts_seen(deadline)?
            .into_iter()
            .map(|seen| seen.host)
            .collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts)
    }

    /// Where a guest is.
    pub(in crate::vmware) fn whereabouts(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let seen = self.look(guest, deadline)?;
        let host = self.host_of(&seen, guest, deadline)?;
        let cluster = self.cluster_of(&host, guest, deadline)?;
        let pinned = cluster
            .as_ref()
            .and_then(|cluster| cluster.pinned(&seen.moref))
            .unwrap_or_default();
        let observation = seen.observation(self.by());
        let pinned_to = self.hosts_by_id(&pinned, guest, deadline)?;
        Ok(Whereabouts {
            guest: seen.guest(),
            host: observation.active.then_some(host.host),
            pinned_to,
            moves_by_itself: cluster
                .is_some_and(|cluster| cluster.ha || cluster.moves(&seen.moref)),
        })
    }

    /// The rules that keep any of these guests apart from others.
    pub(in crate::vmware) fn rules(
        &self,
        guests: &[GuestRef],
        deadline: Deadline,
    ) -> Result<Vec<Apart>, Error> {
        let mut rules = Vec::new();
        let mut done = BTreeSet::new();
        let mut ours = Vec::new();
        for guest in guests {
            let seen = self.look(guest, deadline)?;
            let host = self.host_of(&seen, guest, deadline)?;
            ours.push((seen.moref, self.cluster_of(&host, guest, deadline)?));
        }
        if !ours.is_empty() && ours.iter().all(|(_, cluster)| cluster.is_none()) {
            let detail = "none of the guests is in a cluster of hosts (DRS), and only clusters have such rules";
            return Err(self.link.refused(guests.first(), detail));
        }
        let morefs: Vec<Moref> = ours.iter().map(|(moref, _)| moref.clone()).collect();
        for cluster in ours.into_iter().filter_map(|(_, cluster)| cluster) {
            if !done.insert(cluster.moref.clone()) {
                continue;
            }
            for rule in &cluster.rules {
                let RuleKind::Apart(kept) = &rule.kind else {
                    continue;
                };
                if kept.iter().any(|moref| morefs.contains(moref)) {
                    rules.push(Apart {
                        name: rule.name.clone(),
                        guests: self.guests_by_id(kept, deadline)?,
                        mandatory: rule.mandatory,
                        ineffective: ineffective(&cluster, rule),
                    });
                }
            }
        }
        Ok(rules)
    }

    /// Makes a rule of this name keep exactly these guests apart.
    pub(in crate::vmware) fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let mut morefs = Vec::new();
        let mut common: Option<Cluster> = None;
        for guest in guests {
            let seen = self.look(guest, deadline)?;
            let host = self.host_of(&seen, guest, deadline)?;
            let cluster = self.need_cluster(&host, guest, deadline)?;
            match &common {
                Some(first) if first.moref != cluster.moref => {
                    let detail = format!(
                        "it is in the cluster `{}` and others are in `{}`: a rule holds within one cluster",
                        cluster.name, first.name
                    );
                    return Err(self.link.refused(Some(guest), detail));
                }
                _ => common = Some(cluster),
            }
            morefs.push(seen.moref);
        }
        let told = guests.first();
        let cluster = common.ok_or_else(|| {
            self.link
                .refused(None, "no guests to keep apart were named")
        })?;
        morefs.sort();
        morefs.dedup();
        let wanted = Rule {
            key: String::new(),
            name: name.to_owned(),
            enabled: true,
            mandatory,
            kind: RuleKind::Apart(morefs),
        };
        let edit = match cluster.rule(name) {
            None => Edit::Rule(Change::Add, wanted.clone()),
            Some(there) if same(there, &wanted) => return Ok(Changed::Already),
            Some(Rule {
                kind: RuleKind::Apart(_),
                key,
                ..
            }) => Edit::Rule(
                Change::Edit,
                Rule {
                    key: key.clone(),
                    ..wanted.clone()
                },
            ),
            Some(_) => {
                let detail = format!(
                    "the cluster `{}` has a rule `{name}` of another kind: give another name",
                    cluster.name
                );
                return Err(self.link.refused(told, detail));
            }
        };
        self.reconfigure(&cluster, &[edit], told, deadline)?;
        let after = self.cluster(&cluster.moref, told, deadline)?;
        match after.and_then(|after| after.rule(name).map(|rule| same(rule, &wanted))) {
            Some(true) => Ok(Changed::Now),
            _ => Err(self.unseen(
                told,
                format!("the rule `{name}` does not read back as it was written"),
            )),
        }
    }

    /// Lets a guest run on these hosts only.
    pub(in crate::vmware) fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let seen = self.look(guest, deadline)?;
        let host = self.host_of(&seen, guest, deadline)?;
        let cluster = self.need_cluster(&host, guest, deadline)?;
        if !cluster.drs && !hosts.is_empty() {
            let detail = format!(
                "DRS is off in the cluster `{}`, and without it nothing holds guests on hosts",
                cluster.name
            );
            return Err(self.link.refused(Some(guest), detail));
        }
        let all = self.hosts_seen(deadline)?;
        let mut wanted = Vec::new();
        for name in hosts {
            wanted.push(
                self.host_named(name, &all, Some(&cluster), guest)?
                    .moref
                    .clone(),
            );
        }
        wanted.sort();
        wanted.dedup();
        let edits = pin_edits(&cluster, &seen, &wanted);
        let pinned = |cluster: &Cluster| {
            let mut pinned = cluster.pinned(&seen.moref).unwrap_or_default();
            pinned.sort();
            pinned
        };
        let elsewhere = seen.observation(self.by()).active
            && !wanted.is_empty()
            && !wanted.contains(&host.moref);
        let changed = if elsewhere {
            Changed::AtNextStart
        } else {
            Changed::Now
        };
        if edits.is_empty() && pinned(&cluster) == wanted {
            return Ok(if elsewhere {
                Changed::AtNextStart
            } else {
                Changed::Already
            });
        }
        for edits in in_order(edits) {
            self.reconfigure(&cluster, &edits, Some(guest), deadline)?;
        }
        match self.cluster(&cluster.moref, Some(guest), deadline)? {
            Some(after) if pinned(&after) == wanted => Ok(changed),
            _ => Err(self.unseen(
                Some(guest),
                "another rule of the cluster decides where it may run".to_owned(),
            )),
        }
    }

    /// Moves a running guest.
    pub(in crate::vmware) fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        const LOOK: Duration = Duration::from_millis(250);
        let begun = Instant::now();
        let seen = self.look(guest, deadline)?;
        if !seen.observation(self.by()).active {
            return Err(Error::not_confirmed(guest, &seen.observation(self.by())));
        }
        let from = self.host_of(&seen, guest, deadline)?;
        let all = self.hosts_seen(deadline)?;
        let to = self.host_named(host, &all, None, guest)?;
        if to.moref == from.moref {
            return self.whereabouts(guest, deadline);
        }
        let pool = if to.parent == from.parent {
            None
        } else {
            self.pool_of(to, guest, deadline)?
        };
        if deadline.has_passed() {
            return Err(self.link.late(format!("moving {guest}"), begun, false));
        }
        let task = self.order_migration(&seen.moref, &to.moref, pool.as_ref(), deadline);
        let task = task.map_err(|trouble| self.unmoved(trouble, guest))?;
        match self.follow(&task, deadline, || None::<()>) {
            End::Success | End::Forgotten | End::Stopped(()) => {}
            End::Failed(fault) => return Err(self.link.refused(Some(guest), fault.words())),
            End::Late => return Err(self.link.late(format!("moving {guest}"), begun, true)),
            End::Broken(trouble) => return Err(self.unmoved(trouble, guest)),
        }
        loop {
            let whereabouts = self.whereabouts(guest, deadline)?;
            if whereabouts
                .host
                .as_ref()
                .is_some_and(|now| now.id == to.host.id)
            {
                return Ok(whereabouts);
            }
            if deadline.has_passed() {
                let now = whereabouts
                    .host
                    .map_or_else(|| "nowhere".to_owned(), |host| host.name);
                return Err(self.unseen(
                    Some(guest),
                    format!("it runs on {now} and not on {}", to.host.name),
                ));
            }
            self.link.pause(LOOK, deadline);
        }
    }

    fn order_migration(
        &self,
        guest: &Moref,
        to: &Moref,
        pool: Option<&Moref>,
        deadline: Deadline,
    ) -> Result<Moref, Trouble> {
        let migrate = |_: &Session| {
            Request::new("MigrateVM_Task", guest, |parts| {
                if let Some(pool) = pool {
                    parts.reference("pool", pool);
                }
                parts.reference("host", to);
                parts.text("priority", "highPriority");
                parts.text("state", "poweredOn");
            })
        };
        match self.link.order(deadline, migrate, read_order) {
            Err(Trouble::Fault(fault)) if fault.meaning == Meaning::NoMethod => {
                let relocate = |_: &Session| {
                    Request::new("RelocateVM_Task", guest, |parts| {
                        parts.nest("spec", |parts| {
                            if let Some(pool) = pool {
                                parts.reference("pool", pool);
                            }
                            parts.reference("host", to);
                        });
                        parts.text("priority", "highPriority");
                    })
                };
                self.link.order(deadline, relocate, read_order)
            }
            other => other,
        }
    }

    /// A migration whose order may have arrived may still happen.
    fn unmoved(&self, trouble: Trouble, guest: &GuestRef) -> Error {
        match trouble {
            Trouble::Lost(error) => {
                self.unseen(Some(guest), format!("the order was given, then: {error}"))
            }
            other => self.link.error(other, Some(guest)),
        }
    }

    /// The pool that a host's own guests are in.
    fn pool_of(
        &self,
        host: &HostSeen,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Moref>, Error> {
        let Some(parent) = host.parent.clone() else {
            return Ok(None);
        };
        let query = Query::of(vec![parent], "ComputeResource", &["resourcePool"]);
        let pools = self.link.collect(&query, deadline, |content| {
            content.reference("resourcePool")
        });
        let pools = pools.map_err(|trouble| self.link.error(trouble, Some(guest)))?;
        Ok(pools.into_iter().next())
    }

    fn hosts_seen(&self, deadline: Deadline) -> Result<Vec<HostSeen>, Error> {
        let start = self.start(deadline)?;
        let query = Query::below(&start, "HostSystem", PATHS);
        let hosts = self
            .link
            .collect(&query, deadline, |content| read_host(content).map(Some));
        hosts.map_err(|trouble| self.link.error(trouble, None))
    }

    fn host_named<'a>(
        &self,
        wanted: &str,
        all: &'a [HostSeen],
        cluster: Option<&Cluster>,
        guest: &GuestRef,
    ) -> Result<&'a HostSeen, Error> {
        let mut fitting = all
            .iter()
            .filter(|seen| seen.host.id == wanted || seen.host.name == wanted);
        let (Some(found), None) = (fitting.next(), fitting.next()) else {
            let names: Vec<&str> = all
                .iter()
                .take(20)
                .map(|seen| seen.host.name.as_str())
                .collect();
            let detail = format!(
                "there is no single host `{wanted}`; there are: {}",
                names.join(", ")
            );
            return Err(self.link.refused(Some(guest), detail));
        };
        match cluster {
            Some(cluster) if !cluster.hosts.contains(&found.moref) => {
                let detail = format!(
                    "the host `{wanted}` is not in the guest's cluster `{}`",
                    cluster.name
                );
                Err(self.link.refused(Some(guest), detail))
            }
            _ => Ok(found),
        }
    }

    /// The host a guest is on, or is registered with while it is off.
    fn host_of(
        &self,
        seen: &Seen,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<HostSeen, Error> {
        let unseen = "its host cannot be read: the login needs the privilege System.Read on hosts";
        let moref = seen
            .host
            .clone()
            .ok_or_else(|| self.link.refused(Some(guest), unseen))?;
        let query = Query::of(vec![moref], "HostSystem", PATHS);
        let hosts = self
            .link
            .collect(&query, deadline, |content| read_host(content).map(Some));
        let hosts = hosts.map_err(|trouble| self.link.error(trouble, Some(guest)))?;
        hosts
            .into_iter()
            .next()
            .ok_or_else(|| self.link.refused(Some(guest), unseen))
    }

    fn hosts_by_id(
        &self,
        hosts: &[Moref],
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Host>, Error> {
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::of(hosts.to_vec(), "HostSystem", PATHS);
        let read = |content: Content<'_, '_>| Ok(Some(read_host(content)?.host));
        self.link
            .collect(&query, deadline, read)
            .map_err(|trouble| self.link.error(trouble, Some(guest)))
    }

    fn guests_by_id(&self, guests: &[Moref], deadline: Deadline) -> Result<Vec<Guest>, Error> {
        if guests.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::of(guests.to_vec(), "VirtualMachine", &["name", "config.uuid"]);
        let read = |content: Content<'_, '_>| Ok(Some(Seen::read(content)?.guest()));
        self.link
            .collect(&query, deadline, read)
            .map_err(|trouble| self.link.error(trouble, None))
    }

    fn need_cluster(
        &self,
        host: &HostSeen,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Cluster, Error> {
        let cluster = self.cluster_of(host, guest, deadline)?;
        cluster.ok_or_else(|| {
            let detail = format!(
                "its host {} is in no cluster (DRS), and only clusters have rules",
                host.host.name
            );
            self.link.refused(Some(guest), detail)
        })
    }

    /// The cluster a host is in.
    fn cluster_of(
        &self,
        host: &HostSeen,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Cluster>, Error> {
        match &host.parent {
            Some(parent) if parent.kind == "ClusterComputeResource" => {
                self.cluster(parent, Some(guest), deadline)
            }
            _ => Ok(None),
        }
    }

    fn cluster(
        &self,
        moref: &Moref,
        guest: Option<&GuestRef>,
        deadline: Deadline,
    ) -> Result<Option<Cluster>, Error> {
        let query = Query::of(
            vec![moref.clone()],
            "ClusterComputeResource",
            Cluster::PATHS,
        );
        let clusters = self
            .link
            .collect(&query, deadline, |content| Cluster::read(content).map(Some));
        let clusters = clusters.map_err(|trouble| self.link.error(trouble, guest))?;
        Ok(clusters.into_iter().next())
    }

    fn reconfigure(
        &self,
        cluster: &Cluster,
        edits: &[Edit],
        guest: Option<&GuestRef>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let build = |_: &Session| {
            Request::new("ReconfigureComputeResource_Task", &cluster.moref, |parts| {
                cluster::write(parts, edits);
            })
        };
        let task = self
            .link
            .order(deadline, build, read_order)
            .map_err(|trouble| self.link.error(trouble, guest))?;
        match self.follow(&task, deadline, || None::<()>) {
            // What was stored is read back in any case.
            End::Success | End::Forgotten | End::Stopped(()) => Ok(()),
            End::Failed(fault) => Err(self.link.refused(guest, fault.words())),
            End::Late => Err(self.link.late(
                format!("reconfiguring the cluster {}", cluster.name),
                begun,
                true,
            )),
            End::Broken(trouble) => Err(self.link.error(trouble, guest)),
        }
    }

    fn unseen(&self, guest: Option<&GuestRef>, saw: String) -> Error {
        Error::NotConfirmed {
            guest: guest
                .cloned()
                .unwrap_or_else(|| GuestRef::Name(String::new())),
            by: self.by().to_owned(),
            saw,
        }
    }
}

/// Whether two rules keep the same guests apart in the same way.
fn same(there: &Rule, wanted: &Rule) -> bool {
    let guests = |rule: &Rule| match &rule.kind {
        RuleKind::Apart(guests) => Some(guests.iter().cloned().collect::<BTreeSet<_>>()),
        RuleKind::On { .. } | RuleKind::Other => None,
    };
    there.enabled == wanted.enabled
        && there.mandatory == wanted.mandatory
        && guests(there) == guests(wanted)
}

/// Why a rule does nothing.
fn ineffective(cluster: &Cluster, rule: &Rule) -> Option<String> {
    if !rule.enabled {
        Some("the rule is disabled".to_owned())
    } else if !cluster.drs {
        Some(format!("DRS is off in the cluster `{}`", cluster.name))
    } else {
        None
    }
}

/// What has to change so that a rule of ours holds this guest on these hosts; for no hosts, so that there is none.
fn pin_edits(cluster: &Cluster, seen: &Seen, hosts: &[Moref]) -> Vec<Edit> {
    let name = format!("picket pin {}", seen.name);
    let group = |of: &str, of_hosts: bool, members: &[Moref]| Group {
        name: format!("picket {of} {}", seen.name),
        of_hosts,
        members: members.to_vec(),
    };
    let groups = [
        group("guest", false, std::slice::from_ref(&seen.moref)),
        group("hosts", true, hosts),
    ];
    let rule = Rule {
        key: cluster
            .rule(&name)
            .map(|rule| rule.key.clone())
            .unwrap_or_default(),
        name: name.clone(),
        enabled: true,
        mandatory: true,
        kind: RuleKind::On {
            guests: groups[0].name.clone(),
            hosts: groups[1].name.clone(),
        },
    };
    let mut edits = Vec::new();
    let there = cluster.rule(&name);
    if hosts.is_empty() {
        edits.extend(there.is_some().then_some(Edit::Rule(Change::Remove, rule)));
        let left = groups
            .into_iter()
            .filter(|group| cluster.group(&group.name).is_some());
        edits.extend(left.map(|group| Edit::Group(Change::Remove, group)));
        return edits;
    }
    match there {
        None => edits.push(Edit::Rule(Change::Add, rule)),
        Some(there) if *there != rule => edits.push(Edit::Rule(Change::Edit, rule)),
        Some(_) => {}
    }
    for group in groups {
        match cluster.group(&group.name) {
            None => edits.push(Edit::Group(Change::Add, group)),
            Some(there) if members(there) != members(&group) => {
                edits.push(Edit::Group(Change::Edit, group));
            }
            Some(_) => {}
        }
    }
    edits
}

/// Groups first, then the rule that names them; the other way round when they are removed.
fn in_order(edits: Vec<Edit>) -> Vec<Vec<Edit>> {
    let removes = edits
        .iter()
        .any(|edit| matches!(edit, Edit::Rule(Change::Remove, _)));
    let (rules, groups): (Vec<_>, Vec<_>) = edits
        .into_iter()
        .partition(|edit| matches!(edit, Edit::Rule(..)));
    let mut steps = if removes {
        [rules, groups]
    } else {
        [groups, rules]
    }
    .to_vec();
    steps.retain(|edits| !edits.is_empty());
    steps
}

fn members(group: &Group) -> BTreeSet<&Moref> {
    group.members.iter().collect()
}
