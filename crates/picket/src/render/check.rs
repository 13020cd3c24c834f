//! What the real tools say to what is rendered.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cluster::{CIB, COROSYNC_LOG, Definition, Node};
use deadline::Deadline;
use serde::Serialize;

use super::{Error, Rendering, Role};
use crate::exit;

/// The most a tool may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether a tool has ended.
const POLL: Duration = Duration::from_millis(5);

/// The most of a tool's words that is kept, in bytes.
const MOST: u64 = 64 * 1024;

/// One tool's word on one thing.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What was checked: a file on a machine.
    pub(super) subject: String,
    /// By which program.
    pub(super) tool: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The tool is content.
    Passed,
    /// The tool finds fault.
    Failed {
        /// In its own words.
        said: String,
    },
    /// The tool is not on this machine, or cannot be used on it: nothing is known.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Check {
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }

    const fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. })
    }
}

/// What all checks together come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Nobody was asked to check.
    NotAsked,
    /// Every tool is content.
    Passed,
    /// No tool finds fault, but not all could look.
    Unknown,
    /// Some tool finds fault.
    Failed,
}

impl Verdict {
    pub(super) fn of(checks: &[Check]) -> Self {
        if checks.iter().any(Check::is_failure) {
            Self::Failed
        } else if checks.iter().any(Check::is_unknown) {
            Self::Unknown
        } else if checks.is_empty() {
            Self::NotAsked
        } else {
            Self::Passed
        }
    }

    pub(super) const fn exit_code(self) -> u8 {
        match self {
            Self::NotAsked | Self::Passed => exit::SUCCESS,
            Self::Unknown => exit::UNCHECKED,
            Self::Failed => exit::REJECTED,
        }
    }
}

/// How a tool ended.
enum Ran {
    Ended { well: bool, said: String },
    Absent(String),
}

/// Has every tool that is here check its part.
pub(super) fn all(definition: &Definition, rendering: &Rendering) -> Result<Vec<Check>, Error> {
    let scratch = tempfile::Builder::new()
        .prefix("picket-render-")
        .tempdir()
        .map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
    let mut checks = Vec::new();
    for (machine, node) in rendering
        .machines
        .iter()
        .filter(|machine| machine.role == Role::Node)
        .zip(&definition.nodes)
    {
        let directory = scratch.path().join(&machine.name);
        fs::create_dir(&directory).map_err(Error::io("make", &directory))?;
        let text = |path: &str| {
            machine
                .rendered
                .file(path)
                .map(|file| file.bytes.as_slice())
        };
        let of = |path: &str| format!("{path} of {}", machine.name);
        if let (Some(conf), Some(key)) = (
            text("/etc/corosync/corosync.conf"),
            text("/etc/corosync/authkey"),
        ) {
            checks.push(Check {
                subject: of("/etc/corosync/corosync.conf"),
                tool: "corosync -t",
                outcome: corosync(&directory, node, conf, key)?,
            });
        }
        if let Some(conf) = text("/etc/lvm/lvmlocal.conf") {
            checks.push(Check {
                subject: of("/etc/lvm/lvmlocal.conf"),
                tool: "lvmconfig --validate",
                outcome: lvm(&directory, conf)?,
            });
        }
        // It is the same on every node.
        if checks.iter().all(|check| check.tool != "crm_verify")
            && let Some(xml) = text(CIB)
        {
            checks.push(Check {
                subject: of(CIB),
                tool: "crm_verify",
                outcome: pacemaker(&directory, xml)?,
            });
        }
    }
    for (name, xml) in &rendering.guests {
        let path = scratch.path().join(format!("{name}.xml"));
        fs::write(&path, xml).map_err(Error::io("write", &path))?;
        let mut command = Command::new("virt-xml-validate");
        command.arg(&path).arg("domain");
        checks.push(Check {
            subject: format!("the guest {name}"),
            tool: "virt-xml-validate",
            outcome: judge(run(command, scratch.path())?),
        });
    }
    Ok(checks)
}

fn judge(ran: Ran) -> Outcome {
    match ran {
        Ran::Ended { well: true, .. } => Outcome::Passed,
        Ran::Ended { well: false, said } => Outcome::Failed { said },
        Ran::Absent(why) => Outcome::Unknown { why },
    }
}

/// Warnings count as faults: the configuration is ours, and ought to give cause for none.
fn pacemaker(directory: &Path, xml: &[u8]) -> Result<Outcome, Error> {
    let path = directory.join("cib.xml");
    fs::write(&path, xml).map_err(Error::io("write", &path))?;
    let mut command = Command::new("crm_verify");
    command.arg("-V").arg("--xml-file").arg(&path);
    Ok(match run(command, directory)? {
        Ran::Ended { said, .. } if !said.trim().is_empty() => Outcome::Failed { said },
        ran => judge(ran),
    })
}

/// Corosync looks for itself among the nodes: it is asked in a network of its own, where this machine
/// has the node's addresses.
fn corosync(directory: &Path, node: &Node, conf: &[u8], key: &[u8]) -> Result<Outcome, Error> {
    let at = |name: &str| directory.join(name);
    let log = at("corosync.log");
    let conf = String::from_utf8_lossy(conf)
        .replace(COROSYNC_LOG, &log.to_string_lossy())
        .replacen(
            "totem {",
            &format!("totem {{\n\tkeyfile: {}", at("authkey").display()),
            1,
        );
    fs::write(at("corosync.conf"), conf).map_err(Error::io("write", &at("corosync.conf")))?;
    fs::write(at("authkey"), key).map_err(Error::io("write", &at("authkey")))?;
    let mut version = Command::new("corosync");
    version.arg("-v");
    if let Ran::Absent(why) = run(version, directory)? {
        return Ok(Outcome::Unknown { why });
    }
    // The addresses are arguments of the script, not parts of it.
    let script = "conf=$1; shift; ip link set lo up || exit 121\n\
                  for address in \"$@\"; do ip address add \"$address\" dev lo nodad 2>/dev/null || ip address add \"$address\" dev lo || exit 121; done\n\
                  exec corosync -t -c \"$conf\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "--", "sh", "-c", script, "sh"]);
    command.arg(at("corosync.conf"));
    command.args(node.addresses.iter().map(ToString::to_string));
    Ok(match run(command, directory)? {
        Ran::Ended { well: false, said } => {
            let log = fs::read_to_string(&log).unwrap_or_default();
            if log.is_empty() {
                Outcome::Unknown {
                    why: format!(
                        "it could not be started in a network of its own: {}",
                        said.trim()
                    ),
                }
            } else {
                Outcome::Failed { said: said + &log }
            }
        }
        ran => judge(ran),
    })
}

fn lvm(directory: &Path, conf: &[u8]) -> Result<Outcome, Error> {
    let system = directory.join("lvm");
    fs::create_dir(&system).map_err(Error::io("make", &system))?;
    let path = system.join("lvmlocal.conf");
    fs::write(&path, conf).map_err(Error::io("write", &path))?;
    let empty = system.join("lvm.conf");
    fs::write(&empty, "").map_err(Error::io("write", &empty))?;
    let mut command = Command::new("lvmconfig");
    command
        .arg("--validate")
        .env("LVM_SYSTEM_DIR", &system)
        .env("LVM_SUPPRESS_FD_WARNINGS", "1");
    run(command, directory).map(judge)
}

/// Runs a tool to its end or to the limit. What it says goes to a file, so that it never waits for us.
fn run(mut command: Command, directory: &Path) -> Result<Ran, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let path = directory.join("said");
    let out = fs::File::create(&path).map_err(Error::io("make", &path))?;
    let err = out.try_clone().map_err(Error::io("share", &path))?;
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        // What it starts ends with it.
        .process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Ran::Absent(format!("{program} is not installed")));
        }
        Err(error) => return Ok(Ran::Absent(format!("{program} cannot be run: {error}"))),
    };
    let deadline = Deadline::after(LIMIT);
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .map_err(Error::io("wait for", Path::new(&program)))?
        {
            break status;
        }
        if deadline.has_passed() {
            // It may have ended this moment; either way it is waited for.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(Ran::Absent(format!(
                "{program} did not end within {} s",
                LIMIT.as_secs()
            )));
        }
        std::thread::sleep(POLL);
    };
    let mut said = Vec::new();
    fs::File::open(&path)
        .and_then(|file| file.take(MOST).read_to_end(&mut said))
        .map_err(Error::io("read", &path))?;
    Ok(Ran::Ended {
        well: status.success(),
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}
