//! One question to libvirt: asked by a caller with a deadline, carried out by a worker thread.
//!
//! The two share a [`Call`]. Every step of it is taken under one lock, so that caller and worker
//! always agree on what has happened:
//!
//! ```text
//!            begin()        act()            finish()
//!   Queued ─────────▶ Running ─────▶ Acting ─────────▶ Done ──▶ Taken
//!      │                 │             │
//!      └──── give_up() ──┴─────────────┴──▶ GivenUp { acting }
//! ```
//!
//! A call that was given up is never begun, and one that was given up or whose deadline has passed
//! never goes from `Running` to `Acting`: what the caller was told ("nothing was switched" or "it
//! may still take effect") stays true (W6).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Deadline, Error, Guest};

/// The caller no longer waits, or its deadline has passed: the action must not be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLate;

/// Where a call is, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// No worker has taken it.
    Queued,
    /// A worker asks harmless questions.
    Running,
    /// A switching call on this guest was handed to libvirt.
    Acting { since: Instant, guest: Guest },
    /// There is a result.
    Done,
}

#[derive(Debug)]
enum Stage<T> {
    Queued,
    Running,
    Acting { since: Instant, guest: Guest },
    Done(Result<T, Error>),
    Taken,
    GivenUp { acting: Option<Guest> },
}

impl<T> Stage<T> {
    fn progress(&self) -> Progress {
        match self {
            Self::Queued => Progress::Queued,
            Self::Running => Progress::Running,
            Self::Acting { since, guest } => Progress::Acting {
                since: *since,
                guest: guest.clone(),
            },
            Self::Done(_) | Self::Taken | Self::GivenUp { .. } => Progress::Done,
        }
    }
}

/// How a caller stopped waiting.
#[derive(Debug)]
pub(super) enum GaveUp<T> {
    /// The result came at the last moment.
    NotNeeded(Result<T, Error>),
    /// There is none; `acting` says whether a switching call is under way.
    Yes { acting: bool },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Call<T> {
    stage: Mutex<Stage<T>>,
    changed: Condvar,
    deadline: Deadline,
    made: Instant,
}

impl<T> Call<T> {
    pub(super) fn new(deadline: Deadline) -> Self {
        let (stage, changed) = (Mutex::new(Stage::Queued), Condvar::new());
        Self {
            stage,
            changed,
            deadline,
            made: Instant::now(),
        }
    }

    /// How long ago it was made.
    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// When the caller wants its answer.
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    // The worker's side.

    /// Takes the call from the queue; false if nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        let mut stage = self.stage();
        let begin = matches!(*stage, Stage::Queued) && !self.deadline.has_passed();
        if begin {
            *stage = Stage::Running;
        }
        begin
    }

    /// To be called immediately before libvirt is told to switch `guest`.
    pub(super) fn act(&self, guest: &Guest) -> Result<(), TooLate> {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Running) || self.deadline.has_passed() {
            return Err(TooLate);
        }
        *stage = Stage::Acting {
            since: Instant::now(),
            guest: guest.clone(),
        };
        self.changed.notify_all();
        Ok(())
    }

    /// Hands over the result. It comes back if the caller has given up after an action on a guest
    /// was begun: then somebody else must hear of it.
    pub(super) fn finish(&self, result: Result<T, Error>) -> Option<(Guest, Result<T, Error>)> {
        let mut stage = self.stage();
        if let Stage::GivenUp { acting } = &*stage {
            return acting.clone().map(|guest| (guest, result));
        }
        *stage = Stage::Done(result);
        self.changed.notify_all();
        None
    }

    // The caller's side.

    /// Whether anybody still waits.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(*self.stage(), Stage::GivenUp { .. })
    }

    /// Whether a switching call is under way and somebody waits for it.
    pub(super) fn is_acting(&self) -> bool {
        matches!(*self.stage(), Stage::Acting { .. })
    }

    /// Waits until the call is no longer where it was `seen`, at most until `until`.
    pub(super) fn wait(&self, seen: &Progress, until: Instant) -> Progress {
        let mut stage = self.stage();
        loop {
            let now = stage.progress();
            let left = until.saturating_duration_since(Instant::now());
            if now != *seen || now == Progress::Done || left.is_zero() {
                return now;
            }
            stage = self
                .changed
                .wait_timeout(stage, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Stops waiting: takes the result if there is one, else makes sure that no action is begun.
    pub(super) fn give_up(&self) -> GaveUp<T> {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Done(result) => GaveUp::NotNeeded(result),
            Stage::Acting { guest, .. } => {
                *stage = Stage::GivenUp {
                    acting: Some(guest),
                };
                GaveUp::Yes { acting: true }
            }
            Stage::Queued | Stage::Running | Stage::Taken | Stage::GivenUp { .. } => {
                *stage = Stage::GivenUp { acting: None };
                GaveUp::Yes { acting: false }
            }
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage<T>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn guest() -> Guest {
        Guest {
            name: "vm".to_owned(),
            uuid: Uuid::nil(),
        }
    }

    fn ample() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Begin,
        Act,
        Finish,
        GiveUp,
    }

    proptest! {
        /// Whatever the order of steps: a caller that was told "nothing was switched" is right, an
        /// action is begun at most once, and a result is delivered exactly once.
        #[test]
        fn caller_and_worker_agree(
            steps in proptest::collection::vec(
                prop_oneof![Just(Step::Begin), Just(Step::Act), Just(Step::Finish), Just(Step::GiveUp)],
                0..12,
            ),
        ) {
            let call = Call::new(ample());
            let (mut acted, mut told, mut finished, mut delivered) = (0, None, false, 0);
            for step in steps {
                match step {
                    Step::Begin => drop(call.begin()),
                    Step::Act => acted += u32::from(call.act(&guest()).is_ok()),
                    Step::Finish if finished => {}
                    Step::Finish => {
                        finished = true;
                        delivered += u32::from(call.finish(Ok(())).is_some());
                    }
                    Step::GiveUp if told.is_some() => {}
                    Step::GiveUp => match call.give_up() {
                        GaveUp::Yes { acting } => told = Some(acting),
                        GaveUp::NotNeeded(_) => {
                            delivered += 1;
                            told = Some(true);
                        }
                    },
                }
                prop_assert!(acted <= 1);
                prop_assert!(delivered <= 1);
                if told == Some(false) {
                    prop_assert_eq!(acted, 0);
                    prop_assert_eq!(call.act(&guest()), Err(TooLate));
                }
            }
        }
    }

    #[test]
    fn nothing_is_begun_past_the_deadline() {
        let late = Call::<()>::new(Deadline::after(Duration::ZERO));
        assert!(!late.begin());
        let deadline = Deadline::after(Duration::from_millis(30));
        let call = Call::<()>::new(deadline);
        assert!(call.begin());
        while !deadline.has_passed() {
            std::thread::yield_now();
        }
        assert_eq!(call.act(&guest()), Err(TooLate));
    }

    #[test]
    fn a_waiting_caller_sees_each_stage() {
        let call = Call::new(ample());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(call.begin());
                call.act(&guest()).unwrap();
                assert!(call.finish(Ok(7)).is_none());
            });
            let mut seen = Progress::Queued;
            while seen != Progress::Done {
                seen = call.wait(&seen, ample().instant());
            }
        });
        assert!(matches!(call.give_up(), GaveUp::NotNeeded(Ok(7))));
    }
}
