//! The disk of the journals hangs: who changes reservations is told so in time, and everybody else goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use disk::Completion;
use disk::initiator::{Payload, TaskEnd};
use iscsi::pdu::TaskManagement;
use iscsi::session::TaskId;
use scsi::pr::{Key, OutAction};
use scsi::{SenseKey, Status};
use tempfile::TempDir;

use crate::harness::{
    BLOCK, Door, Fixture, Initiator, LUN, OpensAtEnd, a_while, failed_with, key, reserve_out, soon,
};

const FIRST: u64 = 0xA;
const SECOND: u64 = 0xB;

fn hanging(door: &Arc<Door>, limit: Duration, directory: TempDir) -> Fixture {
    let change = |config: &mut target::config::Config| config.timeouts.journal = limit;
    Fixture::with_journals(change, door, directory)
}

fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Two registered nodes, kept over a loss of power.
fn cluster(fixture: &Fixture) -> (Initiator, Initiator) {
    let (mut first, mut second) = (fixture.connect("first"), fixture.connect("second"));
    first.register(FIRST, true);
    second.register(SECOND, true);
    first.reserve(FIRST);
    (first, second)
}

fn send(node: &mut Initiator, action: OutAction, keys: (Option<Key>, Option<Key>)) -> TaskId {
    let (cdb, list) = reserve_out(action, keys, true);
    let list = Payload::Out(list);
    let task = node.0.submit(LUN, &cdb, list, soon()).unwrap();
    node.0.flush(soon()).unwrap();
    task
}

fn end(node: &mut Initiator, task: TaskId) -> Completion {
    match node.0.wait(task, soon()).unwrap() {
        Some(TaskEnd::Completed(done, _)) => done,
        other => panic!("ended with {other:?}"),
    }
}

#[test]
fn who_waits_for_the_journal_holds_up_nobody_and_is_told_in_time() {
    let door = Arc::new(Door::default());
    let fixture = hanging(&door, Duration::from_secs(2), empty());
    let (mut first, mut second) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let begun = Instant::now();
    let change = send(
        &mut first,
        OutAction::Register,
        (Some(key(FIRST)), Some(key(0xC))),
    );
    door.await_crowd(1);
    // Its own session goes on, and so does another's, which changes reservations too.
    assert_eq!(first.write(0, &[1; BLOCK]), Status::GOOD);
    first.0.ping(soon()).unwrap();
    let fencing = send(
        &mut second,
        OutAction::PreemptAndAbort,
        (Some(key(SECOND)), Some(key(FIRST))),
    );
    assert_eq!(second.write(1, &[2; BLOCK]), Status::GOOD);
    assert_eq!(second.keys(), [FIRST, SECOND]);
    assert!(begun.elapsed() < Duration::from_secs(2));
    // Nobody knows what is on the disk of the one; the other had not begun.
    let done = end(&mut first, change);
    assert!(failed_with(&done, SenseKey::HARDWARE_ERROR), "{done:?}");
    assert_eq!(end(&mut second, fencing).status, Status::BUSY);
    assert!(begun.elapsed() < Duration::from_secs(10));
    // What has failed does not come into force later.
    door.open();
    second.reserve_out(
        OutAction::Register,
        (Some(key(SECOND)), Some(key(SECOND))),
        true,
    );
    assert_eq!(second.keys(), [FIRST, SECOND]);
    assert_eq!(first.write(0, &[3; BLOCK]), Status::GOOD);
    // Nor with the next start.
    let Fixture { server, directory } = fixture;
    server.stop().unwrap();
    let fixture = hanging(&door, Duration::from_secs(2), directory);
    let mut node = fixture.connect("second");
    assert_eq!(node.keys(), [FIRST, SECOND]);
    assert_eq!(node.holder(), Some(FIRST));
}

#[test]
fn a_slow_journal_is_waited_for_in_turn() {
    let door = Arc::new(Door::default());
    let fixture = hanging(&door, Duration::from_secs(15), empty());
    let (mut first, mut second) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let change = send(
        &mut first,
        OutAction::Register,
        (Some(key(FIRST)), Some(key(0xC))),
    );
    door.await_crowd(1);
    let fencing = send(
        &mut second,
        OutAction::PreemptAndAbort,
        (Some(key(SECOND)), Some(key(0xC))),
    );
    assert!(second.0.wait(fencing, a_while()).unwrap().is_none());
    door.open();
    assert_eq!(end(&mut first, change).status, Status::GOOD);
    assert_eq!(end(&mut second, fencing).status, Status::GOOD);
    assert_eq!(second.keys(), [SECOND]);
    assert_eq!(second.holder(), Some(SECOND));
    first.settle();
    assert_eq!(first.write(0, &[1; BLOCK]), Status::RESERVATION_CONFLICT);
}

#[test]
fn a_session_that_waits_for_the_journal_can_end_and_come_back() {
    let door = Arc::new(Door::default());
    let fixture = hanging(&door, Duration::from_secs(60), empty());
    let (mut first, _second) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let keys = (Some(key(FIRST)), Some(key(0xC)));
    send(&mut first, OutAction::Register, keys);
    door.await_crowd(1);
    first.0.end("the node reboots");
    let begun = Instant::now();
    let mut again = fixture.connect("first");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(again.keys(), [FIRST, SECOND]);
    assert_eq!(again.write(0, &[1; BLOCK]), Status::GOOD);
    door.open();
    let done = again.reserve_out(
        OutAction::Register,
        (Some(key(FIRST)), Some(key(0xD))),
        true,
    );
    assert_eq!(done.status, Status::GOOD, "0xC came into force after all");
}

#[test]
fn who_aborts_a_change_does_not_wait_for_the_journal() {
    for by_other in [false, true] {
        let door = Arc::new(Door::default());
        let fixture = hanging(&door, Duration::from_secs(60), empty());
        let (mut first, mut second) = cluster(&fixture);
        let _opens = OpensAtEnd(&door);
        door.shut();
        let keys = (Some(key(FIRST)), Some(key(0xC)));
        let change = send(&mut first, OutAction::Register, keys);
        door.await_crowd(1);
        let begun = Instant::now();
        let response = if by_other {
            let function = TaskManagement::LOGICAL_UNIT_RESET;
            second.0.manage(function, LUN, soon()).unwrap()
        } else {
            first.0.abort(change, soon()).unwrap()
        };
        assert_eq!(response, 0);
        assert!(begun.elapsed() < Duration::from_secs(5));
        door.open();
        second.settle();
        assert_eq!(second.keys(), [FIRST, SECOND]);
    }
}

/// Its reservations are those of the disk, by whatever name it is recognised.
#[test]
fn a_disk_that_is_given_a_serial_number_keeps_who_is_registered() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::with_journals(|_| {}, &door, empty());
    let mut node = fixture.connect("node");
    node.register(FIRST, true);
    node.reserve(FIRST);
    let mut fenced = fixture.connect("fenced");
    assert_eq!(fenced.write(0, &[1; BLOCK]), Status::RESERVATION_CONFLICT);
    drop((node, fenced));
    let Fixture {
        server,
        mut directory,
    } = fixture;
    server.stop().unwrap();
    // Once more by the new name alone.
    for _ in 0..2 {
        let serial = |config: &mut target::config::Config| {
            config.targets[0].luns[0].disk.serial = Some("x".to_owned());
        };
        let fixture = Fixture::with_journals(serial, &door, directory);
        let mut fenced = fixture.connect("fenced");
        assert_eq!(fenced.write(0, &[1; BLOCK]), Status::RESERVATION_CONFLICT);
        assert_eq!(fenced.keys(), [FIRST]);
        assert_eq!(fixture.connect("node").write(0, &[1; BLOCK]), Status::GOOD);
        drop(fenced);
        let Fixture {
            server,
            directory: same,
        } = fixture;
        server.stop().unwrap();
        directory = same;
    }
    let names = |end: &str| {
        let files = std::fs::read_dir(directory.path().join("state")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(end)).count()
    };
    assert_eq!((names(".reservations"), names(".adopted")), (1, 1));
}
