//! Pacemaker's own fencer as the caller.

use picket_tests::{
    fencer::{self, Fencer},
    process::PATIENCE,
    skip::skipped,
};

use crate::{ALONE, CLUSTER, PASSWORD, VM1, VM2, World};

/// `$1` is the port, further arguments are options.
const STEPS: &str = r#"
options="-o ip=127.0.0.1 -o ipport=$1 -o username=CORP\\ann"; shift
for option; do options="$options -o $option"; done
map="node1:vm1;node2:564d1fcb-2b1c-4b8e-8c52-9b54d1a9b2e2;node3:nobody"
say register stonith_admin -R hv -a fence_hyperv $options -o "password_script=$dir/password" -o "pcmk_host_map=$map"
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

/// One host, a cluster of three, and a host with TLS that wants the login bound to it.
#[test]
fn the_fencer_drives_the_agent() {
    if skipped(&fencer::NEEDS) {
        return;
    }
    for (lines, server) in [
        (ALONE, &[][..]),
        (CLUSTER, &[]),
        (ALONE, &["--tls", "--strict-binding"]),
    ] {
        let world = World::with(lines, server);
        let fencer = Fencer::new(world.dir.path(), &["fence_hyperv"]);
        let _ = fencer.password_script(PASSWORD);
        let mut args = vec![world.port().to_string()];
        if world.cluster {
            args.extend([
                "cluster=1".to_owned(),
                format!("nodes={}", world.node_list()),
            ]);
        }
        if world.tls {
            args.push(format!("ssl_ca={}", world.trust().display()));
        }
        let done = fencer.carry_out(STEPS, &args, PATIENCE * 4);
        let log = &done.log;
        done.expect(&[
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
        ]);
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
