//! Random reads and writes under random parameters: the data are the same on both sides, residuals are right, and no
//! limit that was agreed on is exceeded.

use std::collections::HashMap;

use iscsi::login::{Digest, Parameters, Wishes};
use iscsi::pdu::{Attribute, Lun, Residual, TaskManagement};
use iscsi::session::*;
use proptest::prelude::*;

use crate::pair::{Closed, Pair, log_in};

/// Each command has a part of the disk of its own.
const SLOT: usize = 8_000;

/// A command: how many bytes it says in its CDB, and how many the initiator expects.
#[derive(Debug, Clone, Copy)]
struct Job {
    writes: bool,
    length: usize,
    expected: usize,
    /// It fails with sense data.
    fails: bool,
}

const WRITE: u8 = 0x8A;
const READ: u8 = 0x88;
const SENSE: [u8; 18] = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0];

fn cdb(slot: usize, job: &Job) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = if job.writes { WRITE } else { READ };
    cdb[1] = job.fails.into();
    cdb[2..10].copy_from_slice(&u64::try_from(slot).unwrap().to_be_bytes());
    cdb[10..14].copy_from_slice(&u32::try_from(job.length).unwrap().to_be_bytes());
    cdb
}

fn pattern(slot: usize, at: usize) -> u8 {
    let mixed = (slot * 31 + at).wrapping_mul(0x9E37_79B1) >> 7;
    mixed.to_le_bytes()[0]
}

/// A target's application: a disk.
#[derive(Default)]
struct Disk {
    slots: HashMap<usize, Vec<u8>>,
    commands: HashMap<TaskId, ScsiTask>,
    ready: Vec<TaskId>,
}

impl Disk {
    /// Takes up what has happened.
    fn attend(&mut self, pair: &mut Pair) {
        while let Some(event) = pair.target.machine.poll_event() {
            match event {
                TargetEvent::Command(command) => {
                    let id = command.task;
                    let length = u32::from_be_bytes(command.cdb[10..14].try_into().unwrap());
                    let writes = command.writes && command.cdb[1] == 0;
                    self.commands.insert(id, command);
                    if !writes || pair.target.machine.want(id, length.into()) {
                        self.ready.push(id);
                    }
                }
                TargetEvent::Written(id) => self.ready.push(id),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Carries out one of the commands that can be.
    fn work(&mut self, pair: &mut Pair, which: usize) {
        if self.ready.is_empty() {
            return;
        }
        let id = self.ready.swap_remove(which % self.ready.len());
        let command = self.commands.remove(&id).unwrap();
        let slot = u64::from_be_bytes(command.cdb[2..10].try_into().unwrap());
        let slot = usize::try_from(slot).unwrap();
        let length = u32::from_be_bytes(command.cdb[10..14].try_into().unwrap());
        let bytes = usize::try_from(length.min(command.expected)).unwrap();
        let mut response = TaskResponse {
            length: length.into(),
            ..TaskResponse::default()
        };
        if command.cdb[1] != 0 {
            response = TaskResponse {
                status: 2,
                length: 0,
                sense: SENSE.to_vec(),
            };
        } else if command.writes {
            let buffer = pair.target.buffers.remove(&id).unwrap_or_default();
            self.slots.insert(slot, buffer[..bytes].to_vec());
        } else {
            let data = (0..bytes).map(|at| pattern(slot, at)).collect();
            pair.target.buffers.insert(id, data);
        }
        assert!(pair.target.machine.respond(id, response));
    }
}

fn digest() -> impl Strategy<Value = Digest> {
    proptest::sample::select(vec![Digest::Refuse, Digest::Accept, Digest::Prefer])
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let length = || prop_oneof![Just(512_u32), 512_u32..6000, 512_u32..12_000];
    (
        (digest(), digest(), any::<bool>(), any::<bool>()),
        (length(), length(), length(), 1_u32..5),
    )
        .prop_map(|(flags, lengths)| Wishes {
            header_digest: flags.0,
            data_digest: flags.1,
            limits: Parameters {
                initial_r2t: flags.2,
                immediate_data: flags.3,
                max_receive: lengths.0,
                max_burst: lengths.1,
                first_burst: lengths.2,
                max_outstanding_r2t: lengths.3,
                ..Parameters::default()
            },
        })
}

fn job() -> impl Strategy<Value = Job> {
    let length = || prop_oneof![Just(0_usize), 1_usize..600, 0..SLOT];
    (
        any::<bool>(),
        length(),
        prop::option::of(length()),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(writes, length, other, fails)| Job {
            writes,
            length,
            expected: other.unwrap_or(length),
            fails,
        })
}

fn residual(job: &Job) -> Residual {
    let have = if job.fails { 0 } else { job.length };
    let count = |count: usize| u32::try_from(count).unwrap();
    match have.cmp(&job.expected) {
        std::cmp::Ordering::Equal => Residual::None,
        std::cmp::Ordering::Greater => Residual::Overflow(count(have - job.expected)),
        std::cmp::Ordering::Less => Residual::Underflow(count(job.expected - have)),
    }
}

/// The initiator's application: sends all jobs, and checks how each ends.
struct Jobs {
    left: Vec<(usize, Job)>,
    running: HashMap<TaskId, (usize, Job)>,
    most: usize,
}

impl Jobs {
    fn send(&mut self, pair: &mut Pair) {
        let Some((slot, job)) = self.left.last().copied() else {
            return;
        };
        let expected = u32::try_from(job.expected).unwrap();
        let request = CommandRequest {
            lun: Lun::default(),
            cdb: cdb(slot, &job),
            attribute: Attribute::SIMPLE,
            transfer: match (expected, job.writes) {
                (0, _) => Transfer::None,
                (_, true) => Transfer::Write(expected),
                (_, false) => Transfer::Read(expected),
            },
        };
        let id = match pair.initiator.machine.command(&request) {
            Ok(id) => id,
            Err(NotNow::WindowFull) => return,
            Err(other) => panic!("{other}"),
        };
        self.left.pop();
        if job.writes {
            let data = (0..job.expected).map(|at| pattern(slot, at)).collect();
            pair.initiator.buffers.insert(id, data);
        }
        self.running.insert(id, (slot, job));
        self.most = self.most.max(pair.initiator.machine.tasks());
    }

    fn attend(&mut self, pair: &mut Pair) -> Result<(), TestCaseError> {
        while let Some(event) = pair.initiator.machine.poll_event() {
            let InitiatorEvent::Finished(id, outcome) = event else {
                return Err(TestCaseError::fail(format!("{event:?}")));
            };
            let (slot, job) = self.running.remove(&id).unwrap();
            if job.expected > 0 {
                prop_assert_eq!(outcome.residual, residual(&job), "{:?}", job);
            }
            if job.fails {
                prop_assert_eq!((outcome.status, &outcome.sense[..]), (2, &SENSE[..]));
            } else {
                prop_assert_eq!(outcome.status, 0);
            }
            let data = pair.initiator.buffers.remove(&id).unwrap_or_default();
            if !job.writes {
                let bytes = if job.fails {
                    0
                } else {
                    job.length.min(job.expected)
                };
                prop_assert_eq!(usize::try_from(outcome.received).unwrap(), bytes);
                let right = data
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == pattern(slot, at));
                prop_assert!(right && data.len() == bytes);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn data_arrive_as_they_were_sent(
        ours in wishes(), theirs in wishes(), window in 1_u32..12,
        jobs in proptest::collection::vec(job(), 1..30),
        steps in proptest::collection::vec((0_u8..5, 1_usize..3000), 8..64),
    ) {
        let sessions = log_in(ours, theirs, window, false);
        let agreed = sessions.0.parameters;
        let mut pair = Pair::new(sessions);
        let mut disk = Disk::default();
        let all = jobs.clone();
        let left: Vec<_> = jobs.into_iter().enumerate().collect();
        let mut jobs = Jobs { left, running: HashMap::new(), most: 0 };
        for (what, size) in steps.iter().cycle().take(2000) {
            match what {
                0 => jobs.send(&mut pair),
                1 => disk.work(&mut pair, *size),
                2 | 3 => { pair.step_initiator(*size); }
                _ => { pair.step_target(*size); }
            }
            disk.attend(&mut pair);
            jobs.attend(&mut pair)?;
        }
        // Whatever these steps left undone.
        for turn in 0..20_000 {
            jobs.send(&mut pair);
            disk.work(&mut pair, turn);
            pair.step_initiator(usize::MAX);
            pair.step_target(usize::MAX);
            disk.attend(&mut pair);
            jobs.attend(&mut pair)?;
            if jobs.left.is_empty() && jobs.running.is_empty() {
                break;
            }
        }
        prop_assert!(jobs.left.is_empty() && jobs.running.is_empty(), "not all ended");
        prop_assert!(jobs.most <= usize::try_from(window).unwrap());
        for (slot, job) in all.iter().enumerate().filter(|(_, job)| job.writes && !job.fails && job.expected > 0) {
            let expected: Vec<u8> = (0..job.length.min(job.expected)).map(|at| pattern(slot, at)).collect();
            prop_assert!(disk.slots[&slot] == expected, "slot {}", slot);
        }
        let segment = |most: u32| usize::try_from(most).unwrap();
        prop_assert!(pair.initiator.longest <= segment(agreed.max_send));
        prop_assert!(pair.target.longest <= segment(agreed.max_receive));
        prop_assert!(pair.target.longest_sequence <= agreed.max_burst);
        pair.drive();
        prop_assert_eq!((pair.target.machine.tasks(), pair.initiator.machine.tasks()), (0, 0));
        prop_assert!(pair.target.buffers.is_empty(), "the target was told to let buffers go");
    }
}

fn pair() -> Pair {
    Pair::new(log_in(Wishes::default(), Wishes::default(), 16, false))
}

fn write(pair: &mut Pair, length: u32) -> TaskId {
    let request = CommandRequest {
        lun: Lun::default(),
        cdb: [WRITE; 16],
        attribute: Attribute::SIMPLE,
        transfer: Transfer::Write(length),
    };
    let id = pair.initiator.machine.command(&request).unwrap();
    let bytes = usize::try_from(length).unwrap();
    pair.initiator.buffers.insert(id, vec![7; bytes]);
    id
}

#[test]
fn an_aborted_write_gets_no_data_and_no_response() {
    let mut pair = pair();
    let id = write(&mut pair, 1 << 20);
    pair.drive();
    let Some(TargetEvent::Command(command)) = pair.target.machine.poll_event() else {
        panic!()
    };
    assert!(!pair.target.machine.want(command.task, 1 << 20));
    let function = pair.initiator.machine.abort(id).unwrap();
    pair.drive();
    let Some(TargetEvent::Manage {
        id: manage,
        function: code,
        tasks,
        ..
    }) = pair.target.machine.poll_event()
    else {
        panic!()
    };
    assert_eq!(
        (code, tasks),
        (TaskManagement::ABORT_TASK, vec![command.task])
    );
    assert!(
        pair.initiator.machine.poll_event().is_none(),
        "not answered yet"
    );
    assert!(
        !pair
            .target
            .machine
            .respond(command.task, TaskResponse::default())
    );
    pair.target.machine.managed(manage, 0);
    pair.drive();
    let gone = vec![id];
    let expected = InitiatorEvent::Managed {
        function,
        response: 0,
        gone,
    };
    assert_eq!(pair.initiator.machine.poll_event(), Some(expected));
    assert_eq!(
        (pair.target.machine.tasks(), pair.initiator.machine.tasks()),
        (0, 0)
    );
}

#[test]
fn the_answer_to_a_reset_follows_the_responses_before_it() {
    let mut pair = pair();
    let (done, gone) = (write(&mut pair, 512), write(&mut pair, 512));
    pair.drive();
    let mut tasks = Vec::new();
    while let Some(TargetEvent::Command(command)) = pair.target.machine.poll_event() {
        assert!(
            pair.target.machine.want(command.task, 512),
            "immediate data"
        );
        tasks.push(command.task);
    }
    let good = TaskResponse {
        length: 512,
        ..TaskResponse::default()
    };
    assert!(pair.target.machine.respond(tasks[0], good));
    let reset = TaskManagement::LOGICAL_UNIT_RESET;
    pair.initiator
        .machine
        .manage(reset, Lun::default())
        .unwrap();
    while let Some(bytes) = pair.initiator.transmit() {
        pair.target.receive(&bytes).unwrap();
    }
    let Some(TargetEvent::Manage {
        id, tasks: stopped, ..
    }) = pair.target.machine.poll_event()
    else {
        panic!()
    };
    assert_eq!(stopped, [tasks[1]], "the other one is answered");
    pair.target.machine.managed(id, 0);
    pair.drive();
    let events: Vec<_> = std::iter::from_fn(|| pair.initiator.machine.poll_event()).collect();
    assert!(matches!(&events[0], InitiatorEvent::Finished(id, _) if *id == done));
    assert!(matches!(&events[1], InitiatorEvent::Managed { gone: lost, .. } if *lost == [gone]));
    assert_eq!(events.len(), 2);
}

#[test]
fn signs_of_life_go_both_ways() {
    let mut pair = pair();
    assert!(pair.target.machine.ping());
    assert!(!pair.target.machine.ping(), "one at a time");
    pair.initiator.machine.ping().unwrap();
    pair.drive();
    assert_eq!(pair.target.machine.poll_event(), Some(TargetEvent::Pong));
    assert_eq!(
        pair.initiator.machine.poll_event(),
        Some(InitiatorEvent::Pong)
    );
    assert!(pair.target.machine.ping());
}

#[test]
fn discovery_finds_more_targets_than_fit_into_a_pdu() {
    let mut pair = Pair::new(log_in(Wishes::default(), Wishes::default(), 4, true));
    let portals: Vec<_> = (0..500)
        .map(|number| TargetPortal {
            target: format!("iqn.2026-11.example:disk{number}"),
            addresses: vec!["192.0.2.1:3260,1".into(), "[2001:db8::1]:3260,2".into()],
        })
        .collect();
    pair.initiator.machine.discover().unwrap();
    assert_eq!(pair.initiator.machine.discover(), Err(NotNow::NotHere));
    pair.drive();
    let event = pair.target.machine.poll_event();
    assert_eq!(event, Some(TargetEvent::Discover(Discovery::All)));
    pair.target.machine.found(&portals);
    pair.drive();
    let found = pair.initiator.machine.poll_event();
    assert_eq!(found, Some(InitiatorEvent::Found(portals)));
}

#[test]
fn a_logout_ends_what_is_under_way() {
    let mut pair = pair();
    write(&mut pair, 512);
    pair.initiator.machine.logout().unwrap();
    assert_eq!(pair.initiator.machine.ping(), Err(NotNow::LoggingOut));
    pair.drive();
    let Some(TargetEvent::Command(command)) = pair.target.machine.poll_event() else {
        panic!()
    };
    let tasks = vec![command.task];
    let event = pair.target.machine.poll_event();
    assert_eq!(event, Some(TargetEvent::LoggedOut { tasks }));
    assert!(pair.target.machine.is_over());
    let event = pair.initiator.machine.poll_event();
    assert_eq!(event, Some(InitiatorEvent::LoggedOut(0)));
}

#[test]
fn a_logout_may_be_asked_for() {
    let mut pair = pair();
    pair.target.machine.ask_logout(10);
    pair.drive();
    let Some(InitiatorEvent::Told(told)) = pair.initiator.machine.poll_event() else {
        panic!()
    };
    assert_eq!((told.event, told.parameters[2]), (1, 10));
}

/// Damaged data of a write, immediate or solicited: the command fails, its data are not taken, the session goes on.
#[test]
fn damaged_data_fail_their_command_only() {
    for length in [512, 1 << 20] {
        let wishes = Wishes {
            data_digest: Digest::Require,
            ..Wishes::default()
        };
        let mut pair = Pair::new(log_in(wishes, wishes, 16, false));
        let id = write(&mut pair, length);
        let mut bytes = pair.initiator.transmit().unwrap();
        let at = bytes.len() - 9;
        bytes[at] ^= 1;
        pair.target.receive(&bytes).unwrap();
        let Some(TargetEvent::Failed {
            task,
            fault: Fault::DataDigest,
        }) = pair.target.machine.poll_event()
        else {
            panic!()
        };
        assert!(
            pair.target.machine.poll_event().is_none(),
            "its command is not reported"
        );
        let failed = TaskResponse {
            status: 2,
            length: 0,
            sense: SENSE.to_vec(),
        };
        assert!(pair.target.machine.respond(task, failed));
        pair.drive();
        let rejected = pair.initiator.machine.poll_event();
        let reason = iscsi::pdu::Reject::DATA_DIGEST;
        assert_eq!(
            rejected,
            Some(InitiatorEvent::Rejected {
                task: Some(id),
                reason
            })
        );
        let Some(InitiatorEvent::Finished(ended, outcome)) = pair.initiator.machine.poll_event()
        else {
            panic!()
        };
        assert_eq!((ended, outcome.status), (id, 2));
        // The next command runs.
        write(&mut pair, 512);
        pair.drive();
        assert!(matches!(
            pair.target.machine.poll_event(),
            Some(TargetEvent::Command(_))
        ));
    }
}

#[test]
fn a_damaged_header_ends_the_connection() {
    let wishes = Wishes {
        header_digest: Digest::Require,
        ..Wishes::default()
    };
    let mut pair = Pair::new(log_in(wishes, wishes, 16, false));
    write(&mut pair, 512);
    let mut bytes = pair.initiator.transmit().unwrap();
    bytes[33] ^= 1;
    let closed = pair.target.receive(&bytes);
    let expected = Closed::Framing(iscsi::FramingError::HeaderDigest);
    assert_eq!(closed, Err(expected));
}

#[test]
fn a_status_that_is_missing_ends_the_connection() {
    let mut pair = pair();
    let next = pair.initiator.machine.session().next_status;
    pair.target.machine.ask_logout(1);
    pair.target.machine.ask_logout(2);
    pair.target.transmit().unwrap();
    let second = pair.target.transmit().unwrap();
    let (got, expected) = (next.plus(1), next);
    let closed = pair.initiator.receive(&second);
    assert_eq!(
        closed,
        Err(Closed::Session(SessionError::StatusGap { got, expected }))
    );
}

#[test]
fn reads_that_lack_data_are_not_taken_for_good() {
    for residual in [
        Residual::None,
        Residual::Underflow(99),
        Residual::Overflow(1),
    ] {
        let mut pair = pair();
        let request = CommandRequest {
            lun: Lun::default(),
            cdb: [READ; 16],
            attribute: Attribute::SIMPLE,
            transfer: Transfer::Read(100),
        };
        pair.initiator.machine.command(&request).unwrap();
        pair.initiator.transmit().unwrap();
        let session = pair.initiator.machine.session();
        let response = iscsi::pdu::ScsiResponse {
            tag: iscsi::Tag(0),
            response: 0,
            status: 0,
            answer: iscsi::pdu::Answer {
                status_number: session.next_status,
                expected_command: session.next_command.plus(1),
                last_command: session.last_command,
            },
            expected_data: 0,
            residual,
        };
        let closed = pair.initiator.receive(response.header().bytes());
        let expected = Closed::Session(SessionError::DataSequence);
        assert_eq!(closed, Err(expected), "{residual:?}");
    }
}
