//! The tables of `fence_xvm` and `fence_virt`: names, short flags, defaults and order as the C
//! programs have them (`fence_xvm(8)`, `fence_virt(8)`), plus long names.

use fence_agent::{Action, Agent, Alias, Facility, Kind, Need, Opt};

const HASHES: &[&str] = &["none", "sha1", "sha256", "sha512"];
/// A day: longer than any fencing action, small enough for every clock.
const DAY: i64 = 86_400;

const LONGDESC_XVM: &str =
    "fence_xvm is an I/O Fencing agent which can be used with virtual machines.

It asks the fence_virtd of the host, by a signed multicast packet, to switch a guest; the host \
connects back and says how it went.

NOTE: reboot-action does not power on nodes that are powered off.";

const LONGDESC_VIRT: &str = "fence_virt is an I/O Fencing agent which can be used with virtual machines.

It asks the fence_virtd of the host to switch a guest, over vsock, TCP, a serial line or VMChannel: \
vsock when vsock is set, else TCP when ipaddr is set, else a serial line when serial_device is set, \
else VMChannel. None of these three has a default value; a front end must leave them out to leave \
them unset.

NOTE: reboot-action does not power on nodes that are powered off.";

const DEBUG: Opt = Opt::new("debug", Kind::Count).short('d').help(
    "",
    "Specify (stdin) or increment (command line) debug level",
);
const IPPORT: Opt = Opt::new("ipport", Kind::Integer(1, 65_535))
    .xml_type("string")
    .short('p')
    .default("1229")
    .help("port", "TCP, Multicast, VMChannel, or VM socket port");
const AUTH: Opt = Opt::new("auth", Kind::Select(HASHES))
    .xml_type("string")
    .short('C')
    .default("sha256")
    .help("auth", "Authentication of the connection");
const HASH: Opt = Opt::new("hash", Kind::Select(HASHES))
    .xml_type("string")
    .short('c')
    .default("sha256")
    .help("hash", "Packet hash strength");
const KEY_FILE: Opt = Opt::text("key_file")
    .short('k')
    .default("/etc/cluster/fence_xvm.key")
    .help("file", "Shared key file");
const ACTION: Opt = Opt::text("action")
    .short('o')
    .default("reboot")
    .decisive()
    .aliases(&[Alias::silent("option")])
    .help(
        "operation",
        "Fencing action: null, off, on, reboot, status, list, list-status, monitor, validate-all, metadata",
    );
const TIMEOUT: Opt = Opt::new("timeout", Kind::Second(1, DAY))
    .xml_type("string")
    .short('t')
    .default("30")
    .help(
        "timeout",
        "Limit of the whole run in seconds, delay not counted",
    );
const DELAY: Opt = Opt::new("delay", Kind::Second(0, DAY))
    .xml_type("string")
    .short('w')
    .default("0")
    .help("delay", "Seconds to wait before off, on, reboot and null");
const HELP: Opt = Opt::flag("help")
    .short('h')
    .short_too('?')
    .order(900)
    .command_line_only()
    .help("", "Print this help and exit");
const VERSION: Opt = Opt::flag("version")
    .short('V')
    .order(901)
    .command_line_only()
    .help("", "Print the version and exit");

/// The guest. `port` is what Pacemaker sends on its own, so an explicit `plug` beats it.
const fn plug(aliases: &'static [Alias]) -> Opt {
    Opt::text("plug")
        .short('n')
        .aliases(aliases)
        .obsoletes()
        .required()
        .need(Need::Plug)
        .decisive()
        .help("domain", "Virtual machine (domain name or UUID) to fence")
}

static XVM_OPTIONS: [Opt; 15] = [
    DEBUG.order(1),
    Opt::new("ip_family", Kind::Select(&["auto", "ipv4", "ipv6"]))
        .xml_type("string")
        .short('i')
        .default("auto")
        .order(2)
        .help("family", "IP family"),
    Opt::text("multicast_address").short('a').order(3).help(
        "address",
        "Multicast address; 225.0.0.12 or ff05::3:1 when not set",
    ),
    IPPORT.order(4),
    Opt::new("retrans", Kind::Integer(1, DAY * 10))
        .xml_type("string")
        .short('r')
        .default("20")
        .order(5)
        .help("retrans", "Multicast retransmit time in tenths of a second"),
    AUTH.order(6),
    HASH.order(7),
    KEY_FILE.order(8),
    plug(&[
        Alias::deprecated("port").flags(Some('H'), true).order(10),
        Alias::deprecated("domain").stdin_only().order(15),
    ])
    .order(9),
    Opt::new("use_uuid", Kind::Count)
        .xml_type("string")
        .short('u')
        .default("0")
        .order(11)
        .help(
            "",
            "Mark the plug as a UUID, as fence_xvmd of RHEL 5 demands",
        ),
    ACTION.order(12),
    TIMEOUT.order(13),
    DELAY.order(14),
    HELP,
    VERSION,
];

static VIRT_OPTIONS: [Opt; 16] = [
    DEBUG.order(1),
    Opt::text("serial_device").short('D').order(2).help(
        "device",
        "Serial device (e.g. /dev/ttyS1) or virtio-serial port (/dev/virtio-ports/NAME)",
    ),
    Opt::text("serial_params")
        .short('P')
        .default("115200,8N1")
        .order(3)
        .help(
            "params",
            "Serial parameters: speed, data bits, parity, stop bits",
        ),
    Opt::text("channel_address")
        .short('A')
        .default("10.0.2.179")
        .order(4)
        .help("address", "VMChannel IP address"),
    IPPORT.order(5),
    plug(&[
        Alias::deprecated("port").flags(Some('H'), true).order(7),
        Alias::deprecated("domain").stdin_only().order(16),
    ])
    .order(6),
    ACTION.order(8),
    TIMEOUT.order(9),
    Opt::text("ipaddr").short('T').order(10).help(
        "address",
        "IP address of the host, numeric; selects TCP mode",
    ),
    Opt::new("vsock", Kind::Integer(2, 0xFFFF_FFFE))
        .short('S')
        .bare("2")
        .order(11)
        .help(
            "cid",
            "VM socket CID of the host (2 when no CID is attached); selects vsock mode",
        ),
    AUTH.order(12),
    HASH.order(13),
    KEY_FILE.order(14),
    DELAY.order(15),
    HELP,
    VERSION,
];

static ACTIONS: [Action; 10] = [
    Action::new("null", "ask the host for a failure, to test the path to it").delayed(),
    Action::new("on", "power the guest on; success if it is on already").delayed(),
    Action::new(
        "off",
        "power the guest off at once; success if it is off already",
    )
    .delayed(),
    Action::new(
        "reboot",
        "power the guest off, then on; a guest that is off stays off",
    )
    .delayed(),
    Action::new("metadata", "print this agent's metadata as XML").informative(),
    Action::new(
        "status",
        "print Status: ON (exit 0) or Status: OFF (exit 2)",
    ),
    Action::new("monitor", "succeed if the host's daemon answers").without_plug(),
    Action::new(
        "list",
        "print every guest this one may fence: name, UUID, on or off",
    )
    .without_plug(),
    Action::new("list-status", "the same as list").without_plug(),
    Action::new(
        "validate-all",
        "check the options and the key file, contact nobody",
    ),
];

const NOTE_STATUSES: (&str, &str) = (
    "FURTHER EXIT STATUSES",
    "3: the host's access rules forbid this guest to fence the plug. 255: the request went out and no \
     answer came in time, so nobody knows whether it was carried out. Any other: the host answered \
     with this number, which has no meaning.",
);
const NOTE_KEY: (&str, &str) = (
    "KEY FILE",
    "Copy the host's key to every guest, mode 0600. The bytes count as they are, a trailing newline \
     included; at most 4096 are used. A missing, empty or unreadable key file is an error unless both \
     hash and auth are none (the C agent then sends unsigned requests). A serial line and VMChannel \
     use no key: the host knows the guest by the channel. Their answers carry no sequence number, so \
     an answer that comes after its run has ended is thrown away when the next one begins.",
);
const NOTE_C: (&str, &str) = (
    "DIFFERENCES FROM THE C AGENT",
    "One deadline, timeout, holds for the whole run. An unknown option is an error. A list that stalls \
     or is cut off is an error. A connection that fails to prove that it knows the key is dropped and \
     the agent goes on waiting for the host. When ipport is busy in this guest, the agent listens on \
     another port and tells the host so. serial_device may be a virtio-serial port. plug beats port \
     and domain when they differ on standard input; on the command line that is an error.",
);

const fn agent(name: &'static str, longdesc: &'static str, options: &'static [Opt]) -> Agent {
    Agent {
        name,
        shortdesc: "Fence agent for virtual machines",
        longdesc,
        vendor_url: "https://libvirt.org",
        version: env!("CARGO_PKG_VERSION"),
        symlinks: &[],
        options,
        actions: &ACTIONS,
        ignored: &["agent", "self", "nodename", "nodeid"],
        facility: Facility::Daemon,
        notes: &[NOTE_STATUSES, NOTE_KEY, NOTE_C],
    }
}

/// `fence_xvm`.
pub static FENCE_XVM: Agent = agent("fence_xvm", LONGDESC_XVM, &XVM_OPTIONS);
/// `fence_virt`.
pub static FENCE_VIRT: Agent = agent("fence_virt", LONGDESC_VIRT, &VIRT_OPTIONS);
