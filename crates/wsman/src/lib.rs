//! WS-Management (DSP0226, MS-WSMV), as far as managing Windows needs it: envelopes out, instances and faults in.
//!
//! No sockets, no clock, no randomness: a request is a text, a reply is bytes, and what is random (message ids) is passed in.
//!
//! | module | knows |
//! |---|---|
//! | this | envelopes ([`Envelope`]), what they are about ([`Resource`]), replies ([`reply`]), values ([`Instance`]), [`Fault`]s |
//! | [`wql`] | queries, and how to put a foreign text into one |
//! | [`encrypted`] | the framing of encrypted messages over plain HTTP |
//!
//! Servers differ in prefixes, in the order of elements, in how they name what a method gives back, and in whether they follow
//! hints. So everything is read by local name, wherever it stands. What is missing or contradicts itself is an error, never a
//! default; so is a reply to another request.
#![forbid(unsafe_code)]

pub mod encrypted;
mod error;
mod fault;
mod instance;
pub mod names;
pub mod reply;
mod request;
mod resource;
pub mod wql;
mod xml;

pub use error::Error;
pub use fault::Fault;
pub use instance::{Instance, Value};
pub use request::{Argument, Envelope, Filter};
pub use resource::Resource;
