//! Any PDU at any time: no panic, and no more memory than was agreed on.

use iscsi::Header;
use iscsi::login::Wishes;
use iscsi::session::*;
use proptest::prelude::*;

use crate::pair::log_in;

/// A header with plausible fields: tags and numbers are small, so that they meet.
fn header() -> impl Strategy<Value = [u8; 48]> {
    let small = || prop_oneof![4 => 0_u32..6, 1 => Just(u32::MAX), 1 => any::<u32>()];
    let opcode = prop_oneof![
        12 => proptest::sample::select(vec![0_u8, 1, 2, 4, 5, 6, 0x20, 0x21, 0x22, 0x24, 0x25, 0x31, 0x32, 0x3F]),
        1 => 0_u8..0x40,
    ];
    (
        (opcode, any::<bool>(), any::<[u8; 3]>()),
        (
            prop_oneof![Just(0_u32), 0_u32..2000, Just(65_536)],
            small(),
            small(),
        ),
        (small(), small(), small()),
        (small(), small(), small()),
    )
        .prop_map(|(first, second, third, fourth)| {
            let mut bytes = [0; 48];
            bytes[0] = first.0 | u8::from(first.1) << 6;
            bytes[1..4].copy_from_slice(&first.2);
            bytes[5..8].copy_from_slice(&second.0.to_be_bytes()[1..]);
            let words = [
                second.1, second.2, third.0, third.1, third.2, fourth.0, fourth.1, fourth.2,
            ];
            for (word, at) in words.into_iter().zip([16, 20, 24, 28, 32, 36, 40, 44]) {
                bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
            }
            bytes
        })
}

#[derive(Debug, Clone)]
enum Step {
    /// The peer sends this; with damaged data, or with its data as text.
    Receive([u8; 48], bool, Vec<u8>),
    Respond(u64),
    Want(u64, u64),
    Abort(u64),
    Send(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (header(), prop::bool::weighted(0.1), any::<Vec<u8>>()).prop_map(|(h, d, t)| Step::Receive(h, d, t)),
        2 => (0_u64..8).prop_map(Step::Respond),
        2 => (0_u64..8, 0_u64..100_000).prop_map(|(task, length)| Step::Want(task, length)),
        1 => (0_u64..8).prop_map(Step::Abort),
        2 => (1_usize..8).prop_map(Step::Send),
    ]
}

fn arrived(place: Place, damaged: bool, data: &mut Vec<u8>) -> Arrived<'_> {
    match place {
        _ if damaged => Arrived::Damaged,
        Place::Bytes(length) => {
            data.resize(length, b'\0');
            Arrived::Bytes(data)
        }
        Place::None | Place::Discard(_) | Place::Task { .. } => Arrived::Placed,
    }
}

const WINDOW: u32 = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn a_target_takes_anything(steps in proptest::collection::vec(step(), 1..80), discovery in prop::bool::weighted(0.2)) {
        let (_, session) = log_in(Wishes::default(), Wishes::default(), WINDOW, discovery);
        let most = session.parameters.first_burst.max(session.parameters.max_burst);
        let mut target = TargetConnection::new(session);
        for step in steps {
            match step {
                Step::Receive(bytes, damaged, mut data) if target.takes_more() => {
                    let header = Header::from(bytes);
                    // A caller that goes on after an error must not come to harm either.
                    let Ok(place) = target.begin(&header, &data) else { continue };
                    if let Place::Task { offset, length, .. } = place {
                        // Never beyond what the command expects; the buffer is as long as that at most.
                        prop_assert!(u64::from(offset) + u64::try_from(length).unwrap() <= 1 << 32);
                        prop_assert!(length <= usize::try_from(most).unwrap());
                    }
                    let _ = target.finish(arrived(place, damaged, &mut data));
                }
                Step::Receive(..) => {}
                Step::Respond(task) => {
                    let response = TaskResponse { status: 0, length: task * 1000, sense: vec![0; 18] };
                    target.respond(TaskId(task), response);
                }
                Step::Want(task, length) => { target.want(TaskId(task), length); }
                Step::Abort(task) => { target.abort(TaskId(task)); }
                Step::Send(count) => {
                    for _ in 0..count { target.poll_output(); }
                }
            }
            prop_assert!(target.tasks() <= usize::try_from(WINDOW).unwrap() + 8);
            while let Some(event) = target.poll_event() {
                match event {
                    TargetEvent::Manage { id, .. } => target.managed(id, 0),
                    TargetEvent::Discover(_) => target.found(&[]),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn an_initiator_takes_anything(steps in proptest::collection::vec(step(), 1..80)) {
        let (session, _) = log_in(Wishes::default(), Wishes::default(), WINDOW, false);
        let mut initiator = InitiatorConnection::new(session);
        for length in [0, 3000, 300_000] {
            for transfer in [Transfer::Read(length), Transfer::Write(length)] {
                let _ = initiator.command(&CommandRequest {
                    lun: iscsi::pdu::Lun::default(),
                    cdb: [0; 16],
                    attribute: iscsi::pdu::Attribute::SIMPLE,
                    transfer,
                });
            }
        }
        let _ = initiator.discover();
        for step in steps {
            match step {
                Step::Receive(bytes, damaged, mut data) if initiator.takes_more() => {
                    let header = Header::from(bytes);
                    let Ok(place) = initiator.begin(&header) else { continue };
                    if let Place::Task { offset, length, .. } = place {
                        prop_assert!(usize::try_from(offset).unwrap() + length <= 300_000);
                    }
                    let _ = initiator.finish(arrived(place, damaged, &mut data));
                }
                Step::Receive(..) => {}
                Step::Respond(_) => { let _ = initiator.ping(); }
                Step::Want(_, function) => {
                    let function = u8::try_from(function % 9).unwrap();
                    let _ = initiator.manage(function, iscsi::pdu::Lun::default());
                }
                Step::Abort(task) => { let _ = initiator.abort(TaskId(task)); }
                Step::Send(count) => {
                    for _ in 0..count { initiator.poll_output(); }
                }
            }
            prop_assert!(initiator.tasks() <= usize::try_from(WINDOW).unwrap());
            while initiator.poll_event().is_some() {}
        }
    }
}
