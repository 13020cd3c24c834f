//! Which hypervisors the configuration names.

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use hypervisor::Hypervisor;
use hypervisor::address::{
    Address, AddressErrorKind, Management, Opened, Password, Platform, Transport,
};

use super::session::Sessions;
use super::{Locks, Standalone};
use crate::audit::Auditor;
use crate::config::diagnose::Diagnostic;
use crate::config::grammar::Spanned;
use crate::config::section::View;
use crate::fleet::{Fleet, FleetPlan};

/// Most hypervisors of one daemon, by each of the two keys.
const MOST: usize = 32;

/// The hypervisors to ask.
#[derive(Debug)]
pub(super) struct Plan {
    sources: Vec<Source>,
}

/// One hypervisor.
#[derive(Debug)]
struct Source {
    address: Address,
    place: Range<usize>,
    /// Of a management interface, once it has been read.
    password: Option<Password>,
}

impl Source {
    /// Whether guests are found there by their names only: vCenter's REST interface does not search by UUID.
    fn is_by_name(&self) -> bool {
        let management = self.address.management();
        management.is_some_and(|management| management.setting("api") == Some("rest"))
    }
}

/// Reads `uri`, `uri1`, `uri2` …, which are libvirt's, and `hypervisor`, `hypervisor1` …, which are addresses of any kind.
pub(super) fn read(view: &View<'_>, backend: &Spanned) -> Option<Box<dyn FleetPlan>> {
    let mut plan = Plan {
        sources: Vec::new(),
    };
    let mut complete = true;
    for (key, value) in numbered(view, "uri") {
        complete &= plan.add(view, &key, value, uri(view, value));
    }
    for (key, value) in numbered(view, "hypervisor") {
        complete &= plan.add(view, &key, value, address(view, value));
    }
    if plan.sources.is_empty() && complete {
        let place = if view.place().is_empty() {
            backend.span.clone()
        } else {
            view.place()
        };
        view.remarks().add(
            Diagnostic::error(place, "the libvirt back end has no hypervisor to ask")
                .label("no `uri` and no `hypervisor`")
                .help("add `backends { libvirt { uri = \"qemu:///system\"; } }`, or a management interface: `hypervisor = \"vmware://USER@HOST/?password_file=FILE\";`"),
        );
        return None;
    }
    complete.then(|| Box::new(plan) as Box<dyn FleetPlan>)
}

/// The keys `key`, `key1`, `key2` … with their values, up to the first gap, as C reads `uri`.
fn numbered<'a>(view: &View<'a>, key: &str) -> Vec<(String, &'a Spanned)> {
    let mut values = Vec::new();
    let mut gap: Option<String> = None;
    for number in 0..MOST {
        let key = if number == 0 {
            key.to_owned()
        } else {
            format!("{key}{number}")
        };
        match (view.text(&key), &gap) {
            (None, None) => gap = Some(key),
            (None, Some(_)) => {}
            (Some(value), Some(missing)) => view.remarks().add(
                Diagnostic::warning(
                    value.span.clone(),
                    format!("`{}` is not read", view.path_of(&key)),
                )
                .label(format!("`{missing}` is missing"))
                .help(format!(
                    "number the hypervisors {0}, {0}1, {0}2 and so on, without a gap",
                    missing.trim_end_matches(|last: char| last.is_ascii_digit())
                )),
            ),
            (Some(value), None) => values.push((key, value)),
        }
    }
    values
}

/// The value of a `uri`: libvirt's, whatever it looks like, unless it can only be meant for the other key.
fn uri(view: &View<'_>, value: &Spanned) -> Option<Address> {
    // `hyperv://` is a driver of libvirt, too.
    let foreign = [Platform::Vmware, Platform::Rhevm]
        .into_iter()
        .find(|platform| {
            let scheme = format!("{platform}://");
            value
                .text
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(&scheme))
        });
    if let Some(platform) = foreign {
        view.remarks().add(
            Diagnostic::error(
                value.span.clone(),
                format!("libvirt has no `{platform}://`"),
            )
            .label("the address of a management interface")
            .help("write it as `hypervisor = \"…\";`: `uri` takes libvirt's URIs only"),
        );
        return None;
    }
    Some(Address::libvirt(&value.text))
}

/// The value of a `hypervisor`.
fn address(view: &View<'_>, value: &Spanned) -> Option<Address> {
    let error = match Address::parse(&value.text) {
        Ok(address) => {
            if let Address::Management(management) = &address {
                weaknesses(view, value, management);
                if management.password_file().is_none() {
                    view.remarks().add(
                        Diagnostic::error(value.span.clone(), "this address names no password")
                            .label("`password_file` is missing")
                            .help("add `?password_file=FILE`, a file that only root can read, with the password in its first line"),
                    );
                    return None;
                }
            }
            return Some(address);
        }
        Err(error) => error,
    };
    let start = value.span.start;
    let place = match error.kind() {
        // Where exactly, would tell how long it is.
        AddressErrorKind::Password => value.span.clone(),
        _ => start + error.span().start..start + error.span().end,
    };
    view.remarks()
        .add(Diagnostic::error(place, error.problem()).help(error.remedy()));
    None
}

/// What works and should not be.
fn weaknesses(view: &View<'_>, value: &Spanned, management: &Management) {
    let warn = |what: &str, label: &str, help: &str| {
        view.remarks().add(
            Diagnostic::warning(value.span.clone(), what)
                .label(label)
                .help(help),
        );
    };
    if !management.is_verified() {
        warn(
            "`verify=no` takes any certificate",
            "whoever sits in between learns the password and can report guests off",
            "save the server's certificate or its authority's and name it with `ca=FILE`",
        );
    }
    let sends_password =
        management.platform() != Platform::Hyperv || management.setting("auth") == Some("basic");
    if management.transport() == Transport::Http && sends_password {
        warn(
            "`transport=http` sends the password in the clear",
            "whoever listens learns it",
            "remove it, if the server has https",
        );
    }
}

impl Plan {
    /// Adds what was read from `value`. False if that was nothing.
    fn add(
        &mut self,
        view: &View<'_>,
        key: &str,
        value: &Spanned,
        address: Option<Address>,
    ) -> bool {
        let Some(address) = address else {
            return false;
        };
        if self.sources.iter().any(|known| known.address == address) {
            view.remarks().add(
                Diagnostic::warning(
                    value.span.clone(),
                    format!("`{}` names the same hypervisor again", view.path_of(key)),
                )
                .label("asked only once")
                .help("remove it"),
            );
        } else {
            self.sources.push(Source {
                address,
                place: value.span.clone(),
                password: None,
            });
        }
        true
    }
}

impl FleetPlan for Plan {
    fn describe(&self) -> String {
        let addresses: Vec<String> = self
            .sources
            .iter()
            .map(|source| source.address.to_string())
            .collect();
        format!("standalone: {}", addresses.join(", "))
    }

    fn identity(&self) -> String {
        // Only to see whether a password has changed; without the key, which no other process has, it tells nothing.
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut identity = self.describe();
        for password in self
            .sources
            .iter()
            .filter_map(|source| source.password.as_ref())
        {
            let _ = write!(identity, " {:x}", KEY.hash_one(password.expose()));
        }
        identity
    }

    fn front(&self) -> Option<Range<usize>> {
        let front = self
            .sources
            .iter()
            .find(|source| source.address.management().is_some());
        front.map(|source| source.place.clone())
    }

    fn prepare(&mut self) -> Result<(), String> {
        for source in &mut self.sources {
            let Address::Management(management) = &source.address else {
                continue;
            };
            source.password = Some(management.password().map_err(|error| error.to_string())?);
            if let Some(path) = management.authorities()
                && let Err(error) = File::open(path)
            {
                return Err(format!(
                    "the certificates in {} cannot be read: {error}; save the server's certificate or its authority's there, or correct `ca` in {management}",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    fn build(&self, auditor: &Auditor) -> Result<Arc<dyn Fleet>, String> {
        let mut hypervisors: Vec<Arc<dyn Hypervisor>> = Vec::new();
        let mut sessions = Sessions::default();
        for source in &self.sources {
            let opened = match (&source.address, &source.password) {
                (Address::Management(management), Some(password)) => {
                    management.open(password.clone()).map(Opened::Managed)
                }
                (address, _) => address.open(),
            };
            hypervisors.push(match opened.map_err(|error| error.to_string())? {
                Opened::Plain(hypervisor) => hypervisor.into(),
                Opened::Managed(managed) if source.is_by_name() => {
                    sessions.begin_by_name(managed.into())
                }
                Opened::Managed(managed) => sessions.begin(managed.into()),
            });
        }
        let mut fleet = Standalone::new(hypervisors, auditor);
        fleet.locks = Locks::of_this_process();
        fleet.sessions = sessions;
        Ok(Arc::new(fleet))
    }
}
