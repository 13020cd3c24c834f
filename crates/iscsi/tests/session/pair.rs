//! Two ends joined by streams of bytes that arrive in pieces of any size.

use std::collections::HashMap;

use iscsi::login::*;
use iscsi::pdu::{FromTarget, Isid};
use iscsi::session::*;
use iscsi::{Digests, Framing, FramingError, HEADER_LEN, Header};

pub(crate) const TARGET: &str = "iqn.2026-11.example:disk";

/// Lets everybody in.
struct Open {
    window: u32,
}

impl Directory for Open {
    fn admit(&self, _: &Applicant<'_>) -> Result<Admission, LoginStatus> {
        Ok(Admission {
            portal_group: 1,
            tsih: 1,
            authentication: Authentication::None,
            window: self.window,
        })
    }
}

/// Logs in, PDU by PDU: the initiator's and the target's view of the session.
pub(crate) fn log_in(
    initiator: Wishes,
    target: Wishes,
    window: u32,
    discovery: bool,
) -> (Established, Established) {
    let mut requester = LoginRequester::new(LoginOptions {
        initiator: "iqn.2026-11.example:n1".into(),
        target: (!discovery).then(|| TARGET.into()),
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        wishes: initiator,
        algorithms: Algorithm::ALL.to_vec(),
        credentials: None,
        target_credentials: None,
    });
    let mut responder = LoginResponder::new(target);
    let mut random = |bytes: &mut [u8]| bytes.fill(1);
    let (request, text) = requester.start();
    let reply = responder.handle(&request, &text, &Open { window }, &mut random);
    let step = requester.handle(&reply.response, &reply.text, &mut random);
    match (step, reply.outcome) {
        (Ok(LoginStep::LoggedIn(ours)), LoginOutcome::LoggedIn(theirs)) => (*ours, *theirs),
        other => panic!("{other:?}"),
    }
}

/// What both ends have in common.
pub(crate) trait Machine {
    fn begin(&mut self, header: &Header, additional: &[u8]) -> Result<Place, SessionError>;
    fn finish(&mut self, arrived: Arrived<'_>) -> Result<(), SessionError>;
    fn poll_output(&mut self) -> Option<Output>;
}

impl Machine for TargetConnection {
    fn begin(&mut self, header: &Header, additional: &[u8]) -> Result<Place, SessionError> {
        Self::begin(self, header, additional)
    }
    fn finish(&mut self, arrived: Arrived<'_>) -> Result<(), SessionError> {
        Self::finish(self, arrived)
    }
    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }
}

impl Machine for InitiatorConnection {
    fn begin(&mut self, header: &Header, _: &[u8]) -> Result<Place, SessionError> {
        Self::begin(self, header)
    }
    fn finish(&mut self, arrived: Arrived<'_>) -> Result<(), SessionError> {
        Self::finish(self, arrived)
    }
    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }
}

/// Why an end closes its connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Closed {
    Framing(FramingError),
    Session(SessionError),
}

/// One end: a machine, the buffers of its tasks, and what has come in but is not a whole PDU.
pub(crate) struct End<M> {
    pub(crate) machine: M,
    pub(crate) buffers: HashMap<TaskId, Vec<u8>>,
    incoming: Framing,
    outgoing: Framing,
    inbox: Vec<u8>,
    /// The longest data segment and sequence of Data-In sent.
    pub(crate) longest: usize,
    pub(crate) longest_sequence: u32,
    sequences: HashMap<u32, u32>,
}

impl<M: Machine> End<M> {
    pub(crate) fn new(machine: M, session: &Established) -> Self {
        let agreed = &session.parameters;
        let framing = |most: u32| Framing {
            digests: Digests {
                header: agreed.digests.header,
                data: agreed.digests.data,
            },
            max_data: usize::try_from(most).unwrap(),
        };
        Self {
            machine,
            buffers: HashMap::new(),
            incoming: framing(agreed.max_receive),
            outgoing: framing(agreed.max_send),
            inbox: Vec::new(),
            longest: 0,
            longest_sequence: 0,
            sequences: HashMap::new(),
        }
    }

    /// Takes bytes from the stream, and every PDU that is whole.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.inbox.extend_from_slice(bytes);
        while let Some((start, _)) = self.inbox.split_first_chunk::<HEADER_LEN>() {
            let header = Header::from(*start);
            let lengths = self.incoming.lengths(&header).map_err(Closed::Framing)?;
            if self.inbox.len() < HEADER_LEN + lengths.total() {
                break;
            }
            let pdu: Vec<u8> = self.inbox.drain(..HEADER_LEN + lengths.total()).collect();
            let (additional, rest) = pdu[HEADER_LEN..].split_at(lengths.additional);
            let (digest, rest) = rest.split_at(lengths.header_digest);
            let (padded, data_digest) = rest.split_at(lengths.data + lengths.padding);
            self.incoming
                .check_header(&header, additional, digest)
                .map_err(Closed::Framing)?;
            let place = self
                .machine
                .begin(&header, additional)
                .map_err(Closed::Session)?;
            let data = &padded[..lengths.data];
            let whole = self.incoming.check_data(padded, data_digest).is_ok();
            let arrived = match place {
                _ if !whole => Arrived::Damaged,
                Place::None | Place::Discard(_) => Arrived::Placed,
                Place::Bytes(length) => {
                    assert_eq!(length, data.len());
                    Arrived::Bytes(data)
                }
                Place::Task {
                    task,
                    offset,
                    length,
                } => {
                    let start = usize::try_from(offset).unwrap();
                    let buffer = self.buffers.entry(task).or_default();
                    buffer.resize(buffer.len().max(start + length), 0);
                    buffer[start..start + length].copy_from_slice(data);
                    Arrived::Placed
                }
            };
            self.machine.finish(arrived).map_err(Closed::Session)?;
        }
        Ok(())
    }

    /// The bytes of the next PDU to be sent.
    pub(crate) fn transmit(&mut self) -> Option<Vec<u8>> {
        let output = self.machine.poll_output()?;
        let data = match output.body {
            Body::None => Vec::new(),
            Body::Bytes(bytes) => bytes,
            Body::Task {
                task,
                offset,
                length,
            } => {
                let start = usize::try_from(offset).unwrap();
                let end = start + usize::try_from(length).unwrap();
                self.buffers[&task][start..end].to_vec()
            }
        };
        self.longest = self.longest.max(data.len());
        if let Ok(FromTarget::DataIn(header)) = FromTarget::parse(&output.header) {
            let sequence = self.sequences.entry(header.tag.0).or_default();
            *sequence += u32::try_from(data.len()).unwrap();
            self.longest_sequence = self.longest_sequence.max(*sequence);
            if header.last {
                *sequence = 0;
            }
        }
        let mut bytes = self.outgoing.prologue(&output.header, &[], data.len());
        let epilogue = self.outgoing.epilogue(&data);
        bytes.extend(data);
        bytes.extend(epilogue);
        if let Some(task) = output.last_of {
            self.buffers.remove(&task);
        }
        Some(bytes)
    }
}

/// What a stream holds before its sender waits.
const PIPE: usize = 16 * 1024;

/// Both ends and what is under way between them.
pub(crate) struct Pair {
    pub(crate) initiator: End<InitiatorConnection>,
    pub(crate) target: End<TargetConnection>,
    pub(crate) to_target: Vec<u8>,
    pub(crate) to_initiator: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(sessions: (Established, Established)) -> Self {
        let (ours, theirs) = sessions;
        Self {
            initiator: End::new(InitiatorConnection::new(ours.clone()), &ours),
            target: End::new(TargetConnection::new(theirs.clone()), &theirs),
            to_target: Vec::new(),
            to_initiator: Vec::new(),
        }
    }

    /// A step of the initiator: it sends a PDU if it has one, and takes up to `most` bytes.
    pub(crate) fn step_initiator(&mut self, most: usize) -> bool {
        let room = self.to_target.len() < PIPE;
        let sent = if room {
            self.initiator.transmit()
        } else {
            None
        };
        let idle = sent.is_none();
        self.to_target.extend(sent.unwrap_or_default());
        let ready = self.initiator.machine.takes_more();
        let count = if ready {
            self.to_initiator.len().min(most)
        } else {
            0
        };
        let piece: Vec<u8> = self.to_initiator.drain(..count).collect();
        self.initiator.receive(&piece).unwrap();
        !idle || count > 0
    }

    /// A step of the target.
    pub(crate) fn step_target(&mut self, most: usize) -> bool {
        let room = self.to_initiator.len() < PIPE;
        let sent = if room { self.target.transmit() } else { None };
        let idle = sent.is_none();
        self.to_initiator.extend(sent.unwrap_or_default());
        let ready = self.target.machine.takes_more();
        let count = if ready {
            self.to_target.len().min(most)
        } else {
            0
        };
        let piece: Vec<u8> = self.to_target.drain(..count).collect();
        self.target.receive(&piece).unwrap();
        !idle || count > 0
    }

    /// Both, until nothing moves.
    pub(crate) fn drive(&mut self) {
        for _ in 0..100_000 {
            let moved = self.step_initiator(usize::MAX);
            if !self.step_target(usize::MAX) && !moved {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}
