//! The table of `fence_hyperv`. fence-agents has no agent for Hyper-V, so names follow its library, and nothing else.

use fence_agent::{Agent, Facility, Kind, Need, Opt, common};

use crate::managed::{NOTE_LIMITS, options};

const LONGDESC: &str = "fence_hyperv is an I/O fencing agent for virtual machines on Microsoft Hyper-V. It speaks \
WS-Management (WinRM) to the host, which has to be told nothing and gets nothing installed: Windows Server 2012 and later \
and Hyper-V Server listen out of the box, 2008 and 2008 R2 after winrm quickconfig.

Guests of a failover cluster of hosts are found on whichever node has them, and followed when they move (option cluster). \
Success is reported only when the host says, after the order, that the guest is off: saved and paused guests are not.";

static OPTIONS: [Opt; 35] = options([
    common::IP.help("ip", "IP address or hostname of the Hyper-V host, of a node of its failover cluster, or of the cluster"),
    common::IPPORT
        .default("5985")
        .help("port", "TCP port of WinRM (5986 with TLS unless given)"),
    common::USERNAME.need(Need::Optional).help(
        "name",
        "Login name: DOMAIN\\user, user@domain, .\\user for an account of the host itself, or user",
    ),
    common::PLUG.help("id", "Name of the virtual machine, or its GUID (with or without braces)"),
    common::SHELL_TIMEOUT
        .default("20")
        .help("seconds", "Wait X seconds for the answer to a request, logging in included"),
    Opt::flag("cluster").help(
        "",
        "The host is a node of a failover cluster: ask the cluster which node has the guest, and follow it",
    ),
    Opt::text("nodes").help(
        "hosts",
        "Further hosts, separated by commas, each [NODE=]HOST[:PORT]: other nodes of the cluster, or with no cluster other \
         hosts the guest may run on",
    ),
    Opt::new("auth", Kind::Select(&["negotiate", "basic", "certificate"]))
        .default("negotiate")
        .help("how", "How to log in"),
    Opt::text("ssl_client_cert").help("file", "PEM file with the client's certificate, for auth=certificate"),
    Opt::text("ssl_client_key").help("file", "PEM file with its key, if not in the same file"),
    Opt::new("namespace", Kind::Select(&["auto", "v2", "v1"]))
        .default("auto")
        .help("which", "WMI namespace: v2 (2012 and later), v1 (2008 to 2012), or whichever there is"),
    Opt::new("kill_worker", Kind::Second(0, 3600)).default("0").order(200).help(
        "seconds",
        "If the guest is not off after X seconds, end its worker process on the host; 0: never",
    ),
]);

const NOTE_LOGIN: (&str, &str) = (
    "LOGIN AND RIGHTS",
    "auth=negotiate is NTLM. It takes local and domain accounts, and hosts by name or address. Without TLS every message is \
     encrypted and signed with keys of the login, and the password is not sent; an answer that is not encrypted is refused. With TLS the \
     login is bound to the connection, as hosts with CbtHardeningLevel Strict ask for. TLS is the better choice where \
     there is a listener for it, as NTLM's own ciphers are old.\n\n\
     auth=basic sends the password in every request. Hosts take it for local accounts only, and only after Basic was enabled; \
     without TLS also AllowUnencrypted, and then anybody on the way can read it.\n\n\
     auth=certificate needs TLS and a certificate that the host maps to a local account (WSMan:\\localhost\\ClientCertificate). \
     No name and no password are needed.\n\n\
     Kerberos is not there. A domain that forbids NTLM needs certificates.\n\n\
     The account must be a member of Hyper-V Administrators and of Remote Management Users on every host (2012 and later). A local \
     administrator other than Administrator needs LocalAccountTokenFilterPolicy=1 to be one over the network. On 2008 and 2008 R2 the \
     authorization store grants single operations. With cluster, the account needs full control of the cluster \
     (Grant-ClusterAccess).\n\n\
     monitor fails when the login is refused, when the account sees no guests (Hyper-V shows an empty list then, without an error), when it \
     may not call methods of guests, and with cluster also when it may not read the cluster's roles, when no node is up, or when one that \
     is up does not answer or lets the account do less, whichever has the guest. On 2008 and 2008 R2 the right to \
     switch cannot be asked for: there it proves the right to see.",
);
const NOTE_TLS: (&str, &str) = (
    "TLS",
    "WinRM has TLS on port 5986 once an administrator has made a listener with a certificate. With ssl or ssl_secure \
     the certificate must lead to an authority of the system's store and name the host as ip or nodes does. ssl_ca names a PEM file \
     with the certificates to trust instead: those of authorities, or the hosts' own. ssl_insecure takes any certificate.\n\n\
     password_script is run without a shell and what it prints, without blanks at its end, is the password. Redirections and \
     proxies are never followed.",
);
const NOTE_GUESTS: (&str, &str) = (
    "GUESTS",
    "Display names are not unique on Hyper-V. If several guests have the name, the agent refuses and prints their GUIDs: use one \
     of them as plug (Get-VM | select Name, Id). Names are compared with their case. In a cluster the role of that name decides, and the \
     guest must have the same name.\n\n\
     Off are the states off and off-critical (its storage is lost), if Hyper-V shows no worker process, no delayed start and \
     no migration is under way, and the guest is no replica of one that another host may run. A saved guest is on, for a start would resume its \
     memory: off discards that.\n\n\
     An order is carried out by a job of the host. The agent looks at the guest, not at the job, until it is off; a job that has \
     failed is named if it does not become so. Invalid state (32775) makes it look again.",
);
const NOTE_HOSTS: (&str, &str) = (
    "SEVERAL HOSTS",
    "With cluster, any node answers which node has the guest; the others are asked when one does not. Nodes that are not among ip and \
     nodes are looked for by the name the cluster has for them, in the domain of those that are; NODE=ADDRESS says where \
     a node is otherwise. A node that calls itself something else than expected is refused. off succeeds when the owner says that \
     the guest is off and the cluster still names the same owner afterwards, and does not count the guest as running. If the owner is \
     dead, off waits for the cluster to start the guest elsewhere and switches it off there; so does status. Until the cluster has \
     noticed that the owner is dead, they wait for half a minute at most, and then fail. A guest is never taken for off because a host \
     does not know it. Only clustered guests are found. Clusters before 2012 do not tell owners: list their nodes without cluster.\n\n\
     Without cluster, all hosts are asked. A guest that runs on one of them is on. It is off only when all hosts have \
     answered, as one that did not might run it.",
);
const NOTE_KILL: (&str, &str) = (
    "WORKER PROCESSES",
    "A worker process that hangs ignores the order to turn its guest off. kill_worker ends it (Win32_Process.Terminate in root/cimv2), \
     if Hyper-V and the process list agree on which process it is. That needs an administrator of the host. A cluster then \
     starts the guest again: the agent waits for that, and turns it off as usual. Where the cluster is told to start nothing again, \
     its resource stays failed, and off is not confirmed in that run.",
);

/// `fence_hyperv`.
pub static FENCE_HYPERV: Agent = Agent {
    name: "fence_hyperv",
    shortdesc: "Fence agent for Microsoft Hyper-V",
    longdesc: LONGDESC,
    vendor_url: "https://www.microsoft.com",
    version: env!("CARGO_PKG_VERSION"),
    symlinks: &[],
    options: &OPTIONS,
    actions: &common::ACTIONS,
    ignored: &["agent", "self", "nodename", "nodeid"],
    facility: Facility::User,
    notes: &[
        NOTE_LOGIN,
        NOTE_TLS,
        NOTE_GUESTS,
        NOTE_HOSTS,
        NOTE_KILL,
        NOTE_LIMITS,
    ],
};
