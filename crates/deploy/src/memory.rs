//! Machines that exist only in memory: for tests and demonstrations of what stands on this crate.
//!
//! They understand this crate's own operations and do what the scripts do, file by file; what they print
//! is what the scripts print. A [`Fault`] breaks one of them at a chosen moment.

mod answers;
mod machine;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadline::Deadline;

use crate::machine::Machine;
use crate::operation::Operation;
use crate::transport::{Command, Output, Transport, TransportError};

pub use machine::{Content, MemoryMachine};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All machines are cut off after so many calls: whoever applies is gone.
    KilledBefore(usize),
    /// The same, but the last call was carried out, and its answer lost.
    KilledAfter(usize),
    /// The last call was an installation, which gets no further than so many files; other calls are not
    /// carried out at all.
    KilledWithin(usize, usize),
    /// One call does not reach its machine.
    Unreachable(usize),
    /// One call is carried out, and its answer lost.
    Lost(usize),
    /// One call fails on the machine without having done anything.
    Fails(usize),
}

/// The machines, and the cluster that they form.
#[derive(Debug, Default)]
pub struct MemoryMachines {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    machines: BTreeMap<String, MemoryMachine>,
    /// The running cluster's configuration: its version and its `configuration` element.
    cib: Option<(u64, String)>,
    calls: Vec<String>,
    fault: Option<Fault>,
}

impl MemoryMachines {
    /// Machines.
    #[must_use]
    pub fn new(machines: impl IntoIterator<Item = (String, MemoryMachine)>) -> Self {
        let state = State {
            machines: machines.into_iter().collect(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks something from now on, or mends it; calls are counted anew, from 0.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.fault = fault;
        state.calls.clear();
    }

    /// The calls since the last [`Self::set_fault`], as `MACHINE OPERATION`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The machine as it is now.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<MemoryMachine> {
        self.lock().machines.get(name).cloned()
    }

    /// Changes a machine.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut MemoryMachine)) {
        if let Some(machine) = self.lock().machines.get_mut(name) {
            change(machine);
        }
    }

    /// All machines, and the running configuration.
    #[must_use]
    pub fn snapshot(&self) -> (BTreeMap<String, MemoryMachine>, Option<String>) {
        let state = self.lock();
        let cib = state.cib.as_ref().map(|(_, xml)| xml.clone());
        (state.machines.clone(), cib)
    }
}

impl Transport for MemoryMachines {
    fn run(
        &self,
        machine: &Machine,
        command: &Command,
        deadline: Deadline,
    ) -> Result<Output, TransportError> {
        let mut state = self.lock();
        let number = state.calls.len();
        let Some(operation) = command.operation() else {
            return Err(failed("machines in memory run no scripts"));
        };
        if deadline.has_passed() {
            return Err(unreachable("no time is left"));
        }
        state
            .calls
            .push(format!("{} {}", machine.name, operation.name()));
        let mut reach = usize::MAX;
        let mut lost = false;
        match state.fault {
            Some(Fault::KilledBefore(at)) if number >= at => return Err(unreachable("cut off")),
            Some(Fault::KilledAfter(at) | Fault::KilledWithin(at, _)) if number > at => {
                return Err(unreachable("cut off"));
            }
            Some(Fault::KilledAfter(at) | Fault::Lost(at)) if number == at => lost = true,
            Some(Fault::KilledWithin(at, files)) if number == at => {
                lost = true;
                if !matches!(operation, Operation::Install { .. }) {
                    return Err(unknown());
                }
                reach = files;
            }
            Some(Fault::Unreachable(at)) if number == at => return Err(unreachable("no route")),
            Some(Fault::Fails(at)) if number == at => return Err(failed("out of order")),
            _ => {}
        }
        let outcome = state.carry_out(&machine.name, operation, reach);
        if lost { Err(unknown()) } else { outcome }
    }

    fn pause(&self, _span: Duration) -> bool {
        false
    }

    fn at_once(&self) -> bool {
        false
    }
}

fn failed(detail: &str) -> TransportError {
    TransportError::Failed {
        status: 1,
        detail: detail.to_owned(),
    }
}

fn unreachable(detail: &str) -> TransportError {
    TransportError::Unreachable {
        detail: detail.to_owned(),
    }
}

fn unknown() -> TransportError {
    TransportError::Unknown {
        detail: "cut off".to_owned(),
    }
}

fn output(text: String) -> Output {
    Output {
        stdout: text.into_bytes(),
        stderr: String::new(),
        took: Duration::ZERO,
    }
}
