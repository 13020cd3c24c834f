//! What the engine manages: hosts, guests, groups, who may do what. Guests change by themselves as time passes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Everything, under one lock.
#[derive(Debug)]
pub struct World {
    /// Data centers, each a cluster's parent.
    pub clusters: Vec<Cluster>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Guests.
    pub guests: Vec<Guest>,
    /// Affinity groups.
    pub groups: Vec<AffinityGroup>,
    /// Users.
    pub users: Vec<User>,
    /// Roles.
    pub roles: Vec<Role>,
    /// Who has which role on what.
    pub permissions: Vec<Permission>,
    /// Jobs by id; true when ended.
    pub jobs: BTreeMap<String, Instant>,
    /// How long a change of state takes.
    pub transition: Duration,
    counter: u64,
}

/// A cluster of hosts.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data center's id. Names of guests are unique within it.
    pub data_center: String,
}

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state: `up`, `maintenance`, `non_responsive` …
    pub status: String,
    /// Its cluster's id.
    pub cluster: String,
}

/// Where a guest may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// `migratable`, `user_migratable` or `pinned`.
    pub affinity: String,
    /// Ids of hosts.
    pub hosts: Vec<String>,
}

/// A guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state's word; none for a guest with a damaged image.
    pub status: Option<String>,
    /// The host it runs on.
    pub host: Option<String>,
    /// Its cluster's id.
    pub cluster: String,
    /// Where it may run.
    pub placement: Placement,
    /// What becomes of that when it starts next.
    pub next_run: Option<Placement>,
    /// Whether it is highly available.
    pub available: bool,
    /// Whether a backup of it is under way.
    pub backup: bool,
    /// How often it was started and stopped by orders.
    pub starts: u32,
    /// See [`Guest::starts`].
    pub stops: u32,
    /// The reason given with the last order.
    pub reason: String,
    /// What it is going to be, and when.
    pub coming: Vec<(Instant, Coming)>,
}

/// What a guest is going to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    /// Its state.
    pub status: String,
    /// Its host.
    pub host: Option<String>,
}

/// Guests to keep together or apart.
#[derive(Debug, Clone)]
pub struct AffinityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its cluster's id.
    pub cluster: String,
    /// Whether there is a rule for guests.
    pub enabled: bool,
    /// Together or apart.
    pub positive: bool,
    /// Whether it is mandatory.
    pub enforcing: bool,
    /// Ids of its members.
    pub vms: Vec<String>,
}

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: String,
    /// The name to log in by, with the domain.
    pub name: String,
    /// The password.
    pub password: String,
    /// Ids of the groups the user belongs to.
    pub groups: Vec<String>,
}

/// A role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its holder is an administrator.
    pub administrative: bool,
    /// What it permits.
    pub permits: Vec<&'static str>,
}

/// Who has a role on what.
#[derive(Debug, Clone)]
pub struct Permission {
    /// Its id.
    pub id: String,
    /// The role's id.
    pub role: String,
    /// The id of a user or of a group.
    pub principal: String,
    /// What it is on.
    pub object: Object,
}

/// What a permission is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// Everything.
    System,
    /// A data center.
    DataCenter(String),
    /// A cluster.
    Cluster(String),
    /// A guest.
    Vm(String),
    /// A template; no guest is below one.
    Template(String),
}

/// The states in which the engine takes a guest for running.
const RUNNING: [&str; 9] = [
    "up",
    "powering_up",
    "powering_down",
    "reboot_in_progress",
    "wait_for_launch",
    "migrating",
    "paused",
    "not_responding",
    "unknown",
];

impl Guest {
    /// Whether its state is one of these.
    #[must_use]
    pub fn is(&self, words: &[&str]) -> bool {
        self.status
            .as_deref()
            .is_some_and(|status| words.contains(&status))
    }

    /// Whether the engine takes it for running.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.is(&RUNNING)
    }

    /// Lets it be `status` now, and forgets what was coming.
    pub fn become_now(&mut self, status: &str, host: Option<String>) {
        self.status = Some(status.to_owned());
        self.host = host;
        self.coming.clear();
    }

    /// Lets it be something later.
    pub fn become_at(&mut self, at: Instant, status: &str, host: Option<String>) {
        self.coming.push((
            at,
            Coming {
                status: status.to_owned(),
                host,
            },
        ));
    }

    fn settle(&mut self, now: Instant) {
        while self.coming.first().is_some_and(|(at, _)| *at <= now) {
            let (_, coming) = self.coming.remove(0);
            self.status = Some(coming.status);
            self.host = coming.host;
            if self.is(&["down"])
                && let Some(placement) = self.next_run.take()
            {
                self.placement = placement;
            }
        }
    }
}

impl World {
    /// Nothing in it but roles.
    #[must_use]
    pub fn empty() -> Self {
        const VM: [&str; 6] = [
            "stop_vm",
            "shut_down_vm",
            "reboot_vm",
            "reset_vm",
            "run_vm",
            "hibernate_vm",
        ];
        let role = |number: u64, name: &str, administrative, permits: &[&'static str]| Role {
            id: format!("00000000-0000-0000-0001-{number:012}"),
            name: name.to_owned(),
            administrative,
            permits: permits.to_vec(),
        };
        let manage = [
            &VM[..],
            &["edit_vm_properties", "migrate_vm", "create_vm", "login"],
        ]
        .concat();
        let mut roles = vec![
            role(1, "UserRole", false, &["run_vm", "connect_to_vm", "login"]),
            role(6, "UserVmManager", false, &manage),
            role(20, "ReadOnlyAdmin", true, &["login"]),
        ];
        let everything = [
            &manage[..],
            &["manipulate_affinity_groups", "manipulate_host"],
        ]
        .concat();
        let mut super_user = role(0, "SuperUser", true, &everything);
        super_user.id = "00000000-0000-0000-0000-000000000001".to_owned();
        roles.push(super_user);
        Self {
            clusters: Vec::new(),
            hosts: Vec::new(),
            guests: Vec::new(),
            groups: Vec::new(),
            users: Vec::new(),
            roles,
            permissions: Vec::new(),
            jobs: BTreeMap::new(),
            transition: Duration::from_millis(400),
            counter: 0,
        }
    }

    /// An id that nobody has.
    pub fn new_id(&mut self) -> String {
        self.counter += 1;
        format!(
            "6e0de000-{:04x}-4000-8000-{:012x}",
            self.counter >> 16 & 0xffff,
            self.counter
        )
    }

    /// Lets what is due happen.
    pub fn settle(&mut self) {
        let now = Instant::now();
        self.guests.iter_mut().for_each(|guest| guest.settle(now));
    }

    /// The guest with this id.
    #[must_use]
    pub fn guest(&self, id: &str) -> Option<&Guest> {
        self.guests.iter().find(|guest| guest.id == id)
    }

    /// The guest with this id.
    pub fn guest_mut(&mut self, id: &str) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.id == id)
    }

    /// The host of this id or name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts
            .iter()
            .find(|host| host.id == name || host.name == name)
    }

    /// Whether a permission on `object` counts for this guest.
    #[must_use]
    pub fn covers(&self, object: &Object, guest: &Guest) -> bool {
        let cluster = self
            .clusters
            .iter()
            .find(|cluster| cluster.id == guest.cluster);
        match object {
            Object::System => true,
            Object::DataCenter(id) => cluster.is_some_and(|cluster| cluster.data_center == *id),
            Object::Cluster(id) => guest.cluster == *id,
            Object::Vm(id) => guest.id == *id,
            Object::Template(_) => false,
        }
    }

    /// Whether a permission was given to this user or a group of theirs.
    #[must_use]
    pub fn is_of(&self, permission: &Permission, user: &User) -> bool {
        permission.principal == user.id || user.groups.contains(&permission.principal)
    }

    /// Whether the user has a role that makes them an administrator.
    #[must_use]
    pub fn is_administrator(&self, user: &User) -> bool {
        self.permissions
            .iter()
            .filter(|permission| self.is_of(permission, user))
            .filter_map(|permission| self.role(&permission.role))
            .any(|role| role.administrative)
    }

    /// The role with this id.
    #[must_use]
    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id == id)
    }

    /// Whether the user may do what `permit` stands for to this guest; any permit when it is empty.
    #[must_use]
    pub fn may(&self, user: &User, permit: &str, guest: &Guest) -> bool {
        self.permissions
            .iter()
            .filter(|permission| {
                self.is_of(permission, user) && self.covers(&permission.object, guest)
            })
            .filter_map(|permission| self.role(&permission.role))
            .any(|role| permit.is_empty() || role.permits.contains(&permit))
    }

    /// The host a guest would be started on: one that is up, in its cluster, allowed by its placement and by mandatory groups.
    #[must_use]
    pub fn schedule(&self, guest: &Guest) -> Option<String> {
        let fits = |host: &&Host| {
            let pinned = guest.placement.affinity == "pinned" && !guest.placement.hosts.is_empty();
            host.status == "up"
                && host.cluster == guest.cluster
                && (!pinned || guest.placement.hosts.contains(&host.id))
                && !self.is_kept_from(guest, &host.id)
        };
        let preferred = |host: &&Host| guest.placement.hosts.contains(&host.id);
        let mut hosts: Vec<&Host> = self.hosts.iter().filter(fits).collect();
        hosts.sort_by_key(|host| {
            let load = self
                .guests
                .iter()
                .filter(|other| other.host.as_deref() == Some(&host.id))
                .count();
            (!preferred(host), load)
        });
        hosts.first().map(|host| host.id.clone())
    }

    /// Whether a mandatory group keeps this guest from this host, where another member runs.
    #[must_use]
    pub fn is_kept_from(&self, guest: &Guest, host: &str) -> bool {
        let apart = |group: &&AffinityGroup| {
            group.enabled && !group.positive && group.enforcing && group.vms.contains(&guest.id)
        };
        self.groups
            .iter()
            .filter(apart)
            .flat_map(|group| &group.vms)
            .any(|id| {
                *id != guest.id
                    && self
                        .guest(id)
                        .is_some_and(|other| other.host.as_deref() == Some(host))
            })
    }

    /// Whether a group's rule is violated at present.
    #[must_use]
    pub fn is_broken(&self, group: &AffinityGroup) -> bool {
        let mut hosts: Vec<&str> = group
            .vms
            .iter()
            .filter_map(|id| self.guest(id))
            .filter_map(|guest| guest.host.as_deref())
            .collect();
        hosts.sort_unstable();
        let all = hosts.len();
        hosts.dedup();
        group.enabled
            && if group.positive {
                hosts.len() > 1
            } else {
                hosts.len() < all
            }
    }
}
