//! `picket-target`: an iSCSI storage server whose persistent reservations keep fenced nodes off the disk.

pub mod cli;
pub mod config;
pub mod control;
pub mod exit;
pub mod journal;
mod lock;
pub mod program;
pub mod server;
pub mod store;
