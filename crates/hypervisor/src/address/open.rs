//! What an address opens.

use super::{Address, Management, Password, PasswordError, Platform, Transport, read_password};
use crate::{Hypervisor, Managed};

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
    /// The password in the address's file; none when logging in takes none.
    ///
    /// # Errors
    /// [`OpenError`] when it takes one and there is none.
    pub fn password(&self) -> Result<Option<Password>, OpenError> {
        match self.password_file() {
            Some(path) => Ok(Some(read_password(path)?)),
            None if self.needs_password() => Err(OpenError::NoPassword(self.to_string())),
            None => Ok(None),
        }
    }

    /// Makes what the address stands for, with this password. Nobody is contacted.
    ///
    /// # Errors
    /// [`OpenError::NotInThisBuild`]; [`OpenError::NoPassword`] when one is needed and missing.
    pub fn open(&self, password: Option<Password>) -> Result<Box<dyn Managed>, OpenError> {
        if password.is_none() && self.needs_password() {
            return Err(OpenError::NoPassword(self.to_string()));
        }
        match self.platform {
            #[cfg(feature = "rhevm")]
            Platform::Rhevm => Ok(Box::new(crate::rhevm::Rhevm::new(self.rhevm(password)))),
            #[cfg(feature = "vmware")]
            Platform::Vmware => Err(OpenError::NotInThisBuild(self.platform)),
            #[cfg(feature = "hyperv")]
            Platform::Hyperv => Err(OpenError::NotInThisBuild(self.platform)),
            #[cfg(not(all(feature = "rhevm", feature = "vmware", feature = "hyperv")))]
            missing => Err(OpenError::NotInThisBuild(missing)),
        }
    }

    /// The server and whom to trust.
    #[cfg(any(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
    fn endpoint(&self) -> https::Endpoint {
        let trust = match self.authorities() {
            _ if !self.is_verified() => https::Trust::Anybody,
            Some(path) => https::Trust::Authorities(path.to_owned()),
            None => https::Trust::System,
        };
        let scheme = match self.transport() {
            Transport::Http => https::Scheme::Http,
            Transport::Https => https::Scheme::Https,
        };
        https::Endpoint {
            scheme,
            host: self.host.clone(),
            port: self.port(),
            trust,
        }
    }

    /// The user; an address without one logs in without.
    #[cfg(any(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
    fn login(&self) -> &str {
        self.user().unwrap_or_default()
    }

    #[cfg(feature = "rhevm")]
    fn rhevm(&self, password: Option<Password>) -> crate::rhevm::Settings {
        use crate::rhevm::{Settings, Version};
        let password = password.map(Password::into_inner).unwrap_or_default();
        let mut settings = Settings::new(self.endpoint(), self.login(), password);
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
}
