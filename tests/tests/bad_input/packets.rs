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
    daemon::{Config, Daemon, Route},
    guests,
    peer::{self, Callback},
    process::{PATIENCE, never_within, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::Signal;

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
        let stream = peer::try_connect(&rig.cable.guest, address);
        silent.push(stream.expect("a connection is taken at once, whatever becomes of it"));
    }
    let ran = Call::over(&rig, Subject::C, Route::TcpV4).act(&rig, "status", Some("vm1"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.took < Duration::from_secs(3), "{:?}", ran.took);
    assert!(daemon.process.descriptors() < 1100);
}

/// Names that would do harm in a log, a shell or a document. They come from somebody who may ask.
const EVIL_NAMES: [&[u8]; 10] = [
    b"vm1\nWARN forged line",
    b"\x1b[31mred\x07",
    b"\"},{\"outcome\":\"done",
    b"../../etc/passwd",
    b"$(reboot)",
    b"<domain>&amp;",
    b"%s%s%s%n",
    "\u{202e}1mv".as_bytes(),
    b"\xff\xfe\x80",
    // All 64 bytes, so that there is no end to it.
    &[b'x'; 64],
];

/// Without hashes, so that the packets can be made by hand, whatever is in them.
#[test]
fn evil_names_are_only_names() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let config = Config::new(&rig, Route::TcpV4, &uri).hashes("none", "none");
    let daemon = Daemon::start(&rig, Subject::Ours, &config);
    for (seqno, name) in (1..).zip(EVIL_NAMES) {
        let mut packet = [0; REQUEST_LEN];
        packet[0] = Operation::OFF.0;
        packet[4..4 + name.len()].copy_from_slice(name);
        packet[104] = seqno;
        let mut stream = peer::dial(&rig.cable);
        stream.write_all(&packet).expect("the daemon reads");
        let answer = peer::read_all(&stream);
        assert!(matches!(answer[..], [] | [1]), "{name:?}: {answer:?}");
    }
    let call = Call::over(&rig, Subject::Ours, Route::TcpV4).hashes("none", "none");
    for plug in ["vm1", "vm2"] {
        assert_eq!(call.act(&rig, "status", Some(plug)).code, Some(0), "{plug}");
    }
    // At its end the daemon writes everything that waits.
    daemon.process.signal(Signal::TERM);
    let ran = daemon.process.finish(PATIENCE);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let audit = fs::read_to_string(&config.audit).expect("the audit log is there");
    for line in audit.lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(record.is_object(), "{line}");
    }
    assert!(audit.contains("reboot"), "the names are recorded:\n{audit}");
    for text in [ran.printed(), audit] {
        let raw = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(raw), "control characters in:\n{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("WARN forged")),
            "forged:\n{text}"
        );
    }
}

/// Places where nobody, everybody or the daemon itself would be called back.
#[test]
fn evil_addresses_are_survived() {
    if skipped(&PEERS) {
        return;
    }
    let (rig, daemon) = world(Route::MulticastV4);
    let key = rig.wire_key();
    let places = [
        "0.0.0.0:1",
        "255.255.255.255:1",
        "224.0.0.1:1229",
        "10.77.0.255:80",
        "127.0.0.1:1229",
        "10.77.0.1:1229",
        "10.77.0.2:0",
        "[::]:1",
        "[ff05::3:1]:1229",
        "[fe80::1]:22",
    ];
    for (seqno, place) in (1..).zip(places) {
        let place = place.parse().expect("an address");
        let request = peer::request(Operation::OFF, "vm1", Some(place), seqno);
        peer::multicast(&rig.cable, &request.encode(HashType::Sha256, &key));
    }
    let ran = status(&rig, Route::MulticastV4, "vm1");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.took < Duration::from_secs(3), "{:?}", ran.took);
    assert_eq!(daemon.stop(), Some(0));
}
