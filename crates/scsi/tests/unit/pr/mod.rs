//! Persistent reservations from outside: through the wire format of each command, against the standard's tables.

pub(crate) mod access_matrix;
pub(crate) mod common;
mod model;
mod service_actions;
