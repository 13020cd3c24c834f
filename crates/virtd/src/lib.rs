//! fence_virtd: the fencing daemon on a virtualisation host.
//!
//! Guests ask it, by the protocol of the C `fence_virtd`, to power each other off. It answers
//! "done" only with evidence from the hypervisor. `ARCHITECTURE.md` beside this crate's manifest
//! says what each part must not know.
#![forbid(unsafe_code)]

pub mod audit;
pub mod background;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod descriptors;
pub mod exit;
pub mod fleet;
pub mod history;
pub mod identity;
pub mod interview;
pub mod limits;
pub mod listener;
pub mod logging;
pub mod pidfile;
pub mod policy;
pub mod program;
pub mod security;
pub mod service;
mod session;
