//! Where guests run and where they may: two members of a cluster on one host fail together.
//!
//! What a platform calls it: affinity groups and pinning (oVirt, S29), DRS rules (VMware), anti-affinity class names and possible
//! owners (Hyper-V). libvirt has none: there only [`Placement::hosts`], [`Placement::whereabouts`] and [`Placement::migrate`] work.
//!
//! "Nobody can say where it is" is an error of its own ([`crate::ErrorKind::CannotKnow`]): a guest in flight between two hosts, or
//! one that no host has while one of the hosts cannot be asked. It is never "runs nowhere".

use deadline::Deadline;
use serde::Serialize;

use crate::{Error, Guest, GuestRef};

/// A host that guests run on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Host {
    /// What the platform's interface calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it can take guests now: up, connected, not in maintenance.
    pub usable: bool,
}

/// Where a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whereabouts {
    /// The guest.
    pub guest: Guest,
    /// The host it runs on; none while it runs nowhere.
    pub host: Option<Host>,
    /// The only hosts it may run on; empty when it is free.
    pub pinned_to: Vec<Host>,
    /// Whether the platform would move it by itself: balancing, maintenance, restart after a host's failure.
    pub moves_by_itself: bool,
}

/// A rule of the platform that keeps guests apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Apart {
    /// The rule's name.
    pub name: String,
    /// Whom it keeps apart.
    pub guests: Vec<Guest>,
    /// Whether it holds even if a guest then cannot run. Otherwise best effort.
    pub mandatory: bool,
    /// Why it does nothing at present (balancing switched off, rule disabled …); none when it is in force.
    pub ineffective: Option<String>,
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was so already.
    Already,
    /// It is so now, read back after the change.
    Now,
    /// It is stored and takes effect when the guest starts next.
    AtNextStart,
}

impl Host {
    /// Whether `wanted` is its id or its name. Host names are compared without regard to case.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        self.id == wanted || self.name.eq_ignore_ascii_case(wanted)
    }
}

/// A platform that tells and decides where guests run. It need not be one [`crate::Hypervisor`]: several libvirt hosts together
/// are one as well.
pub trait Placement: Send + Sync {
    /// Every host that guests of this platform may run on. One that cannot be reached is listed, and not usable.
    ///
    /// # Errors
    /// As [`crate::Hypervisor::list`].
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error>;

    /// Where a guest is.
    ///
    /// # Errors
    /// As [`crate::Hypervisor::observe`]; [`Error::Refused`] when the login may not see hosts; [`Error::NotConfirmed`] when nobody can
    /// say, as for a guest that is being migrated.
    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error>;

    /// The rules that keep any of these guests apart from another guest.
    ///
    /// # Errors
    /// [`Error::Refused`] when the platform has no such rules, or the login may not read them.
    fn rules(&self, guests: &[GuestRef], deadline: Deadline) -> Result<Vec<Apart>, Error>;

    /// Makes a rule of this name keep exactly these guests apart, creating or changing it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the platform has no such rules, or said no.
    fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error>;

    /// Lets the guest run on these hosts only (names or ids); none: anywhere.
    ///
    /// # Errors
    /// As [`Placement::keep_apart`].
    fn pin(&self, guest: &GuestRef, hosts: &[String], deadline: Deadline)
    -> Result<Changed, Error>;

    /// Moves a running guest to this host (name or id) and sees it run there.
    ///
    /// # Errors
    /// [`Error::NotConfirmed`] when it was not seen there by the deadline.
    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error>;
}
