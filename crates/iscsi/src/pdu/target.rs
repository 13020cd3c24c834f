//! PDUs of targets.

use crate::pdu::initiator::{stage_flags, stages};
use crate::pdu::{Answer, Header, Isid, Lun, PduError, Stage, Tag};

mod opcode {
    pub(super) const NOP_IN: u8 = 0x20;
    pub(super) const SCSI_RESPONSE: u8 = 0x21;
    pub(super) const TASK_MANAGEMENT: u8 = 0x22;
    pub(super) const LOGIN: u8 = 0x23;
    pub(super) const TEXT: u8 = 0x24;
    pub(super) const DATA_IN: u8 = 0x25;
    pub(super) const LOGOUT: u8 = 0x26;
    pub(super) const R2T: u8 = 0x31;
    pub(super) const ASYNC: u8 = 0x32;
    pub(super) const REJECT: u8 = 0x3F;
}

const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;
/// O and U: more, or fewer, bytes than expected.
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;

/// A PDU of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromTarget {
    /// Asks for, or is, a sign of life.
    NopIn(NopIn),
    /// The end of a command.
    ScsiResponse(ScsiResponse),
    /// The end of a task management function.
    TaskManagement(TaskManagementResponse),
    /// Part of the login.
    Login(LoginResponse),
    /// Text keys in full feature phase.
    Text(TextResponse),
    /// Data of a read, perhaps with the status.
    DataIn(DataIn),
    /// The end of a connection or session.
    Logout(LogoutResponse),
    /// Ready for data of a write.
    R2t(R2t),
    /// Something happened.
    Async(Async),
    /// A PDU was not accepted.
    Reject(Reject),
}

impl FromTarget {
    /// Reads a header.
    ///
    /// # Errors
    /// If a target sends no such header.
    pub fn parse(header: &Header) -> Result<Self, PduError> {
        Ok(match header.opcode() {
            opcode::NOP_IN => Self::NopIn(NopIn::parse(header)),
            opcode::SCSI_RESPONSE => Self::ScsiResponse(ScsiResponse::parse(header)),
            opcode::TASK_MANAGEMENT => Self::TaskManagement(TaskManagementResponse::parse(header)),
            opcode::LOGIN => Self::Login(LoginResponse::parse(header)?),
            opcode::TEXT => Self::Text(TextResponse::parse(header)),
            opcode::DATA_IN => Self::DataIn(DataIn::parse(header)),
            opcode::LOGOUT => Self::Logout(LogoutResponse::parse(header)),
            opcode::R2T => Self::R2t(R2t::parse(header)),
            opcode::ASYNC => Self::Async(Async::parse(header)),
            opcode::REJECT => Self::Reject(Reject::parse(header)),
            other => return Err(PduError::Opcode(other)),
        })
    }
}

impl FromTarget {
    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        match self {
            Self::NopIn(pdu) => pdu.header(),
            Self::ScsiResponse(pdu) => pdu.header(),
            Self::TaskManagement(pdu) => pdu.header(),
            Self::Login(pdu) => pdu.header(),
            Self::Text(pdu) => pdu.header(),
            Self::DataIn(pdu) => pdu.header(),
            Self::Logout(pdu) => pdu.header(),
            Self::R2t(pdu) => pdu.header(),
            Self::Async(pdu) => pdu.header(),
            Self::Reject(pdu) => pdu.header(),
        }
    }

    /// Its place in the session.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        match self {
            Self::NopIn(pdu) => pdu.answer,
            Self::ScsiResponse(pdu) => pdu.answer,
            Self::TaskManagement(pdu) => pdu.answer,
            Self::Login(pdu) => pdu.answer,
            Self::Text(pdu) => pdu.answer,
            Self::DataIn(pdu) => pdu.answer,
            Self::Logout(pdu) => pdu.answer,
            Self::R2t(pdu) => pdu.answer,
            Self::Async(pdu) => pdu.answer,
            Self::Reject(pdu) => pdu.answer,
        }
    }

    pub(crate) const fn answer_mut(&mut self) -> &mut Answer {
        match self {
            Self::NopIn(pdu) => &mut pdu.answer,
            Self::ScsiResponse(pdu) => &mut pdu.answer,
            Self::TaskManagement(pdu) => &mut pdu.answer,
            Self::Login(pdu) => &mut pdu.answer,
            Self::Text(pdu) => &mut pdu.answer,
            Self::DataIn(pdu) => &mut pdu.answer,
            Self::Logout(pdu) => &mut pdu.answer,
            Self::R2t(pdu) => &mut pdu.answer,
            Self::Async(pdu) => &mut pdu.answer,
            Self::Reject(pdu) => &mut pdu.answer,
        }
    }

    /// Whether its StatSN counts (RFC 7143, "Response/Status Numbering and Acknowledging").
    #[must_use]
    pub fn bears_status(&self) -> bool {
        match self {
            Self::R2t(_) => false,
            Self::DataIn(data) => data.status.is_some(),
            Self::NopIn(nop) => nop.tag != Tag::NONE,
            _ => true,
        }
    }
}

/// Starts the header of a PDU with the fields that all of them have.
fn begin(opcode: u8, tag: Tag, answer: Answer) -> Header {
    let mut header = Header::new(opcode);
    header.put_flag(1, FINAL, true).put_u32(16, tag.0);
    answer.write(&mut header);
    header
}

/// NOP-In.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopIn {
    /// The tag of the NOP-Out it answers, or [`Tag::NONE`].
    pub tag: Tag,
    /// [`Tag::NONE`]: no answer is wanted.
    pub target_tag: Tag,
    /// To be repeated in the answer.
    pub lun: Lun,
    /// Its place in the session. StatSN is counted only if it answers.
    pub answer: Answer,
}

impl NopIn {
    fn parse(header: &Header) -> Self {
        Self {
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            lun: Lun(header.get(8)),
            answer: Answer::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::NOP_IN, self.tag, self.answer);
        header.put(8, self.lun.0).put_u32(20, self.target_tag.0);
        header
    }
}

/// How many bytes more or fewer than expected a command moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Residual {
    /// As many as expected.
    #[default]
    None,
    /// So many more there were, and were not moved.
    Overflow(u32),
    /// So many fewer there were.
    Underflow(u32),
}

impl Residual {
    /// Of a command that has `have` bytes to move where `expected` were expected.
    #[must_use]
    pub fn of(have: u64, expected: u32) -> Self {
        let count = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        match have.checked_sub(u64::from(expected)) {
            Some(0) => Self::None,
            Some(more) => Self::Overflow(count(more)),
            None => Self::Underflow(count(u64::from(expected) - have)),
        }
    }

    fn parse(header: &Header) -> Self {
        let count = header.u32(44);
        if header.flag(1, OVERFLOW) {
            Self::Overflow(count)
        } else if header.flag(1, UNDERFLOW) {
            Self::Underflow(count)
        } else {
            Self::None
        }
    }

    fn write(self, header: &mut Header) {
        let (flag, count) = match self {
            Self::None => return,
            Self::Overflow(count) => (OVERFLOW, count),
            Self::Underflow(count) => (UNDERFLOW, count),
        };
        header.put_flag(1, flag, true).put_u32(44, count);
    }
}

/// SCSI Response. Sense data, with their length in two bytes before them, are its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiResponse {
    /// The command.
    pub tag: Tag,
    /// 0: completed at the target; 1: target failure. Others are kept.
    pub response: u8,
    /// The SCSI status.
    pub status: u8,
    /// Its place in the session.
    pub answer: Answer,
    /// ExpDataSN: how many R2T and Data-In PDUs the command had.
    pub expected_data: u32,
    /// More or fewer bytes than expected.
    pub residual: Residual,
}

impl ScsiResponse {
    fn parse(header: &Header) -> Self {
        Self {
            tag: header.tag(),
            response: header.byte(2),
            status: header.byte(3),
            answer: Answer::from(header),
            expected_data: header.u32(36),
            residual: Residual::parse(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::SCSI_RESPONSE, self.tag, self.answer);
        header
            .put(2, [self.response, self.status])
            .put_u32(36, self.expected_data);
        self.residual.write(&mut header);
        header
    }
}

/// Task Management Function Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// The request.
    pub tag: Tag,
    /// How it ended; see the constants. Others are kept.
    pub response: u8,
    /// Its place in the session.
    pub answer: Answer,
}

impl TaskManagementResponse {
    /// Done.
    pub const COMPLETE: u8 = 0;
    /// There is no such task.
    pub const NO_TASK: u8 = 1;
    /// There is no such logical unit.
    pub const NO_LUN: u8 = 2;
    /// Tasks cannot be reassigned.
    pub const NO_REASSIGNMENT: u8 = 4;
    /// The function is not supported.
    pub const NOT_SUPPORTED: u8 = 5;
    /// Not authorised.
    pub const NOT_AUTHORIZED: u8 = 6;
    /// Rejected.
    pub const REJECTED: u8 = 0xFF;

    fn parse(header: &Header) -> Self {
        Self {
            tag: header.tag(),
            response: header.byte(2),
            answer: Answer::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::TASK_MANAGEMENT, self.tag, self.answer);
        header.put(2, [self.response]);
        header
    }
}

/// Login Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginResponse {
    /// CSG
    pub stage: Stage,
    /// NSG, if T is set: the target goes on to it.
    pub next: Option<Stage>,
    /// C: the text goes on in the next PDU.
    pub goes_on: bool,
    /// The highest version it speaks.
    pub version_max: u8,
    /// The version in use.
    pub version: u8,
    /// Initiator session id, repeated.
    pub isid: Isid,
    /// Target session id: set in the last response.
    pub tsih: u16,
    /// The request.
    pub tag: Tag,
    /// Its place in the session.
    pub answer: Answer,
    /// Status-Class and Status-Detail: 0x0000 goes on, everything else ends the login or sends it elsewhere.
    pub status: u16,
}

impl LoginResponse {
    fn parse(header: &Header) -> Result<Self, PduError> {
        let status = header.u16(36);
        // A refusal need not name stages that make sense.
        let (stage, next) = match stages(header) {
            Err(_) if status != 0 => (Stage::Security, None),
            other => other?,
        };
        Ok(Self {
            stage,
            next,
            goes_on: header.flag(1, CONTINUE),
            version_max: header.byte(2),
            version: header.byte(3),
            isid: Isid(header.get(8)),
            tsih: header.u16(14),
            tag: header.tag(),
            answer: Answer::from(header),
            status,
        })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::LOGIN, self.tag, self.answer);
        let flags = stage_flags(self.stage, self.next, self.goes_on);
        header
            .put(1, [flags, self.version_max, self.version])
            .put(8, self.isid.0)
            .put(14, self.tsih.to_be_bytes())
            .put(36, self.status.to_be_bytes());
        header
    }
}

/// Text Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextResponse {
    /// F: nothing more to say.
    pub last: bool,
    /// C: the text goes on in the next PDU.
    pub goes_on: bool,
    /// The request.
    pub tag: Tag,
    /// To be repeated by the request that goes on from here, or [`Tag::NONE`].
    pub target_tag: Tag,
    /// Its place in the session.
    pub answer: Answer,
}

impl TextResponse {
    fn parse(header: &Header) -> Self {
        Self {
            last: header.flag(1, FINAL),
            goes_on: header.flag(1, CONTINUE),
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            answer: Answer::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::TEXT, self.tag, self.answer);
        let last = if self.last { FINAL } else { 0 };
        header
            .put(1, [last])
            .put_flag(1, CONTINUE, self.goes_on)
            .put_u32(20, self.target_tag.0);
        header
    }
}

/// SCSI Data-In.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataIn {
    /// F: the last of its sequence.
    pub last: bool,
    /// The SCSI status and the residual, if this PDU ends the command (S).
    pub status: Option<(u8, Residual)>,
    /// The command.
    pub tag: Tag,
    /// Its place in the session. StatSN counts only with a status.
    pub answer: Answer,
    /// DataSN
    pub number: u32,
    /// Buffer Offset in bytes.
    pub offset: u32,
}

impl DataIn {
    fn parse(header: &Header) -> Self {
        let ends = header.flag(1, 0x01);
        Self {
            last: header.flag(1, FINAL),
            status: ends.then(|| (header.byte(3), Residual::parse(header))),
            tag: header.tag(),
            answer: Answer::from(header),
            number: header.u32(36),
            offset: header.u32(40),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::DATA_IN, self.tag, self.answer);
        let last = if self.last { FINAL } else { 0 };
        header
            .put(1, [last])
            .put_u32(20, Tag::NONE.0)
            .put_u32(36, self.number)
            .put_u32(40, self.offset);
        if let Some((status, residual)) = self.status {
            header.put_flag(1, 0x01, true).put(3, [status]);
            residual.write(&mut header);
        }
        header
    }
}

/// Logout Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutResponse {
    /// The request.
    pub tag: Tag,
    /// 0: closed. Others are kept.
    pub response: u8,
    /// Its place in the session.
    pub answer: Answer,
}

impl LogoutResponse {
    /// Closed.
    pub const CLOSED: u8 = 0;
    /// There is no such connection.
    pub const NO_CONNECTION: u8 = 1;
    /// Connections are not recovered.
    pub const NO_RECOVERY: u8 = 2;

    fn parse(header: &Header) -> Self {
        Self {
            tag: header.tag(),
            response: header.byte(2),
            answer: Answer::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::LOGOUT, self.tag, self.answer);
        header.put(2, [self.response]);
        header
    }
}

/// Ready To Transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct R2t {
    /// For which logical unit.
    pub lun: Lun,
    /// The command.
    pub tag: Tag,
    /// To be repeated by the data.
    pub target_tag: Tag,
    /// Its place in the session. StatSN is the next one, and not counted.
    pub answer: Answer,
    /// R2TSN
    pub number: u32,
    /// Buffer Offset in bytes.
    pub offset: u32,
    /// Desired Data Transfer Length in bytes.
    pub length: u32,
}

impl R2t {
    fn parse(header: &Header) -> Self {
        Self {
            lun: Lun(header.get(8)),
            tag: header.tag(),
            target_tag: Tag(header.u32(20)),
            answer: Answer::from(header),
            number: header.u32(36),
            offset: header.u32(40),
            length: header.u32(44),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::R2T, self.tag, self.answer);
        header
            .put(8, self.lun.0)
            .put_u32(20, self.target_tag.0)
            .put_u32(36, self.number)
            .put_u32(40, self.offset)
            .put_u32(44, self.length);
        header
    }
}

/// Asynchronous Message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Async {
    /// Which logical unit it is about.
    pub lun: Lun,
    /// Its place in the session.
    pub answer: Answer,
    /// 0 SCSI event, 1 logout wanted, 2 connection will be dropped, 3 all will be, 4 negotiation wanted. Others are kept.
    pub event: u8,
    /// What the event says.
    pub parameters: [u16; 3],
}

impl Async {
    /// The target wants the initiator to log out.
    pub const LOGOUT_REQUESTED: u8 = 1;

    fn parse(header: &Header) -> Self {
        Self {
            lun: Lun(header.get(8)),
            answer: Answer::from(header),
            event: header.byte(36),
            parameters: [header.u16(38), header.u16(40), header.u16(42)],
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::ASYNC, Tag::NONE, self.answer);
        header.put(8, self.lun.0).put(36, [self.event]);
        for (at, parameter) in [38, 40, 42].into_iter().zip(self.parameters) {
            header.put(at, parameter.to_be_bytes());
        }
        header
    }
}

/// Reject. The header that was not accepted is its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Why; see the constants. Others are kept.
    pub reason: u8,
    /// Its place in the session.
    pub answer: Answer,
}

impl Reject {
    /// The data's digest was wrong.
    pub const DATA_DIGEST: u8 = 0x02;
    /// SNACK: nothing is sent again.
    pub const SNACK: u8 = 0x03;
    /// Against the protocol.
    pub const PROTOCOL_ERROR: u8 = 0x04;
    /// Not supported.
    pub const NOT_SUPPORTED: u8 = 0x05;
    /// Too many immediate commands.
    pub const IMMEDIATE: u8 = 0x06;
    /// The task tag is in use.
    pub const IN_PROGRESS: u8 = 0x07;
    /// A field cannot be.
    pub const INVALID_FIELD: u8 = 0x09;
    /// No room.
    pub const NO_RESOURCES: u8 = 0x0A;

    fn parse(header: &Header) -> Self {
        Self {
            reason: header.byte(2),
            answer: Answer::from(header),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = begin(opcode::REJECT, Tag::NONE, self.answer);
        header.put(2, [self.reason]);
        header
    }
}
