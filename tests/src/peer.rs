//! Hand-made ends of the wire, for what no well-behaved program sends, and to see what a program
//! really sends.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use deadline::Deadline;
use fence_wire::{
    AgentHandshake, CHALLENGE_LEN, DaemonHandshake, HashType, Key, MULTICAST_V4, Operation, PORT,
    Plug, REQUEST_LEN, Request, Unverified,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    net::{Cable, GUEST_V4, HOST_V4, Namespace},
    process::{PATIENCE, wait_for},
};

/// Random bytes.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// A request as an agent would make it, with fresh random bytes.
///
/// # Panics
/// When `plug` is no possible plug.
#[must_use]
pub fn request(
    operation: Operation,
    plug: &str,
    reply_to: Option<SocketAddr>,
    seqno: u32,
) -> Request {
    let plug = (!plug.is_empty()).then(|| Plug::new(plug).expect("a possible plug"));
    Request {
        operation,
        by_uuid: false,
        plug,
        reply_to,
        random: random(),
        seqno,
    }
}

/// Sends one datagram from the guest to the daemons' multicast group.
///
/// # Panics
/// When it cannot be sent.
pub fn multicast(cable: &Cable, datagram: &[u8]) {
    let sent = cable.guest.enter(|| {
        let socket = UdpSocket::bind((GUEST_V4, 0))?;
        SockRef::from(&socket).set_multicast_if_v4(&GUEST_V4)?;
        socket.send_to(datagram, (MULTICAST_V4, PORT))
    });
    assert_eq!(sent.expect("the group can be reached"), datagram.len());
}

/// Where a daemon connects back to, in the guest.
#[derive(Debug)]
pub struct Callback(TcpListener);

impl Callback {
    /// Listens on a free port of the guest's address on the cable.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listen(cable: &Cable) -> Self {
        let listener = cable
            .guest
            .enter(|| TcpListener::bind((GUEST_V4, 0)))
            .expect("the guest takes listeners");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        Self(listener)
    }

    /// The address to put into requests.
    ///
    /// # Panics
    /// Never: a bound socket has one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    /// The next connection that is already there.
    #[must_use]
    pub fn try_accept(&self) -> Option<TcpStream> {
        self.0.accept().ok().map(|(stream, _)| patient(stream))
    }

    /// Waits for the daemon to connect back.
    #[must_use]
    pub fn accept(&self) -> TcpStream {
        wait_for("the daemon to connect back", PATIENCE, || self.try_accept())
    }
}

/// A stream on which every wait ends.
fn patient(stream: TcpStream) -> TcpStream {
    stream
        .set_nonblocking(false)
        .expect("a socket can be made blocking");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket takes a limit");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a socket takes a limit");
    stream
}

/// Connects from `namespace` to `address`.
///
/// # Panics
/// When nobody accepts.
#[must_use]
pub fn connect(namespace: &Namespace, address: SocketAddr) -> TcpStream {
    patient(try_connect(namespace, address).expect("someone listens there"))
}

/// Connects from `namespace` to `address`, if someone accepts at once.
///
/// # Errors
/// Those of the connection.
pub fn try_connect(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpStream> {
    namespace.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
}

/// Connects from the guest to the daemon's TCP listener.
#[must_use]
pub fn dial(cable: &Cable) -> TcpStream {
    connect(&cable.guest, SocketAddr::from((HOST_V4, PORT)))
}

macro_rules! drive {
    ($handshake:expr, $stream:expr) => {{
        let mut handshake = $handshake;
        loop {
            while let Some(bytes) = handshake.transmit() {
                $stream.write_all(&bytes)?;
            }
            if handshake.is_done() {
                return Ok(());
            }
            let mut buffer = vec![0; handshake.need()];
            $stream.read_exact(&mut buffer)?;
            handshake
                .receive(&buffer)
                .map_err(|error| io::Error::new(ErrorKind::PermissionDenied, error))?;
        }
    }};
}

/// The agent's side of the handshake.
///
/// # Errors
/// When the other side goes away or does not know the key.
pub fn shake_as_agent(mut stream: &TcpStream, auth: HashType, key: &Key) -> io::Result<()> {
    drive!(
        AgentHandshake::new(auth, key, random::<CHALLENGE_LEN>()),
        stream
    )
}

/// The daemon's side of the handshake.
///
/// # Errors
/// When the other side goes away or does not know the key.
pub fn shake_as_daemon(mut stream: &TcpStream, auth: HashType, key: &Key) -> io::Result<()> {
    drive!(
        DaemonHandshake::new(auth, key, random::<CHALLENGE_LEN>()),
        stream
    )
}

/// Everything until the other side closes the stream.
///
/// # Panics
/// When it stays silent and open.
#[must_use]
pub fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            // A reset is a way to close, too.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the stream neither ends nor goes on: {error}"),
        }
    }
}

/// A whole exchange over TCP as an agent does it; what came after the handshake.
///
/// # Errors
/// When the daemon goes away early.
pub fn ask_over_tcp(
    cable: &Cable,
    request: &Request,
    hash: HashType,
    auth: HashType,
    key: &Key,
) -> io::Result<Vec<u8>> {
    let mut stream = dial(cable);
    stream.write_all(&request.encode(hash, key))?;
    shake_as_agent(&stream, auth, key)?;
    Ok(read_all(&stream))
}

/// A whole exchange over multicast as an agent does it; what came after the handshake.
///
/// # Errors
/// When the daemon goes away early.
pub fn ask_over_multicast(
    cable: &Cable,
    operation: Operation,
    plug: &str,
    seqno: u32,
    hashes: (HashType, HashType),
    key: &Key,
) -> io::Result<Vec<u8>> {
    let callback = Callback::listen(cable);
    let request = request(operation, plug, Some(callback.address()), seqno);
    multicast(cable, &request.encode(hashes.0, key));
    let stream = callback.accept();
    shake_as_agent(&stream, hashes.1, key)?;
    Ok(read_all(&stream))
}

/// A daemon's place on TCP, played by the test.
#[derive(Debug)]
pub struct TcpSeat(TcpListener);

impl TcpSeat {
    /// Takes the daemon's port on the host.
    ///
    /// # Panics
    /// When a daemon has it.
    #[must_use]
    pub fn take(cable: &Cable) -> Self {
        let listener = cable
            .host
            .enter(|| TcpListener::bind((HOST_V4, PORT)))
            .expect("no daemon runs beside the test");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        Self(listener)
    }

    /// Waits for an agent, and reads its request.
    ///
    /// # Panics
    /// When it sends none.
    #[must_use]
    pub fn receive(&self) -> (TcpStream, [u8; REQUEST_LEN]) {
        let stream = wait_for("an agent to connect", PATIENCE, || self.0.accept().ok());
        let mut stream = patient(stream.0);
        let mut packet = [0; REQUEST_LEN];
        stream
            .read_exact(&mut packet)
            .expect("an agent sends its request at once");
        (stream, packet)
    }
}

/// A datagram on the cable, as the host sees it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its content.
    pub payload: Vec<u8>,
    /// Where from.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// Its time to live.
    pub ttl: u8,
    /// Its destination port.
    pub port: u16,
}

/// An ear on the host's end of the cable.
#[derive(Debug)]
pub struct Tap(Socket);

impl Tap {
    /// Listens. Multicast is heard once someone on the host has joined the group.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn open(cable: &Cable) -> Self {
        let raw = cable
            .host
            .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)));
        Self(raw.expect("root may open raw sockets"))
    }

    /// The next datagram to the daemons' port, within `limit`.
    ///
    /// # Panics
    /// When the socket fails.
    #[must_use]
    pub fn hear(&self, limit: Duration) -> Option<Heard> {
        let deadline = Deadline::after(limit);
        let mut buffer = [0; 2048];
        while !deadline.has_passed() {
            let left = deadline.remaining().max(Duration::from_millis(1));
            self.0
                .set_read_timeout(Some(left))
                .expect("a socket takes a limit");
            match (&self.0).read(&mut buffer) {
                Ok(count) => {
                    let heard = dissect(&buffer[..count]);
                    if heard.port == PORT {
                        return Some(heard);
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => panic!("the raw socket fails: {error}"),
            }
        }
        None
    }
}

/// A daemon's place in the IPv4 multicast group, played by the test.
#[derive(Debug)]
pub struct GroupSeat {
    tap: Tap,
    /// Holds the membership, and the port, so that the host answers no datagram with an error.
    _member: UdpSocket,
}

impl GroupSeat {
    /// Joins the group on the host's end of the cable.
    ///
    /// # Panics
    /// When a daemon runs there.
    #[must_use]
    pub fn take(cable: &Cable) -> Self {
        let tap = Tap::open(cable);
        let member = cable.host.enter(|| {
            let member = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            member.join_multicast_v4(&MULTICAST_V4, &HOST_V4)?;
            io::Result::Ok(member)
        });
        Self {
            tap,
            _member: member.expect("no daemon runs beside the test"),
        }
    }

    /// See [`Tap::hear`].
    #[must_use]
    pub fn hear(&self, limit: Duration) -> Option<Heard> {
        self.tap.hear(limit)
    }

    /// The next request, checked with `key`.
    ///
    /// # Panics
    /// When none comes, or one that is none.
    #[must_use]
    pub fn request(&self, key: &Key) -> Request {
        let heard = self.hear(PATIENCE).expect("an agent sends its request");
        verify(&heard.payload, key)
    }
}

/// The request in a packet signed with `key`.
///
/// # Panics
/// When the packet is no such request.
#[must_use]
pub fn verify(packet: &[u8], key: &Key) -> Request {
    Unverified::decode(packet)
        .and_then(|packet| packet.verify(HashType::None, key))
        .expect("an agent sends proper requests")
}

fn dissect(packet: &[u8]) -> Heard {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let address =
        |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
    Heard {
        payload: packet[header + 8..].to_vec(),
        source: address(12),
        destination: address(16),
        ttl: packet[8],
        port: u16::from_be_bytes([packet[header + 2], packet[header + 3]]),
    }
}
