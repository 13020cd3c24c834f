//! The table of supported commands, and the answers of REPORT SUPPORTED OPERATION CODES (SPC-4, that clause).

use super::Wanted;
use crate::opcode::{maintenance_in, service_action_in_16};
use crate::{AdditionalSense, Opcode, Sense};

/// A command that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supported {
    /// Its operation code.
    pub opcode: Opcode,
    /// Its service action, if the operation code has such.
    pub action: Option<u8>,
    /// CDB USAGE DATA: which bits are looked at. Its first byte is the operation code.
    pub usage: &'static [u8],
}

impl Supported {
    /// How many bytes the command has.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.usage.len()
    }
}

const fn plain(opcode: Opcode, usage: &'static [u8]) -> Supported {
    Supported {
        opcode,
        action: None,
        usage,
    }
}

const fn with_action(opcode: Opcode, action: u8, usage: &'static [u8]) -> Supported {
    Supported {
        opcode,
        action: Some(action),
        usage,
    }
}

/// The usage of a PERSISTENT RESERVE OUT, by service action.
const PR_OUT: &[u8] = &[0x5F, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x04];
/// The usage of a PERSISTENT RESERVE IN, by service action.
const PR_IN: &[u8] = &[0x5E, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0x04];

/// Every supported command, in the order of codes and actions.
pub const SUPPORTED: &[Supported] = &[
    plain(Opcode::TEST_UNIT_READY, &[0x00, 0, 0, 0, 0, 0x04]),
    plain(Opcode::REQUEST_SENSE, &[0x03, 0x01, 0, 0, 0xFF, 0x04]),
    plain(Opcode::READ_6, &[0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0x04]),
    plain(Opcode::WRITE_6, &[0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0x04]),
    plain(Opcode::INQUIRY, &[0x12, 0x01, 0xFF, 0xFF, 0xFF, 0x04]),
    plain(Opcode::MODE_SELECT_6, &[0x15, 0x11, 0, 0, 0xFF, 0x04]),
    plain(Opcode::RESERVE_6, &[0x16, 0, 0, 0, 0, 0x04]),
    plain(Opcode::RELEASE_6, &[0x17, 0, 0, 0, 0, 0x04]),
    plain(Opcode::MODE_SENSE_6, &[0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0x04]),
    plain(Opcode::START_STOP_UNIT, &[0x1B, 0x01, 0, 0x0F, 0xF7, 0x04]),
    plain(
        Opcode::PREVENT_ALLOW_MEDIUM_REMOVAL,
        &[0x1E, 0, 0, 0, 0x03, 0x04],
    ),
    plain(
        Opcode::READ_CAPACITY_10,
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0x04],
    ),
    plain(
        Opcode::READ_10,
        &[0x28, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::WRITE_10,
        &[0x2A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::WRITE_AND_VERIFY_10,
        &[0x2E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::VERIFY_10,
        &[0x2F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::PRE_FETCH_10,
        &[0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::SYNCHRONIZE_CACHE_10,
        &[0x35, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(
        Opcode::WRITE_SAME_10,
        &[0x41, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(Opcode::UNMAP, &[0x42, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0x04]),
    plain(
        Opcode::MODE_SELECT_10,
        &[0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0x04],
    ),
    plain(Opcode::RESERVE_10, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0x04]),
    plain(Opcode::RELEASE_10, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0x04]),
    plain(
        Opcode::MODE_SENSE_10,
        &[0x5A, 0x08, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0x04],
    ),
    with_action(Opcode::PERSISTENT_RESERVE_IN, 0x00, PR_IN),
    with_action(Opcode::PERSISTENT_RESERVE_IN, 0x01, PR_IN),
    with_action(Opcode::PERSISTENT_RESERVE_IN, 0x02, PR_IN),
    with_action(Opcode::PERSISTENT_RESERVE_IN, 0x03, PR_IN),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x00, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x01, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x02, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x03, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x04, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x05, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x06, PR_OUT),
    with_action(Opcode::PERSISTENT_RESERVE_OUT, 0x07, PR_OUT),
    plain(
        Opcode::READ_16,
        &[
            0x88, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::COMPARE_AND_WRITE,
        &[
            0x89, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0, 0x04,
        ],
    ),
    plain(
        Opcode::WRITE_16,
        &[
            0x8A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::ORWRITE_16,
        &[
            0x8B, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::WRITE_AND_VERIFY_16,
        &[
            0x8E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::VERIFY_16,
        &[
            0x8F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::PRE_FETCH_16,
        &[
            0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::SYNCHRONIZE_CACHE_16,
        &[
            0x91, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::WRITE_SAME_16,
        &[
            0x93, 0x09, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    with_action(
        Opcode::SERVICE_ACTION_IN_16,
        service_action_in_16::READ_CAPACITY,
        &[
            0x9E, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
    with_action(
        Opcode::SERVICE_ACTION_IN_16,
        service_action_in_16::GET_LBA_STATUS,
        &[
            0x9E, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
            0x04,
        ],
    ),
    plain(
        Opcode::REPORT_LUNS,
        &[0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04],
    ),
    with_action(
        Opcode::MAINTENANCE_IN,
        maintenance_in::REPORT_TARGET_PORT_GROUPS,
        &[0xA3, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04],
    ),
    with_action(
        Opcode::MAINTENANCE_IN,
        maintenance_in::REPORT_SUPPORTED_OPERATION_CODES,
        &[
            0xA3, 0x1F, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
    with_action(
        Opcode::MAINTENANCE_IN,
        maintenance_in::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS,
        &[0xA3, 0x1F, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04],
    ),
    plain(
        Opcode::READ_12,
        &[
            0xA8, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
    plain(
        Opcode::WRITE_12,
        &[
            0xAA, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
    plain(
        Opcode::WRITE_AND_VERIFY_12,
        &[
            0xAE, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
    plain(
        Opcode::VERIFY_12,
        &[
            0xAF, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x04,
        ],
    ),
];

/// The entry of a command.
///
/// # Errors
/// INVALID COMMAND OPERATION CODE if there is none of its operation code, INVALID FIELD IN CDB if there is none of its
/// service action.
pub fn supported(cdb: &[u8]) -> Result<&'static Supported, Sense> {
    let unknown = Sense::illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE);
    let opcode = Opcode(*cdb.first().ok_or(unknown)?);
    let action = cdb.get(1).map_or(0, |byte| byte & 0x1F);
    let mut known = false;
    for entry in SUPPORTED.iter().filter(|entry| entry.opcode == opcode) {
        known = true;
        if entry.action.is_none_or(|own| own == action) {
            return Ok(entry);
        }
    }
    Err(if known {
        Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB)
    } else {
        unknown
    })
}

/// The timeouts descriptor: none are told.
const NO_TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Wanted {
    /// REPORT SUPPORTED OPERATION CODES data, not yet cut to the allocation length, of a device that `has` some of
    /// [`SUPPORTED`].
    ///
    /// # Errors
    /// INVALID FIELD IN CDB if a service action is asked for where there is none, or none where there are some.
    pub fn data(self, timeouts: bool, has: impl Fn(&Supported) -> bool) -> Result<Vec<u8>, Sense> {
        let of = |opcode: u8| {
            let entries = SUPPORTED.iter().filter(|entry| has(entry));
            entries.filter(move |entry| entry.opcode.0 == opcode)
        };
        let with = |opcode: u8, action: u16| {
            of(opcode).find(|entry| entry.action.is_some_and(|own| u16::from(own) == action))
        };
        match self {
            Self::All => Ok(all(timeouts, SUPPORTED.iter().filter(|entry| has(entry)))),
            Self::One(opcode) => {
                let found = of(opcode).next();
                if found.is_some_and(|entry| entry.action.is_some()) {
                    return Err(Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
                }
                Ok(one(found, timeouts))
            }
            Self::Action(opcode, action) => {
                if of(opcode).any(|entry| entry.action.is_none()) {
                    return Err(Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
                }
                Ok(one(with(opcode, action), timeouts))
            }
            Self::Either(opcode, action) => {
                let alone = of(opcode).find(|entry| entry.action.is_none() && action == 0);
                Ok(one(alone.or_else(|| with(opcode, action)), timeouts))
            }
        }
    }
}

fn all<'a>(timeouts: bool, entries: impl Iterator<Item = &'a Supported>) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for entry in entries {
        let flags = u8::from(timeouts) << 1 | u8::from(entry.action.is_some());
        let length = u8::try_from(entry.length()).unwrap_or_default();
        bytes.extend([
            entry.opcode.0,
            0,
            0,
            entry.action.unwrap_or_default(),
            0,
            flags,
            0,
            length,
        ]);
        if timeouts {
            bytes.extend(NO_TIMEOUTS);
        }
    }
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn one(entry: Option<&Supported>, timeouts: bool) -> Vec<u8> {
    let Some(entry) = entry else {
        // SUPPORT 001b: not supported.
        return vec![0, 0x01, 0, 0];
    };
    let support = 0x03 | u8::from(timeouts) << 7;
    let length = u8::try_from(entry.length()).unwrap_or_default();
    let mut bytes = vec![0, support, 0, length];
    bytes.extend(entry.usage);
    if let Some(action) = entry.action {
        // The usage of a command with a service action has that action in its place.
        bytes[5] = bytes[5] & 0xE0 | action;
    }
    if timeouts {
        bytes.extend(NO_TIMEOUTS);
    }
    bytes
}
