//! The guests' second disk: a tar archive of what makes them this lab's guests, and our agents. Unpacked
//! when a guest boots for the first time; the cluster itself is put on them afterwards, as on real machines.
//!
//! The same for every guest (one learns its name from the kernel's command line), and the same bytes for
//! the same contents, so that its hash can say whether a saved lab is still the one wanted.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use cluster::{Definition, File, Owner};

use crate::bmc::Controller;
use crate::error::Error;
use crate::spec::{Node, Spec, Stack};
use crate::ssh::Keys;
use crate::storage::Server;

/// Where the guests' multi-call agent binary is; the agents' names are links to it.
const AGENTS: &str = "usr/lib/picket/picket-agents";
/// The agents' names, in `/usr/sbin`, where Pacemaker's fencer looks for them.
const AGENT_NAMES: [&str; 3] = ["fence_scsi", "fence_virt", "fence_xvm"];

/// A tar archive in POSIX ustar format (IEEE Std 1003.1, pax, "ustar Interchange Format").
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
}

/// Type flags of ustar.
mod flag {
    pub(super) const FILE: u8 = b'0';
    pub(super) const SYMLINK: u8 = b'2';
    pub(super) const DIRECTORY: u8 = b'5';
}

struct Member<'a> {
    path: &'a str,
    flag: u8,
    mode: u32,
    owner: Owner,
    link: &'a str,
    contents: &'a [u8],
}

impl Tar {
    fn add(&mut self, member: &Member<'_>) -> Result<(), Error> {
        let too_long = || Error::BadSpec {
            reason: format!("the path {} is too long for a tar archive", member.path),
        };
        let mut header = [0_u8; 512];
        put(&mut header[0..100], member.path.as_bytes()).ok_or_else(too_long)?;
        octal(&mut header[100..108], u64::from(member.mode));
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], member.contents.len() as u64);
        octal(&mut header[136..148], 0);
        header[148..156].fill(b' ');
        header[156] = member.flag;
        put(&mut header[157..257], member.link.as_bytes()).ok_or_else(too_long)?;
        header[257..265].copy_from_slice(b"ustar\x0000");
        // By name: the numbers are whatever the guest's packages were given.
        put(&mut header[265..297], member.owner.user().as_bytes()).ok_or_else(too_long)?;
        put(&mut header[297..329], member.owner.group().as_bytes()).ok_or_else(too_long)?;
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut header[148..155], sum);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(member.contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, owner: Owner, contents: &[u8]) -> Result<(), Error> {
        self.add(&Member {
            path,
            flag: flag::FILE,
            mode,
            owner,
            link: "",
            contents,
        })
    }

    fn directory(&mut self, path: &str, mode: u32, owner: Owner) -> Result<(), Error> {
        self.add(&Member {
            path,
            flag: flag::DIRECTORY,
            mode,
            owner,
            link: "",
            contents: &[],
        })
    }

    fn symlink(&mut self, path: &str, link: &str) -> Result<(), Error> {
        self.add(&Member {
            path,
            flag: flag::SYMLINK,
            mode: 0o777,
            owner: Owner::Root,
            link,
            contents: &[],
        })
    }

    /// Two empty blocks end it; a whole number of 4096-byte pages suits a disk.
    fn finish(mut self) -> Vec<u8> {
        self.bytes
            .resize((self.bytes.len() + 1024).next_multiple_of(4096), 0);
        self.bytes
    }
}

fn put(field: &mut [u8], bytes: &[u8]) -> Option<()> {
    field.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(())
}

/// Octal digits with leading zeros; the last byte stays zero.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for place in field[..digits].iter_mut().rev() {
        // A digit is below 8.
        *place = b'0' + u8::try_from(value & 7).unwrap_or_default();
        value >>= 3;
    }
}

/// What the second disk is made of, besides what is in `spec`.
pub(crate) struct Contents<'a> {
    pub(crate) nodes: &'a [Node],
    pub(crate) storage: Option<&'a Server>,
    pub(crate) controllers: &'a [Controller],
    pub(crate) keys: &'a Keys,
}

/// The archive for `spec`: nothing of the cluster itself.
pub(crate) fn archive(spec: &Spec, contents: &Contents<'_>) -> Result<Vec<u8>, Error> {
    let mut tar = Tar::default();
    let hosts = hosts(contents.nodes, contents.storage);
    tar.file("etc/hosts", 0o644, Owner::Root, hosts.as_bytes())?;
    if let Some(storage) = contents.storage {
        tar.file("lab/disks", 0o644, Owner::Root, storage.list().as_bytes())?;
    }
    tar.directory("root", 0o700, Owner::Root)?;
    tar.directory("root/.ssh", 0o700, Owner::Root)?;
    let authorized = contents.keys.authorized();
    tar.file("root/.ssh/authorized_keys", 0o600, Owner::Root, authorized)?;
    let host_key = contents.keys.of_guests();
    tar.file("etc/ssh/ssh_host_ed25519_key", 0o600, Owner::Root, host_key)?;
    if spec.stack == Stack::Picket {
        let binary = agents_binary(&spec.bindir);
        let bytes = fs::read(&binary).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotBuilt {
                path: binary.clone(),
            },
            _ => Error::io("read", &binary)(source),
        })?;
        tar.directory("usr/lib/picket", 0o755, Owner::Root)?;
        tar.file(AGENTS, 0o755, Owner::Root, &bytes)?;
        for name in AGENT_NAMES {
            tar.symlink(&format!("usr/sbin/{name}"), &format!("/{AGENTS}"))?;
        }
    }
    let secrets: Vec<_> = contents
        .controllers
        .iter()
        .map(Controller::secret)
        .collect();
    add_files(&mut tar, &secrets)?;
    add_files(&mut tar, &spec.extra_files)?;
    Ok(tar.finish())
}

fn add_files(tar: &mut Tar, files: &[File]) -> Result<(), Error> {
    for file in files {
        let path = file.path.to_string_lossy();
        tar.file(
            path.trim_start_matches('/'),
            file.mode,
            file.owner,
            &file.bytes,
        )?;
    }
    Ok(())
}

/// Our agents, as built.
pub(crate) fn agents_binary(bindir: &Path) -> std::path::PathBuf {
    bindir.join("picket-agents")
}

fn hosts(nodes: &[Node], storage: Option<&Server>) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for node in nodes.iter().chain(storage.map(|storage| &storage.node)) {
        text.push_str(&format!("{} {}\n", node.address, node.name));
    }
    text
}

/// An address as one of the lab's network, unless it is the host's.
pub(crate) fn inside(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4)
            if v4.octets()[..3] == crate::HOST_ADDRESS.octets()[..3]
                && v4 != crate::HOST_ADDRESS =>
        {
            Some(v4)
        }
        _ => None,
    }
}

/// The nodes of a definition, if they fit into the lab.
pub(crate) fn nodes(definition: &Definition) -> Result<Vec<Node>, Error> {
    let bad = |reason: String| Error::BadSpec { reason };
    if definition.nodes.len() > crate::MAX_NODES {
        return Err(bad(format!(
            "it has {} nodes, and the lab has room for {}",
            definition.nodes.len(),
            crate::MAX_NODES
        )));
    }
    let outside = |what: &str, address: IpAddr| {
        bad(format!(
            "{what} has the address {address}; in the lab every address lies in 10.9.0.0/24, and {} is the host's",
            crate::HOST_ADDRESS
        ))
    };
    for service in &definition.services {
        if let Some(address) = service.virtual_ip.map(|interface| interface.address)
            && inside(address).is_none()
        {
            return Err(outside(&format!("service `{}`", service.name), address));
        }
    }
    definition
        .nodes
        .iter()
        .map(|node| {
            Ok(Node {
                name: node.name.as_str().to_owned(),
                address: inside(node.address())
                    .ok_or_else(|| outside(&format!("node `{}`", node.name), node.address()))?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_lists_what_is_written() {
        let mut tar = Tar::default();
        tar.directory("etc/pacemaker", 0o750, Owner::Pacemaker)
            .unwrap();
        tar.file("etc/a", 0o640, Owner::Root, b"12345").unwrap();
        tar.symlink("usr/sbin/fence_xvm", "/usr/lib/x").unwrap();
        let bytes = tar.finish();
        assert_eq!(bytes.len() % 4096, 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        fs::write(&path, bytes).unwrap();
        let output = Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..2], ["drwxr-x---", "hacluster/haclient"]);
        assert_eq!(lines[1][..3], ["-rw-r-----", "root/root", "5"]);
        assert_eq!(lines[2][5..], ["usr/sbin/fence_xvm", "->", "/usr/lib/x"]);
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let path = "x".repeat(101);
        assert!(Tar::default().file(&path, 0o644, Owner::Root, b"").is_err());
    }

    #[test]
    fn addresses_outside_the_lab_are_refused() {
        let text = |address: &str, vip: &str| {
            format!(
                "[cluster]\nname = \"web\"\n[platform]\nkind = \"kvm\"\n[[node]]\nname = \"n1\"\naddress = \"{address}\"\n[[node]]\nname = \"n2\"\n\
                 address = \"10.9.0.2\"\n[[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\n[[service]]\nname = \"web\"\n\
                 virtual_ip = \"{vip}/16\"\nhttp = {{ port = 80 }}\n"
            )
        };
        let definition =
            |address, vip| Definition::parse("test.toml", &text(address, vip)).unwrap();
        let good = nodes(&definition("10.9.0.1", "10.9.0.100")).unwrap();
        assert_eq!(good[0].name, "n1");
        for (address, vip) in [
            ("10.9.0.254", "10.9.0.100"),
            ("10.9.1.1", "10.9.0.100"),
            ("10.9.0.1", "10.9.1.100"),
        ] {
            let error = nodes(&definition(address, vip)).unwrap_err().to_string();
            assert!(error.contains("10.9.0.0/24"), "{error}");
        }
    }
}
