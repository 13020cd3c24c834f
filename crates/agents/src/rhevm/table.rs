//! The table of `fence_rhevm`: names, short flags, defaults and order of fence-agents' agent of that name.

use fence_agent::{Agent, Facility, Opt, common};

use crate::managed::{NOTE_LIMITS, NOTE_TLS, options};

const SHORTDESC: &str = "Fence agent for RHEV-M REST API";

const LONGDESC: &str = "fence_rhevm is a power fencing agent for virtual machines of RHEV-M (2.2 to 3.x) and oVirt engines (4.x). It \
stops and starts them through the engine's XML interface, in its version 3 or 4, whichever the engine speaks.

A virtual machine counts as off when the engine, asked after the order, says that it is down. Suspended and paused machines, \
and those whose host does not answer, are not off. One that is highly available and has crashed is down until the engine starts it \
afresh: what was to be fenced is gone then, and the machine comes back.";

const OWN: [Opt; 10] = [
    common::PLUG.help("name", "Name or UUID of the virtual machine"),
    common::POWER_WAIT.default("1").help(
        "seconds",
        "Wait X seconds after issuing ON/OFF. Only if given: the order is confirmed in any case",
    ),
    common::SHELL_TIMEOUT.default("5"),
    Opt::flag("use_cookies").help("", "Keep the session at the end, for the next run"),
    Opt::text("api_version")
        .default("auto")
        .order(2)
        .help("version", "Version of the interface: auto, 3 or 4"),
    Opt::text("cookie_file").order(2).help(
        "file",
        "File to keep the session in, instead of the usual one below /run/picket",
    ),
    Opt::text("api_path")
        .default("/ovirt-engine/api")
        .order(3)
        .help(
            "path",
            "Path of the interface; /api with RHEV-M 3.0 and older",
        ),
    Opt::flag("disable_http_filter").order(4).help(
        "",
        "Ask for everything, not only for what the user may see. For administrators only",
    ),
    Opt::text("gnutlscli_path")
        .default("/usr/bin/gnutls-cli")
        .order(300)
        .help("path", "Accepted; no such program is used"),
    common::NOTLS.help("", "Accepted; has no effect"),
];

static OPTIONS: [Opt; 34] = options(OWN);

const NOTE_USER: (&str, &str) = (
    "THE ENGINE'S USER",
    "Give the agent a user of its own, written with the domain or profile: fence@internal. It needs a role with the permits \
     stop_vm and run_vm on the cluster's virtual machines, or on what they belong to: UserVmManager is the smallest of the \
     engine's own. Such a user sees filtered results, which this agent asks for unless disable_http_filter is set.\n\n\
     monitor proves more than the login: the user's permissions and the permits of their roles are read, and it fails when \
     none includes stop_vm. It needs no list of machines. Where the engine does not show enough to tell (engines before 4.2 do \
     not say which groups a user belongs to), monitor succeeds with a warning.",
);

const NOTE_SESSION: (&str, &str) = (
    "SESSION",
    "oVirt 4 gives a token for the password, RHEV-M 3 a cookie; either serves all requests of a run and is ended at its end. A \
     session that the engine forgets in between is opened once more.\n\n\
     With use_cookies the session is kept for the next run instead, in a file with mode 0600, which is made without following \
     links, below /run/picket with mode 0700 (or where cookie_file says, if others cannot write there). It is taken \
     up again for half an hour after its login, so that monitor notices a changed password by then, and ends by the engine's own idle \
     limit. That saves the engine one login, and its log one line, for every monitor.",
);

const NOTE_DIFFERENCES: (&str, &str) = (
    "DIFFERENCES FROM THE PYTHON AGENT",
    "A plug means the machine of exactly this name, or with this UUID: no wildcards, no other case; two machines of the name \
     are an error. Every plug of several is switched and confirmed.\n\n\
     What is no success in HTTP is an error with the engine's reason. A refused login fails list and monitor too. A machine \
     that the engine tells no state of is not off. list-status shows states. A stop is forced where the interface knows how \
     (4.4 and later), so that a backup does not keep a machine running. The list shows the UUID as alias.\n\n\
     power_timeout is seconds. Pacemaker's calls end by themselves too. A switch set to 0 or no is off. use_cookies keeps no \
     readable file below /tmp. password_script is run without a shell. An error in the connection is never taken for an answer.",
);

const fn agent(name: &'static str, symlinks: &'static [(&'static str, &'static str)]) -> Agent {
    Agent {
        name,
        shortdesc: SHORTDESC,
        longdesc: LONGDESC,
        vendor_url: "http://www.redhat.com",
        version: env!("CARGO_PKG_VERSION"),
        symlinks,
        options: &OPTIONS,
        actions: &common::ACTIONS,
        ignored: &["agent", "self", "nodename", "nodeid"],
        facility: Facility::User,
        notes: &[
            NOTE_USER,
            NOTE_SESSION,
            NOTE_TLS,
            NOTE_LIMITS,
            NOTE_DIFFERENCES,
        ],
    }
}

/// `fence_rhevm`.
pub static FENCE_RHEVM: Agent = agent("fence_rhevm", &[("fence_rhev", SHORTDESC)]);
/// `fence_rhev`: what the requirement document calls it (S27).
pub static FENCE_RHEV: Agent = agent("fence_rhev", &[]);
