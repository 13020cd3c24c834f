//! What vSphere says of a guest, and what that counts as.

use jiff::Timestamp;

use crate::web::printable;
use crate::{Guest, GuestState, Observation};

/// `VirtualMachinePowerState`, in either interface's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PowerState {
    /// It executes.
    On,
    /// It does not, and nothing of it is kept.
    Off,
    /// It does not, and its memory is kept in a file, to go on from.
    Suspended,
    /// A word that is not known here.
    Other(String),
}

impl PowerState {
    /// Reads `poweredOn` and the like (SOAP), or `POWERED_ON` (REST).
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "poweredOn" | "POWERED_ON" => Self::On,
            "poweredOff" | "POWERED_OFF" => Self::Off,
            "suspended" | "SUSPENDED" => Self::Suspended,
            other => Self::Other(plain(other)),
        }
    }

    fn word(&self) -> &str {
        match self {
            Self::On => "powered on",
            Self::Off => "powered off",
            Self::Suspended => "suspended",
            Self::Other(word) => word,
        }
    }
}

/// Makes an observation of what was reported.
///
/// `doubt` says why the report may be old, if it may: vCenter goes on showing the last state of guests whose host it has lost.
/// Such a state is neither on nor off.
///
/// | reported | doubt | observation | counts as |
/// |---|---|---|---|
/// | powered on | no | running | on |
/// | suspended | no | shut off, with a memory image it would go on from | on (I10) |
/// | powered off | no | shut off | off |
/// | any other word, or none | | no state, not active | unknown |
/// | any | yes | no state, not active | unknown |
pub(super) fn observation(
    guest: Guest,
    reported: Option<&PowerState>,
    doubt: Option<&str>,
    question: Option<&str>,
    by: &str,
) -> Observation {
    let word = reported.map_or("nothing", PowerState::word);
    let (state, active, resumable, reason) = match (reported, doubt) {
        (_, Some(doubt)) => {
            let reason = format!("not known: {doubt}; reported is: {word}");
            (GuestState::NoState, false, false, reason)
        }
        (Some(PowerState::On), None) => (GuestState::Running, true, false, word.to_owned()),
        (Some(PowerState::Off), None) => (GuestState::ShutOff, false, false, word.to_owned()),
        (Some(PowerState::Suspended), None) => (GuestState::ShutOff, false, true, word.to_owned()),
        (Some(PowerState::Other(_)) | None, None) => {
            let reason = format!("not known: reported is: {word}");
            (GuestState::NoState, false, false, reason)
        }
    };
    let reason = match question {
        Some(question) => format!("{reason}; it waits for an answer to: {question}"),
        None => reason,
    };
    Observation {
        guest,
        state,
        reason,
        active,
        persistent: true,
        resumable,
        by: by.to_owned(),
        at: Timestamp::now(),
    }
}

/// A text from the server for people: bounded, on one line.
pub(super) fn plain(text: &str) -> String {
    printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::Power;

    fn power(word: Option<&str>, doubt: Option<&str>) -> Power {
        let guest = Guest {
            name: "vm".to_owned(),
            uuid: Uuid::nil(),
        };
        let reported = word.map(PowerState::parse);
        observation(guest, reported.as_ref(), doubt, None, "test").power()
    }

    #[test]
    fn every_word_has_its_meaning() {
        for (words, expected) in [
            (["poweredOn", "POWERED_ON"], Power::On),
            (["poweredOff", "POWERED_OFF"], Power::Off),
            (["suspended", "SUSPENDED"], Power::On),
            (["poweredoff", "off"], Power::Unknown),
        ] {
            for word in words {
                assert_eq!(power(Some(word), None), expected, "{word}");
                assert_eq!(
                    power(Some(word), Some("host lost")),
                    Power::Unknown,
                    "{word}"
                );
            }
        }
        assert_eq!(power(None, None), Power::Unknown);
    }

    proptest! {
        #[test]
        fn off_is_one_word_without_doubt(word in ".*", doubt in proptest::option::of(".*")) {
            let off = power(Some(&word), doubt.as_deref()) == Power::Off;
            prop_assert_eq!(off, doubt.is_none() && ["poweredOff", "POWERED_OFF"].contains(&word.as_str()));
        }
    }
}
