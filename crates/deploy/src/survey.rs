//! Looking at every machine, all at the same time. Changes nothing.

use std::time::{Duration, SystemTime};

use crate::desired::{
    CIB, COROSYNC, COROSYNC_CONF, Desired, PACEMAKER, Wanted, checksum, may_be_shown,
};
use crate::effect::{self, Effect};
use crate::error::{Problem, ProblemKind};
use crate::event::Phase;
use crate::facts::{Corosync, Facts};
use crate::fleet::Fleet;
use crate::operation::{Look, Operation};
use crate::preparation::{self, Outlook, State};
use crate::transport::{Command, TransportError};

/// The most that looking at one machine may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What is known of all machines.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    pub(crate) machines: Vec<Surveyed>,
}

/// What is known of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Surveyed {
    pub(crate) name: String,
    pub(crate) facts: Result<Facts, Problem>,
    /// How far its clock is ahead of ours, and how uncertain that is, in seconds.
    pub(crate) clock: Option<(f64, f64)>,
    /// What is left to be prepared, as far as that can be known now.
    pub(crate) outlooks: Vec<Outlook>,
}

impl Survey {
    pub(crate) fn facts(&self, name: &str) -> Option<&Facts> {
        let surveyed = self.machines.iter().find(|machine| machine.name == name)?;
        surveyed.facts.as_ref().ok()
    }
}

/// Looks at every machine of `desired`.
pub(crate) fn survey(desired: &Desired, fleet: &mut Fleet<'_>) -> Survey {
    let jobs = desired
        .machines
        .iter()
        .map(|wanted| {
            (
                &wanted.machine,
                Command::of(Operation::Survey(look(wanted))),
            )
        })
        .collect();
    let sent = SystemTime::now();
    let answers = fleet.everywhere(Phase::Survey, jobs, LIMIT);
    let mut machines = Vec::new();
    for (machine, answer) in answers {
        let mut clock = None;
        let facts = match answer {
            Ok(answer) => match Facts::parse(&answer.output.text()) {
                Ok(facts) => {
                    let began = answer.ended.checked_sub(answer.output.took);
                    clock = facts.clock_offset(began.unwrap_or(sent), answer.ended);
                    Ok(facts)
                }
                Err(garbled) => Err(Problem {
                    machine: Some(machine.name.clone()),
                    kind: ProblemKind::Unknown,
                    message: garbled.to_string(),
                    remedy: None,
                }),
            },
            Err(error) => Err(problem_of(&machine.name, &error)),
        };
        machines.push(Surveyed {
            name: machine.name.clone(),
            facts,
            clock,
            outlooks: Vec::new(),
        });
    }
    look_at_storage(desired, &mut machines, fleet);
    Survey { machines }
}

/// What is left to be prepared can be asked where it does not take a running cluster, or one runs.
fn look_at_storage(desired: &Desired, machines: &mut [Surveyed], fleet: &mut Fleet<'_>) {
    for surveyed in machines {
        let (Ok(facts), Some(wanted)) = (&surveyed.facts, desired.machine(&surveyed.name)) else {
            continue;
        };
        let running = matches!(facts.corosync, Corosync::Running { .. }) && facts.pacemaker;
        let mut waits = false;
        for step in &wanted.preparations {
            // A step stands on those before it: what is not there yet cannot be looked at.
            let outlook = if waits || (step.clustered && !running) {
                Outlook::later(step)
            } else {
                preparation::look(&wanted.machine, step, fleet)
            };
            waits |= matches!(outlook.state, State::ToDo | State::Later);
            surveyed.outlooks.push(outlook);
        }
    }
}

fn problem_of(machine: &str, error: &TransportError) -> Problem {
    let (kind, remedy) = match error {
        TransportError::Unreachable { .. } => (ProblemKind::Unreachable, None),
        TransportError::Refused { .. } => (
            ProblemKind::Refused,
            Some(
                "it must be possible to log in with `ssh` without being asked anything".to_owned(),
            ),
        ),
        TransportError::Unknown { .. } => (ProblemKind::Unknown, None),
        _ => (ProblemKind::Unfit, None),
    };
    Problem {
        machine: Some(machine.to_owned()),
        kind,
        message: error.to_string(),
        remedy,
    }
}

/// What is looked for on a machine.
fn look(wanted: &Wanted) -> Look {
    let mut look = Look {
        programs: wanted
            .programs
            .iter()
            .map(|name| (name.clone(), None))
            .collect(),
        units: [units(wanted), wanted.disabled.clone()].concat(),
        addresses: wanted.addresses.iter().map(ToString::to_string).collect(),
        cluster: wanted.is_node(),
        ..Look::default()
    };
    if wanted.is_node() {
        look.programs.extend([
            ("corosync".to_owned(), Some("-v")),
            ("pacemakerd".to_owned(), Some("--version")),
        ]);
        for tool in [
            "corosync-cfgtool",
            "corosync-cmapctl",
            "cibadmin",
            "crm_verify",
            "crm_mon",
        ] {
            look.programs.push((tool.to_owned(), None));
        }
    }
    for file in &wanted.files {
        let path = file.path.to_string_lossy().into_owned();
        let shown = may_be_shown(file) && path != CIB;
        if let Some(Effect::ReloadUnit(unit)) = effect::of_path(&path)
            && !look.units.contains(&unit)
        {
            look.units.push(unit);
        }
        look.files.push((path, checksum(&file.bytes), shown));
        let owner = (file.owner.user(), file.owner.group());
        if !look.owners.contains(&owner) {
            look.owners.push(owner);
        }
    }
    if wanted.is_node() && wanted.file(COROSYNC_CONF).is_none() {
        look.files
            .push((COROSYNC_CONF.to_owned(), "-".to_owned(), true));
    }
    look
}

/// Every unit that must run on a machine, in the order in which they start.
pub(crate) fn units(wanted: &Wanted) -> Vec<String> {
    let mut units = wanted.units.clone();
    if wanted.is_node() {
        for unit in [COROSYNC, PACEMAKER] {
            if !units.iter().any(|known| known == unit) {
                units.push(unit.to_owned());
            }
        }
    }
    units
}
