//! What is rendered, as snapshots and as the real tools judge it.

use std::path::Path;
use std::process::{Command, Output};

use cluster::{Definition, HostSettings, Rendered, Secrets, render_guests, render_host};

const WEB: &str = include_str!("../../../examples/web.toml");

fn web() -> Definition {
    Definition::parse("web.toml", WEB).expect("the example is valid")
}

fn guests(definition: &Definition) -> Rendered {
    render_guests(definition, &Secrets::derive(b"a seed for tests"))
}

fn text(rendered: &Rendered, path: &str) -> String {
    let file = rendered.file(path).unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(file.bytes.clone()).expect("text")
}

/// Runs a checker; a machine without it skips aloud.
fn run(program: &str, arguments: &[&Path]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn assert_accepted(program: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_example_renders_like_this() {
    let rendered = guests(&web());
    insta::assert_debug_snapshot!("files", rendered);
    insta::assert_snapshot!(
        "corosync.conf",
        text(&rendered, "/etc/corosync/corosync.conf")
    );
    insta::assert_snapshot!("cib.xml", text(&rendered, "/var/lib/pacemaker/cib/cib.xml"));
    let settings = HostSettings {
        interface: Some("br0".into()),
        module_path: Some("/usr/lib/x86_64-linux-gnu/fence-virt".into()),
        ..HostSettings::usual(&web())
    };
    let host = render_host(&web(), &Secrets::derive(b"a seed for tests"), &settings)
        .expect("plain settings");
    insta::assert_snapshot!("fence_virt.conf", text(&host, "/etc/fence_virt.conf"));
    insta::assert_debug_snapshot!("host-files", host);
}

#[test]
fn guests_and_host_share_the_fencing_key() {
    let secrets = Secrets::derive(b"one");
    let key = "/etc/cluster/fence_xvm.key";
    let host = render_host(&web(), &secrets, &HostSettings::usual(&web())).expect("plain settings");
    assert_eq!(
        host.file(key).expect("a key").bytes,
        render_guests(&web(), &secrets)
            .file(key)
            .expect("a key")
            .bytes
    );
}

#[test]
fn a_host_setting_that_cannot_be_written_is_refused() {
    for uri in ["qemu:///system\"; x = \"", "a\nb", "a\\b"] {
        let settings = HostSettings {
            uri: uri.into(),
            ..HostSettings::usual(&web())
        };
        assert!(
            render_host(&web(), &Secrets::derive(b""), &settings).is_err(),
            "{uri:?}"
        );
    }
}

#[test]
fn pacemaker_accepts_the_configuration_for_any_number_of_nodes() {
    for count in [1, 2, 3, 16, 32] {
        let definition = web().with_nodes(count).expect("a pattern");
        let directory = tempfile::tempdir().expect("a directory");
        let cib = directory.path().join("cib.xml");
        std::fs::write(
            &cib,
            text(&guests(&definition), "/var/lib/pacemaker/cib/cib.xml"),
        )
        .expect("written");
        let Some(output) = run("crm_verify", &["-V".as_ref(), "-x".as_ref(), &cib]) else {
            return;
        };
        assert_accepted("crm_verify", &output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !said.contains("error") && !said.contains("warning"),
            "{count} nodes: {said}"
        );
    }
}

#[test]
fn crm_verify_would_have_noticed() {
    let cib = text(&guests(&web()), "/var/lib/pacemaker/cib/cib.xml");
    let directory = tempfile::tempdir().expect("a directory");
    let broken = directory.path().join("cib.xml");
    std::fs::write(&broken, cib.replace("rsc=\"fence.n1\"", "rsc=\"nothing\"")).expect("written");
    if let Some(output) = run("crm_verify", &["-V".as_ref(), "-x".as_ref(), &broken]) {
        assert!(!output.status.success() || !output.stderr.is_empty());
    }
}

#[test]
fn corosync_accepts_the_configuration_for_any_number_of_nodes() {
    for count in [1, 2, 3, 32] {
        let definition = web().with_nodes(count).expect("a pattern");
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let rendered = guests(&definition);
        std::fs::create_dir(at("log")).expect("made");
        let conf = text(&rendered, "/etc/corosync/corosync.conf")
            .replace("/var/log/corosync", &at("log").to_string_lossy())
            .replace(
                "totem {",
                &format!("totem {{\n\tkeyfile: {}", at("authkey").display()),
            );
        std::fs::write(at("corosync.conf"), conf).expect("written");
        let key = rendered.file("/etc/corosync/authkey").expect("a key");
        std::fs::write(at("authkey"), &key.bytes).expect("written");
        let conf = at("corosync.conf");
        // Corosync looks for itself among the nodes: a namespace in which this machine is the first one.
        let script =
            "ip link set lo up && ip address add 10.9.0.1/32 dev lo && exec corosync -t -c \"$1\"";
        let arguments: [&Path; 7] = [
            "--net".as_ref(),
            "--".as_ref(),
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            &conf,
        ];
        let Some(version) = run("corosync", &["-v".as_ref()]) else {
            return;
        };
        assert_accepted("corosync -v", &version);
        let Some(output) = run("unshare", &arguments) else {
            return;
        };
        assert_accepted("corosync", &output);
    }
}
