//! The server: portals, sessions, targets and their logical units.
//!
//! See `ARCHITECTURE.md` of this crate for how the parts fit together.

mod admin;
mod buffer;
mod command;
mod connection;
mod identity;
mod letter;
mod link;
mod login;
mod mailbox;
mod metrics;
mod order;
mod portal;
mod receiver;
mod reload;
mod sender;
mod sessions;
mod slots;
mod targets;
mod tasks;
mod unit;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use deadline::Deadline;
use iscsi::login::Credentials;
use scsi::pr::RelativePort;

use crate::config::{Config, LunOptions, PortalAddress, TargetOptions};

use admin::DROP_LIMIT;
pub(crate) use admin::chain;
pub use admin::{
    Admin, AdminError, RegistrationInfo, ReservationInfo, SessionInfo, TargetInfo, UnitInfo,
};
pub(crate) use mailbox::Mailbox;
pub use reload::{ReloadError, Reloaded};
pub use unit::{Gate, UnitError};

use identity::UnitName;
use letter::{Ending, Letter};
use portal::{Guests, Portal};
use sessions::{Session, Sessions};
use targets::{Access, Target, Targets, Units};
use unit::{Surroundings, Unit};

/// How long connections have to end after they have been told to for the last time.
const LAST_LIMIT: Duration = Duration::from_secs(10);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The directory of journals cannot be made.
    #[error("cannot make the directory {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A disk cannot be served.
    #[error("cannot serve {} as {target} LUN {lun}", path.display())]
    Unit {
        /// Which.
        path: PathBuf,
        /// Of which target.
        target: String,
        /// Its number.
        lun: u16,
        /// Why.
        source: UnitError,
    },
    /// No thread, no descriptor, no random numbers.
    #[error("the system has no resources left")]
    System(#[from] io::Error),
}

/// Why an end is not a clean one. The server has ended all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// What initiators have written, and was acknowledged while there was a write cache, may be lost.
    #[error("what was written cannot be made durable: {}", .0.join("; "))]
    Unwritten(Vec<String>),
    /// Commands did not end, nor did a change that was under way.
    #[error("commands are still at the disks, or a disk is still being closed")]
    Unfinished,
}

/// What the server has done since its start.
#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    turned_away: AtomicU64,
    logins: AtomicU64,
    logins_failed: AtomicU64,
    sessions_ended: AtomicU64,
}

/// What all threads share.
struct Shared {
    config: Config,
    targets: Targets,
    sessions: Arc<Sessions>,
    guests: Arc<Guests>,
    /// Where connections are accepted.
    portals: Mutex<Vec<Portal>>,
    /// Who may look for targets; anybody if empty.
    discovery: RwLock<Vec<Credentials>>,
    stopping: AtomicBool,
    counters: Counters,
    gate: Option<Arc<dyn Gate>>,
    /// Changes of targets are made one after the other.
    changes: Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Bytes that nobody can guess.
    #[expect(
        clippy::unused_self,
        reason = "where they come from is the server's choice"
    )]
    fn random(&self, bytes: &mut [u8]) {
        // It fails only on systems without the call; a challenge that can be guessed would be worse than none.
        if let Err(error) = getrandom::fill(bytes) {
            tracing::error!("no random numbers: {error}");
            std::process::abort();
        }
    }

    /// Where targets are reached, as an initiator that came to `local` can reach them: what listens on all addresses is
    /// told by the address it came to.
    fn addresses(&self, local: SocketAddr) -> Vec<String> {
        self.portals()
            .iter()
            .map(Portal::listens)
            .filter_map(|portal| {
                let mut address = portal.address;
                if address.ip().is_unspecified() {
                    if address.is_ipv6() != local.is_ipv6() {
                        return None;
                    }
                    address.set_ip(local.ip());
                }
                Some(format!("{address},{}", portal.group))
            })
            .collect()
    }

    fn portals(&self) -> MutexGuard<'_, Vec<Portal>> {
        // Nothing that is done under this lock can leave it half done.
        self.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn portals_configured(&self) -> Vec<PortalAddress> {
        self.portals()
            .iter()
            .map(|portal| portal.configured)
            .collect()
    }

    /// Whether a connection that came to `local` came through a portal of this group.
    fn listens_at(&self, local: SocketAddr, group: u16) -> bool {
        let of = |portal: &Portal| {
            let PortalAddress {
                address,
                group: its,
            } = portal.listens();
            let ip = address.ip();
            its == group
                && address.port() == local.port()
                && (ip == local.ip() || ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4())
        };
        self.portals().iter().any(of)
    }

    /// Portals come and go. Those that went.
    fn change_portals(&self, opened: Vec<Portal>, closed: &[PortalAddress]) -> Vec<Portal> {
        let mut portals = self.portals();
        let former = portals
            .extract_if(.., |portal| closed.contains(&portal.configured))
            .collect();
        for portal in &opened {
            portal.begin();
        }
        portals.extend(opened);
        drop(portals);
        let ports = self.ports();
        for target in self.targets.all() {
            for unit in target.units().values() {
                unit.set_ports(&ports);
            }
        }
        former
    }

    fn ports(&self) -> Vec<RelativePort> {
        let portals = self.portals_configured();
        let mut ports: Vec<_> = portals.iter().map(|portal| portal.group).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.into_iter().map(RelativePort).collect()
    }

    fn discovery(&self) -> Vec<Credentials> {
        let discovery = self.discovery.read();
        discovery.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits for a change of targets that is under way, and keeps others from beginning; `None` if it has not ended by `deadline`.
    fn await_changes(&self, deadline: Deadline) -> Option<MutexGuard<'_, ()>> {
        const NOW_AND_THEN: Duration = Duration::from_millis(20);
        loop {
            match self.changes.try_lock() {
                Ok(alone) => return Some(alone),
                // It failed half-way, and will do nothing more.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if deadline.has_passed() => return None,
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(NOW_AND_THEN.min(deadline.remaining()));
                }
            }
        }
    }

    /// A target has other disks: who is logged in is told.
    fn change_units(&self, target: &Target, units: Units) {
        target.set_units(units);
        for unit in target.units().values() {
            unit.luns_changed();
        }
        let of = |session: &Session| session.target == target.name.as_str();
        self.sessions.post(&Letter::UnitsChanged, of);
    }

    /// The journals of disks that are served, and of those that are about to be: none of them is another disk's.
    fn claimed<'a>(&self, coming: impl IntoIterator<Item = &'a TargetOptions>) -> BTreeSet<String> {
        let mut claimed = BTreeSet::new();
        for target in self.targets.all() {
            claimed.extend(target.units().values().map(|unit| unit.name().journal()));
        }
        for target in coming {
            let names = target
                .luns
                .iter()
                .filter_map(|lun| UnitName::of(target.name.as_str(), &lun.disk).ok());
            claimed.extend(names.map(|name| name.journal()));
        }
        claimed
    }

    fn open_unit(
        &self,
        target: &str,
        lun: &LunOptions,
        claimed: &BTreeSet<String>,
    ) -> Result<Arc<Unit>, UnitError> {
        let around = Surroundings {
            target,
            ports: self.ports(),
            journals: &self.config.state,
            claimed,
            gate: self.gate.clone(),
        };
        Unit::open(&lun.disk, &around).map(Arc::new)
    }

    fn open_target(
        &self,
        options: &TargetOptions,
        claimed: &BTreeSet<String>,
    ) -> Result<Target, StartError> {
        let mut units = Units::new();
        for lun in &options.luns {
            let unit = self
                .open_unit(options.name.as_str(), lun, claimed)
                .map_err(|source| StartError::Unit {
                    path: lun.disk.path.clone(),
                    target: options.name.to_string(),
                    lun: lun.number,
                    source,
                })?;
            units.insert(lun.number, unit);
        }
        let access = Access {
            own: options.own.clone(),
            initiators: options.initiators.clone(),
        };
        Ok(Target::new(options.name.clone(), access, units))
    }
}

/// Makes a directory, and its name durable: the journals in it are to survive a loss of power.
fn make_durably(directory: &Path) -> io::Result<()> {
    let missing = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.exists();
    let new: Vec<_> = directory.ancestors().take_while(missing).collect();
    std::fs::create_dir_all(directory)?;
    for made in new {
        let parent = made
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        let made = made.display();
        tracing::info!("made {made}: no registrations are known from before");
    }
    Ok(())
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens all disks, listens on all addresses, and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, None)
    }

    /// The same, with a `gate` before every medium.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(config: Config, gate: Option<Arc<dyn Gate>>) -> Result<Self, StartError> {
        make_durably(&config.state).map_err(|source| StartError::State {
            path: config.state.clone(),
            source,
        })?;
        let mut listeners = Vec::new();
        for portal in &config.listen {
            let listener = Portal::bind(portal.address).map_err(|source| StartError::Listen {
                address: portal.address,
                source,
            })?;
            listeners.push((listener, *portal));
        }
        let shared = Arc::new(Shared {
            targets: Targets::default(),
            sessions: Arc::default(),
            guests: Arc::default(),
            portals: Mutex::default(),
            discovery: RwLock::new(config.discovery.clone()),
            stopping: AtomicBool::new(false),
            counters: Counters::default(),
            gate,
            changes: Mutex::new(()),
            config,
        });
        // From here on whatever fails ends the threads of the portals.
        let server = Self { shared };
        let shared = &server.shared;
        for (listener, configured) in listeners {
            let portal = Portal::prepare(shared, listener, configured)?;
            shared.portals().push(portal);
        }
        let claimed = shared.claimed(&shared.config.targets);
        for target in &shared.config.targets {
            shared.targets.add(shared.open_target(target, &claimed)?);
        }
        for portal in shared.portals().iter() {
            portal.begin();
        }
        Ok(server)
    }

    /// Where connections are accepted: with the ports that were chosen where none was given.
    #[must_use]
    pub fn portals(&self) -> Vec<SocketAddr> {
        let portals = self.shared.portals();
        portals
            .iter()
            .map(|portal| portal.listens().address)
            .collect()
    }

    /// Ends: nothing is accepted any more, initiators are asked to log out and have some seconds for it, what is at the
    /// disks is finished, what is cached is written.
    ///
    /// # Errors
    /// [`StopError`]
    pub fn stop(mut self) -> Result<(), StopError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StopError> {
        if self.shared.stopping.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Not under the lock: their threads may be waiting for it.
        let portals = std::mem::take(&mut *self.shared.portals());
        drop(portals);
        for owner in self.shared.guests.owners() {
            owner.post(Letter::End(Ending::Stopping));
        }
        let patience = self.shared.config.timeouts.stop + LAST_LIMIT;
        let deadline = Deadline::after(patience);
        let all_gone = self.shared.sessions.await_absence(|_| true, deadline);
        if !all_gone {
            tracing::warn!("sessions remain: commands are still at the disks");
        }
        // A disk that is being removed is no target's any more, and may have writes that are not durable yet.
        let changing = if all_gone { DROP_LIMIT } else { Duration::ZERO };
        let alone = self.shared.await_changes(Deadline::after(changing));
        if alone.is_none() {
            tracing::warn!(
                "a change is under way still: a disk that was removed is not closed yet"
            );
        }
        let mut lost = Vec::new();
        for target in self.shared.targets.all() {
            for (lun, unit) in target.units().iter() {
                let begun = Instant::now();
                if let Err(failure) = unit.store().flush() {
                    let target = target.name.as_str();
                    tracing::error!(
                        target,
                        lun,
                        "what was written cannot be made durable: {failure}"
                    );
                    lost.push(format!("{target} LUN {lun}: {failure}"));
                }
                tracing::debug!(lun, took = ?begun.elapsed(), "flushed");
            }
        }
        match (lost.is_empty(), all_gone && alone.is_some()) {
            (false, _) => Err(StopError::Unwritten(lost)),
            (true, false) => Err(StopError::Unfinished),
            (true, true) => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is wrong has been logged. Whoever wants to know it calls `stop`.
        let _ = self.end();
    }
}
