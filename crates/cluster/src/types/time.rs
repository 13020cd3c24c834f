//! Lengths of time.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::Invalid;

/// A length of time as people write it: `500ms`, `5s`, `2min`. Never zero, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// A span of whole seconds, for defaults.
    #[must_use]
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds, as Corosync counts.
    #[must_use]
    pub const fn millis(self) -> u128 {
        self.0.as_millis()
    }
}

impl TryFrom<String> for Span {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        const DAY: u64 = 86_400_000;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => 0,
        };
        digits
            .parse::<u64>()
            .ok()
            .filter(|_| !digits.starts_with('+'))
            .and_then(|number| number.checked_mul(unit))
            .filter(|millis| (1..=DAY).contains(millis))
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| {
                Invalid::new(format!(
                    "`{text}` is not a length of time: write a number and `ms`, `s` or `min`, as in `5s`"
                ))
            })
    }
}

/// As Pacemaker reads it: seconds where that is exact, else milliseconds.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        if millis.is_multiple_of(1000) {
            write!(f, "{}s", millis / 1000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

super::schema!(Span, "Span", {
    "type": "string",
    "pattern": "^0*[1-9][0-9]*(ms|s|min)$",
    "examples": ["500ms", "5s", "2min"]
});

/// A length of time that may be zero: `0s`, `2s`. At most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Delay(Option<Span>);

impl Delay {
    /// A delay of whole seconds, for defaults.
    #[must_use]
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self(Some(Span::from_secs(seconds)))
    }

    /// The delay in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u128 {
        self.duration().as_millis()
    }

    /// The delay as a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        match self.0 {
            Some(span) => span.duration(),
            None => Duration::ZERO,
        }
    }

    /// The delay, unless it is zero.
    #[must_use]
    pub const fn span(self) -> Option<Span> {
        self.0
    }
}

impl TryFrom<String> for Delay {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if matches!(text.as_str(), "0s" | "0ms" | "0min") {
            return Ok(Self(None));
        }
        Span::try_from(text).map(Some).map(Self)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => span.fmt(f),
            None => f.write_str("0s"),
        }
    }
}

super::schema!(Delay, "Delay", {
    "type": "string",
    "pattern": "^[0-9]+(ms|s|min)$",
    "examples": ["0s", "2s"]
});
