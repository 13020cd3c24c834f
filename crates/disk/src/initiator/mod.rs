//! `iscsi://`: our own initiator, on a socket and with deadlines.
//!
//! [`Session`] is a session with a target: several commands may be in flight, and task management is possible. [`Disk`] is
//! one logical unit of it, as a [`crate::ScsiDevice`].

mod disk;
mod identity;
mod lock;
mod session;
mod wire;

pub use disk::Disk;
pub use identity::{ChapCredentials, isid, machine_initiator};
pub use session::{Payload, Session, SessionOptions, TaskEnd};
