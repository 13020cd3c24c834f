//! What an agent's exit status means. This module is the only place where the numbers are written.
//!
//! | status | constant | meaning |
//! |---|---|---|
//! | 0 | [`Exit::OK`] | done and confirmed; for `status`: the plug is on |
//! | 1 | [`Exit::FAILED`] | not done, not confirmed, cannot tell, or wrong use |
//! | 2 | [`Exit::OFF`] | `status` only: the plug was seen to be off |
//! | 3 | [`Exit::DENIED`] | `fence_xvm` and `fence_virt` only: the host's access rules refuse this guest |
//!
//! An agent never exits 0 or 2 without an answer from something that can know. "Could not reach" and
//! "cannot know" share status 1, because FenceAgentAPI gives callers only that one; they differ in
//! [`Failure`](crate::Failure) and in the message.

use std::process::ExitCode;

/// The exit status of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Done and confirmed; `status`: on.
    pub const OK: Self = Self(0);
    /// Not done, not confirmed, cannot tell, or wrong use.
    pub const FAILED: Self = Self(1);
    /// `status`: off.
    pub const OFF: Self = Self(2);
    /// Refused by the access rules of the fencing host.
    pub const DENIED: Self = Self(3);

    /// The number the caller sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_agent_api() {
        let numbers = [Exit::OK, Exit::FAILED, Exit::OFF, Exit::DENIED].map(Exit::code);
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
}
