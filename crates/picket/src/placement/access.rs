//! How the platform of a definition is reached.
//!
//! libvirt is not linked into this program, which also runs on nodes that have none: whoever links it hands in
//! how it is opened ([`Platforms`]); where nobody did, the program `picket-libvirt` takes over.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use ::placement::wish::NotOffered;
use cluster::{Definition, FenceDevice, PlatformKind};
use hypervisor::placement::Placement;

use crate::exit;

/// Opens hosts of these names and libvirt URIs as one platform.
pub type OpenLibvirt = fn(Vec<(String, String)>) -> Box<dyn Placement>;

/// What this program can reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Platforms {
    /// Hosts that run libvirt.
    pub libvirt: Option<OpenLibvirt>,
}

/// The program that has libvirt linked in.
const WITH_LIBVIRT: &str = "picket-libvirt";

/// Why a platform cannot be reached. Nothing has been asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("where guests run cannot be asked for on {0}: there is no interface for it here")]
    NotOffered(PlatformKind),
    #[error(
        "the definition names no hosts: add a `[[host]]` for each machine on which members may run"
    )]
    NoHosts,
    #[error(
        "the definition does not say how {kind} is reached: add `[platform.access]` with the options of {agent}, or a fencing device of it"
    )]
    NoAccess {
        kind: PlatformKind,
        agent: &'static str,
    },
    #[error("libvirt is reached by the program {WITH_LIBVIRT}, which cannot be run: {0}")]
    NoLibvirt(std::io::Error),
    #[error("{agent}: {why}")]
    Refused { agent: String, why: String },
}

impl Error {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotOffered(_) | Self::NoHosts | Self::NoAccess { .. } | Self::Refused { .. } => {
                exit::DEFINITION
            }
            Self::NoLibvirt(_) => exit::UNFIT,
        }
    }
}

impl From<NotOffered> for Error {
    fn from(NotOffered(kind): NotOffered) -> Self {
        Self::NotOffered(kind)
    }
}

/// Opens the platform of a definition; also says who is asked. Nothing is asked yet.
pub(super) fn open(
    definition: &Definition,
    platforms: &Platforms,
) -> Result<(Box<dyn Placement>, String), Error> {
    if definition.platform.kind.has_libvirt() {
        let hosts = libvirt_hosts(definition)?;
        let Some(open) = platforms.libvirt else {
            return Err(Error::NoLibvirt(take_over()));
        };
        let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
        let asked = format!("libvirt on {}", names.join(", "));
        return Ok((open(hosts), asked));
    }
    let managed = Managed::of(definition)?;
    let asked = managed.address();
    Ok((managed.open()?, asked))
}

/// Lets the program with libvirt carry out this command line. Returns only if it cannot.
fn take_over() -> std::io::Error {
    let beside = std::env::current_exe().ok().and_then(|own| {
        let path = own.parent()?.join(WITH_LIBVIRT);
        path.exists().then_some(path)
    });
    let program = beside.unwrap_or_else(|| PathBuf::from(WITH_LIBVIRT));
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec()
}

fn libvirt_hosts(definition: &Definition) -> Result<Vec<(String, String)>, Error> {
    let hosts = definition.hosts.iter().map(|host| {
        let uri = host.uri_from_elsewhere(definition.host_uri(host));
        (host.name.to_string(), uri)
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        return Err(Error::NoHosts);
    }
    Ok(hosts)
}

/// What manages the hosts, by the options of the platform's fencing agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Managed {
    /// The agent whose options they are.
    pub(super) agent: String,
    pub(super) options: BTreeMap<String, String>,
    /// Secret options, and the files that hold them.
    pub(super) secrets: BTreeMap<String, PathBuf>,
}

/// The agents that ask a platform's management, the usual one first.
const fn agents(kind: PlatformKind) -> &'static [&'static str] {
    match kind {
        PlatformKind::Rhev => &["fence_rhevm", "fence_rhev"],
        PlatformKind::Vmware => &["fence_vmware", "fence_vmware_soap", "fence_vmware_rest"],
        PlatformKind::HyperV => &["fence_hyperv"],
        _ => &[],
    }
}

impl Managed {
    fn of(definition: &Definition) -> Result<Self, Error> {
        let platform = &definition.platform;
        let known = agents(platform.kind);
        let usual = known.first().ok_or(Error::NotOffered(platform.kind))?;
        let access = platform.access.clone().unwrap_or_default();
        let asks = |device: &&FenceDevice| known.contains(&device.agent.as_str());
        let device = definition.fence_devices.iter().find(asks);
        let given = access.agent.as_ref().or(device.map(|device| &device.agent));
        let mut managed = Self {
            agent: given.map_or_else(|| (*usual).to_owned(), ToString::to_string),
            options: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        for (options, secrets) in device
            .map(|device| (&device.options, &device.secrets))
            .into_iter()
            .chain([(&access.options, &access.secrets)])
        {
            for (name, value) in options {
                managed.secrets.remove(name.as_str());
                managed
                    .options
                    .insert(name.to_string(), value.as_str().to_owned());
            }
            for (name, file) in secrets {
                managed.options.remove(name.as_str());
                managed
                    .secrets
                    .insert(name.to_string(), PathBuf::from(file.as_str()));
            }
        }
        if let Some(address) = platform
            .manager
            .as_ref()
            .and_then(|manager| manager.address.as_ref())
            && !managed.has_address()
        {
            managed
                .options
                .insert("ip".to_owned(), address.as_str().to_owned());
        }
        if !managed.has_address() {
            return Err(Error::NoAccess {
                kind: platform.kind,
                agent: usual,
            });
        }
        Ok(managed)
    }

    fn has_address(&self) -> bool {
        ["ip", "ipaddr"]
            .iter()
            .any(|name| self.options.contains_key(*name))
    }

    /// Opens it. Nothing is asked yet.
    fn open(&self) -> Result<Box<dyn Placement>, Error> {
        Err(Error::Refused {
            agent: self.agent.clone(),
            why: "TODO(w-https): agents::managed".to_owned(),
        })
    }

    /// Who is asked.
    fn address(&self) -> String {
        let address = ["ip", "ipaddr"]
            .iter()
            .find_map(|name| self.options.get(*name));
        address.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        Definition::parse("cluster.toml", text).unwrap()
    }

    #[test]
    fn the_fencing_device_says_how_unless_the_access_does() {
        let text = include_str!("../../../../examples/vmware.toml");
        let managed = Managed::of(&definition(text)).unwrap();
        assert_eq!(managed.agent, "fence_vmware_rest");
        assert_eq!(managed.options["ip"], "vc.example.org");
        assert_eq!(
            managed.secrets["password"],
            PathBuf::from("/etc/picket/secrets/vcenter")
        );
        let access = "[platform.access]\nagent = \"fence_vmware_soap\"\n\
            options = { username = \"placement@vsphere.local\" }\n\
            secrets = { password = \"/root/vcenter\" }\n";
        let managed = Managed::of(&definition(&format!("{text}\n{access}"))).unwrap();
        assert_eq!(managed.agent, "fence_vmware_soap");
        assert_eq!(managed.options["username"], "placement@vsphere.local");
        assert_eq!(managed.options["ip"], "vc.example.org");
        assert_eq!(managed.secrets["password"], PathBuf::from("/root/vcenter"));
    }

    #[test]
    fn the_manager_says_where() {
        let text = include_str!("../../../../examples/rhev-3.toml");
        let managed = Managed::of(&definition(text)).unwrap();
        assert_eq!(managed.agent, "fence_rhevm");
        assert_eq!(managed.address(), "rhevm.example.org");
        let nowhere = text.replace(", address = \"rhevm.example.org\"", "");
        assert!(matches!(
            Managed::of(&definition(&nowhere)),
            Err(Error::NoAccess { .. })
        ));
    }

    #[test]
    fn hosts_are_reached_through_ssh_unless_they_say_otherwise() {
        let text = include_str!("../../../../examples/kvm.toml");
        let reached = libvirt_hosts(&definition(text)).unwrap();
        let uris: Vec<&str> = reached.iter().map(|(_, uri)| uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "qemu+ssh://root@192.0.2.1/system?no_tty=1",
                "qemu+ssh://root@192.0.2.2/system?no_tty=1",
                "qemu+ssh://admin@h3.example.org/system?no_tty=1",
            ]
        );
        let other = text.replacen(
            "address = \"192.0.2.1\"",
            "address = \"2001:db8::1\"\nremote_uri = \"qemu+tls://h1/system\"",
            1,
        );
        let reached = libvirt_hosts(&definition(&other)).unwrap();
        assert_eq!(reached[0].1, "qemu+tls://h1/system");
        let v6 = text.replacen("192.0.2.1", "2001:db8::1", 1);
        let reached = libvirt_hosts(&definition(&v6)).unwrap();
        assert_eq!(
            reached[0].1,
            "qemu+ssh://root@[2001:db8::1]/system?no_tty=1"
        );
    }
}
