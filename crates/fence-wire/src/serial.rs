//! Framing over serial lines and VMChannel, where the channel itself says who asks: no hash, no key,
//! no challenge.
//!
//! | request | 74 bytes | | response | 5 bytes |
//! |---|---|---|---|---|
//! | 0 | magic `61 62 62 61` | | 0 | magic `61 62 62 61` |
//! | 4 | operation | | 4 | reply |
//! | 5 | flags, 0 | | | |
//! | 6 | plug, 64 bytes NUL-padded | | | |
//! | 70 | seqno, little-endian | | | |
//!
//! A list is a response with reply `0xFD`, the records, the zero record, and a second full response.
//! A line may carry noise before a frame, so both readers look for the magic and start over wherever it
//! may begin again.

use crate::operation::Operation;
use crate::plug::{InvalidPlug, Plug};
use crate::reply::{Answer, HostRecord, Reply, ReplyError, ReplyReader, encode_records};

/// The bytes that begin every frame.
pub const MAGIC: [u8; 4] = *b"abba";
/// The length of a request frame, in bytes.
pub const SERIAL_REQUEST_LEN: usize = 74;
/// The length of a response frame, in bytes.
pub const SERIAL_REPLY_LEN: usize = 5;

const AT_OPERATION: usize = 4;
const AT_PLUG: usize = 6;
const AT_SEQNO: usize = 70;

/// A request over a serial line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialRequest {
    /// What to do.
    pub operation: Operation,
    /// What to do it to.
    pub plug: Option<Plug>,
    /// What tells a repeated frame from a new request.
    pub seqno: u32,
}

impl SerialRequest {
    /// The frame to write.
    #[must_use]
    pub fn encode(&self) -> [u8; SERIAL_REQUEST_LEN] {
        let mut frame = [0; SERIAL_REQUEST_LEN];
        frame[..AT_OPERATION].copy_from_slice(&MAGIC);
        frame[AT_OPERATION] = self.operation.0;
        Plug::to_field(self.plug.as_ref(), &mut frame[AT_PLUG..AT_SEQNO]);
        frame[AT_SEQNO..].copy_from_slice(&self.seqno.to_le_bytes());
        frame
    }

    fn decode(frame: &[u8; SERIAL_REQUEST_LEN]) -> Result<Self, InvalidPlug> {
        let mut seqno = [0; 4];
        seqno.copy_from_slice(&frame[AT_SEQNO..]);
        Ok(Self {
            operation: Operation(frame[AT_OPERATION]),
            plug: Plug::from_field(&frame[AT_PLUG..AT_SEQNO])?,
            seqno: u32::from_le_bytes(seqno),
        })
    }
}

/// The response frame for `reply`.
#[must_use]
pub fn serial_reply(reply: Reply) -> [u8; SERIAL_REPLY_LEN] {
    let mut frame = [0; SERIAL_REPLY_LEN];
    frame[..MAGIC.len()].copy_from_slice(&MAGIC);
    frame[MAGIC.len()] = reply.0;
    frame
}

/// The bytes of a list over a serial line.
#[must_use]
pub fn serial_list(hosts: &[HostRecord], last: Reply) -> Vec<u8> {
    let mut out = serial_reply(Reply::HOST_LIST).to_vec();
    out.extend(encode_records(hosts));
    out.extend(serial_reply(last));
    out
}

/// Keeps the shortest run of bytes that may still become a frame.
#[derive(Debug, Default)]
struct Scanner(Vec<u8>);

impl Scanner {
    /// Adds a byte; drops from the front whatever can no longer be the beginning of a frame.
    fn push(&mut self, byte: u8) {
        self.0.push(byte);
        while !self.could_be_frame() {
            self.0.remove(0);
        }
    }

    fn could_be_frame(&self) -> bool {
        let head = self.0.len().min(MAGIC.len());
        self.0[..head] == MAGIC[..head]
    }
}

/// Reads request frames from a channel, in whatever pieces they come.
#[derive(Debug, Default)]
pub struct SerialRequestReader(Scanner);

impl SerialRequestReader {
    /// A reader at the beginning of a channel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets a frame that has begun and did not go on. The driver calls it when the channel has been
    /// silent for a while, so that half a frame does not swallow the beginning of the next.
    pub fn forget_partial(&mut self) {
        self.0.0.clear();
    }

    /// Feeds bytes; returns the frames completed by them. A frame whose plug field is no name is an
    /// error in its place: the guest must be told, not ignored.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Result<SerialRequest, InvalidPlug>> {
        let mut frames = Vec::new();
        for &byte in bytes {
            self.0.push(byte);
            if let Ok(frame) = <&[u8; SERIAL_REQUEST_LEN]>::try_from(self.0.0.as_slice()) {
                frames.push(SerialRequest::decode(frame));
                self.0.0.clear();
            }
        }
        frames
    }
}

/// Reads one answer from a channel, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct SerialReplyReader {
    scanner: Scanner,
    list: Option<ReplyReader>,
    hosts: Option<Vec<HostRecord>>,
}

impl SerialReplyReader {
    /// A reader that expects a response frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds bytes; the answer once it is complete. A list is complete only with the response frame
    /// behind it, so that nothing is left in the channel for the next request to stumble over.
    ///
    /// # Errors
    /// [`ReplyError::ListTooLong`].
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Answer>, ReplyError> {
        for &byte in bytes {
            if let Some(list) = &mut self.list {
                if let Some(Answer::Hosts(hosts)) = list.receive(&[byte])? {
                    self.list = None;
                    self.hosts = Some(hosts);
                }
                continue;
            }
            self.scanner.push(byte);
            if self.scanner.0.len() < SERIAL_REPLY_LEN {
                continue;
            }
            self.scanner.0.clear();
            if let Some(hosts) = self.hosts.take() {
                return Ok(Some(Answer::Hosts(hosts)));
            }
            if Reply(byte) != Reply::HOST_LIST {
                return Ok(Some(Answer::Reply(Reply(byte))));
            }
            self.list = Some(ReplyReader::within_list());
        }
        Ok(None)
    }

    /// What the end of the channel means at this point.
    #[must_use]
    pub fn closed(&self) -> ReplyError {
        match (&self.list, &self.hosts) {
            (Some(list), _) => list.closed(),
            (None, Some(hosts)) => ReplyError::ListCut(hosts.len()),
            (None, None) => ReplyError::Closed,
        }
    }
}
