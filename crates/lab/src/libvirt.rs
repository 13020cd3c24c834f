//! A `libvirtd` of the lab's own, and `virsh` to talk to it.
//!
//! It runs in the lab's network namespace and in a mount namespace in which everything libvirt writes is
//! a file system in memory: no other libvirt on the machine sees it, and what it knows ends with it. The
//! guests are its children in the same namespaces. It needs neither systemd nor a message bus.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;

use crate::command::{Call, Cancel, wait_for};
use crate::error::Error;
use crate::net::NetNs;
use crate::process::Identity;

const SCRIPT: &str = include_str!("../host/private-libvirtd");
const URI: &str = "qemu:///system";
/// Its start takes a second; when it has to find out about QEMU first, several.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A single call; a busy machine may take seconds.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// The lab's libvirtd.
#[derive(Debug, Clone)]
pub(crate) struct Libvirt {
    netns: NetNs,
    process: Identity,
}

impl Libvirt {
    /// Starts it. `log_to` is the lab's state directory, `memory` keeps what it learns about QEMU.
    pub(crate) fn start(
        netns: &NetNs,
        log_to: &Path,
        memory: &Path,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let script = log_to.join("private-libvirtd");
        fs::write(&script, SCRIPT).map_err(Error::io("write", &script))?;
        let log = log_to.join("libvirtd.out");
        let namespace = netns.path();
        // Each of these replaces itself by the next, so this process becomes libvirtd.
        let mut child = Call::detached("nsenter")
            .arg(format!("--net={}", namespace.display()))
            .arg("unshare")
            .arg("--mount")
            .arg("--propagation=private")
            .arg("sh")
            .arg(&script)
            .arg(log_to)
            .arg(memory)
            .daemon(&log)?;
        let process = Identity::of(child.id());
        let ended = || Error::Ended {
            what: "libvirtd",
            log: log.clone(),
            tail: tail(&log),
        };
        let Some(process) = process else {
            return Err(ended());
        };
        let this = Self {
            netns: netns.clone(),
            process,
        };
        wait_for(
            "starting libvirtd",
            Deadline::after(START_LIMIT),
            cancel,
            || {
                if child
                    .try_wait()
                    .map_err(Error::io("wait for", "libvirtd"))?
                    .is_some()
                {
                    return Err(ended());
                }
                // virsh in the namespace the process started in would talk to the machine's own libvirt.
                if !this.has_own_mounts() || !this.socket_exists() {
                    return Ok(None);
                }
                Ok(this.virsh("asking libvirtd", ["version"], cancel).ok())
            },
            || tail(&log),
        )?;
        Ok(this)
    }

    /// The one in `netns` that was started with `log_to`.
    pub(crate) fn find(netns: &NetNs, log_to: &Path) -> Option<Self> {
        let candidates = all_running(netns, "libvirtd");
        let mut found = candidates.into_iter().filter_map(|pid| {
            Some(Self {
                netns: netns.clone(),
                process: Identity::of(pid)?,
            })
        });
        found.find(|libvirt| {
            let whose = fs::read_to_string(libvirt.file("/run/libvirt/lab"));
            whose.is_ok_and(|whose| Path::new(whose.trim_end()) == log_to)
        })
    }

    fn mounts(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/mnt", self.process.pid))
    }

    /// Whether it has come as far as having a mount namespace of its own.
    fn has_own_mounts(&self) -> bool {
        match (
            fs::read_link(self.mounts()),
            fs::read_link("/proc/self/ns/mnt"),
        ) {
            (Ok(its), Ok(ours)) => its != ours,
            _ => false,
        }
    }

    fn socket_exists(&self) -> bool {
        self.file("/run/libvirt/libvirt-sock").exists()
    }

    /// A path inside its mount namespace, as seen from outside.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.pid))
    }

    /// A call of `program` inside the lab's namespaces.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Call, Error> {
        self.enter(Call::new("nsenter", [""; 0]), program)
    }

    /// As [`Libvirt::inside`], for what is to outlive us. It stays the process that is started.
    pub(crate) fn detached_inside(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
    ) -> Result<Call, Error> {
        self.enter(Call::detached("nsenter"), program)
    }

    fn enter(&self, nsenter: Call, program: impl AsRef<std::ffi::OsStr>) -> Result<Call, Error> {
        if !self.process.lives() {
            return Err(Error::Program {
                program: "libvirtd".to_owned(),
                doing: "of the lab".to_owned(),
                detail: "it has ended; `picket lab down` cleans up".to_owned(),
            });
        }
        Ok(nsenter
            .arg(format!("--net={}", self.netns.path().display()))
            .arg(format!("--mount={}", self.mounts().display()))
            .arg("--")
            .arg(program))
    }

    /// Calls virsh; what it printed.
    pub(crate) fn virsh<S: AsRef<std::ffi::OsStr>>(
        &self,
        doing: &str,
        args: impl IntoIterator<Item = S>,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let mut call = self
            .inside("virsh")?
            .arg("--quiet")
            .arg("--connect")
            .arg(URI);
        for arg in args {
            call = call.arg(arg);
        }
        call.run(doing, Deadline::after(CALL_LIMIT), cancel)
            .map(|called| called.text())
    }

    /// Where it keeps the number of a guest's QEMU process, in its own mount namespace.
    pub(crate) fn pid_file(&self, node: &str) -> String {
        format!("/run/libvirt/qemu/{node}.pid")
    }

    /// The QEMU process of a guest, by the number libvirt itself keeps.
    pub(crate) fn qemu(&self, node: &str) -> Result<Identity, Error> {
        let path = self.file(&self.pid_file(node));
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let pid: u32 = text.trim().parse().unwrap_or_default();
        let of_this_guest = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let named = format!("guest={node},");
            line.split(|byte| *byte == 0)
                .any(|arg| arg.starts_with(named.as_bytes()))
        });
        let in_this_lab = self
            .netns
            .processes()
            .iter()
            .any(|(member, _)| *member == pid);
        Identity::of(pid)
            .filter(|_| of_this_guest && in_this_lab)
            .ok_or_else(|| Error::Program {
                program: "qemu".to_owned(),
                doing: format!("as guest `{node}`"),
                detail: format!("process {pid} is not this guest's"),
            })
    }
}

/// The process of `netns` that runs the program of this name.
pub(crate) fn running(netns: &NetNs, program: &str) -> Option<u32> {
    all_running(netns, program).first().copied()
}

/// Every process of `netns` that runs the program of this name.
fn all_running(netns: &NetNs, program: &str) -> Vec<u32> {
    let runs = |pid: u32| {
        fs::read_link(format!("/proc/{pid}/exe"))
            // A program that has been built anew meanwhile reads `fence_virtd (deleted)`.
            .is_ok_and(|exe| {
                let name = exe.file_name().unwrap_or_default().to_string_lossy();
                name.trim_end_matches(" (deleted)") == program
            })
    };
    let processes = netns.processes().into_iter().map(|(pid, _)| pid);
    processes.filter(|pid| runs(*pid)).collect()
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 8;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_parses() {
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", SCRIPT])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    #[test]
    fn the_end_of_a_log_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(
            &log,
            (0..100).map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
        assert_eq!(tail(&log).lines().next(), Some("92"));
        assert_eq!(tail(Path::new("/nonexistent")), "");
    }
}
