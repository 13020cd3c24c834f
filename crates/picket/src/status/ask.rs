//! Who is asked, and by which way: this machine, machines over ssh, guests of a lab.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ::lab::{Lab, LabName};
use cluster::{Definition, Listener, PlatformKind};
use deadline::Deadline;
use deploy::{Command, OpenSsh, Role, SshSettings, Transport, TransportError};
use observe::host::{self, Daemon};
use observe::{ExpectedNode, Host, Inventory, Local, Machine, Source, Unanswered};

use super::Error;
use crate::setup;

/// Who is asked, and by which way.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) inventory: Inventory,
    pub(super) source: Arc<dyn Source>,
    /// What is to be closed at the end.
    connections: Option<Arc<OpenSsh>>,
}

impl Target {
    /// The machine this program runs on, as a node of its cluster.
    pub(super) fn this_machine() -> Self {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            inventory: Inventory {
                nodes: vec![ExpectedNode {
                    name,
                    ..ExpectedNode::default()
                }],
                ..Inventory::default()
            },
            source: Arc::new(Local),
            connections: None,
        }
    }

    /// The machines of a definition.
    pub(super) fn over_ssh(definition: &Definition, config: Option<&Path>) -> Result<Self, Error> {
        let ssh = Ssh::new(definition, config)?;
        Ok(Self {
            inventory: inventory(definition)?,
            connections: Some(Arc::clone(&ssh.transport)),
            source: Arc::new(ssh),
        })
    }

    /// The guests of a lab. They all run on this machine, so hosts of a definition play no part.
    pub(super) fn lab(name: &LabName, definition: Option<&Definition>) -> Result<Self, Error> {
        let lab = Lab::attach(name)?;
        let nodes = lab.nodes().iter().map(|node| ExpectedNode {
            name: node.name.clone(),
            ..ExpectedNode::default()
        });
        // A lab may have been formed with more or fewer nodes than its definition names.
        let fitting = definition.map(|definition| {
            let count = lab.nodes().len();
            let other = (count != definition.nodes.len()).then(|| definition.with_nodes(count));
            other.unwrap_or_else(|| Ok(definition.clone()))
        });
        let resources = fitting
            .transpose()
            .map_err(setup::Error::from)?
            .map(|definition| deploy::expected_of(&definition))
            .transpose()
            .map_err(Error::Rendering)?;
        let inventory = Inventory {
            cluster: definition.map(|definition| definition.name.to_string()),
            nodes: nodes.collect(),
            complete: true,
            resources,
            hosts: Vec::new(),
        };
        let ask = move |machine: Machine<'_>, script: &str, deadline: Deadline| {
            lab.shell(machine.name(), script, deadline)
                .map(|output| output.stdout)
                .map_err(|error| of_lab(&error))
        };
        Ok(Self {
            inventory,
            source: Arc::new(ask),
            connections: None,
        })
    }

    /// Closes what was opened. Whoever still asks gets no answer.
    pub(super) fn close(self) {
        if let Some(connections) = self.connections {
            connections.close();
        }
    }

    /// Leaves all nodes alone but these, unless there are none.
    pub(super) fn only(&mut self, names: &[String]) -> Result<(), Error> {
        let nodes = &mut self.inventory.nodes;
        for name in names {
            if !nodes.iter().any(|node| node.name == *name) {
                let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                return Err(Error::NoSuchNode {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        for node in nodes {
            node.skip = !names.is_empty() && !names.contains(&node.name);
        }
        Ok(())
    }
}

fn of_lab(error: &::lab::Error) -> Unanswered {
    let detail = error.to_string();
    match error {
        ::lab::Error::DeadlinePassed { .. } => Unanswered::Late,
        ::lab::Error::NoSuchNode { .. } => Unanswered::Local { detail },
        _ => Unanswered::Unreachable { detail },
    }
}

/// What a definition says there should be.
fn inventory(definition: &Definition) -> Result<Inventory, Error> {
    let node = |node: &cluster::Node| ExpectedNode {
        name: node.name.to_string(),
        skip: false,
        guest: node.is_guest().then(|| node.plug().to_owned()),
        uuid: node.uuid.as_ref().map(ToString::to_string),
        host: node.host.as_ref().map(ToString::to_string),
        pinned: node.pinned,
    };
    let host = |host: &cluster::Host| Host {
        name: host.name.to_string(),
        // Others have an interface of their own for management, and no shell or no libvirt.
        skip: !matches!(
            definition.host_kind(host),
            PlatformKind::Kvm | PlatformKind::Xen | PlatformKind::Rhev
        ),
        uri: Some(definition.host_uri(host).to_owned()),
        daemon: daemon(definition, host),
    };
    Ok(Inventory {
        cluster: Some(definition.name.to_string()),
        nodes: definition.nodes.iter().map(node).collect(),
        complete: true,
        resources: Some(deploy::expected_of(definition).map_err(Error::Rendering)?),
        hosts: definition.hosts.iter().map(host).collect(),
    })
}

/// How a host's own `fence_virtd` is reached from the host. Over channels and vsock only guests reach it.
fn daemon(definition: &Definition, host: &cluster::Host) -> Option<Daemon> {
    let virt = definition.virt()?;
    let port = virt.port.get();
    let listener = match virt.listener {
        Listener::Multicast => host::Listener::Multicast {
            group: virt.multicast.to_string(),
            port,
        },
        Listener::Tcp => host::Listener::Tcp {
            address: host
                .address
                .map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string()),
            port,
        },
        _ => return None,
    };
    Some(Daemon {
        listener,
        key_file: virt.key_file.as_str().to_owned(),
    })
}

/// Asks over the system's OpenSSH.
struct Ssh {
    transport: Arc<OpenSsh>,
    nodes: HashMap<String, deploy::Machine>,
    hosts: HashMap<String, deploy::Machine>,
}

impl Ssh {
    fn new(definition: &Definition, config: Option<&Path>) -> Result<Self, Error> {
        let machine = |name: &str, role, destination: String| {
            let destination = destination.parse().map_err(|source| Error::Destination {
                machine: name.to_owned(),
                source,
            })?;
            let machine = deploy::Machine::new(name, role, destination);
            Ok::<_, Error>((name.to_owned(), machine))
        };
        let transport = OpenSsh::new(SshSettings {
            config: config.map(Path::to_owned),
            ..SshSettings::default()
        })
        .map_err(Error::Ssh)?;
        let nodes = definition
            .nodes
            .iter()
            .map(|node| machine(node.name.as_str(), Role::Node, node.destination()));
        let hosts = definition
            .hosts
            .iter()
            .map(|host| machine(host.name.as_str(), Role::Host, host.destination()));
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            hosts: hosts.collect::<Result<_, _>>()?,
            transport: Arc::new(transport),
        })
    }
}

impl Source for Ssh {
    fn ask(
        &self,
        machine: Machine<'_>,
        script: &str,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Unanswered> {
        let machine = match machine {
            Machine::Node(name) => self.nodes.get(name),
            Machine::Host(name) => self.hosts.get(name),
        }
        .ok_or_else(|| Unanswered::Local {
            detail: "it is not in the definition".to_owned(),
        })?;
        self.transport
            .run(machine, &Command::script(script), deadline)
            .map(|output| output.stdout)
            .map_err(|error| of_transport(error, deadline))
    }

    fn give_up(&self) {
        self.transport.end_running();
    }
}

fn of_transport(error: TransportError, deadline: Deadline) -> Unanswered {
    match error {
        TransportError::Unreachable { detail } => Unanswered::Unreachable { detail },
        TransportError::Refused { detail } => Unanswered::Refused { detail },
        TransportError::Local { detail } => Unanswered::Local { detail },
        _ if deadline.has_passed() => Unanswered::Late,
        error => Unanswered::Lost {
            detail: error.to_string(),
        },
    }
}
