//! Puts a cluster's configuration on its machines over OpenSSH, and starts the cluster.
//!
//! ```text
//! survey ──▶ plan ──▶ agree ──▶ stage ──▶ verify ──▶ install ──▶ start or reload ──▶ health ──▶ finish
//! (looks)   (pure)   (caller)   └─ a failure here: the former ─┘  └─ a failure here is reported; applying ─┘
//!                                  files come back everywhere        again goes on from there
//! ```
//!
//! | modules | know | must not know |
//! |---|---|---|
//! | `desired` | what belongs on which machine, from a definition | what is there |
//! | `survey`, `facts` | what is there | what to do about it |
//! | `assess`, `plan`, `corosync`, `cib` | what is in the way, and what has to be done: pure | machines, clocks |
//! | `carry_out`, `fleet`, `health` | in which order, and when to give up | how a machine is reached |
//! | `operation` | the scripts | who runs them |
//! | `transport`, `ssh`, `memory` | how a script gets to a machine | what it does |
//! | `keys` | where secrets are kept | what is made from them |
#![forbid(unsafe_code)]

mod assess;
mod carry_out;
mod cib;
mod corosync;
mod desired;
mod effect;
mod error;
mod event;
mod facts;
mod fleet;
mod health;
mod keys;
mod machine;
pub mod memory;
mod operation;
mod options;
mod plan;
mod preparation;
#[cfg(test)]
mod scripts;
mod ssh;
mod survey;
mod transport;
mod xml;

pub use cib::CibChange;
pub use desired::{CIB, COROSYNC_CONF, COROSYNC_KEY, Desired, NotDeployable, Preparation, Wanted};
pub use effect::Effect;
pub use error::{Error, Failure, Problem, ProblemKind};
pub use event::{Event, Phase};
pub use health::expected_of;
pub use keys::{Keys, KeysError};
pub use machine::{BadDestination, Destination, Machine, Role};
pub use options::{Options, Report, Took};
pub use plan::{Action, Configuration, FilePlan, MachinePlan, Plan, Restart};
pub use ssh::{OpenSsh, SshSettings};
pub use transport::{Command, MAX_OUTPUT, Output, Transport, TransportError};

use fleet::Fleet;

/// What is done once a plan has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is carried out.
    GoOn,
    /// Nothing is changed: [`Error::Declined`].
    Decline,
}

/// Makes the machines what `desired` says.
///
/// `decide` sees the plan before anything is changed, also one that is empty or that `options` do not
/// allow. `by` names who applies, for the record on the machines: `USER@HOST` say.
///
/// # Errors
/// See [`Error`]: each variant says what state it leaves behind.
pub fn apply(
    desired: &Desired,
    transport: &dyn Transport,
    options: &Options,
    by: &str,
    decide: &mut dyn FnMut(&Plan) -> Decision,
    events: &mut dyn FnMut(Event),
) -> Result<Report, Error> {
    let mut fleet = Fleet::new(transport, options, events);
    fleet.may_begin(Phase::Survey, false)?;
    let found = survey::survey(desired, &mut fleet);
    let plan = plan::plan(desired, &found, options)?;
    if decide(&plan) == Decision::Decline {
        return Err(Error::Declined);
    }
    plan.permit(options)?;
    let changed = !plan.is_empty();
    let held = if changed {
        fleet.restart_clock();
        carry_out::carry_out(desired, &plan, &plain(by), &mut fleet)?
    } else {
        let lacks = carry_out::look_at_health(desired, &fleet);
        if !lacks.missing.is_empty() {
            let missing = [lacks.missing, lacks.held].concat();
            return Err(Error::Unwell { missing });
        }
        lacks.held
    };
    Ok(Report {
        cluster: desired.cluster.clone(),
        changed,
        phases: fleet.took,
        warnings: plan.warnings,
        held,
    })
}

/// Looks and plans; changes nothing.
///
/// # Errors
/// [`Error::Problems`] with everything that is in the way.
pub fn plan(
    desired: &Desired,
    transport: &dyn Transport,
    options: &Options,
    events: &mut dyn FnMut(Event),
) -> Result<Plan, Error> {
    let mut fleet = Fleet::new(transport, options, events);
    let found = survey::survey(desired, &mut fleet);
    plan::plan(desired, &found, options)
}

/// Without what the record's lines cannot hold.
fn plain(by: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._@-".contains(*c);
    by.chars().filter(plain).take(100).collect()
}

#[cfg(test)]
mod tests;
