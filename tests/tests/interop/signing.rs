//! Hashes, challenges and keys.

use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests,
    process::Ran,
    rig::Rig,
    skip::{PEERS, skipped},
    subject::pairs_over,
};

const HASHES: [&str; 4] = ["none", "sha1", "sha256", "sha512"];

fn strength(hash: &str) -> usize {
    HASHES
        .iter()
        .position(|known| *known == hash)
        .expect("a known hash")
}

fn assert_on(label: &str, ran: &Ran) {
    assert_eq!(
        (ran.code, ran.results()),
        (Some(0), vec!["Status: ON"]),
        "{label}: {ran:?}"
    );
}

/// What an agent must use to reach a daemon configured with `hash` and `auth`.
///
/// The C daemon's TCP listener takes `auth` for the least hash and always challenges with SHA-256.
fn agent_hashes(
    daemon: Subject,
    route: Route,
    hash: &'static str,
    auth: &'static str,
) -> (&'static str, &'static str) {
    if daemon == Subject::C && !route.is_multicast() {
        let needed = if strength(hash) < strength(auth) {
            auth
        } else {
            hash
        };
        (needed, "sha256")
    } else {
        (hash, auth)
    }
}

#[test]
fn all_hashes_with_all_challenges() {
    if skipped(&PEERS) {
        return;
    }
    let all = pairs_over(&Route::NETWORK);
    cases::all(&all, 4, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        for hash in HASHES {
            for auth in HASHES {
                let config = Config::new(&rig, route, &uri).hashes(hash, auth);
                let daemon_process = Daemon::start(&rig, daemon, &config);
                let (request, challenge) = agent_hashes(daemon, route, hash, auth);
                let call = Call::over(&rig, agent, route).hashes(request, challenge);
                let ran = call.act(&rig, "status", Some("vm1"));
                assert_on(&format!("hash {hash}, auth {auth}"), &ran);
                daemon_process.stop();
            }
        }
    });
}

/// The daemon's setting is a minimum: what is stronger passes, what is weaker never.
#[test]
fn weaker_requests_are_refused_and_stronger_ones_served() {
    if skipped(&PEERS) {
        return;
    }
    let routes = [Route::MulticastV4, Route::TcpV4];
    let all = pairs_over(&routes);
    cases::all(&all, 8, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let config = Config::new(&rig, route, &uri).hashes("sha256", "sha256");
        let _daemon = Daemon::start(&rig, daemon, &config);
        for hash in HASHES {
            let call = Call::over(&rig, agent, route).hashes(hash, "sha256");
            if strength(hash) >= strength("sha256") {
                assert_on(hash, &call.act(&rig, "status", Some("vm1")));
            } else {
                let ran = call.impatient().act(&rig, "off", Some("vm1"));
                assert_eq!(ran.code, Some(1), "{hash}: {ran:?}");
            }
        }
        assert_on(
            "afterwards",
            &Call::over(&rig, agent, route).act(&rig, "status", Some("vm1")),
        );
    });
}

#[test]
fn keys_of_every_size() {
    if skipped(&PEERS) {
        return;
    }
    let routes = [Route::MulticastV4, Route::TcpV4];
    let all = pairs_over(&routes);
    cases::all(&all, 4, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        for size in [1, 64, 4096, 5000] {
            let key: Vec<u8> = (0..size)
                .map(|index: u32| index.to_le_bytes()[0] ^ 0x5a)
                .collect();
            rig.write_key(&key);
            let running = Daemon::start(&rig, daemon, &Config::new(&rig, route, &uri));
            let call = Call::over(&rig, agent, route);
            assert_on(
                &format!("{size} bytes"),
                &call.act(&rig, "status", Some("vm1")),
            );
            if size == 5000 {
                // Bytes past the 4096th do not count, so their absence does not either.
                rig.write_key(&key[..4096]);
                assert_on("4096 of 5000 bytes", &call.act(&rig, "status", Some("vm1")));
            }
            running.stop();
        }
    });
}

/// Nothing is stripped from a key file, so a trailing newline makes another key; and with another
/// key nothing happens.
#[test]
fn another_key_is_refused() {
    if skipped(&PEERS) {
        return;
    }
    let routes = [Route::MulticastV4, Route::TcpV4];
    let all = pairs_over(&routes);
    cases::all(&all, 8, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        rig.write_key(b"abc");
        let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, route, &uri));
        rig.write_key(b"abc\n");
        let call = Call::over(&rig, agent, route).impatient();
        let ran = call.act(&rig, "off", Some("vm1"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        rig.write_key(b"abc");
        assert_on(
            "afterwards",
            &Call::over(&rig, agent, route).act(&rig, "status", Some("vm1")),
        );
    });
}

/// The C daemon's TCP listener demands SHA-512 packets but challenges with SHA-256 when told
/// `auth = "sha512"`: an agent that must reach it can be told so.
#[test]
fn the_c_daemons_reading_of_auth_over_tcp_can_be_met() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let config = Config::new(&rig, Route::TcpV4, &uri).hashes("sha256", "sha512");
        let _daemon = Daemon::start(&rig, Subject::C, &config);
        let call = Call::over(&rig, agent, Route::TcpV4).with(&["-t", "3"]);
        let met = call
            .clone()
            .hashes("sha512", "sha256")
            .act(&rig, "status", Some("vm1"));
        assert_on("sha512 packet, sha256 challenge", &met);
        for (hash, auth) in [("sha512", "sha512"), ("sha256", "sha256")] {
            let ran = call
                .clone()
                .hashes(hash, auth)
                .act(&rig, "status", Some("vm1"));
            assert_eq!(
                ran.code,
                Some(1),
                "{hash} packet, {auth} challenge: {ran:?}"
            );
        }
    });
}
