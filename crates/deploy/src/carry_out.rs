//! Doing what a plan says, in the order in which it is safe.
//!
//! ```text
//!   stage ─▶ verify ─▶ (stop the package's own cluster) ─▶ install
//!     │        │                                             │  any failure up to here: the former
//!     └────────┴─────────────────────────────────────────────┘  files come back on every machine
//!   hosts ─▶ storage without the cluster ─▶ stop all, if all must ─▶ reload ─▶ start
//!         ─▶ restart one by one, if they must ─▶ configuration ─▶ storage that needs the cluster
//!         ─▶ health ─▶ finish                      a failure from here on is reported, and the journal
//!                                                  on the machines makes the next apply go on
//! ```

use std::time::{Duration, Instant};

use crate::cib::{self, Replacement};
use crate::corosync::Conf;
use crate::desired::{
    CIB, COROSYNC, COROSYNC_CONF, COROSYNC_KEY, Desired, PACEMAKER, Preparation, Wanted, checksum,
};
use crate::effect::Effect;
use crate::error::{Error, Failure};
use crate::event::Phase;
use crate::facts;
use crate::fleet::Fleet;
use crate::health::{self, Lacks};
use crate::machine::Machine;
use crate::operation::{Check, Operation, Orders, Staged};
use crate::plan::{Configuration, MachinePlan, Plan};
use crate::preparation::{self, State};
use crate::transport::{Command, TransportError};

/// The most that copying and checking files may take.
const FILES: Duration = Duration::from_secs(120);
/// The most that starting or stopping daemons may take: resources are moved meanwhile.
const DAEMONS: Duration = Duration::from_secs(600);
/// The most that Pacemaker may take until it has nothing more to do; what is not ready by then shows.
const SETTLE: Duration = Duration::from_secs(120);
/// After how many looks that see the same resources missing Pacemaker is told to try again.
const PATIENCE: usize = 15;
/// The most that one question may take.
const QUESTION: Duration = Duration::from_secs(60);

/// Carries `plan` out. `by` names who does it, for the record on the machines. Says what does not run in
/// the end because an administrator keeps it from running.
pub(crate) fn carry_out(
    desired: &Desired,
    plan: &Plan,
    by: &str,
    fleet: &mut Fleet<'_>,
) -> Result<Vec<String>, Error> {
    let id = new_id()?;
    let mut run = Run {
        desired,
        plan,
        id,
        by,
        fleet,
        changed: false,
    };
    run.put_files()?;
    run.hosts()?;
    run.prepare(false)?;
    run.stop_all()?;
    run.reload()?;
    run.start()?;
    run.restart_one_by_one()?;
    run.configure()?;
    run.prepare(true)?;
    let held = run.health()?;
    run.finish()?;
    Ok(held)
}

/// Sixteen hexadecimal digits that no other apply has.
fn new_id() -> Result<String, Error> {
    let number = getrandom::u64()
        .map_err(|error| Error::Local(format!("the system gives no random numbers: {error}")))?;
    Ok(format!("{number:016x}"))
}

struct Run<'a, 'f> {
    desired: &'a Desired,
    plan: &'a Plan,
    id: String,
    by: &'a str,
    fleet: &'a mut Fleet<'f>,
    /// Whether anything has taken effect.
    changed: bool,
}

impl<'a> Run<'a, '_> {
    fn begin(&self, phase: Phase) -> Result<(), Error> {
        self.fleet.may_begin(phase, self.changed)
    }

    /// Machines with what is wanted of them and what is planned for them.
    fn machines(&self) -> impl Iterator<Item = (&'a Wanted, &'a MachinePlan)> + use<'a> {
        let (desired, plan) = (self.desired, self.plan);
        plan.machines
            .iter()
            .filter_map(move |machine| Some((desired.machine(&machine.name)?, machine)))
    }

    fn nodes(&self) -> impl Iterator<Item = (&'a Wanted, &'a MachinePlan)> + use<'a> {
        self.machines().filter(|(wanted, _)| wanted.is_node())
    }

    /// An operation after which something counts: its failure is not undone.
    fn act(
        &mut self,
        phase: Phase,
        jobs: Vec<(&Machine, Operation)>,
        limit: Duration,
    ) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.begin(phase)?;
        self.changed = true;
        self.fleet
            .all(phase, jobs, limit)
            .map_err(|failures| Error::Incomplete { phase, failures })
    }

    // Files.

    fn put_files(&mut self) -> Result<(), Error> {
        let writing: Vec<_> = self
            .machines()
            .filter(|(_, machine)| !machine.files.is_empty())
            .collect();
        let mut phase = Phase::Stage;
        let mut touched = Vec::new();
        let outcome = self.stage_and_install(&writing, &mut phase, &mut touched);
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Incomplete { failures, .. }) => {
                Err(self.roll_back(&touched, phase, failures))
            }
            Err(other) => {
                let undone = self.roll_back(&touched, phase, Vec::new());
                Err(match undone {
                    Error::RolledBack { .. } => other,
                    undone => undone,
                })
            }
        }
    }

    fn stage_and_install(
        &mut self,
        writing: &[(&'a Wanted, &'a MachinePlan)],
        phase: &mut Phase,
        touched: &mut Vec<&'a Machine>,
    ) -> Result<(), Error> {
        self.begin(*phase)?;
        touched.extend(writing.iter().map(|(wanted, _)| &wanted.machine));
        let staging = writing.iter().map(|(wanted, machine)| {
            let files = staged(wanted, machine);
            let id = self.id.clone();
            (&wanted.machine, Operation::Stage { id, files })
        });
        self.step(*phase, staging.collect())?;

        *phase = Phase::Verify;
        self.begin(*phase)?;
        let checking = writing.iter().filter_map(|(wanted, machine)| {
            let checks = checks(machine);
            let id = self.id.clone();
            (!checks.is_empty()).then_some((&wanted.machine, Operation::Verify { id, checks }))
        });
        self.step(*phase, checking.collect())?;
        self.step(*phase, self.judging())?;

        *phase = Phase::Stop;
        self.begin(*phase)?;
        self.step(*phase, self.package_defaults())?;

        *phase = Phase::Install;
        self.begin(*phase)?;
        let installing = writing.iter().map(|(wanted, machine)| {
            let (id, effects) = (self.id.clone(), machine.effects.clone());
            (&wanted.machine, Operation::Install { id, effects })
        });
        self.step(*phase, installing.collect())?;
        self.changed |= !writing.is_empty();
        Ok(())
    }

    /// A configuration that is not installed as a file is judged as well, by one node.
    fn judging(&self) -> Vec<(&'a Machine, Operation)> {
        let given = match self.plan.configuration {
            Configuration::Same | Configuration::Fresh => None,
            Configuration::AfterStart | Configuration::Replace(_) => self.desired.cib(),
        };
        given
            .zip(self.nodes().next())
            .map(|(file, (wanted, _))| {
                let xml = file.bytes.clone();
                (&wanted.machine, Operation::Judge { xml })
            })
            .into_iter()
            .collect()
    }

    fn step(&mut self, phase: Phase, jobs: Vec<(&Machine, Operation)>) -> Result<(), Error> {
        self.fleet
            .all(phase, jobs, FILES)
            .map_err(|failures| Error::Incomplete { phase, failures })
    }

    /// The one-node clusters that packages come with give way. That is not undone: nobody used them.
    fn package_defaults(&self) -> Vec<(&'a Machine, Operation)> {
        self.nodes()
            .filter(|(_, machine)| machine.replaces_package_default)
            .map(|(wanted, _)| {
                let orders = Orders {
                    stop: vec![PACEMAKER.to_owned(), COROSYNC.to_owned()],
                    put_aside: true,
                    ..Orders::default()
                };
                (&wanted.machine, Operation::Units(orders))
            })
            .collect()
    }

    /// Puts the former files back wherever they may have been replaced. A machine that cannot be reached
    /// now keeps its journal, and the next apply goes on from there.
    fn roll_back(&mut self, touched: &[&Machine], phase: Phase, failures: Vec<Failure>) -> Error {
        let jobs = touched
            .iter()
            // On a machine that could not even be reached for staging nothing has been changed.
            .filter(|machine| {
                phase != Phase::Stage
                    || !failures.iter().any(|failure| {
                        failure.machine == machine.name && failure.error.nothing_ran()
                    })
            })
            .map(|machine| {
                (
                    *machine,
                    Operation::RollBack {
                        id: self.id.clone(),
                    },
                )
            })
            .collect();
        let undone = self.fleet.all(Phase::RollBack, jobs, FILES);
        match undone {
            Ok(()) => Error::RolledBack { phase, failures },
            // Before the installation nothing but copies can be left.
            Err(_) if matches!(phase, Phase::Stage | Phase::Verify) => {
                Error::RolledBack { phase, failures }
            }
            Err(left) => Error::Incomplete {
                phase,
                failures: failures.into_iter().chain(left).collect(),
            },
        }
    }

    // Daemons.

    fn hosts(&mut self) -> Result<(), Error> {
        let jobs = self
            .machines()
            .filter(|(wanted, _)| !wanted.is_node())
            .filter_map(|(wanted, machine)| {
                let orders = orders(machine, |_| true);
                (orders != Orders::default()).then_some((&wanted.machine, Operation::Units(orders)))
            });
        let jobs = jobs.collect();
        self.act(Phase::Hosts, jobs, DAEMONS)
    }

    fn stop_all(&mut self) -> Result<(), Error> {
        let Some(restart) = self
            .plan
            .restart
            .as_ref()
            .filter(|restart| restart.together)
        else {
            return Ok(());
        };
        // Pacemaker stops its resources everywhere first: where Corosync went earlier, nodes would
        // count as lost and be fenced.
        for unit in [PACEMAKER, COROSYNC] {
            let jobs = self
                .nodes()
                .filter(|(wanted, _)| restart.nodes.contains(&wanted.machine.name))
                .map(|(wanted, _)| {
                    let orders = Orders {
                        stop: vec![unit.to_owned()],
                        ..Orders::default()
                    };
                    (&wanted.machine, Operation::Units(orders))
                });
            let jobs = jobs.collect();
            self.act(Phase::Stop, jobs, DAEMONS)?;
        }
        Ok(())
    }

    /// One running node tells all others. It is settled on each that is seen to have it in force: a node
    /// whose own file Corosync refused goes on with the old, and nobody else hears of it.
    fn reload(&mut self) -> Result<(), Error> {
        if self.restarts_together() {
            return Ok(());
        }
        let due: Vec<_> = self
            .nodes()
            .filter(|(wanted, machine)| {
                machine.effects.contains(&Effect::ReloadCorosync)
                    && self.plan.running.contains(&wanted.machine.name)
            })
            .map(|(wanted, _)| &wanted.machine)
            .collect();
        let Some(first) = due.first() else {
            return Ok(());
        };
        let reload = vec![(*first, Operation::ReloadCorosync)];
        self.act(Phase::Reload, reload, QUESTION)?;
        let running = |wanted: &Wanted| self.plan.running.contains(&wanted.machine.name);
        let jobs = self
            .nodes()
            .filter(|(wanted, _)| running(wanted))
            .filter_map(|(wanted, _)| Some((&wanted.machine, in_force(wanted)?)));
        let jobs = jobs.collect();
        self.act(Phase::Reload, jobs, QUESTION)
    }

    fn restarts_together(&self) -> bool {
        self.plan
            .restart
            .as_ref()
            .is_some_and(|restart| restart.together)
    }

    fn restarts_alone(&self, name: &str) -> bool {
        self.plan.restart.as_ref().is_some_and(|restart| {
            !restart.together && restart.nodes.iter().any(|node| node == name)
        })
    }

    fn start(&mut self) -> Result<(), Error> {
        let together = self.restarts_together();
        let jobs = self.nodes().filter_map(|(wanted, machine)| {
            let name = &wanted.machine.name;
            let stopped =
                self.plan.starting.contains(name) || (together && self.plan.running.contains(name));
            let mut orders = orders(machine, |effect| match effect {
                Effect::ReloadUnit(_) | Effect::ReloadSystemd => true,
                // A daemon that starts reads everything.
                _ => stopped && !self.restarts_alone(name),
            });
            if stopped {
                for unit in [COROSYNC, PACEMAKER] {
                    if !orders.start.iter().any(|known| known == unit) {
                        orders.start.push(unit.to_owned());
                    }
                }
            }
            (orders != Orders::default()).then_some((&wanted.machine, Operation::Units(orders)))
        });
        let jobs = jobs.collect();
        self.act(Phase::Start, jobs, DAEMONS)
    }

    fn restart_one_by_one(&mut self) -> Result<(), Error> {
        let nodes: Vec<_> = self
            .nodes()
            .filter(|(wanted, _)| self.restarts_alone(&wanted.machine.name))
            .collect();
        if nodes.is_empty() {
            return Ok(());
        }
        // Taking a node from a cluster that is not well may take its services.
        self.wait_until_whole()?;
        for (wanted, _) in nodes {
            let units = vec![COROSYNC.to_owned(), PACEMAKER.to_owned()];
            let orders = Orders {
                stop: units.iter().rev().cloned().collect(),
                start: units,
                settle: vec![Effect::RestartNode, Effect::ReloadCorosync],
                ..Orders::default()
            };
            let job = (&wanted.machine, Operation::Units(orders));
            self.act(Phase::Restart, vec![job], DAEMONS)?;
            self.wait_until_whole()?;
        }
        Ok(())
    }

    // Pacemaker's configuration.

    fn configure(&mut self) -> Result<(), Error> {
        // What was started afresh has the wanted one, unless an earlier, interrupted start had another.
        if self.plan.configuration == Configuration::Same && self.plan.starting.is_empty() {
            return Ok(());
        }
        let (Some(wanted), Some(node)) = (self.desired.cib(), self.nodes().next()) else {
            return Ok(());
        };
        let machine = &node.0.machine;
        let wanted = cib::configuration(&wanted.bytes)
            .map_err(|error| failed(Phase::Configure, machine, error))?;
        let live = self.read_cib(machine)?;
        let replacement = cib::replacement(&live.xml, &wanted)
            .map_err(|error| failed(Phase::Configure, machine, error))?;
        let Some(Replacement { xml, .. }) = replacement else {
            return Ok(());
        };
        let operation = Operation::Configure {
            version: live.version,
            xml: xml.into_bytes(),
        };
        self.act(Phase::Configure, vec![(machine, operation)], QUESTION)
    }

    /// Waits until Pacemaker answers with its configuration.
    fn read_cib(&mut self, machine: &Machine) -> Result<facts::LiveCib, Error> {
        let phase = Phase::Configure;
        loop {
            self.begin(phase)?;
            let asked = self
                .fleet
                .ask(machine, &Command::of(Operation::ReadCib), QUESTION);
            let said = match asked {
                Ok(output) => match facts::parse_cib(&output.text()) {
                    Ok(Some(cib)) => return Ok(cib),
                    Ok(None) => "Pacemaker does not answer".to_owned(),
                    Err(garbled) => return Err(failed(phase, machine, garbled.to_string())),
                },
                Err(error) => error.to_string(),
            };
            if !self.fleet.wait() {
                return Err(failed(phase, machine, said));
            }
        }
    }

    // Storage.

    fn prepare(&mut self, clustered: bool) -> Result<(), Error> {
        let began = Instant::now();
        let mut prepared = false;
        for (wanted, machine) in self.machines() {
            for step in &wanted.preparations {
                if step.clustered == clustered && machine.prepare.contains(&step.title) {
                    if clustered && !prepared {
                        self.settle(&wanted.machine)?;
                    }
                    prepared = true;
                    self.prepare_one(&wanted.machine, step)?;
                }
            }
        }
        if prepared {
            self.fleet.ended(Phase::Storage, began, true);
        }
        Ok(())
    }

    /// Lock managers are resources: what stands on them can be looked at once Pacemaker has started all
    /// that it can. The file systems that are missing yet it cannot.
    fn settle(&mut self, machine: &Machine) -> Result<(), Error> {
        let phase = Phase::Storage;
        loop {
            self.begin(phase)?;
            let lacks = look_at_members(self.desired, self.fleet);
            if lacks.is_empty() {
                break;
            }
            if !self.fleet.wait() {
                return Err(failed(phase, machine, lacks.join(", ")));
            }
        }
        let settle = Command::of(Operation::Settle);
        match self.fleet.ask(machine, &settle, SETTLE) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(phase, machine, error.to_string())),
        }
    }

    fn prepare_one(&mut self, machine: &Machine, step: &Preparation) -> Result<(), Error> {
        let phase = Phase::Storage;
        loop {
            self.begin(phase)?;
            match preparation::look(machine, step, self.fleet).state {
                State::Done => return Ok(()),
                State::ToDo => break,
                State::Refused(reason) => return Err(failed(phase, machine, reason)),
                State::Later if self.fleet.wait() => {}
                State::Later => {
                    let detail = format!("what it takes to {} does not run", step.title);
                    return Err(failed(phase, machine, detail));
                }
            }
        }
        self.changed = true;
        self.fleet.say(phase, step.title.clone());
        let command = preparation::command(step, "do");
        match self.fleet.ask(machine, &command, preparation::LIMIT) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Incomplete {
                phase,
                failures: vec![Failure {
                    machine: machine.name.clone(),
                    error,
                }],
            }),
        }
    }

    // The end.

    fn health(&mut self) -> Result<Vec<String>, Error> {
        self.wait_until_healthy(Phase::Health)
    }

    /// Before and after each restart: what a restarted node leaves may have nowhere to start while an
    /// administrator holds something, and waiting does not change that.
    fn wait_until_whole(&mut self) -> Result<(), Error> {
        let held = self.wait_until_healthy(Phase::Restart)?;
        if held.is_empty() {
            Ok(())
        } else {
            Err(Error::Held { held })
        }
    }

    /// Waits until nothing is missing but what an administrator holds; that it says.
    fn wait_until_healthy(&mut self, phase: Phase) -> Result<Vec<String>, Error> {
        let (began, limit) = (Instant::now(), self.fleet.options.timeout);
        let mut said = String::new();
        let mut repeated = 0;
        loop {
            self.begin(phase)?;
            let lacks = look_at_health(self.desired, self.fleet);
            if lacks.missing.is_empty() {
                self.fleet.ended(phase, began, true);
                return Ok(lacks.held);
            }
            let waiting_for = [lacks.missing, lacks.held].concat();
            let now = waiting_for.join(", ");
            if now == said {
                repeated += 1;
            } else {
                self.fleet.say(phase, now.clone());
                said = now;
                repeated = 0;
            }
            if repeated == PATIENCE && waiting_for.iter().all(|lack| lack.starts_with("resource")) {
                self.retry(phase);
            }
            if !self.fleet.wait() {
                return Err(Error::Unhealthy {
                    after: limit,
                    waiting_for,
                });
            }
        }
    }

    /// What failed while machines were still being changed, a fencing device say whose host was not ready
    /// yet, is never tried again by Pacemaker itself. Once it is told to; what fails then fails rightly.
    fn retry(&mut self, phase: Phase) {
        let Some((wanted, _)) = self.nodes().next() else {
            return;
        };
        self.fleet
            .say(phase, "letting Pacemaker try again what failed");
        let asked = self
            .fleet
            .ask(&wanted.machine, &Command::of(Operation::Retry), QUESTION);
        if let Err(error) = asked {
            self.fleet
                .say(phase, format!("{wanted}: {error}", wanted = wanted.machine));
        }
    }

    /// Writes down what was applied where anything was done, and removes the copies.
    fn finish(&mut self) -> Result<(), Error> {
        let record = format!(
            "cluster {}\nkeys {}\nid {}\nby {}\n",
            self.desired.cluster, self.desired.keys, self.id, self.by
        );
        let jobs = self
            .machines()
            .filter(|(_, machine)| !machine.is_empty())
            .map(|(wanted, _)| {
                let (id, record) = (self.id.clone(), record.clone());
                (&wanted.machine, Operation::Finish { id, record })
            });
        let jobs = jobs.collect();
        self.act(Phase::Finish, jobs, QUESTION)
    }
}

/// What the cluster lacks in members, whatever its resources do.
fn look_at_members(desired: &Desired, fleet: &Fleet<'_>) -> Vec<String> {
    look_at(desired, &[], fleet).missing
}

/// What the cluster lacks, asked on the first node that answers.
pub(crate) fn look_at_health(desired: &Desired, fleet: &Fleet<'_>) -> Lacks {
    let expected = match desired.cib().map(|file| cib::configuration(&file.bytes)) {
        None => Vec::new(),
        Some(Ok(configuration)) => health::expected(&configuration),
        // What should run is not known, so whether it runs is not either.
        Some(Err(error)) => {
            return Lacks::missing(format!("the wanted configuration is no XML: {error}"));
        }
    };
    look_at(desired, &expected, fleet)
}

fn look_at(desired: &Desired, expected: &[observe::Expected], fleet: &Fleet<'_>) -> Lacks {
    let names: Vec<&str> = desired
        .nodes()
        .map(|node| node.machine.name.as_str())
        .collect();
    let mut silent = Vec::new();
    for node in desired.nodes() {
        let asked = fleet.ask(&node.machine, &Command::of(Operation::Health), QUESTION);
        let name = &node.machine.name;
        match asked.map(|output| facts::parse_monitor(&output.text())) {
            Ok(Ok(Some(monitor))) => {
                return health::lacks(&monitor, &names, expected).unwrap_or_else(|error| {
                    Lacks::missing(format!("{name}: crm_mon is not understood: {error}"))
                });
            }
            Ok(Ok(None)) => silent.push(format!("Pacemaker does not answer on {name}")),
            Ok(Err(garbled)) => silent.push(format!("{name}: {garbled}")),
            Err(error) => silent.push(format!("{name}: {error}")),
        }
    }
    Lacks {
        missing: silent,
        held: Vec::new(),
    }
}

fn failed(phase: Phase, machine: &Machine, detail: String) -> Error {
    Error::Incomplete {
        phase,
        failures: vec![Failure {
            machine: machine.name.clone(),
            error: TransportError::Failed { status: 1, detail },
        }],
    }
}

/// The files that a plan writes, with their content.
fn staged(wanted: &Wanted, machine: &MachinePlan) -> Vec<Staged> {
    machine
        .files
        .iter()
        .filter_map(|planned| {
            let file = wanted.file(&planned.path)?;
            Some(Staged {
                path: planned.path.clone(),
                mode: file.mode,
                user: file.owner.user(),
                group: file.owner.group(),
                sum: checksum(&file.bytes),
                bytes: file.bytes.clone(),
            })
        })
        .collect()
}

/// What the machine's own programs can judge.
fn checks(machine: &MachinePlan) -> Vec<Check> {
    let number = |path: &str| machine.files.iter().position(|file| file.path == path);
    let mut out = Vec::new();
    if let Some(conf) = number(COROSYNC_CONF) {
        let key = number(COROSYNC_KEY);
        out.push(Check::Corosync { conf, key });
    }
    out.extend(number(CIB).map(Check::Cib));
    out
}

/// Whether a node's Corosync has its file in force.
fn in_force(wanted: &Wanted) -> Option<Operation> {
    let conf = wanted.file(COROSYNC_CONF)?;
    let conf = Conf::parse(&String::from_utf8_lossy(&conf.bytes));
    Some(Operation::InForce {
        settings: conf.in_force(),
        settle: vec![Effect::ReloadCorosync],
    })
}

/// What systemd is to do on a machine besides the cluster's own comings and goings.
fn orders(machine: &MachinePlan, settles: impl Fn(&Effect) -> bool) -> Orders {
    let reload = machine.effects.iter().filter_map(|effect| match effect {
        Effect::ReloadUnit(unit) => Some(unit.clone()),
        _ => None,
    });
    Orders {
        // What runs already goes on: it may be in use.
        reload_systemd: machine.effects.contains(&Effect::ReloadSystemd),
        disable: machine.disable.clone(),
        enable: machine.enable.clone(),
        start: machine.start.clone(),
        reload: reload.collect(),
        settle: machine
            .effects
            .iter()
            .filter(|effect| settles(effect))
            .cloned()
            .collect(),
        ..Orders::default()
    }
}
