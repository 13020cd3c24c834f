//! NTLMv2 authentication and message encryption (MS-NLMP), both sides.
//!
//! No sockets, no clock, no randomness: messages, the time and random bytes go in, messages come out. What a server needs to
//! be tested against is here too: [`Acceptor`].
//!
//! ```text
//! client                                          server
//! Client::new ── NEGOTIATE ─────────────────────▶ Acceptor::challenge
//! Client::authenticate ◀───────────── CHALLENGE ──┘
//!   └── AUTHENTICATE (proof, MIC, binding) ─────▶ Acceptor::accept
//! Session::seal ── sealed messages, in order ───▶ Session::unseal
//! ```
//!
//! Only NTLMv2 with 128 bits, Unicode and extended session security is spoken: the older forms can be broken by anybody who
//! listens. NTLM itself rests on MD4, MD5 and RC4, which is why HTTPS is to be preferred where a host has it; a host without
//! HTTPS listener takes nothing else.
//!
//! Bytes of the other side are never trusted: every offset and length is checked, nothing panics.
#![forbid(unsafe_code)]

mod acceptor;
mod binding;
mod client;
mod credentials;
mod error;
mod flags;
mod keys;
mod message;
mod pairs;
mod rc4;
mod session;

pub use acceptor::{Acceptor, Binding, Identity, Names};
pub use binding::ChannelBinding;
pub use client::{Client, Salt};
pub use credentials::Credentials;
pub use error::Error;
pub use flags::Flags;
pub use message::{Authenticate, Challenge, Negotiate};
pub use pairs::{Pair, Pairs};
pub use session::{Sealed, Session};
