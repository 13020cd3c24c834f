//! What an agent's exit status means. This module is the only place where the numbers are written.
//!
//! | status | constant | meaning |
//! |---|---|---|
//! | 0 | [`Exit::OK`] | done and confirmed; for `status`: the plug is on |
//! | 1 | [`Exit::FAILED`] | not done, not confirmed, cannot tell, or wrong use |
//! | 2 | [`Exit::OFF`] | `status` only: the plug was seen to be off |
//! | 3 | [`Exit::DENIED`] | `fence_xvm` and `fence_virt` only: the host's access rules refuse this guest |
//! | 255 | [`Exit::NO_ANSWER`] | `fence_xvm` and `fence_virt` only: the request went out, the answer never came |
//! | other | [`Exit::unknown_reply`] | `fence_xvm` and `fence_virt` only: the host's reply, which nobody knows |
//! | other | [`Exit::not_repaired`] | watchdog checks called with `repair N` only: N |
//!
//! An agent never exits 0 or 2 without an answer from something that can know. FenceAgentAPI gives
//! its callers only status 1 for everything else; 3, 255 and the unknown replies are what the C
//! programs `fence_xvm` and `fence_virt` have always used.

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

    /// The request went out, the answer never came: the action may or may not have been carried out.
    pub const NO_ANSWER: Self = Self(255);

    /// The status for a reply byte that has no meaning. It is never a success: the bytes that have
    /// a meaning of their own end as [`Exit::FAILED`].
    #[must_use]
    pub const fn unknown_reply(reply: u8) -> Self {
        if reply <= Self::DENIED.0 {
            Self::FAILED
        } else {
            Self(reply)
        }
    }

    /// The error that the watchdog daemon asked a check to repair, handed back: nothing was repaired.
    #[must_use]
    pub const fn not_repaired(error: u8) -> Self {
        Self(error)
    }

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
        let numbers = [
            Exit::OK,
            Exit::FAILED,
            Exit::OFF,
            Exit::DENIED,
            Exit::NO_ANSWER,
        ];
        assert_eq!(numbers.map(Exit::code), [0, 1, 2, 3, 255]);
    }

    #[test]
    fn an_unknown_reply_is_never_a_success() {
        for reply in 0..=u8::MAX {
            let exit = Exit::unknown_reply(reply);
            assert!(
                exit != Exit::OK && exit != Exit::OFF && exit != Exit::DENIED,
                "{reply}"
            );
        }
        assert_eq!(Exit::unknown_reply(254).code(), 254);
    }
}
