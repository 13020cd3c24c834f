//! What the server serves, to whom and where: read from a TOML file, or put together from a command line.
//!
//! Single values are checked while they are read, what concerns several together in `check`. Every mistake is shown
//! with its line and column.

mod check;
mod document;
mod error;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iscsi::login::Credentials;

pub(crate) use check::account;
pub use error::{ConfigError, Problem};
pub use values::{Bytes, InitiatorName, Name, NameError, PortalAddress};

use crate::store;

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/picket-target.toml";
/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_CONTROL: &str = "/run/picket-target/control";
/// Where journals of reservations are kept unless the configuration says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/picket-target";
/// How long a disk may be kept by the last transfers of a server that was killed.
const LAST_TRANSFERS: Duration = Duration::from_secs(10);
/// The longest configuration that is read, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// A configuration whose values agree with each other.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, which can be read again; `None` if it was put together otherwise.
    pub file: Option<PathBuf>,
    /// Where connections are accepted. At least one.
    pub listen: Vec<PortalAddress>,
    /// The control socket; `None` for none.
    pub control: Option<PathBuf>,
    /// The directory of journals.
    pub state: PathBuf,
    /// Where metrics are served over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Who may look for targets; anybody if empty.
    pub discovery: Vec<Credentials>,
    /// What is served.
    pub targets: Vec<TargetOptions>,
}

/// What one server, and one connection, may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, with those that log in; a single address may have half of them.
    pub connections: usize,
    /// Logins at a time; a single address may have a quarter of them.
    pub logins: usize,
    /// Commands of one session that have not ended.
    pub commands: u32,
    /// Bytes of data that one connection's commands may hold; a single command may exceed it.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            logins: 64,
            commands: 128,
            memory: 32 << 20,
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A login, all of it.
    pub login: Duration,
    /// After so much silence a sign of life is asked for.
    pub ping: Duration,
    /// After so much more the connection is given up; also how long data to be sent may get stuck.
    pub silence: Duration,
    /// How long commands that are aborted may still run before whoever aborts them is told that it failed.
    pub drain: Duration,
    /// How long the disk of a journal may take to keep a change of reservations before its command fails.
    pub journal: Duration,
    /// How long initiators have to log out when the server stops.
    pub stop: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(15),
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            drain: Duration::from_secs(60),
            journal: Duration::from_secs(20),
            stop: Duration::from_secs(5),
        }
    }
}

/// A target.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Its name.
    pub name: Name,
    /// What it proves itself with to initiators that ask.
    pub own: Option<Credentials>,
    /// Who may log in.
    pub initiators: Vec<InitiatorOptions>,
    /// Its disks.
    pub luns: Vec<LunOptions>,
}

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct InitiatorOptions {
    /// Who.
    pub name: InitiatorName,
    /// What it must prove itself with.
    pub account: Option<Credentials>,
}

/// A disk and its number.
#[derive(Debug, Clone)]
pub struct LunOptions {
    /// Its number, 0 to 16383.
    pub number: u16,
    /// The disk.
    pub disk: DiskOptions,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The file or block device.
    pub path: PathBuf,
    /// How it is opened.
    pub store: store::Options,
    /// Whether it says at power on that it has a volatile write cache. Without, a write is answered when it is durable.
    pub write_cache: bool,
    /// Whether the medium can be ejected.
    pub removable: bool,
    /// 2 to this power blocks are said to be best written together (physical block size). 0 unless configured: there are
    /// initiators that take a physical block for a logical one.
    pub physical_exponent: u8,
    /// T10 VENDOR IDENTIFICATION
    pub vendor: String,
    /// PRODUCT IDENTIFICATION
    pub product: String,
    /// PRODUCT SERIAL NUMBER, by which the disk and its reservations are recognised wherever it is. Without one it is made
    /// from the target's name and what the block device calls itself, or the path.
    pub serial: Option<String>,
}

impl DiskOptions {
    /// A thin disk with a write cache.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            store: store::Options {
                patience: LAST_TRANSFERS,
                ..store::Options::default()
            },
            write_cache: true,
            removable: false,
            physical_exponent: 0,
            vendor: "PICKET".to_owned(),
            product: "DISK".to_owned(),
            serial: None,
        }
    }
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`] with every mistake.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    use std::io::Read as _;
    let read = || {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_TEXT + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// Reads the text of a configuration; relative paths in it are relative to the directory of `path`.
///
/// # Errors
/// [`ConfigError`] with every mistake.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let wrong = |problems| ConfigError::wrong(path, text, problems);
    let document = document::read(text).map_err(|problem| wrong(vec![problem]))?;
    // It is read again by this name: what is relative to it must be the same each time.
    let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let mut config = check::check(document, directory).map_err(wrong)?;
    config.file = Some(file);
    Ok(config)
}

#[cfg(test)]
mod tests;
