//! Why there is no response.

use std::time::Duration;

/// Why a request was not answered. Messages read after "failed: " and name the remedy where there is one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request breaks a rule of HTTP: a mistake of the program or of a value it was given. Nothing was sent.
    #[error("the request cannot be sent: {detail}")]
    Unsendable {
        /// Which rule.
        detail: String,
    },
    /// The name has no address.
    #[error("the name `{host}` has no address: {detail}")]
    NoAddress {
        /// The name.
        host: String,
        /// The resolver's reason.
        detail: String,
    },
    /// No connection was made.
    #[error("no connection to {peer}: {detail}")]
    NotConnected {
        /// Address and port.
        peer: String,
        /// Why.
        detail: String,
    },
    /// TLS was not agreed, or the certificate not accepted.
    #[error("no trusted TLS connection to {peer}: {detail}")]
    Tls {
        /// Address and port.
        peer: String,
        /// Why, and what would help.
        detail: String,
    },
    /// The deadline passed.
    #[error("{peer} gave no answer within {waited:.1?} while {doing}")]
    DeadlinePassed {
        /// Address and port.
        peer: String,
        /// What was being done.
        doing: &'static str,
        /// For how long.
        waited: Duration,
        /// Whether a byte of the request had left.
        sent: bool,
    },
    /// The connection ended before the response did.
    #[error("{peer} closed the connection {when}")]
    Closed {
        /// Address and port.
        peer: String,
        /// At which point.
        when: &'static str,
        /// Whether a byte of the request had left.
        sent: bool,
    },
    /// What came is not HTTP, or more than is taken.
    #[error("the answer of {peer} cannot be used: {detail}")]
    Malformed {
        /// Address and port.
        peer: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The caller was asked to end.
    #[error("interrupted while {doing}")]
    Interrupted {
        /// What was being done.
        doing: &'static str,
        /// Whether a byte of the request had left.
        sent: bool,
    },
}

impl Error {
    /// Whether the server may have received the request and acted on it.
    #[must_use]
    pub const fn may_have_been_carried_out(&self) -> bool {
        match self {
            Self::Unsendable { .. }
            | Self::NoAddress { .. }
            | Self::NotConnected { .. }
            | Self::Tls { .. } => false,
            Self::Malformed { .. } => true,
            Self::DeadlinePassed { sent, .. }
            | Self::Closed { sent, .. }
            | Self::Interrupted { sent, .. } => *sent,
        }
    }
}
