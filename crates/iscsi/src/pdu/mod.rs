//! PDUs (RFC 7143, "iSCSI PDU Formats"): the header as bytes, and one type for each operation code.
//!
//! A type holds what its header says; the data segment is not part of it. Numbers that the sender's session fills in
//! (CmdSN, ExpStatSN, StatSN, ExpCmdSN, MaxCmdSN) are grouped in [`Command`] and [`Answer`].

mod header;
mod initiator;
mod target;

pub use header::{Answer, Command, HEADER_LEN, Header, Isid, Lun, Tag};
pub use initiator::{
    Attribute, DataOut, FromInitiator, LoginRequest, LogoutRequest, NopOut, ScsiCommand, Stage,
    TaskManagement, TextRequest,
};
pub use target::{
    Async, DataIn, FromTarget, LoginResponse, LogoutResponse, NopIn, R2t, Reject, Residual,
    ScsiResponse, TaskManagementResponse, TextResponse,
};

/// Why a header is none of those that may come from that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PduError {
    /// An operation code that this side does not send, or that is not known.
    #[error("operation code {0:#04x} is not one this side may send")]
    Opcode(u8),
    /// A field has a value that cannot be.
    #[error("operation code {opcode:#04x}: the field {field} has a value that cannot be")]
    Field {
        /// The operation code.
        opcode: u8,
        /// The field's name in the RFC.
        field: &'static str,
    },
}
