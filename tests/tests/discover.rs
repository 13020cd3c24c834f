//! `picket discover`: inside a guest, and by an administrator who asks the nodes over ssh and libvirt about them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use picket_tests::{
    guests::{self, Guest},
    nodes::{self, Nodes},
    process::{PATIENCE, Process, Ran, run},
    rig::temp_dir,
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;
use tempfile::TempDir;

/// The exit codes, as documented.
const IDENTIFIED: Option<i32> = Some(0);
const OTHER: Option<i32> = Some(80);
const UNKNOWN: Option<i32> = Some(81);

const VM1: &str = "6695eb01-f6a4-4304-89aa-97f2502e1931";
const VM2: &str = "6695eb01-f6a4-4304-89aa-97f2502e1932";

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// A guest's files below a directory of their own.
fn root(files: &[(&str, &[u8])]) -> TempDir {
    let root = temp_dir();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("a name of a file")).expect("one's own");
        fs::write(path, bytes).expect("one's own");
    }
    root
}

fn look(root: &Path) -> Ran {
    let mut command = Command::new(ours("picket"));
    command.args(["discover", "--json", "--root"]).arg(root);
    run(&mut command, None, root, None, PATIENCE)
}

#[test]
fn a_guest_says_who_it_is() {
    let kvm = root(&[
        ("sys/class/dmi/id/sys_vendor", b"QEMU\n"),
        ("sys/class/dmi/id/product_name", b"Standard PC (Q35)\n"),
        ("sys/class/dmi/id/product_uuid", VM1.as_bytes()),
    ]);
    let ran = look(kvm.path());
    assert_eq!(ran.code, IDENTIFIED, "{ran:?}");
    let found = json(&ran);
    assert_eq!(found["platform"], "kvm");
    assert_eq!(found["plugs"][0]["agent"], "fence_xvm");
    assert_eq!(found["plugs"][0]["plug"], VM1);

    let vmware = root(&[
        ("sys/class/dmi/id/sys_vendor", b"VMware, Inc.\n"),
        ("sys/class/dmi/id/product_name", b"VMware7,1\n"),
        (
            "sys/class/dmi/id/product_uuid",
            b"c17f4d56-3412-7856-9abc-def012345678\n",
        ),
        (
            "sys/class/dmi/id/product_serial",
            b"VMware-56 4d 7f c1 12 34 56 78-9a bc de f0 12 34 56 78\n",
        ),
    ]);
    let found = json(&look(vmware.path()));
    assert_eq!(
        found["plugs"][0]["plug"],
        "564d7fc1-1234-5678-9abc-def012345678"
    );

    let mut record = vec![0; 2560];
    record[..16].copy_from_slice(b"VirtualMachineId");
    record[512..548].copy_from_slice(VM2.as_bytes());
    let hyperv = root(&[
        ("sys/class/dmi/id/sys_vendor", b"Microsoft Corporation\n"),
        ("sys/class/dmi/id/product_name", b"Virtual Machine\n"),
        ("sys/class/dmi/id/product_uuid", VM1.as_bytes()),
        ("var/lib/hyperv/.kvp_pool_3", &record),
    ]);
    let found = json(&look(hyperv.path()));
    assert_eq!(found["plugs"][0]["agent"], "fence_hyperv");
    assert_eq!(found["plugs"][0]["plug"], VM2, "not the one in DMI");

    let metal = root(&[("sys/class/dmi/id/sys_vendor", b"Dell Inc.\n")]);
    let ran = look(metal.path());
    assert_eq!(ran.code, UNKNOWN, "{ran:?}");
    assert_eq!(json(&ran)["plugs"], Value::Array(Vec::new()));
}

/// Two nodes with ssh, whose firmware says who they are, and libvirt's test driver as their platform.
struct Site {
    nodes: Nodes,
    config: PathBuf,
    /// Where connections keep their sockets, whose paths must be short.
    runtime: TempDir,
    uri: String,
    _servers: Vec<Process>,
}

/// Lays a firmware over a node's own.
const FIRMWARE: &str = "mount -t tmpfs tmpfs /sys/class && mkdir -p /sys/class/dmi/id && cd /sys/class/dmi/id && \
    echo QEMU >sys_vendor && echo 'Standard PC' >product_name && echo \"$1\" >product_uuid";

impl Site {
    fn up() -> Self {
        let nodes = Nodes::up(&["n1", "n2"]);
        let (config, servers) = nodes.serve_ssh();
        let guests = [Guest::running("vm1", VM1), Guest::running("vm2", VM2)];
        let uri = guests::test_uri(&nodes.rig.path("node.xml"), &guests);
        let short = tempfile::Builder::new().prefix("px").tempdir_in("/tmp");
        Self {
            nodes,
            config,
            runtime: short.expect("a directory"),
            uri,
            _servers: servers,
        }
    }

    fn firmware(&self, node: &str, uuid: &str) {
        let ran = self.nodes.exec(node, &["sh", "-c", FIRMWARE, "sh", uuid]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    fn discover(&self, args: &[&str]) -> Ran {
        let mut text = format!(
            "[cluster]\nname = \"web\"\n[platform]\nkind = \"kvm\"\n\
             [[host]]\nname = \"h1\"\nremote_uri = \"{}\"\n\
             [[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\n",
            self.uri
        );
        for (number, name) in ["n1", "n2"].into_iter().enumerate() {
            text.push_str(&format!(
                "[[node]]\nname = \"{name}\"\nguest = \"vm{}\"\naddress = \"{}\"\n",
                number + 1,
                self.nodes.address(name)
            ));
        }
        let definition = self.nodes.rig.path("cluster.toml");
        fs::write(&definition, text).expect("the rig's directory takes files");
        let mut command = Command::new(ours("picket"));
        command
            .arg("discover")
            .arg(&definition)
            .arg("--ssh-config")
            .arg(&self.config)
            .args(args)
            .env("XDG_RUNTIME_DIR", self.runtime.path());
        let rig = &self.nodes.rig;
        run(
            &mut command,
            Some(&rig.cable.host),
            rig.dir(),
            None,
            PATIENCE * 2,
        )
    }
}

#[test]
fn the_administrator_gets_the_host_map_from_the_nodes_and_libvirt() {
    if skipped(&[&nodes::NEEDS[..], &nodes::SSH, &[Need::Root]].concat()) {
        return;
    }
    let site = Site::up();
    site.firmware("n1", VM1);
    site.firmware("n2", VM2);
    let ran = site.discover(&["--json"]);
    assert_eq!(ran.code, IDENTIFIED, "{ran:?}");
    let found = json(&ran);
    assert_eq!(found["nodes"][0]["match"], "same");
    assert_eq!(found["nodes"][0]["known"]["name"], "vm1");
    assert_eq!(found["nodes"][1]["known"]["uuid"], VM2);

    let fragment = site.discover(&["--fragment"]);
    assert_eq!(fragment.code, IDENTIFIED, "{fragment:?}");
    for line in [
        format!("uuid = \"{VM1}\""),
        "guest = \"vm2\"".to_owned(),
        format!("plugs = {{ \"n1\" = \"{VM1}\", \"n2\" = \"{VM2}\" }}"),
    ] {
        assert!(fragment.stdout.contains(&line), "{line}: {fragment:?}");
    }

    // The definition has them the wrong way round: fencing n1 would switch n2.
    site.firmware("n1", VM2);
    site.firmware("n2", VM1);
    let wrong = site.discover(&["--json"]);
    assert_eq!(wrong.code, OTHER, "{wrong:?}");
    assert_eq!(json(&wrong)["nodes"][0]["match"], "other");

    // A node that gives no answer, and one of which libvirt knows nothing.
    let stranger = "00000000-0000-4000-8000-000000000099";
    site.firmware("n1", stranger);
    site.nodes.unplug("n2");
    let lost = site.discover(&["--json", "--timeout", "5"]);
    assert_eq!(lost.code, UNKNOWN, "{lost:?}");
    let found = json(&lost);
    assert_eq!(found["nodes"][0]["known"]["state"], "no-such-guest");
    assert!(found["nodes"][1]["unanswered"].is_string(), "{found}");
}
