//! The file as it is written.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::error::Finding;
use crate::config::values::{Bytes, InitiatorName, Name, PortalAddress};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Document {
    pub(super) listen: Spanned<Vec<Spanned<PortalAddress>>>,
    pub(super) control: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) metrics: Option<Spanned<SocketAddr>>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) timeouts: Timeouts,
    #[serde(default)]
    pub(super) discovery: Vec<Account>,
    #[serde(default)]
    pub(super) target: Vec<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Limits {
    pub(super) connections: Option<Spanned<usize>>,
    pub(super) logins: Option<Spanned<usize>>,
    pub(super) commands: Option<Spanned<u32>>,
    pub(super) memory: Option<Spanned<Bytes>>,
}

/// In seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Timeouts {
    pub(super) login: Option<Spanned<u64>>,
    pub(super) ping: Option<Spanned<u64>>,
    pub(super) silence: Option<Spanned<u64>>,
    pub(super) drain: Option<Spanned<u64>>,
    pub(super) journal: Option<Spanned<u64>>,
    pub(super) stop: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) secret_file: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Target {
    pub(super) name: Spanned<Name>,
    /// What it proves itself with.
    pub(super) own: Option<Account>,
    #[serde(default)]
    pub(super) initiator: Vec<Initiator>,
    #[serde(default)]
    pub(super) lun: Vec<Lun>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Initiator {
    pub(super) name: Spanned<InitiatorName>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Lun {
    pub(super) number: Spanned<u16>,
    pub(super) path: Spanned<PathBuf>,
    pub(super) size: Option<Bytes>,
    pub(super) block_length: Option<Spanned<u32>>,
    pub(super) physical_block_length: Option<Spanned<u32>>,
    pub(super) read_only: Option<bool>,
    pub(super) thin: Option<bool>,
    pub(super) direct: Option<bool>,
    pub(super) write_cache: Option<bool>,
    pub(super) removable: Option<bool>,
    pub(super) vendor: Option<Spanned<String>>,
    pub(super) product: Option<Spanned<String>>,
    pub(super) serial: Option<Spanned<String>>,
}

pub(super) fn read(text: &str) -> Result<Document, Finding> {
    toml::from_str(text).map_err(|error| Finding::from_toml(&error))
}
