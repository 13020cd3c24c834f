//! Sequence numbers that wrap (RFC 7143, "Serial Number Arithmetic"; RFC 1982).

use std::fmt;

/// A CmdSN, StatSN or the like: 32 bits that wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Serial(pub u32);

impl Serial {
    /// The number `count` further on.
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// Whether it comes before `other`: within half the circle.
    #[must_use]
    pub const fn precedes(self, other: Self) -> bool {
        let ahead = other.0.wrapping_sub(self.0);
        ahead != 0 && ahead < 1 << 31
    }

    /// Whether it lies between `first` and `last`, both included. An empty window is one whose `last` comes just before
    /// its `first`.
    #[must_use]
    pub const fn within(self, first: Self, last: Self) -> bool {
        !self.precedes(first) && !last.precedes(self)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        let (last, first) = (Serial(u32::MAX), Serial(0));
        assert!(last.precedes(first) && !first.precedes(last));
        assert_eq!(last.plus(1), first);
        assert!(!first.precedes(first));
    }

    #[test]
    fn windows_wrap_and_may_be_empty() {
        let (first, last) = (Serial(u32::MAX - 1), Serial(2));
        for inside in [u32::MAX - 1, u32::MAX, 0, 2] {
            assert!(Serial(inside).within(first, last), "{inside}");
        }
        for outside in [u32::MAX - 2, 3, 1 << 30] {
            assert!(!Serial(outside).within(first, last), "{outside}");
        }
        assert!(!Serial(5).within(Serial(5), Serial(4)));
    }
}
