//! A failover cluster of hosts, and several hosts that are none.

use std::time::Duration;

use picket_tests::process::{PATIENCE, Process, wait_for};

use crate::{PASSWORD, VM1, VM2, VM3, World, ended, within};

fn off_in_the_background(world: &World) -> Process {
    let mut command = world.command();
    command.args([
        "-v",
        "-l",
        "CORP\\ann",
        "-p",
        PASSWORD,
        "-o",
        "off",
        "-n",
        "vm1",
        "--shell-timeout",
        "2",
    ]);
    Process::start(&mut command, None, world.dir.path())
}

#[test]
fn the_owner_is_found_and_the_guest_switched() {
    let world = World::cluster();
    ended(&world.agent(&["-o", "monitor"]), 0, "", "");
    ended(
        &world.agent(&["-o", "status", "-n", "vm2"]),
        2,
        "Status: OFF\n",
        "",
    );
    ended(
        &world.agent(&["-v", "-o", "off", "-n", "vm1"]),
        0,
        "Success: Powered OFF\n",
        "HV1",
    );
    ended(
        &world.agent(&["-o", "on", "-n", VM2]),
        0,
        "Success: Powered ON\n",
        "",
    );
    assert_eq!(
        (world.truth(VM1), world.truth(VM2), world.truth(VM3)),
        ((3, 0, 1), (2, 1, 0), (2, 0, 0))
    );
    let list = world.agent(&["-o", "list"]);
    assert_eq!(list.stdout.lines().count(), 3, "{list:?}");
}

#[test]
fn a_guest_is_followed_to_another_node() {
    let world = World::cluster();
    world.tell("behave stop 60000");
    let agent = off_in_the_background(&world);
    wait_for("the order", PATIENCE, || {
        (world.truth(VM1).0 == 4).then_some(())
    });
    world.tell(&format!("state {VM1} 2"));
    world.tell(&format!("behave stop 100\nmove {VM1} HV3 100"));
    let ran = agent.finish(PATIENCE);
    ended(&ran, 0, "Success: Powered OFF\n", "HV3");
    assert_eq!(world.truth(VM1).0, 3);
}

#[test]
fn a_dead_owner_is_waited_for() {
    for how in ["hang", "close"] {
        let world = World::cluster();
        world.tell(&format!("kill HV1 {how} HV2 4000"));
        let ran = off_in_the_background(&world).finish(PATIENCE);
        ended(&ran, 0, "Success: Powered OFF\n", "HV2");
        assert_eq!(world.truth(VM1).0, 3, "{how}");
    }
}

/// The owner has died so lately that the cluster still calls it up.
#[test]
fn a_dead_owner_is_waited_for_before_the_cluster_has_noticed() {
    let world = World::cluster();
    world.tell("kill HV1 hang HV2 4000\nnodestate HV1 0");
    let ran = off_in_the_background(&world).finish(PATIENCE);
    ended(&ran, 0, "Success: Powered OFF\n", "HV2");
    assert_eq!(world.truth(VM1), (3, 0, 1));
}

#[test]
fn an_owner_that_dies_during_the_operation_is_no_proof() {
    let world = World::cluster();
    world.tell("behave stop 60000");
    let agent = off_in_the_background(&world);
    wait_for("the order", PATIENCE, || {
        (world.truth(VM1).0 == 4).then_some(())
    });
    world.tell("kill HV1 hang");
    let ran = agent.finish(PATIENCE * 2);
    ended(&ran, 1, "", "HV1");
    assert!(ran.stderr.contains("down by the cluster's word"), "{ran:?}");
    // The others are fenced as ever, also by way of the dead one's address.
    ended(
        &world.agent(&["--shell-timeout", "2", "-o", "off", "-n", "vm2"]),
        0,
        "Success: Already OFF\n",
        "",
    );
    let list = world.agent(&["--shell-timeout", "2", "-o", "list-status"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    let states: Vec<&str> = list
        .stdout
        .lines()
        .filter_map(|line| line.rsplit(',').next())
        .collect();
    assert_eq!(states, ["UNKNOWN", "OFF", "UNKNOWN"]);
}

#[test]
fn names_that_mean_several_or_none() {
    let world = World::with(
        &format!(
            "node HV1\nnode HV2\ncluster HVC\nguest web {VM1} HV1 2 role1\nguest db {VM2} HV2 2 web\nguest db {VM3} HV1 2 role3\n"
        ),
        &[],
    );
    ended(
        &world.agent(&["-o", "off", "-n", "web"]),
        1,
        "",
        "name it by its GUID",
    );
    ended(
        &world.agent(&["-o", "off", "-n", "db"]),
        1,
        "",
        &VM3.to_lowercase(),
    );
    ended(
        &world.agent(&["-o", "off", "-n", "nobody"]),
        1,
        "",
        "no guest `nobody`",
    );
    assert!(
        [VM1, VM2, VM3]
            .iter()
            .all(|guest| world.truth(guest) == (2, 0, 0))
    );
    ended(
        &world.agent(&["-o", "off", "-n", VM3]),
        0,
        "Success: Powered OFF\n",
        "",
    );
}

#[test]
fn rights_in_the_cluster_are_part_of_monitor() {
    let world = World::cluster();
    for user in ["nocluster", "blind", "reader"] {
        ended(
            &world.agent_as(&format!("CORP\\{user}"), &["-o", "monitor"]),
            1,
            "",
            "may not do this",
        );
    }
    world.tell("kill HV3 close\nnodestate HV3 0");
    ended(&world.agent(&["-o", "monitor"]), 1, "", "HV3");
}

#[test]
fn hosts_that_are_no_cluster_are_all_asked() {
    let lines = format!("node HV1\nnode HV2\nguest vm1 {VM1} HV2 2\nguest vm2 {VM2} HV1 3\n");
    let world = World::with(&lines, &[]);
    ended(
        &world.agent(&["-o", "status", "-n", "vm2"]),
        2,
        "Status: OFF\n",
        "",
    );
    ended(
        &world.agent(&["-o", "off", "-n", "vm1"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    world.tell("kill HV2 hang");
    let ran = world.agent(&["--shell-timeout", "2", "-o", "status", "-n", "vm2"]);
    ended(&ran, 1, "", "may run the guest");
    within(&ran, Duration::from_secs(10));
    // Told to be a cluster, they say that they are none.
    let mut command = world.command();
    command.args([
        "-l",
        "CORP\\ann",
        "-p",
        PASSWORD,
        "--cluster",
        "-o",
        "status",
        "-n",
        "vm2",
        "--shell-timeout",
        "2",
    ]);
    let ran = Process::start(&mut command, None, world.dir.path()).finish(PATIENCE);
    ended(&ran, 1, "", "no node of a failover cluster");
}
