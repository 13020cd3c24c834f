//! The server over loopback, with our own initiator and with bare sockets.

mod aborts;
mod admin;
mod bad_input;
mod harness;
mod journals;
mod power;
mod reload;
mod sessions;
