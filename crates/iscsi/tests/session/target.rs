//! A target against an initiator that keeps to the rules or does not, PDU by PDU.

use iscsi::login::{Parameters, Wishes};
use iscsi::pdu::*;
use iscsi::session::*;
use iscsi::{Header, Serial};

use crate::pair::log_in;

/// CmdSN of the first command after the login.
const FIRST: u32 = 1;

fn connection(limits: Parameters, window: u32) -> TargetConnection {
    let wishes = Wishes {
        limits,
        ..Wishes::default()
    };
    TargetConnection::new(log_in(wishes, wishes, window, false).1)
}

fn limits() -> Parameters {
    Parameters {
        max_receive: 4096,
        max_burst: 2048,
        first_burst: 1024,
        max_outstanding_r2t: 2,
        initial_r2t: false,
        ..Parameters::default()
    }
}

fn at(number: u32) -> Command {
    Command {
        immediate: false,
        number: Serial(number),
        expected_status: Serial(1),
    }
}

fn now() -> Command {
    Command {
        immediate: true,
        ..at(FIRST)
    }
}

fn write(tag: u32, number: u32, expected: u32, last: bool) -> ScsiCommand {
    ScsiCommand {
        last,
        reads: false,
        writes: true,
        attribute: Attribute::SIMPLE,
        lun: Lun::default(),
        tag: Tag(tag),
        expected,
        command: at(number),
        cdb: [0x8A; 16],
    }
}

fn data(tag: u32, target_tag: Tag, number: u32, offset: u32, last: bool) -> DataOut {
    DataOut {
        last,
        lun: Lun::default(),
        tag: Tag(tag),
        target_tag,
        expected_status: Serial(1),
        number,
        offset,
    }
}

/// Receives a PDU with so many bytes of data.
fn receive(
    target: &mut TargetConnection,
    header: &Header,
    length: usize,
) -> Result<Place, SessionError> {
    let mut header = header.clone();
    header.set_lengths(0, length);
    let place = target.begin(&header, &[])?;
    let zeros = vec![0; length];
    let arrived = match place {
        Place::Bytes(_) => Arrived::Bytes(&zeros),
        _ => Arrived::Placed,
    };
    target.finish(arrived)?;
    Ok(place)
}

fn sent(target: &mut TargetConnection) -> Option<FromTarget> {
    let output = target.poll_output()?;
    Some(FromTarget::parse(&output.header).unwrap())
}

#[track_caller]
fn command(target: &mut TargetConnection) -> ScsiTask {
    match target.poll_event() {
        Some(TargetEvent::Command(command)) => command,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn rejected(target: &mut TargetConnection, reason: u8) {
    match sent(target) {
        Some(FromTarget::Reject(reject)) => assert_eq!(reject.reason, reason),
        other => panic!("{other:?}"),
    }
}

/// "Command Numbering and Acknowledging".
#[test]
fn commands_outside_of_the_window_are_ignored() {
    let mut target = connection(limits(), 4);
    for number in [FIRST - 1, FIRST + 4, FIRST.wrapping_sub(1000)] {
        receive(&mut target, &write(1, number, 0, true).header(), 0).unwrap();
        assert_eq!(
            (target.poll_event(), sent(&mut target)),
            (None, None),
            "{number}"
        );
    }
    receive(&mut target, &write(1, FIRST, 0, true).header(), 0).unwrap();
    command(&mut target);
    // The next one is awaited, and a gap is never filled.
    let gap = receive(&mut target, &write(2, FIRST + 2, 0, true).header(), 0);
    let (got, expected) = (Serial(FIRST + 2), Serial(FIRST + 1));
    assert_eq!(gap, Err(SessionError::CommandGap { got, expected }));
}

#[test]
fn the_window_opens_as_commands_end() {
    let mut target = connection(limits(), 2);
    for number in 0..2 {
        receive(
            &mut target,
            &write(number, FIRST + number, 0, true).header(),
            0,
        )
        .unwrap();
    }
    let first = command(&mut target).task;
    receive(&mut target, &write(9, FIRST + 2, 0, true).header(), 0).unwrap();
    command(&mut target);
    assert_eq!(target.poll_event(), None, "no room for the third");
    assert!(target.respond(first, TaskResponse::default()));
    let Some(FromTarget::ScsiResponse(response)) = sent(&mut target) else {
        panic!()
    };
    let answer = response.answer;
    assert_eq!(answer.expected_command, Serial(FIRST + 2));
    assert_eq!(answer.last_command, Serial(FIRST + 2));
    receive(&mut target, &write(9, FIRST + 2, 0, true).header(), 0).unwrap();
    command(&mut target);
}

#[test]
fn status_numbers_count_what_bears_a_status() {
    let mut target = connection(limits(), 4);
    let read = ScsiCommand {
        reads: true,
        writes: false,
        ..write(1, FIRST, 6000, true)
    };
    receive(&mut target, &read.header(), 0).unwrap();
    let task = command(&mut target).task;
    let all = TaskResponse {
        length: 6000,
        ..TaskResponse::default()
    };
    target.respond(task, all);
    let mut seen = Vec::new();
    while let Some(FromTarget::DataIn(data)) = sent(&mut target) {
        let status = data.answer.status_number.0;
        seen.push((
            data.number,
            data.offset,
            data.last,
            data.status.is_some(),
            status,
        ));
    }
    // Bursts of 2048 bytes: each one ends a sequence; the last one has the status.
    let expected = [
        (0, 0, true, false, 1),
        (1, 2048, true, false, 1),
        (2, 4096, true, true, 1),
    ];
    assert_eq!(seen, expected);
    target.ask_logout(1);
    let Some(FromTarget::Async(told)) = sent(&mut target) else {
        panic!()
    };
    assert_eq!(told.answer.status_number, Serial(2));
}

#[test]
fn data_are_asked_for_burst_by_burst() {
    let mut target = connection(limits(), 4);
    let place = receive(&mut target, &write(1, FIRST, 8000, false).header(), 512).unwrap();
    let task = command(&mut target).task;
    assert_eq!(
        place,
        Place::Task {
            task,
            offset: 0,
            length: 512
        }
    );
    assert!(!target.want(task, 7000));
    assert_eq!(sent(&mut target), None, "unsolicited data first");
    receive(&mut target, &data(1, Tag::NONE, 0, 512, true).header(), 512).unwrap();
    let mut transfers = Vec::new();
    while let Some(FromTarget::R2t(r2t)) = sent(&mut target) {
        transfers.push(r2t);
    }
    let shape: Vec<_> = transfers
        .iter()
        .map(|r2t| (r2t.number, r2t.offset, r2t.length))
        .collect();
    assert_eq!(
        shape,
        [(0, 1024, 2048), (1, 3072, 2048)],
        "no more than two at a time"
    );
    receive(
        &mut target,
        &data(1, transfers[0].target_tag, 0, 1024, true).header(),
        2048,
    )
    .unwrap();
    let Some(FromTarget::R2t(third)) = sent(&mut target) else {
        panic!()
    };
    assert_eq!((third.offset, third.length), (5120, 1880));
    receive(
        &mut target,
        &data(1, transfers[1].target_tag, 0, 3072, true).header(),
        2048,
    )
    .unwrap();
    receive(
        &mut target,
        &data(1, third.target_tag, 0, 5120, false).header(),
        880,
    )
    .unwrap();
    assert_eq!(target.poll_event(), None);
    receive(
        &mut target,
        &data(1, third.target_tag, 1, 6000, true).header(),
        1000,
    )
    .unwrap();
    assert_eq!(target.poll_event(), Some(TargetEvent::Written(task)));
    // What came late is for nobody.
    target.respond(
        task,
        TaskResponse {
            length: 7000,
            ..TaskResponse::default()
        },
    );
    let late = receive(
        &mut target,
        &data(1, third.target_tag, 0, 5120, true).header(),
        10,
    );
    assert_eq!(late, Ok(Place::Discard(10)));
    let Some(FromTarget::ScsiResponse(response)) = sent(&mut target) else {
        panic!()
    };
    assert_eq!(response.residual, Residual::Underflow(1000));
    assert_eq!(response.expected_data, 3);
}

/// DataSN, offset or length that are not the next ones: none of it is taken, and the command fails.
#[test]
fn data_out_of_order_fail_their_command() {
    for (number, offset, length, last) in [
        (1, 512, 512, true),
        (0, 513, 511, true),
        (0, 512, 513, true),
        (0, 512, 512, false),
    ] {
        let mut target = connection(limits(), 4);
        receive(&mut target, &write(1, FIRST, 8000, false).header(), 512).unwrap();
        let task = command(&mut target).task;
        let bad = data(1, Tag::NONE, number, offset, last);
        let place = receive(&mut target, &bad.header(), length);
        assert_eq!(place, Ok(Place::Discard(length)));
        failed(&mut target, task, Fault::Sequence);
    }
}

/// What a target fails, it fails once, and goes on.
#[track_caller]
fn failed(target: &mut TargetConnection, task: TaskId, fault: Fault) {
    let event = target.poll_event();
    assert_eq!(event, Some(TargetEvent::Failed { task, fault }));
    let more = data(1, Tag::NONE, 0, 512, true);
    receive(target, &more.header(), 10).unwrap();
    assert_eq!(target.poll_event(), None);
    assert!(target.respond(
        task,
        TaskResponse {
            status: 2,
            ..TaskResponse::default()
        }
    ));
    assert!(matches!(sent(target), Some(FromTarget::ScsiResponse(_))));
    receive(target, &write(1, FIRST + 1, 0, true).header(), 0).unwrap();
    command(target);
}

/// Once a task has ended, its tag is free: whether its status came with data or by itself.
#[test]
fn tags_are_used_again() {
    let mut target = connection(limits(), 4);
    for number in 0..8 {
        let read = ScsiCommand {
            reads: true,
            writes: false,
            ..write(1, FIRST + number, 512, true)
        };
        receive(&mut target, &read.header(), 0).unwrap();
        let task = command(&mut target).task;
        let length = if number % 2 == 0 { 512 } else { 0 };
        target.respond(
            task,
            TaskResponse {
                length,
                ..TaskResponse::default()
            },
        );
        let last = target.poll_output().unwrap();
        assert_eq!((last.last_of, target.tasks()), (Some(task), 0));
    }
}

#[test]
fn data_that_were_not_agreed_on_end_the_connection() {
    let strict = Parameters {
        initial_r2t: true,
        immediate_data: false,
        ..limits()
    };
    let cases = [
        (strict, write(1, FIRST, 512, true), 512),
        (strict, write(1, FIRST, 512, false), 0),
        (limits(), write(1, FIRST, 8000, true), 1025),
        (limits(), write(1, FIRST, 100, true), 101),
        (
            limits(),
            ScsiCommand {
                writes: false,
                reads: true,
                ..write(1, FIRST, 512, true)
            },
            512,
        ),
        (
            limits(),
            ScsiCommand {
                writes: false,
                reads: true,
                ..write(1, FIRST, 512, false)
            },
            0,
        ),
    ];
    for (limits, command, length) in cases {
        let mut target = connection(limits, 4);
        let refused = receive(&mut target, &command.header(), length);
        assert_eq!(refused, Err(SessionError::Unsolicited), "{command:?}");
    }
    // Unsolicited data where a command said that there are none.
    let mut target = connection(limits(), 4);
    receive(&mut target, &write(1, FIRST, 8000, true).header(), 512).unwrap();
    let task = command(&mut target).task;
    receive(&mut target, &data(1, Tag::NONE, 0, 512, true).header(), 10).unwrap();
    failed(&mut target, task, Fault::Unsolicited);
}

#[test]
fn what_cannot_be_done_is_rejected_with_its_reason() {
    let mut target = connection(limits(), 4);
    let mut header = [0; 48];
    header[0] = 0x10;
    receive(&mut target, &Header::from(header), 0).unwrap();
    rejected(&mut target, Reject::SNACK);
    header[0] = 0x1C;
    receive(&mut target, &Header::from(header), 99).unwrap();
    rejected(&mut target, Reject::NOT_SUPPORTED);
    header[..2].copy_from_slice(&[0x43, 0x87]);
    receive(&mut target, &Header::from(header), 10).unwrap();
    rejected(&mut target, Reject::PROTOCOL_ERROR);
    receive(&mut target, &write(1, FIRST, 0, true).header(), 0).unwrap();
    receive(&mut target, &write(1, FIRST + 1, 0, true).header(), 0).unwrap();
    rejected(&mut target, Reject::IN_PROGRESS);
    receive(
        &mut target,
        &write(u32::MAX, FIRST + 2, 0, true).header(),
        0,
    )
    .unwrap();
    rejected(&mut target, Reject::INVALID_FIELD);
    for tag in 2..20 {
        let immediate = ScsiCommand {
            command: now(),
            ..write(tag, 0, 0, true)
        };
        receive(&mut target, &immediate.header(), 0).unwrap();
    }
    rejected(&mut target, Reject::IMMEDIATE);
    assert_eq!(target.tasks(), 12, "the window and eight");
}

#[test]
fn a_discovery_session_takes_no_commands() {
    let session = log_in(Wishes::default(), Wishes::default(), 4, true).1;
    let mut target = TargetConnection::new(session);
    receive(&mut target, &write(1, FIRST, 0, true).header(), 0).unwrap();
    rejected(&mut target, Reject::PROTOCOL_ERROR);
    receive(
        &mut target,
        &manage(TaskManagement::TARGET_WARM_RESET, Tag::NONE).header(),
        0,
    )
    .unwrap();
    rejected(&mut target, Reject::PROTOCOL_ERROR);
}

fn manage(function: u8, referenced: Tag) -> TaskManagement {
    TaskManagement {
        function,
        lun: Lun::default(),
        tag: Tag(77),
        referenced,
        command: now(),
        referenced_number: Serial(FIRST),
    }
}

#[test]
fn a_function_that_needs_nobody_is_answered_at_once() {
    let mut target = connection(limits(), 4);
    let reassign = manage(TaskManagement::TASK_REASSIGN, Tag(5));
    receive(&mut target, &reassign.header(), 0).unwrap();
    let Some(FromTarget::TaskManagement(answer)) = sent(&mut target) else {
        panic!()
    };
    let response = TaskManagementResponse::NO_REASSIGNMENT;
    assert_eq!((answer.response, answer.tag), (response, Tag(77)));
    assert_eq!(target.poll_event(), None);
}

/// A task that is gone here may still have an effect, if another nexus aborted it: only the driver knows.
#[test]
fn abort_task_of_a_task_that_is_gone_is_not_answered_by_the_protocol_alone() {
    let mut target = connection(limits(), 4);
    receive(&mut target, &write(5, FIRST, 0, true).header(), 0).unwrap();
    let task = command(&mut target).task;
    assert!(target.abort(task));
    for tag in [Tag(5), Tag(6)] {
        let abort = manage(TaskManagement::ABORT_TASK, tag);
        receive(&mut target, &abort.header(), 0).unwrap();
        let Some(TargetEvent::Manage { id, tasks, .. }) = target.poll_event() else {
            panic!()
        };
        assert_eq!(tasks, []);
        assert!(sent(&mut target).is_none(), "answered without the driver");
        target.managed(id, TaskManagementResponse::NO_TASK);
        let Some(FromTarget::TaskManagement(answer)) = sent(&mut target) else {
            panic!()
        };
        assert_eq!(answer.response, TaskManagementResponse::NO_TASK);
    }
}

#[test]
fn a_set_is_that_of_its_logical_unit() {
    let mut target = connection(limits(), 4);
    let other = ScsiCommand {
        lun: Lun::from_number(1).unwrap(),
        ..write(2, FIRST + 1, 0, true)
    };
    receive(&mut target, &write(1, FIRST, 0, true).header(), 0).unwrap();
    receive(&mut target, &other.header(), 0).unwrap();
    let (first, second) = (command(&mut target).task, command(&mut target).task);
    receive(
        &mut target,
        &manage(TaskManagement::ABORT_TASK_SET, Tag::NONE).header(),
        0,
    )
    .unwrap();
    let Some(TargetEvent::Manage { id, tasks, .. }) = target.poll_event() else {
        panic!()
    };
    assert_eq!(tasks, [first]);
    assert!(
        target.respond(second, TaskResponse::default()),
        "not concerned"
    );
    target.managed(id, TaskManagementResponse::COMPLETE);
    assert!(matches!(
        sent(&mut target),
        Some(FromTarget::ScsiResponse(_))
    ));
    assert!(matches!(
        sent(&mut target),
        Some(FromTarget::TaskManagement(_))
    ));
    assert_eq!(target.tasks(), 0);
}

#[test]
fn pings_come_back_with_their_data() {
    let mut target = connection(limits(), 4);
    let nop = NopOut {
        tag: Tag(3),
        target_tag: Tag::NONE,
        lun: Lun::default(),
        command: now(),
    };
    receive(&mut target, &nop.header(), 100).unwrap();
    let output = target.poll_output().unwrap();
    assert_eq!(output.body, Body::Bytes(vec![0; 100]));
    // One that is an answer, or asks for none.
    receive(
        &mut target,
        &NopOut {
            tag: Tag::NONE,
            ..nop
        }
        .header(),
        0,
    )
    .unwrap();
    assert_eq!(sent(&mut target), None);
}

#[test]
fn much_that_waits_stops_receiving() {
    let mut target = connection(limits(), 4);
    let nop = NopOut {
        tag: Tag(3),
        target_tag: Tag::NONE,
        lun: Lun::default(),
        command: now(),
    };
    let mut count = 0;
    while target.takes_more() {
        receive(&mut target, &nop.header(), 4096).unwrap();
        count += 1;
    }
    assert_eq!(count, 256);
    while target.poll_output().is_some() {}
    assert!(target.takes_more());
}

#[test]
fn a_logout_of_what_is_not_there_is_refused() {
    let mut target = connection(limits(), 4);
    let logout = |reason, cid| LogoutRequest {
        reason,
        tag: Tag(1),
        cid,
        command: now(),
    };
    for (reason, cid, response) in [
        (1, 9, LogoutResponse::NO_CONNECTION),
        (2, 0, LogoutResponse::NO_RECOVERY),
    ] {
        receive(&mut target, &logout(reason, cid).header(), 0).unwrap();
        let Some(FromTarget::Logout(answer)) = sent(&mut target) else {
            panic!()
        };
        assert_eq!(answer.response, response);
        assert!(!target.is_over());
    }
    receive(&mut target, &logout(1, 0).header(), 0).unwrap();
    assert!(!target.is_over(), "not before it is told");
    sent(&mut target);
    assert!(target.is_over());
    let after = receive(&mut target, &write(1, FIRST, 0, true).header(), 0);
    assert_eq!(after, Err(SessionError::OutOfPlace));
}
