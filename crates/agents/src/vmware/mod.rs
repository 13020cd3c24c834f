//! `fence_vmware`, `fence_vmware_soap` and `fence_vmware_rest`: guests of ESX(i) and vCenter.

mod table;

use fence_agent::Options;
use https::Interrupt;
use hypervisor::vmware::{Interface, Settings, Vmware};
use hypervisor::{Error, GuestRef, Managed};

use crate::managed::{Access, Login, Platform, Ports, Through};
pub use table::{FENCE_VMWARE, FENCE_VMWARE_REST, FENCE_VMWARE_SOAP};

/// The behaviour of `fence_vmware_soap` and `fence_vmware_rest`: plain unless TLS is asked for, as the packaged agents are.
pub const BEHAVIOUR: Through<Servers<false>> = Through::BEHAVIOUR;
/// The behaviour of `fence_vmware`, whose packaged namesake speaks TLS without being asked.
pub const ENCRYPTED: Through<Servers<true>> = Through::BEHAVIOUR;

/// ESX(i) hosts and vCenters, with TLS by default or not.
#[derive(Debug)]
pub struct Servers<const TLS: bool>;

/// What only these agents have.
#[derive(Debug)]
pub struct Config {
    interface: Interface,
    datacenter: Option<String>,
    /// Whether `shell_timeout` is the caller's own: the default is less than a large inventory needs, and the packaged SOAP agent
    /// ignores it.
    limited: bool,
}

impl<const TLS: bool> Platform for Servers<TLS> {
    type Config = Config;

    const PORTS: Ports = Ports {
        plain: 80,
        tls: 443,
    };
    const ENCRYPTED: bool = TLS;

    fn check(options: &Options, _: &Access) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let given = |name: &str| {
            options
                .text(name)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        match given("vmware_type").map(str::to_ascii_lowercase).as_deref() {
            None | Some("esx") => {}
            Some("server1" | "server2") => {
                problems.push(
                    "vmware_type server1 and server2: VMware Server is not supported, esx is"
                        .to_owned(),
                );
            }
            Some(_) => problems
                .push("vmware_type is not esx, which covers ESX, ESXi and vCenter".to_owned()),
        }
        if options.flag("port_as_ip") {
            problems.push(
                "port_as_ip makes no sense here: plug is the name of a virtual machine".to_owned(),
            );
        }
        let path = given("api_path").filter(|_| options.is_written("api_path"));
        let fits =
            |character: char| character.is_ascii_alphanumeric() || "/-._~%".contains(character);
        if path.is_some_and(|path| !path.chars().all(fits)) {
            problems.push("api_path is no path: /api and /rest are the usual ones".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let rest = match options.agent().name {
            "fence_vmware_rest" => true,
            _ => given("interface") == Some("rest"),
        };
        let interface = if rest {
            Interface::Rest {
                path: path.map(str::to_owned),
                filter: given("filter").map(str::to_owned),
            }
        } else {
            Interface::Soap
        };
        Ok(Config {
            interface,
            datacenter: given("vmware_datacenter").map(str::to_owned),
            limited: options.is_written("shell_timeout"),
        })
    }

    fn connect(
        config: Config,
        login: Login,
        interrupt: Interrupt,
    ) -> Result<Box<dyn Managed>, Error> {
        Ok(Box::new(Vmware::new(&Settings {
            endpoint: login.endpoint,
            interface: config.interface,
            username: login.username,
            password: login.password,
            datacenter: config.datacenter,
            request_limit: login.request_limit.filter(|_| config.limited),
            interrupt: Some(interrupt),
        })))
    }

    fn guest(config: &Config, plug: &str) -> Result<GuestRef, String> {
        let guest = uuid(plug).unwrap_or_else(|| GuestRef::parse(plug));
        match (&config.interface, &guest) {
            (Interface::Soap, _) => Ok(guest),
            // A name may look like a UUID without hyphens.
            (Interface::Rest { .. }, _) if plug.starts_with('/') => {
                Err("REST finds nobody by an inventory path: give the name, or use SOAP".to_owned())
            }
            (Interface::Rest { .. }, _) => match GuestRef::parse(plug) {
                GuestRef::Uuid(_) => {
                    Err("REST finds nobody by UUID: give the name, or use SOAP".to_owned())
                }
                name @ GuestRef::Name(_) => Ok(name),
            },
        }
    }
}

/// Other forms of a UUID that the packaged SOAP agent takes for one: without hyphens, in braces, as a URN.
fn uuid(plug: &str) -> Option<GuestRef> {
    let bare = plug.strip_prefix("urn:").unwrap_or(plug);
    let bare = bare.strip_prefix("uuid:").unwrap_or(bare);
    let bare = bare.trim_matches(['{', '}']);
    let digits: String = bare.chars().filter(|character| *character != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if [8, 12, 16, 20].contains(&at) {
            text.push('-');
        }
        text.push(digit);
    }
    match GuestRef::parse(&text) {
        uuid @ GuestRef::Uuid(_) => Some(uuid),
        GuestRef::Name(_) => None,
    }
}

#[cfg(test)]
mod tests;
