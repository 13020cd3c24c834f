//! The mode for hosts that form no cluster: the hypervisors of the configuration are all there is.
//!
//! A guest is looked for on all of them. It is off only if it is off on every one, it is switched on
//! only if it is certain that it is on nowhere, and whoever cannot be asked makes the answer "cannot
//! know" unless another one has the guest running. A guest that leaves by live migration is noticed,
//! written down, and from then on unknown: following it needs hosts that form a cluster.
//!
//! A hypervisor may also be the management interface of many hosts (vCenter, RHEV-M, a Hyper-V cluster). It follows its guests
//! itself, so they may migrate among its hosts, and all requests share one login ([`session`]).
//!
//! Requests for one guest are carried out one after the other. A reboot holds its guest until it has
//! been started again, although its requester has had the answer since the power-off was confirmed.

mod host;
mod locks;
mod plan;
mod session;
mod survey;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use deadline::Deadline;
use hypervisor::{Evidence, GuestRef, Hypervisor, Observation, PoweredOff};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    BoxFuture, Fleet, FleetError, Health, Inventory, Mode, Order, Presence, Rebooting,
    StatusReport, tokio_instant,
};
use crate::audit::Auditor;
use host::{CallError, Host};
use locks::{Guard, Locks};
use session::Sessions;
use survey::Survey;
use watch::Departures;

/// How this mode is configured.
pub(super) const MODE: Mode = Mode {
    backend: "libvirt",
    read: plan::read,
};

/// How long the second half of a reboot may take. Nobody waits for it but later requests for the
/// same guest.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// How much longer the other hypervisors are waited for once one has the guest running.
const GRACE: Duration = Duration::from_millis(500);

/// The fleet of hosts that form no cluster.
pub struct Standalone {
    hosts: Arc<Vec<Host>>,
    locks: Arc<Locks>,
    departures: Arc<Departures>,
    sessions: Sessions,
}

impl Standalone {
    /// A fleet of these hypervisors. What happens on them is watched and audited from now on.
    #[must_use]
    pub fn new(hypervisors: Vec<Arc<dyn Hypervisor>>, auditor: &Auditor) -> Self {
        let departures = Arc::new(Departures::default());
        for hypervisor in &hypervisors {
            watch::start(&**hypervisor, &departures, auditor);
        }
        Self {
            hosts: Arc::new(hypervisors.into_iter().map(Host::new).collect()),
            locks: Arc::default(),
            departures,
            sessions: Sessions::default(),
        }
    }

    /// Asks every hypervisor for the guest, all at the same time. Once one of them has it running,
    /// the others have only [`GRACE`] left: a hypervisor that hangs must not delay the guests of those
    /// that do not.
    async fn survey(&self, guest: &GuestRef, order: &Order) -> Result<Survey, FleetError> {
        let mut survey = Survey::default();
        if let [only] = self.hosts.as_slice() {
            enter(
                &mut survey,
                0,
                only.name(),
                observe(only, guest, order).await,
            )?;
            return Ok(survey);
        }
        let mut asked = JoinSet::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let answer = observe(host, guest, order);
            asked.spawn(async move { (number, answer.await) });
        }
        let mut missing: BTreeSet<usize> = (0..self.hosts.len()).collect();
        let mut latest = tokio_instant(order.deadline) + GRACE;
        while let Ok(Some(Ok((number, answer)))) = timeout_at(latest, asked.join_next()).await {
            missing.remove(&number);
            enter(&mut survey, number, self.hosts[number].name(), answer)?;
            if survey.running_at().is_some() {
                latest = latest.min(Instant::now() + GRACE);
            }
        }
        for number in missing {
            let name = self.hosts[number].name();
            survey.silent.push(format!("{name} has not answered"));
        }
        Ok(survey)
    }

    /// Finds the guest and takes hold of it: what the survey says then stays true as far as this
    /// daemon is concerned.
    async fn hold(&self, order: &Order) -> Result<(Survey, Uuid, Guard), FleetError> {
        let generation = self.locks.generation();
        let survey = self.survey(&order.guest, order).await?;
        let uuid = survey.identity(&order.guest)?;
        let guard = self.locks.take(uuid, order).await?;
        if self.locks.generation() == generation {
            return Ok((survey, uuid, guard));
        }
        let guest = GuestRef::Uuid(uuid);
        let survey = self.survey(&guest, order).await?;
        survey.identity(&guest)?;
        Ok((survey, uuid, guard))
    }

    /// Powers the guest off wherever it is defined, at the same time everywhere.
    async fn off_everywhere(
        &self,
        order: &Order,
        survey: &Survey,
        uuid: Uuid,
    ) -> Result<Vec<(usize, PoweredOff)>, FleetError> {
        let calls: Vec<_> = survey
            .found
            .iter()
            .map(|(number, seen)| {
                let deadline = order.deadline;
                let call = self.hosts[*number].ask(order, move |hypervisor| {
                    hypervisor.power_off(&GuestRef::Uuid(uuid), deadline)
                });
                (*number, seen, call)
            })
            .collect();
        let mut done = Vec::new();
        let mut failed = Vec::new();
        for (number, seen, call) in calls {
            match call.await {
                Ok(off) => done.push((number, off)),
                Err(error) => failed.push((seen, error)),
            }
        }
        let was_active = done.iter().any(|(_, off)| off.was_active);
        for (seen, error) in failed {
            // It left that host and was ended on another one: nothing of it is left there.
            if !(was_active && seen.has_left()) {
                return Err(error.into());
            }
        }
        if was_active {
            self.departures.forget(&uuid);
        } else {
            survey.nowhere_else(self.departures.from(&uuid).as_deref())?;
        }
        Ok(done)
    }

    async fn do_status(&self, order: Order) -> Result<StatusReport, FleetError> {
        let report = |survey: Survey, departures: &Departures| {
            let uuid = survey.identity(&order.guest)?;
            let status = survey.status(departures.from(&uuid).as_deref())?;
            Ok(StatusReport {
                status,
                observations: survey.found.into_iter().map(|(_, seen)| seen).collect(),
            })
        };
        // Without anything going on there is nothing to wait for.
        if self.locks.are_free() {
            let survey = self.survey(&order.guest, &order).await?;
            return report(survey, &self.departures);
        }
        let (survey, _, _guard) = self.hold(&order).await?;
        report(survey, &self.departures)
    }

    async fn do_off(&self, order: Order) -> Result<Vec<Evidence>, FleetError> {
        let (survey, uuid, _guard) = self.hold(&order).await?;
        let off = self.off_everywhere(&order, &survey, uuid).await?;
        Ok(off.into_iter().map(|(_, off)| off.evidence).collect())
    }

    async fn do_on(&self, order: Order) -> Result<Vec<Evidence>, FleetError> {
        let (survey, uuid, _guard) = self.hold(&order).await?;
        let number = match survey.running_at() {
            Some(number) => number,
            None => {
                // Two running instances destroy the guest's data, so doubt means no.
                survey.nowhere_else(self.departures.from(&uuid).as_deref())?;
                survey.found.first().map_or(0, |(number, _)| *number)
            }
        };
        let deadline = order.deadline;
        let call = self.hosts[number].ask(&order, move |hypervisor| {
            hypervisor.power_on(&GuestRef::Uuid(uuid), None, deadline)
        });
        Ok(vec![call.await?])
    }

    async fn do_reboot(&self, order: Order) -> Result<Rebooting, FleetError> {
        let (survey, uuid, guard) = self.hold(&order).await?;
        let off = self.off_everywhere(&order, &survey, uuid).await?;
        let mut restart: Option<BoxFuture<'static, _>> = None;
        let mut evidence = Vec::new();
        for (number, off) in off {
            evidence.push(off.evidence);
            if restart.is_none() && off.was_active {
                let hosts = Arc::clone(&self.hosts);
                restart = Some(Box::pin(async move {
                    let deadline = Deadline::after(RESTART_LIMIT);
                    let again = Order {
                        guest: GuestRef::Uuid(uuid),
                        deadline,
                        // A guest that was powered off for a reboot is started, whoever still waits.
                        given_up: CancellationToken::new(),
                    };
                    let revival = off.revival;
                    let call = hosts[number].ask(&again, move |hypervisor| {
                        hypervisor.power_on(&GuestRef::Uuid(uuid), revival.as_ref(), deadline)
                    });
                    call.await.map_err(FleetError::from)
                }));
            }
        }
        let restart = restart.map(|restart| -> BoxFuture<'static, _> {
            Box::pin(async move {
                let result = restart.await;
                drop(guard);
                result
            })
        });
        Ok(Rebooting { evidence, restart })
    }

    async fn do_list(&self, deadline: Deadline) -> Inventory {
        let calls: Vec<_> = self
            .hosts
            .iter()
            .map(|host| host.question(deadline, move |hypervisor| hypervisor.list(deadline)))
            .collect();
        let mut inventory = Inventory::default();
        let mut by_identity: BTreeMap<Identity, Observation> = BTreeMap::new();
        for call in calls {
            match call.await {
                Ok(guests) => guests
                    .into_iter()
                    .for_each(|seen| merge(&mut by_identity, seen)),
                Err(error) => inventory.silent.push(FleetError::from(error).to_string()),
            }
        }
        inventory.guests = by_identity.into_values().collect();
        inventory
            .guests
            .sort_by_cached_key(|seen| (seen.guest.name.to_lowercase(), seen.guest.name.clone()));
        inventory
    }

    async fn do_health(&self, deadline: Deadline) -> Health {
        let calls: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let call = host.question(deadline, move |hypervisor| hypervisor.health(deadline));
                (host.name().to_owned(), call)
            })
            .collect();
        let mut health = Health::default();
        for (name, call) in calls {
            match call.await {
                Ok(()) => health.well.push(name),
                Err(error) => health.ill.push(FleetError::from(error).to_string()),
            }
        }
        health
    }
}

/// Asks one hypervisor for the guest; the question is out when this returns.
fn observe(
    host: &Host,
    guest: &GuestRef,
    order: &Order,
) -> impl Future<Output = Result<Observation, CallError>> + Send + use<> {
    let (guest, deadline) = (guest.clone(), order.deadline);
    host.ask(order, move |hypervisor| {
        hypervisor.observe(&guest, deadline)
    })
}

/// Enters one hypervisor's answer. An order that is not wanted any more ends the survey.
fn enter(
    survey: &mut Survey,
    number: usize,
    name: &str,
    answer: Result<Observation, CallError>,
) -> Result<(), FleetError> {
    match answer {
        Ok(seen) => survey.add(number, name, Ok(seen)),
        Err(CallError::Hypervisor(error)) => survey.add(number, name, Err(error)),
        Err(CallError::Fleet(error @ (FleetError::Withdrawn | FleetError::TooLate))) => {
            return Err(error);
        }
        Err(CallError::Fleet(error)) => survey.silent.push(error.to_string()),
    }
    Ok(())
}

/// What tells guests of a list apart: the UUID; the name where a platform lists guests without their UUIDs (vCenter by REST).
type Identity = (Uuid, Option<String>);

/// Of a guest that two hypervisors know, the one that runs is shown.
fn merge(guests: &mut BTreeMap<Identity, Observation>, seen: Observation) {
    let uuid = seen.guest.uuid;
    let identity = (uuid, uuid.is_nil().then(|| seen.guest.name.clone()));
    match guests.get_mut(&identity) {
        None => {
            guests.insert(identity, seen);
        }
        Some(known) if !known.active && seen.active => *known = seen,
        Some(_) => {}
    }
}

impl Fleet for Standalone {
    fn locate(&self, guest: &GuestRef, deadline: Deadline) -> BoxFuture<'_, Presence> {
        let order = Order {
            guest: guest.clone(),
            deadline,
            given_up: CancellationToken::new(),
        };
        Box::pin(async move {
            self.survey(&order.guest, &order)
                .await
                .map_or(Presence::CannotTell, |survey| survey.presence())
        })
    }

    fn status(&self, order: Order) -> BoxFuture<'_, Result<StatusReport, FleetError>> {
        Box::pin(self.do_status(order))
    }

    fn off(&self, order: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>> {
        Box::pin(self.do_off(order))
    }

    fn on(&self, order: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>> {
        Box::pin(self.do_on(order))
    }

    fn reboot(&self, order: Order) -> BoxFuture<'_, Result<Rebooting, FleetError>> {
        Box::pin(self.do_reboot(order))
    }

    fn list(&self, deadline: Deadline) -> BoxFuture<'_, Inventory> {
        Box::pin(self.do_list(deadline))
    }

    fn health(&self, deadline: Deadline) -> BoxFuture<'_, Health> {
        Box::pin(self.do_health(deadline))
    }

    fn afresh(&self) {
        self.sessions.afresh();
    }

    fn farewell(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.sessions.ended())
    }
}

#[cfg(test)]
mod tests {
    use hypervisor::memory::{MemoryGuest, MemoryHypervisor};

    use super::*;

    fn order(limit: Duration) -> Order {
        Order {
            guest: GuestRef::parse("vm1"),
            deadline: Deadline::after(limit),
            given_up: CancellationToken::new(),
        }
    }

    /// A reload puts a new fleet beside an old one that is about to start a guest again. An `off`
    /// through the new one must not be confirmed before that start.
    #[tokio::test]
    async fn two_fleets_do_not_act_on_one_guest_at_once() {
        let host = MemoryHypervisor::new("memory");
        host.add(MemoryGuest::running("vm1"));
        let auditor = Auditor::none();
        let fleet = || {
            let mut fleet = Standalone::new(vec![Arc::new(host.clone())], &auditor);
            fleet.locks = Locks::of_this_process();
            fleet
        };
        let (old, new) = (fleet(), fleet());
        let long = Duration::from_secs(20);
        let rebooting = old.do_reboot(order(long)).await.unwrap();
        let early = new.do_off(order(Duration::from_millis(100))).await;
        assert!(matches!(early, Err(FleetError::TooLate)), "{early:?}");
        let off = new.do_off(order(long));
        let (off, restarted) = tokio::join!(off, rebooting.restart.unwrap());
        restarted.unwrap();
        assert_eq!(off.unwrap().len(), 1);
        assert!(!host.guest("vm1").unwrap().active);
    }

    /// A platform may list guests without their UUIDs; they are different guests all the same.
    #[tokio::test]
    async fn a_list_without_uuids_holds_every_guest_once() {
        let host = MemoryHypervisor::new("memory");
        for name in ["vm1", "vm2"] {
            let mut guest = MemoryGuest::running(name);
            guest.uuid = Uuid::nil();
            host.add(guest);
        }
        let auditor = Auditor::none();
        let fleet = Standalone::new(vec![Arc::new(host.clone()), Arc::new(host)], &auditor);
        let inventory = fleet
            .do_list(Deadline::after(Duration::from_secs(20)))
            .await;
        let names: Vec<&str> = inventory
            .guests
            .iter()
            .map(|seen| seen.guest.name.as_str())
            .collect();
        assert_eq!(names, ["vm1", "vm2"]);
    }
}
