//! `picket discover`: who a guest is on its platform, so that host maps and plugs need not be typed.
//!
//! Inside a guest it says what the guest can know of itself. With a definition it asks every node over ssh, asks the platform
//! whether it knows these guests, and says whether the definition means them; or what it should say.

mod here;
mod identity;
mod nodes;
mod show;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hypervisor::placement::Placement;
use serde::Serialize;

use self::identity::{Identity, identify};
use self::nodes::{Found, Match, Ssh};
use crate::placement::{Platforms, open_platform};
use crate::{exit, plain, setup};

/// The options of `picket discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// The definition of a cluster: ask its nodes over ssh. Without it: this guest
    definition: Option<PathBuf>,

    /// Print what the definition could say, as TOML
    #[arg(long, requires = "definition", conflicts_with = "json")]
    fragment: bool,

    /// Do not ask the platform; believe the guests
    #[arg(long, requires = "definition")]
    no_platform: bool,

    /// Configuration for ssh, instead of your own
    #[arg(long, value_name = "FILE", requires = "definition")]
    ssh_config: Option<PathBuf>,

    /// How long to wait for answers of nodes, and then of the platform, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// Look at the files below this directory instead of this guest's own
    #[arg(long, value_name = "DIR", conflicts_with = "definition")]
    root: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing can be found out.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error("cannot prepare for ssh: {0}")]
    Ssh(#[source] io::Error),
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::Ssh(_) | Self::Output(_) => exit::FAILED,
        }
    }
}

/// What `--json` prints inside a guest.
#[derive(Debug, Serialize)]
struct Guest<'a> {
    format: u32,
    #[serde(flatten)]
    identity: &'a Identity,
    exit_code: u8,
}

/// What `--json` prints of a definition's nodes.
#[derive(Debug, Serialize)]
struct Nodes<'a> {
    format: u32,
    cluster: &'a str,
    nodes: &'a [Found],
    exit_code: u8,
}

/// Runs `picket discover`.
#[must_use]
pub fn run(args: &DiscoverArgs, platforms: &Platforms) -> ExitCode {
    let code = match &args.definition {
        Some(definition) => ask_nodes(args, definition, platforms),
        None => look_here(args),
    };
    match code {
        Ok(code) => exit::code(code),
        // A reader that has gone away wants nothing more, and no complaint.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            exit::code(exit::SUCCESS)
        }
        Err(error) => {
            eprintln!("picket: {}", plain::text(&error.to_string()));
            exit::code(error.exit_code())
        }
    }
}

fn look_here(args: &DiscoverArgs) -> Result<u8, Error> {
    let root = args.root.as_deref().unwrap_or_else(|| Path::new("/"));
    let identity = identify(&here::facts(root));
    let sure = identity
        .candidates
        .first()
        .is_some_and(|candidate| candidate.is_sure);
    let exit_code = if sure {
        exit::SUCCESS
    } else {
        exit::NOT_IDENTIFIED
    };
    if args.json {
        print_json(&Guest {
            format: 1,
            identity: &identity,
            exit_code,
        })?;
    } else {
        print(&plain::text(&show::guest(&identity)))?;
    }
    Ok(exit_code)
}

fn ask_nodes(args: &DiscoverArgs, path: &Path, platforms: &Platforms) -> Result<u8, Error> {
    let definition = setup::definition(path, None)?;
    let limit = Duration::from_secs(args.timeout);
    let opened: Result<Box<dyn Placement>, String> = if args.no_platform {
        Err("as was wished".to_owned())
    } else {
        open_platform(&definition, platforms)
    };
    let ssh = Ssh::new(args.ssh_config.as_deref()).map_err(Error::Ssh)?;
    let answers = ssh.ask(&definition, limit);
    let platform = opened.as_deref().map_err(Clone::clone);
    let found = nodes::compare(&definition, answers, &platform, limit);
    let exit_code = code_of(&found);
    if args.json {
        print_json(&Nodes {
            format: 1,
            cluster: definition.name.as_str(),
            nodes: &found,
            exit_code,
        })?;
    } else if args.fragment {
        print(&show::fragment(&definition, &found))?;
        for one in found.iter().filter(|one| one.agreement == Match::Other) {
            eprintln!(
                "picket: {}",
                plain::text(&format!("{} {}", one.node, one.message))
            );
        }
    } else {
        print(&plain::text(&show::nodes(&found)))?;
    }
    Ok(exit_code)
}

fn code_of(found: &[Found]) -> u8 {
    let any = |agreement| found.iter().any(|found| found.agreement == agreement);
    if any(Match::Other) {
        exit::OTHER_GUEST
    } else if any(Match::Unknown) {
        exit::NOT_IDENTIFIED
    } else {
        exit::SUCCESS
    }
}

fn print_json(document: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
    text.push('\n');
    print(&text)
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
