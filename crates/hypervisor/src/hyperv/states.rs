//! Hyper-V's numbers and what they are worth.

use crate::GuestState;

/// What a value of `EnabledState` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The state in the words of this crate.
    pub(super) state: GuestState,
    /// What Hyper-V calls it.
    pub(super) word: &'static str,
    /// Whether it has a worker process, or may have one.
    pub(super) active: bool,
    /// Whether its memory is kept and a start would resume it.
    pub(super) saved: bool,
}

const fn active(state: GuestState, word: &'static str) -> Meaning {
    Meaning {
        state,
        word,
        active: true,
        saved: false,
    }
}

const fn off(word: &'static str) -> Meaning {
    Meaning {
        state: GuestState::ShutOff,
        word,
        active: false,
        saved: false,
    }
}

const fn saved(word: &'static str) -> Meaning {
    Meaning {
        state: GuestState::ShutOff,
        word,
        active: false,
        saved: true,
    }
}

/// The meaning of `EnabledState`. The numbers of both namespaces are taken in both: they do not overlap.
///
/// | | off | on: saved | on |
/// |---|---|---|---|
/// | both | 3, 32782 (critical) | | 2, 32773, 32776, 32777 |
/// | v2 | | 6 | 4, 9, 10, 11 |
/// | v1 | | 32769, 32779 | 32768, 32770, 32771, 32774, 32780 |
/// | critical: storage is gone | | 32784, 32791 | 32781, 32783, 32785 to 32790, 32792, 32793 |
///
/// Source: the references of `Msvm_ComputerSystem` and its `RequestStateChange`, of both namespaces. Any other number means
/// that nothing is known.
pub(super) const fn meaning(enabled: u32) -> Meaning {
    use GuestState as S;
    match enabled {
        2 => active(S::Running, ""),
        3 => off(""),
        32782 => off("its storage is out of reach"),
        4 | 32774 => active(S::ShuttingDown, "stopping"),
        6 | 32769 => saved("saved"),
        32779 => saved("fast-saved"),
        9 | 32768 => active(S::Paused, ""),
        10 | 32770 => active(S::Running, "starting"),
        11 => active(S::Running, "being reset"),
        32771 => active(S::Running, "a checkpoint is being taken"),
        32773 => active(S::Running, "being saved"),
        32776 => active(S::Running, "pausing"),
        32777 => active(S::Paused, "resuming"),
        32780 => active(S::Running, "being fast-saved"),
        32781 => active(S::Running, "its storage is out of reach"),
        32783 => active(S::ShuttingDown, "stopping, its storage is out of reach"),
        32784 => saved("saved, its storage is out of reach"),
        32785 => active(S::Paused, "its storage is out of reach"),
        32786 => active(S::Running, "starting, its storage is out of reach"),
        32787 => active(S::Running, "being reset, its storage is out of reach"),
        32788 => active(S::Running, "being saved, its storage is out of reach"),
        32789 => active(S::Running, "pausing, its storage is out of reach"),
        32790 => active(S::Paused, "resuming, its storage is out of reach"),
        32791 => saved("fast-saved, its storage is out of reach"),
        32792 | 32793 => active(S::Running, "in transition, its storage is out of reach"),
        other => Meaning {
            // No state of Hyper-V comes near the limit.
            state: S::Other(if other > 1_000_000 {
                -1
            } else {
                other.cast_signed()
            }),
            word: "a state this program does not know",
            active: true,
            saved: false,
        },
    }
}

/// What `RequestStateChange` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Start.
    On,
    /// Cut the power, and discard a saved memory.
    Off,
}

impl Wanted {
    /// The number, the same in both namespaces.
    pub(super) const fn number(self) -> &'static str {
        match self {
            Self::On => "2",
            Self::Off => "3",
        }
    }
}

/// What a method says it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// 0: done.
    Done,
    /// 4096: a job does it.
    Started,
    /// 32775, 32774, 7 and 6: not in this state, or not now. Its present state decides what that means.
    NotNow(u32),
    /// 32769: the login may not.
    Denied,
    /// 3, 32771 and 32772: timed out, status unknown. It may take effect yet.
    Unclear(u32),
    /// Anything else.
    Failed(u32),
}

/// The meaning of `ReturnValue`.
pub(super) const fn answer(value: u32) -> Answer {
    match value {
        0 => Answer::Done,
        4096 => Answer::Started,
        32775 | 32774 | 7 | 6 => Answer::NotNow(value),
        32769 => Answer::Denied,
        3 | 32771 | 32772 => Answer::Unclear(value),
        other => Answer::Failed(other),
    }
}

/// What a value of `ReturnValue` is called (references of the methods; CIM_EnabledLogicalElement).
pub(super) const fn word(value: u32) -> &'static str {
    match value {
        1 | 32770 => "not supported",
        2 | 32768 => "failed",
        3 | 32772 => "timed out",
        4 | 5 | 32773 => "invalid parameter",
        6 | 32774 => "in use",
        7 | 4097 | 32775 => "invalid state for this operation",
        4098 => "no time-outs are supported",
        4099 => "busy",
        32769 => "access denied",
        32771 => "status unknown",
        32776 => "wrong data type",
        32777 => "not available",
        32778 => "out of memory",
        32779 => "file not found",
        _ => "no meaning known",
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// It goes on, or its state says nothing.
    Running,
    /// It has ended well.
    Completed,
    /// It has ended otherwise.
    Failed,
}

/// The meaning of `JobState` (CIM_ConcreteJob; 32768 is Microsoft's "completed with warnings").
pub(super) const fn job(state: u32) -> Job {
    match state {
        7 | 32768 => Job::Completed,
        8..=10 => Job::Failed,
        _ => Job::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number the references name: only 3 and 32782 are off.
    #[test]
    fn only_two_states_are_off() {
        let named = (0..=11).chain(32768..=32793);
        for number in named.chain([12, 99, 32767, 32794, 40000, u32::MAX]) {
            let meaning = meaning(number);
            let is_off = meaning.state == GuestState::ShutOff && !meaning.active && !meaning.saved;
            assert_eq!(is_off, [3, 32782].contains(&number), "{number}");
            let is_saved = [6, 32769, 32779, 32784, 32791].contains(&number);
            assert_eq!(meaning.saved, is_saved, "{number}");
        }
        for unknown in [0, 1, 5, 7, 8, 32772, 32775, 32778, 70000] {
            assert!(
                matches!(meaning(unknown).state, GuestState::Other(_)),
                "{unknown}"
            );
        }
    }

    #[test]
    fn answers_that_are_no_failures() {
        assert_eq!(answer(0), Answer::Done);
        assert_eq!(answer(4096), Answer::Started);
        assert_eq!(answer(32775), Answer::NotNow(32775));
        assert_eq!(answer(32769), Answer::Denied);
        assert_eq!(answer(32768), Answer::Failed(32768));
        for unclear in [3, 32771, 32772] {
            assert_eq!(answer(unclear), Answer::Unclear(unclear));
        }
        assert_eq!(job(4), Job::Running);
        assert_eq!(job(7), Job::Completed);
        assert_eq!(job(10), Job::Failed);
    }
}
