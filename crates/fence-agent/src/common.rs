//! The options of fence-agents' common library, as rows for an agent's table (facts 2.1 and 2.2).
//!
//! An agent's table lists [`EVERY`] and the rows it needs of the rest. Names, short flags, order and
//! defaults are the library's, so that existing configurations keep working; where meaning differs,
//! the row says so.

use crate::table::{Action, Alias, Kind, Need, Opt};

/// The longest time an option may ask for, in seconds.
const DAY: i64 = 86_400;

/// The options every agent has.
pub const EVERY: [Opt; 16] = [
    ACTION,
    QUIET,
    VERBOSE,
    VERBOSE_LEVEL,
    DEBUG_FILE,
    VERSION,
    HELP,
    PLUG_SEPARATOR,
    DELAY,
    DISABLE_TIMEOUT,
    LOGIN_TIMEOUT,
    POWER_TIMEOUT,
    POWER_WAIT,
    SHELL_TIMEOUT,
    STONITH_STATUS_SLEEP,
    RETRY_ON,
];

/// `action`; fabric agents use [`FABRIC_ACTION`].
pub const ACTION: Opt = Opt::text("action")
    .short('o')
    .default("reboot")
    .required()
    .decisive()
    .aliases(&[Alias::silent("option")])
    .help("action", "Fencing action");
/// `action` of agents that cut access instead of power.
pub const FABRIC_ACTION: Opt = ACTION.default("off");
/// `quiet`
pub const QUIET: Opt = Opt::flag("quiet")
    .short('q')
    .order(50)
    .help("", "Disable logging to stderr");
/// `verbose`: repeatable.
pub const VERBOSE: Opt = Opt::new("verbose", Kind::Count)
    .short('v')
    .order(51)
    .help("", "Verbose mode; may be repeated");
/// `verbose_level`: 0 cancels `verbose`.
pub const VERBOSE_LEVEL: Opt = Opt::new("verbose_level", Kind::Integer(0, 99))
    .order(52)
    .help("level", "Level of debugging detail in output");
/// `debug_file`
pub const DEBUG_FILE: Opt = Opt::text("debug_file")
    .short('D')
    .aliases(&[Alias::deprecated("debug")])
    .obsoletes()
    .order(53)
    .help("debugfile", "Write debug information to given file");
/// `version`
pub const VERSION: Opt = Opt::flag("version")
    .short('V')
    .order(54)
    .help("", "Display version information and exit")
    .not_on_stdin();
/// `help`
pub const HELP: Opt = Opt::flag("help")
    .short('h')
    .order(55)
    .help("", "Display help and exit")
    .not_on_stdin();
/// `plug_separator`
pub const PLUG_SEPARATOR: Opt = Opt::text("plug_separator").default(",").order(100).help(
    "char",
    "Separator for plug parameter when specifying more than 1 plug",
);
/// `delay`: held for exactly this long.
pub const DELAY: Opt =
    seconds("delay", 0, "0", 200).help("seconds", "Wait X seconds before fencing is started");
/// `disable_timeout`: lifts the limits of single steps; the run's deadline holds in any case.
pub const DISABLE_TIMEOUT: Opt = Opt::text("disable_timeout").order(200).help(
    "true/false",
    "Disable timeout of single steps (default true when run by Pacemaker 2.0+)",
);
/// `login_timeout`
pub const LOGIN_TIMEOUT: Opt = seconds("login_timeout", 0, "5", 200)
    .help("seconds", "Wait X seconds for cmd prompt after login");
/// `power_timeout`: seconds, where the library counts looks.
pub const POWER_TIMEOUT: Opt = seconds("power_timeout", 0, "20", 200)
    .help("seconds", "Test X seconds for status change after ON/OFF");
/// `power_wait`
pub const POWER_WAIT: Opt =
    seconds("power_wait", 0, "0", 200).help("seconds", "Wait X seconds after issuing ON/OFF");
/// `shell_timeout`
pub const SHELL_TIMEOUT: Opt = seconds("shell_timeout", 0, "3", 200).help(
    "seconds",
    "Wait X seconds for cmd prompt after issuing command",
);
/// `stonith_status_sleep`
pub const STONITH_STATUS_SLEEP: Opt = seconds("stonith_status_sleep", 0, "1", 200).help(
    "seconds",
    "Sleep X seconds between status calls during a STONITH action",
);
/// `retry_on`
pub const RETRY_ON: Opt = Opt::new("retry_on", Kind::Integer(0, 1000))
    .default("1")
    .order(201)
    .help("attempts", "Count of attempts to retry power on");

/// `ip`
pub const IP: Opt = Opt::text("ip")
    .short('a')
    .aliases(&[Alias::deprecated("ipaddr")])
    .obsoletes()
    .required()
    .need(Need::Always)
    .help("ip", "IP address or hostname of fencing device");
/// `ipport`; set its default by [`Opt::default`].
pub const IPPORT: Opt = Opt::new("ipport", Kind::Integer(1, 65_535))
    .short('u')
    .help("port", "TCP/UDP port to use for connection with device");
/// `username`
pub const USERNAME: Opt = Opt::text("username")
    .short('l')
    .aliases(&[Alias::deprecated("login")])
    .obsoletes()
    .required()
    .need(Need::Always)
    .help("name", "Login name");
/// `password`
pub const PASSWORD: Opt = Opt::text("password")
    .short('p')
    .aliases(&[Alias::deprecated("passwd")])
    .obsoletes()
    .secret()
    .help("password", "Login password or passphrase");
/// `password_script`
pub const PASSWORD_SCRIPT: Opt = Opt::text("password_script")
    .short('S')
    .aliases(&[Alias::deprecated("passwd_script")])
    .obsoletes()
    .help("script", "Script to run to retrieve password");
/// `identity_file`
pub const IDENTITY_FILE: Opt = Opt::text("identity_file")
    .short('k')
    .help("filename", "Identity file (private key) for SSH");
/// `command_prompt`
pub const COMMAND_PROMPT: Opt = Opt::text("command_prompt")
    .short('c')
    .aliases(&[Alias::deprecated("cmd_prompt")])
    .obsoletes()
    .help("prompt", "Force regex for command prompt");
/// `ssh`
pub const SSH: Opt = Opt::flag("ssh")
    .short('x')
    .aliases(&[Alias::deprecated("secure")])
    .obsoletes()
    .help("", "Use SSH connection");
/// `ssh_options`
pub const SSH_OPTIONS: Opt = Opt::text("ssh_options").help("options", "SSH options to use");
/// `ssl`
pub const SSL: Opt = Opt::flag("ssl")
    .short('z')
    .help("", "Use SSL connection with verifying certificate");
/// `ssl_secure`
pub const SSL_SECURE: Opt =
    Opt::flag("ssl_secure").help("", "Use SSL connection with verifying certificate");
/// `ssl_insecure`
pub const SSL_INSECURE: Opt =
    Opt::flag("ssl_insecure").help("", "Use SSL connection without verifying certificate");
/// `notls`
pub const NOTLS: Opt = Opt::flag("notls")
    .short('t')
    .help("", "Disable TLS negotiation and force SSL 3.0");
/// `tls1.0`
pub const TLS1_0: Opt = Opt::flag("tls1.0").help("", "Disable TLS negotiation and force TLS 1.0");
/// `plug`
pub const PLUG: Opt = Opt::text("plug")
    .short('n')
    .aliases(&[Alias::deprecated("port")])
    .obsoletes()
    .required()
    .need(Need::Plug)
    .decisive()
    .help(
        "id",
        "Physical plug number on device, UUID or identification of machine",
    );
/// `switch`
pub const SWITCH: Opt = Opt::text("switch")
    .short('s')
    .help("id", "Physical switch number on device");
/// `exec`
pub const EXEC: Opt = Opt::text("exec")
    .short('e')
    .help("command", "Command to execute");
/// `snmp_version`
pub const SNMP_VERSION: Opt = Opt::new("snmp_version", Kind::Select(&["1", "2c", "3"]))
    .short('d')
    .help("version", "Specifies SNMP version to use");
/// `community`
pub const COMMUNITY: Opt = Opt::text("community")
    .short('c')
    .help("community", "Set the community string");
/// `snmp_auth_prot`
pub const SNMP_AUTH_PROT: Opt = Opt::new("snmp_auth_prot", Kind::Select(&["MD5", "SHA"]))
    .short('b')
    .help("prot", "Set authentication protocol");
/// `snmp_sec_level`
pub const SNMP_SEC_LEVEL: Opt = Opt::new(
    "snmp_sec_level",
    Kind::Select(&["noAuthNoPriv", "authNoPriv", "authPriv"]),
)
.short('E')
.help("level", "Set security level");
/// `snmp_priv_prot`
pub const SNMP_PRIV_PROT: Opt = Opt::new("snmp_priv_prot", Kind::Select(&["DES", "AES"]))
    .short('B')
    .help("prot", "Set privacy protocol");
/// `snmp_priv_passwd`
pub const SNMP_PRIV_PASSWD: Opt = Opt::text("snmp_priv_passwd")
    .short('P')
    .secret()
    .help("pass", "Set privacy protocol password");
/// `snmp_priv_passwd_script`
pub const SNMP_PRIV_PASSWD_SCRIPT: Opt = Opt::text("snmp_priv_passwd_script")
    .short('R')
    .help("script", "Script to run to retrieve privacy password");
/// `inet4_only`
pub const INET4_ONLY: Opt = Opt::flag("inet4_only")
    .short('4')
    .help("", "Forces agent to use IPv4 addresses only");
/// `inet6_only`
pub const INET6_ONLY: Opt = Opt::flag("inet6_only")
    .short('6')
    .help("", "Forces agent to use IPv6 addresses only");
/// `separator`
pub const SEPARATOR: Opt = Opt::text("separator")
    .short('C')
    .default(",")
    .order(100)
    .help("char", "Separator for CSV created by 'list' operation");
/// `method`
pub const METHOD: Opt = Opt::new("method", Kind::Select(&["onoff", "cycle"]))
    .short('m')
    .default("onoff")
    .help("method", "Method to fence");
/// `missing_as_off`
pub const MISSING_AS_OFF: Opt = Opt::flag("missing_as_off")
    .order(200)
    .help("", "Missing port returns OFF instead of failure");
/// `port_as_ip`
pub const PORT_AS_IP: Opt = Opt::flag("port_as_ip")
    .order(200)
    .help("", "Make \"port/plug\" to be an alias to IP address");
/// `session_url`
pub const SESSION_URL: Opt = Opt::text("session_url")
    .short('s')
    .required()
    .need(Need::Always)
    .help("url", "URL to connect to XenServer on");
/// `use_sudo`
pub const USE_SUDO: Opt = Opt::flag("use_sudo")
    .aliases(&[Alias::deprecated("sudo")])
    .obsoletes()
    .order(205)
    .help(
        "",
        "Use sudo (without password) when calling 3rd party software",
    );

/// The actions of an agent that switches power, in the library's order.
pub const ACTIONS: [Action; 10] = [
    Action::new("on", "power on; success if it is on already").automatic(false),
    Action::new("off", "power off at once; success if it is off already").delayed(),
    Action::new("reboot", "power off, then on").delayed(),
    Action::new(
        "status",
        "print Status: ON (exit 0) or Status: OFF (exit 2)",
    ),
    Action::new("list", "print every plug").without_plug(),
    Action::new("list-status", "print every plug with its state").without_plug(),
    Action::new("monitor", "succeed if the device can be used").without_plug(),
    Action::new("metadata", "print this agent's metadata as XML").informative(),
    Action::new("manpage", "print the metadata for a man page").informative(),
    Action::new("validate-all", "check the options, contact nobody"),
];
/// The actions of an agent that cuts access: no reboot, and `on` is unfencing, which the cluster asks
/// for by itself and which must run on the node concerned.
pub const FABRIC_ACTIONS: [Action; 9] = [
    Action::new("on", "restore access; success if it has it already")
        .automatic(true)
        .on_target()
        .aliases(&["enable"]),
    Action::new("off", "cut access; success if it is cut already")
        .delayed()
        .aliases(&["disable"]),
    ACTIONS[3],
    ACTIONS[4],
    ACTIONS[5],
    ACTIONS[6],
    ACTIONS[7],
    ACTIONS[8],
    ACTIONS[9],
];

const fn seconds(name: &'static str, least: i64, default: &'static str, order: u16) -> Opt {
    Opt::new(name, Kind::Second(least, DAY))
        .default(default)
        .order(order)
}
