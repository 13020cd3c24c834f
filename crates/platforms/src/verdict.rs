//! What comes out of a check: reasons by weight, and what they amount to.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::edition::Edition;
use crate::source::Source;

/// What a reason is named by: the number of a statement ("S19"), the id of a row of the matrix
/// ("kvm.ubuntu"), or a short word ("anti-affinity"). `picket explain` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RuleId(Cow<'static, str>);

impl RuleId {
    /// The id of a rule.
    #[must_use]
    pub const fn new(id: &'static str) -> Self {
        Self(Cow::Borrowed(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RuleId {
    fn from(id: String) -> Self {
        Self(Cow::Owned(id))
    }
}

impl From<&'static str> for RuleId {
    fn from(id: &'static str) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How heavily a reason weighs. Ordered from the lightest to the heaviest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; also what is allowed, and by what.
    Note,
    /// It works, and something about it may hurt.
    Warning,
    /// The vendor ships it for trial, without support.
    Preview,
    /// Nobody who was asked says that it is supported, or nobody knows.
    Unverified,
    /// The vendor does not support it.
    Unsupported,
    /// Data can be lost, or a service stay down although nodes are healthy.
    Unsafe,
}

impl Severity {
    /// All of them, from the heaviest to the lightest.
    pub const BY_WEIGHT: [Self; 6] = [
        Self::Unsafe,
        Self::Unsupported,
        Self::Unverified,
        Self::Preview,
        Self::Warning,
        Self::Note,
    ];

    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Preview => "preview",
            Self::Unverified => "unverified",
            Self::Unsupported => "unsupported",
            Self::Unsafe => "unsafe",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that speaks for or against a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reason {
    /// The rule or row that says so.
    pub rule: RuleId,
    /// How heavily it weighs.
    pub severity: Severity,
    /// Which part of the definition it is about, as `TABLE.NAME[.key]` ("node.n1", "platform").
    /// None: the cluster as a whole.
    pub subject: Option<String>,
    /// What is the case, and why it matters.
    pub message: String,
    /// What would make it right, where something would.
    pub remedy: Option<String>,
    /// What it rests on.
    pub source: Source,
}

impl Reason {
    /// A reason about the cluster as a whole.
    pub fn new(
        rule: impl Into<RuleId>,
        severity: Severity,
        message: impl Into<String>,
        source: Source,
    ) -> Self {
        Self {
            rule: rule.into(),
            severity,
            subject: None,
            message: message.into(),
            remedy: None,
            source,
        }
    }

    /// The same reason, about one part of the definition.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The same reason, with what would make it right.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What the reasons amount to. Ordered from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Supported, and nothing to warn of.
    Supported,
    /// Supported, with warnings.
    SupportedWithWarnings,
    /// A technology preview: for trial, without support.
    TechnologyPreview,
    /// Whether it is supported is not known.
    Unverified,
    /// Not supported.
    Unsupported,
    /// Not safe, whoever supports it.
    Unsafe,
}

impl Outcome {
    /// What `severity` makes of a definition whose other reasons are no heavier.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Note => Self::Supported,
            Severity::Warning => Self::SupportedWithWarnings,
            Severity::Preview => Self::TechnologyPreview,
            Severity::Unverified => Self::Unverified,
            Severity::Unsupported => Self::Unsupported,
            Severity::Unsafe => Self::Unsafe,
        }
    }

    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::SupportedWithWarnings => "supported, with warnings",
            Self::TechnologyPreview => "technology preview",
            Self::Unverified => "unverified",
            Self::Unsupported => "unsupported",
            Self::Unsafe => "unsafe",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known about a definition in one edition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// What the definition was measured against.
    pub edition: Edition,
    /// What the reasons amount to.
    pub outcome: Outcome,
    /// Why, the heaviest first. Never empty: what is supported says by what.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Sorts the reasons by weight; those of the same weight stay in the order they were found in.
    /// The same reason is given once. Without any reason nothing is known.
    pub(crate) fn of(edition: Edition, mut reasons: Vec<Reason>) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
        let mut seen: Vec<Reason> = Vec::with_capacity(reasons.len());
        for reason in reasons {
            if !seen.contains(&reason) {
                seen.push(reason);
            }
        }
        let outcome = seen.first().map_or(Outcome::Unverified, |heaviest| {
            Outcome::of(heaviest.severity)
        });
        Self {
            edition,
            outcome,
            reasons: seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(severity: Severity, message: &str) -> Reason {
        Reason::new("S03", severity, message, Source::statement("S03"))
    }

    #[test]
    fn the_heaviest_reason_decides_and_comes_first() {
        let verdict = Verdict::of(
            Edition::Today,
            vec![
                reason(Severity::Note, "a"),
                reason(Severity::Unsafe, "b"),
                reason(Severity::Warning, "c"),
                reason(Severity::Unsafe, "b"),
                reason(Severity::Unsafe, "a"),
            ],
        );
        let order: Vec<_> = verdict.reasons.iter().map(|r| r.message.as_str()).collect();
        assert_eq!(order, ["b", "a", "c", "a"]);
        assert_eq!(verdict.outcome, Outcome::Unsafe);
    }

    #[test]
    fn nothing_known_is_not_supported() {
        let verdict = Verdict::of(Edition::Document, Vec::new());
        assert_eq!(verdict.outcome, Outcome::Unverified);
    }

    #[test]
    fn outcomes_and_severities_have_one_order() {
        let mut outcomes = Severity::BY_WEIGHT.map(Outcome::of);
        outcomes.reverse();
        assert!(outcomes.is_sorted());
        let mut severities = Severity::BY_WEIGHT;
        severities.reverse();
        assert!(severities.is_sorted());
    }
}
