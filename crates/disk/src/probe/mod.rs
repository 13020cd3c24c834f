//! Can `fence_scsi` rely on this disk? Two initiators find out by doing it (requirement statement S50).
//!
//! ```text
//!  open ─▶ identify ─▶ in use? ─▶ exercise: register, reserve, fence, write all the same, … ─▶ clean up ─▶ Report
//!             │           └─ yes: Trouble::InUse, nothing was touched                            ▲
//!             └─ not allowed to write: infer from what the disk says                              │
//!                                              cancelled, or the disk fails ──────────────────────┘
//! ```
//!
//! A requirement that was not seen is never met: what a disk only says of itself leaves the verdict open.

mod exercise;
mod fenced;
mod flight;
mod infer;
mod lasting;
mod link;
pub mod report;
mod scratch;
mod signature;
mod writes;

use std::error::Error;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::pr::PrError;
use crate::{Address, DeviceError, OpenOptions, Paths, paths};
use exercise::Exercise;
use link::{How, Link};
use report::{Check, Mode, Report};

/// How a disk is probed.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// The disk may be written to, and its reservations changed. Without it the report only infers.
    pub destructive: bool,
    /// Also if somebody else is registered: they lose their registrations.
    pub despite_registrations: bool,
    /// Also if it holds data.
    pub despite_data: bool,
    /// The names of the two iSCSI initiators. Different ones, as those of different nodes are.
    pub initiators: [String; 2],
    /// How long one command may take.
    pub timeout: Duration,
    /// How long the target may take to come back after a restart.
    pub restart_timeout: Duration,
}

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Which disk it is, and which blocks of it are written.
    Found(report::Identity),
    /// What is tried now.
    Trying(&'static str),
    /// A requirement has been looked at.
    Checked(Check),
    /// Everything is being put back.
    CleaningUp,
}

/// Who watches a probe, and may end it.
pub trait Watcher {
    /// Something has happened.
    fn event(&mut self, event: Event);

    /// Whether the probe should end now. What it has changed is put back first.
    fn cancelled(&self) -> bool;

    /// Whether this disk may be written to: `place` are the blocks. Asked once, after it was found unused and before
    /// anything is changed.
    fn consent(&mut self, identity: &report::Identity, place: &str) -> bool;

    /// Restarts the target, and returns when that is done; `None`: cannot be done.
    ///
    /// # Errors
    /// Why it failed.
    fn restart_target(&mut self) -> Option<Result<(), String>>;
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The disk cannot be opened.
    #[error(transparent)]
    Open(#[from] DeviceError),
    /// It is nothing that can be probed.
    #[error("{0}")]
    Unfit(String),
    /// Somebody uses it. Nothing was touched.
    #[error("{0}")]
    InUse(String),
    /// Something failed on the way.
    #[error("{0}")]
    Failed(String),
    /// The watcher did not consent. Nothing was touched.
    #[error("declined; nothing was changed")]
    Declined,
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl From<PrError> for Trouble {
    fn from(error: PrError) -> Self {
        Self::Failed(said(&error))
    }
}

/// What a probe came to.
#[derive(Debug)]
pub struct Probed {
    /// What was found out.
    pub report: Report,
    /// Why the rest was not, if it ended early.
    pub ended: Option<Trouble>,
}

/// Probes a disk.
///
/// # Errors
/// If it cannot be opened, is no disk, or is in use. Nothing was changed then.
pub fn probe(
    address: &Address,
    options: &ProbeOptions,
    watcher: &mut dyn Watcher,
) -> Result<Probed, Trouble> {
    let (first, second) = ways(address, options)?;
    let timeout = options.timeout;
    let [name, other] = &options.initiators;
    let mut one = Link::open(name.clone(), first, timeout)?;
    let identity = infer::identify(&mut one)?;
    let alone = second.is_none();
    let second = second.filter(|_| options.destructive);
    let mode = if second.is_some() {
        Mode::Exercised
    } else {
        Mode::Inferred
    };
    let mut report = Report::new(address.to_string(), mode);
    report.identity = identity;
    watcher.event(Event::Found(report.identity.clone()));
    let Some(second) = second else {
        report.initiators = vec![one.name().to_owned()];
        infer::infer(&mut one, &mut report)?;
        report.judge();
        for check in &report.checks {
            watcher.event(Event::Checked(check.clone()));
        }
        let ended = (options.destructive && alone).then(|| Trouble::Unfit(ONE_PATH.to_owned()));
        return Ok(Probed { report, ended });
    };
    let mut two = Link::open(other.clone(), second, timeout)?;
    // A target may give each initiator disks of its own under the same number.
    let seen = infer::identify(&mut two)?;
    if seen != report.identity {
        return Err(Trouble::Unfit(format!(
            "the two initiators do not see the same disk: {} sees {}, {} sees {}",
            one.name(),
            in_words(&report.identity),
            two.name(),
            in_words(&seen),
        )));
    }
    report.initiators = options.initiators.to_vec();
    if let Address::Node(path) = address {
        not_held(path, options)?;
    }
    Exercise::new(one, two, report, options, watcher)?.run()
}

/// Which disk it is, for a message.
fn in_words(disk: &report::Identity) -> String {
    let name = disk.designator.as_ref().or(disk.serial.as_ref());
    let name = name.map_or("without a name of its own", String::as_str);
    format!(
        "{} ({name}, {} blocks of {} bytes)",
        disk.product, disk.blocks, disk.block_length
    )
}

/// Why a device node alone is not enough.
const ONE_PATH: &str = "one path is one initiator, and two are needed: give the disk's iscsi:// address, or a multipath device";

/// How the two initiators reach the disk; the second is missing if there is only one path.
fn ways(address: &Address, options: &ProbeOptions) -> Result<(How, Option<How>), Trouble> {
    let iscsi = |address: &crate::IscsiAddress, name: &String, instance: &str| {
        let options = OpenOptions {
            initiator: Some(name.clone()),
            instance: instance.to_owned(),
            ..OpenOptions::default()
        };
        How::Iscsi(Box::new((address.clone(), options)))
    };
    let [one, other] = &options.initiators;
    match address {
        Address::Iscsi(address) => Ok((
            iscsi(address, one, "first"),
            Some(iscsi(address, other, "second")),
        )),
        Address::Node(path) => {
            let nodes = paths(path).map_err(|error| Trouble::Unfit(chain(&error)))?;
            let multipath = Paths::default().is_multipath(path).unwrap_or(false);
            let mut nodes = nodes.into_iter();
            let first = nodes.next().unwrap_or_else(|| path.clone());
            // Several disks below one device are only the same disk if multipath says so.
            let second = nodes.next().filter(|_| multipath);
            Ok((How::Node(first), second.map(How::Node)))
        }
    }
}

/// A device that is mounted, or that another stands on, cannot be opened exclusively.
fn not_held(path: &Path, options: &ProbeOptions) -> Result<(), Trouble> {
    let exclusive = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
        .open(path);
    match exclusive {
        Err(error) if !options.despite_data => Err(Trouble::InUse(format!(
            "{} is in use on this machine ({error}): mounted, or part of another device",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// How a disk answered a command of persistent reservations, without its own name.
pub(crate) fn said(error: &PrError) -> String {
    match error {
        PrError::Conflict { .. } => "RESERVATION CONFLICT".to_owned(),
        PrError::Refused { sense, .. } => sense.to_string(),
        PrError::Status { status, .. } => status.to_string(),
        other => chain(other),
    }
}

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    text
}
