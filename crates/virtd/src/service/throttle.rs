//! Only so many of a kind a second.

use std::time::{Duration, Instant};

/// Lets the first few of each second through and counts the rest.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    since: Option<Instant>,
    allowed: u32,
    suppressed: u64,
}

const PER_SECOND: u32 = 5;

impl Throttle {
    /// How many were suppressed since the last one that was let through; none to suppress this one.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        let fresh = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) < Duration::from_secs(1));
        if !fresh {
            self.since = Some(now);
            self.allowed = 0;
        }
        if self.allowed >= PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.allowed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_number() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| throttle.allow(start).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(throttle.allow(start + Duration::from_secs(1)), Some(95));
        assert_eq!(throttle.allow(start + Duration::from_secs(1)), Some(0));
    }
}
