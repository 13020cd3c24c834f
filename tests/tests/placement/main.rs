//! `picket placement`: on real libvirt with QEMU guests, and on the servers that stand in for RHEV, VMware and Hyper-V.

mod libvirt;
mod managed;

use std::{path::Path, process::Command};

use picket_tests::{process::Ran, subject::ours};
use serde_json::Value;

/// The exit codes, as documented.
const SUCCESS: Option<i32> = Some(0);
const USAGE: Option<i32> = Some(2);
const DEFINITION: Option<i32> = Some(3);
const SHARED: Option<i32> = Some(70);
const UNKNOWN: Option<i32> = Some(71);
const NOT_KEPT: Option<i32> = Some(72);
const NOT_ENFORCED: Option<i32> = Some(73);
const CANCELLED: Option<i32> = Some(130);

fn command(definition: &Path, what: &str, args: &[&str]) -> Command {
    let mut command = Command::new(ours("picket"));
    command.args(["placement", what]).arg(definition).args(args);
    command
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}
