//! Why there is no answer to be used.

use crate::Fault;

/// What went wrong between a request and an answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with a fault.
    #[error("{0}")]
    Fault(Fault),
    /// What came is no reply of this protocol.
    #[error("the reply cannot be used: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// What came answers another request.
    #[error("the reply is to another request")]
    Unrelated,
    /// A property is missing, or its value is not of its kind.
    #[error("the reply cannot be used: {class}.{name} {problem}")]
    Property {
        /// The class of the instance.
        class: String,
        /// The property.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A text cannot be sent: XML has no way to write it.
    #[error("`{}` holds a character that cannot be sent", text.escape_default())]
    Unspeakable {
        /// The text.
        text: String,
    },
}

impl Error {
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed {
            detail: detail.into(),
        }
    }
}
