//! Pacemaker's own fencer as the caller.

use std::{fs, os::unix::fs::symlink, path::Path};

use picket_tests::{
    skip::{Need, skipped_with},
    subject::ours,
};

use crate::{
    Node,
    targets::{World, ended},
};

const NEEDS: [Need; 2] = [
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
];

/// Starts the fencer in a process namespace that ends with this script, and has it do things. `$1` is a directory, `$2` the
/// devices.
const SCRIPT: &str = r#"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin,workdir=$1/sbinwork" /usr/sbin
for at in /dev/shm /var/log/pacemaker; do mount -t tmpfs tmpfs $at; done
mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores
/usr/lib/pacemaker/pacemaker-fenced -s -l "$1/fenced.log" >"$1/fenced.out" 2>&1 &
for n in $(seq 100); do stonith_admin -L >/dev/null 2>&1 && break; sleep 0.2; done
say() { what=$1; shift; "$@" >>"$1.out" 2>&1; echo "$what $?"; }
cd "$1"
say register stonith_admin -R disks -a fence_scsi -o "devices=$2" -o "corosync_cmap_path=$1/cmapctl" \
  -o "pcmk_host_list=localhost node2" -o pcmk_host_check=static-list -o key_value=unique
say monitor-before stonith_admin -Q disks
say unfence stonith_admin -U localhost -t 30
say unfence-other stonith_admin -U node2 -t 30
say monitor stonith_admin -Q disks
say fence stonith_admin -F node2 -t 30
say reboot stonith_admin -B node2 -t 30
say fence-self stonith_admin -F localhost --tolerance 0s -t 30
"#;

/// `on` runs on the node itself and nowhere else, a reboot is an off, and results get through.
#[test]
fn the_fencer_unfences_and_fences() {
    if skipped_with(&NEEDS) {
        return;
    }
    let names = ["localhost", "node2"];
    let mut world = World::new("unique", 0..2);
    world.nodes = (0..2).map(|at| Node::new("c", &names, at)).collect();
    let _target = world.target();
    world.await_target();
    ended(
        &world.with(2, &["-o", "on", "-n", "node2"]),
        0,
        "Success: Powered ON\n",
        "",
    );

    let node = &world.nodes[0];
    for name in ["sbin", "sbinwork"] {
        fs::create_dir(node.path(name)).expect("the test's directory takes others");
    }
    symlink(ours("picket-agents"), node.path("sbin/fence_scsi")).expect("a new directory is empty");
    let script = node.write("script", SCRIPT);
    let (directory, script) = (
        node.path("").display().to_string(),
        script.display().to_string(),
    );
    let directory = directory.trim_end_matches('/');
    let args = [
        "-i",
        "-p",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "sh",
        &script,
        directory,
        &world.devices,
    ];
    let network = Some(&world.rig.cable.guest);
    let ran = node.run_in(network, Path::new("/usr/bin/unshare"), &args, None);
    let results: Vec<(&str, bool)> = ran
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(what, code)| (what, code == "0"))
        .collect();
    let wanted = [
        ("register", true),
        ("monitor-before", false),
        ("unfence", true),
        ("unfence-other", false),
        ("monitor", true),
        ("fence", true),
        ("reboot", true),
        ("fence-self", false),
    ];
    let log = fs::read_to_string(node.path("fenced.log")).unwrap_or_default();
    assert_eq!(results, wanted, "{ran:?}\n{log}");
    ended(
        &world.with(2, &["-o", "off", "-n", "localhost"]),
        1,
        "",
        "has been fenced",
    );
    ended(
        &world.with(1, &["-o", "status", "-n", "node2"]),
        2,
        "Status: OFF\n",
        "",
    );
}
