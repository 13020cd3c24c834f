//! The FenceAgentAPI once.
//!
//! A fence agent is a declared table ([`Agent`]) of options and actions, and a [`Behaviour`] that
//! turns checked options into a configuration and carries out an action. From the table are derived:
//! the parsing of the command line and of standard input, defaults and validation, the metadata
//! document, the help text and the man page, and the log. [`start`] runs the whole from process
//! start to exit status.
//!
//! Agents that switch plugs one at a time implement [`Device`] and hand it to the [`engine`], which
//! owns the order of operations; agents whose peer does that (`fence_xvm`: the host's daemon) carry
//! their actions out themselves.
//!
//! # Where this differs from fence-agents' library, on purpose
//!
//! - `option=` is `action=`; it never falls through to the default action, reboot.
//! - A flag set to false is not set. Limits in seconds are seconds, not numbers of polls.
//! - An unknown stdin name that looks like a slip of a known one (`plg=`) is an error; others are
//!   warned about. A value of the wrong form is an error, never ignored.
//! - When one option is given under two of its names, the current name beats the deprecated one
//!   whatever the order of lines; two different plugs under one name are an error.
//! - One deadline holds for the whole run, also when Pacemaker calls ([`RUN_LIMIT`]).
//! - Exit status 0 means that standard output was written.

mod argv;
mod clock;
pub mod common;
mod device;
pub mod engine;
mod exit;
mod failure;
mod given;
pub mod help;
mod log;
pub mod man;
pub mod memory;
pub mod metadata;
mod options;
mod session;
mod start;
mod stdin;
mod stdout;
mod table;
mod value;

pub use device::{Device, Listed, Power, Surroundings, Switch};
pub use exit::Exit;
pub use failure::{Failure, FailureKind};
pub use log::{Facility, Level, Log};
pub use options::Options;
pub use session::{RUN_LIMIT, Session, Stop, Wake};
pub use start::{Behaviour, start};
pub use table::{Action, Agent, Alias, Kind, Need, Opt};

/// Writes to standard output, all of it or an error, within [`RUN_LIMIT`]. For programs that print
/// before any agent has started.
///
/// # Errors
/// When standard output is closed, full, or not read in time.
pub fn print(text: &str) -> std::io::Result<()> {
    stdout::write(text.as_bytes(), deadline::Deadline::after(RUN_LIMIT))
}

#[cfg(test)]
mod tests;
