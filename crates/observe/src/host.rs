//! What a host says: which guests run on it (virsh), and whether its `fence_virtd` answers.
//!
//! Where a guest runs is taken from the host's own hypervisor only. A `fence_virtd` that is asked by
//! multicast may be another host's: its list is not taken for this one's.

use std::time::Duration;

use serde::Serialize;

use crate::question::{Answers, Question, Said};

/// How to reach a host's `fence_virtd` from the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// By multicast.
    Multicast {
        /// The group.
        group: String,
        /// The port.
        port: u16,
    },
    /// By TCP.
    Tcp {
        /// Where it listens.
        address: String,
        /// The port.
        port: u16,
    },
}

/// A host's fencing daemon and the key it is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// How it is reached.
    pub listener: Listener,
    /// Where the host keeps the key.
    pub key_file: String,
}

impl Daemon {
    fn argv(&self, limit: Duration) -> Vec<String> {
        let (program, place, port) = match &self.listener {
            Listener::Multicast { group, port } => ("fence_xvm", ["-a", group], port),
            Listener::Tcp { address, port } => ("fence_virt", ["-T", address], port),
        };
        let limit = limit.as_secs().max(1).to_string();
        [program, "-o", "list", "-k", &self.key_file]
            .into_iter()
            .chain(place)
            .chain(["-p", &port.to_string(), "-t", &limit])
            .map(str::to_owned)
            .collect()
    }
}

/// What a host is asked. `uri` is its libvirt URI; without it virsh chooses.
#[must_use]
pub fn question(uri: Option<&str>, daemon: Option<&Daemon>, limit: Duration) -> Question {
    let virsh = |more: &[&'static str]| {
        let mut argv = vec!["virsh", "-r", "-q"];
        argv.extend(uri.iter().flat_map(|uri| ["-c", uri]));
        argv.push("list");
        argv.extend(more);
        argv.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut asked = vec![
        ("active", virsh(&["--uuid", "--name"])),
        ("paused", virsh(&["--name", "--state-paused"])),
        ("defined", virsh(&["--name", "--all"])),
    ];
    if let Some(daemon) = daemon {
        // The agent's own limit comes first, so that it can say what was wrong.
        let argv = daemon.argv(limit.saturating_sub(Duration::from_secs(1)));
        asked.push(("fence_virtd", argv));
    }
    asked
        .iter()
        .fold(Question::new(limit), |question, (tag, argv)| {
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            question.with(tag, &argv)
        })
}

/// A guest that is on a host: running, paused, or on its way in or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its UUID, where virsh told it.
    pub uuid: Option<String>,
    /// Whether it stands still; also the receiving end of a live migration does.
    pub paused: bool,
}

/// The guests of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Guests {
    /// The hypervisor told.
    Known {
        /// Those that are on the host.
        active: Vec<Guest>,
        /// The names of all that it knows.
        defined: Vec<String>,
    },
    /// Hosts of its platform are not asked.
    NotAsked,
    /// It could not be asked, or said nothing of use.
    Unknown {
        /// Why.
        detail: String,
    },
}

/// Whether a host's `fence_virtd` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DaemonState {
    /// The definition has none, or none that can be asked from the host.
    NotConfigured,
    /// It answered with its guests.
    Answers {
        /// How many guests it listed.
        guests: usize,
    },
    /// It did not, though it was asked.
    Silent {
        /// What the agent said.
        detail: String,
    },
    /// Nobody can say: it could not be asked.
    Unknown {
        /// Why.
        detail: String,
    },
}

/// Reads a host's answer about its guests.
#[must_use]
pub fn guests(answers: &Answers) -> Guests {
    let listed = |tag: &str| {
        let said = answers.of(tag).ok_or("virsh was not asked")?;
        if said.status == Some(0) {
            Ok(&said.stdout)
        } else {
            Err(said.trouble())
        }
    };
    let all = || {
        let (active, paused) = (listed("active")?, listed("paused")?);
        let paused: Vec<&str> = names(paused).collect();
        Ok::<_, String>(Guests::Known {
            active: names(active).map(|line| guest(line, &paused)).collect(),
            defined: names(listed("defined")?).map(str::to_owned).collect(),
        })
    };
    all().unwrap_or_else(|detail| Guests::Unknown {
        detail: format!("virsh: {detail}"),
    })
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// `UUID NAME`; older virsh takes only one of the two options and prints a name alone.
fn guest(line: &str, paused: &[&str]) -> Guest {
    let (uuid, name) = match line.split_once(char::is_whitespace) {
        Some((first, rest)) if is_uuid(first) => (Some(first.to_lowercase()), rest.trim()),
        _ => (None, line),
    };
    Guest {
        name: name.to_owned(),
        uuid,
        paused: paused.contains(&name),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Reads a host's answer about its daemon. `guests` is what its hypervisor told.
#[must_use]
pub fn daemon(answers: &Answers, guests: &Guests) -> DaemonState {
    let Some(said) = answers.of("fence_virtd") else {
        let detail = "it was not asked".to_owned();
        return DaemonState::Unknown { detail };
    };
    match said.status {
        Some(0) => answered(said, guests),
        None | Some(126 | 127) => DaemonState::Unknown {
            detail: format!("the agent to ask it with: {}", said.trouble()),
        },
        Some(_) => DaemonState::Silent {
            detail: said.trouble(),
        },
    }
}

fn answered(said: &Said, guests: &Guests) -> DaemonState {
    let listed: Vec<&str> = names(&said.stdout)
        .filter_map(|line| Some(line.rsplitn(3, char::is_whitespace).last()?.trim()))
        .collect();
    if let Guests::Known { defined, .. } = guests
        && let Some(strange) = listed
            .iter()
            .find(|name| !defined.iter().any(|known| known == *name))
    {
        let strange: String = strange.chars().take(64).collect();
        return DaemonState::Unknown {
            detail: format!("a daemon answered, but of another host: it has the guest {strange}"),
        };
    }
    DaemonState::Answers {
        guests: listed.len(),
    }
}
