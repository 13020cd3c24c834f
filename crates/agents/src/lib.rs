//! Fence agents in one multi-call binary.
//!
//! [`AGENTS`] lists them. Each is a declared table and a behaviour on top of the `fence-agent` crate;
//! [`run`] picks one by the name the program was called by.

pub mod hyperv;
pub mod managed;
mod multicall;
pub mod rhevm;
pub mod scsi;
pub mod virt;
pub mod vmware;

pub use multicall::{AGENTS, CHECKS, Check, Entry, run};
