//! What is rendered, as snapshots.

mod render_support;

use std::fmt::Write as _;

use cluster::{
    Definition, HostSettings, Rendered, Secrets, instructions, render_guest_devices, render_host,
    storage_setup,
};
use render_support::{example, node_files, text};

fn web() -> Definition {
    example("web")
}

#[test]
fn the_example_renders_like_this() {
    let rendered = node_files(&web(), 0);
    insta::assert_debug_snapshot!("files", rendered);
    insta::assert_snapshot!(
        "corosync.conf",
        text(&rendered, "/etc/corosync/corosync.conf")
    );
    insta::assert_snapshot!("cib.xml", text(&rendered, "/var/lib/pacemaker/cib/cib.xml"));
    let settings = HostSettings {
        interface: Some("br0".into()),
        module_path: Some("/usr/lib/x86_64-linux-gnu/fence-virt".into()),
        ..HostSettings::usual(&web(), web().hosts.first())
    };
    let host = render_host(&web(), &Secrets::derive(b"a seed for tests"), &settings)
        .expect("plain settings");
    insta::assert_snapshot!("fence_virt.conf", text(&host, "/etc/fence_virt.conf"));
    insta::assert_debug_snapshot!("host-files", host);
}

/// A daemon on all addresses of IPv4 does not hear nodes that have none.
#[test]
fn a_daemon_listens_on_the_family_of_its_nodes() {
    for (node, any) in [("10.9.0.1", "0.0.0.0"), ("fd00::1", "::")] {
        let text_of = format!(
            "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n[[node]]\nname = \"n1\"\naddress = \"{node}\"\n\
             [[fence]]\nname = \"v\"\nagent = \"fence_virt\"\nlistener = \"tcp\"\n[fence_virtd]\n"
        );
        let definition = Definition::parse("c.toml", &text_of).expect("valid");
        let settings = HostSettings::usual(&definition, None);
        let host = render_host(&definition, &Secrets::derive(b"x"), &settings).expect("plain");
        let conf = text(&host, "/etc/fence_virt.conf");
        assert!(conf.contains(&format!("address = \"{any}\"")), "{conf}");
    }
}

#[test]
fn guests_and_host_share_the_fencing_key() {
    let secrets = Secrets::derive(b"a seed for tests");
    let key = "/etc/cluster/fence_xvm.key";
    let settings = HostSettings::usual(&web(), None);
    let host = render_host(&web(), &secrets, &settings).expect("plain settings");
    assert_eq!(
        host.file(key).expect("a key").bytes,
        node_files(&web(), 1).file(key).expect("a key").bytes
    );
}

#[test]
fn a_host_setting_that_cannot_be_written_is_refused() {
    for uri in ["qemu:///system\"; x = \"", "a\nb", "a\\b"] {
        let settings = HostSettings {
            uri: uri.into(),
            ..HostSettings::usual(&web(), None)
        };
        assert!(
            render_host(&web(), &Secrets::derive(b""), &settings).is_err(),
            "{uri:?}"
        );
    }
}

/// Everything that can be shown of a cluster in one text: what each machine gets, and the files that
/// differ from example to example. Keys are left out, and scripts that are always the same.
fn whole(name: &str) -> String {
    let definition = example(name);
    let mut out = String::new();
    let mut show = |place: &str, rendered: &Rendered| {
        for file in &rendered.files {
            let (owner, group) = (file.owner.user(), file.owner.group());
            let _ = writeln!(
                out,
                "==> {place}: {:04o} {owner}:{group} {}",
                file.mode,
                file.path.display()
            );
            let path = file.path.to_string_lossy();
            let is_constant = path.ends_with("key")
                || path.ends_with("/httpd")
                || path.ends_with("/storage-setup")
                || path.ends_with("cib.xml") && place != "node 0";
            if !is_constant {
                out.push_str(&String::from_utf8_lossy(&file.bytes));
            }
        }
    };
    for at in 0..definition.nodes.len().min(2) {
        show(&format!("node {at}"), &node_files(&definition, at));
    }
    if let Some(node) = definition.nodes.iter().position(|node| !node.is_guest()) {
        show(&format!("node {node}"), &node_files(&definition, node));
    }
    if let Some(host) = definition.hosts.first() {
        let settings = HostSettings::usual(&definition, Some(host));
        let secrets = Secrets::derive(b"a seed for tests");
        show(
            "host",
            &render_host(&definition, &secrets, &settings).expect("plain settings"),
        );
        show("host", &render_guest_devices(&definition, host));
    }
    show("instructions", &instructions(&definition));
    for step in storage_setup(&definition) {
        let _ = writeln!(
            out,
            "==> {:?} on {:?}: {}",
            step.phase,
            step.on,
            step.make.join(" ")
        );
    }
    out
}

/// Timers are left out: examples are tuned.
fn snapshot(name: &str) {
    let timers = [
        (r#"(name="dc-deadtime" value=)"\w+""#, "$1[TIME]"),
        (r"(?m)^(\ttoken: )\d+$", "$1[TIME]"),
    ];
    insta::with_settings!({filters => timers}, {
        insta::assert_snapshot!(name, whole(name));
    });
}

#[test]
fn clustered_storage_renders_like_this() {
    snapshot("kvm-storage");
}

#[test]
fn a_mixed_cluster_renders_like_this() {
    snapshot("mixed");
}

#[test]
fn a_cluster_on_vmware_renders_like_this() {
    snapshot("vmware");
}

#[test]
fn a_cluster_on_hyper_v_renders_like_this() {
    snapshot("hyper-v");
}

#[test]
fn a_cluster_on_rhel_6_hosts_renders_like_this() {
    snapshot("rhel6-kvm");
}

/// Every point about a platform names a statement, a fact, or says that nobody could check it.
#[test]
fn instructions_name_their_sources() {
    let is_source = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let statement = word
            .strip_prefix('S')
            .is_some_and(|number| number.len() == 2 && number.parse::<u8>().is_ok());
        let fact = word.split_once('.').is_some_and(|(family, fact)| {
            let families = [
                "kvm", "xen", "ovirt", "vmw", "hv", "kv", "ahv", "pve", "az", "aws", "rhel",
                "suse", "cs", "fa", "pr",
            ];
            families.contains(&family) && !fact.is_empty()
        });
        statement || fact || word == "unverified"
    };
    for (name, definition) in render_support::examples() {
        let text = text(&instructions(&definition), "/instructions.md");
        let platform = text.split("\n## ").nth(1).expect("a section");
        assert!(
            platform.starts_with("On the platform"),
            "{name}: {platform}"
        );
        let points: Vec<String> = platform.lines().fold(Vec::new(), |mut points, line| {
            if line.starts_with(char::is_numeric) {
                points.push(line.to_owned());
            } else if let Some(last) = points.last_mut() {
                last.push_str(line);
            }
            points
        });
        assert!(!points.is_empty(), "{name}");
        for point in points {
            assert!(
                point.split([' ', '(', ';']).any(is_source),
                "{name}: {point}"
            );
        }
    }
}
