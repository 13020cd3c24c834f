//! Why an exchange cannot go on.

/// Why a message was not taken. None of the texts holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no such message.
    #[error("the {message} message of NTLM is malformed: {detail}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The other side does not offer what safety asks for.
    #[error(
        "the other side offers no {missing} (flags {flags:#010x}); only NTLMv2 with 128-bit keys is spoken"
    )]
    Weak {
        /// What it does not offer.
        missing: &'static str,
        /// What it offers, as sent.
        flags: u32,
    },
    /// The account is not known, or the proof is not one of its password.
    #[error("the account or its password is wrong")]
    WrongProof,
    /// The messages were changed on their way.
    #[error("the exchange was tampered with: its integrity code is wrong")]
    Tampered,
    /// The client speaks through another TLS connection than this one, or does not say through which.
    #[error("the client is not bound to this TLS connection")]
    NotBound,
    /// A sealed message is not the next one of this session, or was changed.
    #[error("a sealed message is not authentic: {detail}")]
    NotAuthentic {
        /// What does not fit.
        detail: &'static str,
    },
    /// The session has sealed as many messages as there are numbers for.
    #[error("the session has used up its sequence numbers")]
    Exhausted,
    /// A text is longer than a message can carry.
    #[error("the {what} is longer than NTLM can carry")]
    TooLong {
        /// Which text.
        what: &'static str,
    },
}
