//! What a guest and a host say to each other when a guest asks for fencing: the fence_virt wire
//! protocol, complete and without sockets, clocks or randomness.
//!
//! A driver owns the sockets and the time; this crate only turns bytes into values and back:
//!
//! - [`Request`] is what an agent asks for. It is signed and laid out as 176 bytes by
//!   [`Request::encode`]; what arrives is [`Unverified`] until [`Unverified::verify`] has checked it.
//! - [`AgentHandshake`] and [`DaemonHandshake`] are the two ends of the mutual challenge that follows.
//! - [`Reply`] and [`HostRecord`] travel back; [`ReplyReader`] reads them from a stream.
//! - [`serial`] is the shorter framing used over serial lines and VMChannel.
//!
//! ```text
//! multicast   agent --(176 bytes, UDP)--> every host;  host --(TCP connect)--> agent
//! tcp, vsock  agent --(TCP connect, 176 bytes)--> host
//! both        agent --A--> host,  host --H(key‖A), B--> agent,  agent --H(key‖B)--> host,
//!             host acts, host --reply--> agent
//! serial      agent --(74 byte frame)--> host --(5 byte frame)--> agent
//! ```
//!
//! The format is fixed by its installed base: integers are little-endian, the digest is a plain hash
//! with the key in front (not an HMAC), and the reply is neither authenticated nor encrypted. Those
//! are known weaknesses of the compatible mode, not choices of this crate.
#![forbid(unsafe_code)]

mod handshake;
mod hash;
mod operation;
mod plug;
mod reply;
mod request;
pub mod serial;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use handshake::{
    AgentHandshake, CHALLENGE_LEN, Challenge, DaemonHandshake, HandshakeError, answer,
};
pub use hash::{HashType, Key, MAX_KEY_LEN, UnknownHash};
pub use operation::Operation;
pub use plug::{InvalidPlug, MAX_PLUG_LEN, Plug};
pub use reply::{
    Answer, HostRecord, MAX_HOSTS, RECORD_LEN, Reply, ReplyError, ReplyReader, encode_list,
};
pub use request::{DIGEST_LEN, REQUEST_LEN, Request, RequestError, Unverified};

/// The port of requests (UDP or TCP) and, by default, of the agent's connect-back listener.
pub const PORT: u16 = 1229;
/// The IPv4 group that hosts listen on by default.
pub const MULTICAST_V4: Ipv4Addr = Ipv4Addr::new(225, 0, 0, 12);
/// The IPv6 group that hosts listen on by default.
pub const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 3, 1);
/// Time to live, or hop limit, of multicast requests.
pub const MULTICAST_TTL: u32 = 2;
