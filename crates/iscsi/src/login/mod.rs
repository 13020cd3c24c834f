//! Login (RFC 7143, "Login Phase"): who is there, is it really them, and what both sides can do.
//!
//! ```text
//!            AuthMethod, CHAP                operational keys
//!  Security ──────────────────▶ Operational ──────────────────▶ FullFeature
//!     │  T, both ways                │  T, both ways
//!     └── refused ───────────────────┴── refused: a status, then the connection is closed
//! ```
//!
//! [`LoginResponder`] is the target's side and [`LoginRequester`] the initiator's. Either is fed PDUs and returns the
//! next one; both end with [`Established`]. Nothing is trusted: text, the number of PDUs and of keys are bounded.

mod chap;
mod parameters;
mod requester;
mod responder;
mod value;

use std::fmt;

pub use chap::{Algorithm, Credentials, MAX_SECRET, MIN_SECRET, Secret, SecretLength};
pub use parameters::{Digest, Disagreement, Parameters, Wishes};
pub use requester::{LoginError, LoginOptions, LoginRequester, LoginStep};
pub use responder::{
    Admission, Applicant, Authentication, Directory, LoginOutcome, LoginReply, LoginResponder,
};

use crate::Serial;
use crate::pdu::Isid;

/// The most login PDUs of one side. A login with CHAP takes four.
const MAX_PDUS: u32 = 32;
/// The most keys of a login. RFC 7143 has about thirty.
const MAX_KEYS: usize = 128;
/// The longest text of a login PDU before anything else is declared (RFC 7143, "MaxRecvDataSegmentLength").
pub const LOGIN_SEGMENT: u32 = 8192;

/// Status-Class and Status-Detail of a login response (RFC 7143, "Status-Class and Status-Detail"). Unknown values are
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginStatus(pub u16);

impl LoginStatus {
    /// Goes on, or done.
    pub const SUCCESS: Self = Self(0x0000);
    /// The target is elsewhere for now.
    pub const MOVED_TEMPORARILY: Self = Self(0x0101);
    /// The target is elsewhere for good.
    pub const MOVED_PERMANENTLY: Self = Self(0x0102);
    /// The initiator did something wrong.
    pub const INITIATOR_ERROR: Self = Self(0x0200);
    /// It did not prove who it is.
    pub const AUTHENTICATION: Self = Self(0x0201);
    /// It may not.
    pub const AUTHORIZATION: Self = Self(0x0202);
    /// There is no such target.
    pub const NOT_FOUND: Self = Self(0x0203);
    /// The target is gone for good.
    pub const REMOVED: Self = Self(0x0204);
    /// No version in common.
    pub const VERSION: Self = Self(0x0205);
    /// No more connections in this session.
    pub const TOO_MANY_CONNECTIONS: Self = Self(0x0206);
    /// A key that is needed is missing.
    pub const MISSING_PARAMETER: Self = Self(0x0207);
    /// The connection cannot be part of this session.
    pub const CANNOT_JOIN: Self = Self(0x0208);
    /// No such type of session.
    pub const SESSION_TYPE: Self = Self(0x0209);
    /// No such session.
    pub const NO_SESSION: Self = Self(0x020A);
    /// Not during login.
    pub const INVALID_DURING_LOGIN: Self = Self(0x020B);
    /// The target failed.
    pub const TARGET_ERROR: Self = Self(0x0300);
    /// The target does not serve now.
    pub const UNAVAILABLE: Self = Self(0x0301);
    /// The target has no room.
    pub const NO_RESOURCES: Self = Self(0x0302);
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::SUCCESS => "success",
            Self::MOVED_TEMPORARILY => "target moved temporarily",
            Self::MOVED_PERMANENTLY => "target moved permanently",
            Self::INITIATOR_ERROR => "initiator error",
            Self::AUTHENTICATION => "authentication failed",
            Self::AUTHORIZATION => "not authorised for this target",
            Self::NOT_FOUND => "target not found",
            Self::REMOVED => "target removed",
            Self::VERSION => "version not supported",
            Self::TOO_MANY_CONNECTIONS => "too many connections",
            Self::MISSING_PARAMETER => "a parameter is missing",
            Self::CANNOT_JOIN => "cannot join the session",
            Self::SESSION_TYPE => "type of session not supported",
            Self::NO_SESSION => "no such session",
            Self::INVALID_DURING_LOGIN => "not during login",
            Self::TARGET_ERROR => "target error",
            Self::UNAVAILABLE => "target unavailable",
            Self::NO_RESOURCES => "target out of resources",
            Self(other) => return write!(f, "login status {other:04x}h"),
        })
    }
}

/// A session after its login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The initiator's name.
    pub initiator: String,
    /// The target's name; `None` in a discovery session.
    pub target: Option<String>,
    /// Initiator session id.
    pub isid: Isid,
    /// Target session id.
    pub tsih: u16,
    /// Connection id.
    pub cid: u16,
    /// The target's portal group, if it said so.
    pub portal_group: Option<u16>,
    /// The name that the initiator authenticated itself with.
    pub authenticated: Option<String>,
    /// What was agreed on.
    pub parameters: Parameters,
    /// CmdSN of the next command.
    pub next_command: Serial,
    /// The last command there is room for: as the target told.
    pub last_command: Serial,
    /// StatSN of the next status.
    pub next_status: Serial,
}

impl Established {
    /// Whether this is a discovery session.
    #[must_use]
    pub const fn discovery(&self) -> bool {
        self.target.is_none()
    }
}

/// Whether a name is one of an iSCSI node: what it begins with, and no character that could end a line, a list or a key
/// (RFC 7143, "iSCSI Name Structure").
fn is_name(name: &str) -> bool {
    let kinds = ["iqn.", "eui.", "naa."];
    let begins = kinds.iter().any(|kind| {
        name.get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(kind))
    });
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != ',';
    begins && name.len() <= 223 && name.chars().all(plain)
}
