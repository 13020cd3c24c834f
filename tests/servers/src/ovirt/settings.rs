//! What the command line of `ovirt-engine` says, beyond what all servers have (see [`crate::arguments`]).
//!
//! ```text
//! --engine MAJOR.MINOR       the version of the engine (default 4.5): which versions of the interface it speaks, and what it knows
//! --api-path PATH            default /ovirt-engine/api
//! --guests N                 guests node1 … nodeN, up (default 3)
//! --guest NAME[,WORD=VALUE…] one more; words: state, cluster, host, id, affinity, available=yes, backup=yes
//! --hosts N                  hosts host1 … hostN in the first cluster (default 2); as many in the second
//! --user NAME:PASSWORD[:ROLE[@OBJECT]…]   one more user; OBJECT is a guest's or cluster's name, everything when it is missing
//! --transition MS            how long a change of state takes (default 400)
//! --session-limit N          the most sessions at one time (default 100)
//! --session-idle MS          how long one may be idle (default half an hour)
//! --no-sso                   no tokens, although the version has them
//! ```
//!
//! Known without being named: `admin@internal` (SuperUser on everything), `fence@internal` (UserVmManager on the first cluster),
//! `viewer@internal` (UserRole there), `auditor@internal` (ReadOnlyAdmin), `nobody@internal` (nothing), all with the password
//! `secret`; and `member@internal`, who is UserVmManager as a member of the group `fencers`.

use std::time::Duration;

use super::access::Sessions;
use super::world::{Cluster, Guest, Host, Object, Permission, Placement, User, World};

/// What the server is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The version of the engine.
    pub engine: (u32, u32),
    /// The path of the interface.
    pub api_path: String,
    /// Guests `node1` and so on.
    pub guests: usize,
    /// Further guests, as they are written on the command line.
    pub more_guests: Vec<String>,
    /// Hosts of each cluster.
    pub hosts: usize,
    /// Further users, as they are written on the command line.
    pub users: Vec<String>,
    /// How long a change of state takes.
    pub transition: Duration,
    /// The most sessions at one time.
    pub session_limit: usize,
    /// How long a session may be idle.
    pub session_idle: Duration,
    /// Whether there are tokens where the version has them.
    pub sso: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: (4, 5),
            api_path: "/ovirt-engine/api".to_owned(),
            guests: 3,
            more_guests: Vec::new(),
            hosts: 2,
            users: Vec::new(),
            transition: Duration::from_millis(400),
            session_limit: 100,
            session_idle: Duration::from_secs(1800),
            sso: true,
        }
    }
}

impl Settings {
    /// Reads what is left of the command line.
    ///
    /// # Errors
    /// The argument that cannot be used.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--no-sso" {
                settings.sso = false;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{argument} needs a number, not `{value}`"))
            };
            let count =
                || number().and_then(|n| usize::try_from(n).map_err(|error| error.to_string()));
            match argument.as_str() {
                "--engine" => {
                    let parts = value
                        .split_once('.')
                        .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                    settings.engine = parts.ok_or_else(|| format!("`{value}` is no version"))?;
                }
                "--api-path" => settings.api_path.clone_from(value),
                "--guests" => settings.guests = count()?,
                "--guest" => settings.more_guests.push(value.clone()),
                "--hosts" => settings.hosts = count()?,
                "--user" => settings.users.push(value.clone()),
                "--transition" => settings.transition = Duration::from_millis(number()?),
                "--session-limit" => settings.session_limit = count()?,
                "--session-idle" => settings.session_idle = Duration::from_millis(number()?),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let mut world = World::empty();
        self.fill(&mut world)
    }

    /// The path beside the interface where logging in happens.
    pub(super) fn web_root(&self) -> &str {
        self.api_path
            .strip_suffix("/api")
            .filter(|root| !root.is_empty())
            .unwrap_or("/ovirt-engine")
    }

    pub(super) const fn tokens(&self) -> bool {
        self.sso && self.engine.0 >= 4
    }

    /// Sessions by cookie came with 3.1.
    pub(super) fn cookies(&self) -> bool {
        self.engine >= (3, 1)
    }

    /// The version of the interface for a request that asks for `asked`; none when it is not spoken.
    pub(super) fn version(&self, asked: Option<&str>) -> Option<u8> {
        let newest = if self.engine.0 >= 4 { 4 } else { 3 };
        let Some(asked) = asked else {
            return Some(newest);
        };
        // The header came with 3.6.
        if self.engine < (3, 6) {
            return Some(3);
        }
        match asked {
            "4" if newest == 4 => Some(4),
            "3" if self.engine < (4, 3) => Some(3),
            _ => None,
        }
    }

    pub(super) fn build(&self) -> (World, Sessions) {
        let mut world = World::empty();
        world.transition = self.transition;
        // Checked when it was parsed; what is set by hand shows in the world.
        let _ = self.fill(&mut world);
        let sessions = Sessions::new(self.session_limit, self.session_idle);
        (world, sessions)
    }

    fn fill(&self, world: &mut World) -> Result<(), String> {
        for number in 1..=2 {
            let (id, data_center) = (world.new_id(), world.new_id());
            for host in 1..=self.hosts {
                let name = format!("host{}", host + (number - 1) * self.hosts);
                let host = Host {
                    id: world.new_id(),
                    name,
                    status: "up".to_owned(),
                    cluster: id.clone(),
                };
                world.hosts.push(host);
            }
            world.clusters.push(Cluster {
                id,
                name: format!("cluster{number}"),
                data_center,
            });
        }
        for number in 1..=self.guests {
            add_guest(world, &format!("node{number}"))?;
        }
        for words in &self.more_guests {
            add_guest(world, words)?;
        }
        let everywhere = [
            "admin@internal:secret:SuperUser",
            "fence@internal:secret:UserVmManager@cluster1",
            "viewer@internal:secret:UserRole@cluster1",
            "auditor@internal:secret:ReadOnlyAdmin",
            "nobody@internal:secret",
            "member@internal:secret",
        ];
        for words in everywhere
            .into_iter()
            .chain(self.users.iter().map(String::as_str))
        {
            add_user(world, words)?;
        }
        let group = world.new_id();
        if let Some(user) = world
            .users
            .iter_mut()
            .find(|user| user.name == "member@internal")
        {
            user.groups.push(group.clone());
        }
        permit(world, group, "UserVmManager@cluster1")
    }
}

/// Adds a guest: its name, and what is said of it.
fn add_guest(world: &mut World, words: &str) -> Result<(), String> {
    let mut words = words.split(',');
    let name = crate::text::decoded(words.next().unwrap_or_default(), false);
    let cluster = world
        .clusters
        .first()
        .ok_or("there is no cluster")?
        .id
        .clone();
    let host = world
        .hosts
        .iter()
        .filter(|host| host.cluster == cluster)
        .map(|host| host.id.clone());
    let hosts: Vec<String> = host.collect();
    let at = world.guests.len() % hosts.len().max(1);
    let mut guest = Guest {
        id: world.new_id(),
        name,
        status: Some("up".to_owned()),
        host: hosts.get(at).cloned(),
        cluster,
        placement: Placement {
            affinity: "migratable".to_owned(),
            hosts: Vec::new(),
        },
        next_run: None,
        available: false,
        backup: false,
        starts: 0,
        stops: 0,
        reason: String::new(),
        coming: Vec::new(),
    };
    for word in words {
        let (word, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` has no value"))?;
        change_guest(world, &mut guest, word, value)?;
    }
    world.guests.push(guest);
    Ok(())
}

/// Changes one thing about a guest, by its word.
pub(super) fn change_guest(
    world: &World,
    guest: &mut Guest,
    word: &str,
    value: &str,
) -> Result<(), String> {
    match word {
        "state" => {
            let status = (value != "none").then(|| value.to_owned());
            guest.coming.clear();
            guest.status = status;
            if !guest.runs() && !guest.is(&["saving_state", "restoring_state"]) {
                guest.host = None;
            } else if guest.host.is_none() {
                guest.host = world.schedule(guest);
            }
        }
        "host" => {
            let host = world
                .host(value)
                .ok_or_else(|| format!("no host {value}"))?;
            guest.host = Some(host.id.clone());
        }
        "cluster" => {
            let cluster = world.clusters.iter().find(|cluster| cluster.name == value);
            guest.cluster = cluster
                .ok_or_else(|| format!("no cluster {value}"))?
                .id
                .clone();
            guest.host = world
                .hosts
                .iter()
                .find(|host| host.cluster == guest.cluster)
                .map(|host| host.id.clone());
        }
        "id" => value.clone_into(&mut guest.id),
        "name" => guest.name = crate::text::decoded(value, false),
        "affinity" => value.clone_into(&mut guest.placement.affinity),
        "available" => guest.available = value == "yes",
        "backup" => guest.backup = value == "yes",
        _ => return Err(format!("unknown word {word}")),
    }
    Ok(())
}

fn add_user(world: &mut World, words: &str) -> Result<(), String> {
    let mut words = words.split(':');
    let (Some(name), Some(password)) = (words.next(), words.next()) else {
        return Err("a user needs a name and a password".to_owned());
    };
    let id = world.new_id();
    let (name, password) = (name.to_owned(), crate::text::decoded(password, false));
    world.users.push(User {
        id: id.clone(),
        name,
        password,
        groups: Vec::new(),
    });
    words.try_for_each(|role| permit(world, id.clone(), role))
}

fn permit(world: &mut World, principal: String, role: &str) -> Result<(), String> {
    let (name, object) = role.split_once('@').unwrap_or((role, ""));
    let role = world
        .roles
        .iter()
        .find(|role| role.name == name)
        .ok_or_else(|| format!("no role {name}"))?
        .id
        .clone();
    let cluster = world.clusters.iter().find(|cluster| cluster.name == object);
    let object = match (object, cluster) {
        ("", _) => Object::System,
        ("template", _) => Object::Template(world.new_id()),
        (_, Some(cluster)) => Object::Cluster(cluster.id.clone()),
        (name, None) => {
            let guest = world.guests.iter().find(|guest| guest.name == name);
            Object::Vm(
                guest
                    .ok_or_else(|| format!("no guest or cluster {name}"))?
                    .id
                    .clone(),
            )
        }
    };
    let id = world.new_id();
    world.permissions.push(Permission {
        id,
        role,
        principal,
        object,
    });
    Ok(())
}
