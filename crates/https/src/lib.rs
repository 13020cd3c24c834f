//! HTTP/1.1 to a management interface: one connection, every wait bounded by a deadline, every reply by a size.
//!
//! The HTTP state machine is `ureq-proto`'s and TLS is `rustls`'; this crate drives both over one socket. It exists because a
//! fencing agent has to know three things that HTTP clients hide: whether a request may have been carried out when its answer
//! is missing ([`Error::may_have_been_carried_out`]), on which connection it went (NTLM authenticates connections), and which
//! certificate the server showed (channel binding).

mod client;
mod connection;
mod endpoint;
mod error;
mod interrupt;
mod message;
mod tls;

pub use client::Client;
pub use connection::Connection;
pub use endpoint::{Endpoint, Scheme, Trust};
pub use error::Error;
pub use interrupt::Interrupt;
pub use message::{Method, Request, Response};
