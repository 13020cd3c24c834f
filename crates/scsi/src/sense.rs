//! Sense data (SPC-4, "Sense data"): fixed and descriptor format.

use std::fmt;

/// What kind of trouble (SPC-4, "Sense key and sense code definitions"). Unknown values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// Nothing to say.
    pub const NO_SENSE: Self = Self(0x0);
    /// Done, with some recovery.
    pub const RECOVERED_ERROR: Self = Self(0x1);
    /// Cannot be accessed now.
    pub const NOT_READY: Self = Self(0x2);
    /// The medium cannot be read or written.
    pub const MEDIUM_ERROR: Self = Self(0x3);
    /// The hardware failed.
    pub const HARDWARE_ERROR: Self = Self(0x4);
    /// The command or its parameters are wrong.
    pub const ILLEGAL_REQUEST: Self = Self(0x5);
    /// Something has changed that the initiator must know.
    pub const UNIT_ATTENTION: Self = Self(0x6);
    /// The medium is protected.
    pub const DATA_PROTECT: Self = Self(0x7);
    /// The command was aborted; trying again may help.
    pub const ABORTED_COMMAND: Self = Self(0xB);
    /// The data differ from the medium.
    pub const MISCOMPARE: Self = Self(0xE);
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NO_SENSE => "NO SENSE",
            Self::RECOVERED_ERROR => "RECOVERED ERROR",
            Self::NOT_READY => "NOT READY",
            Self::MEDIUM_ERROR => "MEDIUM ERROR",
            Self::HARDWARE_ERROR => "HARDWARE ERROR",
            Self::ILLEGAL_REQUEST => "ILLEGAL REQUEST",
            Self::UNIT_ATTENTION => "UNIT ATTENTION",
            Self::DATA_PROTECT => "DATA PROTECT",
            Self::ABORTED_COMMAND => "ABORTED COMMAND",
            Self::MISCOMPARE => "MISCOMPARE",
            Self(other) => return write!(f, "sense key {other:x}h"),
        })
    }
}

/// Additional sense code and qualifier (SPC-4, "ASC and ASCQ assignments"), as ASC × 256 + ASCQ. Unknown values
/// are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdditionalSense(pub u16);

/// Declares the codes that have names here, and [`AdditionalSense::name`] from the same list.
macro_rules! additional_sense {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal;)*) => {
        impl AdditionalSense {
            $($(#[$doc])* pub const $constant: Self = Self($code);)*

            /// The name the standard gives it, if it is one of those used here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

additional_sense! {
    /// Nothing more to say.
    NONE = 0x0000, "NO ADDITIONAL SENSE INFORMATION";
    /// It will be ready by itself.
    BECOMING_READY = 0x0401, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY";
    /// Its target port group is changing its state.
    ACCESS_STATE_TRANSITION = 0x040A, "LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION";
    /// Writing failed.
    WRITE_ERROR = 0x0C00, "WRITE ERROR";
    /// Reading failed.
    UNRECOVERED_READ_ERROR = 0x1100, "UNRECOVERED READ ERROR";
    /// The parameter list is too short or too long.
    PARAMETER_LIST_LENGTH_ERROR = 0x1A00, "PARAMETER LIST LENGTH ERROR";
    /// VERIFY or COMPARE AND WRITE found other data.
    MISCOMPARE_DURING_VERIFY = 0x1D00, "MISCOMPARE DURING VERIFY OPERATION";
    /// The operation code is not supported.
    INVALID_COMMAND_OPERATION_CODE = 0x2000, "INVALID COMMAND OPERATION CODE";
    /// Beyond the last block.
    LBA_OUT_OF_RANGE = 0x2100, "LOGICAL BLOCK ADDRESS OUT OF RANGE";
    /// A field of the command is wrong.
    INVALID_FIELD_IN_CDB = 0x2400, "INVALID FIELD IN CDB";
    /// There is no such logical unit.
    LOGICAL_UNIT_NOT_SUPPORTED = 0x2500, "LOGICAL UNIT NOT SUPPORTED";
    /// A field of the parameter list is wrong.
    INVALID_FIELD_IN_PARAMETER_LIST = 0x2600, "INVALID FIELD IN PARAMETER LIST";
    /// RELEASE with another scope or type than that of the reservation.
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x2604, "INVALID RELEASE OF PERSISTENT RESERVATION";
    /// Write protected.
    WRITE_PROTECTED = 0x2700, "WRITE PROTECTED";
    /// Thin provisioning: the backing store is full.
    SPACE_ALLOCATION_FAILED_WRITE_PROTECT = 0x2707, "SPACE ALLOCATION FAILED WRITE PROTECT";
    /// The medium may have been changed.
    MEDIUM_MAY_HAVE_CHANGED = 0x2800, "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED";
    /// Power on, reset, or bus device reset.
    POWER_ON_OR_RESET = 0x2900, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED";
    /// A logical unit reset or target reset.
    BUS_DEVICE_RESET = 0x2903, "BUS DEVICE RESET FUNCTION OCCURRED";
    /// The nexus was lost.
    NEXUS_LOSS = 0x2907, "I_T NEXUS LOSS OCCURRED";
    /// A mode page was changed.
    MODE_PARAMETERS_CHANGED = 0x2A01, "MODE PARAMETERS CHANGED";
    /// CLEAR by another nexus.
    RESERVATIONS_PREEMPTED = 0x2A03, "RESERVATIONS PREEMPTED";
    /// The reservation has been released, or has another type now.
    RESERVATIONS_RELEASED = 0x2A04, "RESERVATIONS RELEASED";
    /// PREEMPT by another nexus took this nexus's registration.
    REGISTRATIONS_PREEMPTED = 0x2A05, "REGISTRATIONS PREEMPTED";
    /// The capacity has changed.
    CAPACITY_DATA_HAS_CHANGED = 0x2A09, "CAPACITY DATA HAS CHANGED";
    /// Another nexus aborted this nexus's commands.
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2F00, "COMMANDS CLEARED BY ANOTHER INITIATOR";
    /// Mode pages cannot be kept over power off.
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x3900, "SAVING PARAMETERS NOT SUPPORTED";
    /// No medium.
    MEDIUM_NOT_PRESENT = 0x3A00, "MEDIUM NOT PRESENT";
    /// The list of logical units has changed.
    REPORTED_LUNS_DATA_HAS_CHANGED = 0x3F0E, "REPORTED LUNS DATA HAS CHANGED";
    /// The device failed.
    INTERNAL_TARGET_FAILURE = 0x4400, "INTERNAL TARGET FAILURE";
    /// A digest of the transport was wrong.
    PROTOCOL_SERVICE_CRC_ERROR = 0x4705, "PROTOCOL SERVICE CRC ERROR";
    /// Removal is prevented.
    MEDIUM_REMOVAL_PREVENTED = 0x5302, "MEDIUM REMOVAL PREVENTED";
    /// No room for another registration.
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504, "INSUFFICIENT REGISTRATION RESOURCES";
}

impl AdditionalSense {
    /// ADDITIONAL SENSE CODE.
    #[must_use]
    pub const fn asc(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// ADDITIONAL SENSE CODE QUALIFIER.
    #[must_use]
    pub const fn ascq(self) -> u8 {
        self.0.to_be_bytes()[1]
    }
}

impl fmt::Display for AdditionalSense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:02x}h/{:02x}h", self.asc(), self.ascq()),
        }
    }
}

/// Why bytes are not sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SenseError {
    /// Fewer bytes than the format needs.
    #[error("sense data of {0} bytes are too short")]
    TooShort(usize),
    /// A response code that is none of 70h to 73h.
    #[error("response code {0:02x}h is not sense data")]
    ResponseCode(u8),
}

/// Sense data, as far as they are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sense {
    /// The kind of trouble.
    pub key: SenseKey,
    /// The particular trouble.
    pub additional: AdditionalSense,
    /// INFORMATION: the first block concerned, or the offset of a miscompare.
    pub information: Option<u64>,
}

/// Length of fixed-format sense data.
const FIXED_LEN: usize = 18;
/// Type of the information descriptor.
const INFORMATION_DESCRIPTOR: u8 = 0x00;

impl Sense {
    /// Sense data without information.
    #[must_use]
    pub const fn new(key: SenseKey, additional: AdditionalSense) -> Self {
        Self {
            key,
            additional,
            information: None,
        }
    }

    /// ILLEGAL REQUEST with `additional`.
    #[must_use]
    pub const fn illegal(additional: AdditionalSense) -> Self {
        Self::new(SenseKey::ILLEGAL_REQUEST, additional)
    }

    /// UNIT ATTENTION with `additional`.
    #[must_use]
    pub const fn attention(additional: AdditionalSense) -> Self {
        Self::new(SenseKey::UNIT_ATTENTION, additional)
    }

    /// The same with INFORMATION.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// Fixed format (D_SENSE = 0). INFORMATION beyond 32 bits is left out, as the format demands.
    #[must_use]
    pub fn fixed(&self) -> [u8; FIXED_LEN] {
        let mut bytes = [0; FIXED_LEN];
        bytes[0] = 0x70;
        bytes[2] = self.key.0;
        if let Some(information) = self.information.and_then(|value| u32::try_from(value).ok()) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[7] = 10;
        bytes[12] = self.additional.asc();
        bytes[13] = self.additional.ascq();
        bytes
    }

    /// Descriptor format (D_SENSE = 1).
    #[must_use]
    pub fn descriptor(&self) -> Vec<u8> {
        let mut bytes = vec![
            0x72,
            self.key.0,
            self.additional.asc(),
            self.additional.ascq(),
            0,
            0,
            0,
            0,
        ];
        if let Some(information) = self.information {
            bytes[7] = 12;
            bytes.extend([INFORMATION_DESCRIPTOR, 10, 0x80, 0]);
            bytes.extend(information.to_be_bytes());
        }
        bytes
    }

    /// In the format that D_SENSE or DESC asks for.
    #[must_use]
    pub fn encode(&self, descriptor: bool) -> Vec<u8> {
        if descriptor {
            self.descriptor()
        } else {
            self.fixed().to_vec()
        }
    }

    /// Reads sense data of either format, current or deferred.
    ///
    /// # Errors
    /// If there are too few bytes, or they are not sense data.
    pub fn parse(bytes: &[u8]) -> Result<Self, SenseError> {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let short = SenseError::TooShort(bytes.len());
        match bytes.first().ok_or(short)? & 0x7F {
            0x70 | 0x71 if bytes.len() >= 8 => {
                let additional = u16::from_be_bytes([byte(12), byte(13)]);
                let valid = bytes[0] & 0x80 != 0;
                let information = u32::from_be_bytes([byte(3), byte(4), byte(5), byte(6)]);
                Ok(Self {
                    key: SenseKey(byte(2) & 0x0F),
                    additional: AdditionalSense(additional),
                    information: valid.then_some(u64::from(information)),
                })
            }
            0x72 | 0x73 if bytes.len() >= 8 => Ok(Self {
                key: SenseKey(byte(1) & 0x0F),
                additional: AdditionalSense(u16::from_be_bytes([byte(2), byte(3)])),
                information: information_descriptor(&bytes[8..]),
            }),
            0x70..=0x73 => Err(short),
            other => Err(SenseError::ResponseCode(other)),
        }
    }
}

fn information_descriptor(mut descriptors: &[u8]) -> Option<u64> {
    while let [kind, length, rest @ ..] = descriptors {
        let length = usize::from(*length);
        if *kind == INFORMATION_DESCRIPTOR && rest.first().is_some_and(|flags| flags & 0x80 != 0) {
            let value = rest.get(2..10)?;
            return Some(u64::from_be_bytes(value.try_into().ok()?));
        }
        descriptors = rest.get(length..)?;
    }
    None
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.key, self.additional)?;
        if let Some(information) = self.information {
            write!(f, " (information {information})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fixed_format_has_its_fields_where_the_standard_has_them() {
        let bytes = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB).fixed();
        assert_eq!(
            bytes,
            [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0]
        );
        let wide = Sense::new(
            SenseKey::MISCOMPARE,
            AdditionalSense::MISCOMPARE_DURING_VERIFY,
        );
        assert_eq!(wide.with_information(1 << 40).fixed()[0], 0x70);
        assert_eq!(
            wide.with_information(7).fixed()[..7],
            [0xF0, 0, 14, 0, 0, 0, 7]
        );
    }

    #[test]
    fn what_is_not_sense_data_is_refused() {
        assert_eq!(Sense::parse(&[]), Err(SenseError::TooShort(0)));
        assert_eq!(Sense::parse(&[0x70, 0, 5]), Err(SenseError::TooShort(3)));
        assert_eq!(
            Sense::parse(&[0x12; 18]),
            Err(SenseError::ResponseCode(0x12))
        );
        // A target may send fewer than 14 bytes: the codes are then unsaid.
        let short = Sense::parse(&[0x70, 0, 6, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(short, Sense::attention(AdditionalSense::NONE));
    }

    proptest! {
        #[test]
        fn both_formats_round_trip(key in 0_u8..16, code: u16, information: Option<u64>) {
            let sense = Sense { key: SenseKey(key), additional: AdditionalSense(code), information };
            prop_assert_eq!(Sense::parse(&sense.descriptor()), Ok(sense));
            let fits = information.filter(|value| *value <= u64::from(u32::MAX));
            prop_assert_eq!(Sense::parse(&sense.fixed()), Ok(Sense { information: fits, ..sense }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Sense::parse(&bytes);
        }
    }
}
