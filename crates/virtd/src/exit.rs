//! How `fence_virtd` ends, as numbers. The first and the last two are the C daemon's.

/// It ended because it was told to; or it runs in the background and listens; or what was asked for
/// on the command line has been done.
pub const SUCCESS: u8 = 0;
/// It could not start: a listener, the pid file, no hypervisor within reach.
pub const START_FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The configuration, or a key file it needs, is wrong or missing.
pub const CONFIGURATION: u8 = 255;

/// Why it ends, and with which number.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to tell the administrator: what is wrong and how to mend it.
    pub message: String,
}

impl Failure {
    /// The configuration is wrong.
    #[must_use]
    pub fn configuration(message: impl ToString) -> Self {
        Self {
            code: CONFIGURATION,
            message: message.to_string(),
        }
    }

    /// It cannot start.
    #[must_use]
    pub fn start(message: impl ToString) -> Self {
        Self {
            code: START_FAILURE,
            message: message.to_string(),
        }
    }
}
