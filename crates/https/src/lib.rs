//! HTTP/1.1 to a management interface: one connection, every wait bounded by a deadline, every reply by a size.
//!
//! The HTTP state machine is `ureq-proto`'s and TLS is `rustls`'; this crate drives both over one socket. It exists because a
//! fencing agent has to know three things that HTTP clients hide: whether a request may have been carried out when its answer
//! is missing ([`Error::may_have_been_carried_out`]), on which connection it went (NTLM authenticates connections), and which
//! certificate the server showed (channel binding).
//!
//! ```text
//! Client ─ Connection ─┬─ outgoing   request → bytes            (no socket, no clock)
//!                      ├─ incoming   bytes → response           (no socket, no clock)
//!                      ├─ dial       name → addresses → socket
//!                      └─ transport ─┬─ tls   whom to trust, and what to say when it fails
//!                                    └─ wait  poll: socket, interrupt, deadline
//! ```
//!
//! There are no threads but one for each name look-up, because the C library's takes no deadline.

mod client;
mod connection;
mod dial;
mod endpoint;
mod error;
mod identity;
mod incoming;
mod interrupt;
mod message;
mod outgoing;
mod text;
mod tls;
mod transport;
mod wait;

pub use client::Client;
pub use connection::Connection;
pub use endpoint::{Endpoint, Scheme, Trust};
pub use error::Error;
pub use identity::Identity;
pub use interrupt::Interrupt;
pub use message::{Method, Request, Response};
