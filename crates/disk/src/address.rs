//! Where a device is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The port of iSCSI (RFC 7143, "TCP").
const PORT: u16 = 3260;

/// A device's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A device node, `/dev/…`.
    Node(PathBuf),
    /// A logical unit of an iSCSI target.
    Iscsi(IscsiAddress),
}

/// Where a secret is: never in an address itself, which is seen on command lines and in logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretSource {
    /// CHAP_N
    pub name: String,
    /// The file whose first line is the secret; `None`: the environment.
    pub file: Option<PathBuf>,
}

/// `iscsi://[user@]host[:port]/target/lun[?option=value&…]`. A literal IPv6 host stands in brackets.
///
/// Options: `secret=FILE` for `user`; `target-user=NAME` and `target-secret=FILE` for what the target must prove itself
/// with; `digests=on` or `off` to insist on, or leave out, digests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IscsiAddress {
    /// Name or address of the portal's host.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TargetName
    pub target: String,
    /// The logical unit's number.
    pub lun: u16,
    /// What this side proves itself with.
    pub user: Option<SecretSource>,
    /// What the target must prove itself with.
    pub target_user: Option<SecretSource>,
    /// Digests: insist on them, or do without. `None`: as the target likes.
    pub digests: Option<bool>,
}

/// Why text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither an absolute path nor `iscsi://`.
    #[error("`{0}` is neither an absolute path nor iscsi://host[:port]/target/lun")]
    Form(String),
    /// A part is missing or wrong.
    #[error("`{address}`: {wrong}")]
    Part {
        /// The address, without what could be a secret.
        address: String,
        /// What is wrong.
        wrong: &'static str,
    },
    /// A password. It is not repeated.
    #[error(
        "an address must not hold a password, which every process can see: use ?secret=FILE or LIBISCSI_CHAP_PASSWORD"
    )]
    Password,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("iscsi://") {
            Some(rest) => parse(text, rest).map(Self::Iscsi),
            None if Path::new(text).is_absolute() => Ok(Self::Node(text.into())),
            None => Err(AddressError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(path) => path.display().fmt(f),
            Self::Iscsi(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for IscsiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            target,
            lun,
            ..
        } = self;
        if host.contains(':') {
            write!(f, "iscsi://[{host}]:{port}/{target}/{lun}")
        } else {
            write!(f, "iscsi://{host}:{port}/{target}/{lun}")
        }
    }
}

/// What comes after `iscsi://`.
fn parse(whole: &str, rest: &str) -> Result<IscsiAddress, AddressError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, portal) = match authority.rsplit_once('@') {
        Some((user, portal)) => (Some(user), portal),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(['%', ':'])) || query.contains("password") {
        return Err(AddressError::Password);
    }
    let part = |wrong| AddressError::Part {
        address: whole.to_owned(),
        wrong,
    };
    let (host, port) =
        portal_of(portal).ok_or_else(|| part("no host, or no port between 1 and 65535"))?;
    let (target, lun) = path
        .split_once('/')
        .filter(|(target, _)| !target.is_empty())
        .ok_or_else(|| part("no target and logical unit after the host"))?;
    let lun = lun.parse().ok().filter(|lun| *lun < 1 << 14);
    let mut address = IscsiAddress {
        host,
        port,
        target: target.to_owned(),
        lun: lun.ok_or_else(|| part("the logical unit is not a number below 16384"))?,
        user: user.map(source),
        target_user: None,
        digests: None,
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        set(&mut address, key, value).map_err(part)?;
    }
    Ok(address)
}

fn source(name: &str) -> SecretSource {
    SecretSource {
        name: name.to_owned(),
        file: None,
    }
}

fn set(address: &mut IscsiAddress, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "secret" => {
            let user = address.user.as_mut().ok_or("secret= without user@")?;
            user.file = Some(value.into());
        }
        "target-user" => address.target_user = Some(source(value)),
        "target-secret" => {
            let user = address.target_user.as_mut();
            user.ok_or("target-secret= without target-user= before it")?
                .file = Some(value.into());
        }
        "digests" => {
            address.digests = Some(match value {
                "on" => true,
                "off" => false,
                _ => return Err("digests= is neither on nor off"),
            });
        }
        _ => return Err("an option that is none of secret, target-user, target-secret, digests"),
    }
    Ok(())
}

fn portal_of(portal: &str) -> Option<(String, u16)> {
    let (host, port) = match portal.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':')
                    .or_else(|| port.is_empty().then_some("")),
            )
        }
        None => match portal.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (portal, Some("")),
        },
    };
    let port = match port? {
        "" => PORT,
        digits => digits.parse().ok().filter(|port| *port != 0)?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> IscsiAddress {
        match text.parse() {
            Ok(Address::Iscsi(address)) => address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_has_host_target_and_unit() {
        let plain = parsed("iscsi://10.0.0.1/iqn.2026-11.example:disk/0");
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.lun),
            ("10.0.0.1", 3260, 0)
        );
        let full = parsed(
            "iscsi://node@[fe80::1]:3290/iqn.x:y/7?secret=/etc/s&target-user=t&target-secret=/etc/t&digests=on",
        );
        assert_eq!((full.host.as_str(), full.port), ("fe80::1", 3290));
        assert_eq!(full.to_string(), "iscsi://[fe80::1]:3290/iqn.x:y/7");
        assert_eq!(full.user.unwrap().file, Some("/etc/s".into()));
        assert_eq!(full.target_user.unwrap().name, "t");
        assert_eq!(full.digests, Some(true));
        assert_eq!("/dev/sda".parse(), Ok(Address::Node("/dev/sda".into())));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "sda",
            "",
            "iscsi://",
            "iscsi://h",
            "iscsi://h/t",
            "iscsi://h/t/",
            "iscsi://h/t/x",
            "iscsi://h/t/16384",
            "iscsi://:3260/t/0",
            "iscsi://h:0/t/0",
            "iscsi://h:x/t/0",
            "iscsi://[::1/t/0",
            "iscsi://h/t/0?secret=/x",
            "iscsi://h/t/0?digests=maybe",
            "iscsi://h/t/0?other=1",
            "iscsi://h//0",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for bad in [
            "iscsi://u%hushhushhush@h/t/0",
            "iscsi://u:hushhushhush@h/t/0",
            "iscsi://h/t/0?target_password=hush",
        ] {
            let refused = bad.parse::<Address>().unwrap_err();
            assert_eq!(refused, AddressError::Password);
            assert!(!refused.to_string().contains("hush"));
        }
    }
}
