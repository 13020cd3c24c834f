//! What the daemon answers: one byte, or a list of guests.

use std::fmt;

use thiserror::Error;

use crate::plug::{MAX_PLUG_LEN, until_nul};

/// The length of one guest's record in a list, in bytes: name 64, UUID 64, state 1, pad 1.
pub const RECORD_LEN: usize = 130;
/// A list longer than this is taken for a broken or hostile peer: bounds what a reader stores.
pub const MAX_HOSTS: usize = 65_536;

const AT_UUID: usize = 64;
const AT_STATE: usize = 128;

/// The outcome of a request, one byte. Values without a name survive and print as a number; they never
/// mean success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reply(pub u8);

impl Reply {
    /// Done; for status: the guest is on.
    pub const SUCCESS: Self = Self(0);
    /// Not done, or cannot tell.
    pub const FAILURE: Self = Self(1);
    /// The answer to status: the guest is off.
    pub const OFF: Self = Self(2);
    /// The requester may not fence this guest.
    pub const DENIED: Self = Self(3);
    /// A list of guests follows.
    pub const HOST_LIST: Self = Self(0xFD);
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SUCCESS => f.write_str("success"),
            Self::FAILURE => f.write_str("failure"),
            Self::OFF => f.write_str("off"),
            Self::DENIED => f.write_str("permission denied"),
            Self::HOST_LIST => f.write_str("host list"),
            Self(other) => write!(f, "unknown reply {other}"),
        }
    }
}

/// One guest in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The guest's name. On the wire at most 63 bytes; a longer one is cut there, at a character.
    pub name: String,
    /// The guest's UUID as text; at most 63 bytes.
    pub uuid: String,
    /// libvirt's numeric domain state; 1 is running.
    pub state: u8,
}

impl HostRecord {
    /// Whether the record says that the guest runs: only libvirt's state 1 does.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.state == 1
    }

    /// The record's bytes; every byte that carries nothing is zero.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut record = [0; RECORD_LEN];
        put_text(&mut record[..AT_UUID], &self.name);
        put_text(&mut record[AT_UUID..AT_STATE], &self.uuid);
        record[AT_STATE] = self.state;
        record
    }

    /// Reads a record; none is the one that ends a list. Bytes behind a text's NUL are ignored: C
    /// daemons leave rubbish there. A text that is not UTF-8 is shown with replacement characters.
    #[must_use]
    pub fn decode(record: &[u8; RECORD_LEN]) -> Option<Self> {
        let name = get_text(&record[..AT_UUID]);
        let uuid = get_text(&record[AT_UUID..AT_STATE]);
        if name.is_empty() && uuid.is_empty() {
            return None;
        }
        Some(Self {
            name,
            uuid,
            state: record[AT_STATE],
        })
    }
}

fn put_text(field: &mut [u8], text: &str) {
    let mut end = text.len().min(MAX_PLUG_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
}

fn get_text(field: &[u8]) -> String {
    let text = until_nul(&field[..field.len().min(MAX_PLUG_LEN)]);
    String::from_utf8_lossy(text).into_owned()
}

/// The bytes of a list: marker, records, a zero record, and `last` (0 from a libvirt back end; C agents
/// do not read it).
#[must_use]
pub fn encode_list(hosts: &[HostRecord], last: Reply) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + (hosts.len() + 1) * RECORD_LEN);
    out.push(Reply::HOST_LIST.0);
    out.extend(encode_records(hosts));
    out.push(last.0);
    out
}

/// The records of a list and the zero record that ends them.
pub(crate) fn encode_records(hosts: &[HostRecord]) -> Vec<u8> {
    let mut out: Vec<u8> = hosts.iter().flat_map(HostRecord::encode).collect();
    out.extend([0; RECORD_LEN]);
    out
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The outcome.
    Reply(Reply),
    /// The guests the requester may fence.
    Hosts(Vec<HostRecord>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The connection ended before the daemon answered.
    #[error("the daemon closed the connection without an answer")]
    Closed,
    /// The connection ended within a list.
    #[error("the list was cut off after {0} guests")]
    ListCut(usize),
    /// The list does not end.
    #[error("the list has more than {MAX_HOSTS} guests")]
    ListTooLong,
}

/// Reads the daemon's answer from a stream, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct ReplyReader {
    list: Option<Vec<HostRecord>>,
    partial: Vec<u8>,
}

impl ReplyReader {
    /// A reader that expects the first byte of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader behind a list marker that was read elsewhere.
    pub(crate) fn within_list() -> Self {
        Self {
            list: Some(Vec::new()),
            partial: Vec::new(),
        }
    }

    /// Feeds bytes; the answer once it is complete. Bytes behind it are ignored.
    ///
    /// # Errors
    /// [`ReplyError::ListTooLong`].
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<Option<Answer>, ReplyError> {
        if self.list.is_none() {
            let Some((&first, rest)) = bytes.split_first() else {
                return Ok(None);
            };
            if Reply(first) != Reply::HOST_LIST {
                return Ok(Some(Answer::Reply(Reply(first))));
            }
            self.list = Some(Vec::new());
            bytes = rest;
        }
        while !bytes.is_empty() {
            let taken = bytes.len().min(RECORD_LEN - self.partial.len());
            self.partial.extend(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Some(answer) = self.finish_record()? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn finish_record(&mut self) -> Result<Option<Answer>, ReplyError> {
        let Ok(record) = <&[u8; RECORD_LEN]>::try_from(self.partial.as_slice()) else {
            return Ok(None);
        };
        let host = HostRecord::decode(record);
        self.partial.clear();
        let list = self.list.get_or_insert_default();
        match host {
            None => Ok(Some(Answer::Hosts(std::mem::take(list)))),
            Some(_) if list.len() >= MAX_HOSTS => Err(ReplyError::ListTooLong),
            Some(host) => {
                list.push(host);
                Ok(None)
            }
        }
    }

    /// What the end of the connection means at this point.
    #[must_use]
    pub fn closed(&self) -> ReplyError {
        self.list
            .as_ref()
            .map_or(ReplyError::Closed, |list| ReplyError::ListCut(list.len()))
    }
}
