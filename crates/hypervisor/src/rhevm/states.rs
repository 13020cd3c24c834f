//! The states of a guest as the engine words them, and what each means here.

use crate::GuestState;

/// A state of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The engine's word, in the case that the interface documents; version 2 wrote capitals.
    pub word: String,
    meaning: Meaning,
}

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meaning {
    state: GuestState,
    active: bool,
    resumable: bool,
}

impl Meaning {
    const fn active(state: GuestState) -> Self {
        Self {
            state,
            active: true,
            resumable: false,
        }
    }

    const fn inactive(state: GuestState, resumable: bool) -> Self {
        Self {
            state,
            active: false,
            resumable,
        }
    }
}

/// Every word of the interface (`VmStatus`), with what it means.
///
/// | word | state | power |
/// |---|---|---|
/// | `down` | shut off | off |
/// | `up`, `powering_up`, `reboot_in_progress`, `migrating` | running | on |
/// | `wait_for_launch` | running, not launched yet: a host has been chosen | on |
/// | `powering_down` | in shutdown | on |
/// | `paused` | paused | on |
/// | `not_responding` | running: the host runs its process, which does not answer | on |
/// | `saving_state`, `restoring_state` | running, memory on its way | on |
/// | `suspended` | shut off with a saved memory image | on |
/// | `unknown` | its host does not answer | unknown |
/// | `image_locked`, `unassigned` | being set up | unknown |
/// | none, any other | – | unknown |
const WORDS: [(&str, Meaning); 15] = [
    ("down", Meaning::inactive(GuestState::ShutOff, false)),
    ("up", Meaning::active(GuestState::Running)),
    ("powering_up", Meaning::active(GuestState::Running)),
    ("reboot_in_progress", Meaning::active(GuestState::Running)),
    ("migrating", Meaning::active(GuestState::Running)),
    ("wait_for_launch", Meaning::active(GuestState::Running)),
    ("powering_down", Meaning::active(GuestState::ShuttingDown)),
    ("paused", Meaning::active(GuestState::Paused)),
    ("not_responding", Meaning::active(GuestState::Running)),
    ("saving_state", Meaning::active(GuestState::Running)),
    ("restoring_state", Meaning::active(GuestState::Running)),
    ("suspended", Meaning::inactive(GuestState::ShutOff, true)),
    ("unknown", Meaning::inactive(GuestState::NoState, false)),
    (
        "image_locked",
        Meaning::inactive(GuestState::NoState, false),
    ),
    ("unassigned", Meaning::inactive(GuestState::NoState, false)),
];

/// What a word means that is not in the table: nothing. The number is none of libvirt's.
const STRANGE: Meaning = Meaning::inactive(GuestState::Other(-1), false);

impl Status {
    /// The meaning of the engine's word. Case is not significant.
    #[must_use]
    pub fn read(word: &str) -> Self {
        let known = WORDS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(word));
        let meaning = known.map_or(STRANGE, |(_, meaning)| *meaning);
        Self {
            word: known.map_or_else(
                || super::xml::printable(word),
                |(word, _)| (*word).to_owned(),
            ),
            meaning,
        }
    }

    /// What is known of a guest that the engine tells no state of, as it does of guests with a damaged disk image: nothing.
    pub(super) fn untold() -> Self {
        Self {
            word: "the engine tells no state of it".to_owned(),
            meaning: Meaning::inactive(GuestState::NoState, false),
        }
    }

    /// In the terms of this crate.
    #[must_use]
    pub const fn state(&self) -> GuestState {
        self.meaning.state
    }

    /// Whether some host runs it.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.meaning.active
    }

    /// Whether its memory was saved and it would go on where it was.
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        self.meaning.resumable
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{Guest, Observation, Power};

    fn power(word: &str) -> Power {
        let status = Status::read(word);
        Observation {
            guest: Guest {
                name: "vm".to_owned(),
                uuid: Uuid::nil(),
            },
            state: status.state(),
            reason: status.word.clone(),
            active: status.is_active(),
            persistent: true,
            resumable: status.is_resumable(),
            by: String::new(),
            at: Timestamp::UNIX_EPOCH,
        }
        .power()
    }

    /// Facts, section 3.5: the words, and whether the guest may run or go on.
    #[test]
    fn every_word_has_its_power() {
        let on = "up powering_up powering_down reboot_in_progress wait_for_launch migrating paused not_responding \
                  suspended saving_state restoring_state";
        for word in on.split_whitespace() {
            assert_eq!(power(word), Power::On, "{word}");
        }
        for word in [
            "unknown",
            "unassigned",
            "image_locked",
            "",
            "off",
            "downing",
            "rebooting",
        ] {
            assert_eq!(power(word), Power::Unknown, "{word}");
        }
        assert_eq!(power("down"), Power::Off);
        assert_eq!(power("DOWN"), Power::Off);
        assert_eq!(Status::read("WAIT_FOR_LAUNCH").word, "wait_for_launch");
        assert_eq!(WORDS.len(), on.split_whitespace().count() + 4);
    }

    #[test]
    fn a_word_of_the_engine_cannot_forge_anything() {
        assert_eq!(Status::read("migrated").state(), GuestState::Other(-1));
        assert_eq!(Status::read("down\n").state(), GuestState::Other(-1));
        assert_eq!(Status::read("a\nb").word, "a b");
    }
}
