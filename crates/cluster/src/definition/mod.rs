//! From the text of a `cluster.toml` to a [`Definition`] that cannot be wrong.
//!
//! Single values are checked by their types while they are read (`types`), one table after the other
//! (`document`); what concerns several values together is checked in `check`, all of it, before the text
//! is refused.

mod check;
mod document;
mod fencing;
mod grow;
mod lookup;
mod node;
mod options;
mod platform;
mod service;
mod storage;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{DefinitionError, Finding};
use crate::places::Places;
use crate::types::{Delay, Name, Span};

use self::document::Document;
use self::fencing::RawFencing;

pub(crate) use self::document::SECTIONS;
pub use self::fencing::{
    Favour, FenceAction, FenceDevice, FenceVirtd, Fencing, Listener, Virt, VirtdMode, VirtdProgram,
};
pub use self::grow::PatternError;
pub use self::node::{Node, NodeKind};
pub use self::options::{Algorithm, Dialect, Options, QuorumDevice, Sbd, Transport};
pub use self::platform::{
    Access, AntiAffinity, Guests, Host, Manager, ManagerKind, Platform, PlatformKind, Watchdog,
};
pub use self::service::{Http, Resource, Service};
pub use self::storage::{
    Activation, Chap, Filesystem, FilesystemKind, Storage, StorageKind, Volume, VolumeGroup,
    VolumePath,
};

/// The most nodes a cluster may have: what Corosync and Pacemaker are commonly supported with.
pub const MAX_NODES: usize = 32;

/// The longest definition that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// The most mistakes that are reported at once.
const MAX_FINDINGS: usize = 50;

/// How much later fencing the favoured one of two nodes begins.
const FAVOUR_DELAY: Delay = Delay::from_secs(2);

/// A guest cluster, as its definition describes it. Its values agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// The cluster's name.
    pub name: Name,
    /// Where its guests run.
    pub platform: Platform,
    /// What holds for every guest, unless its node says otherwise.
    pub guests: Guests,
    /// The machines that run guests, as far as they are known.
    pub hosts: Vec<Host>,
    /// The members, in the order of their numbers. Between 1 and [`MAX_NODES`].
    pub nodes: Vec<Node>,
    /// Timers and switches of Corosync and Pacemaker.
    pub options: Options,
    /// How a failed node is switched off.
    pub fencing: Fencing,
    /// What can switch nodes off.
    pub fence_devices: Vec<FenceDevice>,
    /// The fencing daemon on the hosts.
    pub fence_virtd: Option<FenceVirtd>,
    /// Storage that several nodes reach.
    pub storage: Vec<Storage>,
    /// LVM volume groups on it.
    pub volume_groups: Vec<VolumeGroup>,
    /// LVM volumes in them.
    pub volumes: Vec<Volume>,
    /// File systems.
    pub filesystems: Vec<Filesystem>,
    /// What the cluster keeps available.
    pub services: Vec<Service>,
}

/// The cluster itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cluster")]
struct RawCluster {
    /// Its name.
    name: Name,
}

impl Definition {
    /// Reads a definition. `path` is only used to name the file in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the text, with places and remedies.
    pub fn parse(path: &str, text: &str) -> Result<Self, DefinitionError> {
        Self::parse_with_places(path, text).map(|(definition, _)| definition)
    }

    /// Reads a definition, and says where in the text it says what.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with_places(path: &str, text: &str) -> Result<(Self, Places), DefinitionError> {
        if text.len() > MAX_TEXT {
            let finding = Finding::new(
                0..0,
                format!("the definition is longer than {MAX_TEXT} bytes"),
            );
            return Err(DefinitionError::new(path, "", vec![finding]));
        }
        let (document, mut findings) = Document::parse(text, MAX_NODES);
        let refuse = |mut findings: Vec<Finding>| {
            findings.sort_by_key(|finding| finding.span.start);
            findings.truncate(MAX_FINDINGS);
            DefinitionError::hiding(path, text, findings, &document.secrets())
        };
        if !findings.is_empty() {
            return Err(refuse(findings));
        }
        let Some(definition) = Self::read(&document, &mut findings) else {
            return Err(refuse(findings));
        };
        findings.extend(check::all(&definition, &document));
        if !findings.is_empty() {
            return Err(refuse(findings));
        }
        let tables = document
            .root()
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), value));
        Ok((definition, Places::new(text, tables)))
    }

    /// Reads all tables. `None` if one is wrong or missing; the findings then say so.
    fn read(document: &Document<'_>, findings: &mut Vec<Finding>) -> Option<Self> {
        let cluster = required::<RawCluster>(
            document,
            "cluster",
            "give the cluster a `name` in it",
            findings,
        );
        let platform = required(
            document,
            "platform",
            "say in it where the guests run: `kind = \"kvm\"`, say",
            findings,
        );
        let fencing: RawFencing = document.table("fencing", findings).unwrap_or_default();
        let nodes = document.list("node", findings);
        let favour = check::favour(&fencing, &nodes, document, findings);
        let mut definition = Self {
            name: cluster.as_ref()?.name.clone(),
            platform: platform?,
            guests: document.table("guests", findings).unwrap_or_default(),
            hosts: document.list("host", findings),
            nodes,
            options: document.table("options", findings).unwrap_or_default(),
            fencing: Fencing {
                action: fencing.action,
                timeout: fencing.timeout.unwrap_or(Span::from_secs(60)),
                favour: None,
                levels: fencing.levels,
            },
            fence_devices: document.list("fence", findings),
            fence_virtd: document.table("fence_virtd", findings),
            storage: document.list("storage", findings),
            volume_groups: document.list("volume_group", findings),
            volumes: document.list("volume", findings),
            filesystems: document.list("filesystem", findings),
            services: document.list("service", findings),
        };
        definition.fencing.favour = favour;
        findings.is_empty().then_some(definition)
    }
}

/// Reads a table that must be there.
fn required<'t, T: Deserialize<'t>>(
    document: &Document<'t>,
    name: &str,
    help: &str,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    if !document.root().contains_key(name) {
        let message = format!("there is no `[{name}]`");
        findings
            .push(Finding::new(document.end(), message).help(format!("add `[{name}]` and {help}")));
    }
    document.table(name, findings)
}

/// The definition of a guest cluster: where it runs, who its members are, how a failed one is fenced, what it
/// shares and what it keeps available.
// Everything that a definition may say, as one type: what the JSON schema describes.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "cluster.toml")]
#[expect(
    dead_code,
    reason = "only its shape is asked for; the tables are read one by one"
)]
pub(crate) struct Shape {
    /// The cluster itself.
    cluster: RawCluster,
    /// Where its guests run.
    platform: Platform,
    /// What holds for every guest, unless its `[[node]]` says otherwise.
    guests: Option<Guests>,
    /// The machines that run guests.
    #[serde(default)]
    host: Vec<Host>,
    /// The members, in the order of their numbers.
    #[schemars(length(min = 1, max = 32))]
    node: Vec<Node>,
    /// Timers and switches of Corosync and Pacemaker.
    options: Option<Options>,
    /// How a failed node is switched off.
    fencing: Option<RawFencing>,
    /// What can switch nodes off.
    #[serde(default)]
    fence: Vec<FenceDevice>,
    /// The fencing daemon on the hosts.
    fence_virtd: Option<FenceVirtd>,
    /// Storage that several nodes reach.
    #[serde(default)]
    storage: Vec<Storage>,
    /// LVM volume groups on it.
    #[serde(default)]
    volume_group: Vec<VolumeGroup>,
    /// LVM volumes in them.
    #[serde(default)]
    volume: Vec<Volume>,
    /// File systems.
    #[serde(default)]
    filesystem: Vec<Filesystem>,
    /// What the cluster keeps available.
    #[serde(default)]
    service: Vec<Service>,
}
