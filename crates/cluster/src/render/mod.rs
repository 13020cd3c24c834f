//! From a definition to the files of the guests and of the host.

mod cib;
mod corosync;
mod fence_virt;

use std::path::{Path, PathBuf};

use crate::definition::Definition;
use crate::secrets::Secrets;
use crate::types::{Invalid, PlainPath};

/// Where the guests' Corosync writes its log.
pub const COROSYNC_LOG: &str = "/var/log/corosync/corosync.log";

/// Where the guests' Pacemaker writes its log: its own default.
pub const PACEMAKER_LOG: &str = "/var/log/pacemaker/pacemaker.log";

/// Where the guests keep the resource agent [`crate::HTTPD_OCF`].
pub const HTTPD_PATH: &str = "/usr/lib/ocf/resource.d/picket/httpd";

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

/// The files of one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The files, sorted by path.
    pub files: Vec<File>,
}

impl Rendered {
    fn of(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// The file at `path`, if it is among them.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&File> {
        self.files.iter().find(|file| file.path == path.as_ref())
    }
}

/// The files every guest of the cluster gets; they are the same on all of them.
///
/// `/var/lib/pacemaker/cib/cib.xml` is for a cluster that starts for the first time: Pacemaker owns
/// the file once it runs.
#[must_use]
pub fn render_guests(definition: &Definition, secrets: &Secrets) -> Rendered {
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
            "/var/lib/pacemaker/cib/cib.xml",
            0o600,
            Owner::Pacemaker,
            cib::xml(definition),
        ),
        File::new(HTTPD_PATH, 0o755, Owner::Root, crate::HTTPD_OCF),
    ];
    if let Some(virt) = definition.virt() {
        let path = virt.key_file.as_path();
        files.push(File::new(path, 0o600, Owner::Root, secrets.fencing()));
    }
    Rendered::of(files)
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
    /// The libvirt connection URI.
    pub uri: String,
    /// Where the C `fence_virtd` finds its modules. Picket's has none and ignores it.
    pub module_path: Option<String>,
}

impl HostSettings {
    /// The usual places on a host whose guests run under the system's libvirt.
    #[must_use]
    pub fn usual(definition: &Definition) -> Self {
        Self {
            conf_path: "/etc/fence_virt.conf".into(),
            key_path: definition
                .virt()
                .map_or_else(PlainPath::default_key_file, |virt| virt.key_file)
                .as_path()
                .into(),
            interface: None,
            uri: "qemu:///system".into(),
            module_path: None,
        }
    }
}

/// The files of the host: `fence_virtd`'s configuration and its key.
///
/// # Errors
/// If a setting holds a character that the configuration's grammar cannot express.
pub fn render_host(
    definition: &Definition,
    secrets: &Secrets,
    settings: &HostSettings,
) -> Result<Rendered, Invalid> {
    let conf = fence_virt::conf(definition, settings)?;
    Ok(Rendered::of(vec![
        File::new(&settings.conf_path, 0o600, Owner::Root, conf),
        File::new(&settings.key_path, 0o600, Owner::Root, secrets.fencing()),
    ]))
}
