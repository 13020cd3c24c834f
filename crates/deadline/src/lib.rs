//! A point in time by which work must have ended, as a value.
//!
//! Every wait in this workspace takes a [`Deadline`] instead of a duration, so that a request which
//! passes through several waits still ends when its caller expects it to. It is measured on the
//! monotonic clock: a step of the wall clock changes nothing.

use std::time::{Duration, Instant};

/// The latest moment at which a piece of work may still be going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `limit` from now. A limit too large for the clock counts as a century.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
        let now = Instant::now();
        Self(now.checked_add(limit).unwrap_or_else(|| now + CENTURY))
    }

    /// The deadline at exactly `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The moment itself.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// The time left, zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this deadline and one `limit` from now: for a step that has a limit of its own.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_never_extends() {
        let near = Deadline::after(Duration::from_millis(10));
        assert_eq!(near.within(Duration::from_secs(60)), near);
        assert!(Deadline::after(Duration::from_secs(60)).within(Duration::from_millis(1)) < near);
    }

    #[test]
    fn a_huge_limit_does_not_overflow() {
        assert!(!Deadline::after(Duration::MAX).has_passed());
    }
}
