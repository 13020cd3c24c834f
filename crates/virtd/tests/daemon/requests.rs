//! Requests over loopback TCP, from the packet to the audit record, with guests in memory.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::common::{
    DENIED, FAILURE, OFF, SECRET, SUCCESS, Setup, converse, host, packet, read_answer, request,
    shake_hands, until_closed,
};
use fence_wire::{Answer, HashType, Key, Operation, Reply};
use hypervisor::GuestState;
use hypervisor::memory::{Faults, MemoryGuest};
use virtd::config::Limits;
use virtd::policy::{Group, Policy};

#[test]
fn every_operation_has_the_answer_of_its_table() {
    let memory = host("memory:1", &["vm1", "vm2"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    assert_eq!(daemon.list(), ["vm1", "vm2"]);
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    let uuid = memory.guest("vm1").unwrap().uuid.to_string();
    assert_eq!(daemon.reply(Operation::STATUS, &uuid), SUCCESS);
    assert_eq!(daemon.reply(Operation::DEVICE_STATUS, ""), SUCCESS);
    assert_eq!(daemon.reply(Operation::NULL, "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation(99), "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), OFF);
    assert_eq!(daemon.reply(Operation::REBOOT, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), OFF);
    assert_eq!(daemon.reply(Operation::ON, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::ON, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    assert_eq!(memory.calls().ended, 1);
    assert_eq!(memory.calls().started, 1);
    let off = daemon.await_record(|record| record["operation"] == "off");
    assert_eq!(off["outcome"], "off");
    assert_eq!(off["reply"], SUCCESS);
    assert_eq!(off["requester"], "127.0.0.1");
    assert_eq!(off["evidence"][0]["means"], "destroyed");
    assert_eq!(off["evidence"][0]["observation"]["state"], "shut off");
}

#[test]
fn i05_an_unknown_guest_is_an_error_and_never_off() {
    let daemon = Setup::default().start();
    for operation in [
        Operation::STATUS,
        Operation::OFF,
        Operation::ON,
        Operation::REBOOT,
    ] {
        assert_eq!(daemon.reply(operation, "vm3"), FAILURE, "{operation}");
        assert_eq!(daemon.reply(operation, ""), FAILURE, "{operation}");
    }
    let record = daemon.await_record(|record| record["guest"] == "vm3");
    assert_eq!(record["outcome"], "no_such_guest");
}

#[test]
fn i06_the_guests_of_all_hypervisors_are_one_list() {
    let (first, second) = (
        host("memory:1", &["vm1", "vm3"]),
        host("memory:2", &["VM2"]),
    );
    let daemon = Setup {
        hosts: vec![first, second.clone()],
        ..Setup::default()
    }
    .start();
    assert_eq!(daemon.list(), ["vm1", "VM2", "vm3"]);
    assert_eq!(daemon.reply(Operation::OFF, "VM2"), SUCCESS);
    assert_eq!(daemon.reply(Operation::STATUS, "VM2"), OFF);
    assert_eq!(daemon.reply(Operation::DEVICE_STATUS, ""), SUCCESS);
    second.set_faults(Faults {
        unreachable: Some("gone".to_owned()),
        ..Faults::default()
    });
    // Whether the unreachable one has a guest of that name, or has it running, nobody knows.
    assert_eq!(daemon.reply(Operation::DEVICE_STATUS, ""), FAILURE);
    assert_eq!(daemon.reply(Operation::STATUS, "VM2"), FAILURE);
    assert_eq!(daemon.reply(Operation::OFF, "nosuch"), FAILURE);
    assert_eq!(daemon.list(), ["vm1", "vm3"]);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
    // It is off here, but may have been started there since.
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation::ON, "vm1"), FAILURE);
    let unsure = daemon.await_record(|record| record["operation"] == "on");
    assert_eq!(unsure["outcome"], "cannot_know");
}

#[test]
fn a_guest_on_two_hypervisors_is_off_when_it_is_off_on_both() {
    let (first, second) = (host("memory:1", &["vm1"]), host("memory:2", &["vm1"]));
    let uuid = first.guest("vm1").unwrap().uuid;
    second.change("vm1", |guest| guest.uuid = uuid);
    let daemon = Setup {
        hosts: vec![first.clone(), second.clone()],
        ..Setup::default()
    }
    .start();
    assert_eq!(daemon.list(), ["vm1"]);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
    assert!(!first.guest("vm1").unwrap().active && !second.guest("vm1").unwrap().active);
    assert_eq!(daemon.reply(Operation::ON, "vm1"), SUCCESS);
    assert_eq!(daemon.reply(Operation::ON, "vm1"), SUCCESS);
    let running = [&first, &second].map(|host| host.guest("vm1").unwrap().active);
    assert_eq!(running.iter().filter(|active| **active).count(), 1);
}

#[test]
fn states_that_can_write_again_are_on() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    for state in [
        GuestState::Paused,
        GuestState::PmSuspended,
        GuestState::Crashed,
    ] {
        memory.change("vm1", |guest| guest.state = state);
        assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS, "{state}");
    }
    memory.change("vm1", |guest| guest.state = GuestState::Other(42));
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), FAILURE);
}

#[test]
fn a_power_off_that_is_not_confirmed_is_no_success() {
    let memory = host("memory:1", &["vm1", "vm2"]);
    memory.change("vm1", |guest| guest.ignore = true);
    memory.change("vm2", |guest| guest.refuse = Some("backup".to_owned()));
    let daemon = Setup {
        hosts: vec![memory.clone()],
        limits: Limits {
            request_timeout: Duration::from_secs(2),
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation::REBOOT, "vm1"), FAILURE);
    assert_eq!(daemon.reply(Operation::OFF, "vm2"), FAILURE);
    assert_eq!(memory.calls().started, 0);
    let record = daemon.await_record(|record| record["guest"] == "vm2");
    assert_eq!(record["outcome"], "refused");
}

#[test]
fn i14_a_reboot_is_answered_when_the_power_is_off_and_the_start_goes_on() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    memory.set_faults(Faults {
        latency: Duration::from_millis(100),
        ..Faults::default()
    });
    assert_eq!(daemon.reply(Operation::REBOOT, "vm1"), SUCCESS);
    let restarted = || {
        daemon
            .records()
            .iter()
            .any(|record| record["subject"] == "restart")
    };
    assert!(!restarted(), "the answer waited for the start");
    // Asked at once, but answered after the start.
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    let restart = daemon.await_record(|record| record["subject"] == "restart");
    assert_eq!(restart["outcome"], "on");
    assert_eq!(restart["evidence"][0]["means"], "started");
}

#[test]
fn w08_a_guest_that_does_not_start_again_is_written_down() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    memory.set_faults(Faults {
        latency: Duration::from_millis(150),
        ..Faults::default()
    });
    assert_eq!(daemon.reply(Operation::REBOOT, "vm1"), SUCCESS);
    memory.change("vm1", |guest| guest.refuse = Some("no memory".to_owned()));
    let restart = daemon.await_record(|record| record["subject"] == "restart");
    assert_eq!(restart["outcome"], "off_but_not_restarted");
    memory.set_faults(Faults::default());
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), OFF);
}

#[test]
fn a_guest_that_left_by_migration_is_unknown() {
    let memory = host("memory:1", &["vm1", "vm2"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    assert!(memory.migrate_away("vm1"));
    let record = daemon.await_record(|record| record["subject"] == "migration");
    assert_eq!(record["guest"], "vm1");
    for operation in [
        Operation::STATUS,
        Operation::OFF,
        Operation::REBOOT,
        Operation::ON,
    ] {
        assert_eq!(daemon.reply(operation, "vm1"), FAILURE, "{operation}");
    }
    assert_eq!(daemon.reply(Operation::OFF, "vm2"), SUCCESS);
}

#[test]
fn w06_what_nobody_waits_for_any_more_is_not_begun() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    memory.hang_for(Duration::from_secs(1));
    let mut stream = daemon.connect();
    stream.write_all(&packet(Operation::OFF, "vm1")).unwrap();
    shake_hands(&mut stream, HashType::Sha256, &Key::new(SECRET)).unwrap();
    drop(stream);
    let record = daemon.await_record(|record| record["operation"] == "off");
    assert_eq!(record["outcome"], "withdrawn");
    assert!(record["reply"].is_null());
    assert_eq!(memory.calls().ended, 0);
    assert!(memory.guest("vm1").unwrap().active);
    // The same agent may ask again.
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
}

#[test]
fn a_request_ends_by_its_deadline_and_nothing_is_begun_after_it() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        limits: Limits {
            request_timeout: Duration::from_secs(1),
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    memory.hang_for(Duration::from_secs(3));
    let begun = Instant::now();
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), FAILURE);
    assert!(begun.elapsed() < Duration::from_millis(2900));
    std::thread::sleep(Duration::from_secs(3).saturating_sub(begun.elapsed()));
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    assert_eq!(memory.calls().ended, 0);
}

#[test]
fn a_retransmission_is_acted_on_once_and_has_the_same_answer() {
    let memory = host("memory:1", &["vm1"]);
    memory.set_faults(Faults {
        slow_action: Duration::from_millis(500),
        ..Faults::default()
    });
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    let again = request(Operation::OFF, "vm1");
    let key = Key::new(SECRET);
    let mut streams: Vec<_> = (0..3u8)
        .map(|number| {
            let mut packet = again.clone();
            packet.random[0] = number;
            let mut stream = daemon.connect();
            stream
                .write_all(&packet.encode(HashType::Sha256, &key))
                .unwrap();
            shake_hands(&mut stream, HashType::Sha256, &key).unwrap();
            stream
        })
        .collect();
    for stream in &mut streams {
        assert_eq!(read_answer(stream).unwrap(), Answer::Reply(Reply::SUCCESS));
    }
    assert_eq!(memory.calls().power_off, 1);
    // Now that it has ended, one more is a replay and gets nothing.
    let mut late = daemon.connect();
    let mut packet = again;
    packet.random[0] = 99;
    late.write_all(&packet.encode(HashType::Sha256, &key))
        .unwrap();
    assert_eq!(until_closed(&mut late), b"");
    assert_eq!(memory.calls().power_off, 1);
}

#[test]
fn w14_a_packet_is_accepted_once_for_good() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        auth: HashType::None,
        ..Setup::default()
    }
    .start();
    let packet = packet(Operation::OFF, "vm1");
    let mut stream = daemon.connect();
    stream.write_all(&packet).unwrap();
    assert_eq!(
        read_answer(&mut stream).unwrap(),
        Answer::Reply(Reply::SUCCESS)
    );
    // Past the window in which the history knows it; C accepts it again here.
    std::thread::sleep(virtd::history::WINDOW + Duration::from_millis(200));
    assert_eq!(memory.calls().power_off, 1);
    let mut replay = daemon.connect();
    replay.write_all(&packet).unwrap();
    assert_eq!(until_closed(&mut replay), b"");
    assert_eq!(memory.calls().power_off, 1);
    let record = daemon.await_record(|record| record["outcome"] == "rejected");
    assert!(record["detail"].as_str().unwrap().contains("replay"));
}

#[test]
fn bad_packets_get_no_byte_and_change_nothing() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    let off = || request(Operation::OFF, "vm1");
    let mut unknown_hash = off().encode(HashType::Sha256, &Key::new(SECRET));
    unknown_hash[1] = 9;
    let packets = [
        off().encode(HashType::Sha256, &Key::new(b"another key")),
        off().encode(HashType::None, &Key::none()),
        off().encode(HashType::Sha1, &Key::new(SECRET)),
        unknown_hash,
        [0xff; 176],
    ];
    for packet in packets {
        let mut stream = daemon.connect();
        stream.write_all(&packet).unwrap();
        assert_eq!(until_closed(&mut stream), b"");
    }
    let mut short = daemon.connect();
    short
        .write_all(&packet(Operation::OFF, "vm1")[..175])
        .unwrap();
    short.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(until_closed(&mut short), b"");
    assert_eq!(memory.calls().power_off, 0);
    // A stronger signature than demanded is fine.
    let mut strong = daemon.connect();
    let packet = off().encode(HashType::Sha512, &Key::new(SECRET));
    strong.write_all(&packet).unwrap();
    let answer = converse(&mut strong, HashType::Sha256).unwrap();
    assert_eq!(answer, Answer::Reply(Reply::SUCCESS));
}

#[test]
fn nothing_is_done_before_the_agent_has_proven_itself() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    for sent in [0, 1, 63, 64, 65, 127] {
        let mut stream = daemon.connect();
        stream.write_all(&packet(Operation::OFF, "vm1")).unwrap();
        stream.write_all(&vec![7; sent]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        until_closed(&mut stream);
    }
    // All 128 bytes, but the answer is wrong.
    let mut stream = daemon.connect();
    stream.write_all(&packet(Operation::OFF, "vm1")).unwrap();
    stream.write_all(&[7; 128]).unwrap();
    assert_eq!(until_closed(&mut stream).len(), 128);
    assert_eq!(memory.calls().power_off, 0);
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
}

#[test]
fn w13_the_daemon_does_not_answer_its_own_challenges() {
    let memory = host("memory:1", &["vm1"]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    }
    .start();
    // A peer without the key gets a challenge on one connection …
    let mut victim = daemon.connect();
    victim.write_all(&packet(Operation::OFF, "vm1")).unwrap();
    victim.write_all(&[1; 64]).unwrap();
    let mut bytes = [0; 128];
    victim.read_exact(&mut bytes).unwrap();
    // … and has it answered on another.
    let mut oracle = daemon.connect();
    oracle.write_all(&packet(Operation::STATUS, "vm1")).unwrap();
    oracle.write_all(&bytes[64..]).unwrap();
    assert_eq!(until_closed(&mut oracle), b"");
    assert_eq!(memory.calls().power_off, 0);
}

#[test]
fn i07_w23_silent_connections_delay_nobody_and_make_room() {
    let daemon = Setup {
        limits: Limits {
            max_connections: 45,
            max_connections_per_address: 45,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut silent: Vec<_> = (0..40).map(|_| daemon.connect()).collect();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    // More of them than there is room: the oldest gives way, an agent still has its answer.
    silent.extend((0..20).map(|_| daemon.connect()));
    assert_eq!(daemon.reply(Operation::STATUS, "vm1"), SUCCESS);
    assert_eq!(until_closed(&mut silent[0]), b"");
    // And none of them may stay for ever.
    let last = silent.len() - 1;
    assert_eq!(until_closed(&mut silent[last]), b"");
    while daemon.service.places().taken() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(15));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn w17_groups_decide_who_may_and_who_sees() {
    let group = |ip: &str, guest: &str| Group {
        name: None,
        ips: vec![ip.to_owned()],
        uuids: vec![guest.to_owned()],
    };
    let memory = host("memory:1", &["vm1", "vm2"]);
    let policy = Policy::new(vec![group("127.0.0.1", "vm1"), group("127.0.0.9", "vm2")]);
    let daemon = Setup {
        hosts: vec![memory.clone()],
        policy,
        ..Setup::default()
    }
    .start();
    assert_eq!(daemon.list(), ["vm1"]);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), SUCCESS);
    for operation in [
        Operation::OFF,
        Operation::ON,
        Operation::REBOOT,
        Operation::STATUS,
    ] {
        assert_eq!(daemon.reply(operation, "vm2"), DENIED, "{operation}");
    }
    assert_eq!(daemon.reply(Operation::DEVICE_STATUS, ""), SUCCESS);
    assert!(memory.guest("vm2").unwrap().active);
    let denied = daemon.await_record(|record| record["outcome"] == "denied");
    assert_eq!(
        (&denied["guest"], &denied["reply"]),
        (&"vm2".into(), &DENIED.into())
    );
}

#[test]
fn w20_list_records_are_zero_where_they_say_nothing() {
    let memory = host("memory:1", &[&"n".repeat(63), "a"]);
    memory.add(MemoryGuest::shut_off("off"));
    let daemon = Setup {
        hosts: vec![memory],
        auth: HashType::None,
        ..Setup::default()
    }
    .start();
    let mut stream = daemon.connect();
    stream.write_all(&packet(Operation::HOST_LIST, "")).unwrap();
    let bytes = until_closed(&mut stream);
    assert_eq!(bytes.len(), 1 + 4 * 130 + 1);
    assert_eq!((bytes[0], bytes[bytes.len() - 1]), (0xFD, 0));
    let records: Vec<&[u8]> = bytes[1..bytes.len() - 1].chunks(130).collect();
    for record in &records {
        assert_eq!((record[63], record[127], record[129]), (0, 0, 0));
    }
    assert_eq!(&records[0][..2], b"a\0");
    assert_eq!(records[2][128], 5);
    assert_eq!(records[3], [0; 130]);
}

#[test]
fn one_hanging_hypervisor_does_not_delay_the_guests_of_others() {
    let (stuck, well) = (host("memory:1", &["vm1"]), host("memory:2", &["vm2"]));
    let daemon = Setup {
        hosts: vec![stuck.clone(), well.clone()],
        limits: Limits {
            request_timeout: Duration::from_secs(5),
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    stuck.hang_for(Duration::from_secs(60));
    let begun = Instant::now();
    assert_eq!(daemon.reply(Operation::STATUS, "vm2"), SUCCESS);
    assert_eq!(daemon.reply(Operation::REBOOT, "vm2"), SUCCESS);
    assert_eq!(daemon.reply(Operation::OFF, "vm2"), SUCCESS);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    // Now it runs nowhere that can be seen, which proves nothing.
    assert_eq!(daemon.reply(Operation::STATUS, "vm2"), FAILURE);
    assert_eq!(daemon.reply(Operation::OFF, "vm1"), FAILURE);
    assert_eq!(stuck.calls().ended, 0);
}
