//! The vSphere Web Services API ("vim25"): ESX(i) 4.0 and vCenter 4.0, and everything since, without an SDK (S37).
//!
//! ```text
//! link      connections and the session: log in once, again once when it expired, log out
//!   envelope   a call → bytes          reply, fault   bytes → an answer
//! collect   the property collector: what to read of which objects, page by page
//! find      a caller's name → one guest           look     one guest → what is the case
//! power     orders                                tasks  an order's way to its end
//! privilege what the login may do                 placement, cluster   hosts and rules
//! ```
//!
//! Only `link` knows connections; only `envelope`, `reply` and `fault` know XML beyond their own replies.

mod cluster;
mod collect;
mod envelope;
mod fault;
mod find;
mod link;
mod look;
mod placement;
mod power;
mod privilege;
mod reply;
mod tasks;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use deadline::Deadline;

use super::Settings;
use super::orders::Orders;
use crate::{Error, Evidence, GuestRef, Observation, PoweredOff};
use link::Link;
use reply::Moref;

/// A server reached over SOAP.
pub(super) struct Soap {
    link: Link,
    datacenter: Option<String>,
    /// Who was found under which name, and when: a run of an agent looks several times.
    found: Mutex<HashMap<GuestRef, (Moref, Instant)>>,
}

impl Soap {
    pub(super) fn new(settings: &Settings, name: &str) -> Self {
        Self {
            link: Link::new(settings, name),
            datacenter: settings.datacenter.clone(),
            found: Mutex::default(),
        }
    }

    /// What the server is called.
    fn by(&self) -> &str {
        self.link.by()
    }

    /// Every guest, templates excepted.
    pub(super) fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let mut all: Vec<Observation> = self.look_at_all(deadline)?;
        all.sort_by(|a, b| a.guest.cmp(&b.guest));
        Ok(all)
    }

    /// One guest.
    pub(super) fn observe(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Observation, Error> {
        let seen = self.look(guest, deadline)?;
        Ok(seen.observation(self.by()))
    }

    /// Cuts a guest's power.
    pub(super) fn power_off(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<PoweredOff, Error> {
        self.cut(guest, deadline)
    }

    /// Boots a guest.
    pub(super) fn power_on(&self, guest: &GuestRef, deadline: Deadline) -> Result<Evidence, Error> {
        self.boot(guest, deadline)
    }

    /// Whether the server answers to this login.
    pub(super) fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.link.health(deadline)
    }

    /// Whether this interface is served there at all.
    pub(super) fn is_served(&self, deadline: Deadline) -> Result<bool, Error> {
        self.link.is_served(deadline)
    }

    /// Ends the session.
    pub(super) fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        self.found().clear();
        self.link.log_out(deadline)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<GuestRef, (Moref, Instant)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a reply and everything in it, as the callers here do. For fuzzing.
pub(super) fn read_anything(bytes: &[u8]) {
    let _ = reply::read(bytes, |response| {
        link::read_content(response).map(drop).ok();
        link::read_key(response).map(drop).ok();
        for content in collect::page(response).0 {
            look::Seen::read(content).map(drop).ok();
            tasks::read_task(content).map(drop).ok();
            tasks::is_start(content);
            cluster::Cluster::read(content).map(drop).ok();
            placement::read_host(content).map(drop).ok();
            privilege::read_roles(content);
        }
        privilege::read_granted(response);
        Ok(())
    });
}

#[cfg(test)]
mod tests;
