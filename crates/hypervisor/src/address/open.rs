//! What an address opens.

use super::{Address, Management, Password, PasswordError, Platform, read_password};
use crate::{Hypervisor, Managed};

/// How long a Hyper-V host may take for one answer, connecting and logging in included.
#[cfg(feature = "hyperv")]
const STEP: std::time::Duration = std::time::Duration::from_secs(10);

/// What an address has opened. Nobody has been contacted yet.
pub enum Opened {
    /// A hypervisor without a login.
    Plain(Box<dyn Hypervisor>),
    /// A management interface. Its session begins with the first call.
    Managed(Box<dyn Managed>),
}

/// Why an address cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address names no password file.
    #[error(
        "{0} cannot be logged in to without a password: name a file that holds it with ?password_file=FILE"
    )]
    NoPassword(String),
    /// The password cannot be had.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// One of the keys cannot be used as it is.
    #[error("{0}")]
    Setting(String),
    /// Whatever would speak to it was left out when this program was built.
    #[error("{0}:// is not in this build")]
    NotInThisBuild(Platform),
}

impl Address {
    /// Makes what the address stands for, reading the password from its file. Nobody is contacted.
    ///
    /// # Errors
    /// [`OpenError`], with the remedy.
    pub fn open(&self) -> Result<Opened, OpenError> {
        match self {
            #[cfg(feature = "libvirt")]
            Self::Libvirt(uri) => Ok(Opened::Plain(Box::new(crate::libvirt::Libvirt::new(
                uri.as_str(),
            )))),
            #[cfg(not(feature = "libvirt"))]
            Self::Libvirt(_) => unreachable!("libvirt URIs are refused by a build without libvirt"),
            Self::Management(management) => {
                Ok(Opened::Managed(management.open(management.password()?)?))
            }
        }
    }
}

impl Management {
    /// The password in the address's file.
    ///
    /// # Errors
    /// [`OpenError::NoPassword`] without a file, [`OpenError::Password`] when it cannot be used.
    pub fn password(&self) -> Result<Password, OpenError> {
        let path = self
            .password_file()
            .ok_or_else(|| OpenError::NoPassword(self.to_string()))?;
        Ok(read_password(path)?)
    }

    /// Makes what the address stands for, with this password. Nobody is contacted.
    ///
    /// # Errors
    /// [`OpenError::NotInThisBuild`] and [`OpenError::Setting`].
    pub fn open(&self, password: Password) -> Result<Box<dyn Managed>, OpenError> {
        match self.platform {
            #[cfg(feature = "rhevm")]
            Platform::Rhevm => Ok(Box::new(crate::rhevm::Rhevm::new(self.rhevm(password)))),
            #[cfg(feature = "vmware")]
            Platform::Vmware => Ok(Box::new(crate::vmware::Vmware::new(&self.vmware(password)))),
            #[cfg(feature = "hyperv")]
            Platform::Hyperv => Ok(Box::new(crate::hyperv::HyperV::new(self.hyperv(password)?))),
            #[cfg(not(all(feature = "rhevm", feature = "vmware", feature = "hyperv")))]
            missing => {
                drop(password);
                Err(OpenError::NotInThisBuild(missing))
            }
        }
    }

    #[cfg(any(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
    fn trust(&self) -> https::Trust {
        match self.authorities() {
            _ if !self.is_verified() => https::Trust::Anybody,
            Some(path) => https::Trust::Authorities(path.to_owned()),
            None => https::Trust::System,
        }
    }

    #[cfg(any(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
    fn scheme(&self) -> https::Scheme {
        use super::Transport;
        match self.transport() {
            Transport::Http => https::Scheme::Http,
            Transport::Https => https::Scheme::Https,
        }
    }

    #[cfg(any(feature = "rhevm", feature = "vmware"))]
    fn endpoint(&self) -> https::Endpoint {
        let (scheme, trust) = (self.scheme(), self.trust());
        https::Endpoint {
            scheme,
            host: self.host.clone(),
            port: self.port(),
            trust,
        }
    }

    #[cfg(feature = "rhevm")]
    fn rhevm(&self, password: Password) -> crate::rhevm::Settings {
        use crate::rhevm::{Settings, Version};
        let mut settings = Settings::new(self.endpoint(), &self.user, password.into_inner());
        if let Some(path) = self.setting("api_path") {
            path.clone_into(&mut settings.api_path);
        }
        settings.version = match self.setting("api_version") {
            Some("3") => Version::V3,
            Some("4") => Version::V4,
            _ => Version::Auto,
        };
        settings.filter = self.setting("filter") != Some("no");
        settings
    }

    #[cfg(feature = "vmware")]
    fn vmware(&self, password: Password) -> crate::vmware::Settings {
        use crate::vmware::{Interface, Settings};
        let interface = match self.setting("api") {
            Some("rest") => Interface::Rest {
                path: self.setting("api_path").map(str::to_owned),
                filter: None,
            },
            _ => Interface::Soap,
        };
        Settings {
            endpoint: self.endpoint(),
            interface,
            username: self.user.clone(),
            password: password.into_inner(),
            datacenter: self.setting("datacenter").map(str::to_owned),
            request_limit: None,
            interrupt: None,
        }
    }

    #[cfg(feature = "hyperv")]
    fn hyperv(&self, password: Password) -> Result<crate::hyperv::Settings, OpenError> {
        use crate::hyperv::{Address, Login, Namespace, Settings};
        let first = Address {
            node: None,
            host: self.host.clone(),
            port: self.port(),
        };
        let mut hosts = vec![first];
        for text in self
            .setting("hosts")
            .unwrap_or_default()
            .split(',')
            .filter(|text| !text.is_empty())
        {
            let host = Address::parse(text, self.port()).map_err(OpenError::Setting)?;
            // The one in front, with its node's name.
            hosts.retain(|known| (&known.host, known.port) != (&host.host, host.port));
            hosts.push(host);
        }
        let login = match self.setting("auth") {
            Some("basic") => Login::Basic {
                user: self.user.clone(),
                password: password.into_inner(),
            },
            _ => Login::Negotiate(ntlm::Credentials::new(&self.user, password.into_inner())),
        };
        Ok(Settings {
            hosts,
            cluster: self.setting("cluster") == Some("yes"),
            scheme: self.scheme(),
            trust: self.trust(),
            login,
            namespace: match self.setting("namespace") {
                Some("v1") => Namespace::V1,
                Some("v2") => Namespace::V2,
                _ => Namespace::Auto,
            },
            kill_worker: None,
            step: STEP,
            interrupt: None,
        })
    }
}
