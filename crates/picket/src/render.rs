//! `picket render`: the files of every machine of a cluster, from its definition.
//!
//! What is rendered is gathered first; a directory, a list and JSON are ways to hand over the same.
//! Nothing is installed: that is `picket apply`'s part.

mod check;
mod output;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use cluster::{Definition, Dialect, HostSettings, RenderOptions, Rendered, SetupStep, Units};
use deploy::Keys;

use check::Verdict;

use crate::{exit, setup};

/// The options of `picket render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The definition of the cluster
    #[arg(required_unless_present = "schema")]
    definition: Option<PathBuf>,

    /// Write the files into this directory: nodes/NAME/…, hosts/NAME/…, guests/NAME.xml and
    /// instructions.md. A directory that holds anything else than an earlier rendering of the same
    /// cluster is left alone
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Only this machine, by name, or this file, by its path on the machine; can be given again
    #[arg(long, value_name = "NODE|PATH")]
    only: Vec<String>,

    /// Say what would be written; the default without --output
    #[arg(long, conflicts_with = "output")]
    list: bool,

    /// Have Corosync, Pacemaker, LVM and libvirt check their files first, as far as their tools are on
    /// this machine. What they reject is not written; what none of them could look at has an exit code
    /// of its own
    #[arg(long)]
    check: bool,

    /// Where the cluster's secrets are kept; made there when --output is given and there are none.
    /// Default: picket/CLUSTER in the user's state directory
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,

    /// How Pacemaker's options about fencing are spelled, whatever the definition says
    #[arg(long, value_enum)]
    dialect: Option<DialectArg>,

    /// Cut or extend the definition to this many nodes
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the JSON schema of definitions and end
    #[arg(long, conflicts_with_all = ["definition", "output", "only", "list", "check", "secrets", "dialect", "nodes", "json"])]
    schema: bool,
}

/// How Pacemaker's options about fencing are spelled.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectArg {
    /// stonith-enabled and the like: every version
    Stonith,
    /// fencing-enabled and the like: from Pacemaker 3.0.2
    Fencing,
}

impl From<DialectArg> for Dialect {
    fn from(arg: DialectArg) -> Self {
        match arg {
            DialectArg::Stonith => Self::Stonith,
            DialectArg::Fencing => Self::Fencing,
        }
    }
}

/// What a machine is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Node,
    Host,
}

impl Role {
    /// The directory of such machines in the output.
    const fn directory(self) -> &'static str {
        match self {
            Self::Node => "nodes",
            Self::Host => "hosts",
        }
    }
}

/// A machine with its files.
struct Machine {
    name: String,
    role: Role,
    rendered: Rendered,
    units: Units,
}

/// Everything that is made from a definition.
struct Rendering {
    cluster: String,
    machines: Vec<Machine>,
    /// Whole guests, by their node's name, where the platform takes such a text.
    guests: Vec<(String, Vec<u8>)>,
    instructions: Vec<u8>,
    setup: Vec<SetupStep>,
}

/// Why nothing could be rendered, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition cannot be used.
    #[error("{0}")]
    Setup(#[from] setup::Error),
    /// The secrets cannot be used.
    #[error("{0}")]
    Keys(#[from] deploy::KeysError),
    /// A value cannot be written in a file's own grammar.
    #[error("{0}")]
    Unwritable(#[from] cluster::Invalid),
    /// `--only` names nothing that is rendered.
    #[error("--only {0}: no machine of that name and no file of that path is rendered; see --list")]
    Nothing(String),
    /// The directory is not ours to change.
    #[error("{}: {reason}; choose a directory that does not exist yet", path.display())]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Why it is left alone.
        reason: String,
    },
    /// Something cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::Unwritable(_) => exit::DEFINITION,
            Self::Nothing(_) => exit::USAGE,
            Self::Keys(_) | Self::Foreign { .. } => exit::UNFIT,
            Self::Io { .. } => exit::FAILED,
        }
    }
}

/// Runs `picket render`.
#[must_use]
pub fn run(args: &RenderArgs) -> ExitCode {
    match render(args) {
        Ok(code) => exit::code(code),
        Err(error) => {
            eprintln!("picket render: {error}");
            exit::code(error.exit_code())
        }
    }
}

/// The exit code, once what there is to say has been said.
fn render(args: &RenderArgs) -> Result<u8, Error> {
    let Some(path) = &args.definition else {
        show::schema()?;
        return Ok(exit::SUCCESS);
    };
    let definition = setup::definition(path, args.nodes)?;
    let mut keys = Keys::open(&secrets_dir(args, &definition))?;
    let mut options = RenderOptions::default();
    if let Some(dialect) = args.dialect {
        options = options.in_dialect(dialect.into());
    }
    let rendering = gather(&definition, &keys, &options)?;
    for only in &args.only {
        if !rendering.has(only) {
            return Err(Error::Nothing(only.clone()));
        }
    }
    let checks = if args.check {
        check::all(&definition, &rendering)?
    } else {
        Vec::new()
    };
    let verdict = Verdict::of(&checks);
    let output = args.output.as_ref().filter(|_| verdict != Verdict::Failed);
    if let Some(directory) = output {
        // The keys are kept before anything is written that was made from them.
        keys.keep()?;
        output::write(directory, &rendering, &args.only)?;
    }
    let shown = show::Shown {
        rendering: &rendering,
        only: &args.only,
        output: output.map(PathBuf::as_path),
        secrets: keys.dir(),
        checks: &checks,
        verdict,
    };
    if args.json {
        shown.json()?;
    } else if verdict == Verdict::Failed {
        shown.rejection();
    } else {
        shown.text()?;
    }
    Ok(verdict.exit_code())
}

fn secrets_dir(args: &RenderArgs, definition: &Definition) -> PathBuf {
    let from_environment = |name| std::env::var_os(name).map(PathBuf::from);
    args.secrets.clone().unwrap_or_else(|| {
        Keys::usual_dir(
            definition.name.as_str(),
            from_environment("XDG_STATE_HOME").as_deref(),
            from_environment("HOME").as_deref(),
        )
    })
}

fn gather(
    definition: &Definition,
    keys: &Keys,
    options: &RenderOptions,
) -> Result<Rendering, Error> {
    let secrets = keys.secrets();
    let mut machines: Vec<Machine> = definition
        .nodes
        .iter()
        .zip(cluster::render_nodes(definition, &secrets, options))
        .map(|(node, rendered)| Machine {
            name: node.name.to_string(),
            role: Role::Node,
            rendered,
            units: cluster::node_units(definition, node),
        })
        .collect();
    for host in &definition.hosts {
        let mut files = cluster::render_guest_devices(definition, host).files;
        if definition.runs_fence_virtd(host) {
            let settings = HostSettings::usual(definition, Some(host));
            files.extend(cluster::render_host(definition, &secrets, &settings)?.files);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        machines.push(Machine {
            name: host.name.to_string(),
            role: Role::Host,
            rendered: Rendered { files },
            units: cluster::host_units(definition),
        });
    }
    let guests = if definition.platform.kind.has_libvirt() {
        definition
            .guest_nodes()
            .map(|node| {
                (
                    node.name.to_string(),
                    cluster::guest_domain(definition, node),
                )
            })
            .collect()
    } else {
        Vec::new()
    };
    let instructions = cluster::instructions(definition).files;
    Ok(Rendering {
        cluster: definition.name.to_string(),
        machines,
        guests,
        instructions: instructions
            .into_iter()
            .flat_map(|file| file.bytes)
            .collect(),
        setup: cluster::storage_setup(definition),
    })
}

impl Rendering {
    /// Whether `only` names a machine or a file of one.
    fn has(&self, only: &str) -> bool {
        self.machines
            .iter()
            .any(|machine| machine.name == only || machine.rendered.file(only).is_some())
    }

    /// The machines with those of their files that are wanted, without machines that have none.
    fn wanted<'a>(
        &'a self,
        only: &'a [String],
    ) -> impl Iterator<Item = (&'a Machine, Vec<&'a cluster::File>)> {
        let is_wanted = move |machine: &Machine, file: &cluster::File| {
            only.is_empty()
                || only
                    .iter()
                    .any(|only| machine.name == *only || file.path.as_os_str() == only.as_str())
        };
        self.machines.iter().filter_map(move |machine| {
            let files: Vec<&cluster::File> = machine
                .rendered
                .files
                .iter()
                .filter(|file| is_wanted(machine, file))
                .collect();
            (!files.is_empty()).then_some((machine, files))
        })
    }
}
