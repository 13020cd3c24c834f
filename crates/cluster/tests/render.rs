//! What is rendered, as snapshots.

mod render_support;

use cluster::{Definition, HostSettings, Secrets, render_host};
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
