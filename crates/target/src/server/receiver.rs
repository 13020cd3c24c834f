//! From the bytes of a socket to PDUs. One `recv` takes as many as there are; long data segments go where they belong
//! without a copy in between.

use std::io::{self, IoSliceMut, Read};
use std::mem;

use iscsi::session::{Arrived, Place, SessionError, TargetConnection};
use iscsi::{Framing, FramingError, HEADER_LEN, Header, Lengths, RunningDigest};

use crate::server::slots::Slots;

/// How much is received at a time.
const ROOM: usize = 128 << 10;
/// A rest of a data segment that is longer is received into its place.
const DIRECT: usize = 16 << 10;

/// Why nothing more can be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReceiveError {
    /// The stream is out of step, or damaged.
    #[error("a PDU that cannot be taken")]
    Framing(#[from] FramingError),
    /// The initiator does not keep to the protocol.
    #[error("the initiator broke the protocol")]
    Session(#[from] SessionError),
}

/// Where in a PDU the stream is.
#[derive(Debug)]
enum At {
    Header,
    Data {
        place: Place,
        lengths: Lengths,
        got: usize,
        digest: RunningDigest,
    },
}

/// A PDU's header with what comes before its data segment.
pub(crate) struct Head {
    pub(crate) header: Header,
    pub(crate) additional: Vec<u8>,
    pub(crate) lengths: Lengths,
}

/// What a socket gives.
#[derive(Debug)]
pub(crate) struct Receiver {
    framing: Framing,
    room: Box<[u8]>,
    start: usize,
    end: usize,
    at: At,
    /// A data segment that belongs to no task.
    segment: Vec<u8>,
}

/// What there was to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes.
    Some(usize),
    /// Nothing for now.
    Nothing,
    /// The peer has closed.
    End,
}

impl Receiver {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            room: vec![0; ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
            at: At::Header,
            segment: Vec::new(),
        }
    }

    /// What has been agreed on holds for the next PDU on.
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    fn ready(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    fn take(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Receives from a socket that does not block.
    ///
    /// # Errors
    /// If the socket has failed.
    pub(crate) fn fill<S>(
        &mut self,
        socket: &mut impl Read,
        slots: &mut Slots<S>,
    ) -> io::Result<Received> {
        if self.end == self.room.len() {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let outcome = match &mut self.at {
            At::Data {
                place:
                    Place::Task {
                        task,
                        offset,
                        length,
                    },
                got,
                digest,
                ..
            } if self.start == self.end && *length - *got >= DIRECT => {
                let from = usize::try_from(*offset).unwrap_or(usize::MAX) + *got;
                let part = slots.part(*task, from, *length - *got);
                let wanted = part.len();
                let mut parts = [
                    IoSliceMut::new(part),
                    IoSliceMut::new(&mut self.room[self.end..]),
                ];
                let outcome = socket.read_vectored(&mut parts);
                if let Ok(count) = outcome {
                    let placed = count.min(wanted);
                    if self.framing.digests.data {
                        digest.add(&slots.part(*task, from, placed)[..]);
                    }
                    *got += placed;
                    self.end += count - placed;
                }
                outcome
            }
            _ => {
                let outcome = socket.read(&mut self.room[self.end..]);
                if let Ok(count) = outcome {
                    self.end += count;
                }
                outcome
            }
        };
        match outcome {
            Ok(0) => Ok(Received::End),
            Ok(count) => Ok(Received::Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Takes the next header if it is all there, with its digest checked.
    ///
    /// # Errors
    /// If the stream is out of step.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, FramingError> {
        let Some(bytes) = self.ready().first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::from(*bytes);
        let lengths = self.framing.lengths(&header)?;
        let whole = HEADER_LEN + lengths.additional + lengths.header_digest;
        let Some(rest) = self.ready().get(HEADER_LEN..whole) else {
            return Ok(None);
        };
        let (additional, digest) = rest.split_at(lengths.additional);
        self.framing.check_header(&header, additional, digest)?;
        let additional = additional.to_vec();
        self.take(whole);
        Ok(Some(Head {
            header,
            additional,
            lengths,
        }))
    }

    /// Takes a whole data segment of a login PDU, which is short.
    ///
    /// # Errors
    /// If its digest is wrong.
    pub(crate) fn whole_segment(
        &mut self,
        lengths: Lengths,
    ) -> Result<Option<Vec<u8>>, FramingError> {
        let padded = lengths.data + lengths.padding;
        let whole = padded + lengths.data_digest;
        let Some(bytes) = self.ready().get(..whole) else {
            return Ok(None);
        };
        let (segment, digest) = bytes.split_at(padded);
        self.framing.check_data(segment, digest)?;
        let segment = segment[..lengths.data].to_vec();
        self.take(whole);
        Ok(Some(segment))
    }

    /// Passes the next PDU on. `false`: it is not all there yet.
    ///
    /// # Errors
    /// If the connection must end.
    pub(crate) fn advance<S>(
        &mut self,
        protocol: &mut TargetConnection,
        slots: &mut Slots<S>,
    ) -> Result<bool, ReceiveError> {
        if matches!(self.at, At::Header) {
            let Some(head) = self.head()? else {
                return Ok(false);
            };
            let place = protocol.begin(&head.header, &head.additional)?;
            self.at = At::Data {
                place,
                lengths: head.lengths,
                got: 0,
                digest: RunningDigest::default(),
            };
        }
        self.place(slots);
        self.complete(protocol, slots)
    }

    /// Moves what is there of the data segment to its place.
    fn place<S>(&mut self, slots: &mut Slots<S>) {
        let At::Data {
            place,
            lengths,
            got,
            digest,
        } = &mut self.at
        else {
            return;
        };
        let count = (lengths.data - *got).min(self.end - self.start);
        if count == 0 {
            return;
        }
        let piece = &self.room[self.start..self.start + count];
        match place {
            Place::Task { task, offset, .. } => {
                let from = usize::try_from(*offset).unwrap_or(usize::MAX) + *got;
                slots.part(*task, from, count).copy_from_slice(piece);
            }
            Place::Bytes(_) => self.segment.extend_from_slice(piece),
            Place::None | Place::Discard(_) => {}
        }
        if self.framing.digests.data {
            digest.add(piece);
        }
        *got += count;
        self.take(count);
    }

    /// If the data segment is all there with its padding and digest: the PDU is done.
    fn complete<S>(
        &mut self,
        protocol: &mut TargetConnection,
        slots: &mut Slots<S>,
    ) -> Result<bool, ReceiveError> {
        let At::Data {
            lengths,
            got,
            mut digest,
            ..
        } = self.at
        else {
            return Ok(false);
        };
        let rest = lengths.padding + lengths.data_digest;
        if got < lengths.data || self.end - self.start < rest {
            return Ok(false);
        }
        let (padding, given) = self.room[self.start..self.start + rest].split_at(lengths.padding);
        digest.add(padding);
        let damaged = lengths.data_digest > 0 && !digest.is(given);
        self.take(rest);
        let At::Data { place, .. } = mem::replace(&mut self.at, At::Header) else {
            return Ok(false);
        };
        let task = match place {
            Place::Task { task, .. } => Some(task),
            _ => None,
        };
        let arrived = match place {
            _ if damaged => Arrived::Damaged,
            Place::Bytes(_) => Arrived::Bytes(&self.segment),
            Place::None | Place::Discard(_) | Place::Task { .. } => Arrived::Placed,
        };
        let outcome = protocol.finish(arrived);
        self.segment.clear();
        outcome?;
        if let Some(task) = task.filter(|task| !protocol.has(*task)) {
            // It was aborted while the data came: they are in a buffer that nobody will ask for.
            slots.release(task);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use iscsi::login::{Established, Parameters};
    use iscsi::pdu::{Attribute, Command, DataOut, FromTarget, Isid, Lun, ScsiCommand};
    use iscsi::session::TargetEvent;
    use iscsi::{Digests, Serial, Tag};

    use super::*;

    const LENGTH: usize = 8192;

    fn established() -> Established {
        Established {
            initiator: "iqn.a".to_owned(),
            target: Some("iqn.b".to_owned()),
            isid: Isid([0; 6]),
            tsih: 1,
            cid: 0,
            portal_group: Some(1),
            authenticated: None,
            parameters: Parameters::default(),
            next_command: Serial(1),
            last_command: Serial(9),
            next_status: Serial(1),
        }
    }

    #[test]
    fn data_of_a_task_that_was_aborted_while_they_came_take_no_memory() {
        let framing = Framing {
            digests: Digests::default(),
            max_data: LENGTH,
        };
        let mut receiver = Receiver::new(framing);
        let mut protocol = TargetConnection::new(established());
        let mut slots = Slots::<()>::default();
        let command = ScsiCommand {
            last: true,
            reads: false,
            writes: true,
            attribute: Attribute::SIMPLE,
            lun: Lun::default(),
            tag: Tag(7),
            expected: u32::try_from(LENGTH).unwrap(),
            command: Command {
                immediate: false,
                number: Serial(1),
                expected_status: Serial(1),
            },
            cdb: [0; 16],
        };
        let command = framing.prologue(&command.header(), &[], 0);
        receiver.fill(&mut command.as_slice(), &mut slots).unwrap();
        assert!(receiver.advance(&mut protocol, &mut slots).unwrap());
        let Some(TargetEvent::Command(scsi)) = protocol.poll_event() else {
            panic!("no command");
        };
        assert!(!protocol.want(scsi.task, LENGTH as u64));
        let r2t = protocol.poll_output().unwrap();
        let Ok(FromTarget::R2t(r2t)) = FromTarget::parse(&r2t.header) else {
            panic!("{r2t:?}");
        };
        let data = DataOut {
            last: true,
            lun: Lun::default(),
            tag: Tag(7),
            target_tag: r2t.target_tag,
            expected_status: Serial(1),
            number: 0,
            offset: 0,
        };
        let mut bytes = framing.prologue(&data.header(), &[], LENGTH);
        bytes.extend([1; LENGTH]);
        let (first, rest) = bytes.split_at(LENGTH / 2);
        for (part, whole) in [(first, false), (rest, true)] {
            receiver.fill(&mut &*part, &mut slots).unwrap();
            assert_eq!(receiver.advance(&mut protocol, &mut slots).unwrap(), whole);
            if !whole {
                assert!(slots.held() > 0);
                assert!(protocol.abort(scsi.task));
                slots.release(scsi.task);
            }
        }
        assert_eq!(slots.held(), 0);
    }
}
