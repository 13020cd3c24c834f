//! VMware: ESX(i) hosts and vCenter, version 4.0 and later, without VMware's SDKs.
//!
//! Two interfaces lead to the same guests ([`Interface`]):
//!
//! - **SOAP** ("vim25", `/sdk`) is on every host and every vCenter. It tells whether vCenter still hears of a guest's host,
//!   and what the login may do; it has DRS rules and migration. Prefer it.
//! - **REST** (`/api` since vCenter 7.0 U2, `/rest` since 6.5) is on vCenter alone. It shows states without saying whether
//!   they are old, so a guest counts as off only when vCenter is also seen to be connected to its host.
//!
//! | reported | counts as |
//! |---|---|
//! | powered off, and the host is connected | off |
//! | suspended | on: it would go on writing where it was. Powering it off discards its memory |
//! | anything of a host that is not connected, or of files that cannot be reached | unknown |
//!
//! A guest is called by its name, by its SMBIOS UUID (or vCenter's own, `instanceUuid`), or by its inventory path, which
//! begins with a slash: `/datacenter/vm/folder/name`. A name or UUID that several guests have is an error. Names are
//! written as the interface shows them, with `%2f`, `%5c` and `%25` for `/`, `\` and `%`; in names (not in paths) the three
//! characters themselves are understood too.
//!
//! Sessions are closed when the value is dropped: vCenter bounds their number.

mod names;
mod orders;
mod rest;
mod session;
mod soap;
mod states;
mod wire;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use deadline::Deadline;
use https::{Endpoint, Interrupt, Scheme};
use zeroize::Zeroizing;

use crate::event::Watchers;
use crate::placement::{Apart, Changed, Host, Placement, Whereabouts};
use crate::{
    Error, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff, Revival,
};

/// Which of the two interfaces is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Interface {
    /// vSphere Web Services, on ESX(i) and vCenter.
    #[default]
    Soap,
    /// vSphere Automation, on vCenter.
    Rest {
        /// Where it is: `/api`, `/rest`, or a path that ends so. None: `/api`, and `/rest` where there is none.
        path: Option<String>,
        /// Further conditions of the list of guests, as they stand in its query: `names=node1&names=node2`, with or without
        /// the prefix `filter.` that `/rest` wants.
        filter: Option<String>,
    },
}

/// Where the server is, and how to log in.
pub struct Settings {
    /// The server.
    pub endpoint: Endpoint,
    /// The interface.
    pub interface: Interface,
    /// Login name; vCenter wants a domain with it (`user@vsphere.local`).
    pub username: String,
    /// Password.
    pub password: Zeroizing<String>,
    /// Name of the datacenter that guests are looked for in; none: all.
    pub datacenter: Option<String>,
    /// The longest that one question may take; none: until the deadline, as orders may in any case.
    pub request_limit: Option<Duration>,
    /// Ends waits early.
    pub interrupt: Option<Interrupt>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("interface", &self.interface)
            .field("username", &self.username)
            .field("datacenter", &self.datacenter)
            .finish_non_exhaustive()
    }
}

/// An ESX(i) host or a vCenter.
pub struct Vmware {
    name: String,
    way: Way,
    watchers: Watchers,
}

enum Way {
    Soap(Box<soap::Soap>),
    Rest(Box<rest::Rest>),
}

impl Vmware {
    /// Contacts nobody yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let name = name_of(settings);
        let way = match &settings.interface {
            Interface::Soap => Way::Soap(Box::new(soap::Soap::new(settings, &name))),
            Interface::Rest { path, filter } => Way::Rest(Box::new(rest::Rest::new(
                settings,
                path.as_deref(),
                filter.as_deref(),
                &name,
            ))),
        };
        Self {
            name,
            way,
            watchers: Watchers::default(),
        }
    }

    /// What only SOAP has.
    fn soap(&self) -> Result<&soap::Soap, Error> {
        match &self.way {
            Way::Soap(soap) => Ok(soap),
            Way::Rest(_) => Err(Error::Refused {
                by: self.name.clone(),
                guest: String::new(),
                detail: "placement is done through SOAP, and REST was chosen".to_owned(),
            }),
        }
    }
}

impl std::fmt::Debug for Vmware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vmware")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// As a URI, with the port where it is not the usual one.
fn name_of(settings: &Settings) -> String {
    let Endpoint {
        scheme, host, port, ..
    } = &settings.endpoint;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let port = match (scheme, port) {
        (Scheme::Https, 443) => String::new(),
        (_, port) => format!(":{port}"),
    };
    let interface = match settings.interface {
        Interface::Soap => "",
        Interface::Rest { .. } => "+rest",
    };
    format!("vmware{interface}://{host}{port}")
}

impl Hypervisor for Vmware {
    fn name(&self) -> &str {
        &self.name
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        match &self.way {
            Way::Soap(soap) => soap.list(deadline),
            Way::Rest(rest) => rest.list(deadline),
        }
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        match &self.way {
            Way::Soap(soap) => soap.observe(guest, deadline),
            Way::Rest(rest) => rest.observe(guest, deadline),
        }
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        match &self.way {
            Way::Soap(soap) => soap.power_off(guest, deadline),
            Way::Rest(rest) => rest.power_off(guest, deadline),
        }
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        _revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        match &self.way {
            Way::Soap(soap) => soap.power_on(guest, deadline),
            Way::Rest(rest) => rest.power_on(guest, deadline),
        }
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        match &self.way {
            Way::Soap(soap) => soap.health(deadline),
            Way::Rest(rest) => rest.health(deadline),
        }
    }

    /// Neither interface reports by itself: the channel stays silent.
    fn watch(&self) -> Receiver<Event> {
        self.watchers.add()
    }
}

impl Managed for Vmware {
    /// REST cannot tell what a login may do, so that is asked of `/sdk` on the same server, whichever interface is used.
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        match &self.way {
            Way::Soap(soap) => soap.may_switch(guest, deadline),
            Way::Rest(rest) => rest.may_switch(guest, deadline),
        }
    }

    fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        match &self.way {
            Way::Soap(soap) => soap.log_out(deadline),
            Way::Rest(rest) => rest.log_out(deadline),
        }
    }

    fn remarks(&self) -> Vec<String> {
        match &self.way {
            Way::Soap(_) => Vec::new(),
            Way::Rest(rest) => rest.remarks(),
        }
    }
}

impl Placement for Vmware {
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        self.soap()?.hosts(deadline)
    }

    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error> {
        self.soap()?.whereabouts(guest, deadline)
    }

    fn rules(&self, guests: &[GuestRef], deadline: Deadline) -> Result<Vec<Apart>, Error> {
        self.soap()?.rules(guests, deadline)
    }

    fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        self.soap()?.keep_apart(name, guests, mandatory, deadline)
    }

    fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        self.soap()?.pin(guest, hosts, deadline)
    }

    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        self.soap()?.migrate(guest, host, deadline)
    }
}

/// Reads a reply of either interface and everything in it. For fuzzing: it must end, and must not panic.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    soap::read_anything(bytes);
    rest::read_anything(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole reply of each kind, to be damaged.
    const REPLIES: [&str; 4] = [
        include_str!("soap/tests/objects.xml"),
        include_str!("soap/tests/fault.xml"),
        r#"{"value":[{"vm":"vm-1","name":"web","power_state":"POWERED_OFF"}]}"#,
        r#"{"name":"web","power_state":"POWERED_ON","identity":{"bios_uuid":"6695eb01-f6a4-8304-79aa-97f2502e193f"}}"#,
    ];

    proptest! {
        /// Bytes that are taken out, put in and changed never panic, and neither does anything else.
        #[test]
        fn damaged_replies_never_panic(
            which in 0..REPLIES.len(), at in any::<prop::sample::Index>(), take in 0..40_usize, put: Vec<u8>,
        ) {
            let mut bytes = REPLIES[which].as_bytes().to_vec();
            let from = at.index(bytes.len());
            let to = (from + take).min(bytes.len());
            bytes.splice(from..to, put);
            read_anything(&bytes);
        }
    }

    #[test]
    fn names_are_addresses_and_secrets_are_not_shown() {
        let settings = |scheme, host: &str, port, interface| Settings {
            endpoint: Endpoint {
                scheme,
                host: host.to_owned(),
                port,
                trust: https::Trust::System,
            },
            interface,
            username: "root".to_owned(),
            password: "hunter2".to_owned().into(),
            datacenter: None,
            request_limit: None,
            interrupt: None,
        };
        let soap = settings(Scheme::Https, "vc.example", 443, Interface::Soap);
        assert_eq!(Vmware::new(&soap).name(), "vmware://vc.example");
        let rest = Interface::Rest {
            path: None,
            filter: None,
        };
        let rest = settings(Scheme::Http, "::1", 80, rest);
        assert_eq!(Vmware::new(&rest).name(), "vmware+rest://[::1]:80");
        for shown in [format!("{soap:?}"), format!("{:?}", Vmware::new(&soap))] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
