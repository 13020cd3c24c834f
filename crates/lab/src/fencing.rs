//! The fencing daemon outside the guests.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{HostSettings, Secrets, render_host};
use deadline::Deadline;

use crate::BRIDGE;
use crate::cache::create_private;
use crate::command::wait_for;
use crate::error::Error;
use crate::libvirt::{Libvirt, tail};
use crate::spec::{Spec, Stack};

const START_LIMIT: Duration = Duration::from_secs(60);
/// Where Debian's daemon keeps its listeners and backends.
const C_MODULES: &str = "/usr/lib/x86_64-linux-gnu/fence-virt";
const C_DAEMON: &str = "/usr/sbin/fence_virtd";

/// Our daemon, as built.
pub(crate) fn daemon_binary(bindir: &Path) -> PathBuf {
    bindir.join("fence_virtd")
}

/// The daemon's log in the lab's directory.
pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join("fence_virtd.log")
}

/// The daemon's audit records in the lab's directory. Debian's daemon writes none.
pub(crate) fn audit(directory: &Path) -> PathBuf {
    directory.join("audit.jsonl")
}

/// Starts the daemon of the chosen stack and waits until it listens.
pub(crate) fn start(
    libvirt: &Libvirt,
    directory: &Path,
    spec: &Spec,
    secrets: &Secrets,
) -> Result<(), Error> {
    let conf = directory.join("fence_virt.conf");
    write_files(&conf, directory, spec, secrets)?;
    let log = log(directory);
    let binary = match spec.stack {
        Stack::Picket => daemon_binary(&spec.bindir),
        Stack::C => PathBuf::from(C_DAEMON),
    };
    let mut child = libvirt
        .detached_inside(&binary)?
        .arg("-F")
        .arg("-f")
        .arg(&conf)
        .arg("-p")
        .arg(directory.join("fence_virtd.pid"))
        .daemon(&log)?;
    let port = spec
        .definition
        .virt()
        .ok_or_else(|| Error::BadSpec {
            reason: "no fencing device of the definition asks fence_virtd".to_owned(),
        })?
        .port
        .get();
    let pid = child.id();
    wait_for(
        "starting fence_virtd",
        Deadline::after(START_LIMIT),
        &spec.cancel,
        || {
            if child
                .try_wait()
                .map_err(Error::io("wait for", &binary))?
                .is_some()
            {
                return Err(Error::Ended {
                    what: "fence_virtd",
                    log: log.clone(),
                    tail: tail(&log),
                });
            }
            Ok(listens(pid, None, port).then_some(()))
        },
        || tail(&log),
    )
}

fn write_files(conf: &Path, directory: &Path, spec: &Spec, secrets: &Secrets) -> Result<(), Error> {
    let settings = HostSettings {
        conf_path: conf.to_path_buf(),
        key_path: directory.join("fence_xvm.key"),
        interface: Some(BRIDGE.to_owned()),
        address: None,
        uri: "qemu:///system".to_owned(),
        module_path: (spec.stack == Stack::C).then(|| C_MODULES.to_owned()),
        audit_log: (spec.stack == Stack::Picket).then(|| audit(directory)),
    };
    let rendered =
        render_host(&spec.definition, secrets, &settings).map_err(|error| Error::BadSpec {
            reason: error.to_string(),
        })?;
    create_private(directory)?;
    for file in rendered.files {
        fs::write(&file.path, &file.bytes).map_err(Error::io("write", &file.path))?;
    }
    Ok(())
}

/// Whether a UDP socket is bound to `port`, and to `address` if one is given, in the network of process
/// `pid` (proc(5): the second column is the local address, an IPv4 one as a number of this machine's byte
/// order, the port after a colon, all hexadecimal).
pub(crate) fn listens(pid: u32, address: Option<Ipv4Addr>, port: u16) -> bool {
    let address = address.map_or_else(String::new, |address| {
        format!("{:08X}", u32::from_ne_bytes(address.octets()))
    });
    let local = format!("{address}:{port:04X}");
    ["udp", "udp6"].into_iter().any(|table| {
        fs::read_to_string(format!("/proc/{pid}/net/{table}")).is_ok_and(|text| {
            text.lines()
                .filter_map(|line| line.split_whitespace().nth(1))
                .any(|found| found.ends_with(&local))
        })
    })
}
