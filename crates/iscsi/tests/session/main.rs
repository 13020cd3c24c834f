//! Full feature phase: both sides against each other, each against what a peer may do wrong, and any bytes.

mod bad_input;
mod initiator;
mod io;
mod pair;
mod target;
