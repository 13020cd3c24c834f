//! From the bytes of a command to what it means.

use super::{Blocks, BlocksOrRest, ByteCheck, Command, PageControl, Transfer, Wanted, supported};
use crate::opcode::{maintenance_in, service_action_in_16};
use crate::pr::{InAction, OutRequest, Refusal};
use crate::{AdditionalSense, Opcode, Sense};

const INVALID: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);

/// NACA of the control byte: auto contingent allegiance is not supported.
const NACA: u8 = 0x04;

/// IMMED of SYNCHRONIZE CACHE and PRE-FETCH.
const IMMED: u8 = 0x02;

/// The bytes of a command, at least as many as its operation code has.
struct Cdb<'a>(&'a [u8]);

impl Cdb<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn flag(&self, at: usize, mask: u8) -> bool {
        self.byte(at) & mask != 0
    }

    fn u16(&self, at: usize) -> u32 {
        u32::from(u16::from_be_bytes([self.byte(at), self.byte(at + 1)]))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, 1, 2, 3].map(|i| self.byte(at + i)))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| self.byte(at + i)))
    }

    /// Where the three sizes have their block address and count.
    fn blocks(&self) -> Blocks {
        match self.byte(0) >> 5 {
            0 => Blocks {
                first: u64::from(self.u32(0) & 0x001F_FFFF),
                // A count of 0 means 256 here.
                count: match self.byte(4) {
                    0 => 256,
                    count => u32::from(count),
                },
            },
            4 => Blocks {
                first: self.u64(2),
                count: self.u32(10),
            },
            5 => Blocks {
                first: u64::from(self.u32(2)),
                count: self.u32(6),
            },
            _ => Blocks {
                first: u64::from(self.u32(2)),
                count: self.u16(7),
            },
        }
    }

    fn blocks_or_rest(&self) -> BlocksOrRest {
        let Blocks { first, count } = self.blocks();
        BlocksOrRest { first, count }
    }

    /// A transfer; protection information is not supported.
    fn transfer(&self) -> Result<Transfer, Sense> {
        let short = self.byte(0) >> 5 == 0;
        if !short && self.flag(1, 0xE0) {
            return Err(INVALID);
        }
        Ok(Transfer {
            blocks: self.blocks(),
            force_unit_access: !short && self.flag(1, 0x08),
        })
    }

    fn byte_check(&self) -> Result<ByteCheck, Sense> {
        if self.flag(1, 0xE0) {
            return Err(INVALID);
        }
        match self.byte(1) >> 1 & 0x03 {
            0 => Ok(ByteCheck::Readable),
            1 => Ok(ByteCheck::Data),
            3 => Ok(ByteCheck::OneBlock),
            _ => Err(INVALID),
        }
    }
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// The sense data with which it ends: an operation code or service action that is not supported, a field with a value
    /// that cannot be or asks for what is not supported.
    pub fn parse(cdb: &[u8]) -> Result<Self, Sense> {
        let entry = supported(cdb)?;
        if cdb.len() < entry.length() {
            return Err(INVALID);
        }
        let cdb = Cdb(&cdb[..entry.length()]);
        if cdb.flag(entry.length() - 1, NACA) {
            return Err(INVALID);
        }
        match Opcode(cdb.byte(0)) {
            Opcode::READ_6 | Opcode::READ_10 | Opcode::READ_12 | Opcode::READ_16 => {
                cdb.transfer().map(Self::Read)
            }
            Opcode::WRITE_6 | Opcode::WRITE_10 | Opcode::WRITE_12 | Opcode::WRITE_16 => {
                cdb.transfer().map(Self::Write)
            }
            Opcode::ORWRITE_16 => cdb.transfer().map(Self::Orwrite),
            Opcode::COMPARE_AND_WRITE => compare_and_write(&cdb),
            Opcode::WRITE_AND_VERIFY_10
            | Opcode::WRITE_AND_VERIFY_12
            | Opcode::WRITE_AND_VERIFY_16 => {
                Ok(Self::WriteAndVerify(cdb.blocks(), cdb.byte_check()?))
            }
            Opcode::VERIFY_10 | Opcode::VERIFY_12 | Opcode::VERIFY_16 => {
                Ok(Self::Verify(cdb.blocks(), cdb.byte_check()?))
            }
            Opcode::WRITE_SAME_10 | Opcode::WRITE_SAME_16 => write_same(&cdb),
            Opcode::SYNCHRONIZE_CACHE_10 | Opcode::SYNCHRONIZE_CACHE_16 => {
                Ok(Self::SynchronizeCache {
                    blocks: cdb.blocks_or_rest(),
                    immediate: cdb.flag(1, IMMED),
                })
            }
            Opcode::PRE_FETCH_10 | Opcode::PRE_FETCH_16 => Ok(Self::PreFetch {
                blocks: cdb.blocks_or_rest(),
                immediate: cdb.flag(1, IMMED),
            }),
            // ANCHOR is not supported.
            Opcode::UNMAP if cdb.flag(1, 0x01) => Err(INVALID),
            Opcode::UNMAP => Ok(Self::Unmap { length: cdb.u16(7) }),
            _ => about_the_device(&cdb),
        }
    }
}

fn compare_and_write(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    let transfer = cdb.transfer()?;
    let blocks = Blocks {
        first: cdb.u64(2),
        count: u32::from(cdb.byte(13)),
    };
    Ok(Command::CompareAndWrite(Transfer { blocks, ..transfer }))
}

fn write_same(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    let (anchor, unmap) = (cdb.flag(1, 0x10), cdb.flag(1, 0x08));
    let zeros = Opcode(cdb.byte(0)) == Opcode::WRITE_SAME_16 && cdb.flag(1, 0x01);
    // Neither protection information nor anchored blocks.
    if cdb.flag(1, 0xE0) || anchor {
        return Err(INVALID);
    }
    Ok(Command::WriteSame {
        blocks: cdb.blocks_or_rest(),
        unmap,
        zeros,
    })
}

fn about_the_device(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    Ok(match Opcode(cdb.byte(0)) {
        Opcode::TEST_UNIT_READY => Command::TestUnitReady,
        Opcode::REQUEST_SENSE => Command::RequestSense {
            descriptor: cdb.flag(1, 0x01),
            allocation: u32::from(cdb.byte(4)),
        },
        Opcode::INQUIRY => inquiry(cdb)?,
        Opcode::REPORT_LUNS => Command::ReportLuns {
            select: cdb.byte(2),
            allocation: cdb.u32(6),
        },
        // PMI, and with it an address, is obsolete.
        Opcode::READ_CAPACITY_10 if cdb.flag(8, 0x01) || cdb.u32(2) != 0 => return Err(INVALID),
        Opcode::READ_CAPACITY_10 => Command::ReadCapacity10,
        Opcode::SERVICE_ACTION_IN_16 => service_action_in(cdb)?,
        Opcode::MODE_SENSE_6 => mode_sense(cdb, false, u32::from(cdb.byte(4))),
        Opcode::MODE_SENSE_10 => mode_sense(cdb, true, cdb.u16(7)),
        Opcode::MODE_SELECT_6 => mode_select(cdb, false, u32::from(cdb.byte(4)))?,
        Opcode::MODE_SELECT_10 => mode_select(cdb, true, cdb.u16(7))?,
        Opcode::START_STOP_UNIT => Command::StartStop {
            start: cdb.flag(4, 0x01),
            eject: cdb.flag(4, 0x02),
            flush: !cdb.flag(4, 0x04),
            immediate: cdb.flag(1, 0x01),
            power_condition: cdb.byte(4) >> 4,
        },
        Opcode::PREVENT_ALLOW_MEDIUM_REMOVAL => Command::PreventAllow {
            prevent: cdb.flag(4, 0x03),
        },
        Opcode::MAINTENANCE_IN => maintenance(cdb)?,
        Opcode::RESERVE_6 | Opcode::RESERVE_10 => Command::Reserve,
        Opcode::RELEASE_6 | Opcode::RELEASE_10 => Command::Release,
        Opcode::PERSISTENT_RESERVE_IN => {
            let (action, allocation) = InAction::parse(cdb.0).map_err(sense)?;
            Command::PersistentReserveIn {
                action,
                allocation: u32::from(allocation),
            }
        }
        Opcode::PERSISTENT_RESERVE_OUT => {
            Command::PersistentReserveOut(OutRequest::parse(cdb.0).map_err(sense)?)
        }
        _ => {
            return Err(Sense::illegal(
                AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
            ));
        }
    })
}

/// A command is refused with sense data while it is read; a conflict is found later.
fn sense(refusal: Refusal) -> Sense {
    match refusal {
        Refusal::Check(sense) => sense,
        Refusal::Conflict => INVALID,
    }
}

fn inquiry(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    let page = cdb.byte(2);
    let vital = cdb.flag(1, 0x01);
    // CMDDT is obsolete, and a page code without EVPD is an error.
    if cdb.flag(1, 0x02) || (!vital && page != 0) {
        return Err(INVALID);
    }
    Ok(Command::Inquiry {
        page: vital.then_some(page),
        allocation: cdb.u16(3),
    })
}

fn service_action_in(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    match cdb.byte(1) & 0x1F {
        service_action_in_16::READ_CAPACITY if cdb.flag(14, 0x01) || cdb.u64(2) != 0 => {
            Err(INVALID)
        }
        service_action_in_16::READ_CAPACITY => Ok(Command::ReadCapacity16 {
            allocation: cdb.u32(10),
        }),
        service_action_in_16::GET_LBA_STATUS => Ok(Command::GetLbaStatus {
            first: cdb.u64(2),
            allocation: cdb.u32(10),
        }),
        _ => Err(INVALID),
    }
}

fn mode_sense(cdb: &Cdb<'_>, long: bool, allocation: u32) -> Command {
    Command::ModeSense {
        long,
        no_descriptors: cdb.flag(1, 0x08),
        control: match cdb.byte(2) >> 6 {
            0 => PageControl::Current,
            1 => PageControl::Changeable,
            2 => PageControl::Default,
            _ => PageControl::Saved,
        },
        page: (cdb.byte(2) & 0x3F, cdb.byte(3)),
        allocation,
    }
}

fn mode_select(cdb: &Cdb<'_>, long: bool, length: u32) -> Result<Command, Sense> {
    // PF: pages as the standard has them, not as a vendor likes.
    if !cdb.flag(1, 0x10) {
        return Err(INVALID);
    }
    Ok(Command::ModeSelect {
        long,
        save: cdb.flag(1, 0x01),
        length,
    })
}

fn maintenance(cdb: &Cdb<'_>) -> Result<Command, Sense> {
    let allocation = cdb.u32(6);
    match cdb.byte(1) & 0x1F {
        maintenance_in::REPORT_SUPPORTED_OPERATION_CODES => {
            let (opcode, action) = (cdb.byte(3), u16::from_be_bytes([cdb.byte(4), cdb.byte(5)]));
            let wanted = match cdb.byte(2) & 0x07 {
                0 => Wanted::All,
                1 => Wanted::One(opcode),
                2 => Wanted::Action(opcode, action),
                3 => Wanted::Either(opcode, action),
                _ => return Err(INVALID),
            };
            Ok(Command::ReportSupportedOperationCodes {
                wanted,
                timeouts: cdb.flag(2, 0x80),
                allocation,
            })
        }
        maintenance_in::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS => {
            Ok(Command::ReportSupportedTaskManagementFunctions {
                extended: cdb.flag(2, 0x80),
                allocation,
            })
        }
        maintenance_in::REPORT_TARGET_PORT_GROUPS => match cdb.byte(1) >> 5 {
            0 => Ok(Command::ReportTargetPortGroups {
                extended: false,
                allocation,
            }),
            1 => Ok(Command::ReportTargetPortGroups {
                extended: true,
                allocation,
            }),
            _ => Err(INVALID),
        },
        _ => Err(INVALID),
    }
}
