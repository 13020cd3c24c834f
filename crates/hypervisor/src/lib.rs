//! What can be switched: one trait to list, observe and switch guests, with evidence.
//!
//! A [`Hypervisor`] is anything that knows guests and can end and start them. Its calls block, and
//! every one of them takes a [`Deadline`]: it returns by then, whatever the thing behind it does.
//!
//! Three rules hold for every implementation:
//!
//! 1. **Success carries evidence.** [`Evidence`] is an [`Observation`] made *after* the action by
//!    something which can know.
//! 2. **"Could not reach", "answered no" and "cannot know" are different** ([`ErrorKind`]), and none
//!    of them is "off". Neither is a name nobody knows ([`Error::NoSuchGuest`]).
//! 3. **Nothing is switched after the deadline.** The caller may have given up and a new decision
//!    may have been taken meanwhile (fact W6 of the fence_virt protocol document).
//!
//! What counts as off is decided in one place, [`Observation::power`].
//!
//! | module | hypervisor | feature |
//! |---|---|---|
//! | `libvirt` | KVM, Xen and whatever else libvirt drives | `libvirt` |
//! | `rhevm` | RHEV-M 2.2 to 3.x, oVirt 4.x | `rhevm` |
//! | `vmware` | VMware ESX(i) and vCenter 4.0 and later | `vmware` |
//! | `hyperv` | Hyper-V hosts, alone or in a failover cluster | `hyperv` |
//! | [`memory`] | guests that exist only in this process, with faults on demand | always |

pub mod address;
mod error;
mod event;
mod evidence;
mod guest;
#[cfg(feature = "hyperv")]
pub mod hyperv;
#[cfg(feature = "libvirt")]
pub mod libvirt;
mod managed;
pub mod memory;
pub mod placement;
#[cfg(feature = "rhevm")]
pub mod rhevm;
mod state;
#[cfg(feature = "vmware")]
pub mod vmware;
#[cfg(any(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
pub mod web;

use std::sync::mpsc::Receiver;

pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use event::{Change, Event};
pub use evidence::{Evidence, Means, PoweredOff, Revival};
pub use guest::{Guest, GuestRef};
pub use managed::Managed;
pub use state::{GuestState, Observation, Power};

/// Something that can list, observe and switch guests.
///
/// Implementations are shared between threads; calls on different guests do not wait for one
/// another longer than the hypervisor itself makes them.
pub trait Hypervisor: Send + Sync {
    /// What this hypervisor is called in evidence, messages and logs: for libvirt, its URI.
    fn name(&self) -> &str;

    /// Every guest the hypervisor knows, active or not, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the hypervisor gave no answer in time.
    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error>;

    /// The state of one guest, as the hypervisor answers it now.
    ///
    /// # Errors
    /// [`Error::NoSuchGuest`] only if the hypervisor itself said so; everything else that prevents an
    /// answer is another error (W4).
    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error>;

    /// Cuts the guest's power and then observes it. A guest that is off already is left alone.
    ///
    /// A saved memory image the guest could be resumed from is discarded: off means that nothing of
    /// what ran will ever write again.
    ///
    /// # Errors
    /// [`ErrorKind::CannotKnow`] when the power-off was attempted and its result could not be
    /// confirmed, or when the guest may be running on another host. No action is begun once the
    /// deadline has passed; one that was begun before may still complete, which is then reported as
    /// [`Event::LateCompletion`].
    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error>;

    /// Boots the guest afresh and observes it. A guest that is active already is left alone.
    ///
    /// `revival` is what [`Hypervisor::power_off`] returned for a transient guest, which exists only
    /// as long as it runs; it is used when the hypervisor no longer knows the guest.
    ///
    /// # Errors
    /// As for [`Hypervisor::power_off`].
    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error>;

    /// Asks the hypervisor something that it must answer itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when it did not.
    fn health(&self, deadline: Deadline) -> Result<(), Error>;

    /// What happens from now on: guests starting, stopping and migrating, the connection lost and
    /// back, actions that ended after their caller had given up.
    ///
    /// Each call makes a channel of its own. It is bounded: a receiver that does not keep up loses
    /// the newest events, never memory.
    fn watch(&self) -> Receiver<Event>;
}
