//! What fencing at the storage costs the node that does it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::server::{Medium, Program, Server};
use crate::bench::cost::{self, Cost};
use crate::bench::results::{Row, Summary, Unit};

const PACKAGED: &str = "/usr/sbin/fence_scsi";
const ACTIONS: [&str; 3] = ["on", "status", "off"];
/// Gives a program a `/run` and an `/etc` of its own.
const ENTER: &str = "mount --make-rprivate / && mount --bind \"$1/run\" /run && \
    mount -t overlay overlay -o \"lowerdir=/etc,upperdir=$1/etc,workdir=$1/work\" /etc && shift && exec \"$@\"";

/// A disk for the packaged agent: a script in the place of sg_persist that keeps keys and reservation in files, with
/// built-ins of the shell alone.
const STAND_IN: &str = r#"#!/bin/sh
d=${0%/*}
for word; do
  case $last in -S) key=$word ;; esac
  last=$word
done
case " $* " in
*" -k "*) echo "  keys follow:"; while read -r one; do echo "    0x$one"; done <"$d/keys" ;;
*" -r "*) while read -r one; do echo "  Reservation follows:"; echo "    Key=0x$one"; done <"$d/reservation" ;;
*" -I "*) echo "$key" >>"$d/keys" ;;
*" -R "*) while read -r one; do echo "$one" >"$d/reservation"; break; done <"$d/keys" ;;
*" -A "*) kept=; while read -r one; do [ "$one" = "$key" ] || kept="$kept$one
"; done <"$d/keys"; printf %s "$kept" >"$d/keys" ;;
esac
"#;

/// A node as its programs see it.
struct Node {
    directory: TempDir,
}

impl Node {
    fn new(position: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let node = Self { directory };
        for name in ["run", "etc/iscsi", "work"] {
            fs::create_dir_all(node.path(name))?;
        }
        let initiator = format!("InitiatorName=iqn.2026-11.example:node{position}\n");
        fs::write(node.path("etc/iscsi/initiatorname.iscsi"), initiator)?;
        let mut list = format!("nodelist.local_node_pos (u32) = {position}\n");
        for at in 0..2 {
            let number = at + 1;
            list += &format!(
                "nodelist.node.{at}.name (str) = node{number}\nnodelist.node.{at}.nodeid (u32) = {number}\n\
                 nodelist.node.{at}.ring0_addr (str) = 10.0.0.{number}\n"
            );
        }
        let script = format!(
            "#!/bin/sh\nfor key; do case $key in totem.cluster_name) echo 'totem.cluster_name (str) = c' ;;\n\
             *) echo '{list}' ;; esac; done\n"
        );
        node.script("cmapctl", &script)?;
        node.script("sg_persist", STAND_IN)?;
        for name in ["keys", "reservation"] {
            fs::write(node.path(name), "")?;
        }
        let made = Command::new("mknod")
            .arg(node.path("device"))
            .args(["b", "240", "250"])
            .status()?;
        ensure!(made.success(), "no device node can be made (needs root)");
        Ok(node)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// What an action costs here.
    fn act(&self, meter: &Path, program: &Path, arguments: &[String]) -> Result<Cost> {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", ENTER, "sh"]);
        command.arg(self.directory.path()).arg(meter);
        cost::metered(&mut command, program, arguments)
    }

    fn arguments(&self, action: &str, plug: &str, device: &str) -> Vec<String> {
        let cmapctl = self.path("cmapctl").display().to_string();
        let sg_persist = self.path("sg_persist").display().to_string();
        vec![
            format!("--action={action}"),
            format!("--plug={plug}"),
            format!("--devices={device}"),
            "--key-value=id".to_owned(),
            format!("--corosync-cmap-path={cmapctl}"),
            format!("--sg_persist-path={sg_persist}"),
            "--sg_turs-path=/bin/true".to_owned(),
        ]
    }
}

/// Measures both agents in turns.
pub(super) fn measure(
    agents: &Path,
    meter: &Path,
    target: &Path,
    rounds: usize,
) -> Result<Vec<Row>> {
    ensure!(
        Path::new(PACKAGED).exists(),
        "{PACKAGED} is missing (package fence-agents)"
    );
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("disk.img");
    fs::File::create(&image)?.set_len(16 << 20)?;
    let server = Server::start(Program::Ours(target), Medium::PageCache, &image)?;
    let ours = directory.path().join("fence_scsi");
    symlink(agents, &ours)?;
    let [first, second, packaged] = [Node::new(0)?, Node::new(1)?, Node::new(0)?];
    let disk = server.address();
    let device = packaged.path("device").display().to_string();
    let mut costs: [[Vec<Cost>; 3]; 2] = Default::default();
    for round in 0..=rounds {
        // There is somebody to be fenced, by the key that both agents derive.
        second.act(meter, &ours, &second.arguments("on", "node2", &disk))?;
        let key = fs::read_to_string(second.path("run/cluster.key"))?;
        for (at, action) in ACTIONS.into_iter().enumerate() {
            let plug = if action == "on" { "node1" } else { "node2" };
            if action == "status" {
                let mut keys = fs::read_to_string(packaged.path("keys"))?;
                keys += key.trim_end();
                fs::write(packaged.path("keys"), keys + "\n")?;
            }
            let mine = first.act(meter, &ours, &first.arguments(action, plug, &disk));
            let mine = mine.with_context(|| format!("our {action}"))?;
            let arguments = packaged.arguments(action, plug, &device);
            let theirs = packaged.act(meter, Path::new(PACKAGED), &arguments);
            let theirs = theirs.with_context(|| format!("the packaged {action}"))?;
            if round > 0 {
                costs[0][at].push(mine);
                costs[1][at].push(theirs);
            }
        }
    }
    Ok(rows(&costs))
}

fn rows(costs: &[[Vec<Cost>; 3]; 2]) -> Vec<Row> {
    let summary = |side: usize, at: usize, pick: fn(&Cost) -> f64| {
        Summary::of(&costs[side][at].iter().map(pick).collect::<Vec<_>>())
    };
    let row = |kind: &str, words: &str, at: usize, unit, pick: fn(&Cost) -> f64| Row {
        id: format!("fence_scsi/{kind}/{}", ACTIONS[at]),
        what: format!("`fence_scsi -o {}`: {words}", ACTIONS[at]),
        unit,
        ours: summary(0, at, pick),
        theirs: summary(1, at, pick),
    };
    (0..ACTIONS.len())
        .map(|at| row("cpu", "CPU", at, Unit::Milliseconds, |cost| cost.cpu))
        .chain((0..ACTIONS.len()).map(|at| {
            row("memory", "peak memory", at, Unit::Mebibytes, |cost| {
                cost.memory
            })
        }))
        .collect()
}
