//! Vital product data pages (SPC-4, "Vital product data parameters"; SBC-3, "Vital product data (VPD) parameters"), in
//! both directions.

use crate::bytes::{Truncated, bit, field, length_u16, span};

/// Supported VPD pages.
pub const SUPPORTED_PAGES: u8 = 0x00;
/// Unit serial number.
pub const SERIAL_NUMBER: u8 = 0x80;
/// Device identification.
pub const DEVICE_IDENTIFICATION: u8 = 0x83;
/// Block limits.
pub const BLOCK_LIMITS: u8 = 0xB0;
/// Block device characteristics.
pub const CHARACTERISTICS: u8 = 0xB1;
/// Logical block provisioning.
pub const PROVISIONING: u8 = 0xB2;

/// Why bytes are not the page that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VpdError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Another page: some devices answer an unknown page with another.
    #[error("page {got:02x}h came for page {asked:02x}h")]
    OtherPage {
        /// The page that was asked for.
        asked: u8,
        /// The page that came.
        got: u8,
    },
}

/// A page of a disk: the common header and `body`. Not yet cut to the allocation length.
#[must_use]
pub fn encode(page: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = length_u16(body.len());
    let mut bytes = vec![0, page, high, low];
    bytes.extend(body);
    bytes
}

/// The body of `page`.
///
/// # Errors
/// If the bytes are another page, or end before the length that the header tells.
pub fn parse(page: u8, bytes: &[u8]) -> Result<&[u8], VpdError> {
    let [_, got, high, low] = field(bytes, 0)?;
    if got != page {
        return Err(VpdError::OtherPage { asked: page, got });
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    Ok(span(bytes, 4, length)?)
}

/// What a designator designates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Association {
    /// The logical unit.
    LogicalUnit,
    /// The target port through which the page was read.
    TargetPort,
    /// The target device.
    TargetDevice,
    /// A reserved value.
    Reserved,
}

impl Association {
    const fn code(self) -> u8 {
        match self {
            Self::LogicalUnit => 0,
            Self::TargetPort => 1,
            Self::TargetDevice => 2,
            Self::Reserved => 3,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code & 0x03 {
            0 => Self::LogicalUnit,
            1 => Self::TargetPort,
            2 => Self::TargetDevice,
            _ => Self::Reserved,
        }
    }
}

/// CODE SET: how the bytes are to be read. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeSet(pub u8);

impl CodeSet {
    /// Binary.
    pub const BINARY: Self = Self(1);
    /// Printable ASCII.
    pub const ASCII: Self = Self(2);
    /// UTF-8.
    pub const UTF8: Self = Self(3);
}

/// DESIGNATOR TYPE. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DesignatorType(pub u8);

impl DesignatorType {
    /// T10 vendor and what the vendor says.
    pub const T10_VENDOR: Self = Self(1);
    /// A network address authority's number.
    pub const NAA: Self = Self(3);
    /// Relative target port identifier.
    pub const RELATIVE_PORT: Self = Self(4);
    /// Target port group.
    pub const PORT_GROUP: Self = Self(5);
    /// SCSI name string.
    pub const NAME: Self = Self(8);
}

/// PROTOCOL IDENTIFIER of iSCSI.
const ISCSI: u8 = 0x5;

/// One designator of the device identification page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Designator {
    /// PROTOCOL IDENTIFIER, where PIV says that it counts.
    pub protocol: Option<u8>,
    /// What is designated.
    pub association: Association,
    /// How the bytes are to be read.
    pub code_set: CodeSet,
    /// What they are.
    pub kind: DesignatorType,
    /// The designator, at most 255 bytes.
    pub bytes: Vec<u8>,
}

impl Designator {
    /// Of the logical unit.
    #[must_use]
    pub const fn of_unit(code_set: CodeSet, kind: DesignatorType, bytes: Vec<u8>) -> Self {
        Self {
            protocol: None,
            association: Association::LogicalUnit,
            code_set,
            kind,
            bytes,
        }
    }

    /// A number of two bytes of the iSCSI target port.
    #[must_use]
    pub fn of_port(kind: DesignatorType, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            protocol: Some(ISCSI),
            association: Association::TargetPort,
            code_set: CodeSet::BINARY,
            kind,
            bytes: vec![0, 0, high, low],
        }
    }

    /// An iSCSI name (SPC-4, "SCSI name string designator format"): ended by at least one NUL, filled to a multiple of
    /// four bytes.
    #[must_use]
    pub fn name(association: Association, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.truncate(251);
        bytes.resize((bytes.len() + 1).next_multiple_of(4), 0);
        Self {
            protocol: Some(ISCSI),
            association,
            code_set: CodeSet::UTF8,
            kind: DesignatorType::NAME,
            bytes,
        }
    }

    fn encode_into(&self, body: &mut Vec<u8>) {
        let length = u8::try_from(self.bytes.len()).unwrap_or(u8::MAX);
        body.push(self.protocol.unwrap_or_default() << 4 | self.code_set.0 & 0x0F);
        body.push(
            bit(self.protocol.is_some(), 0x80) | self.association.code() << 4 | self.kind.0 & 0x0F,
        );
        body.extend([0, length]);
        body.extend(&self.bytes[..usize::from(length)]);
    }
}

/// The body of the device identification page.
#[must_use]
pub fn encode_designators(designators: &[Designator]) -> Vec<u8> {
    let mut body = Vec::new();
    for designator in designators {
        designator.encode_into(&mut body);
    }
    body
}

/// Reads the body of the device identification page.
///
/// # Errors
/// If it ends within a designator.
pub fn parse_designators(mut body: &[u8]) -> Result<Vec<Designator>, Truncated> {
    let mut designators = Vec::new();
    while !body.is_empty() {
        let [first, second, _, length] = field(body, 0)?;
        let length = usize::from(length);
        designators.push(Designator {
            protocol: (second & 0x80 != 0).then_some(first >> 4),
            association: Association::from_code(second >> 4),
            code_set: CodeSet(first & 0x0F),
            kind: DesignatorType(second & 0x0F),
            bytes: span(body, 4, length)?.to_vec(),
        });
        body = &body[4 + length..];
    }
    Ok(designators)
}

/// Block limits. Lengths are in blocks; 0 stands for a limit that is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME with 0 blocks is not supported.
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH
    pub compare_and_write: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY
    pub granularity: u16,
    /// MAXIMUM TRANSFER LENGTH
    pub transfer: u32,
    /// OPTIMAL TRANSFER LENGTH
    pub optimal: u32,
    /// MAXIMUM UNMAP LBA COUNT
    pub unmap: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT
    pub unmap_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT; `None` if UGAVALID says that it is not told.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH
    pub write_same: u64,
}

/// Length of the block limits page's body.
const LIMITS: usize = 0x3C;
/// UGAVALID
const ALIGNMENT_VALID: u32 = 0x8000_0000;

impl BlockLimits {
    /// The page's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![0; LIMITS];
        // Offsets in the standard count the page header of four bytes.
        let mut put = |at: usize, bytes: &[u8]| {
            body[at - 4..at - 4 + bytes.len()].copy_from_slice(bytes);
        };
        put(
            4,
            &[bit(self.write_same_non_zero, 0x01), self.compare_and_write],
        );
        put(6, &self.granularity.to_be_bytes());
        put(8, &self.transfer.to_be_bytes());
        put(12, &self.optimal.to_be_bytes());
        put(20, &self.unmap.to_be_bytes());
        put(24, &self.unmap_descriptors.to_be_bytes());
        put(28, &self.unmap_granularity.to_be_bytes());
        let alignment = self
            .unmap_alignment
            .map_or(0, |value| value | ALIGNMENT_VALID);
        put(32, &alignment.to_be_bytes());
        put(36, &self.write_same.to_be_bytes());
        body
    }

    /// Reads the page's body. Devices older than SBC-3 have less of it; what is missing is not told.
    ///
    /// # Errors
    /// If even what every device has is missing.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        let [first, compare_and_write] = field(body, 0)?;
        let u32_at = |at: usize| field(body, at - 4).map(u32::from_be_bytes);
        let told = |at: usize| u32_at(at).unwrap_or_default();
        let alignment = told(32);
        Ok(Self {
            write_same_non_zero: first & 0x01 != 0,
            compare_and_write,
            granularity: u16::from_be_bytes(field(body, 2)?),
            transfer: u32_at(8)?,
            optimal: u32_at(12)?,
            unmap: told(20),
            unmap_descriptors: told(24),
            unmap_granularity: told(28),
            unmap_alignment: (alignment & ALIGNMENT_VALID != 0)
                .then_some(alignment & !ALIGNMENT_VALID),
            write_same: field(body, 32).map_or(0, u64::from_be_bytes),
        })
    }
}

/// MEDIUM ROTATION RATE of the block device characteristics. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RotationRate(pub u16);

impl RotationRate {
    /// Not told.
    pub const NOT_TOLD: Self = Self(0);
    /// The medium does not turn.
    pub const SOLID_STATE: Self = Self(1);

    /// The body of the block device characteristics page.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut body = vec![0; LIMITS];
        body[..2].copy_from_slice(&self.0.to_be_bytes());
        body
    }

    /// Reads the body of the block device characteristics page.
    ///
    /// # Errors
    /// If it ends too early.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        field(body, 0).map(|rate| Self(u16::from_be_bytes(rate)))
    }
}

/// Logical block provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogicalBlockProvisioning {
    /// LBPU: UNMAP unmaps.
    pub unmap: bool,
    /// LBPWS: WRITE SAME(16) with UNMAP unmaps.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME(10) with UNMAP unmaps.
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub read_zeros: bool,
    /// ANC_SUP: blocks can be anchored.
    pub anchor: bool,
    /// PROVISIONING TYPE: 0 not told, 1 resource, 2 thin.
    pub kind: u8,
}

impl LogicalBlockProvisioning {
    /// Thin provisioning.
    pub const THIN: u8 = 2;

    /// The page's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = bit(self.unmap, 0x80)
            | bit(self.write_same_16, 0x40)
            | bit(self.write_same_10, 0x20)
            | bit(self.read_zeros, 0x04)
            | bit(self.anchor, 0x02);
        vec![0, flags, self.kind & 0x07, 0]
    }

    /// Reads the page's body.
    ///
    /// # Errors
    /// If it ends too early.
    pub fn parse(body: &[u8]) -> Result<Self, Truncated> {
        let [flags, kind] = field(body, 1)?;
        Ok(Self {
            unmap: flags & 0x80 != 0,
            write_same_16: flags & 0x40 != 0,
            write_same_10: flags & 0x20 != 0,
            // Three bits: 001b and xx1b both say zeros; others, a pattern of the vendor's.
            read_zeros: flags & 0x04 != 0,
            anchor: flags & 0x02 != 0,
            kind: kind & 0x07,
        })
    }
}

#[cfg(test)]
mod tests;
