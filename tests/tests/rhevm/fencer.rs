//! Pacemaker's own fencer as the caller.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use picket_tests::{
    process::run,
    skip::{Need, skipped},
    subject::ours,
};

use crate::Engine;

const NEEDS: [Need; 4] = [
    Need::Root,
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
    Need::File("/usr/bin/unshare", "util-linux"),
];

/// Starts the fencer in a process namespace that ends with this script, and has it do things. `$1` is a directory, `$2` the
/// engine's port. After each step the states of the machines are printed.
const SCRIPT: &str = r#"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin,workdir=$1/sbinwork" /usr/sbin
for at in /dev/shm /var/log/pacemaker; do mount -t tmpfs tmpfs $at; done
mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores
/usr/lib/pacemaker/pacemaker-fenced -s -l "$1/fenced.log" >"$1/fenced.out" 2>&1 &
for n in $(seq 100); do stonith_admin -L >/dev/null 2>&1 && break; sleep 0.2; done
cd "$1"
say() { what=$1; shift; "$@" >>"$what.out" 2>&1; echo "$what $?"; }
register() { id=$1; agent=$2; shift 2; say "register-$id" stonith_admin -R "$id" -a "$agent" -o ip=127.0.0.1 -o "ipport=$port" "$@"; }
port=$2
map="pcmk_host_map=alpha:node1;beta:node2;gamma:node9"
say metadata stonith_admin -M -a fence_rhevm
register dev fence_rhevm -o username=fence@internal -o password=secret -o "$map" -o pcmk_host_check=static-list
say monitor stonith_admin -Q dev
say off stonith_admin -F alpha -t 30
say off-again stonith_admin -F alpha -t 30 --tolerance 0s
say on stonith_admin -U alpha -t 30
say reboot stonith_admin -B beta -t 30
say off-unknown stonith_admin -F gamma -t 20
stonith_admin -D dev
register wrong fence_rhevm -o username=fence@internal -o password=wrong -o "$map"
say monitor-wrong-password stonith_admin -Q wrong
stonith_admin -D wrong
register weak fence_rhevm -o username=viewer@internal -o password=secret -o "$map"
say monitor-no-privilege stonith_admin -Q weak
stonith_admin -D weak
register alias fence_rhev -o username=fence@internal -o password=secret
say targets stonith_admin -s alias
say off-by-list stonith_admin -F node3 -t 30
say validate stonith_admin -K -a fence_rhevm -o ip=127.0.0.1 -o username=u -o password=p
say validate-wrong stonith_admin -K -a fence_rhevm -o ip=127.0.0.1 -o username=u -o password=p -o api_version=7
"#;

#[test]
fn the_fencer_switches_machines() {
    if skipped(&NEEDS) {
        return;
    }
    let engine = Engine::start("");
    for name in ["sbin", "sbinwork"] {
        fs::create_dir(engine.path(name)).expect("the test's directory takes others");
    }
    for name in ["fence_rhevm", "fence_rhev"] {
        symlink(ours("picket-agents"), engine.path("sbin").join(name))
            .expect("a new directory is empty");
    }
    let script = engine.path("script");
    fs::write(&script, SCRIPT).expect("the test's directory takes files");
    let mut command = Command::new("/usr/bin/unshare");
    command.args([
        "-m",
        "-i",
        "-p",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "sh",
    ]);
    command.arg(&script).arg(engine.dir()).arg(engine.port());
    let ran = run(
        &mut command,
        None,
        engine.dir(),
        None,
        Duration::from_secs(150),
    );
    let results: Vec<(&str, bool)> = ran
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(what, code)| (what, code == "0"))
        .collect();
    let wanted = [
        ("metadata", true),
        ("register-dev", true),
        ("monitor", true),
        ("off", true),
        ("off-again", true),
        ("on", true),
        ("reboot", true),
        ("off-unknown", false),
        ("register-wrong", true),
        ("monitor-wrong-password", false),
        ("register-weak", true),
        // When monitor fails, stonith_admin tries list, which needs no privilege; the log below shows that it failed.
        ("monitor-no-privilege", true),
        ("register-alias", true),
        ("targets", true),
        ("off-by-list", true),
        ("validate", true),
        ("validate-wrong", false),
    ];
    let log = fs::read_to_string(engine.path("fenced.log")).unwrap_or_default();
    assert_eq!(results, wanted, "{ran:?}\n{log}");
    // Off, on; off and on; off for good. Nobody else.
    let stops = ["node1", "node2", "node3"].map(|name| engine.stops(name));
    assert_eq!(stops, [1, 1, 1], "{log}");
    let states = ["node1", "node2", "node3"].map(|name| engine.state(name));
    assert_eq!(states, ["up", "up", "down"]);
    assert_eq!(engine.sessions().0, 0, "every run ended its session");
    // The administrator is told why.
    let targets = fs::read_to_string(engine.path("targets.out")).unwrap_or_default();
    assert!(targets.contains("node2"), "{targets}");
    for words in [
        "login of `fence@internal` refused",
        "stop_vm",
        "no guest `node9`",
    ] {
        assert!(log.contains(words), "`{words}` is not in {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}
