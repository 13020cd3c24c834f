//! Operation codes (SPC-4 and SBC-3, annexes with the lists of operation codes).

use std::fmt;

/// The first byte of a command. Unknown values are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u8);

/// Declares the codes that have names here, and the list of them.
macro_rules! opcodes {
    ($($constant:ident = $code:literal, $name:literal;)*) => {
        impl Opcode {
            $(
                #[doc = $name]
                pub const $constant: Self = Self($code);
            )*

            /// Every code with a name here, in the order of their values.
            pub const NAMED: &[Self] = &[$(Self::$constant,)*];

            /// The name the standard gives it, if it is one of those named here.
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

opcodes! {
    TEST_UNIT_READY = 0x00, "TEST UNIT READY";
    REQUEST_SENSE = 0x03, "REQUEST SENSE";
    FORMAT_UNIT = 0x04, "FORMAT UNIT";
    REASSIGN_BLOCKS = 0x07, "REASSIGN BLOCKS";
    READ_6 = 0x08, "READ(6)";
    WRITE_6 = 0x0A, "WRITE(6)";
    INQUIRY = 0x12, "INQUIRY";
    MODE_SELECT_6 = 0x15, "MODE SELECT(6)";
    RESERVE_6 = 0x16, "RESERVE(6)";
    RELEASE_6 = 0x17, "RELEASE(6)";
    MODE_SENSE_6 = 0x1A, "MODE SENSE(6)";
    START_STOP_UNIT = 0x1B, "START STOP UNIT";
    RECEIVE_DIAGNOSTIC_RESULTS = 0x1C, "RECEIVE DIAGNOSTIC RESULTS";
    SEND_DIAGNOSTIC = 0x1D, "SEND DIAGNOSTIC";
    PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E, "PREVENT ALLOW MEDIUM REMOVAL";
    READ_CAPACITY_10 = 0x25, "READ CAPACITY(10)";
    READ_10 = 0x28, "READ(10)";
    WRITE_10 = 0x2A, "WRITE(10)";
    WRITE_AND_VERIFY_10 = 0x2E, "WRITE AND VERIFY(10)";
    VERIFY_10 = 0x2F, "VERIFY(10)";
    PRE_FETCH_10 = 0x34, "PRE-FETCH(10)";
    SYNCHRONIZE_CACHE_10 = 0x35, "SYNCHRONIZE CACHE(10)";
    READ_DEFECT_DATA_10 = 0x37, "READ DEFECT DATA(10)";
    WRITE_BUFFER = 0x3B, "WRITE BUFFER";
    READ_BUFFER = 0x3C, "READ BUFFER";
    READ_LONG_10 = 0x3E, "READ LONG(10)";
    WRITE_LONG_10 = 0x3F, "WRITE LONG(10)";
    WRITE_SAME_10 = 0x41, "WRITE SAME(10)";
    UNMAP = 0x42, "UNMAP";
    SANITIZE = 0x48, "SANITIZE";
    LOG_SELECT = 0x4C, "LOG SELECT";
    LOG_SENSE = 0x4D, "LOG SENSE";
    MODE_SELECT_10 = 0x55, "MODE SELECT(10)";
    RESERVE_10 = 0x56, "RESERVE(10)";
    RELEASE_10 = 0x57, "RELEASE(10)";
    MODE_SENSE_10 = 0x5A, "MODE SENSE(10)";
    PERSISTENT_RESERVE_IN = 0x5E, "PERSISTENT RESERVE IN";
    PERSISTENT_RESERVE_OUT = 0x5F, "PERSISTENT RESERVE OUT";
    EXTENDED_COPY = 0x83, "EXTENDED COPY";
    RECEIVE_COPY_RESULTS = 0x84, "RECEIVE COPY RESULTS";
    READ_16 = 0x88, "READ(16)";
    COMPARE_AND_WRITE = 0x89, "COMPARE AND WRITE";
    WRITE_16 = 0x8A, "WRITE(16)";
    ORWRITE_16 = 0x8B, "ORWRITE(16)";
    READ_ATTRIBUTE = 0x8C, "READ ATTRIBUTE";
    WRITE_ATTRIBUTE = 0x8D, "WRITE ATTRIBUTE";
    WRITE_AND_VERIFY_16 = 0x8E, "WRITE AND VERIFY(16)";
    VERIFY_16 = 0x8F, "VERIFY(16)";
    PRE_FETCH_16 = 0x90, "PRE-FETCH(16)";
    SYNCHRONIZE_CACHE_16 = 0x91, "SYNCHRONIZE CACHE(16)";
    WRITE_SAME_16 = 0x93, "WRITE SAME(16)";
    WRITE_ATOMIC_16 = 0x9C, "WRITE ATOMIC(16)";
    SERVICE_ACTION_IN_16 = 0x9E, "SERVICE ACTION IN(16)";
    SERVICE_ACTION_OUT_16 = 0x9F, "SERVICE ACTION OUT(16)";
    REPORT_LUNS = 0xA0, "REPORT LUNS";
    SECURITY_PROTOCOL_IN = 0xA2, "SECURITY PROTOCOL IN";
    MAINTENANCE_IN = 0xA3, "MAINTENANCE IN";
    MAINTENANCE_OUT = 0xA4, "MAINTENANCE OUT";
    READ_12 = 0xA8, "READ(12)";
    WRITE_12 = 0xAA, "WRITE(12)";
    READ_MEDIA_SERIAL_NUMBER = 0xAB, "READ MEDIA SERIAL NUMBER";
    WRITE_AND_VERIFY_12 = 0xAE, "WRITE AND VERIFY(12)";
    VERIFY_12 = 0xAF, "VERIFY(12)";
    SECURITY_PROTOCOL_OUT = 0xB5, "SECURITY PROTOCOL OUT";
    READ_DEFECT_DATA_12 = 0xB7, "READ DEFECT DATA(12)";
}

/// Service actions of [`Opcode::SERVICE_ACTION_IN_16`].
pub mod service_action_in_16 {
    /// READ CAPACITY(16)
    pub const READ_CAPACITY: u8 = 0x10;
    /// READ LONG(16)
    pub const READ_LONG: u8 = 0x11;
    /// GET LBA STATUS
    pub const GET_LBA_STATUS: u8 = 0x12;
}

/// Service actions of [`Opcode::MAINTENANCE_IN`].
pub mod maintenance_in {
    /// REPORT IDENTIFYING INFORMATION
    pub const REPORT_IDENTIFYING_INFORMATION: u8 = 0x05;
    /// REPORT TARGET PORT GROUPS
    pub const REPORT_TARGET_PORT_GROUPS: u8 = 0x0A;
    /// REPORT ALIASES
    pub const REPORT_ALIASES: u8 = 0x0B;
    /// REPORT SUPPORTED OPERATION CODES
    pub const REPORT_SUPPORTED_OPERATION_CODES: u8 = 0x0C;
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    pub const REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS: u8 = 0x0D;
    /// REPORT PRIORITY
    pub const REPORT_PRIORITY: u8 = 0x0E;
    /// REPORT TIMESTAMP
    pub const REPORT_TIMESTAMP: u8 = 0x0F;
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "operation code {:02x}h", self.0),
        }
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_without_repetition() {
        assert!(Opcode::NAMED.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Opcode::NAMED.iter().all(|opcode| opcode.name().is_some()));
        assert_eq!(Opcode(0xEE).to_string(), "operation code eeh");
    }
}
