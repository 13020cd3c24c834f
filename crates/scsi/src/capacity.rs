//! READ CAPACITY(10), READ CAPACITY(16) and GET LBA STATUS data (SBC-3, those clauses), in both directions.

use crate::bytes::{Truncated, bit, field, length_u32};
use crate::opcode::{Opcode, service_action_in_16};

/// How large the medium is: READ CAPACITY(16) data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// RETURNED LOGICAL BLOCK ADDRESS: the last block.
    pub last: u64,
    /// Bytes of a block.
    pub block_length: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
    pub physical_exponent: u8,
    /// LBPME: blocks can be unmapped.
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub unmapped_read_zeros: bool,
}

/// Length of READ CAPACITY(16) data.
const LENGTH_16: usize = 32;

impl Capacity {
    /// READ CAPACITY(16) data.
    #[must_use]
    pub fn encode_16(&self) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH_16];
        bytes[..8].copy_from_slice(&self.last.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.block_length.to_be_bytes());
        bytes[13] = self.physical_exponent & 0x0F;
        bytes[14] = bit(self.thin, 0x80) | bit(self.unmapped_read_zeros, 0x40);
        bytes
    }

    /// READ CAPACITY(10) data: FFFFFFFFh stands for a last block that needs READ CAPACITY(16).
    #[must_use]
    pub fn encode_10(&self) -> Vec<u8> {
        let last = u32::try_from(self.last).unwrap_or(u32::MAX);
        [last.to_be_bytes(), self.block_length.to_be_bytes()].concat()
    }

    /// Reads READ CAPACITY(16) data.
    ///
    /// # Errors
    /// If the data end too early. 16 bytes are enough.
    pub fn parse_16(bytes: &[u8]) -> Result<Self, Truncated> {
        let [exponent, flags] = field(bytes, 13)?;
        Ok(Self {
            last: u64::from_be_bytes(field(bytes, 0)?),
            block_length: u32::from_be_bytes(field(bytes, 8)?),
            physical_exponent: exponent & 0x0F,
            thin: flags & 0x80 != 0,
            unmapped_read_zeros: flags & 0x40 != 0,
        })
    }

    /// Reads READ CAPACITY(10) data: the last block and the bytes of a block; `None` instead of the last block if it does
    /// not fit.
    ///
    /// # Errors
    /// If the data end too early.
    pub fn parse_10(bytes: &[u8]) -> Result<(Option<u32>, u32), Truncated> {
        let last = u32::from_be_bytes(field(bytes, 0)?);
        let block_length = u32::from_be_bytes(field(bytes, 4)?);
        Ok(((last != u32::MAX).then_some(last), block_length))
    }

    /// The READ CAPACITY(16) command.
    #[must_use]
    pub fn cdb_16(allocation: u32) -> [u8; 16] {
        let [a, b, c, d] = allocation.to_be_bytes();
        let action = service_action_in_16::READ_CAPACITY;
        let opcode = Opcode::SERVICE_ACTION_IN_16.0;
        [opcode, action, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0]
    }
}

/// A run of blocks in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LbaStatus {
    /// The first block.
    pub first: u64,
    /// How many.
    pub blocks: u32,
    /// PROVISIONING STATUS
    pub state: Provisioning,
}

/// PROVISIONING STATUS. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Provisioning(pub u8);

impl Provisioning {
    /// The blocks have room of their own, or it is not known.
    pub const MAPPED: Self = Self(0);
    /// The blocks have none.
    pub const DEALLOCATED: Self = Self(1);
    /// The blocks have none, but it is kept for them.
    pub const ANCHORED: Self = Self(2);
}

/// Length of the header, and of a descriptor.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

impl LbaStatus {
    /// How many descriptors `allocation` has room for: more need not be found out. At least one is told even if it is cut.
    #[must_use]
    pub fn room(allocation: u32) -> usize {
        let bytes = usize::try_from(allocation).unwrap_or(usize::MAX);
        (bytes.saturating_sub(HEADER) / DESCRIPTOR).max(1)
    }

    /// GET LBA STATUS data, not yet cut to the allocation length.
    #[must_use]
    pub fn encode(runs: &[Self]) -> Vec<u8> {
        // PARAMETER DATA LENGTH counts what follows itself.
        let mut bytes = length_u32(runs.len() * DESCRIPTOR + 4).to_vec();
        bytes.extend([0; 4]);
        for run in runs {
            bytes.extend(run.first.to_be_bytes());
            bytes.extend(run.blocks.to_be_bytes());
            bytes.extend([run.state.0 & 0x0F, 0, 0, 0]);
        }
        bytes
    }

    /// Reads GET LBA STATUS data; descriptors that the allocation length cut off are missing.
    ///
    /// # Errors
    /// If the data end within the header.
    pub fn parse(bytes: &[u8]) -> Result<Vec<Self>, Truncated> {
        let length = usize::try_from(u32::from_be_bytes(field(bytes, 0)?)).unwrap_or(usize::MAX);
        let end = length.saturating_add(4).min(bytes.len());
        let body = bytes.get(HEADER..end).unwrap_or_default();
        body.chunks_exact(DESCRIPTOR)
            .map(|run| {
                let [state] = field(run, 12)?;
                Ok(Self {
                    first: u64::from_be_bytes(field(run, 0)?),
                    blocks: u32::from_be_bytes(field(run, 8)?),
                    state: Provisioning(state & 0x0F),
                })
            })
            .collect()
    }

    /// The command.
    #[must_use]
    pub fn cdb(first: u64, allocation: u32) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb[0] = Opcode::SERVICE_ACTION_IN_16.0;
        cdb[1] = service_action_in_16::GET_LBA_STATUS;
        cdb[2..10].copy_from_slice(&first.to_be_bytes());
        cdb[10..14].copy_from_slice(&allocation.to_be_bytes());
        cdb
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_where_the_standard_has_them() {
        let capacity = Capacity {
            last: 0x3_FFFF,
            block_length: 512,
            physical_exponent: 3,
            thin: true,
            unmapped_read_zeros: true,
        };
        let bytes = capacity.encode_16();
        assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 3, 0xFF, 0xFF, 0, 0, 2, 0]);
        assert_eq!(bytes[12..16], [0, 3, 0xC0, 0]);
        assert_eq!(bytes.len(), 32);
        assert_eq!(capacity.encode_10(), [0, 3, 0xFF, 0xFF, 0, 0, 2, 0]);
        let huge = Capacity {
            last: 1 << 32,
            ..capacity
        };
        assert_eq!(Capacity::parse_10(&huge.encode_10()), Ok((None, 512)));
        assert_eq!(Capacity::cdb_16(32)[13], 32);
        assert_eq!(LbaStatus::cdb(5, 24)[..2], [0x9E, 0x12]);
    }

    #[test]
    fn the_length_of_lba_status_counts_what_follows_it() {
        let run = LbaStatus {
            first: 7,
            blocks: 9,
            state: Provisioning::DEALLOCATED,
        };
        let bytes = LbaStatus::encode(&[run]);
        assert_eq!(
            bytes,
            [
                0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9, 1, 0, 0, 0
            ]
        );
        assert_eq!(LbaStatus::parse(&bytes), Ok(vec![run]));
        assert_eq!(LbaStatus::parse(&bytes[..23]), Ok(vec![]));
        assert_eq!(
            [0, 8, 24, 40, 41].map(LbaStatus::room),
            [1, 1, 1, 2, 2],
            "room for descriptors"
        );
    }

    proptest! {
        #[test]
        fn capacities_round_trip(last: u64, block_length: u32, exponent in 0_u8..16, thin: bool, zeros: bool) {
            let capacity = Capacity {
                last, block_length, physical_exponent: exponent, thin, unmapped_read_zeros: zeros,
            };
            prop_assert_eq!(Capacity::parse_16(&capacity.encode_16()), Ok(capacity));
        }

        #[test]
        fn lba_status_round_trips(runs in proptest::collection::vec((any::<u64>(), any::<u32>(), 0_u8..16), 0..9)) {
            let runs: Vec<_> = runs
                .into_iter()
                .map(|(first, blocks, state)| LbaStatus { first, blocks, state: Provisioning(state) })
                .collect();
            prop_assert_eq!(LbaStatus::parse(&LbaStatus::encode(&runs)), Ok(runs));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Capacity::parse_16(&bytes);
            let _ = Capacity::parse_10(&bytes);
            let _ = LbaStatus::parse(&bytes);
        }
    }
}
