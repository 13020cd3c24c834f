//! `fence_scsi`: a node is cut off from shared storage by SCSI-3 persistent reservations.
//!
//! ```text
//! options ─ config ─▶ plan (key ◀─ cmap ◀─ corosync-cmapctl) ─┐
//!                     discover (vgs) ─▶ devices ──────────────┴▶ act ─▶ same, parallel ─▶ each device: admit, cut, look
//!                                                                 │                          └▶ reach ─▶ disk::ScsiDevice
//!                                                                 └▶ state (/var/run/cluster.key, .dev)
//! watchdog (fence_scsi_check) ─▶ state, reach
//! ```
//!
//! What a node may do is decided by the device, and asked of it after every change: no action reports what was only sent.

mod act;
mod admit;
mod check;
mod cmap;
mod config;
mod cut;
mod discover;
mod key;
mod look;
mod parallel;
mod plan;
pub(crate) mod program;
mod reach;
mod same;
mod state;
mod table;

use std::path::Path;
use std::time::Duration;

use deadline::Deadline;
use fence_agent::{Behaviour, Exit, Failure, Options, Session};
use scsi::pr::Key;

use act::Work;
pub use check::check;
use cmap::Cluster;
pub use config::Config;
use config::{Device, Subject};
use plan::Whom;
use reach::Machine;
use state::Store;
pub use table::FENCE_SCSI;

/// What is kept of the run's time for reporting that a device took too long.
const REPORTING: Duration = Duration::from_secs(2);

/// The behaviour of `fence_scsi`.
#[derive(Debug)]
pub struct Scsi;

impl Behaviour for Scsi {
    type Config = Config;

    fn check(&self, options: &Options) -> Result<Config, Vec<String>> {
        Config::new(options)
    }

    fn run(
        &self,
        config: Config,
        options: &Options,
        session: &mut Session,
    ) -> Result<Exit, Failure> {
        let action = options.action().name;
        let about = about(&config, action, session)?;
        let store = Store::default();
        let devices = devices(&config, action, &store, session)?;
        let work = Work {
            reach: &Machine::Agent,
            store: &store,
            devices: &devices,
            aptpl: config.aptpl,
            read_only: config.read_only,
            logfile: config.logfile.as_deref(),
        };
        let end = session.deadline();
        session
            .guard("waiting for a device")
            .map_err(|error| Failure::unreachable(format!("no thread can be started: {error}")))?;
        let margin = REPORTING.min(end.remaining() / 4);
        session.set_deadline(end.within(end.remaining().saturating_sub(margin)));
        match (action, about) {
            ("monitor", About::Itself(expected)) => work.monitor(expected, config.scheme, session),
            ("on", About::Node(node)) => work.on(node.key, session),
            ("off", About::Node(node)) => work.off(&node, session),
            ("status", About::Node(node)) => work.status(&node, session),
            _ => Err(Failure::usage(format!("unsupported action `{action}`"))),
        }
    }
}

/// Whom an action is about.
enum About {
    /// A node, this one or another.
    Node(Box<Whom>),
    /// This one; with the key it should have, if that is known.
    Itself(Option<Key>),
}

fn about(config: &Config, action: &str, session: &mut Session) -> Result<About, Failure> {
    let node = match (&config.subject, action) {
        (Subject::Key(_), "monitor") => return Ok(About::Itself(None)),
        (Subject::Key(key), _) => return Ok(About::Node(Box::new(Whom::with_key(*key)))),
        (_, "monitor") | (Subject::Nobody, _) => {
            let cluster = cluster(config, session)?;
            return Ok(About::Itself(plan::own_key(&cluster, config.scheme)));
        }
        (Subject::Node(node), _) => node,
    };
    let cluster = cluster(config, session)?;
    let whom = plan::key_of(node, &cluster, config.scheme).map_err(Failure::usage)?;
    if action == "on" {
        plan::is_here(node, &cluster).map_err(Failure::usage)?;
    }
    if let Some(doubt) = &whom.doubt {
        session.log().warning(doubt);
    }
    if let Some(other) = &whom.twin {
        let text = plan::collision(&whom, other);
        if action == "on" {
            return Err(Failure::usage(text));
        }
        // Cutting off too many nodes is bad, cutting off none of them is worse.
        session.log().warning(&text);
    }
    Ok(About::Node(Box::new(whom)))
}

fn cluster(config: &Config, session: &Session) -> Result<Cluster, Failure> {
    let limit = Deadline::after(config.program_limit);
    let ask = |keys: &[&str]| program::output(&config.cmapctl, keys, limit, session);
    // Starting a program is most of what an action costs: both at once. One that only looks at its first argument, in the place
    // of Corosync's, is asked for the rest.
    let mut told = ask(&[cmap::NAME, cmap::NODES])?;
    if !cmap::tells_nodes(&told) {
        told.push_str(&ask(&[cmap::NODES])?);
    }
    Cluster::parse(&told).map_err(Failure::refused)
}

/// The named devices, or those of shared volume groups.
fn devices(
    config: &Config,
    action: &str,
    store: &Store,
    session: &mut Session,
) -> Result<Vec<Device>, Failure> {
    if let Some(devices) = &config.devices {
        return Ok(devices.clone());
    }
    let limit = Deadline::after(config.program_limit);
    let printed = program::output(&config.vgs, &discover::VGS, limit, session)?;
    if discover::has_missing_volume(&printed) {
        return Err(Failure::refused(
            "a shared volume group has a physical volume that is not here: nobody could be cut off from it",
        ));
    }
    known(&printed, action, store)
}

/// The devices of shared volume groups in what `vgs` printed, and those that this node was unfenced with. Not only `off` asks
/// these: a node that writes to one of them is not off, and who cannot reach one of them cannot fence.
fn known(printed: &str, action: &str, store: &Store) -> Result<Vec<Device>, Failure> {
    let mut names = discover::shared_volumes(printed);
    // `on` is about those that are to be used from now on.
    if action != "on" {
        let remembered = match store.devices() {
            Ok(remembered) => remembered,
            Err(error) if error.is_missing() => Vec::new(),
            Err(error) => return Err(Failure::refused(error.to_string())),
        };
        let unseen = discover::unseen(&names, remembered, &|name| {
            Path::new(name).canonicalize().ok()
        });
        names.extend(unseen.map_err(Failure::refused)?);
    }
    if names.is_empty() {
        return Err(Failure::usage(
            "no devices: option `devices` is not given, and there is no shared volume group",
        ));
    }
    config::collect(&names).map_err(|problems| Failure::usage(problems.join("; ")))
}

#[cfg(test)]
mod tests;
