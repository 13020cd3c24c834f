//! Pacemaker's own fencer as the caller.

use std::{fs, os::unix::fs::symlink, process::Command};

use picket_tests::{
    process::{PATIENCE, run},
    skip::{Need, skipped},
    subject::ours,
};

use crate::{NEEDS, World};

const FENCER: [Need; 3] = [
    Need::Root,
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
];

/// Starts the fencer in a process namespace that ends with this script, and has it do things. `$1` is a directory, `$2` the
/// agent, `$3` the port, `$4` a further option.
const SCRIPT: &str = r#"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin,workdir=$1/sbinwork" /usr/sbin
for at in /dev/shm /var/log/pacemaker; do mount -t tmpfs tmpfs $at; done
mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores
/usr/lib/pacemaker/pacemaker-fenced -s -l "$1/fenced.log" >"$1/fenced.out" 2>&1 &
for n in $(seq 100); do stonith_admin -L >/dev/null 2>&1 && break; sleep 0.2; done
say() { what=$1; shift; "$@" >>"$1.out" 2>&1; echo "$what $?"; }
cd "$1"
login="-o ip=127.0.0.1 -o ipport=$3 -o username=root -o password_script=$1/password -o $4"
say register stonith_admin -R vmware -a "$2" $login -o "pcmk_host_map=node1:DC0_H0_VM0;node2:DC0_C0_RP0_VM0;node3:nobody"
say monitor stonith_admin -Q vmware
say off stonith_admin -F node1 -t 40
say off-again stonith_admin -F node1 --tolerance 0s -t 40
say on stonith_admin -U node1 -t 40
say reboot stonith_admin -B node2 -t 40
say nobody stonith_admin -F node3 -t 40
say register-listed stonith_admin -R listed -a "$2" $login
say listed stonith_admin -F DC0_H0_VM1 -t 40
say validate stonith_admin -K -a "$2" $login
say register-wrong stonith_admin -R wrong -a "$2" -o ip=127.0.0.1 -o "ipport=$3" -o username=root -o password=wrong -o "$4"
say monitor-wrong stonith_admin -Q wrong
"#;

#[test]
fn the_fencer_drives_each_agent() {
    if skipped(&[&NEEDS[..], &FENCER[..]].concat()) {
        return;
    }
    for agent in ["fence_vmware", "fence_vmware_soap", "fence_vmware_rest"] {
        let world = if agent == "fence_vmware" {
            World::encrypted()
        } else {
            World::vcenter()
        };
        let dir = world.dir.path();
        for name in ["sbin", "sbinwork"] {
            fs::create_dir(dir.join(name)).expect("the test's directory takes others");
        }
        symlink(ours("picket-agents"), dir.join("sbin").join(agent))
            .expect("a new directory is empty");
        let password = dir.join("password");
        fs::write(&password, "#!/bin/sh\necho secret\n").expect("the test's directory takes files");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&password, mode).expect("one's own file");
        let option = match &world.authority {
            Some(authority) => format!("ssl_ca={}", authority.display()),
            None => "power_timeout=15".to_owned(),
        };
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
        command
            .arg(dir)
            .args([agent, &world.port.to_string(), &option]);
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
            ("nobody", false),
            ("register-listed", true),
            ("listed", true),
            ("validate", true),
            ("register-wrong", true),
            ("monitor-wrong", false),
        ];
        let log = fs::read_to_string(dir.join("fenced.log")).unwrap_or_default();
        assert_eq!(results, wanted, "{agent}: {ran:?}\n{log}");
        assert!(
            log.contains("user name or password is wrong"),
            "the reason reaches the log:\n{log}"
        );
        assert!(!log.contains("secret"), "{log}");
        let states = ["DC0_H0_VM0", "DC0_C0_RP0_VM0", "DC0_H0_VM1"].map(|guest| world.state(guest));
        assert_eq!(states, ["poweredOn", "poweredOn", "poweredOff"], "{agent}");
        assert_eq!(world.sessions(), (0, 0), "{agent}");
    }
}
