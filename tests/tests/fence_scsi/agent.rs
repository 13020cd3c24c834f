//! Beside the packaged agent.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use picket_tests::{
    process::{PATIENCE, run},
    skip::{Need, skipped},
    subject::ours,
};

use crate::Node;

pub(crate) const PACKAGED: &str = "/usr/sbin/fence_scsi";
const PACKAGED_CHECK: &str = "/usr/share/cluster/fence_scsi_check";
const NEEDS: [Need; 3] = [
    Need::Root,
    Need::File(PACKAGED, "fence-agents"),
    Need::File("/usr/bin/xmllint", "libxml2-utils"),
];

/// The value of an attribute in a line of XML.
fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// Each parameter with type and default, each action with its attributes.
fn declared(xml: &str) -> BTreeMap<String, Vec<Option<String>>> {
    let mut all = BTreeMap::new();
    let mut parameter = String::new();
    for line in xml.lines() {
        if line.contains("<parameter ") {
            parameter = attribute(line, "name").expect("a parameter has a name");
        } else if line.contains("<content ") {
            let what = ["type", "default"].map(|name| attribute(line, name));
            all.insert(format!("parameter {parameter}"), what.to_vec());
        } else if line.contains("<action ") {
            let name = attribute(line, "name").expect("an action has a name");
            let what = ["on_target", "automatic"].map(|name| attribute(line, name));
            all.insert(format!("action {name}"), what.to_vec());
        }
    }
    all
}

#[test]
fn metadata_has_all_of_the_packaged_agents() {
    if skipped(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1"], 0);
    let theirs = node.run(Path::new(PACKAGED), &["-o", "metadata"], None);
    for ran in [
        node.fence(&["-o", "metadata"]),
        node.run(&node.path("fence_scsi"), &[], Some("action=metadata\n")),
    ] {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let (theirs, mine) = (declared(&theirs.stdout), declared(&ran.stdout));
        assert!(theirs.len() > 30, "{theirs:?}");
        for (what, attributes) in theirs {
            assert_eq!(mine.get(&what), Some(&attributes), "{what}");
        }
        let file = node.write("metadata.xml", &ran.stdout);
        let schema = "/usr/share/cluster/relaxng/metadata.rng";
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng", schema]).arg(file);
        let checked = run(&mut xmllint, None, node.dir.path(), None, PATIENCE);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

/// The key each agent writes down before it registers it, with a device that neither can use.
#[test]
fn keys_are_those_of_the_packaged_agent() {
    if skipped(&NEEDS) {
        return;
    }
    let names = ["alpha", "beta", "node-3.example.org", "n4"];
    for cluster in ["mycluster", "c", "prod-west_2"] {
        for (at, name) in names.iter().enumerate() {
            for scheme in ["id", "hash"] {
                let keys = [PACKAGED, "fence_scsi"].map(|program| {
                    let node = Node::new(cluster, &names, at);
                    let program = if program == PACKAGED {
                        PACKAGED.into()
                    } else {
                        node.path(program)
                    };
                    let device = node.path("device");
                    let made = Command::new("mknod")
                        .arg(&device)
                        .args(["b", "240", "250"])
                        .status();
                    assert!(made.is_ok_and(|status| status.success()));
                    let device = format!("--devices={}", device.display());
                    let scheme = format!("--key-value={scheme}");
                    let args = [
                        "-o",
                        "on",
                        "-n",
                        name,
                        &device,
                        &scheme,
                        &node.cmapctl(),
                        "--power-timeout=1",
                        "--retry-on=0",
                        "--sg_persist-path=/bin/true",
                        "--sg_turs-path=/bin/true",
                    ];
                    let ran = node.run(&program, &args, None);
                    assert_eq!(ran.code, Some(1), "{ran:?}");
                    node.key().unwrap_or_else(|| panic!("{ran:?}"))
                });
                assert_eq!(keys[0], keys[1], "{cluster} {name} {scheme}");
            }
        }
    }
}

/// Arguments, and what the message must name.
type Misuse = (&'static [&'static str], &'static [&'static str]);

const MISUSES: [Misuse; 12] = [
    (&["-o", "off"], &["plug", "key"]),
    (
        &["-o", "off", "-n", "node3", "-d", "/dev/nothing"],
        &["node3", "node1, node2"],
    ),
    (
        &["-o", "off", "-n", "node", "-d", "/dev/nothing"],
        &["`node`"],
    ),
    (
        &["-o", "off", "-n", "node1,node2", "-d", "/dev/nothing"],
        &["one node at a time"],
    ),
    (
        &["-o", "on", "-n", "node2", "-d", "/dev/nothing"],
        &["node2", "another machine"],
    ),
    (
        &["-o", "off", "-k", "0x0", "-d", "/dev/nothing"],
        &["key", "cannot be 0"],
    ),
    (
        &["-o", "off", "-k", "xyz", "-d", "/dev/nothing"],
        &["xyz", "hexadecimal"],
    ),
    (
        &["-o", "validate-all", "-k", "1", "-d", "sda, iscsi://h/t"],
        &["sda", "iscsi://h/t"],
    ),
    (
        &["-o", "off", "-k", "1", "--key-value=random"],
        &["id, hash, unique"],
    ),
    (
        &["-o", "status", "-n", "node1", "-d", "/dev/nothing"],
        &["/dev/nothing"],
    ),
    (
        &["-o", "reboot", "-n", "node1"],
        &["reboot", "on, off, status"],
    ),
    (
        &["-o", "monitor", "-d", "/dev/nothing"],
        &["/var/run/cluster.key", "not been unfenced"],
    ),
];

#[test]
fn wrong_use_is_named_and_changes_nothing() {
    if skipped(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    for (args, words) in MISUSES {
        let ran = node.fence(args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert_eq!(
            ran.stdout, "",
            "{args:?}: messages belong on standard error"
        );
        for word in words {
            assert!(
                ran.stderr.contains(word),
                "{args:?} names `{word}`: {}",
                ran.stderr
            );
        }
        assert_eq!(node.key(), None, "{args:?}");
    }
    // Quirks of lists and keys that are none.
    let fine = [
        "-o",
        "validate-all",
        "-k",
        "0x00ABC",
        "-d",
        "/dev/a, /dev/b\t/dev/c",
        "-n",
        "x",
    ];
    assert_eq!(node.fence(&fine).code, Some(0));
    let input =
        "action=validate-all\nport=node1\nnodename=node1\nsuppress-errors=1\ndevices=/dev/a\n";
    let ran = node.run(&node.path("fence_scsi"), &[], Some(input));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn programs_that_fail_or_hang_are_told_and_ended() {
    if skipped(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    let with = |script: &str| {
        node.write("cmapctl", &format!("#!/bin/sh\n{script}\n"));
        node.fence(&[
            "-o",
            "status",
            "-n",
            "node1",
            "-d",
            "/dev/nothing",
            "--power-timeout=2",
        ])
    };
    let ran = with("echo 'no such thing' >&2; exit 7");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("no such thing"), "{ran:?}");
    for script in ["sleep 60", "exec >&- 2>&-; sleep 60", "yes >&2"] {
        let ran = with(script);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.took < Duration::from_secs(15), "{script}: {ran:?}");
    }
    let ran = with("");
    assert!(ran.stderr.contains("totem.cluster_name"), "{ran:?}");
}

/// Starting a program is most of what an action costs.
#[test]
fn corosync_is_asked_once() {
    if skipped(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    let calls = |script: &str| {
        let script = format!("#!/bin/sh\nd=${{0%/*}}\necho \"$*\" >>\"$d/calls\"\n{script}\n");
        node.write("cmapctl", &script);
        node.write("calls", "");
        // There is no such device, which is found after Corosync has answered.
        let ran = node.fence(&["-o", "status", "-n", "node2", "-d", "/dev/nothing"]);
        assert!(ran.stderr.contains("/dev/nothing"), "{ran:?}");
        let calls = fs::read_to_string(node.path("calls")).expect("it was written");
        calls.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = "cat \"$d/name\" \"$d/list\"";
    assert_eq!(calls(all), ["totem.cluster_name nodelist"]);
    // One that only looks at its first argument, in the place of Corosync's.
    let first = "case $1 in totem.cluster_name) cat \"$d/name\";; nodelist) cat \"$d/list\";; esac";
    assert_eq!(calls(first), ["totem.cluster_name nodelist", "nodelist"]);
}

#[test]
fn shared_volume_groups_are_found() {
    if skipped(&NEEDS) {
        return;
    }
    let node = Node::new("c", &["node1", "node2"], 0);
    let vgs = |lines: &str| {
        let path = node.write("vgs", &format!("#!/bin/sh\ncat <<'END'\n{lines}END\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let vgs = format!("--vgs-path={}", path.display());
        node.fence(&["-o", "status", "-n", "node2", &vgs])
    };
    let ran = vgs("  wz--n-:/dev/local\n  wz--ns:/dev/shared1\n  wz--nc:/dev/shared2\n");
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("/dev/shared1") && ran.stderr.contains("/dev/shared2"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("/dev/local"), "{ran:?}");
    let ran = vgs("  wz--n-:/dev/local\n");
    assert!(ran.stderr.contains("no shared volume group"), "{ran:?}");
    let ran = vgs("  wz-pns:[unknown]\n  wz-pns:/dev/shared1\n");
    assert!(ran.stderr.contains("not here"), "{ran:?}");
}

/// Key file, device file, arguments, exit status.
type Situation = (
    Option<&'static str>,
    Option<&'static str>,
    &'static [&'static str],
    i32,
);

/// Both checks in every situation in which no device can be read.
#[test]
fn the_watchdog_check_exits_as_the_packaged_one() {
    if skipped(&[&NEEDS[..], &[Need::File(PACKAGED_CHECK, "fence-agents")]].concat()) {
        return;
    }
    let situations: [Situation; 7] = [
        (None, None, &[], 0),
        (Some("1\n"), None, &["test"], 0),
        (None, Some("/dev/nothing\n"), &["test"], 0),
        (Some("1\n"), Some(""), &[], 0),
        (Some("1\n"), Some("/dev/nothing\n"), &[], 2),
        (
            Some("1\n"),
            Some("/dev/nothing\n/dev/nowhere\n"),
            &["test"],
            2,
        ),
        (Some("1\n"), Some("/dev/nothing\n"), &["repair", "5"], 5),
    ];
    for (key, devices, args, code) in situations {
        let node = Node::new("c", &["node1"], 0);
        for (name, text) in [("run/cluster.key", key), ("run/cluster.dev", devices)] {
            if let Some(text) = text {
                node.write(name, text);
            }
        }
        for program in [PathBuf::from(PACKAGED_CHECK), node.path("fence_scsi_check")] {
            let ran = node.run(&program, args, None);
            assert_eq!(
                ran.code,
                Some(code),
                "{}: {key:?} {devices:?} {args:?}: {ran:?}",
                program.display()
            );
        }
    }
}

#[test]
fn links_for_agents_and_for_checks() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    for (command, names) in [
        (
            "install",
            &[
                "fence_hyperv",
                "fence_rhev",
                "fence_rhevm",
                "fence_scsi",
                "fence_virt",
                "fence_vmware",
                "fence_vmware_rest",
                "fence_vmware_soap",
                "fence_xvm",
            ][..],
        ),
        (
            "install-checks",
            &["fence_scsi_check", "fence_scsi_check_hardreboot"],
        ),
    ] {
        let into = dir.path().join(command);
        fs::create_dir(&into).expect("a new directory takes others");
        let ran = run(
            Command::new(ours("picket-agents")).arg(command).arg(&into),
            None,
            dir.path(),
            None,
            PATIENCE,
        );
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut found: Vec<String> = fs::read_dir(&into)
            .expect("it is there")
            .map(|entry| {
                entry
                    .expect("it can be read")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        found.sort();
        assert_eq!(found, names);
    }
}
