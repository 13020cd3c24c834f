//! Whether guests can run on the processor itself.
//!
//! That `/dev/kvm` opens says little: inside some virtual machines a guest's first instructions run and
//! its kernel never gets further. So the lab's own kernel is started under KVM, without a root disk and
//! with a short time limit: it has to get as far as finding that out, and to say so on its console.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use deadline::Deadline;
use serde::{Deserialize, Serialize};

use crate::command::{Call, Cancel};
use crate::error::Error;
use crate::image::Image;

/// How long a kernel may take to find that it has no root. Under KVM that is half a second.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What it says then.
const WITHOUT_ROOT: &[u8] = b"Kernel panic - not syncing: VFS";

/// What runs the guests' instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor, through KVM.
    Kvm,
    /// QEMU's translator: ten times slower, works everywhere.
    Tcg,
}

/// A verdict holds until the machine restarts or the kernel is another.
#[derive(Serialize, Deserialize)]
struct Verdict {
    boot: String,
    device: (u64, u64),
    image: String,
    accel: Accel,
}

/// Finds out, or looks up in `memory` what was found out since the machine started.
pub(crate) fn probe(image: &Image, memory: &Path, cancel: &Cancel) -> Result<Accel, Error> {
    let Ok(device) = fs::metadata("/dev/kvm") else {
        return Ok(Accel::Tcg);
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut verdict = Verdict {
        boot,
        device: (device.ino(), device.rdev()),
        image: image.key.clone(),
        accel: Accel::Tcg,
    };
    let known: Option<Verdict> = fs::read(memory)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let holds = |known: &Verdict| {
        known.boot == verdict.boot && known.device == verdict.device && known.image == verdict.image
    };
    if let Some(known) = known.filter(holds) {
        return Ok(known.accel);
    }
    verdict.accel = attempt(image, cancel)?;
    let text = serde_json::to_vec(&verdict).unwrap_or_default();
    fs::write(memory, text).map_err(Error::io("write", memory))?;
    Ok(verdict.accel)
}

fn attempt(image: &Image, cancel: &Cancel) -> Result<Accel, Error> {
    let probe = Call::new(
        "qemu-system-x86_64",
        [
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-machine",
            "q35",
            "-m",
            "256",
            "-no-reboot",
        ],
    )
    .arg("-nodefaults")
    .arg("-no-user-config")
    .arg("-display")
    .arg("none")
    .arg("-serial")
    .arg("stdio")
    .arg("-append")
    .arg("console=ttyS0 panic=-1")
    .arg("-kernel")
    .arg(image.vmlinux());
    match probe.run_any("trying KVM", Deadline::after(PROBE_LIMIT), cancel) {
        Ok((status, called)) if status.success() && contains(&called.stdout, WITHOUT_ROOT) => {
            Ok(Accel::Kvm)
        }
        Ok(_) | Err(Error::DeadlinePassed { .. }) => Ok(Accel::Tcg),
        Err(error) => Err(error),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
