//! Which host has a guest.
//!
//! Several hosts that are no cluster are all asked, at the same time: a guest is off only if every one of them has answered,
//! for one that did not may run it. Of a cluster one node is asked which node has the guest, and then that node.
//! Neither is remembered: a guest moves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use uuid::Uuid;

use super::cluster::{self, Node, Role, Which};
use super::host::Host;
use super::settings::{Address, Settings};
use super::system::Machine;
use super::trouble::Trouble;
use crate::state::STARTING;
use crate::{Error, Guest, GuestRef, Observation, Power};

/// How long one node has before another is asked the same.
const STAGGER: Duration = Duration::from_secs(2);

/// The hosts.
#[derive(Debug)]
pub(super) struct Fleet {
    settings: Settings,
    given: Vec<Arc<Host>>,
    /// Nodes that were not given, by name.
    found: Mutex<HashMap<String, Arc<Host>>>,
    /// The resources of guests, by GUID: where to look first.
    resources: Mutex<HashMap<Uuid, String>>,
    /// Who answered last.
    first: AtomicUsize,
    interrupted: Arc<AtomicBool>,
}

/// A guest, where it was found.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    /// What it is worth.
    pub(super) seen: Observation,
    /// The host that has it.
    pub(super) host: Arc<Host>,
    /// What that host says.
    pub(super) machine: Machine,
    /// What the cluster says.
    pub(super) role: Option<Role>,
}

impl Fleet {
    /// Contacts nobody yet.
    pub(super) fn new(settings: Settings) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        let host = |address: &Address| Arc::new(Host::new(address, &settings, &interrupted));
        let given = settings.hosts.iter().map(host).collect();
        Self {
            given,
            found: Mutex::default(),
            resources: Mutex::default(),
            first: AtomicUsize::new(0),
            interrupted,
            settings,
        }
    }

    /// Whether a cluster is asked.
    pub(super) const fn is_cluster(&self) -> bool {
        self.settings.cluster
    }

    /// The settings.
    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The hosts that were given.
    pub(super) fn given(&self) -> &[Arc<Host>] {
        &self.given
    }

    /// Closes all idle connections.
    pub(super) fn close(&self) {
        self.given.iter().for_each(|host| host.close());
        lock(&self.found).values().for_each(|host| host.close());
    }

    /// Whether somebody has asked this program to end while it waited.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// What all of them are called together.
    pub(super) fn by(&self) -> String {
        let names: Vec<&str> = self
            .settings
            .hosts
            .iter()
            .map(|address| address.host.as_str())
            .collect();
        let what = match (self.settings.cluster, names.len()) {
            (true, _) => "Hyper-V cluster of",
            (false, 1) => "Hyper-V host",
            (false, _) => "Hyper-V hosts",
        };
        format!("{what} {}", names.join(", "))
    }

    /// The guest, on whatever host has it.
    pub(super) fn locate(&self, wanted: &GuestRef, deadline: Deadline) -> Result<Sight, Error> {
        if self.settings.cluster {
            self.locate_in_cluster(wanted, deadline)
        } else {
            self.locate_on_hosts(wanted, deadline)
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
                Err(trouble) => failed = failed.or_else(|| Some(host.error(trouble))),
            }
        }
        only_one(&sights, wanted, &self.by())?;
        let running = sights
            .iter()
            .position(|sight| sight.seen.power() == Power::On);
        let doubtful = sights
            .iter()
            .position(|sight| sight.seen.power() != Power::Off);
        match (running, failed, doubtful) {
            // What runs, runs, whatever others might have said.
            (Some(at), _, _) => Ok(sights.swap_remove(at)),
            (None, Some(error), _) => Err(unasked(error, &sights)),
            (None, None, Some(at)) => Ok(sights.swap_remove(at)),
            (None, None, None) => sights.pop().ok_or_else(|| Error::NoSuchGuest {
                guest: wanted.clone(),
                by: self.by(),
            }),
        }
    }

    fn locate_in_cluster(&self, wanted: &GuestRef, deadline: Deadline) -> Result<Sight, Error> {
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
            return Err(Error::Refused {
                by: self.by(),
                guest: name.clone(),
                detail,
            });
        }
        let mut sight = Sight::new(&host, machine, Some(role));
        if sight.seen.power() == Power::Off {
            self.confirm_owner(&mut sight, deadline)?;
        }
        Ok(sight)
    }

    /// Looks at the cluster again after the guest was seen off: it must not have moved in between, nor be coming up.
    fn confirm_owner(&self, sight: &mut Sight, deadline: Deadline) -> Result<(), Error> {
        let Some(before) = &sight.role else {
            return Ok(());
        };
        let (after, _) = self.role(&GuestRef::Uuid(sight.machine.guest.uuid), deadline)?;
        if !after.owner.eq_ignore_ascii_case(&before.owner) {
            return Err(Error::NotConfirmed {
                guest: GuestRef::Uuid(sight.machine.guest.uuid),
                by: self.by(),
                saw: format!(
                    "it was off on {} and then belonged to {}",
                    before.owner, after.owner
                ),
            });
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
    ) -> Result<Machine, Error> {
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
        found.pop().ok_or_else(|| Error::NotConfirmed {
            guest: wanted,
            by: self.by(),
            saw: format!(
                "the cluster says that it is on {}, which does not know it: it is moving",
                role.owner
            ),
        })
    }

    /// Adds what the cluster says of a node that gave no answer.
    fn owner_error(&self, host: &Host, role: &Role, trouble: Trouble, deadline: Deadline) -> Error {
        let error = host.error(trouble);
        if self.is_interrupted() || error.kind() != crate::ErrorKind::Unreachable {
            return error;
        }
        let nodes = self.nodes(deadline).unwrap_or_default();
        let node = nodes
            .iter()
            .find(|node| node.name.eq_ignore_ascii_case(&role.owner));
        match node {
            Some(node) => Error::Unreachable {
                by: self.by(),
                detail: format!(
                    "the guest is on {}, which is {} by the cluster's word; {error}",
                    role.owner,
                    node.word()
                ),
            },
            None => error,
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
        let roles = self.roles(Which::All, deadline)?;
        let role = roles.into_iter().find(|role| role.guest == Some(uuid));
        role.ok_or_else(|| self.no_role(&GuestRef::Uuid(uuid)))
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

    /// The roles of clustered guests, from whichever node answers first.
    pub(super) fn roles(&self, which: Which, deadline: Deadline) -> Result<Vec<Role>, Error> {
        let roles = self.any(deadline, move |host, deadline| {
            cluster::roles(host, &which, deadline)
        })?;
        let mut known = lock(&self.resources);
        known.extend(
            roles
                .iter()
                .filter_map(|role| Some((role.guest?, role.resource.clone()))),
        );
        Ok(roles)
    }

    /// The nodes of the cluster.
    pub(super) fn nodes(&self, deadline: Deadline) -> Result<Vec<Node>, Error> {
        self.any(deadline, cluster::nodes)
    }

    /// The node of this name. One that was not given is looked for beside those that were.
    pub(super) fn node(&self, name: &str) -> Arc<Host> {
        let given = self
            .settings
            .hosts
            .iter()
            .position(|address| address.is_node(name));
        if let Some(host) = given.and_then(|at| self.given.get(at)) {
            return Arc::clone(host);
        }
        let mut found = lock(&self.found);
        let host = found.entry(name.to_lowercase()).or_insert_with(|| {
            let address = beside(&self.settings.hosts, name);
            Arc::new(Host::new(&address, &self.settings, &self.interrupted))
        });
        Arc::clone(host)
    }

    /// Asks the nodes one after another, the next one when one fails or takes long, and takes the first answer.
    pub(super) fn any<T: Send + 'static>(
        &self,
        deadline: Deadline,
        ask: impl Fn(&Host, Deadline) -> Result<T, Trouble> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answers) = mpsc::channel();
        let count = self.given.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut waiting = (0..count).map(|offset| (first + offset) % count.max(1));
        let (mut out, mut errors) = (0, Vec::new());
        loop {
            let next = waiting.next();
            if let Some(at) = next {
                let (host, ask, sender) =
                    (Arc::clone(&self.given[at]), ask.clone(), sender.clone());
                // Who is no longer waited for ends by its own deadline.
                thread::spawn(move || sender.send((at, ask(&host, deadline))));
                out += 1;
            }
            if out == 0 {
                return Err(self.nobody(errors));
            }
            let patience = if next.is_some() {
                deadline.within(STAGGER)
            } else {
                deadline
            };
            // The asked end by the deadline themselves, and say more than that it has passed.
            let slack = Duration::from_millis(200);
            match answers.recv_timeout(patience.remaining() + slack) {
                Ok((at, Ok(answer))) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok((at, Err(trouble))) => {
                    out -= 1;
                    let error = self.given[at].error(trouble);
                    if self.is_interrupted() {
                        return Err(error);
                    }
                    errors.push(error);
                }
                Err(_) if deadline.has_passed() => {
                    errors.push(Error::Unreachable {
                        by: self.by(),
                        detail: "no node answers in time".to_owned(),
                    });
                    return Err(self.nobody(errors));
                }
                Err(_) => {}
            }
        }
    }

    /// What to say when no node gave the answer: a refusal says most.
    fn nobody(&self, mut errors: Vec<Error>) -> Error {
        if let Some(at) = errors
            .iter()
            .position(|error| matches!(error, Error::Refused { .. }))
        {
            return errors.swap_remove(at);
        }
        if errors.len() == 1
            && let Some(only) = errors.pop()
        {
            return only;
        }
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Unreachable {
            by: self.by(),
            detail: all.join("; "),
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
    pub(super) fn by_guid(&self) -> GuestRef {
        GuestRef::Uuid(self.machine.guest.uuid)
    }
}

/// Asks all hosts at the same time.
pub(super) fn all_of<T: Send>(
    hosts: &[Arc<Host>],
    ask: impl Fn(&Host) -> Result<T, Trouble> + Sync,
) -> Vec<(Arc<Host>, Result<T, Trouble>)> {
    if let [only] = hosts {
        return vec![(Arc::clone(only), ask(only))];
    }
    thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|host| (host, scope.spawn(|| ask(host))))
            .collect();
        let answered = asked.into_iter().map(|(host, thread)| {
            let gone = || Trouble::Here("a thread of this program has failed".to_owned());
            (
                Arc::clone(host),
                thread.join().unwrap_or_else(|_| Err(gone())),
            )
        });
        answered.collect()
    })
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

/// Not all hosts have answered, and none that did runs the guest.
fn unasked(error: Error, sights: &[Sight]) -> Error {
    let Some(sight) = sights.first() else {
        return error;
    };
    match error {
        Error::Refused { .. } => error,
        other => Error::Unreachable {
            by: "not every Hyper-V host".to_owned(),
            detail: format!(
                "{other}; it may run the guest, which is not running on {}",
                sight.host.by()
            ),
        },
    }
}

/// The address of a node that was not given: in the domain of one that was.
fn beside(hosts: &[Address], name: &str) -> Address {
    let named = hosts.iter().find(|address| {
        address.host.contains('.') && address.host.parse::<std::net::IpAddr>().is_err()
    });
    let domain = named
        .and_then(|address| address.host.split_once('.'))
        .map(|(_, domain)| domain);
    let host = domain.map_or_else(|| name.to_owned(), |domain| format!("{name}.{domain}"));
    let port = hosts.first().map_or(5985, |address| address.port);
    Address {
        node: Some(name.to_owned()),
        host,
        port,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_looked_for_in_the_domain_of_the_others() {
        let address = |text: &str| Address::parse(text, 5986).unwrap();
        assert_eq!(
            beside(&[address("10.0.0.1"), address("hv.corp.example")], "HV2").host,
            "HV2.corp.example"
        );
        assert_eq!(beside(&[address("10.0.0.1")], "HV2").host, "HV2");
        assert_eq!(beside(&[address("hv1:80")], "HV2").port, 80);
    }
}
