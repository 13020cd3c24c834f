//! The command line on a large definition: what `picket check` and `picket render` cost, from exec to
//! exit. No other program does the same, so there is nothing to compare with but the targets.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Measured;
use super::cost::{self, Cost};
use super::results::{Row, Summary, Unit};

/// The largest cluster: Corosync's limit of full members.
const NODES: usize = 32;
const HOSTS: usize = 8;
const SERVICES: usize = 16;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    rounds: usize,
}

impl Plan {
    /// What goes into the report.
    pub(crate) const FULL: Self = Self { rounds: 100 };
    /// A trial.
    pub(crate) const QUICK: Self = Self { rounds: 10 };
}

/// One command and what its runs cost.
struct Case {
    id: &'static str,
    what: String,
    arguments: Vec<String>,
    costs: Vec<Cost>,
}

/// Runs the commands in turns; the first round warms the caches and does not count.
///
/// # Errors
/// The definition is refused, or a command fails.
pub(crate) fn measure(picket: &Path, meter: &Path, plan: Plan) -> Result<Measured> {
    ensure!(picket.exists(), "{} is missing", picket.display());
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cluster.toml");
    std::fs::write(&file, definition()).context("failed to write the definition")?;
    let mut cases = cases(&file, &directory.path().join("rendered"));
    for round in 0..=plan.rounds {
        for case in &mut cases {
            let cost = cost::of(meter, picket, &case.arguments)?;
            if round > 0 {
                case.costs.push(cost);
            }
        }
    }
    Ok(Measured {
        method: method(plan),
        rows: rows(&cases),
    })
}

fn cases(file: &Path, into: &Path) -> Vec<Case> {
    let (file, into) = (file.display().to_string(), into.display().to_string());
    let case = |id, arguments: &[&str]| Case {
        id,
        what: format!("`picket {id}`, {NODES} nodes"),
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        costs: Vec::new(),
    };
    vec![
        // Nobody confirmed Debian for clusters, so the verdict is "unverified".
        case("check", &["check", &file, "--accept", "unverified"]),
        // Into the same directory each time: like the second run of an administrator.
        case("render", &["render", &file, "--output", &into]),
    ]
}

/// A cluster of [`NODES`] guests on [`HOSTS`] hosts that share a GFS2 file system and keep [`SERVICES`]
/// services available.
fn definition() -> String {
    let mut text = String::from(
        "[cluster]\nname = \"large\"\n\n\
         [platform]\nkind = \"kvm\"\nos = \"debian 12\"\nanti_affinity = \"hard\"\n\n\
         [guests]\nos = \"debian 12\"\nwatchdog = \"i6300esb\"\n",
    );
    for host in 1..=HOSTS {
        let _ = write!(
            text,
            "\n[[host]]\nname = \"h{host}\"\naddress = \"10.8.0.{host}\"\n"
        );
    }
    for node in 1..=NODES {
        let host = (node - 1) % HOSTS + 1;
        let _ = write!(
            text,
            "\n[[node]]\nname = \"n{node}\"\naddress = \"10.9.0.{node}\"\nhost = \"h{host}\"\n"
        );
    }
    text.push_str(
        "\n[[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\nkey_file = \"/etc/cluster/fence_xvm.key\"\n\
         \n[fence_virtd]\nmode = \"standalone\"\ninterface = \"br0\"\ngroups = true\n\
         \n[[storage]]\nname = \"shared\"\nkind = \"iscsi\"\ntarget = \"iqn.2026-11.org.example:shared\"\n\
         portals = [\"10.9.0.200:3260\"]\nlun = 0\n\
         \n[[volume_group]]\nname = \"vg_shared\"\nstorage = [\"shared\"]\nshared = true\n\
         \n[[volume]]\nname = \"data\"\ngroup = \"vg_shared\"\nsize = \"100GiB\"\nactivation = \"shared\"\n\
         \n[[filesystem]]\nname = \"data\"\nkind = \"gfs2\"\nvolume = \"vg_shared/data\"\nmount = \"/srv/data\"\n",
    );
    for service in 1..=SERVICES {
        let _ = write!(
            text,
            "\n[[service]]\nname = \"web{service}\"\nvirtual_ip = \"10.9.0.{}/24\"\n\
             http = {{ port = {} }}\nfilesystems = [\"data\"]\n",
            100 + service,
            8000 + service
        );
    }
    text
}

fn method(plan: Plan) -> Vec<String> {
    vec![format!(
        "{} runs of each in turns, after one that does not count, on a definition of {NODES} guests on \
         {HOSTS} hosts with one GFS2 file system on shared iSCSI storage and {SERVICES} services; the time \
         from fork to exit and the CPU time, user and system, of the whole program (wait4).",
        plan.rounds
    )]
}

fn rows(cases: &[Case]) -> Vec<Row> {
    type Kind = (&'static str, &'static str, Unit, fn(&Cost) -> f64);
    let kinds: [Kind; 3] = [
        ("wall", "start to end", Unit::Milliseconds, |cost| cost.wall),
        ("cpu", "CPU", Unit::Milliseconds, |cost| cost.cpu),
        ("memory", "peak memory", Unit::Mebibytes, |cost| cost.memory),
    ];
    let row = |case: &Case, (kind, words, unit, pick): Kind| Row {
        id: format!("{kind}/{}", case.id),
        what: format!("{words}: {}", case.what),
        unit,
        ours: Summary::of(&case.costs.iter().map(pick).collect::<Vec<_>>()),
        theirs: None,
    };
    kinds
        .into_iter()
        .flat_map(|kind| cases.iter().map(move |case| row(case, kind)))
        .collect()
}
