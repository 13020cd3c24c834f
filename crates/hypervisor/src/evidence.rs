//! What proves the outcome of an action.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::Observation;

/// How a guest came to be in the state that was then observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Means {
    /// It was off before; nothing was done.
    AlreadyOff,
    /// It was off but could have been resumed; the saved memory image was discarded.
    ImageDiscarded,
    /// The hypervisor ended it.
    Destroyed,
    /// Its process did not end when asked, and was killed.
    Killed,
    /// It was told to end, the hypervisor answered with an error, and then it was off: it ended in
    /// the same moment for another reason.
    WentOff,
    /// It was transient, and after it was ended the hypervisor no longer knows its UUID.
    Vanished,
    /// It was started.
    Started,
    /// It was on before; nothing was done.
    AlreadyOn,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyOff => "off already",
            Self::ImageDiscarded => "saved memory image discarded",
            Self::Destroyed => "destroyed",
            Self::Killed => "killed",
            Self::WentOff => "went off by itself",
            Self::Vanished => "destroyed and gone",
            Self::Started => "started",
            Self::AlreadyOn => "on already",
        })
    }
}

/// The proof of an outcome: what was seen after the action, by whom, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How the guest came to be as observed.
    pub means: Means,
    /// The guest *after* the action.
    ///
    /// For [`Means::Vanished`] this is the hypervisor's answer "no such guest" to a look-up by UUID,
    /// made after it had confirmed the end of the guest: shut off, not active, not persistent.
    pub observation: Observation,
    /// From the first question to the last answer, in seconds when serialized.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {:.3} s: {}",
            self.means,
            self.took.as_secs_f64(),
            self.observation
        )
    }
}

/// A guest whose power was cut, with the proof.
#[derive(Debug, Clone)]
pub struct PoweredOff {
    /// The proof.
    pub evidence: Evidence,
    /// For a transient guest: what [`crate::Hypervisor::power_on`] needs to bring it back.
    pub revival: Option<Revival>,
    /// Whether it was active before. A reboot starts only what ran.
    pub was_active: bool,
}

/// The definition of a transient guest, read before it was ended.
///
/// It may hold secrets (graphics passwords, for example): it is not printed, not serialized, and its
/// memory is wiped.
#[derive(Clone)]
pub struct Revival(Zeroizing<String>);

impl Revival {
    /// Keeps `definition`, in the form the hypervisor takes it back.
    #[must_use]
    pub(crate) fn new(definition: String) -> Self {
        Self(Zeroizing::new(definition))
    }

    /// The definition.
    pub(crate) fn definition(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revival({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_definition_are_not_printed() {
        let revival = Revival::new("<graphics passwd='hunter2'/>".to_owned());
        assert!(!format!("{revival:?}").contains("hunter2"));
        assert_eq!(revival.definition(), "<graphics passwd='hunter2'/>");
    }
}
