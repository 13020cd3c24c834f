//! The multicast listener: a guest sends its request to a group that all hosts hear, and the host
//! that answers connects back to the guest.
//!
//! Several hosts hear one request and the guest serves the first that connects. So a host that knows
//! the guest in question connects at once, and one that does not waits for [`GRACE`] first: if the
//! owner is alive, the guest has its answer by then and no longer listens. If nobody owns the guest,
//! it is told so instead of waiting for its own timeout (W5, I05).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket as StdUdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fence_wire::{HashType, MULTICAST_V4, MULTICAST_V6, REQUEST_LEN, Request};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::{
    Family, Kind, Listener, RETRY, Running, StartError, interfaces, read_port, wrong_family,
};
use crate::config::diagnose::Diagnostic;
use crate::config::section::View;
use crate::fleet::{BoxFuture, Presence};
use crate::identity::{Identity, Requester};
use crate::limits::Place;
use crate::security::{KeyError, Security, SecurityPlan};
use crate::service::{Begun, Service, Ticket};
use crate::session;

pub(super) const KIND: Kind = Kind {
    name: "multicast",
    read,
};

/// How long a host that does not know the guest leaves the answer to others.
const GRACE: Duration = Duration::from_secs(1);
/// How long connecting back may take; the C daemon's limit.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How often new interfaces are looked for: bridges come and go with their networks.
const RESCAN: Duration = Duration::from_secs(5);
/// Room for bursts of requests, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A multicast listener as configured.
#[derive(Debug)]
struct Multicast {
    group: IpAddr,
    port: u16,
    interface: Option<String>,
    plan: SecurityPlan,
    security: Option<Arc<Security>>,
}

fn read(view: &View<'_>) -> Option<Box<dyn Listener>> {
    let plan = SecurityPlan::read(view);
    let family = Family::read(view);
    let port = read_port(view);
    let interface = view.text("interface").map(|name| name.text.clone());
    let group = match family {
        Some(family) => read_group(view, family),
        None => {
            view.know("address");
            None
        }
    };
    Some(Box::new(Multicast {
        group: group?,
        port: port?,
        interface,
        plan: plan?,
        security: None,
    }))
}

fn read_group(view: &View<'_>, family: Family) -> Option<IpAddr> {
    let standard = match family {
        Family::V4 => IpAddr::V4(MULTICAST_V4),
        Family::V6 => IpAddr::V6(MULTICAST_V6),
    };
    let Some(address) = view.text("address") else {
        return Some(standard);
    };
    match address.text.parse::<IpAddr>() {
        Ok(group) if Family::of(group) != family => {
            wrong_family(view, address.span.clone(), family);
            None
        }
        Ok(group) if group.is_multicast() => Some(group),
        _ => {
            view.remarks().add(
                Diagnostic::error(
                    address.span.clone(),
                    format!("`{}` is not a multicast address", view.path_of("address")),
                )
                .label("no group can be joined here")
                .help(format!(
                    "remove it to use {standard}, which agents use by default"
                )),
            );
            None
        }
    }
}

/// The socket, and on which interfaces it has joined the group.
#[derive(Debug)]
struct Joined {
    socket: UdpSocket,
    on: Mutex<BTreeSet<u32>>,
}

impl Multicast {
    fn family(&self) -> Family {
        Family::of(self.group)
    }

    fn open(&self) -> io::Result<Socket> {
        let any: SocketAddr = match self.family() {
            Family::V4 => (std::net::Ipv4Addr::UNSPECIFIED, self.port).into(),
            Family::V6 => (std::net::Ipv6Addr::UNSPECIFIED, self.port).into(),
        };
        let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))?;
        // Several daemons may listen for several groups, or clusters, on the one port there is.
        socket.set_reuse_address(true)?;
        // Only the groups joined here, not those that other programs have joined.
        match self.family() {
            Family::V4 => socket.set_multicast_all_v4(false)?,
            Family::V6 => {
                socket.set_only_v6(true)?;
                socket.set_multicast_all_v6(false)?;
                socket.set_multicast_loop_v6(true)?;
            }
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&any.into())?;
        Ok(socket)
    }

    fn listen(&self) -> Result<Joined, StartError> {
        let socket = self.open().map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "a C fence_virtd listens there and does not share: stop it, or choose another `port`"
                }
                _ => "see listeners/multicast",
            };
            self.start_error(&error.to_string(), remedy)
        })?;
        let on = match &self.interface {
            Some(name) => BTreeSet::from([self.join_named(&socket, name)?]),
            None => BTreeSet::new(),
        };
        let socket = UdpSocket::from_std(StdUdpSocket::from(socket))
            .map_err(|error| self.start_error(&error.to_string(), "this is a bug"))?;
        let joined = Joined {
            socket,
            on: Mutex::new(on),
        };
        if self.interface.is_none() && self.join_new(&joined) == 0 {
            return Err(self.start_error(
                "no interface could join the group",
                "bring an interface with an address up, or name one with `interface`",
            ));
        }
        Ok(joined)
    }

    fn join_named(&self, socket: &Socket, name: &str) -> Result<u32, StartError> {
        let index = interfaces::index_of(socket, name).map_err(|_| {
            let names = interfaces::all_names().join(", ");
            self.start_error(
                &format!("this host has no interface `{name}`"),
                &format!(
                    "correct `interface` (there are: {names}), remove it to listen on all of them, or use -w to wait for it"
                ),
            )
        })?;
        join(socket, self.group, index).map_err(|error| {
            self.start_error(
                &format!("joining the group on `{name}` failed: {error}"),
                "see that the interface is up and can multicast",
            )
        })?;
        Ok(index)
    }

    /// The interfaces to listen on, as far as they are there.
    fn interfaces(&self) -> BTreeSet<String> {
        match (&self.interface, self.family()) {
            (Some(name), _) => BTreeSet::from([name.clone()]),
            (None, Family::V4) => interfaces::with_ipv4(),
            (None, Family::V6) => interfaces::with_ipv6(),
        }
    }

    /// Joins on the interfaces that are new; how many there are now.
    fn join_new(&self, joined: &Joined) -> usize {
        let names = self.interfaces();
        let socket = SockRef::from(&joined.socket);
        let mut on = joined.on.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = BTreeSet::new();
        for name in names {
            let Ok(index) = interfaces::index_of(&socket, &name) else {
                continue;
            };
            if on.contains(&index) {
                there.insert(index);
                continue;
            }
            match join(&socket, self.group, index) {
                Ok(()) => {
                    there.insert(index);
                    tracing::info!(interface = name, group = %self.group, "listening");
                }
                Err(error) if is_too_many(&error) => tracing::warn!(
                    interface = name,
                    "not listening here, the socket has joined on too many interfaces; name one with `interface`, or raise net.ipv4.igmp_max_memberships"
                ),
                Err(error) => tracing::debug!(interface = name, %error, "cannot join here"),
            }
        }
        // What is gone has been left by the kernel; its number may come again.
        *on = there;
        on.len()
    }

    fn start_error(&self, problem: &str, remedy: &str) -> StartError {
        StartError {
            endpoint: self.endpoint(),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

fn join(socket: &Socket, group: IpAddr, index: u32) -> io::Result<()> {
    let result = match group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
    };
    match result {
        // Joined before, and an interface of the same number has stayed.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        other => other,
    }
}

fn is_too_many(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

impl Listener for Multicast {
    fn endpoint(&self) -> String {
        let interface = self.interface.as_deref().unwrap_or("all interfaces");
        let address = SocketAddr::new(self.group, self.port);
        format!("multicast {address} on {interface}")
    }

    fn prepare(&mut self, mend: bool, remarks: &mut Vec<String>) -> Result<(), KeyError> {
        self.security = Some(Arc::new(self.plan.load(mend, remarks)?));
        Ok(())
    }

    fn start(
        &self,
        service: &Arc<Service>,
        previous: Option<&Running>,
    ) -> BoxFuture<'_, Result<Running, StartError>> {
        let service = Arc::clone(service);
        let taken_over = previous.and_then(Running::socket::<Joined>);
        Box::pin(async move {
            let Some(security) = self.security.clone() else {
                return Err(self.start_error("its key has not been read", "this is a bug"));
            };
            let joined = match taken_over {
                Some(joined) => joined,
                None => Arc::new(self.listen()?),
            };
            let stop = CancellationToken::new();
            let receiving = receive(Arc::clone(&joined), service, security, stop.clone());
            let same = Self {
                group: self.group,
                port: self.port,
                interface: self.interface.clone(),
                plan: self.plan.clone(),
                security: None,
            };
            let rescanning = rescan(same, Arc::clone(&joined), stop.clone());
            Ok(Running {
                endpoint: self.endpoint(),
                socket: joined,
                stop,
                tasks: vec![tokio::spawn(receiving), tokio::spawn(rescanning)],
            })
        })
    }
}

/// Joins on interfaces that appear later, also again on one that was removed and made anew, as a
/// libvirt network's bridge is.
async fn rescan(listener: Multicast, joined: Arc<Joined>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(RESCAN);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => { listener.join_new(&joined); }
        }
    }
}

async fn receive(
    joined: Arc<Joined>,
    service: Arc<Service>,
    security: Arc<Security>,
    stop: CancellationToken,
) {
    let name: Arc<str> = KIND.name.into();
    // One byte more than a request, so that a longer datagram shows.
    let mut buffer = [0; REQUEST_LEN + 1];
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = joined.socket.recv_from(&mut buffer) => received,
        };
        match received {
            // What an earlier datagram left in the buffer is never looked at (W7).
            Ok((length, from)) => hear(&service, &security, &name, &buffer[..length], from),
            Err(error) => {
                tracing::warn!(%error, "cannot receive");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Takes one datagram up, unless it is nothing that can be answered.
fn hear(
    service: &Arc<Service>,
    security: &Arc<Security>,
    name: &Arc<str>,
    datagram: &[u8],
    from: SocketAddr,
) {
    let arrived = Instant::now();
    let sender = Requester {
        listener: Arc::clone(name),
        identity: Identity::address(from.ip()),
    };
    let request = match service.admit(datagram, security) {
        Ok(request) => request,
        Err(refusal) => return service.reject(&sender, &refusal),
    };
    let Some(reply_to) = answerable(&request, from) else {
        return service.reject(&sender, &"it names no address to connect back to");
    };
    let requester = Requester {
        listener: Arc::clone(name),
        identity: Identity::address(reply_to.ip()),
    };
    // A guest sends the request once for each of its addresses. Where peers are challenged it can
    // prove itself for one of them only; where they are not, its address must not make it several
    // requests.
    let source = if security.auth == HashType::None {
        ""
    } else {
        requester.identity.text()
    };
    let Begun::New(ticket) = service.begin(request, requester.clone(), source, arrived) else {
        // The first one's connection, made or being made, is the way to the guest.
        tracing::debug!(%requester, "a retransmission was dropped");
        return;
    };
    let Some(place) = service.places().enter(requester.identity.text()) else {
        return service.reject(&requester, &"all connections are in use by proven peers");
    };
    let (service, security) = (Arc::clone(service), Arc::clone(security));
    let tasks = service.tasks().clone();
    tasks.spawn(async move {
        connect_back(&service, &security, *ticket, reply_to, &place).await;
    });
}

/// Where the request wants its answer, if that can be a guest's address.
fn answerable(request: &Request, from: SocketAddr) -> Option<SocketAddr> {
    let reply_to = request.reply_to?;
    let ip = reply_to.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if reply_to.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
        return None;
    }
    match (reply_to, from) {
        // A link-local address means something only together with the link it came from.
        (SocketAddr::V6(to), SocketAddr::V6(from)) if to.ip().is_unicast_link_local() => {
            Some(SocketAddrV6::new(*to.ip(), to.port(), 0, from.scope_id()).into())
        }
        (reply_to, _) => Some(reply_to),
    }
}

async fn connect_back(
    service: &Arc<Service>,
    security: &Security,
    ticket: Ticket,
    reply_to: SocketAddr,
    place: &Place,
) {
    let requester = ticket.requester.clone();
    if service.locate(&ticket.request).await != Presence::Known {
        tokio::time::sleep(GRACE).await;
    }
    let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(reply_to));
    let connected = tokio::select! {
        connected = connecting => connected,
        () = place.give_way.cancelled() => return,
    };
    let mut stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%requester, %error, "cannot connect back; another host may have answered");
            return;
        }
        Err(_) => {
            tracing::debug!(%requester, "cannot connect back in time");
            return;
        }
    };
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new());
    let begun = Begun::New(Box::new(ticket));
    session::serve(service, &mut stream, security, begun, &requester, place).await;
}

#[cfg(test)]
mod tests {
    use fence_wire::Operation;

    use super::*;

    fn request(reply_to: Option<&str>) -> Request {
        Request {
            operation: Operation::OFF,
            by_uuid: false,
            plug: None,
            reply_to: reply_to.map(|address| address.parse().unwrap()),
            random: [0; 6],
            seqno: 1,
        }
    }

    #[test]
    fn only_addresses_that_a_guest_can_have_are_connected_to() {
        let from = "10.0.0.1:5000".parse().unwrap();
        for bad in [
            None,
            Some("10.0.0.1:0"),
            Some("0.0.0.0:1229"),
            Some("225.0.0.12:1229"),
            Some("255.255.255.255:1229"),
            Some("[::]:1229"),
            Some("[ff05::3:1]:1229"),
        ] {
            assert_eq!(answerable(&request(bad), from), None, "{bad:?}");
        }
        let good = answerable(&request(Some("10.0.0.2:4000")), from);
        assert_eq!(good, Some("10.0.0.2:4000".parse().unwrap()));
    }

    #[test]
    fn a_link_local_address_gets_its_link() {
        let from = SocketAddrV6::new("fe80::1".parse().unwrap(), 5000, 0, 7).into();
        match answerable(&request(Some("[fe80::1]:1229")), from) {
            Some(SocketAddr::V6(to)) => assert_eq!(to.scope_id(), 7),
            other => panic!("{other:?}"),
        }
    }
}
