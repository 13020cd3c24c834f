//! A SCSI disk from its initiator's side: device nodes through SG_IO, `iscsi://` addresses through our own initiator.
//!
//! [`ScsiDevice`] is what both are: something that carries out a command and says how it ended. [`open`] makes one of an
//! [`Address`]; [`pr`] is persistent reservations on top of it.
//!
//! ```text
//!  /dev/…, paths()  ──▶ node::Node        ─┐
//!                                          ├─▶ ScsiDevice ─▶ pr::Reservations ─▶ fencing agent, probe
//!  iscsi://…        ──▶ initiator::Disk   ─┘
//! ```
//!
//! A command's end is one of three things, which are never mixed up. The device answered: a [`Completion`], even if the
//! answer is no. The command was surely not carried out: a [`DeviceError`] of [`Certainty::NotSent`] or
//! [`Certainty::Refused`]. Or nobody knows: [`Certainty::Unknown`], and the caller must look what has become of it.

mod address;
mod designator;
mod device;
mod error;
pub mod initiator;
pub mod node;
pub mod pr;
pub mod probe;
mod secret;

pub use address::{Address, AddressError, IscsiAddress, SecretSource};
pub use designator::designator;
pub use device::{Completion, Data, MAX_ATTENTIONS, Request, ScsiDevice, settle};
pub use error::{Certainty, DeviceError, LostBy};
pub use node::{Paths, PathsError, paths};
pub use secret::SecretError;

use std::path::PathBuf;

use deadline::Deadline;

/// How devices are opened. [`OpenOptions::default`] is what an agent on a node wants.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The iSCSI initiator's name; `None`: that of this machine, `/etc/iscsi/initiatorname.iscsi`.
    pub initiator: Option<String>,
    /// What the initiator session id is derived from, besides the initiator's name and the target. Two devices that are
    /// open at the same time and are to be two nexuses need different ones; the same one after a restart is the same nexus.
    pub instance: String,
    /// Credentials for CHAP; what the address itself says goes before. `None`: those of the environment, if there are any.
    pub authentication: Option<initiator::ChapCredentials>,
    /// iSCSI: a directory, writable only for its owner, in which a file is locked while the device is open. Without it a
    /// second process of this machine that opens the same device is the same initiator port: the target then ends the
    /// first one's session, and what became of its commands is not known. With it the second one waits.
    pub locks: Option<PathBuf>,
    /// Device nodes are opened for reading only: enough for PERSISTENT RESERVE IN, not for OUT.
    pub read_only: bool,
}

/// Opens a device. For `iscsi://` this is a login; a device node is opened, and nothing is sent to it.
///
/// # Errors
/// If it cannot be reached, refuses, or is none. A later [`Certainty::Unknown`] of a command leaves an iSCSI device
/// without a session: whether to open it again is the caller's decision.
pub fn open(
    address: &Address,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn ScsiDevice>, DeviceError> {
    Ok(match address {
        Address::Node(path) => Box::new(node::Node::open(path, options.read_only)?),
        Address::Iscsi(address) => Box::new(initiator::Disk::open(address, options, deadline)?),
    })
}
