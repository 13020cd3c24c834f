//! Persistent reservations from outside: through the wire format of each command, against the standard's tables.

mod access_matrix;
mod common;
mod model;
mod service_actions;
