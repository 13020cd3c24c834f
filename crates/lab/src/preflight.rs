//! What the machine must offer, checked before anything is changed.
//!
//! Looking ([`Machine::look`]) and judging ([`Need::lacking`]) are separate, so that every refusal can be
//! tested on any machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cache::Cache;
use crate::error::Error;
use crate::image;
use crate::spec::{Spec, Stack};
use crate::storage::{self, Server};

/// What a guest's QEMU takes beyond the guest's own memory, in MiB: translated code, buffers.
const QEMU_MIB: u64 = 220;
/// What building an image takes on disk at its peak, in MiB: packages, kernel, archives.
const BUILD_MIB: u64 = 1536;

/// Something the machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "lacking", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precondition {
    /// Not running as root.
    Root,
    /// Root, but without the right to make namespaces and network devices: an unprivileged container.
    Capabilities,
    /// Another processor architecture.
    Architecture {
        /// Which.
        found: String,
    },
    /// An image has to be built, and this is not Debian 12.
    Debian {
        /// What it is, as it calls itself.
        found: String,
    },
    /// An image has to be built, and apt has no source of Debian 12.
    AptSources,
    /// A program is missing.
    Program {
        /// Its name.
        program: String,
        /// Debian's package.
        package: String,
    },
    /// One of our own programs is missing.
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Too little memory is free.
    Memory {
        /// MiB needed.
        need_mib: u64,
        /// MiB free.
        free_mib: u64,
    },
    /// Too little room is left on disk.
    Disk {
        /// Where.
        path: PathBuf,
        /// MiB needed.
        need_mib: u64,
        /// MiB free.
        free_mib: u64,
    },
    /// There is no `/dev/net/tun`.
    Tun,
    /// The kernel has no network namespaces.
    NetworkNamespaces,
}

impl Precondition {
    /// What is lacking and what to do about it.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Root => "the lab needs root (network namespaces, taps, mounts): run it with sudo".to_owned(),
            Self::Capabilities => {
                "root here may not create network devices or mounts: run it outside a container, or in a privileged one"
                    .to_owned()
            }
            Self::Architecture { found } => format!("the lab's guests are x86-64, and this machine is {found}"),
            Self::Debian { found } => format!(
                "building the guest image needs Debian 12, and this is {found}: copy the image directory from a Debian 12 machine into the cache (PICKET_LAB_CACHE)"
            ),
            Self::AptSources => {
                "apt has no source of Debian 12 (suite bookworm, component main): add one below /etc/apt and run apt-get update"
                    .to_owned()
            }
            Self::Program { program, package } => {
                format!("the program {program} is missing: apt-get install {package}")
            }
            Self::NotBuilt { path } => format!(
                "{} is missing: build it with make build, or say with PICKET_BINDIR where it is",
                path.display()
            ),
            Self::Memory { need_mib, free_mib } => format!(
                "the guests need {need_mib} MiB of memory and {free_mib} MiB are free: end something, or use fewer nodes (--nodes)"
            ),
            Self::Disk {
                path,
                need_mib,
                free_mib,
            } => format!(
                "{need_mib} MiB are needed at {} and {free_mib} MiB are free: make room, or choose another place with PICKET_LAB_CACHE",
                path.display()
            ),
            Self::Tun => "there is no /dev/net/tun: load the module (modprobe tun)".to_owned(),
            Self::NetworkNamespaces => {
                "this kernel has no network namespaces (CONFIG_NET_NS): use one that has".to_owned()
            }
        }
    }

    /// All of `lacking`, one to a line.
    pub(crate) fn list(lacking: &[Self]) -> String {
        let mut text = String::from("this machine cannot hold the lab; nothing has been changed");
        for one in lacking {
            let _ = write!(text, "\n  - {}", one.message());
        }
        text
    }
}

/// Programs every `up` calls, and their packages.
const PROGRAMS: [(&str, &str); 11] = [
    ("ip", "iproute2"),
    ("libvirtd", "libvirt-daemon"),
    ("mke2fs", "e2fsprogs"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setsid", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("unshare", "util-linux"),
    ("virsh", "libvirt-clients"),
];
/// Programs that building an image calls.
const BUILD_PROGRAMS: [(&str, &str); 8] = [
    ("apt-config", "apt"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("mksquashfs", "squashfs-tools"),
    ("mmdebstrap", "mmdebstrap"),
    ("modprobe", "kmod"),
    ("sh", "dash"),
    ("xz", "xz-utils"),
];

/// What was seen of the machine.
#[derive(Debug, Clone)]
struct Machine {
    capable: bool,
    architecture: String,
    /// `ID` and `VERSION_ID` of os-release(5), and its own name for itself.
    system: (String, String, String),
    apt_sources: bool,
    missing_programs: Vec<(String, String)>,
    free_memory_mib: u64,
    free_disk_mib: u64,
    tun: bool,
    network_namespaces: bool,
    missing_own: Vec<PathBuf>,
}

/// What a particular lab asks of a machine.
#[derive(Debug, Clone)]
struct Need {
    guests: u64,
    /// Of all guests together.
    memory_mib: u64,
    /// No image exists yet.
    build: bool,
    cache: PathBuf,
}

/// Checks the machine for `spec`.
///
/// # Errors
/// [`Error::Preconditions`] with everything that is lacking; [`Error::BadSpec`].
pub fn check(spec: &Spec, cache: &Cache) -> Result<(), Error> {
    require_root()?;
    let build = image::find(cache)?.is_none();
    let nodes = spec.definition.nodes.len() as u64;
    let storage = Server::of(&spec.definition)?.map_or(0, |_| storage::MEMORY_MIB);
    let need = Need {
        guests: nodes + u64::from(storage > 0),
        memory_mib: nodes * u64::from(spec.memory_mib) + u64::from(storage),
        build,
        cache: cache.root().to_path_buf(),
    };
    let lacking = need.lacking(&Machine::look(spec, cache, build));
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(Error::Preconditions(lacking))
    }
}

/// Everything about a lab is root's own, so nothing of it can even be looked at without being root.
pub(crate) fn require_root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::Preconditions(vec![Precondition::Root]))
    }
}

impl Need {
    fn lacking(&self, machine: &Machine) -> Vec<Precondition> {
        let mut lacking = Vec::new();
        let mut require = |fine: bool, or: Precondition| {
            if !fine {
                lacking.push(or);
            }
        };
        require(machine.capable, Precondition::Capabilities);
        require(
            machine.architecture == "x86_64",
            Precondition::Architecture {
                found: machine.architecture.clone(),
            },
        );
        require(machine.network_namespaces, Precondition::NetworkNamespaces);
        require(machine.tun, Precondition::Tun);
        let need_mib = self.guests * QEMU_MIB + self.memory_mib;
        require(
            machine.free_memory_mib >= need_mib,
            Precondition::Memory {
                need_mib,
                free_mib: machine.free_memory_mib,
            },
        );
        let (id, version, name) = &machine.system;
        let is_debian_12 = id == "debian" && version == "12";
        require(
            !self.build || is_debian_12,
            Precondition::Debian {
                found: name.clone(),
            },
        );
        require(
            !self.build || !is_debian_12 || machine.apt_sources,
            Precondition::AptSources,
        );
        require(
            !self.build || machine.free_disk_mib >= BUILD_MIB,
            Precondition::Disk {
                path: self.cache.clone(),
                need_mib: BUILD_MIB,
                free_mib: machine.free_disk_mib,
            },
        );
        for (program, package) in machine.missing_programs.iter().cloned() {
            lacking.push(Precondition::Program { program, package });
        }
        lacking.extend(
            machine
                .missing_own
                .iter()
                .cloned()
                .map(|path| Precondition::NotBuilt { path }),
        );
        lacking
    }
}

impl Machine {
    fn look(spec: &Spec, cache: &Cache, build: bool) -> Self {
        let mut programs: Vec<(&str, &str)> = PROGRAMS.to_vec();
        if build {
            programs.extend(BUILD_PROGRAMS);
        }
        if spec.definition.nodes.iter().any(|node| !node.is_guest()) {
            programs.push((crate::bmc::SIMULATOR, "openipmi"));
        }
        let mut own = Vec::new();
        if spec.stack == Stack::Picket {
            own.push(crate::config::agents_binary(&spec.bindir));
        }
        match spec.stack {
            _ if spec.definition.virt().is_none() => {}
            Stack::C => programs.push(("fence_virtd", "fence-virtd")),
            Stack::Picket => own.push(crate::fencing::daemon_binary(&spec.bindir)),
        }
        if spec.definition.storage.iter().any(crate::target::serves) {
            own.push(crate::target::Target::binary(&spec.bindir));
        }
        own.retain(|path| !path.is_file());
        Self {
            capable: capable(),
            architecture: rustix::system::uname()
                .machine()
                .to_string_lossy()
                .into_owned(),
            system: system(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            apt_sources: !build || !image::apt_sources(Path::new("/etc/apt")).is_empty(),
            missing_programs: programs
                .into_iter()
                .filter(|(program, _)| !exists(program))
                .map(|(program, package)| (program.to_owned(), package.to_owned()))
                .collect(),
            free_memory_mib: free_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            free_disk_mib: free_disk(cache.root()),
            tun: Path::new("/dev/net/tun").exists(),
            network_namespaces: Path::new("/proc/self/ns/net").exists(),
            missing_own: own,
        }
    }
}

/// Whether a program is in the search path.
fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Whether this process may make network devices and mounts (capabilities(7): CAP_NET_ADMIN is bit 12,
/// CAP_SYS_ADMIN bit 21).
fn capable() -> bool {
    const NEEDED: u64 = 1 << 12 | 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .is_some_and(|effective| effective & NEEDED == NEEDED)
}

/// `ID`, `VERSION_ID` and `PRETTY_NAME` of os-release(5).
fn system(text: &str) -> (String, String, String) {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map_or_else(String::new, |(_, value)| {
                value.trim_matches(['"', '\'']).to_owned()
            })
    };
    let pretty = Some(field("PRETTY_NAME"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unknown system".to_owned());
    (field("ID"), field("VERSION_ID"), pretty)
}

/// `MemAvailable` of proc_meminfo(5), in MiB.
fn free_memory(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|value| {
            value
                .trim()
                .trim_end_matches(" kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib / 1024)
}

/// What is free on the file system that `path` is, or would be, on; in MiB.
pub(crate) fn free_disk(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|path| rustix::fs::statvfs(path).ok())
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Machine {
        Machine {
            capable: true,
            architecture: "x86_64".to_owned(),
            system: (
                "debian".to_owned(),
                "12".to_owned(),
                "Debian GNU/Linux 12 (bookworm)".to_owned(),
            ),
            apt_sources: true,
            missing_programs: Vec::new(),
            free_memory_mib: 1208,
            free_disk_mib: BUILD_MIB,
            tun: true,
            network_namespaces: true,
            missing_own: Vec::new(),
        }
    }

    fn need(build: bool) -> Need {
        Need {
            guests: 2,
            memory_mib: 2 * 384,
            build,
            cache: "/cache".into(),
        }
    }

    fn lacking(build: bool, change: impl FnOnce(&mut Machine)) -> Vec<Precondition> {
        let mut machine = good();
        change(&mut machine);
        need(build).lacking(&machine)
    }

    #[test]
    fn a_good_machine_lacks_nothing() {
        assert_eq!(lacking(true, |_| ()), []);
    }

    #[test]
    fn every_lack_is_named_with_its_remedy() {
        type Change = fn(&mut Machine);
        let cases: [(Change, &str); 8] = [
            (|machine| machine.capable = false, "container"),
            (
                |machine| machine.architecture = "aarch64".to_owned(),
                "aarch64",
            ),
            (
                |machine| machine.system.1 = "13".to_owned(),
                "needs Debian 12",
            ),
            (|machine| machine.apt_sources = false, "bookworm"),
            (
                |machine| machine.free_memory_mib = 1207,
                "1208 MiB of memory and 1207",
            ),
            (
                |machine| machine.free_disk_mib = 3,
                "1536 MiB are needed at /cache and 3",
            ),
            (|machine| machine.tun = false, "modprobe tun"),
            (
                |machine| machine.network_namespaces = false,
                "network namespaces",
            ),
        ];
        for (change, words) in cases {
            let found = lacking(true, change);
            assert_eq!(found.len(), 1, "{words}: {found:?}");
            let text = Error::Preconditions(found).to_string();
            assert!(
                text.contains(words) && text.contains("nothing has been changed"),
                "{text}"
            );
        }
    }

    #[test]
    fn missing_programs_name_their_package() {
        let found = lacking(false, |machine| {
            machine
                .missing_programs
                .push(("virsh".to_owned(), "libvirt-clients".to_owned()));
            machine.missing_own.push("/b/fence_virtd".into());
        });
        let text = Error::Preconditions(found).to_string();
        assert!(
            text.contains("apt-get install libvirt-clients") && text.contains("/b/fence_virtd"),
            "{text}"
        );
    }

    #[test]
    fn with_an_image_any_distribution_will_do() {
        let found = lacking(false, |machine| {
            machine.system.0 = "fedora".to_owned();
            machine.free_disk_mib = 0;
        });
        assert_eq!(found, []);
    }

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(free_memory("MemFree: 1 kB\nMemAvailable:   2048 kB\n"), 2);
        assert_eq!(free_memory(""), 0);
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(system(text).0, "debian");
        assert_eq!(system("").2, "an unknown system");
        assert!(free_disk(Path::new("/nonexistent/deep/down")) > 0);
    }
}
