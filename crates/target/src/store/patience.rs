//! Calls that nearly never wait are tried on the spot; after one that did, the next are left to others for a while.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A call that takes so long has waited for something: copying 256 KiB takes a tenth of it.
const LONG: Duration = Duration::from_millis(2);

/// How many calls are left to others after one that was long: while a disk is congested, one in so many waits on the
/// thread of a connection.
const LESSON: u32 = 128;

/// Whether a call is worth trying.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// How many calls still go to others.
    lesson: AtomicU32,
}

impl Patience {
    /// Whether no recent call was long.
    pub(super) fn may_try(&self) -> bool {
        // Threads may disagree about the count: it is no more than a habit.
        let lesson = self.lesson.load(Ordering::Relaxed);
        if lesson > 0 {
            self.lesson.store(lesson - 1, Ordering::Relaxed);
        }
        lesson == 0
    }

    /// Makes a call and learns from how long it took.
    pub(super) fn watch<R>(&self, call: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = call();
        if begun.elapsed() > LONG {
            self.lesson.store(LESSON, Ordering::Relaxed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn after_a_long_call_others_do_the_work_for_a_while() {
        let patience = Patience::default();
        patience.watch(|| ());
        assert!(patience.may_try());
        patience.watch(|| thread::sleep(LONG * 2));
        for _ in 0..LESSON {
            assert!(!patience.may_try());
        }
        assert!(patience.may_try());
    }
}
