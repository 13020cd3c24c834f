//! `status` and `monitor`: what a device says, changing nothing.

use fence_agent::{Failure, FailureKind, Level};
use scsi::pr::Key;

use super::key;
use super::plan::Whom;
use super::reach::{Disk, failure, keeps_others_out};

/// Whether a node may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is registered.
    Registered,
    /// It is not, but there is no reservation: anybody may.
    Unrestricted,
    /// It is not, and only registered nodes may.
    None,
}

/// Whether a node may write to the device.
///
/// # Errors
/// If that cannot be told.
pub(crate) fn access(disk: &mut Disk<'_>, whom: &Whom) -> Result<Access, Failure> {
    // The reservation first: with it in place, a key that is absent afterwards is kept out.
    let held = disk.reservation()?;
    let keys = disk.keys()?;
    if whom.keys().any(|key| keys.contains(&key)) {
        return Ok(Access::Registered);
    }
    if let Some(stranger) = whom.stranger(&keys) {
        let text = format!(
            "key {} is registered, which is no node's by the node list of today: it may be of {}",
            key::text(stranger),
            whom.name
        );
        return Err(disk.fail(FailureKind::CannotKnow, text));
    }
    match held {
        Some(held) if keeps_others_out(&held) => Ok(Access::None),
        Some(held) => {
            let text = format!(
                "is reserved with type {:#x}, which fence_scsi does not make",
                held.type_code
            );
            Err(disk.fail(FailureKind::CannotKnow, text))
        }
        None => {
            disk.note(Level::Warning, "is not reserved: anybody may write to it");
            Ok(Access::Unrestricted)
        }
    }
}

/// Whether this node could fence another over this device.
///
/// # Errors
/// If it could not.
pub(crate) fn ready(disk: &mut Disk<'_>, own: Key) -> Result<(), Failure> {
    let registrations = disk.registrations()?;
    if registrations.count(own) == 0 {
        let text = format!(
            "this node's key {} is not registered: it has been fenced, or never unfenced",
            key::text(own)
        );
        return Err(disk.fail(FailureKind::Refused, text));
    }
    if !disk
        .reservation()?
        .is_some_and(|held| keeps_others_out(&held))
    {
        return Err(disk.fail(
            FailureKind::Refused,
            "no reservation keeps unregistered nodes out",
        ));
    }
    for at in 0..disk.paths() {
        // A multipath device is there to lose one of its paths: that is worth a word, not a failure.
        if let Err(error) = disk.over(at, |path, limit| path.read_keys(limit)) {
            let text = format!(
                "path {} does not answer: {}",
                disk.path_name(at),
                failure(&error)
            );
            disk.note(Level::Warning, text);
        } else if disk.is_registered(at, &registrations, own) == Some(false) {
            let text = format!(
                "this node's key is registered, but not over path {}: an earlier session left it. Action on registers it",
                disk.path_name(at)
            );
            return Err(disk.fail(FailureKind::Refused, text));
        }
    }
    Ok(())
}
