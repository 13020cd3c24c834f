//! Where figures were taken: enough to judge them, nothing that names the machine.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine, as the reader of a table needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's class, such as `AMD EPYC`.
    pub(crate) cpu: String,
    /// Processors that the scheduler can use.
    pub(crate) cores: usize,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// Kernel version (major.minor).
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
    /// Load average over one minute just before: how busy the machine was with other things.
    pub(crate) load: f64,
    /// Version of the C programs' packages.
    pub(crate) peer: String,
}

impl Machine {
    /// Looks at this machine; what cannot be found out is called unknown.
    pub(crate) fn observe() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: kernel().unwrap_or_else(unknown),
            system: system().unwrap_or_else(unknown),
            load: load().unwrap_or(f64::NAN),
            peer: peer().unwrap_or_else(unknown),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut parts = release.trim().split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

fn system() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find(|line| line.starts_with("PRETTY_NAME="))?;
    Some(line.split_once('=')?.1.trim_matches('"').to_owned())
}

/// Load average over one minute.
pub(crate) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn peer() -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", "fence-virtd"])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
