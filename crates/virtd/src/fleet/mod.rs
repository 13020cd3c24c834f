//! The set of hosts that together know where every guest runs.
//!
//! The daemon's other parts speak to a [`Fleet`] and do not know which mode runs behind it. Today
//! there is one, [`standalone`]: the hypervisors named in the configuration are all there is, and
//! guests do not migrate. A mode in which the host cluster tracks guests, or a message bus does,
//! is another row of [`MODES`].

mod ended;
pub mod standalone;
mod workers;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use deadline::Deadline;
use hypervisor::{Evidence, GuestRef, Observation};
use tokio_util::sync::CancellationToken;

use crate::audit::{Auditor, Outcome};
use crate::config::grammar::Spanned;
use crate::config::section::View;
pub use ended::Ended;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One mode and how its section is read.
#[derive(Debug)]
pub struct Mode {
    /// The value of `backend` that selects it.
    pub backend: &'static str,
    /// Reads its section of `backends`; the second argument is the value of `backend`. None if it
    /// remarked on an error.
    pub read: fn(&View<'_>, &Spanned) -> Option<Box<dyn FleetPlan>>,
}

/// Every mode of this build.
pub const MODES: &[Mode] = &[standalone::MODE];

/// Back ends of the C daemon, of this and of older releases, that this build does not have.
pub const NOT_IN_THIS_BUILD: [&str; 6] = [
    "cpg",
    "checkpoint",
    "libvirt-qmf",
    "libvirt-qpid",
    "pm-fence",
    "null",
];

/// A fleet as configured, not yet connected to anything.
pub trait FleetPlan: fmt::Debug + Send + Sync {
    /// The plan in one line, without secrets.
    fn describe(&self) -> String;

    /// As [`Self::describe`], and different when a secret has changed; for comparison only. The secret does not follow from it.
    fn identity(&self) -> String {
        self.describe()
    }

    /// Where the configuration names something that reaches farther than one host, so that it matters more who may ask.
    fn front(&self) -> Option<Range<usize>> {
        None
    }

    /// Reads what the configuration only names: secrets, certificates.
    ///
    /// # Errors
    /// What is missing or open to others, in words for the administrator.
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Makes the fleet; two plans of the same identity make the same. It connects, and reconnects for ever, on its own; nothing is awaited here.
    ///
    /// # Errors
    /// When it cannot even begin, in words for the administrator.
    fn build(&self, auditor: &Auditor) -> Result<Arc<dyn Fleet>, String>;
}

/// One request, as the fleet sees it.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which guest.
    pub guest: GuestRef,
    /// Nothing is begun after this.
    pub deadline: Deadline,
    /// Cancelled when whoever asked no longer waits: what has not begun by then never will (W6).
    pub given_up: CancellationToken,
}

impl Order {
    /// Why nothing may be begun any more, if so.
    ///
    /// # Errors
    /// [`FleetError::Withdrawn`] or [`FleetError::TooLate`].
    pub fn check(&self) -> Result<(), FleetError> {
        if self.given_up.is_cancelled() {
            Err(FleetError::Withdrawn)
        } else if self.deadline.has_passed() {
            Err(FleetError::TooLate)
        } else {
            Ok(())
        }
    }
}

/// Whether this fleet is the one to answer for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It knows the guest.
    Known,
    /// All of it was asked, and none of it knows the guest.
    Unknown,
    /// Not all of it could be asked.
    CannotTell,
}

/// Whether a guest is on. What is neither known to be on nor known to be off is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is on: running, paused, crashed, or anything else that may still write.
    On,
    /// It is off everywhere.
    Off,
}

/// A guest's status and what shows it.
#[derive(Debug, Clone)]
pub struct StatusReport {
    /// On or off.
    pub status: Status,
    /// What was seen, and by whom.
    pub observations: Vec<Observation>,
}

/// A guest that was powered off for a reboot.
pub struct Rebooting {
    /// What proves that it is off.
    pub evidence: Vec<Evidence>,
    /// The second half: starts it again. None if it was off before and stays off. To be run to its
    /// end; until then other requests for the guest wait.
    pub restart: Option<BoxFuture<'static, Result<Evidence, FleetError>>>,
}

impl fmt::Debug for Rebooting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rebooting")
            .field("evidence", &self.evidence)
            .field("restart", &self.restart.is_some())
            .finish()
    }
}

/// Every guest that could be asked for.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The guests, by name, each once.
    pub guests: Vec<Observation>,
    /// Who did not answer, and why: their guests are not in the list.
    pub silent: Vec<String>,
}

/// Who answers, and who does not.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Those that answered.
    pub well: Vec<String>,
    /// Those that did not, and why.
    pub ill: Vec<String>,
}

/// Why an order was not carried out, or not with a known result. None of these means "off".
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Everybody who could know was asked, and nobody knows the guest.
    #[error("no such guest: {0}")]
    NoSuchGuest(String),
    /// Somebody who may know could not be asked, and nothing was switched.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever knows said no, and nothing was switched.
    #[error("{0}")]
    Refused(String),
    /// Something may have been switched, or may run elsewhere, and nobody can tell.
    #[error("{0}")]
    CannotKnow(String),
    /// The requester had given up before anything was begun.
    #[error("the requester gave up before anything was done; nothing was switched")]
    Withdrawn,
    /// The deadline had passed before anything was begun.
    #[error("the deadline passed before anything was done; nothing was switched")]
    TooLate,
}

impl FleetError {
    /// How it is called in the audit log.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NoSuchGuest(_) => Outcome::NoSuchGuest,
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::Refused(_) => Outcome::Refused,
            Self::CannotKnow(_) => Outcome::CannotKnow,
            Self::Withdrawn => Outcome::Withdrawn,
            Self::TooLate => Outcome::TooLate,
        }
    }
}

/// Whoever answers requests for guests, as a whole.
///
/// Every success carries evidence; "cannot know" is an error.
pub trait Fleet: Send + Sync {
    /// Whether this fleet should answer for `guest` at all.
    fn locate(&self, guest: &GuestRef, deadline: Deadline) -> BoxFuture<'_, Presence>;

    /// Asks for the guest's power state.
    fn status(&self, order: Order) -> BoxFuture<'_, Result<StatusReport, FleetError>>;

    /// Powers the guest off wherever it runs, and confirms that it is off everywhere.
    fn off(&self, order: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>>;

    /// Powers the guest on in one place, unless it is on anywhere.
    fn on(&self, order: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>>;

    /// Powers the guest off and prepares to start it again.
    fn reboot(&self, order: Order) -> BoxFuture<'_, Result<Rebooting, FleetError>>;

    /// Lists every guest.
    fn list(&self, deadline: Deadline) -> BoxFuture<'_, Inventory>;

    /// Asks everybody whether they are there.
    fn health(&self, deadline: Deadline) -> BoxFuture<'_, Health>;

    /// Forgets what it holds against anybody for a while, such as a login that was refused: the administrator may have mended it.
    fn afresh(&self) {}

    /// Ends when the fleet has been dropped by everybody and has closed its sessions, or failed to. To be taken before it is
    /// dropped.
    fn farewell(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A deadline for tokio's clock.
pub(crate) fn tokio_instant(deadline: Deadline) -> tokio::time::Instant {
    let instant: Instant = deadline.instant();
    instant.into()
}
