//! The mutual challenge between an agent and a daemon, both ends.
//!
//! ```text
//! agent                                daemon
//!   | -- challenge A (64) ------------> |
//!   | <- H(key‖A) (64), challenge B --- |
//!   | -- H(key‖B) (64) ---------------> |   only now may the daemon act
//! ```
//!
//! Each end uses the hash it was configured with; there is no negotiation. With
//! [`HashType::None`] the handshake does not exist and both ends are done at once.
//!
//! Failure edges: a wrong answer ends the handshake for good ([`HandshakeError::WrongAnswer`]); a
//! challenge that only reflects our own is refused, because answering it would hand the peer the very
//! answer it owes us ([`HandshakeError::Reflected`]); the driver ends it at its deadline.

use thiserror::Error;

use crate::hash::{DIGEST_ROOM, HashType, Key, same_digest};

/// The length of a challenge and of its answer, in bytes, whatever the hash.
pub const CHALLENGE_LEN: usize = 64;

/// Random bytes that the peer must answer.
pub type Challenge = [u8; CHALLENGE_LEN];

/// Why the peer is not who it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer does not know our key, or uses another hash.
    #[error("the peer's answer to our challenge is wrong: another key, or another hash")]
    WrongAnswer,
    /// The peer sent our own challenge back to us.
    #[error("the peer sent our own challenge back")]
    Reflected,
    /// A handshake that failed before was fed again.
    #[error("the handshake has failed already")]
    Failed,
}

/// The answer to `challenge`: H(key ‖ challenge), zero-padded to 64 bytes.
#[must_use]
pub fn answer(auth: HashType, key: &Key, challenge: &Challenge) -> [u8; DIGEST_ROOM] {
    auth.digest(key, challenge)
}

/// What both ends share: bytes of the current step, and bytes to send.
#[derive(Debug)]
struct End {
    auth: HashType,
    key: Key,
    own: Challenge,
    buffer: [u8; CHALLENGE_LEN],
    filled: usize,
    outgoing: Vec<u8>,
    failed: bool,
}

impl End {
    fn new(auth: HashType, key: &Key, own: Challenge) -> Self {
        Self {
            auth,
            key: key.clone(),
            own,
            buffer: [0; CHALLENGE_LEN],
            filled: 0,
            outgoing: Vec::new(),
            failed: false,
        }
    }

    /// Takes what is missing of the current 64 bytes; hands them out once they are complete.
    fn fill(&mut self, bytes: &[u8]) -> (usize, Option<Challenge>) {
        let taken = bytes.len().min(CHALLENGE_LEN - self.filled);
        self.buffer[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        if self.filled < CHALLENGE_LEN {
            return (taken, None);
        }
        self.filled = 0;
        (taken, Some(self.buffer))
    }

    fn check_answer(&self, got: &Challenge) -> Result<(), HandshakeError> {
        if same_digest(&answer(self.auth, &self.key, &self.own), got) {
            Ok(())
        } else {
            Err(HandshakeError::WrongAnswer)
        }
    }

    fn answer_to(&self, challenge: &Challenge) -> Result<[u8; DIGEST_ROOM], HandshakeError> {
        if *challenge == self.own {
            return Err(HandshakeError::Reflected);
        }
        Ok(answer(self.auth, &self.key, challenge))
    }
}

macro_rules! driver_surface {
    ($end:ident) => {
        impl $end {
            /// Bytes to send now, in order; none when it is the peer's turn.
            pub fn transmit(&mut self) -> Option<Vec<u8>> {
                let out = std::mem::take(&mut self.end.outgoing);
                (!out.is_empty()).then_some(out)
            }

            /// How many bytes the current step still lacks; 0 once the handshake is over. Bytes
            /// beyond them belong to what follows the handshake.
            #[must_use]
            pub const fn need(&self) -> usize {
                if self.is_done() || self.end.failed {
                    0
                } else {
                    CHALLENGE_LEN - self.end.filled
                }
            }

            /// Feeds bytes from the peer; returns how many were used.
            ///
            /// # Errors
            /// [`HandshakeError`] when the peer failed; the connection is then of no use.
            pub fn receive(&mut self, bytes: &[u8]) -> Result<usize, HandshakeError> {
                if self.end.failed {
                    return Err(HandshakeError::Failed);
                }
                let mut used = 0;
                while used < bytes.len() && !self.is_done() {
                    let (taken, complete) = self.end.fill(&bytes[used..]);
                    used += taken;
                    if let Some(complete) = complete {
                        self.step(&complete)
                            .inspect_err(|_| self.end.failed = true)?;
                    }
                }
                Ok(used)
            }
        }
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentStep {
    AwaitAnswer,
    AwaitChallenge,
    Done,
}

/// The agent's end: challenges first.
#[derive(Debug)]
pub struct AgentHandshake {
    end: End,
    step: AgentStep,
}

impl AgentHandshake {
    /// Begins a handshake with `challenge`, 64 fresh random bytes.
    #[must_use]
    pub fn new(auth: HashType, key: &Key, challenge: Challenge) -> Self {
        let mut end = End::new(auth, key, challenge);
        let step = if auth == HashType::None {
            AgentStep::Done
        } else {
            end.outgoing.extend(challenge);
            AgentStep::AwaitAnswer
        };
        Self { end, step }
    }

    /// Whether the daemon has proven itself and our answer is ready for [`Self::transmit`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.step, AgentStep::Done)
    }

    fn step(&mut self, bytes: &Challenge) -> Result<(), HandshakeError> {
        self.step = match self.step {
            AgentStep::AwaitAnswer => {
                self.end.check_answer(bytes)?;
                AgentStep::AwaitChallenge
            }
            AgentStep::AwaitChallenge | AgentStep::Done => {
                let answer = self.end.answer_to(bytes)?;
                self.end.outgoing.extend(answer);
                AgentStep::Done
            }
        };
        Ok(())
    }
}

driver_surface!(AgentHandshake);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DaemonStep {
    AwaitChallenge,
    AwaitAnswer,
    Done,
}

/// The daemon's end: is challenged, then challenges. It must not act before [`Self::is_done`].
#[derive(Debug)]
pub struct DaemonHandshake {
    end: End,
    step: DaemonStep,
}

impl DaemonHandshake {
    /// Begins a handshake; `challenge` is 64 fresh random bytes.
    #[must_use]
    pub fn new(auth: HashType, key: &Key, challenge: Challenge) -> Self {
        let step = if auth == HashType::None {
            DaemonStep::Done
        } else {
            DaemonStep::AwaitChallenge
        };
        Self {
            end: End::new(auth, key, challenge),
            step,
        }
    }

    /// Whether the agent has proven itself.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.step, DaemonStep::Done)
    }

    fn step(&mut self, bytes: &Challenge) -> Result<(), HandshakeError> {
        self.step = match self.step {
            DaemonStep::AwaitChallenge => {
                let answer = self.end.answer_to(bytes)?;
                self.end.outgoing.extend(answer);
                self.end.outgoing.extend(self.end.own);
                DaemonStep::AwaitAnswer
            }
            DaemonStep::AwaitAnswer | DaemonStep::Done => {
                self.end.check_answer(bytes)?;
                DaemonStep::Done
            }
        };
        Ok(())
    }
}

driver_surface!(DaemonHandshake);
