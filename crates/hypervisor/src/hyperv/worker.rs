//! The last resort: the worker process of a guest that its host cannot end.
//!
//! A guest is one process of its host, `vmwp.exe`, whose command line has the guest's GUID. The process is ended only if the
//! host's Hyper-V and its process list agree on which it is. Ending it needs an administrator's rights on `root/cimv2`.

use deadline::Deadline;
use wsman::wql::Query;
use wsman::{Argument, Instance, Resource};

use super::host::Host;
use super::system::Machine;
use super::trouble::Trouble;

const NAMESPACE: &str = "root/cimv2";
const CLASS: &str = "Win32_Process";
const PROGRAM: &str = "vmwp.exe";

/// Ends the worker process of `machine`.
pub(super) fn end(host: &Host, machine: &Machine, deadline: Deadline) -> Result<(), Trouble> {
    let query = Query::all(CLASS).and_is("Name", PROGRAM);
    let processes = host.query(NAMESPACE, &query, deadline)?;
    let mut own = processes.iter().filter(|process| is_of(process, machine));
    let (Some(process), None) = (own.next(), own.next()) else {
        return Err(Trouble::Refused(format!(
            "no one process {PROGRAM} of the guest {} is found there",
            machine.guest
        )));
    };
    let handle = process.required("Handle")?;
    // A command line alone is no proof: anybody on the host may start a program with this one.
    if machine.process.is_none_or(|id| id.to_string() != handle) {
        return Err(Trouble::Refused(format!(
            "the process list and Hyper-V do not agree on the worker process of the guest {}",
            machine.guest
        )));
    }
    let resource = Resource::wmi(NAMESPACE, CLASS).with("Handle", handle);
    let output = host.invoke(
        &resource,
        "Terminate",
        &[("Reason", Argument::Text("1"))],
        deadline,
    )?;
    match output.required_number("ReturnValue")? {
        0 => Ok(()),
        2 | 3 => Err(Trouble::Denied(format!(
            "Win32_Process.Terminate of {PROGRAM}"
        ))),
        other => Err(Trouble::Refused(format!(
            "Win32_Process.Terminate of {PROGRAM} returned {other}"
        ))),
    }
}

/// Whether the process's command line has the guest's GUID as a word of its own.
fn is_of(process: &Instance, machine: &Machine) -> bool {
    let is_program = process
        .text("Name")
        .is_some_and(|name| name.eq_ignore_ascii_case(PROGRAM));
    let line = process.text("CommandLine").unwrap_or_default();
    let mut words =
        line.split(|c: char| c.is_whitespace() || ['"', '{', '}', ',', '='].contains(&c));
    is_program && words.any(|word| word.eq_ignore_ascii_case(&machine.key()))
}
