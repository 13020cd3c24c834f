//! PDUs of initiators.

use crate::Serial;
use crate::pdu::{Command, Header, Isid, Lun, PduError, Tag};

mod opcode {
    pub(super) const NOP_OUT: u8 = 0x00;
    pub(super) const SCSI_COMMAND: u8 = 0x01;
    pub(super) const TASK_MANAGEMENT: u8 = 0x02;
    pub(super) const LOGIN: u8 = 0x03;
    pub(super) const TEXT: u8 = 0x04;
    pub(super) const DATA_OUT: u8 = 0x05;
    pub(super) const LOGOUT: u8 = 0x06;
    pub(super) const SNACK: u8 = 0x10;
}

/// F, T: the last PDU of a sequence, or the end of a stage.
const FINAL: u8 = 0x80;
/// C: the text goes on in the next PDU.
const CONTINUE: u8 = 0x40;

/// A PDU of an initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromInitiator {
    /// Asks for, or is, a sign of life.
    NopOut(NopOut),
    /// A SCSI command.
    ScsiCommand(ScsiCommand),
    /// Aborts tasks or resets.
    TaskManagement(TaskManagement),
    /// Part of the login.
    Login(LoginRequest),
    /// Text keys in full feature phase: discovery.
    Text(TextRequest),
    /// Data of a write.
    DataOut(DataOut),
    /// Ends a connection or session.
    Logout(LogoutRequest),
    /// Asks for something to be sent again: not at error recovery level 0.
    Snack,
}

impl FromInitiator {
    /// Reads a header.
    ///
    /// # Errors
    /// If an initiator sends no such header.
    pub fn parse(header: &Header) -> Result<Self, PduError> {
        Ok(match header.opcode() {
            opcode::NOP_OUT => Self::NopOut(NopOut::parse(header)),
            opcode::SCSI_COMMAND => Self::ScsiCommand(ScsiCommand::parse(header)),
            opcode::TASK_MANAGEMENT => Self::TaskManagement(TaskManagement::parse(header)),
            opcode::LOGIN => Self::Login(LoginRequest::parse(header)?),
            opcode::TEXT => Self::Text(TextRequest::parse(header)),
            opcode::DATA_OUT => Self::DataOut(DataOut::parse(header)),
            opcode::LOGOUT => Self::Logout(LogoutRequest::parse(header)),
            opcode::SNACK => Self::Snack,
            other => return Err(PduError::Opcode(other)),
        })
    }
}

/// NOP-Out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopOut {
    /// [`Tag::NONE`]: no answer is wanted.
    pub tag: Tag,
    /// The tag of the NOP-In it answers, or [`Tag::NONE`].
    pub target_tag: Tag,
    /// Repeated from the NOP-In it answers.
    pub lun: Lun,
    /// Its place in the session.
    pub command: Command,
}

impl NopOut {
    fn parse(header: &Header) -> Self {
        Self {
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            lun: Lun(header.get(8)),
            command: Command::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::NOP_OUT);
        header
            .put_flag(1, FINAL, true)
            .put(8, self.lun.0)
            .put_u32(16, self.tag.0)
            .put_u32(20, self.target_tag.0);
        self.command.write(&mut header);
        header
    }
}

/// How a task is queued (SAM-5, "Task attributes"). Unknown values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attribute(pub u8);

impl Attribute {
    /// As the target likes.
    pub const SIMPLE: Self = Self(1);
    /// After everything before it, and before everything after it.
    pub const ORDERED: Self = Self(2);
    /// Before everything.
    pub const HEAD_OF_QUEUE: Self = Self(3);
}

/// SCSI Command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiCommand {
    /// F: no unsolicited data follow in PDUs of their own.
    pub last: bool,
    /// R: it expects data.
    pub reads: bool,
    /// W: it has data.
    pub writes: bool,
    /// How it is queued.
    pub attribute: Attribute,
    /// For which logical unit.
    pub lun: Lun,
    /// What the initiator calls it.
    pub tag: Tag,
    /// Expected Data Transfer Length in bytes.
    pub expected: u32,
    /// Its place in the session.
    pub command: Command,
    /// The first sixteen bytes of the command. A longer one goes on in an additional header segment.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    fn parse(header: &Header) -> Self {
        Self {
            last: header.flag(1, FINAL),
            reads: header.flag(1, 0x40),
            writes: header.flag(1, 0x20),
            attribute: Attribute(header.byte(1) & 0x07),
            lun: Lun(header.get(8)),
            tag: header.tag(),
            expected: header.u32(20),
            command: Command::from(header),
            cdb: header.get(32),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::SCSI_COMMAND);
        header
            .put_flag(1, FINAL, self.last)
            .put_flag(1, 0x40, self.reads)
            .put_flag(1, 0x20, self.writes)
            .put_flag(1, self.attribute.0 & 0x07, true)
            .put(8, self.lun.0)
            .put_u32(16, self.tag.0)
            .put_u32(20, self.expected)
            .put(32, self.cdb);
        self.command.write(&mut header);
        header
    }
}

/// Task Management Function Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagement {
    /// Which function; see the constants. Unknown values are kept.
    pub function: u8,
    /// For which logical unit.
    pub lun: Lun,
    /// What the initiator calls it.
    pub tag: Tag,
    /// ABORT TASK: which task; else [`Tag::NONE`].
    pub referenced: Tag,
    /// Its place in the session.
    pub command: Command,
    /// RefCmdSN: the number of the task to abort.
    pub referenced_number: Serial,
}

impl TaskManagement {
    /// One task.
    pub const ABORT_TASK: u8 = 1;
    /// All tasks of this nexus on the logical unit.
    pub const ABORT_TASK_SET: u8 = 2;
    /// Clears an auto contingent allegiance.
    pub const CLEAR_ACA: u8 = 3;
    /// All tasks on the logical unit.
    pub const CLEAR_TASK_SET: u8 = 4;
    /// Resets the logical unit.
    pub const LOGICAL_UNIT_RESET: u8 = 5;
    /// Resets all logical units.
    pub const TARGET_WARM_RESET: u8 = 6;
    /// The same, and drops all connections.
    pub const TARGET_COLD_RESET: u8 = 7;
    /// Moves a task to another connection: error recovery level 2.
    pub const TASK_REASSIGN: u8 = 8;

    fn parse(header: &Header) -> Self {
        Self {
            function: header.byte(1) & 0x7F,
            lun: Lun(header.get(8)),
            tag: header.tag(),
            referenced: Tag(header.u32(20)),
            command: Command::from(header),
            referenced_number: Serial(header.u32(32)),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::TASK_MANAGEMENT);
        header
            .put(1, [FINAL | self.function])
            .put(8, self.lun.0)
            .put_u32(16, self.tag.0)
            .put_u32(20, self.referenced.0)
            .put_u32(32, self.referenced_number.0);
        self.command.write(&mut header);
        header
    }
}

/// A stage of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// SecurityNegotiation
    Security,
    /// LoginOperationalNegotiation
    Operational,
    /// FullFeaturePhase
    FullFeature,
}

impl Stage {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::FullFeature => 3,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }
}

/// CSG and NSG of a login PDU: the present stage, and the next one if T is set.
pub(crate) fn stages(header: &Header) -> Result<(Stage, Option<Stage>), PduError> {
    let bad = |field| PduError::Field {
        opcode: header.opcode(),
        field,
    };
    let flags = header.byte(1);
    let current = Stage::from_code(flags >> 2 & 0x03).ok_or_else(|| bad("CSG"))?;
    if flags & FINAL == 0 {
        return Ok((current, None));
    }
    let next = Stage::from_code(flags & 0x03).filter(|next| *next > current);
    Ok((current, Some(next.ok_or_else(|| bad("NSG"))?)))
}

/// Flags of a login PDU.
pub(crate) fn stage_flags(current: Stage, next: Option<Stage>, goes_on: bool) -> u8 {
    let transit = next.map_or(0, |next| FINAL | next.code());
    let goes_on = if goes_on { CONTINUE } else { 0 };
    transit | goes_on | current.code() << 2
}

/// Login Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// CSG
    pub stage: Stage,
    /// NSG, if T is set: the initiator is ready for it.
    pub next: Option<Stage>,
    /// C: the text goes on in the next PDU.
    pub goes_on: bool,
    /// The highest version it speaks. There is only version 0.
    pub version_max: u8,
    /// The lowest version it speaks.
    pub version_min: u8,
    /// Initiator session id.
    pub isid: Isid,
    /// Target session id: 0 for a new session.
    pub tsih: u16,
    /// What the initiator calls the login.
    pub tag: Tag,
    /// Connection id.
    pub cid: u16,
    /// Its place in the session. Always immediate.
    pub command: Command,
}

impl LoginRequest {
    fn parse(header: &Header) -> Result<Self, PduError> {
        let (stage, next) = stages(header)?;
        Ok(Self {
            stage,
            next,
            goes_on: header.flag(1, CONTINUE),
            version_max: header.byte(2),
            version_min: header.byte(3),
            isid: Isid(header.get(8)),
            tsih: header.u16(14),
            tag: header.tag(),
            cid: header.u16(20),
            command: Command::from(header),
        })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::LOGIN);
        let flags = stage_flags(self.stage, self.next, self.goes_on);
        header
            .put(1, [flags, self.version_max, self.version_min])
            .put(8, self.isid.0)
            .put(14, self.tsih.to_be_bytes())
            .put_u32(16, self.tag.0)
            .put(20, self.cid.to_be_bytes());
        self.command.write(&mut header);
        header.put_immediate(true);
        header
    }
}

/// Text Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRequest {
    /// F: nothing more to ask.
    pub last: bool,
    /// C: the text goes on in the next PDU.
    pub goes_on: bool,
    /// What the initiator calls it.
    pub tag: Tag,
    /// The tag of the answer it goes on from, or [`Tag::NONE`].
    pub target_tag: Tag,
    /// Its place in the session.
    pub command: Command,
}

impl TextRequest {
    fn parse(header: &Header) -> Self {
        Self {
            last: header.flag(1, FINAL),
            goes_on: header.flag(1, CONTINUE),
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            command: Command::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::TEXT);
        header
            .put_flag(1, FINAL, self.last)
            .put_flag(1, CONTINUE, self.goes_on)
            .put_u32(16, self.tag.0)
            .put_u32(20, self.target_tag.0);
        self.command.write(&mut header);
        header
    }
}

/// SCSI Data-Out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataOut {
    /// F: the last of its sequence.
    pub last: bool,
    /// For which logical unit, if solicited.
    pub lun: Lun,
    /// The command it belongs to.
    pub tag: Tag,
    /// The R2T it answers, or [`Tag::NONE`] for unsolicited data.
    pub target_tag: Tag,
    /// ExpStatSN
    pub expected_status: Serial,
    /// DataSN: its number within the sequence.
    pub number: u32,
    /// Buffer Offset in bytes.
    pub offset: u32,
}

impl DataOut {
    fn parse(header: &Header) -> Self {
        Self {
            last: header.flag(1, FINAL),
            lun: Lun(header.get(8)),
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            expected_status: Serial(header.u32(28)),
            number: header.u32(36),
            offset: header.u32(40),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::DATA_OUT);
        header
            .put_flag(1, FINAL, self.last)
            .put(8, self.lun.0)
            .put_u32(16, self.tag.0)
            .put_u32(20, self.target_tag.0)
            .put_u32(28, self.expected_status.0)
            .put_u32(36, self.number)
            .put_u32(40, self.offset);
        header
    }
}

/// Logout Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutRequest {
    /// 0 ends the session, 1 a connection, 2 a connection for recovery. Others are kept.
    pub reason: u8,
    /// What the initiator calls it.
    pub tag: Tag,
    /// Which connection.
    pub cid: u16,
    /// Its place in the session.
    pub command: Command,
}

impl LogoutRequest {
    /// Ends the session.
    pub const SESSION: u8 = 0;
    /// Ends a connection.
    pub const CONNECTION: u8 = 1;

    fn parse(header: &Header) -> Self {
        Self {
            reason: header.byte(1) & 0x7F,
            tag: header.tag(),
            cid: header.u16(20),
            command: Command::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(opcode::LOGOUT);
        header
            .put(1, [FINAL | self.reason])
            .put_u32(16, self.tag.0)
            .put(20, self.cid.to_be_bytes());
        self.command.write(&mut header);
        header
    }
}
