//! The table of `fence_scsi`: names, short flags, defaults and order of fence-agents' agent of that name.

use fence_agent::{Action, Agent, Alias, Facility, Kind, Need, Opt, common};

use super::key::Scheme;

const LONGDESC: &str = "fence_scsi is an I/O fencing agent that uses SCSI-3 persistent reservations to cut nodes off \
from shared storage. The devices must know persistent reservations (SPC-3 or later) with PREEMPT AND ABORT.

Each node registers a key of its own with every device, over every path (action on, which the cluster calls \
unfencing), and the devices are reserved so that only registered nodes may write. Fencing a node (off) takes \
its key away and aborts its writes in flight. The node itself goes on running: its I/O is cut off, and it must be reset before \
it is unfenced again. A watchdog can do that, see WATCHDOG.";

const PLUG: Opt = common::PLUG.need(Need::Optional).help(
    "nodename",
    "Name of the node to be fenced, as Corosync's node list has it. Its key is made from it, unless key is given",
);

static OPTIONS: [Opt; 29] = [
    common::FABRIC_ACTION,
    Opt::flag("aptpl")
        .short('a')
        .help("", "Use the APTPL flag for registrations: they outlast a loss of power of the device"),
    Opt::text("devices").short('d').help(
        "devices",
        "Devices to use, separated by commas or blanks: block devices, or iscsi://host[:port]/target/lun. Without it: \
         the physical volumes of shared volume groups",
    ),
    Opt::text("key").short('k').decisive().help(
        "key",
        "Key to use, hexadecimal, instead of one made from the node's name: for on the key to register, for off the key \
         to take away",
    ),
    PLUG,
    Opt::text("nodename")
        .hidden()
        .help("nodename", "Name of the node, as Pacemaker gives it. It goes before plug"),
    Opt::flag("readonly").help("", "Open devices read-only where nothing is to be changed"),
    Opt::flag("suppress_errors")
        .aliases(&[Alias::deprecated("suppress-errors")])
        .obsoletes()
        .help("", "Accepted; only the watchdog check knows errors that can be suppressed"),
    Opt::text("logfile")
        .short('f')
        .order(5)
        .help("file", "Append what would go to standard output to this file"),
    common::QUIET,
    common::VERBOSE,
    common::VERBOSE_LEVEL,
    common::DEBUG_FILE,
    common::VERSION,
    common::HELP,
    common::PLUG_SEPARATOR,
    common::DELAY.short('H'),
    common::DISABLE_TIMEOUT,
    common::LOGIN_TIMEOUT,
    common::POWER_TIMEOUT,
    common::POWER_WAIT,
    common::SHELL_TIMEOUT,
    common::STONITH_STATUS_SLEEP,
    common::RETRY_ON,
    program("corosync_cmap_path", "/usr/sbin/corosync-cmapctl", "Path to corosync-cmapctl binary"),
    Opt::new("key_value", Kind::Select(Scheme::NAMES))
        .xml_type("string")
        .default("id")
        .order(300)
        .help(
            "scheme",
            "How keys are made: id from the position in Corosync's node list, hash from 16 bits of the node's name, \
             unique from 63 bits of both names; the same on all nodes",
        ),
    program("sg_persist_path", "/usr/bin/sg_persist", "Accepted, not used: no program is needed to reach devices"),
    program("sg_turs_path", "/usr/bin/sg_turs", "Accepted, not used"),
    program("vgs_path", "/sbin/vgs", "Path to vgs binary"),
];

const fn program(name: &'static str, default: &'static str, help: &'static str) -> Opt {
    Opt::text(name)
        .default(default)
        .order(300)
        .help("path", help)
}

static ACTIONS: [Action; 7] = [
    Action::new("on", "register this node with every device, over every path, and see to it that they are reserved")
        .without_plug()
        .automatic(true)
        .on_target()
        .aliases(&["enable"]),
    Action::new("off", "take a node's registrations away; success only when every device was seen to keep it out")
        .without_plug()
        .delayed()
        .aliases(&["disable"]),
    Action::new(
        "status",
        "print Status: ON (exit 0) if the node may write to any device, Status: OFF (exit 2) if to none",
    )
    .without_plug(),
    Action::new("monitor", "succeed if this node can fence: it is unfenced, and every device answers").without_plug(),
    common::FABRIC_ACTIONS[6],
    common::FABRIC_ACTIONS[7],
    common::FABRIC_ACTIONS[8].without_plug(),
];

const NOTE_KEYS: (&str, &str) = (
    "KEYS",
    "key_value must be the same on all nodes. id and hash make the keys that fence-agents' fence_scsi makes, so that \
     nodes with either agent understand each other. Both have 16 bits for the cluster and 16 for the node: two clusters on \
     one array, or with hash two nodes, may come to have the same key, and fencing one would then fence the other; with id, \
     a node's key also changes when a node before it is removed from the list: off then refuses as long as a key is \
     registered that is no node's by today's list, and monitor when this node's key is not the one of its position. Unfence \
     every node again after removing one, or fence by key. A key that a node has by another scheme, because key_value was \
     changed since it was unfenced, is taken away with its key of today. unique is the recommended scheme where no \
     node uses another agent.\n\n\
     Whatever the scheme, on refuses a key that another node has: one of the node list with the same key, or a registration \
     with this key that the device says belongs to another initiator (READ FULL STATUS). A device that does not tell whose \
     registrations are makes it warn, and so do transports whose ports do not name their machine (Fibre Channel, SAS).\n\n\
     A registration belongs to a session's initiator port. One that logs in with another session id (ISID) is another port: \
     the node is registered over it by the next on, and the registration of the old port stays as long as another path of \
     the node is in use, for no command removes it alone. It gives nobody access but this node, and whoever fences the node \
     takes it away with the others. After a restart, when no path was in use, on removes what was left, if the reservation is this \
     node's: otherwise the node would be without any registration for a moment, in which whoever fences it has nothing to do, \
     and the registration that follows would undo that.\n\n\
     Keys are numbers: upper case, 0x and leading zeros make no difference.",
);
const NOTE_DEVICES: (&str, &str) = (
    "DEVICES",
    "A multipath device is registered over each of its paths, and the agent fails if one of them cannot be. Devices \
     that stand on several disks without being multipath are refused: name the disks. Devices are handled at the same time, \
     and one deadline holds for all of them. One disk that is named several times, by links or by its single paths, is \
     recognised by what these lead to, and for on by what it calls itself (VPD page 83h). A device that is busy or not ready \
     yet is asked again until the deadline.\n\n\
     Without devices, every action but on is also about each device this node was unfenced with: a volume group whose device \
     this node has lost is not listed, and others may still write to it. off cuts off from it too, status asks it, and \
     monitor fails if this node could not fence over it.\n\n\
     An iscsi:// device is reached by an initiator of the agent's own, whose registration is not that of the kernel: it \
     serves to fence others. A node that mounts the disk through the kernel is to be unfenced by the device node. \
     Credentials come from files (?secret=FILE after user@) or from LIBISCSI_CHAP_USERNAME and LIBISCSI_CHAP_PASSWORD.\n\n\
     A target that does not know PREEMPT AND ABORT is refused. Plain PREEMPT would leave writes in flight alive; there \
     is no option for it.",
);
const NOTE_STATE: (&str, &str) = (
    "FILES",
    "/var/run/cluster.key: this node's key, written by on before anything is registered. off and monitor need it.\n\n\
     /var/run/cluster.dev: the devices this node is registered with, for the watchdog check, and for off, status and \
     monitor without devices. A reboot clears both.",
);
const NOTE_WATCHDOG: (&str, &str) = (
    "WATCHDOG",
    "fence_scsi_check and fence_scsi_check_hardreboot are this program under other names (picket-agents \
     install-checks DIR makes links for both); link one of them into /etc/watchdog.d. They exit 2 when this node's key is on none of the devices it was \
     registered with, or none of them can be read; the second one reboots at once instead. Without state files they exit 0. \
     /etc/sysconfig/stonith may set retry, retry-sleep (seconds), verbose and suppress-errors, as NAME = VALUE.",
);
const NOTE_PYTHON: (&str, &str) = (
    "DIFFERENCES FROM THE PYTHON AGENT",
    "on registers in any case, and asks the device over each path whether this very path is registered: a key that is \
     left from before a reboot does not pass for it. It refuses a name that is not this machine's.\n\n\
     off refuses when this node has been fenced itself: it never registers its key again unless the device still shows it. \
     A device without a reservation, where anybody may write, is reserved before off reports success, also when the \
     node's key is absent already.\n\n\
     status says on where no reservation keeps the node out. A name that is not in the node list is an error. \
     monitor asks the devices. validate-all exits 1 when it found something.\n\n\
     A failed path leaves the outcome of a command unknown: then the keys are read again, and that decides. \
     When the answer to PREEMPT AND ABORT was lost, the device is made to answer another command of the same kind first: \
     by the standard it carries them out one at a time. A device that does not keep to that may still be writing then.",
);

/// `fence_scsi`.
pub static FENCE_SCSI: Agent = Agent {
    name: "fence_scsi",
    shortdesc: "Fence agent for SCSI persistent reservation",
    longdesc: LONGDESC,
    vendor_url: "https://www.t10.org",
    version: env!("CARGO_PKG_VERSION"),
    symlinks: &[],
    options: &OPTIONS,
    actions: &ACTIONS,
    ignored: &["agent", "self", "nodeid"],
    facility: Facility::User,
    notes: &[
        NOTE_KEYS,
        NOTE_DEVICES,
        NOTE_STATE,
        NOTE_WATCHDOG,
        NOTE_PYTHON,
    ],
};
