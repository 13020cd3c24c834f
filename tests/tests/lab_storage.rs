//! Shared storage, for real: two guests write to one GFS2 file system on a volume that lvmlockd guards, on
//! an iSCSI disk; one of them is killed. What was acknowledged is there, and the file system is whole.
//!
//! The guests are started anew if there is no saved state of them: minutes on a machine of two cores.

use std::{fs, path::Path, process::Command};

use picket_tests::{
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;

const NAME: &str = "test-storage";

const NEEDS: [Need; 6] = [
    Need::Root,
    Need::File("/usr/bin/mmdebstrap", "mmdebstrap"),
    Need::File("/usr/bin/mksquashfs", "squashfs-tools"),
    Need::File("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon"),
    Need::File("/usr/bin/ssh", "openssh-client"),
];

/// The lab goes, however the test ends.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        let _ = picket(&["lab", "down", "--name", NAME]).output();
    }
}

fn picket(args: &[&str]) -> Command {
    let mut picket = Command::new(ours("picket"));
    picket
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    picket
}

/// The example, with time for what starting a volume takes in a guest that is emulated on a busy machine.
fn definition() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kvm-storage.toml");
    let text = fs::read_to_string(path).expect("the example");
    let more = "[options]\noperation_timeout = \"300s\"\n";
    let text = text.replacen("[options]\n", more, 1);
    assert!(text.contains(more));
    text
}

#[test]
fn what_both_nodes_wrote_outlives_one_of_them() {
    if skipped(&NEEDS) {
        return;
    }
    let _down = Down;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("storage.toml");
    fs::write(&file, definition()).expect("a file");
    let output = picket(&[
        "drill",
        file.to_str().expect("a plain path"),
        "--name",
        NAME,
        "--load",
        "storage",
        "--json",
    ])
    .output()
    .expect("picket starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "recovered", "{report}");
    assert_eq!(report["fsck"]["status"], 0, "{report}");
    assert_eq!(report["same_everywhere"], true, "{report}");
    let records = report["records"].as_array().expect("records");
    assert_eq!(records.len(), 2, "{report}");
    for node in records {
        assert!(node["acknowledged"].as_u64() >= Some(10), "{report}");
        assert_eq!(node["lost"].as_array().map(Vec::len), Some(0), "{report}");
    }
    // What the failed node had locked passed on only when it was proven off, and then the survivor wrote on.
    let at = |milestone: &str| {
        let steps = report["timeline"].as_array().expect("a timeline");
        steps
            .iter()
            .find(|step| step["milestone"] == milestone)
            .and_then(|step| step["seconds"].as_f64())
            .unwrap_or_else(|| panic!("no {milestone}: {report}"))
    };
    let (off, passed) = (at("power_off_confirmed"), at("lock_passed_on"));
    assert!(off < passed && passed <= at("writes_resumed"), "{report}");
}
