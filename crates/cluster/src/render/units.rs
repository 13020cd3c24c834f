//! Which systemd units a machine's part in the cluster needs, and which would be in its way.

use super::storage::{iscsi_of, multipath_of};
use crate::definition::{Definition, Node, VirtdProgram};

/// Units of systemd, by name, without `.service`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Units {
    /// To be started now and after a boot, in this order.
    pub enable: Vec<&'static str>,
    /// Not to be started by systemd: Pacemaker does it, or something else serves the purpose.
    pub disable: Vec<&'static str>,
}

/// The units of a node. sbd is not among them: it cannot be started by hand, and a rendered drop-in makes
/// Corosync's unit start and stop it. A distribution that has no unit of a name has it under the next one: Debian's
/// `open-iscsi` is `iscsi` elsewhere.
#[must_use]
pub fn node_units(definition: &Definition, node: &Node) -> Units {
    let mut units = Units::default();
    if !iscsi_of(definition, node).is_empty() {
        let debian = definition
            .guest_os(node)
            .is_none_or(|os| os.is("debian") || os.is("ubuntu"));
        units
            .enable
            .push(if debian { "open-iscsi" } else { "iscsi" });
    }
    if multipath_of(definition, node) {
        units.enable.push("multipathd");
    }
    units.enable.push("corosync");
    if definition.options.quorum_device.is_some() {
        units.enable.push("corosync-qdevice");
    }
    units.enable.push("pacemaker");
    if definition.needs_dlm() {
        units.disable.extend(["dlm", "lvmlocks", "lvmlockd"]);
    }
    units
}

/// The units of a host.
#[must_use]
pub fn host_units(definition: &Definition) -> Units {
    let mut units = Units::default();
    if let Some(virtd) = &definition.fence_virtd
        && virtd.program == VirtdProgram::FenceVirtd
    {
        units.enable.push("fence_virtd");
    }
    units
}
