//! What agents really send.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use fence_wire::{MULTICAST_TTL, MULTICAST_V4, Operation, REQUEST_LEN};
use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::Route,
    guests::VM1_UUID,
    net::GUEST_V4,
    peer::{self, GroupSeat, TcpSeat},
    process::PATIENCE,
    rig::Rig,
    skip::{PEERS, skipped},
};

const ACTIONS: [(&str, Operation); 8] = [
    ("null", Operation::NULL),
    ("off", Operation::OFF),
    ("reboot", Operation::REBOOT),
    ("on", Operation::ON),
    ("status", Operation::STATUS),
    ("monitor", Operation::DEVICE_STATUS),
    ("list", Operation::HOST_LIST),
    ("list-status", Operation::HOST_LIST),
];

#[test]
fn each_action_has_its_packet() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        for (action, operation) in ACTIONS {
            // A world of its own each: the packets of an agent killed late must not be mixed up.
            let rig = Rig::new();
            let seat = GroupSeat::take(&rig.cable);
            let mut call = Call::over(&rig, agent, Route::MulticastV4).with(&["-o", action]);
            if operation.needs_plug() {
                call = call.with(&["-H", "vm1"]);
            }
            let _running = call.start(&rig);
            let heard = seat.hear(PATIENCE).expect("the agent asks");
            assert_eq!(heard.payload.len(), REQUEST_LEN, "{action}");
            assert_eq!(heard.destination, IpAddr::from(MULTICAST_V4), "{action}");
            assert_eq!(u32::from(heard.ttl), MULTICAST_TTL, "{action}");
            assert_eq!(heard.source, IpAddr::from(GUEST_V4), "{action}");
            let request = peer::verify(&heard.payload, &rig.wire_key());
            assert_eq!(request.operation, operation, "{action}");
            let plug = request.plug.as_ref().map(fence_wire::Plug::as_str);
            assert_eq!(plug, operation.needs_plug().then_some("vm1"), "{action}");
            assert!(!request.by_uuid, "{action}");
            let reply_to = request
                .reply_to
                .expect("a multicast request says where to answer");
            assert_eq!(reply_to.ip(), IpAddr::from(GUEST_V4), "{action}");
        }
    });
}

#[test]
fn the_flag_says_uuid() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let rig = Rig::new();
        let seat = GroupSeat::take(&rig.cable);
        let _running = Call::over(&rig, agent, Route::MulticastV4)
            .with(&["-u", "-o", "status", "-H", VM1_UUID])
            .start(&rig);
        let request = seat.request(&rig.wire_key());
        assert!(request.by_uuid);
        assert_eq!(request.plug.expect("it has one").as_str(), VM1_UUID);
    });
}

/// `-r` is the pause between two rounds in tenths of a second; each round goes out once from each
/// address and names that address.
#[test]
fn retransmissions_go_out_from_every_address() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let rig = Rig::new();
        let second = Ipv4Addr::new(10, 77, 0, 3);
        rig.cable
            .guest
            .ip(&format!("addr add {second}/24 dev g0\n"));
        let seat = GroupSeat::take(&rig.cable);
        let begun = Instant::now();
        let _running = Call::over(&rig, agent, Route::MulticastV4)
            .with(&["-r", "10", "-o", "status", "-H", "vm1"])
            .start(&rig);
        let rounds: Vec<HashSet<IpAddr>> = (0..3)
            .map(|_| {
                (0..2)
                    .map(|_| {
                        let request = seat.request(&rig.wire_key());
                        request.reply_to.expect("it says where to answer").ip()
                    })
                    .collect()
            })
            .collect();
        let both = HashSet::from([IpAddr::from(GUEST_V4), IpAddr::from(second)]);
        assert!(rounds.iter().all(|round| *round == both), "{rounds:?}");
        assert!(
            begun.elapsed() >= Duration::from_millis(1900),
            "three rounds have two pauses"
        );
    });
}

/// Over TCP there is nothing to connect back to, so those fields are empty.
#[test]
fn a_tcp_request_names_no_address() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&agent| {
        let rig = Rig::new();
        let seat = TcpSeat::take(&rig.cable);
        let _running = Call::over(&rig, agent, Route::TcpV4)
            .with(&["-o", "off", "-H", "vm1"])
            .start(&rig);
        let (_stream, packet) = seat.receive();
        let request = peer::verify(&packet, &rig.wire_key());
        assert_eq!(request.operation, Operation::OFF);
        assert_eq!(request.reply_to, None);
        // Address, port and family; the address length before them.
        assert!(
            packet[2] == 0
                && packet[68..98]
                    .iter()
                    .chain(&packet[108..112])
                    .all(|byte| *byte == 0)
        );
    });
}
