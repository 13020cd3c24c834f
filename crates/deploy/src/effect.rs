//! What a changed file makes necessary before it counts.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Something that must happen to daemons because a file has changed. It is noted on the machine before
/// the file is replaced, and struck off when it has happened: an interrupted apply forgets nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Corosync must read its configuration again.
    ReloadCorosync,
    /// This node's Corosync and Pacemaker must be restarted; the other nodes may go on meanwhile.
    RestartNode,
    /// All nodes' Corosync and Pacemaker must be stopped before the first is started again: old and new
    /// configuration do not understand each other.
    RestartCluster,
    /// A unit must read its configuration again.
    ReloadUnit(String),
    /// systemd must read its units again, before any of them is started.
    ReloadSystemd,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReloadCorosync => f.write_str("reload-corosync"),
            Self::RestartNode => f.write_str("restart-node"),
            Self::RestartCluster => f.write_str("restart-cluster"),
            Self::ReloadUnit(unit) => write!(f, "reload-unit:{unit}"),
            Self::ReloadSystemd => f.write_str("reload-systemd"),
        }
    }
}

impl Serialize for Effect {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Effect {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "reload-corosync" => Self::ReloadCorosync,
            "restart-node" => Self::RestartNode,
            "restart-cluster" => Self::RestartCluster,
            "reload-systemd" => Self::ReloadSystemd,
            _ => {
                let unit = text.strip_prefix("reload-unit:").ok_or(())?;
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.@".contains(&b);
                if unit.is_empty() || unit.starts_with('-') || !unit.bytes().all(plain) {
                    return Err(());
                }
                Self::ReloadUnit(unit.to_owned())
            }
        })
    }
}

/// Where units and their drop-ins are.
const UNITS: &str = "/etc/systemd/system/";

/// What becomes necessary on a node, for most of it only if its daemons run, when the file at `path` changes. For Corosync's
/// own configuration that depends on what has changed in it; see [`crate::corosync`].
///
/// Files that are read anew at each use (fencing keys, resource agents, `lvm.conf`) need nothing.
pub(crate) fn of_path(path: &str) -> Option<Effect> {
    Some(match path {
        "/etc/corosync/authkey" => Effect::RestartCluster,
        "/etc/sysconfig/pacemaker"
        | "/etc/default/pacemaker"
        | "/etc/sysconfig/sbd"
        | "/etc/default/sbd"
        | "/etc/dlm/dlm.conf" => Effect::RestartNode,
        "/etc/iscsi/initiatorname.iscsi" | "/etc/iscsi/iscsid.conf" => {
            Effect::ReloadUnit("iscsid.service".to_owned())
        }
        _ if path == "/etc/multipath.conf" || path.starts_with("/etc/multipath/conf.d/") => {
            Effect::ReloadUnit("multipathd.service".to_owned())
        }
        _ if path.starts_with(UNITS) => Effect::ReloadSystemd,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_read_back_and_strangers_are_not() {
        for effect in [
            Effect::ReloadCorosync,
            Effect::RestartNode,
            Effect::RestartCluster,
            Effect::ReloadUnit("fence_virtd.service".to_owned()),
            Effect::ReloadSystemd,
        ] {
            assert_eq!(effect.to_string().parse(), Ok(effect));
        }
        for bad in [
            "",
            "reload-unit:",
            "reload-unit:-x",
            "reload-unit:a b",
            "boot",
        ] {
            assert!(bad.parse::<Effect>().is_err(), "{bad}");
        }
    }
}
