//! Pacemaker's own fencer as the caller.

use picket_tests::{
    fencer::{self, Fencer},
    process::PATIENCE,
    skip::skipped,
};

use crate::{NEEDS, World};

/// `$1` is the agent, `$2` the port, `$3` a further option.
const STEPS: &str = r#"
login="-o ip=127.0.0.1 -o ipport=$2 -o username=root -o password_script=$dir/password -o $3"
say register stonith_admin -R vmware -a "$1" $login -o "pcmk_host_map=node1:DC0_H0_VM0;node2:DC0_C0_RP0_VM0;node3:nobody"
say monitor stonith_admin -Q vmware
say off stonith_admin -F node1 -t 40
say off-again stonith_admin -F node1 --tolerance 0s -t 40
say on stonith_admin -U node1 -t 40
say reboot stonith_admin -B node2 -t 40
say nobody stonith_admin -F node3 -t 40
say register-listed stonith_admin -R listed -a "$1" $login
say listed stonith_admin -F DC0_H0_VM1 -t 40
say validate stonith_admin -K -a "$1" $login
say register-wrong stonith_admin -R wrong -a "$1" -o ip=127.0.0.1 -o "ipport=$2" -o username=root -o password=wrong -o "$3"
say monitor-wrong stonith_admin -Q wrong
"#;

#[test]
fn the_fencer_drives_each_agent() {
    if skipped(&[&NEEDS[..], &fencer::NEEDS[..]].concat()) {
        return;
    }
    for agent in ["fence_vmware", "fence_vmware_soap", "fence_vmware_rest"] {
        let world = if agent == "fence_vmware" {
            World::encrypted()
        } else {
            World::vcenter()
        };
        let dir = world.dir.path();
        let fencer = Fencer::new(dir, &[agent]);
        let _ = fencer.password_script("secret");
        let option = match &world.authority {
            Some(authority) => format!("ssl_ca={}", authority.display()),
            None => "power_timeout=15".to_owned(),
        };
        let args = [agent.to_owned(), world.port.to_string(), option];
        let done = fencer.carry_out(STEPS, &args, PATIENCE * 4);
        let log = &done.log;
        done.expect(&[
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
        ]);
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
