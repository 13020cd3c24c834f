//! Nothing of an aborted command reaches the medium after whoever aborted it has been answered. The gate stands between
//! the task table and the medium: what waits there runs, and has not written.

use std::sync::Arc;
use std::time::Duration;

use deadline::Deadline;
use disk::initiator::{Payload, TaskEnd};
use iscsi::pdu::{TaskManagement, TaskManagementResponse};
use iscsi::session::TaskId;
use scsi::pr::OutAction;
use scsi::{AdditionalSense, SenseKey, Status};

use crate::harness::{
    BLOCK, Door, Fixture, Initiator, LUN, OpensAtEnd, a_while, failed_with, key, reserve_out, soon,
    write10,
};

const VICTIM: u64 = 0xB;
const SURVIVOR: u64 = 0xA;
/// How many writes are in flight: more than a disk has threads.
const WRITES: u32 = 24;

/// Two registered nodes; the survivor holds the reservation.
fn cluster(fixture: &Fixture) -> (Initiator, Initiator) {
    let (mut survivor, mut victim) = (fixture.connect("survivor"), fixture.connect("victim"));
    survivor.register(SURVIVOR, false);
    victim.register(VICTIM, false);
    survivor.reserve(SURVIVOR);
    (survivor, victim)
}

/// Sends writes, each to a block of its own, and waits until all have been let through and some stand at the gate.
fn send_writes(fixture: &Fixture, victim: &mut Initiator, door: &Door, fill: u8) -> Vec<TaskId> {
    let tasks: Vec<_> = (0..WRITES)
        .map(|lba| {
            let data = Payload::Out(vec![fill; BLOCK]);
            victim
                .0
                .submit(LUN, &write10(lba, BLOCK, true), data, soon())
                .unwrap()
        })
        .collect();
    victim.0.flush(soon()).unwrap();
    door.await_crowd(1);
    let deadline = soon();
    while fixture.server.admin().targets()[0].units[0].tasks < tasks.len() {
        assert!(!deadline.has_passed(), "some writes were not let through");
        std::thread::yield_now();
    }
    tasks
}

fn preempt_and_abort(survivor: &mut Initiator) -> TaskId {
    let keys = (Some(key(SURVIVOR)), Some(key(VICTIM)));
    let (cdb, list) = reserve_out(OutAction::PreemptAndAbort, keys, false);
    let task = survivor
        .0
        .submit(LUN, &cdb, Payload::Out(list), soon())
        .unwrap();
    survivor.0.flush(soon()).unwrap();
    task
}

fn status(end: Option<TaskEnd>) -> Status {
    match end {
        Some(TaskEnd::Completed(done, _)) => done.status,
        other => panic!("ended with {other:?}"),
    }
}

#[test]
fn preempt_and_abort_is_answered_when_nothing_can_be_written_any_more() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let (mut survivor, mut victim) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes = send_writes(&fixture, &mut victim, &door, 0xEE);
    let preemption = preempt_and_abort(&mut survivor);
    let early = survivor.0.wait(preemption, a_while()).unwrap();
    assert!(
        early.is_none(),
        "answered while a write was at the medium: {early:?}"
    );
    let passed = door.passed();
    door.open();
    assert_eq!(
        status(survivor.0.wait(preemption, soon()).unwrap()),
        Status::GOOD
    );
    let after_good = fixture.medium();
    let written = after_good.iter().filter(|byte| **byte == 0xEE).count() / BLOCK;
    let ran = door.passed() - passed;
    assert!(
        written <= ran,
        "{written} blocks written by {ran} operations"
    );
    assert!(
        ran < writes.len(),
        "nothing was aborted: {ran} operations ran"
    );
    // What the victim had sent and had not been looked at yet is refused, and nothing else is answered.
    let mut told = Vec::new();
    while let Some((task, end)) = victim.0.wait_any(a_while()).unwrap() {
        let TaskEnd::Completed(done, _) = end else {
            panic!("{task:?} ended with {end:?}");
        };
        match done.unit_attention() {
            Some(sense) => told.push(sense),
            None => assert_eq!(done.status, Status::RESERVATION_CONFLICT, "{task:?}"),
        }
    }
    // Not a byte more.
    assert_eq!(fixture.medium(), after_good);
    told.extend(victim.settle());
    let told: Vec<_> = told.iter().map(|sense| sense.additional).collect();
    assert!(
        told.contains(&AdditionalSense::REGISTRATIONS_PREEMPTED),
        "{told:?}"
    );
    assert!(
        told.contains(&AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR),
        "{told:?}"
    );
    assert_eq!(
        victim.write(0, &[0xDD; BLOCK]),
        Status::RESERVATION_CONFLICT
    );
    assert_eq!(fixture.medium(), after_good);
    assert_eq!(survivor.keys(), [SURVIVOR]);
    assert_eq!(survivor.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn who_aborts_its_own_commands_is_not_told_that_another_did() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let (mut survivor, _victim) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    send_writes(&fixture, &mut survivor, &door, 0xEE);
    let keys = (Some(key(SURVIVOR)), Some(key(SURVIVOR)));
    let (cdb, list) = reserve_out(OutAction::PreemptAndAbort, keys, false);
    let list = Payload::Out(list);
    let preemption = survivor.0.submit(LUN, &cdb, list, soon()).unwrap();
    let early = survivor.0.wait(preemption, a_while()).unwrap();
    assert!(early.is_none(), "its own writes were at the medium");
    door.open();
    assert_eq!(
        status(survivor.0.wait(preemption, soon()).unwrap()),
        Status::GOOD
    );
    assert_eq!(survivor.settle(), []);
    assert_eq!(survivor.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn nobody_reads_that_a_node_is_gone_before_its_last_write_is() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let (mut survivor, mut victim) = cluster(&fixture);
    let mut other = fixture.connect("other");
    let _opens = OpensAtEnd(&door);
    door.shut();
    send_writes(&fixture, &mut victim, &door, 0xEE);
    let preemption = preempt_and_abort(&mut survivor);
    assert!(survivor.0.wait(preemption, a_while()).unwrap().is_none());
    // Whoever preempted gives up, and somebody looks what has become of it.
    survivor.0.end("the agent gives up");
    let mut cdb = [0; 10];
    (cdb[0], cdb[8]) = (0x5E, 64);
    let reading = other.0.submit(LUN, &cdb, Payload::In(64), soon()).unwrap();
    assert!(other.0.wait(reading, a_while()).unwrap().is_none());
    door.open();
    let end = other.0.wait(reading, soon()).unwrap();
    assert_eq!(status(end), Status::GOOD);
    let after = fixture.medium();
    assert_eq!(other.keys(), [SURVIVOR]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(fixture.medium() == after, "a write came after all");
}

/// Without a gate: a node writes as fast as it can, in every way, while it is fenced again and again.
fn a_busy_node_is_fenced(direct: bool) {
    let fixture = Fixture::with(
        |config| config.targets[0].luns[0].disk.store.direct = direct,
        None,
    );
    let mut survivor = fixture.connect("survivor");
    survivor.register(SURVIVOR, false);
    survivor.reserve(SURVIVOR);
    for round in 0..12_u8 {
        let mut victim = fixture.connect("victim");
        victim.register(VICTIM, false);
        for number in 0..48_u32 {
            let length = BLOCK << (number % 10);
            let mut cdb = write10(number * 512, length, number % 3 == 0);
            if number % 7 == 0 {
                // WRITE SAME of 512 blocks.
                (cdb[0], cdb[1]) = (0x41, 0);
                cdb[7..9].copy_from_slice(&512_u16.to_be_bytes());
            }
            let data = if cdb[0] == 0x41 { BLOCK } else { length };
            let data = Payload::Out(vec![round + 1; data]);
            victim.0.submit(LUN, &cdb, data, soon()).unwrap();
        }
        victim.0.flush(soon()).unwrap();
        let preemption = preempt_and_abort(&mut survivor);
        // The victim answers what it is asked for meanwhile.
        let mut gone = None;
        while gone.is_none() {
            let _ = victim.0.wait_any(Deadline::after(Duration::from_millis(1)));
            let now = Deadline::after(Duration::from_millis(1));
            gone = survivor.0.wait(preemption, now).unwrap();
        }
        assert_eq!(status(gone), Status::GOOD);
        let after = fixture.medium();
        while victim
            .0
            .wait_any(Deadline::after(Duration::from_millis(50)))
            .unwrap()
            .is_some()
        {}
        assert!(
            fixture.medium() == after,
            "round {round}: a write came after GOOD"
        );
    }
}

#[test]
fn a_busy_node_is_fenced_through_the_page_cache() {
    a_busy_node_is_fenced(false);
}

#[test]
fn a_busy_node_is_fenced_past_the_page_cache() {
    a_busy_node_is_fenced(true);
}

#[test]
fn a_disk_that_hangs_makes_preempt_and_abort_fail_and_not_lie() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::with(
        |config| config.timeouts.drain = Duration::from_secs(1),
        Some(&door),
    );
    let (mut survivor, mut victim) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    send_writes(&fixture, &mut victim, &door, 0xEE);
    let preemption = preempt_and_abort(&mut survivor);
    match survivor.0.wait(preemption, soon()).unwrap() {
        Some(TaskEnd::Completed(done, _)) => {
            assert!(failed_with(&done, SenseKey::HARDWARE_ERROR), "{done:?}");
        }
        other => panic!("ended with {other:?}"),
    }
}

#[test]
fn plain_preempt_leaves_what_was_let_through_alone() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let (mut survivor, mut victim) = cluster(&fixture);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes = send_writes(&fixture, &mut victim, &door, 0xEE);
    let keys = (Some(key(SURVIVOR)), Some(key(VICTIM)));
    let done = survivor.reserve_out(OutAction::Preempt, keys, false);
    assert_eq!(done.status, Status::GOOD);
    door.open();
    let mut good = 0;
    for write in &writes {
        if status(victim.0.wait(*write, soon()).unwrap()) == Status::GOOD {
            good += 1;
        }
    }
    let written = fixture
        .medium()
        .iter()
        .filter(|byte| **byte == 0xEE)
        .count()
        / BLOCK;
    assert_eq!(written, good);
    assert!(
        good > 0,
        "commands that had been accepted were to run to their end"
    );
}

/// Runs a task management function of `who` while writes of the victim are at the gate.
fn function_waits(function: u8, by_victim: bool) {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut victim = fixture.connect("victim");
    let mut other = fixture.connect("other");
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes = send_writes(&fixture, &mut victim, &door, 0xEE);
    std::thread::scope(|scope| {
        let manager = if by_victim { &mut victim } else { &mut other };
        let managing = scope.spawn(move || manager.0.manage(function, LUN, soon()));
        std::thread::sleep(Duration::from_millis(400));
        assert!(
            !managing.is_finished(),
            "function {function} was answered while a write was at the medium"
        );
        door.open();
        assert_eq!(managing.join().unwrap().unwrap(), 0);
    });
    let after = fixture.medium();
    let written = after.iter().filter(|byte| **byte == 0xEE).count() / BLOCK;
    assert!(written < writes.len(), "nothing was aborted");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fixture.medium(), after);
    victim.settle();
    assert_eq!(victim.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn abort_task_set_waits() {
    function_waits(TaskManagement::ABORT_TASK_SET, true);
}

#[test]
fn clear_task_set_waits_for_the_tasks_of_others() {
    function_waits(TaskManagement::CLEAR_TASK_SET, false);
}

#[test]
fn logical_unit_reset_waits_for_the_tasks_of_others() {
    function_waits(TaskManagement::LOGICAL_UNIT_RESET, false);
}

#[test]
fn abort_task_waits_for_its_task_alone() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut victim = fixture.connect("victim");
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes = send_writes(&fixture, &mut victim, &door, 0xEE);
    // The last one has not got a thread, let alone the medium.
    let last = *writes.last().unwrap();
    assert_eq!(victim.0.abort(last, soon()).unwrap(), 0);
    door.open();
    for write in &writes[..writes.len() - 1] {
        assert_eq!(status(victim.0.wait(*write, soon()).unwrap()), Status::GOOD);
    }
    let medium = fixture.medium();
    let written = medium.iter().filter(|byte| **byte == 0xEE).count() / BLOCK;
    assert_eq!(written, writes.len() - 1);
}

/// Another nexus has cleared the task set, which says nothing to the connection whose tasks they were but by a unit
/// attention; what it then aborts itself may be at the medium all the same.
fn a_task_that_another_nexus_aborted(
    abort: impl Fn(&mut Initiator, TaskId) -> u8 + Sync,
    answer: u8,
) {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut victim = fixture.connect("victim");
    let mut other = fixture.connect("other");
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes = send_writes(&fixture, &mut victim, &door, 0xEE);
    std::thread::scope(|scope| {
        let clearing = scope.spawn(|| other.0.manage(TaskManagement::CLEAR_TASK_SET, LUN, soon()));
        let cleared = AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR;
        let deadline = soon();
        while !victim
            .settle()
            .iter()
            .any(|told| told.additional == cleared)
        {
            assert!(!deadline.has_passed(), "the task set is not cleared");
        }
        let aborting = scope.spawn(|| abort(&mut victim, writes[0]));
        std::thread::sleep(Duration::from_millis(400));
        assert!(
            !aborting.is_finished(),
            "answered while a write was at the medium"
        );
        assert!(!clearing.is_finished());
        door.open();
        assert_eq!(aborting.join().unwrap(), answer);
        assert_eq!(clearing.join().unwrap().unwrap(), 0);
    });
    let after = fixture.medium();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fixture.medium(), after);
    victim.settle();
    assert_eq!(victim.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn abort_task_waits_for_a_task_that_another_nexus_aborted() {
    let abort = |victim: &mut Initiator, task| victim.0.abort(task, soon()).unwrap();
    a_task_that_another_nexus_aborted(abort, TaskManagementResponse::NO_TASK);
}

#[test]
fn abort_task_set_waits_for_tasks_that_another_nexus_aborted() {
    let abort = |victim: &mut Initiator, _| {
        let function = TaskManagement::ABORT_TASK_SET;
        victim.0.manage(function, LUN, soon()).unwrap()
    };
    a_task_that_another_nexus_aborted(abort, TaskManagementResponse::COMPLETE);
}

#[test]
fn a_nexus_comes_back_when_its_old_commands_are_done() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut old = fixture.connect("node");
    let _opens = OpensAtEnd(&door);
    door.shut();
    send_writes(&fixture, &mut old, &door, 0xEE);
    old.0.end("the node reboots");
    std::thread::scope(|scope| {
        let coming = scope.spawn(|| fixture.connect("node"));
        std::thread::sleep(Duration::from_millis(400));
        assert!(
            !coming.is_finished(),
            "logged in while old writes were at the medium"
        );
        door.open();
        let mut new = coming.join().unwrap();
        let after = fixture.medium();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(
            fixture.medium(),
            after,
            "an old write came after the new session"
        );
        assert_eq!(new.write(0, &[1; BLOCK]), Status::GOOD);
    });
}

#[test]
fn a_disk_that_is_removed_is_left_alone() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut node = fixture.connect("node");
    let _opens = OpensAtEnd(&door);
    door.shut();
    send_writes(&fixture, &mut node, &door, 0xEE);
    let admin = fixture.server.admin();
    let target = crate::harness::TARGET.parse().unwrap();
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| admin.remove_unit(&target, 0));
        std::thread::sleep(Duration::from_millis(400));
        assert!(!removing.is_finished());
        door.open();
        removing.join().unwrap().unwrap();
    });
    let after = fixture.medium();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fixture.medium(), after);
    let (done, _) = node.run(&[0; 6], Payload::None);
    assert!(failed_with(&done, SenseKey::ILLEGAL_REQUEST), "{done:?}");
}

#[test]
fn what_is_at_the_medium_counts_as_memory_of_its_connection() {
    const LENGTH: usize = 512 << 10;
    let door = Arc::new(Door::default());
    let fixture = Fixture::with(|config| config.limits.memory = 1 << 20, Some(&door));
    let mut node = fixture.connect("greedy");
    let _opens = OpensAtEnd(&door);
    door.shut();
    let writes: Vec<_> = (0..16)
        .map(|_| {
            let cdb = write10(0, LENGTH, true);
            let data = Payload::Out(vec![1; LENGTH]);
            node.0.submit(LUN, &cdb, data, soon()).unwrap()
        })
        .collect();
    assert_eq!(
        node.0.wait_any(a_while()).unwrap().map(|(task, _)| task),
        None
    );
    door.await_crowd(2);
    // Two, and one that was let through before the limit was exceeded.
    assert!(door.crowd() <= 3, "{} writes hold their data", door.crowd());
    door.open();
    for write in writes {
        assert_eq!(status(node.0.wait(write, soon()).unwrap()), Status::GOOD);
    }
}
