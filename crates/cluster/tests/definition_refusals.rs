//! Definitions that contradict themselves: each is refused at its place, with the remedy.

use std::fmt::Write as _;

use cluster::Definition;

/// A definition that has one of everything.
const FULL: &str = r#"
[cluster]
name = "full"

[platform]
kind = "vmware"
manager = { kind = "vcenter", address = "vc.example.org" }

[guests]
os = "rhel 9.4"

[[host]]
name = "h1"
address = "192.0.2.1"

[[host]]
name = "h2"
address = "192.0.2.2"

[[node]]
name = "n1"
address = ["10.9.0.1", "10.8.0.1"]
host = "h1"
pinned = true
guest = "vm-1"
uuid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"

[[node]]
name = "n2"
address = ["10.9.0.2", "10.8.0.2"]
guest = "vm-2"
uuid = "6fa459ea-ee8a-3ca4-894e-db77e160355e"

[[node]]
name = "n3"
address = ["10.9.0.3", "10.8.0.3"]
kind = "bare-metal"
levels = [["ipmi"]]

[options]
token = "10s"
consensus = "12s"
quorum_device = { host = "qnetd.example.org" }
sbd = { devices = ["/dev/disk/by-id/a", "/dev/disk/by-id/b"] }

[fencing]
levels = [["virt", "vc"], ["scsi"]]

[[fence]]
name = "virt"
agent = "fence_xvm"
multicast = "225.0.0.12"

[[fence]]
name = "vc"
agent = "fence_vmware_rest"
options = { ip = "vc.example.org", username = "fencing" }
secrets = { password = "/etc/picket/secrets/vc" }

[[fence]]
name = "scsi"
agent = "fence_scsi"
storage = ["disk"]

[[fence]]
name = "ipmi"
agent = "fence_ipmilan"
nodes = ["n3"]
plugs = { n3 = "3" }

[[storage]]
name = "disk"
kind = "iscsi"
target = "iqn.2026-11.org.example:disk"
portals = ["10.9.0.30"]
persistent_reservations = true
preempt_and_abort = true

[[storage]]
name = "image"
kind = "raw-image"
path = "/srv/image"
device = "/dev/vdb"

[[volume_group]]
name = "vg"
storage = ["disk"]
shared = true

[[volume]]
name = "data"
group = "vg"
size = "1GiB"
activation = "shared"

[[volume]]
name = "logs"
group = "vg"
size = "1GiB"

[[filesystem]]
name = "data"
kind = "gfs2"
volume = "vg/data"
mount = "/srv/data"
journals = 3

[[filesystem]]
name = "logs"
kind = "xfs"
volume = "vg/logs"
mount = "/srv/logs"

[[filesystem]]
name = "local"
kind = "ext4"
storage = "image"
mount = "/srv/local"
node = "n1"

[[service]]
name = "db"
virtual_ip = "10.9.0.100/24"
filesystems = ["logs"]
prefer = ["n1", "n2"]

[[service.resource]]
name = "pg"
agent = "ocf:heartbeat:pgsql"
options = { pgdata = "/srv/logs/pg" }

[[service]]
name = "app"
after = ["db"]
with = ["db"]
http = { port = 8080 }

[[service]]
name = "web"
after = ["app"]
apart_from = ["db"]
http = { port = 80 }

[[service]]
name = "all"
clone = true
filesystems = ["data"]

[[service.resource]]
name = "agent"
agent = "systemd:agent.service"
"#;

/// What is said of `FULL` with one piece of it replaced: place, message and help of each problem, and what
/// the place points at.
fn said(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "there is no {from:?}");
    let text = FULL.replacen(from, to, 1);
    let Err(error) = Definition::parse("full.toml", &text) else {
        panic!("{from:?} → {to:?} is accepted");
    };
    assert!(!error.report(true).is_empty());
    let mut out = String::new();
    for problem in error.problems() {
        let pointed = text[problem.span.clone()]
            .lines()
            .next()
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  {}:{} `{pointed}`: {}",
            problem.line, problem.column, problem.message
        );
        if let Some(help) = &problem.help {
            let _ = writeln!(out, "      help: {help}");
        }
    }
    out
}

/// The refusals of all `cases`, for one snapshot.
fn refusals(cases: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (from, to) in cases {
        let (from_line, to_line) = (from.replace('\n', "⏎"), to.replace('\n', "⏎"));
        let _ = write!(out, "{from_line} → {to_line}\n{}", said(from, to));
    }
    out
}

/// Without the expression, which would repeat all cases.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn the_whole_is_accepted() {
    let full = Definition::parse("full.toml", FULL).expect("valid");
    let node = |name| full.node(name).expect("a node");
    let levels = |name| -> Vec<Vec<&str>> {
        let levels = full.levels_of(node(name));
        levels
            .iter()
            .map(|level| level.iter().map(|d| d.name.as_str()).collect())
            .collect()
    };
    assert_eq!(levels("n1"), [vec!["virt", "vc"], vec!["scsi"]]);
    assert_eq!(levels("n3"), [["ipmi"]]);
    let device = |name| full.device(name).expect("a device");
    assert_eq!(full.plug_of(device("virt"), node("n1")), "vm-1");
    assert_eq!(full.plug_of(device("ipmi"), node("n3")), "3");
    assert!(full.uses_agent("fence_scsi") && !full.uses_agent("fence_virt"));
    assert_eq!(
        full.guest_os(node("n1"))
            .map(ToString::to_string)
            .as_deref(),
        Some("rhel 9.4")
    );
    assert_eq!(full.guest_os(node("n3")), None);
    assert_eq!(
        full.host_of(node("n1")).map(|host| host.name.as_str()),
        Some("h1")
    );
    assert_eq!(full.shared_storage().len(), 2);
    assert_eq!(full.storage_of(device("scsi"))[0].name.as_str(), "disk");
    let activation = |name| full.activation_of(full.volume("vg", name).expect("a volume"));
    assert_eq!(activation("data"), cluster::Activation::Shared);
    assert_eq!(activation("logs"), cluster::Activation::Exclusive);
}

#[test]
fn platform_hosts_and_nodes() {
    snapshot(
        "contradictions-nodes",
        &refusals(&[
            ("kind = \"vmware\"", "kind = \"hyper-v\""),
            ("name = \"h2\"", "name = \"h1\""),
            ("name = \"h2\"", "name = \"n2\""),
            ("192.0.2.2", "192.0.2.1"),
            ("192.0.2.2", "10.9.0.2"),
            ("host = \"h1\"", "host = \"h3\""),
            ("host = \"h1\"\n", ""),
            ("guest = \"vm-2\"", "guest = \"n1\"\nhost = \"h9\""),
            (
                "host = \"h1\"\npinned = true\nguest = \"vm-1\"",
                "guest = \"vm-2\"",
            ),
            (
                "6fa459ea-ee8a-3ca4-894e-db77e160355e",
                "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
            ),
            ("6fa459ea-ee8a-3ca4-894e-db77e160355e", "6fa459ea"),
            ("name = \"n2\"", "name = \"n1\""),
            (
                "[\"10.9.0.2\", \"10.8.0.2\"]",
                "[\"10.9.0.2\", \"10.8.0.1\"]",
            ),
            ("[\"10.9.0.2\", \"10.8.0.2\"]", "\"10.9.0.2\""),
            (
                "[\"10.9.0.2\", \"10.8.0.2\"]",
                "[\"10.9.0.2\", \"fd00::2\"]",
            ),
            ("[\"10.9.0.2\", \"10.8.0.2\"]", "[]"),
            (
                "[\"10.9.0.2\", \"10.8.0.2\"]",
                "[\"10.9.0.2\", \"127.0.0.1\"]",
            ),
            (
                "kind = \"bare-metal\"",
                "kind = \"bare-metal\"\nhost = \"h1\"\npinned = true\nguest = \"x\"\nuuid = \"6fa459ea-ee8a-3ca4-894e-db77e160355f\"",
            ),
            ("os = \"rhel 9.4\"", "os = \"rehl 9.4\""),
            ("os = \"rhel 9.4\"", "os = \"rhel nine\""),
            ("os = \"rhel 9.4\"", "os = \"rhel\""),
        ]),
    );
}

#[test]
fn options_and_fencing() {
    snapshot(
        "contradictions-fencing",
        &refusals(&[
            ("consensus = \"12s\"", "consensus = \"11s\""),
            ("token = \"10s\"", "token = \"10s\"\ntransport = \"udpu\""),
            ("qnetd.example.org", "n2"),
            ("qnetd.example.org", "10.8.0.2"),
            ("\"/dev/disk/by-id/b\"", "\"/dev/disk/by-id/a\""),
            (
                "\"/dev/disk/by-id/b\"",
                "\"/dev/b\", \"/dev/c\", \"/dev/d\"",
            ),
            ("levels = [[\"ipmi\"]]", "levels = [[\"ipmi\", \"vc\"]]"),
            ("levels = [[\"ipmi\"]]", "levels = []"),
            ("levels = [[\"ipmi\"]]", "levels = [[]]"),
            (
                "levels = [[\"virt\", \"vc\"]",
                "levels = [[\"virt\", \"vcc\"]",
            ),
            (
                "levels = [[\"virt\", \"vc\"]",
                "levels = [[\"virt\", \"virt\"]",
            ),
            (
                "[fencing]\n",
                "[fencing]\nagent = \"fence_xvm\"\nkey_file = \"/k\"\n",
            ),
            ("[fencing]\n", "[fencing]\nfavour = \"n1\"\n"),
            ("name = \"vc\"", "name = \"virt\""),
            (
                "agent = \"fence_vmware_rest\"",
                "agent = \"fence_vmware_rest\"\nport = 1229\nlistener = \"tcp\"",
            ),
            (
                "agent = \"fence_vmware_rest\"",
                "agent = \"fence_vmware_rest\"\nstorage = [\"disk\"]",
            ),
            ("agent = \"fence_vmware_rest\"", "agent = \"vmware_rest\""),
            (
                "multicast = \"225.0.0.12\"",
                "multicast = \"225.0.0.12\"\nlistener = \"vsock\"",
            ),
            (
                "multicast = \"225.0.0.12\"",
                "options = { key_file = \"/k\", port = 5, ipport = 7 }",
            ),
            (
                "username = \"fencing\"",
                "username = \"fencing\", password = \"s3cret\"",
            ),
            (
                "username = \"fencing\"",
                "username = \"fencing\", api_token = \"abc\"",
            ),
            (
                "username = \"fencing\"",
                "username = \"fencing\", pcmk_host_list = \"n1\"",
            ),
            (
                "secrets = { password = \"/etc/picket/secrets/vc\" }",
                "secrets = { password = \"s3cret\" }",
            ),
            (
                "secrets = { password = \"/etc/picket/secrets/vc\" }",
                "secrets = { token = \"/etc/picket/secrets/vc\" }",
            ),
            ("storage = [\"disk\"]", "storage = [\"disc\"]"),
            ("nodes = [\"n3\"]", "nodes = []"),
            ("nodes = [\"n3\"]", "nodes = [\"n3\", \"n4\"]"),
            ("nodes = [\"n3\"]", "nodes = [\"n2\"]"),
            ("plugs = { n3 = \"3\" }", "plugs = { n5 = \"3\" }"),
        ]),
    );
}

#[test]
fn storage_and_file_systems() {
    snapshot(
        "contradictions-storage",
        &refusals(&[
            ("name = \"image\"", "name = \"disk\""),
            (
                "target = \"iqn.2026-11.org.example:disk\"\nportals = [\"10.9.0.30\"]\n",
                "",
            ),
            (
                "target = \"iqn.2026-11.org.example:disk\"",
                "target = \"disk\"",
            ),
            (
                "portals = [\"10.9.0.30\"]",
                "portals = [\"10.9.0.30\", \"10.9.0.30:3260\"]",
            ),
            (
                "portals = [\"10.9.0.30\"]",
                "portals = [\"10.9.0.30\"]\npath = \"/dev/sda\"",
            ),
            (
                "kind = \"raw-image\"",
                "kind = \"raw-image\"\ntarget = \"iqn.2026-11.org.example:x\"\nlun = 0",
            ),
            ("path = \"/srv/image\"", "path = \"image\""),
            (
                "persistent_reservations = true",
                "persistent_reservations = false",
            ),
            (
                "device = \"/dev/vdb\"",
                "device = \"/dev/vdb\"\nnodes = [\"n1\", \"n7\", \"n1\"]",
            ),
            (
                "kind = \"raw-image\"\npath = \"/srv/image\"",
                "kind = \"iscsi\"\ntarget = \"iqn.2026-11.org.example:disk\"\nportals = [\"10.9.0.30\"]",
            ),
            (
                "device = \"/dev/vdb\"",
                "device = \"/dev/vdb\"\n[[storage]]\nname = \"same\"\nkind = \"host-block\"\npath = \"/srv/image\"\ndevice = \"/dev/vdb\"",
            ),
            (
                "storage = [\"disk\"]\nshared = true",
                "storage = []\nshared = true",
            ),
            (
                "storage = [\"disk\"]\nshared = true",
                "storage = [\"disk\", \"dsk\"]\nshared = true",
            ),
            (
                "storage = [\"disk\"]\nshared = true",
                "storage = [\"disk\"]\nshared = true\n[[volume_group]]\nname = \"vg\"\nstorage = [\"disk\"]",
            ),
            (
                "storage = [\"disk\"]\nshared = true",
                "storage = [\"disk\"]",
            ),
            (
                "preempt_and_abort = true",
                "preempt_and_abort = true\n[[storage]]\nname = \"half\"\nkind = \"drbd\"\nnodes = [\"n1\"]\n[[volume_group]]\nname = \"vg2\"\nstorage = [\"disk\", \"half\"]",
            ),
            ("group = \"vg\"", "group = \"vgs\""),
            ("size = \"1GiB\"", "size = \"1GB\""),
            ("size = \"1GiB\"", "size = \"1GiB\"\nmirrors = 1"),
            ("name = \"logs\"\ngroup", "name = \"data\"\ngroup"),
            ("activation = \"shared\"", "activation = \"exclusive\""),
            (
                "name = \"logs\"\ngroup = \"vg\"",
                "name = \"logs\"\ngroup = \"vg\"\nactivation = \"shared\"",
            ),
            ("volume = \"vg/data\"", "volume = \"vg/dta\""),
            ("volume = \"vg/data\"", "volume = \"data\""),
            ("volume = \"vg/data\"", "volume = \"vg/logs\""),
            (
                "volume = \"vg/data\"",
                "volume = \"vg/data\"\nstorage = \"image\"",
            ),
            ("volume = \"vg/data\"\n", ""),
            ("volume = \"vg/data\"", "storage = \"disk\""),
            ("journals = 3", "journals = 2"),
            ("journals = 3", "journals = 3\nnode = \"n1\""),
            ("mount = \"/srv/logs\"", "mount = \"/srv/data\""),
            (
                "mount = \"/srv/logs\"",
                "mount = \"/srv/logs\"\njournals = 2",
            ),
            (
                "mount = \"/srv/logs\"",
                "mount = \"/srv/logs\"\nnode = \"n1\"",
            ),
            ("node = \"n1\"\n", ""),
            ("node = \"n1\"\n", "node = \"n0\"\n"),
            ("name = \"local\"", "name = \"logs\""),
            (
                "filesystems = [\"data\"]",
                "filesystems = [\"data\", \"logs\"]",
            ),
            ("filesystems = [\"logs\"]", "filesystems = [\"lgs\"]"),
            (
                "filesystems = [\"logs\"]\nprefer",
                "clone = true\nfilesystems = [\"logs\"]\nprefer",
            ),
            (
                "name = \"data\"\nkind = \"gfs2\"",
                "name = \"a-name-that-is-longer-than-30-b\"\nkind = \"gfs2\"",
            ),
        ]),
    );
}

#[test]
fn services() {
    snapshot(
        "contradictions-services",
        &refusals(&[
            ("name = \"web\"", "name = \"db\""),
            ("name = \"web\"", "name = \"dlm\""),
            (
                "virtual_ip = \"10.9.0.100/24\"",
                "virtual_ip = \"10.9.0.30/24\"",
            ),
            (
                "virtual_ip = \"10.9.0.100/24\"",
                "virtual_ip = \"10.9.0.3/24\"",
            ),
            (
                "virtual_ip = \"10.9.0.100/24\"",
                "virtual_ip = \"10.7.0.3/24\"",
            ),
            ("port = 80 ", "port = 8080 "),
            ("after = [\"db\"]", "after = [\"bd\"]"),
            ("after = [\"db\"]", "after = [\"web\"]"),
            ("after = [\"db\"]", "after = [\"app\"]"),
            ("apart_from = [\"db\"]", "apart_from = [\"web\"]"),
            (
                "apart_from = [\"db\"]",
                "apart_from = [\"db\"]\nwith = [\"db\"]",
            ),
            ("prefer = [\"n1\", \"n2\"]", "prefer = [\"n1\", \"h2\"]"),
            (
                "filesystems = [\"data\"]",
                "filesystems = [\"data\"]\nvirtual_ip = \"10.9.0.101/24\"",
            ),
            ("http = { port = 80 }", ""),
            ("name = \"pg\"", "name = \"ip\""),
            ("name = \"pg\"", "name = \"logs\""),
            (
                "name = \"pg\"",
                "name = \"pg\"\nagent = \"systemd:x\"\n[[service.resource]]\nname = \"pg\"",
            ),
            ("agent = \"ocf:heartbeat:pgsql\"", "agent = \"pgsql\""),
            ("pgdata = ", "rep_password = \"x\", pgdata = "),
            ("pgdata = ", "rep-user = [\"x\"], pgdata = "),
        ]),
    );
}

#[test]
fn the_form_of_the_text() {
    snapshot(
        "contradictions-form",
        &refusals(&[
            (
                "[platform]\nkind = \"vmware\"\nmanager = { kind = \"vcenter\", address = \"vc.example.org\" }\n",
                "",
            ),
            ("[cluster]", "[clustre]"),
            ("[[fence]]", "[fence]"),
            ("[options]", "[[options]]"),
            ("name = \"full\"", "name = \"full\"\nname = \"twice\""),
            ("name = \"full\"", "name = \"full"),
            (
                "[guests]\nos = \"rhel 9.4\"",
                "[guests]\nos = 9.4\nwatchdog = \"dog\"\nsnapshots = \"no\"\ncolour = 1",
            ),
            (
                "name = \"full\"",
                "name = \"this name is much longer than it may be\"",
            ),
        ]),
    );
}

#[test]
fn several_pictures_at_once() {
    let text = FULL
        .replace("after = [\"db\"]", "after = [\"web\"]")
        .replace("host = \"h1\"", "host = \"h3\"")
        .replace(
            "username = \"fencing\"",
            "username = \"fencing\", passwd = \"s3cret\"",
        );
    let error = Definition::parse("full.toml", &text).expect_err("refused");
    snapshot("contradictions-pictures", &error.to_string());
}

#[test]
fn no_report_repeats_a_secret() {
    for wrong in [
        "options = { password = \"s3cret\" }",
        "options = { password = 's3cret', tokn = 1",
        "secrets = \"s3cret\"",
        "secrets = { password = \"s3cret\" }",
        "secrets = { password = [\"x\"], other = \"s3cret\" }",
        "options = { community = \"s3cret\", nonsense = [] }",
        "password = \"s3cret\"",
        "passwd = \"s3cret\"\npasswd = \"s3cret\"",
    ] {
        let text = FULL.replacen("multicast = \"225.0.0.12\"", wrong, 1);
        let error = Definition::parse("full.toml", &text).expect_err("refused");
        let shown = format!(
            "{error} {error:?} {:?} {}",
            error.problems(),
            error.report(true)
        );
        assert!(!shown.contains("s3cret"), "{error}");
    }
}
