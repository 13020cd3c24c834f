//! Against real iSCSI targets: ours, which is safe, and tgt, which is not.

use std::{path::Path, process::Command};

use picket_tests::{
    net::HOST_V4,
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::{Need, skipped_with},
    subject::ours,
};

use crate::Node;

const TARGET: &str = "iqn.2026-11.example:shared";
const NAMES: [&str; 3] = ["node1", "node2", "node3"];

/// Nodes on one network with a target.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) nodes: Vec<Node>,
    pub(crate) devices: String,
    scheme: &'static str,
}

impl World {
    pub(crate) fn new(scheme: &'static str, luns: std::ops::Range<usize>) -> Self {
        let device = |lun| format!("iscsi://{HOST_V4}:3260/{TARGET}/{lun}");
        Self {
            rig: Rig::new(),
            nodes: (0..NAMES.len())
                .map(|at| Node::new("c", &NAMES, at))
                .collect(),
            devices: luns.map(device).collect::<Vec<_>>().join(","),
            scheme,
        }
    }

    /// Our target with two disks.
    pub(crate) fn target(&self) -> Process {
        let mut command = Command::new(ours("picket-target"));
        command.args([
            "--listen",
            &format!("{HOST_V4}:3260"),
            "--target",
            TARGET,
            "--size",
            "64MiB",
        ]);
        command.args([self.rig.path("a.img"), self.rig.path("b.img")]);
        Process::start(&mut command, Some(&self.rig.cable.host), self.rig.dir())
    }

    /// tgt with two disks, the first being LUN 1.
    pub(crate) fn tgt(&self) -> Process {
        let mut command = self.of_tgt("/usr/sbin/tgtd");
        command.args([
            "-f",
            "-C",
            "91",
            "--iscsi",
            &format!("portal={HOST_V4}:3260"),
        ]);
        let daemon = Process::start(&mut command, Some(&self.rig.cable.host), self.rig.dir());
        wait_for("tgtd to answer", PATIENCE, || {
            (self.tgtadm("--mode sys --op show").code == Some(0)).then_some(())
        });
        let mut orders = vec![format!(
            "--mode target --op new --tid 1 --targetname {TARGET}"
        )];
        for (lun, name) in [(1, "a.img"), (2, "b.img")] {
            let path = self.rig.write_private(name, &[0; 1 << 20]);
            let path = path.display();
            orders.push(format!(
                "--mode logicalunit --op new --tid 1 --lun {lun} --backing-store {path}"
            ));
        }
        orders.push("--mode target --op bind --tid 1 --initiator-address ALL".to_owned());
        for order in orders {
            let ran = self.tgtadm(&order);
            assert_eq!(ran.code, Some(0), "{order}: {ran:?}");
        }
        daemon
    }

    /// A program of tgt's, with a control socket of this test's own.
    fn of_tgt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("TGT_IPC_SOCKET", self.rig.path("tgt"));
        command
    }

    fn tgtadm(&self, order: &str) -> Ran {
        let mut command = self.of_tgt("/usr/sbin/tgtadm");
        command
            .args(["-C", "91", "--lld", "iscsi"])
            .args(order.split(' '));
        run(
            &mut command,
            Some(&self.rig.cable.host),
            self.rig.dir(),
            None,
            PATIENCE,
        )
    }

    /// An action of the node `number` on the node `on`.
    pub(crate) fn act(&self, number: usize, action: &str, on: usize) -> Ran {
        let name = format!("--plug={}", NAMES[on - 1]);
        self.with(number, &["-o", action, &name])
    }

    pub(crate) fn with(&self, number: usize, args: &[&str]) -> Ran {
        let node = &self.nodes[number - 1];
        let (devices, scheme) = (
            format!("--devices={}", self.devices),
            format!("--key-value={}", self.scheme),
        );
        let cmapctl = node.cmapctl();
        let common = [devices.as_str(), &scheme, &cmapctl];
        let network = Some(&self.rig.cable.guest);
        node.run_in(
            network,
            Path::new(&node.path("fence_scsi")),
            &[&common, args].concat(),
            None,
        )
    }

    /// Waits until the target answers.
    pub(crate) fn await_target(&self) {
        wait_for("the target to answer", PATIENCE, || {
            (self.with(1, &["-o", "status", "-k", "1"]).code != Some(1)).then_some(())
        });
    }

    /// Unfences all nodes.
    fn unfence(&self) {
        self.await_target();
        for number in 1..=NAMES.len() {
            ended(
                &self.act(number, "on", number),
                0,
                "Success: Powered ON\n",
                "",
            );
        }
    }
}

pub(crate) fn ended(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(code), stdout),
        "{ran:?}"
    );
    assert!(ran.stderr.contains(stderr), "`{stderr}` in {ran:?}");
}

#[test]
fn nodes_are_cut_off_and_cannot_fence_back() {
    if skipped_with(&[]) {
        return;
    }
    for scheme in ["id", "hash", "unique"] {
        let world = World::new(scheme, 0..2);
        let _target = world.target();
        world.unfence();
        ended(&world.act(1, "status", 2), 0, "Status: ON\n", "");
        ended(&world.act(1, "monitor", 1), 0, "", "");
        ended(
            &world.act(1, "off", 2),
            0,
            "Success: Powered OFF\n",
            "I/O cut off, node still running",
        );
        ended(&world.act(3, "status", 2), 2, "Status: OFF\n", "");
        ended(&world.act(2, "off", 1), 1, "", "has been fenced");
        ended(&world.act(2, "monitor", 2), 1, "", "has been fenced");
        ended(&world.act(1, "status", 1), 0, "Status: ON\n", "");
        ended(
            &world.act(3, "off", 2),
            0,
            "Success: Already OFF\n",
            "I/O cut off before",
        );
        ended(&world.act(1, "off", 1), 1, "", "cannot fence itself");
        // Unfenced, it is a node like the others; also for the one it could not fence before.
        ended(&world.act(2, "on", 2), 0, "Success: Powered ON\n", "");
        ended(&world.act(2, "off", 1), 0, "Success: Powered OFF\n", "");
        ended(&world.act(1, "off", 2), 1, "", "has been fenced");
        ended(&world.act(3, "off", 1), 0, "Success: Already OFF\n", "");
    }
}

#[test]
fn a_key_of_another_initiator_is_refused() {
    if skipped_with(&[]) {
        return;
    }
    let world = World::new("id", 0..2);
    let _target = world.target();
    world.unfence();
    let key = world.nodes[0].key().expect("the node was unfenced");
    let ran = world.with(2, &["-o", "on", "-k", key.trim()]);
    ended(&ran, 1, "", "iqn.2026-11.example:node0");
    assert!(ran.stderr.contains("belongs to another node"), "{ran:?}");
    // As a number, however it is written.
    let same = format!("0x000{}", key.trim().to_uppercase());
    ended(
        &world.with(2, &["-o", "status", "-k", &same]),
        0,
        "Status: ON\n",
        "",
    );
    ended(&world.act(3, "off", 1), 0, "Success: Powered OFF\n", "");
}

/// Registrations that nothing keeps are gone with the target; with APTPL they are not.
#[test]
fn a_target_that_restarts() {
    if skipped_with(&[]) {
        return;
    }
    let world = World::new("unique", 0..2);
    let mut target = world.target();
    world.unfence();
    target.kill();
    ended(&world.act(1, "off", 2), 1, "", "cannot be reached");
    let mut target = world.target();
    wait_for("the target to answer", PATIENCE, || {
        // Without a reservation anybody may write, and nobody is off.
        (world.act(1, "status", 2).code == Some(0)).then_some(())
    });
    ended(&world.act(1, "off", 2), 1, "", "not reserved");
    for number in 1..=NAMES.len() {
        ended(
            &world.with(number, &["-o", "on", "-a", "-n", NAMES[number - 1]]),
            0,
            "Success: Powered ON\n",
            "",
        );
    }
    target.kill();
    let _target = world.target();
    wait_for("the target to answer", PATIENCE, || {
        (world.act(1, "monitor", 1).code == Some(0)).then_some(())
    });
    ended(&world.act(1, "off", 2), 0, "Success: Powered OFF\n", "");
    ended(&world.act(2, "off", 1), 1, "", "has been fenced");
}

/// tgt does not know PREEMPT AND ABORT. Saying so is right, using it would not be.
#[test]
fn a_target_without_preempt_and_abort_fences_nobody() {
    if skipped_with(&[Need::File("/usr/sbin/tgtd", "tgt")]) {
        return;
    }
    let world = World::new("hash", 1..3);
    let _target = world.tgt();
    world.unfence();
    let ran = world.act(1, "off", 2);
    ended(&ran, 1, "", "PREEMPT AND ABORT");
    assert!(ran.stderr.contains("2 of 2 devices"), "{ran:?}");
    ended(&world.act(1, "status", 2), 0, "Status: ON\n", "");
}
