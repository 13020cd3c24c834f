//! Pacemaker's own fencer as the caller.

use std::{fs, time::Duration};

use picket_tests::{
    fencer::{Fencer, NEEDS},
    skip::skipped,
};

use crate::Engine;

/// `$1` is the engine's port.
const STEPS: &str = r#"
register() { id=$1; agent=$2; shift 2; say "register-$id" stonith_admin -R "$id" -a "$agent" -o ip=127.0.0.1 -o "ipport=$port" "$@"; }
port=$1
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
    let fencer = Fencer::new(engine.dir(), &["fence_rhevm", "fence_rhev"]);
    let done = fencer.carry_out(STEPS, &[engine.port().to_owned()], Duration::from_secs(150));
    let log = &done.log;
    done.expect(&[
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
    ]);
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
        "refused the login: `fence@internal`",
        "stop_vm",
        "no guest `node9`",
    ] {
        assert!(log.contains(words), "`{words}` is not in {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}
