//! Standard INQUIRY data (SPC-4, "Standard INQUIRY data"), in both directions.

use std::fmt;

use crate::bytes::{Truncated, bit, field};
use crate::opcode::Opcode;

/// A left-aligned field of at most `N` printable ASCII characters, filled with blanks (SPC-4, "ASCII data field
/// requirements").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>(String);

impl<const N: usize> Text<N> {
    /// The field; `None` if `text` is too long or holds anything but printable ASCII. Blanks at the end do not count.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(' ');
        let printable = text.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
        (text.len() <= N && printable).then(|| Self(text.to_owned()))
    }

    /// Without the blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the blanks.
    #[must_use]
    pub fn padded(&self) -> [u8; N] {
        let mut bytes = [b' '; N];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<const N: usize> Text<N> {
    /// What a device sent: up to a NUL, if there is one, with whatever is not printable ASCII as `?`.
    #[must_use]
    pub fn from_device(bytes: [u8; N]) -> Self {
        let text: String = bytes
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| match byte {
                0x20..=0x7E => char::from(*byte),
                _ => '?',
            })
            .collect();
        Self(text.trim_end_matches(' ').to_owned())
    }
}

/// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peripheral(pub u8);

impl Peripheral {
    /// A direct access block device, accessible.
    pub const DISK: Self = Self(0x00);
    /// There is no logical unit, and none is possible here.
    pub const NONE: Self = Self(0x7F);

    /// Whether there is a logical unit (PERIPHERAL QUALIFIER 000b).
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0 >> 5 == 0
    }

    /// PERIPHERAL DEVICE TYPE.
    #[must_use]
    pub const fn device_type(self) -> u8 {
        self.0 & 0x1F
    }
}

/// A version descriptor: to which standard the device claims to conform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionDescriptor(pub u16);

impl VersionDescriptor {
    /// SAM-5
    pub const SAM_5: Self = Self(0x00A0);
    /// SPC-4
    pub const SPC_4: Self = Self(0x0460);
    /// SBC-3
    pub const SBC_3: Self = Self(0x04C0);
    /// iSCSI
    pub const ISCSI: Self = Self(0x0960);
}

/// VERSION: SPC-4.
pub const VERSION_SPC_4: u8 = 0x06;

/// Standard INQUIRY data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// Whether there is a logical unit, and of what kind.
    pub peripheral: Peripheral,
    /// RMB: the medium can be removed.
    pub removable: bool,
    /// VERSION: of SPC.
    pub version: u8,
    /// TPGS: 0 for none; bit 0 for implicit, bit 1 for explicit asymmetric access.
    pub target_port_groups: u8,
    /// PROTECT: protection information is supported.
    pub protection: bool,
    /// CMDQUE: several commands at a time.
    pub queuing: bool,
    /// T10 VENDOR IDENTIFICATION
    pub vendor: Text<8>,
    /// PRODUCT IDENTIFICATION
    pub product: Text<16>,
    /// PRODUCT REVISION LEVEL
    pub revision: Text<4>,
    /// The version descriptors that are not zero, at most eight.
    pub versions: Vec<VersionDescriptor>,
}

/// Length of the data with all version descriptors.
const LENGTH: usize = 74;
/// Where the version descriptors begin.
const VERSIONS: usize = 58;
/// HISUP: logical unit numbers are hierarchical, and the format of the data, which is always 2.
const HIERARCHICAL_FORMAT_2: u8 = 0x12;

impl Standard {
    /// The data, not yet cut to the allocation length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0] = self.peripheral.0;
        bytes[1] = bit(self.removable, 0x80);
        bytes[2] = self.version;
        bytes[3] = HIERARCHICAL_FORMAT_2;
        // ADDITIONAL LENGTH: what follows that byte.
        bytes[4] = u8::try_from(LENGTH - 5).unwrap_or(u8::MAX);
        bytes[5] = (self.target_port_groups & 0x03) << 4 | bit(self.protection, 0x01);
        bytes[7] = bit(self.queuing, 0x02);
        bytes[8..16].copy_from_slice(&self.vendor.padded());
        bytes[16..32].copy_from_slice(&self.product.padded());
        bytes[32..36].copy_from_slice(&self.revision.padded());
        for (place, version) in bytes[VERSIONS..].chunks_exact_mut(2).zip(&self.versions) {
            place.copy_from_slice(&version.0.to_be_bytes());
        }
        bytes
    }

    /// Reads what a device sent. Version descriptors that the allocation length cut off are missing.
    ///
    /// # Errors
    /// If there are fewer than the 36 bytes that every device sends.
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let [peripheral, removable, version, _, _, five, _, seven] = field(bytes, 0)?;
        let versions = bytes.get(VERSIONS..).unwrap_or_default();
        Ok(Self {
            vendor: Text::from_device(field(bytes, 8)?),
            product: Text::from_device(field(bytes, 16)?),
            revision: Text::from_device(field(bytes, 32)?),
            peripheral: Peripheral(peripheral),
            removable: removable & 0x80 != 0,
            version,
            target_port_groups: five >> 4 & 0x03,
            protection: five & 0x01 != 0,
            queuing: seven & 0x02 != 0,
            versions: versions
                .chunks_exact(2)
                .take(8)
                .map(|pair| VersionDescriptor(u16::from_be_bytes([pair[0], pair[1]])))
                .filter(|version| version.0 != 0)
                .collect(),
        })
    }
}

/// The command: the standard data, or a vital product data page.
#[must_use]
pub fn cdb(page: Option<u8>, allocation: u16) -> [u8; 6] {
    let [high, low] = allocation.to_be_bytes();
    let vital = u8::from(page.is_some());
    [
        Opcode::INQUIRY.0,
        vital,
        page.unwrap_or_default(),
        high,
        low,
        0,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk() -> Standard {
        Standard {
            peripheral: Peripheral::DISK,
            removable: false,
            version: VERSION_SPC_4,
            target_port_groups: 1,
            protection: false,
            queuing: true,
            vendor: Text::new("PICKET").unwrap(),
            product: Text::new("disk").unwrap(),
            revision: Text::new("1").unwrap(),
            versions: vec![VersionDescriptor::SAM_5, VersionDescriptor::SPC_4],
        }
    }

    #[test]
    fn fields_are_where_the_standard_has_them() {
        let bytes = disk().encode();
        assert_eq!(bytes[..8], [0, 0, 6, 0x12, 69, 0x10, 0, 2]);
        assert_eq!(&bytes[8..36], b"PICKET  disk            1   ");
        assert_eq!(bytes[36..58], [0; 22]);
        assert_eq!(bytes[58..64], [0x00, 0xA0, 0x04, 0x60, 0, 0]);
        assert_eq!(bytes.len(), 74);
        assert_eq!(cdb(Some(0x83), 0x1FF), [0x12, 0x01, 0x83, 0x01, 0xFF, 0x00]);
    }

    #[test]
    fn a_known_target_is_understood() {
        // tgt 1.0.85, asked through libiscsi.
        let mut bytes = vec![0, 0, 5, 0x12, 0x3D, 0, 0, 2];
        bytes.extend(b"IET     VIRTUAL-DISK    0001");
        bytes.resize(58, 0);
        bytes.extend([0x04, 0xC0, 0x09, 0x60, 0x03, 0x00, 0x00, 0x00]);
        let standard = Standard::parse(&bytes).unwrap();
        assert_eq!(standard.vendor.as_str(), "IET");
        assert_eq!(standard.product.as_str(), "VIRTUAL-DISK");
        assert_eq!(standard.version, 5);
        assert_eq!(
            standard.versions[..2],
            [VersionDescriptor::SBC_3, VersionDescriptor::ISCSI]
        );
        assert!(Standard::parse(&bytes[..35]).is_err());
        assert!(Standard::parse(&bytes[..36]).unwrap().versions.is_empty());
    }

    #[test]
    fn what_is_not_printable_is_no_text() {
        assert_eq!(Text::<4>::new("abcde"), None);
        assert_eq!(Text::<4>::new("a\n"), None);
        assert_eq!(Text::<4>::new("é"), None);
        assert_eq!(Text::<4>::new("ab  "), Text::<4>::new("ab"));
        assert_eq!(Text::from_device(*b"a\x01\0b").as_str(), "a?");
    }

    proptest! {
        #[test]
        fn data_round_trip(
            peripheral: u8, removable: bool, version: u8, groups in 0_u8..4, protection: bool, queuing: bool,
            vendor in "[!-~]{0,8}", product in "[!-~]{0,16}", revision in "[!-~]{0,4}",
            versions in proptest::collection::vec(1_u16.., 0..=8),
        ) {
            let standard = Standard {
                peripheral: Peripheral(peripheral), removable, version, target_port_groups: groups, protection, queuing,
                vendor: Text::new(&vendor).unwrap(),
                product: Text::new(&product).unwrap(),
                revision: Text::new(&revision).unwrap(),
                versions: versions.into_iter().map(VersionDescriptor).collect(),
            };
            prop_assert_eq!(Standard::parse(&standard.encode()), Ok(standard));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Standard::parse(&bytes);
        }
    }
}
