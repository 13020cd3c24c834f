//! From options to a configuration that cannot be wrong any more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fence_agent::Options;
use fence_wire::{HashType, Key, MULTICAST_V4, MULTICAST_V6, Operation, PORT, Plug};

use super::key;

/// One request, and the way to the daemon.
#[derive(Debug)]
pub struct Config {
    pub(crate) operation: Operation,
    pub(crate) plug: Option<Plug>,
    pub(crate) by_uuid: bool,
    pub(crate) hash: HashType,
    pub(crate) auth: HashType,
    pub(crate) key: Key,
    pub(crate) timeout: Duration,
    pub(crate) transport: Transport,
}

/// The way to the daemon.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A packet to a group; the host connects back.
    Multicast(Group),
    /// A connection to the host, which carries the request and the answer.
    Stream(Peer),
    /// A serial line or a virtio-serial port.
    Serial(Line),
    /// The serial framing over TCP to an address that the hypervisor redirects.
    Channel(SocketAddr),
}

/// Where multicast requests go.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) address: IpAddr,
    /// UDP port of the hosts, and the preferred TCP port to be called back on.
    pub(crate) port: u16,
    /// Time between repetitions.
    pub(crate) retrans: Duration,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Vsock { cid: u32, port: u32 },
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Vsock { cid, port } => write!(f, "vsock CID {cid} port {port}"),
        }
    }
}

/// A serial line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) device: String,
    pub(crate) params: Params,
}

/// Speed and frame of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) speed: u32,
    /// 5 to 8.
    pub(crate) data_bits: u8,
    pub(crate) parity: Parity,
    /// 1 or 2.
    pub(crate) stop_bits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    None,
    Even,
    Odd,
}

impl Config {
    /// Checks everything that can be checked without contacting anybody; reports all problems.
    pub(crate) fn new(options: &Options, multicast: bool) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut note = |problem: String| problems.push(problem);
        let transport = if multicast {
            group(options)
        } else {
            channel(options)
        };
        let transport = transport.map_err(&mut note).ok();
        let plug = plug(options).map_err(&mut note).ok();
        let packet_hash = hash(options, "hash").map_err(&mut note).ok();
        let auth = hash(options, "auth").map_err(&mut note).ok();
        let key = match (packet_hash, auth) {
            (Some(hash), Some(auth)) => key(options, transport.as_ref(), hash, auth)
                .map_err(&mut note)
                .ok(),
            _ => None,
        };
        match (transport, plug, packet_hash, auth, key) {
            (Some(transport), Some(plug), Some(hash), Some(auth), Some(key)) => Ok(Self {
                operation: operation(options.action().name),
                plug,
                by_uuid: options.number("use_uuid").unwrap_or_default() > 0,
                hash,
                auth,
                key,
                timeout: options
                    .seconds("timeout")
                    .unwrap_or(Duration::from_secs(30)),
                transport,
            }),
            _ => Err(problems),
        }
    }

    /// What is asked, for messages: ``off of `vm1` ``.
    pub(crate) fn question(&self) -> String {
        self.plug.as_ref().map_or_else(
            || self.operation.to_string(),
            |plug| format!("{} of `{}`", self.operation, plug.as_str()),
        )
    }
}

fn operation(action: &str) -> Operation {
    match action {
        "off" => Operation::OFF,
        "on" => Operation::ON,
        "reboot" => Operation::REBOOT,
        "status" => Operation::STATUS,
        "monitor" => Operation::DEVICE_STATUS,
        "list" | "list-status" => Operation::HOST_LIST,
        // `null` asks for a failure on purpose, and so does nothing wrong in place of anything else.
        _ => Operation::NULL,
    }
}

fn plug(options: &Options) -> Result<Option<Plug>, String> {
    match options.text("plug") {
        Some(text) if options.action().plug => Plug::new(text)
            .map(Some)
            .map_err(|error| format!("option `plug`: {error}")),
        _ => Ok(None),
    }
}

fn hash(options: &Options, name: &str) -> Result<HashType, String> {
    let text = options.text(name).unwrap_or("sha256");
    text.parse()
        .map_err(|error| format!("option `{name}`: {error}"))
}

/// The key, read only where it is used: a serial line carries no signature and no challenge.
fn key(
    options: &Options,
    transport: Option<&Transport>,
    hash: HashType,
    auth: HashType,
) -> Result<Key, String> {
    let keyless = matches!(
        transport,
        Some(Transport::Serial(_) | Transport::Channel(_))
    );
    if keyless || (hash == HashType::None && auth == HashType::None) {
        return Ok(Key::none());
    }
    key::read(options.text("key_file").unwrap_or_default())
}

fn port(options: &Options) -> u16 {
    options
        .number("ipport")
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(PORT)
}

fn group(options: &Options) -> Result<Transport, String> {
    let family = options.text("ip_family").unwrap_or("auto");
    let address = match options
        .text("multicast_address")
        .filter(|text| !text.is_empty())
    {
        Some(text) => address("multicast_address", text)?,
        None if family == "ipv6" => MULTICAST_V6.into(),
        None => MULTICAST_V4.into(),
    };
    if !address.is_multicast() {
        return Err(format!(
            "option `multicast_address`: {address} is no multicast address (224.0.0.0/4 or ff00::/8)"
        ));
    }
    if (family == "ipv4" && address.is_ipv6()) || (family == "ipv6" && address.is_ipv4()) {
        return Err(format!(
            "option `multicast_address`: {address} does not fit `ip_family` {family}"
        ));
    }
    let tenths = options
        .number("retrans")
        .and_then(|tenths| u64::try_from(tenths).ok())
        .unwrap_or(20);
    let retrans = Duration::from_millis(tenths.saturating_mul(100));
    Ok(Transport::Multicast(Group {
        address,
        port: port(options),
        retrans,
    }))
}

/// vsock before TCP before a serial line before VMChannel, as in the C program.
fn channel(options: &Options) -> Result<Transport, String> {
    let written = |name: &str| options.text(name).filter(|text| !text.is_empty());
    if let Some(cid) = options
        .number("vsock")
        .and_then(|cid| u32::try_from(cid).ok())
    {
        return Ok(Transport::Stream(Peer::Vsock {
            cid,
            port: port(options).into(),
        }));
    }
    if let Some(text) = written("ipaddr") {
        let address = SocketAddr::new(address("ipaddr", text)?, port(options));
        return Ok(Transport::Stream(Peer::Tcp(address)));
    }
    if let Some(device) = written("serial_device") {
        let params = Params::parse(options.text("serial_params").unwrap_or("115200,8N1"))?;
        return Ok(Transport::Serial(Line {
            device: device.to_owned(),
            params,
        }));
    }
    let text = written("channel_address").unwrap_or("10.0.2.179");
    Ok(Transport::Channel(SocketAddr::new(
        address("channel_address", text)?,
        port(options),
    )))
}

/// A numeric address: asking a name server during fencing would make one more thing that can fail.
fn address(option: &str, text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| {
        format!("option `{option}` must be a numeric IPv4 or IPv6 address; names are not looked up")
    })
}

impl Params {
    /// Speeds that both C programs know.
    const SPEEDS: [u32; 6] = [2400, 9600, 19200, 38400, 57600, 115_200];

    /// Reads `115200,8N1`: speed, data bits 5-8, parity n, e or o, stop bits 1 or 2.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::read(text.trim()).ok_or_else(|| {
            "option `serial_params` must look like 115200,8N1: speed 2400, 9600, 19200, 38400, 57600 or \
             115200; data bits 5 to 8; parity N, E or O; stop bits 1 or 2"
                .to_owned()
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (speed, frame) = text.split_once(',').unwrap_or((text, "8N1"));
        let speed = speed
            .trim()
            .parse()
            .ok()
            .filter(|speed| Self::SPEEDS.contains(speed))?;
        let [data, parity, stop] = <[u8; 3]>::try_from(frame.trim().as_bytes()).ok()?;
        Some(Self {
            speed,
            data_bits: matches!(data, b'5'..=b'8').then(|| data - b'0')?,
            parity: match parity.to_ascii_lowercase() {
                b'n' => Parity::None,
                b'e' => Parity::Even,
                b'o' => Parity::Odd,
                _ => return None,
            },
            stop_bits: matches!(stop, b'1' | b'2').then(|| stop - b'0')?,
        })
    }
}

/// The address of the wildcard of the same family.
pub(crate) const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
