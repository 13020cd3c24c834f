//! From what is and what should be to what has to be done. Pure: nothing is asked, nothing changed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::assess::{self, configured, has_package_default, has_saved_cib};
use crate::cib::{self, CibChange};
use crate::corosync::{Conf, Need};
use crate::desired::{
    CIB, COROSYNC, COROSYNC_CONF, Desired, PACEMAKER, Wanted, checksum, may_be_shown,
};
use crate::effect::{self, Effect};
use crate::error::Error;
use crate::facts::{Corosync, Facts, Found};
use crate::machine::Role;
use crate::options::Options;
use crate::preparation::State;
use crate::survey::{Survey, units};

/// Everything that will be done, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The cluster.
    pub cluster: String,
    /// What will be done on each machine, hosts first; machines on which nothing is to be done too.
    pub machines: Vec<MachinePlan>,
    /// The cluster's daemons run on these nodes already.
    pub running: Vec<String>,
    /// They will be started on these.
    pub starting: Vec<String>,
    /// Whether running daemons must be restarted.
    pub restart: Option<Restart>,
    /// What becomes of Pacemaker's configuration.
    pub configuration: Configuration,
    /// What deserves attention.
    pub warnings: Vec<String>,
}

/// What will be done on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MachinePlan {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Files that are written.
    pub files: Vec<FilePlan>,
    /// Units that are disabled: Pacemaker starts what they would.
    pub disable: Vec<String>,
    /// Units that are enabled.
    pub enable: Vec<String>,
    /// Units that are started.
    pub start: Vec<String>,
    /// What changed files make necessary, those of an interrupted apply included.
    pub effects: Vec<Effect>,
    /// Whether the one-node cluster that its package came with is stopped and put aside.
    pub replaces_package_default: bool,
    /// Storage that is prepared.
    pub prepare: Vec<String>,
    /// Whether there are leftovers of an interrupted apply to be removed.
    pub leftovers: bool,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FilePlan {
    /// Where it is.
    pub path: String,
    /// What is done.
    pub action: Action,
    /// Whether its content is shown to nobody.
    pub secret: bool,
    /// The change as a unified diff, where the content may be seen.
    pub diff: Option<String>,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// There is none yet.
    Create,
    /// Its content changes.
    Replace,
    /// Only its mode or owner changes.
    Protect,
}

/// A restart of running daemons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// Whether all nodes must be stopped together, so that services stand still meanwhile. Otherwise one
    /// node after the other is restarted, and services move.
    pub together: bool,
    /// The nodes that are restarted.
    pub nodes: Vec<String>,
    /// What makes it necessary.
    pub reasons: Vec<String>,
}

/// What becomes of Pacemaker's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Configuration {
    /// The running one is the wanted one.
    Same,
    /// The cluster starts for the first time, with the wanted one.
    Fresh,
    /// It is compared, and replaced if it differs, once the cluster runs.
    AfterStart,
    /// The running one is replaced.
    Replace(CibChange),
}

impl Plan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.iter().all(MachinePlan::is_empty)
            && self.starting.is_empty()
            && self.restart.is_none()
            && self.configuration == Configuration::Same
    }

    /// Refuses what the options do not allow.
    pub(crate) fn permit(&self, options: &Options) -> Result<(), Error> {
        match &self.restart {
            Some(restart) if !options.restart => Err(Error::NeedsRestart {
                what: restart.describe(),
                reasons: restart.reasons.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl Restart {
    /// How, in words.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        if self.together {
            "all nodes together"
        } else {
            "one node after the other"
        }
    }
}

impl MachinePlan {
    /// Whether nothing is to be done on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.disable.is_empty()
            && self.enable.is_empty()
            && self.start.is_empty()
            && self.effects.is_empty()
            && self.prepare.is_empty()
            && !self.replaces_package_default
            && !self.leftovers
    }
}

/// Plans.
pub(crate) fn plan(desired: &Desired, survey: &Survey, options: &Options) -> Result<Plan, Error> {
    let mut problems = assess::problems(desired, survey, options);
    let running: Vec<String> = names(desired, survey, |facts| runs_ours(facts, desired));
    let fresh = running.is_empty() && !names_any(desired, survey, has_saved_cib);
    let mut reasons = BTreeSet::new();
    let mut machines = Vec::new();
    for wanted in desired.hosts().chain(desired.nodes()) {
        if let Some(facts) = survey.facts(&wanted.machine.name) {
            let mut machine = of_machine(wanted, facts, fresh, &mut reasons, desired);
            machine.prepare = to_prepare(survey, &machine.name);
            machines.push(machine);
        }
    }
    let configuration = match configuration(desired, survey, &running, fresh) {
        Ok(configuration) => configuration,
        Err(problem) => {
            problems.push(problem);
            Configuration::Same
        }
    };
    if !problems.is_empty() {
        return Err(Error::Problems(problems));
    }
    let starting = desired
        .nodes()
        .map(|node| node.machine.name.clone())
        .filter(|name| {
            survey
                .facts(name)
                .is_some_and(|facts| !(runs_ours(facts, desired) && facts.pacemaker))
        })
        .collect();
    let mut warnings = assess::warnings(desired, survey);
    warnings.extend(grown_apart(desired, survey, &running));
    warnings.extend(left_behind(desired, survey, &running));
    Ok(Plan {
        cluster: desired.cluster.clone(),
        restart: restart(&machines, &running, reasons),
        machines,
        running,
        starting,
        configuration,
        warnings,
    })
}

fn names(desired: &Desired, survey: &Survey, keep: impl Fn(&Facts) -> bool) -> Vec<String> {
    desired
        .nodes()
        .map(|node| &node.machine.name)
        .filter(|name| survey.facts(name).is_some_and(&keep))
        .cloned()
        .collect()
}

fn names_any(desired: &Desired, survey: &Survey, keep: impl Fn(&Facts) -> bool) -> bool {
    !names(desired, survey, keep).is_empty()
}

/// Whether the machine is a running member of the wanted cluster.
fn runs_ours(facts: &Facts, desired: &Desired) -> bool {
    matches!(&facts.corosync, Corosync::Running { name, .. } if *name == desired.cluster)
        && !has_package_default(facts)
}

/// Nodes that run and do not see each other: nothing to be mended by files.
fn grown_apart(desired: &Desired, survey: &Survey, running: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for node in desired.nodes() {
        let Some(facts) = survey.facts(&node.machine.name) else {
            continue;
        };
        if let Corosync::Running { joined, .. } = &facts.corosync {
            let unseen: Vec<_> = running
                .iter()
                .filter(|name| !joined.contains(name))
                .map(String::as_str)
                .collect();
            if !unseen.is_empty() && running.contains(&node.machine.name) {
                out.push(format!(
                    "{}: it does not see {}, though the cluster's daemons run there",
                    node.machine.name,
                    unseen.join(", ")
                ));
            }
        }
    }
    out
}

/// Former members, which Pacemaker shows as offline until it is told to forget them.
fn left_behind(desired: &Desired, survey: &Survey, running: &[String]) -> Vec<String> {
    let live = running
        .iter()
        .find_map(|name| survey.facts(name)?.cib.as_ref());
    let members = live.map_or_else(Vec::new, |live| cib::members(&live.xml));
    members
        .into_iter()
        .filter(|name| !desired.nodes().any(|node| node.machine.name == *name))
        .map(|name| {
            format!("{name} is no longer defined, and Pacemaker still knows it; once it is switched off for good, `crm_node --force --remove {name}` on a node makes it forget")
        })
        .collect()
}

fn of_machine(
    wanted: &Wanted,
    facts: &Facts,
    fresh: bool,
    reasons: &mut BTreeSet<String>,
    desired: &Desired,
) -> MachinePlan {
    let replaces = wanted.is_node() && has_package_default(facts);
    let running = wanted.is_node() && runs_ours(facts, desired);
    let files: Vec<_> = wanted
        .files
        .iter()
        .filter(|file| fresh || file.path.as_os_str() != CIB)
        .filter_map(|file| of_file(file, facts, replaces))
        .collect();
    let mut effects: BTreeSet<Effect> = facts.pending.iter().cloned().collect();
    for file in files.iter().filter(|file| file.action != Action::Protect) {
        effects.extend(effect_of(file, wanted, facts, running, reasons));
    }
    if running {
        for effect in &facts.pending {
            if matches!(effect, Effect::RestartNode | Effect::RestartCluster) {
                reasons.insert(format!(
                    "{}: an interrupted apply has left a restart to be done",
                    wanted.machine.name
                ));
            }
        }
    }
    let state = |unit: &String| facts.units.get(unit);
    let units = units(wanted);
    let pick = |is: &dyn Fn(&crate::facts::UnitState) -> bool| -> Vec<String> {
        let misses = |unit: &&String| state(unit).is_some_and(|state| !is(state));
        units.iter().filter(misses).cloned().collect()
    };
    let mut start = pick(&crate::facts::UnitState::is_active);
    if replaces {
        // They run, and are stopped before they start as members of the wanted cluster.
        for unit in [COROSYNC, PACEMAKER] {
            if !start.iter().any(|known| known == unit) {
                start.push(unit.to_owned());
            }
        }
    }
    MachinePlan {
        name: wanted.machine.name.clone(),
        role: wanted.machine.role,
        files,
        disable: to_disable(wanted, facts),
        enable: pick(&crate::facts::UnitState::is_enabled),
        start,
        effects: effects.into_iter().collect(),
        replaces_package_default: replaces,
        prepare: Vec::new(),
        leftovers: !facts.journals.is_empty(),
    }
}

fn to_disable(wanted: &Wanted, facts: &Facts) -> Vec<String> {
    let starts_at_boot = |unit: &&String| {
        facts
            .units
            .get(*unit)
            .is_some_and(|state| state.enabled == "enabled")
    };
    wanted
        .disabled
        .iter()
        .filter(starts_at_boot)
        .cloned()
        .collect()
}

fn of_file(file: &cluster::File, facts: &Facts, replaces: bool) -> Option<FilePlan> {
    let path = file.path.to_string_lossy().into_owned();
    let secret = !may_be_shown(file);
    let shown = |old: &[u8]| (!secret).then(|| diff(&path, old, &file.bytes));
    let (action, diff) = match facts.files.get(&path)? {
        // What is put aside with the package's cluster is gone by then.
        Found::Regular { .. } if replaces && path == CIB => (Action::Create, None),
        Found::Absent => (Action::Create, shown(b"")),
        Found::Regular {
            sum,
            mode,
            user,
            group,
            text,
        } => {
            if *sum != checksum(&file.bytes) {
                (Action::Replace, text.as_deref().and_then(shown))
            } else if *mode != file.mode || user != file.owner.user() || group != file.owner.group()
            {
                (Action::Protect, None)
            } else {
                return None;
            }
        }
        Found::Link | Found::Other => return None,
    };
    Some(FilePlan {
        path,
        action,
        secret,
        diff,
    })
}

fn diff(path: &str, old: &[u8], new: &[u8]) -> String {
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    similar::TextDiff::from_lines(&*old, &*new)
        .unified_diff()
        .context_radius(3)
        .header(&format!("{path} (now)"), &format!("{path} (planned)"))
        .to_string()
}

/// What the change of a file makes necessary; where that is a restart, also why.
fn effect_of(
    file: &FilePlan,
    wanted: &Wanted,
    facts: &Facts,
    running: bool,
    reasons: &mut BTreeSet<String>,
) -> Option<Effect> {
    let effect = if file.path == COROSYNC_CONF {
        let new = wanted.file(COROSYNC_CONF)?;
        let new = Conf::parse(&String::from_utf8_lossy(&new.bytes));
        match configured(facts)?.until(&new) {
            Need::Nothing => return None,
            Need::Reload => Effect::ReloadCorosync,
            Need::Restart(why) => {
                if running {
                    reasons.extend(why);
                }
                Effect::RestartCluster
            }
        }
    } else if wanted.is_node() {
        effect::of_path(&file.path)?
    } else {
        // All that a host is given is read by its one daemon, when that starts.
        Effect::ReloadUnit(wanted.units.first()?.clone())
    };
    match &effect {
        Effect::ReloadUnit(unit) => {
            let active = facts.units.get(unit).is_some_and(|state| state.is_active());
            active.then_some(effect)
        }
        // It has read the former ones, whatever runs.
        Effect::ReloadSystemd => Some(effect),
        _ if !running => None,
        Effect::RestartNode | Effect::RestartCluster => {
            if file.path != COROSYNC_CONF {
                reasons.insert(format!("{} changes", file.path));
            }
            Some(effect)
        }
        Effect::ReloadCorosync => Some(effect),
    }
}

fn to_prepare(survey: &Survey, name: &str) -> Vec<String> {
    let surveyed = survey.machines.iter().find(|machine| machine.name == name);
    surveyed
        .into_iter()
        .flat_map(|machine| &machine.outlooks)
        .filter(|outlook| matches!(outlook.state, State::ToDo | State::Later))
        .map(|outlook| outlook.title.clone())
        .collect()
}

fn restart(
    machines: &[MachinePlan],
    running: &[String],
    reasons: BTreeSet<String>,
) -> Option<Restart> {
    let having = |wanted: Effect| -> Vec<String> {
        machines
            .iter()
            .filter(|machine| machine.effects.contains(&wanted) && running.contains(&machine.name))
            .map(|machine| machine.name.clone())
            .collect()
    };
    let together = !having(Effect::RestartCluster).is_empty();
    let nodes = if together {
        running.to_vec()
    } else {
        having(Effect::RestartNode)
    };
    (!nodes.is_empty()).then(|| Restart {
        together,
        nodes,
        reasons: reasons.into_iter().collect(),
    })
}

fn configuration(
    desired: &Desired,
    survey: &Survey,
    running: &[String],
    fresh: bool,
) -> Result<Configuration, crate::error::Problem> {
    let wrong = |message: String| crate::error::Problem {
        machine: None,
        kind: crate::error::ProblemKind::Definition,
        message,
        remedy: None,
    };
    let Some(wanted) = desired.cib() else {
        return Ok(Configuration::Same);
    };
    let wanted = cib::configuration(&wanted.bytes).map_err(|error| {
        wrong(format!(
            "the configuration for Pacemaker is no XML: {error}"
        ))
    })?;
    if fresh {
        return Ok(Configuration::Fresh);
    }
    let live = running
        .iter()
        .find_map(|name| survey.facts(name)?.cib.as_ref());
    let Some(live) = live else {
        return Ok(Configuration::AfterStart);
    };
    let replacement = cib::replacement(&live.xml, &wanted)
        .map_err(|error| wrong(format!("Pacemaker's configuration cannot be read: {error}")))?;
    Ok(replacement.map_or(Configuration::Same, |replacement| {
        Configuration::Replace(replacement.change)
    }))
}
