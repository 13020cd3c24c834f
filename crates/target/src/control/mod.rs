//! Administration of a running server through a local socket: one line of JSON asks, one line answers.
//!
//! Only the user that the server runs as, and root, are listened to. What is changed here holds until the server ends;
//! what is to hold after that goes into the configuration file.

mod client;
mod command;
mod listener;
mod wire;

pub use client::{ClientError, ask};
pub use command::ControlCommand;
pub use listener::{ControlSocket, MetricsListener};
pub use wire::{Reply, Request};
