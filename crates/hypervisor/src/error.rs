//! Why a question or an action ended without the wanted answer.

use std::time::Duration;

use serde::Serialize;

use crate::{GuestRef, Observation};

/// The outcomes other than success that a caller must tell apart. None of them means "off".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The hypervisor was asked and does not know the guest.
    NoSuchGuest,
    /// The hypervisor could not be asked, or gave no answer; nothing was switched.
    Unreachable,
    /// The hypervisor was asked and said no; nothing was switched.
    Refused,
    /// Something may have been switched, or may run elsewhere, and nobody who can know has said what
    /// is the case.
    CannotKnow,
}

/// Why a call on a hypervisor failed. Messages read after "failed: ".
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The hypervisor itself answered that it knows no such guest.
    #[error("no guest `{guest}` is known to {by}; its guests are shown by the list action")]
    NoSuchGuest {
        /// Whom the caller asked for.
        guest: GuestRef,
        /// Who answered.
        by: String,
    },
    /// The hypervisor could not be asked.
    #[error("{by} cannot be reached: {detail}")]
    Unreachable {
        /// Who was to be asked.
        by: String,
        /// What prevented it.
        detail: String,
    },
    /// All threads that may wait for the hypervisor are waiting already.
    #[error("{by} cannot be asked: {waiting} earlier calls are still waiting for it")]
    Busy {
        /// Who was to be asked.
        by: String,
        /// Calls that have not come back.
        waiting: usize,
    },
    /// The hypervisor said no.
    #[error("{by} refused{}: {detail}", if .guest.is_empty() { String::new() } else { format!(" `{guest}`") })]
    Refused {
        /// Who refused.
        by: String,
        /// For which guest; empty if for none in particular.
        guest: String,
        /// Its reason.
        detail: String,
    },
    /// The login was refused: user or password wrong, account locked. Such a call must not be repeated at once; platforms lock
    /// accounts.
    #[error("{by} refused the login: {detail}")]
    LoginRefused {
        /// Who refused.
        by: String,
        /// Its reason, and what may help.
        detail: String,
    },
    /// The action was carried out, or nothing could be done, and what was seen after it is not what
    /// was wanted.
    #[error("`{guest}` is not confirmed by {by}: {saw}")]
    NotConfirmed {
        /// The guest concerned.
        guest: GuestRef,
        /// Who was asked.
        by: String,
        /// What was seen instead.
        saw: String,
    },
    /// The deadline passed before there was an answer.
    #[error("{by} gave no answer within {waited:.1?} while {doing}{}", if *.acted { "; the action may still take effect" } else { "" })]
    DeadlinePassed {
        /// Who was asked.
        by: String,
        /// What was being done.
        doing: String,
        /// How long the caller waited.
        waited: Duration,
        /// Whether a switching call had been handed to the hypervisor and may still take effect.
        /// If not, it never will.
        acted: bool,
    },
}

impl Error {
    /// Which of the outcomes it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchGuest { .. } => ErrorKind::NoSuchGuest,
            Self::Unreachable { .. } | Self::Busy { .. } => ErrorKind::Unreachable,
            Self::DeadlinePassed { acted: false, .. } => ErrorKind::Unreachable,
            Self::Refused { .. } | Self::LoginRefused { .. } => ErrorKind::Refused,
            Self::NotConfirmed { .. } | Self::DeadlinePassed { acted: true, .. } => {
                ErrorKind::CannotKnow
            }
        }
    }

    /// `seen` is not what was wanted of `guest`.
    pub(crate) fn not_confirmed(guest: &GuestRef, seen: &Observation) -> Self {
        Self::NotConfirmed {
            guest: guest.clone(),
            by: seen.by.clone(),
            saw: seen.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(acted: bool) -> Error {
        Error::DeadlinePassed {
            by: "x".to_owned(),
            doing: "destroying vm1".to_owned(),
            waited: Duration::from_millis(1500),
            acted,
        }
    }

    #[test]
    fn a_deadline_is_unreachable_before_the_action_and_unknown_after_it() {
        assert_eq!(late(false).kind(), ErrorKind::Unreachable);
        assert_eq!(late(true).kind(), ErrorKind::CannotKnow);
        assert_eq!(
            late(false).to_string(),
            "x gave no answer within 1.5s while destroying vm1"
        );
        assert!(late(true).to_string().ends_with("may still take effect"));
    }
}
