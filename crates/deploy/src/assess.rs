//! Are the machines ready? Every problem of every machine, before anything is changed.

use crate::corosync::Conf;
use crate::desired::{CIB, COROSYNC, COROSYNC_CONF, Desired, PACEMAKER, Wanted, is_plain_path};
use crate::error::{Problem, ProblemKind};
use crate::facts::{Corosync, Facts, Found};
use crate::options::Options;
use crate::preparation::State;
use crate::survey::{Survey, Surveyed, units};

/// Free space that must be left, in KiB: the files are small, but half a file is worse than none.
const MIN_SPACE: u64 = 16 << 10;
/// Clocks that differ by more make logs hard to read and certificates invalid, in seconds.
const MAX_OFFSET: f64 = 1.0;

/// Everything that is in the way.
pub(crate) fn problems(desired: &Desired, survey: &Survey, options: &Options) -> Vec<Problem> {
    let mut out = of_desired(desired);
    for surveyed in &survey.machines {
        let Some(wanted) = desired.machine(&surveyed.name) else {
            continue;
        };
        match &surveyed.facts {
            Ok(facts) => {
                let mut found = Findings {
                    machine: &surveyed.name,
                    out: &mut out,
                };
                found.base(facts);
                found.files(wanted, facts);
                found.programs(facts);
                found.units(wanted, facts);
                found.addresses(facts);
                found.storage(surveyed);
                found.keys(desired, facts, options);
                if wanted.is_node() {
                    found.cluster(desired, facts);
                }
            }
            Err(problem) => out.push(problem.clone()),
        }
    }
    out
}

/// What deserves attention, though it is in nobody's way.
pub(crate) fn warnings(desired: &Desired, survey: &Survey) -> Vec<String> {
    let mut out = Vec::new();
    for surveyed in &survey.machines {
        let Ok(facts) = &surveyed.facts else { continue };
        let name = &surveyed.name;
        if let Some((offset, uncertain)) = surveyed.clock
            && offset.abs() - uncertain > MAX_OFFSET
        {
            let way = if offset > 0.0 { "ahead of" } else { "behind" };
            out.push(format!(
                "{name}: its clock is {:.1} s {way} this machine's; set it, with chrony say",
                offset.abs()
            ));
        }
        let is_node = desired.machine(name).is_some_and(Wanted::is_node);
        if is_node && facts.hostname != *name {
            out.push(format!(
                "{name}: it calls itself `{}`; logs will show that name",
                facts.hostname
            ));
        }
        for id in facts.journals.keys() {
            out.push(format!(
                "{name}: an earlier apply ({id}) was interrupted; what it left is taken into account"
            ));
        }
    }
    out
}

fn of_desired(desired: &Desired) -> Vec<Problem> {
    let mut out = Vec::new();
    let mut definition = |machine: &str, message: String| {
        out.push(Problem {
            machine: Some(machine.to_owned()),
            kind: ProblemKind::Definition,
            message,
            remedy: None,
        });
    };
    for (index, wanted) in desired.machines.iter().enumerate() {
        let name = &wanted.machine.name;
        let before = &desired.machines[..index];
        if before.iter().any(|other| other.machine.name == *name) {
            definition(name, "there are two machines of this name".to_owned());
        }
        if let Some(other) = before
            .iter()
            .find(|other| other.machine.destination == wanted.machine.destination)
        {
            let destination = &wanted.machine.destination;
            definition(
                name,
                format!(
                    "it is reached at {destination}, and so is {}",
                    other.machine.name
                ),
            );
        }
        for file in &wanted.files {
            let path = file.path.to_string_lossy();
            if !is_plain_path(&path) {
                definition(name, format!("`{path}` is not a path that can be written"));
            }
        }
    }
    out
}

struct Findings<'a> {
    machine: &'a str,
    out: &'a mut Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, kind: ProblemKind, message: impl Into<String>, remedy: Option<&str>) {
        self.out.push(Problem {
            machine: Some(self.machine.to_owned()),
            kind,
            message: message.into(),
            remedy: remedy.map(str::to_owned),
        });
    }

    fn unfit(&mut self, message: impl Into<String>, remedy: Option<&str>) {
        self.add(ProblemKind::Unfit, message, remedy);
    }

    fn base(&mut self, facts: &Facts) {
        if !facts.systemd {
            self.unfit(
                "it was not started by systemd, which must run the daemons",
                None,
            );
        }
        for (place, free) in &facts.space {
            if *free < MIN_SPACE {
                self.unfit(
                    format!("only {free} KiB are free for {place}, {MIN_SPACE} are needed"),
                    None,
                );
            }
        }
        for ((user, group), present) in &facts.owners {
            if !present {
                self.unfit(
                    format!("there is no user {user} with group {group}"),
                    Some("install the package pacemaker"),
                );
            }
        }
        for effect in &facts.unknown_pending {
            self.unfit(
                format!("a newer Picket has left `{effect}` to be done here"),
                Some("use that version"),
            );
        }
    }

    fn files(&mut self, wanted: &Wanted, facts: &Facts) {
        for file in &wanted.files {
            let path = file.path.to_string_lossy();
            match facts.files.get(&*path) {
                Some(Found::Link) => self.unfit(
                    format!("{path} is a symbolic link"),
                    Some("replace it by a file, or remove it"),
                ),
                Some(Found::Other) => self.unfit(format!("{path} is not a file"), None),
                Some(Found::Absent | Found::Regular { .. }) => {}
                None => self.add(
                    ProblemKind::Unknown,
                    format!("it did not say what {path} is"),
                    None,
                ),
            }
        }
    }

    fn programs(&mut self, facts: &Facts) {
        for (program, _) in facts.programs.iter().filter(|(_, found)| found.is_none()) {
            let package = package_of(program);
            let remedy = package.map(|package| format!("install the package {package}"));
            self.unfit(
                format!("the program {program} is missing"),
                remedy.as_deref(),
            );
        }
    }

    fn units(&mut self, wanted: &Wanted, facts: &Facts) {
        if !facts.systemd {
            return;
        }
        for unit in units(wanted) {
            match facts.units.get(&unit) {
                Some(state) if state.load == "masked" => self.unfit(
                    format!("systemd's unit {unit} is masked"),
                    Some("unmask it with `systemctl unmask`"),
                ),
                Some(state) if state.exists() => {}
                _ => self.unfit(format!("systemd has no unit {unit}"), None),
            }
        }
    }

    fn addresses(&mut self, facts: &Facts) {
        for (address, present) in &facts.addresses {
            if *present == Some(false) {
                self.unfit(
                    format!("it does not have the address {address}"),
                    Some("is the right machine reached?"),
                );
            }
        }
    }

    fn storage(&mut self, surveyed: &Surveyed) {
        for outlook in &surveyed.outlooks {
            if let State::Refused(reason) = &outlook.state {
                self.unfit(format!("cannot {}: {reason}", outlook.title), None);
            }
        }
    }

    fn keys(&mut self, desired: &Desired, facts: &Facts, options: &Options) {
        let Some(theirs) = facts.applied.get("keys") else {
            return;
        };
        let same_cluster = facts.applied.get("cluster") == Some(&desired.cluster);
        if same_cluster && *theirs != desired.keys && !options.new_keys {
            let by = facts.applied.get("by").map_or("somewhere", String::as_str);
            self.add(
                ProblemKind::Keys,
                format!("it carries keys that were made from other secrets (seed {theirs}, applied from {by}; here is seed {})", desired.keys),
                Some("copy the secrets' directory from there (--secrets), or replace the keys everywhere (--new-keys)"),
            );
        }
    }

    fn cluster(&mut self, desired: &Desired, facts: &Facts) {
        if facts.corosync == Corosync::Silent {
            self.add(
                ProblemKind::Unknown,
                "corosync runs there and does not answer: whether it belongs to a cluster is not known",
                None,
            );
        }
        let conf = configured(facts);
        if conf.as_ref().is_some_and(Conf::is_package_default) {
            self.default_cluster(facts);
            return;
        }
        if let Corosync::Running { name, joined } = &facts.corosync {
            if *name != desired.cluster {
                self.foreign(
                    &format!("a member of the running cluster `{name}`"),
                    desired,
                );
                return;
            }
            for stranger in joined
                .iter()
                .filter(|name| !desired.nodes().any(|node| node.machine.name == **name))
            {
                self.unfit(
                    format!("{stranger} is a running member of the cluster, and not in the definition"),
                    Some("stop the cluster on it first (`systemctl disable --now pacemaker corosync`), or define it"),
                );
            }
            let by_systemd = |unit: &str| {
                facts
                    .units
                    .get(unit)
                    .is_none_or(|state| state.is_active() || !facts.systemd)
            };
            if !by_systemd(COROSYNC) || (facts.pacemaker && !by_systemd(PACEMAKER)) {
                self.unfit(
                    "corosync or pacemaker runs there, but was not started by systemd",
                    Some("stop it"),
                );
            }
            return;
        }
        if let Some(name) = conf.as_ref().and_then(Conf::cluster_name)
            && name != desired.cluster
        {
            self.foreign(&format!("configured for the cluster `{name}`"), desired);
        }
    }

    /// Debian's package comes with a running cluster of one node. It may go, unless somebody uses it.
    fn default_cluster(&mut self, facts: &Facts) {
        if facts.saved_cib.unwrap_or(0) > 0 {
            self.add(
                ProblemKind::Foreign,
                "the one-node cluster of its package is in use: it has resources",
                Some("remove them, if nobody needs them"),
            );
        }
    }

    fn foreign(&mut self, what: &str, desired: &Desired) {
        self.add(
            ProblemKind::Foreign,
            format!("it is {what}, not of `{}`", desired.cluster),
            Some("take it out of that cluster first, or correct the definition"),
        );
    }
}

/// The configuration of Corosync that a machine has, where it is not the wanted one.
pub(crate) fn configured(facts: &Facts) -> Option<Conf> {
    match facts.files.get(COROSYNC_CONF)? {
        Found::Regular {
            text: Some(text), ..
        } => Some(Conf::parse(&String::from_utf8_lossy(text))),
        _ => None,
    }
}

/// Whether the machine runs, or is set up for, the cluster that its package comes with.
pub(crate) fn has_package_default(facts: &Facts) -> bool {
    configured(facts).is_some_and(|conf| conf.is_package_default())
}

/// Whether the machine has a configuration that Pacemaker itself has written.
pub(crate) fn has_saved_cib(facts: &Facts) -> bool {
    facts.saved_cib.is_some() && facts.files.contains_key(CIB) && !has_package_default(facts)
}

/// The Debian package of a program; other distributions mostly use the same names.
fn package_of(program: &str) -> Option<&'static str> {
    Some(match program {
        "corosync" | "corosync-cfgtool" | "corosync-cmapctl" => "corosync",
        "pacemakerd" => "pacemaker",
        "cibadmin" | "crm_verify" | "crm_mon" => "pacemaker-cli-utils",
        "fence_xvm" | "fence_virt" => "picket, or fence-virt",
        "fence_virtd" => "picket, or fence-virtd",
        "dlm_controld" => "dlm-controld",
        "lvmlockd" => "lvm2-lockd",
        "iscsiadm" | "iscsid" => "open-iscsi",
        "multipathd" => "multipath-tools",
        "mkfs.gfs2" => "gfs2-utils",
        "sbd" => "sbd",
        "corosync-qdevice" => "corosync-qdevice",
        _ if program.starts_with("fence_") => "fence-agents",
        _ => return None,
    })
}
