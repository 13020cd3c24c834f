//! The definition of a guest cluster, and what is rendered from it for Corosync and Pacemaker.
//!
//! A [`Definition`] is made from the text of a `cluster.toml`; a text that is wrong gives a
//! [`DefinitionError`] which shows the place and says what would be right. [`render_guests`] and
//! [`render_host`] turn a definition into files. Nothing here reads or writes files, asks the clock
//! or knows where the files end up being installed.

mod definition;
mod error;
mod render;
mod secrets;
mod types;

pub use definition::{
    Definition, Favour, FenceAction, FenceAgent, Fencing, Http, MAX_NODES, Node, Options,
    PatternError, Service,
};
pub use error::{DefinitionError, Problem};
pub use render::{
    COROSYNC_LOG, File, HTTPD_PATH, HostSettings, Owner, PACEMAKER_LOG, Rendered, render_guests,
    render_host,
};
pub use secrets::Secrets;
pub use types::{Address, Group, Interface, Invalid, Line, Name, NodeName, PlainPath, Port, Span};

/// The OCF resource agent that serves a service's page, a shell script. [`render_guests`] puts it
/// among the guests' files; Pacemaker knows it as `ocf:picket:httpd`.
pub const HTTPD_OCF: &str = include_str!("../ocf/httpd");
