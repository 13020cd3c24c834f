//! Guests behind RHEV-M 2.2 to 3.x and oVirt 4.x, through the manager's XML interface in its versions 3 and 4.
//!
//! ```text
//! Rhevm ─▶ act, privilege, place     what is wanted of guests and hosts
//!            └▶ find                 one guest by name or UUID; lists, page by page
//!                └▶ talk ─▶ login, ticket, keep     requests, sessions
//!                     │      states, reply ─▶ xml, scan   what the answers mean
//!                     └▶ https::Client              connections
//! ```
//!
//! A guest is found by one search, whose results are compared here exactly, and from then on addressed by its id. What counts as
//! off is the state `down` and nothing else ([`states`]). A session is opened at the first request, used for all, renewed once
//! when the engine has forgotten it, and ended when the value is dropped, or kept in a file for the next run
//! ([`Settings::session_file`]).
//!
//! Users who are no administrators see filtered results ([`Settings::filter`]): enough to fence, but without hosts. Everything in
//! [`Placement`] asks for unfiltered ones and needs an administrator.

mod act;
mod apart;
mod find;
mod keep;
mod login;
mod place;
mod privilege;
pub mod reply;
mod scan;
mod settings;
pub mod states;
mod talk;
mod ticket;
mod trouble;
mod xml;

use std::sync::mpsc::Receiver;

use deadline::Deadline;

use crate::event::Watchers;
use crate::placement::{Apart, Changed, Host, Placement, Whereabouts};
use crate::{
    Error, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff, Revival,
};
pub use keep::{DIRECTORY, usual_file};
pub use settings::{Settings, Version};
use talk::Talk;

/// One engine.
pub struct Rhevm {
    talk: Talk,
    watchers: Watchers,
}

impl Rhevm {
    /// Contacts nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            talk: Talk::new(settings),
            watchers: Watchers::default(),
        }
    }
}

impl std::fmt::Debug for Rhevm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rhevm").field(&self.talk.settings).finish()
    }
}

impl Hypervisor for Rhevm {
    fn name(&self) -> &str {
        &self.talk.by
    }

    /// Every guest that the user may see.
    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let vms = self.talk.all_vms(self.talk.settings.filter, deadline)?;
        Ok(vms.iter().map(|vm| self.talk.listed(vm)).collect())
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        let vm = self.talk.find(guest, self.talk.settings.filter, deadline)?;
        Ok(self.talk.observation(&vm))
    }

    /// Also tried in states that are neither on nor off, although the engine may refuse it then.
    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        self.talk.power_off(guest, deadline)
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        _revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        self.talk.power_on(guest, deadline)
    }

    /// Logs in and asks the engine for its version.
    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.talk
            .root(self.talk.settings.filter, deadline)
            .map(drop)
    }

    /// The engine reports nothing by itself: the channel stays empty.
    fn watch(&self) -> Receiver<Event> {
        self.watchers.add()
    }
}

impl Managed for Rhevm {
    /// # Errors
    /// Also [`Error::NotConfirmed`], when the engine does not show what would answer it.
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        self.talk.may_switch(guest, deadline)
    }

    /// A session that is kept for the next run stays open.
    fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        self.talk.log_out(deadline)
    }

    fn remarks(&self) -> Vec<String> {
        self.talk.remarks()
    }
}

impl Placement for Rhevm {
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        self.talk.all_hosts(deadline)
    }

    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error> {
        self.talk.whereabouts(guest, deadline)
    }

    fn rules(&self, guests: &[GuestRef], deadline: Deadline) -> Result<Vec<Apart>, Error> {
        self.talk.rules(guests, deadline)
    }

    fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        self.talk.keep_apart(name, guests, mandatory, deadline)
    }

    fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        self.talk.pin(guest, hosts, deadline)
    }

    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        self.talk.migrate(guest, host, deadline)
    }
}

impl Drop for Rhevm {
    fn drop(&mut self) {
        if let Err(error) = self.talk.log_out(Deadline::after(login::GOODBYE)) {
            tracing::warn!(%error, "a session was not ended");
        }
    }
}

#[cfg(test)]
mod tests;
