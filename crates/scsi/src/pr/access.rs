//! Which commands a reservation lets through (SPC-4, "Persistent reservations interactions with commands"; SBC-3,
//! "Reservations").

use crate::opcode::{Opcode, maintenance_in, service_action_in_16};

/// What a command does to the medium, as far as reservations are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Allowed whatever is reserved.
    Free,
    /// Reads the medium, or what tells about it: forbidden by the exclusive access types.
    Reads,
    /// Changes the medium or how it behaves: forbidden by every type.
    Writes,
    /// PERSISTENT RESERVE OUT: decided by its own rules, [`crate::pr::Reservations::out`].
    ReserveOut,
    /// RESERVE and RELEASE of SPC-2: decided by their own rules.
    Legacy,
}

/// What `cdb` does. A command that is not known here counts as writing: a new command must not become a way around a
/// reservation.
#[must_use]
pub fn access(cdb: &[u8]) -> Access {
    let byte = |at: usize| cdb.get(at).copied().unwrap_or_default();
    let action = byte(1) & 0x1F;
    match Opcode(byte(0)) {
        _ if cdb.is_empty() => Access::Writes,
        Opcode::PERSISTENT_RESERVE_OUT => Access::ReserveOut,
        Opcode::RESERVE_6 | Opcode::RESERVE_10 | Opcode::RELEASE_6 | Opcode::RELEASE_10 => {
            Access::Legacy
        }
        Opcode::TEST_UNIT_READY
        | Opcode::REQUEST_SENSE
        | Opcode::INQUIRY
        | Opcode::REPORT_LUNS
        | Opcode::LOG_SENSE
        | Opcode::READ_CAPACITY_10
        | Opcode::PERSISTENT_RESERVE_IN
        | Opcode::READ_MEDIA_SERIAL_NUMBER => Access::Free,
        Opcode::SERVICE_ACTION_IN_16 => service_action_in(action),
        Opcode::MAINTENANCE_IN => maintenance(action),
        Opcode::START_STOP_UNIT if starts(byte(4)) => Access::Free,
        Opcode::PREVENT_ALLOW_MEDIUM_REMOVAL if byte(4) & 0x03 == 0 => Access::Free,
        Opcode::READ_6
        | Opcode::READ_10
        | Opcode::READ_12
        | Opcode::READ_16
        | Opcode::VERIFY_10
        | Opcode::VERIFY_12
        | Opcode::VERIFY_16
        | Opcode::PRE_FETCH_10
        | Opcode::PRE_FETCH_16
        | Opcode::READ_DEFECT_DATA_10
        | Opcode::READ_DEFECT_DATA_12
        | Opcode::READ_LONG_10
        | Opcode::READ_BUFFER
        | Opcode::READ_ATTRIBUTE
        | Opcode::MODE_SENSE_6
        | Opcode::MODE_SENSE_10
        | Opcode::RECEIVE_DIAGNOSTIC_RESULTS
        | Opcode::SECURITY_PROTOCOL_IN => Access::Reads,
        _ => Access::Writes,
    }
}

fn service_action_in(action: u8) -> Access {
    match action {
        service_action_in_16::READ_CAPACITY => Access::Free,
        service_action_in_16::READ_LONG | service_action_in_16::GET_LBA_STATUS => Access::Reads,
        _ => Access::Writes,
    }
}

fn maintenance(action: u8) -> Access {
    match action {
        maintenance_in::REPORT_IDENTIFYING_INFORMATION
        | maintenance_in::REPORT_TARGET_PORT_GROUPS
        | maintenance_in::REPORT_ALIASES
        | maintenance_in::REPORT_PRIORITY
        | maintenance_in::REPORT_TIMESTAMP => Access::Free,
        maintenance_in::REPORT_SUPPORTED_OPERATION_CODES
        | maintenance_in::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS => Access::Reads,
        _ => Access::Writes,
    }
}

/// START STOP UNIT with START set and no power condition: starting hurts nobody.
fn starts(byte: u8) -> bool {
    byte & 0x01 != 0 && byte >> 4 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_count_as_writing() {
        assert_eq!(access(&[]), Access::Writes);
        for code in 0..=u8::MAX {
            let opcode = Opcode(code);
            if opcode.name().is_none() {
                assert_eq!(access(&[code; 16]), Access::Writes, "{opcode}");
            }
        }
        assert_eq!(access(&[0x9E, 0x1F]), Access::Writes);
        assert_eq!(access(&[0xA3, 0x00]), Access::Writes);
    }

    #[test]
    fn starting_is_free_and_stopping_is_not() {
        assert_eq!(access(&[0x1B, 0, 0, 0, 0x01, 0]), Access::Free);
        assert_eq!(access(&[0x1B, 0, 0, 0, 0x00, 0]), Access::Writes);
        assert_eq!(access(&[0x1B, 0, 0, 0, 0x31, 0]), Access::Writes);
        assert_eq!(access(&[0x1E, 0, 0, 0, 0x00, 0]), Access::Free);
        assert_eq!(access(&[0x1E, 0, 0, 0, 0x01, 0]), Access::Writes);
    }
}
