//! `picket-target` outside the guests: it serves those iSCSI disks of a definition whose `server` it is.
//!
//! It runs in the lab's network namespace, at the portals' addresses. Each portal is a portal group, and so a
//! target port, of its own, as those of a storage system with two controllers are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Definition, Storage};
use deadline::Deadline;
use serde::{Deserialize, Serialize};
use target::control::{Reply, Request, ask};

use crate::command::{Call, Cancel, wait_for};
use crate::error::Error;
use crate::libvirt::tail;
use crate::net::NetNs;
use crate::spec::Node;
use crate::storage::{self, bad};

/// What a definition calls it.
const SERVER: &str = "picket-target";
/// The program.
pub(crate) const PROGRAM: &str = "picket-target";
const START_LIMIT: Duration = Duration::from_secs(60);
/// How multipathd names its disks on Debian, before the serial number.
const CALLED: &str = "/dev/mapper/1PICKET_";
/// What the server takes, in bytes.
const LONGEST_SERIAL: usize = 32;

/// Whether `storage` is served by `picket-target`.
pub(crate) fn serves(storage: &Storage) -> bool {
    let server = storage.server.as_ref();
    server.is_some_and(|server| server.as_str().eq_ignore_ascii_case(SERVER))
}

/// The server of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    portals: Vec<(Ipv4Addr, u16)>,
    disks: Vec<Disk>,
}

/// A disk that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Disk {
    /// Its name in the definition.
    name: String,
    target: String,
    lun: u32,
    serial: String,
}

/// A disk and who may write to it, as its server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reserved {
    /// The disk's name in the definition.
    pub disk: String,
    /// The type of the reservation, if there is one.
    pub reservation: Option<String>,
    /// All registrations.
    pub registrations: Vec<Registration>,
}

/// A registration: a path from a node to a disk, and the node's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// The initiator's name.
    pub initiator: String,
    /// The node that uses this name in a session, if there is such a session.
    pub node: Option<String>,
    /// The key, in hexadecimal digits after `0x`.
    pub key: String,
    /// Whether it holds the reservation.
    pub holds: bool,
}

impl Target {
    /// The server that `definition` needs, if any.
    pub(crate) fn of(definition: &Definition) -> Result<Option<Self>, Error> {
        let served: Vec<_> = storage::iscsi(definition)
            .filter(|one| serves(one))
            .collect();
        if served.is_empty() {
            return Ok(None);
        }
        let mut portals = Vec::new();
        let mut disks = Vec::new();
        for storage in served {
            for portal in storage::portals(storage)? {
                if !portals.contains(&portal) {
                    portals.push(portal);
                }
            }
            disks.push(Disk {
                name: storage.name.to_string(),
                target: storage::target(storage)?,
                lun: storage::lun(storage),
                serial: serial(storage),
            });
        }
        Ok(Some(Self { portals, disks }))
    }

    /// The addresses that it needs.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<_> = self.portals.iter().map(|(address, _)| *address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Its program, as built.
    pub(crate) fn binary(bindir: &Path) -> PathBuf {
        bindir.join(PROGRAM)
    }

    /// Starts it, and waits until it says that it serves. Its disks, of `mib` MiB each, are made by itself.
    pub(crate) fn start(
        &self,
        netns: &NetNs,
        bindir: &Path,
        directory: &Path,
        mib: u64,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        for address in self.addresses() {
            netns.add_address(address, cancel)?;
        }
        let conf = directory.join("target.toml");
        let text = self.configuration(directory, mib);
        fs::write(&conf, text).map_err(Error::io("write", &conf))?;
        let log = log(directory);
        let mut child = Call::detached("nsenter")
            .arg(format!("--net={}", netns.path().display()))
            .arg("--")
            .arg(Self::binary(bindir))
            .arg("--config")
            .arg(&conf)
            .daemon(&log)?;
        wait_for(
            "starting picket-target",
            Deadline::after(START_LIMIT),
            cancel,
            || {
                let ended = child.try_wait().map_err(Error::io("wait for", PROGRAM))?;
                if ended.is_some() {
                    return Err(Error::Ended {
                        what: PROGRAM,
                        log: log.clone(),
                        tail: tail(&log),
                    });
                }
                let soon = Deadline::after(Duration::from_secs(5));
                let answered = ask(&socket(directory), &Request::Targets {}, soon);
                Ok(matches!(answered, Ok(Reply::Targets { .. })).then_some(()))
            },
            || tail(&log),
        )
    }

    /// Its configuration. Paths below the lab's directory hold no character that TOML would want escaped: a lab's
    /// name and a storage's have none.
    fn configuration(&self, directory: &Path, mib: u64) -> String {
        let portals: Vec<String> = (1..)
            .zip(&self.portals)
            .map(|(group, (address, port)): (u16, _)| format!("\"{address}:{port},{group}\""))
            .collect();
        let mut text = format!(
            "listen = [{}]\ncontrol = \"{}\"\nstate = \"{}\"\n",
            portals.join(", "),
            socket(directory).display(),
            directory.join("target.reservations").display()
        );
        let mut targets: BTreeMap<&str, Vec<&Disk>> = BTreeMap::new();
        for disk in &self.disks {
            targets.entry(&disk.target).or_default().push(disk);
        }
        for (name, disks) in targets {
            // Whoever asks may write: only the lab's guests reach this network.
            let _ = write!(
                text,
                "\n[[target]]\nname = \"{name}\"\n[[target.initiator]]\nname = \"*\"\n"
            );
            for disk in disks {
                let _ = write!(
                    text,
                    "[[target.lun]]\nnumber = {}\npath = \"{}\"\nsize = \"{mib}MiB\"\nserial = \"{}\"\n",
                    disk.lun,
                    disk.file(directory).display(),
                    disk.serial
                );
            }
        }
        text
    }

    /// Who may write to which disk, as the server says. `nodes` tell whose a session is.
    pub(crate) fn reserved(
        &self,
        directory: &Path,
        nodes: &[Node],
        deadline: Deadline,
    ) -> Result<Vec<Reserved>, Error> {
        let asked = |request| {
            ask(&socket(directory), &request, deadline).map_err(|error| no_answer(&error))
        };
        let (Reply::Targets { targets }, Reply::Sessions { sessions }) =
            (asked(Request::Targets {})?, asked(Request::Sessions {})?)
        else {
            return Err(no_answer(&"it answered something else than was asked"));
        };
        let node_of = |initiator: &str| {
            let mut theirs = sessions.iter().filter(|one| one.initiator == initiator);
            theirs.find_map(|session| {
                let peer: SocketAddr = session.peer.parse().ok()?;
                let node = nodes.iter().find(|node| peer.ip() == node.address)?;
                Some(node.name.clone())
            })
        };
        let units = targets.iter().flat_map(|target| {
            let units = target.units.iter();
            units.map(move |unit| (target.name.as_str(), unit))
        });
        let mut all = Vec::new();
        for (name, unit) in units {
            let known = self
                .disks
                .iter()
                .find(|disk| disk.target == name && disk.lun == u32::from(unit.lun));
            let (Some(disk), Some(reservations)) = (known, &unit.reservations) else {
                continue;
            };
            let registrations = reservations.registrations.iter().map(|one| Registration {
                node: node_of(&one.initiator),
                initiator: one.initiator.clone(),
                key: one.key.clone(),
                holds: one.holds,
            });
            all.push(Reserved {
                disk: disk.name.clone(),
                reservation: reservations.held.clone(),
                registrations: registrations.collect(),
            });
        }
        Ok(all)
    }
}

impl Disk {
    fn file(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{PROGRAM}.{}.disk", self.name))
    }
}

fn no_answer(why: &dyn std::fmt::Display) -> Error {
    Error::Program {
        program: PROGRAM.to_owned(),
        doing: "telling who may write".to_owned(),
        detail: why.to_string(),
    }
}

/// The serial number by which guests call the disk as the definition expects; else its name.
fn serial(storage: &Storage) -> String {
    let device = storage.device.as_ref().map(ToString::to_string);
    let expected = device
        .as_deref()
        .and_then(|device| device.strip_prefix(CALLED))
        .filter(|serial| !serial.is_empty() && serial.len() <= LONGEST_SERIAL);
    expected.map_or_else(
        || {
            let name = storage.name.as_str();
            name.chars().take(LONGEST_SERIAL).collect()
        },
        str::to_owned,
    )
}

/// What it prints.
pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join("picket-target.log")
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("target.sock")
}

/// No two disks are the same unit of the same target, and no node has a portal's address.
pub(crate) fn check(definition: &Definition, target: &Target) -> Result<(), Error> {
    for node in &definition.nodes {
        let taken = |address: &&Ipv4Addr| node.addresses.contains(&(**address).into());
        if let Some(address) = target.addresses().iter().find(taken) {
            return Err(bad(format!(
                "node `{}` has the address {address} of a portal",
                node.name
            )));
        }
    }
    for (at, disk) in target.disks.iter().enumerate() {
        let same = |other: &&Disk| other.target == disk.target && other.lun == disk.lun;
        if let Some(other) = target.disks[..at].iter().find(same) {
            return Err(bad(format!(
                "storage `{}` has the same target and unit number as `{}`",
                disk.name, other.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../examples/kvm-scsi.toml");

    fn example() -> (Definition, Target) {
        let definition = Definition::parse("kvm-scsi.toml", TEXT).unwrap();
        let target = Target::of(&definition).unwrap().unwrap();
        (definition, target)
    }

    #[test]
    fn the_server_takes_what_is_written_for_it() {
        let (definition, target) = example();
        check(&definition, &target).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target.toml");
        fs::write(&path, target.configuration(directory.path(), 64)).unwrap();
        let config = target::config::load(&path).unwrap();
        assert_eq!(config.targets.len(), 1);
        let groups: Vec<u16> = config.listen.iter().map(|portal| portal.group).collect();
        assert_eq!(groups, [1, 2], "each portal is a port of its own");
        let disk = &config.targets[0].luns[0].disk;
        assert_eq!(disk.store.size, Some(64 << 20));
        // The example's device is called after it.
        assert_eq!(disk.serial.as_deref(), Some("366967d5fcf9c3f0"));
    }

    #[test]
    fn its_disks_are_not_the_storage_guests() {
        let (definition, _) = example();
        assert_eq!(storage::Server::of(&definition).unwrap(), None);
        let other = TEXT.replace("server = \"picket-target\"", "server = \"lio\"");
        let definition = Definition::parse("kvm-scsi.toml", &other).unwrap();
        assert_eq!(Target::of(&definition).unwrap(), None);
        assert!(storage::Server::of(&definition).unwrap().is_some());
    }

    #[test]
    fn a_portal_at_a_nodes_address_is_refused() {
        let text = TEXT.replace("\"10.9.0.41:3260\"", "\"10.9.0.1:3260\"");
        assert_ne!(text, TEXT);
        let definition = Definition::parse("kvm-scsi.toml", &text).unwrap();
        let target = Target::of(&definition).unwrap().unwrap();
        assert!(check(&definition, &target).is_err());
    }
}
