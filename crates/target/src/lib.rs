//! `picket-target`: an iSCSI storage server whose persistent reservations keep fenced nodes off the disk.

pub mod journal;
mod lock;
pub mod store;
