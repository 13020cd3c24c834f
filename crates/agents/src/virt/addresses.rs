//! The addresses of this guest, from the kernel's routing socket (rtnetlink, RFC 3549).
//!
//! Each multicast packet carries one of them: the host connects back to it. Of a point-to-point link
//! that is the local end (IFA_LOCAL), not the peer's (IFA_ADDRESS).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use deadline::Deadline;
use fence_agent::{Session, Stop};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// A local address and the interface it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) address: IpAddr,
    pub(crate) interface: u32,
}

/// Why the addresses are not known.
#[derive(Debug)]
pub(crate) enum ListError {
    Stopped(Stop),
    Io(io::Error),
}

impl From<Errno> for ListError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH: dump all.
const DUMP: u16 = 0x301;
const HEADER: usize = 16;
const IFADDRMSG: usize = 8;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// IFA_F_TENTATIVE | IFA_F_DADFAILED: not usable (yet).
const UNUSABLE: u8 = 0x40 | 0x08;

/// The usable addresses of one family: loopback included for IPv4, as hosts on the same machine are
/// asked that way; neither loopback nor link-local ones for IPv6, because the packet carries no scope.
pub(crate) fn local(v6: bool, session: &Session, until: Deadline) -> Result<Vec<Local>, ListError> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request(v6), SendFlags::empty(), &kernel)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let length = receive(&socket, &mut buffer, session, until)?;
        if read_messages(&buffer[..length], &mut found)? {
            found.retain(|local: &Local| {
                local.address.is_ipv6() == v6 && is_reachable(local.address)
            });
            return Ok(found);
        }
    }
}

fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    session: &Session,
    until: Deadline,
) -> Result<usize, ListError> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => return Ok(length),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !session
            .wait_for(socket, PollFlags::IN, until)
            .map_err(ListError::Stopped)?
        {
            return Err(ListError::Stopped(Stop::DeadlinePassed));
        }
    }
}

fn request(v6: bool) -> [u8; HEADER + IFADDRMSG] {
    let mut message = [0; HEADER + IFADDRMSG];
    let length = u32::try_from(message.len()).unwrap_or_default();
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
    message[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    message[HEADER] = if v6 { AF_INET6 } else { AF_INET };
    message
}

/// Reads one datagram of messages; true once the dump is complete.
fn read_messages(mut data: &[u8], found: &mut Vec<Local>) -> io::Result<bool> {
    while let Some((length, kind, body)) = message(data) {
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(io::Error::other("the kernel refuses to list addresses")),
            RTM_NEWADDR => found.extend(address(body)),
            _ => {}
        }
        data = data.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// The first message: its length, type and body.
fn message(data: &[u8]) -> Option<(usize, u16, &[u8])> {
    let length = usize::try_from(u32_at(data, 0)?).ok()?;
    let body = data.get(HEADER..length)?;
    Some((length, u16_at(data, 4)?, body))
}

fn address(body: &[u8]) -> Option<Local> {
    let family = *body.first()?;
    if body.get(2)? & UNUSABLE != 0 {
        return None;
    }
    let interface = u32_at(body, 4)?;
    let mut attributes = body.get(IFADDRMSG..)?;
    let (mut own, mut peer) = (None, None);
    while let Some(length) = u16_at(attributes, 0)
        .map(usize::from)
        .filter(|length| *length >= 4)
    {
        let value = attributes.get(4..length)?;
        match u16_at(attributes, 2)? {
            IFA_LOCAL => own = ip(family, value),
            IFA_ADDRESS => peer = ip(family, value),
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    own.or(peer).map(|address| Local { address, interface })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

impl From<io::Error> for ListError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RTM_NEWADDR of 10.8.0.2, peer 10.8.0.1, interface 7, as the kernel lays it out.
    fn point_to_point() -> Vec<u8> {
        let mut body = vec![AF_INET, 32, 0x80, 0, 7, 0, 0, 0];
        body.extend([8, 0, 1, 0, 10, 8, 0, 1]);
        body.extend([8, 0, 2, 0, 10, 8, 0, 2]);
        body
    }

    #[test]
    fn the_local_end_of_a_point_to_point_link() {
        let wanted = Local {
            address: IpAddr::from([10, 8, 0, 2]),
            interface: 7,
        };
        assert_eq!(address(&point_to_point()), Some(wanted));
    }

    #[test]
    fn tentative_addresses_are_skipped() {
        let mut body = point_to_point();
        body[2] = 0x40;
        assert_eq!(address(&body), None);
    }

    #[test]
    fn no_cut_of_a_message_panics() {
        let body = point_to_point();
        for end in 0..body.len() {
            let _ = address(&body[..end]);
            let _ = message(&body[..end]);
        }
        assert!(message(&[0xff; 15]).is_none());
    }
}
