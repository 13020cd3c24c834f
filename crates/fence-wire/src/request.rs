//! The 176-byte request packet of multicast, TCP and vsock.
//!
//! | offset | size | field | |
//! |---|---|---|---|
//! | 0 | 1 | request | [`Operation`] |
//! | 1 | 1 | hashtype | [`HashType`] |
//! | 2 | 1 | addrlen | 4, 16, or 0 without address; daemons never read it |
//! | 3 | 1 | flags | bit 0: the plug is a UUID |
//! | 4 | 64 | domain | NUL-padded [`Plug`] |
//! | 68 | 28 | address | where to connect back to, left-aligned |
//! | 96 | 2 | port | little-endian |
//! | 98 | 6 | random | fresh for each packet |
//! | 104 | 4 | seqno | little-endian; constant over retransmissions |
//! | 108 | 4 | family | little-endian: 2 IPv4, 10 IPv6, 0 none |
//! | 112 | 64 | hash | H(key ‖ packet with this field zero), left-aligned |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::hash::{DIGEST_ROOM, HashType, Key, same_digest};
use crate::operation::Operation;
use crate::plug::{InvalidPlug, Plug};

/// The length of a request, in bytes. A packet of any other length is not a request.
pub const REQUEST_LEN: usize = 176;
/// The length of the hash field, in bytes.
pub const DIGEST_LEN: usize = DIGEST_ROOM;

const AT_OPERATION: usize = 0;
const AT_HASH_TYPE: usize = 1;
const AT_ADDR_LEN: usize = 2;
const AT_FLAGS: usize = 3;
const AT_PLUG: usize = 4;
const AT_ADDRESS: usize = 68;
const AT_PORT: usize = 96;
const AT_RANDOM: usize = 98;
const AT_SEQNO: usize = 104;
const AT_FAMILY: usize = 108;
const AT_HASH: usize = 112;

const FLAG_UUID: u8 = 1;
const FAMILY_NONE: u32 = 0;
/// Linux's AF_INET.
const FAMILY_V4: u32 = 2;
/// Linux's AF_INET6.
const FAMILY_V6: u32 = 10;

/// A request for fencing, as an agent makes it and as a daemon knows it once it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Whether the agent says that the plug is a UUID. Only the old fence_xvmd heeds it.
    pub by_uuid: bool,
    /// What to do it to; none for operations about the device itself.
    pub plug: Option<Plug>,
    /// Where the daemon must connect back to (multicast); none when it answers on the same stream.
    pub reply_to: Option<SocketAddr>,
    /// Fresh random bytes for each packet, zero when unsigned. Very old agents put ten random bytes
    /// here and into `seqno`.
    pub random: [u8; 6],
    /// The same for all retransmissions of one run: what tells a retransmission from a new request.
    pub seqno: u32,
}

/// Why a packet is not an acceptable request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is not exactly [`REQUEST_LEN`] bytes long.
    #[error("a request is {REQUEST_LEN} bytes long, this packet has {0}")]
    Length(usize),
    /// It is signed in a way nobody knows.
    #[error("unknown hash type {0:#04x}")]
    UnknownHash(u8),
    /// It is signed more weakly than the receiver demands, or not at all.
    #[error("signed with {got}, but at least {minimum} is demanded")]
    TooWeak {
        /// What the packet uses.
        got: HashType,
        /// What the receiver demands.
        minimum: HashType,
    },
    /// The signature does not fit: another key, or a changed packet.
    #[error("the signature does not match: wrong key, or a packet that was changed")]
    BadSignature,
    /// The receiver has no key to check a signature with.
    #[error("there is no key to check the signature with")]
    NoKey,
    /// The plug field does not hold a name.
    #[error("bad plug")]
    Plug(#[from] InvalidPlug),
    /// The connect-back address is of an unknown family.
    #[error("unknown address family {0}")]
    Family(u32),
}

impl Request {
    /// The packet to send, signed with `hash` and `key`.
    #[must_use]
    pub fn encode(&self, hash: HashType, key: &Key) -> [u8; REQUEST_LEN] {
        let mut packet = [0; REQUEST_LEN];
        packet[AT_OPERATION] = self.operation.0;
        packet[AT_HASH_TYPE] = hash.wire();
        packet[AT_FLAGS] = if self.by_uuid { FLAG_UUID } else { 0 };
        Plug::to_field(self.plug.as_ref(), &mut packet[AT_PLUG..AT_ADDRESS]);
        if let Some(address) = self.reply_to {
            put_address(&mut packet, address);
        }
        packet[AT_RANDOM..AT_SEQNO].copy_from_slice(&self.random);
        packet[AT_SEQNO..AT_FAMILY].copy_from_slice(&self.seqno.to_le_bytes());
        let digest = hash.digest(key, &packet);
        packet[AT_HASH..].copy_from_slice(&digest);
        packet
    }

    fn parse(packet: &[u8; REQUEST_LEN]) -> Result<Self, RequestError> {
        Ok(Self {
            operation: Operation(packet[AT_OPERATION]),
            by_uuid: packet[AT_FLAGS] & FLAG_UUID != 0,
            plug: Plug::from_field(&packet[AT_PLUG..AT_ADDRESS])?,
            reply_to: get_address(packet)?,
            random: array(packet, AT_RANDOM),
            seqno: u32::from_le_bytes(array(packet, AT_SEQNO)),
        })
    }
}

/// A packet of the right length, about which nothing is known yet.
#[derive(Debug, Clone)]
pub struct Unverified([u8; REQUEST_LEN]);

impl Unverified {
    /// Takes a packet as it arrived.
    ///
    /// # Errors
    /// [`RequestError::Length`] unless it is exactly [`REQUEST_LEN`] bytes long: a short packet must
    /// never be filled up with what an earlier one left behind.
    pub fn decode(packet: &[u8]) -> Result<Self, RequestError> {
        packet
            .try_into()
            .map(Self)
            .map_err(|_| RequestError::Length(packet.len()))
    }

    /// The hash field: what tells two packets apart, for remembering which were accepted.
    #[must_use]
    pub fn digest(&self) -> [u8; DIGEST_LEN] {
        array(&self.0, AT_HASH)
    }

    /// How the packet says it is signed, if that is known.
    #[must_use]
    pub fn hash_type(&self) -> Option<HashType> {
        HashType::from_wire(self.0[AT_HASH_TYPE])
    }

    /// Checks the signature first and only then looks at what the packet asks for.
    ///
    /// # Errors
    /// Any [`RequestError`]. A signature stronger than `minimum` is accepted; with a minimum of
    /// [`HashType::None`] an unsigned packet is, but one that carries a signature must be right.
    pub fn verify(&self, minimum: HashType, key: &Key) -> Result<Request, RequestError> {
        let got = self
            .hash_type()
            .ok_or(RequestError::UnknownHash(self.0[AT_HASH_TYPE]))?;
        if got < minimum {
            return Err(RequestError::TooWeak { got, minimum });
        }
        if got != HashType::None {
            if key.is_empty() {
                return Err(RequestError::NoKey);
            }
            let mut unsigned = self.0;
            unsigned[AT_HASH..].fill(0);
            if !same_digest(&got.digest(key, &unsigned), &self.digest()) {
                return Err(RequestError::BadSignature);
            }
        }
        Request::parse(&self.0)
    }
}

fn put_address(packet: &mut [u8; REQUEST_LEN], address: SocketAddr) {
    let (family, length) = match address.ip() {
        IpAddr::V4(ip) => {
            packet[AT_ADDRESS..AT_ADDRESS + 4].copy_from_slice(&ip.octets());
            (FAMILY_V4, 4)
        }
        IpAddr::V6(ip) => {
            packet[AT_ADDRESS..AT_ADDRESS + 16].copy_from_slice(&ip.octets());
            (FAMILY_V6, 16)
        }
    };
    packet[AT_ADDR_LEN] = length;
    packet[AT_PORT..AT_RANDOM].copy_from_slice(&address.port().to_le_bytes());
    packet[AT_FAMILY..AT_HASH].copy_from_slice(&family.to_le_bytes());
}

fn get_address(packet: &[u8; REQUEST_LEN]) -> Result<Option<SocketAddr>, RequestError> {
    let port = u16::from_le_bytes(array(packet, AT_PORT));
    let ip = match u32::from_le_bytes(array(packet, AT_FAMILY)) {
        FAMILY_NONE => return Ok(None),
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(array::<4>(packet, AT_ADDRESS))),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(array::<16>(packet, AT_ADDRESS))),
        other => return Err(RequestError::Family(other)),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

/// `N` bytes of the packet from `at`; every call names constants that lie inside it.
fn array<const N: usize>(packet: &[u8; REQUEST_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&packet[at..at + N]);
    out
}
