//! What the packaged agent gets wrong, by the numbers of the project's list of defects, and what ours does instead.
//!
//! The packaged agent has a stand-in for `sg_persist` that keeps a log and shows one key, and this key as the holder's:
//! a device on which someone with the agent's own key is registered already.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use picket_tests::{
    process::Ran,
    skip::{Need, skipped_with},
};

use crate::{
    Node,
    agent::PACKAGED,
    targets::{World, ended},
};

const NEEDS: [Need; 2] = [
    Need::File(PACKAGED, "fence-agents"),
    Need::File("/usr/sbin/tgtd", "tgt"),
];

/// The key of `node1` of the cluster `c` in the scheme `id`.
const KEY: &str = "4a8a0000";

const STAND_IN: &str = r#"#!/bin/sh
echo "$*" >>"${0%/*}/orders"
case " $* " in
*" -r "*) printf '  PR generation=0x1, Reservation follows:\n    Key=0xKEY\n    scope: LU_SCOPE,  type: Write Exclusive, registrants only\n';;
*" -k "*) printf '  PR generation=0x1, 1 registered reservation key follows:\n    0xKEY\n';;
esac
"#;

/// The packaged agent unfences the first node, on the device that shows its key; with the orders it gave.
fn packaged_on(node: &Node) -> (Ran, String) {
    let stand_in = node.write("sg_persist", &STAND_IN.replace("KEY", KEY));
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let device = node.path("device");
    let made = Command::new("mknod")
        .arg(&device)
        .args(["b", "240", "250"])
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let args = [
        "-o".to_owned(),
        "on".to_owned(),
        "--plug=node1".to_owned(),
        format!("--devices={}", device.display()),
        format!("--sg_persist-path={}", stand_in.display()),
        "--sg_turs-path=/bin/true".to_owned(),
        node.cmapctl(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = node.run(Path::new(PACKAGED), &args, None);
    (
        ran,
        fs::read_to_string(node.path("orders")).unwrap_or_default(),
    )
}

/// Whether the orders ask who is registered, beyond with which keys.
fn asks_whose(orders: &str) -> bool {
    orders
        .lines()
        .any(|line| line.contains("-s ") || line.contains("full-status"))
}

/// I12: a key that somebody else has registered, a node of another cluster with the same 16 bits for instance, is used all
/// the same.
#[test]
fn i12_a_key_of_somebody_else_is_refused() {
    if skipped_with(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    let (ran, orders) = packaged_on(&node);
    assert_eq!(ran.code, Some(0), "the peer was repaired: {ran:?}");
    assert!(!asks_whose(&orders), "the peer was repaired: {orders}");

    let world = World::new("id", 0..1);
    let _target = world.target();
    world.await_target();
    // The other cluster's node has this node's key.
    ended(
        &world.with(3, &["-o", "on", "-k", KEY]),
        0,
        "Success: Powered ON\n",
        "",
    );
    ended(&world.act(1, "on", 1), 1, "", "belongs to another node");
    // The other one goes on as before.
    ended(&world.with(3, &["-o", "monitor", "-k", KEY]), 0, "", "");
}

/// I17: the key is listed, so the node is taken for registered, although its sessions are others since it was restarted.
#[test]
fn i17_a_listed_key_is_no_registration() {
    if skipped_with(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    let (ran, orders) = packaged_on(&node);
    assert_eq!(
        ran.stdout, "Success: Powered ON\n",
        "the peer was repaired: {ran:?}"
    );
    let registers = orders
        .lines()
        .any(|line| line.contains("-I") || line.contains("-G"));
    assert!(!registers, "the peer was repaired: {orders}");

    // tgt lists the key of a session that has ended, and lets the next one of the same initiator do nothing with it.
    let world = World::new("id", 1..2);
    let _target = world.tgt();
    world.await_target();
    ended(&world.act(1, "on", 1), 0, "Success: Powered ON\n", "");
    let again = world.act(1, "on", 1);
    ended(&again, 0, "Success: Powered ON\n", "was registered already");
}
