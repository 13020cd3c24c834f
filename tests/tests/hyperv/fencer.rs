//! Pacemaker's own fencer as the caller.

use std::{fs, os::unix::fs::symlink, process::Command};

use picket_tests::{
    process::{PATIENCE, run},
    skip::{Need, skipped},
    subject::ours,
};

use crate::{ALONE, CLUSTER, PASSWORD, VM1, VM2, World};

const FENCER: [Need; 3] = [
    Need::Root,
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
];

/// Starts the fencer in a process namespace that ends with this script, and has it do things. `$1` is a directory, `$2` the
/// port, further arguments are options.
const SCRIPT: &str = r#"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin,workdir=$1/sbinwork" /usr/sbin
for at in /dev/shm /var/log/pacemaker; do mount -t tmpfs tmpfs $at; done
mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores
/usr/lib/pacemaker/pacemaker-fenced -s -l "$1/fenced.log" >"$1/fenced.out" 2>&1 &
for n in $(seq 100); do stonith_admin -L >/dev/null 2>&1 && break; sleep 0.2; done
say() { what=$1; shift; "$@" >>"$dir.out" 2>&1; echo "$what $?"; }
dir=$1; port=$2; shift 2
cd "$dir"
options="-o ip=127.0.0.1 -o ipport=$port -o username=CORP\\ann"
for option; do options="$options -o $option"; done
say register stonith_admin -R hv -a fence_hyperv $options -o "password_script=$dir/password" -o "pcmk_host_map=node1:vm1;node2:564d1fcb-2b1c-4b8e-8c52-9b54d1a9b2e2;node3:nobody"
say monitor stonith_admin -Q hv
say off stonith_admin -F node1 -t 40
say off-again stonith_admin -F node1 --tolerance 0s -t 40
say on stonith_admin -U node1 -t 40
say reboot stonith_admin -B node1 -t 40
say on-other stonith_admin -U node2 -t 40
say nobody stonith_admin -F node3 -t 40
say register-listed stonith_admin -R listed -a fence_hyperv $options -o "password_script=$dir/password"
say listed stonith_admin -F vm1 -t 40
say validate stonith_admin -K -a fence_hyperv $options -o "password_script=$dir/password"
say register-wrong stonith_admin -R wrong -a fence_hyperv $options -o password=wrong
say monitor-wrong stonith_admin -Q wrong
"#;

#[test]
fn the_fencer_drives_the_agent() {
    if skipped(&FENCER) {
        return;
    }
    for (lines, server) in [
        (ALONE, &[][..]),
        (CLUSTER, &[]),
        (ALONE, &["--tls", "--strict-binding"]),
    ] {
        let world = World::with(lines, server);
        let dir = world.dir.path();
        for name in ["sbin", "sbinwork"] {
            fs::create_dir(dir.join(name)).expect("the test's directory takes others");
        }
        symlink(ours("picket-agents"), dir.join("sbin/fence_hyperv"))
            .expect("a new directory is empty");
        let password = dir.join("password");
        fs::write(&password, format!("#!/bin/sh\necho '{PASSWORD}'\n"))
            .expect("the test's directory takes files");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&password, mode).expect("one's own file");
        let mut options = Vec::new();
        if world.cluster {
            options.extend([
                "cluster=1".to_owned(),
                format!("nodes={}", world.node_list()),
            ]);
        }
        if world.tls {
            options.push(format!("ssl_ca={}", world.trust().display()));
        }
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "-i",
            "-p",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ]);
        command.arg(dir).arg(world.port().to_string()).args(options);
        let ran = run(&mut command, None, dir, None, PATIENCE * 4);
        let results: Vec<(&str, bool)> = ran
            .stdout
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(what, code)| (what, code == "0"))
            .collect();
        let wanted = [
            ("register", true),
            ("monitor", true),
            ("off", true),
            ("off-again", true),
            ("on", true),
            ("reboot", true),
            ("on-other", true),
            ("nobody", false),
            ("register-listed", true),
            ("listed", true),
            ("validate", true),
            ("register-wrong", true),
            ("monitor-wrong", false),
        ];
        let log = fs::read_to_string(dir.join("fenced.log")).unwrap_or_default();
        assert_eq!(results, wanted, "{ran:?}\n{log}");
        assert!(
            log.contains("wrong user name or password"),
            "the reason reaches the log:\n{log}"
        );
        assert!(!log.contains("hunter2"), "{log}");
        if !world.tls {
            assert_eq!((world.truth(VM1), world.truth(VM2)), ((3, 2, 3), (2, 1, 0)));
        }
    }
}
