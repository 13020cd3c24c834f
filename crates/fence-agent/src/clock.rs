//! The local wall-clock time, for log lines only: nothing is decided by it.
//!
//! The C library is asked, because it is in memory already: a time-zone library would add a tenth to
//! the size of an agent, and an agent's size is its start-up time.

use std::fmt;
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as clocks on the wall show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    year: i64,
    /// 1 to 12.
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    milli: u32,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl LocalTime {
    /// Now.
    pub(crate) fn now() -> Self {
        Self::of(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }

    fn of(since_epoch: Duration) -> Self {
        let seconds = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or(libc::time_t::MAX);
        let mut broken_down = MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: both pointers are valid for the call, the second one for writing a `tm`; all bits
        // zero is a valid `tm`, so the value is initialised even when the call fails.
        let tm = unsafe {
            libc::localtime_r(&raw const seconds, broken_down.as_mut_ptr());
            broken_down.assume_init()
        };
        let small = |number: i32| u8::try_from(number).unwrap_or_default();
        Self {
            year: i64::from(tm.tm_year) + 1900,
            month: small(tm.tm_mon).min(11) + 1,
            day: small(tm.tm_mday),
            hour: small(tm.tm_hour),
            minute: small(tm.tm_min),
            second: small(tm.tm_sec),
            milli: since_epoch.subsec_millis(),
        }
    }

    /// As syslog has it: `Nov  2 14:10:49` (RFC 3164 section 4.1.2).
    pub(crate) fn syslog(self) -> String {
        let month = MONTHS[usize::from(self.month - 1)];
        let Self {
            day,
            hour,
            minute,
            second,
            ..
        } = self;
        format!("{month} {day:>2} {hour:02}:{minute:02}:{second:02}")
    }
}

/// As log lines have it: `2026-11-02 14:10:49,007`.
impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            milli,
        } = self;
        write!(
            f,
            "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{milli:03}"
        )
    }
}

#[cfg(test)]
impl LocalTime {
    /// 2 November 2026, 14:10:49.007.
    pub(crate) const EXAMPLE: Self = Self {
        year: 2026,
        month: 11,
        day: 2,
        hour: 14,
        minute: 10,
        second: 49,
        milli: 7,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(LocalTime::EXAMPLE.to_string(), "2026-11-02 14:10:49,007");
        assert_eq!(LocalTime::EXAMPLE.syslog(), "Nov  2 14:10:49");
    }

    /// Time zones are whole minutes off and at most 14 hours: seconds and year do not depend on one.
    #[test]
    fn a_known_moment() {
        let time = LocalTime::of(Duration::from_millis(1_782_000_049_250));
        assert_eq!((time.year, time.second, time.milli), (2026, 49, 250));
    }
}
