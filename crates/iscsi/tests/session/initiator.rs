//! An initiator against a target that keeps to the rules or does not, PDU by PDU.

use iscsi::login::{Parameters, Wishes};
use iscsi::pdu::*;
use iscsi::session::*;
use iscsi::{Header, Serial};

use crate::pair::log_in;

/// StatSN of the first status after the login.
const FIRST: u32 = 1;

fn connection(window: u32) -> InitiatorConnection {
    let limits = Parameters {
        max_receive: 4096,
        max_burst: 2048,
        first_burst: 1024,
        max_outstanding_r2t: 2,
        initial_r2t: true,
        ..Parameters::default()
    };
    let wishes = Wishes {
        limits,
        ..Wishes::default()
    };
    InitiatorConnection::new(log_in(wishes, wishes, window, false).0)
}

fn send(initiator: &mut InitiatorConnection, transfer: Transfer) -> Result<TaskId, NotNow> {
    initiator.command(&CommandRequest {
        lun: Lun::default(),
        cdb: [0; 16],
        attribute: Attribute::SIMPLE,
        transfer,
    })
}

fn at(status: u32) -> Answer {
    Answer {
        status_number: Serial(status),
        expected_command: Serial(2),
        last_command: Serial(4),
    }
}

fn r2t(number: u32, offset: u32, length: u32) -> R2t {
    R2t {
        lun: Lun::default(),
        tag: Tag(0),
        target_tag: Tag(100 + number),
        answer: at(FIRST),
        number,
        offset,
        length,
    }
}

fn good(tag: u32, status: u32) -> ScsiResponse {
    ScsiResponse {
        tag: Tag(tag),
        response: 0,
        status: 0,
        answer: at(status),
        expected_data: 0,
        residual: Residual::None,
    }
}

fn receive(initiator: &mut InitiatorConnection, header: &Header) -> Result<(), SessionError> {
    let place = initiator.begin(header)?;
    assert_eq!(place, Place::None);
    initiator.finish(Arrived::Placed)
}

fn sent(initiator: &mut InitiatorConnection) -> Option<(FromInitiator, Body)> {
    let output = initiator.poll_output()?;
    Some((FromInitiator::parse(&output.header).unwrap(), output.body))
}

#[test]
fn what_a_target_asks_for_is_sent_in_segments() {
    let mut initiator = connection(4);
    let task = send(&mut initiator, Transfer::Write(5000)).unwrap();
    let Some((FromInitiator::ScsiCommand(command), body)) = sent(&mut initiator) else {
        panic!()
    };
    assert!(command.last, "InitialR2T=Yes: immediate data only");
    let length = 1024;
    assert_eq!(
        body,
        Body::Task {
            task,
            offset: 0,
            length
        }
    );
    receive(&mut initiator, &r2t(0, 1024, 2048).header()).unwrap();
    receive(&mut initiator, &r2t(1, 3072, 1928).header()).unwrap();
    let mut seen = Vec::new();
    while let Some((FromInitiator::DataOut(data), Body::Task { offset, length, .. })) =
        sent(&mut initiator)
    {
        assert_eq!(data.offset, offset);
        seen.push((data.target_tag.0, data.number, offset, length, data.last));
    }
    assert_eq!(
        seen,
        [(100, 0, 1024, 2048, true), (101, 0, 3072, 1928, true)]
    );
    receive(&mut initiator, &good(0, FIRST).header()).unwrap();
    assert!(matches!(initiator.poll_event(), Some(InitiatorEvent::Finished(id, _)) if id == task));
}

#[test]
fn a_target_that_asks_for_what_it_may_not_have_gets_nothing() {
    let bad = [
        r2t(1, 1024, 512),
        r2t(0, 1000, 512),
        r2t(0, 1536, 512),
        r2t(0, 1024, 2049),
        r2t(0, 1024, 0),
        R2t {
            target_tag: Tag::NONE,
            ..r2t(0, 1024, 512)
        },
    ];
    for r2t in bad {
        let mut initiator = connection(4);
        send(&mut initiator, Transfer::Write(5000)).unwrap();
        sent(&mut initiator);
        let refused = receive(&mut initiator, &r2t.header());
        assert_eq!(refused, Err(SessionError::DataSequence), "{r2t:?}");
        assert_eq!(sent(&mut initiator), None);
    }
    // Beyond the end, more than two at a time, and for a read.
    let mut initiator = connection(4);
    send(&mut initiator, Transfer::Write(2000)).unwrap();
    sent(&mut initiator);
    let refused = receive(&mut initiator, &r2t(0, 1024, 977).header());
    assert_eq!(refused, Err(SessionError::DataSequence));
    for (number, offset) in [(0, 1024), (1, 1124)] {
        receive(&mut initiator, &r2t(number, offset, 100).header()).unwrap();
    }
    let refused = receive(&mut initiator, &r2t(2, 1224, 100).header());
    assert_eq!(refused, Err(SessionError::DataSequence));
    let mut initiator = connection(4);
    send(&mut initiator, Transfer::Read(2000)).unwrap();
    let refused = receive(&mut initiator, &r2t(0, 0, 100).header());
    assert_eq!(refused, Err(SessionError::DataSequence));
}

#[test]
fn data_in_come_in_order_and_no_more_than_expected() {
    let data = |number, offset| DataIn {
        last: true,
        status: None,
        tag: Tag(0),
        answer: at(FIRST),
        number,
        offset,
    };
    for (number, offset, length, right) in [
        (0, 0, 100, true),
        (1, 0, 100, false),
        (0, 1, 99, false),
        (0, 0, 101, false),
    ] {
        let mut initiator = connection(4);
        let task = send(&mut initiator, Transfer::Read(100)).unwrap();
        let mut header = data(number, offset).header();
        header.set_lengths(0, length);
        let expected = if right {
            Ok(Place::Task {
                task,
                offset,
                length,
            })
        } else {
            Err(SessionError::DataSequence)
        };
        assert_eq!(initiator.begin(&header), expected);
    }
}

#[test]
fn the_window_is_the_targets() {
    let mut initiator = connection(2);
    send(&mut initiator, Transfer::None).unwrap();
    send(&mut initiator, Transfer::None).unwrap();
    assert_eq!(
        send(&mut initiator, Transfer::None),
        Err(NotNow::WindowFull)
    );
    // A window that contradicts itself is no window: MaxCmdSN before ExpCmdSN - 1.
    let mut odd = good(0, FIRST);
    odd.answer.expected_command = Serial(9);
    odd.answer.last_command = Serial(7);
    receive(&mut initiator, &odd.header()).unwrap();
    assert_eq!(
        send(&mut initiator, Transfer::None),
        Err(NotNow::WindowFull)
    );
    receive(&mut initiator, &good(1, FIRST + 1).header()).unwrap();
    for _ in 0..2 {
        send(&mut initiator, Transfer::None).unwrap();
    }
    assert_eq!(
        send(&mut initiator, Transfer::None),
        Err(NotNow::WindowFull)
    );
    // Nor does it shrink.
    let mut narrower = good(2, FIRST + 2);
    narrower.answer.last_command = Serial(2);
    receive(&mut initiator, &narrower.header()).unwrap();
    assert_eq!(initiator.tasks(), 1);
}

#[test]
fn a_sign_of_life_is_answered_with_the_targets_tag() {
    let mut initiator = connection(4);
    let nop = NopIn {
        tag: Tag::NONE,
        target_tag: Tag(9),
        lun: Lun([7; 8]),
        answer: at(FIRST),
    };
    receive(&mut initiator, &nop.header()).unwrap();
    let Some((FromInitiator::NopOut(answer), _)) = sent(&mut initiator) else {
        panic!()
    };
    assert_eq!(
        (answer.tag, answer.target_tag, answer.lun),
        (Tag::NONE, Tag(9), Lun([7; 8]))
    );
    assert!(answer.command.immediate);
    // One that wants no answer only tells numbers.
    receive(
        &mut initiator,
        &NopIn {
            target_tag: Tag::NONE,
            ..nop
        }
        .header(),
    )
    .unwrap();
    assert_eq!(sent(&mut initiator), None);
}

#[test]
fn a_rejected_command_is_gone() {
    let mut initiator = connection(4);
    let task = send(&mut initiator, Transfer::None).unwrap();
    let command = initiator.poll_output().unwrap().header;
    let reject = Reject {
        reason: Reject::NO_RESOURCES,
        answer: at(FIRST),
    };
    let mut header = reject.header();
    header.set_lengths(0, 48);
    assert_eq!(initiator.begin(&header), Ok(Place::Bytes(48)));
    initiator.finish(Arrived::Bytes(command.bytes())).unwrap();
    let expected = InitiatorEvent::Rejected {
        task: Some(task),
        reason: Reject::NO_RESOURCES,
    };
    assert_eq!(initiator.poll_event(), Some(expected));
    assert_eq!(initiator.tasks(), 0);
}

#[test]
fn a_function_that_is_refused_leaves_its_command() {
    let mut initiator = connection(4);
    let task = send(&mut initiator, Transfer::None).unwrap();
    let function = initiator.abort(task).unwrap();
    let answer = TaskManagementResponse {
        tag: Tag(1),
        response: TaskManagementResponse::NOT_SUPPORTED,
        answer: at(FIRST),
    };
    receive(&mut initiator, &answer.header()).unwrap();
    let expected = InitiatorEvent::Managed {
        function,
        response: TaskManagementResponse::NOT_SUPPORTED,
        gone: vec![],
    };
    assert_eq!(initiator.poll_event(), Some(expected));
    receive(&mut initiator, &good(0, FIRST + 1).header()).unwrap();
    assert_eq!(initiator.tasks(), 0);
}

#[test]
fn answers_to_nothing_end_the_connection() {
    let mut initiator = connection(4);
    let answers = [
        good(5, FIRST).header(),
        TaskManagementResponse {
            tag: Tag(5),
            response: 0,
            answer: at(FIRST + 1),
        }
        .header(),
        LogoutResponse {
            tag: Tag(5),
            response: 0,
            answer: at(FIRST + 2),
        }
        .header(),
        NopIn {
            tag: Tag(5),
            target_tag: Tag::NONE,
            lun: Lun::default(),
            answer: at(FIRST + 3),
        }
        .header(),
        TextResponse {
            last: true,
            goes_on: false,
            tag: Tag(5),
            target_tag: Tag::NONE,
            answer: at(FIRST + 4),
        }
        .header(),
    ];
    for header in answers {
        assert_eq!(
            receive(&mut initiator, &header),
            Err(SessionError::NoTask),
            "{header:?}"
        );
    }
}
