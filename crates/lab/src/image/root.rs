//! Finishing the guests' root: our own files in, and out what would only cost a guest time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::names;
use crate::cache::Key;
use crate::error::Error;

const UNITS: &str = include_str!("../../guest/units");
const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// Our own files in the guest.
const FILES: [(&str, u32, &str); 10] = [
    ("lab/serve", PROGRAM, include_str!("../../guest/serve")),
    ("lab/say-up", PROGRAM, include_str!("../../guest/say-up")),
    (
        "lab/serve-disks",
        PROGRAM,
        include_str!("../../guest/serve-disks"),
    ),
    (
        "etc/systemd/system/lab-agent.service",
        FILE,
        include_str!("../../guest/root/etc/systemd/system/lab-agent.service"),
    ),
    (
        "etc/systemd/system/lab-storage.service",
        FILE,
        include_str!("../../guest/root/etc/systemd/system/lab-storage.service"),
    ),
    (
        "etc/systemd/system/corosync.service.d/lab.conf",
        FILE,
        include_str!("../../guest/root/etc/systemd/system/corosync.service.d/lab.conf"),
    ),
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/lab.conf",
        FILE,
        include_str!("../../guest/root/etc/systemd/system/systemd-udev-trigger.service.d/lab.conf"),
    ),
    (
        "etc/systemd/journald.conf.d/lab.conf",
        FILE,
        include_str!("../../guest/root/etc/systemd/journald.conf.d/lab.conf"),
    ),
    (
        "etc/default/pacemaker",
        FILE,
        include_str!("../../guest/root/etc/default/pacemaker"),
    ),
    (
        "etc/ssh/sshd_config.d/lab.conf",
        FILE,
        include_str!("../../guest/root/etc/ssh/sshd_config.d/lab.conf"),
    ),
];

/// Files of Debian's fence-agents package that go into the guest, without the rest of it.
const AGENTS: [&str; 8] = [
    "usr/sbin/fence_ipmilan",
    "usr/sbin/fence_mpath",
    "usr/sbin/fence_scsi",
    "usr/share/cluster/fence_mpath_check",
    "usr/share/cluster/fence_mpath_check_hardreboot",
    "usr/share/cluster/fence_scsi_check",
    "usr/share/cluster/fence_scsi_check_hardreboot",
    "usr/share/fence/fencing.py",
];

/// What wants the units that are started at boot.
const WANTED_IN: [&str; 2] = ["usr/lib/systemd/system", "etc/systemd/system"];

/// Rules of udev for what no guest has. Each is read at every boot, and asked about every device.
const RULES_LEFT_OUT: [&str; 30] = [
    "50-firmware",
    "60-autosuspend",
    "60-cdrom_id",
    "60-drm",
    "60-evdev",
    "60-fido-id",
    "60-infiniband",
    "60-input-id",
    "60-persistent-alsa",
    "60-persistent-input",
    "60-persistent-storage-tape",
    "60-persistent-v4l",
    "60-sensor",
    "60-serial",
    "64-btrfs",
    "70-camera",
    "70-joystick",
    "70-memory",
    "70-mouse",
    "70-power-switch",
    "70-touchpad",
    "70-uaccess",
    "71-seat",
    "73-seat-late",
    "73-special-net-names",
    "75-net-description",
    "75-probe_mtd",
    "78-sound-card",
    "85-hwclock",
    "96-e2scrub",
];

/// The cache key, extended by everything that this module puts in or takes out.
pub(super) fn key(key: Key) -> Key {
    let files = FILES.iter().fold(key, |key, (path, mode, text)| {
        key.part(path).part(mode.to_be_bytes()).part(text)
    });
    let lists = AGENTS.iter().chain(&RULES_LEFT_OUT);
    lists.fold(files.part(UNITS), |key, name| key.part(name))
}

/// Turns what the packages installed at `root` into a guest's root. `agents` is where Debian's
/// fence-agents package was unpacked.
pub(super) fn finish(root: &Path, agents: &Path) -> Result<(), Error> {
    for path in AGENTS {
        let to = place(root, path)?;
        fs::copy(agents.join(path), &to).map_err(Error::io("copy", agents.join(path)))?;
    }
    trim(root)?;
    for (path, mode, text) in &FILES {
        let to = place(root, path)?;
        fs::write(&to, text).map_err(Error::io("write", &to))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(*mode))
            .map_err(Error::io("change the mode of", &to))?;
    }
    let system = Path::new("etc/systemd/system");
    for (unit, wanted_by) in [
        (
            "/etc/systemd/system/lab-agent.service",
            "multi-user.target.wants",
        ),
        (
            "/etc/systemd/system/lab-storage.service",
            "multi-user.target.wants",
        ),
        ("/lib/systemd/system/ssh.socket", "sockets.target.wants"),
    ] {
        let name = unit.rsplit('/').next().unwrap_or(unit);
        link(unit, &place(root, system.join(wanted_by).join(name))?)?;
    }
    link(
        "/lib/systemd/system/multi-user.target",
        &place(root, system.join("default.target"))?,
    )?;
    for unit in names(UNITS).filter_map(|line| line.strip_prefix("! ")) {
        link("/dev/null", &place(root, system.join(unit))?)?;
    }
    // Empty: each guest gets its own at its first boot.
    let id = place(root, "etc/machine-id")?;
    fs::write(&id, "").map_err(Error::io("write", &id))
}

/// Takes out what packages want started, unless it is listed, and what costs time at every boot.
fn trim(root: &Path) -> Result<(), Error> {
    let kept: Vec<&str> = names(UNITS).collect();
    for directory in WANTED_IN {
        for target in entries(&root.join(directory))? {
            if target.extension().is_none_or(|kind| kind != "wants") {
                continue;
            }
            for unit in entries(&target)? {
                let name = unit.file_name().unwrap_or_default().to_string_lossy();
                if unit.is_symlink() && !kept.contains(&name.as_ref()) {
                    remove(&unit)?;
                }
            }
        }
    }
    // Generators look for what a guest does not have: /etc/fstab, encrypted disks, SysV scripts.
    for generator in entries(&root.join("usr/lib/systemd/system-generators"))? {
        remove(&generator)?;
    }
    for rule in RULES_LEFT_OUT {
        remove(&root.join(format!("usr/lib/udev/rules.d/{rule}.rules")))?;
    }
    // Every lab has keys of its own.
    for file in entries(&root.join("etc/ssh"))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("ssh_host_") {
            remove(&file)?;
        }
    }
    Ok(())
}

/// A path below `root`, its directory made.
fn place(root: &Path, path: impl AsRef<Path>) -> Result<std::path::PathBuf, Error> {
    let to = root.join(path);
    let parent = to.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    Ok(to)
}

/// A symbolic link at `at`, in place of what is there.
fn link(to: &str, at: &Path) -> Result<(), Error> {
    remove(at)?;
    symlink(to, at).map_err(Error::io("link", at))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", directory)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_parse() {
        for (name, _, text) in FILES.iter().filter(|(_, mode, _)| *mode == PROGRAM) {
            let shell = if text.starts_with("#!/bin/bash") {
                "bash"
            } else {
                "sh"
            };
            let status = std::process::Command::new(shell)
                .args(["-n", "-c", text])
                .status();
            assert!(status.is_ok_and(|status| status.success()), "{name}");
        }
    }

    #[test]
    fn what_packages_want_is_taken_out_unless_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let want = |unit: &str| {
            let at = place(
                root,
                format!("usr/lib/systemd/system/sysinit.target.wants/{unit}"),
            )
            .unwrap();
            symlink(format!("../{unit}"), &at).unwrap();
            at
        };
        let (kept, gone) = (
            want("systemd-udevd.service"),
            want("systemd-binfmt.service"),
        );
        let key = place(root, "etc/ssh/ssh_host_rsa_key").unwrap();
        fs::write(&key, "secret").unwrap();
        trim(root).unwrap();
        assert!(kept.is_symlink() && !gone.is_symlink() && !key.exists());
    }

    #[test]
    fn units_that_are_kept_are_not_also_masked() {
        let masked: Vec<_> = names(UNITS)
            .filter_map(|line| line.strip_prefix("! "))
            .collect();
        assert!(!masked.is_empty());
        assert!(names(UNITS).all(|name| !masked.contains(&name)));
    }
}
