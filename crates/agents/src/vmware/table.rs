//! The tables of `fence_vmware`, `fence_vmware_soap` and `fence_vmware_rest`: names, short flags, defaults and order of
//! fence-agents' agents of those names.

use fence_agent::{Agent, Alias, Facility, Kind, Opt, common};

use crate::managed::{NOTE_LIMITS, NOTE_TLS, options};

const LONGDESC: &str = "fence_vmware is a fencing agent for the virtual machines of VMware ESX, ESXi and vCenter, version 4.0 \
and later. It needs none of VMware's tool kits: it speaks their web services itself.

plug is the virtual machine's name, if only one has it, its UUID, or its inventory path (/datacenter/vm/folder/name).";

const LONGDESC_SOAP: &str = "fence_vmware_soap is a fencing agent for the virtual machines of VMware ESX, ESXi and vCenter, \
version 4.0 and later, through their SOAP interface.

plug is the virtual machine's name, if only one has it, its UUID, or its inventory path (/datacenter/vm/folder/name).";

const LONGDESC_REST: &str = "fence_vmware_rest is a fencing agent for the virtual machines of VMware vCenter 6.5 and later, \
through its REST interface.

plug is the virtual machine's name. UUIDs and inventory paths need the SOAP interface (fence_vmware_soap), which also tells \
more about what vCenter knows, and which hosts without vCenter have.";

const PLUG: Opt = common::PLUG.help(
    "id",
    "Name of the virtual machine, its UUID, or its inventory path (/datacenter/vm/folder/name)",
);
const PLUG_REST: Opt = common::PLUG.help("id", "Name of the virtual machine");
const DATACENTER: Opt = Opt::text("vmware_datacenter").short('s').order(2).help(
    "dc",
    "Name of the datacenter that guests are looked for in; without it, all",
);
const GNUTLSCLI: Opt = Opt::text("gnutlscli_path")
    .default("/usr/bin/gnutls-cli")
    .order(300)
    .help("path", "Accepted, not used: no program is needed for TLS");
const API_PATH: Opt = Opt::text("api_path").order(2);
const FILTER: Opt = Opt::text("filter").order(2).help(
    "filter",
    "Which guests the list action shows: filter.names=node1&filter.names=node2, for example; names of guests to fence are not \
     subject to it",
);

static OPTIONS: [Opt; 41] = options([
    PLUG,
    common::IPPORT
        .default("22")
        .help("port", "TCP port of the server; unless given, 443, or 80 with ssl=0 (the default shown is historic)"),
    common::SSL.help("", "Use TLS and verify the certificate: the default; ssl=0 turns TLS off"),
    Opt::text("vmware_type").short('d').default("esx").help(
        "type",
        "Type of VMware to connect to: esx, which covers ESX, ESXi and vCenter. server1 and server2, VMware Server, are gone",
    ),
    DATACENTER,
    Opt::new("interface", Kind::Select(&["soap", "rest"]))
        .default("soap")
        .order(2)
        .help("name", "soap: on every server, and tells more; rest: on vCenter 6.5 and later"),
    API_PATH.help("path", "Where the REST interface is, if interface is rest; without it, /api and then /rest are tried"),
    FILTER,
    common::EXEC.help("command", "Accepted, not used: no helper program is needed"),
    Opt::text("ssh")
        .short('x')
        .aliases(&[Alias::deprecated("secure")])
        .obsoletes()
        .xml_type("boolean")
        .default("1")
        .bare("1")
        .help("flag", "Accepted, without meaning"),
    common::SSH_OPTIONS.help("options", "Accepted, not used"),
    common::IDENTITY_FILE.help("filename", "Accepted, not used"),
    common::INET4_ONLY.help("", "Accepted, not used: give the address as ip"),
    common::INET6_ONLY.help("", "Accepted, not used: give the address as ip"),
    common::PORT_AS_IP.help("", "Refused: a virtual machine's name is no address"),
    Opt::text("ssh_path")
        .default("/usr/bin/ssh")
        .order(300)
        .help("path", "Accepted, not used"),
]);

static OPTIONS_SOAP: [Opt; 30] = options([PLUG, DATACENTER, GNUTLSCLI]);

static OPTIONS_REST: [Opt; 32] = options([
    PLUG_REST,
    DATACENTER,
    API_PATH.default("/rest").help(
        "path",
        "Where the REST interface is; unless given, /api is tried first (vCenter 7.0 U2 and later)",
    ),
    FILTER,
    common::POWER_WAIT.default("1"),
    common::SHELL_TIMEOUT.default("5"),
    GNUTLSCLI,
]);

const NOTE_STATES: (&str, &str) = (
    "WHAT COUNTS AS OFF",
    "Only a virtual machine that is powered off, on a host that vCenter is connected to. One that is suspended is on: resumed, it \
     would go on writing where it was. off powers it off, which discards its memory; where the server refuses that, off fails. \
     on boots it afresh. When vCenter has lost a host, it goes on showing what it last saw of the guests on it; \
     that counts as neither on nor off, and off fails: fence the host.\n\n\
     A name or UUID that several virtual machines have is an error. Templates are none. Names are written as the \
     interface shows them: %2f, %5c and %25 stand for /, \\ and %; in a name, though not in a path, the characters themselves are \
     understood too.",
);
const NOTE_PRIVILEGES: (&str, &str) = (
    "PRIVILEGES",
    "The login needs a role with VirtualMachine.Interact.PowerOff and VirtualMachine.Interact.PowerOn on the virtual machines or \
     on a folder above them (System.View and System.Read come with any role). monitor fails when the first is missing. \
     A free ESXi host allows only reading.",
);
const NOTE_REST: (&str, &str) = (
    "WHAT REST CANNOT TELL",
    "The REST interface shows power states without saying whether they are old, and not what the login may do. So virtual machines \
     are found and ordered about through REST, and looked at through SOAP, on the same server with the same login. Where /sdk is \
     not served, a state counts only when the virtual machine is on a host that vCenter is connected to, which needs System.Read \
     on the hosts, or when it was powered off by this very run; a start under way is not seen then, and monitor shows only that \
     the login sees the virtual machine, or any. REST finds nobody by UUID or path.\n\n\
     More than 1,000 to 4,000 virtual machines are listed host by host; monitor and fencing never need a list.",
);
const NOTE_PERL: (&str, &str) = (
    "DIFFERENCES FROM THE PYTHON AGENT",
    "No Perl tool kit and no vmrun are needed, and VMware Server (vmware_type server1, server2) is not supported. TLS is used and \
     the certificate verified unless ssl=0 or ssl_insecure is given. list and list-status exist, plug is accepted on the command \
     line, and one virtual machine is looked up by its name instead of all being listed.",
);
const NOTE_SOAP: (&str, &str) = (
    "DIFFERENCES FROM THE PYTHON AGENT",
    "Suspended virtual machines, and those of lost hosts, are not off. Every plug is switched and confirmed, also when several \
     are given. A name that several virtual machines have is an error, where the Python agent takes the last one. \
     list-status shows states. One virtual machine is looked up instead of all being listed at every look; nothing is downloaded. \
     Every wait has a limit; shell_timeout limits a single request only when it is given. The session is ended after every \
     run, also on SIGTERM. monitor proves the privilege to power off.",
);
const NOTE_REST_PYTHON: (&str, &str) = (
    "DIFFERENCES FROM THE PYTHON AGENT",
    "Suspended virtual machines, and those of lost hosts, are not off. Several plugs may be given. A name that several virtual \
     machines have is an error. /api is spoken as well as /rest. The list may have more guests than the interface returns at \
     once, and monitor fails when the login sees none or may not power off. Every wait has a limit; shell_timeout limits a \
     single request only when it is given. The session is ended after every run, also on SIGTERM.",
);

/// `fence_vmware`.
pub static FENCE_VMWARE: Agent = Agent {
    name: "fence_vmware",
    shortdesc: "Fence agent for VMWare",
    longdesc: LONGDESC,
    vendor_url: "http://www.vmware.com",
    version: env!("CARGO_PKG_VERSION"),
    symlinks: &[],
    options: &OPTIONS,
    actions: &common::ACTIONS,
    ignored: &["agent", "self", "nodename", "nodeid"],
    facility: Facility::User,
    notes: &[
        NOTE_STATES,
        NOTE_PRIVILEGES,
        NOTE_REST,
        NOTE_TLS,
        NOTE_LIMITS,
        NOTE_PERL,
    ],
};

/// `fence_vmware_soap`.
pub static FENCE_VMWARE_SOAP: Agent = Agent {
    name: "fence_vmware_soap",
    shortdesc: "Fence agent for VMWare over SOAP API",
    longdesc: LONGDESC_SOAP,
    options: &OPTIONS_SOAP,
    notes: &[
        NOTE_STATES,
        NOTE_PRIVILEGES,
        NOTE_TLS,
        NOTE_LIMITS,
        NOTE_SOAP,
    ],
    ..FENCE_VMWARE
};

/// `fence_vmware_rest`.
pub static FENCE_VMWARE_REST: Agent = Agent {
    name: "fence_vmware_rest",
    shortdesc: "Fence agent for VMware REST API",
    longdesc: LONGDESC_REST,
    vendor_url: "https://www.vmware.com",
    options: &OPTIONS_REST,
    notes: &[
        NOTE_STATES,
        NOTE_PRIVILEGES,
        NOTE_REST,
        NOTE_TLS,
        NOTE_LIMITS,
        NOTE_REST_PYTHON,
    ],
    ..FENCE_VMWARE
};
