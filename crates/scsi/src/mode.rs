//! Mode parameters (SPC-4, "Mode parameters"; SBC-3, "Mode parameters for direct access block devices"): the header, block
//! descriptor and pages of MODE SENSE and MODE SELECT, in both directions.

use crate::bytes::{Truncated, bit, field, length_u16, span};
use crate::opcode::Opcode;

/// Read-write error recovery.
pub const ERROR_RECOVERY: u8 = 0x01;
/// Caching.
pub const CACHING: u8 = 0x08;
/// Control.
pub const CONTROL: u8 = 0x0A;
/// Informational exceptions control.
pub const EXCEPTIONS: u8 = 0x1C;
/// Asks for every page.
pub const ALL_PAGES: u8 = 0x3F;
/// Asks for every subpage.
pub const ALL_SUBPAGES: u8 = 0xFF;

/// WCE of the caching page: byte of the page (counted from the page code) and bit.
pub const WRITE_CACHE: (usize, u8) = (2, 0x04);
/// D_SENSE of the control page.
pub const DESCRIPTOR_SENSE: (usize, u8) = (2, 0x04);
/// SWP of the control page.
pub const SOFTWARE_WRITE_PROTECT: (usize, u8) = (4, 0x08);
/// TAS of the control page.
pub const TASK_ABORTED_STATUS: (usize, u8) = (5, 0x40);

/// A mode page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// PAGE CODE, below 3Fh.
    pub code: u8,
    /// SUBPAGE CODE; `None` for a page without (SPF = 0).
    pub subpage: Option<u8>,
    /// PS: the page can be kept over power off. Reserved in MODE SELECT.
    pub saveable: bool,
    /// What follows the page length.
    pub body: Vec<u8>,
}

impl Page {
    /// Whether a bit is set; `at` counts from the page code, as the standard does.
    #[must_use]
    pub fn bit(&self, (at, mask): (usize, u8)) -> bool {
        let header = if self.subpage.is_some() { 4 } else { 2 };
        at.checked_sub(header)
            .and_then(|at| self.body.get(at))
            .is_some_and(|byte| byte & mask != 0)
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) {
        let first = bit(self.saveable, 0x80) | self.code & 0x3F;
        match self.subpage {
            None => bytes.extend([first, u8::try_from(self.body.len()).unwrap_or(u8::MAX)]),
            Some(subpage) => {
                let [high, low] = length_u16(self.body.len());
                bytes.extend([first | 0x40, subpage, high, low]);
            }
        }
        bytes.extend(&self.body);
    }

    /// Reads one; also says how many bytes it has.
    fn parse(bytes: &[u8]) -> Result<(Self, usize), Truncated> {
        let [first, second] = field(bytes, 0)?;
        let (subpage, header, length) = if first & 0x40 == 0 {
            (None, 2, usize::from(second))
        } else {
            let length = u16::from_be_bytes(field(bytes, 2)?);
            (Some(second), 4, usize::from(length))
        };
        let page = Self {
            code: first & 0x3F,
            subpage,
            saveable: first & 0x80 != 0,
            body: span(bytes, header, length)?.to_vec(),
        };
        Ok((page, header + length))
    }
}

/// The short block descriptor of a direct access block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// NUMBER OF LOGICAL BLOCKS: 0 stands for all, FFFFFFFFh for more than fit.
    pub blocks: u32,
    /// LOGICAL BLOCK LENGTH in bytes, below 2^24.
    pub block_length: u32,
}

/// Length of a short block descriptor.
const DESCRIPTOR: usize = 8;

/// Mode parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// WP: the medium cannot be written. Reserved in MODE SELECT.
    pub write_protected: bool,
    /// DPOFUA: DPO and FUA are supported. Reserved in MODE SELECT.
    pub dpo_fua: bool,
    /// The block descriptor.
    pub descriptor: Option<BlockDescriptor>,
    /// The pages.
    pub pages: Vec<Page>,
}

/// Why bytes are not mode parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Several block descriptors, or one of the long format: not for disks as they are here.
    #[error("block descriptors of {0} bytes")]
    Descriptors(usize),
}

impl Parameters {
    /// The bytes of the command of ten bytes (`long`), or of six. Not yet cut to the allocation length.
    #[must_use]
    pub fn encode(&self, long: bool) -> Vec<u8> {
        let specific = bit(self.write_protected, 0x80) | bit(self.dpo_fua, 0x10);
        let descriptor = self.descriptor.map_or(0, |_| DESCRIPTOR);
        let header = if long { 8 } else { 4 };
        let mut bytes = vec![0; header];
        if let Some(descriptor) = self.descriptor {
            bytes.extend(descriptor.blocks.to_be_bytes());
            bytes.extend((descriptor.block_length & 0x00FF_FFFF).to_be_bytes());
        }
        for page in &self.pages {
            page.encode_into(&mut bytes);
        }
        // MODE DATA LENGTH counts what follows itself.
        if long {
            let [high, low] = length_u16(bytes.len() - 2);
            let [descriptor_high, descriptor_low] = length_u16(descriptor);
            bytes[..8].copy_from_slice(&[
                high,
                low,
                0,
                specific,
                0,
                0,
                descriptor_high,
                descriptor_low,
            ]);
        } else {
            let length = u8::try_from(bytes.len() - 1).unwrap_or(u8::MAX);
            let descriptor = u8::try_from(descriptor).unwrap_or(u8::MAX);
            bytes[..4].copy_from_slice(&[length, 0, specific, descriptor]);
        }
        bytes
    }

    /// Reads a MODE SELECT parameter list: every byte of it counts, MODE DATA LENGTH is reserved.
    ///
    /// # Errors
    /// If it ends within a field, or has block descriptors that cannot be.
    pub fn parse_select(long: bool, bytes: &[u8]) -> Result<Self, ModeError> {
        Self::parse(long, bytes)
    }

    /// Reads MODE SENSE data.
    ///
    /// # Errors
    /// If they end before the length that the header tells, or have block descriptors that cannot be.
    pub fn parse_sense(long: bool, bytes: &[u8]) -> Result<Self, ModeError> {
        let length = if long {
            usize::from(u16::from_be_bytes(field(bytes, 0)?)) + 2
        } else {
            let [length] = field(bytes, 0)?;
            usize::from(length) + 1
        };
        Self::parse(long, span(bytes, 0, length)?)
    }

    fn parse(long: bool, bytes: &[u8]) -> Result<Self, ModeError> {
        let (header, specific, descriptors, long_descriptors) = if long {
            let [_, _, _, specific, flags, _, high, low] = field(bytes, 0)?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            (8, specific, length, flags & 0x01 != 0)
        } else {
            let [_, _, specific, length] = field(bytes, 0)?;
            (4, specific, usize::from(length), false)
        };
        let descriptor = match descriptors {
            0 => None,
            DESCRIPTOR if !long_descriptors => {
                let length = u32::from_be_bytes(field(bytes, header + 4)?);
                Some(BlockDescriptor {
                    blocks: u32::from_be_bytes(field(bytes, header)?),
                    block_length: length & 0x00FF_FFFF,
                })
            }
            other => return Err(ModeError::Descriptors(other)),
        };
        let mut rest = bytes.get(header + descriptors..).unwrap_or_default();
        let mut pages = Vec::new();
        while !rest.is_empty() {
            let (page, used) = Page::parse(rest)?;
            pages.push(page);
            rest = &rest[used..];
        }
        Ok(Self {
            write_protected: specific & 0x80 != 0,
            dpo_fua: specific & 0x10 != 0,
            descriptor,
            pages,
        })
    }

    /// The page of this code without a subpage.
    #[must_use]
    pub fn page(&self, code: u8) -> Option<&Page> {
        self.pages
            .iter()
            .find(|page| page.code == code && page.subpage.is_none())
    }
}

/// MODE SENSE(10) for the current values of a page, without block descriptors.
#[must_use]
pub fn sense_cdb(page: u8, allocation: u16) -> [u8; 10] {
    let [high, low] = allocation.to_be_bytes();
    [
        Opcode::MODE_SENSE_10.0,
        0x08,
        page & 0x3F,
        0,
        0,
        0,
        0,
        high,
        low,
        0,
    ]
}

/// MODE SELECT(10) with a parameter list of `length` bytes; the values are not kept over power off.
#[must_use]
pub fn select_cdb(length: u16) -> [u8; 10] {
    let [high, low] = length.to_be_bytes();
    [Opcode::MODE_SELECT_10.0, 0x10, 0, 0, 0, 0, 0, high, low, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MODE SENSE(10) of tgt 1.0.85, asked through libiscsi: control page, DPOFUA, 131072 blocks of 512 bytes.
    const TGT: [u8; 28] = [
        0, 0x1A, 0, 0x10, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x0A, 0x0A, 0x02, 0x10, 0, 0, 0, 0,
        0, 0, 2, 0,
    ];

    #[test]
    fn a_known_target_is_understood() {
        let sense = Parameters::parse_sense(true, &TGT).unwrap();
        assert!(sense.dpo_fua && !sense.write_protected);
        let descriptor = sense.descriptor.unwrap();
        assert_eq!((descriptor.blocks, descriptor.block_length), (0, 512));
        let control = sense.page(CONTROL).unwrap();
        assert_eq!(control.body.len(), 10);
        assert!(!control.bit(DESCRIPTOR_SENSE) && !control.bit(TASK_ABORTED_STATUS));
        assert_eq!(sense.encode(true), TGT);
        assert!(Parameters::parse_sense(true, &TGT[..27]).is_err());
    }

    #[test]
    fn bits_are_where_the_standard_has_them() {
        let mut page = Page {
            code: CONTROL,
            subpage: None,
            saveable: false,
            body: vec![0; 10],
        };
        page.body[0] = 0x04;
        assert!(page.bit(DESCRIPTOR_SENSE));
        page.body[2] = 0x08;
        assert!(page.bit(SOFTWARE_WRITE_PROTECT));
        page.body[3] = 0x40;
        assert!(page.bit(TASK_ABORTED_STATUS));
        assert!(!page.bit((1, 0xFF)) && !page.bit((12, 0xFF)));
        assert_eq!(sense_cdb(CACHING, 0x102)[..4], [0x5A, 0x08, 0x08, 0]);
        assert_eq!(select_cdb(0x102)[7..9], [1, 2]);
    }

    #[test]
    fn descriptors_that_cannot_be_are_refused() {
        for list in [[0, 0, 0, 16], [0, 0, 0, 4]] {
            let refused = Parameters::parse_select(false, &list);
            assert_eq!(refused, Err(ModeError::Descriptors(usize::from(list[3]))));
        }
        let long = [0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            Parameters::parse_select(true, &long),
            Err(ModeError::Descriptors(8))
        );
        assert!(Parameters::parse_select(false, &[0, 0, 0, 8, 0, 0]).is_err());
    }

    fn page() -> impl Strategy<Value = Page> {
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        (
            0_u8..0x3F,
            proptest::option::of(any::<u8>()),
            any::<bool>(),
            body,
        )
            .prop_map(|(code, subpage, saveable, body)| Page {
                code,
                subpage,
                saveable,
                body,
            })
    }

    proptest! {
        #[test]
        fn parameters_round_trip(
            write_protected: bool, dpo_fua: bool, blocks: u32, block_length in 0_u32..1 << 24, described: bool,
            pages in proptest::collection::vec(page(), 0..5), long: bool,
        ) {
            let descriptor = described.then_some(BlockDescriptor { blocks, block_length });
            let parameters = Parameters { write_protected, dpo_fua, descriptor, pages };
            let bytes = parameters.encode(long);
            prop_assert_eq!(Parameters::parse_sense(long, &bytes), Ok(parameters.clone()));
            prop_assert_eq!(Parameters::parse_select(long, &bytes), Ok(parameters));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, long: bool) {
            let _ = Parameters::parse_sense(long, &bytes);
            let _ = Parameters::parse_select(long, &bytes);
        }
    }
}
