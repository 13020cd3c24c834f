//! Addresses as text, and what they open: a libvirt URI, or a management interface with everything that is needed to reach it
//! and to trust it.
//!
//! ```text
//! vmware://fence@vsphere.local@vcenter.example/?password_file=/etc/cluster/vcenter.password&ca=/etc/cluster/vcenter.pem
//! rhevm://fence@internal@engine.example/?password_file=/etc/cluster/engine.password
//! hyperv://CORP%5Cfence@hv1.example/?password_file=/etc/cluster/hv.password&cluster=yes
//! qemu:///system                                      whatever else has a scheme is libvirt's
//! ```
//!
//! The user is whatever stands before the last `@` of the part that names the server. `%XX` stands for the byte XX, in the user and
//! in values; needed for `%`, `&`, `#` and control characters, and in `fence_virt.conf` for `"`.
//!
//! An address never holds a password. Command lines, configuration files and logs are read by more people than should know it, so
//! a password in an address is refused ([`AddressErrorKind::Password`]) and never repeated, and [`redact`] blots it out of whatever
//! text the address is quoted from.

mod error;
mod keys;
mod open;
mod parse;
mod password;
mod redact;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

pub use error::{AddressError, AddressErrorKind};
pub use keys::{Form, KEYS, Key};
pub use open::{OpenError, Opened};
pub use password::{Password, PasswordError, read_password};
pub use redact::redact;

/// Where guests are switched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A libvirt URI, as it was written; libvirt alone knows what it means.
    Libvirt(LibvirtUri),
    /// A management interface.
    Management(Management),
}

/// A libvirt URI.
#[derive(Clone, PartialEq, Eq)]
pub struct LibvirtUri(String);

impl LibvirtUri {
    /// The URI, for libvirt. For people there is `Display`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LibvirtUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for LibvirtUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LibvirtUri({self})")
    }
}

/// A kind of management interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// RHEV-M and the oVirt engine.
    Rhevm,
    /// VMware ESX(i) and vCenter.
    Vmware,
    /// Hyper-V hosts, alone or in a failover cluster.
    Hyperv,
}

impl Platform {
    /// All of them, whether in this build or not.
    pub const ALL: [Self; 3] = [Self::Rhevm, Self::Vmware, Self::Hyperv];

    /// The scheme of its addresses.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Rhevm => "rhevm",
            Self::Vmware => "vmware",
            Self::Hyperv => "hyperv",
        }
    }

    /// Whether this build speaks to it.
    #[must_use]
    pub const fn is_in_this_build(self) -> bool {
        match self {
            Self::Rhevm => cfg!(feature = "rhevm"),
            Self::Vmware => cfg!(feature = "vmware"),
            Self::Hyperv => cfg!(feature = "hyperv"),
        }
    }

    /// The TCP port unless an address names one.
    #[must_use]
    pub const fn port(self, transport: Transport) -> u16 {
        match (self, transport) {
            (Self::Rhevm | Self::Vmware, Transport::Https) => 443,
            (Self::Rhevm | Self::Vmware, Transport::Http) => 80,
            (Self::Hyperv, Transport::Https) => 5986,
            (Self::Hyperv, Transport::Http) => 5985,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The address of a management interface. Made by [`Address::parse`] only, so that what it says holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management {
    platform: Platform,
    user: String,
    host: String,
    port: Option<u16>,
    /// By key. Every key belongs to the platform, every value has its key's form.
    settings: BTreeMap<&'static str, String>,
}

impl Management {
    /// What answers there.
    #[must_use]
    pub const fn platform(&self) -> Platform {
        self.platform
    }

    /// Who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Host name or address; an IPv6 address without brackets, with `%interface` if it is link-local.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
            .unwrap_or_else(|| self.platform.port(self.transport()))
    }

    /// How requests travel; `https` unless told otherwise.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.setting("transport") {
            Some("http") => Transport::Http,
            _ => Transport::Https,
        }
    }

    /// The file with the authorities that vouch for the server; none for the system's.
    #[must_use]
    pub fn authorities(&self) -> Option<&Path> {
        self.setting("ca").map(Path::new)
    }

    /// Whether the server's certificate is looked at.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.setting("verify") != Some("no")
    }

    /// The file that holds the password.
    #[must_use]
    pub fn password_file(&self) -> Option<&Path> {
        self.setting("password_file").map(Path::new)
    }

    /// The value of one of [`KEYS`], if the address has it.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`AddressError`]: what is wrong, where, and the remedy.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        parse::address(text)
    }

    /// A libvirt URI, whatever its scheme.
    #[must_use]
    pub fn libvirt(uri: &str) -> Self {
        Self::Libvirt(LibvirtUri(uri.to_owned()))
    }

    /// The management interface, if it is the address of one.
    #[must_use]
    pub const fn management(&self) -> Option<&Management> {
        match self {
            Self::Libvirt(_) => None,
            Self::Management(management) => Some(management),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    /// The address, for people and for comparison: two addresses that read the same mean the same. It holds no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Libvirt(uri) => uri.fmt(f),
            Self::Management(management) => management.fmt(f),
        }
    }
}

impl fmt::Display for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.platform)?;
        // An `@` in the user may stand as it is: the last one ends it.
        let user = Encoded {
            text: &self.user,
            also: b"@",
        };
        write!(f, "{user}@")?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host.replace('%', "%25"))?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_char('/')?;
        let known = KEYS
            .iter()
            .filter_map(|key| Some((key.name, self.setting(key.name)?)));
        for (number, (key, value)) in known.enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            write!(
                f,
                "{mark}{key}={}",
                Encoded {
                    text: value,
                    also: b"/:,="
                }
            )?;
        }
        Ok(())
    }
}

/// Text with everything percent-encoded but letters, digits, `-._~`, and what else may stand as it is.
struct Encoded<'a> {
    text: &'a str,
    also: &'static [u8],
}

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || self.also.contains(&byte)
            {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
