//! The three messages (MS-NLMP 2.2.1).
//!
//! All integers are little endian. A variable field is its length (16 bits), its room (16 bits, equal to the length) and its
//! place counted from the start of the message (32 bits).

use crate::Error;
use crate::flags::Flags;
use crate::pairs::{Pairs, text};

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// Windows 10, NTLM revision 15: what other clients say as well. Nothing depends on it.
const VERSION: [u8; 8] = [10, 0, 0, 0, 0, 0, 0, 15];
/// No message of this protocol needs more: three texts, two responses.
const LIMIT: usize = 64 * 1024;

fn malformed(message: &'static str, detail: &'static str) -> Error {
    Error::Malformed { message, detail }
}

/// A message's fixed part, read by places.
struct Reader<'a> {
    bytes: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], kind: u32, message: &'static str) -> Result<Self, Error> {
        if bytes.len() > LIMIT {
            return Err(malformed(message, "it is longer than any such message"));
        }
        let reader = Self { bytes, message };
        if reader.array::<8>(0)? != *SIGNATURE {
            return Err(malformed(message, "it does not begin like one of NTLM"));
        }
        if reader.u32(8)? != kind {
            return Err(malformed(message, "it is another message"));
        }
        Ok(reader)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Error> {
        let part = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        part.copied()
            .ok_or_else(|| malformed(self.message, "it is too short"))
    }

    fn u32(&self, at: usize) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    fn field(&self, at: usize) -> Result<&'a [u8], Error> {
        let length = usize::from(u16::from_le_bytes(self.array(at)?));
        let place = usize::try_from(self.u32(at + 4)?).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(&[]);
        }
        let end = place.checked_add(length);
        let part = end.and_then(|end| self.bytes.get(place..end));
        part.ok_or_else(|| malformed(self.message, "a field lies outside of it"))
    }

    fn text(&self, at: usize) -> Result<String, Error> {
        text(self.field(at)?).ok_or_else(|| malformed(self.message, "a text is not UTF-16"))
    }
}

/// A message under construction: fixed part and payload.
struct Writer {
    fixed: Vec<u8>,
    payload: Vec<u8>,
    /// Length of the fixed part when complete: where the payload begins.
    start: usize,
}

impl Writer {
    fn new(kind: u32, start: usize) -> Self {
        let mut fixed = SIGNATURE.to_vec();
        fixed.extend(kind.to_le_bytes());
        Self {
            fixed,
            payload: Vec::new(),
            start,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.fixed.extend(bytes);
    }

    fn field(&mut self, bytes: &[u8], what: &'static str) -> Result<(), Error> {
        let length = u16::try_from(bytes.len()).map_err(|_| Error::TooLong { what })?;
        let place =
            u32::try_from(self.start + self.payload.len()).map_err(|_| Error::TooLong { what })?;
        self.put(&length.to_le_bytes());
        self.put(&length.to_le_bytes());
        self.put(&place.to_le_bytes());
        self.payload.extend(bytes);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        debug_assert_eq!(self.fixed.len(), self.start);
        self.fixed.append(&mut self.payload);
        self.fixed
    }
}

/// The first message: what the client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiate {
    /// What it offers.
    pub flags: Flags,
}

impl Negotiate {
    const NAME: &'static str = "NEGOTIATE";

    /// Reads one. Its texts are of no use to anybody, and not read.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let reader = Reader::new(bytes, 1, Self::NAME)?;
        Ok(Self {
            flags: Flags(reader.u32(12)?),
        })
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(1, 40);
        writer.put(&self.flags.0.to_le_bytes());
        // No domain, no workstation.
        writer.put(&[0; 16]);
        writer.put(&VERSION);
        writer.finish()
    }
}

/// The second message: what the client has to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What was agreed.
    pub flags: Flags,
    /// The random number to be answered.
    pub challenge: [u8; 8],
    /// The server's or its domain's name.
    pub target: String,
    /// What the server tells of itself.
    pub info: Pairs,
}

impl Challenge {
    const NAME: &'static str = "CHALLENGE";

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let reader = Reader::new(bytes, 2, Self::NAME)?;
        let flags = Flags(reader.u32(20)?);
        let info = if flags.has(Flags::TARGET_INFO) {
            Pairs::decode(reader.field(40)?)?
        } else {
            Pairs::default()
        };
        // In the 8-bit character set, the name cannot be read, and is not needed.
        let target = if flags.has(Flags::UNICODE) {
            reader.text(12)?
        } else {
            String::new()
        };
        Ok(Self {
            flags,
            challenge: reader.array(24)?,
            target,
            info,
        })
    }

    /// As bytes.
    ///
    /// # Errors
    /// When a text is too long.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(2, 56);
        writer.field(&crate::keys::utf16(&self.target), "target name")?;
        writer.put(&self.flags.0.to_le_bytes());
        writer.put(&self.challenge);
        writer.put(&[0; 8]);
        writer.field(&self.info.encode()?, "target information")?;
        writer.put(&VERSION);
        Ok(writer.finish())
    }
}

/// The third message: who the client is, and the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// What was agreed.
    pub flags: Flags,
    /// The answer in LAN Manager's manner; zeros where the integrity code takes its place.
    pub lm: Vec<u8>,
    /// The proof, and what it covers.
    pub nt: Vec<u8>,
    /// The account's domain or machine.
    pub domain: String,
    /// The account.
    pub user: String,
    /// The client's name.
    pub workstation: String,
    /// The session key, encrypted.
    pub session_key: Vec<u8>,
    /// The integrity code over all three messages.
    pub mic: [u8; 16],
}

impl Authenticate {
    const NAME: &'static str = "AUTHENTICATE";
    /// Where the integrity code stands.
    pub(crate) const MIC: std::ops::Range<usize> = 72..88;

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let reader = Reader::new(bytes, 3, Self::NAME)?;
        let flags = Flags(reader.u32(60)?);
        flags.check()?;
        Ok(Self {
            flags,
            lm: reader.field(12)?.to_vec(),
            nt: reader.field(20)?.to_vec(),
            domain: reader.text(28)?,
            user: reader.text(36)?,
            workstation: reader.text(44)?,
            session_key: reader.field(52)?.to_vec(),
            // Whether it is one, or the beginning of the payload, the proof's flags tell.
            mic: reader.array(Self::MIC.start).unwrap_or_default(),
        })
    }

    /// As bytes.
    ///
    /// # Errors
    /// When a text is too long.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(3, Self::MIC.end);
        writer.field(&self.lm, "response")?;
        writer.field(&self.nt, "response")?;
        writer.field(&crate::keys::utf16(&self.domain), "domain")?;
        writer.field(&crate::keys::utf16(&self.user), "user name")?;
        writer.field(&crate::keys::utf16(&self.workstation), "workstation name")?;
        writer.field(&self.session_key, "session key")?;
        writer.put(&self.flags.0.to_le_bytes());
        writer.put(&VERSION);
        writer.put(&self.mic);
        Ok(writer.finish())
    }
}
