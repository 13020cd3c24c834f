//! Everything an initiator can send to a target: the login, and if that goes through, the session.
#![no_main]
use iscsi::login::{
    Admission, Applicant, Authentication, Directory, Established, LoginOutcome, LoginResponder,
    LoginStatus, Wishes,
};
use iscsi::pdu::FromInitiator;
use iscsi::session::{Arrived, Place, TargetConnection, TargetEvent, TaskResponse};
use iscsi::{Digests, Framing, HEADER_LEN, Header};

struct Open;

impl Directory for Open {
    fn admit(&self, _: &Applicant<'_>) -> Result<Admission, LoginStatus> {
        Ok(Admission {
            portal_group: 1,
            tsih: 1,
            authentication: Authentication::None,
            window: 4,
        })
    }
}

/// The next PDU of the stream: header, additional segments, data.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(Header, &'a [u8], &'a [u8])> {
    let framing = Framing {
        digests: Digests {
            header: false,
            data: false,
        },
        max_data: 65_536,
    };
    let (start, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let header = Header::from(*start);
    let lengths = framing.lengths(&header).ok()?;
    let pdu = rest.get(..lengths.total())?;
    *bytes = &rest[lengths.total()..];
    let (additional, data) = pdu.split_at(lengths.additional);
    Some((header, additional, &data[..lengths.data]))
}

fn log_in(bytes: &mut &[u8]) -> Option<Box<Established>> {
    let mut responder = LoginResponder::new(Wishes::default());
    loop {
        let (header, _, text) = next(bytes)?;
        let Ok(FromInitiator::Login(request)) = FromInitiator::parse(&header) else {
            return None;
        };
        let reply = responder.handle(&request, text, &Open, &mut |bytes| bytes.fill(1));
        match reply.outcome {
            LoginOutcome::LoggedIn(session) => return Some(session),
            LoginOutcome::GoesOn => {}
            LoginOutcome::Refused(_) => return None,
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes;
    let Some(session) = log_in(&mut bytes) else {
        return;
    };
    let mut target = TargetConnection::new(*session);
    while target.takes_more() {
        let Some((header, additional, data)) = next(&mut bytes) else {
            return;
        };
        let Ok(place) = target.begin(&header, additional) else {
            return;
        };
        let arrived = match place {
            Place::Bytes(_) => Arrived::Bytes(data),
            Place::None | Place::Discard(_) | Place::Task { .. } => Arrived::Placed,
        };
        if target.finish(arrived).is_err() {
            return;
        }
        while let Some(event) = target.poll_event() {
            match event {
                TargetEvent::Command(task) => {
                    if !task.writes || target.want(task.task, u64::from(task.cdb[7])) {
                        target.respond(
                            task.task,
                            TaskResponse {
                                status: 0,
                                length: 512,
                                sense: Vec::new(),
                            },
                        );
                    }
                }
                TargetEvent::Manage { id, .. } => target.managed(id, 0),
                TargetEvent::Discover(_) => target.found(&[]),
                _ => {}
            }
        }
        while target.poll_output().is_some() {}
    }
});
