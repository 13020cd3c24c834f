//! From options to a configuration that cannot be wrong.

use std::path::PathBuf;
use std::time::Duration;

use disk::Address;
use fence_agent::Options;
use scsi::pr::Key;

use super::discover;
use super::key::{self, Scheme};

/// The most devices of one call: each has a thread.
const MAX_DEVICES: usize = 128;

/// Whom the action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Whoever has this key.
    Key(Key),
    /// The node of this name.
    Node(String),
    /// Nobody: the action needs none.
    Nobody,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whom the action is about.
    pub(crate) subject: Subject,
    pub(crate) scheme: Scheme,
    /// The named devices; `None`: those of shared volume groups.
    pub(crate) devices: Option<Vec<Device>>,
    /// APTPL in registrations.
    pub(crate) aptpl: bool,
    /// Devices are opened read-only where that is enough.
    pub(crate) read_only: bool,
    /// Where standard output goes instead.
    pub(crate) logfile: Option<PathBuf>,
    /// Corosync's and LVM's programs, and how long each may take.
    pub(crate) cmapctl: String,
    pub(crate) vgs: String,
    pub(crate) program_limit: Duration,
}

/// A device as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// As it was written, for messages and the state file.
    pub name: String,
    /// What that means.
    pub address: Address,
    /// The same disk as it was named besides: see `same`.
    pub also: Vec<Self>,
}

impl Device {
    /// From a path or an address.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let address = name.parse().map_err(|error| format!("device {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            address,
            also: Vec::new(),
        })
    }

    /// Under this name only.
    pub(crate) fn alone(&self) -> Self {
        Self {
            name: self.name.clone(),
            address: self.address.clone(),
            also: Vec::new(),
        }
    }

    /// All its names, this one first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }
}

impl Config {
    /// From checked options.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn new(options: &Options) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let subject = note(subject(options), &mut problems);
        let devices = options.text("devices").map(devices);
        let devices = devices.and_then(|devices| note(devices, &mut problems));
        let scheme = options.text("key_value").and_then(Scheme::named);
        let seconds = options.seconds("power_timeout").unwrap_or_default();
        let config = Self {
            subject: subject.unwrap_or(Subject::Nobody),
            scheme: scheme.unwrap_or(Scheme::Id),
            devices,
            aptpl: options.flag("aptpl"),
            read_only: options.flag("readonly"),
            logfile: options.text("logfile").map(PathBuf::from),
            cmapctl: options
                .text("corosync_cmap_path")
                .unwrap_or_default()
                .to_owned(),
            vgs: options.text("vgs_path").unwrap_or_default().to_owned(),
            // 0 means no limit of its own; the run's deadline holds.
            program_limit: if seconds.is_zero() {
                Duration::MAX
            } else {
                seconds
            },
        };
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

fn note<T>(result: Result<T, Vec<String>>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|more| problems.extend(more)).ok()
}

fn subject(options: &Options) -> Result<Subject, Vec<String>> {
    if let Some(text) = options.text("key") {
        let key = key::parse(text).map_err(|problem| vec![format!("option `key`: {problem}")])?;
        return Ok(Subject::Key(key));
    }
    let given = |name| {
        options
            .text(name)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let Some(node) = given("nodename").or_else(|| given("plug")) else {
        let needed = matches!(options.action().name, "on" | "off" | "status");
        let problem = format!(
            "action `{}` needs a node (`plug`, -n) or a `key` (-k)",
            options.action().name
        );
        return if needed {
            Err(vec![problem])
        } else {
            Ok(Subject::Nobody)
        };
    };
    let separator = options.text("plug_separator").unwrap_or_default();
    if !separator.is_empty() && node.contains(separator) {
        return Err(vec![format!("`{node}`: one node at a time")]);
    }
    Ok(Subject::Node(node.to_owned()))
}

fn devices(list: &str) -> Result<Vec<Device>, Vec<String>> {
    let names = discover::split(list);
    if names.is_empty() {
        return Err(vec!["option `devices` names no device".to_owned()]);
    }
    collect(&names)
}

/// Devices from their names.
///
/// # Errors
/// Those that are none, or if there are far too many.
pub(crate) fn collect(names: &[String]) -> Result<Vec<Device>, Vec<String>> {
    if names.len() > MAX_DEVICES {
        return Err(vec![format!(
            "{} devices are more than {MAX_DEVICES}",
            names.len()
        )]);
    }
    let (devices, problems): (Vec<_>, Vec<_>) = names
        .iter()
        .map(|name| Device::parse(name))
        .partition(Result::is_ok);
    let problems: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() {
        Ok(devices.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(problems)
    }
}
