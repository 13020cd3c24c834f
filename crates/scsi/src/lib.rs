//! SCSI as a disk logical unit and its initiators need it: commands, status, sense data, parameter data, and
//! the state machine of persistent reservations.
//!
//! Nothing here does I/O, reads a clock or allocates more than its input's bounds allow. The same types serve the
//! storage target, the fencing agent and the probe. Clauses cited are those of SPC-4, SBC-3 and SAM-5.

mod bytes;
pub mod capacity;
pub mod command;
pub mod inquiry;
pub mod lu;
pub mod luns;
pub mod mode;
pub mod opcode;
pub mod pr;
mod sense;
mod status;
pub mod vpd;

pub use bytes::Truncated;
pub use command::Command;
pub use opcode::Opcode;
pub use sense::{AdditionalSense, Sense, SenseError, SenseKey};
pub use status::Status;
