//! Why a device gave no answer.

use std::io;

use iscsi::login::LoginError;

use crate::{AddressError, SecretError};

/// What is known of a command that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It was not sent: the device could not be reached, or not in time.
    NotSent,
    /// It was not sent: the device, or this machine, said no.
    Refused,
    /// It may have been carried out, or may yet be.
    Unknown,
}

/// What a command that was sent was lost by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LostBy {
    /// No answer in time.
    #[error("no answer in time")]
    Expired,
    /// The connection or the device node failed.
    #[error("input or output")]
    Io(#[source] io::Error),
    /// The target broke the protocol, and the session was ended.
    #[error("the target broke the protocol: {0}")]
    Protocol(String),
    /// The target ended the session, or asked for that.
    #[error("the target ended the session")]
    Closed,
    /// The kernel's path failed: `host_status` and `driver_status` of SG_IO.
    #[error("the path failed (host status {host:#x}, driver status {driver:#x})")]
    Path {
        /// `host_status`
        host: u16,
        /// `driver_status`
        driver: u16,
    },
    /// An answer that no SCSI device gives.
    #[error("the target failed (iSCSI response {0:#x})")]
    Target(u8),
}

/// Why a device gave no answer. It names the device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The device node cannot be opened, or takes no SCSI commands.
    #[error("{device}")]
    Node {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection: nothing was sent.
    #[error("{device} cannot be reached")]
    Unreachable {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The login failed: no session.
    #[error("{device}")]
    Login {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: LoginError,
    },
    /// This machine's initiator name is not known.
    #[error("{device}: this machine's iSCSI initiator name is not known ({reason})")]
    NoInitiatorName {
        /// The device.
        device: String,
        /// What is wrong with the file it should be in.
        reason: String,
    },
    /// The deadline had passed, or the session had ended before: the command was not sent.
    #[error("{device}: not sent: {reason}")]
    NotSent {
        /// The device.
        device: String,
        /// Why.
        reason: &'static str,
    },
    /// A command that cannot be sent at all: a length or direction that does not exist.
    #[error("{device}: a command that cannot be sent: {reason}")]
    Unusable {
        /// The device.
        device: String,
        /// Why.
        reason: &'static str,
    },
    /// The command was sent, and nobody knows what became of it.
    #[error("{device}: what became of the command is not known")]
    Lost {
        /// The device.
        device: String,
        /// What it was lost by.
        #[source]
        source: LostBy,
    },
}

impl DeviceError {
    /// What is known of the command.
    #[must_use]
    pub const fn certainty(&self) -> Certainty {
        match self {
            Self::Unreachable { .. } | Self::NotSent { .. } => Certainty::NotSent,
            Self::Lost { .. } => Certainty::Unknown,
            _ => Certainty::Refused,
        }
    }
}
