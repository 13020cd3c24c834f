//! What a logical unit is, before anybody has talked to it.

use crate::inquiry::Text;
use crate::pr::RelativePort;

/// Bytes of a logical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum BlockLength {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockLength {
    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// From a number of bytes; `None` for any but 512 and 4096.
    #[must_use]
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }
}

/// The medium's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical block.
    pub block_length: BlockLength,
    /// How many logical blocks; at least one.
    pub blocks: u64,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT: 2 to this power logical blocks are best written together. At most 15.
    pub physical_exponent: u8,
}

/// NAA designator of the "locally assigned" format (SPC-4, "NAA Locally Assigned designator format"): 60 bits that
/// whoever administers the disks keeps unique; no registered company identifier is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalNaa(u64);

impl LocalNaa {
    const FORMAT: u64 = 0x3 << 60;

    /// From the lower 60 bits of `value`; the upper four say the format.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(Self::FORMAT | (value & !(0xF << 60)))
    }

    /// The eight bytes, with the format.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Who it is: the same through every port, and after every restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION
    pub vendor: Text<8>,
    /// PRODUCT IDENTIFICATION
    pub product: Text<16>,
    /// PRODUCT REVISION LEVEL
    pub revision: Text<4>,
    /// PRODUCT SERIAL NUMBER
    pub serial: Text<32>,
    /// What multipath software recognises it by.
    pub naa: LocalNaa,
    /// The iSCSI name of the target it belongs to: designates the target device and, with the portal group tag, its
    /// ports.
    pub target_name: String,
}

/// What one command may ask for at most. All but the byte limit are in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MAXIMUM TRANSFER LENGTH, in bytes: bounds the memory of one command.
    pub transfer_bytes: u32,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub compare_and_write: u8,
    /// MAXIMUM WRITE SAME LENGTH.
    pub write_same: u32,
    /// MAXIMUM UNMAP LBA COUNT: of all descriptors together.
    pub unmap: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
    pub unmap_descriptors: u16,
    /// The most registrations; also the most nexuses remembered beyond those attached.
    pub registrations: usize,
    /// The most nexuses at a time.
    pub nexuses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfer_bytes: 16 << 20,
            compare_and_write: 128,
            // What one command writes must end soon: PREEMPT AND ABORT waits for it.
            write_same: 1 << 16,
            // Some initiators hold more to be a mistake.
            unmap: 1 << 20,
            unmap_descriptors: 256,
            registrations: 256,
            nexuses: 1024,
        }
    }
}

/// Everything that [`LogicalUnit::new`](super::LogicalUnit::new) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// The medium's size.
    pub geometry: Geometry,
    /// The target's ports (portal groups) through which it is reached, their number being also their portal group tag.
    pub ports: Vec<RelativePort>,
    /// Thin provisioning: UNMAP and WRITE SAME with UNMAP; unmapped blocks read as zeros.
    pub thin: bool,
    /// Whether the medium turns (told in the block device characteristics; 0001h means it does not).
    pub rotational: bool,
    /// RMB: the medium can be ejected and loaded by START STOP UNIT.
    pub removable: bool,
    /// Writes are refused, and MODE SENSE says so.
    pub read_only: bool,
    /// WCE at power on: acknowledged writes may wait in a volatile cache until they are synchronized.
    pub write_cache: bool,
    /// Bounds.
    pub limits: Limits,
}
