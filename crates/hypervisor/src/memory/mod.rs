//! Guests that exist only in this process, with faults on demand.
//!
//! It behaves like libvirt where that matters to callers: a transient guest vanishes when it is
//! ended, a saved memory image is resumable, a guest that migrated away is unknown. Faults are set
//! for the whole hypervisor ([`Faults`]) or for one guest ([`MemoryGuest`]), at any time, from any
//! thread that holds a clone of the [`MemoryHypervisor`].
//!
//! ```
//! # use std::time::Duration;
//! # use hypervisor::{Deadline, GuestRef, Hypervisor, Means, memory::{MemoryGuest, MemoryHypervisor}};
//! let host = MemoryHypervisor::new("memory");
//! host.add(MemoryGuest::running("vm1"));
//! let vm1 = GuestRef::parse("vm1");
//! let off = host.power_off(&vm1, Deadline::after(Duration::from_secs(1)))?;
//! assert_eq!(off.evidence.means, Means::Destroyed);
//!
//! host.change("vm1", |guest| guest.refuse = Some("backup in progress".to_owned()));
//! assert!(host.power_on(&vm1, None, Deadline::after(Duration::from_secs(1))).is_err());
//! # Ok::<(), hypervisor::Error>(())
//! ```

mod guests;
mod placement;
mod platform;

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event::Watchers;
use crate::{
    Change, Deadline, Error, Event, Evidence, GuestRef, GuestState, Hypervisor, Managed, Means,
    Observation, Power, PoweredOff, Revival,
};
pub use guests::MemoryGuest;
pub use placement::PlacementFaults;
pub use platform::{Logins, MemoryPlatform};

use self::placement::Places;

/// What is wrong with the hypervisor as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// No call gets an answer before this moment ([`MemoryHypervisor::hang_for`]).
    pub hang_until: Option<Instant>,
    /// Every call takes at least this long.
    pub latency: Duration,
    /// Every call fails with [`Error::Unreachable`] and this text.
    pub unreachable: Option<String>,
    /// A switching call takes effect only this long after it was begun. If its deadline passes
    /// meanwhile, it completes late and is reported so.
    pub slow_action: Duration,
    /// The login lacks the privilege to switch: [`Managed::may_switch`] is refused with this text.
    pub forbidden: Option<String>,
    /// The end of the session is not confirmed: [`Managed::log_out`] fails with this text.
    pub no_goodbye: Option<String>,
}

/// How often what was called, and how often something was really switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Calls of [`Hypervisor::list`].
    pub list: u64,
    /// Calls of [`Hypervisor::observe`].
    pub observe: u64,
    /// Calls of [`Hypervisor::power_off`].
    pub power_off: u64,
    /// Calls of [`Hypervisor::power_on`].
    pub power_on: u64,
    /// Calls of [`Hypervisor::health`].
    pub health: u64,
    /// Calls of [`crate::placement::Placement`] that only ask.
    pub places: u64,
    /// Calls of [`crate::placement::Placement`] that change something.
    pub changes: u64,
    /// Guests that were really moved to another host.
    pub moved: u64,
    /// Calls of [`Managed::may_switch`].
    pub may_switch: u64,
    /// Calls of [`Managed::log_out`].
    pub log_out: u64,
    /// Guests that were really ended.
    pub ended: u64,
    /// Guests that were really started.
    pub started: u64,
}

#[derive(Debug, Default)]
struct World {
    guests: Vec<MemoryGuest>,
    faults: Faults,
    calls: Calls,
    places: Places,
}

#[derive(Debug)]
struct Shared {
    name: String,
    world: Mutex<World>,
    faults_changed: Condvar,
    watchers: Watchers,
}

/// An in-memory hypervisor. Clones are handles to the same guests.
#[derive(Debug, Clone)]
pub struct MemoryHypervisor(Arc<Shared>);

/// What a switching call is to do to the guest.
#[derive(Debug, Clone, Copy)]
enum Switch {
    End,
    Start,
}

impl MemoryHypervisor {
    /// A hypervisor without guests, called `name` in evidence and messages.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            world: Mutex::default(),
            faults_changed: Condvar::new(),
            watchers: Watchers::default(),
        }))
    }

    /// Adds a guest, or replaces the one of the same name.
    pub fn add(&self, guest: MemoryGuest) {
        let mut world = self.world();
        world.guests.retain(|known| known.name != guest.name);
        world.guests.push(guest);
        world.guests.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Changes the guest called `name`, if there is one; says whether there is.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut MemoryGuest)) -> bool {
        let mut world = self.world();
        let found = world.guests.iter_mut().find(|guest| guest.name == name);
        found.map(change).is_some()
    }

    /// A copy of the guest called `name`, with its faults, as nobody outside a test can see it.
    #[must_use]
    pub fn guest(&self, name: &str) -> Option<MemoryGuest> {
        self.world()
            .guests
            .iter()
            .find(|guest| guest.name == name)
            .cloned()
    }

    /// Sets what is wrong with the hypervisor; calls that wait already notice.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
        self.0.faults_changed.notify_all();
    }

    /// Lets no call get an answer for `pause` from now on.
    pub fn hang_for(&self, pause: Duration) {
        self.world().faults.hang_until = Instant::now().checked_add(pause);
        self.0.faults_changed.notify_all();
    }

    /// How often what was called so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.world().calls
    }

    /// Live-migrates the guest called `name` to somewhere else; says whether there is one. A
    /// persistent guest leaves its definition behind, a transient one nothing.
    pub fn migrate_away(&self, name: &str) -> bool {
        let mut world = self.world();
        let Some(at) = world.guests.iter().position(|guest| guest.name == name) else {
            return false;
        };
        let left = world.guests[at].leave();
        if !left.persistent {
            world.guests.remove(at);
        }
        drop(world);
        self.tell(&left, Change::MigratedOut);
        true
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, guest: &MemoryGuest, change: Change) {
        self.0.watchers.tell(&Event::Guest {
            guest: guest.identity(),
            change,
            detail: 0,
            by: self.0.name.clone(),
            at: Timestamp::now(),
        });
    }

    /// Counts a call, lets it suffer the faults in force, and hands out the guests if it survived.
    fn enter(
        &self,
        doing: &str,
        deadline: Deadline,
        count: fn(&mut Calls) -> &mut u64,
    ) -> Result<MutexGuard<'_, World>, Error> {
        let entered = Instant::now();
        let mut world = self.world();
        *count(&mut world.calls) += 1;
        loop {
            if let Some(detail) = &world.faults.unreachable {
                let detail = detail.clone();
                return Err(Error::Unreachable {
                    by: self.0.name.clone(),
                    detail,
                });
            }
            let slow = entered.checked_add(world.faults.latency);
            let until = slow.max(world.faults.hang_until).unwrap_or(entered);
            if deadline.has_passed() {
                return Err(self.late(doing, entered, false));
            }
            let pause = until
                .min(deadline.instant())
                .saturating_duration_since(Instant::now());
            if pause.is_zero() {
                return Ok(world);
            }
            let waited = self.0.faults_changed.wait_timeout(world, pause);
            world = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn late(&self, doing: &str, since: Instant, acted: bool) -> Error {
        let (by, doing) = (self.0.name.clone(), doing.to_owned());
        Error::DeadlinePassed {
            by,
            doing,
            waited: since.elapsed(),
            acted,
        }
    }

    fn look(&self, world: &World, wanted: &GuestRef) -> Result<Observation, Error> {
        let found = world
            .guests
            .iter()
            .find(|guest| guest.identity().is(wanted));
        found
            .map(|guest| guest.observation(&self.0.name))
            .ok_or_else(|| Error::NoSuchGuest {
                guest: wanted.clone(),
                by: self.0.name.clone(),
            })
    }

    /// Begins to switch `guest` and waits for the effect, at most until the deadline.
    fn switch(&self, guest: &GuestRef, switch: Switch, deadline: Deadline) -> Result<(), Error> {
        let begun = Instant::now();
        let mut world = self.world();
        let found = world
            .guests
            .iter_mut()
            .find(|known| known.identity().is(guest));
        if let Some(MemoryGuest {
            refuse: Some(detail),
            ..
        }) = found
        {
            let (by, guest, detail) = (self.0.name.clone(), guest.to_string(), detail.clone());
            return Err(Error::Refused { by, guest, detail });
        }
        let slow = world.faults.slow_action;
        drop(world);
        if slow <= deadline.remaining() {
            thread::sleep(slow);
            self.apply(guest, switch);
            return Ok(());
        }
        let (host, target) = (self.clone(), guest.clone());
        let doing = format!("switching {guest}");
        let error = self.late(&doing, begun, true);
        thread::spawn(move || {
            thread::sleep(slow);
            host.apply(&target, switch);
            host.0.watchers.tell(&Event::LateCompletion {
                guest: target,
                doing,
                outcome: "done".to_owned(),
                late_by: deadline.instant().elapsed(),
                by: host.0.name.clone(),
                at: Timestamp::now(),
            });
        });
        thread::sleep(deadline.remaining());
        Err(error)
    }

    fn apply(&self, wanted: &GuestRef, switch: Switch) {
        let mut world = self.world();
        let Some(at) = world
            .guests
            .iter()
            .position(|guest| guest.identity().is(wanted))
        else {
            return;
        };
        if world.guests[at].ignore {
            return;
        }
        let guest = &mut world.guests[at];
        let change = match switch {
            Switch::End => guest.end(),
            Switch::Start => guest.start(),
        };
        let changed = guest.clone();
        match switch {
            Switch::End => world.calls.ended += 1,
            Switch::Start => world.calls.started += 1,
        }
        if !changed.active && !changed.persistent {
            world.guests.remove(at);
        }
        drop(world);
        self.tell(&changed, change);
    }

    /// What is known of `before` after it was ended.
    fn confirm_off(&self, before: &Observation) -> Result<(Means, Observation), Error> {
        let uuid = GuestRef::Uuid(before.guest.uuid);
        match self.look(&self.world(), &uuid) {
            Ok(after) if after.power() == Power::Off => {
                let means = if before.active {
                    Means::Destroyed
                } else {
                    Means::ImageDiscarded
                };
                Ok((means, after))
            }
            Ok(after) => Err(Error::not_confirmed(&uuid, &after)),
            Err(Error::NoSuchGuest { .. }) if !before.persistent => {
                Ok((Means::Vanished, before.vanished(before.by.clone())))
            }
            Err(error) => Err(error),
        }
    }
}

impl Hypervisor for MemoryHypervisor {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let world = self.enter("listing guests", deadline, |calls| &mut calls.list)?;
        Ok(world
            .guests
            .iter()
            .map(|guest| guest.observation(&self.0.name))
            .collect())
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        let doing = format!("looking at {guest}");
        let world = self.enter(&doing, deadline, |calls| &mut calls.observe)?;
        self.look(&world, guest)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        let begun = Instant::now();
        let doing = format!("powering off {guest}");
        let world = self.enter(&doing, deadline, |calls| &mut calls.power_off)?;
        let before = self.look(&world, guest)?;
        drop(world);
        let (means, observation) = match before.power() {
            Power::Off => (Means::AlreadyOff, before.clone()),
            Power::Unknown => return Err(Error::not_confirmed(guest, &before)),
            Power::On => {
                self.switch(guest, Switch::End, deadline)?;
                self.confirm_off(&before)?
            }
        };
        let revival = (before.active && !before.persistent)
            .then(|| Revival::new(format!("{}\n{}", before.guest.uuid, before.guest.name)));
        let evidence = Evidence {
            means,
            observation,
            took: begun.elapsed(),
        };
        Ok(PoweredOff {
            evidence,
            revival,
            was_active: before.active,
        })
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        let begun = Instant::now();
        let doing = format!("powering on {guest}");
        let mut world = self.enter(&doing, deadline, |calls| &mut calls.power_on)?;
        let before = match (
            self.look(&world, guest),
            revival.and_then(MemoryGuest::revived),
        ) {
            (Err(Error::NoSuchGuest { .. }), Some(revived)) => {
                world.guests.push(revived);
                world.guests.sort_by(|a, b| a.name.cmp(&b.name));
                self.look(&world, guest)?
            }
            (seen, _) => seen?,
        };
        drop(world);
        if before.active {
            let took = begun.elapsed();
            return Ok(Evidence {
                means: Means::AlreadyOn,
                observation: before,
                took,
            });
        }
        if before.power() == Power::Unknown {
            return Err(Error::not_confirmed(guest, &before));
        }
        self.switch(guest, Switch::Start, deadline)?;
        let observation = self.look(&self.world(), guest)?;
        if !observation.active || observation.state == GuestState::ShutOff {
            return Err(Error::not_confirmed(guest, &observation));
        }
        Ok(Evidence {
            means: Means::Started,
            observation,
            took: begun.elapsed(),
        })
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.enter("asking for health", deadline, |calls| &mut calls.health)
            .map(drop)
    }

    fn watch(&self) -> Receiver<Event> {
        self.0.watchers.add()
    }
}

impl Managed for MemoryHypervisor {
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        let doing = "asking for privileges";
        let world = self.enter(doing, deadline, |calls| &mut calls.may_switch)?;
        let named = guest.map(|guest| self.look(&world, guest)).transpose()?;
        let nobody = world.guests.is_empty().then_some("it shows no guest");
        match world.faults.forbidden.as_deref().or(nobody) {
            None => Ok(()),
            Some(detail) => Err(Error::Refused {
                by: self.0.name.clone(),
                guest: named.map(|seen| seen.guest.name).unwrap_or_default(),
                detail: detail.to_owned(),
            }),
        }
    }

    fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        let world = self.enter("logging out", deadline, |calls| &mut calls.log_out)?;
        match world.faults.no_goodbye.clone() {
            None => Ok(()),
            Some(detail) => Err(Error::Unreachable {
                by: self.0.name.clone(),
                detail,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
