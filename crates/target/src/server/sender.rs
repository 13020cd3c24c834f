//! From PDUs to the bytes of a socket. One `writev` sends as many as fit; data go out from the buffers they were read
//! into.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use iscsi::Framing;
use iscsi::session::{Body, Output, TargetConnection, TaskId};

use crate::server::slots::Slots;

/// How many pieces are sent at a time.
const PIECES: usize = 128;
/// When so many pieces wait, no more are made.
const MOST: usize = 512;
/// When so many bytes of headers and the like wait, no more are made.
const MOST_BYTES: usize = 1 << 20;

/// Something to be sent.
#[derive(Debug)]
enum Piece {
    /// From the heads.
    Head { from: usize, length: usize },
    /// From the buffer of a task.
    Data {
        task: TaskId,
        from: usize,
        length: usize,
    },
    /// Nothing: the buffer of a task is free.
    Free(TaskId),
}

/// What goes to a socket.
#[derive(Debug)]
pub(crate) struct Sender {
    framing: Framing,
    pieces: VecDeque<Piece>,
    /// Headers, digests, short segments. Emptied when everything is sent.
    heads: Vec<u8>,
    /// So many bytes of the first piece are sent.
    sent: usize,
    /// So many bytes in all.
    total: u64,
}

impl Sender {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            pieces: VecDeque::new(),
            heads: Vec::new(),
            sent: 0,
            total: 0,
        }
    }

    /// How many bytes have been sent so far.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// What has been agreed on holds for the next PDU on.
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether there is room for more PDUs.
    fn takes_more(&self) -> bool {
        self.pieces.len() < MOST && self.heads.len() < MOST_BYTES
    }

    /// Takes what the protocol has to say, as far as there is room.
    pub(crate) fn gather<S>(&mut self, protocol: &mut TargetConnection, slots: &Slots<S>) {
        while self.takes_more() {
            let Some(output) = protocol.poll_output() else {
                break;
            };
            self.add(&output, slots);
        }
    }

    /// Takes a PDU.
    pub(crate) fn add<S>(&mut self, output: &Output, slots: &Slots<S>) {
        let Self {
            framing,
            pieces,
            heads,
            ..
        } = self;
        let mut from = heads.len();
        match &output.body {
            Body::None => framing.append_prologue(&output.header, 0, heads),
            Body::Bytes(bytes) => {
                framing.append_prologue(&output.header, bytes.len(), heads);
                heads.extend_from_slice(bytes);
                framing.append_epilogue(bytes, heads);
            }
            Body::Task {
                task,
                offset,
                length,
            } => {
                let first = usize::try_from(*offset).unwrap_or(usize::MAX);
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                let buffer = slots.buffer(*task).unwrap_or_default();
                let data = first
                    .checked_add(length)
                    .and_then(|end| buffer.get(first..end));
                framing.append_prologue(&output.header, length, heads);
                push_head(pieces, from, heads.len());
                if let Some(data) = data {
                    pieces.push_back(Piece::Data {
                        task: *task,
                        from: first,
                        length,
                    });
                    from = heads.len();
                    framing.append_epilogue(data, heads);
                } else {
                    // Not what the protocol announces: the stream stays in step with zeros, and shows nothing else.
                    debug_assert!(false, "no data for a PDU that announces them");
                    from = heads.len();
                    let zeros = vec![0; length];
                    heads.extend_from_slice(&zeros);
                    framing.append_epilogue(&zeros, heads);
                }
            }
        }
        push_head(pieces, from, heads.len());
        if let Some(task) = output.last_of {
            pieces.push_back(Piece::Free(task));
        }
    }

    /// Sends to a socket that does not block. `true`: everything is sent.
    ///
    /// # Errors
    /// If the socket has failed.
    pub(crate) fn flush<S>(
        &mut self,
        socket: &mut impl Write,
        slots: &mut Slots<S>,
    ) -> io::Result<bool> {
        while !self.pieces.is_empty() {
            let count = match self.write(socket, slots) {
                Ok(Some(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count.unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.done(count, slots);
            self.total += u64::try_from(count).unwrap_or(0);
        }
        self.heads.clear();
        self.heads.shrink_to(64 << 10);
        Ok(true)
    }

    /// Sends pieces. How many bytes; `None` if there are only buffers to be freed.
    fn write<S>(&self, socket: &mut impl Write, slots: &Slots<S>) -> io::Result<Option<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        let mut skip = self.sent;
        for piece in &self.pieces {
            let bytes = match piece {
                Piece::Head { from, length } => &self.heads[*from..*from + *length],
                Piece::Data { task, from, length } => {
                    let buffer = slots.buffer(*task).unwrap_or_default();
                    &buffer[*from..*from + *length]
                }
                Piece::Free(_) => continue,
            };
            slices[count] = IoSlice::new(&bytes[skip..]);
            skip = 0;
            count += 1;
            if count == PIECES {
                break;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        socket.write_vectored(&slices[..count]).map(Some)
    }

    /// So many bytes have been sent.
    fn done<S>(&mut self, mut count: usize, slots: &mut Slots<S>) {
        while let Some(piece) = self.pieces.front() {
            match piece {
                Piece::Free(task) => {
                    slots.release(*task);
                }
                Piece::Head { length, .. } | Piece::Data { length, .. } => {
                    let left = length - self.sent;
                    if count < left {
                        self.sent += count;
                        return;
                    }
                    count -= left;
                    self.sent = 0;
                }
            }
            self.pieces.pop_front();
        }
    }
}

fn push_head(pieces: &mut VecDeque<Piece>, from: usize, to: usize) {
    if to == from {
        return;
    }
    // Neighbours are one piece.
    match pieces.back_mut() {
        Some(Piece::Head {
            from: first,
            length,
        }) if *first + *length == from => *length += to - from,
        _ => pieces.push_back(Piece::Head {
            from,
            length: to - from,
        }),
    }
}
