//! From a definition to the files of its machines.
//!
//! | module | knows |
//! |---|---|
//! | `corosync` | the membership's configuration |
//! | `cib` | Pacemaker's: fencing, services, clustered storage |
//! | `secret_scripts` | how agents get passwords that stand in no configuration |
//! | `storage`, `watchdog`, `units` | what a node needs besides |
//! | `setup` | what makes the storage ready, step by step |
//! | `fence_virt`, `libvirt` | what a host needs |
//! | `instructions` | what somebody must do by hand |

mod cib;
mod corosync;
mod fence_virt;
mod instructions;
mod libvirt;
mod secret_scripts;
mod setup;
mod storage;
mod units;
mod watchdog;
mod xml;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::definition::{Definition, Dialect, Host, Node};
use crate::secrets::Secrets;
use crate::types::Invalid;

pub use libvirt::guest_domain;
pub use setup::{Phase, SetupStep, storage_setup};
pub use units::{Units, host_units, node_units};

/// Where the nodes' Corosync writes its log.
pub const COROSYNC_LOG: &str = "/var/log/corosync/corosync.log";

/// Where the nodes' Pacemaker writes its log: its own default.
pub const PACEMAKER_LOG: &str = "/var/log/pacemaker/pacemaker.log";

/// Where the nodes keep the resource agent [`crate::HTTPD_OCF`].
pub const HTTPD_PATH: &str = "/usr/lib/ocf/resource.d/picket/httpd";

/// Where Pacemaker's configuration belongs before its first start. It owns the file once it runs.
pub const CIB: &str = "/var/lib/pacemaker/cib/cib.xml";

/// Where the nodes keep the script that [`storage_setup`] calls.
pub const STORAGE_SETUP: &str = "/etc/picket/storage-setup";

/// The owner of a rendered file, by name: numbers differ between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// `root:root`
    Root,
    /// `hacluster:haclient`, as whom most of Pacemaker's daemons run.
    Pacemaker,
}

impl Owner {
    /// The user's name.
    #[must_use]
    pub const fn user(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Pacemaker => "hacluster",
        }
    }

    /// The group's name.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Pacemaker => "haclient",
        }
    }
}

/// A rendered file. May hold secrets: see its mode.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it belongs: an absolute path.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: Owner,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl File {
    fn new(path: impl Into<PathBuf>, mode: u32, owner: Owner, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode,
            owner,
            bytes: bytes.into(),
        }
    }
}

/// Without the content: it may be secret.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            mode,
            owner,
            bytes,
        } = self;
        write!(
            f,
            "{} {mode:04o} {}:{} {} bytes",
            path.display(),
            owner.user(),
            owner.group(),
            bytes.len()
        )
    }
}

/// The files of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The files, sorted by path; no two have the same.
    pub files: Vec<File>,
}

impl Rendered {
    /// Of two files at one path the first is kept.
    fn of(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|later, earlier| later.path == earlier.path);
        Self { files }
    }

    /// The file at `path`, if it is among them.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&File> {
        self.files.iter().find(|file| file.path == path.as_ref())
    }
}

/// What the administrator may choose for the rendering alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenderOptions {
    /// How the cluster options are spelled, whatever the definition says.
    pub dialect: Option<Dialect>,
}

impl RenderOptions {
    /// With the cluster options spelled in this dialect.
    #[must_use]
    pub const fn in_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }
}

/// The files of a node.
///
/// [`CIB`] is for a cluster that starts for the first time. Passwords are in none of the files: options
/// of agents name scripts that print a file which the administrator keeps on the node.
#[must_use]
pub fn render_node(
    definition: &Definition,
    node: &Node,
    secrets: &Secrets,
    options: &RenderOptions,
) -> Rendered {
    own_files(definition, node, common_files(definition, secrets, options))
}

/// The files of every node, in the order of the definition; as [`render_node`] gives them, but what is
/// the same on all of them is made once.
#[must_use]
pub fn render_nodes(
    definition: &Definition,
    secrets: &Secrets,
    options: &RenderOptions,
) -> Vec<Rendered> {
    let common = common_files(definition, secrets, options);
    definition
        .nodes
        .iter()
        .map(|node| own_files(definition, node, common.clone()))
        .collect()
}

fn own_files(definition: &Definition, node: &Node, mut files: Vec<File>) -> Rendered {
    files.extend(storage::files(definition, node));
    files.extend(watchdog::files(definition, node));
    Rendered::of(files)
}

/// Pacemaker's configuration alone, as it stands in [`CIB`]. It holds no secret.
#[must_use]
pub fn pacemaker_configuration(definition: &Definition, options: &RenderOptions) -> Vec<u8> {
    let dialect = options.dialect.unwrap_or(definition.options.dialect);
    cib::xml(definition, dialect)
}

/// The files that are the same on every node.
fn common_files(definition: &Definition, secrets: &Secrets, options: &RenderOptions) -> Vec<File> {
    let mut files = vec![
        File::new(
            "/etc/corosync/corosync.conf",
            0o644,
            Owner::Root,
            corosync::conf(definition),
        ),
        File::new(
            "/etc/corosync/authkey",
            0o400,
            Owner::Root,
            secrets.corosync(),
        ),
        File::new(
            "/etc/pacemaker/authkey",
            0o440,
            Owner::Pacemaker,
            secrets.pacemaker(),
        ),
        File::new(
            CIB,
            0o600,
            Owner::Pacemaker,
            pacemaker_configuration(definition, options),
        ),
    ];
    if definition
        .services
        .iter()
        .any(|service| service.http.is_some())
    {
        files.push(File::new(HTTPD_PATH, 0o755, Owner::Root, crate::HTTPD_OCF));
    }
    for device in &definition.fence_devices {
        if let Some(virt) = device.virt() {
            let key = virt.key_file.as_path();
            files.push(File::new(key, 0o600, Owner::Root, secrets.fencing()));
        }
        let scripts = secret_scripts::of(device);
        files.extend(scripts.map(|script| File::new(script.path, 0o700, Owner::Root, script.text)));
    }
    files
}

/// What `fence_virtd`'s configuration needs to know about the host besides the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Where the configuration belongs.
    pub conf_path: PathBuf,
    /// Where the host keeps the key that it shares with the guests.
    pub key_path: PathBuf,
    /// The network interface on which requests arrive; `None` leaves the choice to the kernel.
    pub interface: Option<String>,
    /// The address on which requests over TCP arrive; `None` means all of the host's.
    pub address: Option<IpAddr>,
    /// The libvirt connection URI.
    pub uri: String,
    /// Where the C `fence_virtd` finds its modules. Picket's has none and ignores it.
    pub module_path: Option<String>,
    /// Where Picket's `fence_virtd` keeps its audit records; `None` leaves it at the usual place. The C
    /// daemon has none and ignores it.
    pub audit_log: Option<PathBuf>,
}

impl HostSettings {
    /// The usual places on a host whose guests run under the system's libvirt, and what the definition
    /// says about the host.
    #[must_use]
    pub fn usual(definition: &Definition, host: Option<&Host>) -> Self {
        let virt = definition.virt();
        let virtd = definition.fence_virtd.as_ref();
        Self {
            conf_path: "/etc/fence_virt.conf".into(),
            key_path: virt.map_or_else(
                || "/etc/cluster/fence_xvm.key".into(),
                |virt| virt.key_file.as_path().into(),
            ),
            interface: virtd
                .and_then(|virtd| virtd.interface.as_ref())
                .map(ToString::to_string),
            address: host.and_then(|host| host.address),
            uri: host
                .map_or("qemu:///system", |host| definition.host_uri(host))
                .to_owned(),
            module_path: None,
            audit_log: virtd
                .and_then(|virtd| virtd.audit_log.as_ref())
                .map(|path| path.as_path().to_owned()),
        }
    }
}

/// The files of a host: `fence_virtd`'s configuration and its key. None if no device asks it.
///
/// # Errors
/// If a setting holds a character that the configuration's grammar cannot express.
pub fn render_host(
    definition: &Definition,
    secrets: &Secrets,
    settings: &HostSettings,
) -> Result<Rendered, Invalid> {
    let Some(conf) = fence_virt::conf(definition, settings)? else {
        return Ok(Rendered::of(Vec::new()));
    };
    Ok(Rendered::of(vec![
        File::new(&settings.conf_path, 0o600, Owner::Root, conf),
        File::new(&settings.key_path, 0o600, Owner::Root, secrets.fencing()),
    ]))
}

/// What a host's administrator gives to its guests with `virsh attach-device GUEST FILE --config`: a
/// file per device and guest, for the guests of this host and those that may run anywhere. Empty on
/// platforms without libvirt.
#[must_use]
pub fn render_guest_devices(definition: &Definition, host: &Host) -> Rendered {
    Rendered::of(libvirt::files(definition, host))
}

/// What must be done by hand, on the platform and on the machines: one file, `/instructions.md`.
#[must_use]
pub fn instructions(definition: &Definition) -> Rendered {
    let text = instructions::text(definition);
    Rendered::of(vec![File::new(
        "/instructions.md",
        0o644,
        Owner::Root,
        text,
    )])
}
