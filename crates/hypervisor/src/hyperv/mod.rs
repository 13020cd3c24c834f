//! Hyper-V hosts, alone or in a failover cluster, through WS-Management (WinRM) and WMI.
//!
//! Nothing is installed on a host: 2012 and later answer out of the box, 2008 after `winrm quickconfig`.
//!
//! | layer | knows | must not know |
//! |---|---|---|
//! | this file | what is asked of all implementations | how hosts are asked |
//! | `act`, `placement` | orders, and what proves them | messages |
//! | `fleet`, `cluster` | which host has a guest, and who to believe | messages |
//! | `host`, `worker` | classes, methods and jobs of one host | other hosts |
//! | `system`, `states` | what Hyper-V's numbers are worth | connections |
//! | `channel`, `binding` | the login, the keys of one connection | what is asked |
//! | `trouble` | what failures mean | guests |
//!
//! Beside it, [`kvp`]: what a guest can read of itself.
//!
//! # What counts as off
//!
//! `EnabledState` 3 or 32782 ("off, critical"), no worker process, no delayed start and no migration under way, and not a
//! replica of a guest that another host may run. Saved guests are on: a start resumes their memory. See `states` for the table.
//!
//! In a cluster, the node that the cluster names as the guest's owner must say so, the cluster must name it again afterwards,
//! and neither be about to bring the guest up nor still count it as running, as it starts again what ends unasked. Among hosts
//! that are no cluster, all must have answered.
//!
//! # The right to switch
//!
//! Since 2012, whoever may see guests may switch them: members of Hyper-V Administrators and of Administrators. Everybody
//! else is shown an empty list without any error, not even the host's own instance is in it. So seeing the guest is the
//! proof, together with the right to call methods in the namespace; that is proven by an order to a guest that does not
//! exist. An order to a real one would not be harmless: whatever state it has when it is asked, it may have another when it
//! gets the order. 2008 gives rights operation by operation (authorization manager), which cannot be asked for remotely.
//!
//! # Kerberos
//!
//! There is none. The libraries that could be used need the C library and its headers, and a compiler for those, to build; NTLM
//! reaches the same hosts unless a domain forbids it, and a certificate those.

mod act;
mod binding;
mod channel;
mod cluster;
mod fleet;
mod host;
pub mod kvp;
mod placement;
mod settings;
mod starts;
mod states;
mod system;
mod trouble;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use deadline::Deadline;
use jiff::Timestamp;

use self::act::Attempt;
use self::cluster::{Role, Which};
use self::fleet::{Fleet, Settles, Sight, all_of};
use self::host::Host;
pub use self::settings::{Address, Login, Namespace, Settings};
use self::starts::Starts;
use self::states::Wanted;
use crate::event::Watchers;
use crate::state::{MIGRATED, STARTING};
use crate::{
    Error, Event, Evidence, Guest, GuestRef, GuestState, Hypervisor, Managed, Observation, Power,
    PoweredOff, Revival,
};

/// The guests of Hyper-V hosts.
///
/// Connections are opened when needed, kept, and shared by all callers; up to eight to one host.
#[derive(Debug)]
pub struct HyperV {
    name: String,
    fleet: Fleet,
    starts: Starts,
    watchers: Watchers,
}

impl HyperV {
    /// Contacts nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let hosts: Vec<&str> = settings
            .hosts
            .iter()
            .map(|address| address.host.as_str())
            .collect();
        let name = format!("hyperv://{}", hosts.join(","));
        Self {
            name,
            fleet: Fleet::new(settings),
            starts: Starts::default(),
            watchers: Watchers::default(),
        }
    }

    /// A guest as it is now.
    fn sight(&self, guest: &GuestRef, deadline: Deadline) -> Result<Sight, Error> {
        let located = self.fleet.locate(&system::wanted(guest), deadline);
        located.map_err(|unseen| unseen.error)
    }

    /// The guest, looked for again while it moves, or its node is dead and the cluster has not started it elsewhere yet.
    fn settled_sight(&self, guest: &GuestRef, deadline: Deadline) -> Result<Sight, Error> {
        /// How long a guest that moves is looked for.
        const MOVING: Duration = Duration::from_secs(5);
        /// How long a cluster may take to notice that a node is dead: by default it gives it 10 or 20 seconds.
        const NOTICING: Duration = Duration::from_secs(30);
        let guest = system::wanted(guest);
        let noticed = deadline.within(NOTICING);
        // From when it is seen to move: that may be after a long wait for its dead node.
        let mut moved = None;
        loop {
            let since = Instant::now();
            let unseen = match self.fleet.locate(&guest, deadline) {
                Ok(mut sight) => {
                    self.starts.judge(&mut sight.seen, since);
                    return Ok(sight);
                }
                Err(unseen) => unseen,
            };
            let until = match unseen.settles {
                Settles::Never => return Err(unseen.error),
                Settles::Soon => *moved.get_or_insert_with(|| deadline.within(MOVING)),
                Settles::WithTheCluster => deadline,
                Settles::WhenTheClusterNotices => noticed,
            };
            if until.has_passed() || self.fleet.is_interrupted() {
                return Err(unseen.error);
            }
            self.fleet.pause(Duration::from_millis(500), until);
            if deadline.has_passed() {
                // Another look would only say that there is no time for it.
                return Err(unseen.error);
            }
        }
    }

    /// The nodes of the cluster that are up; one at least.
    fn members(&self, deadline: Deadline) -> Result<Vec<Arc<Host>>, Error> {
        let nodes = self.fleet.nodes(deadline)?;
        let members = nodes.iter().filter(|node| node.is_member());
        let members: Vec<Arc<Host>> = members.map(|node| self.fleet.node(&node.name)).collect();
        if members.is_empty() {
            return Err(Error::Refused {
                by: self.fleet.by(),
                guest: String::new(),
                detail: "the cluster names no node that is up".to_owned(),
            });
        }
        Ok(members)
    }

    /// Every guest of every host.
    fn list_hosts(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let mut all = Vec::new();
        for (host, guests) in all_of(self.fleet.given(), |host| host.guests(deadline)) {
            let guests = guests.map_err(|trouble| host.error(trouble))?;
            all.extend(guests.iter().map(|machine| machine.observation(&host.by())));
        }
        Ok(all)
    }

    /// Every clustered guest. One whose node gives no answer is listed under its role's name, its state unknown: who fences
    /// needs the list most when a node is gone.
    fn list_cluster(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let roles = self.fleet.roles(Which::All, deadline)?;
        let mut owners: Vec<&str> = roles.iter().map(|role| role.owner.as_str()).collect();
        owners.sort_unstable();
        owners.dedup();
        let hosts: Vec<Arc<Host>> = owners.iter().map(|owner| self.fleet.node(owner)).collect();
        let asked = all_of(&hosts, |host| host.guests(deadline));
        let mut all = Vec::new();
        let mut off = Vec::new();
        for (owner, (host, guests)) in owners.iter().zip(asked) {
            let own = roles.iter().filter(|role| role.owner == *owner);
            match guests {
                Ok(guests) => {
                    let clustered =
                        |guest: &Guest| own.clone().any(|role| role.guest == Some(guest.uuid));
                    let guests = guests.iter().filter(|machine| clustered(&machine.guest));
                    let seen = guests.map(|machine| machine.observation(&host.by()));
                    let (here, rest): (Vec<_>, Vec<_>) =
                        seen.partition(|seen| seen.power() == Power::Off);
                    off.extend(here.into_iter().map(|seen| (*owner, seen)));
                    all.extend(rest);
                }
                Err(trouble) => {
                    let error = host.error(trouble).to_string();
                    all.extend(own.filter_map(|role| unknown(role, &error, &self.fleet.by())));
                }
            }
        }
        if !off.is_empty() {
            // As when one guest is looked at: off it is only if the cluster says so afterwards.
            let after = self.fleet.roles(Which::All, deadline)?;
            all.extend(
                off.into_iter()
                    .map(|(owner, seen)| confirmed(owner, seen, &after)),
            );
        }
        Ok(all)
    }

    /// Proves the right to switch on one host.
    fn may_switch_on(host: &Host, deadline: Deadline) -> Result<(), trouble::Trouble> {
        host.sees_itself(deadline)?;
        host.may_call_methods(deadline)?;
        if host.is_v1() {
            tracing::warn!(
                by = host.by(),
                "whether this login may switch guests cannot be asked of Hyper-V of 2008"
            );
        }
        Ok(())
    }
}

/// A guest that was off on `owner`, and what the cluster said of it after that.
fn confirmed(owner: &str, mut seen: Observation, after: &[Role]) -> Observation {
    let role = after
        .iter()
        .find(|role| role.guest == Some(seen.guest.uuid));
    let reason = match role {
        Some(role) if !role.owner.eq_ignore_ascii_case(owner) => MIGRATED,
        Some(role) if !role.is_coming() => return seen,
        Some(_) => STARTING,
        None => MIGRATED,
    };
    reason.clone_into(&mut seen.reason);
    seen
}

/// A guest of which only the cluster tells.
fn unknown(role: &Role, why: &str, by: &str) -> Option<Observation> {
    Some(Observation {
        guest: Guest {
            name: role.group.clone(),
            uuid: role.guest?,
        },
        state: GuestState::Other(0),
        reason: format!("on {}, which gives no answer: {why}", role.owner),
        active: role.is_online(),
        persistent: true,
        resumable: false,
        by: by.to_owned(),
        at: Timestamp::now(),
    })
}

impl Hypervisor for HyperV {
    fn name(&self) -> &str {
        &self.name
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        // The first host's answer is as old as the slowest host's is late.
        let since = Instant::now();
        let mut all = if self.fleet.is_cluster() {
            self.list_cluster(deadline)
        } else {
            self.list_hosts(deadline)
        }?;
        all.iter_mut()
            .for_each(|seen| self.starts.judge(seen, since));
        all.sort_by(|a, b| a.guest.cmp(&b.guest));
        Ok(all)
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        self.settled_sight(guest, deadline).map(|sight| sight.seen)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        let guest = system::wanted(guest);
        Attempt::new(&self.fleet, &self.starts, &guest, Wanted::Off, deadline).power_off()
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        _revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        let guest = system::wanted(guest);
        Attempt::new(&self.fleet, &self.starts, &guest, Wanted::On, deadline).power_on()
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        if self.fleet.is_cluster() {
            return self.members(deadline).map(drop);
        }
        for (host, asked) in all_of(self.fleet.given(), |host| host.sees_itself(deadline)) {
            asked.map_err(|trouble| host.error(trouble))?;
        }
        Ok(())
    }

    /// Hosts are asked, they do not tell: nothing ever comes.
    fn watch(&self) -> Receiver<Event> {
        self.watchers.add()
    }
}

impl Managed for HyperV {
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        let is_cluster = self.fleet.is_cluster();
        let mut hosts = self.fleet.given().to_vec();
        match guest {
            Some(guest) => hosts = vec![self.settled_sight(guest, deadline)?.host],
            // The right to read roles, which finding a guest shows as well.
            None if is_cluster => drop(self.fleet.roles(Which::All, deadline)?),
            None => {}
        }
        if is_cluster {
            // It may be on any node by the time it is fenced.
            hosts = self.members(deadline)?;
        }
        for (host, asked) in all_of(&hosts, |host| Self::may_switch_on(host, deadline)) {
            asked.map_err(|trouble| host.error(trouble))?;
        }
        Ok(())
    }

    /// WS-Management knows no session that could be ended: its connections are closed.
    fn log_out(&self, _deadline: Deadline) -> Result<(), Error> {
        self.fleet.close();
        Ok(())
    }
}
