//! iSCSI (RFC 7143) without I/O: PDUs, framing and digests, text keys; [`login`] and [`session`] of both sides.
//!
//! Nothing here owns a socket or reads a clock. Whoever does reads a header of [`HEADER_LEN`] bytes, asks
//! [`Framing::lengths`] how much follows, reads that into a buffer of its own choice, and has it checked: data that
//! go to a disk need not be copied on the way.

mod exchange;
mod framing;
pub mod login;
pub mod pdu;
mod serial;
pub mod session;
mod text;

pub use framing::{Digests, Framing, FramingError, Lengths, RunningDigest, pad};
pub use pdu::{HEADER_LEN, Header, PduError, Tag};
pub use serial::Serial;
pub use text::{KeyError, Keys, MAX_TEXT};
