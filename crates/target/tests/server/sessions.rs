//! Sessions: who may have one, what passes over it, and how it ends.

use std::time::{Duration, Instant};

use disk::initiator::{ChapCredentials, Payload, Session};
use iscsi::login::{Credentials, Secret};
use iscsi::pdu::{Isid, TaskManagement};
use scsi::pr::OutAction;
use scsi::{AdditionalSense, SenseKey, Status};
use target::config::{InitiatorOptions, PortalAddress};

use crate::harness::{
    BLOCK, Fixture, Initiator, LUN, failed_with, key, options, soon, with_secret,
};

fn credentials(name: &str, secret: &str) -> Credentials {
    Credentials {
        name: name.to_owned(),
        secret: Secret::new(secret.as_bytes().to_vec()).unwrap(),
    }
}

/// Bytes that tell where they are.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at / 7 + at / 4096) % 251).unwrap())
        .collect()
}

#[test]
fn data_of_every_length_arrive_with_and_without_digests() {
    let fixture = Fixture::start();
    for digests in [None, Some(false), Some(true)] {
        let mut options = options(fixture.address(), "node");
        options.digests = digests;
        let mut node = Initiator::connect(fixture.address(), &options).unwrap();
        let agreed = node.0.parameters().digests;
        assert!(digests.is_none_or(|wanted| agreed.header == wanted && agreed.data == wanted));
        // Immediate, unsolicited, and one and several bursts of solicited data.
        for blocks in [1, 16, 17, 128, 512, 700, 4096] {
            let data = pattern(blocks * BLOCK);
            assert_eq!(node.write(3, &data), Status::GOOD, "{blocks} blocks");
            assert!(
                node.read(3, data.len()) == data,
                "{blocks} blocks, digests {digests:?}"
            );
        }
        node.0.logout(soon()).unwrap();
    }
}

#[test]
fn many_commands_at_once_keep_their_data_apart() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    let mut writes = Vec::new();
    for block in 0..300_u32 {
        let data = vec![u8::try_from(block % 251).unwrap(); 8 * BLOCK];
        let cdb = crate::harness::write10(8 * block, data.len(), block % 3 == 0);
        writes.push(
            node.0
                .submit(LUN, &cdb, Payload::Out(data), soon())
                .unwrap(),
        );
    }
    for write in writes {
        node.0.wait(write, soon()).unwrap().unwrap();
    }
    for block in 0..300_u32 {
        let data = node.read(8 * block, 8 * BLOCK);
        assert_eq!(data, vec![u8::try_from(block % 251).unwrap(); 8 * BLOCK]);
    }
}

#[test]
fn who_is_not_named_does_not_learn_of_the_target() {
    let fixture = Fixture::with(
        |config| {
            config.targets[0].initiators = vec![InitiatorOptions {
                name: "iqn.2026-11.org.example:friend".parse().unwrap(),
                account: None,
            }];
        },
        None,
    );
    fixture.connect("friend");
    let error = Session::connect(&options(fixture.address(), "stranger"), soon());
    let stranger = error.err().map(|error| chain(&error)).unwrap();
    let mut other = options(fixture.address(), "friend");
    other.target = "iqn.2026-11.org.example:none".to_owned();
    let nowhere = Session::connect(&other, soon())
        .err()
        .map(|error| chain(&error));
    assert!(stranger.contains("target not found"), "{stranger}");
    assert!(nowhere.unwrap().contains("target not found"));
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[test]
fn both_sides_prove_themselves() {
    let fixture = Fixture::with(
        |config| {
            let target = &mut config.targets[0];
            target.own = Some(credentials("disks", "what the target knows"));
            target.initiators[0].account = Some(credentials("node", "what the node knows"));
        },
        None,
    );
    let ours = |secret: &str| ChapCredentials {
        ours: credentials("node", secret),
        target: None,
    };
    let connect = |credentials: Option<ChapCredentials>| {
        let plain = options(fixture.address(), "node");
        let options = match credentials {
            Some(credentials) => with_secret(plain, credentials),
            None => plain,
        };
        Session::connect(&options, soon())
    };
    assert!(connect(Some(ours("what the node knows"))).is_ok());
    let mutual = |secret: &str| ChapCredentials {
        target: Some(credentials("disks", secret)),
        ..ours("what the node knows")
    };
    assert!(connect(Some(mutual("what the target knows"))).is_ok());
    assert!(connect(Some(mutual("what an impostor thinks"))).is_err());
    for wrong in [None, Some(ours("what a stranger thinks"))] {
        let error = connect(wrong).err().map(|error| chain(&error)).unwrap();
        assert!(error.contains("authentication"), "{error}");
    }
}

#[test]
fn registrations_outlive_logout_reinstatement_and_reset() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    node.register(7, false);
    node.reserve(7);
    node.0.logout(soon()).unwrap();
    let mut node = fixture.connect("node");
    assert_eq!((node.keys(), node.holder()), (vec![7], Some(7)));
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
    // Another session of the same initiator port takes its place, and is the same registrant.
    let mut again = fixture.connect("node");
    assert_eq!(again.write(0, &[2; BLOCK]), Status::GOOD);
    let own = (Some(key(7)), Some(key(8)));
    assert_eq!(
        again.reserve_out(OutAction::Register, own, false).status,
        Status::GOOD
    );
    assert!(
        node.0
            .submit(LUN, &[0; 6], Payload::None, soon())
            .and_then(|task| node.0.wait(task, soon()))
            .is_err()
    );
    let reset = again
        .0
        .manage(TaskManagement::LOGICAL_UNIT_RESET, LUN, soon());
    assert_eq!(reset.unwrap(), 0);
    let told: Vec<_> = again
        .settle()
        .iter()
        .map(|sense| sense.additional)
        .collect();
    assert!(told.iter().any(|told| told.asc() == 0x29), "{told:?}");
    assert_eq!((again.keys(), again.holder()), (vec![8], Some(8)));
    // Another port of the same initiator is somebody else.
    let mut port = options(fixture.address(), "node");
    port.isid = Isid([0x80, 0, 0, 0, 0, 2]);
    let mut port = Initiator::connect(fixture.address(), &port).unwrap();
    assert_eq!(port.write(0, &[3; BLOCK]), Status::RESERVATION_CONFLICT);
    assert_eq!(again.read(0, BLOCK), [2; BLOCK]);
}

#[test]
fn each_portal_group_is_a_port_of_its_own() {
    let fixture = Fixture::with(
        |config| {
            config.listen = vec![
                "127.0.0.1:0,1".parse().unwrap(),
                "127.0.0.1:0,2".parse().unwrap(),
            ];
        },
        None,
    );
    let [first, second] = fixture.server.portals()[..] else {
        panic!("two portals were to be there");
    };
    let mut one = Initiator::connect(first, &options(first, "node")).unwrap();
    one.register(7, false);
    one.reserve(7);
    let mut two = Initiator::connect(second, &options(second, "node")).unwrap();
    assert_eq!(two.write(0, &[1; BLOCK]), Status::RESERVATION_CONFLICT);
    two.register(7, false);
    assert_eq!(two.write(0, &[1; BLOCK]), Status::GOOD);
    assert_eq!(one.keys(), [7, 7]);
    let group = "127.0.0.1:0,2".parse::<PortalAddress>().unwrap().group;
    assert_eq!(fixture.server.admin().sessions()[1].group, group);
}

#[test]
fn a_silent_initiator_is_asked_for_a_sign_of_life_and_then_given_up() {
    let fixture = Fixture::with(
        |config| {
            config.timeouts.ping = Duration::from_millis(200);
            config.timeouts.silence = Duration::from_millis(600);
        },
        None,
    );
    let mut alive = fixture.connect("alive");
    let _dead = fixture.connect("dead");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        // Answers pings while it waits.
        let _ = alive
            .0
            .hear(deadline::Deadline::after(Duration::from_millis(50)));
        alive.0.ping(soon()).unwrap();
    }
    let sessions = fixture.server.admin().sessions();
    let there: Vec<_> = sessions
        .iter()
        .map(|session| session.initiator.as_str())
        .collect();
    assert_eq!(there, ["iqn.2026-11.org.example:alive"]);
}

#[test]
fn the_server_ends_in_time_with_sessions_that_do_not_listen() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    assert_eq!(node.write(0, &[9; BLOCK]), Status::GOOD);
    let begun = Instant::now();
    fixture.server.stop().unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let medium = std::fs::read(fixture.directory.path().join("disk.img")).unwrap();
    assert_eq!(medium[..BLOCK], [9; BLOCK]);
}

#[test]
fn a_unit_attention_is_told_once_to_each_nexus() {
    let fixture = Fixture::start();
    let mut session = Session::connect(&options(fixture.address(), "node"), soon()).unwrap();
    let task = session.submit(LUN, &[0; 6], Payload::None, soon()).unwrap();
    let end = session.wait(task, soon()).unwrap();
    let Some(disk::initiator::TaskEnd::Completed(done, _)) = end else {
        panic!("{end:?}");
    };
    let told = done.unit_attention().map(|sense| sense.additional);
    assert_eq!(told, Some(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(Initiator(session).settle(), []);
}

#[test]
fn who_asks_for_the_disks_is_not_told_that_there_are_others() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    let mut other = fixture.connect("other");
    let admin = fixture.server.admin();
    let second = crate::harness::lun(1, fixture.directory.path().join("second.img"));
    let target = crate::harness::TARGET.parse().unwrap();
    admin.add_unit(&target, &second).unwrap();
    let mut cdb = [0; 12];
    (cdb[0], cdb[9]) = (0xA0, 64);
    let (done, list) = node.run(&cdb, Payload::In(64));
    assert_eq!((done.status, list.len()), (Status::GOOD, 8 + 2 * 8));
    assert_eq!(node.settle(), []);
    assert_eq!(other.settle().len(), 1);
}

#[test]
fn reservations_that_cannot_be_kept_are_not_acknowledged_even_if_they_do_not_change() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    node.register(7, true);
    node.reserve(7);
    // What is in the way cannot be replaced by a file.
    let state = fixture.directory.path().join("state");
    let mut names = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let journal = names.find(|path| path.extension().is_some_and(|end| end == "reservations"));
    let mut obstacle = journal.unwrap().into_os_string();
    obstacle.push(".new");
    std::fs::create_dir(&obstacle).unwrap();
    let own = (Some(key(7)), None);
    for action in [OutAction::Release, OutAction::Reserve] {
        let done = node.reserve_out(action, own, false);
        assert!(
            failed_with(&done, SenseKey::HARDWARE_ERROR),
            "{action:?}: {done:?}"
        );
        assert_eq!(node.holder(), Some(7));
    }
    std::fs::remove_dir(&obstacle).unwrap();
    node.reserve(7);
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
}
