//! How the platform of a definition is reached.
//!
//! libvirt is not linked into this program, which also runs on nodes that have none: whoever links it hands in
//! how it is opened ([`Platforms`]); where nobody did, the program `picket-libvirt` takes over.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::placement::Wish;
use ::placement::wish::NotOffered;
use cluster::{Definition, PlatformKind};
use hypervisor::placement::Placement;

use super::managed::Managed;
use crate::exit;

/// Opens hosts of these names and libvirt URIs as one platform.
pub type OpenLibvirt = fn(Vec<(String, String)>) -> Box<dyn Placement>;

/// What this program can reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Platforms {
    /// Hosts that run libvirt.
    pub libvirt: Option<OpenLibvirt>,
}

/// The program that has libvirt linked in.
const WITH_LIBVIRT: &str = "picket-libvirt";

/// Why a platform cannot be reached. Nothing has been asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("where guests run cannot be asked for on {0}: there is no interface for it here")]
    NotOffered(PlatformKind),
    #[error(
        "the definition names no hosts: add a `[[host]]` for each machine on which members may run"
    )]
    NoHosts,
    #[error(
        "the definition does not say how {kind} is reached: add `[platform.access]` with the options of {agent}, or a fencing device of it"
    )]
    NoAccess {
        kind: PlatformKind,
        agent: &'static str,
    },
    #[error("libvirt is reached by the program {WITH_LIBVIRT}, which cannot be run: {0}")]
    NoLibvirt(std::io::Error),
    #[error("{agent}: {why}")]
    Refused { agent: String, why: String },
}

impl Error {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotOffered(_) | Self::NoHosts | Self::NoAccess { .. } | Self::Refused { .. } => {
                exit::DEFINITION
            }
            Self::NoLibvirt(_) => exit::UNFIT,
        }
    }
}

impl From<NotOffered> for Error {
    fn from(NotOffered(kind): NotOffered) -> Self {
        Self::NotOffered(kind)
    }
}

/// Opens the platform of a definition; also says who is asked. Nothing is asked yet. Where signals do not end the
/// process, they end waits, and set `interrupted`.
pub(super) fn open(
    definition: &Definition,
    platforms: &Platforms,
    interrupted: &Arc<AtomicBool>,
) -> Result<(Box<dyn Placement>, String), Error> {
    if definition.platform.kind.has_libvirt() {
        let hosts = libvirt_hosts(definition)?;
        let Some(open) = platforms.libvirt else {
            return Err(Error::NoLibvirt(take_over()));
        };
        let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
        let asked = format!("libvirt on {}", names.join(", "));
        return Ok((open(hosts), asked));
    }
    let managed = Managed::of(definition)?;
    let asked = managed.address();
    let platform = managed.open(interrupted).map_err(|why| Error::Refused {
        agent: managed.agent.clone(),
        why,
    })?;
    Ok((platform, asked))
}

/// As [`open`], for who can go on without; or why it cannot be opened.
pub(crate) fn open_platform(
    definition: &Definition,
    platforms: &Platforms,
) -> Result<Box<dyn Placement>, String> {
    Wish::of(definition).map_err(|error| Error::from(error).to_string())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let opened = open(definition, platforms, &interrupted).map_err(|error| error.to_string());
    opened.map(|(platform, _)| platform)
}

/// Lets the program with libvirt carry out this command line. Returns only if it cannot.
fn take_over() -> std::io::Error {
    let beside = std::env::current_exe().ok().and_then(|own| {
        let path = own.parent()?.join(WITH_LIBVIRT);
        path.exists().then_some(path)
    });
    let program = beside.unwrap_or_else(|| PathBuf::from(WITH_LIBVIRT));
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec()
}

fn libvirt_hosts(definition: &Definition) -> Result<Vec<(String, String)>, Error> {
    let hosts = definition.hosts.iter().map(|host| {
        let uri = host.uri_from_elsewhere(definition.host_uri(host));
        (host.name.to_string(), uri)
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        return Err(Error::NoHosts);
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        Definition::parse("cluster.toml", text).unwrap()
    }

    #[test]
    fn hosts_are_reached_through_ssh_unless_they_say_otherwise() {
        let text = include_str!("../../../../examples/kvm.toml");
        let reached = libvirt_hosts(&definition(text)).unwrap();
        let uris: Vec<&str> = reached.iter().map(|(_, uri)| uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "qemu+ssh://root@192.0.2.1/system?no_tty=1",
                "qemu+ssh://root@192.0.2.2/system?no_tty=1",
                "qemu+ssh://admin@h3.example.org/system?no_tty=1",
            ]
        );
        let other = text.replacen(
            "address = \"192.0.2.1\"",
            "address = \"2001:db8::1\"\nremote_uri = \"qemu+tls://h1/system\"",
            1,
        );
        let reached = libvirt_hosts(&definition(&other)).unwrap();
        assert_eq!(reached[0].1, "qemu+tls://h1/system");
        let v6 = text.replacen("192.0.2.1", "2001:db8::1", 1);
        let reached = libvirt_hosts(&definition(&v6)).unwrap();
        assert_eq!(
            reached[0].1,
            "qemu+ssh://root@[2001:db8::1]/system?no_tty=1"
        );
    }
}
