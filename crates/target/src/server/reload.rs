//! The configuration read again: what it says now is served, and who is not concerned notices nothing.
//!
//! ```text
//!  read ─▶ compare ─▶ prepare: open disks, listen ─▶ commit ─▶ end who has lost its place ─▶ close what is left
//!    └────────┴──────────────┴─ refused: nothing has changed        └─ cannot fail; what does not end is told
//! ```
//!
//! Until everything that can fail is done, nothing has changed. A disk that keeps its target, its identity and its options stays
//! as it is, with its reservations and the commands that are under way, under whatever number.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use deadline::Deadline;
use iscsi::login::Credentials;
use serde::{Deserialize, Serialize};

use crate::config::{
    self, Config, ConfigError, DiskOptions, InitiatorOptions, LunOptions, Name, PortalAddress,
    TargetOptions,
};
use crate::server::admin::DROP_LIMIT;
use crate::server::identity::UnitName;
use crate::server::letter::{Ending, Letter};
use crate::server::portal::Portal;
use crate::server::sessions::Session;
use crate::server::targets::{Access, Target, Units, same_account};
use crate::server::unit::{Closed, Unit};
use crate::server::{Admin, Shared, chain};

/// Why a configuration is not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The server was started without one.
    #[error("the server was started without a configuration file: there is nothing to read again")]
    NoFile,
    /// It is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Some of it cannot be done while the server runs, or not now.
    #[error("nothing has changed: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// The server ends.
    #[error("the server stops")]
    Stopping,
    /// A bug in the server.
    #[error("the server is broken: a change before this one failed half-way")]
    Broken,
}

/// What has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Each change, in a line.
    pub done: Vec<String>,
    /// What has been removed and is still in use, or has lost writes.
    pub trouble: Vec<String>,
}

/// What is to be done, with everything opened that has to be.
#[derive(Default)]
struct Plan {
    /// The journals of all disks, those of before and those to come.
    claimed: BTreeSet<String>,
    done: Vec<String>,
    refused: Vec<String>,
    /// Targets that are there already: with whom they let in, and their disks.
    kept: Vec<(Arc<Target>, Access, Option<Units>)>,
    added: Vec<Target>,
    removed: Vec<Arc<Target>>,
    /// Disks that are served no more, of targets that are.
    left: Vec<(String, Arc<Unit>)>,
    opened: Vec<Portal>,
    closed: Vec<PortalAddress>,
}

impl Admin {
    /// Reads the configuration file again, and serves what it says.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let file = self.shared.config.file.as_deref();
        let file = file.ok_or(ReloadError::NoFile)?;
        self.change_to(config::load(file)?)
    }

    /// Serves what `config` says.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing has changed.
    pub fn change_to(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let shared = &self.shared;
        let _alone = shared.changes.lock().map_err(|_| ReloadError::Broken)?;
        if shared.is_stopping() {
            return Err(ReloadError::Stopping);
        }
        let plan = shared.plan(&config);
        if !plan.refused.is_empty() {
            return Err(ReloadError::Refused(plan.refused));
        }
        let reloaded = shared.commit(plan, config);
        for line in &reloaded.done {
            tracing::info!("configuration read again: {line}");
        }
        for line in &reloaded.trouble {
            tracing::error!("configuration read again: {line}");
        }
        Ok(reloaded)
    }
}

impl Shared {
    /// Everything that can fail.
    fn plan(self: &Arc<Self>, config: &Config) -> Plan {
        let mut plan = Plan {
            claimed: self.claimed(&config.targets),
            refused: fixed(&self.config, config),
            ..Plan::default()
        };
        self.plan_portals(config, &mut plan);
        let same = |one: &Credentials, other: &Credentials| same_account(one, other);
        if !alike(&self.discovery(), &config.discovery, same) {
            plan.done.push("who may look for targets".to_owned());
        }
        let wanted: BTreeSet<&Name> = config.targets.iter().map(|target| &target.name).collect();
        for target in self.targets.all() {
            if !wanted.contains(&target.name) {
                plan.done.push(format!("target {} removed", target.name));
                plan.removed.push(target);
            }
        }
        for options in &config.targets {
            match self.targets.find(options.name.as_str()) {
                Some(target) => self.plan_target(&target, options, &mut plan),
                None => self.plan_new_target(options, &mut plan),
            }
        }
        plan
    }

    fn plan_portals(self: &Arc<Self>, config: &Config, plan: &mut Plan) {
        let known = self.portals_configured();
        for wanted in &config.listen {
            if known.contains(wanted) {
                continue;
            }
            if let Some(other) = known.iter().find(|one| same_place(one, wanted)) {
                plan.refused.push(format!(
                    "{} cannot go from portal group {} to {} while it is listened on: remove it first",
                    wanted.address, other.group, wanted.group
                ));
                continue;
            }
            let portal = Portal::bind(wanted.address)
                .and_then(|listener| Portal::prepare(self, listener, *wanted));
            match portal {
                Ok(portal) => {
                    plan.done.push(format!("listening on {wanted}"));
                    plan.opened.push(portal);
                }
                Err(error) => plan
                    .refused
                    .push(format!("cannot listen on {}: {error}", wanted.address)),
            }
        }
        for gone in known {
            let stays = config.listen.contains(&gone);
            if !stays && !config.listen.iter().any(|one| same_place(one, &gone)) {
                plan.done.push(format!("not listening on {gone} any more"));
                plan.closed.push(gone);
            }
        }
    }

    fn plan_new_target(&self, options: &TargetOptions, plan: &mut Plan) {
        let mut units = Units::new();
        for lun in &options.luns {
            if let Some(unit) = self.plan_new_unit(&options.name, lun, plan) {
                units.insert(lun.number, unit);
            }
        }
        plan.done.push(format!("target {} added", options.name));
        plan.added
            .push(Target::new(options.name.clone(), access(options), units));
    }

    fn plan_target(&self, target: &Arc<Target>, options: &TargetOptions, plan: &mut Plan) {
        let name = &options.name;
        let old = target.units();
        let mut new = Units::new();
        for lun in &options.luns {
            let identity = match UnitName::of(name.as_str(), &lun.disk) {
                Ok(identity) => identity,
                Err(error) => {
                    plan.refused
                        .push(format!("target {name}: {}", chain(&error)));
                    continue;
                }
            };
            let known = old.iter().find(|(_, unit)| *unit.name() == identity);
            let unit = match known {
                Some((_, unit)) if !same_disk(unit.options(), &lun.disk) => {
                    plan.refused.push(format!(
                        "target {name}: the options of {} cannot change while it is served: remove it first, and read the \
                         configuration again",
                        lun.disk.path.display()
                    ));
                    None
                }
                Some((number, unit)) => {
                    if *number != lun.number {
                        let text = format!("target {name}: LUN {number} is LUN {} now", lun.number);
                        plan.done.push(text);
                    }
                    Some(Arc::clone(unit))
                }
                None => self.plan_new_unit(name, lun, plan),
            };
            new.extend(unit.map(|unit| (lun.number, unit)));
        }
        for (number, unit) in old.iter() {
            if !new.values().any(|one| Arc::ptr_eq(one, unit)) {
                let what = format!("target {name} LUN {number} ({})", unit.path().display());
                plan.done.push(format!("{what} removed"));
                plan.left.push((what, Arc::clone(unit)));
            }
        }
        let access = access(options);
        if !same_access(&target.access(), &access) {
            plan.done
                .push(format!("target {name}: who may log in, and how"));
        }
        let same = old.len() == new.len()
            && old
                .iter()
                .zip(&new)
                .all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(one.1, other.1));
        plan.kept
            .push((Arc::clone(target), access, (!same).then_some(new)));
    }

    fn plan_new_unit(&self, target: &Name, lun: &LunOptions, plan: &mut Plan) -> Option<Arc<Unit>> {
        let path = lun.disk.path.display();
        let elsewhere = self.targets.all().into_iter().find(|other| {
            let units = other.units();
            other.name != *target
                && units
                    .values()
                    .any(|unit| same_file(unit.path(), &lun.disk.path))
        });
        if let Some(other) = elsewhere {
            plan.refused.push(format!(
                "target {target}: {path} is served by target {}: remove it there first, and read the configuration again",
                other.name
            ));
            return None;
        }
        // Nobody who is logged in waits for a disk that somebody has.
        let mut lun = lun.clone();
        lun.disk.store.patience = std::time::Duration::ZERO;
        match self.open_unit(target.as_str(), &lun, &plan.claimed) {
            Ok(unit) => {
                plan.done
                    .push(format!("target {target} LUN {} ({path}) added", lun.number));
                Some(unit)
            }
            Err(error) => {
                let text = format!("target {target}: cannot serve {path}: {}", chain(&error));
                plan.refused.push(text);
                None
            }
        }
    }

    /// Lets the plan count.
    fn commit(&self, plan: Plan, config: Config) -> Reloaded {
        let Plan {
            done,
            kept,
            added,
            removed,
            left,
            opened,
            closed,
            ..
        } = plan;
        *self
            .discovery
            .write()
            .unwrap_or_else(PoisonError::into_inner) = config.discovery;
        for target in &removed {
            self.targets.remove(&target.name);
        }
        for (target, access, units) in kept {
            target.set_access(access);
            if let Some(units) = units {
                self.change_units(&target, units);
            }
        }
        for target in added {
            self.targets.add(target);
        }
        let former = self.change_portals(opened, &closed);
        // Their threads have ended once they are dropped: nobody comes in that way any more.
        drop(former);
        let lost = |session: &Session| !self.has_its_place(session);
        self.sessions.post(&Letter::End(Ending::Dropped), lost);
        let deadline = Deadline::after(DROP_LIMIT);
        let mut trouble = Vec::new();
        if !self.sessions.await_absence(lost, deadline) {
            trouble
                .push("sessions that were to end do not: commands are still at the disks".into());
        }
        let mut left = left;
        for target in removed {
            let of = |number| format!("target {} LUN {number}", target.name);
            let units = target.units();
            left.extend(units.iter().map(|(at, unit)| (of(*at), Arc::clone(unit))));
        }
        for (what, unit) in left {
            trouble.extend(self.leave(&what, &unit, deadline));
        }
        Reloaded { done, trouble }
    }

    /// Closes a disk that is served no more. What is wrong with its end.
    fn leave(&self, what: &str, unit: &Arc<Unit>, deadline: Deadline) -> Option<String> {
        match unit.close(deadline) {
            Closed::Unwritten(failure) => Some(format!(
                "{what}: what was written cannot be made durable: {failure}"
            )),
            // Once no session knows it any more, its medium and its journal are closed.
            Closed::Clean
                if self
                    .sessions
                    .await_that(|| Arc::strong_count(unit) == 1, deadline) =>
            {
                None
            }
            Closed::Clean | Closed::InUse => Some(format!("{what} is still in use")),
        }
    }

    /// Whether a session could log in today: its target is there and lets it in with what it proved itself with, and so is the
    /// portal it came through.
    fn has_its_place(&self, session: &Session) -> bool {
        let group = session.nexus.port.0;
        let initiator = session.nexus.initiator.name();
        let account = session.authenticated.as_ref();
        self.listens_at(session.local, group)
            && self
                .targets
                .find(&session.target)
                .is_some_and(|target| target.would_let_in(initiator, account))
    }
}

/// Port 0 is another one each time.
fn same_place(one: &PortalAddress, other: &PortalAddress) -> bool {
    one.address == other.address && one.address.port() != 0
}

/// What holds from start to end.
fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let differences = [
        ("control", old.control != new.control),
        ("state", old.state != new.state),
        ("metrics", old.metrics != new.metrics),
        ("limits", old.limits != new.limits),
        ("timeouts", old.timeouts != new.timeouts),
    ];
    differences
        .into_iter()
        .filter(|(_, differ)| *differ)
        .map(|(key, _)| format!("`{key}` cannot change while the server runs: restart it"))
        .collect()
}

fn access(options: &TargetOptions) -> Access {
    Access {
        own: options.own.clone(),
        initiators: options.initiators.clone(),
    }
}

/// How long a disk may be waited for is no matter once it is open.
fn same_disk(one: &DiskOptions, other: &DiskOptions) -> bool {
    let mut one = one.clone();
    one.store.patience = other.store.patience;
    // Nor is whether its size is said.
    if one.store.size.is_none() || other.store.size.is_none() {
        one.store.size = other.store.size;
    }
    one == *other
}

fn same_file(one: &std::path::Path, other: &std::path::Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn same_access(one: &Access, other: &Access) -> bool {
    let accounts = |one: &Option<Credentials>, other: &Option<Credentials>| match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same_account(one, other),
        _ => false,
    };
    let entries = |one: &InitiatorOptions, other: &InitiatorOptions| {
        one.name == other.name && accounts(&one.account, &other.account)
    };
    accounts(&one.own, &other.own) && alike(&one.initiators, &other.initiators, entries)
}

fn alike<T>(one: &[T], other: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
}
