//! Pacemaker's own fencer as the caller.

use std::path::Path;

use picket_tests::{
    fencer::{Fencer, NEEDS},
    skip::skipped_with,
};

use crate::{
    Node,
    targets::{World, ended},
};

/// `$1` are the devices.
const STEPS: &str = r#"
say register stonith_admin -R disks -a fence_scsi -o "devices=$1" -o "corosync_cmap_path=$dir/cmapctl" \
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
    let fencer = Fencer::new(&node.path(""), &["fence_scsi"]);
    let args = fencer.arguments(STEPS, &[world.devices.clone()]);
    let args: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let network = Some(&world.rig.cable.guest);
    let ran = node.run_in(network, Path::new("/usr/bin/unshare"), &args, None);
    fencer.done(ran).expect(&[
        ("register", true),
        ("monitor-before", false),
        ("unfence", true),
        ("unfence-other", false),
        ("monitor", true),
        ("fence", true),
        ("reboot", true),
        ("fence-self", false),
    ]);
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
