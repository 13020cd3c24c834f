//! From a guest's name or GUID to the host that has it, and what it says.

use std::sync::Arc;

use deadline::Deadline;
use uuid::Uuid;

use super::{Fleet, STAGGER, all_of, lock};
use crate::hyperv::cluster::{Role, Which};
use crate::hyperv::host::Host;
use crate::hyperv::system::Machine;
use crate::hyperv::trouble::Trouble;
use crate::state::STARTING;
use crate::{Error, ErrorKind, Guest, GuestRef, Observation, Power};

/// A guest, where it was found.
#[derive(Debug, Clone)]
pub(in crate::hyperv) struct Sight {
    /// What it is worth.
    pub(in crate::hyperv) seen: Observation,
    /// The host that has it.
    pub(in crate::hyperv) host: Arc<Host>,
    /// What that host says.
    pub(in crate::hyperv) machine: Machine,
    /// What the cluster says.
    pub(in crate::hyperv) role: Option<Role>,
}

/// Why a guest was not found.
#[derive(Debug, Clone)]
pub(in crate::hyperv) struct Unseen {
    /// What to say.
    pub(in crate::hyperv) error: Error,
    /// Whether looking again may end better.
    pub(in crate::hyperv) settles: Settles,
}

/// When looking again may end better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hyperv) enum Settles {
    /// Not for any reason that is known.
    Never,
    /// In a moment: the guest is moving.
    Soon,
    /// When the cluster has started the guest on another node than the one that is down.
    WithTheCluster,
    /// The same, once the cluster has noticed that the node is down: it still counts it as a member, and may be right.
    WhenTheClusterNotices,
}

impl From<Error> for Unseen {
    fn from(error: Error) -> Self {
        Self {
            error,
            settles: Settles::Never,
        }
    }
}

impl Fleet {
    /// The guest, on whatever host has it.
    pub(in crate::hyperv) fn locate(
        &self,
        wanted: &GuestRef,
        deadline: Deadline,
    ) -> Result<Sight, Unseen> {
        if self.settings.cluster {
            self.locate_in_cluster(wanted, deadline)
        } else {
            Ok(self.locate_on_hosts(wanted, deadline)?)
        }
    }

    fn locate_on_hosts(&self, wanted: &GuestRef, deadline: Deadline) -> Result<Sight, Error> {
        let asked = all_of(&self.given, |host| host.find(wanted, deadline));
        let (mut sights, mut failed) = (Vec::new(), None);
        for (host, found) in asked {
            match found {
                Ok(found) => sights.extend(
                    found
                        .into_iter()
                        .map(|machine| Sight::new(&host, machine, None)),
                ),
                Err(trouble) => failed = failed.or_else(|| Some((host.error(trouble), host))),
            }
        }
        if sights.iter().any(|sight| !sight.seen.has_left()) {
            // Replicas say nothing of the guest they are copies of.
            sights.retain(|sight| !sight.seen.has_left());
        }
        only_one(&sights, wanted, &self.by())?;
        let with = |power: Power| sights.iter().position(|sight| sight.seen.power() == power);
        let (running, doubtful) = (with(Power::On), with(Power::Unknown));
        match (running, failed) {
            // What runs, runs, whatever others might have said; but a name may mean another guest there.
            (Some(at), None) => Ok(sights.swap_remove(at)),
            (Some(at), Some(_)) if matches!(wanted, GuestRef::Uuid(_)) => {
                Ok(sights.swap_remove(at))
            }
            (_, Some((error, host))) => Err(unasked(error, &host, &sights)),
            (None, None) => match doubtful {
                Some(at) => Ok(sights.swap_remove(at)),
                None => sights.pop().ok_or_else(|| Error::NoSuchGuest {
                    guest: wanted.clone(),
                    by: self.by(),
                }),
            },
        }
    }

    fn locate_in_cluster(&self, wanted: &GuestRef, deadline: Deadline) -> Result<Sight, Unseen> {
        let (role, uuid) = self.role(wanted, deadline)?;
        let host = self.node(&role.owner);
        let machine = self.on_owner(&host, &role, uuid, deadline)?;
        if let GuestRef::Name(name) = wanted
            && *name != machine.guest.name
        {
            let detail = format!(
                "the cluster's role of this name has the guest {}; name it by its GUID",
                machine.guest
            );
            let (by, guest) = (self.by(), name.clone());
            return Err(Error::Refused { by, guest, detail }.into());
        }
        let mut sight = Sight::new(&host, machine, Some(role));
        if sight.seen.power() == Power::Off {
            self.confirm_owner(&mut sight, deadline)?;
        }
        Ok(sight)
    }

    /// Looks at the cluster again after the guest was seen off: it must not have moved in between, nor be coming up.
    fn confirm_owner(&self, sight: &mut Sight, deadline: Deadline) -> Result<(), Unseen> {
        let Some(before) = &sight.role else {
            return Ok(());
        };
        let (after, _) = self.role(&GuestRef::Uuid(sight.machine.guest.uuid), deadline)?;
        if !after.owner.eq_ignore_ascii_case(&before.owner) {
            let saw = format!(
                "it was off on {} and then belonged to {}",
                before.owner, after.owner
            );
            return Err(self.moving(sight.machine.guest.uuid, saw));
        }
        if after.is_coming() {
            STARTING.clone_into(&mut sight.seen.reason);
        }
        sight.seen.by = format!("{}, its owner in the cluster", sight.seen.by);
        sight.role = Some(after);
        Ok(())
    }

    /// The guest on the node that has it by the cluster's word.
    fn on_owner(
        &self,
        host: &Arc<Host>,
        role: &Role,
        uuid: Uuid,
        deadline: Deadline,
    ) -> Result<Machine, Unseen> {
        let wanted = GuestRef::Uuid(uuid);
        let asked = host.own_name(deadline).and_then(|name| {
            if !name.eq_ignore_ascii_case(&role.owner) {
                return Err(Trouble::Refused(format!(
                    "it calls itself {name}, and was asked as the cluster's node {}; write {}=ADDRESS among the hosts",
                    role.owner, role.owner
                )));
            }
            host.find(&wanted, deadline)
        });
        let mut found = asked.map_err(|trouble| self.owner_error(host, role, trouble, deadline))?;
        found.pop().ok_or_else(|| {
            let saw = format!(
                "the cluster says that it is on {}, which does not know it: it is moving",
                role.owner
            );
            self.moving(uuid, saw)
        })
    }

    fn moving(&self, uuid: Uuid, saw: String) -> Unseen {
        let (guest, by) = (GuestRef::Uuid(uuid), self.by());
        Unseen {
            error: Error::NotConfirmed { guest, by, saw },
            settles: Settles::Soon,
        }
    }

    /// Adds what the cluster says of a node that gave no answer: if the node is down for it too, it will start the guest
    /// elsewhere.
    fn owner_error(
        &self,
        host: &Host,
        role: &Role,
        trouble: Trouble,
        deadline: Deadline,
    ) -> Unseen {
        // A name that leads nowhere was written wrong; no node dies of that.
        let is_misnamed = matches!(trouble, Trouble::Http(https::Error::NoAddress { .. }));
        let error = host.error(trouble);
        if self.is_interrupted() || error.kind() != ErrorKind::Unreachable {
            return error.into();
        }
        let unnoticed = if is_misnamed {
            Settles::Never
        } else {
            Settles::WhenTheClusterNotices
        };
        let nodes = self.nodes(deadline).unwrap_or_default();
        let node = nodes
            .iter()
            .find(|node| node.name.eq_ignore_ascii_case(&role.owner));
        let Some(node) = node else {
            // The others may be busy agreeing on who is left.
            return Unseen {
                error,
                settles: unnoticed,
            };
        };
        let detail = format!(
            "the guest is on {}, which is {} by the cluster's word; {error}",
            role.owner,
            node.word()
        );
        Unseen {
            error: Error::Unreachable {
                by: self.by(),
                detail,
            },
            settles: if node.is_member() {
                unnoticed
            } else {
                Settles::WithTheCluster
            },
        }
    }

    /// The role of a guest, and its GUID.
    fn role(&self, wanted: &GuestRef, deadline: Deadline) -> Result<(Role, Uuid), Error> {
        match wanted {
            GuestRef::Uuid(uuid) => self.role_of(*uuid, deadline).map(|role| (role, *uuid)),
            GuestRef::Name(name) => self.role_named(name, deadline),
        }
    }

    fn role_of(&self, uuid: Uuid, deadline: Deadline) -> Result<Role, Error> {
        let known = lock(&self.resources).get(&uuid).cloned();
        if let Some(resource) = known {
            let roles = self.roles(Which::Resource(resource), deadline)?;
            if let Some(role) = roles.into_iter().find(|role| role.guest == Some(uuid)) {
                return Ok(role);
            }
        }
        if let Some(role) = self.role_by_name_of(uuid, deadline) {
            return Ok(role);
        }
        let roles = self.roles(Which::All, deadline)?;
        let role = roles.into_iter().find(|role| role.guest == Some(uuid));
        role.ok_or_else(|| self.no_role(&GuestRef::Uuid(uuid)))
    }

    /// The role of a guest, by the name that a node has for it: roles are usually called like their guests, and cannot be
    /// asked for by GUID. None proves nothing.
    fn role_by_name_of(&self, uuid: Uuid, deadline: Deadline) -> Option<Role> {
        let (wanted, soon) = (GuestRef::Uuid(uuid), deadline.within(STAGGER));
        let asked = all_of(&self.given, |host| host.find(&wanted, soon));
        let found = asked.into_iter().filter_map(|(_, found)| found.ok());
        let name = found.flatten().next()?.guest.name;
        let roles = self.roles(Which::Group(name), deadline).ok()?;
        roles.into_iter().find(|role| role.guest == Some(uuid))
    }

    /// A group's name is unique in its cluster, a guest's is not. So the group of this name decides, if there is one.
    fn role_named(&self, name: &str, deadline: Deadline) -> Result<(Role, Uuid), Error> {
        let wanted = GuestRef::Name(name.to_owned());
        let mut roles = self.roles(Which::Group(name.to_owned()), deadline)?;
        roles.retain(|role| role.group == name);
        if roles.is_empty() {
            return self.role_by_guests_name(name, deadline);
        }
        let many = roles.len() > 1;
        match roles.pop() {
            Some(Role {
                guest: Some(uuid), ..
            }) if many => Err(Error::Refused {
                by: self.by(),
                guest: name.to_owned(),
                detail: format!(
                    "the cluster's role of this name has several guests; name one by its GUID, e.g. {uuid}"
                ),
            }),
            Some(role) => match role.guest {
                Some(uuid) => Ok((role, uuid)),
                None => Err(Error::Unreachable {
                    by: self.by(),
                    detail: format!(
                        "its answer cannot be used: the resource {} has no VmID",
                        role.resource
                    ),
                }),
            },
            None => Err(self.no_role(&wanted)),
        }
    }

    /// Asks every node that has guests for one of this name.
    fn role_by_guests_name(&self, name: &str, deadline: Deadline) -> Result<(Role, Uuid), Error> {
        let wanted = GuestRef::Name(name.to_owned());
        let roles = self.roles(Which::All, deadline)?;
        let mut owners: Vec<&str> = roles.iter().map(|role| role.owner.as_str()).collect();
        owners.sort_unstable();
        owners.dedup();
        let hosts: Vec<Arc<Host>> = owners.iter().map(|owner| self.node(owner)).collect();
        let mut sights = Vec::new();
        for (host, found) in all_of(&hosts, |host| host.find(&wanted, deadline)) {
            let found = found.map_err(|trouble| host.error(trouble))?;
            sights.extend(
                found
                    .into_iter()
                    .map(|machine| Sight::new(&host, machine, None)),
            );
        }
        only_one(&sights, &wanted, &self.by())?;
        let uuid = sights.first().map(|sight| sight.machine.guest.uuid);
        let role = roles
            .into_iter()
            .find(|role| uuid.is_some() && role.guest == uuid);
        role.zip(uuid).ok_or_else(|| self.no_role(&wanted))
    }

    fn no_role(&self, wanted: &GuestRef) -> Error {
        let by = format!("{} (as a clustered role)", self.by());
        Error::NoSuchGuest {
            guest: wanted.clone(),
            by,
        }
    }
}

impl Sight {
    fn new(host: &Arc<Host>, machine: Machine, role: Option<Role>) -> Self {
        Self {
            seen: machine.observation(&host.by()),
            host: Arc::clone(host),
            machine,
            role,
        }
    }

    /// The guest by its GUID: what to ask for once it is known, as names change.
    pub(in crate::hyperv) fn by_guid(&self) -> GuestRef {
        GuestRef::Uuid(self.machine.guest.uuid)
    }
}

/// Display names are not unique: then the guest must be named by its GUID.
fn only_one(sights: &[Sight], wanted: &GuestRef, by: &str) -> Result<(), Error> {
    let mut guests: Vec<(&Guest, String)> = sights
        .iter()
        .map(|sight| (&sight.machine.guest, sight.host.by()))
        .collect();
    guests.sort();
    guests.dedup_by_key(|(guest, _)| guest.uuid);
    if guests.len() < 2 {
        return Ok(());
    }
    let which: Vec<String> = guests
        .iter()
        .map(|(guest, host)| format!("{} on {host}", guest.uuid))
        .collect();
    let detail = format!(
        "{} guests have this name: {}; name one by its GUID",
        which.len(),
        which.join(", ")
    );
    Err(Error::Refused {
        by: by.to_owned(),
        guest: wanted.to_string(),
        detail,
    })
}

/// Not all hosts have answered: what is seen on the others is not all there is to see.
fn unasked(error: Error, silent: &Host, sights: &[Sight]) -> Error {
    let Some(sight) = sights.first() else {
        return error;
    };
    let detail = match error {
        Error::Refused { .. } | Error::LoginRefused { .. } => return error,
        Error::Unreachable { detail, .. } => detail,
        other => other.to_string(),
    };
    let detail = format!(
        "{detail}; it may run the guest, or have another of this name: all hosts must answer, not only {}",
        sight.host.by()
    );
    Error::Unreachable {
        by: silent.by(),
        detail,
    }
}
