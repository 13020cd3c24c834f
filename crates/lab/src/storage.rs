//! The storage guest: it serves the definition's iSCSI disks from inside the lab, with Linux's own target
//! (LIO), for the machine's own kernel may have none. Those that `picket-target` serves are [`crate::target`]'s.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use cluster::{Definition, Storage, StorageKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::spec::Node;

/// The storage guest's name. No node may have it.
pub(crate) const NAME: &str = "lab-storage";
/// Its memory in MiB: it runs nothing but the kernel's target.
pub(crate) const MEMORY_MIB: u32 = 256;
/// How Linux's target names disks: NAA 6, its own company number, 25 digits of the serial number.
const WWN: [&str; 2] = [
    "/dev/disk/by-id/wwn-0x6001405",
    // Over several paths: dm-multipath's name, without friendly ones.
    "/dev/mapper/36001405",
];
const DIGITS: usize = 25;
/// The first of the letters by which the guest knows the disks: a to c are its image, configuration and own.
const FIRST: u8 = b'd';
/// As many letters are left.
const MOST: usize = 22;

/// The storage guest of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Its name and first address.
    pub(crate) node: Node,
    /// What it serves.
    pub(crate) disks: Vec<Served>,
}

/// A disk that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Served {
    /// Its name in the definition.
    pub(crate) name: String,
    target: String,
    lun: u32,
    serial: String,
    portals: Vec<String>,
}

impl Server {
    /// The storage guest that `definition` needs, if any.
    pub(crate) fn of(definition: &Definition) -> Result<Option<Self>, Error> {
        let disks: Vec<_> = iscsi(definition)
            .filter(|storage| !crate::target::serves(storage))
            .collect();
        let Some(first) = disks.first() else {
            return Ok(None);
        };
        if disks.len() > MOST {
            return Err(bad(format!("the lab serves at most {MOST} iSCSI disks")));
        }
        let node = Node {
            name: NAME.to_owned(),
            address: portals(first)?
                .first()
                .map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address),
        };
        let mut taken = BTreeSet::new();
        for storage in &disks {
            if !taken.insert((
                storage.target.as_ref().map(ToString::to_string),
                lun(storage),
            )) {
                return Err(bad(format!(
                    "storage `{}` has the same target and unit number as another",
                    storage.name
                )));
            }
        }
        for member in &definition.nodes {
            let shared = |address: &IpAddr| {
                disks.iter().any(|disk| {
                    portals(disk).is_ok_and(|all| all.iter().any(|(portal, _)| portal == address))
                })
            };
            if member.name.as_str() == NAME || member.addresses.iter().any(shared) {
                return Err(bad(format!(
                    "node `{}` has the name or an address of the storage guest",
                    member.name
                )));
            }
        }
        let disks = disks
            .into_iter()
            .map(Served::of)
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { node, disks }))
    }

    /// The list that `guest/serve-disks` reads.
    pub(crate) fn list(&self) -> String {
        let mut text = String::new();
        for (served, letter) in self.disks.iter().zip(FIRST..) {
            let _ = writeln!(
                text,
                "{} {} {} vd{} {}",
                served.target,
                served.lun,
                served.serial,
                char::from(letter),
                served.portals.join(" ")
            );
        }
        text
    }

    /// The files behind the disks, with the names by which the guest knows them.
    pub(crate) fn files(&self, directory: &Path) -> Vec<(PathBuf, String)> {
        self.disks
            .iter()
            .zip(FIRST..)
            .map(|(served, letter)| {
                let file = directory.join(format!("{NAME}.{}.disk", served.name));
                (file, format!("vd{}", char::from(letter)))
            })
            .collect()
    }
}

impl Served {
    fn of(storage: &Storage) -> Result<Self, Error> {
        let target = target(storage)?;
        Ok(Self {
            serial: serial(storage),
            portals: portals(storage)?
                .iter()
                .map(|(address, port)| format!("{address}:{port}"))
                .collect(),
            lun: lun(storage),
            name: storage.name.to_string(),
            target,
        })
    }
}

/// The disks that the nodes reach over iSCSI.
pub(crate) fn iscsi(definition: &Definition) -> impl Iterator<Item = &Storage> {
    let disks = definition.storage.iter();
    disks.filter(|storage| storage.kind == StorageKind::Iscsi)
}

/// The name of a storage's target.
pub(crate) fn target(storage: &Storage) -> Result<String, Error> {
    if storage.chap.is_some() {
        return Err(bad(format!(
            "storage `{}` asks for CHAP, which the lab's target does not do",
            storage.name
        )));
    }
    let target = storage.target.as_ref().map(ToString::to_string);
    target.ok_or_else(|| bad(format!("storage `{}` has no target", storage.name)))
}

pub(crate) fn lun(storage: &Storage) -> u32 {
    storage.lun.map_or(0, |lun| lun.get())
}

/// The serial number that gives the disk the name the definition expects; else one made from its name.
fn serial(storage: &Storage) -> String {
    let device = storage.device.as_ref().map(ToString::to_string);
    let expected = device
        .as_deref()
        .and_then(|device| WWN.iter().find_map(|name| device.strip_prefix(name)))
        .filter(|digits| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    expected.map_or_else(
        || {
            let digest = Sha256::digest(storage.name.as_str());
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            digits[..DIGITS].to_owned()
        },
        str::to_owned,
    )
}

/// A storage's portals, which must lie in the lab's network.
pub(crate) fn portals(storage: &Storage) -> Result<Vec<(Ipv4Addr, u16)>, Error> {
    let portals: Vec<_> = storage
        .portals
        .iter()
        .map(|portal| {
            crate::config::inside(portal.address)
                .map(|address| (address, portal.port.get()))
                .ok_or_else(|| {
                    bad(format!(
                        "storage `{}` has the portal {portal}; in the lab every address lies in 10.9.0.0/24, and {} is the host's",
                        storage.name,
                        crate::HOST_ADDRESS
                    ))
                })
        })
        .collect::<Result<_, _>>()?;
    if portals.is_empty() {
        return Err(bad(format!("storage `{}` has no portal", storage.name)));
    }
    Ok(portals)
}

pub(crate) const fn bad(reason: String) -> Error {
    Error::BadSpec { reason }
}
