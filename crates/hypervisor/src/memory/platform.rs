//! A management interface that exists only in this process.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::MemoryHypervisor;
use crate::{
    Deadline, Error, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff,
    Revival,
};

/// How often somebody logged in, and what of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logins {
    /// Whether there is a session.
    pub open: bool,
    /// How often logging in was tried.
    pub tried: u64,
    /// How many sessions there have been.
    pub made: u64,
    /// How many of them were ended by logging out.
    pub ended: u64,
}

#[derive(Debug, Default)]
struct State {
    logins: Logins,
    refuse: Option<String>,
}

#[derive(Debug)]
struct Shared {
    guests: MemoryHypervisor,
    state: Mutex<State>,
}

/// A management interface in front of an in-memory hypervisor: the first call logs in. Clones are handles to the same session.
#[derive(Debug, Clone)]
pub struct MemoryPlatform(Arc<Shared>);

impl MemoryPlatform {
    /// An interface to these guests.
    #[must_use]
    pub fn new(guests: &MemoryHypervisor) -> Self {
        Self(Arc::new(Shared {
            guests: guests.clone(),
            state: Mutex::default(),
        }))
    }

    /// How often somebody logged in so far.
    #[must_use]
    pub fn logins(&self) -> Logins {
        self.state().logins.clone()
    }

    /// Refuses to let anybody log in, with this text, or lets them again.
    pub fn refuse_logins(&self, detail: Option<&str>) {
        self.state().refuse = detail.map(str::to_owned);
    }

    /// Forgets the session, as a server does after a time; the next call has to log in.
    pub fn expire(&self) {
        self.state().logins.open = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guests, for somebody who is logged in or can log in now.
    fn guests(&self) -> Result<&MemoryHypervisor, Error> {
        let mut state = self.state();
        if !state.logins.open {
            state.logins.tried += 1;
            if let Some(detail) = &state.refuse {
                let (by, detail) = (self.name().to_owned(), detail.clone());
                return Err(Error::LoginRefused { by, detail });
            }
            state.logins.open = true;
            state.logins.made += 1;
        }
        Ok(&self.0.guests)
    }
}

impl Hypervisor for MemoryPlatform {
    fn name(&self) -> &str {
        self.0.guests.name()
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        self.guests()?.list(deadline)
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        self.guests()?.observe(guest, deadline)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        self.guests()?.power_off(guest, deadline)
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        self.guests()?.power_on(guest, revival, deadline)
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.guests()?.health(deadline)
    }

    fn watch(&self) -> Receiver<Event> {
        self.0.guests.watch()
    }
}

impl Managed for MemoryPlatform {
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        self.guests()?.may_switch(guest, deadline)
    }

    fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        if !self.state().logins.open {
            return Ok(());
        }
        self.0.guests.log_out(deadline)?;
        let mut state = self.state();
        state.logins.open = false;
        state.logins.ended += 1;
        Ok(())
    }
}
