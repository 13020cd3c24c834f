//! The basic header segment, and the fields that several PDUs share.

use std::fmt;

use crate::Serial;

/// Length of the basic header segment.
pub const HEADER_LEN: usize = 48;

/// A basic header segment as it is on the wire.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Header([u8; HEADER_LEN]);

impl Default for Header {
    fn default() -> Self {
        Self([0; HEADER_LEN])
    }
}

impl From<[u8; HEADER_LEN]> for Header {
    fn from(bytes: [u8; HEADER_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Header({:#04x}, {} bytes of data)",
            self.opcode(),
            self.data_length()
        )
    }
}

impl Header {
    /// An empty header of `opcode`.
    pub(crate) fn new(opcode: u8) -> Self {
        let mut header = Self::default();
        header.0[0] = opcode;
        header
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; HEADER_LEN] {
        &self.0
    }

    /// The operation code, without the immediate bit.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.0[0] & 0x3F
    }

    /// I: not counted by CmdSN.
    #[must_use]
    pub const fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Length of the additional header segments in bytes: at most 1020.
    #[must_use]
    pub fn additional_length(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// DataSegmentLength in bytes: at most 2²⁴ − 1.
    #[must_use]
    pub fn data_length(&self) -> usize {
        let [a, b, c] = self.get(5);
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    /// Sets TotalAHSLength, in words of four bytes, and DataSegmentLength. Longer ones cannot be expressed; the fields
    /// then hold the most that can.
    pub fn set_lengths(&mut self, additional_words: usize, data: usize) {
        self.0[4] = u8::try_from(additional_words).unwrap_or(u8::MAX);
        let data = u32::try_from(data).unwrap_or(u32::MAX).min((1 << 24) - 1);
        self.0[5..8].copy_from_slice(&data.to_be_bytes()[1..]);
    }

    /// Initiator task tag.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag(self.u32(16))
    }

    pub(crate) fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.get(at))
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.get(at))
    }

    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    pub(crate) fn flag(&self, at: usize, mask: u8) -> bool {
        self.0[at] & mask != 0
    }

    pub(crate) fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> &mut Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }

    pub(crate) fn put_u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.put(at, value.to_be_bytes())
    }

    pub(crate) fn put_flag(&mut self, at: usize, mask: u8, set: bool) -> &mut Self {
        if set {
            self.0[at] |= mask;
        }
        self
    }

    pub(crate) fn put_immediate(&mut self, immediate: bool) -> &mut Self {
        self.put_flag(0, 0x40, immediate)
    }
}

/// A task tag: what one side calls a task or transfer, and the other repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// The reserved value: no task.
    pub const NONE: Self = Self(0xFFFF_FFFF);
}

/// A logical unit number, eight bytes (SAM-5, "Logical unit numbers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// Single-level: peripheral device addressing below 256, flat space addressing from there to 16383.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        let [high, low] = number.to_be_bytes();
        let method = match number {
            0..=0xFF => 0x00,
            0x100..=0x3FFF => 0x40,
            _ => return None,
        };
        Some(Self([method | high, low, 0, 0, 0, 0, 0, 0]))
    }

    /// The number of a single-level logical unit number; `None` for any other.
    #[must_use]
    pub const fn number(self) -> Option<u16> {
        match self.0 {
            [0x00, low, 0, 0, 0, 0, 0, 0] => Some(low as u16),
            [first @ 0x40..=0x7F, low, 0, 0, 0, 0, 0, 0] => {
                Some(u16::from_be_bytes([first & 0x3F, low]))
            }
            _ => None,
        }
    }
}

/// Initiator session id: with the initiator's name it names the initiator port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Isid(pub [u8; 6]);

/// What an initiator says of its place in the session: at the same bytes in each of its PDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Command {
    /// I: delivered at once, and not counted.
    pub immediate: bool,
    /// CmdSN: the command's number, or with [`Self::immediate`] that of the next one.
    pub number: Serial,
    /// ExpStatSN: the next status it expects.
    pub expected_status: Serial,
}

impl Command {
    pub(crate) fn from(header: &Header) -> Self {
        Self {
            immediate: header.immediate(),
            number: Serial(header.u32(24)),
            expected_status: Serial(header.u32(28)),
        }
    }

    pub(crate) fn write(self, header: &mut Header) {
        header
            .put_immediate(self.immediate)
            .put_u32(24, self.number.0)
            .put_u32(28, self.expected_status.0);
    }
}

/// What a target says of its place in the session: at the same bytes in each of its PDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Answer {
    /// StatSN. It counts only in PDUs that bear a status.
    pub status_number: Serial,
    /// ExpCmdSN: the next command it expects.
    pub expected_command: Serial,
    /// MaxCmdSN: the last command it has room for.
    pub last_command: Serial,
}

impl Answer {
    pub(crate) fn from(header: &Header) -> Self {
        Self {
            status_number: Serial(header.u32(24)),
            expected_command: Serial(header.u32(28)),
            last_command: Serial(header.u32(32)),
        }
    }

    pub(crate) fn write(self, header: &mut Header) {
        header
            .put_u32(24, self.status_number.0)
            .put_u32(28, self.expected_command.0)
            .put_u32(32, self.last_command.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_unit_numbers_round_trip() {
        for number in [0, 1, 255, 256, 16_383] {
            assert_eq!(Lun::from_number(number).and_then(Lun::number), Some(number));
        }
        assert_eq!(Lun::from_number(16_384), None);
        assert_eq!(Lun([0x00, 1, 0, 1, 0, 0, 0, 0]).number(), None);
        assert_eq!(Lun([0xC1, 0, 0, 0, 0, 0, 0, 0]).number(), None);
    }

    #[test]
    fn lengths_are_where_the_rfc_has_them() {
        let mut header = Header::new(0x01);
        header.set_lengths(2, 0x01_02_03);
        assert_eq!(header.bytes()[4..8], [2, 1, 2, 3]);
        assert_eq!(
            (header.additional_length(), header.data_length()),
            (8, 0x01_02_03)
        );
    }
}
