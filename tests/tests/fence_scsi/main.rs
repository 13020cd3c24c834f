//! `fence_scsi` as its callers see it: beside the packaged agent of that name, and against real iSCSI targets.
//!
//! Nodes are mount namespaces with a `/run` and an `/etc` of their own; Corosync is a script that prints what
//! `corosync-cmapctl` does.

mod agent;
mod conformance;
mod fencer;
mod targets;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use picket_tests::{
    net::Namespace,
    process::{PATIENCE, Ran, run},
    subject::ours,
};
use tempfile::TempDir;

const ENTER: &str = "mount --make-rprivate / && mount --bind \"$1/run\" /run && \
    mount -t overlay overlay -o \"lowerdir=/etc,upperdir=$1/etc,workdir=$1/work\" /etc && shift && exec \"$@\"";

/// A machine of its own, as far as these programs see.
struct Node {
    dir: TempDir,
}

impl Node {
    /// The node at `position` of the cluster's list.
    fn new(cluster: &str, nodes: &[&str], position: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the test");
        for name in ["run", "etc/iscsi", "work"] {
            fs::create_dir_all(dir.path().join(name)).expect("a new directory takes others");
        }
        let node = Self { dir };
        let initiator = format!("InitiatorName=iqn.2026-11.example:node{position}\n");
        node.write("etc/iscsi/initiatorname.iscsi", &initiator);
        let mut list = format!("nodelist.local_node_pos (u32) = {position}\n");
        for (at, name) in nodes.iter().enumerate() {
            let number = at + 1;
            list += &format!(
                "nodelist.node.{at}.name (str) = {name}\nnodelist.node.{at}.nodeid (u32) = {number}\n\
                 nodelist.node.{at}.ring0_addr (str) = 10.0.0.{number}\n"
            );
        }
        node.write("name", &format!("totem.cluster_name (str) = {cluster}\n"));
        node.write("list", &list);
        // As corosync-cmapctl 3.1.7: everything that begins with any of its arguments.
        let script = "#!/bin/sh\nd=${0%/*}\nfor key; do case $key in totem.cluster_name) cat \"$d/name\";; \
                      nodelist) cat \"$d/list\";; *) exit 1;; esac; done\n";
        let cmapctl = node.write("cmapctl", script);
        fs::set_permissions(cmapctl, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in ["fence_scsi", "fence_scsi_check"] {
            symlink(ours("picket-agents"), node.path(name)).expect("a new directory is empty");
        }
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the test's directory takes files");
        path
    }

    fn run(&self, program: &Path, args: &[&str], input: Option<&str>) -> Ran {
        self.run_in(None, program, args, input)
    }

    fn run_in(
        &self,
        network: Option<&Namespace>,
        program: &Path,
        args: &[&str],
        input: Option<&str>,
    ) -> Ran {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", ENTER, "sh"]);
        command.arg(self.dir.path()).arg(program).args(args);
        run(&mut command, network, self.dir.path(), input, PATIENCE * 2)
    }

    /// Our agent, with this node's Corosync.
    fn fence(&self, args: &[&str]) -> Ran {
        let cmapctl = self.cmapctl();
        self.run(
            &self.path("fence_scsi"),
            &[&[cmapctl.as_str()], args].concat(),
            None,
        )
    }

    fn cmapctl(&self) -> String {
        format!("--corosync-cmap-path={}", self.path("cmapctl").display())
    }

    fn key(&self) -> Option<String> {
        fs::read_to_string(self.path("run/cluster.key")).ok()
    }
}
