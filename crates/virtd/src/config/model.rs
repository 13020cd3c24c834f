//! What the daemon's own keys mean.

use std::path::PathBuf;
use std::time::Duration;

use super::diagnose::{Diagnostic, nearest};
use super::groups;
use super::section::View;
use crate::audit;
use crate::fleet::{self, FleetPlan};
use crate::listener::{self, Listener};
use crate::policy::Policy;

/// Longest time a request may take. Below the 30 seconds after which a C client gives up by
/// default, so that it hears the answer.
const DEFAULT_REQUEST_TIMEOUT: u64 = 25;

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the arrival of a request to its answer.
    pub request_timeout: Duration,
    /// Connections at once, of all listeners together.
    pub max_connections: usize,
    /// Connections at once from or to one address.
    pub max_connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(DEFAULT_REQUEST_TIMEOUT),
            max_connections: 1024,
            max_connections_per_address: 256,
        }
    }
}

/// Everything the file says.
#[derive(Debug)]
pub struct Config {
    /// `foreground`: stay in the foreground, as with `-F`.
    pub foreground: bool,
    /// `wait_for_init`: start although a hypervisor or an interface is not there yet, as with `-w`.
    pub wait_for_init: bool,
    /// `debug`: 0 to 99, as with `-d`.
    pub debug: u8,
    /// `audit_log`: where the audit records go; none if that is `none`.
    pub audit_log: Option<PathBuf>,
    /// `request_timeout` and the limits on connections.
    pub limits: Limits,
    /// `listener`: how guests reach the daemon; at least one.
    pub listeners: Vec<Box<dyn Listener>>,
    /// `backend`: who knows and switches the guests.
    pub fleet: Box<dyn FleetPlan>,
    /// `groups`: who may fence whom.
    pub policy: Policy,
}

/// Reads the whole file. None only if an error has been remarked.
pub(super) fn read(root: &View<'_>) -> Option<Config> {
    let Some(main) = root.section("fence_virtd") else {
        root.remarks().add(
            Diagnostic::error(0..0, "there is no section `fence_virtd`")
                .label("it is not in this file")
                .help("add `fence_virtd { listener = \"multicast\"; backend = \"libvirt\"; }`"),
        );
        return None;
    };
    let listeners = read_listeners(root, &main);
    let fleet = read_fleet(root, &main);
    let policy = groups::read(root);
    if let Some(place) = fleet.as_ref().and_then(|fleet| fleet.front())
        && policy.is_open()
    {
        root.remarks().add(
            Diagnostic::warning(place, "no groups restrict who may fence what lies behind this interface")
                .label("whoever holds the key may switch every guest that this login can")
                .help("add `groups { group { ip = \"…\"; uuid = \"…\"; } }` with the members of each cluster"),
        );
    }
    let limits = read_limits(&main);
    let audit_log = main.text("audit_log").map_or_else(
        || Some(PathBuf::from(audit::DEFAULT_PATH)),
        |path| (path.text != "none").then(|| PathBuf::from(&path.text)),
    );
    let foreground = main.switch("foreground");
    // Both spellings exist; the older one is read only where the newer one is absent.
    let wait_for_init = if main.text("wait_for_init").is_some() {
        main.know("wait_for_backend");
        main.switch("wait_for_init")
    } else {
        main.switch("wait_for_backend")
    };
    let debug = main.number("debug", 0, u64::MAX).unwrap_or(0).min(99);
    // Of the C daemon's plugins and of its older cluster setting; nothing to do for them here.
    main.know("module_path");
    main.know("name_mode");
    main.report_unknown();
    root.report_unknown();
    Some(Config {
        foreground,
        wait_for_init,
        debug: u8::try_from(debug).unwrap_or(99),
        audit_log,
        limits,
        listeners: listeners?,
        fleet: fleet?,
        policy,
    })
}

fn read_limits(main: &View<'_>) -> Limits {
    let standard = Limits::default();
    let count = |key: &'static str, standard: usize| {
        main.number(key, 1, 65_536)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(standard)
    };
    Limits {
        request_timeout: main
            .number("request_timeout", 1, 3600)
            .map_or(standard.request_timeout, Duration::from_secs),
        max_connections: count("max_connections", standard.max_connections),
        max_connections_per_address: count(
            "max_connections_per_address",
            standard.max_connections_per_address,
        ),
    }
}

/// The listeners named by `listener`, a list with commas. (C takes exactly one name.)
fn read_listeners(root: &View<'_>, main: &View<'_>) -> Option<Vec<Box<dyn Listener>>> {
    let Some(named) = main.text("listener") else {
        main.remarks().add(
            Diagnostic::error(main.place(), "`fence_virtd/listener` is missing")
                .label("this section names no listener")
                .help("add `listener = \"multicast\";` or `listener = \"tcp\";`, or both: `\"multicast, tcp\"`"),
        );
        return None;
    };
    let empty = View::root(&[], root.remarks());
    let section = root.section("listeners").unwrap_or(empty);
    for name in listener::KINDS
        .iter()
        .map(|kind| kind.name)
        .chain(listener::NOT_IN_THIS_BUILD)
    {
        section.know(name);
    }
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    let mut complete = true;
    let mut seen: Vec<String> = Vec::new();
    for name in named
        .text
        .split([',', ' ', '\t', '\n'])
        .filter(|name| !name.is_empty())
    {
        let name = name.to_ascii_lowercase();
        if seen.contains(&name) {
            continue;
        }
        seen.push(name.clone());
        let Some(kind) = listener::KINDS.iter().find(|kind| kind.name == name) else {
            section
                .remarks()
                .add(unknown_listener(&name, named.span.clone()));
            complete = false;
            continue;
        };
        let own = section
            .section(kind.name)
            .unwrap_or_else(|| View::root(&[], root.remarks()));
        match (kind.read)(&own) {
            Some(listener) => listeners.push(listener),
            None => complete = false,
        }
        own.report_unknown();
    }
    section.report_unknown();
    (complete && !listeners.is_empty()).then_some(listeners)
}

fn unknown_listener(name: &str, span: std::ops::Range<usize>) -> Diagnostic {
    let known: Vec<&str> = listener::KINDS.iter().map(|kind| kind.name).collect();
    let available = known.join(", ");
    if listener::NOT_IN_THIS_BUILD.contains(&name) {
        return Diagnostic::error(span, format!("listener `{name}` is not in this build"))
            .label("cannot be started")
            .help(format!("available are: {available}"));
    }
    let help = nearest(name, known).map_or_else(
        || format!("available are: {available}"),
        |near| format!("did you mean `{near}`? Available are: {available}"),
    );
    Diagnostic::error(span, format!("there is no listener `{name}`"))
        .label("unknown")
        .help(help)
}

fn read_fleet(root: &View<'_>, main: &View<'_>) -> Option<Box<dyn FleetPlan>> {
    let known: Vec<&str> = fleet::MODES.iter().map(|mode| mode.backend).collect();
    let available = known.join(", ");
    let section = root.section("backends");
    let section = section.unwrap_or_else(|| View::root(&[], root.remarks()));
    for name in known.iter().copied().chain(fleet::NOT_IN_THIS_BUILD) {
        section.know(name);
    }
    let Some(named) = main.text("backend") else {
        main.remarks().add(
            Diagnostic::error(main.place(), "`fence_virtd/backend` is missing")
                .label("this section names no backend")
                .help("add `backend = \"libvirt\";`"),
        );
        return None;
    };
    let name = named.text.to_ascii_lowercase();
    let Some(mode) = fleet::MODES.iter().find(|mode| mode.backend == name) else {
        let missing = fleet::NOT_IN_THIS_BUILD.contains(&name.as_str());
        let title = if missing {
            format!("backend `{name}` is not in this build")
        } else {
            format!("there is no backend `{name}`")
        };
        let help = match nearest(&name, known.iter().copied()) {
            Some(near) if !missing => format!("did you mean `{near}`? Available are: {available}"),
            _ => format!(
                "available are: {available} (for guests that stay on this host; see fence_virt.conf(5))"
            ),
        };
        main.remarks().add(
            Diagnostic::error(named.span.clone(), title)
                .label("cannot be started")
                .help(help),
        );
        return None;
    };
    let own = section
        .section(mode.backend)
        .unwrap_or_else(|| View::root(&[], root.remarks()));
    let plan = (mode.read)(&own, named);
    own.report_unknown();
    section.report_unknown();
    plan
}
