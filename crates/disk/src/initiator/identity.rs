//! Who an initiator is: its name, its session id, its secrets.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use iscsi::login::{Credentials, Secret};
use iscsi::pdu::Isid;
use sha2::{Digest as _, Sha256};

use crate::address::{IscsiAddress, SecretSource};
use crate::secret::{SecretError, from_file, make};

/// Where open-iscsi keeps this machine's initiator name.
pub(super) const INITIATOR_NAME_FILE: &str = "/etc/iscsi/initiatorname.iscsi";

/// What CHAP needs.
#[derive(Debug, Clone)]
pub struct ChapCredentials {
    /// What this side proves itself with.
    pub ours: Credentials,
    /// What the target must prove itself with.
    pub target: Option<Credentials>,
}

/// The initiator session id for a device: of the form for numbers that are their own authority (RFC 7143, "ISID": type
/// 10b, "random"), derived from the initiator's name, the target's, the logical unit and `instance`. The same device of
/// the same node is therefore the same nexus after every restart, and never that of the kernel's initiator, whose ids
/// are of another form.
#[must_use]
pub fn isid(initiator: &str, target: &str, lun: u16, instance: &str) -> Isid {
    let mut hash = Sha256::new();
    for part in [initiator, target, instance] {
        // iSCSI names do not differ by case.
        hash.update(part.to_ascii_lowercase());
        hash.update([0]);
    }
    hash.update(lun.to_be_bytes());
    let digest = hash.finalize();
    Isid([0x80, digest[0], digest[1], digest[2], digest[3], digest[4]])
}

/// The `InitiatorName` of a file as open-iscsi keeps it.
///
/// # Errors
/// If it cannot be read, or names none.
pub fn machine_initiator(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let mut names = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once('=')?;
        (key.trim_end() == "InitiatorName").then(|| value.trim().to_owned())
    });
    let name = names.rfind(|name| !name.is_empty());
    name.ok_or_else(|| io::Error::other("it has no line InitiatorName=…"))
}

impl ChapCredentials {
    /// What an address asks for: secrets of the files it names, else of the environment; `None` if neither has any.
    ///
    /// The variables are `LIBISCSI_CHAP_USERNAME`, `LIBISCSI_CHAP_PASSWORD`, `LIBISCSI_CHAP_TARGET_USERNAME` and
    /// `LIBISCSI_CHAP_TARGET_PASSWORD`, as other initiators in user space have them.
    ///
    /// # Errors
    /// If a secret is missing or cannot be used.
    pub fn of(address: &IscsiAddress) -> Result<Option<Self>, SecretError> {
        let ours = one(address.user.as_ref(), "LIBISCSI_CHAP")?;
        let target = one(address.target_user.as_ref(), "LIBISCSI_CHAP_TARGET")?;
        match (ours, target) {
            (Some(ours), target) => Ok(Some(Self { ours, target })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(SecretError::Incomplete(
                "the target can prove itself only to an initiator that proves itself: user@ is missing".to_owned(),
            )),
        }
    }
}

fn one(source: Option<&SecretSource>, variables: &str) -> Result<Option<Credentials>, SecretError> {
    let (user, password) = (
        format!("{variables}_USERNAME"),
        format!("{variables}_PASSWORD"),
    );
    let name = match source {
        Some(source) => source.name.clone(),
        None => match env::var(&user) {
            Ok(name) if !name.is_empty() => name,
            _ => return Ok(None),
        },
    };
    let secret = match source.and_then(|source| source.file.as_deref()) {
        Some(file) => from_file(file)?,
        None => from_environment(&password, &name)?,
    };
    Ok(Some(Credentials { name, secret }))
}

fn from_environment(variable: &str, name: &str) -> Result<Secret, SecretError> {
    let value = env::var_os(variable).ok_or_else(|| {
        SecretError::Incomplete(format!(
            "there is no secret for `{name}`: neither a file is named nor is {variable} set"
        ))
    })?;
    make(value.into_encoded_bytes(), variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_same_session_id_for_ever() {
        let id =
            |node: &str, lun, instance: &str| isid(node, "iqn.2026-11.example:disk", lun, instance);
        let first = id("iqn.2026-11.example:n1", 0, "");
        assert_eq!(first, id("IQN.2026-11.Example:n1", 0, ""));
        // Computed by: printf 'iqn.2026-11.example:n1\0iqn.2026-11.example:disk\0\0\0\0' | sha256sum
        assert_eq!(first.0, [0x80, 0xB9, 0x2B, 0x70, 0x82, 0x69]);
        for other in [
            id("iqn.2026-11.example:n2", 0, ""),
            id("iqn.2026-11.example:n1", 1, ""),
            id("iqn.2026-11.example:n1", 0, "b"),
        ] {
            assert_ne!(first, other);
        }
    }
}
