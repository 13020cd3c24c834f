//! REPORT LUNS, and what a target answers about a logical unit that it does not have (SPC-4, "REPORT LUNS command",
//! "INQUIRY command"; SAM-5, "Incorrect logical unit numbers").

use std::fmt;

use crate::bytes::{Truncated, field, length_u32, span};
use crate::inquiry::{Peripheral, Standard, Text, VERSION_SPC_4};
use crate::lu::Reply;
use crate::{AdditionalSense, Command, Opcode, Sense};

/// A logical unit number as the standard writes it: eight bytes (SAM-5, "Logical unit numbers").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The number, if it is a single-level one of either addressing method, on bus 0.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        match self.0 {
            [0, low, 0, 0, 0, 0, 0, 0] => Some(u16::from(low)),
            [high @ 0x40..=0x7F, low, 0, 0, 0, 0, 0, 0] => {
                Some(u16::from_be_bytes([high & 0x3F, low]))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl fmt::Debug for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lun({self})")
    }
}

/// REPORT LUNS data, not yet cut to the allocation length.
#[must_use]
pub fn encode(luns: &[Lun]) -> Vec<u8> {
    let mut bytes = length_u32(luns.len() * 8).to_vec();
    bytes.extend([0; 4]);
    bytes.extend(luns.iter().flat_map(|lun| lun.0));
    bytes
}

/// Reads REPORT LUNS data.
///
/// # Errors
/// If the data end before what their header promises: the allocation length was too short, and numbers are missing.
pub fn parse(bytes: &[u8]) -> Result<Vec<Lun>, Truncated> {
    let length = usize::try_from(u32::from_be_bytes(field(bytes, 0)?)).unwrap_or(usize::MAX);
    let list = span(bytes, 8, length)?;
    list.chunks_exact(8)
        .map(|lun| field(lun, 0).map(Lun))
        .collect()
}

/// The REPORT LUNS command, for all logical units but the well known ones.
#[must_use]
pub fn cdb(allocation: u32) -> [u8; 12] {
    let [a, b, c, d] = allocation.to_be_bytes();
    [Opcode::REPORT_LUNS.0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0]
}

/// The least allocation length of REPORT LUNS.
const LEAST_ALLOCATION: u32 = 16;

/// Answers a REPORT LUNS from the logical units that the initiator may see; `cdb` must be one. It is answered for any
/// logical unit number, reports no unit attention and is never in conflict with a reservation.
pub fn report(cdb: &[u8], luns: &[Lun]) -> Reply {
    let invalid = Reply::check(Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
    match Command::parse(cdb) {
        Ok(Command::ReportLuns { allocation, .. }) if allocation < LEAST_ALLOCATION => invalid,
        Ok(Command::ReportLuns { select, allocation }) => match select {
            0x00 | 0x02 => Reply::with_data(encode(luns), allocation),
            // Only well known logical units: there are none.
            0x01 => Reply::with_data(encode(&[]), allocation),
            _ => invalid,
        },
        Ok(_) => invalid,
        Err(sense) => Reply::check(sense),
    }
}

/// Answers any command for a logical unit number behind which there is none.
pub fn no_such_unit(cdb: &[u8]) -> Reply {
    let unsupported = Sense::illegal(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    match Command::parse(cdb) {
        Ok(Command::Inquiry {
            page: None,
            allocation,
        }) => {
            let nothing = Standard {
                peripheral: Peripheral::NONE,
                removable: false,
                version: VERSION_SPC_4,
                target_port_groups: 0,
                protection: false,
                queuing: false,
                vendor: Text::from_device([b' '; 8]),
                product: Text::from_device([b' '; 16]),
                revision: Text::from_device([b' '; 4]),
                versions: Vec::new(),
            };
            Reply::with_data(nothing.encode(), allocation)
        }
        Ok(Command::RequestSense {
            descriptor,
            allocation,
        }) => Reply::with_data(unsupported.encode(descriptor), allocation),
        _ => Reply::check(unsupported),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Status;

    fn luns(numbers: &[u16]) -> Vec<Lun> {
        numbers.iter().filter_map(|n| Lun::new(*n)).collect()
    }

    #[test]
    fn numbers_are_written_as_the_standard_has_them() {
        assert_eq!(Lun::new(5), Some(Lun([0, 5, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::new(256), Some(Lun([0x41, 0, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::new(0x4000), None);
        assert_eq!(Lun([0x40, 5, 0, 0, 0, 0, 0, 0]).number(), Some(5));
        for other in [
            [0, 5, 0, 1, 0, 0, 0, 0],
            [1, 5, 0, 0, 0, 0, 0, 0],
            [0xC1; 8],
        ] {
            assert_eq!(Lun(other).number(), None, "{other:x?}");
        }
    }

    #[test]
    fn the_list_is_told_whole_or_an_error() {
        let all = luns(&[0, 1, 300]);
        let whole = report(&cdb(255), &all);
        assert_eq!(whole.status, Status::GOOD);
        assert_eq!(whole.data[..8], [0, 0, 0, 24, 0, 0, 0, 0]);
        assert_eq!(parse(&whole.data), Ok(all.clone()));
        let cut = report(&cdb(16), &all).data;
        assert_eq!(cut.len(), 16);
        assert!(parse(&cut).is_err());
        assert_eq!(report(&cdb(15), &all).status, Status::CHECK_CONDITION);
        let mut known = cdb(255);
        known[2] = 1;
        assert_eq!(parse(&report(&known, &all).data), Ok(vec![]));
        known[2] = 9;
        assert_eq!(report(&known, &all).status, Status::CHECK_CONDITION);
    }

    #[test]
    fn nothing_answers_only_what_must_be_answered() {
        let inquiry = no_such_unit(&crate::inquiry::cdb(None, 36));
        assert_eq!((inquiry.status, inquiry.data.len()), (Status::GOOD, 36));
        assert_eq!(inquiry.data[0], 0x7F);
        let sense = no_such_unit(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((sense.data[2], sense.data[12]), (5, 0x25));
        for cdb in [
            vec![0; 6],
            crate::inquiry::cdb(Some(0x83), 255).to_vec(),
            vec![],
        ] {
            let reply = no_such_unit(&cdb);
            let what = reply.sense.map(|sense| sense.additional);
            assert_eq!(what, Some(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED));
        }
    }

    proptest! {
        #[test]
        fn lists_round_trip(numbers in proptest::collection::vec(0_u16..0x4000, 0..40)) {
            let list = luns(&numbers);
            prop_assert_eq!(parse(&encode(&list)), Ok(list.clone()));
            prop_assert!(list.iter().zip(numbers).all(|(lun, number)| lun.number() == Some(number)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = report(&bytes, &[]);
            let _ = no_such_unit(&bytes);
        }
    }
}
