//! Where a PDU ends, and whether it arrived whole (RFC 7143, "iSCSI PDU Formats" and "Header Digest and Data Digest").

use crate::pdu::{HEADER_LEN, Header};

/// Length of a digest.
const DIGEST_LEN: usize = 4;

/// `length` rounded up to the four bytes to which data segments are padded.
#[must_use]
pub const fn pad(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Which digests have been agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// HeaderDigest=CRC32C
    pub header: bool,
    /// DataDigest=CRC32C
    pub data: bool,
}

/// How PDUs of one direction of a connection are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Off until the login is over.
    pub digests: Digests,
    /// The longest data segment that is accepted in bytes: what this side declared as MaxRecvDataSegmentLength.
    pub max_data: usize,
}

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Additional header segments.
    pub additional: usize,
    /// The header's digest: 0 or 4.
    pub header_digest: usize,
    /// The data segment.
    pub data: usize,
    /// Its padding: 0 to 3.
    pub padding: usize,
    /// The data's digest: 0 or 4.
    pub data_digest: usize,
}

impl Lengths {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.additional + self.header_digest + self.data + self.padding + self.data_digest
    }
}

/// Why a PDU is not accepted. At error recovery level 0 each ends the connection, but for a wrong data digest, after
/// which the stream is still in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The peer sends more than it was told it may.
    #[error("a data segment of {length} bytes, where at most {most} were declared")]
    TooLong {
        /// DataSegmentLength.
        length: usize,
        /// MaxRecvDataSegmentLength.
        most: usize,
    },
    /// The header or its digest was damaged on the way: lengths cannot be trusted.
    #[error("the header's digest is wrong")]
    HeaderDigest,
    /// The data or their digest were damaged on the way.
    #[error("the data's digest is wrong")]
    DataDigest,
}

impl Framing {
    /// What follows `header`.
    ///
    /// # Errors
    /// If the data segment is longer than allowed.
    pub fn lengths(&self, header: &Header) -> Result<Lengths, FramingError> {
        let data = header.data_length();
        if data > self.max_data {
            return Err(FramingError::TooLong {
                length: data,
                most: self.max_data,
            });
        }
        let digest = |agreed: bool| if agreed { DIGEST_LEN } else { 0 };
        Ok(Lengths {
            additional: header.additional_length(),
            header_digest: digest(self.digests.header),
            data,
            padding: pad(data) - data,
            data_digest: digest(self.digests.data && data > 0),
        })
    }

    /// Checks the header's digest over header and additional header segments.
    ///
    /// # Errors
    /// If it is wrong. Nothing is checked if none was agreed on.
    pub fn check_header(
        &self,
        header: &Header,
        additional: &[u8],
        digest: &[u8],
    ) -> Result<(), FramingError> {
        let crc = || crc32c::crc32c_append(crc32c::crc32c(header.bytes()), additional);
        if self.digests.header && digest != crc().to_le_bytes() {
            return Err(FramingError::HeaderDigest);
        }
        Ok(())
    }

    /// Checks the data's digest. `padded` is the data segment with its padding.
    ///
    /// # Errors
    /// If it is wrong. Nothing is checked if none was agreed on, or there are no data.
    pub fn check_data(&self, padded: &[u8], digest: &[u8]) -> Result<(), FramingError> {
        let due = self.digests.data && !padded.is_empty();
        if due && digest != crc32c::crc32c(padded).to_le_bytes() {
            return Err(FramingError::DataDigest);
        }
        Ok(())
    }

    /// What goes before the data segment: `header` with its length set, additional header segments (padded to four
    /// bytes), digest.
    #[must_use]
    pub fn prologue(&self, header: &Header, additional: &[u8], data_length: usize) -> Vec<u8> {
        let mut header = header.clone();
        header.set_lengths(additional.len().div_ceil(4), data_length);
        let mut bytes = Vec::with_capacity(HEADER_LEN + additional.len() + 2 * DIGEST_LEN);
        bytes.extend_from_slice(header.bytes());
        bytes.extend_from_slice(additional);
        bytes.resize(pad(bytes.len()), 0);
        if self.digests.header {
            bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        }
        bytes
    }

    /// What goes after the data segment: padding and digest. At most seven bytes, and none after no data.
    #[must_use]
    pub fn epilogue(&self, data: &[u8]) -> Vec<u8> {
        let padding = pad(data.len()) - data.len();
        let mut bytes = vec![0; padding];
        if self.digests.data && !data.is_empty() {
            let crc = crc32c::crc32c_append(crc32c::crc32c(data), &bytes);
            bytes.extend(crc.to_le_bytes());
        }
        bytes
    }
}

impl Framing {
    /// As [`Self::prologue`] without additional segments, added to the end of `bytes`: for a sender that gathers many
    /// PDUs in one buffer.
    pub fn append_prologue(&self, header: &Header, data_length: usize, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(header.bytes());
        let mut lengths = Header::default();
        lengths.set_lengths(0, data_length);
        bytes[start + 4..start + 8].copy_from_slice(&lengths.bytes()[4..8]);
        if self.digests.header {
            let digest = crc32c::crc32c(&bytes[start..]);
            bytes.extend(digest.to_le_bytes());
        }
    }

    /// As [`Self::epilogue`], added to the end of `bytes`.
    pub fn append_epilogue(&self, data: &[u8], bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.resize(start + pad(data.len()) - data.len(), 0);
        if self.digests.data && !data.is_empty() {
            let digest = crc32c::crc32c_append(crc32c::crc32c(data), &bytes[start..]);
            bytes.extend(digest.to_le_bytes());
        }
    }
}

/// The digest of a data segment that arrives in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunningDigest(u32);

impl RunningDigest {
    /// Adds a piece of the data segment, or its padding.
    pub fn add(&mut self, piece: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, piece);
    }

    /// Whether it is the one that came with the data.
    #[must_use]
    pub fn is(&self, digest: &[u8]) -> bool {
        digest == self.0.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framing(header: bool, data: bool) -> Framing {
        Framing {
            digests: Digests { header, data },
            max_data: 1 << 16,
        }
    }

    /// RFC 7143, appendix "CRC Examples".
    #[test]
    fn digests_are_those_of_the_rfc() {
        let digest = |data: &[u8]| framing(true, true).epilogue(data)[..].to_vec();
        assert_eq!(digest(&[0; 32]), [0xAA, 0x36, 0x91, 0x8A]);
        assert_eq!(digest(&[0xFF; 32]), [0x43, 0xAB, 0xA8, 0x62]);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(digest(&rising), [0x4E, 0x79, 0xDD, 0x46]);
    }

    #[test]
    fn gathered_pdus_are_the_same_as_single_ones() {
        for (header, data) in [(false, false), (true, false), (false, true), (true, true)] {
            let framing = framing(header, data);
            let mut gathered = vec![1, 2, 3];
            for bytes in [&b""[..], b"a", b"four", b"seven.."] {
                gathered.truncate(3);
                framing.append_prologue(&Header::default(), bytes.len(), &mut gathered);
                framing.append_epilogue(bytes, &mut gathered);
                let mut single = framing.prologue(&Header::default(), &[], bytes.len());
                single.extend(framing.epilogue(bytes));
                assert_eq!(gathered[3..], single);
                let mut running = RunningDigest::default();
                bytes.chunks(2).for_each(|piece| running.add(piece));
                assert!(running.is(&crc32c::crc32c(bytes).to_le_bytes()));
            }
        }
    }

    #[test]
    fn more_data_than_declared_are_refused() {
        let mut header = Header::default();
        header.set_lengths(0, 70_000);
        let refused = framing(false, false).lengths(&header);
        let expected = FramingError::TooLong {
            length: 70_000,
            most: 65_536,
        };
        assert_eq!(refused, Err(expected));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_received(
            data in proptest::collection::vec(any::<u8>(), 0..300),
            additional in proptest::collection::vec(any::<u8>(), 0..40),
            digests: (bool, bool), damage: Option<proptest::sample::Index>,
        ) {
            let framing = framing(digests.0, digests.1);
            let mut bytes = framing.prologue(&Header::default(), &additional, data.len());
            bytes.extend(&data);
            bytes.extend(framing.epilogue(&data));
            let damaged = damage.map(|index| index.index(bytes.len()));
            if let Some(at) = damaged {
                bytes[at] ^= 0x10;
            }
            let (start, rest) = bytes.split_at(HEADER_LEN);
            let header = Header::from(<[u8; HEADER_LEN]>::try_from(start).unwrap());
            let Ok(lengths) = framing.lengths(&header) else { return Ok(()) };
            if lengths.total() != rest.len() {
                // A damaged length: only a header digest could have told.
                prop_assert!(damaged.is_some());
                return Ok(());
            }
            let (ahs, rest) = rest.split_at(lengths.additional);
            let (header_digest, rest) = rest.split_at(lengths.header_digest);
            let (padded, data_digest) = rest.split_at(lengths.data + lengths.padding);
            let whole = framing.check_header(&header, ahs, header_digest)
                .and_then(|()| framing.check_data(padded, data_digest));
            match damaged {
                None => {
                    prop_assert_eq!(whole, Ok(()));
                    prop_assert_eq!(&padded[..lengths.data], &data[..]);
                }
                Some(at) => {
                    let in_head = at < HEADER_LEN + lengths.additional + lengths.header_digest;
                    let covered = if in_head { digests.0 } else { digests.1 };
                    prop_assert_eq!(whole.is_err(), covered, "at {}", at);
                }
            }
        }
    }
}
