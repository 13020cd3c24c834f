//! How `picket-target` ends, as numbers.

/// It ended because it was told to; or what was asked for was done.
pub const SUCCESS: u8 = 0;
/// It could not start: a disk, an address, the directory of journals.
pub const START_FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The configuration, or a secret it needs, is wrong or missing.
pub const CONFIGURATION: u8 = 3;
/// The server was reached and says no.
pub const REFUSED: u8 = 4;
/// The server could not be reached.
pub const UNREACHABLE: u8 = 5;
/// The server was reached and has not answered: what was asked for may or may not have been done.
pub const UNKNOWN: u8 = 6;
/// It ended as it was told, but not cleanly: what initiators had written could not be made durable, or commands were at a disk
/// still.
pub const UNCLEAN: u8 = 7;

/// Why a program ends, and with which number.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to tell the administrator.
    pub message: String,
}

impl Failure {
    /// An end with `code`.
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
