//! Hostile bytes.

use std::{
    fs,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use fence_wire::{HashType, Operation, REQUEST_LEN};
use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Daemon, Route},
    peer::{self, Callback},
    process::{PATIENCE, never_within, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};

use crate::{status, world};

fn resident_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id()));
    let text = status.expect("the daemon runs");
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("the kernel says how much memory it has")
}

/// Nobody else is delayed by what `attack` does again and again, memory and descriptors stay
/// bounded, and afterwards all is as before.
fn withstands(route: Route, attack: impl Fn(&Rig) + Sync) {
    let (rig, daemon) = world(route);
    assert_eq!(status(&rig, route, "vm1").code, Some(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            while begun.elapsed() < Duration::from_secs(3) {
                attack(&rig);
            }
        });
        while !attacker.is_finished() {
            let ran = status(&rig, route, "vm1");
            assert_eq!(ran.code, Some(0), "during the attack: {ran:?}");
            assert!(
                ran.took < Duration::from_secs(3),
                "a request took {:?}",
                ran.took
            );
            assert!(
                daemon.process.descriptors() < 1500,
                "descriptors without bounds"
            );
        }
    });
    assert_eq!(status(&rig, route, "vm1").code, Some(0));
    let memory = resident_kib(&daemon);
    assert!(memory < 128 * 1024, "{memory} KiB of memory");
    wait_for("connections to be dropped", PATIENCE, || {
        (daemon.process.descriptors() < 64).then_some(())
    });
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn random_datagrams() {
    if skipped(&PEERS) {
        return;
    }
    withstands(Route::MulticastV4, |rig| {
        let noise = peer::random::<1400>();
        let length = usize::from(u16::from_le_bytes([noise[0], noise[1]])) % noise.len();
        peer::multicast(&rig.cable, &noise[..length]);
        peer::multicast(&rig.cable, &noise[..REQUEST_LEN]);
    });
}

/// Requests that look right up to the signature.
#[test]
fn forged_datagrams() {
    if skipped(&PEERS) {
        return;
    }
    withstands(Route::MulticastV4, |rig| {
        let noise = peer::random::<REQUEST_LEN>();
        let callback = "10.77.0.2:9".parse().ok();
        let good = peer::request(Operation::OFF, "vm1", callback, 1)
            .encode(HashType::Sha512, &fence_wire::Key::new(b"a guess"));
        let mut forged = good;
        let at = usize::from(noise[0]) % REQUEST_LEN;
        forged[at] ^= noise[1];
        peer::multicast(&rig.cable, &forged);
    });
}

#[test]
fn random_streams() {
    if skipped(&PEERS) {
        return;
    }
    withstands(Route::TcpV4, |rig| {
        let mut stream = peer::dial(&rig.cable);
        let noise = peer::random::<700>();
        let length = usize::from(u16::from_le_bytes([noise[0], noise[1]])) % noise.len();
        // It may be refused in the middle.
        let _written = stream.write_all(&noise[..length]);
    });
}

/// Too short, too long, and cut: none is a request, and none changes what the next one means.
#[test]
fn only_exact_packets_are_requests() {
    if skipped(&PEERS) {
        return;
    }
    let (rig, _daemon) = world(Route::MulticastV4);
    let callback = Callback::listen(&rig.cable);
    let off = |seqno| {
        peer::request(Operation::OFF, "vm1", Some(callback.address()), seqno)
            .encode(HashType::Sha256, &rig.wire_key())
    };
    for length in [0, 1, 4, 111, 112, 175] {
        peer::multicast(&rig.cable, &off(1)[..length]);
    }
    for more in [1, 100, 1000] {
        peer::multicast(&rig.cable, &[&off(2)[..], &vec![0; more]].concat());
    }
    never_within("a wrong length was served", Duration::from_secs(1), || {
        callback.try_accept().is_some()
    });
    assert_eq!(status(&rig, Route::MulticastV4, "vm1").code, Some(0));
}

/// Many silent connections, more than the daemon has room for: the newest request is served.
#[test]
fn a_thousand_silent_connections() {
    if skipped(&PEERS) {
        return;
    }
    let (rig, daemon) = world(Route::TcpV4);
    let mut silent = Vec::new();
    for _ in 0..900 {
        let address = std::net::SocketAddr::from((picket_tests::net::HOST_V4, fence_wire::PORT));
        silent.push(peer::try_connect(&rig.cable.guest, address));
    }
    let ran = Call::over(&rig, Subject::C, Route::TcpV4).act(&rig, "status", Some("vm1"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.took < Duration::from_secs(3), "{:?}", ran.took);
    assert!(daemon.process.descriptors() < 1100);
}
