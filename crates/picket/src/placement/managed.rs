//! What manages the hosts of RHEV, VMware and Hyper-V: from the options of the platform's fencing agent to an interface.
//!
//! The options are those that say where and as whom; what concerns fencing alone is passed over. Other than the agents, which
//! follow their packaged namesakes, TLS is used unless `ssl = false` says otherwise.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cluster::{Definition, FenceDevice, ManagerKind, PlatformKind};
use https::{Endpoint, Interrupt, Scheme, Trust};
use hypervisor::placement::Placement;
use hypervisor::{hyperv, rhevm, vmware};
use signal_hook::consts::{SIGINT, SIGTERM};
use zeroize::Zeroizing;

use super::access::Error;
use crate::exit;

/// The longest that one question may take, so that one that is lost is asked again before all the time is over.
const QUESTION: Duration = Duration::from_secs(15);

/// What manages the hosts, by the options of the platform's fencing agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Managed {
    /// The agent whose options they are.
    pub(super) agent: String,
    pub(super) options: BTreeMap<String, String>,
    /// Secret options, and the files that hold them.
    pub(super) secrets: BTreeMap<String, PathBuf>,
    /// Whether the hosts are nodes of a failover cluster.
    pub(super) is_clustered: bool,
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
    pub(super) fn of(definition: &Definition) -> Result<Self, Error> {
        let platform = &definition.platform;
        let known = agents(platform.kind);
        let usual = known.first().ok_or(Error::NotOffered(platform.kind))?;
        let access = platform.access.clone().unwrap_or_default();
        let asks = |device: &&FenceDevice| known.contains(&device.agent.as_str());
        let device = definition.fence_devices.iter().find(asks);
        let given = access
            .agent
            .as_ref()
            .or_else(|| device.map(|device| &device.agent));
        let mut managed = Self {
            agent: given.map_or_else(|| (*usual).to_owned(), ToString::to_string),
            options: BTreeMap::new(),
            secrets: BTreeMap::new(),
            is_clustered: platform
                .manager
                .as_ref()
                .is_some_and(|manager| manager.kind == ManagerKind::FailoverCluster),
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
        let authority = platform
            .manager
            .as_ref()
            .and_then(|manager| manager.ca_file.as_ref());
        if let Some(file) = authority
            && !["ssl_ca", "ssl_insecure"]
                .iter()
                .any(|name| managed.options.contains_key(*name))
        {
            managed
                .options
                .insert("ssl_ca".to_owned(), file.as_str().to_owned());
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

    /// Who is asked.
    pub(super) fn address(&self) -> String {
        let address = ["ip", "ipaddr"]
            .iter()
            .find_map(|name| self.options.get(*name));
        address.cloned().unwrap_or_default()
    }
}

/// Where an interface listens, plain and with TLS.
const WEB: (u16, u16) = (80, 443);
const WINRM: (u16, u16) = (5985, 5986);

impl Managed {
    /// Opens it. Nothing is asked yet.
    pub(super) fn open(&self, interrupted: &Arc<AtomicBool>) -> Result<Box<dyn Placement>, String> {
        let password = self.password()?;
        let username = self
            .text(&["username", "login"])
            .ok_or("no `username` is given")?
            .to_owned();
        let interrupt = interrupt(interrupted)?;
        Ok(match self.agent.as_str() {
            "fence_hyperv" => Box::new(hyperv::HyperV::new(
                self.hyperv(&username, password, interrupt)?,
            )),
            agent if agent.starts_with("fence_vmware") => {
                Box::new(vmware::Vmware::new(&vmware::Settings {
                    endpoint: self.endpoint(WEB)?,
                    // REST knows neither rules nor pins.
                    interface: vmware::Interface::Soap,
                    username,
                    password,
                    datacenter: self.text(&["vmware_datacenter"]).map(str::to_owned),
                    request_limit: Some(QUESTION),
                    interrupt: Some(interrupt),
                }))
            }
            _ => {
                let endpoint = self.endpoint(WEB)?;
                let mut settings = rhevm::Settings::new(endpoint, &username, password);
                if let Some(path) = self.text(&["api_path"]) {
                    path.clone_into(&mut settings.api_path);
                }
                settings.version = match self.text(&["api_version"]).unwrap_or("auto") {
                    "auto" => rhevm::Version::Auto,
                    old if old.starts_with(['2', '3']) => rhevm::Version::V3,
                    new if new.starts_with('4') => rhevm::Version::V4,
                    other => return Err(format!("api_version `{other}` is none of auto, 3 and 4")),
                };
                // Filtered results show no hosts.
                settings.filter = false;
                settings.request_limit = Some(QUESTION);
                settings.interrupt = Some(interrupt);
                Box::new(rhevm::Rhevm::new(settings))
            }
        })
    }

    fn hyperv(
        &self,
        username: &str,
        password: Zeroizing<String>,
        interrupt: Interrupt,
    ) -> Result<hyperv::Settings, String> {
        let tls = self.trust()?;
        let port = self.port(WINRM, tls.is_some())?;
        let hosts = self.address();
        let hosts = hosts.split([',', ' ']).filter(|host| !host.is_empty());
        let login = match self.text(&["auth"]).unwrap_or("negotiate") {
            "negotiate" | "ntlm" => {
                hyperv::Login::Negotiate(ntlm::Credentials::new(username, password))
            }
            "basic" if tls.is_none() => {
                return Err(
                    "auth `basic` without `ssl`: the password would travel readable".to_owned(),
                );
            }
            "basic" => hyperv::Login::Basic {
                user: username.to_owned(),
                password,
            },
            other => return Err(format!("auth `{other}` is neither negotiate nor basic")),
        };
        Ok(hyperv::Settings {
            hosts: hosts
                .map(|host| hyperv::Address::parse(host, port))
                .collect::<Result<_, _>>()?,
            cluster: self.is_clustered || self.flag("cluster"),
            scheme: if tls.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            trust: tls.unwrap_or(Trust::System),
            login,
            namespace: hyperv::Namespace::Auto,
            kill_worker: None,
            step: QUESTION,
            interrupt: Some(interrupt),
        })
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        let given = names.iter().find_map(|name| self.options.get(*name));
        given
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.text(&[name])
            .is_some_and(|text| !["0", "no", "off", "false"].contains(&text))
    }

    /// Whom to trust; none: no TLS. WinRM encrypts its messages itself, so without a word about TLS it is asked without.
    fn trust(&self) -> Result<Option<Trust>, String> {
        let said_no = self.text(&["ssl"]).is_some() && !self.flag("ssl");
        let insecure = self.flag("ssl_insecure");
        match self.text(&["ssl_ca"]) {
            Some(_) if insecure => {
                Err("`ssl_ca` and `ssl_insecure` contradict each other".to_owned())
            }
            Some(file) => Ok(Some(Trust::Authorities(PathBuf::from(file)))),
            None if insecure => Ok(Some(Trust::Anybody)),
            None if said_no => Ok(None),
            None if self.agent == "fence_hyperv" && !self.flag("ssl") => Ok(None),
            None => Ok(Some(Trust::System)),
        }
    }

    fn port(&self, usual: (u16, u16), tls: bool) -> Result<u16, String> {
        let usual = if tls { usual.1 } else { usual.0 };
        self.text(&["ipport"]).map_or(Ok(usual), |text| {
            let port = text.parse::<u16>().ok().filter(|port| *port != 0);
            port.ok_or_else(|| format!("ipport `{text}` is no port"))
        })
    }

    /// `HOST`, or `HOST:PORT` as a definition's manager may say.
    fn endpoint(&self, usual: (u16, u16)) -> Result<Endpoint, String> {
        let trust = self.trust()?;
        let address = self.address();
        let (host, port) = split(&address);
        let port = match port {
            Some(port) => port,
            None => self.port(usual, trust.is_some())?,
        };
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) {
            return Err(format!("ip `{host}` is neither a name nor an address"));
        }
        Ok(Endpoint {
            scheme: if trust.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            host: host.to_owned(),
            port,
            trust: trust.unwrap_or(Trust::System),
        })
    }

    fn password(&self) -> Result<Zeroizing<String>, String> {
        let file = ["password", "passwd"]
            .iter()
            .find_map(|name| self.secrets.get(*name))
            .ok_or("no password is given: name its file in `secrets = { password = \"/path/of/a/file\" }`")?;
        let password =
            hypervisor::address::read_password(file).map_err(|error| error.to_string())?;
        Ok(password.into_inner())
    }
}

/// An address and its port, if it has one.
fn split(address: &str) -> (&str, Option<u16>) {
    if let Some((host, port)) = address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (
            host,
            port.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (address, None),
        },
        _ => (address, None),
    }
}

/// Readable once SIGINT or SIGTERM has come: waits for the server end then. A second signal ends the process.
fn interrupt(interrupted: &Arc<AtomicBool>) -> Result<Interrupt, String> {
    let failed = |error: std::io::Error| format!("cannot handle signals: {error}");
    let (read, write) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGINT, SIGTERM] {
        let write = write.try_clone().map_err(failed)?;
        let code = i32::from(exit::CANCELLED);
        let flag = || Arc::clone(interrupted);
        signal_hook::flag::register_conditional_shutdown(signal, code, flag()).map_err(failed)?;
        signal_hook::flag::register(signal, flag()).map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, write).map_err(failed)?;
    }
    Ok(Interrupt::new(OwnedFd::from(read)))
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

    fn with(options: &[(&str, &str)]) -> Managed {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Managed {
            agent: "fence_rhevm".to_owned(),
            options: options.iter().map(owned).collect(),
            secrets: BTreeMap::new(),
            is_clustered: false,
        }
    }

    #[test]
    fn tls_is_the_default() {
        let endpoint = |options: &[(&str, &str)]| with(options).endpoint(WEB);
        let usual = endpoint(&[("ip", "engine")]).unwrap();
        assert_eq!((usual.scheme, usual.port), (Scheme::Https, 443));
        assert_eq!(usual.trust, Trust::System);
        let plain = endpoint(&[("ip", "engine:8080"), ("ssl", "0")]).unwrap();
        assert_eq!((plain.scheme, plain.port), (Scheme::Http, 8080));
        let own = endpoint(&[("ipaddr", "[::1]:8443"), ("ssl_ca", "/ca.pem")]).unwrap();
        assert_eq!((own.host.as_str(), own.port), ("::1", 8443));
        assert_eq!(own.trust, Trust::Authorities("/ca.pem".into()));
        let blind = endpoint(&[("ip", "::1"), ("ssl_insecure", "1"), ("ipport", "444")]).unwrap();
        assert_eq!((blind.host.as_str(), blind.port), ("::1", 444));
        assert_eq!(blind.trust, Trust::Anybody);
        for wrong in [
            &[("ip", "a b")][..],
            &[("ip", "a"), ("ipport", "0")],
            &[("ip", "a"), ("ssl_ca", "/c"), ("ssl_insecure", "1")],
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn passwords_come_from_files_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let mut managed = with(&[("ip", "engine"), ("username", "u"), ("password", "x")]);
        let refused = managed.open(&Arc::default()).err().unwrap();
        assert!(refused.contains("no password"), "{refused}");
        managed.secrets.insert("password".to_owned(), file.clone());
        assert!(
            managed
                .open(&Arc::default())
                .err()
                .unwrap()
                .contains("the password file")
        );
        std::fs::write(&file, "\n").unwrap();
        let open = managed.open(&Arc::default()).err().unwrap();
        assert!(open.contains("open to others"), "{open}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            managed
                .open(&Arc::default())
                .err()
                .unwrap()
                .contains("empty")
        );
        std::fs::write(&file, "hush hush\nmore\n").unwrap();
        assert_eq!(*managed.password().unwrap(), "hush hush");
        for agent in ["fence_rhevm", "fence_vmware_rest", "fence_hyperv"] {
            managed.agent = agent.to_owned();
            assert!(managed.open(&Arc::default()).is_ok(), "{agent}");
        }
    }
}
