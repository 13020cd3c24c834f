//! The definition of a guest cluster, and what is rendered from it for Corosync and Pacemaker.
//!
//! A [`Definition`] is made from the text of a `cluster.toml`; a text that is wrong gives a
//! [`DefinitionError`] which shows the place and says what would be right. [`render_node`] and
//! [`render_host`] turn a definition into files. Nothing here reads or writes files, asks the clock
//! or knows where the files end up being installed.

mod definition;
mod error;
mod places;
mod render;
mod schema;
mod secrets;
mod types;

pub use definition::{
    Access, Activation, Algorithm, AntiAffinity, Chap, Definition, Dialect, Favour, FenceAction,
    FenceDevice, FenceVirtd, Fencing, Filesystem, FilesystemKind, Guests, Host, Http, Listener,
    MAX_NODES, Manager, ManagerKind, Node, NodeKind, Options, PatternError, Platform, PlatformKind,
    QuorumDevice, Resource, Sbd, Service, Storage, StorageKind, Transport, Virt, VirtdMode,
    VirtdProgram, Volume, VolumeGroup, VolumePath, Watchdog,
};
pub use error::{DefinitionError, Problem};
pub use places::Places;
pub use render::{
    CIB, COROSYNC_LOG, File, HTTPD_PATH, HostSettings, Owner, PACEMAKER_LOG, Phase, RenderOptions,
    Rendered, STORAGE_SETUP, SetupStep, Units, guest_domain, host_units, instructions, node_units,
    pacemaker_configuration, render_guest_devices, render_host, render_node, render_nodes,
    storage_setup,
};
pub use schema::{schema, tables};
pub use secrets::Secrets;
pub use types::{
    Address, Addresses, AgentName, Backing, Count, Delay, DevicePath, Endpoint, Group, GuestName,
    Interface, Invalid, Iqn, Line, MountOptions, Name, NearbyFile, NodeName, OptionName,
    OptionValue, Os, PlainPath, Port, Portal, ResourceAgent, Size, Span, SshDestination, Uri,
    Version, Word,
};

/// The OCF resource agent that serves a service's page, a shell script. [`render_node`] puts it
/// among the guests' files; Pacemaker knows it as `ocf:picket:httpd`.
pub const HTTPD_OCF: &str = include_str!("../ocf/httpd");
