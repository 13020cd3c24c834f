//! Storage-based death: sbd's settings, and the module of a watchdog that no bus announces.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{File, Owner};
use crate::definition::{Definition, Node, Sbd, Watchdog};

/// Whole seconds, as sbd counts; rounded up, because a watchdog that bites too early is worse.
pub(super) fn seconds(sbd: &Sbd) -> u128 {
    sbd.watchdog_timeout.millis().div_ceil(1000)
}

/// Debian and what is made from it keep a service's settings in one place, the others in another.
fn settings_path(definition: &Definition, node: &Node) -> PathBuf {
    let debian = definition
        .guest_os(node)
        .is_none_or(|os| os.is("debian") || os.is("ubuntu"));
    if debian {
        "/etc/default/sbd".into()
    } else {
        "/etc/sysconfig/sbd".into()
    }
}

pub(super) fn files(definition: &Definition, node: &Node) -> Vec<File> {
    let Some(sbd) = &definition.options.sbd else {
        return Vec::new();
    };
    let mut files = vec![
        File::new(
            settings_path(definition, node),
            0o644,
            Owner::Root,
            settings(sbd),
        ),
        // What enabling sbd would do; it refuses to be started by hand.
        File::new(
            "/etc/systemd/system/corosync.service.d/50-picket-sbd.conf",
            0o644,
            Owner::Root,
            "[Unit]\nRequires=sbd.service\n",
        ),
    ];
    if definition.watchdog_of(node) == Some(Watchdog::Softdog) {
        files.push(File::new(
            "/etc/modules-load.d/picket-watchdog.conf",
            0o644,
            Owner::Root,
            "# No device announces this watchdog.\nsoftdog\n",
        ));
    }
    files
}

fn settings(sbd: &Sbd) -> String {
    let mut out = String::new();
    if !sbd.devices.is_empty() {
        let devices: Vec<&str> = sbd.devices.iter().map(|device| device.as_str()).collect();
        let _ = writeln!(out, "SBD_DEVICE=\"{}\"", devices.join(";"));
    }
    // A guest starts so fast that the others may still be waiting for its death; with devices, sbd
    // then waits until they no longer do.
    let delay = if sbd.devices.is_empty() { "no" } else { "yes" };
    let _ = write!(
        out,
        "SBD_PACEMAKER=yes\nSBD_STARTMODE=always\nSBD_DELAY_START={delay}\nSBD_WATCHDOG_DEV=/dev/watchdog\n\
         SBD_WATCHDOG_TIMEOUT={}\nSBD_TIMEOUT_ACTION=flush,reboot\n",
        seconds(sbd)
    );
    out
}
